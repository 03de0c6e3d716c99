/*
 * Theory of operation. The processes of a VM outlive the viv that starts them, and each of keeper
 * and monitor may die and be replaced. So the service has no main process: it is of type "forking"
 * without a guess at one, and systemd takes it for running as long as anything is in its control
 * group, which is exactly as long as the VM runs. However the VM ends, the service ends with it;
 * nothing is to be restarted by systemd, because the restart policy is the monitor's.
 *
 * Start asks "unless stopped" and stop says "for now": the host's shutdown and systemctl change
 * nothing about what the VM's owner wants. KillMode=mixed: after viv stop there is nobody left but
 * keeper and monitor, who have nothing to do and need no grace.
 */
#include "manager/unit.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define PATHS_MAX        64
#define STOP_DEFAULT_MS  60000
#define STOP_REST_S      30 /* the rungs after the guest's own time, and telling */
#define START_DEADLINE_S 90 /* viv start gives up after 30 s by itself */

const char *vivi_unit_target(bool system)
{
    return system ? "multi-user.target" : "default.target";
}

/* FNV-1a, 32 bits: short, the same for ever, and nobody's secret. */
static uint32_t hash(const char *s)
{
    uint32_t h = 2166136261u;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

void vivi_unit_name(const char *vm, const char *root, bool usual, char ret[128])
{
    if (usual)
        (void)snprintf(ret, 128, "viv-%s.service", vm);
    else
        (void)snprintf(ret, 128, "viv-%s.%08" PRIx32 ".service", vm, hash(root));
}

/* One word of a unit's value. exec: of a command line, where $ would be a variable, too. */
static int add_word(struct vivi_buf *out, const char *s, bool exec, viv_error *err)
{
    (void)vivi_buf_str(out, "\"");
    for (const char *p = s; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c < ' ' || c == 0x7f)
            return vivi_fail(err, VIV_E_INVALID, "a control character in a path (%.100s)", s);
        if (c == '\\' || c == '"')
            (void)vivi_buf_str(out, "\\");
        if (c == '%' || (exec && c == '$'))
            (void)vivi_buf_add(out, p, 1);
        (void)vivi_buf_add(out, p, 1);
    }
    (void)vivi_buf_str(out, "\"");
    return 0;
}

/* ---- what must be mounted before ---- */

struct paths {
    struct vivi_buf *out;
    size_t n;
    int r;
    viv_error *err;
};

static void add_path(struct paths *p, const char *path)
{
    if (p->r < 0 || p->n == PATHS_MAX || path[0] != '/')
        return;
    (void)vivi_buf_str(p->out, p->n++ ? " " : "");
    p->r = add_word(p->out, path, false, p->err);
}

/* Kernel, disks, shares …: every absolute path that the configuration names as one. */
static void add_paths_in(struct paths *p, const json_t *at)
{
    static const char *const names[] = {"kernel", "initramfs", "firmware", "path", "source"};
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_array(at)) {
        json_array_foreach(at, i, value) add_paths_in(p, value);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)at, key, value)
    {
        bool is_path = false;

        for (i = 0; i < ARRAY_SIZE(names); i++)
            is_path |= strcmp(key, names[i]) == 0;
        if (is_path && json_is_string(value))
            add_path(p, json_string_value(value));
        else if (strcmp(key, "labels") != 0 && (json_is_object(value) || json_is_array(value)))
            add_paths_in(p, value); /* as deep as the table of fields, a few levels */
    }
}

static int add_mounts(const struct vivi_unit *u, struct vivi_buf *out, viv_error *err)
{
    struct paths p = {.out = out, .err = err};

    (void)vivi_buf_str(out, "RequiresMountsFor=");
    add_path(&p, u->root);
    add_path(&p, u->program); /* perhaps on a file system that nobody else waits for */
    add_path(&p, u->run ? u->run : "");
    add_path(&p, u->libexec ? u->libexec : "");
    add_paths_in(&p, u->config);
    (void)vivi_buf_str(out, "\n");
    return p.r;
}

/* ---- the service ---- */

static int add_variable(struct vivi_buf *out, const char *name, const char *value, viv_error *err)
{
    char text[4200];

    if (!value)
        return 0;
    (void)vivi_buf_str(out, "Environment=");
    (void)snprintf(text, sizeof(text), "%s=%s", name, value);
    if (add_word(out, text, false, err) < 0)
        return -VIV_E_INVALID;
    (void)vivi_buf_str(out, "\n");
    return 0;
}

static int add_command(const struct vivi_unit *u, struct vivi_buf *out, const char *key,
                       const char *verb, viv_error *err)
{
    (void)vivi_buf_printf(out, "%s=", key);
    if (add_word(out, u->program, true, err) < 0)
        return -VIV_E_INVALID;
    (void)vivi_buf_printf(out, " %s %s\n", verb, u->name);
    return 0;
}

static int add_service(const struct vivi_unit *u, struct vivi_buf *out, viv_error *err)
{
    const json_t *stop = json_object_get(json_object_get(u->config, "stop"), "timeout");
    json_int_t ms = json_is_integer(stop) ? json_integer_value(stop) : STOP_DEFAULT_MS;
    int r;

    (void)vivi_buf_str(out, "\n[Service]\nType=forking\nGuessMainPID=no\n");
    r = add_variable(out, "VIV_HOME", u->root, err);
    if (r == 0)
        r = add_variable(out, "VIV_RUN", u->run, err);
    if (r == 0)
        r = add_variable(out, "VIV_LIBEXEC", u->libexec, err);
    if (r == 0)
        r = add_variable(out, "VIV_SCOPE", "off", err); /* all of it belongs to this service */
    if (r == 0)
        r = add_command(u, out, "ExecStart", "start --unless-stopped", err);
    if (r == 0)
        r = add_command(u, out, "ExecStop", "stop --for-now", err);
    (void)vivi_buf_printf(out, "TimeoutStartSec=%d\nTimeoutStopSec=%lld\n", START_DEADLINE_S,
                          (long long)(ms / 1000 + STOP_REST_S));
    (void)vivi_buf_str(out, "KillMode=mixed\nOOMPolicy=continue\n");
    return r;
}

int vivi_unit_text(const struct vivi_unit *u, struct vivi_buf *out, viv_error *err)
{
    int r;

    (void)vivi_buf_printf(out,
                          "# Written by `viv autostart on %s`; `viv autostart off %s` removes it.\n"
                          "[Unit]\nDescription=Virtual machine %s\n"
                          "Documentation=man:viv-autostart(1)\n",
                          u->name, u->name, u->name);
    r = add_mounts(u, out, err);
    if (u->system) /* users' managers know nothing about the network */
        (void)vivi_buf_str(out, "Wants=network-online.target\nAfter=network-online.target\n");
    if (r == 0)
        r = add_service(u, out, err);
    /* For us: sections with X- are nothing to systemd. */
    (void)vivi_buf_printf(out, "\n[X-Vivarium]\nUUID=%s\n\n[Install]\nWantedBy=%s\n", u->uuid,
                          vivi_unit_target(u->system));
    return r < 0 ? r : vivi_buf_check(out, err);
}
