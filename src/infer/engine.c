/* The inference thread: admits jobs to slots, builds one batch a step, decodes, samples, and hands text on. */
#include "infer/engine.h"

#include "core/clock.h"
#include "core/log.h"
#include "infer/embedder.h"

#include <assert.h>
#include <llama.h>

#define STEP_TARGET_US 80000            /* what a piece of prompt may cost while others are running */
#define PIECE_LEAST    8
#define PIECE_FIRST    32               /* before anything was measured */
#define PAUSED_WAIT_MS 20               /* every running job is paused: look again this often */
#define TEXT_MAX       (1u << 20)

struct slot {
    struct engine_job *job;             /* NULL: free */
    struct sampler *sampler;
    struct stop_filter filter;
    size_t read;                        /* prompt tokens decoded */
    int32_t pos;                        /* tokens of this sequence in the KV cache */
    int32_t next;                       /* the sampled token that is decoded next, once the prompt is read */
    uint64_t order;                     /* of admission */
    int32_t in_batch, output;           /* tokens in this step's batch; where its output is, or -1 */
};

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
    _Atomic uint64_t steps, tokens;

    /* the thread's own */
    struct slot slots[MODEL_MAX_SLOTS];
    struct queue_item *waiting, **waiting_tail;
    struct embedder *embedder;          /* made for the first text */
    struct engine_job *embedding;       /* the one at work */
    struct llama_batch batch;
    uint64_t admitted;
    double token_us;                    /* what a prompt token costs, a moving average */
    bool have_news;
    struct buf piece;
};

static struct engine_job *job_of(struct queue_item *it) { return (struct engine_job *)((char *)it - offsetof(struct engine_job, item)); }
static struct engine_job *job_of_news(struct queue_item *it) { return (struct engine_job *)((char *)it - offsetof(struct engine_job, news)); }
static int64_t now_us(void) { return clock_mono_us(&clock_system); }

/* ---- news ---- */

/* Under the lock. A job stands in the queue of news at most once; the queue has room for every job there can be. */
static bool news_due(struct engine_job *j)
{
    bool due = !j->posted;
    j->posted = true;
    return due;
}

static void news_put(struct engine *e, struct engine_job *j, bool due)
{
    bool wake;
    if (due)
        (void)queue_put(&e->news, &j->news, false, &wake);
    e->have_news = true;
}

static void job_end(struct engine *e, struct engine_job *j, enum err err, const char *finish)
{
    pthread_mutex_lock(&e->lock);
    j->err = err;
    j->finish = finish;
    j->done = true;
    bool due = news_due(j);
    pthread_mutex_unlock(&e->lock);
    news_put(e, j, due);
}

static void news_send(struct engine *e)
{
    if (e->have_news)
        io_wake_send(e->wake);
    e->have_news = false;
}

/* ---- slots ---- */

static void slot_free(struct engine *e, struct slot *s)
{
    llama_memory_seq_rm(llama_get_memory(e->model.ctx), (llama_seq_id)(s - e->slots), -1, -1);
    sampler_free(s->sampler);
    stop_free(&s->filter);
    *s = (struct slot){ .job = NULL };
    atomic_fetch_sub(&e->busy, 1);
}

static void slot_end(struct engine *e, struct slot *s, enum err err, const char *finish)
{
    struct engine_job *j = s->job;
    slot_free(e, s);
    job_end(e, j, err, finish);
}

static enum err slot_admit(struct engine *e, struct slot *s, struct engine_job *j)
{
    struct sampler *sampler;
    enum err err = sampler_new(e->model.vocab, &j->sampling, &sampler);
    if (err != ERR_OK)
        return err;
    *s = (struct slot){ .job = j, .sampler = sampler, .order = e->admitted++ };
    stop_init(&s->filter, j->stops, j->n_stops);
    atomic_fetch_add(&e->busy, 1);
    return ERR_OK;
}

