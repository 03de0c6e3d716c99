/*
 * The fake's script: statements separated by ';' or newline, each a word and key=value pairs.
 *
 * Theory of operation: one table row per statement says which keys it takes and where its values
 * go; parsing is splitting into words and looking them up. Positions are those of the word that is
 * wrong.
 */
#include "driver/fake/script.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

#define WORD_MAX_BYTES 8192

enum key {
    K_AFTER = 1u << 0,
    K_BY = 1u << 1,
    K_EVERY = 1u << 2,
    K_N = 1u << 3,
    K_SIZE = 1u << 4,
    K_TEXT = 1u << 5,
    K_IP = 1u << 6,
    K_NONCE = 1u << 7,
    K_CODE = 1u << 8,
    K_SIGNAL = 1u << 9,
    K_VERB = 1u << 10,
    K_BOOT = 1u << 11,
    K_SPLIT = 1u << 12
};

static const struct {
    const char *name;
    unsigned key;
} key_names[] = {
    {"after", K_AFTER}, {"by", K_BY},     {"every", K_EVERY}, {"n", K_N},
    {"size", K_SIZE},   {"text", K_TEXT}, {"ip", K_IP},       {"nonce", K_NONCE},
    {"code", K_CODE},   {"verb", K_VERB}, {"boot", K_BOOT},   {"signal", K_SIGNAL},
    {"split", K_SPLIT},
};

enum kind { BEAT, RULE, SWITCH };

enum switch_id {
    SW_AGENT_DEAF,
    SW_NO_READY,
    SW_NO_BANNER,
    SW_IGNORE_BUTTON,
    SW_IGNORE_TERM,
    SW_STAMP,
    SW_ECHO,
    SW_KEYS,
    SW_BUTTON,
    SW_REFUSE_START,
    SW_UNPLUG,
    SW_SETTLE,
    SW_BUSY,
    SW_KEEP
};

struct statement {
    const char *name;
    enum kind kind;
    int what; /* enum fake_act, fake_rule_kind or switch_id */
    unsigned keys, needs;
};

#define WHEN (K_AFTER | K_BOOT)
static const struct statement statements[] = {
    {"print", BEAT, FAKE_PRINT, WHEN | K_TEXT, K_TEXT},
    {"ready", BEAT, FAKE_READY, WHEN | K_IP | K_NONCE | K_TEXT | K_SPLIT, 0},
    {"line", BEAT, FAKE_LINE, WHEN | K_EVERY | K_N | K_SIZE | K_TEXT, 0},
    {"flood", BEAT, FAKE_FLOOD, WHEN | K_SIZE | K_N, 0},
    {"fill", BEAT, FAKE_FILL, WHEN | K_SIZE | K_TEXT, K_SIZE},
    {"poweroff", BEAT, FAKE_POWEROFF, WHEN, 0},
    {"reboot", BEAT, FAKE_REBOOT, WHEN, 0},
    {"panic", BEAT, FAKE_PANIC, WHEN | K_TEXT, 0},
    {"exit", BEAT, FAKE_EXIT, WHEN | K_CODE | K_TEXT, 0},
    {"crash", BEAT, FAKE_CRASH, WHEN | K_SIGNAL, 0},
    {"event", BEAT, FAKE_EVENT, WHEN | K_TEXT, K_TEXT},
    {"complain", BEAT, FAKE_COMPLAIN, WHEN | K_N | K_SIZE | K_TEXT, 0},
    {"agent", BEAT, FAKE_AGENT, WHEN, 0},
    {"agent-ready", BEAT, FAKE_AGENT_READY, WHEN | K_IP | K_NONCE, 0},
    {"agent-gone", BEAT, FAKE_AGENT_GONE, WHEN, 0},
    {"listen", BEAT, FAKE_LISTEN, WHEN | K_N, K_N},
    {"hang-api", BEAT, FAKE_HANG_API, WHEN, 0},
    {"slow", RULE, FAKE_SLOW, K_VERB | K_BY, K_VERB | K_BY},
    {"fail", RULE, FAKE_FAIL, K_VERB | K_TEXT, K_VERB},
    {"hang", RULE, FAKE_HANG, K_VERB, K_VERB},
    {"agent-deaf", SWITCH, SW_AGENT_DEAF, 0, 0},
    {"no-ready", SWITCH, SW_NO_READY, 0, 0},
    {"no-banner", SWITCH, SW_NO_BANNER, 0, 0},
    {"ignore-button", SWITCH, SW_IGNORE_BUTTON, 0, 0},
    {"ignore-term", SWITCH, SW_IGNORE_TERM, 0, 0},
    {"stamp", SWITCH, SW_STAMP, 0, 0},
    {"echo", SWITCH, SW_ECHO, 0, 0},
    {"keys", SWITCH, SW_KEYS, 0, 0},
    {"button", SWITCH, SW_BUTTON, K_AFTER, K_AFTER},
    {"refuse-start", SWITCH, SW_REFUSE_START, K_TEXT | K_CODE, 0},
    {"unplug", SWITCH, SW_UNPLUG, K_AFTER, K_AFTER},
    {"settle", SWITCH, SW_SETTLE, K_AFTER, K_AFTER},
    {"busy", SWITCH, SW_BUSY, K_N, 0},
    {"keep", SWITCH, SW_KEEP, K_TEXT, K_TEXT},
};

