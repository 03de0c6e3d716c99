#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/parse.h"

#define NONCE "0123456789abcdef"

struct found {
    int count;
    char ip[46];     /* of the last one */
    uint64_t offset; /* behind its LF */
};

/* Feeds text in pieces of n bytes (0: all at once) and goes on behind each marker. */
static struct found feed(const char *nonce, const char *text, size_t len, size_t n)
{
    struct vivi_marker m;
    struct found f = {0};
    size_t at = 0;

    vivi_marker_init(&m, nonce, 1000);
    while (at < len) {
        size_t piece = n == 0 || n > len - at ? len - at : n;
        char ip[46];
        size_t taken = vivi_marker_feed(&m, text + at, piece, ip);

        at += taken;
        if (ip[0] != '\0') {
            f.count++;
            f.offset = m.offset;
            memcpy(f.ip, ip, sizeof(ip));
        }
        /* Without a marker everything is taken; offsets always tell the truth. */
        if ((ip[0] == '\0' && taken != piece) || m.offset != 1000 + at ||
            m.line_offset > m.offset ||
            (m.line_offset > 1000 && text[m.line_offset - 1001] != '\n'))
            f.count = -1000;
    }
    return f;
}

static void is_marker(const char *nonce, const char *text, const char *ip)
{
    size_t len = strlen(text);

    /* Split at every byte: each piece size, and each pair of pieces. */
    for (size_t n = 0; n <= len; n++) {
        struct found f = feed(nonce, text, len, n);

        if (f.count != 1 || strcmp(f.ip, ip) != 0 || f.offset != 1000 + len)
            fail_msg("pieces of %zu: %d \"%s\"", n, f.count, f.ip);
    }
    for (size_t cut = 0; cut <= len; cut++) {
        struct vivi_marker m;
        char first[46], second[46] = "";

        vivi_marker_init(&m, nonce, 0);
        assert_int_equal(vivi_marker_feed(&m, text, cut, first), cut);
        if (cut < len) {
            assert_string_equal(first, "");
            assert_int_equal(vivi_marker_feed(&m, text + cut, len - cut, second), len - cut);
        }
        assert_string_equal(cut < len ? second : first, ip);
    }
}

static void is_none(const char *nonce, const char *text, size_t len)
{
    for (size_t n = 0; n <= len && n < 40; n++)
        if (feed(nonce, text, len, n).count != 0)
            fail_msg("pieces of %zu: \"%s\"", n, text);
}

static void a_marker_is_found_however_it_is_split(void **state)
{
    (void)state;
    is_marker(NONCE, "VMRS_READY 10.0.2.15 " NONCE "\n", "10.0.2.15");
    is_marker(NONCE, "VMRS_READY 10.0.2.15\n", "10.0.2.15");
    is_marker(NONCE, "VMRS_READY 10.0.2.15 " NONCE "\r\n", "10.0.2.15");
    is_marker("", "VMRS_READY fd00:0::1 whatever\n", "fd00::1");
    is_marker(NULL, "VMRS_READY ::ffff:10.0.0.1\r\n", "::ffff:10.0.0.1");
}

static void anything_may_stand_before_the_word(void **state)
{
    (void)state;
    is_marker(NONCE, "[    1.234] init: VMRS_READY 10.0.2.15 " NONCE "\n", "10.0.2.15");
    is_marker(NONCE, "\x1b[0m\xff\xfe VMRS_VMRS_READVMRS_READY 10.0.2.15\n", "10.0.2.15");
    is_marker(NONCE, "VVVVMRS_READY 10.0.2.15\n", "10.0.2.15");
    is_marker(NONCE, "\n\n\r\nboot\nVMRS_READY\n VMRS_READY 10.0.2.15\n", "10.0.2.15");
}

static void the_last_word_of_a_line_decides(void **state)
{
    (void)state;
    is_marker(NONCE, "VMRS_READY 10.0.0.1 VMRS_READY 10.0.0.2\n", "10.0.0.2");
    is_marker(NONCE, "VMRS_READY VMRS_READY 10.0.0.2 " NONCE "\n", "10.0.0.2");
    is_none(NONCE, "VMRS_READY 10.0.0.1 VMRS_READY\n", 31);
    is_none(NONCE, "VMRS_READY 10.0.0.1 VMRS_READY 10.0.0.x\n", 40);
}

