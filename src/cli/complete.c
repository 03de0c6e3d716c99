/*
 * viv __complete WORD…: the words behind "viv" up to the cursor, the last one possibly empty or
 * unfinished. Prints candidates, one per line, with a tab and a description where there is one.
 * Lines that begin with ":" are for the script: ":files" and ":dirs" (file names too), ":nospace"
 * (a candidate is to be continued).
 *
 * It has to answer while somebody is typing: it reads names, never asks a monitor, and takes every
 * failure as "no candidates".
 */
#include <string.h>

#include "cli/images.h"
#include "cli/select.h"
#include "model/device.h"
#include "model/fields.h"
#include "model/model.h"

#define FIRST_WORDS 3

struct completion {
    struct vivi_cli *c;
    const struct vivi_command *cmd;
    const char *word;   /* the unfinished one */
    const char *prefix; /* put before each candidate: "--driver=" */
    size_t n_before;    /* finished words that are no flags */
    const char *before; /* the last one of them */
    const char *first[FIRST_WORDS];
};

static void offer(const struct completion *k, const char *text, const char *about)
{
    if (strncmp(text, k->word, strlen(k->word)) != 0)
        return;
    (void)printf("%s%s%s%s\n", k->prefix, text, about ? "\t" : "", about ? about : "");
}

static void offer_choices(const struct completion *k, const char *choices)
{
    while (choices && *choices) {
        size_t len = strcspn(choices, "|");
        char word[64];

        (void)snprintf(word, sizeof(word), "%.*s", (int)len, choices);
        offer(k, word, NULL);
        choices += len + (choices[len] == '|');
    }
}

/* ---- VMs and images ---- */

/* What makes sense for the command: a running VM is not started, a stopped one not paused. */
static const char *states_for(const struct vivi_command *cmd)
{
    if (!strcmp(cmd->name, "start"))
        return VIVI_STATES_IDLE;
    if (!strcmp(cmd->name, "resume"))
        return "paused";
    if (!strcmp(cmd->name, "pause"))
        return "running";
    if (!strcmp(cmd->name, "nmi"))
        return "running";
    if (!strcmp(cmd->name, "coredump"))
        return "running|paused";
    if (!strcmp(cmd->name, "api") || !strcmp(cmd->name, "stop") || !strcmp(cmd->name, "kill") ||
        !strcmp(cmd->name, "reboot") || !strcmp(cmd->name, "console") ||
        !strcmp(cmd->name, "stats"))
        return VIVI_STATES_ALIVE;
    return NULL;
}

