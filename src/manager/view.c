/* A VM as records show it: what ls and info have in common. */
#include "manager/manager.h"

#include <string.h>

json_t *vivi_view_proc(const struct vivi_proc_id *p)
{
    if (p->pid == 0 || !vivi_proc_alive(p))
        return json_null();
    return json_pack("{s:I,s:I}", "pid", (json_int_t)p->pid, "start_time",
                     (json_int_t)p->start_time);
}

static json_t *reason(const struct vivi_state *s)
{
    bool in_doubt = strcmp(s->reason, vivi_reason_name(VIVI_REASON_IN_DOUBT)) == 0;

    if (!s->reason[0] || (vivi_state_has_vmm(s->state) && !in_doubt))
        return json_null();
    return json_pack("{s:o,s:o}", "code", vivi_json_str(s->reason), "text",
                     vivi_json_str_or_null(s->reason_text));
}

int vivi_view_common(json_t *doc, const struct vivi_state *s)
{
    const struct {
        const char *key;
        json_t *value;
    } items[] = {
        {"name", vivi_json_str(s->name)},
        {"uuid", vivi_json_str_or_null(s->uuid)},
        {"run", json_integer((json_int_t)s->run)},
        {"boot", json_integer((json_int_t)s->boot)},
        {"driver", vivi_json_str_or_null(s->driver)},
        {"accel", vivi_json_str_or_null(s->accel)},
        {"state", json_string(vivi_state_name(s->state))},
        {"ip", vivi_json_str_or_null(s->ip)},
        {"ip_reachable", s->ip[0] ? json_boolean(s->ip_reachable) : json_null()},
        {"reason", reason(s)},
        {"desired", vivi_json_str_or_null(s->desired)},
        {"restarts", json_integer(s->restarts)},
        {"created_at", vivi_time_json(s->created_at_ms)},
        {"started_at", vivi_time_json(s->started_at_ms)},
        {"next_start_at", vivi_time_json(s->next_start_at_ms)},
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(items); i++) /* all of them: each is consumed here */
        r |= json_object_set_new(doc, items[i].key, items[i].value);
    return r < 0 ? -1 : 0;
}
