#include "monitor/testing_apply.h"

#include "store/control.h"

json_t *rig_read(struct rig *r, const char *name)
{
    cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    json_t *j = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (vivi_json_read(fd, name, VIVI_DOCUMENT_MAX_BYTES, &j, &err) < 0)
        fail_msg("%s", err.message);
    return j;
}

void rig_write(struct rig *r, const char *name, const json_t *j)
{
    cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(vivi_json_write(fd, name, j, VIVI_FAST, NULL), 0);
}

json_t *rig_next(struct rig *r)
{
    return rig_read(r, VIVI_CONFIG_FILE);
}

json_t *rig_run(struct rig *r)
{
    cleanup_json json_t *j = rig_read(r, VIVI_RUNNING_FILE);

    return json_incref(json_object_get(j, "config"));
}

json_t *rig_next_with(struct rig *r, const char *path, const char *value)
{
    json_t *doc = rig_next(r);
    viv_error err = VIV_ERROR_INIT;

    if (vivi_config_set(doc, path, value, "/", &err) < 0)
        fail_msg("%s", err.message);
    return doc;
}

uint64_t rig_apply(struct rig *r, const char *op, json_t *doc, json_t *more)
{
    cleanup_json json_t *args = json_pack("{s:o}", "doc", doc);
    cleanup_free char *text = NULL;

    if (more)
        assert_int_equal(json_object_update(args, more), 0);
    json_decref(more);
    text = json_dumps(args, JSON_COMPACT);
    return rig_ask(r, &r->client, "apply", op, text);
}

json_t *rig_mode(const char *word)
{
    return json_pack("{s:s}", "mode", word);
}

void rig_tells(struct rig *r, uint64_t id, bool changed, const char *wanted)
{
    cleanup_buf struct vivi_buf text = VIVI_BUF(65536);
    cleanup_json json_t *answer = NULL;
    const json_t *result, *list;

    rig_settle(r);
    answer = rig_answer(r, &r->client, id);
    result = json_object_get(answer, "result");
    if (!result)
        fail_msg("%s", answer ? json_dumps(answer, 0) : "no answer");
    assert_int_equal(json_is_true(json_object_get(result, "changed")), changed);
    list = json_object_get(result, "changes");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        const char *reason = json_string_value(json_object_get(e, "reason"));

        (void)vivi_buf_printf(&text, "%s%s %s%s%s", i ? "; " : "",
                              json_string_value(json_object_get(e, "path")),
                              json_string_value(json_object_get(e, "applied")), reason ? "=" : "",
                              reason ? reason : "");
    }
    assert_string_equal(text.data ? text.data : "", wanted);
}

void rig_is_at(const json_t *doc, const char *path, const char *wanted)
{
    const json_t *v = vivi_config_get(doc, path);
    cleanup_free char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : strdup("null");

    assert_string_equal(text, wanted);
}

void rig_has(struct rig *r, const char *path, const char *next, const char *run)
{
    cleanup_json json_t *a = rig_next(r);
    cleanup_json json_t *b = rig_run(r);

    rig_is_at(a, path, next);
    rig_is_at(b, path, run);
}
