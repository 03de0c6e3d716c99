/*
 * Changes of a running machine: devices that come and go, sizes, counters. A guest that does its
 * part late, never or unwillingly is played by the fake.
 */
#include <signal.h>
#include <string.h>

#include "cases.h"

#define MIB (UINT64_C(1) << 20)

static bool device_left(struct world *w)
{
    return w->n_device > 0;
}

/* One disk called data is there; false: it could not be added. */
static bool with_a_disk(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    op = world_disk_add(w, "data", 4 * MIB, &err);
    if (op == 0)
        world_fail(w, __FILE__, __LINE__, err.message);
    return op != 0 && world_wait_done(w, op);
}

void hot_adds_a_disk(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    if (!with_a_disk(w))
        return;
    op = world_disk_add(w, "data", 0, &err);
    if (op != 0)
        err.code = world_wait_result(w, op)->code;
    EXPECT(w, err.code == VIV_E_EXISTS);
    contract_expect_alive(w);
    EXPECT(w, w->n_device == 0);
}

void hot_removes_a_disk(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    if (!with_a_disk(w))
        return;
    op = world_disk_remove(w, "data", &err);
    EXPECT(w, op != 0);
    EXPECT(w, world_wait_done(w, op));
    EXPECT(w, w->n_device == 1 && w->device_kind == VIVI_DEV_DISK);
    EXPECT(w, strcmp(w->device_id, "data") == 0);
    EXPECT(w, world_result(w, op)->times == 1);
    op = world_disk_remove(w, "data", &err);
    if (op != 0)
        err.code = world_wait_result(w, op)->code;
    EXPECT(w, err.code == VIV_E_NOT_FOUND);
    op = world_disk_add(w, "data", 0, &err); /* its name is free again */
    EXPECT(w, op != 0 && world_wait_done(w, op));
}

void hot_waits_for_a_busy_guest(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t first, second;

    if (!with_a_disk(w))
        return;
    first = world_disk_remove(w, "data", &err);
    EXPECT(w, first != 0);
    for (int i = 0; i < 3; i++) /* turns in which a willing guest would have let go */
        world_do(w, vivi_machine_query);
    EXPECT(w, !world_result(w, first) && w->n_device == 0);
    second = world_disk_remove(w, "data", &err);
    EXPECT(w, second != 0);
    EXPECT(w, world_wait_done(w, second) && world_wait_done(w, first));
    EXPECT(w, world_result(w, first)->times == 1 && world_result(w, second)->times == 1);
    EXPECT(w, w->n_device == 1);
}

void hot_carries_a_refusal(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    if (!with_a_disk(w))
        return;
    op = world_disk_remove(w, "data", &err);
    EXPECT(w, op != 0);
    EXPECT(w, world_wait_result(w, op)->code == VIV_E_VMM);
    EXPECT(w, strcmp(world_result(w, op)->message, "the guest keeps it: it is mounted") == 0);
    EXPECT(w, w->n_device == 0);
}

void hot_goes_on_after_the_monitors_death(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    if (!with_a_disk(w))
        return;
    EXPECT(w, world_disk_remove(w, "data", &err) != 0);
    world_do(w, vivi_machine_query); /* it was heard */
    world_adopted(w);
    op = world_disk_remove(w, "data", &err);
    if (op != 0)
        err.code = world_wait_result(w, op)->code;
    EXPECT(w, op == 0 || err.code == 0 || err.code == VIV_E_NOT_FOUND);
    EXPECT(w, world_wait(w, device_left, "DEVICE after adoption"));
    EXPECT(w, w->n_device == 1);
}

void hot_leaves_by_itself(struct world *w)
{
    if (!with_a_disk(w))
        return;
    EXPECT(w, world_wait(w, device_left, "DEVICE without a removal"));
    EXPECT(w, w->device_kind == VIVI_DEV_DISK && strcmp(w->device_id, "data") == 0);
}

void hot_resizes_cpus(struct world *w)
{
    const struct vivi_resize two = {.kind = VIVI_RESIZE_CPUS, .to = 2};
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    op = world_resize(w, &two, &err);
    EXPECT(w, op != 0 && world_wait_done(w, op));
    EXPECT(w, w->n_progress == 1);
    op = world_resize(w, &two, &err);
    EXPECT(w, op != 0 && world_wait_done(w, op));
    EXPECT(w, world_result(w, op)->times == 1);
}

