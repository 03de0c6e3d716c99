/* What Cloud Hypervisor logs before an end that its exit code does not tell apart: a virtual CPU
 * that failed and a guest that powered off both end it with 0. Pure. */
#include <string.h>

#include "driver/cloud_hypervisor/machine.h"

static const struct {
    const char *text;
    enum ch_complaint what;
} complaints[] = {
    {"VCPU generated error", CH_COMPLAINT_FAILURE},
    {"vCPU thread panicked", CH_COMPLAINT_FAILURE},
    {"thread panicked", CH_COMPLAINT_FAILURE},
    {"' panicked at ", CH_COMPLAINT_FAILURE},
    {"Error activating virtio devices", CH_COMPLAINT_FAILURE},
    {"Error applying seccomp filter", CH_COMPLAINT_FAILURE},
    {"Watchdog triggered", CH_COMPLAINT_WATCHDOG},
    {"Migration failed", CH_COMPLAINT_MOVE},
};

enum ch_complaint ch_complaint(const char *line, size_t len, const char **ret_text,
                               size_t *ret_text_len)
{
    static const char dashes[] = " -- ";
    const char *text = memmem(line, len, dashes, sizeof(dashes) - 1);

    *ret_text = text ? text + sizeof(dashes) - 1 : line;
    *ret_text_len = len - (size_t)(*ret_text - line);
    for (size_t i = 0; i < ARRAY_SIZE(complaints); i++)
        if (memmem(*ret_text, *ret_text_len, complaints[i].text, strlen(complaints[i].text)))
            return complaints[i].what;
    return CH_COMPLAINT_NONE;
}
