/* infer/model.h: one GGUF file, checked and loaded, with its context. Includes: core, llama.
 *
 * The file comes as a descriptor, so that what was hashed is what is loaded. It is checked by gguf_check() before libllama
 * reads a byte of it. */
#ifndef HEARTH_INFER_MODEL_H
#define HEARTH_INFER_MODEL_H

#include "core/gguf.h"
#include "infer/kv.h"
#include "infer/template.h"

#include <llama.h>
#include <stdatomic.h>

#define MODEL_DEFAULT_CONTEXT 4096
#define MODEL_MAX_CONTEXT (1 << 20)
#define MODEL_MAX_SLOTS 64
#define MODEL_MAX_THREADS 512
#define MODEL_MAX_BATCH 4096
#define MODEL_MAX_ADAPTERS 16
#define MODEL_DRAFTS 32                /* outputs of one step beside one for each slot */
#define MODEL_DRAFT_AUTO (-1)
#define MODEL_KV_MEMORY (256u << 20)    /* by default */
#define MODEL_SCORES (256u << 20)       /* bytes that attention may take for its scores (model_config.flash_attn) */

struct adapter_config { const char *name; FILE *file; };       /* model_load() takes the file */
struct model_config {
    FILE *file;                         /* from model_open(); model_load() takes it */
    int context;                        /* tokens of one sequence; 0: the model's own, at most MODEL_DEFAULT_CONTEXT */
    int threads, slots, batch;
    const char *family;                 /* chat template, or NULL */
    const char *tools;                  /* how tools are called (tools.h), or NULL */
    int kv_tokens;                      /* room for all sequences together; 0: each has its own */
    size_t kv_memory;                   /* bytes of states of ended calls, outside of the cache */
    bool no_reuse;                      /* keep nothing of ended calls */
    /* How attention is computed. Flash attention needs no room for scores, and reads prompts 5 to 8 % faster on a CPU; but ggml's takes one query at a time
     * there, and each token that is made costs more the longer the context is. SmolLM2-135M, one thread, tokens made a second without it and with it: 52 and 48
     * after 90 tokens, 42 and 25 after 710, 35 and 12 after 1,763. AUTO: without it on a CPU where each sequence has its own room and the scores of a step fit
     * into MODEL_SCORES; else libllama chooses. */
    enum llama_flash_attn_type flash_attn;
    int draft;                          /* tokens to guess in a step (draft.h): 0: none; MODEL_DRAFT_AUTO: as many as pay */
    int spill_fd;                       /* file of named beginnings (spill.h); -1: none. The engine takes it */
    uint64_t spill_limit;
    struct adapter_config adapters[MODEL_MAX_ADAPTERS];
    int n_adapters;
};

struct model_progress { _Atomic double share; atomic_bool stop; };

struct vocabulary;
struct adapter { const char *name; struct llama_adapter_lora *lora; struct digest digest; };     /* of its file */
struct model {
    FILE *file;
    struct llama_model *llama;
    struct llama_context *ctx;
    const struct llama_vocab *vocab;
    struct chat_template chat;
    struct vocabulary *vocabulary;      /* its tokens, for grammars */
    struct prompt_limits limits;        /* limits.context: of one sequence */
    int threads, slots, batch, kv_tokens;
    enum llama_flash_attn_type flash_attn;      /* what became of the one in the configuration */
    int outputs;                        /* of one step, at most */
    bool can_cut;                       /* tokens at the end of a sequence can be taken back */
    struct adapter adapters[MODEL_MAX_ADAPTERS];
    int n_adapters;
    struct gguf_facts facts;
    bool (*should_abort)(void *ctx);    /* set by the engine: ends a running decode */
    void *abort_ctx;
};

#define MODEL_WHY 400
/* A FILE of our own for a descriptor, which is closed: reopened through /proc where that is there (so before confinement), because
 * the offset of an inherited descriptor is shared with whoever gave it. NULL: not readable. */
FILE *model_open(int fd);
/* ERR_ENGINE with a sentence in `why` that can be shown to a person. */
enum err model_load(const struct model_config *c, struct model_progress *p, struct model *out, char why[MODEL_WHY]);
void model_free(struct model *m);
/* What every context of this model has in common: threads, attention, no measuring. */
struct llama_context_params model_context_params(const struct model *m);
struct kv_options model_kv_options(const struct model *m, const struct model_config *c);
/* The number of the adapter of this name; 0: there is none. */
int model_adapter(const struct model *m, str name);
/* The adapter of the next steps of a context: from 1, 0: none. A change makes libllama plan its graph anew. */
void model_use_adapter(const struct model *m, struct llama_context *ctx, int adapter);

/* The cores this process may use: affinity, cgroup quota, and physical cores, not hyperthreads; at least 1. It does not look at
 * the load, because the number of threads is part of a model's identity. Reads /proc and /sys: before confinement. */
int model_free_cores(void);
/* libllama's messages: its errors are kept for model_load()'s `why`, everything is logged at debug level. */
void model_log_setup(void);

#endif
