/*
 * modinfo.c: just enough ELF to find one section, with every offset checked against the file's
 * length.
 */
#include "modinfo.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct image {
    const unsigned char *data;
    size_t len;
    uint64_t sections; /* offset of the section table */
    uint16_t sections_n;
};

static bool inside(const struct image *m, uint64_t offset, uint64_t len)
{
    return offset <= m->len && len <= m->len - offset;
}

/* Copied out, because nothing in a file need be aligned. */
static bool section(const struct image *m, uint16_t index, Elf64_Shdr *ret_header)
{
    uint64_t offset = m->sections + (uint64_t)index * sizeof(*ret_header);

    if (index >= m->sections_n || offset < m->sections || !inside(m, offset, sizeof(*ret_header)))
        return false;
    memcpy(ret_header, m->data + offset, sizeof(*ret_header));
    return ret_header->sh_type == SHT_NOBITS ||
           inside(m, ret_header->sh_offset, ret_header->sh_size);
}

/* NUL-terminated text at offset in a section, NULL if it does not end within it. */
static const char *text_at(const struct image *m, const Elf64_Shdr *s, uint64_t offset)
{
    const unsigned char *start;

    if (s->sh_type == SHT_NOBITS || offset >= s->sh_size)
        return NULL;
    start = m->data + s->sh_offset + offset;
    if (memchr(start, '\0', (size_t)(s->sh_size - offset)) == NULL)
        return NULL;
    return (const char *)start;
}

static void copy_value(char *to, size_t size, const char *value)
{
    size_t len = strlen(value);

    if (len < size)
        memcpy(to, value, len + 1);
}

static void take_entry(struct vivi_modinfo *info, const char *entry)
{
    if (strncmp(entry, "name=", 5) == 0)
        copy_value(info->name, sizeof(info->name), entry + 5);
    else if (strncmp(entry, "depends=", 8) == 0)
        copy_value(info->depends, sizeof(info->depends), entry + 8);
    else if (strncmp(entry, "softdep=pre: ", 13) == 0)
        copy_value(info->softdep_pre, sizeof(info->softdep_pre), entry + 13);
}

static void take_entries(const struct image *m, const Elf64_Shdr *s, struct vivi_modinfo *info)
{
    const char *entry;

    for (uint64_t at = 0; (entry = text_at(m, s, at)) != NULL; at += strlen(entry) + 1)
        take_entry(info, entry);
}

static bool open_image(struct image *m, Elf64_Ehdr *ret_header)
{
    if (m->len < sizeof(*ret_header))
        return false;
    memcpy(ret_header, m->data, sizeof(*ret_header));
    if (memcmp(ret_header->e_ident, ELFMAG, SELFMAG) != 0 ||
        ret_header->e_ident[EI_CLASS] != ELFCLASS64 ||
        ret_header->e_ident[EI_DATA] != ELFDATA2LSB ||
        ret_header->e_shentsize != sizeof(Elf64_Shdr))
        return false;
    m->sections = ret_header->e_shoff;
    m->sections_n = ret_header->e_shnum;
    return true;
}

int vivi_modinfo_parse(const void *data, size_t len, struct vivi_modinfo *ret_info, viv_error *err)
{
    struct image m = {.data = data, .len = len};
    struct vivi_modinfo info = {0};
    Elf64_Ehdr header;
    Elf64_Shdr names;
    Elf64_Shdr s;

    if (!open_image(&m, &header) || !section(&m, header.e_shstrndx, &names))
        return vivi_fail(err, VIV_E_PROTOCOL, "not a kernel module (no sound ELF object)");
    for (uint16_t i = 0; i < m.sections_n; i++) {
        const char *name;

        if (!section(&m, i, &s))
            return vivi_fail(err, VIV_E_PROTOCOL, "not a kernel module (it is cut short)");
        name = text_at(&m, &names, s.sh_name);
        if (name == NULL || strcmp(name, ".modinfo") != 0)
            continue;
        take_entries(&m, &s, &info);
        *ret_info = info;
        return 0;
    }
    return vivi_fail(err, VIV_E_PROTOCOL, "not a kernel module (no .modinfo)");
}
