#include "store/testing.h"

#include <sys/stat.h>
#include <unistd.h>

static void fill(char *to, size_t cap, char c)
{
    memset(to, c, cap - 1);
    to[cap - 1] = '\0';
}

/* Every value at its longest. */
static void longest(struct vivi_state *s)
{
    vivi_state_init(s);
    fill(s->name, sizeof(s->name), 'n');
    fill(s->uuid, sizeof(s->uuid), 'u');
    s->state = VIV_ST_RESTORING;
    s->ready = s->ip_reachable = s->remove_when_ended = true;
    fill(s->ready_proof, 10, 'p'); /* "inherited" is the longest */
    s->ready_at_ms = s->created_at_ms = s->started_at_ms = 9999999999999;
    s->ended_at_ms = s->next_start_at_ms = 9999999999999;
    s->ready_after_ms = s->backoff_ms = 9999999;
    fill(s->ip, sizeof(s->ip), '1');
    fill(s->reason, sizeof(s->reason), 'r');
    fill(s->reason_text, sizeof(s->reason_text), '"'); /* doubled in JSON */
    fill(s->rung, 8, 'k');
    s->run = s->boot = 999999999;
    fill(s->driver, 17, 'd');
    fill(s->accel, 5, 'a');
    s->cpus = 8192;
    s->memory_bytes = (uint64_t)1 << 44;
    s->restarts = 999999;
    fill(s->host_boot_id, sizeof(s->host_boot_id), 'b');
    s->pid_ns = 4294967295;
    s->keeper = s->monitor = s->vmm = (struct vivi_proc_id){4194304, 99999999999};
    s->boot_offset = s->scan_offset = s->events_offset = s->reset_stamp = (uint64_t)1 << 40;
    fill(s->config_stamp, 30, 'c');
}

