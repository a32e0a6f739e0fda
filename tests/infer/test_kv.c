/* The KV cache: what is reused gives the same output as what is read anew, in both layouts and from every place it may be kept in. */
#include "infer/kv.h"

#include "infer/spill.h"
#include "tiny.h"

#include <fcntl.h>
#include <llama.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { CONTEXT = 256, SLOTS = 3, LONGEST = 200 };

struct bench { struct llama_model *model; struct llama_context *ctx; struct kv *kv; struct kv_options o; int n_vocab; };

static void bench_open(struct bench *b, size_t pool, size_t memory, struct spill *spill)
{
    struct llama_context_params p = llama_context_default_params();
    *b = (struct bench){ .o = { .sequences = SLOTS, .context = CONTEXT, .pool = pool, .memory = memory, .spill = spill } };
    b->model = llama_model_load_from_file(tiny_model("bpe-chatml"), llama_model_default_params());
    assert_non_null(b->model);
    p.n_seq_max = (uint32_t)kv_sequences(&b->o);
    p.n_ctx = (uint32_t)(pool ? pool : CONTEXT * SLOTS);
    p.n_batch = p.n_ubatch = CONTEXT;
    p.kv_unified = pool > 0;
    p.n_threads = p.n_threads_batch = 1;
    b->ctx = llama_init_from_model(b->model, p);
    assert_non_null(b->ctx);
    b->n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(b->model));
    assert_int_equal(kv_new(b->ctx, &b->o, &b->kv), ERR_OK);
}

static void bench_close(struct bench *b)
{
    struct kv_census c = kv_census(b->kv);      /* after every test: nobody has what is nobody's */
    assert_int_equal(c.sequences, kv_sequences(&b->o));
    assert_int_equal(c.astray, 0);
    assert_int_equal(c.lost, 0);
    assert_int_equal(c.room, b->o.pool);
    assert_true(c.open + c.resident <= c.sequences && c.left <= c.room);
    assert_int_equal(c.resident, kv_look(b->kv).resident);
    kv_free(b->kv);
    llama_free(b->ctx);
    llama_model_free(b->model);
}

/* A prompt: the first `same` tokens are those of every prompt, the rest are of `seed`. */
struct text { int32_t tokens[LONGEST]; size_t n; };
static struct text text_of(size_t same, size_t n, int32_t seed)
{
    struct text t = { .n = n };
    for (size_t i = 0; i < n; i++)
        t.tokens[i] = 5 + (int32_t)((i * 7919 + (i < same ? 0 : (size_t)seed * 104729)) % 200);
    return t;
}

static struct kv_prompt prompt_of(const struct text *t, uint64_t owner) { return (struct kv_prompt){ .owner = owner, .tokens = t->tokens, .n = t->n }; }

/* Reads tokens [from, to) and keeps the last one's output. */
static void read_tokens(struct bench *b, int seq, const int32_t *tokens, size_t from, size_t to, float *logits)
{
    struct llama_batch batch = llama_batch_init(CONTEXT, 0, 1);
    for (size_t i = from; i < to; i++) {
        int32_t k = batch.n_tokens++;
        batch.token[k] = tokens[i];
        batch.pos[k] = (llama_pos)i;
        batch.n_seq_id[k] = 1;
        batch.seq_id[k][0] = seq;
        batch.logits[k] = i + 1 == to;
    }
    assert_int_equal(llama_decode(b->ctx, batch), 0);
    if (logits)
        memcpy(logits, llama_get_logits_ith(b->ctx, -1), (size_t)b->n_vocab * sizeof *logits);
    llama_batch_free(batch);
    kv_grew(b->kv, seq, to);
}

/* Opens, reads what is missing, and leaves it open. */
static int run(struct bench *b, const struct kv_prompt *p, size_t *reused, float *logits)
{
    int seq = -1;
    assert_int_equal(kv_open(b->kv, p, &seq, reused), ERR_OK);
    assert_true(*reused < p->n);
    read_tokens(b, seq, p->tokens, *reused, p->n, logits);
    return seq;
}

static float outputs[2][4096];

