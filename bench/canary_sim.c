/* What the canary's statistics do, simulated, beside what was foreseen: how often a candidate is promoted that must not be, how many pairs a decision takes, how
 * soon a drop is seen; and what a decision costs.
 *
 *   canary_sim [--runs N] [--json]      2,000 runs of each row, in half a minute. With fewer, chance alone may pass a bar.
 *   canary_sim --quick [...]            the medians only, and a decision may take what it takes
 *
 * Exit code 1: more than 5 % false promotions, a median off by more than 10 %, or a decision of 20 us. Run r draws from SplitMix64 of 1000003 + r, and is looked
 * at after each pair. What was foreseen came of other code and other seeds. */
#include "canary/bound.h"
#include "canary/detector.h"
#include "canary/evidence.h"
#include "core/json.h"
#include "core/rand.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SEED 1
#define PAIRS_MOST 5000
#define ALPHA 0.05
#define ALPHA_BACK 0.01
#define NAIVE_FIRST 30                  /* the textbook's least number for a z-test */
#define NAIVE_Z 1.6448536269514722      /* one-sided, 5 % */
#define DECIDE_US_MOST 20.0
#define RUNS_OF_INTERVALS 200           /* a bisection at each look is slow: fewer runs, every tenth look */

struct sim {
    uint32_t runs;
    double *lengths;                    /* of each run; room for all */
    bool quick;
};

enum check { SHOWN, PROMOTED, BACK, MEDIAN };

struct row {
    const char *what;
    double (*run)(const struct row *r, const struct sim *s);
    double margin, win, loss;           /* of pairs */
    double more;                        /* what else `run` asks for */
    double low, high;                   /* as foreseen */
    enum check check;
};

static struct rng replicate(uint32_t r) { return rand_seeded(SEED * 1000003ull + r); }

/* 1 the candidate wins, -1 it loses, 0 they tie. */
static int draw(struct rng *g, double win, double loss)
{
    double u = rand_unit(g);
    return u < win ? 1 : u < win + loss ? -1 : 0;
}

/* The score 0 or 1, as a bin. */
static unsigned draw_pass(struct rng *g, double rate) { return rand_unit(g) < rate ? MIXTURE_BINS - 1 : 0; }

static unsigned bin_of(int d) { return (unsigned)(MIXTURE_BINS / 2 * (d + 1)); }

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const struct sim *s)
{
    qsort(s->lengths, s->runs, sizeof *s->lengths, by_size);
    return (s->lengths[(s->runs - 1) / 2] + s->lengths[s->runs / 2]) / 2;
}

/* Pairs until E_p reaches 1/alpha; 0: not within PAIRS_MOST. Of what is drawn `noise` is replaced by a coin's verdict. */
static uint32_t until_promoted(const struct mixture *m, struct rng *g, double win, double loss, double noise)
{
    uint32_t count[MIXTURE_BINS] = { 0 };
    for (uint32_t n = 1; n <= PAIRS_MOST; n++) {
        int d = draw(g, win, loss);
        if (noise > 0 && rand_unit(g) < noise)
            d = draw(g, 0.5, 0.5);
        count[bin_of(d)]++;
        if (mixture_log_e(m, count) >= -log(ALPHA))
            return n;
    }
    return 0;
}

/* The share of runs that promote; `more` is the judge's noise. */
static double promoted(const struct row *r, const struct sim *s)
{
    struct mixture m;
    uint32_t found = 0;
    mixture_above(&m, (1 - r->margin) / 2);
    for (uint32_t i = 0; i < s->runs; i++) {
        struct rng g = replicate(i);
        found += until_promoted(&m, &g, r->win, r->loss, r->more) != 0;
    }
    return 100.0 * found / s->runs;
}

static bool naive_promotes(struct rng *g, const struct row *r)
{
    double sum = 0, squares = 0;
    for (uint32_t n = 1; n <= PAIRS_MOST; n++) {
        int d = draw(g, r->win, r->loss);
        sum += d;
        squares += d * d;
        if (n < NAIVE_FIRST)
            continue;
        double mean = sum / n, variance = (squares - n * mean * mean) / (n - 1);
        if (variance > 0 && (mean + r->margin) / sqrt(variance / n) >= NAIVE_Z)
            return true;
    }
    return false;
}

