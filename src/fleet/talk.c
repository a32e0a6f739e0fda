/* A thin coat over an exchange: collects the body, and calls back once. */
#include "fleet/talk.h"

#include "core/json.h"

static void on_head(void *ctx, const struct http_head *h) { ((struct talk *)ctx)->status = h->status; }

static void on_data(void *ctx, str data)
{
    struct talk *t = ctx;
    if (buf_put(&t->in, data) != ERR_OK)
        t->status = 0;
}

static void on_end(void *ctx, enum err e, const char *detail)
{
    struct talk *t = ctx;
    (void)detail;
    t->x = NULL;
    if (e == ERR_OK && t->status == 0)
        e = ERR_UPSTREAM;
    t->done(t, e);
}

static const struct http_client_events events = { on_head, on_data, on_end };

void talk_init(struct talk *t, size_t max, void (*done)(struct talk *t, enum err e), void *ctx)
{
    *t = (struct talk){ .done = done, .ctx = ctx };
    buf_init(&t->in, max);
    buf_init(&t->out, 16u << 10);
}

static enum err begin(struct talk *t, struct http_pool *p, struct http_request *rq)
{
    buf_clear(&t->in);
    t->status = 0;
    enum err e = p ? http_exchange_start(p, rq, &events, t, &t->x) : ERR_REFUSED;
    if (e != ERR_OK)
        t->x = NULL;
    return e;
}

enum err talk_ask(struct talk *t, struct http_pool *p, const struct kind_question *q, str fields, str name, int64_t patience_ms)
{
    char head[2048];
    int n = snprintf(head, sizeof head, "Content-Type: application/json\r\n%.*s", STR_ARG(fields));
    if (n < 0 || (size_t)n >= sizeof head)
        return ERR_LIMIT;
    buf_clear(&t->out);
    enum err e = buf_put(&t->out, q->body[0]);
    if (e == ERR_OK && q->body[0].n)
        e = json_escape(&t->out, name);
    if (e == ERR_OK)
        e = buf_put(&t->out, q->body[1]);
    if (e != ERR_OK)
        return e;
    t->sent = buf_str(&t->out);
    struct http_request rq = { .method = q->method, .target = q->target, .fields = str_of(head), .body = &t->sent, .n_body = 1, .first_byte_ms = patience_ms };
    if (!t->sent.n) {
        rq.fields = fields;
        rq.n_body = 0;
    }
    return begin(t, p, &rq);
}

enum err talk_get(struct talk *t, struct http_pool *p, str target, str fields)
{
    struct http_request rq = { .method = S("GET"), .target = target, .fields = fields };
    return begin(t, p, &rq);
}

void talk_cancel(struct talk *t)
{
    if (t->x)
        http_exchange_cancel(t->x);
    t->x = NULL;
}

void talk_free(struct talk *t)
{
    talk_cancel(t);
    buf_free(&t->in);
    buf_free(&t->out);
}
