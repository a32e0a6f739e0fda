/* A search backwards: contexts are thousands of tokens, and a step takes milliseconds. */
#include "infer/draft.h"

#define MATCH_ENOUGH 12                 /* a longer match is not better */
#define CHANCE_LEAST 0.05
#define CHANCE_MOST  0.99
#define WEIGHT 0.15                     /* of the latest step in the average */
#define RECOVERY 0.01                   /* of the way back to chance_first in each step without guesses, so that another try comes */

static const double chance_first[DRAFT_KINDS] = { 0.4, 0.7, 0.85, 0.97 };

size_t draft_propose(const int32_t *tokens, size_t n, int32_t *out, size_t most, size_t *match)
{
    size_t best = 0, best_len = DRAFT_LEAST - 1;
    if (n < DRAFT_LEAST + 1)
        return 0;
    for (size_t i = n - 1; i-- > 0 && best_len < MATCH_ENOUGH;) {
        size_t len = 0;
        while (len <= i && len < MATCH_ENOUGH && tokens[i - len] == tokens[n - 1 - len])
            len++;
        if (len > best_len) {
            best_len = len;
            best = i + 1;
        }
    }
    if (!best)
        return 0;
    size_t k = n - best < most ? n - best : most;
    for (size_t i = 0; i < k; i++)
        out[i] = tokens[best + i];
    *match = best_len;
    return k;
}

void draft_skill_init(struct draft_skill *s) { memcpy(s->chance, chance_first, sizeof chance_first); }

static size_t kind_of(size_t match) { return match < 3 ? 0 : match < 6 ? 1 : match < MATCH_ENOUGH ? 2 : 3; }

void draft_worth(const struct draft_skill *s, size_t match, size_t n, double *worth)
{
    double all = 1;
    worth[0] = 0;
    for (size_t k = 0; k < n; k++) {
        all *= s->chance[kind_of(match + k)];
        worth[k + 1] = worth[k] + all;
    }
}

void draft_skill_learn(struct draft_skill *s, size_t match, size_t drafted, size_t accepted)
{
    for (size_t i = 0; i < DRAFT_KINDS && !drafted; i++)
        s->chance[i] += (chance_first[i] - s->chance[i]) * RECOVERY;
    /* Of the guesses that were looked at, `accepted` held; one more was looked at where they did not all. */
    size_t seen = accepted < drafted ? accepted + 1 : accepted;
    for (size_t i = 0; i < seen; i++) {
        double *chance = &s->chance[kind_of(match + i)];
        *chance += ((i < accepted ? 1.0 : 0.0) - *chance) * WEIGHT;
        *chance = *chance < CHANCE_LEAST ? CHANCE_LEAST : *chance > CHANCE_MOST ? CHANCE_MOST : *chance;
    }
}

void draft_skill_pass_on(struct draft_skill *all, const struct draft_skill *s)
{
    for (size_t i = 0; i < DRAFT_KINDS; i++)
        all->chance[i] += (s->chance[i] - all->chance[i]) * WEIGHT;
}
