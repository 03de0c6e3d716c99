/*
 * Theory of operation: a VM comes and goes by one rename each, so at any instant it is there with
 * all its records or it is not. It is built as vms/.new-<who>-<random> and taken apart as
 * vms/.rm-<uuid>. What a SIGKILL leaves of either is finished by vivi_root_repair: a .new-* whose
 * maker is dead is removed, a .rm-* whose lock is free is removed too, after its event was told
 * (once: the log is searched for it).
 */
#include "store/moving.h"
#include "store/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"

#define NEW_PREFIX   ".new-"
#define RM_PREFIX    ".rm-"
#define TEMP_NAME    128
#define REMOVE_TRIES 5

/* Events are told as far as possible: a full disk must not undo what was done. */
static void tell(const struct vivi_root *r, const struct vivi_state *s, const char *type)
{
    cleanup_json json_t *body = vivi_event_new(s, type);

    if (!body || vivi_event_append(r, body, NULL, NULL) < 0)
        vivi_log(VIVI_LOG_WARN, "event %s of %s could not be written", type, s->name);
}

/* ".new-<pid namespace>-<pid>-<start time>-<random>": others can tell whether the maker lives. */
static int temp_name(char ret[TEMP_NAME], viv_error *err)
{
    struct vivi_proc_id self;
    char random[9];
    uint64_t ns;
    int r = vivi_pid_namespace(&ns, err);

    if (r == 0)
        r = vivi_random_hex(random, 8, err);
    if (r < 0)
        return r;
    vivi_proc_self(&self);
    (void)snprintf(ret, TEMP_NAME, NEW_PREFIX "%" PRIu64 "-%ld-%" PRIu64 "-%s", ns, (long)self.pid,
                   self.start_time, random);
    return 0;
}

static int sync_file(int dir_fd, const char *name, viv_error *err)
{
    cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || fsync(fd) < 0)
        return vivi_fail_errno(err, errno, "cannot write %s", name);
    return 0;
}

struct vivi_new_vm {
    const json_t *config;
    const struct vivi_state *first;
    const struct vivi_moving *moving; /* NULL: none */
    uint64_t log_room;                /* for what it said elsewhere; 0: none */
};

/* Nothing that is wrong with a log keeps a VM from coming. */
static void make_log_room(int fd, const struct vivi_new_vm *n)
{
    viv_error err = VIV_ERROR_INIT;

    if (vivi_serial_reserve(fd, n->log_room, &err) < 0)
        vivi_log(VIVI_LOG_WARN, "%s: its log begins here: %s", n->first->name, err.message);
}

/* Each durable write would sync the directory too; nobody sees it yet, so once at the end is
 * enough. */
static int fill(int fd, const struct vivi_new_vm *n, viv_error *err)
{
    const struct vivi_state *first = n->first;
    cleanup_state struct vivi_state s = {.extra = NULL};
    int r =
        vivi_write_file_at(fd, VIVI_LOCK_FILE, first->uuid, strlen(first->uuid), VIVI_FAST, err);

    if (r == 0)
        r = vivi_json_write(fd, VIVI_CONFIG_FILE, n->config, VIVI_FAST, err);
    if (r == 0 && n->moving)
        r = vivi_moving_write(fd, n->moving, err);
    if (r == 0 && n->log_room)
        make_log_room(fd, n);
    if (r == 0)
        r = vivi_state_copy(first, &s, err);
    if (r < 0)
        return r;
    vivi_config_stamp(fd, VIVI_CONFIG_FILE, s.config_stamp);
    r = vivi_state_write(fd, &s, VIVI_FAST, err);
    if (r == 0)
        r = sync_file(fd, VIVI_CONFIG_FILE, err);
    if (r == 0)
        r = sync_file(fd, VIVI_STATE_FILE, err);
    if (r == 0 && fsync(fd) < 0)
        r = vivi_fail_errno(err, errno, "cannot write a new VM's directory");
    return r;
}

static int build(const struct vivi_root *r, const char *temp, const struct vivi_new_vm *n,
                 viv_error *err)
{
    cleanup_close int fd = -1;
    int code;

    if (mkdirat(r->vms_fd, temp, 0700) < 0)
        return vivi_fail_errno(err, errno, "cannot make a directory in %s/vms", r->path);
    code = vivi_open_dir(r->vms_fd, temp, &fd, err);
    if (code == 0)
        code = fill(fd, n, err);
    if (code == 0)
        code = vivi_rename_noreplace(r->vms_fd, temp, r->vms_fd, n->first->name, err);
    if (code == -VIV_E_EXISTS) {
        code = vivi_fail(err, VIV_E_EXISTS, "exists already");
        vivi_error_vm(err, n->first->name);
    }
    if (code < 0) {
        (void)vivi_remove_tree_at(r->vms_fd, temp, NULL); /* the first error is the one to report */
        return code;
    }
    if (fsync(r->vms_fd) < 0)
        return vivi_fail_errno(err, errno, "cannot write %s/vms", r->path);
    return 0;
}