static void what_is_written_is_read_back(void **state)
{
    struct fixture *f = *state;
    struct vivi_state a, b = {.name = "untouched"};
    struct stat st;

    longest(&a);
    memset(a.reason_text, 0, sizeof(a.reason_text));
    (void)snprintf(a.reason_text, sizeof(a.reason_text), "it said \"no\"");
    assert_int_equal(vivi_state_write(f->root.fd, &a, VIVI_FAST, NULL), 0);
    assert_int_equal(vivi_state_read(f->root.fd, &b, NULL), 0);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_null(b.extra);
    assert_int_equal(fstatat(f->root.fd, "state.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void the_longest_state_fits_because_the_reasons_text_is_cut(void **state)
{
    struct fixture *f = *state;
    struct vivi_state a, b;
    struct stat st;

    longest(&a);
    assert_int_equal(vivi_state_write(f->root.fd, &a, VIVI_FAST, NULL), 0);
    assert_int_equal(fstatat(f->root.fd, "state.json", &st, 0), 0);
    assert_true(st.st_size <= VIVI_STATE_MAX_BYTES);
    assert_int_equal(vivi_state_read(f->root.fd, &b, NULL), 0);
    assert_string_equal(b.ip, a.ip);
    assert_true(strlen(b.reason_text) < strlen(a.reason_text));
    assert_memory_equal(a.reason_text, b.reason_text, strlen(b.reason_text));
}

static void an_ordinary_state_is_small(void **state)
{
    struct fixture *f = *state;
    struct vivi_state a;
    struct stat st;

    some_state(&a, "web", UUID_A);
    assert_int_equal(vivi_state_write(f->root.fd, &a, VIVI_FAST, NULL), 0);
    assert_int_equal(fstatat(f->root.fd, "state.json", &st, 0), 0);
    assert_true(st.st_size < 256);
}

static void unknown_fields_are_kept(void **state)
{
    struct fixture *f = *state;
    struct vivi_state s;
    cleanup_json json_t *doc = NULL;

    put_file(f->root.fd, "state.json",
             "{\"schema\":1,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"stopped\","
             "\"colour\":{\"of\":\"hat\"}}");
    assert_int_equal(vivi_state_read(f->root.fd, &s, NULL), 0);
    assert_int_equal(s.state, VIV_ST_STOPPED);
    s.run = 5;
    assert_int_equal(vivi_state_write(f->root.fd, &s, VIVI_FAST, NULL), 0);
    vivi_state_done(&s);
    assert_int_equal(vivi_json_read(f->root.fd, "state.json", 4096, &doc, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(json_object_get(doc, "colour"), "of")),
                        "hat");
    assert_int_equal(json_integer_value(json_object_get(doc, "run")), 5);
}

static void a_newer_record_is_read_and_never_written(void **state)
{
    struct fixture *f = *state;
    struct vivi_state s;
    viv_error err = VIV_ERROR_INIT;
    cleanup_buf struct vivi_buf buf = VIVI_BUF(4096);
    const char *text =
        "{\"schema\":2,\"name\":\"web\",\"uuid\":\"" UUID_A "\",\"state\":\"stopped\"}";
    cleanup_json json_t *doc = NULL;

    put_file(f->root.fd, "state.json", text);
    assert_int_equal(vivi_state_read(f->root.fd, &s, &err), 0);
    assert_int_equal(s.state, VIV_ST_STOPPED);
    assert_int_equal(vivi_state_write(f->root.fd, &s, VIVI_FAST, &err), -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message, "state.json: schema 2 is newer than this viv understands (1)");
    assert_int_equal(vivi_read_file_at(f->root.fd, "state.json", &buf, NULL), 0);
    assert_string_equal(buf.data, text);
    put_file(f->root.fd, "config.json", "{\"schema\":3}");
    assert_int_equal(vivi_json_read(f->root.fd, "config.json", 4096, &doc, &err),
                     -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message,
                        "config.json: schema 3 is newer than this viv understands (1)");
    assert_null(doc);
}

static void broken_records_are_named_with_what_is_wrong(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\n\"name\": ", "state.json: line 2: unexpected token near end of file"},
        {"", "state.json: line 1: '[' or '{' expected near end of file"},
        {"[1]", "state.json: line 1: not a JSON object"},
        {"{\"schema\":\"x\"}", "state.json: schema: not a number"},
        {"{\"name\":\"web\",\"uuid\":\"" UUID_A "\"}", "state.json: state: missing"},
        {"{\"uuid\":\"" UUID_A "\",\"state\":\"created\"}", "state.json: name: missing"},
        {"{\"name\":\"web\",\"uuid\":\"1\",\"state\":\"created\"}", "state.json: uuid: missing"},
        {"{\"state\":\"flying\"}", "state.json: state: not a state"},
        {"{\"state\":\"created\",\"run\":\"7\"}", "state.json: run: not a number"},
        {"{\"state\":\"created\",\"run\":-1}", "state.json: run: out of range"},
        {"{\"state\":\"created\",\"cpus\":4294967296}", "state.json: cpus: out of range"},
        {"{\"state\":\"created\",\"ready\":1}", "state.json: ready: not true or false"},
        {"{\"state\":\"created\",\"vmm\":[0,1]}", "state.json: vmm: not a process"},
        {"{\"state\":\"created\",\"rung\":\"aaaaaaaaaaaaaaaa\"}", "state.json: rung: too long"},
        {"{\"state\":\"created\",\"rung\":\"a\\u0000b\"}",
         "state.json: line 1: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"a\\u0000b\"'"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct vivi_state s = {.name = "untouched"};
        viv_error err = VIV_ERROR_INIT;

        put_file(f->root.fd, "state.json", cases[i].text);
        assert_int_equal(vivi_state_read(f->root.fd, &s, &err), -VIV_E_PROTOCOL);
        assert_string_equal(err.message, cases[i].message);
        assert_string_equal(s.name, "untouched");
    }
}

static void a_missing_record_and_one_that_is_too_large_are_errors(void **state)
{
    struct fixture *f = *state;
    struct vivi_state s;
    viv_error err = VIV_ERROR_INIT;
    char *big = calloc(1, 20000);

    assert_non_null(big);
    assert_int_equal(vivi_state_read(f->root.fd, &s, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "state.json: missing");
    memset(big, ' ', 19999);
    put_file(f->root.fd, "state.json", big);
    free(big);
    assert_int_equal(vivi_state_read(f->root.fd, &s, &err), -VIV_E_PROTOCOL);
    assert_non_null(strstr(err.message, "larger than 16384 bytes"));
}

static void text_of_a_vmm_that_is_not_utf8_is_recorded(void **state)
{
    struct fixture *f = *state;
    struct vivi_state a, b;

    some_state(&a, "web", UUID_A);
    (void)snprintf(a.reason_text, sizeof(a.reason_text), "caf\xe9");
    assert_int_equal(vivi_state_write(f->root.fd, &a, VIVI_FAST, NULL), 0);
    assert_int_equal(vivi_state_read(f->root.fd, &b, NULL), 0);
    assert_string_equal(b.reason_text, "caf?");
}

static void a_full_disk_leaves_the_old_record(void **state)
{
    struct fixture *f = *state;
    struct vivi_state a, b;
    viv_error err = VIV_ERROR_INIT;

    /* A directory in the way of the rename stands for any failure while writing. */
    assert_int_equal(mkdirat(f->root.fd, "state.json", 0700), 0);
    some_state(&a, "web", UUID_A);
    assert_true(vivi_state_write(f->root.fd, &a, VIVI_FAST, &err) < 0);
    assert_true(err.code != 0);
    assert_int_equal(unlinkat(f->root.fd, "state.json", AT_REMOVEDIR), 0);
    assert_int_equal(vivi_state_write(f->root.fd, &a, VIVI_DURABLE, &err), 0);
    assert_int_equal(vivi_state_read(f->root.fd, &b, NULL), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_written_is_read_back),
        T(the_longest_state_fits_because_the_reasons_text_is_cut),
        T(an_ordinary_state_is_small),
        T(unknown_fields_are_kept),
        T(a_newer_record_is_read_and_never_written),
        T(broken_records_are_named_with_what_is_wrong),
        T(a_missing_record_and_one_that_is_too_large_are_errors),
        T(text_of_a_vmm_that_is_not_utf8_is_recorded),
        T(a_full_disk_leaves_the_old_record),
    };

    return cmocka_run_group_tests_name("store: state", tests, NULL, NULL);
}
