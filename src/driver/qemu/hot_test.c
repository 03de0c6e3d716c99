/*
 * Changes of a running QEMU against a double that answers as the test wants: the order of steps,
 * what is unmade when QEMU refuses, answers and events that come late or twice.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../tests/contract/poll_loop.h"
#include "base/fd.h"
#include "base/file.h"
#include "driver/qemu/hot.h"
#include "driver/qemu/qemu.h"

#define MIB UINT64_C(1048576)

struct twin {
    char dir[64];
    struct poll_loop loop;
    struct vivi_driver_host host;
    struct qmp qmp;
    struct qemu_hot hot;
    struct vivi_config config;
    struct vivi_disk disk;
    int listen_fd, peer_fd;
    struct vivi_buf in;
    char last[2000]; /* the command seen last */
    uint64_t id;
    /* told */
    uint64_t done[8]; /* operations, in order */
    char errors[8][200];
    unsigned n_done, n_gone, n_progress;
    char gone[64];
    uint64_t progress_done, progress_total;
};

static void on_event(void *ctx, const struct vivi_driver_event *e)
{
    struct twin *t = ctx;

    if (e->kind == VIVI_EV_DONE && t->n_done < 8) {
        (void)snprintf(t->errors[t->n_done], sizeof(t->errors[0]), "%.199s",
                       e->err ? e->err->message : "");
        t->done[t->n_done++] = e->op;
    } else if (e->kind == VIVI_EV_DEVICE) {
        t->n_gone++;
        (void)snprintf(t->gone, sizeof(t->gone), "%s %s", vivi_device_kind_name(e->device_kind),
                       e->id);
    } else if (e->kind == VIVI_EV_PROGRESS) {
        t->n_progress++;
        t->progress_done = e->done;
        t->progress_total = e->total;
    }
}

static void on_reply(void *arg, int tag, uint64_t op, const json_t *value, const viv_error *err)
{
    struct twin *t = arg;

    qemu_hot_reply(&t->hot, tag, op, value, err);
}

static void on_message(void *arg, const struct qmp_message *m)
{
    struct twin *t = arg;

    qemu_hot_event(&t->hot, m);
}

static void on_end(void *arg, const viv_error *err)
{
    struct twin *t = arg;

    qemu_hot_end(&t->hot, err);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void run(struct twin *t)
{
    while (poll_loop_step(&t->loop, 0))
        ;
}

static void say(struct twin *t, const char *text)
{
    assert_int_equal(vivi_write_full(t->peer_fd, text, strlen(text), 1000, NULL), 0);
    run(t);
}

/* The next command must be this one, and have this text in its arguments (NULL: whatever). */
static void expect(struct twin *t, const char *name, const char *part)
{
    json_t *doc;
    char *lf;

    run(t);
    while (!(lf = t->in.len ? memchr(t->in.data, '\n', t->in.len) : NULL)) {
        ssize_t n;

        assert_int_equal(vivi_buf_reserve(&t->in, 4096), 0);
        n = recv(t->peer_fd, t->in.data + t->in.len, 4096, MSG_DONTWAIT);
        if (n <= 0)
            fail_msg("no command, but %s was expected", name);
        t->in.len += (size_t)n;
    }
    doc = json_loadb(t->in.data, (size_t)(lf - t->in.data), 0, NULL);
    assert_non_null(doc);
    (void)snprintf(t->last, sizeof(t->last), "%.*s", (int)(lf - t->in.data), t->in.data);
    assert_string_equal(json_string_value(json_object_get(doc, "execute")), name);
    if (part && !strstr(t->last, part))
        fail_msg("%s has no %s", t->last, part);
    t->id = (uint64_t)json_integer_value(json_object_get(doc, "id"));
    json_decref(doc);
    vivi_buf_consume(&t->in, (size_t)(lf - t->in.data) + 1);
}

static void silence(struct twin *t)
{
    char byte;

    run(t);
    assert_int_equal(t->in.len, 0);
    assert_int_equal(recv(t->peer_fd, &byte, 1, MSG_DONTWAIT), -1);
}

static void answer_to(struct twin *t, uint64_t id, const char *value)
{
    char text[1200];

    (void)snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %llu}\r\n", value,
                   (unsigned long long)id);
    say(t, text);
}

