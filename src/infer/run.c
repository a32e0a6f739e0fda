/* One job at work: tokens in, the next one chosen, its text handed on. */
#include "infer/engine_state.h"

#include "core/log.h"

#include <stdlib.h>

#define TEXT_MAX (1u << 20)

/* ---- beginning ---- */

enum err run_begin(struct engine *e, struct run *r)
{
    struct engine_job *j = r->job;
    if (r->sampler)
        return ERR_OK;                  /* it was put off */
    r->cap = j->tokens.n + (size_t)j->max_tokens + 1;
    r->tokens = malloc(r->cap * sizeof *r->tokens);
    enum err err = r->tokens ? sampler_new(e->model.vocab, &j->sampling, &r->sampler) : ERR_MEMORY;
    if (err != ERR_OK)
        return err;
    memcpy(r->tokens, j->tokens.p, j->tokens.n * sizeof *r->tokens);
    r->n = j->tokens.n;
    r->skill = e->skill;
    stop_init(&r->filter, j->stops, j->n_stops);
    return ERR_OK;
}

/* Keys and values made with one adapter are of no use to another. (splitmix64's finalizer: neighbours get far from each other.) */
uint64_t run_owner(const struct run *r, uint64_t caller)
{
    uint64_t x = caller + (uint64_t)r->job->adapter * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

bool run_held_back(struct engine *e, const struct run *r)
{
    if (atomic_load(&r->job->paused))
        return true;
    pthread_mutex_lock(&e->lock);
    bool behind = r->job->text.n > ENGINE_AHEAD;
    pthread_mutex_unlock(&e->lock);
    return behind;
}

/* ---- text ---- */

static enum err put_text(struct engine *e, struct run *r, bool last)
{
    pthread_mutex_lock(&e->lock);
    size_t before = r->job->text.n;
    enum err err = last ? stop_flush(&r->filter, &r->job->text) : stop_push(&r->filter, buf_str(&e->piece), &r->job->text);
    bool due = r->job->text.n > before && job_news_due(r->job);
    pthread_mutex_unlock(&e->lock);
    if (due)
        engine_post(e, r->job, true);
    return err;
}

static enum err token_text(struct engine *e, int32_t token, bool shown)
{
    buf_clear(&e->piece);
    enum err err = buf_reserve(&e->piece, 64);
    if (err != ERR_OK)
        return err;
    int32_t n = llama_token_to_piece(e->model.vocab, token, e->piece.p, (int32_t)e->piece.cap, 0, shown);
    if (n < 0) {
        err = buf_reserve(&e->piece, (size_t)-n);
        if (err != ERR_OK)
            return err;
        n = llama_token_to_piece(e->model.vocab, token, e->piece.p, (int32_t)e->piece.cap, 0, shown);
    }
    e->piece.n = n > 0 ? (size_t)n : 0;
    return ERR_OK;
}

static enum err put_probs(struct engine *e, struct run *r, struct llama_context *ctx, int32_t output, int32_t token)
{
    struct token_prob probs[1 + SAMPLING_MAX_TOP];
    int32_t top = r->job->sampling.top;
    sampler_probs(r->sampler, ctx, output, token, top, probs);
    pthread_mutex_lock(&e->lock);
    enum err err = buf_put(&r->job->probs, str_slice((const char *)probs, (size_t)(1 + top) * sizeof *probs));
    pthread_mutex_unlock(&e->lock);
    return err;
}

/* ---- the next token ---- */

/* One token from one output. True: it was the last, with *err and *finish. */
static bool sample_one(struct engine *e, struct run *r, struct llama_context *ctx, int32_t output, enum err *err, const char **finish)
{
    struct engine_job *j = r->job;
    int32_t token = sampler_next(r->sampler, ctx, output);
    *finish = "stop";
    if (token < 0) {
        *err = ERR_GRAMMAR;
        return true;
    }
    j->made++;
    atomic_fetch_add_explicit(&e->tokens, 1, memory_order_relaxed);
    if (llama_vocab_is_eog(e->model.vocab, token)) {
        *err = put_text(e, r, true);
        return true;
    }
    *err = token_text(e, token, token == j->sampling.shown);
    if (*err == ERR_OK && j->sampling.top >= 0)
        *err = put_probs(e, r, ctx, output, token);
    if (*err == ERR_OK)
        *err = put_text(e, r, false);
    bool complete = sampler_is_done(r->sampler), full = j->made >= j->max_tokens;
    if (*err == ERR_OK && (complete || full) && !r->filter.hit)
        *err = put_text(e, r, true);
    *finish = r->filter.hit || complete ? "stop" : "length";
    r->tokens[r->n++] = token;
    return *err != ERR_OK || r->filter.hit || complete || full;
}

/* The outputs are those of the last token and of the guesses after it. Each guess that is what was chosen anyway is one step saved: the
 * choice is made from the same distribution as without it, so what comes out is distributed as if nothing had been drafted. */
bool run_sample(struct engine *e, struct run *r, struct llama_context *ctx, enum err *err, const char **finish)
{
    size_t accepted = 0;
    bool ended;
    for (;;) {
        ended = sample_one(e, r, ctx, r->output + (int32_t)accepted, err, finish);
        if (ended || accepted == r->n_draft || r->tokens[r->n - 1] != r->draft[accepted])
            break;
        accepted++;
        r->done++;
    }
    draft_skill_learn(&r->skill, r->match, r->n_draft, accepted);
    r->job->drafted += (int64_t)r->n_draft;
    r->job->accepted += (int64_t)accepted;
    return ended;
}

/* ---- the end ---- */

void run_end(struct engine *e, struct run *r, enum err err, const char *finish)
{
    struct engine_job *j = r->job;
    sched_leave(&e->sched, j->caller);
    if (j->drafted)
        draft_skill_pass_on(&e->skill, &r->skill);
    if (r->sampler)
        stop_free(&r->filter);
    sampler_free(r->sampler);
    free(r->tokens);
    if (err == ERR_OK && !j->n_inputs)
        e->usual += ((double)j->made - e->usual) * 0.1;
    atomic_fetch_add_explicit(&e->drafted, (uint64_t)j->drafted, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->accepted, (uint64_t)j->accepted, memory_order_relaxed);
    *r = (struct run){ .job = NULL };
    pthread_mutex_lock(&e->lock);
    j->err = err;
    j->finish = finish;
    j->done = true;
    bool due = job_news_due(j);
    pthread_mutex_unlock(&e->lock);
    engine_post(e, j, due);
}
