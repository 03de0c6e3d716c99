/*
 * What every command sees: the parsed command line, the way to print, the one state root. main.c
 * makes it, a command's handler uses it and returns the exit code.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/args.h"

enum vivi_format { VIVI_FORMAT_TABLE, VIVI_FORMAT_JSON, VIVI_FORMAT_YAML };

/* Which words a command takes, and what completion offers for them. */
enum vivi_targets {
    VIVI_TARGETS_NONE,   /* the handler reads its own words */
    VIVI_TARGETS_ONE,    /* one VM */
    VIVI_TARGETS_MANY,   /* VMs, or --all, or --filter */
    VIVI_TARGETS_IMAGE,  /* a configuration file or an image */
    VIVI_TARGETS_WAIT,   /* VMs, then what to wait for */
    VIVI_TARGETS_SUB,    /* a subcommand, then VMs, or --all, or --filter */
    VIVI_TARGETS_SET,    /* a VM, then settings */
    VIVI_TARGETS_DEVICE, /* add|rm|ls, a VM, a kind of device, its fields or its id */
    VIVI_TARGETS_FILE,   /* a VM, then a file */
    VIVI_TARGETS_API,    /* a VM, then GET or PUT, an endpoint, a body */
};

struct vivi_cli;

struct vivi_command {
    const char *name;
    const char *alias;    /* NULL = none */
    const char *group;    /* heading in help */
    const char *summary;  /* one line, no full stop */
    const char *synopsis; /* what follows the name */
    const char *page;     /* its man page: "viv-run" */
    enum vivi_targets targets;
    const char *subcommands; /* "check|show": first word, for help and completion */
    struct vivi_flags flags;
    int (*run)(struct vivi_cli *c);
    bool hidden;
};

extern const struct vivi_command vivi_commands[];
size_t vivi_commands_count(void);
const struct vivi_command *vivi_command_find(const char *name);
extern const struct vivi_flag vivi_flags_global[];

struct vivi_cli {
    const struct vivi_command *cmd;
    struct vivi_args args;
    enum vivi_format format;
    bool format_given;    /* -o was said */
    const char *template; /* --format; NULL = none */
    bool quiet;           /* -q: names only */
    bool raw;             /* --raw: escape sequences pass */
    bool out_tty, err_tty, color;
    const char *root; /* --root or NULL */
    viv *v;           /* opened on demand by vivi_cli_open */
    int code;         /* first failing exit code so far */
    json_t *list;     /* records collected for one JSON or YAML array; NULL = print singly */
};

/* Opens the state root (VIV_OPEN_…); an error is already printed. 0 or the exit code. */
int vivi_cli_open(struct vivi_cli *c, uint64_t flags);
/* The same, and looks up one VM. */
int vivi_cli_open_vm(struct vivi_cli *c, const char *target, uint64_t flags, viv_vm **ret);

/* ---- failing: each prints once and returns the exit code ---- */

/* "viv: start web: message", then "hint: …"; with -o json one object on stderr. vm may be NULL. */
int vivi_cli_fail(struct vivi_cli *c, const char *vm, const viv_error *err);
/* A usage error (exit 2): "viv: start: text". hint may be NULL. */
int vivi_cli_usage(struct vivi_cli *c, const char *hint, const char *fmt, ...) VIVI_PRINTF(3, 4);
int vivi_cli_oom(struct vivi_cli *c);
/* As vivi_cli_fail, without a context (before the command is known). */
int vivi_error_print(FILE *to, bool json, const char *where, const viv_error *err);
/* A line for people on stderr, nothing with -o json. Control characters are made visible. */
void vivi_cli_note(struct vivi_cli *c, const char *fmt, ...) VIVI_PRINTF(2, 3);
/* Remembers the first failing code; returns it. */
int vivi_cli_code(struct vivi_cli *c, int exit_code);

/* ---- results ---- */

/* -o json|yaml or --format: records are printed instead of text. */
bool vivi_cli_structured(const struct vivi_cli *c);
/* From here on records make one array (several) or stand alone. */
void vivi_cli_records(struct vivi_cli *c, bool several);
/* Prints or collects one record, "schema": 1 first; steals obj (NULL = out of memory). 0 or exit
 * code. */
