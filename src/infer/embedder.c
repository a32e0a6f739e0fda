/* A second context, which gives vectors and no logits. */
#include "infer/embedder.h"

#include <llama.h>
#include <math.h>

struct embedder {
    struct llama_context *ctx;
    struct llama_batch batch;
    size_t size;
    bool (*alive)(void *ctx);
    void *alive_ctx;
};

size_t embedder_size(const struct model *m) { return (size_t)llama_model_n_embd_out(m->llama); }
size_t embedder_max_tokens(const struct model *m) { return m->limits.context < EMBEDDER_MAX_TOKENS ? m->limits.context : EMBEDDER_MAX_TOKENS; }

static bool on_abort(void *ctx)
{
    struct embedder *e = ctx;
    return !e->alive(e->alive_ctx);
}

static struct llama_context *make(struct embedder *e, const struct model *m, enum llama_pooling_type pooling)
{
    struct llama_context_params p = model_context_params(m);
    p.n_ctx = p.n_batch = p.n_ubatch = (uint32_t)embedder_max_tokens(m);
    p.n_seq_max = 1;
    p.embeddings = true;
    p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;     /* whole texts at once: their scores would need much room */
    p.pooling_type = pooling;
    p.abort_callback = on_abort;
    p.abort_callback_data = e;
    return llama_init_from_model(m->llama, p);
}

enum err embedder_new(const struct model *m, bool (*alive)(void *ctx), void *ctx, struct embedder **out)
{
    struct embedder *e = calloc(1, sizeof *e);
    if (!e)
        return ERR_MEMORY;
    *e = (struct embedder){ .size = embedder_size(m), .alive = alive, .alive_ctx = ctx };
    e->ctx = make(e, m, LLAMA_POOLING_TYPE_UNSPECIFIED);
    if (e->ctx && llama_pooling_type(e->ctx) == LLAMA_POOLING_TYPE_NONE) {
        llama_free(e->ctx);
        e->ctx = make(e, m, LLAMA_POOLING_TYPE_MEAN);
    }
    if (!e->ctx) {
        free(e);
        return ERR_MEMORY;
    }
    e->batch = llama_batch_init((int32_t)embedder_max_tokens(m), 0, 1);
    *out = e;
    return ERR_OK;
}

void embedder_free(struct embedder *e)
{
    if (!e)
        return;
    llama_batch_free(e->batch);
    llama_free(e->ctx);
    free(e);
}

static void normalise(const float *in, size_t n, float *out)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)in[i] * in[i];
    double length = sqrt(sum);
    for (size_t i = 0; i < n; i++)
        out[i] = length > 0 ? (float)(in[i] / length) : 0;
}

enum err embedder_run(struct embedder *e, const struct token_list *text, float *out)
{
    llama_memory_clear(llama_get_memory(e->ctx), true);
    e->batch.n_tokens = (int32_t)text->n;
    for (size_t i = 0; i < text->n; i++) {
        e->batch.token[i] = text->p[i];
        e->batch.pos[i] = (llama_pos)i;
        e->batch.n_seq_id[i] = 1;
        e->batch.seq_id[i][0] = 0;
        e->batch.logits[i] = 1;
    }
    int32_t status = llama_decode(e->ctx, e->batch);
    if (status == 2)
        return ERR_CLIENT;
    const float *v = status == 0 ? llama_get_embeddings_seq(e->ctx, 0) : NULL;
    if (!v)
        return ERR_INTERNAL;
    normalise(v, e->size, out);
    return ERR_OK;
}
