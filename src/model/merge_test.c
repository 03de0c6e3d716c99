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
    viv_error err = VIV_ERROR_INIT;

    if (vivi_config_parse(text, strlen(text), NULL, "/base", &doc, &err) != 0)
        fail_msg("%s", err.message);
    return doc;
}

static void is_json(const json_t *doc, const char *wanted)
{
    cleanup_free char *have = json_dumps(doc, JSON_COMPACT);

    assert_string_equal(have, wanted);
}

static void merge_makes(const char *upper, const char *lower, const char *wanted)
{
    json_auto_t *doc = parsed(upper), *under = parsed(lower), *before = json_deep_copy(under);
    json_auto_t *want = parsed(wanted);

    assert_int_equal(vivi_config_merge_under(doc, under, NULL), 0);
    if (!json_equal(doc, want)) {
        cleanup_free char *have = json_dumps(doc, JSON_COMPACT);

        fail_msg("%s", have);
    }
    assert_true(json_equal(under, before));
    /* Nothing is shared: changing one leaves the other. */
    assert_int_equal(vivi_config_set(doc, "labels.zzz", "1", "/", NULL), 0);
    assert_true(json_equal(under, before));
}

static void what_is_given_stays_and_the_rest_is_filled(void **state)
{
    (void)state;
    merge_makes("{}", "{}", "{}");
    merge_makes("{}", "{name: a, cpus: 2}", "{name: a, cpus: 2}");
    merge_makes("{cpus: 4}", "{name: a, cpus: 2}", "{name: a, cpus: 4}");
    merge_makes("{boot: {cmdline: x}, labels: {a: 1}}",
                "{boot: {kernel: /k, cmdline: y}, labels: {a: 2, b: 3}}",
                "{boot: {kernel: /k, cmdline: x}, labels: {a: 1, b: 3}}");
}

static void devices_merge_by_id_with_those_below_first(void **state)
{
    (void)state;
    merge_makes("disks: [{id: data, path: /d}]", "disks: [{id: root, path: /r}]",
                "disks: [{id: root, path: /r}, {id: data, path: /d}]");
    merge_makes("disks: [{id: root, readonly: true}]",
                "disks: [{id: root, path: /r, readonly: false}]",
                "disks: [{id: root, path: /r, readonly: true}]");
    /* An unnamed one of the upper document is always another device. */
    merge_makes("disks: [{path: /d}]", "disks: [{path: /r}]",
                "disks: [{id: d0, path: /r}, {path: /d}]");
    /* But it can name the unnamed one below. */
    merge_makes("nets: [{id: n0, forward: [':80']}]", "nets: [{type: nat}]",
                "nets: [{id: n0, type: nat, forward: [':80']}]");
    merge_makes("nets: [{id: n0, forward: [':80']}]", "nets: [{id: n0, forward: [':81', ':82']}]",
                "nets: [{id: n0, forward: [':80']}]");
}

static void an_explicitly_empty_list_stays_empty(void **state)
{
    (void)state;
    merge_makes("nets: []", "nets: [{type: nat}]", "nets: []");
    merge_makes("{}", "nets: []", "nets: []");
    merge_makes("nets: [{type: nat}]", "nets: []", "nets: [{type: nat}]");
}

