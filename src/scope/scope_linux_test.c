/*
 * viv-scope before a service manager that a thread plays: what it asks for, that the program is
 * only executed when the job is done, and that it is executed whatever goes wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "base/fd.h"

#define UNIT "viv-web-11111111.scope"

enum play { PLAY_GOOD, PLAY_EXISTS, PLAY_REFUSE, PLAY_FAIL, PLAY_SILENT, PLAY_HANG_UP };

struct manager {
    enum play play;
    char dir[64], path[96];
    int listener, asked_fd; /* asked_fd: what was asked, as text */
    pid_t pid;
};

/* ---- the manager, in a process of its own ---- */

static struct manager *self;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    char line[400];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    (void)!write(self->asked_fd, line, strlen(line));
}

static void say_property(sd_bus_message *m, const char *name)
{
    const char *text;
    unsigned pid;
    uint64_t t;
    int i;

    if (strcmp(name, "PIDs") == 0 && sd_bus_message_read(m, "v", "au", 1, &pid) >= 0)
        say("PIDs=%s ", pid > 1 ? "one" : "?");
    else if (strcmp(name, "Delegate") == 0 && sd_bus_message_read(m, "v", "b", &i) >= 0)
        say("Delegate=%d ", i);
    else if (strcmp(name, "KillSignal") == 0 && sd_bus_message_read(m, "v", "i", &i) >= 0)
        say("KillSignal=%s ", i == SIGURG ? "URG" : "?");
    else if (strcmp(name, "TimeoutStopUSec") == 0 && sd_bus_message_read(m, "v", "t", &t) >= 0)
        say("TimeoutStopUSec=%llu ", (unsigned long long)t);
    else if (strcmp(name, "Description") == 0 && sd_bus_message_read(m, "v", "s", &text) >= 0)
        say("Description=%s ", text);
    else
        (void)sd_bus_message_skip(m, "v");
}

static int on_start(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    const char *unit, *mode, *name;

    (void)arg;
    if (sd_bus_message_read(m, "ss", &unit, &mode) < 0)
        return -EINVAL;
    say("start %s %s ", unit, mode);
    (void)sd_bus_message_enter_container(m, 'a', "(sv)");
    while (sd_bus_message_enter_container(m, 'r', "sv") > 0) {
        if (sd_bus_message_read(m, "s", &name) >= 0)
            say_property(m, name);
        (void)sd_bus_message_exit_container(m);
    }
    if (self->play == PLAY_HANG_UP)
        _exit(0);
    if (self->play == PLAY_SILENT)
        return 1;
    if (self->play == PLAY_EXISTS)
        return sd_bus_error_set(e, "org.freedesktop.systemd1.UnitExists", "exists");
    if (self->play == PLAY_REFUSE)
        return sd_bus_error_set(e, "org.freedesktop.DBus.Error.AccessDenied", "no access");
    (void)sd_bus_reply_method_return(m, "o", "/job/1");
    say("done ");
    return sd_bus_emit_signal(sd_bus_message_get_bus(m), "/org/freedesktop/systemd1",
                              "org.freedesktop.systemd1.Manager", "JobRemoved", "uoss", 1, "/job/1",
                              UNIT, self->play == PLAY_FAIL ? "failed" : "done");
}

static int on_attach(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    const char *unit, *sub;
    unsigned pid;

    (void)arg;
    (void)e;
    if (sd_bus_message_read(m, "ssau", &unit, &sub, 1, &pid) < 0)
        return -EINVAL;
    say("attach %s %s ", unit, pid > 1 ? "one" : "?");
    return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable methods[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", on_start,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("AttachProcessesToUnit", "ssau", "", on_attach, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("JobRemoved", "uoss", 0),
    SD_BUS_VTABLE_END,
};

static void serve(struct manager *m)
{
    sd_id128_t id = SD_ID128_MAKE(11, 22, 33, 44, 55, 66, 77, 88, 99, aa, bb, cc, dd, ee, ff, 01);
    sd_bus *bus = NULL;
    int fd = accept(m->listener, NULL, NULL);

    self = m;
    if (fd < 0 || sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fd, fd) < 0 ||
        sd_bus_set_server(bus, 1, id) < 0 || sd_bus_start(bus) < 0 ||
        sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1",
                                 "org.freedesktop.systemd1.Manager", methods, NULL) < 0)
        _exit(1);
    for (int r = 0; r >= 0;) {
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
    }
    sd_bus_unref(bus); /* the other side hung up */
    _exit(0);
}

/* ---- the rig ---- */

static int open_manager(struct manager *m, enum play play)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fds[2];

    *m = (struct manager){.play = play};
    (void)snprintf(m->dir, sizeof(m->dir), "/tmp/vivscope.XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    (void)snprintf(m->path, sizeof(m->path), "%s/private", m->dir);
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", m->path);
    m->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(m->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(m->listener, 4), 0);
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    m->asked_fd = fds[1];
    m->pid = fork();
    assert_true(m->pid >= 0);
    if (m->pid == 0)
        serve(m);
    (void)close(fds[1]);
    return fds[0];
}

