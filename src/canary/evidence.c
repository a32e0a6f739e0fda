/* Rolling back is asked before all else: it is the safe side, and nothing that is missing may stand in its way. */
#include "canary/evidence.h"

#include <assert.h>
#include <math.h>

const struct evidence_terms evidence_by_risk[3] = {
    { .margin = 0.10, .margin_back = 0.10, .floor = 0.5, .alpha = 0.05, .alpha_back = 0.01, .pairs_most = 5000 },
    { .margin = 0.05, .margin_back = 0.05, .floor = 0.5, .alpha = 0.05, .alpha_back = 0.01, .pairs_most = 5000 },
    { .margin = 0.05, .margin_back = 0.05, .floor = 0.5, .alpha = 0.01, .alpha_back = 0.01, .pairs_most = 5000 },
};

double evidence_alpha(double alpha, uint32_t attempt)
{
    double k = attempt;
    return alpha * 6 / (M_PI * M_PI * k * k);
}

static bool is_share(double v) { return v > 0 && v < 1; }

enum err evidence_test_init(struct evidence_test *t, const struct evidence_terms *terms)
{
    const double shares[] = { terms->margin, terms->margin_back, terms->floor, terms->alpha, terms->alpha_back };
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (!is_share(shares[i]))
            return ERR_RANGE;
    if (!terms->pairs_most)
        return ERR_RANGE;
    mixture_above(&t->promote, (1 - terms->margin) / 2);
    mixture_below(&t->back, (1 - terms->margin_back) / 2);
    mixture_above(&t->floor, terms->floor);
    t->promote_at = -log(terms->alpha);
    t->back_at = -log(terms->alpha_back);
    t->pairs_most = terms->pairs_most;
    return ERR_OK;
}

void evidence_add(struct evidence *e, double candidate, double reference)
{
    assert(candidate >= 0 && candidate <= 1 && reference >= 0 && reference <= 1);
    double d = candidate - reference;
    e->pairs++;
    e->down[mixture_difference_down(d)]++;
    e->up[mixture_difference_up(d)]++;
    e->own[mixture_score_down(candidate)]++;
}

void evidence_exclude(struct evidence *e) { e->excluded++; }

/* Why it must go on; asked only where nothing was decided. */
static const char *what_is_missing(const struct evidence_test *t, const struct evidence_verdict *v, bool proven)
{
    if (v->log_promote < t->promote_at)
        return "the evidence is not enough yet";
    if (v->log_floor < t->promote_at)
        return "not worse than the reference by the margin, but not above the floor yet";
    return proven ? "too many of the first calls could not be graded" : "the graders have not rejected a bad candidate yet";
}

struct evidence_verdict evidence_decide(const struct evidence_test *t, const struct evidence *e, bool proven)
{
    struct evidence_verdict v = { .log_promote = mixture_log_e(&t->promote, e->down),
                                  .log_back = mixture_log_e(&t->back, e->up),
                                  .log_floor = mixture_log_e(&t->floor, e->own) };
    double all = (double)e->pairs + e->excluded;
    bool graded = e->excluded <= EVIDENCE_EXCLUDED_MOST * all;
    if (v.log_back >= t->back_at) {
        v.verdict = VERDICT_BACK;
        v.reason = "the candidate is worse than the margin allows";
    } else if (!graded && all >= EVIDENCE_EXCLUDED_AFTER) {
        v.verdict = VERDICT_HOLD;
        v.reason = "too many calls could not be graded";
    } else if (graded && proven && v.log_promote >= t->promote_at && v.log_floor >= t->promote_at) {
        v.verdict = VERDICT_PROMOTE;
        v.reason = "the candidate is not worse than the margin allows, and above the floor";
    } else if (e->pairs >= t->pairs_most) {
        v.verdict = VERDICT_HOLD;
        v.reason = "as many pairs as were agreed on gave no decision";
    } else {
        v.verdict = VERDICT_WAIT;
        v.reason = what_is_missing(t, &v, proven);
    }
    return v;
}
