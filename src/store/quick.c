/*
 * Theory of operation: listing a thousand VMs must not cost a thousand general JSON parsers. A
 * state.json that this program wrote has its known keys in the order of the table, plain strings
 * and integers as values, and unknown keys after them. Such a text is read here in one pass,
 * straight into the struct. Everything else (escapes, another order, a mistake, a newer schema) is
 * not judged but left to the long way, which knows what to say about it.
 */
#include "store/state_fields.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MOST_DEPTH  4
#define MOST_DIGITS 18 /* cannot overflow an int64_t */

struct text {
    const char *p, *end;
};

static bool eat(struct text *t, char c)
{
    if (t->p == t->end || *t->p != c)
        return false;
    t->p++;
    return true;
}

static bool eat_word(struct text *t, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0)
        return false;
    t->p += n;
    return true;
}

/* A string of printable ASCII without escapes. */
static bool plain_string(struct text *t, const char **ret, size_t *ret_len)
{
    const char *begin;

    if (!eat(t, '"'))
        return false;
    for (begin = t->p; t->p < t->end && *t->p != '"'; t->p++)
        if (*t->p < ' ' || *t->p > '~' || *t->p == '\\')
            return false;
    *ret = begin;
    *ret_len = (size_t)(t->p - begin);
    return eat(t, '"');
}

static bool plain_integer(struct text *t, int64_t *ret)
{
    const char *begin;
    bool negative = eat(t, '-');
    int64_t n = 0;

    for (begin = t->p; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
        if (t->p - begin == MOST_DIGITS)
            return false;
        n = n * 10 + (*t->p - '0');
    }
    if (t->p == begin || (*begin == '0' && (t->p > begin + 1 || negative)))
        return false;
    if (t->p < t->end && (*t->p == '.' || *t->p == 'e' || *t->p == 'E'))
        return false;
    *ret = negative ? -n : n;
    return true;
}

static bool take_state(struct text *t, enum viv_state *ret)
{
    const char *s;
    size_t len;

    if (!plain_string(t, &s, &len))
        return false;
    for (unsigned i = 0; i < VIV_ST_COUNT_; i++) {
        const char *name = vivi_state_name((enum viv_state)i);

        if (strlen(name) == len && memcmp(name, s, len) == 0) {
            *ret = (enum viv_state)i;
            return true;
        }
    }
    return false;
}

static bool take_proc(struct text *t, struct vivi_proc_id *ret)
{
    int64_t pid, start;

    if (!eat(t, '[') || !plain_integer(t, &pid) || !eat(t, ',') || !plain_integer(t, &start) ||
        !eat(t, ']') || pid < 1 || pid > INT32_MAX || start < 1)
        return false;
    ret->pid = (pid_t)pid;
    ret->start_time = (uint64_t)start;
    return true;
}

static bool take_bool(struct text *t, bool *ret)
{
    *ret = eat_word(t, "true");
    return *ret || eat_word(t, "false");
}

static bool take_string(struct text *t, char *to, size_t cap)
{
    const char *s;
    size_t len;

    if (!plain_string(t, &s, &len) || len >= cap)
        return false;
    memcpy(to, s, len);
    to[len] = '\0';
    return true;
}

static bool take_value(struct text *t, const struct vivi_state_field *f, void *at)
{
    int64_t n;

    switch (f->type) {
    case VIVI_SF_STR: return take_string(t, at, f->size);
    case VIVI_SF_STATE: return take_state(t, at);
    case VIVI_SF_BOOL: return take_bool(t, at);
    case VIVI_SF_PROC: return take_proc(t, at);
    case VIVI_SF_U32:
        if (!plain_integer(t, &n) || n < 0 || n > UINT32_MAX)
            return false;
        *(uint32_t *)at = (uint32_t)n;
        return true;
    case VIVI_SF_U64:
        if (!plain_integer(t, &n) || n < 0)
            return false;
        *(uint64_t *)at = (uint64_t)n;
        return true;
    case VIVI_SF_I64: return plain_integer(t, at);
    }
    return false;
}

