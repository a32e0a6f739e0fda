/* The two sequences of others, held against what confseq 0.0.11's predmix_empbern_twosided_cs and betting_cs say of the same values at alpha = 0.05. */
#include "canary/bound.h"
#include "canary/draws.h"
#include "canary/mixture.h"

#include <math.h>

#define STEP 0.001                      /* of the grid: betting_cs gives its interval one more at each end */

/* Drawn from SplitMix64 of the seed: squares of u, or (d + 1)/2 of pairs. */
static const struct { const char *name; uint64_t seed; double win, loss; int n; double lower, upper, capital_lower, capital_upper; } rows[] = {
    { "squares", 105, 0, 0, 1, 0.000000000000, 1.000000000000, 0.000, 1.000 },
    { "squares", 105, 0, 0, 10, 0.000000000000, 1.000000000000, 0.055, 0.644 },
    { "squares", 105, 0, 0, 50, 0.144661796957, 0.512288589889, 0.206, 0.455 },
    { "squares", 105, 0, 0, 200, 0.265581213719, 0.417576274326, 0.267, 0.405 },
    { "squares", 105, 0, 0, 400, 0.308589291485, 0.417971701095, 0.301, 0.408 },
    { "equal", 101, 0.1, 0.1, 1, 0.000000000000, 1.000000000000, 0.000, 1.000 },
    { "equal", 101, 0.1, 0.1, 10, 0.000000000000, 1.000000000000, 0.162, 0.717 },
    { "equal", 101, 0.1, 0.1, 50, 0.243196347901, 0.596803652099, 0.303, 0.526 },
    { "equal", 101, 0.1, 0.1, 200, 0.420993558826, 0.528647236927, 0.411, 0.510 },
    { "equal", 101, 0.1, 0.1, 400, 0.449158134719, 0.522591871472, 0.439, 0.511 },
    { "better", 104, 0.2, 0.1, 1, 0.000000000000, 1.000000000000, 0.000, 1.000 },
    { "better", 104, 0.2, 0.1, 10, 0.000000000000, 1.000000000000, 0.241, 0.759 },
    { "better", 104, 0.2, 0.1, 50, 0.328773518562, 0.698952368661, 0.398, 0.616 },
    { "better", 104, 0.2, 0.1, 200, 0.472764390621, 0.611359858334, 0.475, 0.592 },
    { "better", 104, 0.2, 0.1, 400, 0.495427516592, 0.591605410680, 0.494, 0.581 },
};

static double next(struct rng *g, double win, double loss)
{
    double u = rand_unit(g);
    return win + loss > 0 ? u < win ? 1 : u < win + loss ? 0 : 0.5 : u * u;
}

static void both_say_what_confseq_says(void **state)
{
    (void)state;
    static struct bound_capital c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rng g = rand_seeded(rows[i].seed);
        struct bound b;
        double lower, upper;
        bound_init(&b, 0.025);
        bound_capital_init(&c, 0.05);
        for (int n = 0; n < rows[i].n; n++) {
            double x = next(&g, rows[i].win, rows[i].loss);
            bound_add(&b, x);
            bound_capital_add(&c, x);
        }
        assert_true(bound_capital_interval(&c, &lower, &upper));
        if (fabs(bound_lower(&b) - rows[i].lower) > 1e-9 || fabs(bound_upper(&b) - rows[i].upper) > 1e-9 || fabs(fmax(0, lower - STEP) - rows[i].capital_lower) > 1e-9 ||
            fabs(fmin(1, upper + STEP) - rows[i].capital_upper) > 1e-9)
            fail_msg("%s after %d: %.12f %.12f %.3f %.3f", rows[i].name, rows[i].n, bound_lower(&b), bound_upper(&b), lower, upper);
    }
}

/* Not a theorem, but how far they may be apart on the same values shows a mistake in any of the three. */
static void the_mixture_is_near_them_and_all_contain_the_mean(void **state)
{
    (void)state;
    static struct bound_capital c;
    struct bound b;
    struct rng g = rand_seeded(29);
    uint32_t count[MIXTURE_BINS] = { 0 };
    double lower, upper;
    bound_init(&b, 0.025);
    bound_capital_init(&c, 0.05);
    for (int n = 0; n < 2000; n++) {
        double x = 0.5 * (1 + draw_pair(&g, 0.2, 0.1));
        bound_add(&b, x);
        bound_capital_add(&c, x);
        count[(unsigned)(x * (MIXTURE_BINS - 1))]++;
    }
    assert_true(bound_capital_interval(&c, &lower, &upper));
    assert_true(bound_lower(&b) < 0.55 && bound_upper(&b) > 0.55 && lower < 0.55 && upper > 0.55);
    assert_true(mixture_lower(count, 0.025) < 0.55 && mixture_upper(count, 0.025) > 0.55);
    assert_near(mixture_lower(count, 0.025), lower, 0.02);
    assert_near(mixture_upper(count, 0.025), upper, 0.02);
    assert_near(bound_lower(&b), lower, 0.02);
    assert_near(bound_upper(&b), upper, 0.02);
}

static void nothing_seen_excludes_nothing(void **state)
{
    (void)state;
    static struct bound_capital c;
    struct bound b;
    double lower, upper;
    bound_init(&b, 0.025);
    bound_capital_init(&c, 0.05);
    assert_true(bound_lower(&b) == 0 && bound_upper(&b) == 1);
    assert_true(bound_capital_interval(&c, &lower, &upper) && lower == 0 && upper == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_say_what_confseq_says),
        cmocka_unit_test(the_mixture_is_near_them_and_all_contain_the_mean),
        cmocka_unit_test(nothing_seen_excludes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
