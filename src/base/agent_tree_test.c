#include "base/agent_tree.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/testing.h"

#define ROOM (VIVI_TREE_ROOM_MIN + 1000)

static void make_file(int dir_fd, const char *name, const char *text, mode_t mode)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    vivi_close(&fd);
}

static void assert_text(int dir_fd, const char *name, const char *text)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(1u << 20);

    assert_int_equal(vivi_read_file_at(dir_fd, name, &b, NULL), 0);
    assert_string_equal(b.data == NULL ? "" : b.data, text);
}

/* Copies from/name to to/as, fed in pieces; the receiver's answer. */
static int copy(int from, const char *name, int to, const char *as, size_t piece, viv_error *err)
{
    struct vivi_tree_send *send = NULL;
    struct vivi_tree_receive *receive = NULL;
    static char buf[ROOM];
    ssize_t n = 0;
    int r = vivi_tree_send_new(from, name, false, &send, err);

    if (r == 0)
        r = vivi_tree_receive_new(to, as, 0, &receive, err);
    while (r == 0 && (n = vivi_tree_send_fill(send, buf, sizeof(buf), err)) > 0) {
        for (size_t at = 0; r == 0 && at < (size_t)n; at += piece)
            r = vivi_tree_receive_feed(receive, buf + at,
                                       (size_t)n - at < piece ? (size_t)n - at : piece, err);
    }
    if (r == 0)
        r = n < 0 ? (int)n : vivi_tree_receive_end(receive, err);
    vivi_tree_send_free(send);
    vivi_tree_receive_free(receive);
    return r;
}

/* As a sender that passes the data of files on by itself: all of it, part by part. */
static int copy_apart(int from, const char *name, int to, size_t part, viv_error *err)
{
    struct vivi_tree_send *send = NULL;
    struct vivi_tree_receive *receive = NULL;
    struct vivi_tree_data d;
    static char buf[ROOM];
    uint64_t passed = 0;
    ssize_t n = 1;

    assert_int_equal(vivi_tree_send_new(from, name, false, &send, err), 0);
    assert_int_equal(vivi_tree_receive_new(to, name, 0, &receive, err), 0);
    assert_false(vivi_tree_send_data(send, part, &d)); /* no file is open */
    vivi_tree_send_apart(send);
    while (n > 0) {
        if (vivi_tree_send_data(send, part, &d)) {
            struct vivi_tree_record r = {.kind = 'C', .size = d.at, .extra_len = (uint32_t)d.len};
            unsigned char head[VIVI_TREE_HEAD];

            assert_true(d.len > 0 && d.len <= part && part <= sizeof(buf));
            vivi_tree_encode(&r, head);
            assert_int_equal(pread(d.fd, buf, d.len, (off_t)d.at), d.len);
            assert_int_equal(vivi_tree_receive_feed(receive, head, sizeof(head), err), 0);
            assert_int_equal(vivi_tree_receive_feed(receive, buf, d.len, err), 0);
            vivi_tree_send_passed(send, d.len);
            passed += d.len;
            continue;
        }
        n = vivi_tree_send_fill(send, buf, sizeof(buf), err);
        assert_true(n >= 0);
        assert_int_equal(vivi_tree_receive_feed(receive, buf, (size_t)n, err), 0);
    }
    assert_true(passed > 0);
    assert_int_equal(vivi_tree_send_stats(send)->bytes, passed);
    n = vivi_tree_receive_end(receive, err);
    vivi_tree_send_free(send);
    vivi_tree_receive_free(receive);
    return (int)n;
}

static void make_tree(int fd)
{
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1234567, .tv_nsec = 89}};
    int hole;

    assert_int_equal(mkdirat(fd, "t", 0750), 0);
    assert_int_equal(mkdirat(fd, "t/sub", 0700), 0);
    assert_int_equal(mkdirat(fd, "t/sub/empty", 0711), 0);
    make_file(fd, "t/file", "some text", 0640);
    make_file(fd, "t/sub/program", "#!/bin/sh\n", 0755);
    make_file(fd, "t/.empty", "", 0600);
    assert_int_equal(linkat(fd, "t/file", fd, "t/sub/same", 0), 0);
    assert_int_equal(symlinkat("../file", fd, "t/sub/link"), 0);
    assert_int_equal(symlinkat("/no/such", fd, "t/dangling"), 0);
    assert_int_equal(mkfifoat(fd, "t/fifo", 0600), 0);
    hole = openat(fd, "t/sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(hole, "x", 1, 8 << 20), 1);
    assert_int_equal(ftruncate(hole, 16 << 20), 0);
    vivi_close(&hole);
    assert_int_equal(utimensat(fd, "t/file", times, 0), 0);
    assert_int_equal(utimensat(fd, "t/sub", times, 0), 0);
}

