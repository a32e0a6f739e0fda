/* fuzz: gate */
/* Values back into an upstream's answer. The first byte chooses its API and what the others are, the second how they are cut:
 *   - any bytes of a stream, in any pieces: the same events come out, each of them one that reads back as itself; and where nothing that stands in it could
 *     be a placeholder, they are those that came
 *   - a text, put into events in two ways: what comes out, joined, is the text restored at once
 *   - any bytes as a whole reply: unchanged where there is nothing to restore, and JSON again where they were JSON */
#include "gate/request.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct upstream_side sides[] = { { .dialect = DIALECT_OPENAI }, { .dialect = DIALECT_ANTHROPIC }, { .dialect = DIALECT_OLLAMA, .lines = true } };
static const struct { str token, value; bool bare; } known[] = {
    { S("EMAIL_k7q2m"), S("maria@k\xC3\xA4se.de"), false }, { S("EMAIL_k7q2m-f3"), S("Maria@k\xC3\xA4se.de"), false }, { S("PROJECT_1_aaaaa"), S("Zugvogel"), false },
    { S("US_SSN_aaaaa"), S("536-90-4399"), false }, { S("198.18.3.4"), S("10.1.2.3"), true }, { S("u-k7q2m@masked.invalid"), S("tom@x.org"), true }, { S("9123456789"), S("4915123456"), true },
};
static const str never = S("\x02\x02");         /* no JSON holds it but by an escape */

static struct buf events, raws;                 /* of the run: what came out, in a form that can be compared; and as bytes */

struct run {
    struct gate_req r;
    struct gate_loop loop;
    struct gate_view view;
    struct gate_config config;
    struct gate_guarded guarded;
    struct arena a;
};

static struct run *run_new(const struct upstream_side *up, bool knows)
{
    static struct run x;
    memset(&x, 0, sizeof x);
    arena_init(&x.a, 64 << 20);
    arena_init(&x.loop.scratch, 64 << 20);
    x.config.reply_max = 16 << 20;
    x.view.cfg = &x.config;
    x.guarded.restores = true;
    x.r = (struct gate_req){ .a = &x.a, .loop = &x.loop, .view = &x.view, .up = up, .guarded = &x.guarded, .taken = { .max = 16 << 20 } };
    for (size_t i = 0; knows && i < sizeof known / sizeof *known; i++)
        assert(restore_set_add(&x.a, &x.guarded.set, known[i].token, known[i].value, GUARD_EMAIL, known[i].bare) == ERR_OK);
    if (!knows)
        assert(restore_set_add(&x.a, &x.guarded.set, never, S("value"), GUARD_EMAIL, true) == ERR_OK);
    restore_set_ready(&x.guarded.set);
    events.max = raws.max = 64 << 20;
    buf_clear(&events);
    buf_clear(&raws);
    return &x;
}

static void run_free(struct run *x)
{
    gate_guard_forget(&x->r);
    buf_free(&x->r.taken);
    arena_free(&x->a);
    arena_free(&x->loop.scratch);
}

static void on_event(struct gate_req *r, const struct sse_event *ev)
{
    (void)r;
    if (ev->has_data)
        assert(buf_printf(&events, "%.*s\x01%.*s\x01", STR_ARG(ev->event), STR_ARG(ev->data)) == ERR_OK);
    assert(buf_put(&raws, ev->raw) == ERR_OK);
}

/* One event of the upstream's, in the way of attempt.c. `plain`: as it came. */
static enum err one(struct gate_req *r, const struct sse_event *ev, bool plain)
{
    if (!plain && ev->has_data)
        return gate_unmask_event(r, ev, on_event);
    on_event(r, ev);
    return ERR_OK;
}

static enum err feed(struct gate_req *r, struct sse *sse, struct ndjson *lines, str piece, bool plain)
{
    struct sse_event ev = { .has_data = true };
    enum err e, failed = ERR_OK;
    if (r->up->lines)
        ndjson_feed(lines, piece);
    else
        sse_feed(sse, piece);
    while (!failed && (e = r->up->lines ? ndjson_next(lines, &ev.raw, &ev.data) : sse_next(sse, &ev)) == ERR_OK)
        failed = one(r, &ev, plain);
    return failed;
}

/* All bytes in pieces of `step`. */
static enum err stream(struct gate_req *r, str bytes, size_t step, bool plain)
{
    struct sse sse;
    struct ndjson lines;
    enum err e = ERR_OK;
    sse_init(&sse, 1 << 20);
    ndjson_init(&lines, 1 << 20);
    while (bytes.n && !e) {
        size_t k = step < bytes.n ? step : bytes.n;
        e = feed(r, &sse, &lines, (str){ bytes.p, k }, plain);
        bytes = str_skip(bytes, k);
    }
    sse_free(&sse);
    ndjson_free(&lines);
    return e;
}

static bool could_hold_some(str bytes)
{
    static const str signs[] = { S("\\"), S("[\""), S("[ \""), S("[  \"") };
    bool any = false;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        any = any || str_find(bytes, signs[i]) < bytes.n;
    return any;
}

static str kept(struct arena *a, const struct buf *b)
{
    str s = arena_str(a, buf_str(b));
    assert(s.p);
    return s;
}

