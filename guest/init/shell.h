/*
 * shell.h: the interactive shell on the console.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Starts the process that keeps a shell on the console tty (a path) for as long as the guest runs.
 */
pid_t guest_shell_start(const char *tty);

struct guest_filter {
    size_t matched; /* bytes of the sequence seen at the end of what came so far */
};

/*
 * Copies len bytes from in to out without the cursor query "ESC [ 6 n", which may be split anywhere
 * between calls. out has room for len + 3 bytes; returns how many were written.
 */
size_t guest_filter_run(struct guest_filter *f, const char *in, size_t len, char *out);
