/*
 * Theory of operation: a record is a JSON object with a "schema". What is read is given away
 * without it, what is written gets it, so no other code can forget it. A newer schema is an error
 * for those who would write, a number for those who only show.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LABELS_MAX_BYTES 128 /* of text, for labels that stand in state.json too */

static int newer(const char *name, unsigned schema, viv_error *err)
{
    return vivi_fail(err, VIV_E_UNSUPPORTED,
                     "%s: schema %u is newer than this viv understands (%d)", name, schema,
                     VIVI_SCHEMA);
}

int vivi_state_writable(const struct vivi_state *s, viv_error *err)
{
    return s->schema > VIVI_SCHEMA ? newer(VIVI_STATE_FILE, s->schema, err) : 0;
}

/* jansson does not always name the cause; a mistake in the text it always explains. */
bool vivi_json_lacked_memory(const json_error_t *e)
{
    return json_error_code(e) == json_error_out_of_memory || e->text[0] == '\0';
}

/* Takes "schema" out of doc. A missing one is the first. */
static int take_schema(const char *name, json_t *doc, unsigned *ret, viv_error *err)
{
    json_t *j = json_object_get(doc, "schema");
    json_int_t n = j ? json_integer_value(j) : 1;

    if ((j && !json_is_integer(j)) || n < 1 || n > 1000000)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: schema: not a number", name);
    (void)json_object_del(doc, "schema");
    *ret = (unsigned)n;
    return 0;
}

int vivi_json_read_any(int vm_fd, const char *name, size_t max_bytes, json_t **ret,
                       unsigned *ret_schema, viv_error *err)
{
    cleanup_buf struct vivi_buf buf = VIVI_BUF(max_bytes);
    cleanup_json json_t *doc = NULL;
    json_error_t je;
    viv_error why = VIV_ERROR_INIT;
    unsigned schema = 1;
    int r = vivi_read_file_at(vm_fd, name, &buf, &why);

    if (r == -VIV_E_NOT_FOUND)
        return vivi_fail(err, VIV_E_NOT_FOUND, "%s: missing", name);
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    doc = json_loadb(buf.data ? buf.data : "", buf.len, JSON_REJECT_DUPLICATES, &je);
    if (!doc && vivi_json_lacked_memory(&je))
        return vivi_fail_oom(err);
    if (!doc)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: line %d: %s", name, je.line > 0 ? je.line : 1,
                         je.text);
    if (!json_is_object(doc))
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: line 1: not a JSON object", name);
    r = take_schema(name, doc, &schema, err);
    if (r < 0)
        return r;
    *ret = take_ptr(doc);
    *ret_schema = schema;
    return 0;
}

int vivi_json_read(int vm_fd, const char *name, size_t max_bytes, json_t **ret, viv_error *err)
{
    cleanup_json json_t *doc = NULL;
    unsigned schema = 1;
    int r = vivi_json_read_any(vm_fd, name, max_bytes, &doc, &schema, err);

    if (r < 0)
        return r;
    if (schema > VIVI_SCHEMA)
        return newer(name, schema, err);
    *ret = take_ptr(doc);
    return 0;
}

int vivi_json_write(int vm_fd, const char *name, const json_t *doc, enum vivi_durability how,
                    viv_error *err)
{
    cleanup_json json_t *with = json_pack("{s:i}", "schema", VIVI_SCHEMA);
    cleanup_free char *text = NULL;
    json_t *borrowed = json_incref((json_t *)(uintptr_t)doc); /* jansson counts in the object */
    int r = with ? json_object_update_missing(with, borrowed) : -1;

    json_decref(borrowed);
    if (r == 0)
        text = json_dumps(with, JSON_COMPACT);
    if (!text)
        return vivi_fail_oom(err);
    return vivi_write_file_at(vm_fd, name, text, strlen(text), how, err);
}

void vivi_config_stamp(int dir_fd, const char *path, char ret[48])
{
    struct stat st;

    ret[0] = '\0';
    if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        (void)snprintf(ret, 48, "%" PRIx64 "-%" PRIx64 ".%lx", (uint64_t)st.st_size,
                       (uint64_t)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
}

int vivi_state_labels(struct vivi_state *s, const json_t *config)
{
    json_t *labels = json_object_get(config, "labels");
    cleanup_json json_t *none = json_object();

    if (!none)
        return -1;
    if (!json_is_object(labels))
        labels = none;
    if (json_dumpb(labels, NULL, 0, JSON_COMPACT) > LABELS_MAX_BYTES) {
        (void)json_object_del(s->extra, "labels"); /* missing is fine */
        return 0;
    }
    if (!s->extra)
        s->extra = json_object();
    return json_object_set_new(s->extra, "labels", json_deep_copy(labels));
}

int vivi_config_store(int vm_fd, const json_t *config, struct vivi_state *s, viv_error *err)
{
    int r = vivi_json_write(vm_fd, VIVI_CONFIG_FILE, config, VIVI_DURABLE, err);

    if (r < 0)
        return r;
    vivi_config_stamp(vm_fd, VIVI_CONFIG_FILE, s->config_stamp);
    if (vivi_state_labels(s, config) < 0)
        s->config_stamp[0] = '\0'; /* whoever lists looks into the configuration */
    return 0;
}
