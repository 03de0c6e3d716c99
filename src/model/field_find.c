/* Finding rows of the table of fields. */
#include <stdio.h>
#include <string.h>

#include "model/fields.h"

size_t vivi_choice_stem(const char *choice, size_t len)
{
    static const char word[] = "PORT";
    size_t n = sizeof(word) - 1;

    return len > n && memcmp(choice + len - n, word, n) == 0 ? len - n : 0;
}

/* Compares one segment; both move behind its dot. A * in the pattern is any one segment. */
static bool segment_matches(const char **pattern, const char **path)
{
    size_t n = strcspn(*pattern, "."), m = strcspn(*path, ".");
    bool same = (n == 1 && **pattern == '*') || (n == m && memcmp(*pattern, *path, n) == 0);

    *pattern += n + ((*pattern)[n] == '.');
    *path += m + ((*path)[m] == '.');
    return same && m > 0;
}

/* How much of path the pattern takes: all (2), path goes on behind it (1), no match (0). */
static int match(const char *pattern, const char *path)
{
    while (*pattern != '\0') {
        if (*path == '\0' || !segment_matches(&pattern, &path))
            return 0;
    }
    return *path == '\0' ? 2 : 1;
}

const struct vivi_field *vivi_field_find(const char *path)
{
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        int m = match(vivi_fields[i].path, path);

        if (m == 2 || (m == 1 && vivi_fields[i].type == VIVI_T_MAP))
            return &vivi_fields[i];
    }
    return NULL;
}

const char *vivi_field_leaf(const struct vivi_field *f)
{
    const char *dot = strrchr(f->path, '.');

    return dot ? dot + 1 : f->path;
}

bool vivi_field_is_child(const struct vivi_field *f, const char *parent)
{
    size_t n = strlen(parent);

    if (n == 0)
        return true;
    return strncmp(f->path, parent, n) == 0 && f->path[n] == '.';
}

const struct vivi_field *vivi_field_shorthand(const char *parent)
{
    size_t n = strlen(parent);

    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        if (f->shorthand && vivi_field_is_child(f, parent) && !strchr(f->path + n + 1, '.'))
            return f;
    }
    return NULL;
}

const struct vivi_field *vivi_field_element_shorthand(const char *list)
{
    char pattern[VIVI_PATH_SIZE];

    (void)snprintf(pattern, sizeof(pattern), "%s.*", list);
    return vivi_field_shorthand(pattern);
}

bool vivi_field_is_mapping(const char *pattern)
{
    for (size_t i = 0; i < vivi_fields_count(); i++)
        if (vivi_field_is_child(&vivi_fields[i], pattern))
            return true;
    return false;
}

const char *vivi_field_values(const char *path)
{
    const struct vivi_field *f = vivi_field_find(path);

    if (!f)
        return NULL;
    return f->type == VIVI_T_BOOL ? "true|false" : f->choices;
}

void vivi_field_flag_path(const struct vivi_field *f, char ret[128])
{
    bool adds = f->type == VIVI_T_OBJECT_LIST || f->type == VIVI_T_MAP ||
                f->type == VIVI_T_STR_LIST || f->type == VIVI_T_FORWARD_LIST;

    (void)snprintf(ret, 128, "%s%s", f->path, adds ? ".+" : "");
}
