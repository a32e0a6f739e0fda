/* Loading: map, check, hand to libllama, find the template, make the context. */
#include "infer/model.h"

#include "core/cores.h"
#include "core/log.h"
#include "infer/sampler.h"

#include <llama.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCORES_BATCH 128                /* tokens whose scores are held at once, without flash attention */

/* ---- libllama's messages ---- */

static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_error[200];

static void model_on_log(enum ggml_log_level level, const char *text, void *ctx)
{
    str line = str_of(text);
    (void)ctx;
    while (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n < 2)
        return;                         /* progress dots */
    if (level == GGML_LOG_LEVEL_ERROR) {
        pthread_mutex_lock(&last_lock);
        snprintf(last_error, sizeof last_error, "%.*s", STR_ARG(line));
        pthread_mutex_unlock(&last_lock);
    }
    log_debug("llama", LOG_S("text", line));
}

void model_log_setup(void)
{
    llama_log_set(model_on_log, NULL);
}

static enum err refuse(char why[MODEL_WHY], const char *what)
{
    pthread_mutex_lock(&last_lock);
    snprintf(why, MODEL_WHY, "%s%s%s", what, last_error[0] ? ": " : "", last_error);
    pthread_mutex_unlock(&last_lock);
    return ERR_ENGINE;
}

int model_free_cores(void)
{
    int cores = cores_free();
    return cores > MODEL_MAX_THREADS ? MODEL_MAX_THREADS : cores;
}

/* ---- the file ---- */

static enum err check_file(int fd, struct gguf_facts *facts, char why[MODEL_WHY])
{
    struct stat st;
    const char *what;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        return snprintf(why, MODEL_WHY, "the model is not a regular file, or empty"), ERR_ENGINE;
    size_t n = (size_t)st.st_size;
    char *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return snprintf(why, MODEL_WHY, "the model file cannot be mapped"), ERR_ENGINE;
    uint64_t at = 0;
    enum err e = gguf_check(str_slice(p, n), facts, &what, &at);
    if (e != ERR_OK)
        snprintf(why, MODEL_WHY, "the model file is damaged or hostile: %s (at byte %llu)", what, (unsigned long long)at);
    facts->architecture = facts->name = STR_NONE;   /* slices of the mapping */
    munmap(p, n);
    if (e == ERR_OK && facts->split_count > 1) {
        snprintf(why, MODEL_WHY, "the model is split over %llu files: join them first (llama-gguf-split --merge)", (unsigned long long)facts->split_count);
        e = ERR_ENGINE;
    }
    return e == ERR_OK ? ERR_OK : ERR_ENGINE;
}

FILE *model_open(int fd)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    FILE *f = fopen(path, "re");
    if (f) {
        close(fd);
        return f;
    }
    f = fdopen(fd, "r");
    if (f)
        rewind(f);
    else
        close(fd);
    return f;
}

/* ---- libllama ---- */

static bool model_on_progress(float share, void *ctx)
{
    struct model_progress *p = ctx;
    atomic_store(&p->share, (double)share);
    return !atomic_load(&p->stop);
}

static bool model_on_abort(void *ctx)
{
    struct model *m = ctx;
    return m->should_abort && m->should_abort(m->abort_ctx);
}

struct llama_context_params model_context_params(const struct model *m)
{
    struct llama_context_params p = llama_context_default_params();
    p.n_threads = p.n_threads_batch = m->threads;
    p.flash_attn_type = m->flash_attn;
    p.no_perf = true;
    p.swa_full = true;                  /* what is kept of a sequence must hold more than the last window */
    return p;
}

struct kv_options model_kv_options(const struct model *m, const struct model_config *c)
{
    return (struct kv_options){ .sequences = m->slots, .context = m->limits.context, .pool = (size_t)m->kv_tokens, .memory = c->kv_memory, .no_reuse = c->no_reuse };
}