static void waiting_take_in(struct engine *e, struct queue_item *it)
{
    while (it) {
        struct queue_item *next = it->next;
        it->next = NULL;
        *e->waiting_tail = it;
        e->waiting_tail = &it->next;
        atomic_fetch_add(&e->waiting_count, 1);
        it = next;
    }
}

static void waiting_remove(struct engine *e, struct queue_item **at)
{
    struct queue_item *it = *at;
    *at = it->next;
    if (!*at)
        e->waiting_tail = at;
    it->next = NULL;
    atomic_fetch_sub(&e->waiting_count, 1);
}

static void drop_cancelled(struct engine *e)
{
    for (struct queue_item **at = &e->waiting; *at;) {
        struct engine_job *j = job_of(*at);
        if (!atomic_load(&j->cancelled) && !atomic_load(&e->closing)) {
            at = &(*at)->next;
            continue;
        }
        waiting_remove(e, at);
        job_end(e, j, ERR_CLIENT, "");
    }
    for (int i = 0; i < e->model.slots; i++)
        if (e->slots[i].job && (atomic_load(&e->slots[i].job->cancelled) || atomic_load(&e->closing)))
            slot_end(e, &e->slots[i], ERR_CLIENT, "");
}

/* The first waiting job that is to be embedded, or that is not; its place in the list. */
static struct queue_item **waiting_first(struct engine *e, bool embed)
{
    struct queue_item **at = &e->waiting;
    while (*at && (job_of(*at)->n_inputs > 0) != embed)
        at = &(*at)->next;
    return at;
}

static void admit(struct engine *e)
{
    for (int i = 0; i < e->model.slots; i++) {
        struct queue_item **at = waiting_first(e, false);
        if (e->slots[i].job || !*at)
            continue;
        struct engine_job *j = job_of(*at);
        waiting_remove(e, at);
        enum err err = slot_admit(e, &e->slots[i], j);
        if (err != ERR_OK)
            job_end(e, j, err, "");
    }
}

/* ---- embeddings ---- */

/* Called by ggml between operations. It also shows that the step goes on: a long text is not taken for a hang. */
static bool embedding_is_wanted(void *ctx)
{
    struct engine *e = ctx;
    atomic_store(&e->step_started_us, now_us());
    return !atomic_load(&e->closing) && !atomic_load(&e->embedding->cancelled);
}

/* One text of the oldest job. */
static void embed_one(struct engine *e)
{
    struct queue_item **at = waiting_first(e, true);
    if (!*at)
        return;
    struct engine_job *j = e->embedding = job_of(*at);
    enum err err = e->embedder ? ERR_OK : embedder_new(&e->model, embedding_is_wanted, e, &e->embedder);
    if (err == ERR_OK) {
        atomic_store(&e->step_started_us, now_us());
        err = embedder_run(e->embedder, &j->inputs[j->made], j->vectors + (size_t)j->made * embedder_size(&e->model));
        atomic_store(&e->step_started_us, 0);
        j->made++;
    }
    if (err == ERR_OK && (size_t)j->made < j->n_inputs)
        return;
    waiting_remove(e, at);
    job_end(e, j, err, "");
}

/* ---- one step ---- */

static void batch_add(struct engine *e, struct slot *s, int32_t token, bool output)
{
    struct llama_batch *b = &e->batch;
    int32_t i = b->n_tokens++;
    b->token[i] = token;
    b->pos[i] = s->pos + s->in_batch++;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = (llama_seq_id)(s - e->slots);
    b->logits[i] = output;
    if (output)
        s->output = i;
}

static bool slot_reads(const struct slot *s) { return s->job && s->read < s->job->tokens.n; }

static bool slot_held_back(struct engine *e, const struct slot *s)
{
    if (atomic_load(&s->job->paused))
        return true;
    pthread_mutex_lock(&e->lock);
    bool behind = s->job->text.n > ENGINE_AHEAD;
    pthread_mutex_unlock(&e->lock);
    return behind;
}

