/*
 * testing.h: packages and modules made by hand, sound and hostile ones, for the builder's tests.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define TESTING_MAX_BYTES (16 * 1024 * 1024)

struct testing_file {
    const char *name;
    const void *data;
    size_t len;
    char type; /* of the tar header: '0' file, '2' symbolic link, '5' directory; 0 = '0' */
    uint64_t claimed_bytes; /* size the header claims when it is not len; 0 = len */
};

/* Appends one file as tar; the caller ends the archive with testing_tar_end. */
void testing_tar_add(struct vivi_buf *tar, const struct testing_file *f);
void testing_tar_end(struct vivi_buf *tar);

/* The same for ar; testing_ar_begin writes the magic. */
void testing_ar_begin(struct vivi_buf *ar);
void testing_ar_add(struct vivi_buf *ar, const char *name, const void *data, size_t len);

/* A whole package: control text and files (ends with an entry without name) → path. */
void testing_write_deb(const char *path, const char *control, const struct testing_file *files);

/* An ELF object with a section .modinfo of these bytes (NULs in them separate entries). */
void testing_module(struct vivi_buf *elf, const char *modinfo, size_t len);

/* A file of these bytes. */
void testing_write_file(const char *path, const void *data, size_t len);

/* A new directory below $TMPDIR or /tmp; testing_remove_dir removes it with all that is in it. */
void testing_make_dir(char ret_path[256]);
void testing_remove_dir(const char *path);
