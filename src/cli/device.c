/* viv device add | rm | ls */
#include <string.h>

#include "cli/change.h"
#include "cli/out.h"
#include "model/device.h"
#include "model/fields.h"

/* ---- add, rm ---- */

/* The field that a word without "=" means: the file of a disk, the type of a NIC. NULL: none. */
static const char *plain_word(const char *kind_word)
{
    enum vivi_device_kind kind;
    const struct vivi_field *f;

    if (vivi_device_kind_parse(kind_word, &kind) < 0)
        return NULL;
    f = vivi_field_element_shorthand(vivi_device_kind_list(kind));
    return f ? vivi_field_leaf(f) : NULL;
}

static int add_word(const char *kind, const char *word, viv_opts *o, viv_error *err)
{
    cleanup_buf struct vivi_buf text = VIVI_BUF(65536);
    const char *leaf = strchr(word, '=') ? NULL : plain_word(kind);
    int r;

    if (!strncmp(word, "id=", 3))
        return viv_opts_set_str(o, "id", word + 3, err);
    if (!leaf)
        return viv_opts_set_str(o, "set", word, err);
    (void)vivi_buf_printf(&text, "%s=%s", leaf, word);
    r = vivi_buf_check(&text, err);
    return r < 0 ? r : viv_opts_set_str(o, "set", text.data, err);
}

/* Words: add|rm, VM, kind, the rest. */
static int read_words(struct vivi_cli *c, bool add, viv_opts *o, viv_error *err)
{
    const char *kind = c->args.words[2];
    int r = viv_opts_set_str(o, "kind", kind, err);

    for (size_t i = 3; r >= 0 && i < c->args.n_words; i++) {
        const char *word = c->args.words[i];

        if (add)
            r = add_word(kind, word, o, err);
        else
            r = viv_opts_set_str(o, "id", strncmp(word, "id=", 3) ? word : word + 3, err);
    }
    return r;
}

/* A VM has one of that kind, if any. */
static bool has_no_id(const char *word)
{
    enum vivi_device_kind kind;

    return vivi_device_kind_parse(word, &kind) == 0 &&
           !vivi_field_find(vivi_device_kind_list(kind));
}

static int change(struct vivi_cli *c, bool add)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_changing how = {.call = add ? viv_vm_device_add : viv_vm_device_remove};
    int code = vivi_changing_flags(c, &how);

    if (code)
        return code;
    if (add && how.force)
        return vivi_cli_usage(c, NULL, "--force is for taking away");
    if (add && c->args.n_words < 3)
        return vivi_cli_usage(c, "viv device add web disk path=data.img",
                              "needs a VM and a kind of device");
    if (!add && c->args.n_words != 4 && (c->args.n_words != 3 || !has_no_id(c->args.words[2])))
        return vivi_cli_usage(c, "viv device rm web disk data",
                              "needs a VM, a kind of device and its id");
    if (viv_opts_new(&o, &err) < 0 || vivi_changing_options(&how, o, &err) < 0 ||
        read_words(c, add, o, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    how.opts = o;
    code = vivi_cli_open_vm(c, c->args.words[1], VIV_OPEN_CREATE, &vm);
    if (code)
        return code;
    return vivi_changing_run(c, vm, &how);
}

/* ---- ls ---- */

static const char *const head[] = {"KIND", "ID", "WHAT", "STATE", "PLACE"};

/* "live", and what of it is not yet so. */
static const char *state_of(const viv_rec *rec)
{
    const char *pending = viv_rec_str(rec, "pending");
    int live = 0;

    (void)viv_rec_bool(rec, "live", &live);
    if (!pending)
        return live ? "live" : NULL;
    if (!strcmp(pending, "add"))
        return "next start";
    return strcmp(pending, "remove") != 0 ? "live, changes at the next start"
                                          : "live, goes at the next start";
}

static int print_table(struct vivi_cli *c, const viv_list *list)
{
    cleanup_table struct vivi_table t = {0};

    vivi_table_init(&t, head, ARRAY_SIZE(head));
    for (size_t i = 0; i < viv_list_len(list); i++) {
        const viv_rec *rec = viv_list_at(list, i);
        char place[24] = "";
        int64_t n;

        if (viv_rec_i64(rec, "place", &n) == 0)
            (void)snprintf(place, sizeof(place), "%lld", (long long)n);
        vivi_table_cell(&t, viv_rec_str(rec, "kind"));
        vivi_table_cell(&t, viv_rec_str(rec, "id"));
        vivi_table_cell(&t, viv_rec_str(rec, "what"));
        vivi_table_cell(&t, state_of(rec));
        vivi_table_cell(&t, place);
    }
    return vivi_table_print(c, &t, NULL);
}

static int list(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_list viv_list *found = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code;

    if (c->args.n_words != 2)
        return vivi_cli_usage(c, "viv device ls web", "needs one VM");
    code = vivi_cli_open_vm(c, c->args.words[1], VIV_OPEN_READONLY, &vm);
    if (code)
        return code;
    if (viv_vm_devices(vm, &found, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    if (c->quiet) {
        for (size_t i = 0; i < viv_list_len(found); i++)
            (void)printf("%s\n", viv_rec_str(viv_list_at(found, i), "id"));
        return 0;
    }
    return vivi_cli_structured(c) ? vivi_cli_list(c, found) : print_table(c, found);
}

int vivi_cmd_device(struct vivi_cli *c)
{
    const char *word = c->args.n_words ? c->args.words[0] : "";

    if (!strcmp(word, "add") || !strcmp(word, "rm"))
        return change(c, !strcmp(word, "add"));
    if (!strcmp(word, "ls"))
        return list(c);
    return vivi_cli_usage(c, "viv help device", "needs one of add, rm, ls");
}
