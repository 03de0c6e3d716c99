#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/config.h"

/* Parses text of a.yaml in /base; on failure the message and hint are compared. */
static void is_refused_with_hint(const char *text, const char *message, const char *hint)
{
    viv_error err = VIV_ERROR_INIT;
    json_t *doc = (json_t *)&err; /* anything: it must stay */

    assert_int_equal(vivi_config_parse(text, strlen(text), "a.yaml", "/base", &doc, &err),
                     -VIV_E_INVALID);
    assert_int_equal(err.code, VIV_E_INVALID);
    assert_string_equal(err.message, message);
    assert_string_equal(err.hint, hint);
    assert_ptr_equal(doc, &err);
}

static void is_refused(const char *text, const char *message)
{
    is_refused_with_hint(text, message, "");
}

/* Parses, and compares with compact JSON. */
static void parses_as(const char *text, const char *wanted)
{
    viv_error err = VIV_ERROR_INIT;
    cleanup_free char *have = NULL;
    json_auto_t *doc = NULL;

    if (vivi_config_parse(text, strlen(text), "a.yaml", "/base", &doc, &err) != 0)
        fail_msg("%s", err.message);
    have = json_dumps(doc, JSON_COMPACT);
    assert_string_equal(have, wanted);
}

static void every_field_is_read_into_its_canonical_form(void **state)
{
    (void)state;
    parses_as("name: web\n"
              "driver: qemu\n"
              "machine: q35\n"
              "accel: tcg\n"
              "labels: {job: \"42\", team: blue}\n"
              "boot:\n"
              "  kernel: vmlinuz\n"
              "  initramfs: ./initrd.img\n"
              "  cmdline: console=ttyS0 quiet\n"
              "cpus: 2\n"
              "memory: 1.5GiB\n"
              "disks:\n"
              "- id: root\n"
              "  path: /srv/root.img\n"
              "- path: ../data.img\n"
              "  readonly: yes\n"
              "nets:\n"
              "- id: n0\n"
              "  type: nat\n"
              "  mac: 52:54:00:AB:cd:ef\n"
              "  forward: [8080:80, \"[::1]:53:53/udp\"]\n"
              "serial: {log: auto, log_limit: 1MiB}\n"
              "ready: {by: marker, timeout: 90}\n"
              "stop: {timeout: 10s}\n"
              "restart: {policy: on-failure, backoff: 500ms}\n"
              "fake: {script: \"ready after=5ms; poweroff\"}\n",
              "{\"name\":\"web\",\"driver\":\"qemu\",\"machine\":\"q35\",\"accel\":\"tcg\","
              "\"labels\":{\"job\":\"42\",\"team\":\"blue\"},"
              "\"boot\":{\"kernel\":\"/base/vmlinuz\",\"initramfs\":\"/base/initrd.img\","
              "\"cmdline\":\"console=ttyS0 quiet\"},"
              "\"cpus\":{\"count\":2},\"memory\":{\"size\":1610612736},"
              "\"disks\":[{\"id\":\"root\",\"path\":\"/srv/root.img\"},"
              "{\"path\":\"/base/../data.img\",\"readonly\":true}],"
              "\"nets\":[{\"id\":\"n0\",\"type\":\"nat\",\"mac\":\"52:54:00:ab:cd:ef\","
              "\"forward\":[\"127.0.0.1:8080:80/tcp\",\"[::1]:53:53/udp\"]}],"
              "\"serial\":{\"log\":\"auto\",\"log_limit\":1048576},"
              "\"ready\":{\"by\":\"marker\",\"timeout\":90000},\"stop\":{\"timeout\":10000},"
              "\"restart\":{\"policy\":\"on-failure\",\"backoff\":500},"
              "\"fake\":{\"script\":\"ready after=5ms; poweroff\"}}");
}

static void json_text_is_read_like_yaml(void **state)
{
    (void)state;
    parses_as("{\"name\":\"web\",\n\t\"cpus\": {\"count\": 2},\r\n \"memory\": 1073741824,\n"
              " \"labels\": {\"a\": 1, \"b\": true, \"c\": \"x\\/y\\u00e9\"}, \"nets\": []}",
              "{\"name\":\"web\",\"cpus\":{\"count\":2},\"memory\":{\"size\":1073741824},"
              "\"labels\":{\"a\":\"1\",\"b\":\"true\",\"c\":\"x/y\xc3\xa9\"},\"nets\":[]}");
    /* A character that JSON must write as two escapes. */
    parses_as("{\"labels\": {\"a\": \"\\uD83D\\ude00\", \"b\": \"\\\\ud83d\"}}",
              "{\"labels\":{\"a\":\"\xf0\x9f\x98\x80\",\"b\":\"\\\\ud83d\"}}");
    is_refused_with_hint("{\"name\": \"web\",\n \"memroy\": 1}",
                         "config a.yaml:2: memroy: unknown field", "did you mean \"memory\"?");
}

