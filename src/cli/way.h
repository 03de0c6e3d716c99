/*
 * Where the memory of a machine goes: "unix", or "tcp:HOST[:PORT]". An IPv6 address stands in
 * brackets, and may name an interface of this host after a "%".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define VIVI_WAY_UNIX "unix"
#define VIVI_WAY_TCP  "tcp:"

struct vivi_way {
    char host[80];    /* without brackets; "" of unix */
    const char *port; /* borrowed from the text; NULL: none was said */
    bool v6;
};

/* False: it is none. */
bool vivi_way_parse(const char *text, struct vivi_way *ret);
/* "HOST[:PORT]" alone, what may follow it (a "/") included. */
bool vivi_way_parse_host(const char *text, struct vivi_way *ret);
/* "tcp:HOST:PORT" as a VMM of this host takes it: an interface by its number. */
void vivi_way_url(const struct vivi_way *w, const char *port, char *ret, size_t size);
/* An address of one link means nothing on another host. */
bool vivi_way_is_of_a_link(const struct vivi_way *w);
