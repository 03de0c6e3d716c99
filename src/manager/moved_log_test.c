/* The log of a VM that was migrated, as callers at both ends have it. */
#include "manager/testing.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/fd.h"
#include "manager/call.h"
#include "store/serial.h"

#define ROOM 8192

static const char said[] = "one\ntwo\n";

static void put(struct fixture *f, const char *name, const char *file, const char *text)
{
    struct vivi_vmdir d = some_dir(f, name);

    assert_int_equal(vivi_write_file_at(d.fd, file, text, strlen(text), VIVI_FAST, NULL), 0);
    vivi_vmdir_done(&d);
}

/* One that has said something, and one that waits for it. */
static void make_both(struct fixture *f, viv_vm **here, viv_vm **there)
{
    struct vivi_vmdir d;

    *here = some_vm(f, "here");
    *there = some_vm(f, "there");
    put(f, "here", "serial.log", said);
    put(f, "here", "running.json",
        "{\"schema\":1,\"run\":1,\"boots\":[{\"boot\":1,\"offset\":0},{\"boot\":2,\"offset\":4}]}");
    put(f, "there", "running.json",
        "{\"schema\":1,\"run\":1,\"boots\":[{\"boot\":2,\"offset\":8192}]}");
    d = some_dir(f, "there");
    assert_int_equal(vivi_serial_reserve(d.fd, ROOM, NULL), 0);
    vivi_vmdir_done(&d);
}

/* The part as JSON text, of which lost bytes are told to stay; the caller frees. */
static char *part_of(viv_vm *here, int64_t lost)
{
    viv_opts *o = NULL;
    viv_rec *rec = NULL;
    json_t *j;
    char *text;

    assert_int_equal(viv_opts_new(&o, NULL), 0);
    assert_int_equal(viv_opts_set_str(o, "step", "log", NULL), 0);
    if (lost)
        assert_int_equal(viv_opts_set_i64(o, "lost", lost, NULL), 0);
    assert_int_equal(viv_vm_migrate(here, o, NULL, &rec, NULL), 0);
    j = json_loads(viv_rec_json(rec), 0, NULL);
    text = json_dumps(json_object_get(j, "part"), JSON_COMPACT);
    assert_non_null(text);
    json_decref(j);
    viv_rec_free(rec);
    viv_opts_free(o);
    return text;
}

struct step {
    const char *log, *part, *data;
    int64_t at; /* -1: not said */
};

/* "bytes" of the answer, or the error's code. */
static int64_t receive(viv_vm *there, const struct step *s, viv_error *err)
{
    viv_opts *o = NULL;
    viv_rec *rec = NULL;
    int64_t bytes = 0;
    int r;

    assert_int_equal(viv_opts_new(&o, NULL), 0);
    assert_int_equal(viv_opts_set_str(o, "log", s->log, NULL), 0);
    if (s->part)
        assert_int_equal(viv_opts_set_str(o, "part", s->part, NULL), 0);
    if (s->data)
        assert_int_equal(viv_opts_set_str(o, "data", s->data, NULL), 0);
    if (s->at >= 0)
        assert_int_equal(viv_opts_set_i64(o, "at", s->at, NULL), 0);
    r = viv_vm_receive(there, o, NULL, &rec, err);
    if (r == 0)
        assert_int_equal(viv_rec_i64(rec, "bytes", &bytes), 0);
    viv_rec_free(rec);
    viv_opts_free(o);
    return r < 0 ? r : bytes;
}

static void assert_log(viv_vm *m, uint64_t from, const char *text)
{
    uint64_t start = 0;
    char data[64];
    int fd = -1;
    ssize_t n;

    assert_int_equal(viv_vm_log_open(m, "serial", &fd, &start, NULL), 0);
    assert_int_equal(start, from);
    n = pread(fd, data, sizeof(data) - 1, (off_t)start);
    vivi_close(&fd);
    assert_true(n >= 0);
    data[n] = '\0';
    assert_string_equal(data, text);
}

static void assert_boot(viv_vm *m, int64_t boot, uint64_t from, uint64_t to)
{
    uint64_t a = 0, b = 0;

    assert_int_equal(viv_vm_log_boot(m, boot, &a, &b, NULL), 0);
    assert_int_equal(a, from);
    assert_true(b == to);
}

static void what_was_said_there_is_in_front_of_what_is_said_here(void **state)
{
    struct fixture *f = *state;
    viv_vm *here = NULL, *there = NULL;
    uint64_t a, b;
    char *part;

    make_both(f, &here, &there);
    part = part_of(here, 0);
    assert_string_equal(part, "{\"start\":0,\"size\":8,\"boots\":[{\"boot\":1,\"offset\":0},"
                              "{\"boot\":2,\"offset\":4}]}");
    assert_int_equal(receive(there, &(struct step){"room", .at = -1}, NULL), ROOM);
    assert_int_equal(receive(there, &(struct step){"put", part, "b25lCg==", 0}, NULL), 4);
    assert_log(there, ROOM, "");
    assert_int_equal(viv_vm_log_boot(there, 1, &a, &b, NULL), -VIV_E_NOT_FOUND);
    assert_int_equal(receive(there, &(struct step){"put", part, "dHdvCg==", 4}, NULL), 4);
    assert_int_equal(receive(there, &(struct step){"take", part, .at = -1}, NULL), 8);
    assert_log(there, ROOM - 8, said);
    assert_boot(there, 1, ROOM - 8, ROOM - 4);
    assert_boot(there, 2, ROOM - 4, UINT64_MAX);
    assert_boot(there, 0, ROOM - 8, ROOM - 4); /* the first of this run, which went on here */
    assert_boot(there, -2, ROOM - 8, ROOM - 4);
    assert_int_equal(receive(there, &(struct step){"room", .at = -1}, NULL), 0);
    free(part);
    part = part_of(there, 0); /* and so it goes on to the next one */
    assert_non_null(strstr(part, "\"start\":8184,\"size\":8192"));
    assert_non_null(strstr(part, "{\"boot\":1,\"offset\":8184},{\"boot\":2,\"offset\":8188}"));
    free(part);
    viv_vm_free(here);
    viv_vm_free(there);
}

