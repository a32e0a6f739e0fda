/* The mixture: its bins, that it is an e-process, that order leaves no trace, and what rounding the other way would do. */
#include "canary/mixture.h"
#include "canary/draws.h"

#include <math.h>

#define TOP (MIXTURE_BINS - 1)
#define LOG_20 2.995732273553991        /* 1/alpha = 20 */

static void the_bets_are_geometric_from_one_in_twenty_to_nearly_all(void **state)
{
    (void)state;
    for (unsigned j = 0; j < MIXTURE_BETS; j++)
        assert_near(mixture_bets[j], 0.05 * pow(0.99 / 0.05, j / 5.0), 1e-15);
}

static void a_value_that_has_a_bin_is_in_it_by_both_ways(void **state)
{
    (void)state;
    for (unsigned b = 0; b < MIXTURE_BINS; b++) {
        double d = ((int)b - 100) / 100.0;
        assert_int_equal(mixture_difference_down(d), b);
        assert_int_equal(mixture_difference_up(d), b);
        assert_int_equal(mixture_score_down(b / 200.0), b);
    }
}

static void a_value_between_two_bins_goes_down_or_up_however_near_it_is(void **state)
{
    (void)state;
    for (unsigned b = 1; b < TOP; b++) {
        double d = ((int)b - 100) / 100.0, z = b / 200.0;
        assert_int_equal(mixture_difference_down(d - 1e-15), b - 1);
        assert_int_equal(mixture_difference_up(d - 1e-15), b);
        assert_int_equal(mixture_difference_down(d + 1e-15), b);
        assert_int_equal(mixture_difference_up(d + 1e-15), b + 1);
        assert_int_equal(mixture_score_down(nextafter(z, -1)), b - 1);
        assert_int_equal(mixture_score_down(nextafter(z, 2)), b);
    }
    struct rng g = rand_seeded(11);
    for (int i = 0; i < 100000; i++) {
        double d = 2 * rand_unit(&g) - 1;
        unsigned down = mixture_difference_down(d), up = mixture_difference_up(d);
        assert_true(((int)down - 100) / 100.0 <= d && d <= ((int)up - 100) / 100.0 && up - down <= 1);
    }
}

static void scores_in_hundredths_have_their_differences_bin_though_doubles_have_not(void **state)
{
    (void)state;
    for (int l = 0; l <= 100; l++)
        for (int c = 0; c <= 100; c++) {
            double d = l / 100.0 - c / 100.0;
            assert_int_equal(mixture_difference_down(d), 100 + l - c);
            assert_int_equal(mixture_difference_up(d), 100 + l - c);
        }
}

/* C(n, k). */
static double choose(unsigned n, unsigned k)
{
    double c = 1;
    for (unsigned i = 1; i <= k; i++)
        c = c * (n - k + i) / i;
    return c;
}

/* The mean of E after n values, each 0, 1/2 or 1, over everything that can come. */
static double mean_of_e(const struct mixture *m, unsigned n, double win, double loss)
{
    double mean = 0;
    for (unsigned w = 0; w <= n; w++)
        for (unsigned l = 0; w + l <= n; l++) {
            uint32_t count[MIXTURE_BINS] = { [0] = l, [TOP / 2] = n - w - l, [TOP] = w };
            mean += choose(n, w) * choose(n - w, l) * pow(win, w) * pow(loss, l) * pow(1 - win - loss, n - w - l) * exp(mixture_log_e(m, count));
        }
    return mean;
}

static void its_mean_is_one_at_the_margin_and_less_beyond(void **state)
{
    (void)state;
    struct mixture above, below;
    mixture_above(&above, 0.475);
    mixture_below(&below, 0.475);
    for (unsigned n = 0; n <= 30; n += 5) {
        assert_near(mean_of_e(&above, n, 0.075, 0.125), 1, 1e-12);      /* a mean of -0.05 */
        assert_near(mean_of_e(&below, n, 0.075, 0.125), 1, 1e-12);
        assert_true(n == 0 || mean_of_e(&above, n, 0.05, 0.15) < 1);
        assert_true(n == 0 || mean_of_e(&below, n, 0.10, 0.10) < 1);
        assert_true(n == 0 || mean_of_e(&above, n, 0.10, 0.10) > 1);
        assert_true(n == 0 || mean_of_e(&below, n, 0.05, 0.15) > 1);
    }
}

static void order_leaves_no_trace(void **state)
{
    (void)state;
    struct mixture m;
    double values[500];
    struct rng g = rand_seeded(7);
    uint32_t forward[MIXTURE_BINS] = { 0 }, shuffled[MIXTURE_BINS] = { 0 };
    mixture_above(&m, 0.45);
    for (int i = 0; i < 500; i++) {
        values[i] = 2 * rand_unit(&g) - 1;
        forward[mixture_difference_down(values[i])]++;
    }
    for (int i = 500; i > 0; i--) {
        int k = (int)(rand_u64(&g) % (unsigned)i);
        shuffled[mixture_difference_down(values[k])]++;
        values[k] = values[i - 1];
    }
    assert_memory_equal(forward, shuffled, sizeof forward);
    double a = mixture_log_e(&m, forward), b = mixture_log_e(&m, shuffled);
    assert_memory_equal(&a, &b, sizeof a);
}

