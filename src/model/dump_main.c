/*
 * viv-model-dump: prints what the tables of this folder hold, for the build and the tools.
 *
 *   viv-model-dump schema    JSON Schema of the configuration
 *   viv-model-dump docs      the fields as a Markdown table
 *   viv-model-dump fields    the fields as JSON
 *   viv-model-dump caps      the capability rows as JSON
 *   viv-model-dump parse     the canonical form of the configuration on standard input
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/caps.h"
#include "model/config.h"

#define DOCS_BYTES_MAX 1048576

static const char *const type_names[] = {
    [VIVI_T_STR] = "string",        [VIVI_T_BOOL] = "bool",
    [VIVI_T_INT] = "int",           [VIVI_T_SIZE] = "size",
    [VIVI_T_DURATION] = "duration", [VIVI_T_ENUM] = "enum",
    [VIVI_T_PATH] = "path",         [VIVI_T_NAME] = "name",
    [VIVI_T_MAC] = "mac",           [VIVI_T_FORWARD] = "forward",
    [VIVI_T_STR_LIST] = "strings",  [VIVI_T_FORWARD_LIST] = "forwards",
    [VIVI_T_MAP] = "map",           [VIVI_T_OBJECT_LIST] = "objects",
    [VIVI_T_TEXT] = "text",
};
static const char *const when_names[] = {"fixed", "next-start", "live"};
static const char *const kind_names[] = {"slot", "field", "service"};

static int print_json(json_t *doc)
{
    json_auto_t *owned = doc;

    if (!owned || json_dumpf(owned, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
        return 1;
    return 0;
}

static int print_docs(void)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF(DOCS_BYTES_MAX);

    if (vivi_config_docs(&out) < 0 || fputs(out.data, stdout) == EOF)
        return 1;
    return 0;
}

static int print_fields(void)
{
    json_auto_t *out = json_array();

    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        const char letter[2] = {f->short_flag, '\0'};
        json_t *row = json_pack(
            "{s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s, s:s, s:s, s:b, s:b}", "path",
            f->path, "type", type_names[f->type], "unit", f->unit, "choices", f->choices, "default",
            f->def, "flag", f->flag, "short", f->short_flag ? letter : NULL, "arg", f->arg, "help",
            f->help, "when", when_names[f->when], "drivers", f->drivers, "shorthand", f->shorthand,
            "required", f->required);

        if (json_array_append_new(out, row) < 0)
            return 1;
    }
    return print_json(take_ptr(out));
}

static int print_caps(void)
{
    json_auto_t *out = json_array();

    for (size_t i = 0; i < VIVI_CAP_COUNT_; i++) {
        const struct vivi_cap_row *c = &vivi_cap_rows[i];
        json_t *row = json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s?}", "word", c->word, "kind",
                                kind_names[c->kind], "text", c->text, "cloud-hypervisor",
                                c->ch_none, "vz", c->vz_none, "qemu", c->qemu_none);

        if (json_array_append_new(out, row) < 0)
            return 1;
    }
    return print_json(take_ptr(out));
}

static int print_parsed(void)
{
    cleanup_free char *text = malloc(VIVI_CONFIG_MAX_BYTES + 1);
    viv_error err = VIV_ERROR_INIT;
    json_t *doc = NULL;
    size_t n;

    if (!text)
        return 1;
    n = fread(text, 1, VIVI_CONFIG_MAX_BYTES + 1, stdin);
    if (vivi_config_parse(text, n, NULL, "/", &doc, &err) == 0)
        return print_json(doc);
    (void)fprintf(stderr, "%s\n", err.message);
    return 1;
}

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";
    int rc = 2;

    if (strcmp(what, "schema") == 0)
        rc = print_json(vivi_config_schema());
    else if (strcmp(what, "docs") == 0)
        rc = print_docs();
    else if (strcmp(what, "fields") == 0)
        rc = print_fields();
    else if (strcmp(what, "caps") == 0)
        rc = print_caps();
    else if (strcmp(what, "parse") == 0)
        rc = print_parsed();
    else
        (void)fputs("usage: viv-model-dump schema|docs|fields|caps|parse\n", stderr);
    return fflush(stdout) == 0 ? rc : 1;
}
