/*
 * 'did you mean "…"?': the optimal string alignment distance (insert, delete, replace, swap two
 * neighbours), which is what slips of the fingers are.
 */
#include "model/parse.h"

#include <string.h>

#define WORD_MAX     64
#define DISTANCE_MAX 2

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
    unsigned rows[3][WORD_MAX + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= nb; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        unsigned *spare = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned cost = a[i - 1] == b[j - 1] ? 0 : 1;

            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[nb];
}

const char *vivi_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t len = strnlen(word, WORD_MAX + 1);
    unsigned best = DISTANCE_MAX + 1;
    const char *found = NULL;

    if (len > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t m = strnlen(candidates[i], WORD_MAX + 1);
        unsigned d;

        if (m > WORD_MAX || m > len + DISTANCE_MAX || len > m + DISTANCE_MAX)
            continue;
        d = distance(word, len, candidates[i], m);
        /* A word of which most would be replaced was not mistyped: it is another word. */
        if (d < best && 2 * d <= (len > m ? len : m)) {
            best = d;
            found = candidates[i];
        }
    }
    return found;
}
