/* Who is admitted, and one step over all that run. */
#include "infer/engine_state.h"

#include "core/log.h"

#include <assert.h>
#include <stdlib.h>

#define ADAPTER_STEPS 16                /* in a row with one adapter while calls with another wait: a change costs a new plan of the graph */

/* ---- leaving ---- */

static void deactivate(struct engine *e, struct run *r)
{
    int i = 0;
    while (e->active[i] != r)
        i++;
    e->active[i] = e->active[--e->n_active];
    atomic_fetch_sub(&e->busy, 1);
    r->seq = -1;
}

void step_stop(struct engine *e, struct run *r, enum err err, const char *finish)
{
    kv_close(e->kv, r->seq, true);
    deactivate(e, r);
    run_end(e, r, err, finish);
}

/* It waits again, before all that came later. What it has may still be there when its turn comes. */
static void preempt(struct engine *e, struct run *r)
{
    kv_close(e->kv, r->seq, true);
    deactivate(e, r);
    r->done = 0;
    r->job->preempted++;
    atomic_fetch_add_explicit(&e->preempted, 1, memory_order_relaxed);
    engine_wait(e, r, true);
}

/* ---- admission ---- */

static struct kv_prompt prompt_of(const struct run *r)
{
    const struct engine_job *j = r->job;
    return (struct kv_prompt){ .owner = run_owner(r, j->caller), .shared = j->shared ? run_owner(r, j->shared) : 0,
                               .tokens = r->tokens ? r->tokens : j->tokens.p, .n = r->tokens ? r->n : j->tokens.n, .head = j->head };
}

static enum err admit(struct engine *e, struct run *r)
{
    size_t reused;
    int seq;
    enum err err = run_begin(e, r);
    if (err != ERR_OK)
        return err;
    struct kv_prompt p = prompt_of(r);
    err = kv_open(e->kv, &p, &seq, &reused);
    if (err != ERR_OK)
        return err;
    r->seq = seq;
    r->done = reused;
    if (!r->job->preempted) {
        r->job->reused = (int64_t)reused;
        atomic_fetch_add_explicit(&e->reused, reused, memory_order_relaxed);
    }
    engine_unwait(e, r);
    e->active[e->n_active++] = r;
    atomic_fetch_add(&e->busy, 1);
    return ERR_OK;
}

static void as_sched_run(struct engine *e, struct run *r, struct sched_run *out)
{
    size_t left = r->n - r->done, boundary = r->n;
    struct kv_prompt p = prompt_of(r);
    if (r->done < p.head && kv_wants_head(e->kv, &p))
        boundary = p.head;
    *out = (struct sched_run){ .reads = left > 1, .held = run_held_back(e, r), .batch = r->job->batch, .fixed = r->job->preempted >= RUN_PREEMPT_MOST,
                               .left = left, .piece = boundary - r->done, .order = r->order, .place = r->seq, .worth = r->worth };
}

/* Puts a run off; false: none may be. */
static bool make_place(struct engine *e, const struct run *for_run, bool any)
{
    struct sched_run runs[MODEL_MAX_SLOTS];
    for (int i = 0; i < e->n_active; i++) {
        as_sched_run(e, e->active[i], &runs[i]);
        runs[i].fixed |= e->active[i] == for_run;
    }
    size_t victim = sched_victim(runs, (size_t)e->n_active, any);
    if (victim == (size_t)e->n_active)
        return false;
    preempt(e, e->active[victim]);
    return true;
}

/* Those that wait for a slot, as the scheduler sees them. */
static size_t list_waiting(const struct engine *e, struct sched_wait *out, struct run **runs)
{
    size_t n = 0;
    for (struct run *r = e->waiting; r; r = r->next) {
        if (r->job->n_inputs || r->job->deterministic)
            continue;
        out[n] = (struct sched_wait){ r->job->caller, r->order, r->since_us, r->job->batch, false };
        runs[n++] = r;
    }
    return n;
}

/* Who comes next. One whose beginning another call is reading just now waits for that. NULL: nobody. */
static struct run *next_waiting(const struct engine *e)
{
    struct sched_wait waits[RUNS_MAX];
    struct run *runs[RUNS_MAX];
    size_t n = list_waiting(e, waits, runs), i;
    int64_t now = engine_now_us();
    while ((i = sched_next(&e->sched, waits, n, now)) < n) {
        struct kv_prompt p = prompt_of(runs[i]);
        if (!kv_soon(e->kv, &p))
            return runs[i];
        waits[i].held = true;
    }
    return NULL;
}

