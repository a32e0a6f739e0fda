/* A context for one sequence, cleared before each job. */
#include "infer/engine_state.h"

#include "core/log.h"

/* Called by ggml between operations: its client has left. */
static bool should_abort(void *ctx)
{
    const struct engine *e = ctx;
    return engine_unwanted(e, e->lane.run);
}

static enum err make(struct engine *e)
{
    struct llama_context_params p = model_context_params(&e->model);
    p.n_ctx = (uint32_t)e->model.limits.context;
    p.n_batch = p.n_ubatch = LANE_PIECE;
    p.n_seq_max = p.n_outputs_max = 1;
    p.abort_callback = should_abort;
    p.abort_callback_data = e;
    e->lane.ctx = llama_init_from_model(e->model.llama, p);
    return e->lane.ctx ? ERR_OK : ERR_MEMORY;
}

static struct run *oldest(const struct engine *e)
{
    struct run *r = e->waiting;
    while (r && !r->job->deterministic)
        r = r->next;
    return r;
}

static void end(struct engine *e, enum err err, const char *finish)
{
    struct run *r = e->lane.run;
    e->lane.run = NULL;
    atomic_fetch_sub(&e->busy, 1);
    run_end(e, r, err, finish);
}

static bool begin(struct engine *e)
{
    struct run *r = oldest(e);
    if (!r)
        return false;
    engine_unwait(e, r);
    e->lane.run = r;
    atomic_fetch_add(&e->busy, 1);
    enum err err = run_begin(e, r);
    if (err == ERR_OK && !e->lane.ctx)
        err = make(e);
    if (err != ERR_OK) {
        end(e, err, "");
        return false;
    }
    llama_memory_clear(llama_get_memory(e->lane.ctx), false);
    model_use_adapter(&e->model, e->lane.ctx, r->job->adapter);
    return true;
}

bool lane_step(struct engine *e)
{
    if (!e->lane.run && !begin(e))
        return false;
    struct run *r = e->lane.run;
    struct llama_batch *b = &e->batch;
    enum err err = ERR_OK;
    const char *finish = "";
    if (run_held_back(e, r))
        return false;
    size_t take = r->n - r->done < LANE_PIECE ? r->n - r->done : LANE_PIECE;
    b->n_tokens = (int32_t)take;
    for (size_t i = 0; i < take; i++) {
        b->token[i] = r->tokens[r->done + i];
        b->pos[i] = (llama_pos)(r->done + i);
        b->n_seq_id[i] = 1;
        b->seq_id[i][0] = 0;
        b->logits[i] = r->done + i + 1 == r->n;
    }
    atomic_store(&e->step_started_us, engine_now_us());
    int32_t status = llama_decode(e->lane.ctx, *b);
    if (status == 0)
        llama_synchronize(e->lane.ctx);
    atomic_store(&e->step_started_us, 0);
    atomic_fetch_add_explicit(&e->steps, 1, memory_order_relaxed);
    if (status != 0) {
        if (status != 2)
            log_error("decode_failed", LOG_I("status", status), LOG_I("tokens", (int64_t)take));
        end(e, status == 2 ? ERR_CLIENT : ERR_INTERNAL, "");
        return true;
    }
    if (r->done < r->job->tokens.n)
        atomic_fetch_add_explicit(&e->read, take, memory_order_relaxed);
    r->done += take;
    r->output = (int32_t)take - 1;
    if (r->done == r->n && run_sample(e, r, e->lane.ctx, &err, &finish))
        end(e, err, finish);
    return true;
}

void lane_drop(struct engine *e)
{
    if (e->lane.run && engine_unwanted(e, e->lane.run))
        end(e, ERR_CLIENT, "");
}

void lane_free(struct lane *l)
{
    if (l->ctx)
        llama_free(l->ctx);
    l->ctx = NULL;
}