static void answer(struct twin *t, const char *value)
{
    answer_to(t, t->id, value);
}

static void refuse(struct twin *t, const char *why)
{
    char text[400];

    (void)snprintf(text, sizeof(text),
                   "{\"error\": {\"class\": \"GenericError\", \"desc\": \"%s\"}, \"id\": %llu}\r\n",
                   why, (unsigned long long)t->id);
    say(t, text);
}

static void obey(struct twin *t, const char *name, const char *part)
{
    expect(t, name, part);
    answer(t, "{}");
}

/* The op that was told n-th, and its error ("": it worked). */
static void told(struct twin *t, unsigned n, uint64_t op, const char *error)
{
    assert_true(t->n_done == n);
    assert_true(t->done[n - 1] == op);
    assert_string_equal(t->errors[n - 1], error);
}

static int setup(void **state)
{
    static char id[] = "data", path[] = "/d.img";
    struct twin *t = calloc(1, sizeof(*t));
    const struct qmp_handler on = {t, nothing, nothing, on_reply, on_message, on_end};
    struct vivi_machine_start s = {.run = 3};
    char socket[100];

    if (!t)
        return -1;
    poll_loop_init(&t->loop);
    vivi_buf_init(&t->in, 1 << 16);
    t->host = (struct vivi_driver_host){t, &t->loop.iface, on_event, NULL};
    t->disk = (struct vivi_disk){.id = id, .path = path, .slot = 4};
    t->config = (struct vivi_config){.cpus = 1,
                                     .cpus_max = 4,
                                     .memory_bytes = 256 * MIB,
                                     .memory_max_bytes = 1024 * MIB,
                                     .disks = &t->disk,
                                     .n_disks = 1};
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/viv-hot-XXXXXX");
    if (!mkdtemp(t->dir))
        return -1;
    (void)snprintf(socket, sizeof(socket), "%s/qmp", t->dir);
    s.host = &t->host;
    s.config = &t->config;
    if (vivi_unix_listen(socket, 1, &t->listen_fd, NULL) < 0 ||
        qmp_open(&t->qmp, &t->loop.iface, socket, &on, NULL) < 0 ||
        vivi_accept(t->listen_fd, &t->peer_fd, NULL) != 1)
        return -1;
    qemu_hot_begin(&t->hot, &t->qmp, &s);
    *state = t;
    say(t, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
    obey(t, "qmp_capabilities", NULL);
    return 0;
}

static int teardown(void **state)
{
    struct twin *t = *state;
    unsigned left;

    qmp_close(&t->qmp);
    qemu_hot_done(&t->hot);
    left = poll_loop_leftovers(&t->loop);
    vivi_buf_done(&t->in);
    vivi_close(&t->listen_fd);
    vivi_close(&t->peer_fd);
    (void)vivi_remove_tree_at(AT_FDCWD, t->dir, NULL);
    free(t);
    return left == 0 ? 0 : -1;
}

static void resize(struct twin *t, enum vivi_resize_kind kind, uint64_t to, uint64_t op)
{
    const struct vivi_resize what = {.kind = kind, .id = "data", .to = to, .config = &t->config};
    viv_error err = VIV_ERROR_INIT;

    if (qemu_hot_resize(&t->hot, &what, op, &err) < 0)
        fail_msg("%s", err.message);
    run(t);
}

/* ---- memory ---- */

#define SUMMARY "{\"base-memory\": 268435456, \"plugged-memory\": 0}"

static void memory_is(struct twin *t, uint64_t id, uint64_t requested, uint64_t size)
{
    char text[300];

    (void)snprintf(text, sizeof(text),
                   "[{\"type\": \"virtio-mem\", \"data\": {\"id\": \"memory\", \"requested-size\": "
                   "%llu, \"size\": %llu}}]",
                   (unsigned long long)requested, (unsigned long long)size);
    answer_to(t, id, text);
}

static void memory_is_done_when_the_guest_has_taken_all_of_it(void **state)
{
    struct twin *t = *state;

    resize(t, VIVI_RESIZE_MEMORY, 512 * MIB, 7);
    expect(t, "query-memory-size-summary", NULL);
    answer(t, SUMMARY);
    obey(t, "qom-set", "\"value\":268435456");
    expect(t, "query-memory-devices", NULL);
    memory_is(t, t->id, 256 * MIB, 64 * MIB);
    assert_true(t->n_done == 0 && t->n_progress == 1);
    assert_true(t->progress_done == 64 * MIB && t->progress_total == 256 * MIB);
    say(t, "{\"event\": \"MEMORY_DEVICE_SIZE_CHANGE\", \"data\": {\"size\": 268435456}}\r\n");
    expect(t, "query-memory-devices", NULL);
    memory_is(t, t->id, 256 * MIB, 256 * MIB);
    told(t, 1, 7, "");
}

static void an_answer_from_before_a_new_request_does_not_end_it(void **state)
{
    struct twin *t = *state;
    uint64_t look;

    resize(t, VIVI_RESIZE_MEMORY, 512 * MIB, 7);
    expect(t, "query-memory-size-summary", NULL);
    answer(t, SUMMARY);
    obey(t, "qom-set", NULL);
    expect(t, "query-memory-devices", NULL);
    look = t->id; /* not answered yet */
    resize(t, VIVI_RESIZE_MEMORY, 1024 * MIB, 8);
    expect(t, "query-memory-size-summary", NULL);
    memory_is(t, look, 256 * MIB, 256 * MIB); /* what the first one asked for is there */
    assert_int_equal(t->n_done, 0);
    answer(t, SUMMARY);
    expect(t, "qom-set", "\"value\":805306368");
    say(t, "{\"event\": \"MEMORY_DEVICE_SIZE_CHANGE\", \"data\": {\"size\": 268435456}}\r\n");
    look = t->id;
    expect(t, "query-memory-devices", NULL);
    memory_is(t, t->id, 256 * MIB, 256 * MIB); /* asked before the new request had arrived */
    assert_int_equal(t->n_done, 0);
    answer_to(t, look, "{}");
    expect(t, "query-memory-devices", NULL);
    memory_is(t, t->id, 768 * MIB, 768 * MIB);
    assert_int_equal(t->n_done, 2); /* the later call took the earlier one over */
    assert_string_equal(t->errors[0], "");
    assert_string_equal(t->errors[1], "");
}

static void memory_that_it_started_with_stays(void **state)
{
    struct twin *t = *state;

    resize(t, VIVI_RESIZE_MEMORY, 128 * MIB, 7);
    expect(t, "query-memory-size-summary", NULL);
    answer(t, SUMMARY);
    told(t, 1, 7, "the 256MiB that it started with stay while it runs (take memory by balloon)");
    resize(t, VIVI_RESIZE_MEMORY, 257 * MIB, 8);
    expect(t, "query-memory-size-summary", NULL);
    answer(t, SUMMARY);
    told(t, 2, 8, "not a multiple of 2MiB above 256MiB");
    silence(t);
}

/* ---- balloon ---- */

static void a_balloon_is_done_when_it_has_its_size(void **state)
{
    struct twin *t = *state;

    resize(t, VIVI_RESIZE_BALLOON, 128 * MIB, 7);
    expect(t, "query-memory-size-summary", NULL);
    answer(t, SUMMARY);
    obey(t, "balloon", "\"value\":134217728");
    expect(t, "query-balloon", NULL);
    answer(t, "{\"actual\": 200000000}");
    assert_true(t->n_done == 0 && t->n_progress == 1);
    say(t, "{\"event\": \"BALLOON_CHANGE\", \"data\": {\"actual\": 134217728}}\r\n");
    expect(t, "query-balloon", NULL);
    answer(t, "{\"actual\": 134217728}");
    told(t, 1, 7, "");
}

static void a_configured_balloon_is_asked_for_at_the_start(void **state)
{
    struct twin *t = *state;

    qemu_hot_start(&t->hot);
    silence(t); /* none is configured */
    t->config.balloon_bytes = 128 * MIB;
    qemu_hot_start(&t->hot);
    expect(t, "balloon", "\"value\":134217728");
    refuse(t, "No balloon device has been activated");
    assert_int_equal(t->n_done, 0);
}

/* ---- CPUs ---- */

#define CPU(n) \
    "{\"type\": \"cpu\", \"props\": {\"socket-id\": " n ", \"core-id\": 0, \"thread-id\": 0}"
#define ONE_CPU                                                                   \
    "[" CPU("1") "}, " CPU("0") ", \"qom-path\": \"/machine/unattached/device\"}" \
                                "]"
#define TWO_CPUS                                                    \
    "[" CPU("1") ", \"qom-path\": \"/machine/peripheral/cpu-1\"}, " \
                 "" CPU("0") ", \"qom-path\": \"/machine/unattached/device\"}]"
#define OST(source, status)                                                                     \
    "{\"event\": \"ACPI_DEVICE_OST\", \"data\": {\"info\": {\"slot-type\": \"CPU\", \"slot\": " \
    "\"1\", \"source\": " source ", \"status\": " status "}}}\r\n"

static void begin_cpus(struct twin *t, uint64_t to, uint64_t op, const char *kvm, const char *list)
{
    resize(t, VIVI_RESIZE_CPUS, to, op);
    expect(t, "query-kvm", NULL);
    answer(t, kvm);
    expect(t, "query-hotpluggable-cpus", NULL);
    answer(t, list);
}

static void a_cpu_is_there_when_the_guest_has_acknowledged_it(void **state)
{
    struct twin *t = *state;

    begin_cpus(t, 2, 7, "{\"enabled\": false}", ONE_CPU);
    obey(t, "device_add", "\"socket-id\":1");
    assert_int_equal(t->n_done, 0);
    say(t, OST("1", "128")); /* in progress */
    silence(t);
    say(t, OST("1", "0"));
    expect(t, "query-hotpluggable-cpus", NULL);
    answer(t, TWO_CPUS);
    told(t, 1, 7, "");
}

static void a_guest_that_does_not_take_a_cpu_is_told_by_its_code(void **state)
{
    struct twin *t = *state;

    begin_cpus(t, 2, 7, "{\"enabled\": true}", ONE_CPU);
    obey(t, "device_add", NULL);
    say(t, OST("1", "1"));
    told(t, 1, 7, "the guest does not take a CPU (ACPI status 0x1)");
}

static void an_emulated_cpu_stays_and_one_of_kvm_goes(void **state)
{
    struct twin *t = *state;

    begin_cpus(t, 1, 7, "{\"enabled\": false}", TWO_CPUS);
    told(t, 1, 7, "an emulated CPU cannot be taken away");
    begin_cpus(t, 1, 8, "{\"enabled\": true}", TWO_CPUS);
    obey(t, "device_del", "\"cpu-1\"");
    say(t, OST("3", "0"));
    expect(t, "query-hotpluggable-cpus", NULL);
    answer(t, ONE_CPU);
    told(t, 2, 8, "");
    begin_cpus(t, 9, 9, "{\"enabled\": true}", ONE_CPU);
    told(t, 3, 9, "this run can have at most 2 CPUs");
}

/* ---- devices ---- */

static void add(struct twin *t, uint64_t op)
{
    const struct vivi_device d = {
        .kind = VIVI_DEV_DISK, .id = "data", .config = &t->config, .uuid = ""};
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(qemu_hot_add(&t->hot, &d, op, &err), 0);
    expect(t, "qom-list", "/machine/peripheral/disk-3");
}

static void clean_first(struct twin *t)
{
    refuse(t, "Device '/machine/peripheral/disk-3' not found");
    expect(t, "blockdev-del", "\"disk3\"");
    refuse(t, "Failed to find node with node-name='disk3'");
    expect(t, "blockdev-del", "disk3-file");
    refuse(t, "Failed to find node with node-name='disk3-file'");
}

static void a_disk_is_added_from_the_bottom_up(void **state)
{
    struct twin *t = *state;

    add(t, 7);
    clean_first(t);
    obey(t, "blockdev-add", "disk3-file");
    obey(t, "blockdev-add", "\"node-name\":\"disk3\"");
    obey(t, "device_add", "disk-port-3");
    told(t, 1, 7, "");
}

static void what_was_made_is_unmade_when_qemu_refuses_the_rest(void **state)
{
    struct twin *t = *state;

    add(t, 7);
    clean_first(t);
    obey(t, "blockdev-add", NULL);
    obey(t, "blockdev-add", NULL);
    expect(t, "device_add", NULL);
    refuse(t, "Bus 'disk-port-3' not found");
    assert_int_equal(t->n_done, 0);
    obey(t, "blockdev-del", "\"disk3\"");
    obey(t, "blockdev-del", "disk3-file");
    told(t, 1, 7, "no free place in this run; after its next start there are more");
}

static void a_device_that_is_there_is_not_added_again(void **state)
{
    struct twin *t = *state;

    add(t, 7);
    answer(t, "[]");
    told(t, 1, 7, "qemu: such a device is there");
    silence(t);
}

static void removed(struct twin *t)
{
    say(t,
        "{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"disk-3\", \"path\": \"x\"}}\r\n");
    obey(t, "blockdev-del", "\"disk3\"");
    obey(t, "blockdev-del", "disk3-file");
}

static void a_disk_is_gone_when_the_guest_has_let_go_and_asking_twice_is_one_end(void **state)
{
    struct twin *t = *state;

    assert_int_equal(qemu_hot_remove(&t->hot, VIVI_DEV_DISK, "data", 7, NULL), 0);
    obey(t, "device_del", "disk-3");
    assert_int_equal(t->n_done, 0);
    assert_int_equal(qemu_hot_remove(&t->hot, VIVI_DEV_DISK, "data", 8, NULL), 0);
    expect(t, "device_del", "disk-3");
    refuse(t, "Device disk-3 is already in the process of unplug");
    assert_int_equal(t->n_done, 0);
    removed(t);
    assert_true(t->n_done == 2 && t->n_gone == 1);
    assert_string_equal(t->gone, "disk data");
}

static void a_guest_that_refuses_is_told_and_one_that_leaves_unasked_too(void **state)
{
    struct twin *t = *state;

    assert_int_equal(qemu_hot_remove(&t->hot, VIVI_DEV_DISK, "data", 7, NULL), 0);
    obey(t, "device_del", NULL);
    say(t, "{\"event\": \"DEVICE_UNPLUG_GUEST_ERROR\", \"data\": {\"device\": \"disk-3\"}}\r\n");
    told(t, 1, 7, "the guest does not let go of it");
    removed(t);
    assert_true(t->n_done == 1 && t->n_gone == 1);
}

static void what_waits_ends_with_the_connection(void **state)
{
    struct twin *t = *state;

    assert_int_equal(qemu_hot_remove(&t->hot, VIVI_DEV_DISK, "data", 7, NULL), 0);
    obey(t, "device_del", NULL);
    assert_int_equal(qemu_hot_counters(&t->hot, 8, NULL), 0);
    assert_int_equal(qemu_hot_counters(&t->hot, 9, NULL), -VIV_E_BUSY);
    vivi_close(&t->peer_fd);
    run(t);
    assert_int_equal(t->n_done, 2);
    assert_true(t->errors[0][0] && t->errors[1][0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_is_done_when_the_guest_has_taken_all_of_it),
        TEST(an_answer_from_before_a_new_request_does_not_end_it),
        TEST(memory_that_it_started_with_stays),
        TEST(a_balloon_is_done_when_it_has_its_size),
        TEST(a_configured_balloon_is_asked_for_at_the_start),
        TEST(a_cpu_is_there_when_the_guest_has_acknowledged_it),
        TEST(a_guest_that_does_not_take_a_cpu_is_told_by_its_code),
        TEST(an_emulated_cpu_stays_and_one_of_kvm_goes),
        TEST(a_disk_is_added_from_the_bottom_up),
        TEST(what_was_made_is_unmade_when_qemu_refuses_the_rest),
        TEST(a_device_that_is_there_is_not_added_again),
        TEST(a_disk_is_gone_when_the_guest_has_let_go_and_asking_twice_is_one_end),
        TEST(a_guest_that_refuses_is_told_and_one_that_leaves_unasked_too),
        TEST(what_waits_ends_with_the_connection),
    };

    return cmocka_run_group_tests_name("qemu hot", tests, NULL, NULL);
}
