/* infer/draft.h: guesses of what comes next, taken from what is there already. Includes: core. Pure.
 *
 * Prompt lookup (Saxena 2023, "Prompt Lookup Decoding"): where the last tokens stood before, in prompt or answer, what
 * followed them there is a good guess, above all in edits, docstrings and refactorings, which copy most of their input. The model
 * then reads all guesses in one step, and those that are what it would have chosen are kept. A wrong guess costs its share of the step,
 * so their number follows how many were right before (sched.h). How likely one is right depends most on how many tokens before it are the
 * same as there: of docstrings by a model of 0.5B, a third of the guesses after 2 tokens held, 99 in 100 after 12. */
#ifndef HEARTH_INFER_DRAFT_H
#define HEARTH_INFER_DRAFT_H

#include "core/err.h"

#define DRAFT_MAX 32                    /* guesses of one step */
#define DRAFT_LEAST 2                   /* so many tokens must have been seen before in this order */
#define DRAFT_KINDS 4                   /* of matches: of 2 tokens, of 3 and more, of 6 and more, of 12 and more */

/* Guesses for what follows tokens[0, n): at most `most`; how many. The longest match counts, of equals the latest; *match: of how many tokens. */
size_t draft_propose(const int32_t *tokens, size_t n, int32_t *out, size_t most, size_t *match);

/* How good the guesses of one answer are: the chance that one is right when those before it were, by the match that it follows, which is a
 * token longer for each guess that was right. */
struct draft_skill { double chance[DRAFT_KINDS]; };
void draft_skill_init(struct draft_skill *s);
/* Tokens that the first k guesses after a match are expected to give, into worth[k], for k from 0 to n. */
void draft_worth(const struct draft_skill *s, size_t match, size_t n, double *worth);
void draft_skill_learn(struct draft_skill *s, size_t match, size_t drafted, size_t accepted);      /* drafted 0: a step without any */
void draft_skill_pass_on(struct draft_skill *all, const struct draft_skill *s);        /* of an answer that has ended, for those to come */

#endif
