/*
 * The script that the fake VMM plays: what its pretended guest prints and does, and how its control
 * interface misbehaves. The grammar is described in fake.md. Parsed by the driver's check (so that
 * mistakes are told before a start) and by viv-fake itself. libc and base only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define FAKE_SCRIPT_MAX_BYTES 16384
#define FAKE_MAX_BEATS        64
#define FAKE_MAX_RULES        32
#define FAKE_FOREVER          UINT64_MAX

/* What happens at a time of the guest's clock. */
enum fake_act {
    FAKE_PRINT,
    FAKE_READY,
    FAKE_LINE,
    FAKE_FLOOD,
    FAKE_FILL,
    FAKE_POWEROFF,
    FAKE_REBOOT,
    FAKE_PANIC,
    FAKE_EXIT,
    FAKE_CRASH,
    FAKE_EVENT,
    FAKE_AGENT,
    FAKE_AGENT_READY,
    FAKE_AGENT_GONE,
    FAKE_LISTEN,
    FAKE_COMPLAIN,
    FAKE_HANG_API
};

struct fake_beat {
    enum fake_act act;
    uint64_t after_us;           /* of the guest's clock, which starts with each boot */
    uint64_t every_us;           /* LINE, READY split: between pieces */
    uint64_t count;              /* LINE: how many per boot, COMPLAIN: how often; FAKE_FOREVER */
    uint64_t size_bytes;         /* LINE, FLOOD: of each line; FILL: in all */
    uint32_t boot_from, boot_to; /* boots it plays in, inclusive */
    int number;                  /* EXIT code, CRASH signal */
    char *text;                  /* owned, unescaped, may contain NULs; NULL = none */
    size_t text_len;
    char *ip, *nonce; /* READY; owned; NULL = default */
};

enum fake_verb {
    FAKE_V_HELLO,
    FAKE_V_RUN,
    FAKE_V_STATE,
    FAKE_V_PAUSE,
    FAKE_V_RESUME,
    FAKE_V_BUTTON,
    FAKE_V_RESET,
    FAKE_V_CONTINUE,
    FAKE_V_QUIT,
    FAKE_V_ADD,
    FAKE_V_REMOVE,
    FAKE_V_RESIZE,
    FAKE_V_COUNTERS,
    FAKE_V_NMI,
    FAKE_V_COREDUMP,
    FAKE_V_COUNT_
};
const char *fake_verb_name(enum fake_verb v);
int fake_verb_parse(const char *s, enum fake_verb *ret);

enum fake_rule_kind { FAKE_SLOW, FAKE_FAIL, FAKE_HANG };

struct fake_rule {
    enum fake_rule_kind kind;
    enum fake_verb verb;
    uint64_t by_us; /* SLOW */
    char *text;     /* FAIL; owned */
};

struct fake_script {
    struct fake_beat beats[FAKE_MAX_BEATS];
    size_t n_beats;
    struct fake_rule rules[FAKE_MAX_RULES];
    size_t n_rules;
    bool agent_deaf, no_ready, no_banner, ignore_button, ignore_term, stamp, echo, keys, refuse;
    uint64_t button_after_us;
    uint64_t unplug_after_us, settle_after_us; /* what the guest needs for removals and sizes */
    uint64_t busy_times;                       /* so many removals pass it by */
    char *keep_text;                           /* owned; it refuses removals with these words */
    int refuse_code;
    char *refuse_text; /* owned */
};

/*
 * Parses text (NULL or "" = the default: ready at once, runs until it is stopped). Adds a ready
 * beat where the script names none and does not say no-ready.
 * Errors: INVALID "1:7: unknown statement \"redy\"" (line and column) with a hint; NO_MEMORY. *ret
 * is untouched then.
 */
int fake_script_parse(const char *text, struct fake_script **ret, viv_error *err);
void fake_script_free(struct fake_script *s); /* NULL ok */
#define cleanup_fake_script VIVI_CLEANUP(fake_script_free_ptr)
static inline void fake_script_free_ptr(struct fake_script **s)
{
    fake_script_free(*s);
}
