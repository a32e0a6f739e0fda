/* The inference thread with tiny random models: slots, order, cancelling, pausing, stop strings, limits, endings. Timings decide nothing: the
 * tests wait for what must happen, and ctest's own limit ends one that waits for ever. */
#include "infer/engine.h"

#include "core/clock.h"
#include "tiny.h"

#include <fcntl.h>
#include <llama.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct bench { struct io_loop *loop; struct io_wake wake; struct engine *engine; bool wake_closed; };

static void on_wake(struct io_wake *w) { (void)w; }
static void on_wake_closed(struct io_wake *w) { ((struct bench *)((char *)w - offsetof(struct bench, wake)))->wake_closed = true; }
static void nap(void) { nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL); }

static struct model_config config_of(const char *model, int slots, int context)
{
    return (struct model_config){ .file = fopen(model, "rb"), .context = context, .threads = 1, .slots = slots, .batch = 256, .kv_memory = 64u << 20, .draft = MODEL_DRAFT_AUTO, .spill_fd = -1 };
}

static void bench_start(struct bench *b, const struct model_config *c)
{
    *b = (struct bench){ .loop = NULL };
    assert_non_null(c->file);
    assert_int_equal(io_loop_new(&b->loop), ERR_OK);
    assert_int_equal(io_wake_init(b->loop, &b->wake, on_wake), ERR_OK);
    assert_int_equal(engine_new(c, &b->wake, &b->engine), ERR_OK);
    while (engine_state(b->engine) == ENGINE_LOADING)
        nap();
}

static void bench_open(struct bench *b, const char *model, const char *family, int slots, int context)
{
    struct model_config c = config_of(model, slots, context);
    c.family = family;
    bench_start(b, &c);
}

static void bench_close(struct bench *b)
{
    engine_close(b->engine);
    engine_free(b->engine);
    io_wake_close(&b->wake, on_wake_closed);
    while (!b->wake_closed)
        io_loop_run_once(b->loop);
    io_loop_free(b->loop);
}

/* ---- jobs ---- */

struct work { struct engine_job job; struct arena a; struct buf text; bool done; int order; };

static int finished;

static void work_init(struct work *w, struct bench *b, const char *prompt, int max_tokens, double temperature, uint32_t seed)
{
    const struct model *m = engine_model(b->engine);
    struct wire_error why;
    memset(w, 0, sizeof *w);
    arena_init(&w->a, 16 << 20);
    buf_init(&w->text, 4 << 20);
    assert_int_equal(template_text(&w->a, m->vocab, &m->limits, true, str_of(prompt), &w->job.tokens, &why), ERR_OK);
    w->job.max_tokens = max_tokens;
    w->job.sampling = SAMPLING_DEFAULTS;
    w->job.sampling.temperature = temperature;
    w->job.sampling.seed = seed;
}

static void work_free(struct work *w)
{
    arena_free(&w->a);
    buf_free(&w->text);
}

static void take_news(struct bench *b)
{
    struct engine_job *j;
    for (struct queue_item *list = engine_news(b->engine); (j = engine_news_next(&list));) {
        struct work *w = (struct work *)j;
        assert_int_equal(engine_take(b->engine, j, &w->text, NULL, &w->done), ERR_OK);
        if (w->done)
            w->order = ++finished;
    }
    nap();
}

static void work_wait(struct bench *b, struct work *w)
{
    while (!w->done)
        take_news(b);
}

static void work_run(struct bench *b, struct work *w)
{
    assert_int_equal(engine_submit(b->engine, &w->job), ERR_OK);
    work_wait(b, w);
    assert_int_equal(w->job.err, ERR_OK);
}

/* A prompt after which greedy choice goes on for `n` tokens: a random model may end early. */
static const char *lasting_prompt(struct bench *b, int n)
{
    static char prompt[32];
    for (int i = 0; i < 200; i++) {
        struct work w;
        snprintf(prompt, sizeof prompt, "word %d of it", i);
        work_init(&w, b, prompt, n, 0, 0);
        work_run(b, &w);
        bool lasts = w.job.made == n && strcmp(w.job.finish, "length") == 0;
        work_free(&w);
        if (lasts)
            return prompt;
    }
    fail_msg("no prompt lasts for %d tokens", n);
    return NULL;
}