static void nothing_given_is_an_empty_document(void **state)
{
    (void)state;
    parses_as("", "{}");
    parses_as("# only a comment\n", "{}");
    parses_as("---\n", "{}");
    parses_as("null", "{}");
    parses_as("{}", "{}");
    parses_as("\xef\xbb\xbfname: web\n", "{\"name\":\"web\"}");
    /* null says nothing; an empty list says something. */
    parses_as("name:\nboot: ~\ndisks: null\nnets: []\ncpus: {count: }\nlabels: {a: }\n",
              "{\"nets\":[],\"cpus\":{},\"labels\":{}}");
}

static void words_are_typed_by_their_field_and_not_by_yaml(void **state)
{
    (void)state;
    parses_as("name: on\nlabels: {a: yes, b: 0x10, c: 010, d: 1.50, e: 12:30:45, f: \"null\"}\n"
              "boot: {cmdline: no}\n",
              "{\"name\":\"on\",\"labels\":{\"a\":\"yes\",\"b\":\"0x10\",\"c\":\"010\","
              "\"d\":\"1.50\",\"e\":\"12:30:45\",\"f\":\"null\"},\"boot\":{\"cmdline\":\"no\"}}");
    parses_as(
        "disks: [{path: /a, readonly: On}, {path: /b, readonly: off}]\n",
        "{\"disks\":[{\"path\":\"/a\",\"readonly\":true},{\"path\":\"/b\",\"readonly\":false}]}");
    is_refused("cpus: 0x10\n", "config a.yaml:1: cpus.count: \"0x10\" is not a whole number");
    is_refused("cpus: 010\n", "config a.yaml:1: cpus.count: \"010\" is not a whole number");
    is_refused("disks: [{path: /a, readonly: 1}]\n",
               "config a.yaml:1: disks.d0.readonly: \"1\" is not true or false");
}

static void the_fixed_messages_are_exact(void **state)
{
    (void)state;
    is_refused_with_hint("name: web\n\nmemroy: 1GiB\n", "config a.yaml:3: memroy: unknown field",
                         "did you mean \"memory\"?");
    is_refused("name: web\ncpus: 1\n\nmemory: 1 cow\n",
               "config a.yaml:4: memory.size: \"1 cow\" is not a size (examples: 512MiB, 2GiB)");
    is_refused("name: web\nmemory:\n\n  size: 1 cow\n",
               "config a.yaml:4: memory.size: \"1 cow\" is not a size (examples: 512MiB, 2GiB)");
    is_refused("name: a/b\n",
               "config a.yaml:1: name: \"a/b\" is not a DNS label (a-z, 0-9, -, at most 63)");
}

static void the_field_of_a_problem_is_told_apart(void **state)
{
    static const char text[] = "disks:\n- {id: data, path: d.img, readonly: maybe}\n";
    viv_error err = VIV_ERROR_INIT;
    json_t *doc = NULL;

    (void)state;
    assert_int_equal(vivi_config_parse(text, strlen(text), NULL, "/base", &doc, &err),
                     -VIV_E_INVALID);
    assert_string_equal(err.field, "disks.data.readonly");
    assert_string_equal(err.message,
                        "config line 2: disks.data.readonly: \"maybe\" is not true or false");
    assert_int_equal(vivi_config_parse(text, strlen(text), NULL, "/base", &doc, NULL),
                     -VIV_E_INVALID);
    assert_null(doc);
}

static void unknown_fields_are_named_with_their_path(void **state)
{
    (void)state;
    is_refused_with_hint("memory:\n  seize: 1GiB\n", "config a.yaml:2: memory.seize: unknown field",
                         "did you mean \"memory.size\"?");
    is_refused_with_hint("disks:\n- id: data\n  pth: /x\n",
                         "config a.yaml:3: disks.data.pth: unknown field",
                         "did you mean \"disks.data.path\"?");
    is_refused("graphics: []\n", "config a.yaml:1: graphics: unknown field");
    is_refused("cpus.count: 2\n", "config a.yaml:1: \"cpus.count\": unknown field");
    is_refused("disks: [{\"*\": 1}]\n", "config a.yaml:1: disks.d0.\"*\": unknown field");
    is_refused("<<: {name: web}\n", "config a.yaml:1: \"<<\": unknown field");
    is_refused("\"a\\nb\": 1\n", "config a.yaml:1: \"a?b\": unknown field");
}

