/*
 * viv migrate receive --stdio: the end that receives, for one VM.
 *
 * What the other end says: take {offer, via, tls_dir}, then sent or back; or query {name, uuid}.
 * What it is told: ready {url}, arrived {log}, gone, or no {error}. After arrived its log may
 * follow, see moved_log.h. Should the channel end before the
 * outcome is known, the VM that was prepared is given up, unless its machine comes all the same.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/migrate.h"
#include "cli/moved_log.h"
#include "cli/out.h"
#include "cli/peer.h"
#include "cli/way.h"

#define ANY_V4 "0.0.0.0"
#define ANY_V6 "::"

struct receiver {
    struct vivi_cli *c;
    struct vivi_peer peer;
    viv_vm *vm;
    viv_op *op; /* the receive in flight */
    bool told_ready, sent;
    bool arrived; /* that was said: what follows is its log, or the end */
    struct vivi_log_coming log;
    int code; /* to exit with */
};

/* ---- where to listen ---- */

/* A port that nobody has just now; 0: none. */
static unsigned free_port(const char *host)
{
    const struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    unsigned port = 0;
    int fd;

    if (getaddrinfo(host, NULL, &want, &found) != 0)
        return 0;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
        getsockname(fd, (struct sockaddr *)&at, &len) == 0)
        port = ntohs(at.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&at)->sin6_port
                                              : ((const struct sockaddr_in *)&at)->sin_port);
    if (fd >= 0)
        (void)close(fd);
    freeaddrinfo(found);
    return port;
}

/* "tcp:host[:port]" as the other end calls us; a name is not ours to look up, and neither is an
 * interface of that end. */
static int listen_at(const char *via, char *ret, size_t size, viv_error *err)
{
    struct vivi_way way;
    unsigned number;

    if (!vivi_way_parse(via, &way))
        return vivi_fail(err, VIV_E_INVALID, "%.80s: neither unix nor tcp:HOST[:PORT]", via);
    if (!way.host[0]) {
        (void)snprintf(ret, size, VIVI_WAY_UNIX);
        return 0;
    }
    number = way.port ? (unsigned)strtoul(way.port, NULL, 10) : 0;
    if (number == 0 && !vivi_way_is_of_a_link(&way))
        number = free_port(way.host);
    if (number == 0) {
        (void)snprintf(way.host, sizeof(way.host), "%s", way.v6 ? ANY_V6 : ANY_V4);
        number = free_port(way.host);
    }
    if (number == 0 || number > 65535)
        return vivi_fail(err, VIV_E_INVALID, "%.80s: no address to listen at", via);
    (void)snprintf(ret, size, way.v6 ? VIVI_WAY_TCP "[%s]:%u" : VIVI_WAY_TCP "%s:%u", way.host,
                   number);
    return 0;
}

/* ---- taking ---- */

static int begin(struct receiver *g, const json_t *ask, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    const char *via = json_string_value(json_object_get(ask, "via"));
    const char *theirs = json_string_value(json_object_get(ask, "tls_dir"));
    const char *ours = vivi_args_str(&g->c->args, "--tls");
    char *offer = json_dumps(json_object_get(ask, "offer"), JSON_COMPACT);
    char listen[160];
    int r = listen_at(via ? via : "unix", listen, sizeof(listen), err);

    if (r == 0)
        r = viv_create_incoming(g->c->v, offer, &g->vm, err);
    if (r == 0)
        r = viv_opts_new(&o, err);
    if (r == 0)
        r = viv_opts_set_str(o, "offer", offer, err);
    if (r == 0)
        r = viv_opts_set_str(o, "listen", listen, err);
    if (r == 0 && theirs)
        r = viv_opts_set_str(o, "tls_dir", ours ? ours : theirs, err);
    if (r == 0)
        r = viv_vm_receive(g->vm, o, &g->op, NULL, err);
    free(offer);
    return r;
}

static void tell(struct receiver *g, const char *word, json_t *more)
{
    (void)vivi_peer_say(&g->peer, word, more, NULL); /* who is gone needs no answer */
}

static void refuse(struct receiver *g, const viv_error *err)
{
    tell(g, "no", vivi_peer_error(err));
}

/* Whoever it is, is told; and a person who tried it by hand. */
static void misunderstood(struct receiver *g, const viv_error *err)
{
    refuse(g, err);
    g->code = vivi_cli_fail(g->c, NULL, err);
}

static void tell_when_ready(struct receiver *g)
{
    cleanup_rec viv_rec *note = NULL;
    const char *url;

    if (g->told_ready || !g->op || viv_op_note(g->op, &note, NULL) < 0)
        return;
    url = viv_rec_str(note, "listening");
    if (!url)
        return;
    g->told_ready = true;
    tell(g, "ready", json_pack("{s:s}", "url", url));
}

/* ---- how it went ---- */

/* 1: the VM runs here, or has; 0: it never came, and nothing is left of it. */
static int is_here(struct receiver *g, viv_error *err)
{
    cleanup_rec viv_rec *info = NULL;
    int r = viv_vm_info(g->vm, &info, err);

    if (r == -VIV_E_NOT_FOUND) /* it was taken away already */
        return 0;
    if (r < 0)
        return r;
    if (!viv_rec_str(info, "moving.phase"))
        return 1;
    return viv_vm_remove(g->vm, NULL, NULL, NULL, err); /* refused while anything runs */
}

/* Nobody will come; whoever is on the way is waited for. */
static int give_up(struct receiver *g, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    int r = viv_opts_new(&o, err);

    if (r == 0)
        r = viv_opts_set_bool(o, "abort", 1, err);
    if (r == 0) /* fails as the receive does */
        (void)viv_vm_receive(g->vm, o, NULL, NULL, NULL);
    return r < 0 ? r : is_here(g, err);
}

