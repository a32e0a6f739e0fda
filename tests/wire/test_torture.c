/* Memory that runs out at every place: the 1st, 2nd, 3rd … request fails, every size of an arena from none to enough, every size of what is written.
 * Each time there is an error, or all of the result: never a part of it that looks whole. */
#include "wire/anthropic.h"
#include "wire/embed.h"
#include "wire/ollama.h"
#include "wire/openai_chat.h"
#include "wire/responses.h"
#include "wire/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { OPENAI, ANTHROPIC, OLLAMA, RESPONSES, GENERATE, SIDES };        /* the last two are sides of clients only */
static const char *const side_names[] = { "openai", "anthropic", "ollama", "responses", "generate" };

struct run {                            /* one way through the codecs */
    struct arena *a, *scratch;
    size_t room;                        /* of what is written */
    str in;
    int from, to;
    enum err err;
    char out[1 << 16];
    size_t n;
};

static void keep(struct run *r, str s)
{
    if (s.n > sizeof r->out - r->n)
        fail_msg("the result is too large for this test");
    if (s.n)
        memcpy(r->out + r->n, s.p, s.n);
    r->n += s.n;
}

/* ---- the ways ---- */

static enum err decode(struct run *r, struct call *c, struct wire_error *why)
{
    switch (r->from) {
    case OPENAI:    return openai_decode(r->a, OP_CHAT, r->in, c, why);
    case ANTHROPIC: return anthropic_decode(r->a, OP_CHAT, r->in, c, why);
    case OLLAMA:
    case GENERATE:  return ollama_decode(r->a, OP_CHAT, r->from == GENERATE, r->in, c, why);
    default:        return responses_decode(r->a, r->in, c, why);
    }
}

static enum err to_chat(struct run *r, const struct call *c, struct chat *chat, struct wire_error *why)
{
    switch (r->from) {
    case OPENAI:    return openai_to_chat(r->a, c, chat, why);
    case ANTHROPIC: return anthropic_to_chat(r->a, c, chat, why);
    case RESPONSES: return responses_to_chat(r->a, c, chat, why);
    default:        return ollama_to_chat(r->a, c, chat, why);
    }
}

static void request(struct run *r)
{
    struct call c;
    struct chat chat;
    struct wire_error why = { .err = ERR_OK };
    struct buf b = { .max = r->room };
    r->err = decode(r, &c, &why);
    if (!r->err)
        r->err = to_chat(r, &c, &chat, &why);
    if (!r->err)
        r->err = r->to == OPENAI      ? openai_from_chat(r->a, &chat, S("m"), OPENAI_ENGINE, &b, &why)
                 : r->to == ANTHROPIC ? anthropic_from_chat(r->a, &chat, S("m"), 100, &b, &why)
                                      : ollama_from_chat(r->a, &chat, S("m"), &b, &why);
    if (!r->err) {
        str dropped = chat_dropped(r->a, &chat);
        keep(r, buf_str(&b));
        keep(r, dropped);
        if (chat.n_dropped && !dropped.n)
            r->err = ERR_LIMIT;         /* the gate looks at it */
    }
    buf_free(&b);
}

static void forward(struct run *r)
{
    struct call c;
    struct wire_error why = { .err = ERR_OK };
    str slices[OPENAI_MAX_SLICES];
    size_t n = 0;
    r->err = decode(r, &c, &why);
    if (!r->err)
        r->err = r->from == OPENAI      ? openai_upstream_body(r->a, &c, S("another \"model\""), slices, &n)
                 : r->from == ANTHROPIC ? anthropic_upstream_body(r->a, &c, S("another \"model\""), slices, &n)
                                        : ollama_upstream_body(r->a, &c, S("another \"model\""), slices, &n);
    for (size_t i = 0; !r->err && i < n; i++)
        keep(r, slices[i]);
}