/* ---- tests ---- */

static void a_job_makes_as_many_tokens_as_it_may(void **state)
{
    (void)state;
    struct bench b;
    struct work w;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 512);
    assert_int_equal(engine_state(b.engine), ENGINE_READY);
    const char *prompt = lasting_prompt(&b, 40);
    work_init(&w, &b, prompt, 40, 0, 0);
    work_run(&b, &w);
    assert_int_equal(w.job.made, 40);
    assert_string_equal(w.job.finish, "length");
    assert_true(w.text.n > 0 && str_is_utf8(buf_str(&w.text)));
    assert_int_equal(engine_load_now(b.engine).busy, 0);
    work_free(&w);
    bench_close(&b);
}

static void the_same_seed_gives_the_same_text_and_another_another(void **state)
{
    (void)state;
    struct bench b;
    struct work w[3];
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 512);
    for (int i = 0; i < 3; i++) {
        work_init(&w[i], &b, "the word was", 60, 1.5, i == 2 ? 8 : 7);
        work_run(&b, &w[i]);
    }
    assert_true(w[0].text.n > 0 && str_eq(buf_str(&w[0].text), buf_str(&w[1].text)));
    assert_false(str_eq(buf_str(&w[0].text), buf_str(&w[2].text)));
    for (int i = 0; i < 3; i++)
        work_free(&w[i]);
    bench_close(&b);
}

static void more_jobs_than_slots_wait_their_turn(void **state)
{
    (void)state;
    enum { N = 11 };
    struct bench b;
    static struct work w[N];
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 512);
    const char *prompt = lasting_prompt(&b, 30);
    finished = 0;
    for (int i = 0; i < N; i++) {
        work_init(&w[i], &b, prompt, 30, 0, 0);
        assert_int_equal(engine_submit(b.engine, &w[i].job), ERR_OK);
    }
    for (int i = 0; i < N; i++) {
        work_wait(&b, &w[i]);
        assert_int_equal(w[i].job.err, ERR_OK);
        assert_true(w[i].job.made > 0);
    }
    assert_true(w[N - 1].order >= N - 1);       /* two slots: the last is not overtaken by more than one */
    for (int i = 0; i < N; i++)
        work_free(&w[i]);
    bench_close(&b);
}

static void a_full_queue_says_busy(void **state)
{
    (void)state;
    enum { N = ENGINE_MAX_WAITING + 2 };
    struct bench b;
    static struct work w[N + 200];
    int busy = 0, n = 0;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 1, 16384);
    const char *prompt = lasting_prompt(&b, 400);
    for (; n < N + 200 && !busy; n++) {         /* the thread takes some out of the queue meanwhile: those wait with it */
        work_init(&w[n], &b, prompt, 400, 0, 0);
        enum err e = engine_submit(b.engine, &w[n].job);
        assert_true(e == ERR_OK || e == ERR_BUSY);
        busy += e == ERR_BUSY;
    }
    for (int i = 0; i < n - busy; i++)
        engine_cancel(b.engine, &w[i].job);
    for (int i = 0; i < n - busy; i++)
        work_wait(&b, &w[i]);
    for (int i = 0; i < n; i++)
        work_free(&w[i]);
    bench_close(&b);
}

static void a_cancelled_job_ends_and_the_others_go_on(void **state)
{
    (void)state;
    struct bench b;
    struct work runs, stays, waits;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 16384);
    const char *prompt = lasting_prompt(&b, 700);
    work_init(&runs, &b, prompt, 700, 0, 0);
    work_init(&stays, &b, prompt, 150, 0, 0);
    work_init(&waits, &b, prompt, 700, 0, 0);
    assert_int_equal(engine_submit(b.engine, &runs.job), ERR_OK);
    assert_int_equal(engine_submit(b.engine, &stays.job), ERR_OK);
    assert_int_equal(engine_submit(b.engine, &waits.job), ERR_OK);
    while (runs.text.n == 0 || stays.text.n == 0)
        take_news(&b);
    engine_cancel(b.engine, &waits.job);
    work_wait(&b, &waits);
    assert_int_equal(waits.job.err, ERR_CLIENT);
    assert_int_equal(waits.job.made, 0);
    engine_cancel(b.engine, &runs.job);
    work_wait(&b, &runs);
    assert_int_equal(runs.job.err, ERR_CLIENT);
    assert_true(runs.job.made < 700);
    work_wait(&b, &stays);
    assert_int_equal(stays.job.err, ERR_OK);
    assert_int_equal(stays.job.made, 150);
    work_free(&runs);
    work_free(&stays);
    work_free(&waits);
    bench_close(&b);
}