static int add_running(struct engine *e)
{
    int n = 0;
    e->batch.n_tokens = 0;
    for (int i = 0; i < e->model.slots; i++) {
        struct slot *s = &e->slots[i];
        s->in_batch = 0;
        s->output = -1;
        if (s->job && !slot_reads(s) && !slot_held_back(e, s)) {
            batch_add(e, s, s->next, true);
            n++;
        }
    }
    return n;
}

static struct slot *oldest_reader(struct engine *e)
{
    struct slot *oldest = NULL;
    for (int i = 0; i < e->model.slots; i++)
        if (slot_reads(&e->slots[i]) && e->slots[i].in_batch == 0 && (!oldest || e->slots[i].order < oldest->order))
            oldest = &e->slots[i];
    return oldest;
}

static void add_prompts(struct engine *e, bool others_run)
{
    int32_t room = e->model.batch - e->batch.n_tokens;
    if (others_run) {
        int32_t piece = e->token_us > 0 ? (int32_t)(STEP_TARGET_US / e->token_us) : PIECE_FIRST;
        piece = piece < PIECE_LEAST ? PIECE_LEAST : piece;
        room = piece < room ? piece : room;
    }
    for (struct slot *s; room > 0 && (s = oldest_reader(e));) {
        const struct token_list *t = &s->job->tokens;
        for (size_t at = s->read; at < t->n && room > 0; at++, room--)
            batch_add(e, s, t->p[at], at + 1 == t->n);
    }
}

/* Called by ggml between operations: nobody wants this step any more. */
static bool step_should_abort(void *ctx)
{
    struct engine *e = ctx;
    if (atomic_load(&e->closing))
        return true;
    for (int i = 0; i < e->model.slots; i++)
        if (e->slots[i].job && e->slots[i].in_batch && !atomic_load(&e->slots[i].job->cancelled))
            return false;
    return true;
}

static enum err slot_put_text(struct engine *e, struct slot *s, bool last)
{
    pthread_mutex_lock(&e->lock);
    size_t before = s->job->text.n;
    enum err err = last ? stop_flush(&s->filter, &s->job->text) : stop_push(&s->filter, buf_str(&e->piece), &s->job->text);
    bool due = s->job->text.n > before && news_due(s->job);
    pthread_mutex_unlock(&e->lock);
    if (due)
        news_put(e, s->job, true);
    return err;
}

static enum err token_text(struct engine *e, int32_t token)
{
    buf_clear(&e->piece);
    enum err err = buf_reserve(&e->piece, 64);
    if (err != ERR_OK)
        return err;
    int32_t n = llama_token_to_piece(e->model.vocab, token, e->piece.p, (int32_t)e->piece.cap, 0, false);
    if (n < 0) {
        err = buf_reserve(&e->piece, (size_t)-n);
        if (err != ERR_OK)
            return err;
        n = llama_token_to_piece(e->model.vocab, token, e->piece.p, (int32_t)e->piece.cap, 0, false);
    }
    e->piece.n = n > 0 ? (size_t)n : 0;
    return ERR_OK;
}

static enum err slot_put_probs(struct engine *e, struct slot *s, int32_t token)
{
    struct token_prob probs[1 + SAMPLING_MAX_TOP];
    int32_t top = s->job->sampling.top;
    sampler_probs(s->sampler, e->model.ctx, s->output, token, top, probs);
    pthread_mutex_lock(&e->lock);
    enum err err = buf_put(&s->job->probs, str_slice((const char *)probs, (size_t)(1 + top) * sizeof *probs));
    pthread_mutex_unlock(&e->lock);
    return err;
}

