/*
 * YAML text to a tree of nodes that know their lines.
 *
 * Theory of operation. libyaml tokenises; this file keeps what matters (kinds, text, lines) and
 * refuses what a configuration does not need and an attacker might want: tags, several documents,
 * deep nesting, many nodes, many aliases. Scalars are not typed here: "on" and "0x10" stay text
 * until the field they stand for says what they are. Only a plain null, ~ or nothing is told apart.
 *
 * The text is looked through first, because libyaml's own messages about bytes have no line.
 */
#include "model/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "model/config.h"

#define NODES_MAX   50000
#define ANCHORS_MAX 100

struct anchor {
    char *name; /* owned */
    struct vivi_node *node;
};

struct reader {
    yaml_parser_t parser;
    struct vivi_tree tree;
    struct vivi_node *stack[VIVI_CONFIG_MAX_DEPTH]; /* open containers */
    size_t depth;
    size_t nodes, aliases;
    struct anchor anchors[ANCHORS_MAX];
    size_t n_anchors;
    bool ended;         /* the document */
    bool bad_surrogate; /* libyaml stumbled over half a character */
    const char *text;
    size_t len;
    size_t line; /* of the error */
};

void vivi_tree_done(struct vivi_tree *t)
{
    struct vivi_node *next;

    for (struct vivi_node *n = t->all; n; n = next) {
        next = n->next;
        free(n->text);
        free(n->items);
        free(n);
    }
    *t = (struct vivi_tree){0};
}

static void reader_done(struct reader *rd)
{
    for (size_t i = 0; i < rd->n_anchors; i++)
        free(rd->anchors[i].name);
    vivi_tree_done(&rd->tree);
    yaml_parser_delete(&rd->parser);
}

static size_t line_of(const char *text, size_t offset)
{
    size_t line = 1;

    for (size_t i = 0; i < offset; i++)
        line += text[i] == '\n';
    return line;
}

/* ---- bytes ---- */

static int check_bytes(struct reader *rd, viv_error *err)
{
    const unsigned char *p = (const unsigned char *)rd->text;
    size_t bad = 0;

    if (rd->len >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff))) {
        rd->line = 1;
        return vivi_fail(err, VIV_E_INVALID, "is UTF-16, not UTF-8");
    }
    for (size_t i = 0; i < rd->len; i++) {
        unsigned char c = p[i];

        if ((c >= ' ' || c == '\n' || c == '\r' || c == '\t') && c != 0x7f)
            continue;
        rd->line = line_of(rd->text, i);
        return vivi_fail(err, VIV_E_INVALID, c == '\0' ? "a NUL byte" : "control character 0x%02x",
                         c);
    }
    if (vivi_utf8_valid(rd->text, rd->len, &bad))
        return 0;
    rd->line = line_of(rd->text, bad);
    return vivi_fail(err, VIV_E_INVALID, "is not valid UTF-8");
}

/* The code of a "\uXXXX" at p, 0 = there is none (or it is U+0000, which is no half of anything).
 */
static unsigned escape_at(const char *p, size_t len)
{
    unsigned v = 0;

    if (len < 6 || p[0] != '\\' || p[1] != 'u')
        return 0;
    for (int i = 2; i < 6; i++) {
        if (p[i] >= '0' && p[i] <= '9')
            v = v << 4 | (unsigned)(p[i] - '0');
        else if ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'f')
            v = v << 4 | (unsigned)((p[i] | 0x20) - 'a' + 10);
        else
            return 0;
    }
    return v;
}

/*
 * JSON writes a character beyond U+FFFF as two escapes, which YAML refuses. Where libyaml stumbles
 * over one, each such pair becomes \UXXXXXXXX (two bytes shorter, same lines) for a second attempt.
 * Returns a copy (of *len bytes), NULL: out of memory.
 */
