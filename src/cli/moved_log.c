#include "cli/moved_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/fd.h"

#define PIECE_BYTES (192u << 10) /* 256 KiB of text */
#define ANSWER_MS   60000

/* ---- the end that it leaves ---- */

int64_t vivi_log_room(const json_t *arrived)
{
    const json_t *room = json_object_get(arrived, "log");

    return json_is_integer(room) ? (int64_t)json_integer_value(room) : VIVI_LOG_NOT_TAKEN;
}

static int64_t number_of(const json_t *j, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(j, key));
}

/* The log as it stands; lost: how much of it will not be there. */
static int ask_part(viv_vm *vm, int64_t lost, json_t **ret, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    cleanup_rec viv_rec *rec = NULL;
    cleanup_json json_t *j = NULL;
    int r = viv_opts_new(&o, err);

    if (r == 0)
        r = viv_opts_set_str(o, "step", "log", err);
    if (r == 0 && lost > 0)
        r = viv_opts_set_i64(o, "lost", lost, err);
    if (r == 0)
        r = viv_vm_migrate(vm, o, NULL, &rec, err);
    if (r < 0)
        return r;
    j = vivi_rec_to_json(rec);
    *ret = json_incref(json_object_get(j, "part"));
    return *ret ? 0 : vivi_fail_oom(err);
}

static int say_piece(struct vivi_peer *p, int64_t at, const char *data, size_t len, viv_error *err)
{
    char *text = malloc(VIVI_BASE64_LEN(len) + 1);
    int r;

    if (!text)
        return vivi_fail_oom(err);
    vivi_base64_encode(data, len, text);
    r = vivi_peer_say(p, "piece", json_pack("{s:I, s:s}", "at", (json_int_t)at, "data", text), err);
    free(text);
    return r;
}

