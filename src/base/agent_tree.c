/* Records of trees: what sender and receiver share. */
#include "base/agent_tree.h"

#include <string.h>

static void put(unsigned char *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get(const unsigned char *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

void vivi_tree_encode(const struct vivi_tree_record *r, unsigned char ret[VIVI_TREE_HEAD])
{
    ret[0] = (unsigned char)r->kind;
    ret[1] = 0;
    put(ret + 2, r->name_len, 2);
    put(ret + 4, r->mode, 4);
    put(ret + 8, r->uid, 4);
    put(ret + 12, r->gid, 4);
    put(ret + 16, (uint64_t)r->mtime_s, 8);
    put(ret + 24, r->mtime_ns, 4);
    put(ret + 28, r->extra_len, 4);
    put(ret + 32, r->size, 8);
}

/* What each kind may carry. */
static const struct {
    char kind;
    bool named;
    uint32_t extra_max;
} kinds[] = {
    {'V', false, 0},
    {'D', true, 0},
    {'U', false, 0},
    {'F', true, 0},
    {'C', false, VIVI_TREE_CHUNK_MAX},
    {'E', false, 0},
    {'L', true, VIVI_TREE_LINK_MAX},
    {'H', true, VIVI_TREE_LINK_MAX},
    {'P', true, 0},
    {'X', true, VIVI_TREE_NAME_MAX},
    {'Z', false, 0},
};

int vivi_tree_decode(const unsigned char head[VIVI_TREE_HEAD], struct vivi_tree_record *ret)
{
    struct vivi_tree_record r = {.kind = (char)head[0],
                                 .name_len = (uint16_t)get(head + 2, 2),
                                 .mode = (uint32_t)get(head + 4, 4),
                                 .uid = (uint32_t)get(head + 8, 4),
                                 .gid = (uint32_t)get(head + 12, 4),
                                 .mtime_s = (int64_t)get(head + 16, 8),
                                 .mtime_ns = (uint32_t)get(head + 24, 4),
                                 .extra_len = (uint32_t)get(head + 28, 4),
                                 .size = get(head + 32, 8)};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (r.kind != kinds[i].kind)
            continue;
        if (head[1] != 0 || r.name_len > (kinds[i].named ? VIVI_TREE_NAME_MAX : 0) ||
            r.extra_len > kinds[i].extra_max || (kinds[i].named && r.name_len == 0) ||
            r.size > INT64_MAX || r.mtime_ns >= 1000000000u)
            break;
        *ret = r;
        return 0;
    }
    return -VIV_E_PROTOCOL;
}

bool vivi_tree_name_ok(const char *name, size_t len)
{
    return len > 0 && len <= VIVI_TREE_NAME_MAX && memchr(name, '/', len) == NULL &&
           memchr(name, '\0', len) == NULL && !(len == 1 && name[0] == '.') &&
           !(len == 2 && name[0] == '.' && name[1] == '.');
}