static void completing_says_everything_in_the_order_of_the_table(void **state)
{
    json_auto_t *doc = parsed("{}"), *out = NULL;

    (void)state;
    assert_int_equal(vivi_config_complete(doc, &out, NULL), 0);
    is_json(doc, "{}");
    is_json(
        out,
        "{\"name\":null,\"driver\":\"auto\",\"machine\":\"auto\",\"accel\":\"auto\","
        "\"vmm\":{\"path\":null},"
        "\"labels\":{},\"boot\":{\"kernel\":null,\"initramfs\":null,\"cmdline\":null,"
        "\"firmware\":null},"
        "\"cpus\":{\"count\":1,\"max\":null,\"topology\":{\"threads\":null,\"cores\":null,\"dies\":"
        "null,"
        "\"packages\":null},\"affinity\":[],\"nested\":\"auto\"},"
        "\"memory\":{\"size\":536870912,\"max\":null,\"hotplug\":\"virtio-mem\",\"balloon\":null,"
        "\"hugepages\":null,"
        "\"shared\":\"auto\",\"zones\":[]},\"disk_limits\":[],\"disks\":[],"
        "\"nets\":[{\"id\":\"n0\",\"type\":\"nat\",\"tap\":null,\"fd\":null,\"slot\":null,"
        "\"socket\":null,"
        "\"mtu\":null,\"queues\":null,\"limit\":{\"bandwidth\":null,\"ops\":null},"
        "\"offload\":\"all\",\"mac\":\"auto\",\"forward\":[]}],\"shares\":[],\"pmem\":[],\"vdpa\":["
        "],\"devices\":[],"
        "\"user_devices\":[],\"vhost_user\":[],\"vsock\":{\"cid\":null},\"tpm\":{\"socket\":null},"
        "\"watchdog\":{\"enabled\":false},"
        "\"serial\":{\"log\":\"auto\",\"log_limit\":16777216},"
        "\"agent\":{\"enabled\":\"auto\",\"sync_clock\":true},"
        "\"sandbox\":{\"allow\":[],\"landlock\":\"auto\"},\"cloud_hypervisor\":{\"mode\":\"api\"},"
        "\"ready\":{\"by\":\"auto\",\"timeout\":120000},\"stop\":{\"timeout\":60000},"
        "\"restart\":{\"policy\":\"never\",\"backoff\":1000},\"fake\":{\"script\":null}}");
}

static void completing_twice_changes_nothing(void **state)
{
    json_auto_t *doc = parsed("{name: a, disks: [{path: /a}, {path: /b, id: d0}], labels: {x: y},"
                              " nets: [{forward: [':80']}, {id: lan}]}");
    json_auto_t *once = NULL, *twice = NULL;

    (void)state;
    assert_int_equal(vivi_config_complete(doc, &once, NULL), 0);
    assert_int_equal(vivi_config_complete(once, &twice, NULL), 0);
    assert_true(json_equal(once, twice));
    /* The unnamed first disk keeps clear of the one that is called d0. */
    assert_string_equal(json_string_value(vivi_config_get(once, "disks.d1.path")), "/a");
    assert_string_equal(json_string_value(vivi_config_get(once, "disks.d0.path")), "/b");
    assert_true(json_is_false(vivi_config_get(once, "disks.d0.readonly")));
}

static void no_nets_is_one_nat_nic_and_an_empty_list_is_none(void **state)
{
    json_auto_t *doc = parsed("nets: []"), *out = NULL;

    (void)state;
    assert_int_equal(vivi_config_complete(doc, &out, NULL), 0);
    assert_int_equal(json_array_size(vivi_config_get(out, "nets")), 0);
}

static void complete_fails(const char *text, const char *message, const char *field)
{
    json_auto_t *doc = parsed(text), *before = json_deep_copy(doc);
    json_t *out = (json_t *)&before;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_config_complete(doc, &out, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, message);
    assert_string_equal(err.field, field);
    assert_ptr_equal(out, &before);
    assert_true(json_equal(doc, before));
}

static void an_id_is_used_once(void **state)
{
    (void)state;
    complete_fails("disks: [{id: data, path: /a}, {id: x, path: /b}, {id: data, path: /c}]",
                   "disks.data: id is used twice", "disks.data");
    complete_fails("nets: [{id: n0}, {id: n0}]", "nets.n0: id is used twice", "nets.n0");
}

static void a_disk_needs_a_path(void **state)
{
    (void)state;
    complete_fails("disks: [{id: data}]", "disks.data.path: is missing", "disks.data.path");
    complete_fails("disks: [{path: /a}, {readonly: true}]", "disks.d1.path: is missing",
                   "disks.d1.path");
}

