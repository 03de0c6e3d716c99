#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/config.h"

static json_t *parsed(const char *text)
{
    json_t *doc = NULL;

    assert_int_equal(vivi_config_parse(text, strlen(text), NULL, "/base", &doc, NULL), 0);
    return doc;
}

/* Sets path in the document text, and compares with compact JSON. */
static void set_makes(const char *text, const char *path, const char *value, const char *wanted)
{
    json_auto_t *doc = parsed(text);
    viv_error err = VIV_ERROR_INIT;
    cleanup_free char *have = NULL;

    if (vivi_config_set(doc, path, value, "/base", &err) != 0)
        fail_msg("%s", err.message);
    have = json_dumps(doc, JSON_COMPACT);
    assert_string_equal(have, wanted);
}

static void set_fails(const char *text, const char *path, const char *value, const char *message)
{
    json_auto_t *doc = parsed(text), *before = json_deep_copy(doc);
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_config_set(doc, path, value, "/base", &err), -VIV_E_INVALID);
    assert_string_equal(err.message, message);
    assert_true(json_equal(doc, before));
    assert_int_equal(vivi_config_set(doc, path, value, "/base", NULL), -VIV_E_INVALID);
}

static void a_field_is_set_and_its_mappings_are_made(void **state)
{
    (void)state;
    set_makes("{}", "name", "web", "{\"name\":\"web\"}");
    set_makes("{}", "cpus.count", "4", "{\"cpus\":{\"count\":4}}");
    set_makes("cpus: 2", "cpus.count", "4", "{\"cpus\":{\"count\":4}}");
    set_makes("{}", "boot.kernel", "vmlinuz", "{\"boot\":{\"kernel\":\"/base/vmlinuz\"}}");
    set_makes("boot: {cmdline: a}", "boot.kernel", "/k",
              "{\"boot\":{\"cmdline\":\"a\",\"kernel\":\"/k\"}}");
}

static void a_mapping_takes_its_shorthand_and_keeps_the_rest(void **state)
{
    (void)state;
    set_makes("{}", "memory", "2GiB", "{\"memory\":{\"size\":2147483648}}");
    set_makes("{}", "cpus", "3", "{\"cpus\":{\"count\":3}}");
    set_makes("boot: {kernel: /a}", "boot", "{cmdline: x}", "{\"boot\":{\"cmdline\":\"x\"}}");
    set_fails("{}", "boot", "/a", "boot: must be a mapping");
    set_fails("{}", "memory", "1 cow",
              "memory.size: \"1 cow\" is not a size (examples: 512MiB, 2GiB)");
}

static void labels_are_set_one_by_one(void **state)
{
    (void)state;
    set_makes("labels: {a: 1}", "labels.job", "42", "{\"labels\":{\"a\":\"1\",\"job\":\"42\"}}");
    set_makes("{}", "labels.a.b/c", "", "{\"labels\":{\"a.b/c\":\"\"}}");
    set_makes("{}", "labels.+", "job=a=b", "{\"labels\":{\"job\":\"a=b\"}}");
    set_makes("labels: {a: 1, b: 2}", "labels.a-", NULL, "{\"labels\":{\"b\":\"2\"}}");
    set_makes("{}", "labels", "{x: y}", "{\"labels\":{\"x\":\"y\"}}");
    set_fails("{}", "labels.+", "job", "labels: \"job\" is not KEY=VALUE");
    set_fails("{}", "labels.+", "a b=c",
              "labels: \"a b\" is not a key (letters, digits, . _ / - between, at most 63)");
}

static void elements_go_by_id(void **state)
{
    static const char two[] = "disks: [{path: /a}, {id: data, path: /b}]";

    (void)state;
    set_makes(
        two, "disks.data.readonly", "true",
        "{\"disks\":[{\"path\":\"/a\"},{\"id\":\"data\",\"path\":\"/b\",\"readonly\":true}]}");
    /* An unnamed one has the id that completion will give it. */
    set_makes(two, "disks.d0.path", "c",
              "{\"disks\":[{\"path\":\"/base/c\"},{\"id\":\"data\",\"path\":\"/b\"}]}");
    set_fails(two, "disks.dat.path", "c", "disks: there is no \"dat\"");
    set_fails(two, "disks.data", "c", "disks.data: is a device: set one of its fields");
    set_fails(two, "disks.data.pth", "c", "disks.data.pth: unknown field");
    set_fails(two, "disks.data.path.x", "c", "disks.data.path.x: unknown field");
}

