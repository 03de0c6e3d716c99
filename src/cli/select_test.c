/* Selection against a list that the test makes up: the library's calls are doubles. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cli/select.h"

struct viv_rec {
    const char *name, *state;
};
struct viv_list {
    size_t n;
    const viv_rec *recs;
};

static const viv_rec vms[] = {
    {"a", "running"}, {"b", "stopped"}, {"c", "broken"}, {"d", "paused"}, {"e", "created"}};
static viv_list all = {ARRAY_SIZE(vms), vms};
static char asked_filter[256];
static int ls_fails;

int viv_ls(viv *v, const char *filter, viv_list **ret, viv_error *err)
{
    (void)v;
    (void)snprintf(asked_filter, sizeof(asked_filter), "%s", filter ? filter : "");
    if (ls_fails)
        return vivi_fail(err, VIV_E_INVALID, "filter: no");
    *ret = &all;
    return 0;
}

void viv_list_free(viv_list *l)
{
    (void)l;
}

size_t viv_list_len(const viv_list *l)
{
    return l->n;
}

const viv_rec *viv_list_at(const viv_list *l, size_t i)
{
    return i < l->n ? &l->recs[i] : NULL;
}

const char *viv_rec_str(const viv_rec *r, const char *path)
{
    return !strcmp(path, "name") ? r->name : r->state;
}

/* What failing prints is tested end to end; here its code is enough. */
static char last_error[512];

int vivi_cli_fail(struct vivi_cli *c, const char *vm, const viv_error *err)
{
    (void)c;
    (void)vm;
    (void)snprintf(last_error, sizeof(last_error), "%s", err->message);
    return viv_code_exit(err->code);
}

int vivi_cli_usage(struct vivi_cli *c, const char *hint, const char *fmt, ...)
{
    (void)c;
    (void)hint;
    (void)snprintf(last_error, sizeof(last_error), "%s", fmt);
    return 2;
}

void vivi_list_ptr(viv_list **l)
{
    (void)l;
}

static const struct vivi_flag flags[] = {
    {"--all", 'a', VIVI_V_NONE, NULL, NULL, NULL, ""},
    {"--filter", 0, VIVI_V_FILTER, "F", NULL, NULL, ""},
    {"--label", 0, VIVI_V_TEXT, "L", NULL, NULL, ""},
    {.name = NULL},
};

struct asked {
    struct vivi_cli c;
    struct vivi_selection sel;
    int code;
};

static void ask(struct asked *a, const char *states, int n, const char *const *words)
{
    const struct vivi_flags set = {.sets = {flags}};
    viv_error err = VIV_ERROR_INIT;

    *a = (struct asked){0};
    assert_int_equal(vivi_args_parse(&set, n, words, &a->c.args, &err), 0);
    a->code = vivi_select(&a->c, a->c.args.words, a->c.args.n_words, states, &a->sel);
}

static void done(struct asked *a)
{
    vivi_selection_done(&a->sel);
    vivi_args_done(&a->c.args);
}

static void words_are_taken_as_they_are(void **state)
{
    static const char *const words[] = {"x", "y"};
    struct asked a;

    (void)state;
    ask(&a, "running", 2, words);
    assert_int_equal(a.code, 0);
    assert_int_equal(a.sel.n, 2);
    assert_string_equal(a.sel.names[1], "y");
    assert_true(a.sel.several);
    done(&a);
    ask(&a, "running", 1, words);
    assert_false(a.sel.several);
    done(&a);
}

static void all_means_the_states_that_the_verb_applies_to(void **state)
{
    static const char *const words[] = {"--all"};
    struct asked a;

    (void)state;
    ask(&a, VIVI_STATES_ALIVE, 1, words);
    assert_int_equal(a.code, 0);
    assert_int_equal(a.sel.n, 2);
    assert_string_equal(a.sel.names[0], "a");
    assert_string_equal(a.sel.names[1], "d");
    assert_true(a.sel.several);
    done(&a);
    ask(&a, VIVI_STATES_IDLE, 1, words);
    assert_int_equal(a.sel.n, 2);
    assert_string_equal(a.sel.names[0], "b");
    done(&a);
}

static void without_states_all_is_everything_but_broken_ones(void **state)
{
    static const char *const words[] = {"-a"};
    struct asked a;

    (void)state;
    ask(&a, NULL, 1, words);
    assert_int_equal(a.sel.n, 4);
    done(&a);
}

static void a_filter_goes_to_the_library(void **state)
{
    static const char *const words[] = {"--filter", "state=running"};
    struct asked a;

    (void)state;
    ask(&a, NULL, 2, words);
    assert_int_equal(a.code, 0);
    assert_string_equal(asked_filter, "state=running");
    done(&a);
    ls_fails = 1;
    ask(&a, NULL, 2, words);
    ls_fails = 0;
    assert_int_equal(a.code, 2);
    assert_string_equal(last_error, "filter: no");
    assert_int_equal(a.sel.n, 0);
    done(&a);
}

static void labels_and_filters_are_one_filter(void **state)
{
    static const char *const words[] = {"--filter", "state=ready", "--label",
                                        "job=4,2",  "--filter",    "driver=fake"};
    static const char *const bad[] = {"--label", "job"};
    struct asked a;

    (void)state;
    ask(&a, NULL, 6, words);
    assert_int_equal(a.code, 0);
    assert_string_equal(asked_filter, "state=ready,labels.job=4,,2,driver=fake");
    assert_true(a.sel.several);
    done(&a);
    ask(&a, NULL, 2, bad);
    assert_int_equal(a.code, 2);
    assert_string_equal(last_error, "--label: \"%s\" is not KEY=VALUE");
    done(&a);
}

static void nothing_and_too_much_are_usage_errors(void **state)
{
    static const char *const both[] = {"web", "--all"};
    struct asked a;

    (void)state;
    ask(&a, NULL, 0, both);
    assert_int_equal(a.code, 2);
    assert_string_equal(last_error, "needs the name of a VM, or --all");
    done(&a);
    ask(&a, NULL, 2, both);
    assert_int_equal(a.code, 2);
    assert_string_equal(last_error, "names exclude --all, --filter and --label");
    done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_taken_as_they_are),
        cmocka_unit_test(all_means_the_states_that_the_verb_applies_to),
        cmocka_unit_test(without_states_all_is_everything_but_broken_ones),
        cmocka_unit_test(a_filter_goes_to_the_library),
        cmocka_unit_test(labels_and_filters_are_one_filter),
        cmocka_unit_test(nothing_and_too_much_are_usage_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
