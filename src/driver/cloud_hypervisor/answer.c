/*
 * Theory of operation. An answer is looked at as a whole: until its last byte is there nothing is
 * taken from it, so it may come in any pieces. The length of the body is known from the head, which
 * is bounded, so a peer can make us keep no more than CH_ANSWER_MAX_BYTES.
 *
 * Errors come in three forms: an array of strings, outermost first (since 47); plain text (before);
 * and what the HTTP parser itself answers, an object whose string holds a raw line feed, so that it
 * is no JSON. After the last one the parser goes on in the middle of nowhere: never use that
 * connection again.
 */
#include "driver/cloud_hypervisor/answer.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define CHAIN_MAX 32 /* elements of an error */

/* ---- head ---- */

static int bad(viv_error *err, const char *why)
{
    return vivi_fail(err, VIV_E_PROTOCOL, "cloud-hypervisor: not an HTTP answer (%s)", why);
}

static bool is_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)s[i]))
            return false;
    return n > 0;
}

/* "HTTP/1.1 204 " and whatever reason follows. */
static int parse_status(const char *line, size_t len, struct ch_answer *a, viv_error *err)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || !is_digits(line + 7, 1) || line[8] != ' ' ||
        !is_digits(line + 9, 3) || (len > 12 && line[12] != ' '))
        return bad(err, "its first line");
    a->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    if (a->status < 200 || a->status > 599)
        return bad(err, "its status");
    return 0;
}

static int parse_length(const char *value, size_t len, bool *seen, struct ch_answer *a,
                        viv_error *err)
{
    size_t n = 0;

    if (*seen || !is_digits(value, len))
        return bad(err, "its length");
    for (size_t i = 0; i < len; i++) {
        n = n * 10 + (size_t)(value[i] - '0');
        if (n > CH_BODY_MAX_BYTES)
            return vivi_fail(err, VIV_E_PROTOCOL,
                             "cloud-hypervisor: an answer of more than %u bytes",
                             CH_BODY_MAX_BYTES);
    }
    *seen = true;
    a->body_len = n;
    return 0;
}

static bool is_name(const char *line, size_t len, const char *name)
{
    return len == strlen(name) && strncasecmp(line, name, len) == 0;
}

static int parse_header(const char *line, size_t len, bool *has_length, struct ch_answer *a,
                        viv_error *err)
{
    const char *colon = memchr(line, ':', len), *value;
    size_t name_len, value_len;

    if (!colon || colon == line)
        return bad(err, "a header");
    name_len = (size_t)(colon - line);
    value = colon + 1;
    value_len = len - name_len - 1;
    while (value_len > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        value_len--;
    }
    while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value_len--;
    if (is_name(line, name_len, "Content-Length"))
        return parse_length(value, value_len, has_length, a, err);
    if (is_name(line, name_len, "Transfer-Encoding"))
        return bad(err, "its encoding");
    if (is_name(line, name_len, "Connection") && is_name(value, value_len, "close"))
        a->last = true;
    if (is_name(line, name_len, "Server") && is_name(value, value_len, "Firecracker API"))
        a->last = true;
    return 0;
}

/* One line of the head at *at, without its line end; false: it is not whole yet. */
static bool next_line(const char *data, size_t len, size_t *at, const char **ret, size_t *ret_len)
{
    const char *lf = memchr(data + *at, '\n', len - *at);

    if (!lf)
        return false;
    *ret = data + *at;
    *ret_len = (size_t)(lf - *ret);
    if (*ret_len > 0 && lf[-1] == '\r')
        (*ret_len)--;
    *at = (size_t)(lf - data) + 1;
    return true;
}

