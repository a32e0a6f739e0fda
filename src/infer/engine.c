/* The door for the loop's thread, the queues between, and the inference thread's main loop. */
#include "infer/engine_state.h"

#include "core/clock.h"
#include "core/log.h"
#include "infer/identity.h"
#include "infer/spill.h"

#include <assert.h>
#include <stdlib.h>

#define HELD_WAIT_MS 20                 /* nobody who runs reads what he gets: look again this often */
#define TEXT_MAX     (1u << 20)
#define USUAL_FIRST  128                /* tokens of an answer, before any has ended */

static struct engine_job *job_of(struct queue_item *it) { return (struct engine_job *)((char *)it - offsetof(struct engine_job, item)); }
static struct engine_job *job_of_news(struct queue_item *it) { return (struct engine_job *)((char *)it - offsetof(struct engine_job, news)); }
int64_t engine_now_us(void) { return clock_mono_us(&clock_system); }

/* ---- news ---- */

/* Under the lock. A job stands in the queue of news at most once; the queue has room for every job there can be. */
bool job_news_due(struct engine_job *j)
{
    bool due = !j->posted;
    j->posted = true;
    return due;
}

void engine_post(struct engine *e, struct engine_job *j, bool due)
{
    bool wake;
    if (due)
        (void)queue_put(&e->news, &j->news, false, &wake);
    e->have_news = true;
}

static void news_send(struct engine *e)
{
    if (e->have_news)
        io_wake_send(e->wake);
    e->have_news = false;
}

/* ---- those that wait ---- */

void engine_wait(struct engine *e, struct run *r, bool first)
{
    r->next = first ? e->waiting : NULL;
    if (first)
        e->waiting = r;
    else
        *e->waiting_tail = r;
    if (!r->next)
        e->waiting_tail = &r->next;
    atomic_fetch_add(&e->waiting_count, 1);
}

void engine_unwait(struct engine *e, struct run *r)
{
    struct run **at = &e->waiting;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (!*at)
        e->waiting_tail = at;
    r->next = NULL;
    atomic_fetch_sub(&e->waiting_count, 1);
}

/* There is a place for every job that engine_submit() lets in. */
static struct run *run_place(struct engine *e)
{
    size_t i = 0;
    while (e->runs[i].job)
        i++;
    assert(i < RUNS_MAX);
    return &e->runs[i];
}

static void take_in(struct engine *e, struct queue_item *it)
{
    for (; it; it = it->next) {
        struct run *r = run_place(e);
        *r = (struct run){ .job = job_of(it), .seq = -1, .order = e->arrived++, .since_us = engine_now_us() };
        sched_arrive(&e->sched, r->job->caller);
        engine_wait(e, r, false);
    }
}

bool engine_unwanted(const struct engine *e, const struct run *r) { return atomic_load(&r->job->cancelled) || atomic_load(&e->closing); }

static void drop_unwanted(struct engine *e)
{
    for (struct run *r = e->waiting, *next; r; r = next) {
        next = r->next;
        if (!engine_unwanted(e, r))
            continue;
        engine_unwait(e, r);
        run_end(e, r, ERR_CLIENT, "");
    }
    for (int i = e->n_active; i-- > 0;)
        if (engine_unwanted(e, e->active[i]))
            step_stop(e, e->active[i], ERR_CLIENT, "");
    lane_drop(e);
}

/* ---- embeddings ---- */

/* Called by ggml between operations. It also shows that the step goes on: a long text is not taken for a hang. */
static bool embedding_is_wanted(void *ctx)
{
    struct engine *e = ctx;
    atomic_store(&e->step_started_us, engine_now_us());
    return !engine_unwanted(e, e->embedding);
}

/* One text of the oldest job. */
static void embed_one(struct engine *e)
{
    struct run *r = e->waiting;
    while (r && !r->job->n_inputs)
        r = r->next;
    if (!r)
        return;
    struct engine_job *j = r->job;
    e->embedding = r;
    enum err err = e->embedder ? ERR_OK : embedder_new(&e->model, embedding_is_wanted, e, &e->embedder);
    if (err == ERR_OK) {
        atomic_store(&e->step_started_us, engine_now_us());
        err = embedder_run(e->embedder, &j->inputs[j->made], j->vectors + (size_t)j->made * embedder_size(&e->model));
        atomic_store(&e->step_started_us, 0);
        j->made++;
    }
    if (err == ERR_OK && (size_t)j->made < j->n_inputs)
        return;
    engine_unwait(e, r);
    run_end(e, r, err, "");
}

/* ---- the thread ---- */

