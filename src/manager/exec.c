/* Programs in the guest, its files, and what it says of itself; see vivarium.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "manager/job.h"

#define CONNECT_MS     10000
#define LATER_MS       200 /* by which the monitor's own "no agent" comes before our deadline */
#define INFO_MS        5000
#define INFO_MAX_BYTES (VIVI_AW_WINDOW * 4)
#define ARGS_MAX       4096
#define MOST_MS        (INT64_C(366) * 24 * 3600 * 1000)

/* ---- what all of them share ---- */

static int64_t connect_ms(const viv_opts *o)
{
    int64_t ms = vivi_opt_i64(o, "connect_ms", CONNECT_MS);

    return ms < 0 ? 0 : ms > MOST_MS ? MOST_MS : ms;
}

/* Begins the operation: first the monitor is asked for a channel, then the job goes on. */
static int begin(viv_vm *m, struct vivi_job *job_consume, const viv_opts *o, viv_op **ret,
                 viv_error *err)
{
    int64_t wait = connect_ms(o), timeout = vivi_opt_i64(o, "timeout_ms", -1);
    struct vivi_request_of q = {.verb = "agent",
                                .timeout_us = VIVI_NEVER,
                                .send_fd = -1,
                                .job = job_consume,
                                .args = json_pack("{s:I}", "wait_ms", (json_int_t)wait)};
    int r;

    if (!q.args) {
        vivi_job_free(job_consume);
        return vivi_fail_oom(err);
    }
    if (timeout > MOST_MS || timeout == 0 || timeout < -1) {
        json_decref(q.args);
        vivi_job_free(job_consume);
        return vivi_fail_field(err, VIV_E_INVALID, "timeout_ms", "is not a time");
    }
    if (timeout > 0)
        q.timeout_us = (uint64_t)timeout * 1000;
    (void)snprintf(q.late, sizeof(q.late), "not over after %g s: ended", (double)timeout / 1000);
    r = vivi_op_begin(m, &q, ret, err);
    if (r < 0)
        vivi_error_vm(err, m->name);
    return r;
}

int vivi_job_submit(viv_vm *m, struct vivi_job *job_consume, const viv_opts *o, viv_op **ret_op,
                    viv_rec **ret_result, viv_error *err)
{
    viv_op *op = NULL;
    int r = begin(m, job_consume, o, &op, err);

    return r < 0 ? r : vivi_op_deliver(op, ret_op, ret_result, NULL, err);
}

static json_t *number_of(const struct vivi_aw_frame *f, const char *key)
{
    uint64_t n = 0;

    if (!vivi_aw_field(f->payload, f->len, key) ||
        vivi_aw_field_u64(f, key, INT64_MAX, &n, NULL) < 0)
        return json_null();
    return json_integer((json_int_t)n);
}

/* ---- exec ---- */

static json_t *exec_result(struct vivi_job *j, const struct vivi_aw_frame *f, viv_error *err)
{
    const char *text = vivi_aw_field(f->payload, f->len, "text");
    json_t *exit = number_of(f, "exit"), *sig = number_of(f, "signal");
    json_t *doc;

    (void)j;
    if (json_is_null(exit) && json_is_null(sig))
        (void)vivi_fail(err, VIV_E_PROTOCOL, "the agent's answer says not how it ended");
    doc = json_pack("{s:o,s:o,s:o}", "exit", exit, "signal", sig, "text",
                    vivi_json_str_or_null(text));
    if (!doc)
        (void)vivi_fail_oom(err);
    if (doc && json_is_null(exit) && json_is_null(sig)) {
        json_decref(doc);
        doc = NULL;
    }
    return doc;
}

static const struct vivi_job_kind exec_kind = {.result = exec_result};

static void put_list(struct vivi_job *j, const viv_opts *o, const char *key)
{
    size_t n = vivi_opt_list_len(o, key);

    for (size_t i = 0; i < n; i++)
        vivi_job_put(j, key, vivi_opt_list_at(o, key, i));
}

/* "" is a value, but no field of the protocol is empty: it is left out, which means the same. */
static void put_opt(struct vivi_job *j, const viv_opts *o, const char *key)
{
    const char *v = vivi_opt_str(o, key, NULL);

    if (v && *v)
        vivi_job_put(j, key, v);
}

