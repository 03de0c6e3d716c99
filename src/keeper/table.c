#include <inttypes.h>
#include <string.h>

#include "keeper/keeper.h"

struct vivi_entry *vivi_table_find(struct vivi_table *t, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(t->entries); i++)
        if (strcmp(t->entries[i].name, name) == 0)
            return &t->entries[i];
    return NULL;
}

void vivi_table_drop(struct vivi_entry *e)
{
    vivi_stream_done(&e->stream);
    vivi_close(&e->fd);
    e->name[0] = '\0';
}

int vivi_table_put(struct vivi_table *t, const char *name, int fd_consume, struct vivi_entry **ret,
                   viv_error *err)
{
    cleanup_close int fd = fd_consume;
    struct vivi_entry *e = vivi_table_find(t, name);

    if (e == NULL)
        e = vivi_table_find(t, ""); /* a free one */
    if (e == NULL)
        return vivi_fail(err, VIV_E_EXISTS, "%s: more than %d names", name, VIVI_KEEPER_MAX_NAMES);
    if (e->name[0] != '\0')
        vivi_table_drop(e);
    memset(e, 0, sizeof(*e));
    (void)snprintf(e->name, sizeof(e->name), "%s", name);
    e->fd = take_fd(&fd);
    e->stream.fd = -1;
    if (ret != NULL)
        *ret = e;
    return 0;
}

/* Cuts text at the first separator; NULL when there is none. */
static char *cut(char *text, char separator)
{
    char *p = strchr(text, separator);

    if (p != NULL)
        *p++ = '\0';
    return p;
}

static bool parse_item(char *text, struct vivi_fds_item *ret)
{
    char *number = cut(text, '='), *file = cut(text, '@'), *limit = file ? cut(file, '@') : NULL;
    uint64_t fd;

    memset(ret, 0, sizeof(*ret));
    if (number == NULL || !vivi_keeper_number(number, INT32_MAX, &fd) || !vivi_keeper_name_ok(text))
        return false;
    if (file != NULL && (limit == NULL || !vivi_keeper_file_ok(file) ||
                         !vivi_keeper_number(limit, INT64_MAX, &ret->limit_bytes)))
        return false;
    memcpy(ret->name, text, strlen(text) + 1); /* both checked to fit */
    if (file != NULL)
        memcpy(ret->file, file, strlen(file) + 1);
    ret->fd = (int)fd;
    return true;
}

bool vivi_fds_next(const char **text, struct vivi_fds_item *ret)
{
    char item[VIVI_KEEPER_NAME_MAX + VIVI_KEEPER_FILE_MAX + 64];

    while (**text != '\0') {
        size_t len = strcspn(*text, ",");
        bool ok = len < sizeof(item);

        if (ok) {
            memcpy(item, *text, len);
            item[len] = '\0';
            ok = parse_item(item, ret);
        }
        *text += len + ((*text)[len] == ',');
        if (ok)
            return true;
    }
    return false;
}

int vivi_fds_add(struct vivi_buf *b, const struct vivi_entry *e, int number)
{
    if (e->stream.file[0] == '\0')
        return vivi_buf_printf(b, ",%s=%d", e->name, number);
    return vivi_buf_printf(b, ",%s@%s@%" PRIu64 "=%d", e->name, e->stream.file,
                           e->stream.limit_bytes, number);
}
