#include "cli/document.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/random.h"
#include "cli/images.h"

#define CONFIG_MAX (1u << 20) /* no configuration is larger */

static int read_all(int fd, struct vivi_buf *buf, const char *what, viv_error *err)
{
    for (;;) {
        ssize_t n;

        if (vivi_buf_reserve(buf, 65536) < 0)
            return vivi_fail(err, VIV_E_INVALID, "config %s: larger than %u bytes", what,
                             CONFIG_MAX);
        n = read(fd, buf->data + buf->len, 65536);
        if (n < 0)
            return vivi_fail_errno(err, errno, "config %s", what);
        if (n == 0)
            return 0;
        buf->len += (size_t)n;
    }
}

int vivi_document_read(const char *path, viv_config **ret, viv_error *err)
{
    cleanup_buf struct vivi_buf buf = VIVI_BUF(CONFIG_MAX + 65536);
    bool std = !strcmp(path, "-");
    cleanup_close int fd = std ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    int r;

    if (!std && fd < 0 && errno == ENOENT)
        return vivi_fail(err, VIV_E_NOT_FOUND, "config %s: no such file", path);
    if (!std && fd < 0)
        return vivi_fail_errno(err, errno, "config %s", path);
    r = read_all(std ? STDIN_FILENO : fd, &buf, std ? "(standard input)" : path, err);
    if (r < 0)
        return r;
    return viv_config_parse(buf.len ? buf.data : "", buf.len, std ? NULL : path, ret, err);
}

bool vivi_document_is_file(const char *word)
{
    static const char *const ends[] = {".yaml", ".yml", ".json"};
    size_t len = strlen(word);
    struct stat st;

    if (!strcmp(word, "-"))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        size_t n = strlen(ends[i]);

        if (len > n && !strcmp(word + len - n, ends[i]))
            return true;
    }
    return strchr(word, '/') && stat(word, &st) == 0 && !S_ISDIR(st.st_mode);
}

/* The last component without its end, as far as it makes a DNS label with room for "-xxxx". */
static void set_stem(struct vivi_document *d, const char *word)
{
    const char *slash = strrchr(word, '/'), *base = slash && slash[1] ? slash + 1 : word;
    size_t n = 0;

    for (const char *p = base; *p && *p != '.' && n + 1 < sizeof(d->stem); p++) {
        char c = (char)tolower((unsigned char)*p);

        if (isalnum((unsigned char)c) || (n && c == '-'))
            d->stem[n++] = c;
    }
    while (n && d->stem[n - 1] == '-')
        n--;
    d->stem[n] = '\0';
    if (n == 0)
        (void)snprintf(d->stem, sizeof(d->stem), "vm");
}

/* Puts a layer on top of what is there already. */
static int layer(struct vivi_document *d, viv_config *upper, viv_error *err)
{
    int r = d->config ? viv_config_merge_under(upper, d->config, err) : 0;

    if (r < 0) {
        viv_config_free(upper);
        return r;
    }
    viv_config_free(d->config);
    d->config = upper;
    return 0;
}

static int add_file(struct vivi_document *d, const char *path, viv_error *err)
{
    viv_config *file = NULL;
    int r = vivi_document_read(path, &file, err);

    return r < 0 ? r : layer(d, file, err);
}

static int add_image(struct vivi_document *d, const char *name, viv_error *err)
{
    char dir[PATH_MAX], path[PATH_MAX + 16];
    int r = vivi_image_find(name, dir, err);

    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "%s/" VIVI_IMAGE_FILE, dir);
    set_stem(d, dir);
    return add_file(d, path, err);
}

static int add_files(struct vivi_cli *c, struct vivi_document *d, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; i < c->args.n_given && r >= 0; i++) {
        const struct vivi_given *g = &c->args.given[i];

        if (!g->flag || strcmp(g->flag->name, "--file") != 0)
            continue;
        r = add_file(d, g->value, err);
        if (r >= 0 && !d->stem[0])
            set_stem(d, g->value);
    }
    return r;
}

static int add_flags(struct vivi_cli *c, struct vivi_document *d, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; i < c->args.n_given && r >= 0; i++) {
        const struct vivi_given *g = &c->args.given[i];
        char path[128];

        if (!g->field)
            continue;
        vivi_field_flag_path(g->field, path);
        r = viv_config_set(d->config, path, g->value ? g->value : "true", err);
    }
    if (r >= 0 && vivi_args_has(&c->args, "--require-kvm"))
        r = viv_config_set(d->config, "accel", "kvm", err);
    return r;
}

int vivi_setting_add(viv_config *config, const char *text, viv_error *err)
{
    const char *eq = strchr(text, '=');
    char path[256];
    size_t len = eq ? (size_t)(eq - text) : strlen(text);

    if (len == 0 || len >= sizeof(path) || (!eq && text[len - 1] != '-'))
        return vivi_fail(err, VIV_E_INVALID, "\"%.200s\" is not PATH=VALUE", text);
    memcpy(path, text, len);
    path[len] = '\0';
    return viv_config_set(config, path, eq ? eq + 1 : NULL, err);
}

static int add_settings(struct vivi_cli *c, struct vivi_document *d, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; i < c->args.n_given && r >= 0; i++) {
        const struct vivi_given *g = &c->args.given[i];

        if (g->flag && !strcmp(g->flag->name, "--set"))
            r = vivi_setting_add(d->config, g->value, err);
        if (r < 0 && err && !err->field[0])
            r = vivi_wrap(err, r, "--set");
    }
    return r;
}

static int fill(struct vivi_cli *c, const char *word, struct vivi_document *d, viv_error *err)
{
    viv_rec *name = NULL;
    int r = 0;

    if (word && vivi_document_is_file(word)) {
        set_stem(d, word);
        r = add_file(d, word, err);
    } else if (word) {
        r = add_image(d, word, err);
    }
    if (r >= 0)
        r = add_files(c, d, err);
    if (r >= 0 && !d->config)
        r = viv_config_new(&d->config, err);
    if (r >= 0)
        r = add_flags(c, d, err);
    if (r >= 0)
        r = add_settings(c, d, err);
    if (r < 0)
        return r;
    if (!d->stem[0])
        (void)snprintf(d->stem, sizeof(d->stem), "vm");
    if (viv_config_get(d->config, "name", &name, NULL) == 0)
        d->named = true;
    viv_rec_free(name);
    return 0;
}

int vivi_document_make(struct vivi_cli *c, const char *word, struct vivi_document *ret,
                       viv_error *err)
{
    struct vivi_document d = {0};
    int r = fill(c, word, &d, err);

    if (r < 0) {
        vivi_document_done(&d);
        return r;
    }
    *ret = d;
    return 0;
}

int vivi_document_name(struct vivi_document *d, viv_error *err)
{
    char name[sizeof(d->stem) + 8], suffix[5];
    int r = vivi_random_hex(suffix, 4, err);

    if (r < 0)
        return r;
    (void)snprintf(name, sizeof(name), "%s-%s", d->stem, suffix);
    return viv_config_set(d->config, "name", name, err);
}

void vivi_document_done(struct vivi_document *d)
{
    viv_config_free(d->config);
    d->config = NULL;
}
