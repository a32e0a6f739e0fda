/* fuzz: wire core */
/* A stream or a reply of any API, read and written for every API: what comes out is JSON in events or lines, and how the bytes were
 * cut makes no difference. The first byte chooses the upstream's API, the second the place of the cut. */
#include "wire/anthropic.h"
#include "wire/ollama.h"
#include "wire/openai_chat.h"
#include "wire/responses.h"
#include "wire/sse.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { CLIENTS = 4, LINES = 2 };         /* the one that is given lines and not events */

struct run {
    struct arena a, scratch;
    struct reply reply;
    struct openai_reader openai;
    struct anthropic_reader anthropic;
    struct ollama_reader ollama;
    struct openai_chat_writer to_openai;
    struct anthropic_writer to_anthropic;
    struct ollama_writer to_ollama;
    struct responses_writer to_responses;
    struct answer answer;
    struct buf out[CLIENTS];
    enum err err[CLIENTS];
};

static void on_delta(void *ctx, const struct delta *d)
{
    struct run *w = ctx;
    answer_add(&w->answer, d);
    if (!w->err[0])
        w->err[0] = openai_write_chat_delta(&w->to_openai, &w->out[0], &w->reply, d);
    if (!w->err[1])
        w->err[1] = anthropic_write_delta(&w->to_anthropic, &w->a, &w->out[1], &w->reply, d);
    if (!w->err[2])
        w->err[2] = ollama_write_delta(&w->to_ollama, &w->a, &w->out[2], &w->reply, d);
    if (!w->err[3])
        w->err[3] = responses_write_delta(&w->to_responses, &w->a, &w->out[3], &w->reply, d);
}

static bool read_one(struct run *w, int which, str event, str data)
{
    struct delta_sink sink = { on_delta, w };
    enum wire_event k = which == 0   ? openai_read_deltas(&w->openai, &w->a, &w->scratch, data, &w->reply, &sink)
                        : which == 1 ? anthropic_read_event(&w->anthropic, &w->a, &w->scratch, event, data, &w->reply, &sink)
                                     : ollama_read_line(&w->ollama, &w->a, &w->scratch, data, &w->reply, &sink);
    return k != WIRE_ERROR && k != WIRE_INVALID && k != WIRE_DONE;
}

static void run_init(struct run *w)
{
    memset(w, 0, sizeof *w);
    arena_init(&w->a, 64 << 20);
    arena_init(&w->scratch, 32 << 20);
    reply_init(&w->reply);
    w->ollama.call = S("x");
    w->to_openai = (struct openai_chat_writer){ .id = S("id"), .model = S("m"), .include_usage = true, .is_chat = true };
    w->to_anthropic = (struct anthropic_writer){ .id = S("id"), .model = S("m") };
    w->to_ollama = (struct ollama_writer){ .model = S("m"), .created_at = S("t") };
    w->to_responses = (struct responses_writer){ .id = S("resp_1"), .model = S("m") };
    answer_init(&w->answer, &w->a, 8 << 20);
    for (int i = 0; i < CLIENTS; i++)
        buf_init(&w->out[i], 64 << 20);
}

static void run_free(struct run *w)
{
    answer_free(&w->answer);
    ollama_writer_free(&w->to_ollama);
    responses_writer_free(&w->to_responses);
    for (int i = 0; i < CLIENTS; i++)
        buf_free(&w->out[i]);
    arena_free(&w->a);
    arena_free(&w->scratch);
}

static void run_stream(struct run *w, int which, str in, size_t cut)
{
    struct sse s;
    struct ndjson l;
    struct sse_event ev;
    str raw, line;
    bool more = true;
    sse_init(&s, 1 << 20);
    ndjson_init(&l, 1 << 20);
    for (int half = 0; half < 2 && more; half++) {
        str piece = half ? str_skip(in, cut) : str_slice(in.p, cut);
        if (which == 2) {
            ndjson_feed(&l, piece);
            while (more && ndjson_next(&l, &raw, &line) == ERR_OK)
                more = read_one(w, which, STR_NONE, line);
        } else {
            sse_feed(&s, piece);
            while (more && sse_next(&s, &ev) == ERR_OK)
                more = !ev.has_data || read_one(w, which, ev.event, ev.data);
        }
    }
    sse_free(&s);
    ndjson_free(&l);
}

static void check_json(struct arena *a, str text)
{
    json v;
    assert(json_parse(a, text, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_type(v) == JSON_OBJECT);
}

/* Whatever was written, up to a writer's refusal, can be read as its API is read. */
static void check_out(struct run *w)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (i == LINES)
            continue;
        struct sse s;
        struct sse_event ev;
        sse_init(&s, 64 << 20);
        sse_feed(&s, buf_str(&w->out[i]));
        while (sse_next(&s, &ev) == ERR_OK)
            if (!str_eq(ev.data, S("[DONE]")))
                check_json(&w->a, ev.data);
        assert(w->err[i] || !sse_pending(&s));
        sse_free(&s);
    }
    for (str left = buf_str(&w->out[LINES]), line; left.n; left = str_skip(left, line.n + 1)) {
        line = str_slice(left.p, str_index(left, '\n'));
        if (line.n < left.n)
            check_json(&w->a, line);
    }
}

static void check_whole(struct run *w)
{
    struct buf b = { .max = 64 << 20 };
    if (w->answer.err)
        return;
    if (openai_write_chat_reply(&b, &w->to_openai, &w->reply, &w->answer) == ERR_OK)
        check_json(&w->a, buf_str(&b));
    buf_clear(&b);
    if (anthropic_write_reply(&b, &w->to_anthropic, &w->reply, &w->answer) == ERR_OK)
        check_json(&w->a, buf_str(&b));
    buf_clear(&b);
    if (ollama_write_reply(&w->a, &b, &w->to_ollama, &w->reply, &w->answer) == ERR_OK)
        check_json(&w->a, buf_str(&b));
    buf_clear(&b);
    if (responses_write_reply(&b, &w->to_responses, &w->reply, &w->answer) == ERR_OK)
        check_json(&w->a, buf_str(&b));
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct run one, two;
    if (n < 2)
        return 0;
    int which = p[0] % 3;
    str in = { (const char *)p + 2, n - 2 };
    size_t cut = in.n ? (size_t)p[1] * in.n / 256 : 0;
    run_init(&one);
    run_init(&two);
    run_stream(&one, which, in, 0);
    run_stream(&two, which, in, cut);
    for (int i = 0; i < CLIENTS; i++)
        assert(str_eq(buf_str(&one.out[i]), buf_str(&two.out[i])));
    check_out(&one);
    check_whole(&one);
    run_free(&one);
    run_free(&two);
    struct delta_sink sink = { on_delta, &one };
    run_init(&one);
    (void)(which == 0   ? openai_read_reply_deltas(&one.a, &one.scratch, in, &one.reply, &sink)
           : which == 1 ? anthropic_read_reply(&one.a, &one.scratch, in, &one.reply, &sink)
                        : ollama_read_reply(&one.ollama, &one.a, &one.scratch, in, &one.reply, &sink));
    check_whole(&one);
    run_free(&one);
    return 0;
}
