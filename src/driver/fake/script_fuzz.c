/* The fake's script, hostile: it comes from a configuration. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "driver/fake/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct fake_script *s = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (fake_script_parse(text, &s, &err) == 0)
        assert(s && s->n_beats <= FAKE_MAX_BEATS && s->n_rules <= FAKE_MAX_RULES);
    else
        assert(!s && err.code == VIV_E_INVALID && err.message[0]);
    fake_script_free(s);
    free(text);
    return 0;
}