static void an_element_that_is_missing_is_hinted_at(void **state)
{
    json_auto_t *doc = parsed("disks: [{id: data, path: /b}]");
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_config_set(doc, "disks.dtaa.path", "c", "/", &err), -VIV_E_INVALID);
    assert_string_equal(err.hint, "did you mean \"disks.data\"?");
    assert_string_equal(err.field, "disks");
    assert_int_equal(vivi_config_set(doc, "disks.swap.path", "c", "/", &err), -VIV_E_INVALID);
    assert_string_equal(err.hint, "add one: disks.+NAME");
}

/* A list below a mapping that has a shorthand of its own. */
static void a_list_may_lie_deeper(void **state)
{
    (void)state;
    set_makes("memory: {zones: [{size: 1GiB}]}", "memory.zones.z0.size", "2GiB",
              "{\"memory\":{\"zones\":[{\"size\":2147483648}]}}");
    set_makes("memory: 1GiB", "memory.zones.+a.size", "1MiB",
              "{\"memory\":{\"size\":1073741824,\"zones\":[{\"size\":1048576,\"id\":\"a\"}]}}");
    set_makes("memory: {zones: [{id: a, size: 1GiB}]}", "memory.zones.+", "1MiB,cpus=0",
              "{\"memory\":{\"zones\":[{\"id\":\"a\",\"size\":1073741824},"
              "{\"size\":1048576,\"cpus\":[\"0\"]}]}}");
    set_makes("memory: {zones: [{id: a, size: 1GiB}]}", "memory.zones.a-", NULL,
              "{\"memory\":{\"zones\":[]}}");
    set_fails("memory: {zones: [{id: a, size: 1GiB}]}", "memory.zones.b.size", "1GiB",
              "memory.zones: there is no \"b\"");
}

static void plus_adds_an_element_once(void **state)
{
    (void)state;
    set_makes("{}", "disks.+data.path", "/d", "{\"disks\":[{\"path\":\"/d\",\"id\":\"data\"}]}");
    set_makes("disks: [{id: data, path: /d}]", "disks.+data.readonly", "yes",
              "{\"disks\":[{\"id\":\"data\",\"path\":\"/d\",\"readonly\":true}]}");
    set_makes("disks: [{path: /a}]", "disks.+b.path", "/b",
              "{\"disks\":[{\"path\":\"/a\"},{\"path\":\"/b\",\"id\":\"b\"}]}");
    set_fails("{}", "disks.+a/b.path", "/d",
              "disks: \"a/b\" is not a DNS label (a-z, 0-9, -, at most 63)");
    set_fails("{}", "disks.+data", "/d", "disks.data: is a device: set one of its fields");
    set_fails("{}", "disks.+data", NULL, "disks.data: is a device: set one of its fields");
}

static void a_flag_adds_a_whole_element(void **state)
{
    (void)state;
    set_makes("{}", "disks.+", "d.img", "{\"disks\":[{\"path\":\"/base/d.img\"}]}");
    set_makes(
        "disks: [{path: /a}]", "disks.+", "/b,,c,ro,id=data",
        "{\"disks\":[{\"path\":\"/a\"},{\"path\":\"/b,c\",\"readonly\":true,\"id\":\"data\"}]}");
    set_makes("{}", "disks.+", "/a,readonly=no",
              "{\"disks\":[{\"path\":\"/a\",\"readonly\":false}]}");
    set_makes("{}", "nets.+", "nat,forward=8080:80,forward=:81",
              "{\"nets\":[{\"type\":\"nat\",\"forward\":[\"127.0.0.1:8080:80/tcp\","
              "\"127.0.0.1:0:81/tcp\"]}]}");
    set_fails("{}", "disks.+", "", "disks.+.path: must not be empty");
    set_fails("{}", "disks.+", "/a,raw", "disks.+.raw: unknown field");
    set_fails("{}", "disks.+", "/a,id", "disks.+: id needs a value (id=…)");
    set_fails("{}", "disks.+", "/a,ro,ro", "disks.+.readonly: is given twice");
    set_fails("{}", "disks.+", "/a,", "disks.+.\"\": unknown field");
    set_fails("{}", "nets.+", "tun",
              "nets.+.type: \"tun\" is not one of nat, tap, fd, "
              "vhost-user");
    set_fails("{}", "disks.+", NULL, "disks: + needs a value");
}

