/* One exchange at a time, with the loop run until it is over. */
#include "cmd/ask.h"

#include "core/clock.h"
#include "core/json.h"
#include "wire/sse.h"

#include <signal.h>
#include <stdio.h>

struct asking {
    struct ask *out;
    struct io_loop *loop;
    struct http_exchange *x;
    struct io_signal interrupt;
    struct sse sse;
    bool is_stream, sse_open, over, pool_closed, signal_closed, finished;
    void (*on_text)(void *ctx, str text);
    void *ctx;
};

static void copy_field(const struct http_head *h, str name, char *to, size_t room)
{
    str v = http_get(h, name);
    snprintf(to, room, "%.*s", (int)v.n, v.n ? v.p : "");
}

static void on_head(void *ctx, const struct http_head *h)
{
    struct asking *k = ctx;
    k->out->status = h->status;
    copy_field(h, S("x-hearth-call"), k->out->call_id, sizeof k->out->call_id);
    copy_field(h, S("x-hearth-model"), k->out->model, sizeof k->out->model);
    k->is_stream = k->on_text && h->status == 200 && str_starts(http_get(h, S("content-type")), S("text/event-stream"));
    if (k->is_stream) {
        sse_init(&k->sse, 1 << 20);
        k->sse_open = true;
    }
}

/* The visible text of one chunk; an error in it ends the answer. */
static void take_event(struct asking *k, str data)
{
    struct arena a;
    json v;
    str text;
    arena_init(&a, 4 << 20);
    if (str_starts(data, S("[DONE]"))) {
        k->finished = true;
    } else if (json_parse(&a, data, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK) {
        json choice = json_first(json_member(v, S("choices")));
        if (json_text(&a, json_member(json_member(choice, S("delta")), S("content")), &text) == ERR_OK && text.n) {
            if (!k->out->first_us)
                k->out->first_us = clock_mono_us(&clock_system);
            k->on_text(k->ctx, text);
        }
        if (json_type(json_member(v, S("usage"))) == JSON_OBJECT) {
            buf_clear(&k->out->body);   /* what is left for the caller: the numbers */
            (void)buf_put(&k->out->body, json_span(json_member(v, S("usage"))));
        }
        if (json_text(&a, json_member(json_member(v, S("error")), S("message")), &text) == ERR_OK) {
            k->out->err = ERR_UPSTREAM;
            snprintf(k->out->detail, sizeof k->out->detail, "%.*s", (int)(text.n < 180 ? text.n : 180), text.p);
        }
    }
    arena_free(&a);
}

static void on_data(void *ctx, str data)
{
    struct asking *k = ctx;
    struct sse_event ev;
    if (!k->is_stream) {
        (void)buf_put(&k->out->body, data);
        return;
    }
    sse_feed(&k->sse, data);
    while (sse_next(&k->sse, &ev) == ERR_OK)
        if (ev.has_data)
            take_event(k, ev.data);
}

static void on_end(void *ctx, enum err e, const char *detail)
{
    struct asking *k = ctx;
    k->x = NULL;
    k->over = true;
    if (e != ERR_OK && k->out->err == ERR_OK) {
        k->out->err = e;
        snprintf(k->out->detail, sizeof k->out->detail, "%s", detail ? detail : err_text(e));
    }
    if (k->is_stream && !k->finished && k->out->err == ERR_OK)
        k->out->err = ERR_CUT;
    io_loop_stop(k->loop);
}

static void on_interrupt(struct io_signal *s, int signum)
{
    struct asking *k = (struct asking *)((char *)s - offsetof(struct asking, interrupt));
    (void)signum;
    if (!k->x)
        return;
    http_exchange_cancel(k->x);
    k->x = NULL;
    k->over = true;
    k->out->err = ERR_CLIENT;
    io_loop_stop(k->loop);
}

static void on_signal_closed(struct io_signal *s)
{
    ((struct asking *)((char *)s - offsetof(struct asking, interrupt)))->signal_closed = true;
}

static void on_pool_closed(void *ctx) { ((struct asking *)ctx)->pool_closed = true; }

void ask_call(struct io_loop *l, const char *socket, str method, str target, str fields, str body, void (*on_text)(void *ctx, str text), void *ctx, struct ask *out)
{
    static const struct http_client_events events = { on_head, on_data, on_end };
    struct asking k = { .out = out, .loop = l, .on_text = on_text, .ctx = ctx };
    struct http_origin o = { .host = "localhost" };
    struct http_pool *pool;
    struct http_request rq = { .method = method, .target = target, .fields = fields, .body = &body, .n_body = body.n ? 1 : 0 };
    *out = (struct ask){ .body.max = 256u << 20 };
    snprintf(o.unix_path, sizeof o.unix_path, "%s", socket);
    if ((out->err = http_pool_new(l, &o, &http_client_limits_default, &pool)) != ERR_OK)
        return;
    (void)io_signal_init(l, &k.interrupt, SIGINT, on_interrupt);
    out->sent_us = clock_mono_us(&clock_system);
    out->err = http_exchange_start(pool, &rq, &events, &k, &k.x);
    if (out->err != ERR_OK)
        k.over = true;
    while (!k.over)
        io_loop_run(l);
    out->end_us = clock_mono_us(&clock_system);
    http_pool_close(pool, on_pool_closed, &k);
    io_signal_close(&k.interrupt, on_signal_closed);
    while (!k.pool_closed || !k.signal_closed)
        io_loop_run_once(l);
    if (k.sse_open)
        sse_free(&k.sse);
}

void ask_free(struct ask *a) { buf_free(&a->body); }
