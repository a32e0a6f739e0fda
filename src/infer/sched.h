/* infer/sched.h: whose call runs next, and what one step of the engine holds. Includes: core. Pure: time comes as an argument.
 *
 * Order of admission: interactive calls before batch ones (which count as interactive once they have waited SCHED_PATIENCE_US, so that
 * nobody starves); among equals the caller who was served least (virtual token counter: Sheng et al. 2024, "Fairness in
 * Serving Large Language Models"; a token read counts 1, a token made counts 2); of one caller, the oldest.
 *
 * A step holds the next token of every running answer first; then pieces of prompts, of which there is as much as fits into
 * SCHED_STEP_US while others wait for their next token, or a little more where that makes each of them cheaper; then guesses (draft.h), as
 * long as they raise the tokens that are expected for the time that the step is expected to take. The shortest prompt is read first,
 * since its caller waits for the first word; in every fourth step the oldest is.
 *
 * Where each run has a room of its own in the KV cache (sched.apart), libllama computes a step in parts: as many tokens as each of some neighbours has,
 * then what is left of them. Takes of 1, 5, 3 and 1 are parts of 4, 4 and 2 tokens and cost as much as three steps, 3 for each are one part of 12. (Coder
 * of 0.5B, one thread: 335 ms and 265 ms.) So guesses are given to neighbours alike where that pays. */
#ifndef HEARTH_INFER_SCHED_H
#define HEARTH_INFER_SCHED_H

#include "core/err.h"

#define SCHED_CALLERS     256           /* remembered; of more, those who are not there now are forgotten first */
#define SCHED_PATIENCE_US 30000000
#define SCHED_STEP_US     80000         /* what a step may take while answers are running */
#define SCHED_READ_US     320000        /* … while none is: a call that comes meanwhile waits that long */
#define SCHED_ALONE_US    700000        /* … and of an only prompt that is read to its end */
#define SCHED_TILE        64            /* tokens that ggml's attention on the CPU takes together: of other lengths, each costs up to a fifth more */
#define SCHED_PIECE_LEAST 8             /* tokens of prompts in a step, at least */
#define SCHED_PIECE_FIRST 32            /* before anything was measured */

/* ---- what a step costs ---- */

#define SCHED_SIZES 13                  /* steps of 1, 2 to 3, 4 to 7, … 4096 tokens */
struct sched_cost { struct { double tokens, us; } of[SCHED_SIZES]; };  /* moving averages; us 0: not measured yet */
void sched_cost_learn(struct sched_cost *c, size_t tokens, double us);
double sched_cost_us(const struct sched_cost *c, double tokens);       /* interpolated; 0: nothing was measured */

#define SCHED_RUNS  64                  /* in a step, at most */
#define SCHED_PARTS (2 * SCHED_RUNS)    /* of a step; of one with more, nothing is learned */

/* ---- who is next ---- */

struct sched_caller { uint64_t id, used; double served; int calls; };
struct sched {
    struct sched_caller callers[SCHED_CALLERS];
    size_t n_callers;
    uint64_t uses, fills;               /* fills: steps that were filled */
    struct sched_cost cost;             /* of a part of a step */
    bool apart;                         /* each run has a room of its own */
    size_t parts[SCHED_PARTS], n_parts; /* of the step that was filled last */
};

/* A call of this caller came, was served so much, has ended. Between the first and the last, a caller is not forgotten. */
void sched_arrive(struct sched *s, uint64_t caller);
void sched_serve(struct sched *s, uint64_t caller, size_t read, size_t made);
void sched_leave(struct sched *s, uint64_t caller);

struct sched_wait { uint64_t caller, order; int64_t since_us; bool batch, held; };     /* held: not now */
/* Which of those that wait comes next; n: none. */
size_t sched_next(const struct sched *s, const struct sched_wait *w, size_t n, int64_t now_us);

/* ---- what a step holds ---- */

struct sched_run {
    bool reads, held, batch;            /* reads: its prompt is not read yet. held: takes no part in this step */
    bool fixed;                         /* may not be put off for another call */
    size_t left, piece;                 /* tokens of the prompt: all that are left; how many may be read at once */
    uint64_t order;                     /* of coming */
    int place;                          /* in the KV cache */
    size_t drafts;                      /* guesses that there are */
    const double *worth;                /* worth[k]: tokens that k of them are expected to give */
    bool all_drafts;                    /* take them all, whether they pay or not */
    size_t take;                        /* out: tokens of the prompt, or 1 and guesses; 0: it is not in this step */
};
/* `runs`: at most SCHED_RUNS, in the order of their places. `room`: tokens of a step at most. `outputs`: of those, tokens that give an output. */
void sched_fill(struct sched *s, struct sched_run *runs, size_t n, size_t room, size_t outputs);
void sched_learn(struct sched *s, double us);           /* the step that was filled last took so long */
/* Which run gives way to an interactive call, or where memory is short (`any`): the batch run, or any run, that came last. n: none. */
size_t sched_victim(const struct sched_run *runs, size_t n, bool any);

#endif