static void a_wrong_nonce_is_another_boots_line(void **state)
{
    static const char *const lines[] = {"VMRS_READY 10.0.2.15 fedcba9876543210\n",
                                        "VMRS_READY 10.0.2.15 0123456789abcde\n",
                                        "VMRS_READY 10.0.2.15 " NONCE "0\n",
                                        "VMRS_READY 10.0.2.15 " NONCE " \n",
                                        "VMRS_READY 10.0.2.15 " NONCE " x\n",
                                        "VMRS_READY 10.0.2.15 0123456789ABCDEF\n",
                                        "VMRS_READY 10.0.2.15 \n",
                                        "VMRS_READY 10.0.2.15  " NONCE "\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        is_none(NONCE, lines[i], strlen(lines[i]));
    /* And it does not stand in the way of the right one. */
    is_marker(NONCE, "VMRS_READY 10.0.2.15 fedcba9876543210\nVMRS_READY 10.0.2.16 " NONCE "\n",
              "10.0.2.16");
}

static void what_only_looks_like_a_marker_is_none(void **state)
{
    static const char *const lines[] = {
        "VMRS_READY\n",
        "VMRS_READY \n",
        "VMRS_READY10.0.2.15\n",
        "VMRS_READY  10.0.2.15\n",
        "VMRS_READY\t10.0.2.15\n",
        "vmrs_ready 10.0.2.15\n",
        "VMRS_READ 10.0.2.15\n",
        "VMRS_READY 10.0.2\n",
        "VMRS_READY 10.0.2.256\n",
        "VMRS_READY 10.0.2.15:80\n",
        "VMRS_READY fe80::1%eth0\n",
        "VMRS_READY 0.0.0.0\n",
        "VMRS_READY ::\n",
        "VMRS_READY localhost\n",
        "VMRS_READY 10.0.2.15\r\r\n",
        "VMRS_READY 10.0.2.15.\n",
        "VMRS_READY\n10.0.2.15\n",
        "VMRS_READY\r 10.0.2.15\n",
        "VMRS_READY 10.0.2.15 a\tb\n",
        "VMRS_READY 10.0.2.15 \x1b[m\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        is_none("", lines[i], strlen(lines[i]));
        is_none(NONCE, lines[i], strlen(lines[i]));
    }
}

static void nothing_is_decided_before_the_line_ends(void **state)
{
    static const char text[] = "VMRS_READY 10.0.2.15 " NONCE;
    struct vivi_marker m;
    char ip[46] = "x";

    (void)state;
    vivi_marker_init(&m, NONCE, 0);
    assert_int_equal(vivi_marker_feed(&m, text, sizeof(text) - 1, ip), sizeof(text) - 1);
    assert_string_equal(ip, "");
    assert_int_equal(vivi_marker_feed(&m, "\r", 1, ip), 1);
    assert_string_equal(ip, "");
    assert_int_equal(m.line_offset, 0);
    assert_int_equal(vivi_marker_feed(&m, "\nmore", 5, ip), 1);
    assert_string_equal(ip, "10.0.2.15");
    assert_int_equal(m.line_offset, sizeof(text) + 1);
}

static void nuls_are_bytes_like_others_outside_and_fatal_inside(void **state)
{
    static const char before[] = "\0\0VMRS_\0VMRS_READY 10.0.2.15\n";
    static const char word[] = "VMRS_\0READY 10.0.2.15\n";
    static const char tail[] = "VMRS_READY 10.0.2.15\0\n";
    static const char nonce[] = "VMRS_READY 10.0.2.15 0123\0"
                                "456789abcdef\n";
    static const char space[] = "VMRS_READY\0 10.0.2.15\n";

    (void)state;
    assert_int_equal(feed("", before, sizeof(before) - 1, 1).count, 1);
    assert_int_equal(feed("", before, sizeof(before) - 1, 0).count, 1);
    is_none("", word, sizeof(word) - 1);
    is_none("", tail, sizeof(tail) - 1);
    is_none("", nonce, sizeof(nonce) - 1);
    is_none("", space, sizeof(space) - 1);
}

static void long_lines_cost_nothing_and_hide_nothing(void **state)
{
    const size_t len = 10000000;
    static const char marker[] = "VMRS_READY 10.0.2.15 " NONCE "\n";
    cleanup_free char *text = malloc(len + sizeof(marker));
    struct found f;

    (void)state;
    assert_non_null(text);
    /* A flood of half words, then a marker in the same line. */
    for (size_t i = 0; i < len; i++)
        text[i] = VIVI_MARKER[i % 9];
    memcpy(text + len, marker, sizeof(marker));
    f = feed(NONCE, text, len + sizeof(marker) - 1, 65536);
    assert_int_equal(f.count, 1);
    assert_string_equal(f.ip, "10.0.2.15");
    assert_int_equal(f.offset, 1000 + len + sizeof(marker) - 1);
    /* A marker word, a tail that is too long, then a marker in the same line. */
    memset(text, 'x', len);
    memcpy(text, marker, sizeof(marker) - 2);
    f = feed(NONCE, text, len + sizeof(marker) - 1, 4096);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.offset, 1000 + len + sizeof(marker) - 1);
    /* The same tail, ended by LF: none. */
    text[len] = '\n';
    assert_int_equal(feed(NONCE, text, len + 1, 4096).count, 0);
}

