/* Decisions: when they come, in which order they are asked, what may hold them up, and how often they are wrong. */
#include "canary/evidence.h"
#include "canary/draws.h"

#include <math.h>

static struct evidence_test medium;     /* margin 0.05, alpha 0.05, floor 0.3 */

static int prepare(void **state)
{
    (void)state;
    struct evidence_terms terms = evidence_by_risk[1];
    terms.floor = 0.3;
    return evidence_test_init(&medium, &terms) != ERR_OK;
}

static void add(struct evidence *e, unsigned n, double candidate, double reference)
{
    while (n--)
        evidence_add(e, candidate, reference);
}

/* After how many equal pairs there is a decision. */
static unsigned decided_after(double candidate, double reference, enum verdict *out)
{
    struct evidence e = { 0 };
    for (;;) {
        evidence_add(&e, candidate, reference);
        *out = evidence_decide(&medium, &e, true).verdict;
        if (*out != VERDICT_WAIT)
            return e.pairs;
    }
}

static void ties_wins_and_losses_decide_after_91_7_and_10_pairs(void **state)
{
    (void)state;
    enum verdict v;
    assert_int_equal(decided_after(1, 1, &v), 91);
    assert_int_equal(v, VERDICT_PROMOTE);
    assert_int_equal(decided_after(1, 0, &v), 7);
    assert_int_equal(v, VERDICT_PROMOTE);
    assert_int_equal(decided_after(0, 1, &v), 10);
    assert_int_equal(v, VERDICT_BACK);
}