static void assert_same_output(const struct bench *b)
{
    for (int i = 0; i < b->n_vocab; i++)
        if (fabsf(outputs[0][i] - outputs[1][i]) > 2e-2f * (1 + fabsf(outputs[0][i])))
            fail_msg("output %d: %f anew, %f reused", i, (double)outputs[0][i], (double)outputs[1][i]);
}

/* The output of a text that is read from the beginning. */
static void read_anew(struct text *t)
{
    struct bench b;
    size_t reused;
    struct kv_prompt p = prompt_of(t, 1);
    bench_open(&b, 0, 0, NULL);
    run(&b, &p, &reused, outputs[0]);
    assert_int_equal(reused, 0);
    bench_close(&b);
}

static const struct { const char *name; size_t pool; } layouts[] = { { "a room each", 0 }, { "one room", 512 } };
#define EACH_LAYOUT(l) (size_t l = 0; l < sizeof layouts / sizeof layouts[0]; l++)

static void what_a_call_left_is_continued(void **state)
{
    (void)state;
    struct text first = text_of(100, 100, 1), more = text_of(150, 150, 1);
    read_anew(&more);
    for EACH_LAYOUT (l) {
        struct bench b;
        size_t reused;
        struct kv_prompt p = prompt_of(&first, 1), q = prompt_of(&more, 1);
        bench_open(&b, layouts[l].pool, 1 << 20, NULL);
        kv_close(b.kv, run(&b, &p, &reused, NULL), true);
        int seq = run(&b, &q, &reused, outputs[1]);
        assert_int_equal(reused, 100);
        assert_same_output(&b);
        assert_int_equal(kv_look(b.kv).taken, 1);
        assert_int_equal(kv_look(b.kv).entries, 0);     /* the new call has what the entry had */
        kv_close(b.kv, seq, true);
        assert_int_equal(kv_look(b.kv).entries, 1);
        bench_close(&b);
    }
}

static void a_shared_beginning_is_copied_and_both_go_on(void **state)
{
    (void)state;
    struct text first = text_of(100, 140, 1), other = text_of(100, 150, 2), again = text_of(100, 160, 1);
    for EACH_LAYOUT (l) {
        struct bench b;
        size_t reused;
        struct kv_prompt p = prompt_of(&first, 1), q = prompt_of(&other, 1), r = prompt_of(&again, 1);
        read_anew(&other);
        bench_open(&b, layouts[l].pool, 1 << 20, NULL);
        kv_close(b.kv, run(&b, &p, &reused, NULL), true);
        int seq = run(&b, &q, &reused, outputs[1]);
        assert_int_equal(reused, 100);
        assert_same_output(&b);
        kv_close(b.kv, seq, true);
        read_anew(&again);                          /* the first one's own tokens are still there, too */
        run(&b, &r, &reused, outputs[1]);
        assert_int_equal(reused, 140);
        assert_same_output(&b);
        bench_close(&b);
    }
}

static void a_running_call_lends_what_it_has_read(void **state)
{
    (void)state;
    struct text first = text_of(120, 180, 1), other = text_of(120, 150, 2);
    read_anew(&other);
    for EACH_LAYOUT (l) {
        struct bench b;
        size_t reused;
        int seq;
        struct kv_prompt p = prompt_of(&first, 1), q = prompt_of(&other, 1);
        bench_open(&b, layouts[l].pool, 1 << 20, NULL);
        assert_int_equal(kv_open(b.kv, &p, &seq, &reused), ERR_OK);
        read_tokens(&b, seq, first.tokens, 0, 40, NULL);
        assert_true(kv_soon(b.kv, &q));             /* 80 more are on their way */
        read_tokens(&b, seq, first.tokens, 40, 130, NULL);
        assert_false(kv_soon(b.kv, &q));
        run(&b, &q, &reused, outputs[1]);
        assert_int_equal(reused, 120);
        assert_same_output(&b);
        bench_close(&b);
    }
}

