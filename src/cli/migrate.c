/*
 * viv migrate: the end that sends.
 *
 * Theory of operation. The two monitors know all that matters, and finish what they have begun when
 * this process is gone; it only brings them together. First this end says what is in the way, then
 * the other end looks at what it is offered, prepares a VM and a VMM that waits, and only then
 * something is sent. When it fails, and nothing but the other end can tell whether the machine is
 * there, it is asked, and what it says settles it here.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/migrate.h"
#include "cli/moved_log.h"
#include "cli/out.h"
#include "cli/peer.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/way.h"

#define ANSWER_MS       60000 /* the other end prepares a VM and a VMM */
#define ARRIVE_MS       60000
#define FIRST_MS        150 /* as of the line on a terminal */
#define CONNECTIONS_MAX 128

struct migration {
    struct vivi_cli *c;
    viv_vm *vm;
    const char *dest, *via;
    struct vivi_peer peer;
    char url[256];
    int64_t log_room; /* for what it said here; see moved_log.h */
};

/* ---- this end ---- */

static int put(viv_opts *o, const char *key, const char *value, viv_error *err)
{
    return value ? viv_opts_set_str(o, key, value, err) : 0;
}

static int put_flag_ms(struct vivi_cli *c, viv_opts *o, const char *flag, const char *key,
                       int64_t unit_ms, viv_error *err)
{
    int64_t ms = 0;
    int r;

    if (!vivi_args_has(&c->args, flag))
        return 0;
    r = vivi_args_duration(&c->args, flag, &ms, err);
    if (r >= 0 && ms <= 0)
        r = vivi_fail(err, VIV_E_INVALID, "%s: must be longer than 0", flag);
    return r < 0 ? r : viv_opts_set_i64(o, key, (ms + unit_ms - 1) / unit_ms, err);
}

static int options(struct migration *g, const char *step, viv_opts **ret, viv_error *err)
{
    struct vivi_cli *c = g->c;
    cleanup_opts viv_opts *o = NULL;
    int64_t connections = -1;
    int r = viv_opts_new(&o, err);

    if (r == 0)
        r = put(o, "step", step, err);
    if (r == 0)
        r = put(o, "to", g->dest, err);
    if (r == 0)
        r = put(o, "url", g->url[0] ? g->url : NULL, err);
    if (r == 0)
        r = put(o, "tls_dir", vivi_args_str(&c->args, "--tls"), err);
    if (r == 0 && vivi_args_has(&c->args, "--local"))
        r = viv_opts_set_bool(o, "local", 1, err);
    if (r == 0)
        r = put_flag_ms(c, o, "--downtime", "downtime_ms", 1, err);
    if (r == 0)
        r = put_flag_ms(c, o, "--timeout", "timeout_s", 1000, err);
    if (r == 0 && vivi_args_has(&c->args, "--connections"))
        r = vivi_args_number(&c->args, "--connections", &connections, err);
    if (r == 0 && connections >= 0)
        r = viv_opts_set_i64(o, "connections", connections, err);
    if (r < 0)
        return r;
    *ret = take_ptr(o);
    return 0;
}

static int settle(struct migration *g, bool arrived, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    int r = viv_opts_new(&o, err);

    if (r == 0)
        r = put(o, "step", "settle", err);
    if (r == 0)
        r = put(o, "to", g->dest, err);
    if (r == 0)
        r = viv_opts_set_bool(o, "arrived", arrived, err);
    return r < 0 ? r : viv_vm_migrate(g->vm, o, NULL, NULL, err);
}

/* ---- the other end ---- */

/* As messages call it: a command may be long. */
static const char *other_end(const struct migration *g)
{
    return strncmp(g->dest, "exec:", 5) == 0 ? "the other end" : g->dest;
}

/* "tcp:0.0.0.0:4711" as it listens there is reached under the name we have for it. */
static void url_of(struct migration *g, const char *told)
{
    const char *port = strrchr(told, ':');
    struct vivi_way way;

    if (vivi_way_parse(g->via, &way) && way.host[0] && port)
        vivi_way_url(&way, port + 1, g->url, sizeof(g->url));
    else
        (void)snprintf(g->url, sizeof(g->url), "%s", told);
}