static void no_nic_is_an_empty_list(void **state)
{
    (void)state;
    set_makes("{}", "nets.+", "none", "{\"nets\":[]}");
    set_makes("nets: [{type: nat}]", "nets.+", "none", "{\"nets\":[]}");
    set_makes("nets: [{type: nat}]", "nets", "none", "{\"nets\":[]}");
    set_makes("{}", "nets", "[]", "{\"nets\":[]}");
    set_makes("nets: []", "nets.+", "nat", "{\"nets\":[{\"type\":\"nat\"}]}");
}

static void the_nic_that_is_there_by_default_can_be_named(void **state)
{
    (void)state;
    set_makes("{}", "nets.n0.mac", "52:54:00:00:00:01",
              "{\"nets\":[{\"mac\":\"52:54:00:00:00:01\",\"id\":\"n0\"}]}");
    set_makes("{}", "nets.n0-", NULL, "{\"nets\":[]}");
    set_fails("{}", "nets.n1.mac", "auto", "nets: there is no \"n1\"");
    set_fails("nets: []", "nets.n0.mac", "auto", "nets: there is no \"n0\"");
    set_fails("{}", "disks.d0.path", "/a", "disks: there is no \"d0\"");
}

static void forwards_are_added_to_the_first_nic(void **state)
{
    (void)state;
    set_makes("{}", "nets.*.forward.+", "8080:80",
              "{\"nets\":[{\"forward\":[\"127.0.0.1:8080:80/tcp\"],\"id\":\"n0\"}]}");
    set_makes("nets: [{id: lan, forward: [\":1\"]}, {id: wan}]", "nets.*.forward.+", "8080:80",
              "{\"nets\":[{\"id\":\"lan\",\"forward\":[\"127.0.0.1:0:1/tcp\","
              "\"127.0.0.1:8080:80/tcp\"]},{\"id\":\"wan\"}]}");
    set_fails("nets: []", "nets.*.forward.+", "8080:80", "nets: is empty");
    set_fails("{}", "nets.*.forward.+", "80",
              "nets.n0.forward: \"80\" is not a port forward "
              "(examples: 8080:80, 127.0.0.1:5353:53/udp)");
    set_fails("{}", "nets.*.forward.+", NULL, "nets.n0.forward: + needs a value");
    set_fails("{}", "nets.*.forward.0", "8080:80", "nets.n0.forward.0: unknown field");
}

static void lists_of_values_are_replaced_as_a_whole(void **state)
{
    static const char one[] = "nets: [{id: n0, forward: [\":1\"]}]";

    (void)state;
    set_makes(one, "nets.n0.forward", ":2,:3/udp",
              "{\"nets\":[{\"id\":\"n0\",\"forward\":[\"127.0.0.1:0:2/tcp\","
              "\"127.0.0.1:0:3/udp\"]}]}");
    set_makes(one, "nets.n0.forward", "[\":2\"]",
              "{\"nets\":[{\"id\":\"n0\",\"forward\":[\"127.0.0.1:0:2/tcp\"]}]}");
    set_makes(one, "nets.n0.forward", "", "{\"nets\":[{\"id\":\"n0\",\"forward\":[]}]}");
    set_makes(one, "nets.n0.forward-", NULL, "{\"nets\":[{\"id\":\"n0\"}]}");
    set_makes("{}", "disks", "[{path: a}]", "{\"disks\":[{\"path\":\"/base/a\"}]}");
    set_fails("{}", "disks", "[{path: a}", "disks: did not find expected ',' or ']'");
    set_fails("{}", "disks", "[{pth: a}]", "disks.d0.pth: unknown field");
}

static void minus_removes_and_removing_nothing_is_fine(void **state)
{
    (void)state;
    set_makes("disks: [{path: /a}, {id: data, path: /b}]", "disks.data-", NULL,
              "{\"disks\":[{\"path\":\"/a\"}]}");
    set_makes("disks: [{path: /a}]", "disks.d0-", NULL, "{\"disks\":[]}");
    set_makes("memory: 1GiB\ncpus: 1", "memory.size-", NULL,
              "{\"memory\":{},\"cpus\":{\"count\":1}}");
    set_makes("memory: 1GiB", "memory-", NULL, "{}");
    set_makes("memory: 1GiB", "memory", NULL, "{}");
    set_makes("nets: []", "nets-", NULL, "{}");
    set_makes("{}", "boot.kernel-", NULL, "{}");
    set_fails("memory: 1GiB", "memory", "null",
              "memory.size: \"null\" is not a size (examples: 512MiB, 2GiB)");
}

