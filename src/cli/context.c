/* The command line's context: opening the root, errors, records. See cli.h. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/escape.h"
#include "cli/out.h"

void vivi_json_ptr(json_t **j)
{
    json_decref(*j);
}

void vivi_rec_ptr(viv_rec **r)
{
    viv_rec_free(*r);
}

void vivi_list_ptr(viv_list **l)
{
    viv_list_free(*l);
}

void vivi_vm_ptr(viv_vm **m)
{
    viv_vm_free(*m);
}

void vivi_opts_ptr(viv_opts **o)
{
    viv_opts_free(*o);
}

void vivi_doc_ptr(viv_config **c)
{
    viv_config_free(*c);
}

int vivi_cli_open(struct vivi_cli *c, uint64_t flags)
{
    viv_error err = VIV_ERROR_INIT;

    if (c->v)
        return 0;
    if (viv_open(c->root, flags, &c->v, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    return 0;
}

int vivi_cli_open_vm(struct vivi_cli *c, const char *target, uint64_t flags, viv_vm **ret)
{
    viv_error err = VIV_ERROR_INIT;
    int code = vivi_cli_open(c, flags);

    if (code)
        return code;
    return viv_lookup(c->v, target, ret, &err) < 0 ? vivi_cli_fail(c, target, &err) : 0;
}

int vivi_cli_code(struct vivi_cli *c, int exit_code)
{
    if (c->code == 0)
        c->code = exit_code;
    return exit_code;
}

/* ---- failing ---- */

static json_t *word_or_null(const char *s)
{
    return s && *s ? json_string(s) : json_null();
}

static int print_error_json(FILE *to, const char *vm, const viv_error *err)
{
    cleanup_json json_t *o =
        json_pack("{s:i, s:{s:s, s:o, s:o, s:o, s:o, s:o}}", "schema", 1, "error", "code",
                  viv_code_name(err->code), "errno",
                  err->sys_errno ? json_string(vivi_errno_name(err->sys_errno)) : json_null(), "vm",
                  word_or_null(vm && *vm ? vm : err->vm), "field", word_or_null(err->field),
                  "message", word_or_null(err->message), "hint", word_or_null(err->hint));
    cleanup_free char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

    (void)fprintf(to, "%s\n", text ? text : "{\"schema\":1,\"error\":{\"code\":\"NO_MEMORY\"}}");
    return viv_code_exit(err->code);
}

static int print_error_text(FILE *to, const char *where, const viv_error *err)
{
    char message[sizeof(err->message) * 2], hint[sizeof(err->hint) * 2];

    vivi_escape_line(err->message, message, sizeof(message));
    vivi_escape_line(err->hint, hint, sizeof(hint));
    (void)fprintf(to, "viv: %s%s%s\n", where ? where : "", where ? ": " : "", message);
    if (*hint)
        (void)fprintf(to, "hint: %s\n", hint);
    return viv_code_exit(err->code);
}

int vivi_error_print(FILE *to, bool json, const char *where, const viv_error *err)
{
    return json ? print_error_json(to, NULL, err) : print_error_text(to, where, err);
}

int vivi_cli_fail(struct vivi_cli *c, const char *vm, const viv_error *err)
{
    char where[192];
    int code;

    (void)fflush(stdout); /* what was said before stands before */
    if (c->format == VIVI_FORMAT_JSON) {
        code = print_error_json(stderr, vm, err);
    } else {
        char shown[96];

        vivi_escape_line(vm ? vm : "", shown, sizeof(shown));
        (void)snprintf(where, sizeof(where), "%s%s%s", c->cmd->name, *shown ? " " : "", shown);
        code = print_error_text(stderr, where, err);
    }
    return vivi_cli_code(c, code);
}

int vivi_cli_oom(struct vivi_cli *c)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail_oom(&err);
    return vivi_cli_fail(c, NULL, &err);
}

