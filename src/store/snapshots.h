/*
 * Snapshots of a VM on disk: snapshots/<name>/ in its directory, with manifest.json, vmm/ (what the
 * VMM wrote) and disks/<id>.img. It is made as <name>.tmp and renamed when whole, so what has a
 * plain name can be used, and a .tmp that nobody works on is rubbish.
 */
#pragma once

#include "store/store.h"

#define VIVI_SNAPSHOTS_DIR     "snapshots"
#define VIVI_SNAPSHOT_MANIFEST "manifest.json"
#define VIVI_SNAPSHOT_VMM      "vmm"
#define VIVI_SNAPSHOT_DISKS    "disks"
#define VIVI_SNAPSHOT_SCHEMA   1

/* INVALID unless name is a DNS label. */
int vivi_snapshot_check_name(const char *name, viv_error *err);
/* The directory snapshots/ of a VM, made where it is missing. */
int vivi_snapshots_open(const struct vivi_vmdir *d, int *ret_fd, viv_error *err);
/*
 * The manifest of a whole snapshot; the caller's. NOT_FOUND "no snapshot X"; PROTOCOL a manifest
 * that is none, or of a newer schema.
 */
int vivi_snapshot_read(const struct vivi_vmdir *d, const char *name, json_t **ret, viv_error *err);
/*
 * All whole snapshots, oldest first, as an array of {name, created_at_ms, size_bytes, driver,
 * vmm_version, memory_bytes, disks}; one that cannot be read has "error" instead of the rest.
 */
int vivi_snapshots_list(const struct vivi_vmdir *d, json_t **ret, viv_error *err);
/* NOT_FOUND as above. */
int vivi_snapshot_remove(const struct vivi_vmdir *d, const char *name, viv_error *err);