static int create(const struct vivi_root *r, const struct vivi_new_vm *n, viv_error *err)
{
    char temp[TEMP_NAME];
    int code;

    if (r->vms_fd < 0 || r->readonly)
        return vivi_fail(err, VIV_E_DENIED, "state root %s: opened for reading only", r->path);
    code = temp_name(temp, err);
    if (code == 0)
        code = build(r, temp, n, err);
    if (code < 0)
        return code;
    tell(r, n->first, "created");
    return 0;
}

int vivi_vm_create_coming(const struct vivi_root *r, const json_t *config,
                          const struct vivi_state *first, uint64_t log_room, viv_error *err)
{
    const struct vivi_moving coming = {.phase = VIVI_MOVING_COMING};

    return create(r, &(struct vivi_new_vm){config, first, &coming, log_room}, err);
}

int vivi_vm_create(const struct vivi_root *r, const json_t *config, const struct vivi_state *first,
                   viv_error *err)
{
    return create(r, &(struct vivi_new_vm){config, first, NULL, 0}, err);
}

/* ---- removal ---- */

static void remove_run_dir(const struct vivi_root *r, const char *uuid)
{
    cleanup_close int fd = -1;
    char name[9];

    if (strlen(uuid) != VIVI_UUID_SIZE - 1 || vivi_open_dir(AT_FDCWD, r->run, &fd, NULL) < 0)
        return;
    (void)snprintf(name, sizeof(name), "%.8s", uuid);
    (void)vivi_remove_tree_at(fd, name, NULL); /* sockets and FIFOs without meaning now */
}

/* What stands outside of the state root. */
static void remove_autostart(const struct vivi_root *r, const char *doomed, const char *uuid)
{
    cleanup_close int fd = -1;
    viv_error err = VIV_ERROR_INIT;

    if (vivi_open_dir(r->vms_fd, doomed, &fd, NULL) < 0 ||
        vivi_autostart_remove(fd, uuid, &err) >= 0)
        return;
    vivi_log(VIVI_LOG_WARN, "autostart: %s", err.message);
}

/* The last part of a removal, from whichever step on. doomed is ".rm-…". */
static int finish_removal(const struct vivi_root *r, const char *doomed, const char *uuid,
                          viv_error *err)
{
    int code = -VIV_E_IO;

    remove_autostart(r, doomed, uuid);
    remove_run_dir(r, uuid);
    /* A dying process of the VM may still add a line to a log while we empty the directory. */
    for (int i = 0; i < REMOVE_TRIES && code < 0; i++)
        code = vivi_remove_tree_at(r->vms_fd, doomed, err);
    return code;
}

/* What the event "removed" says: the record, or as much as is known without it. */
static void last_words(const struct vivi_vmdir *d, struct vivi_state *ret)
{
    if (vivi_state_read(d->fd, ret, NULL) == 0)
        return;
    vivi_state_init(ret);
    (void)snprintf(ret->name, sizeof(ret->name), "%s", d->name);
    (void)snprintf(ret->uuid, sizeof(ret->uuid), "%s", d->uuid);
}

int vivi_vm_remove(struct vivi_vmdir *d, int lock_fd, viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    const struct vivi_root *root = d->root;
    char doomed[TEMP_NAME], random[9];
    int r = vivi_lock_is_current(lock_fd, d->fd, VIVI_LOCK_FILE, err);

    if (r > 0)
        r = vivi_vmdir_is_current(d, err);
    if (r == 0) {
        (void)vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
        vivi_error_vm(err, d->name);
        return -VIV_E_NOT_FOUND;
    }
    if (r > 0)
        r = vivi_random_hex(random, 8, err);
    if (r < 0)
        return r;
    last_words(d, &s);
    (void)snprintf(doomed, sizeof(doomed), RM_PREFIX "%s", d->uuid[0] ? d->uuid : random);
    /* Nobody else renames this name away while we hold its lock. */
    r = vivi_rename_noreplace(root->vms_fd, d->name, root->vms_fd, doomed, err);
    if (r < 0)
        return vivi_wrap(err, r, "cannot remove");
    (void)fsync(
        root->vms_fd); /* best effort: after a power loss the removal may have to be repeated */
    tell(root, &s, "removed");
    return finish_removal(root, doomed, d->uuid, err);
}

