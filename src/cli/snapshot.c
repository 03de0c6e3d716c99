/* viv snapshot create | ls | rm, viv restore */
#include <inttypes.h>
#include <string.h>

#include "cli/look.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/select.h"
#include "model/parse.h"

/* Two words: a VM and a snapshot; the words before them are not counted. */
static int two_words(struct vivi_cli *c, size_t before, const char *how)
{
    if (c->args.n_words == before + 2)
        return 0;
    return vivi_cli_usage(c, NULL, "needs a VM and the name of a snapshot: %s", how);
}

/* ---- create, restore ---- */

static void say_created(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)printf("%s: snapshot %s\n", vivi_job_name(job), c->args.words[2]);
}

static void say_restored(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)printf("%s: goes on from %s\n", vivi_job_name(job), c->args.words[1]);
}

static int run_verb(struct vivi_cli *c, struct vivi_verb *verb, size_t vm_word)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_opts_new(&o, &err) < 0 || vivi_verb_async(c, o, &err) < 0 ||
        viv_opts_set_str(o, "name", c->args.words[vm_word + 1], &err) < 0 ||
        (vivi_args_has(&c->args, "--allow-long-pause") &&
         viv_opts_set_bool(o, "allow_long_pause", 1, &err) < 0) ||
        (vivi_args_has(&c->args, "--on-demand") && viv_opts_set_bool(o, "on_demand", 1, &err) < 0))
        return vivi_cli_fail(c, NULL, &err);
    verb->opts = o;
    return vivi_verb_run_on(c, verb, c->args.words + vm_word, 1);
}

static int create(struct vivi_cli *c)
{
    struct vivi_verb verb = {.doing = "saving", .begin = viv_vm_snapshot, .say = say_created};
    int code = two_words(c, 1, "viv snapshot create web before");

    return code ? code : run_verb(c, &verb, 1);
}

int vivi_cmd_restore(struct vivi_cli *c)
{
    struct vivi_verb verb = {
        .doing = "restoring", .begin = viv_vm_restore, .say = say_restored, .starts = true};
    int code = two_words(c, 0, "viv restore web before");

    return code ? code : run_verb(c, &verb, 0);
}

/* ---- ls, rm ---- */

static void print_one(const viv_rec *rec)
{
    int64_t disk = 0, memory = 0;
    char size[24], ram[24];
    const char *error = viv_rec_str(rec, "error"), *at = viv_rec_str(rec, "created_at");

    if (error) {
        (void)printf("%-20s %s\n", viv_rec_str(rec, "name"), error);
        return;
    }
    (void)viv_rec_i64(rec, "size_bytes", &disk);
    (void)viv_rec_i64(rec, "memory_bytes", &memory);
    vivi_format_size((uint64_t)disk, size);
    vivi_format_size((uint64_t)memory, ram);
    (void)printf("%-20s %-24s %10s %10s %s %s\n", viv_rec_str(rec, "name"), at ? at : "-", ram,
                 size, viv_rec_str(rec, "driver"), viv_rec_str(rec, "vmm_version"));
}

static int list(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_list viv_list *found = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code;

    if (c->args.n_words != 2)
        return vivi_cli_usage(c, NULL, "needs a VM: viv snapshot ls web");
    code = vivi_cli_open_vm(c, c->args.words[1], VIV_OPEN_READONLY, &vm);
    if (code)
        return code;
    if (viv_vm_snapshots(vm, &found, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    if (vivi_cli_structured(c))
        return vivi_cli_list(c, found);
    if (!c->quiet && viv_list_len(found) > 0)
        (void)printf("%-20s %-24s %10s %10s %s\n", "SNAPSHOT", "CREATED", "MEM", "SIZE", "VMM");
    for (size_t i = 0; i < viv_list_len(found); i++) {
        if (c->quiet)
            (void)printf("%s\n", viv_rec_str(viv_list_at(found, i), "name"));
        else
            print_one(viv_list_at(found, i));
    }
    return 0;
}

static int drop(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code = two_words(c, 1, "viv snapshot rm web before");

    if (!code)
        code = vivi_cli_open_vm(c, c->args.words[1], VIV_OPEN_CREATE, &vm);
    if (code)
        return code;
    if (viv_vm_snapshot_remove(vm, c->args.words[2], &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    if (vivi_cli_structured(c))
        return vivi_cli_record(c, json_pack("{s:s, s:s, s:b}", "name", viv_vm_name(vm), "snapshot",
                                            c->args.words[2], "changed", 1));
    (void)printf("%s: snapshot %s removed\n", viv_vm_name(vm), c->args.words[2]);
    return 0;
}

int vivi_cmd_snapshot(struct vivi_cli *c)
{
    const char *word = c->args.n_words ? c->args.words[0] : "";

    if (!strcmp(word, "create"))
        return create(c);
    if (!strcmp(word, "ls"))
        return list(c);
    if (!strcmp(word, "rm"))
        return drop(c);
    return vivi_cli_usage(c, "viv help snapshot", "needs one of create, ls, rm");
}