static char *long_text(size_t words)
{
    char *p = malloc(words * 5 + 1);
    for (size_t i = 0; i < words; i++)
        memcpy(p + i * 5, " word", 5);
    p[words * 5] = 0;
    return p;
}

static void a_cancelled_prompt_is_given_up_while_it_is_read(void **state)
{
    (void)state;
    struct bench b;
    struct work w, next;
    char *text = long_text(7000);
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 1, 16384);
    work_init(&w, &b, text, 10, 0, 0);
    work_init(&next, &b, "the", 5, 0, 0);
    uint64_t before = engine_load_now(b.engine).steps;
    assert_int_equal(engine_submit(b.engine, &w.job), ERR_OK);
    while (engine_load_now(b.engine).busy == 0)
        nap();
    engine_cancel(b.engine, &w.job);
    work_wait(&b, &w);
    assert_int_equal(w.job.err, ERR_CLIENT);
    assert_true(engine_load_now(b.engine).steps - before < w.job.tokens.n / 256);       /* not all of the prompt was read */
    work_run(&b, &next);                        /* and its cells are free again */
    assert_true(next.job.made > 0);
    free(text);
    work_free(&w);
    work_free(&next);
    bench_close(&b);
}

static void a_paused_job_stands_still_and_goes_on_when_resumed(void **state)
{
    (void)state;
    struct bench b;
    struct work paused, other;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 4096);
    const char *prompt = lasting_prompt(&b, 1500);
    work_init(&paused, &b, prompt, 1500, 0, 0);
    work_init(&other, &b, prompt, 300, 0, 0);
    assert_int_equal(engine_submit(b.engine, &paused.job), ERR_OK);
    while (paused.text.n == 0)
        take_news(&b);
    atomic_store(&paused.job.paused, true);
    work_run(&b, &other);                       /* at least one step later the pause holds */
    take_news(&b);
    size_t held = paused.text.n;
    assert_false(paused.done);
    for (int i = 0; i < 200; i++)
        take_news(&b);
    assert_int_equal(paused.text.n, held);
    assert_int_equal(engine_load_now(b.engine).busy, 1);
    engine_resume(b.engine, &paused.job);
    work_wait(&b, &paused);
    assert_int_equal(paused.job.err, ERR_OK);
    assert_int_equal(paused.job.made, 1500);
    work_free(&paused);
    work_free(&other);
    bench_close(&b);
}

static void text_that_nobody_takes_is_bounded(void **state)
{
    (void)state;
    struct bench b;
    struct work w;
    uint64_t last = 0, now = 1;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 1, 32768);
    const char *prompt = lasting_prompt(&b, 200);
    work_init(&w, &b, prompt, 30000, 1.9, 5);
    w.job.sampling.top_p = 1;
    w.job.sampling.min_p = 0;
    w.job.sampling.top_k = 0;
    uint64_t before = engine_load_now(b.engine).tokens;
    assert_int_equal(engine_submit(b.engine, &w.job), ERR_OK);
    for (int still = 0; still < 300; still = now == last ? still + 1 : 0) {     /* until nothing moves, and take nothing */
        last = now;
        nap();
        now = engine_load_now(b.engine).tokens - before;
    }
    assert_true(w.job.text.n <= ENGINE_AHEAD + 4096);
    engine_cancel(b.engine, &w.job);
    work_wait(&b, &w);
    work_free(&w);
    bench_close(&b);
}