static void two_arms_that_always_fail_are_not_promoted(void **state)
{
    (void)state;
    enum verdict v;
    assert_int_equal(decided_after(0, 0, &v), 5000);
    assert_int_equal(v, VERDICT_HOLD);
    assert_int_equal(decided_after(0.3, 0.3, &v), 5000);        /* at the floor is not above it */
    assert_int_equal(v, VERDICT_HOLD);
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    static const struct { unsigned pairs; double candidate, reference; unsigned excluded; bool proven; enum verdict verdict; const char *reason; } rows[] = {
        { 0, 1, 1, 0, true, VERDICT_WAIT, "the evidence is not enough yet" },
        { 90, 1, 1, 0, true, VERDICT_WAIT, "the evidence is not enough yet" },
        { 91, 1, 1, 0, true, VERDICT_PROMOTE, "the candidate is not worse than the margin allows, and above the floor" },
        { 91, 0.1, 0.1, 0, true, VERDICT_WAIT, "not worse than the reference by the margin, but not above the floor yet" },
        { 91, 1, 1, 0, false, VERDICT_WAIT, "the graders have not rejected a bad candidate yet" },
        { 5000, 1, 1, 0, false, VERDICT_HOLD, "as many pairs as were agreed on gave no decision" },
        { 7, 1, 0, 1, true, VERDICT_WAIT, "too many of the first calls could not be graded" },
        { 19, 1, 0, 1, true, VERDICT_PROMOTE, "the candidate is not worse than the margin allows, and above the floor" },  /* 5 % is not more than 5 % */
        { 91, 1, 1, 5, true, VERDICT_WAIT, "too many of the first calls could not be graded" },
        { 95, 1, 1, 5, true, VERDICT_PROMOTE, "the candidate is not worse than the margin allows, and above the floor" },
        { 94, 1, 1, 6, true, VERDICT_HOLD, "too many calls could not be graded" },
        { 0, 1, 1, 100, true, VERDICT_HOLD, "too many calls could not be graded" },
        { 10, 0, 1, 1000, false, VERDICT_BACK, "the candidate is worse than the margin allows" },      /* nothing stands in its way */
        { 5000, 0, 1, 0, true, VERDICT_BACK, "the candidate is worse than the margin allows" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct evidence e = { 0 };
        add(&e, rows[i].pairs, rows[i].candidate, rows[i].reference);
        for (unsigned k = 0; k < rows[i].excluded; k++)
            evidence_exclude(&e);
        struct evidence_verdict v = evidence_decide(&medium, &e, rows[i].proven);
        if (v.verdict != rows[i].verdict || strcmp(v.reason, rows[i].reason))
            fail_msg("row %zu: %d, %s", i, v.verdict, v.reason);
    }
}

/* A margin for promotion that is wider than that for rolling back: both may be reached by the same pairs. */
static void rolling_back_comes_before_promoting(void **state)
{
    (void)state;
    struct evidence_terms terms = { .margin = 0.3, .margin_back = 0.02, .floor = 0.3, .alpha = 0.05, .alpha_back = 0.01, .pairs_most = 5000 };
    static struct evidence_test t;
    struct evidence e = { 0 };
    assert_int_equal(evidence_test_init(&t, &terms), ERR_OK);
    add(&e, 2000, 0.8, 0.95);
    struct evidence_verdict v = evidence_decide(&t, &e, true);
    assert_true(v.log_promote >= t.promote_at && v.log_back >= t.back_at && v.log_floor >= t.promote_at);
    assert_int_equal(v.verdict, VERDICT_BACK);
}

static void retries_share_one_alpha(void **state)
{
    (void)state;
    double sum = 0;
    assert_near(evidence_alpha(0.05, 1), 0.05 * 0.6079271018540267, 1e-15);
    assert_near(evidence_alpha(0.05, 2), 0.05 * 0.6079271018540267 / 4, 1e-15);
    for (uint32_t k = 1; k <= 1000000; k++)
        sum += evidence_alpha(0.05, k);
    assert_true(sum < 0.05 && sum > 0.04999);
    assert_true(evidence_alpha(0.05, UINT32_MAX) > 0);
}

static void terms_out_of_their_range_are_refused(void **state)
{
    (void)state;
    static struct evidence_test t;
    const struct evidence_terms good = evidence_by_risk[2];
    static const double bad[] = { 0, 1, -0.1, 1.5, NAN, INFINITY };
    for (size_t field = 0; field < 5; field++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            struct evidence_terms terms = good;
            double *fields[] = { &terms.margin, &terms.margin_back, &terms.floor, &terms.alpha, &terms.alpha_back };
            *fields[field] = bad[i];
            t.pairs_most = 77;
            assert_int_equal(evidence_test_init(&t, &terms), ERR_RANGE);
            assert_int_equal(t.pairs_most, 77);
        }
    struct evidence_terms none = good;
    none.pairs_most = 0;
    assert_int_equal(evidence_test_init(&t, &none), ERR_RANGE);
    for (int risk = 0; risk < 3; risk++)
        assert_int_equal(evidence_test_init(&t, &evidence_by_risk[risk]), ERR_OK);
}

static void differences_are_counted_down_and_up_and_scores_down(void **state)
{
    (void)state;
    struct evidence e = { 0 };
    evidence_add(&e, 0.5, 0.496);       /* +0.004 */
    evidence_add(&e, 0.9, 1);
    evidence_add(&e, 0.9049, 0.9049);
    assert_int_equal(e.pairs, 3);
    assert_true(e.down[100] == 2 && e.up[101] == 1 && e.up[100] == 1);
    assert_true(e.down[90] == 1 && e.up[90] == 1);
    assert_true(e.own[100] == 1 && e.own[180] == 2);
}

enum { RUNS = 400, PAIRS = 5000, CLUSTER = 10 };

/* How many of RUNS promote a candidate that is worse by exactly the margin. Calls come in conversations of ten with one outcome. */
static unsigned false_promotions(bool one_of_each)
{
    unsigned found = 0;
    struct rng g;
    for (uint64_t r = 0; r < RUNS; r++) {
        struct evidence e = { 0 };
        enum verdict v = VERDICT_WAIT;
        g = draw_run(31, r);
        while (v == VERDICT_WAIT) {
            int d = draw_pair(&g, 0.075, 0.125);
            add(&e, one_of_each ? 1 : CLUSTER, d < 0 ? 0 : 1, d > 0 ? 0 : 1);
            v = evidence_decide(&medium, &e, true).verdict;
        }
        found += v == VERDICT_PROMOTE;
    }
    return found;
}

static void one_pair_of_a_conversation_promotes_falsely_in_five_percent_at_most(void **state)
{
    (void)state;
    unsigned one = false_promotions(true), all = false_promotions(false);
    print_message("conversations of 10: one pair of each %.1f %%, every call a pair %.1f %%\n", 100.0 * one / RUNS, 100.0 * all / RUNS);
    assert_true(one <= 0.05 * RUNS);
    assert_true(all >= 0.5 * RUNS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_wins_and_losses_decide_after_91_7_and_10_pairs),
        cmocka_unit_test(two_arms_that_always_fail_are_not_promoted),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(rolling_back_comes_before_promoting),
        cmocka_unit_test(retries_share_one_alpha),
        cmocka_unit_test(terms_out_of_their_range_are_refused),
        cmocka_unit_test(differences_are_counted_down_and_up_and_scores_down),
        cmocka_unit_test(one_pair_of_a_conversation_promotes_falsely_in_five_percent_at_most),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