static const char *const verb_names[FAKE_V_COUNT_] = {
    [FAKE_V_HELLO] = "hello",       [FAKE_V_RUN] = "run",       [FAKE_V_STATE] = "state",
    [FAKE_V_PAUSE] = "pause",       [FAKE_V_RESUME] = "resume", [FAKE_V_BUTTON] = "button",
    [FAKE_V_RESET] = "reset",       [FAKE_V_QUIT] = "quit",     [FAKE_V_CONTINUE] = "continue",
    [FAKE_V_ADD] = "add",           [FAKE_V_REMOVE] = "remove", [FAKE_V_RESIZE] = "resize",
    [FAKE_V_COUNTERS] = "counters", [FAKE_V_NMI] = "nmi",       [FAKE_V_COREDUMP] = "coredump",
};

const char *fake_verb_name(enum fake_verb v)
{
    return v < FAKE_V_COUNT_ ? verb_names[v] : "?";
}

int fake_verb_parse(const char *s, enum fake_verb *ret)
{
    for (unsigned i = 0; i < FAKE_V_COUNT_; i++) {
        if (strcmp(verb_names[i], s) == 0) {
            *ret = (enum fake_verb)i;
            return 0;
        }
    }
    return -VIV_E_INVALID;
}

/* ---- words ---- */

struct reader {
    const char *text, *at;
    char word[WORD_MAX_BYTES]; /* the last word, unescaped */
    size_t word_len;
    const char *word_at;
    viv_error *err;
};

static int fail_at(struct reader *r, const char *where, const char *what, const char *word)
{
    unsigned line = 1, column = 1;

    for (const char *p = r->text; p < where; p++) {
        column++;
        if (*p == '\n') {
            line++;
            column = 1;
        }
    }
    if (!word)
        return vivi_fail(r->err, VIV_E_INVALID, "%u:%u: %s", line, column, what);
    return vivi_fail(r->err, VIV_E_INVALID, "%u:%u: %s \"%s\"", line, column, what, word);
}

/* After a backslash. */
static int read_escape(struct reader *r, char *ret)
{
    static const char from[] = "nrt0e\\\"", to[] = "\n\r\t\0\033\\\"";
    const char *found;
    int high, low;

    if (*r->at == 'x') {
        high = vivi_hex_digit(r->at[1]);
        low = high < 0 ? -1 : vivi_hex_digit(r->at[2]);
        if (low < 0)
            return fail_at(r, r->at, "\\x needs two hex digits", NULL);
        *ret = (char)(high * 16 + low);
        r->at += 3;
        return 0;
    }
    found = *r->at ? strchr(from, *r->at) : NULL;
    if (!found)
        return fail_at(r, r->at, "unknown escape (\\n \\r \\t \\0 \\e \\\\ \\\" \\xNN)", NULL);
    *ret = to[found - from];
    r->at++;
    return 0;
}

