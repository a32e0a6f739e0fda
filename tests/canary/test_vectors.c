/* The vectors beside the repository (../shared/design/statistics-vectors.json), step by step; and of each the last step, for where they are not. */
#include "canary/bound.h"
#include "canary/detector.h"
#include "canary/draws.h"
#include "canary/evidence.h"
#include "core/json.h"

#include <math.h>
#include <stdio.h>

#define VECTORS "../shared/design/statistics-vectors.json"

/* In the order of the file's columns. */
enum { LOG_PROMOTE, LOG_BACK, MIX_LOWER, MIX_UPPER, BOUND_LOWER, BOUND_UPPER, DETECTOR, COLUMNS };
static const struct { const char *name; bool relative; double tolerance; } columns[COLUMNS] = {
    { "log_e_promote", true, 1e-8 }, { "log_e_rollback", true, 1e-8 }, { "mix_lower_D_95", false, 1e-9 }, { "mix_upper_D_95", false, 1e-9 },
    { "eb_lower_D_95", false, 1e-9 }, { "eb_upper_D_95", false, 1e-9 }, { "sr_detector_M", true, 1e-9 },
};

/* All that is followed over one case. */
struct follow {
    struct evidence_test test;
    struct evidence evidence;
    struct detector detector;
    struct bound bound;
    struct evidence_verdict verdict;
    int decided, n;                     /* after how many pairs; 0: not yet */
    enum verdict decision;
};

static void follow_init(struct follow *f, double margin)
{
    struct evidence_terms terms = evidence_by_risk[1];
    terms.margin = terms.margin_back = margin;
    *f = (struct follow){ .detector.m0 = (1 - margin) / 2 };
    assert_int_equal(evidence_test_init(&f->test, &terms), ERR_OK);
    bound_init(&f->bound, 0.025);
}

static void follow_add(struct follow *f, int d)
{
    f->n++;
    evidence_add(&f->evidence, d > 0 ? 1 : d < 0 ? 0 : 0.9, d > 0 ? 0 : d < 0 ? 1 : 0.9);
    detector_add(&f->detector, (d + 1) / 2.0);
    bound_add(&f->bound, (d + 1) / 2.0);
    f->verdict = evidence_decide(&f->test, &f->evidence, true);
    if (!f->decided && f->verdict.verdict != VERDICT_WAIT) {
        f->decided = f->n;
        f->decision = f->verdict.verdict;
    }
}

static double follow_column(const struct follow *f, int column)
{
    switch (column) {
    case LOG_PROMOTE: return f->verdict.log_promote;
    case LOG_BACK: return f->verdict.log_back;
    case MIX_LOWER: return 2 * mixture_lower(f->evidence.down, 0.025) - 1;
    case MIX_UPPER: return 2 * mixture_upper(f->evidence.up, 0.025) - 1;
    case BOUND_LOWER: return 2 * bound_lower(&f->bound) - 1;
    case BOUND_UPPER: return 2 * bound_upper(&f->bound) - 1;
    default: return detector_value(&f->detector);
    }
}

static void must_be(const struct follow *f, str name, int column, double want)
{
    double here = follow_column(f, column), most = columns[column].tolerance * (columns[column].relative ? fmax(fabs(want), 1e-3) : 1);
    if (!(fabs(here - want) <= most))
        fail_msg("%.*s after %d: %s is %.13g, not %.13g", STR_ARG(name), f->n, columns[column].name, here, want);
}

static json load(struct arena *a)
{
    FILE *f = fopen(VECTORS, "rb");
    json doc;
    if (!f)
        return JSON_ABSENT;
    char *text = arena_alloc(a, 1 << 20, 1);
    assert_non_null(text);
    size_t n = fread(text, 1, 1 << 20, f);
    fclose(f);
    assert_int_equal(json_parse(a, str_slice(text, n), &JSON_DEFAULT_LIMITS, &doc, NULL), ERR_OK);
    return doc;
}