static void a_tree_arrives_with_modes_times_links_and_holes(void **state)
{
    const struct test_dir *d = *state;
    struct stat st, other;
    char target[64] = "";

    make_tree(d->fd);
    for (size_t piece = 1; piece < 100000; piece = piece * 7 + 1) {
        viv_error err = VIV_ERROR_INIT;

        assert_int_equal(copy(d->fd, "t", d->fd, "copy", piece, &err), 0);
        assert_text(d->fd, "copy/file", "some text");
        assert_int_equal(fstatat(d->fd, "copy/file", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(st.st_mtim.tv_sec, 1234567);
        assert_int_equal(st.st_mtim.tv_nsec, 89);
        assert_int_equal(fstatat(d->fd, "copy/sub/same", &other, 0), 0);
        assert_int_equal(st.st_ino, other.st_ino);
        assert_int_equal(fstatat(d->fd, "copy/sub", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_int_equal(st.st_mtim.tv_sec, 1234567);
        assert_int_equal(fstatat(d->fd, "copy/sub/empty", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0711);
        assert_int_equal(readlinkat(d->fd, "copy/sub/link", target, sizeof(target)), 7);
        assert_memory_equal(target, "../file", 7);
        assert_int_equal(fstatat(d->fd, "copy/dangling", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISLNK(st.st_mode));
        assert_int_equal(fstatat(d->fd, "copy/fifo", &st, 0), 0);
        assert_true(S_ISFIFO(st.st_mode));
        assert_int_equal(fstatat(d->fd, "copy/sparse", &st, 0), 0);
        assert_int_equal(st.st_size, 16 << 20);
        assert_true(st.st_blocks < 2048); /* 1 MiB: the hole stayed one */
        assert_int_equal(vivi_remove_tree_at(d->fd, "copy", NULL), 0);
    }
}

static void data_that_its_sender_passes_on_arrives_as_well(void **state)
{
    const struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    char text[40000];
    struct stat st;
    int to;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    make_tree(d->fd);
    make_file(d->fd, "t/long", text, 0600);
    assert_int_equal(mkdirat(d->fd, "to", 0700), 0);
    to = openat(d->fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t part = 1000; part < 5000; part += 777) {
        assert_int_equal(copy_apart(d->fd, "t", to, part, &err), 0);
        assert_text(to, "t/long", text);
        assert_text(to, "t/file", "some text");
        assert_int_equal(fstatat(to, "t/sparse", &st, 0), 0);
        assert_int_equal(st.st_size, 16 << 20);
        assert_true(st.st_blocks < 2048); /* the hole stayed one */
        assert_int_equal(vivi_remove_tree_at(to, "t", NULL), 0);
    }
    vivi_close(&to);
}

static void a_single_file_or_link_is_a_tree_too(void **state)
{
    const struct test_dir *d = *state;
    struct stat st;

    make_file(d->fd, "one", "1", 0600);
    assert_int_equal(symlinkat("one", d->fd, "link"), 0);
    assert_int_equal(copy(d->fd, "one", d->fd, "two", 9, NULL), 0);
    assert_text(d->fd, "two", "1");
    assert_int_equal(copy(d->fd, "link", d->fd, "three", 9, NULL), 0);
    assert_int_equal(fstatat(d->fd, "three", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(copy(d->fd, d->path, d->fd, "all", 5000, NULL), 0); /* absolute, and itself */
    assert_text(d->fd, "all/one", "1");
}

static void what_cannot_be_sent_is_named(void **state)
{
    const struct test_dir *d = *state;
    struct vivi_tree_send *t = NULL;
    viv_error err = VIV_ERROR_INIT;

    assert_int_equal(vivi_tree_send_new(d->fd, "missing", false, &t, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "missing: no such file");
    assert_int_equal(vivi_tree_send_new(d->fd, "no/such/dir", false, &t, &err), -VIV_E_NOT_FOUND);
    assert_int_equal(vivi_tree_send_new(AT_FDCWD, "/dev/null", false, &t, &err),
                     -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message, "/dev/null is a device or a socket");
    assert_int_equal(vivi_tree_send_new(d->fd, "", false, &t, &err), -VIV_E_INVALID);
    assert_null(t);
}

static void what_is_there_is_merged_with_and_replaced(void **state)
{
    const struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;

    make_tree(d->fd);
    assert_int_equal(mkdirat(d->fd, "copy", 0777), 0);
    make_file(d->fd, "copy/file", "an older one", 0600);
    make_file(d->fd, "copy/kept", "kept", 0600);
    assert_int_equal(copy(d->fd, "t", d->fd, "copy", 1000, &err), 0);
    assert_text(d->fd, "copy/file", "some text");
    assert_text(d->fd, "copy/kept", "kept");
    assert_int_equal(copy(d->fd, "t", d->fd, "copy", 1000, &err), 0); /* hard links once more */
    /* A file never takes a directory's place, nor the other way round. */
    assert_int_equal(copy(d->fd, "t/file", d->fd, "copy", 1000, &err), -VIV_E_IO);
    assert_int_equal(copy(d->fd, "t", d->fd, "copy/kept", 1000, &err), -VIV_E_INVALID);
    make_file(d->fd, "kept", "kept", 0600);
    assert_int_equal(copy(d->fd, "t", d->fd, "kept", 1000, &err), -VIV_E_EXISTS);
    assert_string_equal(err.message, "cannot make kept: it is there, and no directory");
    assert_text(d->fd, "kept", "kept");
}

/* ---- hostile streams ------------------------------------------------------------------------- */

struct stream {
    unsigned char data[8192];
    size_t len;
};

static void add(struct stream *s, char kind, const char *name, const char *extra, uint64_t size)
{
    struct vivi_tree_record r = {.kind = kind,
                                 .mode = 04777,
                                 .name_len = (uint16_t)strlen(name),
                                 .extra_len = (uint32_t)strlen(extra),
                                 .size = size};

    if (s->len == 0 && kind != 'V')
        add(s, 'V', "", "", VIVI_TREE_VERSION);
    vivi_tree_encode(&r, s->data + s->len);
    memcpy(s->data + s->len + VIVI_TREE_HEAD, name, strlen(name));
    memcpy(s->data + s->len + VIVI_TREE_HEAD + strlen(name), extra, strlen(extra));
    s->len += VIVI_TREE_HEAD + strlen(name) + strlen(extra);
}

static int receive(const struct test_dir *d, const struct stream *s, viv_error *err)
{
    struct vivi_tree_receive *t = NULL;
    int r = vivi_tree_receive_new(d->fd, "in", 0, &t, err);

    if (r == 0)
        r = vivi_tree_receive_feed(t, s->data, s->len, err);
    if (r == 0)
        r = vivi_tree_receive_end(t, err);
    vivi_tree_receive_free(t);
    return r;
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    static const char *const names[] = {"..", ".", "a/b", "/etc", "../x"};
    const struct test_dir *d = *state;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct stream s = {.len = 0};
        viv_error err = VIV_ERROR_INIT;

        add(&s, 'D', "t", "", 0);
        add(&s, 'F', names[i], "", 0);
        assert_int_equal(receive(d, &s, &err), -VIV_E_PROTOCOL);
        assert_string_equal(err.message, "damaged tree: a name that leads elsewhere");
        assert_int_equal(vivi_remove_tree_at(d->fd, "in", NULL), 0);
    }
}

static void a_link_is_never_walked_through(void **state)
{
    const struct test_dir *d = *state;
    viv_error err = VIV_ERROR_INIT;
    struct stream s = {.len = 0};

    assert_int_equal(mkdirat(d->fd, "outside", 0700), 0);
    make_file(d->fd, "outside/file", "mine", 0600);
    /* A link that the stream makes, and one that was there. */
    add(&s, 'D', "t", "", 0);
    add(&s, 'L', "way", "../outside", 0);
    add(&s, 'D', "way", "", 0);
    assert_int_equal(receive(d, &s, &err), -VIV_E_EXISTS);
    assert_int_equal(vivi_remove_tree_at(d->fd, "in", NULL), 0);
    assert_int_equal(symlinkat("outside", d->fd, "in"), 0);
    assert_int_equal(receive(d, &s, &err), -VIV_E_EXISTS);
    assert_string_equal(err.message, "cannot make in: it is there, and no directory");
    /* A file over a link replaces the link. */
    s = (struct stream){.len = 0};
    add(&s, 'F', "t", "", 3);
    add(&s, 'C', "", "new", 0);
    add(&s, 'E', "", "", 0);
    add(&s, 'Z', "", "", 1);
    assert_int_equal(unlinkat(d->fd, "in", 0), 0);
    assert_int_equal(symlinkat("outside/file", d->fd, "in"), 0);
    assert_int_equal(receive(d, &s, &err), 0);
    assert_text(d->fd, "outside/file", "mine");
    assert_text(d->fd, "in", "new");
}

static void hard_links_stay_inside(void **state)
{
    static const char *const paths[] = {"../outside", "/etc/passwd", "a/../../outside", "",
                                        "way/x"};
    const struct test_dir *d = *state;

    make_file(d->fd, "outside", "mine", 0600);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct stream s = {.len = 0};
        struct stat st;

        add(&s, 'D', "t", "", 0);
        add(&s, 'L', "way", "..", 0);
        add(&s, 'D', "a", "", 0);
        add(&s, 'U', "", "", 0);
        add(&s, 'H', "link", paths[i], 0);
        assert_true(receive(d, &s, NULL) < 0);
        assert_int_equal(fstatat(d->fd, "in/link", &st, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(vivi_remove_tree_at(d->fd, "in", NULL), 0);
    }
}

static void set_id_bits_are_not_taken_from_others(void **state)
{
    const struct test_dir *d = *state;
    struct stream s = {.len = 0};
    struct stat st;

    add(&s, 'F', "t", "", 0);
    add(&s, 'E', "", "", 0);
    add(&s, 'Z', "", "", 1);
    assert_int_equal(receive(d, &s, NULL), 0);
    assert_int_equal(fstatat(d->fd, "in", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0777);
}

static void records_in_the_wrong_place_are_refused(void **state)
{
    static const char *const orders[] = {"U",  "E",   "C",    "Z",   "X", "H",    "FF", "FD", "FZ",
                                         "DZ", "DUD", "DUUZ", "FED", "V", "FCCE", "?",  "DV"};
    const struct test_dir *d = *state;

    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        struct stream s = {.len = 0};
        viv_error err = VIV_ERROR_INIT;

        add(&s, 'V', "", "", VIVI_TREE_VERSION);
        for (const char *k = orders[i]; *k != '\0'; k++)
            add(&s, *k, strchr("DFLHPX", *k) != NULL ? "x" : "", *k == 'C' ? "too long" : "",
                *k == 'F' ? 10 : 0);
        if (strcmp(orders[i], "FCCE") == 0)
            s.data[s.len - 2 * VIVI_TREE_HEAD - 8 + 32] = 9; /* the second C: at 9 of 10 */
        assert_int_equal(receive(d, &s, &err), -VIV_E_PROTOCOL);
        (void)vivi_remove_tree_at(d->fd, "in", NULL);
    }
}

static void a_stream_that_ends_early_leaves_no_temporary(void **state)
{
    const struct test_dir *d = *state;
    struct stream s = {.len = 0};
    viv_error err = VIV_ERROR_INIT;
    int n = 0;
    DIR *dir;

    make_file(d->fd, "in", "old", 0600);
    add(&s, 'F', "t", "", 100);
    add(&s, 'C', "", "half", 0);
    assert_int_equal(receive(d, &s, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "the tree ends early");
    assert_text(d->fd, "in", "old");
    dir = opendir(d->path);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.' || strncmp(e->d_name, ".viv", 4) == 0;
    (void)closedir(dir);
    assert_int_equal(n, 1);
}

static void another_version_or_depth_without_end_is_refused(void **state)
{
    const struct test_dir *d = *state;
    struct stream s = {.len = 0};
    viv_error err = VIV_ERROR_INIT;
    char half[VIVI_TREE_DEPTH * 2] = "";

    add(&s, 'V', "", "", VIVI_TREE_VERSION + 1);
    assert_int_equal(receive(d, &s, &err), -VIV_E_PROTOCOL);
    s.len = 0;
    for (unsigned i = 0; i < VIVI_TREE_DEPTH + 1; i++)
        add(&s, 'D', "d", "", 0);
    assert_int_equal(receive(d, &s, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "damaged tree: too deep");
    /* In two parts: it is deeper than what is removed at once. */
    (void)snprintf(half, sizeof(half), "in");
    for (unsigned i = 1; i < VIVI_TREE_DEPTH / 2; i++)
        (void)strncat(half, "/d", sizeof(half) - strlen(half) - 1);
    assert_int_equal(vivi_remove_tree_at(d->fd, half, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_dir(a_tree_arrives_with_modes_times_links_and_holes),
        test_in_dir(data_that_its_sender_passes_on_arrives_as_well),
        test_in_dir(a_single_file_or_link_is_a_tree_too),
        test_in_dir(what_cannot_be_sent_is_named),
        test_in_dir(what_is_there_is_merged_with_and_replaced),
        test_in_dir(names_that_lead_elsewhere_are_refused),
        test_in_dir(a_link_is_never_walked_through),
        test_in_dir(hard_links_stay_inside),
        test_in_dir(set_id_bits_are_not_taken_from_others),
        test_in_dir(records_in_the_wrong_place_are_refused),
        test_in_dir(a_stream_that_ends_early_leaves_no_temporary),
        test_in_dir(another_version_or_depth_without_end_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