/* Five texts on three sequences: some are in memory by then. */
static void what_has_no_sequence_any_more_comes_back_from_memory(void **state)
{
    (void)state;
    struct bench b;
    size_t reused;
    struct text t[5];
    bench_open(&b, 0, 16 << 20, NULL);
    for (int i = 0; i < 5; i++) {
        t[i] = text_of(0, 100 + (size_t)i, i + 1);
        struct kv_prompt p = prompt_of(&t[i], 1);
        kv_close(b.kv, run(&b, &p, &reused, NULL), true);
    }
    assert_int_equal(kv_look(b.kv).entries, 5);
    assert_int_equal(kv_look(b.kv).resident, 3);
    for (int i = 0; i < 5; i++) {
        struct text more = text_of(0, 170, i + 1);
        struct kv_prompt p = prompt_of(&more, 1);
        read_anew(&more);
        int seq = run(&b, &p, &reused, outputs[1]);
        assert_int_equal(reused, t[i].n);
        assert_same_output(&b);
        kv_close(b.kv, seq, true);
    }
    assert_true(kv_look(b.kv).restored >= 2);
    bench_close(&b);
}

static void memory_is_bounded_and_the_oldest_goes_first(void **state)
{
    (void)state;
    struct bench b;
    size_t reused, one;
    bench_open(&b, 0, 1 << 30, NULL);
    struct text t = text_of(0, 100, 1);
    struct kv_prompt p = prompt_of(&t, 1);
    int seq = run(&b, &p, &reused, NULL);
    one = llama_state_seq_get_size(b.ctx, seq);
    bench_close(&b);
    bench_open(&b, 0, one * 2 + one / 2, NULL);         /* two states, and three sequences */
    for (int i = 0; i < 9; i++) {
        t = text_of(0, 100, i + 1);
        p = prompt_of(&t, 1);
        kv_close(b.kv, run(&b, &p, &reused, NULL), true);
        assert_true(kv_look(b.kv).bytes <= one * 2 + one / 2);
    }
    assert_int_equal(kv_look(b.kv).entries, 5);
    for (int i = 8; i >= 0; i--) {
        struct text more = text_of(0, 120, i + 1);
        p = prompt_of(&more, 1);
        kv_close(b.kv, run(&b, &p, &reused, NULL), false);
        if (i == 8)
            assert_int_equal(reused, 100);
        if (i == 0)
            assert_int_equal(reused, 0);
    }
    bench_close(&b);
}

static void owners_do_not_share_but_for_a_named_head(void **state)
{
    (void)state;
    struct text first = text_of(60, 100, 1), other = text_of(60, 100, 2);
    for EACH_LAYOUT (l) {
        struct bench b;
        size_t reused;
        int seq;
        struct kv_prompt p = prompt_of(&first, 1), q = prompt_of(&first, 2);
        bench_open(&b, layouts[l].pool, 1 << 20, NULL);
        seq = run(&b, &p, &reused, NULL);
        kv_close(b.kv, run(&b, &q, &reused, NULL), true);
        assert_int_equal(reused, 0);
        kv_close(b.kv, seq, true);
        q.owner = 5;
        kv_close(b.kv, run(&b, &q, &reused, NULL), true);
        assert_int_equal(reused, 0);
        p = (struct kv_prompt){ .owner = 3, .shared = 77, .tokens = first.tokens, .n = first.n, .head = 60 };
        assert_true(kv_wants_head(b.kv, &p));
        assert_int_equal(kv_open(b.kv, &p, &seq, &reused), ERR_OK);
        read_tokens(&b, seq, first.tokens, 0, 60, NULL);
        kv_head(b.kv, seq);
        assert_false(kv_wants_head(b.kv, &p));
        read_tokens(&b, seq, first.tokens, 60, 100, NULL);
        kv_close(b.kv, seq, true);
        q = (struct kv_prompt){ .owner = 4, .shared = 77, .tokens = first.tokens, .n = first.n, .head = 60 };
        kv_close(b.kv, run(&b, &q, &reused, NULL), false);
        assert_int_equal(reused, 60);                   /* the head, and no more, though the rest is the same */
        read_anew(&other);
        q.tokens = other.tokens;
        run(&b, &q, &reused, outputs[1]);
        assert_int_equal(reused, 60);
        assert_same_output(&b);
        bench_close(&b);
    }
}