void hot_resizes_a_disk(struct world *w)
{
    struct vivi_resize more = {.kind = VIVI_RESIZE_DISK, .id = "data", .to = 8 * MIB};
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    if (!with_a_disk(w))
        return;
    for (int i = 0; i < 2; i++) { /* the second time it has the size already */
        op = world_resize(w, &more, &err);
        EXPECT(w, op != 0 && world_wait_done(w, op));
    }
    more.id = "none";
    op = world_resize(w, &more, &err);
    if (op != 0)
        err.code = world_wait_result(w, op)->code;
    EXPECT(w, err.code == VIV_E_NOT_FOUND);
    contract_expect_alive(w);
}

void hot_counts(struct world *w)
{
    static const char *const keys[] = {"read_bytes", "written_bytes", "reads", "writes", "flushes"};
    const json_t *disk;

    if (!with_a_disk(w))
        return;
    world_do(w, vivi_machine_counters);
    disk = json_object_get(json_object_get(w->value, "disks"), "data");
    EXPECT(w, json_is_object(disk));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        EXPECT(w, json_is_null(json_object_get(disk, keys[i])) || /* this VMM does not count it */
                      (json_is_integer(json_object_get(disk, keys[i])) &&
                       json_integer_value(json_object_get(disk, keys[i])) >= 0));
    EXPECT(w, json_is_object(json_object_get(w->value, "nets")));
    EXPECT(w, json_object_get(w->value, "balloon_bytes"));
}

void hot_ends_with_the_vmm(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    if (!with_a_disk(w))
        return;
    op = world_disk_remove(w, "data", &err);
    EXPECT(w, op != 0);
    world_do(w, vivi_machine_query);
    EXPECT(w, !world_result(w, op));
    world_kill(w, SIGKILL);
    EXPECT(w, world_wait_result(w, op)->code == VIV_E_IO);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, world_result(w, op)->times == 1 && w->n_device == 0);
}

void hot_linux_lets_go_of_a_disk(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    for (int i = 0; i < 2 && !*w->failure; i++) {
        uint64_t from = world_serial_size(w);

        op = world_disk_add(w, "more", 4 * MIB, &err);
        EXPECT(w, op != 0 && world_wait_done(w, op));
        world_type(w, "until grep -q vdc /proc/partitions; do :; done; echo is \"\"there\n");
        EXPECT(w, world_wait_logged(w, "is there\r\n", from));
        w->n_device = 0;
        op = world_disk_remove(w, "more", &err);
        EXPECT(w, op != 0 && world_wait_done(w, op));
        EXPECT(w, w->n_device == 1 && strcmp(w->device_id, "more") == 0);
    }
}

/* How a change ended, refused at once or later; the words of a refusal are in err. */
static int outcome(struct world *w, uint64_t op, viv_error *err)
{
    if (op == 0)
        return err->code;
    (void)snprintf(err->message, sizeof(err->message), "%s", world_wait_result(w, op)->message);
    return world_wait_result(w, op)->code;
}

/* CPUs of the start stay in a QEMU guest. */
void hot_linux_changes_its_sizes(struct world *w)
{
    static const struct vivi_resize steps[] = {
        {.kind = VIVI_RESIZE_CPUS, .to = 4},
        {.kind = VIVI_RESIZE_MEMORY, .to = 384 * MIB},
        {.kind = VIVI_RESIZE_MEMORY, .to = 256 * MIB},
        {.kind = VIVI_RESIZE_BALLOON, .to = 192 * MIB},
        {.kind = VIVI_RESIZE_BALLOON, .to = 256 * MIB},
    };
    const struct vivi_resize back = {.kind = VIVI_RESIZE_CPUS, .to = 2};
    const struct vivi_resize less = {.kind = VIVI_RESIZE_CPUS, .to = 1};
    const struct vivi_resize more = {.kind = VIVI_RESIZE_CPUS, .to = 5};
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        op = world_resize(w, &steps[i], &err);
        EXPECT(w, op != 0 && world_wait_done(w, op));
    }
    op = world_resize(w, &back, &err);
    if (w->facts.probe.accel == VIVI_ACCEL_TCG) { /* see qemu/hot_sizes.c */
        EXPECT(w, op != 0 && world_wait_result(w, op)->code == VIV_E_UNSUPPORTED);
        EXPECT(w,
               strcmp(world_result(w, op)->message, "an emulated CPU cannot be taken away") == 0);
    } else {
        EXPECT(w, op != 0 && world_wait_done(w, op));
        EXPECT(w, outcome(w, world_resize(w, &less, &err), &err) ==
                      (w->driver->kind == VIVI_DRIVER_QEMU ? VIV_E_INVALID : 0));
    }
    EXPECT(w, outcome(w, world_resize(w, &more, &err), &err) == VIV_E_INVALID);
    EXPECT(w, strstr(err.message, "4") != NULL); /* it names the most */
    contract_expect_alive(w);
}
