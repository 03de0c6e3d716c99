/*
 * console.h: every console that this guest really has, written to without ever being held up by
 * one.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_MAX_CONSOLES        10
#define GUEST_CONSOLE_QUEUE_BYTES 16384

struct guest_console {
    char name[16]; /* as in /dev */
    int fd;        /* O_NONBLOCK */
    size_t queued; /* bytes in queue */
    char queue[GUEST_CONSOLE_QUEUE_BYTES];
};

struct guest_consoles {
    size_t n;
    size_t primary; /* index of /dev/console: where shell and test lines go */
    struct guest_console at[GUEST_MAX_CONSOLES];
};

/* Opens the consoles not yet open; called again after drivers were loaded. */
void guest_consoles_open(struct guest_consoles *c);

/* Name of the primary console below /dev, "console" if none could be opened. */
const char *guest_consoles_primary(const struct guest_consoles *c);

/* Queues text on all consoles; what does not fit in one's queue is dropped there, whole. */
void guest_consoles_say(struct guest_consoles *c, const char *text);

/* The same with printf's format, "vivarium-guest: " before and a line feed after it. */
void guest_log(struct guest_consoles *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Queues bytes on the primary console only. False if they do not fit now. */
bool guest_consoles_feed(struct guest_consoles *c, const char *data, size_t len);

/* True while the primary console has unwritten bytes. */
bool guest_consoles_busy(const struct guest_consoles *c);

/* Fills fds with the consoles that wait to be written; returns their number. */
size_t guest_consoles_poll(const struct guest_consoles *c, struct pollfd *fds, size_t max);

/* Writes what can be written now. */
void guest_consoles_flush(struct guest_consoles *c);

/* Writes all and waits until it has left the UARTs: primary_ms at most for the primary console,
 * others_ms for the rest. */
void guest_consoles_drain(struct guest_consoles *c, uint64_t primary_ms, uint64_t others_ms);

/* Keeps the kernel's own messages off the consoles (true), or lets warnings through again. */
void guest_consoles_mute_kernel(bool mute);

/* CLOCK_MONOTONIC in ms. */
uint64_t guest_now_ms(void);
