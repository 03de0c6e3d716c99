/* Files: bounded reads, atomic replacement, trees. Names are relative to a directory descriptor
 * (AT_FDCWD allowed). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"

/*
 * Whole regular file into buf (appended), at most buf's ceiling: larger is PROTOCOL "larger than N
 * bytes". buf's contents are untouched on failure.
 */
int vivi_read_file_at(int dir_fd, const char *name, struct vivi_buf *buf, viv_error *err);

/* The rest of an open descriptor of any kind, likewise; a part may have been appended on failure.
 */
int vivi_read_fd(int fd, struct vivi_buf *buf, viv_error *err);

enum vivi_durability {
    VIVI_FAST,
    VIVI_DURABLE /* fsync file, rename, fsync directory: survives power loss */
};

/*
 * Replaces name atomically by a temporary beside it ("name.tmp") and rename(2); mode 0600. On
 * failure the old file is untouched and no temporary stays; one left by a killed writer is used up
 * by the next.
 */
int vivi_write_file_at(int dir_fd, const char *name, const void *data, size_t len,
                       enum vivi_durability how, viv_error *err);

/*
 * Appends one record by a single write(2) with O_APPEND; creates the file 0600. The whole record or
 * nothing, provided that appenders take turns.
 */
int vivi_append_at(int dir_fd, const char *name, const void *data, size_t len, viv_error *err);

/* As mkdir -p; 0 also if it is there. */
int vivi_mkdir_path(const char *path, mode_t mode, viv_error *err);
int vivi_open_dir(int dir_fd, const char *name, int *ret_fd, viv_error *err);

/* rename(2) that never replaces: EXISTS if the target is there. */
int vivi_rename_noreplace(int old_dir, const char *old_name, int new_dir, const char *new_name,
                          viv_error *err);

/* Removes name and all below it without following links; missing = 0. */
int vivi_remove_tree_at(int dir_fd, const char *name, viv_error *err);

/*
 * Frees the disk space of [0, end_bytes), rounded down to 4096, without moving offsets. UNSUPPORTED
 * where the file system cannot.
 */
int vivi_punch_head(int fd, uint64_t end_bytes, viv_error *err);
/*
 * Takes disk space for [from, from + bytes) beforehand, so that writing there cannot meet a full
 * disk. The file's size stays. UNSUPPORTED where the file system cannot; IO with errno ENOSPC.
 */
int vivi_reserve(int fd, uint64_t from, uint64_t bytes, viv_error *err);
/* First byte from there on that holds data; the size when all is hole. Moves the file position. */
int vivi_data_start(int fd, uint64_t from, uint64_t *ret_offset, viv_error *err);
