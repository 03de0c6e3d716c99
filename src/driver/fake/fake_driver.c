/* The fake driver, pure part: a real process that plays a script (fake.md) instead of a guest. */
#include "driver/fake/fake.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "driver/capset.h"
#include "driver/checks.h"
#include "driver/fake/script.h"
#include "driver/helper.h"

/* clang-format off */
#define FAKE_CAPS(X)                                                                               \
    X(POWER_BUTTON) X(KILL) X(STATE) X(RESET) X(AGENT) X(PAUSE) X(ADOPT) X(DELETE) X(CHANGE)       \
    X(SERIAL_FILE) X(CONSOLE) X(READY_MARKER) X(RESTART) X(CRASH_NOTICE) X(DISK_HOTPLUG)           \
    X(NET_HOTPLUG) X(CPU_HOTPLUG) X(MEMORY_HOTPLUG) X(BALLOON) X(DISK_RESIZE) X(COUNTERS)       \
    X(NMI) X(COREDUMP)
/* clang-format on */

static int fake_probe(const char *cache_dir, const char *exe, enum vivi_accel wanted,
                      struct vivi_probe *ret, viv_error *err)
{
    struct vivi_probe p = {.accel = VIVI_ACCEL_NONE};

    (void)cache_dir;
    (void)exe; /* it has one of its own */
    (void)wanted;
    (void)err;
    if (vivi_driver_helper("viv-fake", p.exe, sizeof(p.exe)) < 0) {
        (void)snprintf(p.reason, sizeof(p.reason), "viv-fake: not found");
        (void)snprintf(p.hint, sizeof(p.hint), "it is installed in libexec/vivarium");
        *ret = p;
        return 0;
    }
    p.usable = true;
    (void)snprintf(p.version, sizeof(p.version), "%s", VIVI_VERSION);
    p.caps = vivi_driver_fake.caps;
    *ret = p;
    return 0;
}

static int fake_check(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *ret)
{
    cleanup_fake_script struct fake_script *script = NULL;
    viv_error why = VIV_ERROR_INIT;
    int r;

    VIVI_TRY(vivi_check_vmm(c, f, ret));
    VIVI_TRY(vivi_check_size_order(c, ret));
    VIVI_TRY(vivi_check_no_cut(c, f, ret));
    r = fake_script_parse(c->fake_script, &script, &why);
    if (r == -VIV_E_NO_MEMORY)
        return r;
    if (r < 0)
        return vivi_problem(ret, VIV_E_INVALID, "fake.script", *why.hint ? why.hint : NULL, "%s",
                            why.message);
    return 0;
}

/* "disk:root,net:n0" */
static int plan_device_list(const struct vivi_config *c, struct vivi_plan *p)
{
    struct vivi_buf list = VIVI_BUF(65536);
    int r;

    (void)vivi_buf_str(&list, "");
    for (size_t i = 0; i < c->n_disks; i++)
        (void)vivi_buf_printf(&list, "%sdisk:%s", list.len ? "," : "", c->disks[i].id);
    for (size_t i = 0; i < c->n_nets; i++)
        (void)vivi_buf_printf(&list, "%snet:%s", list.len ? "," : "", c->nets[i].id);
    r = list.failed ? -VIV_E_NO_MEMORY : vivi_plan_arg(p, "%s", list.data);
    vivi_buf_done(&list);
    return r;
}

static int plan_argv(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct {
        const char *option, *value, *more;
    } rows[] = {{"--name", in->config->name, ""},
                {"--control", "3", ""},
                {"--serial", in->run_dir, "/serial"},
                {"--events", in->run_dir, "/events"},
                {"--nonce", in->nonce, ""},
                {"--script", in->config->fake_script ? in->config->fake_script : "", ""}};
    int r = vivi_plan_arg(p, "viv-fake");

    for (size_t i = 0; i < ARRAY_SIZE(rows) && r >= 0; i++) {
        r = vivi_plan_arg(p, "%s", rows[i].option);
        if (r >= 0)
            r = vivi_plan_arg(p, "%s%s", rows[i].value, rows[i].more);
    }
    if (r >= 0)
        r = vivi_plan_arg(p, "--devices");
    return r < 0 ? r : plan_device_list(in->config, p);
}

static int plan_agent(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct vivi_port port = {
        .kind = VIVI_PORT_LISTEN, .name = "agent", .child_fd = 4, .child_fd_rw = -1};
    int r;

    if (in->config->agent == VIVI_AGENT_OFF)
        return 0;
    if ((r = vivi_plan_arg(p, "--agent")) < 0 || (r = vivi_plan_arg(p, "4")) < 0)
        return r;
    return vivi_plan_port(p, &port);
}

static int plan_ports(const struct vivi_plan_input *in, struct vivi_plan *p)
{
    const struct vivi_port control = {
        .kind = VIVI_PORT_LISTEN, .name = "fake", .child_fd = 3, .child_fd_rw = -1};
    int r = vivi_plan_port(p, &control);

    if (r == 0)
        r = vivi_plan_streams(p, in->config);
    return r < 0 ? r : vivi_plan_stderr(p);
}

static int fake_plan(const struct vivi_plan_input *in, struct vivi_plan *ret, viv_error *err)
{
    cleanup_plan struct vivi_plan p = {0};

    if (in->how != VIVI_HOW_BOOT)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "the fake driver can only boot");
    p.exe = strdup(in->facts->probe.exe);
    if (!p.exe || plan_argv(in, &p) < 0 || plan_ports(in, &p) < 0 || plan_agent(in, &p) < 0)
        return vivi_fail_oom(err);
    *ret = p;
    memset(&p, 0, sizeof(p));
    return 0;
}

const struct vivi_driver vivi_driver_fake = {
    .name = "fake",
    .kind = VIVI_DRIVER_FAKE,
    .machine = "fake",
    .caps = VIVI_CAPSET(FAKE_CAPS),
    .probe = fake_probe,
    .check = fake_check,
    .plan = fake_plan,
};
