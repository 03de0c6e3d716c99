/*
 * Text to numbers: sizes, durations, integers, CPU lists.
 *
 * The strtoul family accepts signs, blanks, octal and wraps around; here a number is digits, and
 * what does not fit is an error. Fractions are worked out in integers, digit by digit, so that
 * 1.5GiB is the same everywhere. A fraction of a byte or a millisecond is cut off.
 */
#include "model/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define FRACTION_DIGITS_MAX 18

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"K", UINT64_C(1) << 10},
    {"KiB", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"MiB", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"GiB", UINT64_C(1) << 30},
    {"T", UINT64_C(1) << 40},
    {"TiB", UINT64_C(1) << 40},
    {"P", UINT64_C(1) << 50},
    {"PiB", UINT64_C(1) << 50},
};

static const struct unit duration_units[] = {
    {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000},
};

const char *vivi_show(const char *s, char ret[VIVI_SHOWN_SIZE])
{
    const size_t max = 60;
    size_t n = strnlen(s, max + 1), out = 0;
    bool cut = n > max;

    if (cut)
        for (n = max - 3; n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80;)
            n--; /* not inside a character */
    ret[out++] = '"';
    for (size_t i = 0; i < n; i++)
        ret[out++] = (unsigned char)s[i] < ' ' || s[i] == 0x7f ? '?' : s[i];
    (void)snprintf(ret + out, VIVI_SHOWN_SIZE - out, "%s\"", cut ? "..." : "");
    return ret;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

enum scan { SCAN_OK, SCAN_NOT_A_NUMBER, SCAN_TOO_LARGE };

/* Decimal digits at *s, at least one, no leading zero but of "0" itself; *s moves behind them. */
static enum scan scan_digits(const char **s, uint64_t *ret)
{
    const char *p = *s;
    uint64_t v = 0;
    bool too_large = false;

    if (!is_digit(*p) || (p[0] == '0' && is_digit(p[1])))
        return SCAN_NOT_A_NUMBER;
    for (; is_digit(*p); p++)
        if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            too_large = true;
    *s = p;
    *ret = v;
    return too_large ? SCAN_TOO_LARGE : SCAN_OK;
}

/* floor(0.d1d2d3… × factor); factor ≤ 2^50, so that ten times it still fits. */
static uint64_t fraction_of(const char *digits, size_t n, uint64_t factor)
{
    uint64_t v = 0;

    while (n > 0)
        v = ((uint64_t)(digits[--n] - '0') * factor + v) / 10;
    return v;
}

static const struct unit *find_unit(const struct unit *units, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(units[i].name, name) == 0)
            return &units[i];
    return NULL;
}

/* Digits, perhaps a fraction, a unit; nothing else. *ret ≤ INT64_MAX. */
static enum scan scan_quantity(const char *s, const struct unit *units, size_t n, uint64_t *ret)
{
    const char *fraction = NULL;
    const struct unit *u;
    size_t digits = 0;
    uint64_t v = 0;
    enum scan r = scan_digits(&s, &v);

    if (r == SCAN_NOT_A_NUMBER)
        return r;
    if (*s == '.') {
        fraction = ++s;
        for (; is_digit(*s); s++)
            digits++;
        if (digits == 0 || digits > FRACTION_DIGITS_MAX)
            return SCAN_NOT_A_NUMBER;
    }
    u = find_unit(units, n, s);
    if (!u || (fraction && (u->factor == 1 || *s == '\0')))
        return SCAN_NOT_A_NUMBER;
    if (r == SCAN_TOO_LARGE || __builtin_mul_overflow(v, u->factor, &v))
        return SCAN_TOO_LARGE;
    if (fraction && __builtin_add_overflow(v, fraction_of(fraction, digits, u->factor), &v))
        return SCAN_TOO_LARGE;
    if (v > INT64_MAX)
        return SCAN_TOO_LARGE;
    *ret = v;
    return SCAN_OK;
}

int vivi_parse_size(const char *s, uint64_t *ret_bytes, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];

    switch (scan_quantity(s, size_units, ARRAY_SIZE(size_units), ret_bytes)) {
    case SCAN_OK: return 0;
    case SCAN_TOO_LARGE:
        return vivi_fail(err, VIV_E_INVALID, "%s is too large", vivi_show(s, shown));
    case SCAN_NOT_A_NUMBER: break;
    }
    return vivi_fail(err, VIV_E_INVALID, "%s is not a size (examples: 512MiB, 2GiB)",
                     vivi_show(s, shown));
}

