/*
 * Out of memory is an ordinary error: each scenario runs once for every allocation it makes, with
 * that one failing, until it gets through. jansson is given allocators of this program; libyaml's
 * own functions are replaced by symbols of the same name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "model/diff.h"

#define DEFAULT_VISIBLE __attribute__((visibility("default")))

static unsigned yaml_allocations;

DEFAULT_VISIBLE void *yaml_malloc(size_t size);
DEFAULT_VISIBLE void *yaml_realloc(void *ptr, size_t size);
DEFAULT_VISIBLE char *yaml_strdup(const char *s);

void *yaml_malloc(size_t size)
{
    yaml_allocations++;
    return malloc(size ? size : 1);
}

void *yaml_realloc(void *ptr, size_t size)
{
    yaml_allocations++;
    return ptr ? realloc(ptr, size ? size : 1) : malloc(size ? size : 1);
}

char *yaml_strdup(const char *s)
{
    yaml_allocations++;
    return s ? strdup(s) : NULL;
}

static void *json_allocate(size_t size)
{
    return malloc(size);
}

static const char text[] =
    "name: web\nlabels: &l {a: 1, b: \"x\\u00e9\"}\nboot: {kernel: k, cmdline: 'a b'}\n"
    "memory: 1.5GiB\ncpus: 2\ndisks:\n- {id: root, path: /r}\n- {path: d, readonly: yes}\n"
    "nets: [{forward: [8080:80, ':1/udp'], mac: 52:54:00:00:00:01}]\nfake: {script: &s 'go'}\n"
    "restart: {policy: always}\n";

static json_t *good_document(void)
{
    json_t *doc = NULL;

    assert_int_equal(vivi_config_parse(text, strlen(text), "a.yaml", "/base", &doc, NULL), 0);
    return doc;
}

/* One run of a scenario: 0, or −VIV_E_NO_MEMORY with nothing changed. */
typedef int (*scenario)(const json_t *doc, viv_error *err);

static int run_parse(const json_t *doc, viv_error *err)
{
    json_auto_t *out = NULL;
    int r = vivi_config_parse(text, strlen(text), "a.yaml", "/base", &out, err);

    assert_true(r == 0 ? json_equal(out, doc) : out == NULL);
    return r;
}

static int run_parse_json(const json_t *doc, viv_error *err)
{
    static const char json[] = "{\"labels\": {\"a\": \"\\ud83d\\ude00\"}, \"nets\": []}";
    json_auto_t *out = NULL;
    int r = vivi_config_parse(json, strlen(json), NULL, "/base", &out, err);

    (void)doc;
    assert_true(r == 0 || out == NULL);
    return r;
}

static int run_complete(const json_t *doc, viv_error *err)
{
    json_auto_t *out = NULL;
    int r = vivi_config_complete(doc, &out, err);

    assert_true(r == 0 || out == NULL);
    return r;
}

static int run_decode(const json_t *doc, viv_error *err)
{
    struct vivi_config c = {0}, empty = {0};
    json_auto_t *full = NULL;
    int r = vivi_config_complete(doc, &full, err);

    if (r < 0)
        return r;
    r = vivi_config_decode(full, &c, err);
    if (r < 0)
        assert_memory_equal(&c, &empty, sizeof(c));
    vivi_config_done(&c);
    return r;
}

static int run_present(const json_t *doc, viv_error *err)
{
    json_auto_t *out = NULL;

    return vivi_config_present(doc, &out, err);
}

/* The difference to a VM that has next to nothing, made there change by change. */
static int run_diff(const json_t *doc, viv_error *err)
{
    json_auto_t *little = json_pack("{s:s}", "name", "web"), *from = NULL, *to = NULL;
    cleanup_diff struct vivi_diff d = {0};
    int r = little ? vivi_config_complete(little, &from, err) : vivi_fail_oom(err);

    if (r == 0)
        r = vivi_config_complete(doc, &to, err);
    if (r == 0)
        r = vivi_diff(from, to, &d, err);
    for (size_t i = 0; r == 0 && i < d.n; i++) {
        json_auto_t *shown = vivi_change_json(&d.items[i]);

        r = shown ? vivi_change_make(from, &d.items[i], err) : vivi_fail_oom(err);
    }
    return r;
}