/* True: that was all. */
static bool answer(struct receiver *g, int here, const viv_error *err)
{
    int64_t room = here > 0 ? vivi_log_wanted(g->vm) : 0;

    if (here < 0)
        refuse(g, err);
    else if (here == 0)
        tell(g, "gone", NULL);
    else
        tell(g, "arrived", json_pack("{s:I}", "log", (json_int_t)room));
    g->arrived = here > 0;
    return room <= 0;
}

static int query(struct receiver *g, const json_t *ask, viv_error *err)
{
    const char *uuid = json_string_value(json_object_get(ask, "uuid"));
    int r = viv_lookup(g->c->v, uuid ? uuid : "", &g->vm, err);

    if (r == -VIV_E_NOT_FOUND)
        return 0;
    return r < 0 ? r : give_up(g, err);
}

/* The receive is over. True: so are we. */
static bool ended(struct receiver *g)
{
    viv_error err = VIV_ERROR_INIT, why = VIV_ERROR_INIT;
    int r = viv_op_wait(g->op, 0, NULL, &err), here;

    viv_op_free(take_ptr(g->op));
    if (r < 0 && !g->told_ready) {
        refuse(g, &err);
        (void)is_here(g, &why);
        return true;
    }
    if (r == 0 && !g->sent)
        return false; /* said when asked */
    here = is_here(g, &why);
    return g->sent && answer(g, here, &why);
}

/* ---- the loop ---- */

/* False: it is no word of that. */
static bool log_word(struct receiver *g, const json_t *j, bool *ret_over)
{
    int64_t bytes = 0;
    int r = vivi_log_word(&g->log, g->vm, j, &bytes);

    if (r > 0 && g->log.err.code)
        refuse(g, &g->log.err);
    else if (r > 0)
        tell(g, "logged", json_pack("{s:I}", "bytes", (json_int_t)bytes));
    *ret_over = r > 0;
    return r >= 0;
}

/* What may come before it is known how it went. False: it is no word of that. */
static bool early_word(struct receiver *g, const json_t *j, bool *ret_over)
{
    viv_error err = VIV_ERROR_INIT;
    const char *word = vivi_peer_word(j);

    if (strcmp(word, "take") == 0 && !g->vm) {
        *ret_over = begin(g, j, &err) < 0;
        if (*ret_over)
            refuse(g, &err);
        if (*ret_over && g->vm)
            (void)is_here(g, &err);
    } else if (strcmp(word, "query") == 0 && !g->vm) {
        *ret_over = answer(g, query(g, j, &err), &err);
    } else if (strcmp(word, "sent") == 0 && g->vm) {
        g->sent = true;
        *ret_over = !g->op && answer(g, is_here(g, &err), &err);
    } else if (strcmp(word, "back") == 0 && g->vm) {
        *ret_over = answer(g, give_up(g, &err), &err);
    } else {
        return false;
    }
    return true;
}

/* True: nothing more is to be done. */
static bool handle(struct receiver *g, const json_t *j)
{
    viv_error err = VIV_ERROR_INIT;
    bool over = false;

    if (g->arrived ? log_word(g, j, &over) : early_word(g, j, &over))
        return over;
    (void)vivi_fail(&err, VIV_E_PROTOCOL, "\"%.40s\" is not expected now", vivi_peer_word(j));
    misunderstood(g, &err);
    return true;
}

/* Every line that is there: of what was read already, nothing would wake us. */
static bool listen_to_peer(struct receiver *g, bool readable)
{
    viv_error err = VIV_ERROR_INIT;
    bool over = false;
    int r = 1;

    while (r > 0 && !over) {
        cleanup_json json_t *j = NULL;

        r = readable ? vivi_peer_read(&g->peer, &j, &err) : vivi_peer_next(&g->peer, &j, &err);
        readable = false;
        over = r > 0 && handle(g, j);
    }
    if (r >= 0)
        return over;
    if (err.code == VIV_E_PROTOCOL)
        misunderstood(g, &err);
    if (g->vm && !g->arrived) /* whoever was there is gone */
        (void)give_up(g, &err);
    return true;
}

static int serve(struct receiver *g)
{
    viv_error err = VIV_ERROR_INIT;
    bool over = false;

    while (!over) {
        struct pollfd fds[2] = {{.fd = g->peer.in, .events = POLLIN},
                                {.fd = viv_fd(g->c->v), .events = POLLIN}};

        (void)poll(fds, 2, (int)viv_timeout_ms(g->c->v));
        if (viv_dispatch(g->c->v, &err) < 0)
            return vivi_cli_fail(g->c, NULL, &err);
        tell_when_ready(g);
        if (g->op && viv_op_done(g->op))
            over = ended(g);
        if (!over)
            over = listen_to_peer(g, fds[0].revents != 0);
    }
    return g->code;
}

int vivi_cmd_receive(struct vivi_cli *c)
{
    struct receiver g = {.c = c, .peer = VIVI_PEER_EMPTY, .log.err = VIV_ERROR_INIT};
    int code;

    if (c->args.n_words != 1 || !vivi_args_has(&c->args, "--stdio"))
        return vivi_cli_usage(c, NULL, "receive needs --stdio; it is run by viv migrate");
    (void)signal(SIGPIPE, SIG_IGN);
    code = vivi_cli_open(c, VIV_OPEN_CREATE);
    if (code)
        return code;
    g.peer.in = STDIN_FILENO;
    g.peer.out = STDOUT_FILENO;
    code = serve(&g);
    g.peer.in = g.peer.out = -1;
    vivi_peer_close(&g.peer);
    vivi_log_coming_done(&g.log);
    viv_op_free(g.op);
    viv_vm_free(g.vm);
    return code;
}
