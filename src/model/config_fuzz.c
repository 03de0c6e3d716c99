/*
 * A configuration file of hostile bytes. Whatever is accepted must survive the whole way: complete,
 * decode, and read back from its presented form as the same machine.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const json_t *doc)
{
    json_auto_t *full = NULL, *shown = NULL, *back = NULL;
    cleanup_config struct vivi_config typed = {0};
    viv_error err = VIV_ERROR_INIT;
    cleanup_free char *text = NULL;
    int r;

    if (vivi_config_complete(doc, &full, &err) < 0) {
        assert(err.code == VIV_E_INVALID && err.field[0] != '\0');
        return;
    }
    r = vivi_config_decode(full, &typed, &err);
    assert(r == 0); /* a completed document decodes */
    r = vivi_config_present(full, &shown, &err);
    assert(r == 0); /* a completed document can be shown */
    text = json_dumps(shown, 0);
    assert(text);
    if (strlen(text) > VIVI_CONFIG_MAX_BYTES)
        return;
    r = vivi_config_parse(text, strlen(text), "again", "/elsewhere", &back, &err);
    assert(r == 0); /* what is shown can be read */
    assert(vivi_config_equal(full, back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_auto_t *doc = NULL, *twice = NULL;
    viv_error err = VIV_ERROR_INIT;
    int r = vivi_config_parse((const char *)data, size, "a.yaml", "/base", &doc, &err);

    if (r < 0) {
        assert(r == -VIV_E_INVALID && !doc);
        assert(strncmp(err.message, "config a.yaml", 13) == 0);
        assert(strchr(err.message, '\n') == NULL);
        return 0;
    }
    round_trip(doc);
    twice = json_deep_copy(doc);
    r = vivi_config_merge_under(twice, doc, &err);
    assert(r == 0); /* a document merges with itself */
    return 0;
}
