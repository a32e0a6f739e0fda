/* infer/engine_state.h: what the files of the engine share; private to them, and to its thread. Includes: core, llama (in the .c files).
 *
 *   engine.c   the door for the loop's thread, the queues, and the thread's main loop
 *   run.c      one job at work: its tokens, how the next one is chosen and handed on
 *   step.c     admission, and one step over all that run
 *   lane.c     deterministic jobs, one at a time
 *
 * A run is a job that the thread has taken in. Its tokens, the prompt first, are one list; `done` of them are in the KV cache. Reading a prompt,
 * going on with an answer and taking up what was put off are the same: tokens from `done` on are decoded, and when the last one
 * is, its output gives the next. */
#ifndef HEARTH_INFER_ENGINE_STATE_H
#define HEARTH_INFER_ENGINE_STATE_H

#include "infer/draft.h"
#include "infer/embedder.h"
#include "infer/engine.h"
#include "infer/lane.h"
#include "infer/sched.h"

#include <llama.h>

#define RUN_PREEMPT_MOST 3              /* after that it keeps its place */

struct run {
    struct engine_job *job;             /* NULL: the place is free */
    struct run *next;                   /* in the list of those that wait */
    struct sampler *sampler;            /* from its first admission to its end */
    struct stop_filter filter;
    struct draft_skill skill;
    int32_t *tokens;
    size_t n, cap, done;
    int seq;                            /* of the KV cache; -1: it waits */
    uint64_t order;                     /* of its coming */
    int64_t since_us;                   /* when it began to wait */

    size_t take;                        /* of this step: tokens in the batch, … */
    int32_t output;                     /* … where their outputs begin, -1: none, … */
    size_t n_draft;                     /* … and how many of them are guesses, which follow the last token */
    int32_t draft[DRAFT_MAX];
    double worth[DRAFT_MAX + 1];        /* of so many guesses, by sched.h */
    size_t match;                       /* that the guesses follow */
};

#define RUNS_MAX (MODEL_MAX_SLOTS + ENGINE_MAX_WAITING)

struct engine {
    pthread_t thread;
    struct io_wake *wake;
    struct queue jobs, news;
    pthread_mutex_t lock;               /* for what a job's struct says it is for */
    struct model_config config;
    struct model model;
    struct model_progress progress;
    char why[MODEL_WHY];
    _Atomic enum engine_state state;
    atomic_bool closing;
    atomic_int busy, waiting_count;
    atomic_size_t in_flight;            /* jobs whose end was not taken yet: the queue of news has room for each */
    size_t most;
    _Atomic int64_t step_started_us;    /* 0: no step is running */
    _Atomic int64_t wait_us;
    _Atomic uint64_t steps, tokens, read, reused, drafted, accepted, preempted;
    atomic_size_t kept, kept_bytes;
    struct kv_census census;            /* under the lock: of the last moment without work */

    /* the thread's own */
    struct run runs[RUNS_MAX];
    struct run *active[MODEL_MAX_SLOTS];        /* those with a sequence of the KV cache */
    int n_active;
    struct run *waiting, **waiting_tail;
    uint64_t arrived;
    struct sched sched;
    struct draft_skill skill;           /* that answers begin with */
    struct kv *kv;
    struct spill *spill;                /* NULL: none */
    struct lane lane;
    struct embedder *embedder;          /* made for the first text */
    struct run *embedding;              /* the one at work */
    struct llama_batch batch;
    int adapter, adapter_steps;         /* of the last steps, and for how many */
    double usual;                       /* tokens of an answer, a moving average */
    bool have_news;
    struct buf piece;
};

int64_t engine_now_us(void);

/* engine.c */
void engine_post(struct engine *e, struct engine_job *j, bool due);     /* news for the loop; due: from job_news_due() */
bool job_news_due(struct engine_job *j);                /* under the lock: it was not posted yet */
void engine_wait(struct engine *e, struct run *r, bool first);         /* into the list of those that wait */
void engine_unwait(struct engine *e, struct run *r);
bool engine_unwanted(const struct engine *e, const struct run *r);      /* its client has left, or all ends */

/* run.c */
enum err run_begin(struct engine *e, struct run *r);    /* sampler and room for its tokens; ERR_MEMORY */
uint64_t run_owner(const struct run *r, uint64_t caller);
bool run_held_back(struct engine *e, const struct run *r);      /* its client does not read */
/* After a step: chooses tokens from the run's outputs, hands their text on. True: the run has ended, with *err and *finish. */
bool run_sample(struct engine *e, struct run *r, struct llama_context *ctx, enum err *err, const char **finish);
void run_end(struct engine *e, struct run *r, enum err err, const char *finish);      /* its place is free; it has no sequence any more */

/* step.c */
void step_admit(struct engine *e);
void step_stop(struct engine *e, struct run *r, enum err err, const char *finish);   /* an active run ends */
bool step(struct engine *e);                            /* false: nobody could go on */
bool step_should_abort(void *ctx);

#endif
