/*
 * A launch plan: what one run of a VMM needs, as data. Made by pure functions (deterministic,
 * golden-tested, shown by --dry-run), applied by the monitor in one place (monitor/launch.c).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum vivi_port_kind {
    VIVI_PORT_LISTEN, /* unix socket bound by us at run_dir/name, its listening descriptor passed as
                         child_fd, our copy closed after the spawn */
    VIVI_PORT_FIFO_OUT, /* FIFO at run_dir/name that the VMM writes; the keeper splices it into
                           vm_dir/log */
    VIVI_PORT_FIFO_IN,  /* FIFO at run_dir/name that the VMM reads; the monitor writes */
    VIVI_PORT_PTY,      /* raw pseudo-terminal: the VMM gets the slave as child_fd, and as
                           child_fd_rw a duplicate of the master, which keeps the terminal alive
                           while nobody else holds it; the keeper holds the master under name, the
                           monitor writes to it */
    VIVI_PORT_SOCKET,   /* a socket that the VMM itself binds at run_dir/name: what an earlier run
                           left there is removed before, and this one's afterwards */
    VIVI_PORT_HELD,     /* a descriptor that came from outside and that the keeper holds under name,
                           as child_fd; it stays held */
    VIVI_PORT_DIR       /* a directory's descriptor (O_PATH) as child_fd: run_dir for the name
                           VIVI_DIR_RUN, else vm_dir. What is named below /proc/self/fd/<child_fd>
                           is right in every process that goes on with this VM, wherever its
                           directories are. */
};

#define VIVI_DIR_RUN "dir.run"
#define VIVI_DIR_VM  "dir.vm"

/* The keeper's name of a NIC of type fd: this and its id. */
#define VIVI_NIC_FD "nic."

struct vivi_port {
    enum vivi_port_kind kind;
    const char *name; /* owned; "serial.out", "qmp": file name, and the keeper's table name */
    const char *log;  /* owned; FIFO_OUT: the log's file name in the VM's directory ("serial.log");
                       * NULL otherwise
                       */
    uint64_t log_limit_bytes; /* FIFO_OUT: the keeper punches the head so that about this much
                                 stays; 0 = no limit */
    int child_fd;             /* number in the child; −1 = the VMM opens it by path */
    int child_fd_rw; /* FIFO, PTY: an extra O_RDWR duplicate the VMM inherits so that the stream
                        outlives its reader; −1 = none needed */
    bool to_driver;  /* FIFO_OUT: bytes of the log of this run go to the driver's input slot (driver
                        events) */
};

/* What is kept of a driver's event stream: it is read long before this much has come. */
#define VIVI_EVENTS_LOG_LIMIT (UINT64_C(1) << 20)

#define VIVI_VMM_LOG       "vmm.log" /* the VMM's stderr */
#define VIVI_VMM_LOG_LIMIT (UINT64_C(1) << 20)

struct vivi_config;

struct vivi_plan {
    char *exe;   /* absolute path */
    char **argv; /* n_argv strings + NULL */
    size_t n_argv;
    struct vivi_port *ports;
    size_t n_ports;
    json_t *requests; /* bodies sent after the spawn, in order ([{"verb":…,"body":…}]), or NULL */
};

void vivi_plan_done(struct vivi_plan *p);
#define cleanup_plan VIVI_CLEANUP(vivi_plan_done)
int vivi_plan_arg(struct vivi_plan *p, const char *fmt, ...)
    VIVI_PRINTF(2, 3); /* appends one argument; 0 or −VIV_E_NO_MEMORY */
int vivi_plan_port(struct vivi_plan *p, const struct vivi_port *port); /* strings are copied */
/* Of a VMM that opens them itself: serial.out and serial.in, and its events for the driver. */
int vivi_plan_streams(struct vivi_plan *p, const struct vivi_config *c);
/*
 * The VMM's stderr: a FIFO like the guest's output, so that the keeper bounds its log at all times.
 * The child's descriptor 2 reads and writes (no reader's death is a SIGPIPE) and does not block:
 * what a VMM says while 64 KiB wait unread (nobody of ours lives, or the disk is full) is lost to
 * it with EAGAIN, because a message must never stall a guest.
 */
int vivi_plan_stderr(struct vivi_plan *p);
int vivi_plan_to_json(const struct vivi_plan *p, json_t **ret,
                      viv_error *err); /* what --dry-run and the golden files show */
