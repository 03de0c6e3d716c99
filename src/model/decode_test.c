#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/config.h"
#include "model/decode.h"

static json_t *completed(const char *text)
{
    json_auto_t *doc = NULL;
    json_t *out = NULL;

    assert_int_equal(vivi_config_parse(text, strlen(text), NULL, "/base", &doc, NULL), 0);
    assert_int_equal(vivi_config_complete(doc, &out, NULL), 0);
    return out;
}

static void every_value_reaches_its_place(void **state)
{
    json_auto_t *doc = completed(
        "{name: web, driver: fake, machine: q35, accel: tcg, boot: {kernel: /k, initramfs: /i,"
        " cmdline: c}, cpus: 3, memory: 1GiB, disks: [{path: /a}, {id: x, path: /b, readonly: on}],"
        " nets: [{mac: '52:54:00:00:00:AA', forward: ['8080:80', '[::1]:1:2/udp']}, {id: lan}],"
        " serial: {log_limit: 1MiB}, ready: {by: none, timeout: 5s}, stop: {timeout: 0},"
        " restart: {policy: always, backoff: 20ms}, fake: {script: 's'}}");
    cleanup_config struct vivi_config c = {0};

    (void)state;
    assert_int_equal(vivi_config_decode(doc, &c, NULL), 0);
    assert_string_equal(c.name, "web");
    assert_int_equal(c.driver, VIVI_DRIVER_FAKE);
    assert_string_equal(c.machine, "q35");
    assert_int_equal(c.accel, VIVI_ACCEL_TCG);
    assert_string_equal(c.kernel, "/k");
    assert_string_equal(c.initramfs, "/i");
    assert_string_equal(c.cmdline, "c");
    assert_int_equal(c.cpus, 3);
    assert_int_equal(c.memory_bytes, 1 << 30);
    assert_int_equal(c.n_disks, 2);
    assert_string_equal(c.disks[0].id, "d0");
    assert_string_equal(c.disks[0].path, "/a");
    assert_false(c.disks[0].readonly);
    assert_string_equal(c.disks[1].id, "x");
    assert_true(c.disks[1].readonly);
    assert_int_equal(c.n_nets, 2);
    assert_string_equal(c.nets[0].id, "n0");
    assert_string_equal(c.nets[0].mac, "52:54:00:00:00:aa");
    assert_int_equal(c.nets[0].n_forwards, 2);
    assert_int_equal(c.nets[0].forwards[0].host_port, 8080);
    assert_true(c.nets[0].forwards[1].udp);
    assert_string_equal(c.nets[0].forwards[1].host_ip, "::1");
    assert_string_equal(c.nets[1].mac, "");
    assert_int_equal(c.nets[1].n_forwards, 0);
    assert_int_equal(c.serial_log_limit_bytes, 1 << 20);
    assert_int_equal(c.ready_by, VIVI_READY_NONE);
    assert_int_equal(c.ready_timeout_ms, 5000);
    assert_int_equal(c.stop_timeout_ms, 0);
    assert_int_equal(c.restart, VIVI_RESTART_ALWAYS);
    assert_int_equal(c.restart_backoff_ms, 20);
    assert_string_equal(c.fake_script, "s");
}

static void what_is_absent_is_null_or_the_default(void **state)
{
    json_auto_t *doc = completed("{nets: []}");
    struct vivi_config c = {0}, empty = {0};

    (void)state;
    assert_int_equal(vivi_config_decode(doc, &c, NULL), 0);
    assert_null(c.name);
    assert_null(c.kernel);
    assert_null(c.cmdline);
    assert_null(c.fake_script);
    assert_string_equal(c.machine, "auto");
    assert_int_equal(c.driver, VIVI_DRIVER_AUTO);
    assert_int_equal(c.cpus, 1);
    assert_int_equal(c.memory_bytes, 512 << 20);
    assert_int_equal(c.n_disks, 0);
    assert_int_equal(c.n_nets, 0);
    assert_int_equal(c.restart, VIVI_RESTART_NEVER);
    vivi_config_done(&c);
    assert_memory_equal(&c, &empty, sizeof(c));
    vivi_config_done(&c);
}

