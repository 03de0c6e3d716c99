/*
 * Cloud Hypervisor's event stream (--event-monitor): pretty-printed JSON objects with a blank line
 * between them. Writes that found the pipe full are missing, whole or in part, so anything may be
 * cut. Pure, fuzzed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CH_EVENT_MAX_BYTES 16384u /* longer is no event */

struct ch_event {
    uint64_t stamp;  /* ns since the VMM began, never 0, growing: names this event within its run */
    char source[24]; /* "vm", "vmm", "virtio-device", "guest", "vdpa" */
    char name[40];   /* "rebooting" */
    char id[64];     /* properties.id, or "" */
    char detail[32]; /* properties.event, or "": what a guest's panic device was told */
};

/*
 * The first event in data. 1: found in ret; 0: there is none yet. Either way *ret_used bytes need
 * not be offered again (noise, or the event and what stood before it).
 */
int ch_event_next(const char *data, size_t len, struct ch_event *ret, size_t *ret_used);
bool ch_event_is(const struct ch_event *e, const char *source, const char *name);