static int exec_request(struct vivi_job *j, const char *const *argv, const viv_opts *o,
                        viv_error *err)
{
    static const struct {
        const char *key;
        int end;
    } ends[] = {{"stdin_fd", VIVI_JOB_STDIN},
                {"stdout_fd", VIVI_JOB_STDOUT},
                {"stderr_fd", VIVI_JOB_STDERR}};
    int64_t rows = vivi_opt_i64(o, "rows", 0), cols = vivi_opt_i64(o, "cols", 0);
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        int r = vivi_job_end_set(j, ends[i].end, (int)vivi_opt_i64(o, ends[i].key, -1), err);

        if (r < 0)
            return r;
    }
    vivi_job_put(j, NULL, argv && argv[0] ? "exec" : "shell");
    for (; argv && argv[n]; n++) {
        if (n == ARGS_MAX)
            return vivi_fail(err, VIV_E_INVALID, "more than %d arguments", ARGS_MAX);
        vivi_job_put(j, "arg", argv[n]);
    }
    put_list(j, o, "env");
    put_opt(j, o, "cwd");
    put_opt(j, o, "user");
    if (j->sends)
        vivi_job_put(j, "stdin", "1");
    if (vivi_opt_bool(o, "tty", false))
        vivi_job_put(j, "tty", "1");
    if (rows > 0 && cols > 0 && rows <= UINT16_MAX && cols <= UINT16_MAX) {
        vivi_job_put_i64(j, "rows", rows);
        vivi_job_put_i64(j, "cols", cols);
    }
    if (vivi_buf_check(&j->request, NULL) < 0)
        return vivi_fail(err, VIV_E_INVALID, "arguments and environment are longer than %u bytes",
                         VIVI_AW_PAYLOAD_MAX);
    return 0;
}

int viv_vm_exec(viv_vm *m, const char *const *argv, const viv_opts *o, viv_op **ret_op,
                viv_rec **ret_result, viv_error *err)
{
    static const char known[] =
        "stdin_fd stdout_fd stderr_fd env cwd user tty rows cols timeout_ms "
        "connect_ms";
    cleanup_job struct vivi_job *j = NULL;
    int r = vivi_opts_only(o, "exec", known, err);

    if (r == 0)
        r = vivi_job_new(&exec_kind, NULL, &j, err);
    if (r == 0)
        r = exec_request(j, argv, o, err);
    if (r < 0)
        return r;
    return vivi_job_submit(m, take_ptr(j), o, ret_op, ret_result, err);
}

int viv_exec_signal(viv_op *op, int sig, viv_error *err)
{
    char text[32];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    if (sig < 1 || sig > 64)
        return vivi_fail(err, VIV_E_INVALID, "%d is no signal", sig);
    vivi_aw_put_u64(&w, "signal", (uint64_t)sig);
    return vivi_job_control(op->job, &w, err);
}

int viv_exec_resize(viv_op *op, int rows, int cols, viv_error *err)
{
    char text[48];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    if (rows < 1 || rows > UINT16_MAX || cols < 1 || cols > UINT16_MAX)
        return vivi_fail(err, VIV_E_INVALID, "%d x %d is no window", rows, cols);
    vivi_aw_put_u64(&w, "rows", (uint64_t)rows);
    vivi_aw_put_u64(&w, "cols", (uint64_t)cols);
    return vivi_job_control(op->job, &w, err);
}

/* ---- what the guest says of itself ---- */

static void info_done(void *ctx)
{
    vivi_buf_done(ctx);
    free(ctx);
}

static int info_take(struct vivi_job *j, const char *data, size_t len, viv_error *err)
{
    if (vivi_buf_add(j->ctx, data, len) == 0)
        return 0;
    return vivi_fail(err, VIV_E_PROTOCOL, "the agent says more of its guest than it may");
}

static json_t *info_result(struct vivi_job *j, const struct vivi_aw_frame *f, viv_error *err)
{
    const struct vivi_buf *text = j->ctx;
    json_t *doc = json_loadb(text->data ? text->data : "", text->len, JSON_REJECT_DUPLICATES, NULL);

    (void)f;
    if (!json_is_object(doc)) {
        json_decref(doc);
        (void)vivi_fail(err, VIV_E_PROTOCOL, "what the agent says of its guest is no object");
        return NULL;
    }
    return doc;
}

static const struct vivi_job_kind info_kind = {
    .result = info_result, .take = info_take, .done = info_done};

int viv_vm_guest_info(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                      viv_error *err)
{
    struct vivi_buf *text;
    struct vivi_job *j = NULL;
    int r = vivi_opts_only(o, "guest info", "timeout_ms connect_ms", err);

    if (r < 0)
        return r;
    text = calloc(1, sizeof(*text));
    if (!text)
        return vivi_fail_oom(err);
    vivi_buf_init(text, INFO_MAX_BYTES);
    r = vivi_job_new(&info_kind, text, &j, err);
    if (r < 0)
        return r;
    vivi_job_put(j, NULL, "info");
    return vivi_job_submit(m, j, o, ret_op, ret_result, err);
}
