/*
 * --set with hostile paths and values. Input: path, NUL, value (no NUL: no value). What is refused
 * must leave the document alone, what is accepted must leave one that still makes sense.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char base[] =
    "{name: web, labels: {a: b}, memory: 1GiB, disks: [{path: /a}, {id: data,"
    " path: /b}], nets: [{id: n0, forward: ['8080:80']}]}";

static void set_once(json_t *doc, const char *path, const char *value)
{
    json_auto_t *before = json_deep_copy(doc), *full = NULL;
    cleanup_config struct vivi_config typed = {0};
    viv_error err = VIV_ERROR_INIT;
    int r = vivi_config_set(doc, path, value, "/base", &err);

    if (r < 0) {
        assert(r == -VIV_E_INVALID && err.field[0] != '\0');
        assert(json_equal(before, doc));
    }
    (void)vivi_config_get(doc, path);
    (void)vivi_field_values(path);
    if (vivi_config_complete(doc, &full, &err) < 0)
        return; /* an id twice, a path taken away */
    r = vivi_config_decode(full, &typed, &err);
    assert(r == 0); /* a completed document decodes */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = malloc(size + 1);
    json_auto_t *doc = NULL, *empty = json_object();
    const char *path = text, *value;

    if (!text || vivi_config_parse(base, strlen(base), NULL, "/", &doc, NULL) < 0)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    value = strlen(path) < size ? path + strlen(path) + 1 : NULL;
    set_once(doc, path, value);
    set_once(doc, path, value);
    set_once(empty, path, value);
    return 0;
}
