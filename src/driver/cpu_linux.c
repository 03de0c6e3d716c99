#include "driver/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"

/* Instructions that programs use once they have seen them; how the kernel works around the CPU's
 * faults is its own business. */
static const char *const prefixes[] = {
    "sse",  "ssse3", "avx",        "amx",       "aes",    "sha",    "bmi",    "adx",
    "fma",  "f16c",  "movbe",      "pclmulqdq", "popcnt", "rdrand", "rdseed", "xsave",
    "gfni", "vaes",  "vpclmulqdq", "sve",       "asimd",  "atomics"};

static int counts(const char *word, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (len >= strlen(prefixes[i]) && strncmp(word, prefixes[i], strlen(prefixes[i])) == 0)
            return 1;
    return 0;
}

/* The value of the first line of that key; NULL: this is another one. */
static const char *value_of(const char *line, const char *key)
{
    const char *colon = strchr(line, ':');

    return strncmp(line, key, strlen(key)) == 0 && colon ? colon + 1 : NULL;
}

static void take_words(FILE *to, const char *list)
{
    for (size_t len; *list; list += len) {
        list += strspn(list, " \t\n");
        len = strcspn(list, " \t\n");
        if (counts(list, len))
            (void)fprintf(to, " %.*s", (int)len, list);
    }
}

char *vivi_cpu_describe(void)
{
    FILE *from = fopen("/proc/cpuinfo", "re"), *to;
    char *line = NULL, *text = NULL;
    size_t room = 0, size = 0;
    struct utsname host;
    const char *v;

    if (!from)
        return NULL;
    to = open_memstream(&text, &size);
    if (to && uname(&host) == 0)
        (void)fprintf(to, "%s", host.machine);
    while (to && getline(&line, &room, from) > 1) { /* an empty line ends the first CPU */
        if ((v = value_of(line, "vendor_id")) || (v = value_of(line, "CPU implementer")))
            (void)fprintf(to, " %.*s", (int)strcspn(v + 1, "\n"), v + 1);
        if ((v = value_of(line, "flags")) || (v = value_of(line, "Features")))
            take_words(to, v);
    }
    free(line);
    (void)fclose(from);
    if (to)
        (void)fclose(to);
    return text;
}

static int has_word(const char *list, const char *word, size_t len)
{
    for (size_t n; *list; list += n) {
        list += strspn(list, " ");
        n = strcspn(list, " ");
        if (n == len && strncmp(list, word, len) == 0)
            return 1;
    }
    return 0;
}

int vivi_cpu_lacks(const char *have, const char *need, char *ret, size_t size)
{
    for (size_t len; *need; need += len) {
        need += strspn(need, " ");
        len = strcspn(need, " ");
        if (len == 0 || has_word(have, need, len))
            continue;
        (void)snprintf(ret, size, "%.*s", (int)len, need);
        return 1;
    }
    return 0;
}
