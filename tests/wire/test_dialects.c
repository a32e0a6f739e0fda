/* Streams of the three APIs, cut at every byte: each client is given the same, and nothing of text, thinking or tools is lost. The streams are
 * those of fuzz/corpus/answers: two bytes for the fuzzer, then what the provider's public reference shows. */
#include "wire/anthropic.h"
#include "wire/ollama.h"
#include "wire/openai_chat.h"
#include "wire/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { OPENAI, ANTHROPIC, OLLAMA, CLIENTS };

struct world {
    struct arena a, scratch;
    struct reply reply;
    struct openai_reader openai;
    struct anthropic_reader anthropic;
    struct ollama_reader ollama;
    struct openai_chat_writer to_openai;
    struct anthropic_writer to_anthropic;
    struct ollama_writer to_ollama;
    struct buf out[CLIENTS], text, thinking, args;
    int ends, finishes, tools;
};

static void on_delta(void *ctx, const struct delta *d)
{
    struct world *w = ctx;
    w->ends += d->kind == DELTA_END;
    w->finishes += d->kind == DELTA_FINISH;
    w->tools += d->kind == DELTA_TOOL_START;
    if (d->kind == DELTA_TEXT)
        assert_int_equal(buf_put(&w->text, d->text), ERR_OK);
    if (d->kind == DELTA_THINKING)
        assert_int_equal(buf_put(&w->thinking, d->text), ERR_OK);
    if (d->kind == DELTA_TOOL_ARGS)
        assert_int_equal(buf_put(&w->args, d->text), ERR_OK);
    assert_true(str_is_utf8(d->text));
    assert_int_equal(openai_write_chat_delta(&w->to_openai, &w->out[OPENAI], &w->reply, d), ERR_OK);
    assert_int_equal(anthropic_write_delta(&w->to_anthropic, &w->a, &w->out[ANTHROPIC], &w->reply, d), ERR_OK);
    assert_int_equal(ollama_write_delta(&w->to_ollama, &w->a, &w->out[OLLAMA], &w->reply, d), ERR_OK);
}

static void world_open(struct world *w)
{
    memset(w, 0, sizeof *w);
    arena_init(&w->a, 16 << 20);
    arena_init(&w->scratch, 4 << 20);
    reply_init(&w->reply);
    w->ollama.call = S("x");
    w->to_openai = (struct openai_chat_writer){ .id = S("id"), .model = S("m"), .include_usage = true, .is_chat = true };
    w->to_anthropic = (struct anthropic_writer){ .id = S("id"), .model = S("m"), .input_tokens = 7 };
    w->to_ollama = (struct ollama_writer){ .model = S("m"), .created_at = S("t") };
    struct buf *all[] = { &w->out[0], &w->out[1], &w->out[2], &w->text, &w->thinking, &w->args };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_init(all[i], 1 << 20);
}

static void world_close(struct world *w)
{
    struct buf *all[] = { &w->out[0], &w->out[1], &w->out[2], &w->text, &w->thinking, &w->args };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    ollama_writer_free(&w->to_ollama);
    arena_free(&w->a);
    arena_free(&w->scratch);
}

static void read_one(struct world *w, int from, str event, str data)
{
    struct delta_sink sink = { on_delta, w };
    enum wire_event k = from == OPENAI      ? openai_read_deltas(&w->openai, &w->a, &w->scratch, data, &w->reply, &sink)
                        : from == ANTHROPIC ? anthropic_read_event(&w->anthropic, &w->a, &w->scratch, event, data, &w->reply, &sink)
                                            : ollama_read_line(&w->ollama, &w->a, &w->scratch, data, &w->reply, &sink);
    assert_true(k != WIRE_ERROR && k != WIRE_INVALID);
}

/* The pieces are copies that are gone afterwards, as a read buffer is. */
static void read_stream(struct world *w, int from, str in, size_t cut)
{
    struct sse s;
    struct ndjson l;
    struct sse_event ev;
    str raw, line;
    sse_init(&s, 1 << 20);
    ndjson_init(&l, 1 << 20);
    for (int half = 0; half < 2; half++) {
        str part = half ? str_skip(in, cut) : str_slice(in.p, cut);
        char *mem = malloc(part.n + 1);
        assert_non_null(mem);
        memcpy(mem, part.p, part.n);
        if (from == OLLAMA) {
            ndjson_feed(&l, str_slice(mem, part.n));
            while (ndjson_next(&l, &raw, &line) == ERR_OK)
                read_one(w, from, STR_NONE, line);
        } else {
            sse_feed(&s, str_slice(mem, part.n));
            while (sse_next(&s, &ev) == ERR_OK)
                if (ev.has_data)
                    read_one(w, from, ev.event, ev.data);
        }
        free(mem);
    }
    assert_false(from == OLLAMA ? ndjson_pending(&l) : sse_pending(&s));
    sse_free(&s);
    ndjson_free(&l);
}