static void a_value_of_the_wrong_shape_says_what_is_wanted(void **state)
{
    (void)state;
    is_refused("- name: web\n", "config a.yaml:1: must be a mapping of fields");
    is_refused("web\n", "config a.yaml:1: must be a mapping of fields");
    is_refused("name: [web]\n", "config a.yaml:1: name: must be a single value");
    is_refused("name: web\nboot: vmlinuz\n", "config a.yaml:2: boot: must be a mapping");
    is_refused("boot: [1]\n", "config a.yaml:1: boot: must be a mapping");
    is_refused("disks: d.img\n", "config a.yaml:1: disks: must be a list");
    is_refused("disks: [d.img]\n", "config a.yaml:1: disks.d0: must be a mapping");
    is_refused("disks:\n- {path: /a}\n-\n", "config a.yaml:3: disks.d1: must be a mapping");
    is_refused("nets: {forward: x}\n", "config a.yaml:1: nets: must be a list");
    is_refused("nets: [{forward: {a: b}}]\n", "config a.yaml:1: nets.n0.forward: must be a list");
    is_refused("nets: [{forward: [[8080:80]]}]\n",
               "config a.yaml:1: nets.n0.forward: must be a single value");
    is_refused("labels: a=b\n", "config a.yaml:1: labels: must be a mapping");
    is_refused("labels: {a: [b]}\n", "config a.yaml:1: labels.a: must be a single value");
    is_refused("labels: {a b: c}\n",
               "config a.yaml:1: labels: \"a b\" is not a key (letters, digits, . _ / - between, "
               "at most 63)");
}

static void values_out_of_range_name_the_limit(void **state)
{
    (void)state;
    is_refused("cpus: 0\n", "config a.yaml:1: cpus.count: 0 is less than 1");
    is_refused("cpus: 5000\n", "config a.yaml:1: cpus.count: 5000 is more than 1024");
    is_refused("memory: 512\n", "config a.yaml:1: memory.size: 512B is less than 1MiB");
    is_refused("memory: 2PiB\n", "config a.yaml:1: memory.size: 2PiB is more than 1PiB");
    is_refused("restart: {backoff: 2m}\n", "config a.yaml:1: restart.backoff: 2m is more than 1m");
    is_refused("cpus: 18446744073709551615\n",
               "config a.yaml:1: cpus.count: \"18446744073709551615\" is too large");
}

static void words_of_a_choice_are_listed(void **state)
{
    (void)state;
    is_refused_with_hint("accel: kmv\n",
                         "config a.yaml:1: accel: \"kmv\" is not one of auto, kvm, tcg, hvf",
                         "did you mean \"kvm\"?");
    is_refused("driver: xen\n", "config a.yaml:1: driver: \"xen\" is not one of auto, "
                                "cloud-hypervisor, vz, qemu, fake");
    is_refused("nets: [{type: tun}]\n",
               "config a.yaml:1: nets.n0.type: \"tun\" is not one of nat, tap, fd, "
               "vhost-user");
    is_refused("accel: auto|kvm\n",
               "config a.yaml:1: accel: \"auto|kvm\" is not one of auto, kvm, tcg, hvf");
    is_refused("accel: \"\"\n", "config a.yaml:1: accel: \"\" is not one of auto, kvm, tcg, hvf");
}

static void a_key_given_twice_names_both_lines(void **state)
{
    (void)state;
    is_refused("memory: 1GiB\nname: web\nmemory: 2GiB\n",
               "config a.yaml:3: memory: is given twice (first in line 1)");
    is_refused("boot:\n  kernel: /a\n  kernel: /b\n",
               "config a.yaml:3: boot.kernel: is given twice (first in line 2)");
    is_refused("labels:\n  a: 1\n  \"a\": 2\n",
               "config a.yaml:3: labels.a: is given twice (first in line 2)");
}

static void paths_become_absolute(void **state)
{
    json_auto_t *doc = NULL;

    (void)state;
    parses_as(
        "boot: {kernel: a/b, initramfs: .//./c, cmdline: ./x}\n",
        "{\"boot\":{\"kernel\":\"/base/a/b\",\"initramfs\":\"/base/c\",\"cmdline\":\"./x\"}}");
    parses_as("boot: {kernel: ~/vmlinuz, initramfs: .}\n",
              "{\"boot\":{\"kernel\":\"/base/~/vmlinuz\",\"initramfs\":\"/base\"}}");
    assert_int_equal(vivi_config_parse("boot: {kernel: k}", 17, NULL, "/", &doc, NULL), 0);
    assert_string_equal(json_string_value(vivi_config_get(doc, "boot.kernel")), "/k");
    is_refused("boot: {kernel: \"\"}\n", "config a.yaml:1: boot.kernel: must not be empty");
    is_refused("boot: {kernel: \"a\\nb\"}\n",
               "config a.yaml:1: boot.kernel: must be one line without control characters");
}

