/* infer/engine.h: one model and its inference thread. Includes: core, io, llama (in engine.c).
 *
 * The loop's thread turns requests into jobs (tokens, parameters) and back; the inference thread only decodes: no JSON, no
 * sockets. Jobs go in through a bounded queue, news come back through another and a wake-up of the loop.
 *
 *   job ─ waits ─ admitted: a sequence of the KV cache (kv.h) with what is known of its prompt ─ steps ─ ended
 *            ▲                                    │
 *            └── put off: an interactive call, or memory, needs its place; what it has stays in kv.h as long as there is room
 *
 * Each step is one llama_decode() over one batch; what it holds and who is admitted next is decided in sched.h: answers that
 * run first, then guesses of what comes next in them (draft.h), then pieces of prompts, so that a long prompt does not stall
 * streams. All tokens of a step use the same LoRA adapter: calls with another one take turns by the step.
 *
 * Memory is planned before the first call: either every slot has room for a whole context, or (config.kv_tokens) all share one
 * room, and a call that finds none is put off, not failed. A prompt longer than the context is refused before it comes here.
 *
 * Deterministic jobs run one after the other in a context of their own (lane.h), whatever else goes on. Texts to be embedded take no
 * slot: one of them is read between two steps, by a context of its own (embedder.h).
 *
 * A job that is cancelled leaves its slot before the next step; a step in which every sequence is cancelled is aborted (on
 * the CPU within one operation). A job whose client does not read (paused, or ENGINE_AHEAD bytes not taken) is left out of
 * the steps. */
#ifndef HEARTH_INFER_ENGINE_H
#define HEARTH_INFER_ENGINE_H

#include "core/queue.h"
#include "infer/kv.h"
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
    size_t head;                        /* of those, the leading ones that came from the system's messages alone */
    uint64_t caller;                    /* whose call it is: callers get equal shares, and reuse only what is theirs */
    uint64_t shared;                    /* a name under which callers share the head; 0: they do not */
    bool batch;                         /* interactive calls go before it */
    bool deterministic;                 /* the same bytes whatever else runs */
    bool no_draft;                      /* one token at a time */
    int adapter;                        /* number of a LoRA adapter of the model, from 1; 0: none */
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
    int64_t reused;                     /* tokens of the prompt that were there already */
    int64_t drafted, accepted;             /* tokens that were drafted, and those that were kept */
    int64_t preempted;                    /* times */
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

struct engine_load {
    int busy, waiting;
    int64_t step_ms;                    /* age of the step that runs now, 0: none */
    int64_t wait_ms;                    /* until all that is here now will have been done, as far as one can tell */
    uint64_t steps, tokens;
    uint64_t read, reused, drafted, accepted, preempted;     /* tokens of prompts; of guesses; times */
    size_t kept, kept_bytes;            /* entries of kv.h, and the states in memory */
    struct kv_census census;            /* of the last moment without work */
};
struct engine_load engine_load_now(struct engine *e);
/* Cancels everything and waits for the inference thread to end: the news that are there afterwards are all there will be. */
void engine_close(struct engine *e);
void engine_free(struct engine *e);                         /* after engine_close() */

#endif
