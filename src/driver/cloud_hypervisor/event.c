/*
 * Theory of operation. What is nested is indented, and a line feed inside a string is escaped: so
 * an object begins with a line that is "{" and ends with the next line that is "}", whatever was
 * lost around it. A "{" that comes before the "}" of the last one begins anew: that one was cut. A
 * whole object on one line is taken as well, should the printing ever change.
 */
#include "driver/cloud_hypervisor/event.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static bool copy(char *to, size_t size, const json_t *from)
{
    const char *s = json_string_value(from);

    if (!s || strlen(s) >= size)
        return false;
    (void)snprintf(to, size, "%s", s);
    return true;
}

static bool read_event(const json_t *doc, struct ch_event *ret)
{
    const json_t *time = json_object_get(doc, "timestamp");
    const json_t *secs = json_object_get(time, "secs"), *nanos = json_object_get(time, "nanos");
    const json_t *more = json_object_get(doc, "properties");
    struct ch_event e = {.stamp = 0};

    if (!json_is_integer(secs) || !json_is_integer(nanos) || json_integer_value(secs) < 0 ||
        json_integer_value(secs) > INT64_MAX / 2000000000 || json_integer_value(nanos) < 0 ||
        json_integer_value(nanos) >= 1000000000)
        return false;
    e.stamp =
        (uint64_t)json_integer_value(secs) * 1000000000u + (uint64_t)json_integer_value(nanos) + 1;
    if (!copy(e.source, sizeof(e.source), json_object_get(doc, "source")) ||
        !copy(e.name, sizeof(e.name), json_object_get(doc, "event")))
        return false;
    (void)copy(e.id, sizeof(e.id), json_object_get(more, "id"));
    (void)copy(e.detail, sizeof(e.detail), json_object_get(more, "event"));
    *ret = e;
    return true;
}

static bool parse(const char *text, size_t len, struct ch_event *ret)
{
    json_t *doc = len <= CH_EVENT_MAX_BYTES ? json_loadb(text, len, 0, NULL) : NULL;
    bool ok = json_is_object(doc) && read_event(doc, ret);

    json_decref(doc);
    return ok;
}

/* The line at data + at: its length without line end; *ret_next is where the next one begins. A "}"
 * is a line of its own: what follows an event may be missing. false: it is not whole yet. */
static bool next_line(const char *data, size_t len, size_t at, size_t *ret_n, size_t *ret_next)
{
    const char *lf = at < len ? memchr(data + at, '\n', len - at) : NULL;

    if (at < len && data[at] == '}') {
        *ret_n = 1;
        *ret_next = at + 1 < len && data[at + 1] == '\n' ? at + 2 : at + 1;
        return true;
    }
    if (!lf)
        return false;
    *ret_n = (size_t)(lf - data) - at;
    *ret_next = at + *ret_n + 1;
    return true;
}

/* What need not be kept when no event has begun: all but a line that may still end. */
static size_t noise(size_t len, size_t at)
{
    return len - at > CH_EVENT_MAX_BYTES ? len : at;
}

int ch_event_next(const char *data, size_t len, struct ch_event *ret, size_t *ret_used)
{
    size_t at = 0, begin = 0, n = 0, next = 0;
    bool inside = false;

    for (; next_line(data, len, at, &n, &next); at = next) {
        bool opens = n == 1 && data[at] == '{', closes = data[at] == '}';

        if (opens)
            begin = at;
        if ((inside && closes && parse(data + begin, at + 1 - begin, ret)) ||
            (n > 1 && data[at] == '{' && parse(data + at, n, ret))) {
            *ret_used = next;
            return 1;
        }
        inside = opens || (inside && !closes && next - begin <= CH_EVENT_MAX_BYTES);
    }
    *ret_used = inside && len - begin <= CH_EVENT_MAX_BYTES ? begin : noise(len, at);
    return 0;
}

bool ch_event_is(const struct ch_event *e, const char *source, const char *name)
{
    return strcmp(e->source, source) == 0 && strcmp(e->name, name) == 0;
}