/* The same of a z-test that is looked at after each pair. */
static double naive(const struct row *r, const struct sim *s)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < s->runs; i++) {
        struct rng g = replicate(i);
        found += naive_promotes(&g, r);
    }
    return 100.0 * found / s->runs;
}

/* Conversations of `more` calls with one outcome, each of them taken for a pair. */
static double clustered(const struct row *r, const struct sim *s)
{
    struct mixture m;
    uint32_t found = 0;
    mixture_above(&m, (1 - r->margin) / 2);
    for (uint32_t i = 0; i < s->runs; i++) {
        struct rng g = replicate(i);
        uint32_t count[MIXTURE_BINS] = { 0 };
        bool reached = false;
        for (uint32_t n = 0; n < PAIRS_MOST && !reached; n += (uint32_t)r->more) {
            count[bin_of(draw(&g, r->win, r->loss))] += (uint32_t)r->more;
            reached = mixture_log_e(&m, count) >= -log(ALPHA);
        }
        found += reached;
    }
    return 100.0 * found / s->runs;
}

static double pairs_to_promote(const struct row *r, const struct sim *s)
{
    struct mixture m;
    mixture_above(&m, (1 - r->margin) / 2);
    for (uint32_t i = 0; i < s->runs; i++) {
        struct rng g = replicate(i);
        uint32_t n = until_promoted(&m, &g, r->win, r->loss, 0);
        s->lengths[i] = n ? n : INFINITY;
    }
    return median(s);
}

/* Pairs until E_r reaches 1/alpha_back. */
static void roll_back(const struct row *r, const struct sim *s)
{
    struct mixture m;
    mixture_below(&m, (1 - r->margin) / 2);
    for (uint32_t i = 0; i < s->runs; i++) {
        struct rng g = replicate(i);
        uint32_t count[MIXTURE_BINS] = { 0 };
        s->lengths[i] = INFINITY;
        for (uint32_t n = 1; n <= PAIRS_MOST && isinf(s->lengths[i]); n++) {
            count[bin_of(draw(&g, r->win, r->loss))]++;
            if (mixture_log_e(&m, count) >= -log(ALPHA_BACK))
                s->lengths[i] = n;
        }
    }
}

static double pairs_to_roll_back(const struct row *r, const struct sim *s)
{
    roll_back(r, s);
    return median(s);
}

static double rolled_back(const struct row *r, const struct sim *s)
{
    uint32_t found = 0;
    roll_back(r, s);
    for (uint32_t i = 0; i < s->runs; i++)
        found += !isinf(s->lengths[i]);
    return 100.0 * found / s->runs;
}

/* Calls from a drop of the pass rate to `win` until the alarm, after 1,000 at `loss`; false alarms before are forgotten. `more` is the floor. */
static double calls_to_alarm(const struct row *r, const struct sim *s)
{
    for (uint32_t i = 0; i < s->runs; i++) {
        struct rng g = replicate(i);
        struct detector d = { .m0 = r->more };
        for (int n = 0; n < 1000; n++) {
            detector_add(&d, rand_unit(&g) < r->loss);
            if (detector_value(&d) >= DETECTOR_PROMOTED)
                d = (struct detector){ .m0 = r->more };
        }
        for (s->lengths[i] = 0; detector_value(&d) < DETECTOR_PROMOTED; s->lengths[i]++)
            detector_add(&d, rand_unit(&g) < r->win);
    }
    return median(s);
}

/* Both arms pass at the rate `more`; the k-th result of one is held against the k-th of the other. How many times the pairs. */
static double unpaired(const struct row *r, const struct sim *s)
{
    double rate = r->more, apart = rate * (1 - rate), paired = pairs_to_promote(r, s);
    struct row other = *r;
    other.win = other.loss = apart;
    return pairs_to_promote(&other, s) / paired;
}