/* All share one room where it is smaller than what each could want. It holds one whole context at least. */
static int shared_room(const struct model_config *c, size_t context)
{
    size_t each = context * (size_t)c->slots, asked = (size_t)c->kv_tokens;
    if (!asked || asked >= each)
        return 0;
    return (int)(asked < context ? context : asked);
}

/* Tokens that are computed together. Without flash attention a CPU reads no faster in larger pieces, and the scores need room for each. */
static int compute_batch(const struct model *m) { return m->flash_attn == LLAMA_FLASH_ATTN_TYPE_DISABLED && m->batch > SCORES_BATCH ? SCORES_BATCH : m->batch; }

static enum llama_flash_attn_type choose_attention(const struct model_config *c, const struct model *m)
{
    double scores = sizeof(float) * (double)llama_model_n_head(m->llama) * SCORES_BATCH * (double)m->limits.context;
    bool on_cpu = !llama_supports_gpu_offload();
    if (c->flash_attn != LLAMA_FLASH_ATTN_TYPE_AUTO || !on_cpu || m->kv_tokens || scores > MODEL_SCORES)
        return c->flash_attn;
    return LLAMA_FLASH_ATTN_TYPE_DISABLED;
}

static enum err make_context(const struct model_config *c, struct model *m, char why[MODEL_WHY])
{
    int trained = llama_model_n_ctx_train(m->llama), context = c->context;
    if (context == 0)
        context = trained > 0 && trained < MODEL_DEFAULT_CONTEXT ? trained : MODEL_DEFAULT_CONTEXT;
    m->slots = c->slots;
    m->threads = c->threads;
    m->batch = c->batch < c->slots ? c->slots : c->batch;
    m->limits.context = (size_t)context;
    m->kv_tokens = shared_room(c, m->limits.context);
    m->flash_attn = choose_attention(c, m);
    m->can_cut = !llama_model_is_recurrent(m->llama) && !llama_model_is_hybrid(m->llama);
    struct kv_options kv = model_kv_options(m, c);
    int sequences = kv_sequences(&kv), outputs = c->slots + MODEL_DRAFTS;
    m->outputs = outputs < m->batch ? outputs : m->batch;
    struct llama_context_params p = model_context_params(m);
    p.n_ctx = (uint32_t)(m->kv_tokens ? m->kv_tokens : context * c->slots);
    p.n_seq_max = (uint32_t)sequences;
    p.n_batch = (uint32_t)m->batch;
    p.n_ubatch = (uint32_t)compute_batch(m);
    p.n_outputs_max = (uint32_t)(m->outputs > sequences ? m->outputs : sequences);
    p.kv_unified = m->kv_tokens > 0;
    p.abort_callback = model_on_abort;
    p.abort_callback_data = m;
    m->ctx = llama_init_from_model(m->llama, p);
    if (!m->ctx)
        return refuse(why, "there is not enough memory for the context (try a smaller --context, --slots or --kv-tokens)");
    return ERR_OK;
}

int model_adapter(const struct model *m, str name)
{
    for (int i = 0; i < m->n_adapters; i++)
        if (str_eq(name, str_of(m->adapters[i].name)))
            return i + 1;
    return 0;
}

void model_use_adapter(const struct model *m, struct llama_context *ctx, int adapter)
{
    struct llama_adapter_lora *lora = adapter ? m->adapters[adapter - 1].lora : NULL;
    float scale = 1;
    llama_set_adapters_lora(ctx, adapter ? &lora : NULL, adapter ? 1 : 0, adapter ? &scale : NULL);
}

/* Of the whole file, wherever its descriptor stands. */
static bool digest_of(int fd, struct digest *out)
{
    enum { PIECE = 1 << 20 };
    struct sha256 *h = sha256_new();
    char *piece = malloc(PIECE);
    off_t at = 0;
    ssize_t n = -1;
    if (h && piece)
        for (sha256_begin(h); (n = pread(fd, piece, PIECE, at)) > 0; at += n)
            sha256_add(h, str_slice(piece, (size_t)n));
    if (n == 0)
        *out = sha256_end(h);
    sha256_free(h);
    free(piece);
    return n == 0;
}

