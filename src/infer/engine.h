/* infer/engine.h: one model and its inference thread. Includes: core, io, llama (in engine.c).
 *
 * The loop's thread turns requests into jobs (tokens, parameters) and back; the inference thread only decodes: no JSON, no
 * sockets. Jobs go in through a bounded queue, news come back through another and a wake-up of the loop.
 *
 * Each step is one llama_decode() over one batch: the next token of every running sequence first, then, in what room is
 * left, pieces of prompts in order of arrival. While others are running a piece is only as long as the last ones let us
 * expect to take STEP_TARGET_MS, so a long prompt does not stall streams.
 *
 * Memory is planned before the first call: the KV cache holds `slots` sequences of `context` tokens each (one unified buffer, since
 * libllama batches sequences of separate ones only while their numbers have no gap), so a job that got a slot can never run
 * out of it. A prompt longer than the context is refused before it comes here.
 *
 * Texts to be embedded take no slot: one of them is read between two steps, by a context of its own (embedder.h).
 *
 * A job that is cancelled leaves its slot before the next step; a step in which every sequence is cancelled is aborted (on
 * the CPU within one operation). A job whose client does not read (paused, or ENGINE_AHEAD bytes not taken) is left out of
 * the steps. */
#ifndef HEARTH_INFER_ENGINE_H
#define HEARTH_INFER_ENGINE_H

#include "core/queue.h"
#include "infer/model.h"
#include "infer/sampler.h"
#include "infer/stop.h"
#include "io/loop.h"

#include <stdatomic.h>

#define ENGINE_MAX_WAITING 64           /* jobs beyond the slots; more are refused */
#define ENGINE_AHEAD (16u << 10)

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED };

/* One generation. Lives with its request and stays until engine_take() has said that it is done. */
struct engine_job {
    struct queue_item item, news;       /* the engine's */
    struct token_list tokens;           /* by the caller, before engine_submit() */
    int32_t max_tokens;
    struct sampling sampling;
    const str *stops;
    size_t n_stops;
    const struct token_list *inputs;    /* in place of tokens: texts whose vectors are wanted, at most embedder_max_tokens() each */
    size_t n_inputs;                    /* 0: this is a generation */
    float *vectors;                     /* n_inputs times embedder_size(); written by the engine */

    atomic_bool cancelled, paused;      /* by the loop, at any time */

    struct buf text;                    /* under the engine's lock: made, not yet taken */
    struct buf probs;                   /* the same: for each token but the one that ends it, 1 + sampling.top struct token_prob */
    bool posted, done;
    enum err err;
    const char *finish;                 /* "stop" or "length" */
    int64_t made;                       /* tokens sampled, the one that ends generation included */
};

struct engine;
/* Starts the thread, which loads the model; `wake` (not owned) is sent at every change and with all news. */
enum err engine_new(const struct model_config *c, struct io_wake *wake, struct engine **out);
enum engine_state engine_state(const struct engine *e);
double engine_progress(const struct engine *e);             /* of loading, 0 to 1 */
const char *engine_why(const struct engine *e);             /* after ENGINE_FAILED */
const struct model *engine_model(const struct engine *e);    /* after ENGINE_READY */
int32_t engine_n_vocab(const struct engine *e);

enum err engine_submit(struct engine *e, struct engine_job *j);     /* ERR_BUSY; ERR_LOADING; ERR_ENGINE: closing */
void engine_cancel(struct engine *e, struct engine_job *j);         /* its end still comes as news */
void engine_resume(struct engine *e, struct engine_job *j);         /* after `paused` was set */
/* The jobs that have news: for (list = engine_news(e); (j = engine_news_next(&list));) engine_take(…). */
struct queue_item *engine_news(struct engine *e);
struct engine_job *engine_news_next(struct queue_item **list);
/* Moves its new text to `into` (appends) and its probabilities to `probs` (NULL: none were asked for); *done: that was all of it, and the
 * job is the caller's again. ERR_LIMIT: the text was lost. Probabilities may come before the text of their tokens, which may be the
 * beginning of a stop string. */
enum err engine_take(struct engine *e, struct engine_job *j, struct buf *into, struct buf *probs, bool *done);

/* step_ms: age of the step that runs now, 0: none. */
struct engine_load { int busy, waiting; int64_t step_ms; uint64_t steps, tokens; };
struct engine_load engine_load_now(const struct engine *e);
/* Cancels everything and waits for the inference thread to end: the news that are there afterwards are all there will be. */
void engine_close(struct engine *e);
void engine_free(struct engine *e);                         /* after engine_close() */

#endif
