/* infer/draft.h: guesses of what comes next, taken from what is there already. Includes: core. Pure.
 *
 * Prompt lookup (Saxena 2023, "Prompt Lookup Decoding"): where the last tokens stood before, in prompt or answer, what
 * followed them there is a good guess, above all in edits, docstrings and refactorings, which copy most of their input. The model
 * then reads all guesses in one step, and those that are what it would have chosen are kept. A wrong guess costs its share of the step,
 * so their number follows how many were right before (sched.h). */
#ifndef HEARTH_INFER_DRAFT_H
#define HEARTH_INFER_DRAFT_H

#include "core/err.h"

#define DRAFT_MAX 24                    /* guesses of one step */
#define DRAFT_LEAST 2                   /* so many tokens must have been seen before in this order */

/* Guesses for what follows tokens[0, n): at most `most`; how many. The longest match counts, of equals the latest. */
size_t draft_propose(const int32_t *tokens, size_t n, int32_t *out, size_t most);

/* How good the guesses of one answer are: the chance that one is right when those before it were. */
struct draft_skill { double chance; };
void draft_skill_init(struct draft_skill *s);
void draft_skill_learn(struct draft_skill *s, size_t drafted, size_t accepted);    /* drafted 0: a step without any */

#endif
