/* infer/grammar.h: which bytes may come next, and which tokens. Includes: core. Pure.
 *
 * A compiled grammar (gbnf.h) is matched byte by byte. Where a text stands is a state: the set of all nodes that it may be at, each with the
 * calls it must return to. States are numbered as they are met and remember where each byte leads, so that a way that was gone
 * once costs a look into a table. A run is one text being made; it belongs to a grammar, which forgets its states when they become many and
 * keeps those that its runs are at.
 *
 * Which tokens may come next is asked of a vocabulary: a tree of all tokens by their bytes, walked together with the states. Where few
 * bytes are allowed most of the tree is never seen. The answer, a mask with a bit for each token, is kept with the state.
 *
 * One thread at a time uses a grammar and its runs. Hostile grammars are bounded: a state has at most GRAMMAR_MAX_PLACES places, a token may cost
 * GRAMMAR_BUDGET of them and a run not much of that for long, and the memory has a limit. A run that passes one of them has failed, and says so. */
#ifndef HEARTH_INFER_GRAMMAR_H
#define HEARTH_INFER_GRAMMAR_H

#include "infer/gbnf.h"

#define GRAMMAR_MAX_PLACES 8192
#define GRAMMAR_BUDGET     500000       /* places looked at for one token: some 50 ms */
#define GRAMMAR_RUN_BUDGET 20000000     /* … and for a whole run, which gets GRAMMAR_ALLOWANCE more for each piece that it takes */
#define GRAMMAR_ALLOWANCE  50000
#define GRAMMAR_MEMORY     (32u << 20)  /* of states: what the engine gives a grammar */

struct grammar;
/* `tokens`: see gbnf_compile(). `memory`: bytes for what is met while matching; when half of it is used, what no run needs is forgotten. ERR_SYNTAX, ERR_LIMIT: *why says
 * what is wrong with the text. ERR_MEMORY. */
enum err grammar_new(str text, bool tokens, size_t memory, struct grammar **out, struct gbnf_error *why);
void grammar_free(struct grammar *g);                           /* NULL is fine; it must have no runs */

struct grammar_run {
    struct grammar *g;
    uint32_t state;
    bool failed;                        /* a bound was passed: nothing may come */
    int64_t left;                       /* of its budget */
    struct grammar_run *next, **back;   /* the grammar's list */
};
void grammar_begin(struct grammar *g, struct grammar_run *r);
void grammar_end(struct grammar_run *r);                        /* a zeroed run is fine */

bool grammar_may_end(const struct grammar_run *r);              /* what came is a whole text */
bool grammar_must_end(const struct grammar_run *r);             /* and nothing may follow it */
/* Would these bytes be a beginning of a text, after what came? */
bool grammar_fits(struct grammar_run *r, str bytes);
/* They came. False, and nothing changed: they do not fit. */
bool grammar_take(struct grammar_run *r, str bytes);

/* ---- tokens ---- */

struct vocabulary;
/* pieces[i] are the bytes of token i; an empty piece is never allowed, nor one of more than 255 bytes. `ends`, in rising order, are the
 * tokens that end a text: they have no piece, and are in no mask. All is copied. */
enum err vocabulary_new(const str *pieces, uint32_t n, const uint32_t *ends, uint32_t n_ends, struct vocabulary **out);
void vocabulary_free(struct vocabulary *v);                     /* NULL is fine */
uint32_t vocabulary_size(const struct vocabulary *v);
str vocabulary_piece(const struct vocabulary *v, uint32_t token);       /* empty: never allowed */
const uint32_t *vocabulary_ends(const struct vocabulary *v, uint32_t *n);

struct token_mask { const uint64_t *bits; uint32_t n; };        /* n: how many are set */
static inline bool token_mask_has(const struct token_mask *m, uint32_t token) { return m->bits[token >> 6] >> (token & 63) & 1; }
/* Tokens that may come next; it lives until the run is used again. False: the run has failed. A grammar is used with one vocabulary. */
bool grammar_mask(struct grammar_run *r, const struct vocabulary *v, struct token_mask *out);
/* The same if it is known already. */
bool grammar_known_mask(const struct grammar_run *r, struct token_mask *out);

#endif
