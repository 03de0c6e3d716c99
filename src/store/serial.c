#include "store/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define MAX_BYTES 65536u

struct record {
    uint64_t base, head;
    bool taken;
    json_t *boots; /* owned; of before, by offsets here; NULL: none */
};

static void record_done(struct record *r)
{
    json_decref(r->boots);
    r->boots = NULL;
}
#define cleanup_record VIVI_CLEANUP(record_done)

static int64_t number_of(const json_t *j, const char *key)
{
    const json_t *n = json_object_get(j, key);

    return json_is_integer(n) ? (int64_t)json_integer_value(n) : -1;
}

/* 1; 0: there is none, or none that can be understood: the log is as long as it looks. */
static int read_record(int vm_fd, struct record *ret)
{
    cleanup_json json_t *doc = NULL;
    int64_t base, head;
    unsigned schema;

    if (vivi_json_read_any(vm_fd, VIVI_SERIAL_RECORD, MAX_BYTES, &doc, &schema, NULL) < 0)
        return 0;
    base = number_of(doc, "base");
    head = number_of(doc, "head");
    if (base < 0 || head < 0 || head > base)
        return 0;
    *ret = (struct record){.base = (uint64_t)base,
                           .head = (uint64_t)head,
                           .taken = json_is_true(json_object_get(doc, "taken")),
                           .boots = json_incref(json_object_get(doc, "boots"))};
    return 1;
}

static int write_record(int vm_fd, const struct record *r, viv_error *err)
{
    cleanup_json json_t *doc =
        json_pack("{s:I, s:I, s:b, s:O*}", "base", (json_int_t)r->base, "head", (json_int_t)r->head,
                  "taken", (int)r->taken, "boots", r->boots);

    return doc ? vivi_json_write(vm_fd, VIVI_SERIAL_RECORD, doc, VIVI_DURABLE, err)
               : vivi_fail_oom(err);
}

