#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "model/parse.h"

static const char *const words[] = {"name", "memory", "cpus", "disks", "nets", "id", "x"};

static const char *nearest(const char *word)
{
    return vivi_nearest(word, words, ARRAY_SIZE(words));
}

static void slips_of_the_fingers_find_their_word(void **state)
{
    (void)state;
    assert_string_equal(nearest("memroy"), "memory"); /* two swapped */
    assert_string_equal(nearest("memor"), "memory");
    assert_string_equal(nearest("memmory"), "memory");
    assert_string_equal(nearest("mamori"), "memory");
    assert_string_equal(nearest("disk"), "disks");
    assert_string_equal(nearest("CPus"), "cpus");
    assert_string_equal(nearest("memory"), "memory");
    assert_string_equal(vivi_nearest("nob", (const char *const[]){"bob"}, 1), "bob");
}

static void another_word_is_not_a_slip(void **state)
{
    char word[300];

    (void)state;
    assert_null(nearest("kernel"));
    assert_null(nearest("mmeroyy")); /* three */
    assert_null(nearest(""));
    assert_null(nearest("no")); /* all of "id" would be replaced */
    assert_null(nearest("y"));
    assert_null(vivi_nearest("tap", (const char *const[]){"nat"}, 1));
    assert_null(vivi_nearest("a", NULL, 0));
    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    assert_null(nearest(word));
    assert_null(vivi_nearest("aaaa", (const char *const[]){word}, 1));
}

static void the_nearest_of_several_wins_and_the_first_of_equals(void **state)
{
    static const char *const near[] = {"started", "start", "stars", "stark"};

    (void)state;
    assert_string_equal(vivi_nearest("starr", near, ARRAY_SIZE(near)), "start");
    assert_string_equal(vivi_nearest("stark", near, ARRAY_SIZE(near)), "stark");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slips_of_the_fingers_find_their_word),
        cmocka_unit_test(another_word_is_not_a_slip),
        cmocka_unit_test(the_nearest_of_several_wins_and_the_first_of_equals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