struct stream {
    struct run *r;
    struct reply reply;
    struct openai_reader openai;
    struct anthropic_reader anthropic;
    struct ollama_reader ollama;
    struct openai_chat_writer to_openai;
    struct anthropic_writer to_anthropic;
    struct ollama_writer to_ollama;
    struct responses_writer to_responses;
    struct answer answer;
    struct buf out;
    enum err err;
};

static void open_stream(struct stream *s, struct run *r)
{
    *s = (struct stream){ .r = r, .ollama.call = S("x"), .out.max = r->room };
    reply_init(&s->reply);
    s->to_openai = (struct openai_chat_writer){ .id = S("id"), .model = S("m"), .include_usage = true, .is_chat = true };
    s->to_anthropic = (struct anthropic_writer){ .id = S("id"), .model = S("m"), .input_tokens = 7 };
    s->to_ollama = (struct ollama_writer){ .model = S("m"), .created_at = S("t"), .generate = r->to == GENERATE };
    s->to_responses = (struct responses_writer){ .id = S("resp_1"), .model = S("m") };
    answer_init(&s->answer, r->a, r->room);
}

static void close_stream(struct stream *s)
{
    answer_free(&s->answer);
    ollama_writer_free(&s->to_ollama);
    responses_writer_free(&s->to_responses);
    buf_free(&s->out);
}

static void on_delta(void *ctx, const struct delta *d)
{
    struct stream *s = ctx;
    struct arena *a = s->r->a;
    if (s->err)
        return;
    switch (s->r->to) {
    case OPENAI:    s->err = openai_write_chat_delta(&s->to_openai, &s->out, &s->reply, d); break;
    case ANTHROPIC: s->err = anthropic_write_delta(&s->to_anthropic, a, &s->out, &s->reply, d); break;
    case RESPONSES: s->err = responses_write_delta(&s->to_responses, a, &s->out, &s->reply, d); break;
    default:        s->err = ollama_write_delta(&s->to_ollama, a, &s->out, &s->reply, d); break;
    }
}

static void read_event(struct stream *s, str event, str data)
{
    struct delta_sink sink = { on_delta, s };
    struct run *r = s->r;
    if (s->err)
        return;
    enum wire_event k = r->from == OPENAI      ? openai_read_deltas(&s->openai, r->a, r->scratch, data, &s->reply, &sink)
                        : r->from == ANTHROPIC ? anthropic_read_event(&s->anthropic, r->a, r->scratch, event, data, &s->reply, &sink)
                                               : ollama_read_line(&s->ollama, r->a, r->scratch, data, &s->reply, &sink);
    if (!s->err && (k == WIRE_ERROR || k == WIRE_INVALID))
        s->err = ERR_UPSTREAM;
}

static enum err next_event(struct stream *s, struct sse *e, struct ndjson *l)
{
    struct sse_event ev = { .has_data = true };
    enum err err = s->r->from == OLLAMA ? ndjson_next(l, &ev.raw, &ev.data) : sse_next(e, &ev);
    if (!err && ev.has_data)
        read_event(s, ev.event, ev.data);
    return err;
}

/* In two pieces, so that the carry of what is split is needed, too. */
static void stream(struct run *r)
{
    struct stream s;
    struct sse e;
    struct ndjson l;
    open_stream(&s, r);
    sse_init(&e, 1 << 20);
    ndjson_init(&l, 1 << 20);
    for (int half = 0; half < 2 && !s.err; half++) {
        str piece = half ? str_skip(r->in, r->in.n / 2) : str_slice(r->in.p, r->in.n / 2);
        enum err err;
        sse_feed(&e, piece);
        ndjson_feed(&l, piece);
        while ((err = next_event(&s, &e, &l)) == ERR_OK)
            ;
        if (err != ERR_AGAIN && !s.err)
            s.err = err;
    }
    if (!s.err && !s.reply.done)        /* as the gate sees it */
        s.err = ERR_CUT;
    r->err = s.err;
    if (!r->err) {
        keep(r, buf_str(&s.out));
        keep(r, s.reply.id);
        keep(r, s.reply.model);
        keep(r, s.reply.finish_reason);
    }
    sse_free(&e);
    ndjson_free(&l);
    close_stream(&s);
}