static void equal_means_the_same_machine(void **state)
{
    json_auto_t *a = parsed("{name: a, memory: 512MiB, disks: [{path: /a}]}");
    json_auto_t *b = parsed("{disks: [{id: d0, path: /a, readonly: no}], name: a, cpus: 1,"
                            " nets: [{id: n0}]}");
    json_auto_t *c = parsed("{name: a, disks: [{path: /a, readonly: yes}]}");
    json_auto_t *bad = parsed("{disks: [{id: x}]}");

    (void)state;
    assert_true(vivi_config_equal(a, b));
    assert_true(vivi_config_equal(b, a));
    assert_false(vivi_config_equal(a, c));
    assert_false(vivi_config_equal(bad, bad));
}

static void a_presented_document_reads_back_as_itself(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{nets: []}",
        "{name: web, driver: qemu, memory: 1.5GiB, cpus: 3, labels: {a: '1', b.c: 'yes'},"
        " boot: {kernel: k, cmdline: 'a b'}, disks: [{path: /a}, {id: x, path: /b, readonly: yes}],"
        " nets: [{forward: ['8080:80', '[::1]:1:2/udp'], mac: '52:54:00:00:00:01'}],"
        " ready: {timeout: 90s, by: none}, stop: {timeout: 0}, restart: {backoff: 1500ms},"
        " serial: {log_limit: 1000000}, fake: {script: \"a\\nb\"}}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        json_auto_t *doc = parsed(texts[i]), *full = NULL, *shown = NULL, *back = NULL;
        cleanup_free char *text = NULL;

        assert_int_equal(vivi_config_complete(doc, &full, NULL), 0);
        assert_int_equal(vivi_config_present(full, &shown, NULL), 0);
        text = json_dumps(shown, 0);
        back = parsed(text);
        assert_true(vivi_config_equal(back, doc));
        assert_true(vivi_config_equal(back, full));
    }
}

static void presented_values_have_units_and_nulls_are_left_out(void **state)
{
    json_auto_t *doc =
        parsed("{cpus: 2, memory: 1.5GiB, ready: {timeout: 120}, disks: [{path: /a}]}");
    json_auto_t *full = NULL, *shown = NULL;

    (void)state;
    assert_int_equal(vivi_config_present(doc, &shown, NULL), 0);
    is_json(shown, "{\"cpus\":{\"count\":2},\"memory\":{\"size\":\"1.5GiB\"},"
                   "\"ready\":{\"timeout\":\"2m\"},\"disks\":[{\"path\":\"/a\"}]}");
    json_decref(shown);
    shown = NULL;
    assert_int_equal(vivi_config_complete(doc, &full, NULL), 0);
    assert_int_equal(vivi_config_present(full, &shown, NULL), 0);
    assert_null(json_object_get(shown, "boot"));
    assert_null(json_object_get(shown, "labels"));
    assert_null(json_object_get(shown, "name"));
    assert_string_equal(json_string_value(vivi_config_get(shown, "serial.log_limit")), "16MiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_stays_and_the_rest_is_filled),
        cmocka_unit_test(devices_merge_by_id_with_those_below_first),
        cmocka_unit_test(an_explicitly_empty_list_stays_empty),
        cmocka_unit_test(completing_says_everything_in_the_order_of_the_table),
        cmocka_unit_test(completing_twice_changes_nothing),
        cmocka_unit_test(no_nets_is_one_nat_nic_and_an_empty_list_is_none),
        cmocka_unit_test(an_id_is_used_once),
        cmocka_unit_test(a_disk_needs_a_path),
        cmocka_unit_test(equal_means_the_same_machine),
        cmocka_unit_test(a_presented_document_reads_back_as_itself),
        cmocka_unit_test(presented_values_have_units_and_nulls_are_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