static bool ends_word(char c)
{
    return c == '\0' || c == ';' || c == '\n' || c == ' ' || c == '\t' || c == '\r';
}

/* 1 a word, 0 end of the statement. Quotes may stand anywhere: text="a b". */
static int read_word(struct reader *r)
{
    bool quoted = false;
    const char *quote_at = NULL;

    r->at += strspn(r->at, " \t\r");
    r->word_at = r->at;
    r->word_len = 0;
    while (quoted ? *r->at != '\0' : !ends_word(*r->at)) {
        char c = *r->at++;

        if (c == '"') {
            quoted = !quoted;
            quote_at = r->at - 1;
            continue;
        }
        if (c == '\\' && read_escape(r, &c) < 0)
            return -VIV_E_INVALID;
        if (r->word_len + 1 >= sizeof(r->word))
            return fail_at(r, r->word_at, "longer than 8191 bytes", NULL);
        r->word[r->word_len++] = c;
    }
    if (quoted)
        return fail_at(r, quote_at, "the quote is not closed", NULL);
    r->word[r->word_len] = '\0';
    return r->at > r->word_at ? 1 : 0;
}

/* ---- values ---- */

static int read_number(const char *s, const char **ret_rest, uint64_t *ret)
{
    char *end;
    unsigned long long v;

    if (*s < '0' || *s > '9')
        return -VIV_E_INVALID;
    errno = 0;
    v = strtoull(s, &end, 10);
    if (errno)
        return -VIV_E_INVALID;
    *ret = v;
    *ret_rest = end;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit times[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {0}};
static const struct unit sizes[] = {{"", 1},           {"B", 1},          {"KiB", 1u << 10},
                                    {"MiB", 1u << 20}, {"GiB", 1u << 30}, {0}};
static const struct unit counts[] = {{"", 1}, {0}};

static int read_scaled(struct reader *r, const char *value, const struct unit *units, uint64_t *ret)
{
    const char *rest;
    uint64_t v;

    if (read_number(value, &rest, &v) == 0)
        for (const struct unit *u = units; u->name; u++)
            if (strcmp(rest, u->name) == 0 && v <= UINT64_C(1) << 40) {
                *ret = v * u->factor;
                return 0;
            }
    if (units == times)
        return fail_at(r, r->word_at, "not a time (examples: 250us, 5ms, 2s):", value);
    return fail_at(r, r->word_at,
                   units == sizes ? "not a size (examples: 512, 10MiB):" : "not a number:", value);
}

static int read_int(struct reader *r, const char *value, uint64_t min, uint64_t max, int *ret)
{
    uint64_t v = 0;
    int rc = read_scaled(r, value, counts, &v);

    if (rc < 0)
        return rc;
    if (v < min || v > max)
        return fail_at(r, r->word_at, "out of range:", value);
    *ret = (int)v;
    return 0;
}

/* "2" = that boot, "2+" = that and later ones. */
static int read_boot(struct reader *r, const char *value, struct fake_beat *b)
{
    const char *rest;
    uint64_t v;

    if (read_number(value, &rest, &v) < 0 || v == 0 || v > UINT32_MAX ||
        (strcmp(rest, "") != 0 && strcmp(rest, "+") != 0))
        return fail_at(r, r->word_at, "not a boot (examples: 1, 2+):", value);
    b->boot_from = (uint32_t)v;
    b->boot_to = *rest ? UINT32_MAX : (uint32_t)v;
    return 0;
}

static int copy_text(struct reader *r, const char *value, size_t len, char **ret)
{
    char *copy = malloc(len + 1);

    if (!copy)
        return vivi_fail_oom(r->err);
    memcpy(copy, value, len);
    copy[len] = '\0';
    free(*ret);
    *ret = copy;
    return 0;
}

/* One statement's values before they are put where they belong. */
struct values {
    struct fake_beat beat;
    enum fake_verb verb;
    uint64_t by_us;
    unsigned given;
};

static int read_value(struct reader *r, unsigned key, const char *value, size_t len,
                      struct values *v)
{
    switch (key) {
    case K_AFTER: return read_scaled(r, value, times, &v->beat.after_us);
    case K_BY: return read_scaled(r, value, times, &v->by_us);
    case K_EVERY:
    case K_SPLIT: return read_scaled(r, value, times, &v->beat.every_us);
    case K_N: return read_scaled(r, value, counts, &v->beat.count);
    case K_SIZE: return read_scaled(r, value, sizes, &v->beat.size_bytes);
    case K_TEXT: v->beat.text_len = len; return copy_text(r, value, len, &v->beat.text);
    case K_IP: return copy_text(r, value, len, &v->beat.ip);
    case K_NONCE: return copy_text(r, value, len, &v->beat.nonce);
    case K_CODE: return read_int(r, value, 0, 255, &v->beat.number);
    case K_SIGNAL: return read_int(r, value, 1, 64, &v->beat.number);
    case K_BOOT: return read_boot(r, value, &v->beat);
    case K_VERB:
        if (fake_verb_parse(value, &v->verb) < 0)
            return fail_at(r, r->word_at, "unknown verb", value);
        return 0;
    default: return -VIV_E_INTERNAL;
    }
}

static int read_pair(struct reader *r, const struct statement *st, struct values *v)
{
    char *eq = memchr(r->word, '=', r->word_len);
    unsigned key = 0;

    if (!eq)
        return fail_at(r, r->word_at, "expected key=value, found", r->word);
    *eq = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(key_names); i++)
        if (strcmp(key_names[i].name, r->word) == 0)
            key = key_names[i].key;
    if (!(st->keys & key)) {
        int rc = fail_at(r, r->word_at, "unknown key", r->word);
        return vivi_wrap(r->err, rc, "%s", st->name);
    }
    v->given |= key;
    return read_value(r, key, eq + 1, r->word_len - (size_t)(eq + 1 - r->word), v);
}

