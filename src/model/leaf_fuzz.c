/* Hostile words for all leaf parsers: what is accepted reads back as itself from its written form.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_size(const char *s)
{
    uint64_t bytes = 0, back = 0;
    char text[24];

    if (vivi_parse_size(s, &bytes, NULL) < 0)
        return;
    vivi_format_size(bytes, text);
    assert(bytes <= INT64_MAX && vivi_parse_size(text, &back, NULL) == 0 && back == bytes);
}

static void check_duration(const char *s)
{
    int64_t ms = 0, back = -1;
    char text[24];

    if (vivi_parse_duration(s, &ms, NULL) < 0)
        return;
    vivi_format_duration(ms, text);
    assert(ms >= 0 && vivi_parse_duration(text, &back, NULL) == 0 && back == ms);
}

static void check_forward(const char *s)
{
    struct vivi_forward f, back;
    char text[80], again[80];

    if (vivi_parse_forward(s, &f, NULL) < 0)
        return;
    vivi_format_forward(&f, text);
    assert(f.guest_port != 0 && vivi_parse_forward(text, &back, NULL) == 0);
    vivi_format_forward(&back, again);
    assert(strcmp(text, again) == 0);
}

static void check_addresses(const char *s)
{
    uint8_t mac[6], mac_back[6];
    char ip[46], ip_back[46], text[18];

    if (vivi_parse_mac(s, mac, NULL) == 0) {
        vivi_format_mac(mac, text);
        assert(vivi_parse_mac(text, mac_back, NULL) == 0 && memcmp(mac, mac_back, 6) == 0);
    }
    if (vivi_parse_ip(s, ip, NULL) == 0)
        assert(vivi_parse_ip(ip, ip_back, NULL) == 0 && strcmp(ip, ip_back) == 0);
    vivi_mac_derive(s, s, mac);
    assert((mac[0] & 3) == 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const words[] = {"memory", "name", "web"};
    cleanup_free char *s = malloc(size + 1);
    char shown[VIVI_SHOWN_SIZE];
    viv_error err = VIV_ERROR_INIT;
    uint64_t bits[128], number;
    bool yes;

    if (!s)
        return 0;
    if (size > 0)
        memcpy(s, data, size);
    s[size] = '\0';
    check_size(s);
    check_duration(s);
    check_forward(s);
    check_addresses(s);
    (void)vivi_parse_cpu_list(s, bits, &err);
    (void)vivi_parse_u64(s, &number, &err);
    (void)vivi_parse_bool(s, &yes);
    if (vivi_parse_name(s, &err) == 0)
        assert(strlen(s) <= 63 && strcspn(s, "./ ") == strlen(s));
    (void)vivi_nearest(s, words, ARRAY_SIZE(words));
    assert(strlen(vivi_show(s, shown)) < VIVI_SHOWN_SIZE);
    return 0;
}
