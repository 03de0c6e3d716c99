/* viv events */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/escape.h"
#include "cli/out.h"
#include "cli/select.h"
#include "cli/signals.h"

#define INTERRUPTED 130

/* "2026-01-02T03:04:05.678Z 17 web state running reason=…": what all events have, then the rest. */
static int print_text(struct vivi_cli *c, const json_t *ev)
{
    static const char *const first[] = {"time", "seq", "vm", "type"};
    static const char *const hidden[] = {"schema", "uuid", "run"};
    cleanup_buf struct vivi_buf line = VIVI_BUF(1 << 20);
    char shown[4096];
    const char *key;
    json_t *value;

    for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
        json_t *v = json_object_get(ev, first[i]);
        cleanup_free char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;

        (void)vivi_buf_printf(&line, "%s%s", i ? " " : "",
                              json_is_string(v) ? json_string_value(v)
                              : text            ? text
                                                : "-");
    }
    json_object_foreach((json_t *)(uintptr_t)ev, key, value)
    {
        cleanup_free char *text = NULL;
        bool skip = json_is_null(value);

        for (size_t i = 0; i < ARRAY_SIZE(first); i++)
            skip = skip || !strcmp(key, first[i]);
        for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
            skip = skip || !strcmp(key, hidden[i]);
        if (skip)
            continue;
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        (void)vivi_buf_printf(&line, " %s=%s", key,
                              json_is_string(value) ? json_string_value(value)
                              : text                ? text
                                                    : "?");
    }
    if (line.failed || !line.data)
        return vivi_cli_usage(c, NULL, "an event is too long");
    vivi_escape_line(line.data, shown, sizeof(shown));
    (void)printf("%s\n", shown);
    return 0;
}

/* A stream cannot be one array: each event is one JSON object on one line, or one YAML document. */
static int print_event(struct vivi_cli *c, const viv_rec *rec)
{
    cleanup_json json_t *ev = vivi_rec_to_json(rec);
    cleanup_json json_t *full = ev ? vivi_json_with_schema(ev) : NULL;
    cleanup_free char *text = NULL;

    if (!full)
        return vivi_cli_oom(c);
    if (c->format == VIVI_FORMAT_TABLE && !c->template)
        return print_text(c, full);
    if (c->template || c->format == VIVI_FORMAT_YAML) {
        if (!c->template)
            (void)printf("---\n");
        return vivi_cli_record(c, json_incref(full));
    }
    text = json_dumps(full, JSON_COMPACT);
    if (!text)
        return vivi_cli_oom(c);
    (void)printf("%s\n", text);
    return 0;
}

/* Prints what is there. 0, or an exit code. */
static int drain(struct vivi_cli *c)
{
    viv_error err = VIV_ERROR_INIT;
    int r = viv_dispatch(c->v, &err);

    while (r >= 0) {
        cleanup_rec viv_rec *ev = NULL;
        int code;

        r = viv_next(c->v, &ev, &err);
        if (r <= 0)
            break;
        code = print_event(c, ev);
        if (code)
            return code;
    }
    (void)fflush(stdout);
    return r < 0 ? vivi_cli_fail(c, NULL, &err) : ferror(stdout) ? 1 : 0;
}

static int follow(struct vivi_cli *c, int signal_fd)
{
    viv_error err = VIV_ERROR_INIT;
    int code = 0;

    while (code == 0) {
        struct pollfd fds[3] = {{.fd = viv_fd(c->v), .events = POLLIN},
                                {.fd = signal_fd, .events = POLLIN},
                                {.fd = STDOUT_FILENO, .events = 0}}; /* a reader that went away */
        int64_t ms = viv_timeout_ms(c->v);

        if (poll(fds, 3, ms > INT_MAX ? INT_MAX : (int)ms) < 0 && errno != EINTR) {
            (void)vivi_fail_errno(&err, errno, "poll");
            return vivi_cli_fail(c, NULL, &err);
        }
        if (vivi_signals_next())
            return INTERRUPTED;
        if (fds[2].revents & (POLLERR | POLLHUP))
            return 0;
        code = drain(c);
    }
    return code;
}

int vivi_cmd_events(struct vivi_cli *c)
{
    bool no_follow = vivi_args_has(&c->args, "--no-follow");
    cleanup_buf struct vivi_buf text = VIVI_BUF(VIVI_FILTER_TEXT_MAX);
    const char *filter;
    viv_error err = VIV_ERROR_INIT;
    int64_t since = -1;
    uint64_t after = 0;
    int code, signal_fd = -1;

    if (c->args.n_words)
        return vivi_cli_usage(c, "--filter vm=NAME selects a VM", "takes no words");
    if (vivi_args_number(&c->args, "--since", &since, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    if (vivi_args_has(&c->args, "--since") && since < 0)
        return vivi_cli_usage(c, NULL, "--since: \"%s\" is not a sequence number",
                              vivi_args_str(&c->args, "--since"));
    code = vivi_cli_open(c, VIV_OPEN_CREATE);
    if (code == 0)
        code = vivi_select_filter(c, &text, &filter);
    if (code)
        return code;
    if (since > 0)
        after = (uint64_t)since;
    else if (since == 0 || no_follow)
        after = VIV_EVENTS_ALL;
    if (viv_subscribe(c->v, filter, after, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    if (!no_follow && vivi_signals_catch(&signal_fd, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = drain(c);
    return code || no_follow ? code : follow(c, signal_fd);
}
