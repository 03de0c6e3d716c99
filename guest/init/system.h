/*
 * system.h: what process 1 does to the machine: file systems, drivers, power button, disks,
 * children.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "console.h"

#define GUEST_MAX_BUTTONS 4
#define GUEST_MAX_ARGS    16

/* /proc, /sys, /dev and what hangs below them. */
void guest_mount_basics(void);

/* One mount with its mount point made first; a failure is logged and returned as -1. */
int guest_mount(struct guest_consoles *c, const char *source, const char *target, const char *type,
                unsigned long flags, const char *data);

/* Loads the modules that list names, one path a line, in that order. */
void guest_load_modules(struct guest_consoles *c, const char *list);

/*
 * Loads modules by name (commas between them), each with what it depends on, as the index says:
 * lines of a name and the paths to load.
 */
void guest_load_by_name(struct guest_consoles *c, const char *index, const char *names);

/* Whole small file as text, "" if unreadable; trailing white space is removed. */
void guest_read_text(const char *path, char *buf, size_t size);
void guest_write_text(const char *path, const char *text);

/* Opens the input devices that have a power key; returns their number. */
size_t guest_buttons_open(int fds[GUEST_MAX_BUTTONS]);

/* Reads the events of one of them; true if the power key was pressed. */
bool guest_button_pressed(int fd);

/* Logs name, size and serial of each virtio disk. */
void guest_log_disks(struct guest_consoles *c);

/* Adds one to the decimal text at the start of a block device and logs it. */
void guest_disk_test(struct guest_consoles *c, const char *device);

/* Starts a program in a session of its own with /dev/null as its descriptors 0-2. */
pid_t guest_spawn(const char *const argv[]);

struct guest_session {
    const char *const *argv; /* NULL-terminated, at most GUEST_MAX_ARGS */
    const char *const *env;  /* the same */
    const char *tty;         /* path of its terminal */
    const char *root;        /* directory to chroot to; tty is meant before it */
};

/*
 * Starts a program with a terminal and job control. The process returned is the session's leader,
 * not the program: when a leader ends, the kernel hangs its terminal up and throws away what was
 * not sent yet. It ends with the program's status (128 + n for a signal), after all output has
 * left.
 */
pid_t guest_session_start(const struct guest_session *s);

/* Never return on success. */
void guest_power_off(void);
void guest_restart(void);
void guest_crash(void);
