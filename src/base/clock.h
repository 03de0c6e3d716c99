/* Times: monotonic microseconds for durations, wall-clock for people. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define VIVI_TIME_SIZE 32

uint64_t vivi_mono_us(void); /* CLOCK_MONOTONIC (not counting host sleep) */
uint64_t vivi_mono_ns(void);
int64_t vivi_wall_ms(void); /* since 1970, UTC */
int64_t vivi_wall_ns(void); /* the same */
void vivi_time_format(int64_t wall_ms,
                      char ret[VIVI_TIME_SIZE]); /* RFC 3339 UTC, "2026-01-02T03:04:05.678Z" */
int vivi_time_parse(const char *s, int64_t *ret_wall_ms); /* 0 or −VIV_E_INVALID */
