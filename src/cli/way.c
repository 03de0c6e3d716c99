#include "cli/way.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "model/parse.h"

/* An address, and an interface if one is named. */
static bool is_v6(const char *host)
{
    size_t len = strcspn(host, "%");
    struct in6_addr addr;
    char alone[80];

    (void)snprintf(alone, sizeof(alone), "%.*s", (int)len, host);
    return (host[len] == '\0' || host[len + 1] != '\0') && inet_pton(AF_INET6, alone, &addr) == 1;
}

bool vivi_way_parse_host(const char *text, struct vivi_way *ret)
{
    struct vivi_way w = {.v6 = text[0] == '['};
    const char *from = text + w.v6;
    size_t len = strcspn(from, w.v6 ? "]/" : ":/");
    const char *rest = from + len;
    uint16_t port;

    if (len == 0 || len >= sizeof(w.host) || (w.v6 && *rest++ != ']'))
        return false;
    (void)snprintf(w.host, sizeof(w.host), "%.*s", (int)len, from);
    if (w.v6 && !is_v6(w.host))
        return false;
    if (*rest == ':')
        w.port = rest + 1;
    if (w.port) {
        char digits[8];
        size_t n = strcspn(w.port, "/");

        (void)snprintf(digits, sizeof(digits), "%.*s", (int)n, w.port);
        if (n >= sizeof(digits) || !vivi_parse_port(digits, &port))
            return false;
        rest = w.port + n;
    }
    if (*rest != '\0' && strcmp(rest, "/") != 0)
        return false;
    *ret = w;
    return true;
}

bool vivi_way_parse(const char *text, struct vivi_way *ret)
{
    struct vivi_way w = {.port = NULL};

    if (strcmp(text, VIVI_WAY_UNIX) != 0 &&
        (strncmp(text, VIVI_WAY_TCP, strlen(VIVI_WAY_TCP)) != 0 || strchr(text, '/') ||
         !vivi_way_parse_host(text + strlen(VIVI_WAY_TCP), &w)))
        return false;
    *ret = w;
    return true;
}

void vivi_way_url(const struct vivi_way *w, const char *port, char *ret, size_t size)
{
    size_t len = strcspn(w->host, "%");
    unsigned link = w->host[len] ? if_nametoindex(w->host + len + 1) : 0;
    char number[16] = "";

    if (link > 0)
        (void)snprintf(number, sizeof(number), "%%%u", link);
    (void)snprintf(ret, size, VIVI_WAY_TCP "%s%.*s%s%s:%s", w->v6 ? "[" : "",
                   link > 0 ? (int)len : (int)strlen(w->host), w->host, number, w->v6 ? "]" : "",
                   port);
}

bool vivi_way_is_of_a_link(const struct vivi_way *w)
{
    return w->v6 && strchr(w->host, '%') != NULL;
}