static int prepare_there(struct migration *g, json_t *offer, viv_error *err)
{
    cleanup_json json_t *answer = NULL;
    const char *tls = vivi_args_str(&g->c->args, "--remote-tls");
    const char *url;
    int r;

    if (!tls)
        tls = vivi_args_str(&g->c->args, "--tls");
    r = vivi_peer_say(&g->peer, "take",
                      json_pack("{s:o, s:s, s:s*}", "offer", offer, "via", g->via, "tls_dir", tls),
                      err);
    if (r == 0)
        r = vivi_peer_wait(&g->peer, ANSWER_MS, &answer, err);
    if (r < 0)
        return vivi_wrap(err, r, "%s", other_end(g));
    url = json_string_value(json_object_get(answer, "url"));
    if (strcmp(vivi_peer_word(answer), "ready") != 0 || !url)
        return vivi_wrap(err, vivi_peer_take_error(answer, err), "%s", other_end(g));
    url_of(g, url);
    return 0;
}

/* What the other end knows: 1 it is there, 0 it is not, < 0 no answer. */
static int ask_there(struct migration *g, const char *word, viv_error *err)
{
    cleanup_json json_t *answer = NULL;
    int r = vivi_peer_say(
        &g->peer, word,
        json_pack("{s:s, s:s}", "name", viv_vm_name(g->vm), "uuid", viv_vm_uuid(g->vm)), err);

    if (r == 0)
        r = vivi_peer_wait(&g->peer, ARRIVE_MS, &answer, err);
    if (r < 0)
        return vivi_wrap(err, r, "%s", other_end(g));
    g->log_room = vivi_log_room(answer);
    if (strcmp(vivi_peer_word(answer), "arrived") == 0)
        return 1;
    if (strcmp(vivi_peer_word(answer), "gone") == 0)
        return 0;
    return vivi_wrap(err, vivi_peer_take_error(answer, err), "%s", other_end(g));
}

/* ---- sending ---- */

struct said {
    char doing[80];
    int64_t elapsed_ms;
};

/* Where no line can be taken away again: one for each that the monitor tells, which is when
 * something begins and every second. What is over in a moment has nothing to tell. */
static void say(struct migration *g, const char *doing, int64_t elapsed_ms, struct said *before)
{
    cleanup_json json_t *j = NULL;
    char *line = NULL;

    if (g->c->quiet || (elapsed_ms == before->elapsed_ms && strcmp(doing, before->doing) == 0))
        return;
    (void)snprintf(before->doing, sizeof(before->doing), "%s", doing);
    before->elapsed_ms = elapsed_ms;
    if (g->c->format != VIVI_FORMAT_JSON) {
        if (elapsed_ms >= FIRST_MS)
            vivi_cli_note(g->c, "%s: %s (%.1f s)", viv_vm_name(g->vm), doing,
                          (double)elapsed_ms / 1000);
        return;
    }
    j = json_pack("{s:{s:s, s:s, s:I}}", "progress", "vm", viv_vm_name(g->vm), "doing", doing,
                  "elapsed_ms", (json_int_t)elapsed_ms);
    line = json_dumps(j, JSON_COMPACT);
    if (line)
        (void)fprintf(stderr, "%s\n", line);
    free(line);
}

static int follow(struct migration *g, viv_op *op, viv_error *err)
{
    struct vivi_progress progress;
    struct said before = {.doing = ""};
    char text[120];
    int r = 0;

    vivi_progress_begin(&progress, g->c->err_tty && g->c->format != VIVI_FORMAT_JSON);
    while (r >= 0 && !viv_op_done(op)) {
        struct pollfd fd = {.fd = viv_fd(g->c->v), .events = POLLIN};
        cleanup_rec viv_rec *note = NULL;
        int64_t due = viv_timeout_ms(g->c->v);
        int turn = vivi_progress_wait_ms(&progress);
        const char *doing = NULL;
        int64_t elapsed = 0;

        (void)poll(&fd, 1, turn < 0 || (due >= 0 && due < turn) ? (int)due : turn);
        r = viv_dispatch(g->c->v, err);
        (void)viv_op_note(op, &note, NULL);
        doing = note ? viv_rec_str(note, "doing") : NULL;
        (void)snprintf(text, sizeof(text), "%s: %s", viv_vm_name(g->vm), doing ? doing : "sending");
        vivi_progress_show(&progress, text);
        if (!progress.on && doing && viv_rec_i64(note, "elapsed_ms", &elapsed) == 0)
            say(g, doing, elapsed, &before);
    }
    vivi_progress_clear(&progress);
    return r < 0 ? r : viv_op_wait(op, 0, NULL, err);
}

