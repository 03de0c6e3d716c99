/*
 * viv-scope: moves itself into a transient scope of the service manager, then becomes the program
 * it was given, a VM's keeper. Whatever the keeper starts is born into that scope.
 *
 *   viv-scope --unit NAME.scope --describe TEXT --stop-after SECONDS [--manager SOCKET]
 *             [--patience SECONDS] -- PROGRAM [ARGUMENT…]
 *
 * Theory of operation. A detached VM must not end with the session or service from which it was
 * started. Where systemd runs, that is a question of control groups, and only a unit of its own
 * gives one that outlives the caller: a scope, which the manager makes around processes that are
 * there already. It is asked over its private socket, else over the bus. A unit of that name that
 * is there already is this VM's, whose keeper and monitor have died: we join it. Nothing in here is
 * worth a VM: whatever fails is told in the log (stderr), within a deadline, and the program is
 * executed all the same.
 *
 * When the host goes down, the manager sends the scope's processes SIGURG, which only the monitor
 * understands (monitor/desired.c), and waits --stop-after seconds for the guest to shut down.
 *
 * It is an executable of its own because libsystemd is nothing that each viv should load.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#define PATIENCE_S  10 /* for all of it, unless told otherwise */
#define MANAGER     "org.freedesktop.systemd1"
#define OBJECT      "/org/freedesktop/systemd1"
#define INTERFACE   "org.freedesktop.systemd1.Manager"
#define UNIT_EXISTS "org.freedesktop.systemd1.UnitExists"

struct scope {
    const char *unit, *text, *socket;
    uint64_t stop_after_s, patience_s;
    bool system;
    uint64_t deadline_us;
    sd_bus *bus;

    char *result; /* how that job ended; NULL: not yet */
};

static uint64_t left_us(const struct scope *s)
{
    uint64_t now = vivi_mono_us();

    return now < s->deadline_us ? s->deadline_us - now : 1;
}

/* ---- reaching the manager ---- */

static int open_socket(struct scope *s, const char *path)
{
    char address[300];
    int r;

    (void)snprintf(address, sizeof(address), "unix:path=%.250s", path);
    r = sd_bus_new(&s->bus);
    if (r >= 0)
        r = sd_bus_set_address(s->bus, address);
    if (r >= 0)
        r = sd_bus_start(s->bus);
    if (r < 0)
        s->bus = sd_bus_unref(s->bus);
    return r;
}

/* The directory of the user's own sockets, also for who came by su, without a log-in. */
static void know_runtime_dir(void)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/run/user/%lu", (unsigned long)geteuid());
    if (!getenv("XDG_RUNTIME_DIR") && access(path, X_OK) == 0)
        (void)setenv("XDG_RUNTIME_DIR", path, 1);
}

static int connect_manager(struct scope *s)
{
    const char *dir;
    char path[250];
    int r;

    if (s->socket)
        return open_socket(s, s->socket);
    if (s->system) {
        r = open_socket(s, "/run/systemd/private");
        return r < 0 ? sd_bus_open_system(&s->bus) : r;
    }
    know_runtime_dir();
    dir = getenv("XDG_RUNTIME_DIR");
    (void)snprintf(path, sizeof(path), "%.200s/systemd/private", dir ? dir : "");
    r = open_socket(s, path);
    return r < 0 ? sd_bus_open_user(&s->bus) : r;
}

/* ---- asking it ---- */

/* The scope's properties. Delegate: only into such a one may processes be moved later. CollectMode:
 * a failed one leaves no unit behind. */
static int add_properties(const struct scope *s, sd_bus_message *m)
{
    int r = sd_bus_message_append(
        m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", s->text, "PIDs", "au", 1,
        (unsigned)getpid(), "Delegate", "b", 1, "KillSignal", "i", SIGURG, "TimeoutStopUSec", "t",
        s->stop_after_s * 1000000u, "CollectMode", "s", "inactive-or-failed");

    /* Before the network goes, guests are to be down. Users' managers know nothing of it. */
    if (r >= 0 && s->system)
        r = sd_bus_message_append(m, "(sv)", "After", "as", 2, "network.target",
                                  "remote-fs.target");
    return r;
}

static int make_request(const struct scope *s, sd_bus_message **ret)
{
    int r = sd_bus_message_new_method_call(s->bus, ret, MANAGER, OBJECT, INTERFACE,
                                           "StartTransientUnit");

    if (r >= 0)
        r = sd_bus_message_append(*ret, "ss", s->unit, "fail");
    if (r >= 0)
        r = sd_bus_message_open_container(*ret, 'a', "(sv)");
    if (r >= 0)
        r = add_properties(s, *ret);
    if (r >= 0)
        r = sd_bus_message_close_container(*ret);
    return r < 0 ? r : sd_bus_message_append(*ret, "a(sa(sv))", 0);
}

