/*
 * A configuration from a command line. Layers, later ones win: image, files, flags, --set (defaults
 * are filled in by the library).
 */
#pragma once

#include "cli/cli.h"

struct vivi_document {
    viv_config *config; /* owned */
    char stem[48];      /* what a VM without a name is called after: "demo", "vm" */
    bool named;         /* a name was given */
};

/* word: FILE.yaml, an image, or NULL. The error carries no VM name. */
int vivi_document_make(struct vivi_cli *c, const char *word, struct vivi_document *ret,
                       viv_error *err);
/* Gives it the name STEM-xxxx. */
int vivi_document_name(struct vivi_document *d, viv_error *err);
void vivi_document_done(struct vivi_document *d);
#define cleanup_document VIVI_CLEANUP(vivi_document_done)

/* Reads one configuration file; "-" is standard input. NOT_FOUND "config a.yaml: no such file". */
int vivi_document_read(const char *path, viv_config **ret, viv_error *err);
/* Does the word name a file rather than an image? */
bool vivi_document_is_file(const char *word);
/* "path=value", or "disks.data-" which removes. INVALID otherwise. */
int vivi_setting_add(viv_config *config, const char *text, viv_error *err);
