#include "monitor/copying.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clone.h"
#include "base/fd.h"
#include "monitor/monitor.h"

#define PIECE_BYTES (UINT64_C(8) << 20) /* of one turn of the loop */
#define PART_SUFFIX ".part"

struct vivi_copying {
    struct vivi_copies list;
    size_t now;
    int from, to; /* of the pair that is under way, −1 = none */
    uint64_t at;
    struct vivi_timer *turn;
    void (*done)(struct vivi_monitor *m, const viv_error *err);
};

void vivi_copies_done(struct vivi_copies *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->items[i].from);
        free(c->items[i].to);
    }
    free(c->items);
    *c = (struct vivi_copies){0};
}

int vivi_copies_add(struct vivi_copies *c, const char *from, const char *to, viv_error *err)
{
    struct vivi_copy *more = realloc(c->items, (c->n + 1) * sizeof(*more));

    if (!more)
        return vivi_fail_oom(err);
    c->items = more;
    more[c->n] = (struct vivi_copy){strdup(from), strdup(to)};
    if (!more[c->n].from || !more[c->n].to) {
        free(more[c->n].from);
        free(more[c->n].to);
        return vivi_fail_oom(err);
    }
    c->n++;
    return 0;
}

static void part_of(const struct vivi_copy *c, char ret[PATH_MAX])
{
    (void)snprintf(ret, PATH_MAX, "%s" PART_SUFFIX, c->to);
}

void vivi_copying_stop(struct vivi_monitor *m)
{
    struct vivi_copying *c = m->copying;
    char part[PATH_MAX];

    if (!c)
        return;
    m->copying = NULL;
    vivi_disarm(m, &c->turn);
    if (c->to >= 0) {
        part_of(&c->list.items[c->now], part);
        (void)unlink(part);
    }
    vivi_close(&c->from);
    vivi_close(&c->to);
    vivi_copies_done(&c->list);
    free(c);
}

static void finish(struct vivi_monitor *m, const viv_error *err)
{
    void (*done)(struct vivi_monitor *, const viv_error *) = m->copying->done;

    vivi_copying_stop(m);
    done(m, err);
}

static int open_pair(struct vivi_copying *c, viv_error *err)
{
    const struct vivi_copy *pair = &c->list.items[c->now];
    char part[PATH_MAX];

    part_of(pair, part);
    c->at = 0;
    c->from = open(pair->from, O_RDONLY | O_CLOEXEC);
    if (c->from < 0)
        return vivi_fail_errno(err, errno, "%s", pair->from);
    c->to = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return c->to < 0 ? vivi_fail_errno(err, errno, "%s", part) : 0;
}

static int close_pair(struct vivi_copying *c, viv_error *err)
{
    const struct vivi_copy *pair = &c->list.items[c->now];
    char part[PATH_MAX];

    part_of(pair, part);
    if (fsync(c->to) < 0 || rename(part, pair->to) < 0)
        return vivi_fail_errno(err, errno, "%s", pair->to);
    vivi_close(&c->from);
    vivi_close(&c->to);
    c->now++;
    return 0;
}

/* 1: there is more to do; 0: all is done. */
static int turn(struct vivi_copying *c, viv_error *err)
{
    int r = 1;

    if (c->now == c->list.n)
        return 0;
    if (c->from < 0) {
        r = open_pair(c, err);
        if (r == 0)
            r = vivi_clone_fd(c->from, c->to, err);
        if (r == -VIV_E_UNSUPPORTED && c->list.slow)
            return 1;
        if (r < 0)
            return vivi_wrap(err, r, "%s", c->list.items[c->now].from);
    } else {
        r = vivi_copy_piece(c->from, c->to, &c->at, PIECE_BYTES, err);
    }
    if (r == 0)
        r = close_pair(c, err);
    return r < 0 ? r : 1;
}

static void on_turn(void *arg)
{
    struct vivi_monitor *m = arg;
    viv_error err = VIV_ERROR_INIT;
    int r;

    vivi_disarm(m, &m->copying->turn);
    r = turn(m->copying, &err);
    if (r == 1)
        vivi_arm(m, &m->copying->turn, &(struct vivi_arm){"copying", 0, on_turn});
    else
        finish(m, r < 0 ? &err : NULL);
}

int vivi_copying_begin(struct vivi_monitor *m, struct vivi_copies *list_consume,
                       void (*done)(struct vivi_monitor *m, const viv_error *err), viv_error *err)
{
    struct vivi_copying *c = m->copying ? NULL : calloc(1, sizeof(*c));

    if (!c) {
        vivi_copies_done(list_consume);
        return vivi_fail_oom(err);
    }
    *c = (struct vivi_copying){.list = *list_consume, .from = -1, .to = -1, .done = done};
    *list_consume = (struct vivi_copies){0};
    m->copying = c;
    vivi_arm(m, &c->turn, &(struct vivi_arm){"copying", 0, on_turn});
    return 0;
}
