/* What QEMU says, hostile: the parser, and the driver's reading of its event stream in pieces. */
#include <assert.h>
#include <string.h>

#include "driver/qemu/qemu.h"
#include "driver/qemu/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_usernet(const char *text)
{
    static char id[] = "n0";
    static struct vivi_forward f = {.host_ip = "127.0.0.1", .guest_port = 80};
    static struct vivi_net net = {.id = id, .forwards = &f, .n_forwards = 1};
    const struct vivi_config config = {.nets = &net, .n_nets = 1};
    json_t *ports = qemu_ports(&config, text);

    assert(!ports || json_array_size(ports) == 1);
    json_decref(ports);
}

static void on_event(void *ctx, const struct vivi_driver_event *e)
{
    (void)ctx;
    assert(e->kind == VIVI_EV_ENDING); /* the VMM is gone: nothing else can be true */
}

/* The events of a dead VMM (an adoption that was refused), offered as a monitor does. */
static void replay_stream(const uint8_t *data, size_t size, size_t piece)
{
    const struct vivi_driver_host host = {.event = on_event};
    const struct vivi_config config = {0};
    const struct vivi_machine_start s = {
        .host = &host, .config = &config, .run_dir = "/nonexistent", .run = 1};
    const char *text = (const char *)data;
    void *m = calloc(1, vivi_effects_qemu.machine_size);
    size_t taken = 0;

    if (!m)
        return;
    if (vivi_effects_qemu.adopt(m, &s, 1, NULL) < 0) {
        for (size_t end = 0; end < size;) {
            size_t used;

            end = size - end < piece ? size : end + piece;
            used = vivi_effects_qemu.input(m, "events.out", text + taken, end - taken);
            assert(used <= end - taken);
            taken += used;
        }
    }
    vivi_effects_qemu.done(m);
    free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *line = (const char *)data;
    struct qmp_message m;
    char version[64];

    if (size > 0 && data[size - 1] == 0)
        (void)qemu_parse_version(line, version);
    if (size > 0 && data[size - 1] == 0)
        read_usernet(line);
    if (qmp_parse(line, size, &m, NULL) == 0) {
        assert(memchr(m.event, 0, sizeof(m.event)) || m.kind != QMP_EVENT);
        assert(m.kind != QMP_ERROR || memchr(m.desc, 0, sizeof(m.desc)));
        qmp_message_done(&m);
    }
    if (size > 1)
        replay_stream(data + 1, size - 1, (size_t)data[0] + 1);
    return 0;
}
