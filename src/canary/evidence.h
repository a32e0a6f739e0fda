/* canary/evidence.h: may a task move to its candidate? From counted pairs to a decision. Includes: core, canary/mixture.h. Pure.
 *
 * A pair is one conversation's call, answered by both: C the score of the reference, L that of the candidate, both in [0,1], d = L - C. Three hypotheses
 * are tested on the same pairs, each by a mixture of its own, at any moment and as often as one likes:
 *
 *     E_p   the mean of d is at most -margin          promote where E_p >= 1/alpha, so wrongly with a chance of at most alpha
 *     E_r   the mean of d is at least -margin_back    roll back where E_r >= 1/alpha_back, which is asked first
 *     E_f   the mean of L is at most floor            promotion needs E_f >= 1/alpha too: two that always fail are equal, and no use
 *
 * A wrong promotion needs both E_p and E_f, so that its chance stays at most alpha: nothing is added up. The k-th attempt of a task gets
 * evidence_alpha() of what the task has, and all its attempts together no more than that. What may be a pair is the caller's care: one of a conversation,
 * chosen before either answer is seen, never a repeat (docs/canary.md says what comes of it else). A candidate that fails, crashes or is late
 * scores 0; where the reference or a grader fails there is no pair, and that is counted.
 *
 * How it is called. The gate reads a task's stage, and hands the attempts of a shadowed call to the graders. The keeper, for each pair that comes back, does
 * evidence_add() or evidence_exclude(), then evidence_decide(); a verdict other than to wait is a decision row, committed before the stage changes. For each
 * task the ledger has what anybody needs to come to the same: the key of the hypothesis (fingerprint of the candidate, identity of the
 * reference, prompt and version, graders and versions, margin, alpha), attempt k, stage, version of the policy, the thresholds, the counts that are not 0, and M_0 to M_5 of
 * each detector (detector.h). Another key is another hypothesis: a zeroed struct evidence and attempt k + 1. */
#ifndef HEARTH_CANARY_EVIDENCE_H
#define HEARTH_CANARY_EVIDENCE_H

#include "canary/mixture.h"
#include "core/err.h"

struct evidence_terms {                 /* agreed on before the first pair */
    double margin, margin_back;         /* of d, in (0,1) */
    double floor;                       /* of the candidate's own mean, in (0,1) */
    double alpha, alpha_back;           /* of this attempt, in (0,1) */
    uint32_t pairs_most;                /* hold when so many gave no decision */
};
/* In the order of enum risk (wire/names.h), for a first guess: the floor is a matter of the task, alpha what all attempts have together. */
extern const struct evidence_terms evidence_by_risk[3];

/* Of the k-th attempt, from 1: alpha 6/(pi^2 k^2). */
double evidence_alpha(double alpha, uint32_t attempt);

/* Terms made ready: 29 KB, read only from then on, so that threads may share it. */
struct evidence_test {
    struct mixture promote, back, floor;
    double promote_at, back_at;         /* log E; of the floor as of promotion */
    uint32_t pairs_most;
};
enum err evidence_test_init(struct evidence_test *t, const struct evidence_terms *terms);   /* ERR_RANGE */

/* Zeroed: nothing seen. The order of pairs leaves no trace. */
struct evidence {
    uint32_t pairs, excluded;
    uint32_t down[MIXTURE_BINS], up[MIXTURE_BINS];      /* d: for E_p, for E_r */
    uint32_t own[MIXTURE_BINS];                         /* L, down */
};
void evidence_add(struct evidence *e, double candidate, double reference);  /* scores in [0,1] */
void evidence_exclude(struct evidence *e);

#define EVIDENCE_EXCLUDED_MOST 0.05     /* of pairs and excluded together: with more, no promotion, */
#define EVIDENCE_EXCLUDED_AFTER 100     /* and hold, once there are so many of both */

enum verdict { VERDICT_WAIT, VERDICT_PROMOTE, VERDICT_HOLD, VERDICT_BACK };
struct evidence_verdict {
    enum verdict verdict;
    const char *reason;                 /* static, for people */
    double log_promote, log_back, log_floor;            /* log E_p, E_r, E_f */
};
/* `proven`: the graders have rejected an arm that is known to be bad. Takes microseconds. */
struct evidence_verdict evidence_decide(const struct evidence_test *t, const struct evidence *e, bool proven);

#endif