static enum err load_adapters(const struct model_config *c, struct model *m, char why[MODEL_WHY])
{
    for (int i = 0; i < c->n_adapters; i++) {
        struct gguf_facts facts;
        char what[128];
        enum err e = check_file(fileno(c->adapters[i].file), &facts, why);
        if (e != ERR_OK)
            return e;
        struct llama_adapter_lora *lora = llama_adapter_lora_init_from_file_ptr(m->llama, c->adapters[i].file);
        snprintf(what, sizeof what, "libllama cannot load the adapter '%.48s' for this model", c->adapters[i].name);
        if (!lora)
            return refuse(why, what);
        struct adapter *x = &m->adapters[m->n_adapters++];
        *x = (struct adapter){ .name = c->adapters[i].name, .lora = lora };
        if (!digest_of(fileno(c->adapters[i].file), &x->digest))
            return refuse(why, "an adapter cannot be read");
    }
    return ERR_OK;
}

/* What this engine can serve: a decoder that takes a batch of sequences and has a vocabulary. */
static enum err check_kind(const struct model *m, char why[MODEL_WHY])
{
    if (llama_model_has_encoder(m->llama) || !llama_model_has_decoder(m->llama) || llama_model_is_diffusion(m->llama))
        return refuse(why, "this model is no plain decoder (an encoder or a diffusion model), which this engine does not serve");
    if (llama_vocab_type(m->vocab) == LLAMA_VOCAB_TYPE_NONE || llama_vocab_n_tokens(m->vocab) < 2)
        return refuse(why, "this model file has no vocabulary");
    return ERR_OK;
}

static enum err load(const struct model_config *c, struct model_progress *p, struct model *m, char why[MODEL_WHY])
{
    struct llama_model_params params = llama_model_default_params();
    enum err e = check_file(fileno(m->file), &m->facts, why);
    if (e != ERR_OK)
        return e;
    params.progress_callback = model_on_progress;
    params.progress_callback_user_data = p;
    m->llama = llama_model_load_from_file_ptr(m->file, params);
    if (!m->llama)
        return refuse(why, "libllama cannot load the model");
    m->vocab = llama_model_get_vocab(m->llama);
    e = check_kind(m, why);
    if (e == ERR_OK && (template_find(m->llama, c->family, &m->chat, why) != ERR_OK || template_find_tools(m->llama, c->tools, &m->chat, why) != ERR_OK))
        e = ERR_ENGINE;
    if (e == ERR_OK)
        e = load_adapters(c, m, why);
    if (e == ERR_OK)
        e = make_context(c, m, why);
    if (e == ERR_OK)
        m->limits.longest_token = template_longest_token(m->vocab);
    if (e == ERR_OK && sampler_vocabulary(m->vocab, &m->vocabulary) != ERR_OK)
        e = refuse(why, "there is not enough memory for the vocabulary");
    return e;
}

enum err model_load(const struct model_config *c, struct model_progress *p, struct model *out, char why[MODEL_WHY])
{
    _Static_assert(TEMPLATE_WHY <= MODEL_WHY, "template_find writes into why");
    *out = (struct model){ .file = c->file };
    enum err e = load(c, p, out, why);
    for (int i = 0; i < c->n_adapters; i++)     /* read whole: libllama copies them */
        fclose(c->adapters[i].file);
    if (e != ERR_OK)
        model_free(out);
    return e;
}

void model_free(struct model *m)
{
    if (m->ctx)
        llama_free(m->ctx);
    vocabulary_free(m->vocabulary);
    if (m->llama)
        llama_model_free(m->llama);
    if (m->file)
        fclose(m->file);
    *m = (struct model){ .file = NULL };
}