static void what_cannot_be_set_is_refused(void **state)
{
    char deep[400] = "boot";

    (void)state;
    set_fails("{}", "memroy", "1GiB", "memroy: unknown field");
    set_fails("{}", "", "x", "\"\": unknown field");
    set_fails("{}", ".", "x", "\"\": unknown field");
    set_fails("{}", "-", "x", "-: unknown field");
    set_fails("{}", "name.", "x", "name.\"\": unknown field");
    set_fails("{}", "boot.", "x", "boot.\"\": unknown field");
    set_fails("{}", "boot.kernel.x", "x", "boot.kernel.x: unknown field");
    set_fails("{}", "*", "x", "\"*\": unknown field");
    set_fails("{}", "disks.data-", "x", "disks.data: is removed by -, so it takes no value");
    set_fails("{}", "disks.nope-", NULL, "disks: there is no \"nope\"");
    set_fails("{}", "name", "a\xff", "name: is not valid UTF-8");
    set_fails("{}", "boot.cmdline", "a\nb",
              "boot.cmdline: must be one line without control characters");
    for (int i = 0; i < 90; i++)
        memcpy(deep + 4 + 4 * i, ".abc", 5);
    set_fails("{}", deep, "x",
              "\"boot.abc.abc.abc.abc.abc.abc.abc.abc.abc.abc.abc.abc.abc....\": unknown field");
}

static void mistyped_paths_are_hinted_at(void **state)
{
    json_auto_t *doc = parsed("{}");
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_config_set(doc, "memory.seize", "1", "/", &err), -VIV_E_INVALID);
    assert_string_equal(err.hint, "did you mean \"memory.size\"?");
    assert_int_equal(vivi_config_set(doc, "disks.+", "/a,readnoly", "/", &err), -VIV_E_INVALID);
    assert_string_equal(err.hint, "did you mean \"disks.+.readonly\"?");
}

static void places_are_read_by_path(void **state)
{
    json_auto_t *doc =
        parsed("name: web\nlabels: {a.b: c}\ndisks: [{path: /a}, {id: x, path: /b}]\n"
               "nets: [{forward: [':80']}]\n");

    (void)state;
    assert_string_equal(json_string_value(vivi_config_get(doc, "name")), "web");
    assert_string_equal(json_string_value(vivi_config_get(doc, "labels.a.b")), "c");
    assert_string_equal(json_string_value(vivi_config_get(doc, "disks.d0.path")), "/a");
    assert_string_equal(json_string_value(vivi_config_get(doc, "disks.x.path")), "/b");
    assert_int_equal(json_array_size(vivi_config_get(doc, "nets.n0.forward")), 1);
    assert_true(json_is_object(vivi_config_get(doc, "disks.x")));
    assert_null(vivi_config_get(doc, "disks.d1.path"));
    assert_null(vivi_config_get(doc, "labels.a"));
    assert_null(vivi_config_get(doc, "memory.size"));
    assert_null(vivi_config_get(doc, ""));
    assert_null(vivi_config_get(doc, "name.x"));
    assert_null(vivi_config_get(doc, "."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_field_is_set_and_its_mappings_are_made),
        cmocka_unit_test(a_mapping_takes_its_shorthand_and_keeps_the_rest),
        cmocka_unit_test(labels_are_set_one_by_one),
        cmocka_unit_test(elements_go_by_id),
        cmocka_unit_test(an_element_that_is_missing_is_hinted_at),
        cmocka_unit_test(a_list_may_lie_deeper),
        cmocka_unit_test(plus_adds_an_element_once),
        cmocka_unit_test(a_flag_adds_a_whole_element),
        cmocka_unit_test(no_nic_is_an_empty_list),
        cmocka_unit_test(the_nic_that_is_there_by_default_can_be_named),
        cmocka_unit_test(forwards_are_added_to_the_first_nic),
        cmocka_unit_test(lists_of_values_are_replaced_as_a_whole),
        cmocka_unit_test(minus_removes_and_removing_nothing_is_fine),
        cmocka_unit_test(what_cannot_be_set_is_refused),
        cmocka_unit_test(mistyped_paths_are_hinted_at),
        cmocka_unit_test(places_are_read_by_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