void vivi_format_size(uint64_t bytes, char ret[24])
{
    /* The largest unit that says it exactly in whole or half ones. */
    for (size_t i = ARRAY_SIZE(size_units); i-- > 2;) {
        const struct unit *u = &size_units[i];
        uint64_t half = u->factor / 2;

        if (u->name[1] == '\0' || bytes < u->factor || bytes % half != 0)
            continue;
        (void)snprintf(ret, 24, "%" PRIu64 "%s%s", bytes / u->factor,
                       bytes % u->factor != 0 ? ".5" : "", u->name);
        return;
    }
    (void)snprintf(ret, 24, "%" PRIu64 "B", bytes);
}

int vivi_parse_duration(const char *s, int64_t *ret_ms, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];
    uint64_t ms = 0;

    switch (scan_quantity(s, duration_units, ARRAY_SIZE(duration_units), &ms)) {
    case SCAN_OK: *ret_ms = (int64_t)ms; return 0;
    case SCAN_TOO_LARGE:
        return vivi_fail(err, VIV_E_INVALID, "%s is too large", vivi_show(s, shown));
    case SCAN_NOT_A_NUMBER: break;
    }
    return vivi_fail(err, VIV_E_INVALID, "%s is not a duration (examples: 500ms, 10s, 2m)",
                     vivi_show(s, shown));
}

void vivi_format_duration(int64_t ms, char ret[24])
{
    uint64_t v = ms > 0 ? (uint64_t)ms : 0;

    for (size_t i = ARRAY_SIZE(duration_units); i-- > 2;)
        if (v != 0 && v % duration_units[i].factor == 0) {
            (void)snprintf(ret, 24, "%" PRIu64 "%s", v / duration_units[i].factor,
                           duration_units[i].name);
            return;
        }
    (void)snprintf(ret, 24, "%" PRIu64 "ms", v);
}

int vivi_parse_u64(const char *s, uint64_t *ret, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];
    const char *p = s;
    uint64_t v = 0;
    enum scan r = scan_digits(&p, &v);

    if (r == SCAN_NOT_A_NUMBER || *p != '\0')
        return vivi_fail(err, VIV_E_INVALID, "%s is not a whole number", vivi_show(s, shown));
    if (r == SCAN_TOO_LARGE)
        return vivi_fail(err, VIV_E_INVALID, "%s is too large", vivi_show(s, shown));
    *ret = v;
    return 0;
}

bool vivi_parse_bool(const char *s, bool *ret)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true}, {"false", false}, {"yes", true},
                 {"no", false},  {"on", true},     {"off", false}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcasecmp(words[i].word, s) == 0) {
            *ret = words[i].value;
            return true;
        }
    return false;
}

#define CPUS_MAX 8192

/* "3" or "3-5" at *s, beyond *last; *s moves behind it. */
static bool scan_cpu_range(const char **s, int64_t *last, uint64_t bits[CPUS_MAX / 64])
{
    uint64_t from = 0, to;

    if (scan_digits(s, &from) != SCAN_OK || from >= CPUS_MAX || (int64_t)from <= *last)
        return false;
    to = from;
    if (**s == '-') {
        ++*s;
        if (scan_digits(s, &to) != SCAN_OK || to >= CPUS_MAX || to < from)
            return false;
    }
    for (uint64_t c = from; c <= to; c++)
        bits[c / 64] |= UINT64_C(1) << (c % 64);
    *last = (int64_t)to;
    return true;
}

int vivi_parse_cpu_list(const char *s, uint64_t ret_bits[128], viv_error *err)
{
    uint64_t bits[CPUS_MAX / 64] = {0};
    char shown[VIVI_SHOWN_SIZE];
    const char *p = s;
    int64_t last = -1;

    for (;;) {
        if (!scan_cpu_range(&p, &last, bits) || (*p != ',' && *p != '\0'))
            return vivi_fail(err, VIV_E_INVALID, "%s is not a list of CPUs (example: 0-3,8)",
                             vivi_show(s, shown));
        if (*p++ == '\0')
            break;
    }
    memcpy(ret_bits, bits, sizeof(bits));
    return 0;
}