static void slot_sample(struct engine *e, struct slot *s)
{
    struct engine_job *j = s->job;
    int32_t token = sampler_next(s->sampler, e->model.ctx, s->output);
    j->made++;
    atomic_fetch_add_explicit(&e->tokens, 1, memory_order_relaxed);
    if (llama_vocab_is_eog(e->model.vocab, token)) {
        enum err err = slot_put_text(e, s, true);
        slot_end(e, s, err, "stop");
        return;
    }
    enum err err = token_text(e, token);
    if (err == ERR_OK && j->sampling.top >= 0)
        err = slot_put_probs(e, s, token);
    if (err == ERR_OK)
        err = slot_put_text(e, s, false);
    bool full = j->made >= j->max_tokens;
    if (err == ERR_OK && full && !s->filter.hit)
        err = slot_put_text(e, s, true);
    if (err != ERR_OK || s->filter.hit || full)
        slot_end(e, s, err, s->filter.hit ? "stop" : "length");
    else
        s->next = token;
}

/* The step failed or was aborted: those in it end. (A unified KV cache that was planned for all slots has no other way to be full.) */
static void step_failed(struct engine *e, int32_t status)
{
    if (status != 2)
        log_error("decode_failed", LOG_I("status", status), LOG_I("tokens", e->batch.n_tokens));
    for (int i = 0; i < e->model.slots; i++)
        if (e->slots[i].job && e->slots[i].in_batch)
            slot_end(e, &e->slots[i], status == 2 ? ERR_CLIENT : ERR_INTERNAL, "");
}

static void step(struct engine *e)
{
    int running = add_running(e);
    add_prompts(e, running > 0);
    int32_t prompt = e->batch.n_tokens - running;
    if (e->batch.n_tokens == 0) {
        waiting_take_in(e, queue_take_all(&e->jobs, PAUSED_WAIT_MS));
        return;
    }
    int64_t start = now_us();
    atomic_store(&e->step_started_us, start);
    int32_t status = llama_decode(e->model.ctx, e->batch);
    if (status == 0)
        llama_synchronize(e->model.ctx);
    atomic_store(&e->step_started_us, 0);
    atomic_fetch_add_explicit(&e->steps, 1, memory_order_relaxed);
    if (status != 0) {
        step_failed(e, status);
        return;
    }
    if (prompt >= PIECE_LEAST) {
        double us = (double)(now_us() - start) / e->batch.n_tokens;
        e->token_us = e->token_us > 0 ? e->token_us * 0.8 + us * 0.2 : us;
    }
    for (int i = 0; i < e->model.slots; i++) {
        struct slot *s = &e->slots[i];
        if (!s->job || s->in_batch == 0)
            continue;
        if (slot_reads(s))
            s->read += (size_t)s->in_batch;
        s->pos += s->in_batch;
        if (s->output >= 0)
            slot_sample(e, s);
    }
}

/* ---- the thread ---- */

static void engine_serve(struct engine *e)
{
    while (!atomic_load(&e->closing)) {
        bool idle = atomic_load(&e->busy) == 0 && !e->waiting;
        waiting_take_in(e, queue_take_all(&e->jobs, idle ? -1 : 0));
        drop_cancelled(e);
        admit(e);
        embed_one(e);
        if (atomic_load(&e->busy) > 0)
            step(e);
        news_send(e);
    }
    waiting_take_in(e, queue_take_all(&e->jobs, 0));
    drop_cancelled(e);
    news_send(e);
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    enum err err = model_load(&e->config, &e->progress, &e->model, e->why);
    if (err == ERR_OK) {
        e->model.should_abort = step_should_abort;
        e->model.abort_ctx = e;
        e->batch = llama_batch_init(e->model.batch, 0, 1);
        buf_init(&e->piece, 64u << 10);
    }
    atomic_store(&e->state, err == ERR_OK ? ENGINE_READY : ENGINE_FAILED);
    io_wake_send(e->wake);
    if (err == ERR_OK) {
        engine_serve(e);
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

struct engine_load engine_load_now(const struct engine *e)
{
    int64_t started = atomic_load(&e->step_started_us);
    return (struct engine_load){ .busy = atomic_load(&e->busy), .waiting = atomic_load(&e->waiting_count),
                                 .step_ms = started ? (now_us() - started) / 1000 : 0, .steps = atomic_load(&e->steps), .tokens = atomic_load(&e->tokens) };
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
