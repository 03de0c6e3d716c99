/*
 * The log sink: the only writable global below the command line. Nothing is written until a program
 * (keeper, monitor) sets one; in the library it stays silent.
 */
#pragma once

#include "base/cleanup.h"

enum vivi_log_level { VIVI_LOG_ERROR, VIVI_LOG_WARN, VIVI_LOG_INFO, VIVI_LOG_DEBUG };

/*
 * fd is borrowed (−1 = silent) and written with one write(2) per line
 * "2026-01-02T03:04:05.678Z who level: text". who must live as long. max_bytes > 0: when more than
 * twice that is there, the head is punched out so that max_bytes stay.
 */
void vivi_log_to(int fd, const char *who, enum vivi_log_level most, size_t max_bytes);
void vivi_log(enum vivi_log_level level, const char *fmt, ...) VIVI_PRINTF(2, 3);