static void the_longest_valid_tail_fits(void **state)
{
    char line[400], nonce[VIVI_MARKER_NONCE_MAX + 1];

    (void)state;
    memset(nonce, 'f', sizeof(nonce) - 1);
    nonce[sizeof(nonce) - 1] = '\0';
    (void)snprintf(line, sizeof(line),
                   "VMRS_READY 1111:2222:3333:4444:5555:6666:123.123.123.123 %s\r\n", nonce);
    is_marker(nonce, line, "1111:2222:3333:4444:5555:6666:7b7b:7b7b");
    (void)snprintf(line, sizeof(line), "VMRS_READY 10.0.0.1 %sf\n", nonce);
    is_none("", line, strlen(line));
}

/* What a marker is, said plainly: the specification against which pieces are compared. */
static bool is_plainly(const char *nonce, char *line, size_t size)
{
    char *word = NULL, *space, ip[46];

    if (size > 0 && line[size - 1] == '\r')
        line[--size] = '\0';
    for (size_t i = 0; i + strlen(VIVI_MARKER) <= size; i++)
        if (memcmp(line + i, VIVI_MARKER, strlen(VIVI_MARKER)) == 0)
            word = line + i + strlen(VIVI_MARKER);
    if (!word || *word != ' ' || strlen(word) != size - (size_t)(word - line))
        return false;
    space = strchr(++word, ' ');
    if (space)
        *space++ = '\0';
    if (vivi_parse_ip(word, ip, NULL) < 0 || strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0)
        return false;
    return !space || strcmp(space, nonce) == 0;
}

static int count_plainly(const char *nonce, const char *text, size_t len)
{
    int n = 0;

    for (size_t at = 0; at < len;) {
        const char *lf = memchr(text + at, '\n', len - at);
        size_t size = lf ? (size_t)(lf - text) - at : 0;
        cleanup_free char *line = lf ? calloc(1, size + 1) : NULL;

        if (!line)
            break;
        memcpy(line, text + at, size);
        at += size + 1;
        n += is_plainly(nonce, line, size);
    }
    return n;
}

static void pieces_never_change_what_is_found(void **state)
{
    static const char *const bricks[] = {"VMRS_READY",
                                         " ",
                                         "10.0.0.1",
                                         "fd00::1",
                                         NONCE,
                                         "\n",
                                         "\r\n",
                                         "VMRS",
                                         "garbage",
                                         "\t",
                                         "x",
                                         "0.0.0.0",
                                         "VMRS_READY 10.0.0.1 " NONCE "\n"};
    uint64_t x = 12345;
    char text[2048];
    int total = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t len = 0;
        int wanted;

        while (len < 200) {
            const char *b;

            x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
            b = bricks[(x >> 33) % ARRAY_SIZE(bricks)];
            if ((x >> 60) == 0)
                text[len++] = '\0';
            memcpy(text + len, b, strlen(b));
            len += strlen(b);
        }
        wanted = count_plainly(NONCE, text, len);
        total += wanted;
        if (feed(NONCE, text, len, 0).count != wanted ||
            feed(NONCE, text, len, 1 + (x >> 40) % 17).count != wanted)
            fail_msg("round %d: wanted %d", round, wanted);
    }
    assert_true(total > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_marker_is_found_however_it_is_split),
        cmocka_unit_test(anything_may_stand_before_the_word),
        cmocka_unit_test(the_last_word_of_a_line_decides),
        cmocka_unit_test(a_wrong_nonce_is_another_boots_line),
        cmocka_unit_test(what_only_looks_like_a_marker_is_none),
        cmocka_unit_test(nothing_is_decided_before_the_line_ends),
        cmocka_unit_test(nuls_are_bytes_like_others_outside_and_fatal_inside),
        cmocka_unit_test(long_lines_cost_nothing_and_hide_nothing),
        cmocka_unit_test(the_longest_valid_tail_fits),
        cmocka_unit_test(pieces_never_change_what_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