static int run_schema(const json_t *doc, viv_error *err)
{
    json_auto_t *out = vivi_config_schema();

    (void)doc;
    return out ? 0 : vivi_fail_oom(err);
}

/* Changes a copy (made before allocations fail) and sees that a failure left it alone. */
static int changed(json_t *copy, const json_t *doc, int r)
{
    fault_at(0);
    if (r < 0)
        assert_true(json_equal(copy, doc));
    return r;
}

static const struct {
    const char *path, *value;
} changes[] = {
    {"memory", "2GiB"},
    {"stop.timeout", "5s"},
    {"labels.c", "d"},
    {"labels.+", "c=d"},
    {"labels", "{c: d}"},
    {"disks.+", "/x,ro,id=x"},
    {"disks.+x.path", "/x"},
    {"disks.root.readonly", "true"},
    {"nets.*.forward.+", ":7"},
    {"nets.n0.forward", ":7,:8"},
    {"nets.+", "nat,forward=:80"},
    {"nets", "none"},
    {"disks.root-", NULL},
};

static void runs_out_everywhere(scenario s)
{
    json_auto_t *doc = good_document();
    unsigned n = 0;
    bool hit = true;

    while (hit) {
        viv_error err = VIV_ERROR_INIT;
        int r;

        assert_true(n < 100000);
        fault_at(++n);
        r = s(doc, &err);
        hit = fault_hit();
        if (!hit)
            assert_int_equal(r, 0);
        if (r == 0)
            continue;
        if (r != -VIV_E_NO_MEMORY || strcmp(err.message, "out of memory") != 0)
            fail_msg("allocation %u: %d \"%s\"", n, r, err.message);
    }
    assert_true(n > 3);
}

static void parsing_runs_out_of_memory(void **state)
{
    (void)state;
    runs_out_everywhere(run_parse);
    assert_true(yaml_allocations > 100); /* libyaml's allocations are among those that fail */
    runs_out_everywhere(run_parse_json);
}

static void completing_and_decoding_run_out_of_memory(void **state)
{
    (void)state;
    runs_out_everywhere(run_complete);
    runs_out_everywhere(run_decode);
    runs_out_everywhere(run_present);
    runs_out_everywhere(run_schema);
    runs_out_everywhere(run_diff);
}

static void a_change_that_runs_out_of_memory_changes_nothing(void **state)
{
    json_auto_t *doc = good_document();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
        for (unsigned n = 1;; n++) {
            json_auto_t *copy = json_deep_copy(doc);
            viv_error err = VIV_ERROR_INIT;
            bool hit;
            int r;

            fault_at(n);
            r = vivi_config_set(copy, changes[i].path, changes[i].value, "/base", &err);
            hit = fault_hit();
            if (changed(copy, doc, r) < 0) {
                assert_int_equal(r, -VIV_E_NO_MEMORY);
                assert_string_equal(err.message, "out of memory");
            }
            if (!hit) {
                assert_int_equal(r, 0);
                break;
            }
        }
}

static void a_merge_that_runs_out_of_memory_changes_nothing(void **state)
{
    json_auto_t *lower = good_document(), *doc = json_object();

    (void)state;
    assert_int_equal(vivi_config_set(doc, "labels.z", "1", "/", NULL), 0);
    assert_int_equal(vivi_config_set(doc, "disks.+", "/z,id=root", "/", NULL), 0);
    for (unsigned n = 1;; n++) {
        json_auto_t *copy = json_deep_copy(doc);
        viv_error err = VIV_ERROR_INIT;
        bool hit;
        int r;

        fault_at(n);
        r = vivi_config_merge_under(copy, lower, &err);
        hit = fault_hit();
        assert_int_equal(changed(copy, doc, r), hit && r < 0 ? -VIV_E_NO_MEMORY : 0);
        if (!hit)
            break;
    }
}

static int use_our_allocators(void **state)
{
    (void)state;
    json_set_alloc_funcs(json_allocate, free);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing_runs_out_of_memory),
        cmocka_unit_test(completing_and_decoding_run_out_of_memory),
        cmocka_unit_test(a_change_that_runs_out_of_memory_changes_nothing),
        cmocka_unit_test(a_merge_that_runs_out_of_memory_changes_nothing),
    };

    return cmocka_run_group_tests(tests, use_our_allocators, NULL);
}