int vivi_cli_record(struct vivi_cli *c, json_t *obj);
/* The same from the library's record. */
int vivi_cli_rec(struct vivi_cli *c, const viv_rec *rec);
int vivi_cli_records_end(struct vivi_cli *c);
/* A whole list as one array. */
int vivi_cli_list(struct vivi_cli *c, const viv_list *list);
/* A document that is text by nature, or YAML without -o: prints obj (stolen) as YAML or JSON. */
int vivi_cli_document(struct vivi_cli *c, json_t *obj);
/* Parses a record's text; NULL = out of memory. */
json_t *vivi_rec_to_json(const viv_rec *rec);

#define cleanup_json VIVI_CLEANUP(vivi_json_ptr)
#define cleanup_rec  VIVI_CLEANUP(vivi_rec_ptr)
#define cleanup_list VIVI_CLEANUP(vivi_list_ptr)
#define cleanup_vm   VIVI_CLEANUP(vivi_vm_ptr)
#define cleanup_opts VIVI_CLEANUP(vivi_opts_ptr)
#define cleanup_doc  VIVI_CLEANUP(vivi_doc_ptr)
void vivi_json_ptr(json_t **j);
void vivi_rec_ptr(viv_rec **r);
void vivi_list_ptr(viv_list **l);
void vivi_vm_ptr(viv_vm **m);
void vivi_opts_ptr(viv_opts **o);
void vivi_doc_ptr(viv_config **c);

/* ---- handlers, one file each ---- */

int vivi_cmd_run(struct vivi_cli *c);
int vivi_cmd_create(struct vivi_cli *c);
int vivi_cmd_apply(struct vivi_cli *c);
int vivi_cmd_set(struct vivi_cli *c);
int vivi_cmd_edit(struct vivi_cli *c);
int vivi_cmd_start(struct vivi_cli *c);
int vivi_cmd_stop(struct vivi_cli *c);
int vivi_cmd_kill(struct vivi_cli *c);
int vivi_cmd_reboot(struct vivi_cli *c);
int vivi_cmd_pause(struct vivi_cli *c);
int vivi_cmd_resume(struct vivi_cli *c);
int vivi_cmd_device(struct vivi_cli *c);
int vivi_cmd_resize(struct vivi_cli *c);
int vivi_cmd_rm(struct vivi_cli *c);
int vivi_cmd_api(struct vivi_cli *c);
int vivi_cmd_nmi(struct vivi_cli *c);
int vivi_cmd_coredump(struct vivi_cli *c);
int vivi_cmd_agent(struct vivi_cli *c);
int vivi_cmd_autostart(struct vivi_cli *c);
int vivi_cmd_snapshot(struct vivi_cli *c);
int vivi_cmd_restore(struct vivi_cli *c);
int vivi_cmd_migrate(struct vivi_cli *c);
int vivi_cmd_upgrade(struct vivi_cli *c);
int vivi_cmd_wait(struct vivi_cli *c);
int vivi_cmd_ps(struct vivi_cli *c);
int vivi_cmd_inspect(struct vivi_cli *c);
int vivi_cmd_stats(struct vivi_cli *c);
int vivi_cmd_ip(struct vivi_cli *c);
int vivi_cmd_port(struct vivi_cli *c);
int vivi_cmd_logs(struct vivi_cli *c);
int vivi_cmd_console(struct vivi_cli *c);
int vivi_cmd_cp(struct vivi_cli *c);
int vivi_cmd_exec(struct vivi_cli *c);
int vivi_cmd_shell(struct vivi_cli *c);
int vivi_cmd_events(struct vivi_cli *c);
int vivi_cmd_caps(struct vivi_cli *c);
int vivi_cmd_doctor(struct vivi_cli *c);
int vivi_cmd_config(struct vivi_cli *c);
int vivi_cmd_version(struct vivi_cli *c);
int vivi_cmd_completion(struct vivi_cli *c);
int vivi_cmd_help(struct vivi_cli *c);
int vivi_cmd_complete(struct vivi_cli *c);
int vivi_cmd_man(struct vivi_cli *c);

/* Prints the help of one command (NULL: the overview). */
void vivi_help_print(FILE *to, const struct vivi_command *cmd);