static void offer_vms(const struct completion *k)
{
    cleanup_list viv_list *list = NULL;
    const char *states = states_for(k->cmd);
    bool rm = !strcmp(k->cmd->name, "rm");

    if (viv_open(k->c->root, VIV_OPEN_READONLY, &k->c->v, NULL) < 0 ||
        viv_ls(k->c->v, NULL, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < viv_list_len(list); i++) {
        const viv_rec *rec = viv_list_at(list, i);
        const char *name = viv_rec_str(rec, "name"), *state = viv_rec_str(rec, "state");

        if (name && state && (rm || vivi_select_state(states, state)))
            offer(k, name, state);
    }
}

static void offer_images(const struct completion *k)
{
    char **names;
    size_t n;

    if (vivi_images_list(&names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        offer(k, names[i], "image");
    vivi_images_free(names, n);
    (void)puts(":files");
}

/* ---- fields ---- */

/* A * of the pattern becomes what was typed in its place; without that the candidate ends there. */
static void offer_path(const struct completion *k, const char *pattern, const char *help)
{
    char text[200];
    const char *typed = k->word;
    size_t n = 0;

    for (const char *p = pattern; *p && n + 80 < sizeof(text);) {
        size_t len = strcspn(p, "."), typed_len = strcspn(typed, ".=");

        if (len == 1 && *p == '*') {
            if (typed_len == 0 || typed_len > 64)
                break;
            memcpy(text + n, typed, typed_len);
            n += typed_len;
        } else {
            memcpy(text + n, p, len);
            n += len;
        }
        p += len;
        typed += typed_len + (typed[typed_len] == '.');
        if (*p == '.') {
            text[n++] = '.';
            p++;
        } else {
            text[n++] = '=';
        }
    }
    text[n] = '\0';
    offer(k, text, n && text[n - 1] == '=' ? help : NULL);
}

static void offer_settings(struct completion *k)
{
    const char *eq = strchr(k->word, '=');
    char path[128];

    if (eq) {
        struct completion value = *k;
        char prefix[200];

        (void)snprintf(path, sizeof(path), "%.*s", (int)(eq - k->word), k->word);
        (void)snprintf(prefix, sizeof(prefix), "%s%s=", k->prefix, path);
        value.prefix = prefix;
        value.word = eq + 1;
        offer_choices(&value, vivi_field_values(path));
        return;
    }
    for (size_t i = 0; i < vivi_fields_count(); i++)
        offer_path(k, vivi_fields[i].path, vivi_fields[i].help);
    (void)puts(":nospace");
}

static void offer_filters(struct completion *k)
{
    const char *comma = strrchr(k->word, ','), *eq;
    char prefix[400];
    struct completion part = *k;

    if (comma) {
        (void)snprintf(prefix, sizeof(prefix), "%s%.*s", k->prefix, (int)(comma + 1 - k->word),
                       k->word);
        part.prefix = prefix;
        part.word = comma + 1;
    }
    eq = strchr(part.word, '=');
    if (!eq && !strcmp(k->cmd->name, "events")) {
        offer_choices(&part, "vm=|type=|state=|labels.");
    } else if (!eq) {
        offer_choices(&part, "state=|name=|driver=|uuid=|labels.");
    }
    if (!eq) {
        (void)puts(":nospace");
        return;
    }
    (void)snprintf(prefix + (comma ? strlen(prefix) : 0),
                   comma ? sizeof(prefix) - strlen(prefix) : sizeof(prefix), "%s%.*s",
                   comma ? "" : k->prefix, (int)(eq + 1 - part.word), part.word);
    if (!strncmp(part.word, "state=", 6)) {
        part.prefix = prefix;
        part.word = eq + 1;
        offer(&part, "ready", NULL);
        for (int s = 0; s < VIV_ST_COUNT_; s++)
            offer(&part, vivi_state_name((enum viv_state)s), NULL);
    }
}

static void offer_field_value(const struct completion *k, const struct vivi_field *f)
{
    switch (f->type) {
    case VIVI_T_BOOL: offer_choices(k, "true|false"); break;
    case VIVI_T_ENUM: offer_choices(k, f->choices); break;
    case VIVI_T_PATH: (void)puts(":files"); break;
    case VIVI_T_OBJECT_LIST:
        if (!strcmp(f->path, "disks"))
            (void)puts(":files");
        else
            offer_choices(k, "nat|none");
        break;
    case VIVI_T_STR:
    case VIVI_T_INT:
    case VIVI_T_SIZE:
    case VIVI_T_DURATION:
    case VIVI_T_NAME:
    case VIVI_T_MAC:
    case VIVI_T_FORWARD:
    case VIVI_T_STR_LIST:
    case VIVI_T_FORWARD_LIST:
    case VIVI_T_MAP:
    case VIVI_T_TEXT: break;
    }
}

/* ---- flags ---- */

static void offer_flags(const struct completion *k)
{
    const struct vivi_flag *f;

    for (size_t i = 0; (f = vivi_flag_at(&k->cmd->flags, i)); i++)
        offer(k, f->name, f->help);
    for (size_t i = 0; k->cmd->flags.fields && i < vivi_fields_count(); i++) {
        if (vivi_fields[i].flag)
            offer(k, vivi_fields[i].flag, vivi_fields[i].help);
    }
}

static void offer_flag_value(struct completion *k, const struct vivi_flag *f)
{
    switch (f->value) {
    case VIVI_V_CHOICE: offer_choices(k, f->choices); break;
    case VIVI_V_FILE: (void)puts(":files"); break;
    case VIVI_V_DIR: (void)puts(":dirs"); break;
    case VIVI_V_SETTING: offer_settings(k); break;
    case VIVI_V_FILTER: offer_filters(k); break;
    case VIVI_V_NONE:
    case VIVI_V_TEXT:
    case VIVI_V_NUMBER:
    case VIVI_V_DURATION: break;
    }
}

/* A flag as typed, and whether its value comes from the next word. */
struct typed_flag {
    const struct vivi_flag *flag;
    const struct vivi_field *field;
    bool wants_word;
};

static struct typed_flag read_flag(const struct completion *k, const char *word)
{
    struct typed_flag t = {0};
    bool fields = k->cmd->flags.fields;

    if (word[1] == '-') {
        if (strchr(word, '='))
            return t;
        t.flag = vivi_flag_find(&k->cmd->flags, word);
        t.field = !t.flag && fields ? vivi_field_of_flag(word) : NULL;
    } else {
        char last = word[strlen(word) - 1];

        t.flag = vivi_flag_short(&k->cmd->flags, last);
        t.field = !t.flag && fields ? vivi_field_of_short(last) : NULL;
    }
    t.wants_word = t.flag ? t.flag->value != VIVI_V_NONE : t.field && t.field->type != VIVI_T_BOOL;
    return t;
}

/* "--driver=q": the value behind the equals sign. */
static bool offer_long_value(struct completion *k)
{
    const char *eq = strchr(k->word, '=');
    char name[64], prefix[72];
    struct completion value = *k;
    const struct vivi_flag *flag;
    const struct vivi_field *field;

    if (strncmp(k->word, "--", 2) != 0 || !eq || (size_t)(eq - k->word) >= sizeof(name))
        return false;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(eq - k->word), k->word);
    (void)snprintf(prefix, sizeof(prefix), "%s=", name);
    value.prefix = prefix;
    value.word = eq + 1;
    flag = vivi_flag_find(&k->cmd->flags, name);
    field = !flag && k->cmd->flags.fields ? vivi_field_of_flag(name) : NULL;
    if (flag)
        offer_flag_value(&value, flag);
    else if (field)
        offer_field_value(&value, field);
    return true;
}

/* ---- words ---- */

static void offer_commands(const struct completion *k)
{
    for (size_t i = 0; i < vivi_commands_count(); i++) {
        if (!vivi_commands[i].hidden)
            offer(k, vivi_commands[i].name, vivi_commands[i].summary);
    }
}

static void offer_conditions(const struct completion *k)
{
    offer(k, "ready", NULL);
    offer(k, "exit", NULL);
    for (int s = 0; s < VIV_ST_COUNT_; s++)
        offer(k, vivi_state_name((enum viv_state)s), NULL);
}

static void offer_drivers(const struct completion *k)
{
    for (int d = VIVI_DRIVER_AUTO + 1; d < VIVI_DRIVER_COUNT_; d++)
        offer(k, vivi_driver_name((enum vivi_driver_kind)d), NULL);
}

static void offer_own_words(const struct completion *k)
{
    if (k->cmd->subcommands && k->n_before == 0)
        offer_choices(k, k->cmd->subcommands);
    else if (!strcmp(k->cmd->name, "config") && k->n_before == 1) {
        if (!strcmp(k->before, "show"))
            offer_vms(k);
        offer_images(k);
    } else if (!strcmp(k->cmd->name, "caps") && k->n_before == 0)
        offer_drivers(k);
    else if (!strcmp(k->cmd->name, "help") && k->n_before == 0)
        offer_commands(k);
}

/* ---- devices ---- */

/* "path=", "readonly=": the fields of a device of that kind, and the values of one. */
static void offer_device_fields(const struct completion *k, enum vivi_device_kind kind)
{
    const char *eq = strchr(k->word, '=');
    struct completion value = *k;
    char pattern[64], text[200];
    size_t n;

    (void)snprintf(pattern, sizeof(pattern), "%s%s", vivi_device_kind_list(kind),
                   vivi_field_find(vivi_device_kind_list(kind)) ? ".*" : "");
    n = strlen(pattern) + 1;
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        if (!vivi_field_is_child(f, pattern) || strlen(f->path + n) > sizeof(text) - 2)
            continue;
        (void)snprintf(text, sizeof(text), "%s=", f->path + n);
        if (!eq) {
            offer(k, text, f->help);
        } else if (strncmp(k->word, text, strlen(text)) == 0) {
            value.prefix = text;
            value.word = eq + 1;
            offer_field_value(&value, f);
        }
    }
    if (!eq)
        (void)puts(":nospace");
}

static void offer_device_ids(const struct completion *k, const char *kind)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_list viv_list *list = NULL;

    if (viv_open(k->c->root, VIV_OPEN_READONLY, &k->c->v, NULL) < 0 ||
        viv_lookup(k->c->v, k->first[1], &vm, NULL) < 0 || viv_vm_devices(vm, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < viv_list_len(list); i++) {
        const viv_rec *rec = viv_list_at(list, i);
        const char *is = viv_rec_str(rec, "kind"), *id = viv_rec_str(rec, "id");

        if (is && id && !strcmp(is, kind))
            offer(k, id, viv_rec_str(rec, "what"));
    }
}

static void offer_device_words(struct completion *k)
{
    enum vivi_device_kind kind;
    bool ls = k->n_before > 0 && !strcmp(k->first[0], "ls");

    if (k->n_before == 0) {
        offer_choices(k, k->cmd->subcommands);
    } else if (k->n_before == 1) {
        offer_vms(k);
    } else if (ls) {
        return;
    } else if (k->n_before == 2) {
        for (unsigned i = 0; i < VIVI_DEV_COUNT_; i++)
            offer(k, vivi_device_kind_name((enum vivi_device_kind)i), NULL);
    } else if (!strcmp(k->first[0], "rm") && k->n_before == 3) {
        offer_device_ids(k, k->first[2]);
    } else if (!strcmp(k->first[0], "add") && vivi_device_kind_parse(k->first[2], &kind) == 0) {
        offer_device_fields(k, kind);
    }
}

/* Of Cloud Hypervisor: QEMU knows some two hundred commands, and names them itself. */
static void offer_endpoints(const struct completion *k)
{
    if (strcmp(k->before, "GET") == 0)
        offer_choices(k, "vmm.ping|vm.info|vm.counters");
    else
        offer_choices(k, "vmm.shutdown|vm.create|vm.boot|vm.shutdown|vm.reboot|vm.delete|vm.pause|"
                         "vm.resume|vm.resize|vm.resize-disk|vm.resize-zone|vm.add-disk|vm.add-net|"
                         "vm.add-fs|vm.add-device|vm.add-vsock|vm.add-pmem|vm.add-vdpa|"
                         "vm.add-user-device|vm.add-generic-vhost-user|vm.remove-device|"
                         "vm.snapshot|vm.restore|vm.send-migration|vm.receive-migration|"
                         "vm.power-button|vm.nmi|vm.coredump");
}

static void offer_api_words(const struct completion *k)
{
    if (k->n_before == 0)
        offer_vms(k);
    else if (k->n_before == 1)
        offer_choices(k, "GET|PUT");
    else if (k->n_before == 2)
        offer_endpoints(k);
}

static void offer_words(struct completion *k)
{
    switch (k->cmd->targets) {
    case VIVI_TARGETS_NONE: offer_own_words(k); break;
    case VIVI_TARGETS_ONE:
        if (k->n_before == 0)
            offer_vms(k);
        break;
    case VIVI_TARGETS_MANY: offer_vms(k); break;
    case VIVI_TARGETS_SUB:
        if (k->n_before == 0)
            offer_choices(k, k->cmd->subcommands);
        else
            offer_vms(k);
        break;
    case VIVI_TARGETS_DEVICE: offer_device_words(k); break;
    case VIVI_TARGETS_WAIT:
        offer_vms(k);
        if (k->n_before > 0)
            offer_conditions(k);
        break;
    case VIVI_TARGETS_IMAGE:
        if (k->n_before == 0)
            offer_images(k);
        break;
    case VIVI_TARGETS_SET:
        if (k->n_before == 0)
            offer_vms(k);
        else
            offer_settings(k);
        break;
    case VIVI_TARGETS_FILE:
        if (k->n_before == 0)
            offer_vms(k);
        else
            (void)puts(":files");
        break;
    case VIVI_TARGETS_API: offer_api_words(k); break;
    }
}

/* Reads the finished words; returns the flag whose value the unfinished word is. */
static struct typed_flag read_line(struct completion *k, const char *const *words, size_t n)
{
    struct typed_flag open = {0};

    for (size_t i = 0; i < n; i++) {
        if (open.wants_word) {
            if (open.flag && !strcmp(open.flag->name, "--root"))
                k->c->root = words[i];
            open = (struct typed_flag){0};
        } else if (words[i][0] == '-' && words[i][1]) {
            open = read_flag(k, words[i]);
        } else {
            if (k->n_before < FIRST_WORDS)
                k->first[k->n_before] = words[i];
            k->n_before++;
            k->before = words[i];
        }
    }
    return open;
}

/* Where the command stands: behind flags that may come before it. */
static size_t find_command(const char *const *words, size_t n)
{
    const struct vivi_flags global = {.sets = {vivi_flags_global}};
    size_t i = 0;

    while (i < n && words[i][0] == '-') {
        const struct vivi_flag *f = words[i][1] == '-' ? vivi_flag_find(&global, words[i])
                                    : words[i][2]      ? NULL
                                                       : vivi_flag_short(&global, words[i][1]);

        i += f && f->value != VIVI_V_NONE ? 2 : 1;
    }
    return i;
}

int vivi_cmd_complete(struct vivi_cli *c)
{
    static const struct vivi_command none = {.name = "", .flags = {.sets = {vivi_flags_global}}};
    size_t n = c->args.n_words, at;
    struct completion k = {.c = c, .prefix = "", .before = ""};
    struct typed_flag open;

    if (n == 0)
        return 0;
    k.word = c->args.words[n - 1];
    at = find_command(c->args.words, n - 1);
    if (at >= n - 1) {
        k.cmd = &none;
        open = read_line(&k, c->args.words, n - 1);
        if (open.wants_word && open.flag)
            offer_flag_value(&k, open.flag);
        else if (k.word[0] == '-')
            offer_flags(&k);
        else
            offer_commands(&k);
        return 0;
    }
    k.cmd = vivi_command_find(c->args.words[at]);
    if (!k.cmd || k.cmd->hidden)
        return 0;
    (void)read_line(&k, c->args.words, at); /* --root before the command */
    k.n_before = 0;
    open = read_line(&k, c->args.words + at + 1, n - at - 2);
    if (open.wants_word && open.flag)
        offer_flag_value(&k, open.flag);
    else if (open.wants_word)
        offer_field_value(&k, open.field);
    else if (k.word[0] == '-' && !offer_long_value(&k))
        offer_flags(&k);
    else if (k.word[0] != '-')
        offer_words(&k);
    return 0;
}
