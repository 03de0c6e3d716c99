/*
 * modules.h: the modules of one kernel package, and in which order some of them must be loaded.
 */
#pragma once

#include "members.h"
#include "modinfo.h"

struct vivi_module {
    char name[VIVI_MODULE_NAME_SIZE]; /* '-' written as '_', as the kernel does */
    const struct vivi_member *file;   /* borrowed */
    struct vivi_modinfo info;
};

struct vivi_modules {
    struct vivi_module *at; /* owned, ordered by name */
    size_t n;
    const struct vivi_member *builtin; /* modules.builtin, borrowed; NULL if the package has none */
};

/* Modules in the order in which they are to be loaded, none twice. */
struct vivi_module_list {
    const struct vivi_module **at; /* owned list of borrowed entries */
    size_t n, cap;
};

#define cleanup_modules     VIVI_CLEANUP(vivi_modules_done)
#define cleanup_module_list VIVI_CLEANUP(vivi_module_list_done)

/* Whether vivi_modules_index needs a file of the kernel package: lib/modules/… */
bool vivi_modules_wants(const char *path);

/* Reads every module among files, which must stay unchanged while ret_modules is in use. */
int vivi_modules_index(const struct vivi_members *files, struct vivi_modules *ret_modules,
                       viv_error *err);

/*
 * Appends the modules called wanted (ends with NULL) to list, each after all it depends on. What is
 * built into the kernel needs no module and is left out.
 *
 * Errors: NOT_FOUND for a module that is neither there nor built in; PROTOCOL for dependencies that
 * go round in a circle. list is then to be thrown away.
 */
int vivi_modules_resolve(const struct vivi_modules *m, const char *const wanted[],
                         struct vivi_module_list *list, viv_error *err);

void vivi_modules_done(struct vivi_modules *m);
void vivi_module_list_done(struct vivi_module_list *l);