/* How long all that is here will take: prompts to be read, and answers of the usual length, as many at once as there are slots. */
static void look(struct engine *e)
{
    double read = 0, made = 0, slots = e->model.slots;
    for (const struct run *r = e->waiting; r; r = r->next) {
        read += (double)r->job->tokens.n;
        made += r->job->max_tokens < e->usual ? (double)r->job->max_tokens : e->usual;
    }
    for (int i = 0; i < e->n_active; i++) {
        const struct run *r = e->active[i];
        double left = (double)(r->job->max_tokens - r->job->made);
        read += (double)(r->n - r->done);
        made += left < e->usual ? left : e->usual;
    }
    double us = read * sched_cost_us(&e->sched.cost, 64) / 64 + made * sched_cost_us(&e->sched.cost, slots) / slots;
    struct kv_look l = kv_look(e->kv);
    atomic_store(&e->wait_us, (int64_t)us);
    atomic_store(&e->kept, l.entries);
    atomic_store(&e->kept_bytes, l.bytes);
}

/* Before the thread sleeps: it has the time, and no call is half way. */
static void take_census(struct engine *e)
{
    struct kv_census c = kv_census(e->kv);
    pthread_mutex_lock(&e->lock);
    e->census = c;
    pthread_mutex_unlock(&e->lock);
}

static void engine_serve(struct engine *e)
{
    while (!atomic_load(&e->closing)) {
        bool idle = atomic_load(&e->busy) == 0 && !e->waiting;
        if (idle)
            take_census(e);
        take_in(e, queue_take_all(&e->jobs, idle ? -1 : 0));
        drop_unwanted(e);
        step_admit(e);
        embed_one(e);
        bool moved = lane_step(e);
        moved |= e->n_active > 0 && step(e);
        look(e);
        news_send(e);
        if (!moved && (e->n_active || e->lane.run))
            take_in(e, queue_take_all(&e->jobs, HELD_WAIT_MS));
    }
    take_in(e, queue_take_all(&e->jobs, 0));
    drop_unwanted(e);
    news_send(e);
}

/* The file of named beginnings, if there is one. Without it the engine works all the same. */
static void open_spill(struct engine *e)
{
    struct buf facts = { .max = 1 << 20 };
    if (e->config.spill_fd < 0)
        return;
    enum err err = identity_json(&facts, &e->model);
    struct digest d = sha256_of(buf_str(&facts));
    err = err == ERR_OK ? spill_open(e->config.spill_fd, e->config.spill_limit, &d, &e->spill) : err;
    if (err != ERR_OK)
        log_warn("spill_unusable", LOG_C("error", err_text(err)));
    buf_free(&facts);
}

static enum err engine_prepare(struct engine *e)
{
    struct kv_options o = model_kv_options(&e->model, &e->config);
    open_spill(e);
    o.spill = e->spill;
    e->model.should_abort = step_should_abort;
    e->model.abort_ctx = e;
    e->usual = USUAL_FIRST;
    draft_skill_init(&e->skill);
    e->sched.apart = !e->model.kv_tokens;
    e->batch = llama_batch_init(e->model.batch > LANE_PIECE ? e->model.batch : LANE_PIECE, 0, 1);
    buf_init(&e->piece, 64u << 10);
    enum err err = kv_new(e->model.ctx, &o, &e->kv);
    if (err != ERR_OK)
        snprintf(e->why, sizeof e->why, "%s", err_text(err));
    return err;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    enum err err = model_load(&e->config, &e->progress, &e->model, e->why);
    bool loaded = err == ERR_OK;
    if (loaded)
        err = engine_prepare(e);
    atomic_store(&e->state, err == ERR_OK ? ENGINE_READY : ENGINE_FAILED);
    io_wake_send(e->wake);
    if (err == ERR_OK)
        engine_serve(e);
    if (loaded) {
        kv_free(e->kv);
        spill_close(e->spill);
        lane_free(&e->lane);
        llama_batch_free(e->batch);
        buf_free(&e->piece);
        embedder_free(e->embedder);
        model_free(&e->model);
    }
    return NULL;
}

enum err engine_new(const struct model_config *c, struct io_wake *wake, struct engine **out)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return ERR_MEMORY;
    e->config = *c;
    e->wake = wake;
    e->waiting_tail = &e->waiting;
    size_t most = e->most = (size_t)c->slots + ENGINE_MAX_WAITING;
    if (queue_init(&e->jobs, most, SIZE_MAX) != ERR_OK)
        goto no_jobs;
    if (queue_init(&e->news, most, SIZE_MAX) != ERR_OK)
        goto no_news;
    pthread_mutex_init(&e->lock, NULL);
    if (pthread_create(&e->thread, NULL, engine_main, e) != 0)
        goto no_thread;
    *out = e;
    return ERR_OK;