static void on_piece(void *ctx, const struct delta *d) { answer_add(&((struct stream *)ctx)->answer, d); }

static void whole(struct run *r)
{
    struct stream s;
    open_stream(&s, r);
    struct delta_sink sink = { on_piece, &s };
    enum err e = r->from == OPENAI      ? openai_read_reply_deltas(r->a, r->scratch, r->in, &s.reply, &sink)
                 : r->from == ANTHROPIC ? anthropic_read_reply(r->a, r->scratch, r->in, &s.reply, &sink)
                                        : ollama_read_reply(&s.ollama, r->a, r->scratch, r->in, &s.reply, &sink);
    if (!e)
        e = s.answer.err;
    if (!e)
        e = r->to == OPENAI      ? openai_write_chat_reply(&s.out, &s.to_openai, &s.reply, &s.answer)
            : r->to == ANTHROPIC ? anthropic_write_reply(&s.out, &s.to_anthropic, &s.reply, &s.answer)
            : r->to == RESPONSES ? responses_write_reply(&s.out, &s.to_responses, &s.reply, &s.answer)
                                 : ollama_write_reply(r->a, &s.out, &s.to_ollama, &s.reply, &s.answer);
    r->err = e;
    if (!e) {
        keep(r, buf_str(&s.out));
        keep(r, s.reply.id);
        keep(r, s.reply.model);
        keep(r, s.reply.finish_reason);
    }
    close_stream(&s);
}

static enum dialect dialect_of(int side) { return side == OPENAI ? DIALECT_OPENAI : DIALECT_OLLAMA; }

static void embed_request(struct run *r)
{
    struct call c;
    struct wire_error why = { .err = ERR_OK };
    struct buf b = { .max = r->room };
    r->err = embed_decode(r->a, dialect_of(r->from), false, r->in, &c, &why);
    if (!r->err)
        r->err = embed_translate(r->a, &c, dialect_of(r->to), S("m"), &b, &why);
    if (!r->err)
        keep(r, buf_str(&b));
    buf_free(&b);
}

static void embed_reply(struct run *r)
{
    struct reply reply;
    struct call c = { .dialect = dialect_of(r->to), .op = OP_EMBEDDING, .base64 = r->to == OPENAI };
    struct buf b = { .max = r->room };
    reply_init(&reply);
    r->err = embed_read(r->a, r->scratch, dialect_of(r->from), r->in, &reply);
    if (!r->err)
        r->err = embed_write(r->scratch, &c, dialect_of(r->from), r->in, S("m"), &reply, &b);
    if (!r->err)
        keep(r, buf_str(&b));
    buf_free(&b);
}

/* ---- the torture ---- */

enum { LARGE = 8 << 20 };

static void judge(const char *name, const struct run *want, const struct run *got, const char *what, size_t limit)
{
    if (got->err) {
        if (!want->err && got->err != ERR_LIMIT && got->err != ERR_MEMORY && got->err != ERR_UPSTREAM && got->err != ERR_CUT)
            fail_msg("%s: %s of %zu: %s is another error", name, what, limit, err_name(got->err));
        return;
    }
    if (want->err || got->n != want->n || memcmp(got->out, want->out, want->n) != 0)
        fail_msg("%s: %s of %zu: taken for whole:\n%.*s\nwhere it should be\n%.*s", name, what, limit, (int)got->n, got->out, (int)want->n, want->out);
}

