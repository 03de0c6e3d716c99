/* Which operations wait for a guest. */
#include "driver/hot.h"

#include <string.h>

#include "base/cleanup.h"

int vivi_hot_wait(struct vivi_hot_waits *w, const char *key, uint64_t op, viv_error *err)
{
    size_t len = strlen(key);

    if (len >= VIVI_HOT_KEY_BYTES)
        return vivi_fail(err, VIV_E_INVALID, "the id is too long");
    for (size_t i = 0; i < ARRAY_SIZE(w->items); i++) {
        if (w->items[i].op != 0)
            continue;
        w->items[i].op = op;
        memcpy(w->items[i].key, key, len + 1);
        return 0;
    }
    return vivi_fail(err, VIV_E_BUSY, "too many changes wait for the guest");
}

bool vivi_hot_waits_for(const struct vivi_hot_waits *w, const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(w->items); i++)
        if (w->items[i].op != 0 && strcmp(w->items[i].key, key) == 0)
            return true;
    return false;
}

uint64_t vivi_hot_take(struct vivi_hot_waits *w, const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(w->items); i++) {
        uint64_t op = w->items[i].op;

        if (op == 0 || (key && strcmp(w->items[i].key, key) != 0))
            continue;
        w->items[i].op = 0;
        return op;
    }
    return 0;
}

bool vivi_hot_drop(struct vivi_hot_waits *w, uint64_t op)
{
    for (size_t i = 0; i < ARRAY_SIZE(w->items); i++) {
        if (op == 0 || w->items[i].op != op)
            continue;
        w->items[i].op = 0;
        return true;
    }
    return false;
}