static void a_stop_string_ends_generation_wherever_the_tokens_end(void **state)
{
    (void)state;
    struct bench b;
    struct work all;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 1, 512);
    work_init(&all, &b, lasting_prompt(&b, 60), 60, 0, 0);
    work_run(&b, &all);
    str text = buf_str(&all.text);
    for (size_t at = 1; at + 6 < text.n; at += 5) {
        str stop = str_slice(text.p + at, 6);
        struct work w;
        if (!str_is_utf8(stop) || str_find(stop, S("\xEF\xBF\xBD")) < stop.n)
            continue;                   /* the mark of a byte that was no text: the model did not write it */
        work_init(&w, &b, lasting_prompt(&b, 60), 60, 0, 0);
        w.job.stops = &stop;
        w.job.n_stops = 1;
        work_run(&b, &w);
        assert_string_equal(w.job.finish, "stop");
        assert_true(str_eq(buf_str(&w.text), str_slice(text.p, str_find(text, stop))));
        work_free(&w);
    }
    work_free(&all);
    bench_close(&b);
}

static void a_long_prompt_does_not_stop_a_running_stream(void **state)
{
    (void)state;
    struct bench b;
    struct work stream, prompt;
    char *text = long_text(3500);
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 16384);
    work_init(&stream, &b, lasting_prompt(&b, 6000), 6000, 0, 0);
    work_init(&prompt, &b, text, 4, 0, 0);
    assert_int_equal(engine_submit(b.engine, &stream.job), ERR_OK);
    while (stream.text.n == 0)
        take_news(&b);
    size_t before = stream.text.n;
    assert_int_equal(engine_submit(b.engine, &prompt.job), ERR_OK);
    while (!prompt.done && !stream.done)
        take_news(&b);
    assert_true(stream.text.n > before);
    assert_int_equal(prompt.job.err, ERR_OK);
    engine_cancel(b.engine, &stream.job);
    work_wait(&b, &stream);
    work_wait(&b, &prompt);
    free(text);
    work_free(&stream);
    work_free(&prompt);
    bench_close(&b);
}

static void generation_ends_where_the_context_does(void **state)
{
    (void)state;
    struct bench b;
    struct work w;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 256);
    char *text = long_text(120);
    for (size_t cut = 0; cut < 3; cut++) {
        text[strlen(text) - 1] = 0;             /* "wor", "wo", "w": letters are tokens */
        work_init(&w, &b, text, 0, 0, 0);
        int left = 256 - (int)w.job.tokens.n;
        assert_true(left > 0);
        work_run(&b, &w);
        assert_int_equal(w.job.max_tokens, left);
        assert_true(w.job.made <= left);
        work_free(&w);
    }
    free(text);
    bench_close(&b);
}

/* ---- what is shared, guessed and put off ---- */

static void the_same_prompt_again_is_not_read_again(void **state)
{
    (void)state;
    struct bench b;
    struct work w[3];
    char *text = long_text(100);
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 1024);
    for (int i = 0; i < 3; i++) {
        work_init(&w[i], &b, text, 20, 0, 0);
        w[i].job.caller = i == 2 ? 8 : 7;
        work_run(&b, &w[i]);
        assert_int_equal(w[i].job.reused, i == 1 ? (int64_t)w[i].job.tokens.n - 1 : 0);     /* another caller does not get it */
    }
    assert_true(str_eq(buf_str(&w[0].text), buf_str(&w[2].text)));
    struct engine_load l = engine_load_now(b.engine);
    assert_int_equal(l.read, w[0].job.tokens.n * 2 + 1);
    assert_int_equal(l.reused, w[0].job.tokens.n - 1);
    for (int i = 0; i < 3; i++)
        work_free(&w[i]);
    free(text);
    bench_close(&b);
}