/* True: somebody could run if another gave way. */
static bool may_give_way(const struct engine *e)
{
    for (int i = 0; i < e->n_active; i++)
        if (e->active[i]->job->batch && e->active[i]->job->preempted < RUN_PREEMPT_MOST)
            return true;
    return false;
}

void step_admit(struct engine *e)
{
    struct run *r;
    while (e->waiting && (e->n_active < e->model.slots || may_give_way(e)) && (r = next_waiting(e))) {
        bool urgent = !r->job->batch;
        if (e->n_active == e->model.slots && !(urgent && make_place(e, NULL, false)))
            return;
        enum err err = admit(e, r);
        if (err == ERR_AGAIN && urgent && make_place(e, NULL, false))
            err = admit(e, r);
        if (err == ERR_AGAIN)
            return;
        if (err != ERR_OK) {
            engine_unwait(e, r);
            run_end(e, r, err, "");
        }
    }
}

/* ---- what the step holds ---- */

static void batch_add(struct engine *e, const struct run *r, int32_t token, size_t pos, bool output)
{
    struct llama_batch *b = &e->batch;
    int32_t i = b->n_tokens++;
    b->token[i] = token;
    b->pos[i] = (llama_pos)pos;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = r->seq;
    b->logits[i] = output;
}

static void batch_add_run(struct engine *e, struct run *r)
{
    size_t known = r->take - r->n_draft;
    r->output = r->done + known == r->n ? e->batch.n_tokens + (int32_t)known - 1 : -1;
    for (size_t i = 0; i < known; i++)
        batch_add(e, r, r->tokens[r->done + i], r->done + i, r->done + i + 1 == r->n);
    for (size_t i = 0; i < r->n_draft; i++)
        batch_add(e, r, r->draft[i], r->n + i, true);
}

static int by_sequence(const void *x, const void *y)
{
    const struct run *const *a = x, *const *b = y;
    return (*a)->seq - (*b)->seq;
}

/* The adapter of this step: that of the last ones, until its turn is over or nobody needs it. */
static int choose_adapter(const struct engine *e)
{
    const struct run *other = NULL;
    bool still = false;
    for (int i = 0; i < e->n_active; i++) {
        const struct run *r = e->active[i];
        if (r->job->adapter == e->adapter)
            still = true;
        else if (!other || r->order < other->order)
            other = r;
    }
    return other && (!still || e->adapter_steps >= ADAPTER_STEPS) ? other->job->adapter : e->adapter;
}

static void set_adapter(struct engine *e, int adapter)
{
    if (adapter != e->adapter) {
        e->adapter_steps = 0;
        e->adapter = adapter;
        model_use_adapter(&e->model, e->model.ctx, adapter);
    }
    e->adapter_steps++;
}

static size_t propose(const struct engine *e, struct run *r)
{
    size_t left = (size_t)(r->job->max_tokens - r->job->made), most = left > 1 ? left - 1 : 0;
    if (r->job->no_draft || !e->config.draft || !e->model.can_cut)
        return 0;
    if (r->n + most > e->model.limits.context)
        most = e->model.limits.context - r->n;
    if (e->config.draft > 0 && most > (size_t)e->config.draft)
        most = (size_t)e->config.draft;
    size_t n = draft_propose(r->tokens, r->n, r->draft, most < DRAFT_MAX ? most : DRAFT_MAX, &r->match);
    draft_worth(&r->skill, r->match, n, r->worth);
    return n;
}

/* How much of every run this step takes. */
static void fill(struct engine *e, bool with_drafts)
{
    _Static_assert(MODEL_MAX_SLOTS <= SCHED_RUNS, "sched_fill() takes so many");
    struct sched_run plan[MODEL_MAX_SLOTS];
    size_t n = (size_t)e->n_active, readers = 0;
    qsort(e->active, n, sizeof *e->active, by_sequence);        /* libllama takes neighbours together */
    for (size_t i = 0; i < n; i++) {
        struct run *r = e->active[i];
        as_sched_run(e, r, &plan[i]);
        plan[i].held |= r->job->adapter != e->adapter;
        readers += plan[i].reads;
        plan[i].all_drafts = e->config.draft > 0;
        if (with_drafts && !plan[i].reads && !plan[i].held)
            plan[i].drafts = propose(e, r);
    }
    sched_fill(&e->sched, plan, n, (size_t)e->model.batch, (size_t)e->model.outputs - readers);
    for (size_t i = 0; i < n; i++) {
        e->active[i]->take = plan[i].take;
        e->active[i]->n_draft = plan[i].reads || !plan[i].take ? 0 : plan[i].take - 1;
    }
}