static void one_room_shares_what_is_the_same_and_says_when_it_is_full(void **state)
{
    (void)state;
    struct bench b;
    size_t reused;
    int seqs[SLOTS], seq;
    struct text t[SLOTS], odd = text_of(0, 190, 9);
    bench_open(&b, 320, 0, NULL);
    for (int i = 0; i < SLOTS; i++) {                   /* 3 × 190 tokens would not fit; 160 of them are the same */
        t[i] = text_of(160, 190, i + 1);
        struct kv_prompt p = prompt_of(&t[i], 1);
        seqs[i] = run(&b, &p, &reused, NULL);
        assert_int_equal(reused, i ? 160 : 0);
    }
    kv_close(b.kv, seqs[0], true);
    struct kv_prompt p = prompt_of(&odd, 1);
    assert_int_equal(kv_open(b.kv, &p, &seq, &reused), ERR_AGAIN);
    kv_close(b.kv, seqs[1], true);
    kv_close(b.kv, seqs[2], true);
    run(&b, &p, &reused, NULL);                         /* entries go where a call needs their room */
    bench_close(&b);
}

static void more_calls_than_sequences_have_to_wait(void **state)
{
    (void)state;
    for EACH_LAYOUT (l) {
        struct bench b;
        size_t reused;
        int seq;
        struct text t[SLOTS + 1];
        bench_open(&b, layouts[l].pool, 0, NULL);
        for (int i = 0; i <= SLOTS; i++) {
            t[i] = text_of(0, 60, i + 1);
            struct kv_prompt p = prompt_of(&t[i], 1);
            assert_int_equal(kv_open(b.kv, &p, &seq, &reused), i < SLOTS ? ERR_OK : ERR_AGAIN);
        }
        bench_close(&b);
    }
}

static void what_was_cut_off_is_not_kept(void **state)
{
    (void)state;
    struct text t = text_of(0, 100, 1), more = text_of(70, 120, 2);
    memcpy(more.tokens, t.tokens, 70 * sizeof *t.tokens);
    read_anew(&more);
    for EACH_LAYOUT (l) {
        struct bench b;
        size_t reused;
        struct kv_prompt p = prompt_of(&t, 1), q = prompt_of(&more, 1);
        bench_open(&b, layouts[l].pool, 1 << 20, NULL);
        int seq = run(&b, &p, &reused, NULL);
        kv_cut(b.kv, seq, 70);                          /* the rest were guesses */
        kv_close(b.kv, seq, true);
        run(&b, &q, &reused, outputs[1]);
        assert_int_equal(reused, 70);
        assert_same_output(&b);
        bench_close(&b);
    }
}

/* ---- the file ---- */

static int temporary(void)
{
    char path[] = "/tmp/hearth-test-spill.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static struct spill *spill_of(int fd, const char *facts)
{
    struct digest d = sha256_of(str_of(facts));
    struct spill *s;
    assert_int_equal(spill_open(dup(fd), 64 << 20, &d, &s), ERR_OK);
    return s;
}

static size_t head_from_file(int fd, const char *facts)
{
    struct bench b;
    size_t reused;
    struct spill *s = spill_of(fd, facts);
    struct text t = text_of(60, 100, 5);
    struct kv_prompt p = { .owner = 8, .shared = 77, .tokens = t.tokens, .n = t.n, .head = 60 };
    bench_open(&b, 0, 16 << 20, s);
    run(&b, &p, &reused, outputs[1]);
    if (reused) {
        read_anew(&t);
        assert_same_output(&b);
    }
    bench_close(&b);
    spill_close(s);
    return reused;
}

static void a_named_head_is_there_after_a_new_start(void **state)
{
    (void)state;
    struct bench b;
    size_t reused;
    int fd = temporary(), seq;
    struct spill *s = spill_of(fd, "one");
    struct text t = text_of(60, 100, 1);
    struct kv_prompt p = { .owner = 3, .shared = 77, .tokens = t.tokens, .n = t.n, .head = 60 };
    bench_open(&b, 0, 16 << 20, s);
    assert_int_equal(kv_open(b.kv, &p, &seq, &reused), ERR_OK);
    read_tokens(&b, seq, t.tokens, 0, 60, NULL);
    kv_head(b.kv, seq);
    kv_close(b.kv, seq, false);
    bench_close(&b);
    spill_close(s);
    off_t end = lseek(fd, 0, SEEK_END);
    assert_int_equal(head_from_file(fd, "one"), 60);
    char damage;
    assert_int_equal(pread(fd, &damage, 1, end - 64), 1);
    damage ^= 1;
    assert_int_equal(pwrite(fd, &damage, 1, end - 64), 1);
    assert_int_equal(head_from_file(fd, "one"), 0);     /* damaged: read anew, and nothing worse */
    damage ^= 1;
    assert_int_equal(pwrite(fd, &damage, 1, end - 64), 1);
    assert_int_equal(head_from_file(fd, "one"), 60);
    assert_int_equal(ftruncate(fd, end - 8), 0);
    assert_int_equal(head_from_file(fd, "one"), 0);     /* cut off */
    assert_int_equal(head_from_file(fd, "another model"), 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), 64);       /* … whose file it is now */
    close(fd);
}

