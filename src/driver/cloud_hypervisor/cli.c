/*
 * Cloud Hypervisor without an API. The command line has said everything; what is left to know comes
 * from the event stream and from the process.
 *
 *   start   done at the event vm/booted; a boot that fails ends the process, and its last words say
 *           why
 *   adopt   as the events say: a boot that was begun and is not over is waited for, else it runs
 *   query   it runs, since its process does
 *
 * There is no button, no pause and no hard stop of its own: a stop is a signal, which the monitor
 * sends. Only a guest that has panicked is ended from here, as its process would stay.
 */
#include <signal.h>
#include <string.h>

#include "base/proc.h"
#include "driver/cloud_hypervisor/machine.h"

static void begin(struct ch_machine *m, const struct vivi_machine_start *s, uint64_t op)
{
    ch_attach(m, s);
    m->vmm = s->vmm;
    m->cli = true;
    m->phase = CH_OPENING;
    m->begin_op = op;
}

static int cli_start(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    (void)err;
    begin(m, s, op);
    return 0;
}

static int cli_adopt(void *priv, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    int r;

    begin(m, s, op);
    m->adopting = true;
    if (!vivi_proc_alive(&s->vmm)) {
        m->phase = CH_GONE;
        return vivi_fail(err, VIV_E_NOT_FOUND, "cloud-hypervisor: its process is gone");
    }
    m->drain_adopt = ++m->token;
    r = m->host->drain(m->host->ctx, CH_PORT_EVENTS, m->drain_adopt, err);
    if (r < 0)
        m->phase = CH_GONE;
    return r;
}

void ch_cli_booted(struct ch_machine *m)
{
    if (m->phase == CH_OPENING && !m->drain_adopt)
        ch_runs_now(m, VIV_ST_RUNNING);
}

void ch_cli_drained(struct ch_machine *m)
{
    if (!m->booting || m->booted)
        ch_runs_now(m, VIV_ST_RUNNING);
}

void ch_cli_end(const struct ch_machine *m)
{
    cleanup_close int pidfd = -1;

    if (vivi_proc_open(&m->vmm, &pidfd, NULL) == 0)
        (void)vivi_proc_signal(pidfd, SIGTERM, NULL);
}

static void answer_queries(void *arg)
{
    struct ch_machine *m = arg;
    uint64_t ops[CH_QUERIES_MAX];
    size_t n = m->n_queries;

    m->host->loop->timer_stop(m->later);
    m->later = NULL;
    memcpy(ops, m->queries, sizeof(ops));
    m->n_queries = 0;
    for (size_t i = 0; i < n; i++) {
        ch_tell_state(m, m->phase == CH_RUNNING ? VIV_ST_RUNNING : VIV_ST_STARTING);
        ch_tell_done(m, ops[i], NULL);
    }
}

static int cli_query(void *priv, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    int r = 0;

    if (m->n_queries == CH_QUERIES_MAX)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: too many questions");
    if (!m->later)
        r = m->host->loop->timer(m->host->loop->ctx, "ch-query", 0, answer_queries, m, &m->later,
                                 err);
    if (r == 0)
        m->queries[m->n_queries++] = op;
    return r;
}

/* Refused: the stop ladder goes on to SIGTERM, which is this mode's own way. */
static int cli_quit(void *m, uint64_t op, viv_error *err)
{
    (void)m;
    (void)op;
    return vivi_fail(err, VIV_E_UNSUPPORTED, "a hard stop by the VMM itself: " CH_NEEDS_API);
}

const struct vivi_driver_effects vivi_effects_ch_cli = {
    .name = "cloud-hypervisor",
    .lacks = CH_NEEDS_API,
    .agent_fresh = true,
    .taps_up = true,
    .machine_size = sizeof(struct ch_machine),
    .start = cli_start,
    .adopt = cli_adopt,
    .input = ch_input,
    .drained = ch_drained,
    .query = cli_query,
    .quit = cli_quit,
    .agent_connect = ch_agent_connect,
    .done = ch_done,
};
