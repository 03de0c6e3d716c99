/* Base64 of RFC 4648, with padding: bytes in a line of text. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Characters for len bytes, without a NUL. */
#define VIVI_BASE64_LEN(len) (((len) + 2) / 3 * 4)

/* ret: room for VIVI_BASE64_LEN(len) and a NUL, which is written, too. */
void vivi_base64_encode(const void *data, size_t len, char *ret);
/* ret: room for len / 4 * 3 bytes. How many there are; < 0: not base64. */
ssize_t vivi_base64_decode(const char *text, size_t len, void *ret);
