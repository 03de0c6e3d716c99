/*
 * options.c: the kernel command line, one key after the other.
 *
 * Tokens are separated by white space; a value may stand in double quotes, as the kernel allows.
 * Values are bounded: one that does not fit counts as absent, because half a path or half a nonce
 * is worse.
 */
#include "options.h"

#include <stdlib.h>
#include <string.h>

#define TOKEN_MAX_BYTES 512
#define IP_FIELDS       9

static bool copy_text(char *to, size_t size, const char *from)
{
    size_t len = strlen(from);

    if (len >= size)
        return false;
    memcpy(to, from, len + 1);
    return true;
}

static bool parse_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (*text == '\0' || strlen(text) > 15)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret_value = value;
    return true;
}

/* ip=<client>:<server>:<gw>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>:<dns1>, or one word. */
static void parse_ip(const char *value, struct guest_ip *ip)
{
    char field[IP_FIELDS][64] = {{0}};
    size_t n = 0;
    size_t len = 0;
    const char *word;

    for (const char *p = value; *p != '\0' && n < IP_FIELDS; p++) {
        if (*p == ':') {
            n++;
            len = 0;
        } else if (len + 1 < sizeof(field[0])) {
            field[n][len++] = *p;
        }
    }

    memset(ip, 0, sizeof(*ip));
    ip->given = true;
    word = n == 0 ? field[0] : field[6];
    ip->off = strcmp(word, "off") == 0 || strcmp(word, "none") == 0;
    ip->dhcp = strcmp(word, "dhcp") == 0 || strcmp(word, "on") == 0 || strcmp(word, "any") == 0;
    if (n > 0 || (!ip->off && !ip->dhcp))
        (void)copy_text(ip->client, sizeof(ip->client), field[0]);
    if (ip->client[0] != '\0')
        ip->off = ip->dhcp = false; /* an address given is an address to use */
    else if (!ip->off)
        ip->dhcp = true;
    (void)copy_text(ip->gateway, sizeof(ip->gateway), field[2]);
    (void)copy_text(ip->netmask, sizeof(ip->netmask), field[3]);
    (void)copy_text(ip->hostname, sizeof(ip->hostname), field[4]);
    (void)copy_text(ip->device, sizeof(ip->device), field[5]);
    for (size_t i = 0; i < GUEST_MAX_DNS; i++)
        (void)copy_text(ip->dns[i], sizeof(ip->dns[i]), field[7 + i]);
}

static void parse_mount(const char *value, struct guest_options *o)
{
    const char *colon = strchr(value, ':');
    struct guest_mount *m;
    size_t tag_len;

    if (colon == NULL || colon == value || colon[1] != '/' || o->mounts_n == GUEST_MAX_MOUNTS)
        return;
    m = &o->mounts[o->mounts_n];
    tag_len = (size_t)(colon - value);
    if (tag_len >= sizeof(m->tag) || !copy_text(m->path, sizeof(m->path), colon + 1))
        return;
    memcpy(m->tag, value, tag_len);
    m->tag[tag_len] = '\0';
    o->mounts_n++;
}

static void set_text(struct guest_options *o, const char *key, const char *value)
{
    const struct {
        const char *key;
        char *to;
        size_t size;
    } texts[] = {
        {"vmrs.nonce", o->nonce, sizeof(o->nonce)},
        {"vivguest.ready_addr", o->ready_addr, sizeof(o->ready_addr)},
        {"vivguest.ready_nonce", o->ready_nonce, sizeof(o->ready_nonce)},
        {"root", o->root, sizeof(o->root)},
        {"vivguest.disk_test", o->disk_test, sizeof(o->disk_test)},
        {"viv.lab", o->lab, sizeof(o->lab)},
        {"viv.lab_modules", o->modules, sizeof(o->modules)},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i].key, key) == 0)
            (void)copy_text(texts[i].to, texts[i].size, value);
    }
}

static void set_flag(struct guest_options *o, const char *key)
{
    const struct {
        const char *key;
        bool *to;
    } flags[] = {
        {"vivguest.noready", &o->noready},   {"vivguest.nobutton", &o->nobutton},
        {"vivguest.noshell", &o->noshell},   {"vivguest.count", &o->count},
        {"vivguest.panic", &o->panic},       {"vivguest.reboot", &o->reboot},
        {"vivguest.poweroff", &o->poweroff},
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(flags[i].key, key) == 0)
            *flags[i].to = true;
    }
}

static void set_number(struct guest_options *o, const char *key, const char *value)
{
    const struct {
        const char *key;
        uint64_t *to;
    } numbers[] = {
        {"vivguest.ready_delay_ms", &o->ready_delay_ms},
        {"vivguest.count", &o->count_rate},
        {"vivguest.reboot_every", &o->reboot_every},
        {"vivguest.poweroff_after", &o->poweroff_after},
        {"vivguest.panic", &o->panic_ms},
        {"vivguest.reboot", &o->reboot_ms},
        {"vivguest.poweroff", &o->poweroff_ms},
        {"vivguest.stop_delay_ms", &o->stop_delay_ms},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(numbers[i].key, key) == 0)
            (void)parse_u64(value, numbers[i].to);
    }
}

static void set_option(struct guest_options *o, const char *key, const char *value)
{
    set_flag(o, key);
    set_number(o, key, value);
    set_text(o, key, value);
    if (strcmp(key, "ip") == 0)
        parse_ip(value, &o->ip);
    else if (strcmp(key, "viv.lab_mount") == 0)
        parse_mount(value, o);
    else if (strcmp(key, "vivguest.flood") == 0)
        o->flood = strcmp(value, "nolf") == 0 ? GUEST_FLOOD_NOLF : GUEST_FLOOD_LINES;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* Copies the next token without its quotes; returns where to go on, NULL at the end of the line. */
static const char *next_token(const char *p, char token[TOKEN_MAX_BYTES])
{
    size_t len = 0;
    bool quoted = false;

    while (is_space(*p))
        p++;
    if (*p == '\0')
        return NULL;
    for (; *p != '\0' && (quoted || !is_space(*p)); p++) {
        if (*p == '"')
            quoted = !quoted;
        else if (len + 1 < TOKEN_MAX_BYTES)
            token[len++] = *p;
    }
    token[len] = '\0';
    return p;
}

void guest_options_parse(const char *cmdline, struct guest_options *ret_options)
{
    char token[TOKEN_MAX_BYTES];
    char *equals;

    memset(ret_options, 0, sizeof(*ret_options));
    ret_options->ip.dhcp = true;
    while ((cmdline = next_token(cmdline, token)) != NULL) {
        equals = strchr(token, '=');
        if (equals != NULL)
            *equals = '\0';
        set_option(ret_options, token, equals != NULL ? equals + 1 : "");
    }
}