/* Until the lower end of the one is above the upper end of the other, less the margin. */
static double results_for_mixtures(struct rng *g, const struct row *r)
{
    uint32_t a[MIXTURE_BINS] = { 0 }, b[MIXTURE_BINS] = { 0 };
    for (uint32_t n = 1; n <= 4 * PAIRS_MOST; n++) {
        a[draw_pass(g, r->more)]++;
        b[draw_pass(g, r->more)]++;
        if (n % 10 == 0 && mixture_lower(a, ALPHA / 2) - mixture_upper(b, ALPHA / 2) > -r->margin)
            return n;
    }
    return INFINITY;
}

static double results_for_bounds(struct rng *g, const struct row *r)
{
    struct bound a, b;
    bound_init(&a, ALPHA / 2);
    bound_init(&b, ALPHA / 2);
    for (uint32_t n = 1; n <= 4 * PAIRS_MOST; n++) {
        bound_add(&a, rand_unit(g) < r->more);
        bound_add(&b, rand_unit(g) < r->more);
        if (bound_lower(&a) - bound_upper(&b) > -r->margin)
            return n;
    }
    return INFINITY;
}

static double separate(const struct row *r, const struct sim *s, double (*results)(struct rng *g, const struct row *r))
{
    double paired = pairs_to_promote(r, s);
    struct sim fewer = { .runs = s->runs < RUNS_OF_INTERVALS ? s->runs : RUNS_OF_INTERVALS, .lengths = s->lengths };
    for (uint32_t i = 0; i < fewer.runs; i++) {
        struct rng g = replicate(i);
        s->lengths[i] = results(&g, r);
    }
    return median(&fewer) / paired;
}

static double two_mixtures(const struct row *r, const struct sim *s) { return separate(r, s, results_for_mixtures); }
static double two_bounds(const struct row *r, const struct sim *s) { return separate(r, s, results_for_bounds); }

