/* infer/lane.h: answers that do not depend on what else runs. Includes: core, llama (in lane.c).
 *
 * Floating point sums depend on their order, and the order on the shape of the batch and on where in the cache the tokens lie. So a
 * deterministic job gets both for itself: a context of its own, empty at its start, its prompt in pieces of LANE_PIECE tokens
 * from the first on, one token a step after that, nothing reused and nothing drafted. With the same build, threads and CPU
 * it gives the same bytes each time, at any load.
 *
 * What it costs: the keys and values of one more context (made for the first such job), no batching with others (a step of the lane
 * and one of the others alternate), and no reuse. */
#ifndef HEARTH_INFER_LANE_H
#define HEARTH_INFER_LANE_H

#include "core/err.h"

#define LANE_PIECE 128

struct engine;
struct run;
struct llama_context;

struct lane {
    struct llama_context *ctx;
    struct run *run;                    /* the one at work */
};
/* One step of the oldest deterministic job; false: there is none that can go on. */
bool lane_step(struct engine *e);
void lane_drop(struct engine *e);       /* its run is not wanted any more */
void lane_free(struct lane *l);

#endif