static void what_cannot_be_a_part_of_it_is_refused(void **state)
{
    static const char part[] = "{\"start\":0,\"size\":8}";
    static const struct step bad[] = {
        {"fly", part, NULL, -1},
        {"put", NULL, "b25l", 0},
        {"put", "[]", "b25l", 0},
        {"put", part, "b25", 0},
        {"put", part, "b25l", -1},
        {"put", part, "b25l", 6},
        {"take", "{\"start\":9,\"size\":8}", NULL, -1},
    };
    struct fixture *f = *state;
    viv_vm *here = NULL, *there = NULL;
    viv_error err = VIV_ERROR_INIT;

    make_both(f, &here, &there);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(receive(there, &bad[i], NULL), -VIV_E_INVALID);
    assert_int_equal(receive(here, &(struct step){"room", .at = -1}, NULL), -1);
    assert_int_equal(receive(here, &(struct step){"put", part, "b25l", 0}, &err),
                     -VIV_E_WRONG_STATE);
    assert_string_equal(err.message, "nothing is to come in front of its log");
    assert_log(here, 0, said);
    assert_log(there, ROOM, "");
    viv_vm_free(here);
    viv_vm_free(there);
}

static void a_piece_has_a_most(void **state)
{
    struct fixture *f = *state;
    viv_vm *here = NULL, *there = NULL;
    size_t len = (1u << 20) + 1;
    char *data = calloc(1, len), *text = malloc(VIVI_BASE64_LEN(len) + 1);

    make_both(f, &here, &there);
    assert_true(data && text);
    vivi_base64_encode(data, len, text);
    assert_int_equal(
        receive(there, &(struct step){"put", "{\"start\":0,\"size\":9000000}", text, 0}, NULL),
        -VIV_E_INVALID);
    free(data);
    free(text);
    viv_vm_free(here);
    viv_vm_free(there);
}

static void what_had_to_stay_is_told_by_an_event(void **state)
{
    struct fixture *f = *state;
    viv_vm *here = NULL, *there = NULL;
    viv_rec *e = NULL;
    int64_t n = 0;

    make_both(f, &here, &there);
    assert_int_equal(viv_subscribe(f->v, "type=lost", VIV_EVENTS_ALL, NULL), 0);
    free(part_of(here, 0));
    assert_int_equal(viv_next(f->v, &e, NULL), 0);
    free(part_of(here, 8));
    assert_int_equal(viv_next(f->v, &e, NULL), 1);
    assert_string_equal(viv_rec_str(e, "vm"), "here");
    assert_string_equal(viv_rec_str(e, "stream"), "serial.log");
    assert_int_equal(viv_rec_i64(e, "count", &n), 0);
    assert_int_equal(n, 8);
    viv_rec_free(e);
    viv_vm_free(here);
    viv_vm_free(there);
}

static uint64_t room_for(uint64_t limit, const char *log)
{
    struct vivi_config config = {.serial_log_limit_bytes = limit};
    json_t *offer = json_pack("{s:o*}", "log", log ? json_loads(log, 0, NULL) : NULL);
    uint64_t room = vivi_log_room_for(offer, &config);

    json_decref(offer);
    return room;
}

static void room_is_for_what_may_be_kept_and_no_more(void **state)
{
    static const uint64_t mib = 1u << 20;

    (void)state;
    assert_int_equal(room_for(16 * mib, NULL), 0); /* of a viv that gives none */
    assert_int_equal(room_for(16 * mib, "{\"start\":0}"), 0);
    assert_int_equal(room_for(16 * mib, "{\"start\":0,\"size\":0}"), 21 * mib);
    assert_int_equal(room_for(16 * mib, "{\"start\":0,\"size\":9223372036854775807}"), 21 * mib);
    /* without much of a limit: what there is, and what may come on the way */
    assert_int_equal(room_for(1024 * 1024 * mib, "{\"start\":5,\"size\":6}"), 64 * mib + 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_said_there_is_in_front_of_what_is_said_here),
        TEST(what_cannot_be_a_part_of_it_is_refused),
        TEST(a_piece_has_a_most),
        TEST(what_had_to_stay_is_told_by_an_event),
        cmocka_unit_test(room_is_for_what_may_be_kept_and_no_more),
    };

    return cmocka_run_group_tests_name("moved log", tests, NULL, NULL);
}