/* ---- statements ---- */

static void beat_done(struct fake_beat *b)
{
    free(b->text);
    free(b->ip);
    free(b->nonce);
    b->text = b->ip = b->nonce = NULL;
}

static void set_switch(struct fake_script *s, int id, struct values *v)
{
    switch ((enum switch_id)id) {
    case SW_AGENT_DEAF: s->agent_deaf = true; break;
    case SW_NO_READY: s->no_ready = true; break;
    case SW_NO_BANNER: s->no_banner = true; break;
    case SW_IGNORE_BUTTON: s->ignore_button = true; break;
    case SW_IGNORE_TERM: s->ignore_term = true; break;
    case SW_STAMP: s->stamp = true; break;
    case SW_ECHO: s->echo = true; break;
    case SW_KEYS: s->keys = true; break;
    case SW_BUTTON: s->button_after_us = v->beat.after_us; break;
    case SW_REFUSE_START:
        s->refuse = true;
        s->refuse_code = v->given & K_CODE ? v->beat.number : 1;
        free(s->refuse_text);
        s->refuse_text = take_ptr(v->beat.text);
        break;
    case SW_UNPLUG: s->unplug_after_us = v->beat.after_us; break;
    case SW_SETTLE: s->settle_after_us = v->beat.after_us; break;
    case SW_BUSY: s->busy_times = v->given & K_N ? v->beat.count : FAKE_FOREVER; break;
    case SW_KEEP:
        free(s->keep_text);
        s->keep_text = take_ptr(v->beat.text);
        break;
    }
}

static void beat_defaults(struct fake_beat *b, const struct values *v)
{
    if (!(v->given & K_N))
        b->count = FAKE_FOREVER;
    if (b->act == FAKE_LINE && !(v->given & K_EVERY))
        b->every_us = 1000;
    if (b->act == FAKE_CRASH && !(v->given & K_SIGNAL))
        b->number = 11;
}