static str load(const char *api, const char *what, char *mem, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "fuzz/corpus/answers/%s_%s_stream", api, what);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t got = fread(mem, 1, n, f);
    fclose(f);
    assert_true(got > 100 && got < n);
    return str_slice(mem + 2, got - 2);
}

static void every_cut_gives_the_same(void **state)
{
    (void)state;
    static const char *const apis[] = { "openai", "anthropic", "ollama" }, *const whats[] = { "plain", "tools", "think" };
    static char mem[1 << 16];
    for (int from = 0; from < CLIENTS; from++)
        for (int what = 0; what < 3; what++) {
            struct world whole, cut;
            str in = load(apis[from], whats[what], mem, sizeof mem);
            world_open(&whole);
            read_stream(&whole, from, in, 0);
            assert_int_equal(whole.ends, 1);
            assert_int_equal(whole.finishes, 1);
            assert_int_equal(whole.tools, what == 1 ? 2 : 0);
            assert_true(what == 1 || str_eq(buf_str(&whole.text), S("Grüße, 世界 🦙: it \"works\"\nwell.")));
            assert_true(str_eq(buf_str(&whole.thinking), what == 2 ? S("let me think") : S("")));
            assert_int_equal(whole.reply.prompt_tokens, 120);
            assert_int_equal(whole.reply.completion_tokens, 9);
            for (size_t at = 0; at <= in.n; at++) {
                world_open(&cut);
                read_stream(&cut, from, in, at);
                for (int to = 0; to < CLIENTS; to++)
                    assert_true(str_eq(buf_str(&cut.out[to]), buf_str(&whole.out[to])));
                world_close(&cut);
            }
            world_close(&whole);
        }
}

/* What one API is given can be read as that API's upstream: there and back again, in a circle through all three. */
static void a_circle_through_all_loses_nothing(void **state)
{
    (void)state;
    static const char *const apis[] = { "openai", "anthropic", "ollama" };
    static char mem[1 << 16];
    for (int from = 0; from < CLIENTS; from++)
        for (int to = 0; to < CLIENTS; to++) {
            struct world one, two;
            world_open(&one);
            read_stream(&one, from, load(apis[from], "tools", mem, sizeof mem), 0);
            world_open(&two);
            read_stream(&two, to, buf_str(&one.out[to]), 0);
            assert_true(str_eq(buf_str(&two.args), buf_str(&one.args)));
            assert_int_equal(two.tools, 2);
            assert_int_equal(two.reply.prompt_tokens, 120);
            assert_int_equal(two.reply.completion_tokens, 9);
            world_close(&one);
            world_close(&two);
        }
}

static void interleaved_tool_calls_are_no_silent_mess(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    struct delta d = { .kind = DELTA_TOOL_START, .id = S("a"), .name = S("f") };
    assert_int_equal(anthropic_write_delta(&w.to_anthropic, &w.a, &w.out[0], &w.reply, &d), ERR_OK);
    d.index = 1;
    assert_int_equal(anthropic_write_delta(&w.to_anthropic, &w.a, &w.out[0], &w.reply, &d), ERR_OK);
    d = (struct delta){ .kind = DELTA_TOOL_ARGS, .index = 0, .text = S("{") };
    assert_int_equal(anthropic_write_delta(&w.to_anthropic, &w.a, &w.out[0], &w.reply, &d), ERR_UPSTREAM);
    world_close(&w);
}

static void lines_have_a_limit(void **state)
{
    (void)state;
    struct ndjson l;
    str raw, line;
    ndjson_init(&l, 16);
    ndjson_feed(&l, S("{\"a\":1}\n\r\n{\"b\":2}\r\n"));
    assert_int_equal(ndjson_next(&l, &raw, &line), ERR_OK);
    assert_true(str_eq(line, S("{\"a\":1}")));
    assert_int_equal(ndjson_next(&l, &raw, &line), ERR_OK);
    assert_true(str_eq(line, S("{\"b\":2}")) && str_eq(raw, S("\r\n{\"b\":2}\r\n")));
    assert_int_equal(ndjson_next(&l, &raw, &line), ERR_AGAIN);
    for (int i = 0; i < 3; i++) {
        ndjson_feed(&l, S("xxxxxxx"));
        if (ndjson_next(&l, &raw, &line) == ERR_LIMIT)
            break;
        assert_int_not_equal(i, 2);
    }
    ndjson_free(&l);
}

static void blank_lines_are_no_part_of_a_line_wherever_it_is_cut(void **state)
{
    (void)state;
    static const str text = S("\n{\"a\":1}\n\r\n \n{\"b\":2}\r\n");
    for (size_t cut = 0; cut <= text.n; cut++) {
        struct ndjson l;
        str raw, line, want[] = { S("{\"a\":1}"), S("{\"b\":2}") };
        size_t n = 0, raws = 0;
        ndjson_init(&l, 64);
        for (int piece = 0; piece < 2; piece++) {
            ndjson_feed(&l, piece ? str_skip(text, cut) : (str){ text.p, cut });
            for (; ndjson_next(&l, &raw, &line) == ERR_OK; n++, raws += raw.n)
                assert_true(n < 2 && str_eq(line, want[n]));
        }
        assert_int_equal(n, 2);
        assert_int_equal(raws, text.n);
        ndjson_free(&l);
    }
}