static void block_text_loses_its_last_line_break_only(void **state)
{
    (void)state;
    parses_as("boot:\n  cmdline: >\n    console=ttyS0\n    quiet\n",
              "{\"boot\":{\"cmdline\":\"console=ttyS0 quiet\"}}");
    parses_as("fake:\n  script: |\n    ready after=5ms\n    poweroff\n\n",
              "{\"fake\":{\"script\":\"ready after=5ms\\npoweroff\"}}");
    is_refused("boot:\n  cmdline: |\n    a\n    b\n",
               "config a.yaml:2: boot.cmdline: must be one line without control characters");
    is_refused("fake: {script: \"a\\eb\"}\n",
               "config a.yaml:1: fake.script: must be text without control characters");
}

static void bytes_that_are_no_text_are_named_with_their_line(void **state)
{
    static const char nul[] = "name: web\ncpus: 1\0\n";
    viv_error err = VIV_ERROR_INIT;
    json_t *doc = NULL;

    (void)state;
    is_refused("name: web\n\nboot: {cmdline: a\xff}\n", "config a.yaml:3: is not valid UTF-8");
    is_refused("name: \xc3\n", "config a.yaml:1: is not valid UTF-8");
    is_refused("name: \xed\xa0\x80\n", "config a.yaml:1: is not valid UTF-8");
    is_refused("name: \xc0\xaf\n", "config a.yaml:1: is not valid UTF-8");
    is_refused("name: a\n# \x1b[1m\n", "config a.yaml:2: control character 0x1b");
    is_refused("\xff\xfen\n", "config a.yaml:1: is UTF-16, not UTF-8");
    assert_int_equal(vivi_config_parse(nul, sizeof(nul) - 1, "a.yaml", "/", &doc, &err),
                     -VIV_E_INVALID);
    assert_string_equal(err.message, "config a.yaml:2: a NUL byte");
    is_refused("boot: {cmdline: \"a\\0b\"}\n", "config a.yaml:1: a NUL byte");
    is_refused("a: \xef\xbf\xbf\n", "config a.yaml:1: control characters are not allowed");
}

static void broken_yaml_is_told_with_its_line(void **state)
{
    (void)state;
    is_refused("name: web\nboot:\n\tkernel: /a\n",
               "config a.yaml:3: a tab cannot indent: use spaces");
    is_refused("name: web\nboot: {kernel: /a\n",
               "config a.yaml:3: did not find expected ',' or '}'");
    is_refused("name: web\n  cpus: 2\n",
               "config a.yaml:2: mapping values are not allowed in this context");
    is_refused("name: \"web\n", "config a.yaml:2: found unexpected end of stream");
    is_refused("name: @web\n", "config a.yaml:1: found character that cannot start any token");
    is_refused("name: web\n---\nname: db\n", "config a.yaml:2: a second document");
    is_refused("name: !!str web\n", "config a.yaml:1: tags are not understood");
    is_refused("boot: !include x\n", "config a.yaml:1: tags are not understood");
    is_refused("boot: !x {kernel: /a}\n", "config a.yaml:1: tags are not understood");
    is_refused("[a]: b\n", "config a.yaml:1: a key must be a word");
    is_refused("{a: b}: c\n", "config a.yaml:1: a key must be a word");
    is_refused("~: c\n", "config a.yaml:1: a key must be a word");
}

static void aliases_are_understood_within_reason(void **state)
{
    char text[8192] = "labels: &l {a: 1}\nboot: {cmdline: &x \"y\"}\nfake: {script: *x}\n";
    size_t len;

    (void)state;
    parses_as(text, "{\"labels\":{\"a\":\"1\"},\"boot\":{\"cmdline\":\"y\"},"
                    "\"fake\":{\"script\":\"y\"}}");
    is_refused("labels: {a: *x}\n", "config a.yaml:1: an alias without an anchor");
    is_refused("labels: &l {a: *l}\n", "config a.yaml:1: an alias inside of its own anchor");
    /* The billion laughs: each level ten times the one below. */
    is_refused("labels: &a [x, x]\nboot: &b [*a, *a]\ndisks: &c [*b, *b]\n",
               "config a.yaml:1: labels: must be a mapping");
    len = (size_t)snprintf(text, sizeof(text), "labels:\n  x: &x y\n");
    for (int i = 0; i < 101; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "  x%d: *x\n", i);
    is_refused(text, "config a.yaml:103: too many aliases");
    len = (size_t)snprintf(text, sizeof(text), "labels:\n");
    for (int i = 0; i < 101; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "  x%d: &x%d y\n", i, i);
    is_refused(text, "config a.yaml:102: too many anchors");
}

