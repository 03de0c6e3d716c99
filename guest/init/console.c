/*
 * console.c: consoles of the guest.
 *
 * A device node proves nothing: /dev/ttyS1 exists without a UART, /dev/hvc0 without a virtio port.
 * Only what opens and answers is a console. Each has a small queue that is written when the device
 * takes bytes, so a console whose reader is gone cannot stop the others, nor process 1.
 *
 * The kernel writes its messages to the UART without asking the tty layer and would cut our lines
 * in two; the level of kernel messages is therefore lowered while a line that must stay whole goes
 * out.
 */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KLOG_CONSOLE_LEVEL 8
#define LEVEL_EMERGENCY    1
#define LEVEL_ERRORS       4

uint64_t guest_now_ms(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static size_t find_console(const struct guest_consoles *c, const char *name)
{
    size_t i = 0;

    while (i < c->n && strcmp(c->at[i].name, name) != 0)
        i++;
    return i;
}

/* A UART node without a UART behind it opens well; the driver tells its type. */
static bool is_real(const char *name, int fd)
{
    struct serial_struct serial = {0};
    struct termios t;

    if (strncmp(name, "ttyS", 4) == 0 && ioctl(fd, TIOCGSERIAL, &serial) == 0)
        return serial.type != PORT_UNKNOWN;
    return tcgetattr(fd, &t) == 0;
}

static int open_device(const char *name)
{
    char path[32];
    int fd;

    (void)snprintf(path, sizeof(path), "/dev/%s", name);
    fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && !is_real(name, fd)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void open_one(struct guest_consoles *c, const char *name)
{
    struct guest_console *console;
    int fd;

    if (c->n == GUEST_MAX_CONSOLES || strlen(name) >= sizeof(console->name) ||
        find_console(c, name) < c->n)
        return;
    fd = open_device(name);
    if (fd < 0)
        return;
    console = &c->at[c->n++];
    (void)snprintf(console->name, sizeof(console->name), "%s", name);
    console->fd = fd;
    console->queued = 0;
}

static size_t read_text(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd >= 0) {
        n = read(fd, buf, size - 1);
        (void)close(fd);
    }
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

void guest_consoles_open(struct guest_consoles *c)
{
    static const char *const candidates[] = {"ttyS0", "ttyS1", "ttyS2",   "ttyS3",
                                             "hvc0",  "hvc1",  "ttyAMA0", NULL};
    char active[256];
    char primary[16] = "";
    char *save = NULL;

    (void)read_text("/sys/class/tty/console/active", active, sizeof(active));
    for (char *name = strtok_r(active, " \n", &save); name != NULL;
         name = strtok_r(NULL, " \n", &save)) {
        open_one(c, name);
        if (find_console(c, name) < c->n)
            (void)snprintf(primary, sizeof(primary), "%s", name); /* the last one is /dev/console */
    }
    for (size_t i = 0; candidates[i] != NULL; i++)
        open_one(c, candidates[i]);
    if (primary[0] != '\0')
        c->primary = find_console(c, primary);
}

const char *guest_consoles_primary(const struct guest_consoles *c)
{
    return c->primary < c->n ? c->at[c->primary].name : "console";
}

static bool queue(struct guest_console *console, const char *data, size_t len)
{
    if (len > sizeof(console->queue) - console->queued)
        return false;
    memcpy(console->queue + console->queued, data, len);
    console->queued += len;
    return true;
}

void guest_consoles_say(struct guest_consoles *c, const char *text)
{
    for (size_t i = 0; i < c->n; i++)
        (void)queue(&c->at[i], text, strlen(text));
    guest_consoles_flush(c);
}

void guest_log(struct guest_consoles *c, const char *format, ...)
{
    char text[400];
    char line[440];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(line, sizeof(line), "vivarium-guest: %s\n", text);
    guest_consoles_say(c, line);
}

bool guest_consoles_feed(struct guest_consoles *c, const char *data, size_t len)
{
    bool fits = c->primary < c->n && queue(&c->at[c->primary], data, len);

    guest_consoles_flush(c);
    return fits;
}

bool guest_consoles_busy(const struct guest_consoles *c)
{
    return c->primary < c->n && c->at[c->primary].queued > 0;
}

size_t guest_consoles_poll(const struct guest_consoles *c, struct pollfd *fds, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n && n < max; i++) {
        if (c->at[i].queued > 0)
            fds[n++] = (struct pollfd){.fd = c->at[i].fd, .events = POLLOUT};
    }
    return n;
}

/* The end of a shell hangs its terminal up, and with it every descriptor that was open then. */
static bool reopen(struct guest_console *console)
{
    int fd = open_device(console->name);

    if (fd < 0)
        return false;
    (void)close(console->fd);
    console->fd = fd;
    return true;
}

static void flush(struct guest_console *console)
{
    bool reopened = false;

    while (console->queued > 0) {
        ssize_t n = write(console->fd, console->queue, console->queued);

        if (n > 0) {
            console->queued -= (size_t)n;
            memmove(console->queue, console->queue + n, console->queued);
        } else if (n < 0 && errno == EIO && !reopened && reopen(console)) {
            reopened = true;
        } else {
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                console->queued = 0; /* the device is gone: nobody will ever read this */
            return;
        }
    }
}

void guest_consoles_flush(struct guest_consoles *c)
{
    for (size_t i = 0; i < c->n; i++)
        flush(&c->at[i]);
}

/* True once the last bit left the UART; drivers without the question are believed. */
static bool transmitter_empty(int fd)
{
    unsigned int status = 0;
    int pending = 0;

    if (ioctl(fd, TIOCOUTQ, &pending) == 0 && pending > 0)
        return false;
    return ioctl(fd, TIOCSERGETLSR, &status) < 0 || (status & TIOCSER_TEMT) != 0;
}

static bool drained(const struct guest_console *console)
{
    return console->queued == 0 && transmitter_empty(console->fd);
}

void guest_consoles_drain(struct guest_consoles *c, uint64_t primary_ms, uint64_t others_ms)
{
    uint64_t start_ms = guest_now_ms();

    for (;;) {
        struct pollfd fds[GUEST_MAX_CONSOLES];
        uint64_t elapsed_ms = guest_now_ms() - start_ms;
        bool waiting = false;
        size_t n;

        guest_consoles_flush(c);
        for (size_t i = 0; i < c->n; i++) {
            if (elapsed_ms < (i == c->primary ? primary_ms : others_ms) && !drained(&c->at[i]))
                waiting = true;
        }
        if (!waiting)
            return;
        n = guest_consoles_poll(c, fds, GUEST_MAX_CONSOLES);
        (void)poll(fds, (nfds_t)n, n > 0 ? 20 : 1); /* a UART has no event for "empty" */
    }
}

void guest_consoles_mute_kernel(bool mute)
{
    (void)klogctl(KLOG_CONSOLE_LEVEL, NULL, mute ? LEVEL_EMERGENCY : LEVEL_ERRORS);
}