/* The counts and the product of factors, multiplied one after the other, say the same. */
static void counts_give_what_multiplying_gives(void **state)
{
    (void)state;
    struct mixture m;
    struct rng g = rand_seeded(9);
    uint32_t count[MIXTURE_BINS] = { 0 };
    double capital[MIXTURE_BETS] = { 1, 1, 1, 1, 1, 1 };
    mixture_above(&m, 0.475);
    for (int n = 1; n <= 2000; n++) {
        double sum = 0, z = 0.5 * (1 + draw_pair(&g, 0.12, 0.1));
        count[(unsigned)(z * TOP)]++;
        for (unsigned j = 0; j < MIXTURE_BETS; j++)
            sum += capital[j] *= 1 + mixture_bets[j] * (z / 0.475 - 1);
        assert_near(mixture_log_e(&m, count), log(sum / MIXTURE_BETS), 1e-9);
    }
}

static void a_better_value_never_lowers_what_is_above_nor_raises_what_is_below(void **state)
{
    (void)state;
    struct mixture above, below;
    struct rng g = rand_seeded(13);
    mixture_above(&above, 0.475);
    mixture_below(&below, 0.475);
    for (int i = 0; i < 2000; i++) {
        uint32_t count[MIXTURE_BINS] = { 0 };
        for (int k = 0; k < 20; k++)
            count[rand_u64(&g) % MIXTURE_BINS] += (uint32_t)(rand_u64(&g) % 40);
        unsigned from = (unsigned)(rand_u64(&g) % TOP), to = from + 1 + (unsigned)(rand_u64(&g) % (TOP - from));
        count[from]++;
        double a = mixture_log_e(&above, count), b = mixture_log_e(&below, count);
        count[from]--;
        count[to]++;
        assert_true(mixture_log_e(&above, count) > a && mixture_log_e(&below, count) < b);
        a = mixture_log_e(&above, count);
        count[TOP]++;                   /* one more win */
        assert_true(mixture_log_e(&above, count) > a);
        a = mixture_log_e(&above, count);
        count[0]++;                     /* one more loss */
        assert_true(mixture_log_e(&above, count) < a);
    }
}

static void the_interval_is_where_e_reaches_its_threshold(void **state)
{
    (void)state;
    static const struct { uint32_t loss, tie, win; } rows[] = { { 3, 40, 9 }, { 0, 91, 0 }, { 200, 4000, 300 }, { 0, 0, 7 }, { 10, 0, 0 }, { 0, 0, 0 } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t count[MIXTURE_BINS] = { [0] = rows[i].loss, [TOP / 2] = rows[i].tie, [TOP] = rows[i].win };
        double lower = mixture_lower(count, 0.025), upper = mixture_upper(count, 0.025);
        struct mixture m;
        assert_true(lower >= 0 && lower < upper && upper <= 1);
        if (lower > 0) {
            mixture_above(&m, lower);
            assert_near(mixture_log_e(&m, count), log(40), 1e-7);
        }
        if (upper < 1) {
            mixture_below(&m, upper);
            assert_near(mixture_log_e(&m, count), log(40), 1e-7);
        }
    }
}

enum way { DOWN, NEAREST, UP };

/* Does E ever reach 20 within 8,000 values d, of which `p` are a and the others b? */
static bool reaches(const struct mixture *m, struct rng *g, enum way way, double p, double a, double b)
{
    uint32_t count[MIXTURE_BINS] = { 0 };
    for (int n = 0; n < 8000; n++) {
        double d = rand_unit(g) < p ? a : b;
        count[way == DOWN ? mixture_difference_down(d) : way == UP ? mixture_difference_up(d) : (unsigned)lround(100 * d) + 100]++;
        if (mixture_log_e(m, count) >= LOG_20)
            return true;
    }
    return false;
}

/* Differences of -0.104 and +0.006, with a mean of exactly -0.05: the nearest bin of both is 0.004 higher. */
static void rounding_to_the_nearest_promotes_at_the_margin_and_rounding_down_does_not(void **state)
{
    (void)state;
    struct mixture above, below;
    double p = 0.056 / 0.110;
    int down = 0, nearest = 0, up = 0, nearest_back = 0;
    mixture_above(&above, 0.475);
    mixture_below(&below, 0.525);       /* the same, mirrored: for rolling back at a margin of -0.05 */
    for (uint64_t r = 0; r < 60; r++) {
        struct rng g = draw_run(17, r), same = g, third = g, fourth = g;
        down += reaches(&above, &g, DOWN, p, -0.104, 0.006);
        nearest += reaches(&above, &same, NEAREST, p, -0.104, 0.006);
        up += reaches(&below, &third, UP, p, 0.104, -0.006);
        nearest_back += reaches(&below, &fourth, NEAREST, p, 0.104, -0.006);
    }
    assert_int_equal(down, 0);
    assert_int_equal(nearest, 60);
    assert_int_equal(up, 0);
    assert_int_equal(nearest_back, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bets_are_geometric_from_one_in_twenty_to_nearly_all),
        cmocka_unit_test(a_value_that_has_a_bin_is_in_it_by_both_ways),
        cmocka_unit_test(a_value_between_two_bins_goes_down_or_up_however_near_it_is),
        cmocka_unit_test(scores_in_hundredths_have_their_differences_bin_though_doubles_have_not),
        cmocka_unit_test(its_mean_is_one_at_the_margin_and_less_beyond),
        cmocka_unit_test(order_leaves_no_trace),
        cmocka_unit_test(counts_give_what_multiplying_gives),
        cmocka_unit_test(a_better_value_never_lowers_what_is_above_nor_raises_what_is_below),
        cmocka_unit_test(the_interval_is_where_e_reaches_its_threshold),
        cmocka_unit_test(rounding_to_the_nearest_promotes_at_the_margin_and_rounding_down_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
