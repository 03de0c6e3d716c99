/* Prints the capability rows as JSON, for tools/capabilities: the page is made from what runs. */
#include <stdio.h>

#include "model/caps.h"

static const char *kind_name(enum vivi_cap_kind kind)
{
    switch (kind) {
    case VIVI_CAP_SLOT: return "slot";
    case VIVI_CAP_FIELD: return "field";
    case VIVI_CAP_SERVICE: return "service";
    }
    return "?";
}

/* The rows' texts hold no quotes, backslashes or control characters; the reader would notice. */
static void print_text(const char *key, const char *value)
{
    if (value)
        printf(",\"%s\":\"%s\"", key, value);
    else
        printf(",\"%s\":null", key);
}

int main(void)
{
    printf("[");
    for (size_t i = 0; i < VIVI_CAP_COUNT_; i++) {
        const struct vivi_cap_row *row = &vivi_cap_rows[i];

        printf("%s\n{\"word\":\"%s\",\"kind\":\"%s\"", i > 0 ? "," : "", row->word,
               kind_name(row->kind));
        print_text("text", row->text);
        print_text("cloud-hypervisor", row->ch_none);
        print_text("vz", row->vz_none);
        print_text("qemu", row->qemu_none);
        printf("}");
    }
    printf("\n]\n");
    return 0;
}