static int say_bytes(struct vivi_peer *p, int fd, const json_t *part, viv_error *err)
{
    int64_t at = number_of(part, "start"), size = number_of(part, "size");
    char *data = malloc(PIECE_BYTES);
    int r = data ? 0 : vivi_fail_oom(err);

    while (r == 0 && at < size) {
        size_t want = size - at < PIECE_BYTES ? (size_t)(size - at) : PIECE_BYTES;
        ssize_t n = pread(fd, data, want, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            r = vivi_fail_errno(err, n < 0 ? errno : EIO, "cannot read the log");
        else
            r = say_piece(p, at, data, (size_t)n, err);
        at += n > 0 ? n : 0;
    }
    free(data);
    return r;
}

/* How many bytes are there now. */
static int give(viv_vm *vm, struct vivi_peer *p, json_t *part, int64_t *ret, viv_error *err)
{
    cleanup_json json_t *answer = NULL;
    cleanup_close int fd = -1;
    int r = viv_vm_log_open(vm, "serial", &fd, NULL, err);

    if (r == 0)
        r = vivi_peer_say(p, "log", json_pack("{s:O}", "part", part), err);
    if (r == 0)
        r = say_bytes(p, fd, part, err);
    if (r == 0)
        r = vivi_peer_say(p, "end", NULL, err);
    if (r == 0)
        r = vivi_peer_wait(p, ANSWER_MS, &answer, err);
    if (r < 0)
        return r;
    if (strcmp(vivi_peer_word(answer), "logged") != 0)
        return vivi_peer_take_error(answer, err);
    *ret = number_of(answer, "bytes");
    return 0;
}

void vivi_log_give(struct vivi_cli *c, viv_vm *vm, struct vivi_peer *p, int64_t room,
                   const char *dest)
{
    cleanup_json json_t *part = NULL, *again = NULL;
    viv_error err = VIV_ERROR_INIT;
    int64_t kept, there = 0;
    int r;

    if (room == 0) /* it has it */
        return;
    r = ask_part(vm, 0, &part, &err);
    kept = r == 0 ? number_of(part, "size") - number_of(part, "start") : 0;
    if (r == 0 && room < 0)
        r = room == VIVI_LOG_NOT_ASKED
                ? vivi_fail(&err, VIV_E_IO, "it cannot be asked")
                : vivi_fail(&err, VIV_E_UNSUPPORTED, "the viv there takes none");
    if (r == 0)
        r = give(vm, p, part, &there, &err);
    if (r == 0 && there >= kept)
        return;
    if (r == 0)
        (void)vivi_fail(&err, VIV_E_INVALID, "there is no room for more");
    if (part && kept == 0)
        return;
    vivi_cli_note(c, "%s: %" PRId64 " bytes of its log so far are here only, not at %s: %s",
                  viv_vm_name(vm), kept - there, dest, err.message);
    if (r < 0 && room != VIVI_LOG_NOT_TAKEN)
        vivi_cli_note(c, "hint: viv migrate --resolve %s", viv_vm_name(vm));
    (void)ask_part(vm, kept - there, &again, NULL);
}

/* ---- the end that it comes to ---- */

static int receive_log(viv_vm *vm, viv_opts *o, const char *step, int64_t *ret, viv_error *err)
{
    cleanup_rec viv_rec *rec = NULL;
    int r = viv_opts_set_str(o, "log", step, err);

    if (r == 0)
        r = viv_vm_receive(vm, o, NULL, &rec, err);
    return r < 0 ? r : viv_rec_i64(rec, "bytes", ret);
}

int64_t vivi_log_wanted(viv_vm *vm)
{
    cleanup_opts viv_opts *o = NULL;
    int64_t room = VIVI_LOG_NOT_TAKEN;

    if (viv_opts_new(&o, NULL) < 0 || receive_log(vm, o, "room", &room, NULL) < 0)
        return VIVI_LOG_NOT_TAKEN;
    return room;
}

static int begin(struct vivi_log_coming *g, const json_t *part, viv_error *err)
{
    vivi_log_coming_done(g);
    g->part = json_dumps(part, JSON_COMPACT);
    g->next = number_of(part, "start");
    g->size = number_of(part, "size");
    return g->part ? 0 : vivi_fail(err, VIV_E_PROTOCOL, "not a part of a log");
}

static int step(struct vivi_log_coming *g, viv_vm *vm, const char *name, const json_t *piece,
                int64_t *ret, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    const char *data = json_string_value(json_object_get(piece, "data"));
    int r = viv_opts_new(&o, err);

    if (r == 0)
        r = viv_opts_set_str(o, "part", g->part, err);
    if (r == 0 && piece)
        r = viv_opts_set_i64(o, "at", g->next, err);
    if (r == 0 && piece)
        r = viv_opts_set_str(o, "data", data ? data : "", err);
    return r < 0 ? r : receive_log(vm, o, name, ret, err);
}

/* In order and without a gap: only then all of it is there when the last one is. */
static int put(struct vivi_log_coming *g, viv_vm *vm, const json_t *piece, viv_error *err)
{
    int64_t bytes = 0;
    int r;

    if (!g->part || number_of(piece, "at") != g->next)
        return vivi_fail(err, VIV_E_PROTOCOL, "a piece of a log that does not follow");
    r = step(g, vm, "put", piece, &bytes, err);
    g->next += bytes;
    return r;
}

static int take(struct vivi_log_coming *g, viv_vm *vm, int64_t *ret_bytes, viv_error *err)
{
    if (!g->part || g->next != g->size)
        return vivi_fail(err, VIV_E_PROTOCOL, "a log that ends too early");
    return step(g, vm, "take", NULL, ret_bytes, err);
}

int vivi_log_word(struct vivi_log_coming *g, viv_vm *vm, const json_t *j, int64_t *ret_bytes)
{
    const char *word = vivi_peer_word(j);
    bool log = strcmp(word, "log") == 0, ends = strcmp(word, "end") == 0;

    if (!log && !ends && strcmp(word, "piece") != 0)
        return -VIV_E_PROTOCOL;
    if (g->err.code == 0 && log)
        (void)begin(g, json_object_get(j, "part"), &g->err);
    else if (g->err.code == 0 && ends)
        (void)take(g, vm, ret_bytes, &g->err);
    else if (g->err.code == 0)
        (void)put(g, vm, j, &g->err);
    return ends;
}

void vivi_log_coming_done(struct vivi_log_coming *g)
{
    free(g->part);
    g->part = NULL;
}