int vivi_cli_usage(struct vivi_cli *c, const char *hint, const char *fmt, ...)
{
    viv_error err = VIV_ERROR_INIT;
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)vivi_fail(&err, VIV_E_INVALID, "%s", text);
    if (hint)
        vivi_hint(&err, "%s", hint);
    return vivi_cli_fail(c, NULL, &err);
}

void vivi_cli_note(struct vivi_cli *c, const char *fmt, ...)
{
    char text[1024], shown[2048];
    va_list ap;

    if (c->format == VIVI_FORMAT_JSON)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    vivi_escape_line(text, shown, sizeof(shown));
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s\n", shown);
}

/* ---- results ---- */

bool vivi_cli_structured(const struct vivi_cli *c)
{
    return c->format != VIVI_FORMAT_TABLE || c->template;
}

void vivi_cli_records(struct vivi_cli *c, bool several)
{
    if (several && vivi_cli_structured(c) && !c->template)
        c->list = json_array();
}

/* Prints what buf holds, or why it could not be made. */
static int print_buf(struct vivi_cli *c, const struct vivi_buf *buf)
{
    viv_error err = VIV_ERROR_INIT;

    if (vivi_buf_check(buf, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    if (buf->len)
        (void)fwrite(buf->data, 1, buf->len, stdout);
    return 0;
}

static int print_json(struct vivi_cli *c, const json_t *doc)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(VIVI_OUT_MAX);
    viv_error err = VIV_ERROR_INIT;

    if (c->format == VIVI_FORMAT_JSON) {
        cleanup_free char *text = json_dumps(doc, JSON_INDENT(2) | JSON_ENCODE_ANY);

        if (!text)
            return vivi_cli_oom(c);
        (void)vivi_buf_str(&out, text);
        (void)vivi_buf_str(&out, "\n");
    } else if (vivi_out_yaml(doc, &out, &err) < 0) {
        return vivi_cli_fail(c, NULL, &err);
    }
    return print_buf(c, &out);
}

static int print_template(struct vivi_cli *c, const json_t *rec)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(VIVI_OUT_MAX);
    viv_error err = VIV_ERROR_INIT;

    if (vivi_out_template(c->template, rec, &out, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    return print_buf(c, &out);
}

int vivi_cli_record(struct vivi_cli *c, json_t *obj)
{
    cleanup_json json_t *rec = obj ? vivi_json_with_schema(obj) : NULL;

    json_decref(obj);
    if (!rec)
        return vivi_cli_oom(c);
    if (c->template)
        return print_template(c, rec);
    if (c->list)
        return json_array_append(c->list, rec) < 0 ? vivi_cli_code(c, 1) : 0;
    return print_json(c, rec);
}

json_t *vivi_rec_to_json(const viv_rec *rec)
{
    const char *text = viv_rec_json(rec);

    return text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
}

int vivi_cli_rec(struct vivi_cli *c, const viv_rec *rec)
{
    return vivi_cli_record(c, vivi_rec_to_json(rec));
}

int vivi_cli_records_end(struct vivi_cli *c)
{
    cleanup_json json_t *list = take_ptr(c->list);

    return list ? print_json(c, list) : 0;
}

int vivi_table_print(struct vivi_cli *c, const struct vivi_table *t, vivi_color_of *color)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(VIVI_OUT_MAX);
    viv_error err = VIV_ERROR_INIT;

    if (vivi_table_render(t, c->color ? color : NULL, &out, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    (void)fwrite(out.data, 1, out.len, stdout);
    return 0;
}

int vivi_cli_list(struct vivi_cli *c, const viv_list *list)
{
    vivi_cli_records(c, true);
    for (size_t i = 0; i < viv_list_len(list); i++) {
        int code = vivi_cli_rec(c, viv_list_at(list, i));

        if (code)
            return code;
    }
    return vivi_cli_records_end(c);
}

int vivi_cli_document(struct vivi_cli *c, json_t *obj)
{
    cleanup_json json_t *doc = obj;

    if (!doc)
        return vivi_cli_oom(c);
    return c->template ? print_template(c, doc) : print_json(c, doc);
}
