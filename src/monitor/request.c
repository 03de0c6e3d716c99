#include "monitor/request.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const struct {
    const char *name;
    bool changes, has_body;
} verbs[VIVI_VERB_COUNT_] = {
    [VIVI_VERB_NONE] = {"none", false, false},
    [VIVI_VERB_START] = {"start", true, true},
    [VIVI_VERB_STOP] = {"stop", true, false},
    [VIVI_VERB_KILL] = {"kill", true, false},
    [VIVI_VERB_REBOOT] = {"reboot", true, false},
    [VIVI_VERB_PAUSE] = {"pause", true, false},
    [VIVI_VERB_RESUME] = {"resume", true, false},
    [VIVI_VERB_REMOVE] = {"remove", true, false},
    [VIVI_VERB_SNAPSHOT] = {"snapshot", true, false},
    [VIVI_VERB_RESTORE] = {"restore", true, false},
    [VIVI_VERB_MIGRATE] = {"migrate", true, true},
    [VIVI_VERB_INCOMING] = {"incoming", true, true},
    [VIVI_VERB_UPGRADE] = {"upgrade", true, true},
    [VIVI_VERB_APPLY] = {"apply", true, true},
    [VIVI_VERB_WAIT] = {"wait", false, false},
    [VIVI_VERB_LOG_WAIT] = {"log_wait", false, false},
    [VIVI_VERB_CONSOLE] = {"console", false, false},
    [VIVI_VERB_INFO] = {"info", false, false},
    [VIVI_VERB_AGENT] = {"agent", false, false},
    [VIVI_VERB_STATS] = {"stats", false, false},
    [VIVI_VERB_API] = {"api", false, true},
    [VIVI_VERB_NMI] = {"nmi", false, false},
    [VIVI_VERB_COREDUMP] = {"coredump", false, false},
};

const char *vivi_verb_name(enum vivi_verb v)
{
    return verbs[v].name;
}

int vivi_verb_parse(const char *s, enum vivi_verb *ret)
{
    for (unsigned i = VIVI_VERB_NONE + 1; i < VIVI_VERB_COUNT_; i++) {
        if (strcmp(s, verbs[i].name) == 0) {
            *ret = (enum vivi_verb)i;
            return 0;
        }
    }
    return -VIV_E_INVALID;
}

bool vivi_verb_calls(enum vivi_verb v)
{
    return v == VIVI_VERB_API || v == VIVI_VERB_NMI || v == VIVI_VERB_COREDUMP;
}

bool vivi_verb_changes(enum vivi_verb v)
{
    return verbs[v].changes;
}

/* ---- arguments; absent and null leave the default ---- */

static int get_bool(const json_t *args, const char *key, bool *ret, viv_error *err)
{
    const json_t *v = json_object_get(args, key);

    if (!v || json_is_null(v))
        return 0;
    if (!json_is_boolean(v))
        return vivi_fail(err, VIV_E_INVALID, "args.%s: not a boolean", key);
    *ret = json_is_true(v);
    return 0;
}

static int get_ms(const json_t *args, const char *key, int64_t *ret, viv_error *err)
{
    const json_t *v = json_object_get(args, key);
    json_int_t n;

    if (!v || json_is_null(v))
        return 0;
    n = json_integer_value(v);
    if (!json_is_integer(v) || n < VIVI_NO_TIMEOUT || n > VIVI_TIMEOUT_MAX_MS)
        return vivi_fail(err, VIV_E_INVALID, "args.%s: not a number of milliseconds", key);
    *ret = n;
    return 0;
}

static int get_u64(const json_t *args, const char *key, uint64_t *ret, viv_error *err)
{
    const json_t *v = json_object_get(args, key);

    if (!v || json_is_null(v))
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return vivi_fail(err, VIV_E_INVALID, "args.%s: not a number", key);
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

static int get_text(const json_t *args, const char *key, const char **ret, viv_error *err)
{
    const json_t *v = json_object_get(args, key);

    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v))
        return vivi_fail(err, VIV_E_INVALID, "args.%s: not a string", key);
    *ret = json_string_value(v);
    return 0;
}

static int parse_start(const json_t *a, struct vivi_request *q, viv_error *err)
{
    const char *wait = "running";
    int r = get_text(a, "wait", &wait, err);

    if (r >= 0 && strcmp(wait, "ready") != 0 && strcmp(wait, "running") != 0)
        r = vivi_fail(err, VIV_E_INVALID, "args.wait: neither \"running\" nor \"ready\"");
    if (r >= 0)
        q->wait_ready = strcmp(wait, "ready") == 0;
    if (r >= 0)
        r = get_ms(a, "ready_timeout_ms", &q->ready_timeout_ms, err);
    if (r >= 0)
        r = get_bool(a, "remove_when_ended", &q->remove_when_ended, err);
    if (r >= 0)
        r = get_bool(a, "foreground", &q->foreground, err);
    if (r >= 0)
        r = get_u64(a, "requested_us", &q->requested_us, err);
    return r;
}

