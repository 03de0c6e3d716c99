/* Single calls to the VMM; see vivarium.h. */
#include <stdio.h>
#include <string.h>

#include "manager/call.h"

#define ENDPOINT_MAX   64
#define NMI_MS         10000
#define BODY_MAX_BYTES (512u << 10)

struct api_call {
    const char *method, *endpoint, *body;
};

/* *ret: a new reference, null for none. */
static int parse_body(const char *body, json_t **ret, viv_error *err)
{
    json_error_t why;

    if (!body) {
        *ret = json_null();
        return 0;
    }
    if (strlen(body) > BODY_MAX_BYTES)
        return vivi_fail_field(err, VIV_E_INVALID, "body", "more than %u bytes", BODY_MAX_BYTES);
    *ret = json_loads(body, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (!*ret)
        return vivi_fail_field(err, VIV_E_INVALID, "body", "not JSON (line %d, column %d: %s)",
                               why.line, why.column, why.text);
    return 0;
}

static int check_call(const struct vivi_call *c, const struct api_call *a, viv_error *err)
{
    if (!a->method || (strcmp(a->method, "GET") != 0 && strcmp(a->method, "PUT") != 0))
        return vivi_fail_field(err, VIV_E_INVALID, "method", "\"%.40s\" is neither GET nor PUT",
                               a->method ? a->method : "");
    if (!a->endpoint || !*a->endpoint || strlen(a->endpoint) > ENDPOINT_MAX)
        return vivi_fail_field(err, VIV_E_INVALID, "endpoint", "\"%.40s\" is no endpoint",
                               a->endpoint ? a->endpoint : "");
    return vivi_call_needs_vmm(c, "only a running VM has an API", err);
}

/* What it does cannot be asked for again by the same id: only the VMM knows. */
static void once_within(struct vivi_call *c, const char *what, int64_t ms)
{
    c->q.once = true;
    c->q.timeout_us = vivi_call_after(ms);
    (void)snprintf(c->q.late, sizeof(c->q.late),
                   "%s: no answer after %g s; the VMM goes on with it", what, (double)ms / 1000);
}

static int prepare_api(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    const struct api_call *a = c->more;
    json_t *body = NULL;
    int64_t ms = 0;
    int r = check_call(c, a, err);

    (void)ret_local;
    if (r == 0)
        r = vivi_call_ms(c->o, "timeout_ms", -1, &ms, err);
    if (r == 0)
        r = parse_body(a->body, &body, err);
    if (r < 0)
        return r;
    once_within(c, a->endpoint, ms);
    c->q.args = json_pack("{s:s,s:s,s:o,s:I}", "method", a->method, "endpoint", a->endpoint, "body",
                          body, "timeout_ms", (json_int_t)ms);
    return c->q.args ? 0 : vivi_fail_oom(err);
}

int viv_vm_api(viv_vm *m, const char *method, const char *endpoint, const char *body,
               const viv_opts *o, viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    const struct api_call a = {method, endpoint, body};
    struct vivi_call c = {.verb = "api",
                          .options = "timeout_ms",
                          .prepare = prepare_api,
                          .more = &a,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

/* ---- nmi, coredump ---- */

static int timed(struct vivi_call *c, int64_t def, viv_error *err)
{
    int64_t ms = 0;
    int r = vivi_call_ms(c->o, "timeout_ms", def, &ms, err);

    if (r < 0)
        return r;
    once_within(c, c->verb, ms);
    c->q.args = json_pack("{s:I}", "timeout_ms", (json_int_t)ms);
    return c->q.args ? 0 : vivi_fail_oom(err);
}

static int prepare_nmi(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    int r = vivi_call_needs_vmm(c, "only a running VM can be interrupted", err);

    (void)ret_local;
    return r < 0 ? r : timed(c, NMI_MS, err);
}

static int prepare_coredump(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    const int *fd = c->more;
    int r = vivi_call_needs_vmm(c, "only a running VM can be dumped", err);

    (void)ret_local;
    if (r == 0 && *fd < 0)
        r = vivi_fail(err, VIV_E_INVALID, "viv_vm_coredump: %d is no descriptor", *fd);
    c->q.send_fd = *fd;
    return r < 0 ? r : timed(c, -1, err);
}

int viv_vm_nmi(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    struct vivi_call c = {.verb = "nmi",
                          .options = "timeout_ms",
                          .prepare = prepare_nmi,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_coredump(viv_vm *m, int fd, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                    viv_error *err)
{
    struct vivi_call c = {.verb = "coredump",
                          .options = "timeout_ms",
                          .prepare = prepare_coredump,
                          .more = &fd,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}