static char *join_surrogates(const char *text, size_t *len)
{
    char *copy = malloc(*len + 1);
    size_t out = 0;

    for (size_t i = 0; copy && i < *len;) {
        const char *p = text + i;
        size_t n = p[0] == '\\' && i + 1 < *len ? 2 : 1; /* "\\\\u" is a backslash and a u */
        unsigned high = escape_at(p, *len - i), low;

        low = (high & 0xfc00) == 0xd800 ? escape_at(p + 6, *len - i - 6) : 0;
        if ((low & 0xfc00) == 0xdc00) {
            out += (size_t)snprintf(copy + out, 11, "\\U%08x",
                                    0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            i += 12;
            continue;
        }
        memcpy(copy + out, p, n);
        out += n;
        i += n;
    }
    if (copy)
        *len = out;
    return copy;
}

/* ---- nodes ---- */

static int fail_at(struct reader *rd, size_t line, viv_error *err, const char *text)
{
    rd->line = line;
    return vivi_fail(err, VIV_E_INVALID, "%s", text);
}

static int new_node(struct reader *rd, enum vivi_node_kind kind, size_t line,
                    struct vivi_node **ret, viv_error *err)
{
    struct vivi_node *n;

    if (rd->nodes >= NODES_MAX)
        return fail_at(rd, line, err, "too many values");
    n = calloc(1, sizeof(*n));
    if (!n)
        return vivi_fail_oom(err);
    n->kind = kind;
    n->line = line;
    n->next = rd->tree.all;
    rd->tree.all = n;
    rd->nodes++;
    *ret = n;
    return 0;
}

/* Puts a finished or just opened node where it belongs: the open container, or the root. */
static int place(struct reader *rd, struct vivi_node *n, viv_error *err)
{
    struct vivi_node *in;

    if (rd->depth == 0) {
        rd->tree.root = n;
        return 0;
    }
    in = rd->stack[rd->depth - 1];
    if (in->kind == VIVI_NODE_MAP && in->n % 2 == 0 && n->kind != VIVI_NODE_SCALAR)
        return fail_at(rd, n->line, err, "a key must be a word");
    if (in->n == in->cap) {
        size_t cap = in->cap ? in->cap * 2 : 8;
        struct vivi_node **items = realloc(in->items, cap * sizeof(*items));

        if (!items)
            return vivi_fail_oom(err);
        in->items = items;
        in->cap = cap;
    }
    in->items[in->n++] = n;
    return 0;
}

static int keep_anchor(struct reader *rd, const yaml_char_t *name, struct vivi_node *n,
                       viv_error *err)
{
    char *copy;

    if (!name)
        return 0;
    if (rd->n_anchors == ANCHORS_MAX)
        return fail_at(rd, n->line, err, "too many anchors");
    copy = strdup((const char *)name);
    if (!copy)
        return vivi_fail_oom(err);
    rd->anchors[rd->n_anchors++] = (struct anchor){.name = copy, .node = n};
    return 0;
}

static bool is_open(const struct reader *rd, const struct vivi_node *n)
{
    for (size_t i = 0; i < rd->depth; i++)
        if (rd->stack[i] == n)
            return true;
    return false;
}

static int on_alias(struct reader *rd, const yaml_event_t *e, viv_error *err)
{
    size_t line = e->start_mark.line + 1;

    if (++rd->aliases > ANCHORS_MAX)
        return fail_at(rd, line, err, "too many aliases");
    for (size_t i = rd->n_anchors; i-- > 0;) {
        struct anchor *a = &rd->anchors[i];

        if (strcmp(a->name, (const char *)e->data.alias.anchor) != 0)
            continue;
        if (is_open(rd, a->node))
            return fail_at(rd, line, err, "an alias inside of its own anchor");
        return place(rd, a->node, err);
    }
    return fail_at(rd, line, err, "an alias without an anchor");
}

static bool is_null(const yaml_event_t *e)
{
    const char *s = (const char *)e->data.scalar.value;

    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return *s == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0 || strcmp(s, "Null") == 0 ||
           strcmp(s, "NULL") == 0;
}

static int on_scalar(struct reader *rd, const yaml_event_t *e, viv_error *err)
{
    size_t line = e->start_mark.line + 1, len = e->data.scalar.length;
    struct vivi_node *n = NULL;
    int r;

    if (e->data.scalar.tag)
        return fail_at(rd, line, err, "tags are not understood");
    if (memchr(e->data.scalar.value, '\0', len))
        return fail_at(rd, line, err, "a NUL byte");
    r = new_node(rd, is_null(e) ? VIVI_NODE_NULL : VIVI_NODE_SCALAR, line, &n, err);
    if (r < 0)
        return r;
    n->text = malloc(len + 1);
    if (!n->text)
        return vivi_fail_oom(err);
    memcpy(n->text, e->data.scalar.value, len + 1);
    r = keep_anchor(rd, e->data.scalar.anchor, n, err);
    return r < 0 ? r : place(rd, n, err);
}

static int on_open(struct reader *rd, const yaml_event_t *e, viv_error *err)
{
    bool map = e->type == YAML_MAPPING_START_EVENT;
    size_t line = e->start_mark.line + 1;
    struct vivi_node *n = NULL;
    int r;

    if (map ? e->data.mapping_start.tag != NULL : e->data.sequence_start.tag != NULL)
        return fail_at(rd, line, err, "tags are not understood");
    if (rd->depth == VIVI_CONFIG_MAX_DEPTH)
        return fail_at(rd, line, err, "is nested too deeply");
    r = new_node(rd, map ? VIVI_NODE_MAP : VIVI_NODE_LIST, line, &n, err);
    if (r < 0)
        return r;
    r = keep_anchor(rd, map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor, n, err);
    if (r < 0)
        return r;
    r = place(rd, n, err);
    if (r < 0)
        return r;
    rd->stack[rd->depth++] = n;
    return 0;
}

static int on_event(struct reader *rd, const yaml_event_t *e, viv_error *err)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT: return on_scalar(rd, e, err);
    case YAML_ALIAS_EVENT: return on_alias(rd, e, err);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT: return on_open(rd, e, err);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: rd->depth--; return 0;
    case YAML_DOCUMENT_START_EVENT:
        if (rd->ended)
            return fail_at(rd, e->start_mark.line + 1, err, "a second document");
        return 0;
    case YAML_DOCUMENT_END_EVENT: rd->ended = true; return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT: break;
    }
    return 0;
}

