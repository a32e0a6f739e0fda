/* Loading: map, check, hand to libllama, find the template, make the context. */
#include "infer/model.h"

#include "core/log.h"

#include <llama.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* ---- cores ---- */

static bool read_small(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(out, 1, cap - 1, f) : 0;
    out[n] = 0;
    if (f)
        fclose(f);
    return n > 0;
}

/* True for the first hyperthread of its core. */
static bool is_first_sibling(int cpu)
{
    char path[96], text[64];
    uint64_t first;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (!read_small(path, text, sizeof text))
        return true;
    return !str_u64(str_slice(text, strspn(text, "0123456789")), &first) || first == (uint64_t)cpu;
}

/* "QUOTA PERIOD" or "max PERIOD" in cgroup v2's cpu.max; 0 when there is no limit. */
static int quota_cores(void)
{
    char text[64];
    str quota, period;
    uint64_t q, p;
    if (!read_small("/sys/fs/cgroup/cpu.max", text, sizeof text))
        return 0;
    str line = str_slice(text, strcspn(text, "\n"));
    if (!str_cut(line, ' ', &quota, &period) || !str_u64(quota, &q) || !str_u64(period, &p) || p == 0)
        return 0;
    return q / p > 0 ? (int)(q / p) : 1;
}

int model_free_cores(void)
{
    cpu_set_t set;
    int cores = 0, all = 0, quota = quota_cores();
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set)) {
            all++;
            cores += is_first_sibling(i);
        }
    if (cores == 0)                     /* only second hyperthreads are ours */
        cores = all;
    if (quota && quota < cores)
        cores = quota;
    return cores < 1 ? 1 : cores > MODEL_MAX_THREADS ? MODEL_MAX_THREADS : cores;
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

static enum err make_context(const struct model_config *c, struct model *m, char why[MODEL_WHY])
{
    struct llama_context_params p = llama_context_default_params();
    int trained = llama_model_n_ctx_train(m->llama), context = c->context;
    if (context == 0)
        context = trained > 0 && trained < MODEL_DEFAULT_CONTEXT ? trained : MODEL_DEFAULT_CONTEXT;
    m->slots = c->slots;
    m->threads = c->threads;
    m->batch = c->batch < c->slots ? c->slots : c->batch;
    m->limits.context = (size_t)context;
    p.n_ctx = (uint32_t)((size_t)context * (size_t)c->slots);
    p.n_seq_max = (uint32_t)c->slots;
    p.n_batch = p.n_ubatch = (uint32_t)m->batch;
    p.n_outputs_max = (uint32_t)c->slots;
    p.n_threads = p.n_threads_batch = c->threads;
    p.kv_unified = true;
    p.flash_attn_type = MODEL_FLASH_ATTN;
    p.no_perf = true;
    p.abort_callback = model_on_abort;
    p.abort_callback_data = m;
    m->ctx = llama_init_from_model(m->llama, p);
    if (!m->ctx)
        return refuse(why, "there is not enough memory for the context (try a smaller --context or --slots)");
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
    if (e == ERR_OK && template_find(m->llama, c->family, &m->chat, why) != ERR_OK)
        e = ERR_ENGINE;
    if (e == ERR_OK)
        e = make_context(c, m, why);
    if (e == ERR_OK)
        m->limits.longest_token = template_longest_token(m->vocab);
    return e;
}

enum err model_load(const struct model_config *c, struct model_progress *p, struct model *out, char why[MODEL_WHY])
{
    _Static_assert(TEMPLATE_WHY <= MODEL_WHY, "template_find writes into why");
    *out = (struct model){ .file = c->file };
    enum err e = load(c, p, out, why);
    if (e != ERR_OK)
        model_free(out);
    return e;
}

void model_free(struct model *m)
{
    if (m->ctx)
        llama_free(m->ctx);
    if (m->llama)
        llama_model_free(m->llama);
    if (m->file)
        fclose(m->file);
    *m = (struct model){ .file = NULL };
}
