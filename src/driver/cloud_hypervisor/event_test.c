#include "driver/cloud_hypervisor/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENT(secs, source, name, more)                                              \
    "{\n  \"timestamp\": {\n    \"secs\": " secs                                     \
    ",\n    \"nanos\": 5\n  },\n  \"source\": \"" source "\",\n  \"event\": \"" name \
    "\",\n  \"properties\": " more "\n}"

/* All events in text, offered in pieces of that size: "vm/booted@1 …". */
static const char *read_all(const char *text, size_t piece)
{
    static char out[600];
    size_t len = strlen(text), taken = 0, end = 0;

    out[0] = '\0';
    while (end < len) {
        struct ch_event e;
        size_t used;

        end = len - end < piece ? len : end + piece;
        while (ch_event_next(text + taken, end - taken, &e, &used) == 1) {
            char one[200];

            taken += used;
            (void)snprintf(one, sizeof(one), "%s/%s@%llu%s%s%s%s ", e.source, e.name,
                           (unsigned long long)(e.stamp / 1000000000), *e.id ? "#" : "", e.id,
                           *e.detail ? "!" : "", e.detail);
            (void)strncat(out, one, sizeof(out) - strlen(out) - 1);
        }
        taken += used;
        assert_true(taken <= end);
    }
    return out;
}

static void expect_events(const char *text, const char *wanted)
{
    for (size_t piece = 1; piece <= strlen(text); piece++)
        assert_string_equal(read_all(text, piece), wanted);
}

static void events_are_read_in_any_pieces(void **state)
{
    (void)state;
    expect_events(
        EVENT("0", "vmm", "starting", "null") "\n\n" EVENT(
            "1", "virtio-device", "activated",
            "{\n    \"id\": \"disk-root\"\n  }") "\n\n" EVENT("2", "guest", "panic",
                                                              "{\n    \"event\": \"panic\"\n  }"),
        "vmm/starting@0 virtio-device/activated@1#disk-root guest/panic@2!panic ");
}

static void lost_writes_cost_only_themselves(void **state)
{
    (void)state;
    /* the separator; the head of one; its tail */
    expect_events(EVENT("1", "vm", "a", "null") EVENT("2", "vm", "b", "null") "\n\n",
                  "vm/a@1 vm/b@2 ");
    expect_events("s\": 0,\n    \"nanos\": 0\n  }\n}\n\n" EVENT("2", "vm", "b", "null"), "vm/b@2 ");
    expect_events("{\n  \"timestamp\": {\n    \"se"
                  "\n" EVENT("2", "vm", "b", "null") "\n\n",
                  "vm/b@2 ");
}

static void noise_is_skipped(void **state)
{
    (void)state;
    expect_events("garbage\n\x01\xff\n}\n{\n}\n[]\n{}\n" EVENT("3", "vm", "c", "null") "\nmore\n",
                  "vm/c@3 ");
    expect_events("{\"timestamp\":{\"secs\":4,\"nanos\":0},\"source\":\"vm\",\"event\":\"d\"}\n",
                  "vm/d@4 ");
}

static void wrong_types_and_sizes_are_no_events(void **state)
{
    (void)state;
    expect_events(EVENT("-1", "vm", "x", "null") "\n" EVENT("1.5", "vm", "x", "null") "\n" EVENT(
                      "9223372036854775807", "vm", "x", "null") "\n",
                  "");
    expect_events(EVENT("1", "a-source-of-more-than-23-bytes", "x", "null") "\n", "");
    expect_events(EVENT("1", "vm", "x", "{\"id\": 7}"), "vm/x@1 ");
}

static void what_has_no_end_is_given_up(void **state)
{
    size_t len = CH_EVENT_MAX_BYTES + 100, used = 0;
    char *text = malloc(len);
    struct ch_event e;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', len);
    assert_int_equal(ch_event_next(text, len, &e, &used), 0);
    assert_int_equal(used, len);
    memset(text, '\n', len);
    text[0] = '{';
    assert_int_equal(ch_event_next(text, 100, &e, &used), 0);
    assert_int_equal(used, 0); /* it may still end */
    assert_int_equal(ch_event_next(text, len, &e, &used), 0);
    assert_int_equal(used, len);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_read_in_any_pieces),
        cmocka_unit_test(lost_writes_cost_only_themselves),
        cmocka_unit_test(noise_is_skipped),
        cmocka_unit_test(wrong_types_and_sizes_are_no_events),
        cmocka_unit_test(what_has_no_end_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
