/* What Cloud Hypervisor says, hostile: its answers, its version, and the driver's reading of its
 * event stream and log in pieces. */
#include <assert.h>
#include <string.h>

#include "driver/cloud_hypervisor/answer.h"
#include "driver/cloud_hypervisor/ch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_answer(const char *text, size_t size)
{
    struct ch_answer a;
    char words[64];

    if (ch_answer_parse(text, size, &a, NULL) != 1)
        return;
    assert(a.whole <= size && a.body >= text && a.body + a.body_len <= text + size);
    ch_answer_words(&a, words, sizeof(words));
    assert(memchr(words, 0, sizeof(words)));
    for (const char *s = words; *s; s++)
        assert((unsigned char)*s >= ' ');
    (void)ch_answer_blames(&a, "not created");
    (void)ch_answer_fail(&a, "vm.info", NULL);
}

static void on_event(void *ctx, const struct vivi_driver_event *e)
{
    (void)ctx;
    assert(e->kind == VIVI_EV_ENDING || e->kind == VIVI_EV_RESET); /* the VMM is gone */
}

/* The streams of a dead VMM (an adoption that was refused), offered as a monitor does. */
static void replay(const char *name, const char *text, size_t size, size_t piece)
{
    const struct vivi_driver_host host = {.event = on_event};
    const struct vivi_machine_start s = {.host = &host, .run_dir = "/nonexistent", .run = 1};
    const struct vivi_driver_effects *fx = &vivi_effects_cloud_hypervisor;
    void *m = calloc(1, fx->machine_size);
    size_t taken = 0;

    if (!m)
        return;
    if (fx->adopt(m, &s, 1, NULL) < 0) {
        for (size_t end = 0; end < size;) {
            size_t used;

            end = size - end < piece ? size : end + piece;
            used = fx->input(m, name, text + taken, end - taken);
            assert(used <= end - taken);
            taken += used;
        }
    }
    fx->done(m);
    free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    char version[64];
    uint32_t features;

    if (size > 0 && data[size - 1] == 0)
        (void)ch_parse_about(text, version, &features);
    read_answer(text, size);
    if (size > 1) {
        replay(CH_PORT_EVENTS, text + 1, size - 1, (size_t)data[0] + 1);
        replay("stderr.out", text + 1, size - 1, (size_t)data[0] + 1);
    }
    return 0;
}