/* All at once: one reads what all have in common, the others wait for that. */
static void calls_that_begin_alike_read_the_beginning_once(void **state)
{
    (void)state;
    enum { N = 6 };
    struct bench b;
    static struct work w[N];
    char *text = long_text(400);
    bench_open(&b, tiny_model("bpe-chatml"), NULL, N, 1024);
    for (int i = 0; i < N; i++)
        work_init(&w[i], &b, text, 8, 0, (uint32_t)i);
    for (int i = 0; i < N; i++)
        assert_int_equal(engine_submit(b.engine, &w[i].job), ERR_OK);
    for (int i = 0; i < N; i++)
        work_wait(&b, &w[i]);
    assert_true(engine_load_now(b.engine).read < w[0].job.tokens.n * 3 / 2);
    for (int i = 0; i < N; i++)
        work_free(&w[i]);
    free(text);
    bench_close(&b);
}

/* Of two tokens that are as good as the only ones, a text is made that is like its beginning now and then: some guesses are right, and
 * some are not. What comes out is the same as without them. */
static void guesses_do_not_change_what_comes_out(void **state)
{
    (void)state;
    static const struct token_bias two[] = { { 70, 60 }, { 71, 60 } };
    struct bench b;
    int64_t accepted = 0, rejected = 0, steps = 0, made = 0;
    struct model_config c = config_of(tiny_model("bpe-chatml"), 1, 1024);
    c.draft = 6;                        /* whether they pay or not */
    bench_start(&b, &c);
    for (int i = 0; i < 12; i++) {
        struct work plain, drafted;
        char prompt[64];
        snprintf(prompt, sizeof prompt, "word %d of it and word %d of it and word", i, i);
        double temperature = i % 2 ? 1 : 0;
        work_init(&plain, &b, prompt, 200, temperature, (uint32_t)i);
        plain.job.sampling.bias = two;
        plain.job.sampling.n_bias = 2;
        work_init(&drafted, &b, prompt, 200, temperature, (uint32_t)i);
        drafted.job.sampling = plain.job.sampling;
        plain.job.no_draft = true;
        plain.job.caller = drafted.job.caller = (uint64_t)i;
        work_run(&b, &plain);
        assert_int_equal(plain.job.drafted, 0);
        int64_t before = (int64_t)engine_load_now(b.engine).steps;
        work_run(&b, &drafted);
        steps += (int64_t)engine_load_now(b.engine).steps - before;
        assert_true(str_eq(buf_str(&plain.text), buf_str(&drafted.text)));
        assert_int_equal(plain.job.made, drafted.job.made);
        accepted += drafted.job.accepted;
        rejected += drafted.job.drafted - drafted.job.accepted;
        made += drafted.job.made;
        work_free(&plain);
        work_free(&drafted);
    }
    assert_true(accepted > 50 && rejected > 50);
    assert_true(steps <= made + 24 - accepted);     /* each right guess is a step less */
    bench_close(&b);
}

static void an_interactive_call_puts_a_batch_call_off_and_that_goes_on_later(void **state)
{
    (void)state;
    struct bench b;
    struct work alone, batch, urgent;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 1, 4096);
    const char *prompt = lasting_prompt(&b, 900);
    work_init(&alone, &b, prompt, 900, 0, 0);
    work_run(&b, &alone);
    work_init(&batch, &b, prompt, 900, 0, 0);
    work_init(&urgent, &b, "now", 5, 0, 0);
    batch.job.batch = true;
    assert_int_equal(engine_submit(b.engine, &batch.job), ERR_OK);
    while (batch.text.n == 0)
        take_news(&b);
    work_run(&b, &urgent);
    assert_false(batch.done);
    work_wait(&b, &batch);
    assert_int_equal(batch.job.preempted, 1);
    assert_int_equal(batch.job.made, 900);
    assert_true(str_eq(buf_str(&alone.text), buf_str(&batch.text)));
    work_free(&alone);
    work_free(&batch);
    work_free(&urgent);
    bench_close(&b);
}

/* Eight calls of up to 260 tokens in a room of 600: some are put off, none fails, and each begins as it does alone. (Later on, sums in
 * another order may let the other of two equally good tokens of this random model win.) */
