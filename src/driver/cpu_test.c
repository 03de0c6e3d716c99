#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "driver/cpu.h"

static void this_host_lacks_nothing_of_itself(void **state)
{
    cleanup_free char *here = vivi_cpu_describe();
    char lacks[80] = "";

    (void)state;
    assert_non_null(here);
    assert_int_equal(vivi_cpu_lacks(here, here, lacks, sizeof(lacks)), 0);
    assert_string_equal(lacks, "");
    assert_null(strchr(here, '\n'));
}

static void the_first_missing_word_is_named(void **state)
{
    char lacks[80];

    (void)state;
    assert_int_equal(vivi_cpu_lacks("x86_64 AMD avx avx2", "x86_64 AMD avx", lacks, 80), 0);
    assert_int_equal(vivi_cpu_lacks("x86_64 AMD avx2", "x86_64 AMD avx", lacks, 80), 1);
    assert_string_equal(lacks, "avx");
    assert_int_equal(vivi_cpu_lacks("x86_64 AMD", "x86_64 Intel avx", lacks, 80), 1);
    assert_string_equal(lacks, "Intel");
    assert_int_equal(vivi_cpu_lacks("x86_64", "", lacks, 80), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_host_lacks_nothing_of_itself),
        cmocka_unit_test(the_first_missing_word_is_named),
    };

    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