/* A section begins with a row that has a name only. */
static const struct row rows[] = {
    { .what = "False promotions, %: the candidate is worse by exactly the margin, up to 5,000 pairs" },
    { "margin .05, one in 10 differs", promoted, .05, .025, .075, 0, 2.6, 4.5, PROMOTED },
    { "  the same runs, z-test after each pair", naive, .05, .025, .075, 0, 41, 53, SHOWN },
    { "margin .05, two in 10 differ", promoted, .05, .075, .125, 0, 2.6, 4.5, PROMOTED },
    { "  the same runs, z-test after each pair", naive, .05, .075, .125, 0, 41, 53, SHOWN },
    { "margin .05, three in 10 differ", promoted, .05, .125, .175, 0, 2.6, 4.5, PROMOTED },
    { "  the same runs, z-test after each pair", naive, .05, .125, .175, 0, 41, 53, SHOWN },
    { "margin .05, four in 10 differ", promoted, .05, .175, .225, 0, 2.6, 4.5, PROMOTED },
    { "  the same runs, z-test after each pair", naive, .05, .175, .225, 0, 41, 53, SHOWN },
    { "conversations of 10 calls, one pair each", promoted, .05, .075, .125, 0, 1.3, 5, PROMOTED },
    { "  the same, every call a pair", clustered, .05, .075, .125, 10, 68, 68, SHOWN },
    { "a judge at random in .2, margin .05 x .8", promoted, .04, .075, .125, .2, 0, 5, PROMOTED },
    { "  the same, margin .05", promoted, .05, .075, .125, .2, NAN, NAN, SHOWN },
    { .what = "Pairs to promotion, median: the candidate is as good, and in the last four rows better by .05" },
    { "margin .05, .05 differ", pairs_to_promote, .05, .025, .025, 0, 208, 208, MEDIAN },
    { "margin .05, .1 differ", pairs_to_promote, .05, .05, .05, 0, 300, 300, MEDIAN },
    { "margin .05, .2 differ", pairs_to_promote, .05, .1, .1, 0, 513, 513, MEDIAN },
    { "margin .05, .4 differ", pairs_to_promote, .05, .2, .2, 0, 973, 973, MEDIAN },
    { "margin .10, .05 differ", pairs_to_promote, .10, .025, .025, 0, 75, 75, MEDIAN },
    { "margin .10, .1 differ", pairs_to_promote, .10, .05, .05, 0, 98, 98, MEDIAN },
    { "margin .10, .2 differ", pairs_to_promote, .10, .1, .1, 0, 152, 152, MEDIAN },
    { "margin .10, .4 differ", pairs_to_promote, .10, .2, .2, 0, 258, 258, MEDIAN },
    { "margin .05, .05 differ, better", pairs_to_promote, .05, .05, 0, 0, 55, 55, MEDIAN },
    { "margin .05, .1 differ, better", pairs_to_promote, .05, .075, .025, 0, 89, 89, MEDIAN },
    { "margin .05, .2 differ, better", pairs_to_promote, .05, .125, .075, 0, 136, 136, MEDIAN },
    { "margin .05, .4 differ, better", pairs_to_promote, .05, .225, .175, 0, 261, 261, MEDIAN },
    { .what = "Rolling back, alpha .01, margin .05: % of runs of an equal candidate; pairs to it, median" },
    { "equal, .2 differ, % within 5,000 pairs", rolled_back, .05, .1, .1, 0, 0, 0, BACK },
    { "a drop of 20 points", pairs_to_roll_back, .05, .1, .3, 0, 177, 177, MEDIAN },
    { "a drop of 50 points", pairs_to_roll_back, .05, .1, .6, 0, 38, 38, MEDIAN },
    { .what = "Detector, calls to the alarm, median: pass rate .95, floor .90, A = 10,000, after 1,000 good calls" },
    { "a drop of 10 points", calls_to_alarm, 0, .85, .95, .90, 337, 337, MEDIAN },
    { "a drop of 20 points", calls_to_alarm, 0, .75, .95, .90, 67, 67, MEDIAN },
    { "a drop of 50 points", calls_to_alarm, 0, .45, .95, .90, 13, 13, MEDIAN },
    { .what = "Times as many results as pairs, margin .05, by pass rate of both and share of pairs that differ" },
    { "unpaired: .95, .05", unpaired, .05, .025, .025, .95, 1.5, 2.1, SHOWN },
    { "unpaired: .9, .1", unpaired, .05, .05, .05, .9, 1.5, 2.1, SHOWN },
    { "unpaired: .8, .2", unpaired, .05, .1, .1, .8, 1.5, 2.1, SHOWN },
    { "unpaired: .7, .2", unpaired, .05, .1, .1, .7, 1.5, 2.1, SHOWN },
    { "two intervals: .95, .05", two_mixtures, .05, .025, .025, .95, 4, 7, SHOWN },
    { "two intervals: .9, .1", two_mixtures, .05, .05, .05, .9, 4, 7, SHOWN },
    { "two intervals: .8, .2", two_mixtures, .05, .1, .1, .8, 4, 7, SHOWN },
    { "two intervals: .7, .2", two_mixtures, .05, .1, .1, .7, 4, 7, SHOWN },
    { "two empirical Bernstein bounds: .9, .1", two_bounds, .05, .05, .05, .9, NAN, NAN, SHOWN },
};
enum { ROWS = sizeof rows / sizeof *rows };

static bool holds(const struct row *r, double here)
{
    switch (r->check) {
    case PROMOTED: return here <= 100 * ALPHA;
    case BACK: return here <= 100 * ALPHA_BACK;
    case MEDIAN: return fabs(here / r->low - 1) <= 0.10;
    case SHOWN: break;
    }
    return true;
}

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* One more pair and the decision on all, in microseconds of CPU time: every bin of each count is in use. The best of five parts; of all of them the sum
 * of decisions goes out, so that nothing is left out. */
static double decide_us(void)
{
    enum { TIMES = 20000 };
    static struct evidence_test t;
    static struct evidence e;
    double best = INFINITY;
    unsigned sum = 0;
    if (evidence_test_init(&t, &evidence_by_risk[1]))
        return NAN;
    for (int part = 0; part < 5; part++) {
        struct rng g = replicate(0);
        double began = cpu_us();
        for (int i = 0; i < TIMES; i++) {
            evidence_add(&e, rand_unit(&g), rand_unit(&g));
            sum += evidence_decide(&t, &e, true).verdict;
        }
        double us = (cpu_us() - began) / TIMES;
        best = us < best ? us : best;
    }
    return sum ? best : NAN;
}

