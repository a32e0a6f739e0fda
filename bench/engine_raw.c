/* The ceiling for hearth-engine: a bare llama_decode loop in one process. No HTTP, no queue, no scheduler.
 *
 *   engine_raw MODEL [--threads N] [--sequences N] [--tokens N] [--repeat N] [--unified] [--pool] [--text FILE]
 *
 * Every sequence gets the same ChatML prompt (the file's text, or a built-in one) and is sampled greedily for the same number
 * of tokens; end of generation is ignored, so that the work is fixed. Prints one JSON line a repetition. */
#include <ggml-cpu.h>
#include <llama.h>

#include <getopt.h>
#include <stdint.h>

struct options {
    int threads, sequences, tokens, repeat;
    int unified, pool;
    const char *text;
};

static const char default_text[] = "Write a short story about a lighthouse keeper who finds a message in a bottle.";

static void quiet(enum ggml_log_level level, const char *text, void *ctx)
{
    (void)ctx;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static llama_token greedy(struct llama_context *ctx, int at, int n_vocab)
{
    const float *logits = llama_get_logits_ith(ctx, at);
    int best = 0;
    for (int i = 1; i < n_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void batch_add(struct llama_batch *b, llama_token token, int pos, int seq, bool output)
{
    b->token[b->n_tokens] = token;
    b->pos[b->n_tokens] = pos;
    b->n_seq_id[b->n_tokens] = 1;
    b->seq_id[b->n_tokens][0] = seq;
    b->logits[b->n_tokens++] = output;
}

static int prompt_tokens(const struct llama_vocab *vocab, const char *text, llama_token *out, int cap)
{
    char prompt[16384];
    snprintf(prompt, sizeof prompt, "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n", text);
    return llama_tokenize(vocab, prompt, (int)strlen(prompt), out, cap, true, true);
}

static int run(struct llama_context *ctx, const struct options *o, const llama_token *prompt, int n_prompt, int n_vocab)
{
    struct llama_batch b = llama_batch_init(512, 0, 1);
    llama_token next[64];
    int status = 0;
    double t0 = seconds(), c0 = cpu_seconds();
    llama_memory_clear(llama_get_memory(ctx), true);
    for (int s = 0; s < o->sequences && !status; s++)
        for (int at = 0; at < n_prompt && !status;) {
            b.n_tokens = 0;
            while (at < n_prompt && b.n_tokens < 512) {
                batch_add(&b, prompt[at], at, s, at == n_prompt - 1);
                at++;
            }
            status = llama_decode(ctx, b);
            if (!status && at == n_prompt)
                next[s] = greedy(ctx, b.n_tokens - 1, n_vocab);
        }
    double t1 = seconds();
    for (int t = 1; t < o->tokens && !status; t++) {
        b.n_tokens = 0;
        for (int s = 0; s < o->sequences; s++)
            batch_add(&b, next[s], n_prompt + t - 1, s, true);
        status = llama_decode(ctx, b);
        for (int s = 0; s < o->sequences && !status; s++)
            next[s] = greedy(ctx, s, n_vocab);
    }
    double t2 = seconds(), made = (double)o->sequences * o->tokens;
    if (status)
        fprintf(stderr, "error: llama_decode: %d\n", status);
    else
        printf("{\"sequences\":%d,\"threads\":%d,\"prompt\":%d,\"tokens\":%d,\"prompt_tok_s\":%.1f,\"decode_tok_s\":%.1f,\"total_tok_s\":%.1f,"
               "\"wall_s\":%.3f,\"cpu_s\":%.3f}\n", o->sequences, o->threads, n_prompt, o->tokens, n_prompt * o->sequences / (t1 - t0),
               (made - o->sequences) / (t2 - t1), made / (t2 - t0), t2 - t0, cpu_seconds() - c0);
    fflush(stdout);
    llama_batch_free(b);
    return status;
}

static struct llama_context *context_new(struct llama_model *model, const struct options *o)
{
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = 2048 * (uint32_t)o->sequences;
    p.n_seq_max = (uint32_t)o->sequences;
    p.n_batch = p.n_ubatch = 512;
    p.n_threads = p.n_threads_batch = o->threads;
    p.kv_unified = o->unified;
    p.n_outputs_max = (uint32_t)o->sequences;
    struct llama_context *ctx = llama_init_from_model(model, p);
    if (ctx && o->pool) {
        struct ggml_threadpool_params tp = ggml_threadpool_params_default(o->threads);
        tp.poll = 0;
        ggml_threadpool_t pool = ggml_threadpool_new(&tp);
        llama_attach_threadpool(ctx, pool, pool);
    }
    return ctx;
}

static const char *file_text(const char *path, char *buf, size_t cap)
{
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(buf, 1, cap - 1, f) : 0;
    buf[n] = 0;
    if (f)
        fclose(f);
    return buf;
}

int main(int argc, char **argv)
{
    struct options o = { .threads = 1, .sequences = 1, .tokens = 64, .repeat = 1, .text = default_text };
    const struct option longs[] = { { "threads", 1, NULL, 't' }, { "sequences", 1, NULL, 's' }, { "tokens", 1, NULL, 'n' }, { "repeat", 1, NULL, 'r' },
                                    { "text", 1, NULL, 'f' }, { "unified", 0, &o.unified, 1 }, { "pool", 0, &o.pool, 1 }, { NULL, 0, NULL, 0 } };
    static char text[12000];
    static llama_token prompt[8192];
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        switch (c) {
        case 0: break;
        case 't': o.threads = (int)strtol(optarg, NULL, 10); break;
        case 's': o.sequences = (int)strtol(optarg, NULL, 10); break;
        case 'n': o.tokens = (int)strtol(optarg, NULL, 10); break;
        case 'r': o.repeat = (int)strtol(optarg, NULL, 10); break;
        case 'f': o.text = file_text(optarg, text, sizeof text); break;
        default: return 2;
        }
    if (optind + 1 != argc || o.threads < 1 || o.sequences < 1 || o.sequences > 64 || o.tokens < 1)
        return fputs("usage: engine_raw MODEL [--threads N] [--sequences N] [--tokens N] [--repeat N] [--unified] [--pool] [--text FILE]\n", stderr), 2;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(argv[optind], llama_model_default_params());
    struct llama_context *ctx = model ? context_new(model, &o) : NULL;
    if (!ctx)
        return fputs("error: the model cannot be loaded\n", stderr), 3;
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    int n_prompt = prompt_tokens(vocab, o.text, prompt, 8192), status = n_prompt > 0 ? 0 : 1;
    for (int i = 0; i < o.repeat && !status; i++)
        status = run(ctx, &o, prompt, n_prompt, llama_vocab_n_tokens(vocab));
    llama_free(ctx);
    llama_model_free(model);
    return status ? 1 : 0;
}
