/* Looking at a world and waiting for what happens in it. */
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

void world_type(struct world *w, const char *keys)
{
    for (size_t i = 0; i < w->n_streams; i++)
        w->streams[i].typed_at = w->streams[i].size;
    if (write(w->input_fd, keys, strlen(keys)) != (ssize_t)strlen(keys))
        world_fail_text(w, "cannot type", keys);
}

uint64_t world_serial_size(struct world *w)
{
    struct stream *s = world_serial(w);

    return s ? s->size : 0;
}

bool world_boot_began_at(const struct world *w, uint64_t size)
{
    return w->gated ? w->boot_offset == size : w->boot_offset <= size;
}

bool world_logged(struct world *w, const char *text, uint64_t offset)
{
    struct stream *s = world_serial(w);
    size_t len;
    char *data;
    bool found;

    if (!s || s->size <= offset)
        return false;
    len = (size_t)(s->size - offset);
    data = malloc(len);
    found = data && pread(s->log_fd, data, len, (off_t)offset) == (ssize_t)len &&
            memmem(data, len, text, strlen(text));
    free(data);
    return found;
}

const struct done_record *world_result(const struct world *w, uint64_t op)
{
    for (size_t i = 0; i < w->n_done; i++)
        if (w->done[i].op == op)
            return &w->done[i];
    return NULL;
}

bool world_wait(struct world *w, bool (*cond)(struct world *w), const char *what)
{
    uint64_t deadline = vivi_mono_us() / 1000 + WORLD_WAIT_MS, now;

    while (!cond(w)) {
        now = vivi_mono_us() / 1000;
        if (now >= deadline) {
            world_fail_text(w, "timed out, waiting for", what);
            return false;
        }
        (void)poll_loop_step(&w->loop, (int)(deadline - now));
    }
    return true;
}

const struct done_record *world_wait_result(struct world *w, uint64_t op)
{
    uint64_t deadline = vivi_mono_us() / 1000 + WORLD_WAIT_MS, now;
    const struct done_record *r;

    while (!(r = world_result(w, op))) {
        now = vivi_mono_us() / 1000;
        if (now >= deadline) {
            static const struct done_record late = {.code = VIV_E_TIMEOUT};

            world_fail_text(w, "timed out", "the operation is not done");
            return &late;
        }
        (void)poll_loop_step(&w->loop, (int)(deadline - now));
    }
    return r;
}

bool world_wait_done(struct world *w, uint64_t op)
{
    const struct done_record *r = world_wait_result(w, op);

    if (r->code != 0)
        world_fail_text(w, "the operation failed", r->message);
    return r->code == 0;
}

bool world_wait_logged(struct world *w, const char *text, uint64_t offset)
{
    uint64_t deadline = vivi_mono_us() / 1000 + WORLD_WAIT_MS, now;

    while (!world_logged(w, text, offset)) {
        now = vivi_mono_us() / 1000;
        if (now >= deadline) {
            world_fail_text(w, "timed out, not in the serial log", text);
            return false;
        }
        (void)poll_loop_step(&w->loop, (int)(deadline - now));
    }
    return true;
}

static bool has_exited(struct world *w)
{
    return w->exited;
}

bool world_wait_exit(struct world *w)
{
    return world_wait(w, has_exited, "the VMM ends");
}