static int join(struct scope *s, sd_bus_error *e)
{
    return sd_bus_call_method(s->bus, MANAGER, OBJECT, INTERFACE, "AttachProcessesToUnit", e, NULL,
                              "ssau", s->unit, "", 1, (unsigned)getpid());
}

static int on_job_removed(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    const char *path, *unit, *result;
    struct scope *s = arg;
    unsigned id;

    (void)e;
    if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) >= 0 &&
        strcmp(unit, s->unit) == 0 && !s->result)
        s->result = strdup(result);
    return 0;
}

/* Only when the job is done are we in the scope, and may start what is to be born there. */
static int wait_for_job(struct scope *s)
{
    while (!s->result) {
        int r = sd_bus_process(s->bus, NULL);

        if (r < 0)
            return r;
        if (r == 0 && vivi_mono_us() >= s->deadline_us)
            return -ETIMEDOUT;
        if (r == 0 && sd_bus_wait(s->bus, left_us(s)) == -EINTR)
            continue;
    }
    return 0;
}

static void complain(const struct scope *s, const char *why)
{
    vivi_log(VIVI_LOG_WARN, "%s: %s: the VM stays in its caller's control group", s->unit, why);
}

static void enter(struct scope *s)
{
    sd_bus_error e = SD_BUS_ERROR_NULL;
    sd_bus_message *request = NULL;
    int r = connect_manager(s);

    if (r < 0) {
        vivi_log(VIVI_LOG_WARN, "the service manager does not answer: %s", strerror(-r));
    } else {
        (void)sd_bus_set_method_call_timeout(s->bus, left_us(s));
        r = sd_bus_match_signal(s->bus, NULL, NULL, OBJECT, INTERFACE, "JobRemoved", on_job_removed,
                                s);
        if (r >= 0)
            r = make_request(s, &request);
        if (r >= 0)
            r = sd_bus_call(s->bus, request, left_us(s), &e, NULL);
        if (r < 0 && sd_bus_error_has_name(&e, UNIT_EXISTS)) {
            sd_bus_error_free(&e);
            r = join(s, &e);
        } else if (r >= 0) {
            r = wait_for_job(s);
        }
    }
    if (r < 0)
        complain(s, e.message ? e.message : strerror(-r));
    else if (s->result && strcmp(s->result, "done") != 0)
        complain(s, s->result);
    sd_bus_error_free(&e);
    sd_bus_message_unref(request);
    sd_bus_flush_close_unref(s->bus);
    free(s->result);
}

/* ---- command line ---- */

static char **parse(char **argv, struct scope *s)
{
    char **a;

    for (a = argv + 1; *a && strcmp(*a, "--") != 0; a += 2) {
        if (!a[1])
            return NULL;
        if (strcmp(*a, "--unit") == 0)
            s->unit = a[1];
        else if (strcmp(*a, "--describe") == 0)
            s->text = a[1];
        else if (strcmp(*a, "--manager") == 0)
            s->socket = a[1];
        else if (strcmp(*a, "--stop-after") == 0)
            s->stop_after_s = strtoull(a[1], NULL, 10);
        else if (strcmp(*a, "--patience") == 0)
            s->patience_s = strtoull(a[1], NULL, 10);
        else
            return NULL;
    }
    return *a && a[1] && a[1][0] == '/' && s->unit && s->text && s->stop_after_s ? a + 1 : NULL;
}

int main(int argc, char **argv)
{
    struct scope s = {.system = geteuid() == 0, .patience_s = PATIENCE_S};
    char **program = argc > 0 ? parse(argv, &s) : NULL;

    if (!program) {
        (void)fprintf(stderr, "usage: viv-scope --unit NAME.scope --describe TEXT --stop-after "
                              "SECONDS [--manager SOCKET] [--patience SECONDS] -- PROGRAM "
                              "[ARGUMENT...]\n");
        return 2;
    }
    s.deadline_us = vivi_mono_us() + s.patience_s * 1000000u;
    vivi_log_to(STDERR_FILENO, "scope", VIVI_LOG_INFO, 0);
    enter(&s);
    (void)execv(program[0], program);
    vivi_log(VIVI_LOG_ERROR, "cannot run %s: %s", program[0], strerror(errno));
    return 127;
}
