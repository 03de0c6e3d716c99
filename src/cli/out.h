/* How records become text: JSON, YAML, a template, an aligned table. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"

#define VIVI_OUT_MAX (64u << 20) /* no output of ours is larger */

/* Appends one YAML document of block style. Strings that could be read as something else are
 * quoted. */
int vivi_out_yaml(const json_t *doc, struct vivi_buf *out, viv_error *err);

/*
 * '{name} {ready.ip}': fields by path, "{{" and "}}" are braces, \n and \t as in C. A null is "-",
 * lists and objects are compact JSON. INVALID "--format: {x}: unknown key" with the nearest.
 */
int vivi_out_template(const char *template, const json_t *rec, struct vivi_buf *out,
                      viv_error *err);

/* "name.sub.0": NULL = absent. *ret_null: a parent on the way is null, so the value is unknown too.
 */
const json_t *vivi_out_at(const json_t *doc, const char *path, bool *ret_null);

/* A copy of obj with "schema": 1 first. */
json_t *vivi_json_with_schema(const json_t *obj);

/* ---- tables ---- */

#define VIVI_TABLE_COLUMNS 8

struct vivi_table {
    const char *const *head; /* borrowed */
    size_t n_columns;
    char **cells; /* owned, row by row */
    size_t n_cells, cap_cells;
    bool failed;
};

void vivi_table_init(struct vivi_table *t, const char *const *head, size_t n_columns);
/* The next cell, row by row; control characters are made visible; NULL or "" is "-". */
void vivi_table_cell(struct vivi_table *t, const char *text);
/* color: the code for a cell ("32"), or NULL; asked per cell. */
typedef const char *vivi_color_of(size_t column, const char *text);
int vivi_table_render(const struct vivi_table *t, vivi_color_of *color, struct vivi_buf *out,
                      viv_error *err);
void vivi_table_done(struct vivi_table *t);
struct vivi_cli;
/* Renders it to stdout, in color where that is wanted. The exit code. */
int vivi_table_print(struct vivi_cli *c, const struct vivi_table *t, vivi_color_of *color);
#define cleanup_table VIVI_CLEANUP(vivi_table_done)

/* ---- small texts ---- */

/* "3s", "5m", "2h", "4d": the age of something, floored. */
void vivi_text_age(int64_t ms, char ret[24]);
/* "2.31 s" for 2310 ms. */
void vivi_text_seconds(int64_t ms, char ret[24]);