/* A completed document in which path was replaced by hand. */
static void decode_fails(const char *list, const char *key, json_t *value, const char *message)
{
    json_auto_t *doc = completed("{disks: [{path: /a}]}");
    json_t *at = list ? vivi_config_get(doc, list) : doc;
    struct vivi_config c = {0}, before = {0};
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(json_object_set_new(at, key, value), 0);
    assert_int_equal(vivi_config_decode(doc, &c, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, message);
    assert_memory_equal(&c, &before, sizeof(c));
}

static void what_a_record_of_an_older_version_lacks_has_its_default(void **state)
{
    json_auto_t *doc =
        json_pack("{s:s, s:[{s:s, s:s}]}", "name", "web", "disks", "id", "d0", "path", "/a");
    cleanup_config struct vivi_config c = {0};

    (void)state;
    assert_int_equal(vivi_config_decode(doc, &c, NULL), 0);
    assert_int_equal(c.cpus, 1);
    assert_int_equal(c.memory_bytes, 512u << 20);
    assert_int_equal(c.shared, VIVI_SWITCH_AUTO);
    assert_int_equal(c.stop_timeout_ms, 60000);
    assert_true(c.sync_clock);
    assert_int_equal(c.n_nets, 0);
    assert_false(c.disks[0].readonly);
    assert_int_equal(c.disks[0].format, VIVI_DISK_RAW);
}

static void a_document_that_somebody_edited_is_checked_again(void **state)
{
    (void)state;
    decode_fails(NULL, "name", json_integer(1), "name: must be a string");
    decode_fails(NULL, "driver", json_string("xen"), "driver: \"xen\" is not known here");
    decode_fails(NULL, "disks", json_string("x"), "disks: must be a list");
    decode_fails(NULL, "nets", json_pack("[s]", "x"),
                 "nets: must be a list of mappings with an id each");
    decode_fails("memory", "size", json_integer(-1), "memory.size: -1 is out of range");
    decode_fails("memory", "size", json_string("1GiB"), "memory.size: must be a whole number");
    decode_fails("cpus", "count", json_integer(1LL << 40),
                 "cpus.count: 1099511627776 is out of range");
    decode_fails("disks.d0", "path", json_null(), "disks: a disk has no path");
    decode_fails("disks.d0", "readonly", json_integer(1),
                 "disks.d0.readonly: must be true or false");
    decode_fails("disks.d0", "id", json_string("A"),
                 "disks: must be a list of mappings with an id each");
    decode_fails("nets.n0", "mac", json_string("x"),
                 "nets.n0.mac: \"x\" is not a MAC address (example: 52:54:00:12:34:56)");
    decode_fails("nets.n0", "forward", json_pack("[i]", 80),
                 "nets.n0.forward: must be a list of port forwards");
    decode_fails("nets.n0", "forward", json_pack("[s,s]", "1:2", "x"),
                 "nets.n0.forward: \"x\" is not a port forward (examples: 8080:80, "
                 "127.0.0.1:5353:53/udp)");
}

static void no_field_is_forgotten_and_none_invented(void **state)
{
    (void)state;
    assert_int_equal(vivi_decode_rows_count, vivi_fields_count());
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        const struct vivi_decode_row *row = &vivi_decode_rows[i];

        assert_string_equal(row->path, f->path);
        /* The words of an enum are those of the field, in the same order (accel knows one more). */
        if (row->how != VIVI_DECODE_WORD)
            continue;
        for (size_t k = 0, at = 0; k == 0 || f->choices[at - 1] == '|'; k++) {
            size_t n = strcspn(f->choices + at, "|");

            assert_true(k < row->n_words);
            assert_int_equal(strlen(row->words[k]), n);
            assert_memory_equal(row->words[k], f->choices + at, n);
            at += n + 1;
        }
    }
}

static void drivers_and_accelerators_have_names(void **state)
{
    enum vivi_driver_kind d = VIVI_DRIVER_VZ;

    (void)state;
    for (int i = 0; i < VIVI_DRIVER_COUNT_; i++) {
        assert_int_equal(vivi_driver_parse(vivi_driver_name((enum vivi_driver_kind)i), &d), 0);
        assert_int_equal(d, i);
    }
    d = VIVI_DRIVER_VZ;
    assert_int_equal(vivi_driver_parse("QEMU", &d), -VIV_E_INVALID);
    assert_int_equal(d, VIVI_DRIVER_VZ);
    assert_string_equal(vivi_driver_name(VIVI_DRIVER_CLOUD_HYPERVISOR), "cloud-hypervisor");
    assert_string_equal(vivi_driver_name(VIVI_DRIVER_COUNT_), "unknown");
    assert_string_equal(vivi_accel_name(VIVI_ACCEL_TCG), "tcg");
    assert_string_equal(vivi_accel_name(VIVI_ACCEL_NONE), "none");
    assert_string_equal(vivi_accel_name((enum vivi_accel)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_reaches_its_place),
        cmocka_unit_test(what_is_absent_is_null_or_the_default),
        cmocka_unit_test(what_a_record_of_an_older_version_lacks_has_its_default),
        cmocka_unit_test(a_document_that_somebody_edited_is_checked_again),
        cmocka_unit_test(no_field_is_forgotten_and_none_invented),
        cmocka_unit_test(drivers_and_accelerators_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