no_thread:
    pthread_mutex_destroy(&e->lock);
    queue_destroy(&e->news);
no_news:
    queue_destroy(&e->jobs);
no_jobs:
    free(e);
    return ERR_MEMORY;
}

/* ---- the loop's side ---- */

enum engine_state engine_state(const struct engine *e) { return atomic_load(&e->state); }
double engine_progress(const struct engine *e) { return atomic_load(&e->progress.share); }
const char *engine_why(const struct engine *e) { return e->why; }
const struct model *engine_model(const struct engine *e) { return &e->model; }
int32_t engine_n_vocab(const struct engine *e) { return llama_vocab_n_tokens(e->model.vocab); }

enum err engine_submit(struct engine *e, struct engine_job *j)
{
    bool wake = false;
    if (engine_state(e) != ENGINE_READY)
        return engine_state(e) == ENGINE_LOADING ? ERR_LOADING : ERR_ENGINE;
    assert(j->n_inputs || (j->tokens.n > 0 && j->tokens.n < e->model.limits.context));
    int64_t left = (int64_t)(e->model.limits.context - j->tokens.n);
    if (j->max_tokens <= 0 || j->max_tokens > left)
        j->max_tokens = (int32_t)left;
    if (atomic_fetch_add(&e->in_flight, 1) >= e->most) {
        atomic_fetch_sub(&e->in_flight, 1);
        return ERR_BUSY;
    }
    buf_init(&j->text, TEXT_MAX);
    buf_init(&j->probs, TEXT_MAX);
    enum err err = queue_put(&e->jobs, &j->item, false, &wake);
    if (err != ERR_OK)
        atomic_fetch_sub(&e->in_flight, 1);
    if (err == ERR_OK && wake)
        queue_wake(&e->jobs);
    return err == ERR_OK || err == ERR_BUSY ? err : ERR_ENGINE;
}

void engine_cancel(struct engine *e, struct engine_job *j)
{
    atomic_store(&j->cancelled, true);
    queue_wake(&e->jobs);
}

void engine_resume(struct engine *e, struct engine_job *j)
{
    atomic_store(&j->paused, false);
    queue_wake(&e->jobs);
}

struct queue_item *engine_news(struct engine *e) { return queue_take_all(&e->news, 0); }

struct engine_job *engine_news_next(struct queue_item **list)
{
    struct queue_item *it = *list;
    if (!it)
        return NULL;
    *list = it->next;
    return job_of_news(it);
}

enum err engine_take(struct engine *e, struct engine_job *j, struct buf *into, struct buf *probs, bool *done)
{
    pthread_mutex_lock(&e->lock);
    enum err err = buf_put(into, buf_str(&j->text));
    buf_clear(&j->text);
    if (probs && err == ERR_OK)
        err = buf_put(probs, buf_str(&j->probs));
    buf_clear(&j->probs);
    j->posted = false;
    *done = j->done;
    pthread_mutex_unlock(&e->lock);
    if (*done) {
        buf_free(&j->text);
        buf_free(&j->probs);
        atomic_fetch_sub(&e->in_flight, 1);
    }
    return err;
}

struct engine_load engine_load_now(struct engine *e)
{
    int64_t started = atomic_load(&e->step_started_us);
    pthread_mutex_lock(&e->lock);
    struct kv_census census = e->census;
    pthread_mutex_unlock(&e->lock);
    return (struct engine_load){ .census = census, .busy = atomic_load(&e->busy), .waiting = atomic_load(&e->waiting_count), .step_ms = started ? (engine_now_us() - started) / 1000 : 0,
                                 .wait_ms = atomic_load(&e->wait_us) / 1000, .steps = atomic_load(&e->steps), .tokens = atomic_load(&e->tokens),
                                 .read = atomic_load(&e->read), .reused = atomic_load(&e->reused), .drafted = atomic_load(&e->drafted), .accepted = atomic_load(&e->accepted),
                                 .preempted = atomic_load(&e->preempted), .kept = atomic_load(&e->kept), .kept_bytes = atomic_load(&e->kept_bytes) };
}

void engine_close(struct engine *e)
{
    atomic_store(&e->closing, true);
    atomic_store(&e->progress.stop, true);
    queue_close(&e->jobs);
    queue_wake(&e->jobs);
    pthread_join(e->thread, NULL);
}

void engine_free(struct engine *e)
{
    pthread_mutex_destroy(&e->lock);
    queue_destroy(&e->jobs);
    queue_destroy(&e->news);
    free(e);
}