/* One arena of exactly `limit` bytes, so that ASan sees one too many. True: it was enough. */
static bool in_arena(const char *name, void (*way)(struct run *), const struct run *want, bool is_scratch, size_t limit)
{
    static struct run got;
    char *mem = malloc(limit ? limit : 1);
    struct arena fixed = { .base = mem, .at = mem, .end = mem + limit }, other;
    arena_init(&other, LARGE);
    got = (struct run){ .a = is_scratch ? &other : &fixed, .scratch = is_scratch ? &fixed : &other, .room = LARGE, .in = want->in, .from = want->from, .to = want->to };
    way(&got);
    judge(name, want, &got, is_scratch ? "a scratch" : "an arena", limit);
    arena_free(&other);
    free(mem);
    return got.err == want->err;
}

static enum err with(const char *name, void (*way)(struct run *), const struct run *want, size_t room, size_t fail_after)
{
    static struct run got;
    struct arena a, scratch;
    arena_init(&a, LARGE);
    arena_init(&scratch, LARGE);
    got = (struct run){ .a = &a, .scratch = &scratch, .room = room, .in = want->in, .from = want->from, .to = want->to };
    memory_fail_after(fail_after);
    way(&got);
    memory_fail_after(SIZE_MAX);
    judge(name, want, &got, fail_after == SIZE_MAX ? "room" : "a failure after", fail_after == SIZE_MAX ? room : fail_after);
    arena_free(&a);
    arena_free(&scratch);
    return got.err;
}

/* Every amount where there is little, then in steps of what arenas align to. */
static size_t more(size_t limit) { return limit + (limit < 600 ? 1 : limit < 6000 ? 8 : 64); }

static void torture(const char *kind, void (*way)(struct run *), int from, int to, str in)
{
    static struct run want;
    struct arena a, scratch;
    char name[100];
    snprintf(name, sizeof name, "%s from %s to %s", kind, side_names[from], side_names[to]);
    arena_init(&a, LARGE);
    arena_init(&scratch, LARGE);
    want = (struct run){ .a = &a, .scratch = &scratch, .room = LARGE, .in = in, .from = from, .to = to };
    way(&want);
    arena_free(&a);
    arena_free(&scratch);
    for (size_t limit = 0; !in_arena(name, way, &want, false, limit); limit = more(limit))
        ;
    for (size_t limit = 0; !in_arena(name, way, &want, true, limit); limit = more(limit))
        ;
    if (want.err)
        return;                         /* what is refused writes nothing */
    for (size_t room = 0; with(name, way, &want, room, SIZE_MAX) != ERR_OK; room = more(room))
        ;
    for (size_t n = 0; with(name, way, &want, LARGE, n) != ERR_OK; n++)
        ;
}

static str load(const char *corpus, const char *file, size_t skip)
{
    static char mem[1 << 16];
    char path[160];
    snprintf(path, sizeof path, "fuzz/corpus/%s/%s", corpus, file);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(mem, 1, sizeof mem, f);
    fclose(f);
    assert_true(n > skip);
    return (str){ mem + skip, n - skip };
}

/* ---- the tests ---- */

static void a_request_becomes_another_whole_or_not_at_all(void **state)
{
    (void)state;
    for (int from = 0; from < SIDES; from++) {
        str in = load("dialects", side_names[from], 1);
        for (int to = 0; to <= OLLAMA; to++)
            torture("request", request, from, to, in);
        if (from <= OLLAMA)
            torture("forward", forward, from, from, in);
    }
}

static void a_stream_reaches_every_client_whole_or_with_an_error(void **state)
{
    (void)state;
    for (int from = 0; from <= OLLAMA; from++)
        for (int what = 0; what < 3; what++) {
            char file[64];
            snprintf(file, sizeof file, "%s_%s_stream", side_names[from], what == 0 ? "plain" : what == 1 ? "tools" : "think");
            str in = load("answers", file, 2);
            for (int to = 0; to < SIDES; to++)
                torture("stream", stream, from, to, in);
        }
}

