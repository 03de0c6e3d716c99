/* ports.c: whether anybody in the guest listens at a TCP port. Nothing is connected to: a service
 * would see it, and the kernel's own table says the same. */
#include "agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LISTENING 0x0a

/* "0100007F" (as in memory, so any byte order) or "…0100007F" or 0…01: an address that only the
 * guest itself can reach. */
static bool is_loopback(const char *address)
{
    size_t len = strlen(address);
    unsigned word = 0;
    unsigned char bytes[4];

    if (strcmp(address, "00000000000000000000000001000000") == 0)
        return true;
    if (len < 8 || sscanf(address + len - 8, "%8x", &word) != 1)
        return false;
    if (len > 8 && strncmp(address, "0000000000000000FFFF0000", 24) != 0)
        return false;
    memcpy(bytes, &word, sizeof(bytes));
    return bytes[0] == 127;
}

/* Looks into one table: *ret_where grows from no to loopback to any. */
static void look(const char *path, unsigned port, const char **ret_where)
{
    cleanup_fclose FILE *f = fopen(path, "re");
    char line[512], address[64];
    unsigned at, state;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, " %*u: %63[0-9A-F]:%x %*[0-9A-F]:%*x %x", address, &at, &state) != 3 ||
            state != LISTENING || at != port)
            continue;
        if (!is_loopback(address))
            *ret_where = "any";
        else if (strcmp(*ret_where, "no") == 0)
            *ret_where = "loopback";
    }
}

int work_port(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    const char *where = "no";
    uint64_t port = 0;
    int r = vivi_aw_field_u64(q, "port", UINT16_MAX, &port, err);

    if (r < 0)
        return r;
    if (port == 0)
        return vivi_fail(err, VIV_E_INVALID, "port: missing");
    look("/proc/net/tcp", (unsigned)port, &where);
    look("/proc/net/tcp6", (unsigned)port, &where);
    vivi_aw_put(ret, "listening", where);
    return 0;
}
