/* Single calls to the VMM: an interrupt, a core, and what somebody else says to its API. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"

void call_injects_an_nmi(struct world *w)
{
    contract_start_to_marker(w);
    world_do(w, vivi_machine_nmi);
    EXPECT(w, *w->failure == '\0');
}

static char core_path[200]; /* of the case that runs */

static int dump(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return vivi_machine_coredump(m, core_path, op, err);
}

static bool is_elf_core(const char *path)
{
    static const unsigned char magic[] = {0x7f, 'E', 'L', 'F'};
    unsigned char head[20];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof(head));

    if (fd >= 0)
        (void)close(fd);
    return n == (ssize_t)sizeof(head) && memcmp(head, magic, sizeof(magic)) == 0 && head[16] == 4;
}

void call_writes_a_core(struct world *w)
{
    (void)snprintf(core_path, sizeof(core_path), "%s/snapshots/core.tmp", w->vm_dir);
    contract_start_to_marker(w);
    world_do(w, dump);
    EXPECT(w, *w->failure == '\0');
    EXPECT(w, is_elf_core(core_path));
    contract_expect_alive(w);
}

static bool raw_get; /* of the case that runs */
static const char *raw_endpoint;

static int raw(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return vivi_machine_raw(m, &(struct vivi_raw){.get = raw_get, .endpoint = raw_endpoint}, op,
                            err);
}

/* What one driver's VMM calls the question for its state. */
static const char *state_endpoint(const struct world *w)
{
    return strcmp(w->machine.driver->name, "qemu") == 0 ? "query-status" : "vm.info";
}

void call_passes_on_what_others_say(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    raw_get = true;
    raw_endpoint = state_endpoint(w);
    if (!w->machine.fx->raw) {
        EXPECT(w, world_call(w, raw, &err) == 0 && err.code == VIV_E_UNSUPPORTED);
        contract_expect_alive(w);
        return;
    }
    world_do(w, raw);
    EXPECT(w, *w->failure == '\0');
    EXPECT(w, strcasestr(json_string_value(json_object_get(w->value, "body")), "running") != NULL);
    raw_endpoint = "no-such";
    op = world_call(w, raw, &err);
    EXPECT(w, op != 0 && world_wait_result(w, op)->code == VIV_E_UNSUPPORTED);
    raw_endpoint = state_endpoint(w);
    op = world_call(w, raw, &err);
    w->machine.fx->raw_drop(w->machine.priv, op);
    world_do(w, vivi_machine_query); /* after which an answer would have come */
    EXPECT(w, op != 0 && world_result(w, op) == NULL);
    contract_expect_alive(w);
}

void call_linux_sees_the_nmi(struct world *w)
{
    contract_start_to_marker(w);
    world_do(w, vivi_machine_nmi);
    EXPECT(w, *w->failure == '\0');
    EXPECT(w, world_wait_logged(w, "NMI received for unknown reason", 0));
    contract_expect_alive(w);
}