/* Whether a tab stands among the blanks that line (from 0) begins with. */
static bool tab_indents(const struct reader *rd, size_t line)
{
    size_t i = 0;

    for (; i < rd->len && line > 0; i++)
        line -= rd->text[i] == '\n';
    while (i < rd->len && rd->text[i] == ' ')
        i++;
    return i < rd->len && rd->text[i] == '\t';
}

/* libyaml's words, but for the one mistake that everybody makes. */
static int fail_parser(struct reader *rd, viv_error *err)
{
    const yaml_parser_t *p = &rd->parser;
    const char *problem = p->problem ? p->problem : "is not YAML";

    if (p->error == YAML_MEMORY_ERROR)
        return vivi_fail_oom(err);
    rd->bad_surrogate = strstr(problem, "invalid Unicode character escape") != NULL;
    rd->line = p->error == YAML_READER_ERROR ? line_of(rd->text, p->problem_offset)
                                             : p->problem_mark.line + 1;
    if (strstr(problem, "cannot start any token") && tab_indents(rd, p->problem_mark.line))
        problem = "a tab cannot indent: use spaces";
    return vivi_fail(err, VIV_E_INVALID, "%s", problem);
}

static int read_events(struct reader *rd, viv_error *err)
{
    for (bool end = false; !end;) {
        yaml_event_t e;
        int r;

        if (!yaml_parser_parse(&rd->parser, &e))
            return fail_parser(rd, err);
        end = e.type == YAML_STREAM_END_EVENT;
        r = on_event(rd, &e, err);
        yaml_event_delete(&e);
        if (r < 0)
            return r;
    }
    if (rd->tree.root)
        return 0;
    return new_node(rd, VIVI_NODE_NULL, 1, &rd->tree.root, err);
}

static int read_text(struct reader *rd, viv_error *err)
{
    if (rd->len >= 3 && memcmp(rd->text, "\xef\xbb\xbf", 3) == 0) {
        rd->text += 3; /* a byte order mark is harmless, and some editors insist on it */
        rd->len -= 3;
    }
    if (!yaml_parser_initialize(&rd->parser)) {
        rd->parser = (yaml_parser_t){0};
        return vivi_fail_oom(err);
    }
    yaml_parser_set_encoding(&rd->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&rd->parser, (const unsigned char *)rd->text, rd->len);
    return read_events(rd, err);
}

int vivi_tree_parse(const char *text, size_t len, struct vivi_tree *ret, size_t *ret_line,
                    viv_error *err)
{
    cleanup_free char *copy = NULL;
    struct reader rd = {.text = text, .len = len};
    int r;

    *ret_line = 0;
    if (len > VIVI_CONFIG_MAX_BYTES)
        return vivi_fail(err, VIV_E_INVALID, "is larger than 1MiB");
    r = check_bytes(&rd, err);
    if (r == 0)
        r = read_text(&rd, err);
    if (rd.bad_surrogate) {
        copy = join_surrogates(text, &len);
        reader_done(&rd);
        rd = (struct reader){.text = copy, .len = len};
        vivi_error_clear(err);
        r = copy ? read_text(&rd, err) : vivi_fail_oom(err);
    }
    *ret_line = rd.line;
    if (r == 0) {
        *ret = rd.tree;
        rd.tree = (struct vivi_tree){0};
    }
    reader_done(&rd);
    return r;
}
