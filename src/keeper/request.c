#include "keeper/request.h"

#include <string.h>

#define CHILD_FD_MAX 255

bool vivi_keeper_number(const char *s, uint64_t most, uint64_t *ret)
{
    uint64_t n = 0;

    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        uint64_t digit = (uint64_t)(unsigned char)*s - '0';

        if (*s < '0' || *s > '9' || digit > most || n > (most - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *ret = n;
    return true;
}

bool vivi_keeper_name_ok(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(name);

    return len > 0 && len < VIVI_KEEPER_NAME_MAX && strspn(name, allowed) == len;
}

static bool one_of(const char *s, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, names[i]) == 0)
            return true;
    return false;
}

bool vivi_keeper_reserved(const char *name)
{
    static const char *const names[] = {"lock", "listener", "keeper", "null"};

    return one_of(name, names, ARRAY_SIZE(names));
}

_Static_assert(VIVI_KEEPER_FILE_MAX >= VIVI_KEEPER_NAME_MAX, "a file's name is a name");

bool vivi_keeper_file_ok(const char *file)
{
    static const char *const taken[] = {"exits.log", "monitor.log", "ops.log"};
    size_t len = strlen(file);

    return vivi_keeper_name_ok(file) && file[0] != '.' && len > 4 &&
           strcmp(file + len - 4, ".log") == 0 && !one_of(file, taken, ARRAY_SIZE(taken));
}

static int malformed(viv_error *err, const char *what)
{
    return vivi_fail(err, VIV_E_PROTOCOL, "malformed %s", what);
}

/* "5=serial.out" */
static bool parse_map_entry(struct vivi_request *r, const char *text)
{
    const char *equals = strchr(text, '=');
    char number[8];
    uint64_t child_fd;

    if (equals == NULL || (size_t)(equals - text) >= sizeof(number))
        return false;
    memcpy(number, text, (size_t)(equals - text));
    number[equals - text] = '\0';
    if (!vivi_keeper_number(number, CHILD_FD_MAX, &child_fd) || !vivi_keeper_name_ok(equals + 1))
        return false;
    /* Whoever holds the lock looks like a keeper; the sockets are not a child's business either. */
    if (vivi_keeper_reserved(equals + 1) && strcmp(equals + 1, "null") != 0)
        return false;
    for (size_t i = 0; i < r->n_map; i++)
        if (r->map[i].child_fd == (int)child_fd)
            return false;
    r->map[r->n_map].child_fd = (int)child_fd;
    r->map[r->n_map++].name = equals + 1;
    return true;
}

/* req role run exe n_argv argv... n_map (child_fd=name)... */
static int parse_spawn(struct vivi_request *r, size_t n, viv_error *err)
{
    const char **f = r->fields;
    uint64_t n_argv, n_map;

    if (n < 7 || !vivi_keeper_number(f[0], UINT64_MAX, &r->token) || !vivi_keeper_name_ok(f[1]) ||
        strcmp(f[1], "monitor") == 0 || !vivi_keeper_number(f[2], UINT64_MAX, &r->run) ||
        f[3][0] != '/' || !vivi_keeper_number(f[4], n, &n_argv) || n_argv < 1)
        return malformed(err, "SPAWN");
    if (n < 6 + n_argv || !vivi_keeper_number(f[5 + n_argv], VIVI_REQUEST_MAX_MAP, &n_map) ||
        n != 6 + n_argv + n_map)
        return malformed(err, "SPAWN");
    for (size_t i = 0; i < n_map; i++)
        if (!parse_map_entry(r, f[6 + n_argv + i]))
            return malformed(err, "SPAWN");
    r->name = f[1];
    r->exe = f[3];
    r->argv = f + 5;
    r->n_argv = n_argv;
    f[5 + n_argv] = NULL; /* the count is known now: its place ends argv */
    return 1;
}

static int parse_named(struct vivi_request *r, size_t n, viv_error *err)
{
    const char **f = r->fields;

    if (r->op == VIVI_KO_DRAIN) {
        if (n != 2 || !vivi_keeper_number(f[0], UINT64_MAX, &r->token) ||
            !vivi_keeper_name_ok(f[1]))
            return malformed(err, "DRAIN");
        r->name = f[1];
        return 1;
    }
    if (r->op == VIVI_KO_LOG) {
        if (n != 3 || !vivi_keeper_name_ok(f[0]) || !vivi_keeper_file_ok(f[1]) ||
            !vivi_keeper_number(f[2], INT64_MAX, &r->limit_bytes))
            return malformed(err, "LOG");
        r->file = f[1];
    } else if (n != 1 || !vivi_keeper_name_ok(f[0])) {
        return malformed(err, r->op == VIVI_KO_HOLD ? "HOLD" : "DROP");
    }
    r->name = f[0];
    return 1;
}

int vivi_request_parse(const struct vivi_frame *f, struct vivi_request *ret, viv_error *err)
{
    bool has_fd = f->op == VIVI_KO_HOLD || f->op == VIVI_KO_LOG;
    int n;

    if (f->op < VIVI_KO_HOLD || f->op > VIVI_KO_QUIT)
        return 0;
    if (f->version != VIVI_KEEPER_VERSION)
        return malformed(err, "version");
    if (f->n_fds != (has_fd ? 1u : 0u))
        return malformed(err, "request: number of descriptors");
    memset(ret, 0, sizeof(*ret));
    ret->op = (enum vivi_keeper_op)f->op;
    n = vivi_fields_split(f->payload, f->len, ret->fields, VIVI_REQUEST_MAX_FIELDS, err);
    if (n < 0)
        return n;
    if (ret->op == VIVI_KO_QUIT)
        return n == 0 ? 1 : malformed(err, "QUIT");
    if (ret->op == VIVI_KO_SPAWN)
        return parse_spawn(ret, (size_t)n, err);
    return parse_named(ret, (size_t)n, err);
}