static void a_room_that_is_too_small_for_all_serves_all(void **state)
{
    (void)state;
    enum { N = 8 };
    struct bench b;
    static struct work w[N];
    struct model_config c = config_of(tiny_model("bpe-chatml"), N, 300);
    str alone[N];
    c.kv_tokens = 600;
    bench_start(&b, &c);
    for (int i = 0; i < N; i++) {
        char prompt[40];
        snprintf(prompt, sizeof prompt, "this is word %d", i);
        work_init(&w[i], &b, prompt, 250, 0, 0);
        w[i].job.caller = (uint64_t)i;
        work_run(&b, &w[i]);
        alone[i] = arena_str(&w[i].a, buf_str(&w[i].text));
        buf_clear(&w[i].text);
        w[i].done = false;
        w[i].job.made = 0;
        w[i].job.done = false;
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(engine_submit(b.engine, &w[i].job), ERR_OK);
    for (int i = 0; i < N; i++) {
        work_wait(&b, &w[i]);
        assert_int_equal(w[i].job.err, ERR_OK);
        assert_int_equal(w[i].job.made > 0 && str_eq(str_slice(alone[i].p, 12), str_slice(w[i].text.p, 12)), true);
    }
    assert_true(engine_load_now(b.engine).preempted > 0);
    for (int i = 0; i < N; i++)
        work_free(&w[i]);
    bench_close(&b);
}

static void a_deterministic_call_says_the_same_alone_and_under_load(void **state)
{
    (void)state;
    enum { N = 6 };
    struct bench b;
    static struct work load[N], w[4];
    char *text = long_text(300);
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 3, 1024);
    for (int i = 0; i < 4; i++) {
        work_init(&w[i], &b, text, 60, 1.2, 99);
        w[i].job.deterministic = true;
        for (int k = 0; i % 2 && k < N; k++) {
            work_init(&load[k], &b, "the load is", 400, 1, (uint32_t)k);
            assert_int_equal(engine_submit(b.engine, &load[k].job), ERR_OK);
        }
        work_run(&b, &w[i]);
        assert_int_equal(w[i].job.reused, 0);
        assert_int_equal(w[i].job.drafted, 0);
        assert_true(str_eq(buf_str(&w[0].text), buf_str(&w[i].text)));
        for (int k = 0; i % 2 && k < N; k++) {
            work_wait(&b, &load[k]);
            work_free(&load[k]);
        }
    }
    work_init(&load[0], &b, text, 900, 0, 0);       /* one that is left while it runs, and one that waits for it */
    work_init(&load[1], &b, text, 900, 0, 0);
    load[0].job.deterministic = load[1].job.deterministic = true;
    assert_int_equal(engine_submit(b.engine, &load[0].job), ERR_OK);
    assert_int_equal(engine_submit(b.engine, &load[1].job), ERR_OK);
    while (load[0].text.n == 0)
        take_news(&b);
    engine_cancel(b.engine, &load[1].job);
    engine_cancel(b.engine, &load[0].job);
    work_wait(&b, &load[0]);
    work_wait(&b, &load[1]);
    assert_int_equal(load[0].job.err, ERR_CLIENT);
    assert_int_equal(engine_load_now(b.engine).busy, 0);
    for (int i = 0; i < 4; i++)
        work_free(&w[i]);
    work_free(&load[0]);
    work_free(&load[1]);
    free(text);
    bench_close(&b);
}