static int parse_wait(const json_t *a, struct vivi_request *q, viv_error *err)
{
    const char *until = NULL;
    int r = get_text(a, "until", &until, err);

    if (r < 0)
        return r;
    if (!until)
        return vivi_fail(err, VIV_E_INVALID, "args.until: missing");
    if (strcmp(until, "ready") == 0) {
        q->until = VIVI_UNTIL_READY;
    } else if (strcmp(until, "exit") == 0) {
        q->until = VIVI_UNTIL_EXIT;
    } else if (vivi_state_parse(until, &q->state) == 0) {
        q->until = VIVI_UNTIL_STATE;
    } else {
        return vivi_fail(err, VIV_E_INVALID, "args.until: neither a state nor ready nor exit");
    }
    return 0;
}

static int parse_snapshot(const json_t *a, struct vivi_request *q, viv_error *err)
{
    const char *name = "";
    int r = get_text(a, "name", &name, err);

    if (r >= 0 && (!name[0] || strlen(name) >= sizeof(q->snapshot)))
        r = vivi_fail(err, VIV_E_INVALID, "args.name: not the name of a snapshot");
    if (r >= 0)
        (void)snprintf(q->snapshot, sizeof(q->snapshot), "%s", name);
    if (r >= 0)
        r = get_bool(a, "allow_long_pause", &q->allow_long_pause, err);
    if (r >= 0)
        r = get_bool(a, "on_demand", &q->on_demand, err);
    return r < 0 ? r : get_u64(a, "requested_us", &q->requested_us, err);
}

static int parse_args(const json_t *a, struct vivi_request *q, viv_error *err)
{
    int r = get_ms(a, "timeout_ms", &q->timeout_ms, err);

    if (r < 0)
        return r;
    switch (q->verb) {
    case VIVI_VERB_START: return parse_start(a, q, err);
    case VIVI_VERB_STOP:
        r = get_bool(a, "kill", &q->may_kill, err);
        return r < 0 ? r : get_bool(a, "for_now", &q->for_now, err);
    case VIVI_VERB_REBOOT: return get_bool(a, "hard", &q->hard, err);
    case VIVI_VERB_KILL:
    case VIVI_VERB_REMOVE: return get_bool(a, "force", &q->force, err);
    case VIVI_VERB_SNAPSHOT:
    case VIVI_VERB_RESTORE: return parse_snapshot(a, q, err);
    case VIVI_VERB_WAIT: return parse_wait(a, q, err);
    case VIVI_VERB_LOG_WAIT: return get_u64(a, "offset", &q->offset, err);
    case VIVI_VERB_CONSOLE:
        r = get_bool(a, "steal", &q->steal, err);
        return r < 0 ? r : get_bool(a, "readonly", &q->readonly, err);
    case VIVI_VERB_AGENT: return get_u64(a, "wait_ms", &q->wait_ms, err);
    case VIVI_VERB_NONE:
    case VIVI_VERB_PAUSE:
    case VIVI_VERB_RESUME:
    case VIVI_VERB_APPLY: /* looked at where they are carried out */
    case VIVI_VERB_MIGRATE:
    case VIVI_VERB_INCOMING:
    case VIVI_VERB_STATS:
    case VIVI_VERB_API:
    case VIVI_VERB_NMI:
    case VIVI_VERB_COREDUMP:
    case VIVI_VERB_UPGRADE:
    case VIVI_VERB_INFO:
    case VIVI_VERB_COUNT_: break;
    }
    return 0;
}

/* An operation id goes into a journal of words and lines: letters, digits and '-' only. */
static int parse_op(const json_t *body, struct vivi_request *q, viv_error *err)
{
    const char *op = "";
    const json_t *v = json_object_get(body, "op");
    size_t n;

    if (v && !json_is_null(v)) {
        if (!json_is_string(v))
            return vivi_fail(err, VIV_E_INVALID, "op: not a string");
        op = json_string_value(v);
    }
    n = strlen(op);
    if (n >= sizeof(q->op) ||
        n != strspn(op, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"))
        return vivi_fail(err, VIV_E_INVALID, "op: at most %zu letters, digits and -",
                         sizeof(q->op) - 1);
    memcpy(q->op, op, n + 1);
    return 0;
}

int vivi_request_parse(const json_t *body, struct vivi_request *ret, viv_error *err)
{
    const json_t *id = json_object_get(body, "id"), *verb = json_object_get(body, "verb");
    const json_t *args = json_object_get(body, "args");
    int r;

    *ret = (struct vivi_request){
        .timeout_ms = VIVI_NO_TIMEOUT, .ready_timeout_ms = VIVI_NO_TIMEOUT, .may_kill = true};
    if (!json_is_integer(id) || json_integer_value(id) < 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "a request without id");
    ret->id = (uint64_t)json_integer_value(id);
    if (!json_is_string(verb))
        return vivi_fail(err, VIV_E_PROTOCOL, "a request without verb");
    if (vivi_verb_parse(json_string_value(verb), &ret->verb) < 0)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "unknown verb \"%.40s\"", json_string_value(verb));
    if (args && !json_is_null(args) && !json_is_object(args))
        return vivi_fail(err, VIV_E_INVALID, "args: not an object");
    r = parse_op(body, ret, err);
    if (r >= 0 && verbs[ret->verb].changes)
        r = get_bool(args, "async", &ret->async, err);
    if (r >= 0)
        r = parse_args(args, ret, err);
    if (r >= 0 && verbs[ret->verb].has_body && json_is_object(args))
        ret->args = json_incref((json_t *)(uintptr_t)args); /* only the count is changed */
    return r;
}

void vivi_request_done(struct vivi_request *q)
{
    json_decref(q->args);
    q->args = NULL;
}
