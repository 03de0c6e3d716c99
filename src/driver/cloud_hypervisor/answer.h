/*
 * What Cloud Hypervisor's API answers: HTTP/1.1 as its micro_http writes it. Hostile input: bounded
 * and strict; whatever is not an answer ends the connection. Pure, fuzzed.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define CH_HEAD_MAX_BYTES 4096u
#define CH_BODY_MAX_BYTES                                                  \
    (2u << 20) /* vm.info of a VM with all its slots used is below 100 KiB \
                */
#define CH_ANSWER_MAX_BYTES (CH_HEAD_MAX_BYTES + CH_BODY_MAX_BYTES)

struct ch_answer {
    int status;       /* 100 … 599 */
    const char *body; /* into the bytes given; not NUL-terminated */
    size_t body_len;
    size_t whole; /* bytes that the answer takes */
    bool last;    /* the connection cannot be used again: it said so, or its parser is confused */
};

/*
 * The answer at the start of data. 1: it is whole; 0: more must come (never with more than
 * CH_ANSWER_MAX_BYTES). Errors: PROTOCOL.
 */
int ch_answer_parse(const char *data, size_t len, struct ch_answer *ret, viv_error *err);

/*
 * The VMM's words out of an answer that is no success, as one line: the chain of a JSON array
 * ("The VM could not boot: Failed to validate config: …"), the text inside an { "error": … }, or
 * plain text; what cannot be printed becomes a blank. NUL-terminated, "" = it said nothing.
 */
void ch_answer_words(const struct ch_answer *a, char *ret, size_t size);
/* Whether the last element of the chain (or the plain text) contains text. */
bool ch_answer_blames(const struct ch_answer *a, const char *text);

/* The failure of verb as an error: BUSY (429), EXISTS (409), else VMM. Returns −code. */
int ch_answer_fail(const struct ch_answer *a, const char *verb, viv_error *err);