static int add_statement(struct reader *r, const struct statement *st, const char *at,
                         struct values *v, struct fake_script *s)
{
    if ((v->given & st->needs) != st->needs) {
        for (size_t i = 0; i < ARRAY_SIZE(key_names); i++)
            if (st->needs & key_names[i].key & ~v->given)
                return vivi_wrap(r->err, fail_at(r, at, "needs key", key_names[i].name), "%s",
                                 st->name);
    }
    if (st->kind == SWITCH) {
        set_switch(s, st->what, v);
        return 0;
    }
    if (s->n_beats >= FAKE_MAX_BEATS || s->n_rules >= FAKE_MAX_RULES)
        return fail_at(r, at, "too many statements", NULL);
    if (st->kind == RULE) {
        struct fake_rule *rule = &s->rules[s->n_rules++];

        rule->kind = (enum fake_rule_kind)st->what;
        rule->verb = v->verb;
        rule->by_us = v->by_us;
        rule->text = take_ptr(v->beat.text);
        return 0;
    }
    v->beat.act = (enum fake_act)st->what;
    beat_defaults(&v->beat, v);
    s->beats[s->n_beats++] = v->beat;
    memset(&v->beat, 0, sizeof(v->beat));
    return 0;
}

static const struct statement *find_statement(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
        if (strcmp(statements[i].name, name) == 0)
            return &statements[i];
    return NULL;
}

static int read_statement(struct reader *r, struct fake_script *s)
{
    struct values v = {.beat = {.boot_from = 1, .boot_to = UINT32_MAX}};
    const struct statement *st;
    const char *at;
    int rc = read_word(r);

    if (rc <= 0)
        return rc;
    at = r->word_at;
    st = find_statement(r->word);
    if (!st)
        return fail_at(r, at, "unknown statement", r->word);
    while ((rc = read_word(r)) > 0) {
        rc = read_pair(r, st, &v);
        if (rc < 0)
            break;
    }
    if (rc == 0)
        rc = add_statement(r, st, at, &v, s);
    beat_done(&v.beat);
    return rc;
}

/* A guest that says nothing about readiness is ready at once. */
static int add_default_ready(struct fake_script *s, viv_error *err)
{
    for (size_t i = 0; i < s->n_beats; i++)
        if (s->beats[i].act == FAKE_READY)
            return 0;
    if (s->no_ready)
        return 0;
    if (s->n_beats >= FAKE_MAX_BEATS)
        return vivi_fail(err, VIV_E_INVALID, "too many statements");
    s->beats[s->n_beats++] = (struct fake_beat){
        .act = FAKE_READY, .boot_from = 1, .boot_to = UINT32_MAX, .count = FAKE_FOREVER};
    return 0;
}

void fake_script_free(struct fake_script *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_beats; i++)
        beat_done(&s->beats[i]);
    for (size_t i = 0; i < s->n_rules; i++)
        free(s->rules[i].text);
    free(s->refuse_text);
    free(s->keep_text);
    free(s);
}

int fake_script_parse(const char *text, struct fake_script **ret, viv_error *err)
{
    cleanup_fake_script struct fake_script *s = calloc(1, sizeof(*s));
    cleanup_free struct reader *r = calloc(1, sizeof(*r));
    int rc;

    if (!s || !r)
        return vivi_fail_oom(err);
    *r = (struct reader){.text = text ? text : "", .err = err};
    r->at = r->text;
    if (strlen(r->text) > FAKE_SCRIPT_MAX_BYTES)
        return vivi_fail(err, VIV_E_INVALID, "longer than %d bytes", FAKE_SCRIPT_MAX_BYTES);
    for (;;) {
        rc = read_statement(r, s);
        if (rc < 0)
            return rc;
        if (*r->at == '\0')
            break;
        r->at++; /* ';' or newline */
    }
    rc = add_default_ready(s, err);
    if (rc < 0)
        return rc;
    *ret = take_ptr(s);
    return 0;
}