static int send_it(struct migration *g, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    viv_op *op = NULL;
    int r = options(g, "send", &o, err);

    if (r == 0)
        r = viv_vm_migrate(g->vm, o, &op, NULL, err);
    if (r == 0)
        r = follow(g, op, err);
    viv_op_free(op);
    return r;
}

static void give_log(struct migration *g)
{
    vivi_log_give(g->c, g->vm, &g->peer, g->log_room, other_end(g));
}

/* It is there: nothing of it goes on here, whatever our VMM thinks. */
static int leave_it_there(struct migration *g, viv_error *err)
{
    int r = viv_vm_kill(g->vm, NULL, NULL, NULL, err);

    if (r == 0)
        r = settle(g, true, err);
    if (r == 0) /* its last words are in the log by now */
        give_log(g);
    return r;
}

/* It is not there: it goes on here, and err tells why it did not leave. */
static int go_on_here(struct migration *g, viv_error *err)
{
    cleanup_rec viv_rec *info = NULL;
    const char *code, *text;
    int r = viv_vm_info(g->vm, &info, err);

    if (r == 0)
        r = settle(g, false, err);
    if (r < 0)
        return r;
    code = viv_rec_str(info, "reason.code");
    text = viv_rec_str(info, "reason.text");
    return code && text && strcmp(code, "in-doubt") == 0
               ? vivi_fail(err, VIV_E_VMM, "%s; it goes on here", text)
               : 0;
}

/* The sending failed with err. */
static int look_there(struct migration *g, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    int there = ask_there(g, "back", &why);

    if (there > 0)
        return leave_it_there(g, err);
    if (there == 0 && go_on_here(g, &why) < 0)
        *err = why;
    return -err->code;
}

/* ---- the command ---- */

static int report(struct migration *g)
{
    struct vivi_cli *c = g->c;

    if (vivi_cli_structured(c))
        return vivi_cli_record(c,
                               json_pack("{s:s, s:s, s:s, s:b}", "name", viv_vm_name(g->vm), "uuid",
                                         viv_vm_uuid(g->vm), "to", g->dest, "changed", 1));
    (void)printf("%s: runs at %s\n", viv_vm_name(g->vm), g->dest);
    return 0;
}

static int offer(struct migration *g, json_t **ret, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    cleanup_rec viv_rec *rec = NULL;
    cleanup_json json_t *j = NULL;
    int r = options(g, "offer", &o, err);

    if (r == 0)
        r = viv_vm_migrate(g->vm, o, NULL, &rec, err);
    if (r < 0)
        return r;
    j = vivi_rec_to_json(rec);
    *ret = json_incref(json_object_get(j, "offer"));
    return *ret ? 0 : vivi_fail(err, VIV_E_PROTOCOL, "its monitor offers nothing");
}

/* What no VMM takes, before another end is asked. */
static int check_flags(const struct migration *g, viv_error *err)
{
    const struct vivi_args *args = &g->c->args;
    const char *tls = vivi_args_str(args, "--tls"), *theirs = vivi_args_str(args, "--remote-tls");
    bool over_unix = strcmp(g->via, VIVI_WAY_UNIX) == 0;
    int64_t connections = 1;
    int r = vivi_args_number(args, "--connections", &connections, err);

    if (r < 0)
        return r;
    if (connections < 1 || connections > CONNECTIONS_MAX)
        return vivi_fail(err, VIV_E_INVALID, "--connections: not from 1 to %d", CONNECTIONS_MAX);
    if (connections > 1 && over_unix)
        return vivi_fail(err, VIV_E_INVALID,
                         "--connections: more than one need TCP: --via tcp:HOST");
    if (tls && over_unix)
        return vivi_fail(err, VIV_E_INVALID, "--tls: only TCP is encrypted: --via tcp:HOST");
    if (tls && tls[0] != '/')
        return vivi_fail(err, VIV_E_INVALID, "--tls: \"%.100s\": not an absolute path", tls);
    if (theirs && (!tls || theirs[0] != '/'))
        return vivi_fail(err, VIV_E_INVALID,
                         tls ? "--remote-tls: \"%.100s\": not an absolute path"
                             : "--remote-tls: \"%.100s\": goes with --tls",
                         theirs);
    return 0;
}