static void a_file_that_is_full_takes_no_more(void **state)
{
    (void)state;
    int fd = temporary();
    struct digest d = sha256_of(S("x"));
    struct spill *s;
    static const int32_t tokens[] = { 1, 2, 3 };
    static uint8_t state_bytes[1000];
    struct prefix_entry at = { .owner = 1, .tokens = tokens, .n = 3 };
    assert_int_equal(spill_open(dup(fd), 3000, &d, &s), ERR_OK);
    assert_int_equal(spill_write(s, &at, state_bytes, sizeof state_bytes), 0);
    assert_int_equal(spill_write(s, &at, state_bytes, sizeof state_bytes), 1);
    assert_int_equal(spill_write(s, &at, state_bytes, sizeof state_bytes), -1);
    assert_int_equal(spill_count(s), 2);
    spill_close(s);
    assert_int_equal(spill_open(dup(fd), 3000, &d, &s), ERR_OK);
    assert_int_equal(spill_count(s), 2);
    assert_true(spill_tokens(s, 1, &at) && at.n == 3 && at.tokens[2] == 3);
    assert_int_equal(spill_bytes(s, 1), sizeof state_bytes);
    spill_close(s);
    close(fd);
}

static void quiet(enum ggml_log_level level, const char *text, void *ctx)
{
    (void)ctx;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static int start(void **state)
{
    (void)state;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    return 0;
}

static void a_census_finds_what_is_astray(void **state)
{
    (void)state;
    struct text text = text_of(100, 100, 1);
    for EACH_LAYOUT (l) {
        struct bench b;
        size_t reused;
        struct kv_prompt p = prompt_of(&text, 1);
        bench_open(&b, layouts[l].pool, 1 << 20, NULL);
        int seq = run(&b, &p, &reused, NULL);
        assert_int_equal(kv_census(b.kv).open, 1);
        kv_close(b.kv, seq, true);
        struct kv_census c = kv_census(b.kv);
        assert_int_equal(c.open, 0);
        assert_int_equal(c.resident, 1);
        assert_int_equal(c.left, b.o.pool ? b.o.pool - 112 : 0);        /* 100 tokens are seven pages */
        llama_memory_seq_rm(llama_get_memory(b.ctx), seq, 50, -1);
        assert_int_equal(kv_census(b.kv).astray, 1);
        read_tokens(&b, seq, text.tokens, 50, 100, NULL);
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_call_left_is_continued),
        cmocka_unit_test(a_census_finds_what_is_astray),
        cmocka_unit_test(a_shared_beginning_is_copied_and_both_go_on),
        cmocka_unit_test(a_running_call_lends_what_it_has_read),
        cmocka_unit_test(what_has_no_sequence_any_more_comes_back_from_memory),
        cmocka_unit_test(memory_is_bounded_and_the_oldest_goes_first),
        cmocka_unit_test(owners_do_not_share_but_for_a_named_head),
        cmocka_unit_test(one_room_shares_what_is_the_same_and_says_when_it_is_full),
        cmocka_unit_test(more_calls_than_sequences_have_to_wait),
        cmocka_unit_test(what_was_cut_off_is_not_kept),
        cmocka_unit_test(a_named_head_is_there_after_a_new_start),
        cmocka_unit_test(a_file_that_is_full_takes_no_more),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