static void data_urls(void **state)
{
    (void)state;
    str type, data;
    assert_true(part_data_url(S("data:image/png;base64,AAA="), &type, &data) && str_eq(type, S("image/png")) && str_eq(data, S("AAA=")));
    assert_false(part_data_url(S("data:image/png,AAA="), &type, &data) || part_data_url(S("data:image/png;base64,"), &type, &data) ||
                 part_data_url(S("data:image/png;base64,A A"), &type, &data) || part_data_url(S("https://x/"), &type, &data));
}

static void nothing_to_answer_loads_a_model_or_unloads_it(void **state)
{
    static const struct { str body; bool generate; enum op op; enum err err; } cases[] = {
        { S("{\"model\":\"m\"}"), false, OP_LOAD, ERR_OK },
        { S("{\"model\":\"m\",\"messages\":[],\"stream\":true}"), false, OP_LOAD, ERR_OK },
        { S("{\"model\":\"m\",\"messages\":null,\"keep_alive\":0}"), false, OP_UNLOAD, ERR_OK },
        { S("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"keep_alive\":0}"), false, OP_CHAT, ERR_OK },
        { S("{\"model\":\"m\"}"), true, OP_LOAD, ERR_OK },
        { S("{\"model\":\"m\",\"prompt\":\"\",\"keep_alive\":\"10m\"}"), true, OP_LOAD, ERR_OK },
        { S("{\"model\":\"m\",\"prompt\":\"\",\"keep_alive\":-1}"), true, OP_LOAD, ERR_OK },
        { S("{\"model\":\"m\",\"prompt\":\"\",\"keep_alive\":\"0m0s\"}"), true, OP_UNLOAD, ERR_OK },
        { S("{\"model\":\"m\",\"raw\":true,\"keep_alive\":0.0}"), true, OP_UNLOAD, ERR_OK },
        { S("{\"model\":\"m\",\"prompt\":\"\",\"keep_alive\":\"\"}"), true, OP_LOAD, ERR_OK },
        { S("{\"model\":\"m\",\"prompt\":\" \",\"keep_alive\":0}"), true, OP_CHAT, ERR_OK },
        { S("{\"model\":\"m\",\"keep_alive\":0,\"keep_alive\":5}"), true, OP_CHAT, ERR_SYNTAX },
        { S("{\"model\":\"m\",\"messages\":{}}"), false, OP_CHAT, ERR_SYNTAX },
        { S("{\"messages\":[]}"), false, OP_CHAT, ERR_SYNTAX },
        { S("{\"model\":\"\",\"prompt\":\"\",\"keep_alive\":0}"), true, OP_CHAT, ERR_SYNTAX },
        { S("{\"model\":\"m\",\"prompt\":5}"), true, OP_CHAT, ERR_SYNTAX },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct call c;
        struct chat chat;
        struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
        arena_init(&a, 1 << 20);
        if (ollama_decode(&a, OP_CHAT, cases[i].generate, cases[i].body, &c, &why) != cases[i].err || (!cases[i].err && c.op != cases[i].op))
            fail_msg("%zu: %s", i, cases[i].body.p);
        if (cases[i].op != OP_CHAT)
            assert_false(c.stream);
        else if (!cases[i].err && ollama_to_chat(&a, &c, &chat, &why) == ERR_OK)
            assert_true(str_eq(chat_dropped(&a, &chat), S("keep_alive")));
        arena_free(&a);
    }
}

static void openai_itself_is_told_the_limit_in_its_newer_way(void **state)
{
    (void)state;
    for (int newer = 0; newer < 2; newer++) {
        struct arena a;
        struct chat c;
        struct buf b = { .max = 1 << 16 };
        struct wire_error why;
        arena_init(&a, 1 << 20);
        chat_init(&c);
        c.params.max_tokens = 5;
        c.newer_limit = newer;
        assert_int_equal(openai_from_chat(&a, &c, S("m"), OPENAI_PLAIN, &b, &why), ERR_OK);
        assert_true(str_find(buf_str(&b), newer ? S("\"max_completion_tokens\":5") : S("\"max_tokens\":5")) < b.n);
        buf_free(&b);
        arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same), cmocka_unit_test(a_circle_through_all_loses_nothing), cmocka_unit_test(interleaved_tool_calls_are_no_silent_mess),
        cmocka_unit_test(lines_have_a_limit), cmocka_unit_test(blank_lines_are_no_part_of_a_line_wherever_it_is_cut),       cmocka_unit_test(data_urls),
        cmocka_unit_test(openai_itself_is_told_the_limit_in_its_newer_way),
        cmocka_unit_test(nothing_to_answer_loads_a_model_or_unloads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