static void any_bytes(struct arena *a, const struct upstream_side *up, str bytes, size_t step)
{
    struct run *x = run_new(up, true);
    enum err whole = stream(&x->r, bytes, bytes.n, false);
    str first = kept(a, &events), raw = kept(a, &raws);
    run_free(x);
    for (size_t k = 0; k < 2; k++) {
        x = run_new(up, true);
        assert(stream(&x->r, bytes, k ? step : 1, false) == whole);
        assert(str_eq(buf_str(&events), first) && str_eq(buf_str(&raws), raw));
        run_free(x);
    }
    /* what is forwarded says the same as what was read here */
    x = run_new(up, true);
    assert(stream(&x->r, raw, raw.n, true) == ERR_OK && str_eq(buf_str(&events), first));
    run_free(x);
    if (could_hold_some(bytes))
        return;
    x = run_new(up, false);
    enum err e = stream(&x->r, bytes, step, false);
    first = kept(a, &events);
    run_free(x);
    x = run_new(up, false);
    assert(stream(&x->r, bytes, bytes.n, true) == ERR_OK && (e || str_eq(buf_str(&events), first)));
    run_free(x);
}

/* ---- a text in events ---- */

static void put_piece(struct buf *b, const struct upstream_side *up, bool tool, str piece)
{
    static const char *const before[3][2] = { { "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"" },
                                              { "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"", "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"" },
                                              { "{\"message\":{\"content\":\"", "{\"message\":{\"thinking\":\"" } },
                            *const behind[3][2] = { { "\"}}]}\n\n", "\"}}]}}]}\n\n" }, { "\"}}\n\n", "\"}}\n\n" }, { "\"},\"done\":false}\n", "\"},\"done\":false}\n" } };
    assert(buf_put(b, str_of(before[up - sides][tool])) == ERR_OK && json_escape(b, piece) == ERR_OK && buf_put(b, str_of(behind[up - sides][tool])) == ERR_OK);
}

static void put_stream(struct buf *b, const struct upstream_side *up, bool tool, str text, size_t step)
{
    static const char *const end[3] = { "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
                                        "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n", "{\"message\":{\"content\":\"\"},\"done\":true}\n" };
    buf_clear(b);
    while (text.n) {
        size_t k = step < text.n ? step : text.n;
        while (k < text.n && ((unsigned char)text.p[k] & 0xC0) == 0x80)
            k++;
        put_piece(b, up, tool, (str){ text.p, k });
        text = str_skip(text, k);
    }
    assert(buf_put(b, str_of(end[up - sides])) == ERR_OK);
}

static json inside(json v, const char *const *path)
{
    for (; *path; path++)
        v = json_type(v) == JSON_ARRAY ? json_first(v) : json_member(v, str_of(*path));
    return v;
}

/* The text of what came out, joined. */
static str joined(struct arena *a, const struct upstream_side *up, bool tool)
{
    static const char *const paths[3][2][8] = { { { "choices", "0", "delta", "content" }, { "choices", "0", "delta", "tool_calls", "0", "function", "arguments" } },
                                                { { "delta", "text" }, { "delta", "partial_json" } }, { { "message", "content" }, { "message", "thinking" } } };
    struct buf all = { .max = 16 << 20 };
    for (str rest = buf_str(&events), name, data; rest.n;) {
        json root;
        str piece;
        assert(str_cut(rest, '\x01', &name, &rest) && str_cut(rest, '\x01', &data, &rest));
        if (json_parse(a, data, &JSON_DEFAULT_LIMITS, &root, NULL) != ERR_OK)
            continue;
        json v = inside(root, paths[up - sides][tool]);
        if (json_type(v) == JSON_STRING)
            assert(json_text(a, v, &piece) == ERR_OK && buf_put(&all, piece) == ERR_OK);
    }
    str s = kept(a, &all);
    buf_free(&all);
    return s;
}

static void any_text(struct arena *a, const struct upstream_side *up, bool tool, str text, size_t step)
{
    struct buf bytes = { .max = 64 << 20 };
    str want = STR_NONE;
    if (!str_is_utf8(text) || !text.n || memchr(text.p, '\0', text.n))
        return;
    for (size_t k = 0; k < 2; k++) {
        put_stream(&bytes, up, tool, text, k ? step : 1);
        struct run *x = run_new(up, true);
        if (!want.p)
            assert(restore_text(a, &x->guarded.set, text, &want, NULL) == ERR_OK);
        assert(stream(&x->r, buf_str(&bytes), bytes.n, false) == ERR_OK);
        assert(str_eq(joined(a, up, tool), want));
        run_free(x);
    }
    buf_free(&bytes);
}

static void any_reply(struct arena *a, str bytes)
{
    json root;
    for (int knows = 0; knows < 2; knows++) {
        struct run *x = run_new(&sides[0], knows);
        assert(buf_put(&x->r.taken, bytes) == ERR_OK);
        bool good = json_parse(a, bytes, &JSON_DEFAULT_LIMITS, &root, NULL) == ERR_OK;
        enum err e = gate_unmask_reply(&x->r);
        assert(e == ERR_OK || e == ERR_LIMIT);
        if (!knows && !e && str_find(bytes, S("\\")) == bytes.n)
            assert(str_eq(buf_str(&x->r.taken), bytes));
        if (good && !e)
            assert(json_parse(a, buf_str(&x->r.taken), &JSON_DEFAULT_LIMITS, &root, NULL) == ERR_OK);
        run_free(x);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    if (n < 3)
        return 0;
    const struct upstream_side *up = &sides[p[0] % 3];
    str bytes = str_slice((const char *)p + 2, n - 2);
    size_t step = 1 + p[1] % 32;
    arena_init(&a, 256 << 20);
    switch (p[0] / 3 % 4) {
    case 0: any_bytes(&a, up, bytes, step); break;
    case 1: any_text(&a, up, false, bytes, step); break;
    case 2: any_text(&a, up, true, bytes, step); break;
    default: any_reply(&a, bytes);
    }
    arena_free(&a);
    return 0;
}
