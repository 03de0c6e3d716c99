/* Text to names and addresses: DNS labels, MAC and IP addresses, port forwards. */
#include "model/parse.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"

#define LABEL_MAX 63

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int vivi_parse_name(const char *s, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];
    size_t n = strnlen(s, LABEL_MAX + 1), i = 0;

    while (i < n && (is_label_char(s[i]) || (s[i] == '-' && i > 0 && i + 1 < n)))
        i++;
    if (n == 0 || n > LABEL_MAX || i < n)
        return vivi_fail(err, VIV_E_INVALID, "%s is not a DNS label (a-z, 0-9, -, at most 63)",
                         vivi_show(s, shown));
    return 0;
}

static bool scan_mac(const char *s, uint8_t ret[6])
{
    for (int i = 0; i < 6; i++, s += 3) {
        int high = vivi_hex_digit(s[0]), low = high < 0 ? -1 : vivi_hex_digit(s[1]);

        if (low < 0 || s[2] != (i < 5 ? ':' : '\0'))
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int vivi_parse_mac(const char *s, uint8_t ret[6], viv_error *err)
{
    static const uint8_t none[6];
    char shown[VIVI_SHOWN_SIZE];
    uint8_t mac[6];

    if (!scan_mac(s, mac))
        return vivi_fail(err, VIV_E_INVALID, "%s is not a MAC address (example: 52:54:00:12:34:56)",
                         vivi_show(s, shown));
    if ((mac[0] & 1) != 0 || memcmp(mac, none, sizeof(mac)) == 0)
        return vivi_fail(err, VIV_E_INVALID, "%s cannot be the address of a NIC",
                         vivi_show(s, shown));
    memcpy(ret, mac, sizeof(mac));
    return 0;
}

void vivi_format_mac(const uint8_t mac[6], char ret[18])
{
    (void)snprintf(ret, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                   mac[5]);
}

static uint64_t fnv1a(uint64_t h, const char *s)
{
    /* The NUL goes in too, so that ("a", "bc") and ("ab", "c") differ. */
    do {
        h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    } while (*s++ != '\0');
    return h;
}

void vivi_mac_derive(const char *uuid, const char *nic_id, uint8_t ret[6])
{
    uint64_t h = fnv1a(fnv1a(UINT64_C(0xcbf29ce484222325), uuid), nic_id);

    /* FNV's low bits are weak for short keys; the multiply and shift spread them (splitmix64). */
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
    h ^= h >> 31;
    for (int i = 0; i < 6; i++)
        ret[i] = (uint8_t)(h >> (8 * i));
    ret[0] = (uint8_t)((ret[0] & 0xfc) | 0x02);
}

int vivi_parse_ip(const char *s, char ret[46], viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_pton(AF_INET, s, &v4) == 1 && inet_ntop(AF_INET, &v4, ret, 46))
        return 0;
    if (inet_pton(AF_INET6, s, &v6) == 1 && inet_ntop(AF_INET6, &v6, ret, 46))
        return 0;
    return vivi_fail(err, VIV_E_INVALID, "%s is not an IP address", vivi_show(s, shown));
}

/* len bytes of digits: a port. Empty is 0. */
static bool scan_port(const char *s, size_t len, uint16_t *ret)
{
    unsigned v = 0;

    if (len > 5 || (len > 1 && s[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    if (v > UINT16_MAX)
        return false;
    *ret = (uint16_t)v;
    return true;
}

bool vivi_parse_port(const char *s, uint16_t *ret)
{
    return *s != '0' && scan_port(s, strlen(s), ret) && *ret != 0;
}

/* The address before the ports, if any: "127.0.0.1:" or "[::1]:". *s moves behind its colon. */
static bool scan_host(const char **s, size_t *len, char ret[46])
{
    char host[46];
    const char *end, *p = *s;
    size_t n;
    bool bracket = p[0] == '[';

    if (bracket) {
        p++;
        end = memchr(p, ']', *len - 1);
        if (!end || end[1] != ':')
            return false;
    } else {
        const char *colon = memchr(p, ':', *len);

        /* Of two colons the first ends an address; with one there is none. */
        end = colon;
        if (!colon || !memchr(colon + 1, ':', *len - (size_t)(colon + 1 - p)))
            return true;
    }
    n = (size_t)(end - p);
    if (n >= sizeof(host))
        return false;
    memcpy(host, p, n);
    host[n] = '\0';
    if (bracket != (strchr(host, ':') != NULL) || vivi_parse_ip(host, ret, NULL) < 0)
        return false;
    end += bracket ? 2 : 1;
    *len -= (size_t)(end - *s);
    *s = end;
    return true;
}

static bool scan_forward(const char *s, struct vivi_forward *ret)
{
    struct vivi_forward f = {.host_ip = "127.0.0.1"};
    const char *slash = strrchr(s, '/'), *colon;
    size_t len = slash ? (size_t)(slash - s) : strlen(s);

    if (slash && strcmp(slash, "/udp") == 0)
        f.udp = true;
    else if (slash && strcmp(slash, "/tcp") != 0)
        return false;
    if (len == 0 || !scan_host(&s, &len, f.host_ip))
        return false;
    colon = memchr(s, ':', len);
    if (!colon || !scan_port(s, (size_t)(colon - s), &f.host_port))
        return false;
    len -= (size_t)(colon + 1 - s);
    if (!scan_port(colon + 1, len, &f.guest_port) || f.guest_port == 0)
        return false;
    *ret = f;
    return true;
}

int vivi_parse_forward(const char *s, struct vivi_forward *ret, viv_error *err)
{
    char shown[VIVI_SHOWN_SIZE];

    if (!scan_forward(s, ret))
        return vivi_fail(err, VIV_E_INVALID,
                         "%s is not a port forward (examples: 8080:80, 127.0.0.1:5353:53/udp)",
                         vivi_show(s, shown));
    return 0;
}

void vivi_format_forward(const struct vivi_forward *f, char ret[80])
{
    bool v6 = strchr(f->host_ip, ':') != NULL;

    (void)snprintf(ret, 80, "%s%s%s:%u:%u/%s", v6 ? "[" : "", f->host_ip, v6 ? "]" : "",
                   f->host_port, f->guest_port, f->udp ? "udp" : "tcp");
}