static bool skip_value(struct text *t, unsigned depth);

/* {"k":v,…} or [v,…] after its first character. */
static bool skip_members(struct text *t, bool keyed, unsigned depth)
{
    const char close = keyed ? '}' : ']';
    const char *s;
    size_t len;

    if (eat(t, close))
        return true;
    do {
        if (keyed && (!plain_string(t, &s, &len) || !eat(t, ':')))
            return false;
        if (!skip_value(t, depth + 1))
            return false;
    } while (eat(t, ','));
    return eat(t, close);
}

/* A value of an unknown key: only that it is well-formed counts. */
static bool skip_value(struct text *t, unsigned depth)
{
    const char *s;
    size_t len;
    int64_t n;

    if (t->p == t->end || depth > MOST_DEPTH)
        return false;
    switch (*t->p) {
    case '"': return plain_string(t, &s, &len);
    case '{': t->p++; return skip_members(t, true, depth);
    case '[': t->p++; return skip_members(t, false, depth);
    case 't': return eat_word(t, "true");
    case 'f': return eat_word(t, "false");
    case 'n': return eat_word(t, "null");
    default: return plain_integer(t, &n);
    }
}

/* The field of this name, from *at on; its position, or SIZE_MAX. */
static size_t find_field(const char *key, size_t len, size_t at)
{
    for (; at < vivi_state_fields_count; at++) {
        const char *name = vivi_state_fields[at].key;

        if (strlen(name) == len && memcmp(name, key, len) == 0)
            return at;
    }
    return SIZE_MAX;
}

/* Is it a known key that came too early or twice? Then the long way decides. */
static bool known_before(const char *key, size_t len, size_t at)
{
    return find_field(key, len, 0) < at || (len == 6 && memcmp(key, "schema", 6) == 0);
}

static bool take_member(struct text *t, struct vivi_state *s, size_t *at, bool *ret_labels)
{
    const char *key;
    size_t len, i;

    if (!plain_string(t, &key, &len) || !eat(t, ':'))
        return false;
    i = find_field(key, len, *at);
    if (i == SIZE_MAX) {
        if (known_before(key, len, *at))
            return false;
        if (len == 6 && memcmp(key, "labels", 6) == 0)
            *ret_labels = t->p < t->end && *t->p == '{';
        return skip_value(t, 0);
    }
    *at = i + 1;
    return take_value(t, &vivi_state_fields[i], (char *)s + vivi_state_fields[i].offset);
}

bool vivi_state_scan(const char *data, size_t len, struct vivi_state *ret, bool *ret_labels)
{
    struct text t = {data, data + len};
    struct vivi_state s;
    size_t at = 0;
    bool labels = false;

    vivi_state_init(&s);
    s.state = VIV_ST_COUNT_;
    if (!eat_word(&t, "{\"schema\":1"))
        return false;
    while (eat(&t, ','))
        if (!take_member(&t, &s, &at, &labels))
            return false;
    if (!eat(&t, '}') || t.p != t.end || s.state == VIV_ST_COUNT_ || !s.name[0] ||
        strlen(s.uuid) != VIVI_UUID_SIZE - 1)
        return false;
    *ret = s;
    *ret_labels = labels;
    return true;
}

int vivi_state_read_quick(int dir_fd, const char *path, struct vivi_state_text *text,
                          struct vivi_state *ret)
{
    cleanup_close int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n;

    if (fd < 0)
        return 0;
    do
        n = read(fd, text->data, sizeof(text->data));
    while (n < 0 && errno == EINTR);
    if (n <= 0 || (size_t)n == sizeof(text->data))
        return 0;
    text->len = (size_t)n;
    return vivi_state_scan(text->data, text->len, ret, &text->has_labels);
}