/* Three voices of one model, alone and at the same time. */
static void each_call_speaks_with_its_own_adapter(void **state)
{
    (void)state;
    enum { N = 9 };
    struct bench b;
    static struct work w[N], again;
    char *text = long_text(60);
    struct model_config c = config_of(tiny_model("bpe-chatml"), 4, 512);
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = { "one", "two" }, *const files[] = { "adapter-1", "adapter-2" };
        c.adapters[c.n_adapters++] = (struct adapter_config){ names[i], fopen(tiny_model(files[i]), "rb") };
    }
    bench_start(&b, &c);
    assert_int_equal(engine_state(b.engine), ENGINE_READY);
    assert_int_equal(model_adapter(engine_model(b.engine), S("two")), 2);
    assert_int_equal(model_adapter(engine_model(b.engine), S("three")), 0);
    for (int i = 0; i < N; i++) {
        work_init(&w[i], &b, text, 60, 0, 0);
        w[i].job.adapter = i % 3;
        if (i < 3) {
            work_run(&b, &w[i]);
            assert_int_equal(w[i].job.reused, 0);       /* what another adapter has read is of no use */
        }
    }
    assert_false(str_eq(buf_str(&w[0].text), buf_str(&w[1].text)));
    assert_false(str_eq(buf_str(&w[1].text), buf_str(&w[2].text)));
    for (int i = 3; i < N; i++)
        assert_int_equal(engine_submit(b.engine, &w[i].job), ERR_OK);
    for (int i = 3; i < N; i++) {
        work_wait(&b, &w[i]);
        assert_true(w[i].job.reused > 0);
        assert_true(str_eq(str_slice(w[i].text.p, 20), str_slice(w[i % 3].text.p, 20)));
    }
    for (int i = 0; i < 2; i++) {
        work_init(&again, &b, text, 60, 0, 0);
        again.job.adapter = 1;
        again.job.deterministic = true;
        work_run(&b, &again);
        assert_true(str_eq(str_slice(again.text.p, 20), str_slice(w[1].text.p, 20)));
        work_free(&again);
    }
    for (int i = 0; i < N; i++)
        work_free(&w[i]);
    free(text);
    bench_close(&b);
}

static void an_adapter_that_does_not_fit_is_named(void **state)
{
    (void)state;
    struct bench b;
    struct model_config c = config_of(tiny_model("bpe-chatml"), 1, 128);
    c.adapters[c.n_adapters++] = (struct adapter_config){ "wrong", fopen(tiny_model("bpe-chatml"), "rb") };
    bench_start(&b, &c);
    assert_int_equal(engine_state(b.engine), ENGINE_FAILED);
    assert_non_null(strstr(engine_why(b.engine), "'wrong'"));
    bench_close(&b);
}

/* Calls that come, are left, wait and end in any order, in both layouts: afterwards nothing runs, and the engine still answers. */
static void any_order_of_calls_and_cancels_leaves_nothing(void **state)
{
    (void)state;
    enum { N = 24, CALLS = 400 };
    for (int layout = 0; layout < 2; layout++) {
        struct bench b;
        static struct work w[N];
        static bool used[N];
        struct model_config c = config_of(tiny_model("bpe-chatml"), 5, 400);
        uint32_t seed = 4711;
        int submitted = 0, running = 0;
        c.kv_tokens = layout ? 700 : 0;
        c.kv_memory = 600000;
        bench_start(&b, &c);
        while (submitted < CALLS || running) {
            int i = (int)((seed = seed * 1664525 + 1013904223) >> 8) % N;
            if (!used[i] && submitted < CALLS) {
                char prompt[200];
                snprintf(prompt, sizeof prompt, "this is the beginning that all have in common, and more of it; this is word %u", seed % 7);
                work_init(&w[i], &b, prompt, 1 + (int)(seed % 120), 0.9, seed);
                w[i].job.caller = seed % 3;
                w[i].job.batch = seed % 5 == 0;
                w[i].job.deterministic = seed % 11 == 0;
                assert_int_equal(engine_submit(b.engine, &w[i].job), ERR_OK);
                used[i] = true;
                submitted++;
                running++;
            } else if (used[i] && !w[i].done && seed % 4 == 0) {
                engine_cancel(b.engine, &w[i].job);
            }
            take_news(&b);
            for (int k = 0; k < N; k++)
                if (used[k] && w[k].done) {
                    assert_true(w[k].job.err == ERR_OK || w[k].job.err == ERR_CLIENT);
                    work_free(&w[k]);
                    used[k] = false;
                    running--;
                }
        }
        struct engine_load l = engine_load_now(b.engine);
        assert_int_equal(l.busy, 0);
        assert_int_equal(l.waiting, 0);
        assert_true(l.kept_bytes <= c.kv_memory && l.kept <= KV_ENTRIES);
        assert_true(l.reused > 0);
        bench_close(&b);
    }
}