/* Room in the cache for all that the step takes. Where there is none, guesses are left out, and then somebody is put off. */
static void plan(struct engine *e)
{
    bool with_drafts = true, fits;
    do {
        fits = true;
        fill(e, with_drafts);
        for (int i = 0; i < e->n_active && fits; i++) {
            struct run *r = e->active[i];
            if (!r->take || kv_reserve(e->kv, r->seq, r->done + r->take) == ERR_OK)
                continue;
            fits = false;
            if (with_drafts)
                with_drafts = false;
            else if (!make_place(e, r, true))
                preempt(e, r);
        }
    } while (!fits);
}

static void batch_build(struct engine *e)
{
    set_adapter(e, choose_adapter(e));
    plan(e);
    e->batch.n_tokens = 0;
    for (int i = 0; i < e->n_active; i++)
        if (e->active[i]->take)
            batch_add_run(e, e->active[i]);
}

/* ---- the step ---- */

/* Called by ggml between operations: nobody wants this step any more. */
bool step_should_abort(void *ctx)
{
    const struct engine *e = ctx;
    if (atomic_load(&e->closing))
        return true;
    for (int i = 0; i < e->n_active; i++)
        if (e->active[i]->take && !atomic_load(&e->active[i]->job->cancelled))
            return false;
    return true;
}

/* The step failed or was aborted: those in it end. What it left in the cache is not known, so nothing of them is kept. */
static void step_failed(struct engine *e, int32_t status)
{
    if (status != 2)
        log_error("decode_failed", LOG_I("status", status), LOG_I("tokens", e->batch.n_tokens));
    for (int i = e->n_active; i-- > 0;) {
        struct run *r = e->active[i];
        if (!r->take)
            continue;
        kv_close(e->kv, r->seq, false);
        deactivate(e, r);
        run_end(e, r, status == 2 ? ERR_CLIENT : ERR_INTERNAL, "");
    }
}

/* What the step gave this run. True: the run has ended. */
static bool collect(struct engine *e, struct run *r)
{
    size_t known = r->take - r->n_draft, in_cache = r->done + r->take;
    int64_t made = r->job->made;
    enum err err = ERR_OK;
    const char *finish = "";
    bool ended = false;
    if (r->done < r->job->tokens.n)
        atomic_fetch_add_explicit(&e->read, known, memory_order_relaxed);
    r->done += known;
    if (r->output >= 0)
        ended = run_sample(e, r, e->model.ctx, &err, &finish);
    if (r->done < in_cache)
        kv_cut(e->kv, r->seq, r->done);
    else
        kv_grew(e->kv, r->seq, r->done);
    if (r->done == r->job->head && !ended)
        kv_head(e->kv, r->seq);
    sched_serve(&e->sched, r->job->caller, r->output >= 0 ? 0 : known, (size_t)(r->job->made - made));
    if (ended)
        step_stop(e, r, err, finish);
    return ended;
}

bool step(struct engine *e)
{
    batch_build(e);
    if (e->batch.n_tokens == 0)
        return false;
    int64_t start = engine_now_us();
    atomic_store(&e->step_started_us, start);
    int32_t status = llama_decode(e->model.ctx, e->batch);
    if (status == 0)
        llama_synchronize(e->model.ctx);
    atomic_store(&e->step_started_us, 0);
    atomic_fetch_add_explicit(&e->steps, 1, memory_order_relaxed);
    if (status != 0) {
        step_failed(e, status);
        return true;
    }
    sched_learn(&e->sched, (double)(engine_now_us() - start));
    for (int i = e->n_active; i-- > 0;)         /* one that ends is replaced by the last, which was seen */
        if (e->active[i]->take)
            (void)collect(e, e->active[i]);
    return true;
}