static double number(json object, str key)
{
    double v;
    assert_true(json_f64(json_member(object, key), &v));
    return v;
}

static void follow_case(struct arena *a, json c, size_t *checked)
{
    static struct follow f;
    str name, d;
    assert_int_equal(json_text(a, json_member(c, S("name")), &name), ERR_OK);
    assert_int_equal(json_text(a, json_member(c, S("d")), &d), ERR_OK);
    json row = json_first(json_member(c, S("rows"))), decision = json_member(c, S("decision"));
    follow_init(&f, number(c, S("delta")));
    for (size_t i = 0; i < d.n; i++, row = json_next(row)) {
        follow_add(&f, d.p[i] == '+' ? 1 : d.p[i] == '-' ? -1 : 0);
        for (int column = 0; column < COLUMNS; column++) {
            double want;
            if (!json_f64(json_at(row, (size_t)column), &want))
                continue;
            must_be(&f, name, column, want);
            ++*checked;
        }
        assert_true(detector_value(&f.detector) < number(c, S("detector_A")));
    }
    assert_int_equal(json_type(row), JSON_NONE);
    int64_t at = 0;
    (void)json_i64(json_at(decision, 0), &at);
    assert_int_equal(f.decided, at);
    assert_true(!at || (json_is(json_at(decision, 1), S("promote")) && f.decision == VERDICT_PROMOTE));
}

static void every_step_of_every_vector_is_reproduced(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64 << 20);
    json doc = load(&a);
    if (json_type(doc) == JSON_NONE) {
        print_message("%s is not there\n", VECTORS);
        skip();
    }
    size_t checked = 0, cases = 0;
    for (int column = 0; column < COLUMNS; column++)
        assert_true(json_is(json_at(json_member(doc, S("columns")), (size_t)column), str_of(columns[column].name)));
    for (json c = json_first(json_member(doc, S("cases"))); json_type(c) != JSON_NONE; c = json_next(c), cases++)
        follow_case(&a, c, &checked);
    arena_free(&a);
    print_message("%zu vectors, %zu values\n", cases, checked);
    assert_true(cases == 4 && checked > 8000);
}

static void their_last_steps_come_of_their_seeds(void **state)
{
    (void)state;
    static const struct { const char *name; uint64_t seed; double win, loss, margin; int decided; double want[COLUMNS]; } last[] = {
        { "equal_d20", 101, 0.1, 0.1, 0.05, 0,
          { 0.193323057796, -1.96253010379, -0.091529537778, 0.0512126307878, -0.101683730563, 0.0451837429442, 74.1977980637 } },
        { "equal_d20_m10", 102, 0.1, 0.1, 0.1, 257,
          { 6.9808717417, -3.46922853416, -0.0751540405744, 0.0701230988628, -0.0891677678421, 0.0705110366661, 51.7078647081 } },
        { "boundary_d20", 103, 0.075, 0.125, 0.05, 0,
          { -1.02210229454, -1.11500781249, -0.117751369878, 0.0216575757155, -0.121399450774, 0.0294337568946, 167.74294744 } },
        { "better", 104, 0.2, 0.1, 0.05, 134,
          { 10.4757557762, -4.46873161428, 0.00197113745102, 0.173621136755, -0.0091449668164, 0.183210821361, 41.0679907514 } },
    };
    static struct follow f;
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        struct rng g = rand_seeded(last[i].seed);
        follow_init(&f, last[i].margin);
        for (int n = 0; n < 400; n++)
            follow_add(&f, draw_pair(&g, last[i].win, last[i].loss));
        for (int column = 0; column < COLUMNS; column++)
            must_be(&f, str_of(last[i].name), column, last[i].want[column]);
        assert_int_equal(f.decided, last[i].decided);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_of_every_vector_is_reproduced),
        cmocka_unit_test(their_last_steps_come_of_their_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
