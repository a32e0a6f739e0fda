/* A search backwards: contexts are thousands of tokens, and a step takes milliseconds. */
#include "infer/draft.h"

#define MATCH_ENOUGH 12                 /* a longer match is not better */
#define CHANCE_FIRST 0.6
#define CHANCE_LEAST 0.05
#define WEIGHT 0.15                     /* of the latest step in the average */
#define RECOVERY 0.01                   /* of the way back to CHANCE_FIRST in each step without guesses, so that another try comes */

size_t draft_propose(const int32_t *tokens, size_t n, int32_t *out, size_t most)
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
    return k;
}

void draft_skill_init(struct draft_skill *s) { s->chance = CHANCE_FIRST; }

void draft_skill_learn(struct draft_skill *s, size_t drafted, size_t accepted)
{
    if (!drafted) {
        s->chance += (CHANCE_FIRST - s->chance) * RECOVERY;
        return;
    }
    /* Of the guesses that were looked at, `accepted` held; one more was looked at where they did not all. */
    size_t seen = accepted < drafted ? accepted + 1 : accepted;
    for (size_t i = 0; i < seen; i++)
        s->chance += ((i < accepted ? 1.0 : 0.0) - s->chance) * WEIGHT;
    s->chance = s->chance < CHANCE_LEAST ? CHANCE_LEAST : s->chance > 0.99 ? 0.99 : s->chance;
}
