/* Kernel files, hostile: head and notes out of one input, cut where the first two bytes say. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "driver/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void see(void *arg, uint64_t offset, uint64_t size)
{
    (void)offset;
    (void)size;
    (*(unsigned *)arg)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = NULL;
    unsigned n = 0;
    size_t cut;

    if (size < 2)
        return 0;
    cut = ((size_t)data[0] << 8 | data[1]) % (size - 1);
    vivi_elf_each_note(data + 2, cut > size - 2 ? size - 2 : cut, see, &n);
    assert(n <= 16);
    (void)vivi_kernel_kind(data + 2, cut > size - 2 ? size - 2 : cut, data + 2, size - 2, &text);
    assert(text && *text);
    return 0;
}