int ch_answer_parse(const char *data, size_t len, struct ch_answer *ret, viv_error *err)
{
    struct ch_answer a = {.status = 0};
    size_t head = len < CH_HEAD_MAX_BYTES ? len : CH_HEAD_MAX_BYTES, at = 0, n;
    bool has_length = false;
    const char *line;

    while (next_line(data, head, &at, &line, &n)) {
        int r;

        if (a.status != 0 && n == 0) {
            a.body = data + at;
            a.whole = at + a.body_len;
            if (len < a.whole)
                return 0;
            *ret = a;
            return 1;
        }
        r = a.status == 0 ? parse_status(line, n, &a, err)
                          : parse_header(line, n, &has_length, &a, err);
        if (r < 0)
            return r;
    }
    return head == CH_HEAD_MAX_BYTES ? bad(err, "a head without end") : 0;
}

/* ---- what went wrong ---- */

/* A growing line of printable text. */
struct words {
    char *text;
    size_t size, len;
};

static void add_char(struct words *w, unsigned char c)
{
    if (w->len + 1 < w->size)
        w->text[w->len++] = (char)(c < ' ' || c == 0x7f ? ' ' : c);
}

static void add_text(struct words *w, const char *s, size_t len)
{
    while (len > 0 && isspace((unsigned char)s[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++)
        add_char(w, (unsigned char)s[i]);
}

static void add_separator(struct words *w)
{
    add_char(w, ':');
    add_char(w, ' ');
}

static json_t *chain_of(const struct ch_answer *a)
{
    json_t *doc = json_loadb(a->body, a->body_len, 0, NULL);

    if (json_is_array(doc) && json_array_size(doc) <= CHAIN_MAX)
        return doc;
    json_decref(doc);
    return NULL;
}

/* "Error from API" says nothing and stands in front of every one. */
static void add_chain(const json_t *chain, struct words *w)
{
    size_t n = json_array_size(chain);

    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(chain, i));

        if (!s || (i == 0 && n > 1 && strcmp(s, "Error from API") == 0))
            continue;
        if (w->len > 0)
            add_separator(w);
        add_text(w, s, strlen(s));
    }
}

/* The string in { "error": "…" }, which is not JSON. */
static bool transport_text(const struct ch_answer *a, const char **ret, size_t *ret_len)
{
    static const char head[] = "{ \"error\": \"";
    size_t n = sizeof(head) - 1, end = a->body_len;

    if (a->body_len < n || memcmp(a->body, head, n) != 0)
        return false;
    while (end > n && a->body[end - 1] != '"')
        end--;
    *ret = a->body + n;
    *ret_len = end > n ? end - 1 - n : a->body_len - n;
    return true;
}

void ch_answer_words(const struct ch_answer *a, char *ret, size_t size)
{
    struct words w = {.text = ret, .size = size};
    json_t *chain = chain_of(a);
    const char *text = a->body;
    size_t len = a->body_len;

    if (size == 0)
        return;
    if (chain) {
        add_chain(chain, &w);
    } else {
        (void)transport_text(a, &text, &len);
        add_text(&w, text, len);
    }
    json_decref(chain);
    ret[w.len] = '\0';
}

bool ch_answer_blames(const struct ch_answer *a, const char *text)
{
    json_t *chain = chain_of(a);
    size_t n = json_array_size(chain);
    const char *last = n > 0 ? json_string_value(json_array_get(chain, n - 1)) : NULL;
    bool found = chain ? last && strstr(last, text)
                       : memmem(a->body, a->body_len, text, strlen(text)) != NULL;

    json_decref(chain);
    return found;
}

int ch_answer_fail(const struct ch_answer *a, const char *verb, viv_error *err)
{
    int code = a->status == 429 ? VIV_E_BUSY : a->status == 409 ? VIV_E_EXISTS : VIV_E_VMM;
    char words[480];

    ch_answer_words(a, words, sizeof(words));
    if (!*words)
        return vivi_fail(err, code, "cloud-hypervisor: %s: status %d", verb, a->status);
    return vivi_fail(err, code, "cloud-hypervisor: %s: %s", verb, words);
}
