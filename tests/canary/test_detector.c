/* The e-detector: its recursion, its guarantee, that it forgets, and where it stops growing. */
#include "canary/detector.h"
#include "canary/draws.h"

#include <math.h>

static void one_value_is_one_step_of_each_bet(void **state)
{
    (void)state;
    struct detector d = { .m0 = 0.9, .sum = { 0, 1, 2, 3, 4, 5 } };
    double want = 0;
    detector_add(&d, 0.25);
    for (int j = 0; j < MIXTURE_BETS; j++) {
        double m = (j + 1) * (1 + mixture_bets[j] * (0.75 / (1 - 0.9) - 1));
        assert_near(d.sum[j], m, 1e-12);
        want += m / 6;
    }
    assert_near(detector_value(&d), want, 1e-12);
}

/* Where the mean is m0 exactly, sum - n is a martingale: after n values M has the mean n. So an alarm at A comes after A values or more on average. */
static void without_a_drop_its_mean_grows_by_one_a_value(void **state)
{
    (void)state;
    enum { N = 10 };
    double mean = 0;
    for (unsigned bits = 0; bits < 1u << N; bits++) {
        struct detector d = { .m0 = 0.75 };
        double chance = 1;
        for (int i = 0; i < N; i++) {
            detector_add(&d, bits >> i & 1);
            chance *= bits >> i & 1 ? 0.75 : 0.25;
        }
        mean += chance * detector_value(&d);
    }
    assert_near(mean, N, 1e-10);
}

static void runs_without_a_drop_are_as_long_as_promised(void **state)
{
    (void)state;
    double all = 0;
    for (uint64_t r = 0; r < 200; r++) {
        struct rng g = draw_run(23, r);
        struct detector d = { .m0 = 0.9 };
        for (; detector_value(&d) < 200; all++)
            detector_add(&d, rand_unit(&g) < 0.9);
    }
    assert_true(all / 200 >= 200);
}

static void a_long_good_time_does_not_delay_it(void **state)
{
    (void)state;
    int after[2] = { 0, 0 };
    for (int good = 0; good < 2; good++) {
        struct detector d = { .m0 = 0.9 };
        for (int i = 0; i < 100000 * good; i++)
            detector_add(&d, 1);
        for (; detector_value(&d) < DETECTOR_PROMOTED; after[good]++)
            detector_add(&d, 0);
    }
    assert_true(after[0] < 10 && abs(after[1] - after[0]) <= 1);
}

static void it_stops_growing_and_stays_a_number(void **state)
{
    (void)state;
    struct detector d = { .m0 = 0.99 };
    for (int i = 0; i < 100000; i++)
        detector_add(&d, 0);
    for (int j = 0; j < MIXTURE_BETS; j++)
        assert_true(d.sum[j] == DETECTOR_MOST);
    assert_true(isfinite(detector_value(&d)) && detector_value(&d) > DETECTOR_PROMOTED);
    detector_add(&d, 1);
    assert_true(isfinite(detector_value(&d)) && detector_value(&d) < DETECTOR_MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_is_one_step_of_each_bet),
        cmocka_unit_test(without_a_drop_its_mean_grows_by_one_a_value),
        cmocka_unit_test(runs_without_a_drop_are_as_long_as_promised),
        cmocka_unit_test(a_long_good_time_does_not_delay_it),
        cmocka_unit_test(it_stops_growing_and_stays_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