static void a_reply_reaches_every_client_whole_or_not_at_all(void **state)
{
    (void)state;
    for (int from = 0; from <= OLLAMA; from++)
        for (int what = 0; what < 3; what++) {
            char file[64];
            snprintf(file, sizeof file, "%s_%s_whole", side_names[from], what == 0 ? "plain" : what == 1 ? "tools" : "think");
            str in = load("answers", file, 2);
            for (int to = 0; to < SIDES; to++)
                torture("reply", whole, from, to, in);
        }
}

static void embeddings_are_whole_or_not_at_all(void **state)
{
    static const str requests[] = { S("{\"model\":\"m\",\"input\":[\"a\\u0041\",\"b\"],\"dimensions\":3,\"user\":\"u\"}"), S("{\"model\":\"m\",\"input\":[\"a\\u0041\",\"b\"],\"truncate\":true}") };
    static const str replies[] = { S("{\"object\":\"list\",\"model\":\"m\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5,-1e-3,2]},{\"index\":1,\"embedding\":[1,2,3]}],\"usage\":{\"prompt_tokens\":4,\"total_tokens\":4}}"),
                                   S("{\"model\":\"m\",\"embeddings\":[[0.5,-1e-3,2],[1,2,3]],\"prompt_eval_count\":4}") };
    (void)state;
    for (int from = 0; from < 2; from++)
        for (int to = 0; to < 2; to++) {
            torture("embedding", embed_request, from ? OLLAMA : OPENAI, to ? OLLAMA : OPENAI, requests[from]);
            torture("vectors", embed_reply, from ? OLLAMA : OPENAI, to ? OLLAMA : OPENAI, replies[from]);
        }
}

/* An error must not fail: without memory it is a shorter one, in the same shape. */
static void an_error_is_said_in_any_case(void **state)
{
    static const str upstream = S("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"too \\\"many\\\" calls\",\"code\":\"c\"}}");
    (void)state;
    for (size_t limit = 0; limit < 3000; limit++)
        for (int which = 0; which < 9; which++) {
            char *mem = malloc(limit ? limit : 1);
            struct arena a = { .base = mem, .at = mem, .end = mem + limit }, check;
            struct reply r;
            json v;
            arena_init(&check, LARGE);
            reply_init(&r);
            if (which >= 6) {
                struct arena scratch;
                arena_init(&scratch, LARGE);
                (which == 6 ? openai_read_error : which == 7 ? anthropic_read_error : ollama_read_error)(&a, &scratch, 529, upstream, &r);
                assert_true(r.has_error);
                arena_free(&scratch);
            }
            str s = which == 0   ? openai_error_body(&a, ERR_BUSY, S("a \"message\""), S("param"))
                    : which == 1 ? anthropic_error_body(&a, ERR_BUSY, S("a \"message\""), S("id"))
                    : which == 2 ? ollama_error_body(&a, ERR_BUSY, S("a \"message\""))
                    : which == 3 ? openai_error_event(&a, ERR_BUSY, S("a \"message\""))
                    : which == 4 ? anthropic_error_event(&a, ERR_BUSY, S("a \"message\""), S("id"))
                    : which == 5 ? ollama_error_line(&a, ERR_BUSY, S("a \"message\""))
                    : which == 6 ? openai_error_from(&a, &r)
                    : which == 7 ? anthropic_error_from(&a, &r, S("id"))
                                 : ollama_error_from(&a, &r);
            str brace = str_skip(s, str_index(s, '{'));
            if (json_parse(&check, brace, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(json_member(v, S("error"))) == JSON_NONE)
                fail_msg("error %d in an arena of %zu: \"%.*s\"", which, limit, STR_ARG(s));
            arena_free(&check);
            free(mem);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_becomes_another_whole_or_not_at_all),
        cmocka_unit_test(a_stream_reaches_every_client_whole_or_with_an_error),
        cmocka_unit_test(a_reply_reaches_every_client_whole_or_not_at_all),
        cmocka_unit_test(embeddings_are_whole_or_not_at_all),
        cmocka_unit_test(an_error_is_said_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
