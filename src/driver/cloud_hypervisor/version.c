/* Which Cloud Hypervisor this is, out of its own words. Pure. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/cloud_hypervisor/ch.h"

static const char *number(const char *s, unsigned *ret)
{
    unsigned n = 0;

    if (!isdigit((unsigned char)*s))
        return NULL;
    for (; isdigit((unsigned char)*s); s++) {
        if (n > 99999)
            return NULL;
        n = n * 10 + (unsigned)(*s - '0');
    }
    *ret = n;
    return s;
}

bool ch_version_parse(const char *text, struct ch_version *ret)
{
    struct ch_version v = {.ahead = false};
    const char *s = number(text, &v.major);
    unsigned commits;

    if (!s || *s != '.')
        return false;
    s = number(s + 1, &v.minor);
    if (!s)
        return false;
    if (*s == '-') {
        const char *after = number(s + 1, &commits);

        v.ahead = after && strncmp(after, "-g", 2) == 0 && commits > 0;
    }
    *ret = v;
    return true;
}

bool ch_version_since(const struct ch_version *v, unsigned major, unsigned minor)
{
    return v->major > major || (v->major == major && v->minor >= minor);
}

/* Whether the list names that feature: ["io_uring", "kvm"]. */
static bool has_feature(const char *list, const char *name)
{
    char quoted[32];

    (void)snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    return strstr(list, quoted) != NULL;
}

bool ch_parse_about(const char *text, char ret_version[64], uint32_t *ret_features)
{
    static const char head[] = "cloud-hypervisor ", features[] = "Enabled features: ";
    const char *at = strstr(text, head), *list = strstr(text, features);
    struct ch_version v;
    size_t len;

    if (!at)
        return false;
    at += strlen(head);
    at += *at == 'v';
    len = strcspn(at, " \t\r\n");
    if (len == 0 || len >= 64)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)at[i]) && !strchr(".-_+", at[i]))
            return false;
    (void)snprintf(ret_version, 64, "%.*s", (int)len, at);
    *ret_features = CH_HAS_KVM;
    if (list) {
        list += strlen(features);
        *ret_features = (has_feature(list, "kvm") ? CH_HAS_KVM : 0) |
                        (has_feature(list, "guest_debug") ? CH_HAS_GUEST_DEBUG : 0);
    }
    return ch_version_parse(ret_version, &v);
}
