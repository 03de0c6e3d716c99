/*
 * Flags and words of one command, by tables: a command's own flags, the sets that commands share,
 * and (for commands that make a configuration) every flag of the field table.
 *
 * Accepted forms: --flag value, --flag=value, -f value, -fvalue, -ab (switches); flags and words in
 * any order; "--" ends the flags.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/config.h"

/* What a flag takes: how it is checked, and what completion offers. */
enum vivi_value {
    VIVI_V_NONE, /* a switch */
    VIVI_V_TEXT,
    VIVI_V_NUMBER,
    VIVI_V_DURATION,
    VIVI_V_CHOICE,
    VIVI_V_FILE,
    VIVI_V_DIR,
    VIVI_V_FILTER,  /* state=ready,labels.job=42 */
    VIVI_V_SETTING, /* path=value of the field table */
};

struct vivi_flag {
    const char *name; /* "--timeout" */
    char short_name;  /* 't', 0 = none */
    enum vivi_value value;
    const char *arg;     /* "TIME" in help; NULL for a switch */
    const char *choices; /* CHOICE: "table|json|yaml" */
    const char *def;     /* what holds without it, for people; NULL = nothing to say */
    const char *help;    /* one line */
};

#define VIVI_FLAG_SETS 4

struct vivi_flags {
    const struct vivi_flag *sets[VIVI_FLAG_SETS]; /* each ends with a NULL name; unused ones NULL */
    bool fields;                                  /* the field table's flags too */
};

/* One flag as given: exactly one of flag and field is set. value is borrowed from argv, NULL for a
 * switch. */
struct vivi_given {
    const struct vivi_flag *flag;
    const struct vivi_field *field;
    const char *value;
};

struct vivi_args {
    struct vivi_given *given; /* owned, in the order of the command line */
    size_t n_given;
    const char **words; /* owned array of borrowed strings */
    size_t n_words;
    const char **rest; /* what follows "--"; NULL without one */
    size_t n_rest;
};

/*
 * argv: what follows the command's name. INVALID "--wiat: unknown flag" with the nearest as hint,
 * "--timeout: needs a value", "--wait: takes no value", "-o: \"xml\" is none of table, json, yaml".
 */
int vivi_args_parse(const struct vivi_flags *flags, int argc, const char *const *argv,
                    struct vivi_args *ret, viv_error *err);
void vivi_args_done(struct vivi_args *a);
#define cleanup_args VIVI_CLEANUP(vivi_args_done)

bool vivi_args_has(const struct vivi_args *a, const char *name);
const char *vivi_args_str(const struct vivi_args *a, const char *name); /* the last one; NULL */
/* 1 given (*ret set), 0 not given, or INVALID with the flag's name. */
int vivi_args_duration(const struct vivi_args *a, const char *name, int64_t *ret_ms,
                       viv_error *err);
int vivi_args_number(const struct vivi_args *a, const char *name, int64_t *ret, viv_error *err);

/* The i-th flag that a command takes, own ones first; NULL past the end. Fields are not in it. */
const struct vivi_flag *vivi_flag_at(const struct vivi_flags *flags, size_t i);
const struct vivi_flag *vivi_flag_find(const struct vivi_flags *flags, const char *name);
const struct vivi_flag *vivi_flag_short(const struct vivi_flags *flags, char c);
const struct vivi_field *vivi_field_of_flag(const char *name);
const struct vivi_field *vivi_field_of_short(char c);
/* Is word one of "a|b|c"? */
bool vivi_choice_has(const char *choices, const char *word);