static void size_depth_and_count_are_bounded(void **state)
{
    const size_t big = VIVI_CONFIG_MAX_BYTES + 1;
    cleanup_free char *text = malloc(big + 1);
    json_auto_t *doc = NULL;
    viv_error err = VIV_ERROR_INIT;
    size_t len = 0;

    (void)state;
    assert_non_null(text);
    memset(text, '#', big);
    text[big] = '\0';
    is_refused(text, "config a.yaml: is larger than 1MiB");
    assert_int_equal(vivi_config_parse(text, big - 1, "a.yaml", "/", &doc, NULL), 0);
    memset(text, '[', big);
    is_refused_with_hint("boot: [[[[[[[[[[[[[[[[[[[[[[[[", "config a.yaml:1: is nested too deeply",
                         "");
    assert_int_equal(vivi_config_parse(text, big - 1, "a.yaml", "/", &doc, &err), -VIV_E_INVALID);
    assert_string_equal(err.message, "config a.yaml:1: is nested too deeply");
    for (size_t i = 0; i + 1 < big; i += 2)
        memcpy(text + i, "a,", 2);
    memcpy(text, "boot: [a", 8);
    vivi_config_parse(text, big - 1, "a.yaml", "/", &doc, &err);
    assert_string_equal(err.message, "config a.yaml:1: too many values");
    for (int i = 0; i < 300; i++)
        len += (size_t)snprintf(text + len, big - len, "a%d: 1\n", i);
    is_refused(text, "config a.yaml:1: has too many entries");
    len = (size_t)snprintf(text, big, "disks:\n");
    for (int i = 0; i < 300; i++)
        len += (size_t)snprintf(text + len, big - len, "- {path: /%d}\n", i);
    is_refused(text, "config a.yaml:2: disks: has too many entries");
}

static void long_values_are_cut_in_messages_and_refused(void **state)
{
    char text[20000];
    viv_error err = VIV_ERROR_INIT;
    json_t *doc = NULL;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "memory: ", 8);
    assert_int_equal(vivi_config_parse(text, strlen(text), "a.yaml", "/", &doc, &err),
                     -VIV_E_INVALID);
    assert_string_equal(err.message,
                        "config a.yaml:1: memory.size: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                        "xxxxxxxxxxxxxxxxx...\" is not a size (examples: 512MiB, 2GiB)");
    memcpy(text, "boot: {kernel: /", 16);
    text[sizeof(text) - 2] = '}';
    assert_int_equal(vivi_config_parse(text, strlen(text), "a.yaml", "/", &doc, &err),
                     -VIV_E_INVALID);
    assert_string_equal(err.message, "config a.yaml:1: boot.kernel: is longer than 4095 bytes");
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text + 300, ": 1", 4);
    assert_int_equal(vivi_config_parse(text, strlen(text), "a.yaml", "/", &doc, &err),
                     -VIV_E_INVALID);
    assert_true(strlen(err.message) < 120);
    assert_null(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_read_into_its_canonical_form),
        cmocka_unit_test(json_text_is_read_like_yaml),
        cmocka_unit_test(nothing_given_is_an_empty_document),
        cmocka_unit_test(words_are_typed_by_their_field_and_not_by_yaml),
        cmocka_unit_test(the_fixed_messages_are_exact),
        cmocka_unit_test(the_field_of_a_problem_is_told_apart),
        cmocka_unit_test(unknown_fields_are_named_with_their_path),
        cmocka_unit_test(a_value_of_the_wrong_shape_says_what_is_wanted),
        cmocka_unit_test(values_out_of_range_name_the_limit),
        cmocka_unit_test(words_of_a_choice_are_listed),
        cmocka_unit_test(a_key_given_twice_names_both_lines),
        cmocka_unit_test(paths_become_absolute),
        cmocka_unit_test(block_text_loses_its_last_line_break_only),
        cmocka_unit_test(bytes_that_are_no_text_are_named_with_their_line),
        cmocka_unit_test(broken_yaml_is_told_with_its_line),
        cmocka_unit_test(aliases_are_understood_within_reason),
        cmocka_unit_test(size_depth_and_count_are_bounded),
        cmocka_unit_test(long_values_are_cut_in_messages_and_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