static void print_row(const struct row *r, double here, bool ok)
{
    char page[32] = "", differs[32] = "";
    if (!r->run) {
        printf("\n%s\n%-44s %12s %9s %9s\n", r->what, "", "foreseen", "here", "differs");
        return;
    }
    if (!isnan(r->low) && r->low < r->high)
        snprintf(page, sizeof page, "%g - %g", r->low, r->high);
    else if (!isnan(r->low))
        snprintf(page, sizeof page, "%g", r->low);
    if (r->check == MEDIAN)
        snprintf(differs, sizeof differs, "%+.1f %%", 100 * (here / r->low - 1));
    else if (!isnan(r->low))
        snprintf(differs, sizeof differs, "%s", here < r->low ? "below" : here > r->high ? "above" : "-");
    printf("%-44s %12s %9.*f %9s%s\n", r->what, page, r->check == MEDIAN ? 0 : 2, here, differs, ok ? "" : "  FAILED");
    fflush(stdout);
}

static void put_number(struct json_out *o, str key, double v)
{
    json_put_key(o, key);
    json_put_f64(o, v);
}

static void put_row(struct json_out *o, const char *section, const struct row *r, double here, bool ok)
{
    json_open(o, '{');
    json_put_text(o, S("section"), str_of(section));
    json_put_text(o, S("what"), str_trim(str_of(r->what)));
    put_number(o, S("foreseen_low"), r->low);
    put_number(o, S("foreseen_high"), r->high);
    put_number(o, S("here"), here);
    json_put_key(o, S("ok"));
    json_put_bool(o, ok);
    json_close(o, '}');
}

/* All rows, as text or into `o`; whether all hold. */
static bool run_rows(const struct sim *s, struct json_out *o)
{
    const char *section = "";
    bool all = true;
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        if (r->run && r->check != MEDIAN && s->quick)
            continue;
        double here = r->run ? r->run(r, s) : 0;
        bool ok = !r->run || holds(r, here);
        all = all && ok;
        section = r->run ? section : r->what;
        if (!o)
            print_row(r, here, ok);
        else if (r->run)
            put_row(o, section, r, here, ok);
    }
    return all;
}

static bool simulate(const struct sim *s, bool as_json)
{
    struct buf b = { .max = SIZE_MAX };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("rows"));
    json_open(&o, '[');
    bool all = run_rows(s, as_json ? &o : NULL);
    json_close(&o, ']');
    double us = decide_us();
    all = all && (s->quick || us < DECIDE_US_MOST);
    put_number(&o, S("runs"), s->runs);
    put_number(&o, S("decide_us"), us);
    json_put_key(&o, S("ok"));
    json_put_bool(&o, all && !o.err);
    json_close(&o, '}');
    if (as_json)
        printf("%.*s\n", STR_ARG(buf_str(&b)));
    else
        printf("\nOne more pair and the decision on all, every bin in use: %.2f us (at most %.0f). %s\n", us, DECIDE_US_MOST, all ? "All hold." : "NOT ALL HOLD.");
    buf_free(&b);
    return all && !o.err;
}

int main(int argc, char **argv)
{
    uint64_t runs = 2000;
    bool as_json = false, quick = false, bad = false;
    for (int i = 1; i < argc; i++) {
        str word = str_of(argv[i]);
        if (str_eq(word, S("--json")))
            as_json = true;
        else if (str_eq(word, S("--quick")))
            quick = true;
        else if (str_eq(word, S("--runs")) && i + 1 < argc)
            bad |= !str_u64(str_of(argv[++i]), &runs) || !runs || runs > 1000000;
        else
            bad = true;
    }
    double *lengths = bad ? NULL : calloc(runs, sizeof *lengths);
    if (!lengths)
        return fprintf(stderr, "usage: canary_sim [--runs N] [--quick] [--json]\n"), 2;
    bool all = simulate(&(struct sim){ .runs = (uint32_t)runs, .lengths = lengths, .quick = quick }, as_json);
    free(lengths);
    return all ? 0 : 1;
}
