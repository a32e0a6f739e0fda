/* Threads: as many as cores, shared without a remainder that would change with the order of loading. */
#include "core/cores.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void shares_are_equal_and_never_nothing(void **state)
{
    static const struct { int budget, taken, models, share; } cases[] = {
        { 8, 0, 1, 8 }, { 8, 0, 2, 4 }, { 8, 0, 3, 2 }, { 8, 2, 3, 2 }, { 2, 0, 3, 1 }, { 2, 4, 1, 1 }, { 8, 0, 0, 8 }, { 1, 0, 1, 1 } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(cores_share(cases[i].budget, cases[i].taken, cases[i].models), cases[i].share);
}

static void there_is_one_core_at_least_and_no_more_than_we_may_use(void **state)
{
    cpu_set_t all, one;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_in_range(cores_free(), 1, CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cores_free(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(shares_are_equal_and_never_nothing), cmocka_unit_test(there_is_one_core_at_least_and_no_more_than_we_may_use) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