static int move(struct migration *g, viv_error *err)
{
    json_t *what = NULL;
    int r = offer(g, &what, err);

    if (r == 0)
        r = check_flags(g, err);
    if (r == 0)
        r = vivi_peer_open(&g->peer, g->dest, err);
    if (r < 0) {
        json_decref(what);
        return r;
    }
    r = prepare_there(g, what, err);
    if (r < 0)
        return r;
    r = send_it(g, err);
    if (r < 0)
        return look_there(g, err);
    r = ask_there(g, "sent", err);
    if (r == 0)
        return vivi_fail(err, VIV_E_VMM, "it has left, and is not there");
    if (r < 0) { /* our VMM was told that it is there, or it would not have ended */
        vivi_cli_note(g->c, "%s has arrived, though %s", viv_vm_name(g->vm), err->message);
        g->log_room = VIVI_LOG_NOT_ASKED;
    }
    give_log(g);
    return 0;
}

/* A migration whose outcome is not known here: the other end is asked. */
static int resolve(struct migration *g, viv_error *err)
{
    cleanup_rec viv_rec *info = NULL;
    char dest[512];
    bool in_doubt;
    int r = viv_vm_info(g->vm, &info, err), there;

    if (r < 0)
        return r;
    if (!viv_rec_str(info, "moving.to"))
        return vivi_fail(err, VIV_E_WRONG_STATE, "it is not on its way anywhere");
    (void)snprintf(dest, sizeof(dest), "%s", viv_rec_str(info, "moving.to"));
    g->dest = dest;
    r = vivi_peer_open(&g->peer, dest, err);
    if (r < 0)
        return r;
    there = ask_there(g, "query", err);
    if (there < 0)
        return there;
    in_doubt = viv_rec_str(info, "reason.code") &&
               strcmp(viv_rec_str(info, "reason.code"), "in-doubt") == 0;
    r = there > 0 ? leave_it_there(g, err) : settle(g, false, err);
    if (r == 0 && there > 0)
        (void)report(g);
    else if (r == 0)
        vivi_cli_note(g->c, "%s is not at %s: it %s here", viv_vm_name(g->vm), dest,
                      in_doubt ? "goes on" : "may be started");
    g->dest = NULL;
    return r;
}

/* How the bytes go: what was said, or what the destination suggests. ret holds size bytes. */
static void choose_way(const struct migration *g, char *ret, size_t size)
{
    const char *said = vivi_args_str(&g->c->args, "--via");
    const char *host = g->dest ? vivi_peer_host(g->dest) : NULL;
    struct vivi_way way;

    if (said || !host || !vivi_way_parse_host(host, &way))
        (void)snprintf(ret, size, "%s", said ? said : VIVI_WAY_UNIX);
    else
        (void)snprintf(ret, size, way.v6 ? VIVI_WAY_TCP "[%s]" : VIVI_WAY_TCP "%s", way.host);
}

int vivi_cmd_migrate(struct vivi_cli *c)
{
    bool resolves = vivi_args_has(&c->args, "--resolve");
    struct migration g = {.c = c, .peer = VIVI_PEER_EMPTY};
    viv_error err = VIV_ERROR_INIT;
    struct vivi_way way;
    char via[256];
    int code, r;

    if (c->args.n_words > 0 && strcmp(c->args.words[0], "receive") == 0)
        return vivi_cmd_receive(c);
    if (resolves && c->args.n_words != 1)
        return vivi_cli_usage(c, NULL, "--resolve needs the VM alone: viv migrate --resolve web");
    if (!resolves && c->args.n_words != 2)
        return vivi_cli_usage(c, NULL, "needs a VM and a destination: viv migrate web ssh://host");
    g.dest = resolves ? NULL : c->args.words[1];
    if (g.dest && vivi_peer_check(g.dest, &err) < 0)
        return vivi_cli_fail(c, c->args.words[0], &err);
    choose_way(&g, via, sizeof(via));
    if (!vivi_way_parse(via, &way))
        return vivi_cli_usage(c, NULL, "--via %.100s: neither unix nor tcp:HOST[:PORT]", via);
    g.via = via;
    (void)signal(SIGPIPE, SIG_IGN); /* the other end may go at any time */
    code = vivi_cli_open_vm(c, c->args.words[0], VIV_OPEN_CREATE, &g.vm);
    if (code)
        return code;
    r = resolves ? resolve(&g, &err) : move(&g, &err);
    vivi_peer_close(&g.peer);
    if (r < 0)
        code = vivi_cli_fail(c, viv_vm_name(g.vm), &err);
    else if (!resolves)
        code = report(&g);
    viv_vm_free(g.vm);
    return code;
}