static void read_all(int fd, char *ret, size_t size)
{
    size_t n = 0;
    ssize_t got;

    while (n < size - 1 && vivi_wait_fd(fd, POLLIN, 20000, NULL) == 1 &&
           (got = read(fd, ret + n, size - 1 - n)) > 0)
        n += (size_t)got;
    ret[n] = '\0';
}

struct run {
    char asked[600], out[200], err[600];
    int status;
};

/* Runs viv-scope with these words (NULL-terminated, the first is its path); what it and the program
 * say. */
static void run_words(const char *const *words, struct run *ret)
{
    int out[2], err[2];
    pid_t pid;

    assert_int_equal(vivi_pipe(out, NULL), 0);
    assert_int_equal(vivi_pipe(err, NULL), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(out[1], 1);
        (void)dup2(err[1], 2);
        (void)execv(words[0], (char *const *)(uintptr_t)words);
        _exit(126);
    }
    (void)close(out[1]);
    (void)close(err[1]);
    read_all(out[0], ret->out, sizeof(ret->out));
    read_all(err[0], ret->err, sizeof(ret->err));
    assert_int_equal(waitpid(pid, &ret->status, 0), pid);
    (void)close(out[0]);
    (void)close(err[0]);
}

static void run(enum play play, struct run *ret)
{
    struct manager m;
    int asked = open_manager(&m, play);
    const char *const words[] = {getenv("VIV_SCOPE_EXE"),
                                 "--unit",
                                 UNIT,
                                 "--describe",
                                 "Virtual machine web",
                                 "--stop-after",
                                 "90",
                                 "--manager",
                                 m.path,
                                 "--patience",
                                 "1",
                                 "--",
                                 "/bin/echo",
                                 "it",
                                 "runs",
                                 NULL};

    assert_non_null(words[0]);
    run_words(words, ret);
    read_all(asked, ret->asked, sizeof(ret->asked));
    assert_int_equal(waitpid(m.pid, NULL, 0), m.pid);
    (void)close(asked);
    (void)close(m.listener);
    (void)unlink(m.path);
    (void)rmdir(m.dir);
}

#define ASKED                                                                                 \
    "start " UNIT " fail Description=Virtual machine web PIDs=one Delegate=1 KillSignal=URG " \
    "TimeoutStopUSec=90000000 "

static void it_asks_for_a_scope_of_its_own_and_becomes_the_program(void **state)
{
    struct run r;

    (void)state;
    run(PLAY_GOOD, &r);
    assert_string_equal(r.asked, ASKED "done ");
    assert_string_equal(r.out, "it runs\n");
    assert_string_equal(r.err, "");
    assert_int_equal(r.status, 0);
}

static void it_joins_a_scope_that_is_there(void **state)
{
    struct run r;

    (void)state;
    run(PLAY_EXISTS, &r);
    assert_string_equal(r.asked, ASKED "attach " UNIT " one ");
    assert_string_equal(r.out, "it runs\n");
    assert_string_equal(r.err, "");
}

static void whatever_goes_wrong_is_told_and_the_program_runs(void **state)
{
    static const struct {
        enum play play;
        const char *why;
    } rows[] = {
        {PLAY_REFUSE, "no access"},
        {PLAY_FAIL, "failed"},
        {PLAY_SILENT, "timed out"},
        {PLAY_HANG_UP, "onnection"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct run r;

        run(rows[i].play, &r);
        assert_string_equal(r.out, "it runs\n");
        assert_int_equal(r.status, 0);
        assert_non_null(strstr(r.err, "scope warning: " UNIT ": "));
        if (!strstr(r.err, rows[i].why))
            fail_msg("%s: not in: %s", rows[i].why, r.err);
    }
}

static void without_a_manager_the_program_runs(void **state)
{
    const char *const words[] = {getenv("VIV_SCOPE_EXE"),
                                 "--unit",
                                 UNIT,
                                 "--describe",
                                 "x",
                                 "--stop-after",
                                 "1",
                                 "--manager",
                                 "/nowhere/private",
                                 "--",
                                 "/bin/echo",
                                 "it runs",
                                 NULL};
    struct run r;

    (void)state;
    run_words(words, &r);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "it runs\n");
    assert_non_null(strstr(r.err, "the service manager does not answer: No such file"));
}

static void a_wrong_command_line_runs_nothing(void **state)
{
    const char *exe = getenv("VIV_SCOPE_EXE");
    const char *const wrong[][8] = {
        {exe, "--unit", UNIT, "--", "/bin/echo", NULL},
        {exe, "--unit", NULL},
        {exe, "--unit", UNIT, "--describe", "x", "--stop-after", "1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct run r;

        run_words(wrong[i], &r);
        assert_int_equal(WEXITSTATUS(r.status), 2);
        assert_string_equal(r.out, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_asks_for_a_scope_of_its_own_and_becomes_the_program),
        cmocka_unit_test(it_joins_a_scope_that_is_there),
        cmocka_unit_test(whatever_goes_wrong_is_told_and_the_program_runs),
        cmocka_unit_test(without_a_manager_the_program_runs),
        cmocka_unit_test(a_wrong_command_line_runs_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