static int open_log(int vm_fd, int flags, int *ret, viv_error *err)
{
    int fd = openat(vm_fd, VIVI_SERIAL_FILE, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open " VIVI_SERIAL_FILE);
    fd = vivi_fd_above_stdio(fd, err);
    if (fd < 0)
        return fd;
    *ret = fd;
    return 0;
}

int vivi_serial_part_parse(const json_t *j, struct vivi_serial_part *ret, viv_error *err)
{
    int64_t start = number_of(j, "start"), size = number_of(j, "size");

    if (start < 0 || size < start)
        return vivi_fail(err, VIV_E_INVALID, "not a part of a log");
    *ret = (struct vivi_serial_part){(uint64_t)start, (uint64_t)size, json_object_get(j, "boots")};
    return 0;
}

/* The record first: a hole that it does not tell of would be printed. */
int vivi_serial_reserve(int vm_fd, uint64_t bytes, viv_error *err)
{
    const struct record r = {.base = bytes, .head = bytes};
    cleanup_close int fd = -1;
    int code = write_record(vm_fd, &r, err);

    if (code == 0)
        code = open_log(vm_fd, O_WRONLY | O_CREAT | O_EXCL, &fd, err);
    if (code == 0 && ftruncate(fd, (off_t)bytes) < 0)
        code = vivi_fail_errno(err, errno, "cannot make room in " VIVI_SERIAL_FILE);
    if (code < 0) /* then it begins at 0, as any */
        (void)unlinkat(vm_fd, VIVI_SERIAL_RECORD, 0);
    return code;
}

uint64_t vivi_serial_start(int vm_fd, int log_fd)
{
    cleanup_record struct record r = {.head = 0};
    uint64_t start;

    (void)read_record(vm_fd, &r); /* what is in front of its head is not all there */
    return vivi_data_start(log_fd, r.head, &start, NULL) < 0 ? r.head : start;
}

int64_t vivi_serial_room(int vm_fd)
{
    cleanup_record struct record r = {.boots = NULL};

    if (!read_record(vm_fd, &r))
        return -1;
    return r.taken ? 0 : (int64_t)r.base;
}

static int read_waiting(int vm_fd, struct record *ret, viv_error *err)
{
    return read_record(vm_fd, ret) && !ret->taken
               ? 0
               : vivi_fail(err, VIV_E_WRONG_STATE, "nothing is to come in front of its log");
}

int vivi_serial_put(int vm_fd, const struct vivi_serial_part *of, const struct vivi_serial_piece *p,
                    viv_error *err)
{
    cleanup_record struct record r = {.boots = NULL};
    cleanup_close int fd = -1;
    uint64_t skip = 0;
    int code = read_waiting(vm_fd, &r, err);

    if (code == 0 && (p->at < of->start || p->at > of->size || p->len > of->size - p->at))
        code = vivi_fail(err, VIV_E_INVALID, "not of that part of the log");
    if (code == 0)
        code = open_log(vm_fd, O_WRONLY, &fd, err);
    if (code < 0)
        return code;
    if (of->size - p->at > r.base)
        skip = of->size - p->at - r.base;
    for (uint64_t done = skip; done < p->len;) {
        uint64_t to = r.base - (of->size - p->at - done);
        ssize_t n = pwrite(fd, (const char *)p->data + done, p->len - done, (off_t)to);

        if (n < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "cannot write " VIVI_SERIAL_FILE);
        done += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

/* The keeper frees a log's head when it has become too long: a hole behind what was put would be
 * printed. One that comes later takes all before it along. */
static int check_base(int fd, uint64_t base, viv_error *err)
{
    uint64_t data = base;
    int r = vivi_data_start(fd, base, &data, err);

    if (r == 0 && data != base)
        r = vivi_fail(err, VIV_E_WRONG_STATE, "the log of here has passed its limit already");
    return r;
}

/* NULL: none. */
static json_t *boots_here(const struct vivi_serial_part *of, const struct record *r)
{
    json_t *list = json_array(), *one;
    size_t n = json_array_size(of->boots), i;

    json_array_foreach((json_t *)(uintptr_t)of->boots, i, one) /* only read */
    {
        int64_t boot = number_of(one, "boot"), offset = number_of(one, "offset");
        uint64_t back = of->size - (uint64_t)offset;

        if (i + VIVI_SERIAL_BOOTS < n || boot < 0 || boot > INT32_MAX || offset < 0 ||
            (uint64_t)offset > of->size)
            continue;
        (void)json_array_append_new(
            list, json_pack("{s:I, s:I}", "boot", (json_int_t)boot, "offset",
                            (json_int_t)(back > r->base - r->head ? r->head : r->base - back)));
    }
    return list;
}

int vivi_serial_take(int vm_fd, const struct vivi_serial_part *of, int64_t *ret_bytes,
                     viv_error *err)
{
    cleanup_record struct record r = {.boots = NULL};
    cleanup_close int fd = -1;
    uint64_t bytes = of->size - of->start;
    int code = read_waiting(vm_fd, &r, err);

    if (code == 0)
        code = open_log(vm_fd, O_RDWR, &fd, err);
    if (code == 0)
        code = check_base(fd, r.base, err);
    if (code == -VIV_E_WRONG_STATE) /* nobody will read it */
        (void)vivi_punch_head(fd, r.base, NULL);
    if (code == 0 && fdatasync(fd) < 0)
        code = vivi_fail_errno(err, errno, "cannot write " VIVI_SERIAL_FILE);
    if (code < 0)
        return code;
    if (bytes > r.base)
        bytes = r.base;
    r.head = r.base - bytes;
    r.taken = true;
    r.boots = boots_here(of, &r);
    code = write_record(vm_fd, &r, err);
    if (code == 0)
        *ret_bytes = (int64_t)bytes;
    return code;
}

/* ---- boots ---- */

/* Whether the first boot of that run is one that came, and what came with it is known. */
static bool joins(const struct record *r, const json_t *first)
{
    return r->taken && json_array_size(r->boots) > 0 && first &&
           number_of(first, "offset") == (int64_t)r->base;
}

json_t *vivi_serial_boots(int vm_fd, const json_t *running, bool *ret_joined)
{
    cleanup_record struct record r = {.boots = NULL};
    const json_t *here = json_object_get(running, "boots"), *first = json_array_get(here, 0);
    json_t *list = json_array(), *one;
    size_t n, i;

    *ret_joined = read_record(vm_fd, &r) && joins(&r, first);
    n = *ret_joined ? json_array_size(r.boots) : 0;
    for (i = 0; i < n; i++) {
        int64_t last = number_of(json_array_get(r.boots, n - 1), "boot");
        json_int_t boot;

        one = json_array_get(r.boots, i);
        boot = number_of(first, "boot") - last + number_of(one, "boot");
        (void)json_array_append_new(list, json_pack("{s:I, s:I}", "boot", boot, "offset",
                                                    (json_int_t)number_of(one, "offset")));
    }
    for (i = *ret_joined ? 1 : 0; i < json_array_size(here); i++)
        (void)json_array_append(list, json_array_get(here, i));
    return list;
}
