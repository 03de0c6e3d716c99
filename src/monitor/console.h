/*
 * Console clients: output follows the serial log, input goes into the FIFO that the VMM reads.
 *
 * Theory of operation. The log is the queue: a client is a descriptor and an offset, so a hundred
 * of them cost nothing and none can slow the guest. A client that falls more than
 * VIVI_CONSOLE_BACKLOG behind gets a line that says how many bytes it lost and goes on near the
 * end. One client is the writer; what the others send is read and thrown away. Input that the VMM
 * does not take waits in a small buffer, and the client is not read meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "driver/loop.h"

#define VIVI_CONSOLE_BACKLOG (256u << 10)
#define VIVI_CONSOLE_KEEP    (64u << 10) /* of the backlog, what is still sent after a loss */
#define VIVI_CONSOLES_MAX    64
#define VIVI_CONSOLE_INPUT   4096

struct vivi_console;

struct vivi_consoles {
    const struct vivi_loop *loop;
    struct vivi_console *list; /* owned */
    size_t n;
    int log_fd;        /* borrowed; −1: no run */
    uint64_t log_size; /* as last told */
    const char *fifo;  /* borrowed absolute path of the input FIFO; NULL: none */
    int terminal_fd;   /* borrowed master of the pseudo-terminal that takes input; −1: none */
    int fifo_fd;       /* owned; opened when there is something to write */
    struct vivi_watch *fifo_watch;
    char input[VIVI_CONSOLE_INPUT]; /* of the writer, not taken by the VMM yet */
    size_t input_len;
    /* Clients come and go: told so that the owner can look whether it is idle. */
    void (*changed)(void *ctx);
    void *ctx;
};

void vivi_consoles_init(struct vivi_consoles *all, const struct vivi_loop *loop);
/* A run begins: where its output is and its input goes (both borrowed until _end). */
void vivi_consoles_begin(struct vivi_consoles *all, int log_fd, uint64_t log_size,
                         const char *fifo);
/* After _begin: input goes to this master of a pseudo-terminal (borrowed until _end). */
void vivi_consoles_terminal(struct vivi_consoles *all, int fd);
/* The log has grown. */
void vivi_consoles_grew(struct vivi_consoles *all, uint64_t size);
/* The run has ended: everybody gets what is left, as far as it takes it, and end of file. */
void vivi_consoles_end(struct vivi_consoles *all);
void vivi_consoles_done(struct vivi_consoles *all);

struct vivi_console_ask {
    bool steal, readonly;
};
/*
 * A new client. *ret_fd (the caller's) is its end; *ret_writer whether it may write. Errors: BUSY
 * (too many), IO, NO_MEMORY.
 */
int vivi_console_add(struct vivi_consoles *all, const struct vivi_console_ask *ask, int *ret_fd,
                     bool *ret_writer, viv_error *err);
