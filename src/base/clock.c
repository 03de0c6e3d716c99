#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

uint64_t vivi_mono_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t vivi_mono_us(void)
{
    return vivi_mono_ns() / 1000;
}

int64_t vivi_wall_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t vivi_wall_ms(void)
{
    return vivi_wall_ns() / 1000000;
}

void vivi_time_format(int64_t wall_ms, char ret[VIVI_TIME_SIZE])
{
    int64_t ms = wall_ms % 1000;
    time_t sec;
    struct tm tm;

    if (ms < 0)
        ms += 1000; /* before 1970 the fraction still counts upwards */
    sec = (time_t)((wall_ms - ms) / 1000);
    if (gmtime_r(&sec, &tm) == NULL || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
        (void)snprintf(ret, VIVI_TIME_SIZE, "1970-01-01T00:00:00.000Z");
        return;
    }
    (void)snprintf(ret, VIVI_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
                   (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
                   (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u,
                   (unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u, (unsigned)ms % 1000u);
}

/* n decimal digits at *s, which moves on. */
static bool digits(const char **s, int n, int *ret)
{
    int v = 0;

    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        v = v * 10 + (**s - '0');
    }
    *ret = v;
    return true;
}

static bool literal(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

/* a, between, b, between, c: the form of both a date and a time of day. */
static bool triple(const char **s, char between, int first_digits, int ret[3])
{
    return digits(s, first_digits, &ret[0]) && literal(s, between) && digits(s, 2, &ret[1]) &&
           literal(s, between) && digits(s, 2, &ret[2]);
}

static bool date_and_time(const char **s, struct tm *tm)
{
    int date[3], clock[3];

    if (!triple(s, '-', 4, date) || !literal(s, 'T') || !triple(s, ':', 2, clock))
        return false;
    *tm = (struct tm){.tm_year = date[0] - 1900,
                      .tm_mon = date[1] - 1,
                      .tm_mday = date[2],
                      .tm_hour = clock[0],
                      .tm_min = clock[1],
                      .tm_sec = clock[2]};
    return date[1] >= 1 && date[1] <= 12 && date[2] >= 1 && clock[0] < 24 && clock[1] < 60 &&
           clock[2] < 60;
}

/* ".123456": milliseconds, further digits are dropped. */
static bool fraction(const char **s, int *ret_ms)
{
    int ms = 0, n = 0;

    *ret_ms = 0;
    if (**s != '.')
        return true;
    for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, n++)
        if (n < 3)
            ms = ms * 10 + (**s - '0');
    for (int i = n; i < 3; i++)
        ms *= 10;
    *ret_ms = ms;
    return n > 0;
}

/* "Z" or "+hh:mm". */
static bool zone(const char **s, int *ret_minutes)
{
    int sign, h, m;

    *ret_minutes = 0;
    if (literal(s, 'Z'))
        return true;
    sign = **s == '-' ? -1 : 1;
    if (**s != '+' && **s != '-')
        return false;
    (*s)++;
    if (!digits(s, 2, &h) || !literal(s, ':') || !digits(s, 2, &m) || h > 23 || m > 59)
        return false;
    *ret_minutes = sign * (h * 60 + m);
    return true;
}

int vivi_time_parse(const char *s, int64_t *ret_wall_ms)
{
    struct tm tm = {0};
    int ms, minutes, day;
    time_t t;

    if (!date_and_time(&s, &tm) || !fraction(&s, &ms) || !zone(&s, &minutes) || *s != '\0')
        return -VIV_E_INVALID;
    day = tm.tm_mday;
    t = timegm(&tm);
    if (tm.tm_mday != day) /* 30 February: normalised into another day */
        return -VIV_E_INVALID;
    *ret_wall_ms = ((int64_t)t - (int64_t)minutes * 60) * 1000 + ms;
    return 0;
}