/* ---- repair ---- */

/* A removed VM's event was told if it stands in the log. */
static bool was_told(const struct vivi_root *r, const char *uuid)
{
    struct vivi_events e;
    bool told = false;
    json_t *j;

    if (vivi_events_open(r, 0, &e, NULL) < 0)
        return false;
    while (!told && vivi_events_next(&e, &j, NULL) > 0) {
        const char *type = json_string_value(json_object_get(j, "type"));
        const char *whose = json_string_value(json_object_get(j, "uuid"));

        told = type && whose && strcmp(type, "removed") == 0 && strcmp(whose, uuid) == 0;
        json_decref(j);
    }
    vivi_events_done(&e);
    return told;
}

/* Whether the removal in doomed_fd may be finished by us: nobody else is about it. own_lock: the
 * lock a successor of its remover was handed, or −1. */
static bool is_abandoned(int doomed_fd, int own_lock)
{
    if (own_lock >= 0)
        return vivi_lock_is_current(own_lock, doomed_fd, VIVI_LOCK_FILE, NULL) > 0;
    return vivi_lock_test(doomed_fd, VIVI_LOCK_FILE, NULL) == 0;
}

static int repair_removal(const struct vivi_root *r, const char *name, int own_lock, viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    cleanup_close int fd = -1;
    char uuid[VIVI_UUID_SIZE];
    int code = vivi_open_dir(r->vms_fd, name, &fd, NULL);

    if (code < 0)
        return 0; /* somebody else has just finished it */
    if (!is_abandoned(fd, own_lock))
        return 0;
    (void)snprintf(uuid, sizeof(uuid), "%s", name + strlen(RM_PREFIX));
    if (vivi_state_read(fd, &s, NULL) == 0 && !was_told(r, s.uuid))
        tell(r, &s, "removed");
    code = finish_removal(r, name, uuid, err);
    return code == -VIV_E_NOT_FOUND ? 0 : code;
}

/* The maker a temporary's name tells of. False: nobody of this pid namespace. */
static bool maker_of(const char *name, uint64_t *ret_ns, struct vivi_proc_id *ret)
{
    char *end;
    long pid;

    errno = 0;
    *ret_ns = strtoull(name + strlen(NEW_PREFIX), &end, 10);
    if (errno || *end != '-')
        return false;
    pid = strtol(end + 1, &end, 10);
    if (errno || *end != '-' || pid < 1 || pid > INT32_MAX)
        return false;
    ret->pid = (pid_t)pid;
    ret->start_time = strtoull(end + 1, &end, 10);
    return !errno && *end == '-';
}

static int repair_creation(const struct vivi_root *r, const char *name, viv_error *err)
{
    struct vivi_proc_id maker = {0};
    uint64_t ns = 0, ours = 0;
    int code = vivi_pid_namespace(&ours, err);

    if (code < 0)
        return code;
    /* Pids of another namespace say nothing, and a name that cannot be read is no live maker's. */
    if (maker_of(name, &ns, &maker) && (ns != ours || vivi_proc_alive(&maker)))
        return 0;
    code = vivi_remove_tree_at(r->vms_fd, name, err);
    return code == -VIV_E_NOT_FOUND ? 0 : code;
}

static int repair_entries(const struct vivi_root *r, DIR *d, int own_lock, viv_error *err)
{
    const struct dirent *e;
    int code = 0;

    while (code == 0 && (e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, RM_PREFIX, strlen(RM_PREFIX)) == 0)
            code = repair_removal(r, e->d_name, own_lock, err);
        else if (own_lock < 0 && strncmp(e->d_name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0)
            code = repair_creation(r, e->d_name, err);
    }
    return code;
}

static int repair(const struct vivi_root *r, int own_lock, viv_error *err)
{
    cleanup_closedir DIR *d = NULL;
    int code;

    if (r->vms_fd < 0 || r->readonly)
        return 0;
    code = vivi_vms_open(r, &d, err);
    if (code < 0)
        return code;
    code = repair_entries(r, d, own_lock, err);
    return code < 0 ? vivi_wrap(err, code, "finishing what was interrupted") : 0;
}

int vivi_root_repair(const struct vivi_root *r, viv_error *err)
{
    return repair(r, -1, err);
}

int vivi_vm_remove_rest(const struct vivi_root *r, int lock_fd, viv_error *err)
{
    return repair(r, lock_fd, err);
}