static void closing_ends_every_job(void **state)
{
    (void)state;
    struct bench b;
    struct work w[4];
    int ended = 0;
    struct engine_job *j;
    bench_open(&b, tiny_model("bpe-chatml"), NULL, 2, 16384);
    const char *prompt = lasting_prompt(&b, 3000);
    for (int i = 0; i < 4; i++) {
        work_init(&w[i], &b, prompt, 3000, 0, 0);
        assert_int_equal(engine_submit(b.engine, &w[i].job), ERR_OK);
    }
    engine_close(b.engine);
    for (struct queue_item *list = engine_news(b.engine); (j = engine_news_next(&list));) {
        struct work *one = (struct work *)j;
        assert_int_equal(engine_take(b.engine, j, &one->text, NULL, &one->done), ERR_OK);
        ended += one->done && j->err == ERR_CLIENT;
    }
    assert_int_equal(ended, 4);
    engine_free(b.engine);
    io_wake_close(&b.wake, on_wake_closed);
    while (!b.wake_closed)
        io_loop_run_once(b.loop);
    io_loop_free(b.loop);
    for (int i = 0; i < 4; i++)
        work_free(&w[i]);
}

static void a_model_that_cannot_be_loaded_says_why(void **state)
{
    (void)state;
    static const struct { const char *path, *family, *in_why; } rows[] = {
        { "fuzz/corpus/gguf/magic", NULL, "not a GGUF file" }, { "fuzz/corpus/gguf/cut-in-data", NULL, "shorter than its tensors" },
        { "fuzz/corpus/gguf/valid-split", NULL, "split over 2 files" }, { "fuzz/corpus/gguf/valid", NULL, "libllama cannot load the model" },
        { "fuzz/corpus/gguf/empty", NULL, "empty" }, { NULL, NULL, "--template" }, { NULL, "nonsense", "nonsense" } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;
        bench_open(&b, rows[i].path ? rows[i].path : tiny_model("bpe-unknown"), rows[i].family, 1, 0);
        assert_int_equal(engine_state(b.engine), ENGINE_FAILED);
        if (!strstr(engine_why(b.engine), rows[i].in_why))
            fail_msg("%s: %s", rows[i].in_why, engine_why(b.engine));
        struct engine_job j = { .tokens = { .p = NULL } };
        assert_int_equal(engine_submit(b.engine, &j), ERR_ENGINE);
        bench_close(&b);
    }
}

static int start(void **state)
{
    (void)state;
    model_log_setup();
    llama_backend_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_makes_as_many_tokens_as_it_may),
        cmocka_unit_test(the_same_seed_gives_the_same_text_and_another_another),
        cmocka_unit_test(more_jobs_than_slots_wait_their_turn),
        cmocka_unit_test(a_full_queue_says_busy),
        cmocka_unit_test(a_cancelled_job_ends_and_the_others_go_on),
        cmocka_unit_test(a_cancelled_prompt_is_given_up_while_it_is_read),
        cmocka_unit_test(a_paused_job_stands_still_and_goes_on_when_resumed),
        cmocka_unit_test(text_that_nobody_takes_is_bounded),
        cmocka_unit_test(a_stop_string_ends_generation_wherever_the_tokens_end),
        cmocka_unit_test(a_long_prompt_does_not_stop_a_running_stream),
        cmocka_unit_test(generation_ends_where_the_context_does),
        cmocka_unit_test(the_same_prompt_again_is_not_read_again),
        cmocka_unit_test(calls_that_begin_alike_read_the_beginning_once),
        cmocka_unit_test(guesses_do_not_change_what_comes_out),
        cmocka_unit_test(an_interactive_call_puts_a_batch_call_off_and_that_goes_on_later),
        cmocka_unit_test(a_room_that_is_too_small_for_all_serves_all),
        cmocka_unit_test(a_deterministic_call_says_the_same_alone_and_under_load),
        cmocka_unit_test(each_call_speaks_with_its_own_adapter),
        cmocka_unit_test(an_adapter_that_does_not_fit_is_named),
        cmocka_unit_test(any_order_of_calls_and_cancels_leaves_nothing),
        cmocka_unit_test(closing_ends_every_job),
        cmocka_unit_test(a_model_that_cannot_be_loaded_says_why),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
