/* For tests of this folder: a state root of its own, removed afterwards. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "store/store.h"

#define UUID_A "11111111-2222-4333-8444-555555555555"
#define UUID_B "22222222-2222-4333-8444-555555555555"

struct fixture {
    char dir[64];
    struct vivi_root root;
};

static inline int fixture_open(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    viv_error err = VIV_ERROR_INIT;

    if (!f)
        return -1;
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/vivs.XXXXXX");
    if (!mkdtemp(f->dir) || vivi_root_open(f->dir, true, false, &f->root, &err) < 0) {
        print_error("%s\n", err.message);
        free(f);
        return -1;
    }
    *state = f;
    return 0;
}

static inline int fixture_close(void **state)
{
    struct fixture *f = *state;

    vivi_root_done(&f->root);
    (void)vivi_remove_tree_at(AT_FDCWD, f->dir, NULL);
    free(f);
    return 0;
}

static inline void some_state(struct vivi_state *s, const char *name, const char *uuid)
{
    vivi_state_init(s);
    (void)snprintf(s->name, sizeof(s->name), "%s", name);
    (void)snprintf(s->uuid, sizeof(s->uuid), "%s", uuid);
    s->state = VIV_ST_CREATED;
    s->cpus = 2;
    s->memory_bytes = 1u << 30;
    (void)snprintf(s->driver, sizeof(s->driver), "fake");
}

/* A VM with a small configuration; asserts that it worked. */
static inline void some_vm(const struct vivi_root *r, const char *name, const char *uuid)
{
    cleanup_json json_t *config = json_pack("{s:s,s:s,s:{s:i},s:{s:i}}", "name", name, "driver",
                                            "fake", "cpus", "count", 3, "memory", "size", 1 << 20);
    viv_error err = VIV_ERROR_INIT;
    struct vivi_state s;

    some_state(&s, name, uuid);
    if (vivi_vm_create(r, config, &s, &err) < 0)
        fail_msg("%s", err.message);
}

static inline void put_file(int dir_fd, const char *name, const char *text)
{
    assert_int_equal(vivi_write_file_at(dir_fd, name, text, strlen(text), VIVI_FAST, NULL), 0);
}
