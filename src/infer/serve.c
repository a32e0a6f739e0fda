/* Requests in, jobs to the inference thread; news out of it, bytes to the clients. All on the loop's thread.
 *
 *   request ─ decode, tokenize, submit ─► job ─ news ─► text ─► reply or chunks
 *
 * A call keeps its request's memory (http_req_hold) until its job is done, also when the client has left before. */
#include "infer/serve.h"

#include "core/clock.h"
#include "core/log.h"
#include "http/server.h"
#include "infer/engine.h"
#include "infer/identity.h"
#include "wire/openai.h"

#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#define BODY_MAX  (32u << 20)
#define ARENA_MAX (256u << 20)
#define REPLY_MAX (64u << 20)

struct serve {
    const struct serve_config *config;
    struct io_loop *loop;
    struct http_server *server;
    struct engine *engine;
    struct io_wake wake;
    struct io_signal term, interrupt;
    struct io_timer drain;
    struct rng rng;
    struct buf facts, props;
    char fingerprint[IDENTITY_FINGERPRINT], peer[32];
    int64_t started_s;
    size_t calls;                       /* submitted and not done */
    bool known, draining, stopping;
    int handles, status;
};

struct serve_call {
    struct engine_job job;
    struct http_req *req;               /* NULL: the client has left */
    struct http_req *held;
    struct openai_writer writer;
    struct buf text, out;
    bool stream, started;
};

/* ---- answers ---- */

static void answer(struct http_req *r, int status, str body)
{
    str fields = status == 429 || status == 503 ? S("Retry-After: 1\r\n") : STR_NONE;
    (void)http_reply(r, status, S("application/json"), fields, body);
}

static void answer_error(struct http_req *r, enum err e, str message, str param)
{
    answer(r, err_http(e), openai_error_body(http_req_arena(r), e, message, param));
}

static void serve_on_reject(void *ctx, str path, int status, const char *what, struct arena *a, str *content_type, str *body)
{
    (void)ctx, (void)path;
    enum err e = status == 413 ? ERR_LIMIT : status == 408 ? ERR_TIMEOUT : status == 403 ? ERR_FORBIDDEN : status >= 500 ? ERR_INTERNAL : ERR_SYNTAX;
    *content_type = S("application/json");
    *body = openai_error_body(a, e, str_of(what), STR_NONE);
}

/* ---- calls ---- */

static void call_free(struct serve *s, struct serve_call *c)
{
    struct http_req *held = c->held;
    buf_free(&c->text);
    buf_free(&c->out);
    s->calls--;
    http_req_release(held);             /* the call itself lay in its arena */
}

static void call_forget_client(struct serve *s, struct serve_call *c)
{
    http_req_set_data(c->req, NULL);
    c->req = NULL;
    engine_cancel(s->engine, &c->job);
}

/* Sends what the writers left in `out`. A slow reader pauses the generation, one that has gone ends it. */
static void call_flush(struct serve *s, struct serve_call *c)
{
    enum err e = http_reply_write(c->req, buf_str(&c->out));
    buf_clear(&c->out);
    if (e == ERR_AGAIN)
        atomic_store(&c->job.paused, true);
    else if (e != ERR_OK)
        call_forget_client(s, c);
}

static struct openai_usage call_usage(const struct serve_call *c)
{
    return (struct openai_usage){ .prompt = (int64_t)c->job.tokens.n, .completion = c->job.made, .cached = 0 };
}

static enum err call_stream_start(struct serve_call *c)
{
    if (c->started)
        return ERR_OK;
    c->started = true;
    enum err e = http_reply_start(c->req, 200, S("text/event-stream"), S("Cache-Control: no-cache\r\n"));
    return e == ERR_OK && c->writer.is_chat ? openai_write_first(&c->out, &c->writer, 0) : e;
}

static void call_stream(struct serve *s, struct serve_call *c, bool done)
{
    struct openai_usage usage = call_usage(c);
    enum err e = ERR_OK;
    if (done && c->job.err != ERR_OK && !c->started) {
        answer_error(c->req, c->job.err, STR_NONE, STR_NONE);
        return;
    }
    e = call_stream_start(c);
    if (e == ERR_OK && c->text.n)
        e = openai_write_delta(&c->out, &c->writer, 0, buf_str(&c->text));
    buf_clear(&c->text);
    if (done && c->job.err == ERR_OK) {
        if (e == ERR_OK)
            e = openai_write_finish(&c->out, &c->writer, 0, str_of(c->job.finish));
        if (e == ERR_OK && c->writer.include_usage)
            e = openai_write_usage(&c->out, &c->writer, &usage);
        if (e == ERR_OK)
            e = openai_write_done(&c->out);
    } else if (done) {
        e = buf_put(&c->out, openai_error_event(http_req_arena(c->req), c->job.err, STR_NONE));
    }
    if (e != ERR_OK) {                  /* out of memory, or the client is gone */
        struct http_req *r = c->req;
        call_forget_client(s, c);
        http_reply_abort(r);
        return;
    }
    call_flush(s, c);
    if (done && c->req)
        http_reply_end(c->req);
}

static void call_whole(struct serve_call *c)
{
    struct openai_usage usage = call_usage(c);
    str text = buf_str(&c->text), finish = str_of(c->job.finish);
    enum err e = c->job.err;
    if (e == ERR_OK)
        e = openai_write_reply(&c->out, &c->writer, &text, &finish, 1, &usage);
    if (e == ERR_OK)
        answer(c->req, 200, buf_str(&c->out));
    else
        answer_error(c->req, e, STR_NONE, STR_NONE);
}

static void call_news(struct serve *s, struct serve_call *c)
{
    bool done = false;
    enum err e = engine_take(s->engine, &c->job, &c->text, &done);
    if (e != ERR_OK && c->req) {
        struct http_req *r = c->req;
        call_forget_client(s, c);
        http_reply_abort(r);
    }
    if (!c->req)
        buf_clear(&c->text);
    else if (c->stream)
        call_stream(s, c, done);
    else if (done)
        call_whole(c);
    if (done) {
        log_debug("call_done", LOG_S("id", c->writer.id), LOG_C("err", err_name(c->job.err)), LOG_I("prompt", (int64_t)c->job.tokens.n), LOG_I("made", c->job.made));
        call_free(s, c);
    }
}

/* ---- a request becomes a call ---- */

static enum err call_tokens(struct serve *s, struct arena *a, const struct call *c, struct serve_call *out, struct wire_error *why)
{
    const struct model *m = engine_model(s->engine);
    enum err e = c->op == OP_CHAT ? template_chat(a, &m->chat, m->vocab, &m->limits, &s->rng, c, &out->job.tokens, why)
                                  : template_text(a, m->vocab, &m->limits, true, c->prompt, &out->job.tokens, why);
    if (e == ERR_OK && out->job.tokens.n == 0) {
        *why = (struct wire_error){ ERR_RANGE, S("the prompt is empty"), S("prompt") };
        e = ERR_RANGE;
    }
    return e;
}

static enum err call_read(struct serve *s, struct http_req *r, enum op op, struct serve_call *out, struct wire_error *why)
{
    struct arena *a = http_req_arena(r);
    struct call *c = arena_new(a, struct call, 1);
    char id[UUID_TEXT];
    if (!c)
        return ERR_LIMIT;
    enum err e = openai_decode(a, op, http_req_body(r), c, why);
    if (e == ERR_OK)
        e = sampling_read(a, c, &s->rng, &out->job.sampling, why);
    if (e == ERR_OK)
        e = call_tokens(s, a, c, out, why);
    if (e != ERR_OK)
        return e;
    int64_t most = out->job.sampling.max_tokens;
    out->job.max_tokens = most == PARAM_UNSET ? 0 : most > INT32_MAX ? INT32_MAX : (int32_t)most;
    out->job.stops = c->params.stop;
    out->job.n_stops = c->params.n_stop;
    out->stream = c->stream;
    uuid7(&s->rng, clock_wall_us(&clock_system), id);
    out->writer = (struct openai_writer){ .id = arena_printf(a, "%s-%s", op == OP_CHAT ? "chatcmpl" : "cmpl", id), .model = str_of(s->config->name),
        .fingerprint = str_of(s->fingerprint), .created = clock_wall_us(&clock_system) / 1000000, .include_usage = c->include_usage, .is_chat = op == OP_CHAT };
    return out->writer.id.p ? ERR_OK : ERR_LIMIT;
}

static void serve_generate(struct serve *s, struct http_req *r, enum op op)
{
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct serve_call *c = arena_new(http_req_arena(r), struct serve_call, 1);
    enum err e = !c ? ERR_LIMIT : s->draining ? ERR_ENGINE : engine_state(s->engine) != ENGINE_READY ? ERR_LOADING : ERR_OK;
    if (e == ERR_OK && s->calls >= (size_t)s->config->model.slots + ENGINE_MAX_WAITING)
        e = ERR_BUSY;
    if (e == ERR_OK)
        e = call_read(s, r, op, c, &why);
    if (e == ERR_OK) {
        buf_init(&c->text, REPLY_MAX);
        buf_init(&c->out, REPLY_MAX);
        c->req = c->held = r;
        e = engine_submit(s->engine, &c->job);
    }
    if (e != ERR_OK) {
        answer_error(r, e, why.message, why.param);
        return;
    }
    s->calls++;
    http_req_hold(r);
    http_req_set_data(r, c);
}

static void serve_chat(struct serve *s, struct http_req *r) { serve_generate(s, r, OP_CHAT); }
static void serve_completion(struct serve *s, struct http_req *r) { serve_generate(s, r, OP_COMPLETION); }

/* ---- small questions ---- */

static void serve_models(struct serve *s, struct http_req *r)
{
    struct openai_model m = { .id = str_of(s->config->name), .owned_by = S("hearth"), .created = s->started_s, .meta = buf_str(&s->facts) };
    answer(r, 200, openai_models_body(http_req_arena(r), &m, 1));
}

static void serve_health(struct serve *s, struct http_req *r)
{
    struct arena *a = http_req_arena(r);
    struct engine_load l = engine_load_now(s->engine);
    if (s->known)
        answer(r, 200, arena_printf(a, "{\"status\":\"%s\",\"step_ms\":%" PRId64 ",\"busy\":%d,\"waiting\":%d,\"slots\":%d,\"steps\":%" PRIu64 ",\"tokens\":%" PRIu64 "}",
                                    s->draining ? "draining" : "ok", l.step_ms, l.busy, l.waiting, s->config->model.slots, l.steps, l.tokens));
    else
        answer(r, 503, arena_printf(a, "{\"status\":\"loading\",\"progress\":%.3f}", engine_progress(s->engine)));
}

static void serve_props(struct serve *s, struct http_req *r)
{
    if (s->known)
        answer(r, 200, buf_str(&s->props));
    else
        answer_error(r, ERR_LOADING, STR_NONE, STR_NONE);
}

static void serve_tokenize(struct serve *s, struct http_req *r)
{
    struct arena *a = http_req_arena(r);
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct token_list t;
    struct json_out o;
    struct buf b;
    str text;
    json v;
    if (!s->known) {
        answer_error(r, ERR_LOADING, STR_NONE, STR_NONE);
        return;
    }
    const struct model *m = engine_model(s->engine);
    struct prompt_limits lim = { .context = MODEL_MAX_CONTEXT, .longest_token = m->limits.longest_token };
    if (json_parse(a, http_req_body(r), &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_text(a, json_member(v, S("content")), &text) != ERR_OK) {
        answer_error(r, ERR_SYNTAX, S("a JSON object with a string 'content' is expected"), S("content"));
        return;
    }
    enum err e = template_text(a, m->vocab, &lim, false, text, &t, &why);
    buf_init(&b, REPLY_MAX);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("tokens"));
    json_open(&o, '[');
    for (size_t i = 0; e == ERR_OK && i < t.n; i++)
        json_put_i64(&o, t.p[i]);
    json_close(&o, ']');
    json_put_key(&o, S("count"));
    json_put_i64(&o, e == ERR_OK ? (int64_t)t.n : 0);
    json_close(&o, '}');
    e = e == ERR_OK ? o.err : e;
    if (e == ERR_OK)
        answer(r, 200, buf_str(&b));
    else
        answer_error(r, e, why.message, why.param);
    buf_free(&b);
}

static const struct route { str method, path; void (*run)(struct serve *, struct http_req *); } routes[] = {
    { S("POST"), S("/v1/chat/completions"), serve_chat },
    { S("POST"), S("/v1/completions"),      serve_completion },
    { S("GET"),  S("/v1/models"),           serve_models },
    { S("GET"),  S("/health"),              serve_health },
    { S("GET"),  S("/props"),               serve_props },
    { S("POST"), S("/tokenize"),            serve_tokenize },
};

static void serve_on_request(void *ctx, struct http_req *r)
{
    struct serve *s = ctx;
    const struct http_head *h = http_req_head(r);
    bool known = false;
    if (!http_req_via_unix(r) || strcmp(http_req_peer(r), s->peer) != 0) {
        answer_error(r, ERR_FORBIDDEN, S("this engine answers only the user it runs as"), STR_NONE);
        return;
    }
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!str_eq(routes[i].path, h->path))
            continue;
        known = true;
        if (str_eq(routes[i].method, h->method)) {
            routes[i].run(s, r);
            return;
        }
    }
    answer_error(r, known ? ERR_METHOD : ERR_NOTFOUND, STR_NONE, STR_NONE);
}

static void serve_on_gone(void *ctx, struct http_req *r)
{
    struct serve_call *c = http_req_data(r);
    if (c)
        call_forget_client(ctx, c);
}

static void serve_on_drain(void *ctx, struct http_req *r)
{
    struct serve *s = ctx;
    struct serve_call *c = http_req_data(r);
    if (c)
        engine_resume(s->engine, &c->job);
}

/* ---- the process ---- */

static void serve_stop(struct serve *s, int status);

static void serve_learn(struct serve *s)
{
    enum engine_state state = engine_state(s->engine);
    if (s->known || state == ENGINE_LOADING)
        return;
    if (state == ENGINE_FAILED) {
        serve_stop(s, 3);
        return;
    }
    enum err e = identity_json(&s->facts, engine_model(s->engine));
    if (e == ERR_OK)
        e = identity_props(&s->props, buf_str(&s->facts), str_of(s->config->name), &s->config->confinement);
    if (e != ERR_OK) {
        serve_stop(s, 1);
        return;
    }
    identity_fingerprint(buf_str(&s->facts), s->fingerprint);
    s->known = true;
    log_info("engine_ready", LOG_C("model", s->config->name), LOG_C("fingerprint", s->fingerprint), LOG_I("slots", s->config->model.slots),
             LOG_I("threads", s->config->model.threads));
}

static void serve_on_wake(struct io_wake *w)
{
    struct serve *s = (struct serve *)((char *)w - offsetof(struct serve, wake));
    struct engine_job *j;
    if (s->stopping)
        return;
    serve_learn(s);
    if (s->stopping)
        return;
    for (struct queue_item *list = engine_news(s->engine); (j = engine_news_next(&list));)
        call_news(s, (struct serve_call *)j);
    if (s->draining && s->calls == 0)
        serve_stop(s, 0);
}

static void serve_on_drain_timer(struct io_timer *t)
{
    serve_stop((struct serve *)((char *)t - offsetof(struct serve, drain)), 0);
}

/* The first signal lets the running calls end, the second does not. A model that is being loaded has nothing to be lost. */
static void serve_terminate(struct serve *s)
{
    if (!s->known)
        _exit(0);
    if (s->draining || s->calls == 0) {
        serve_stop(s, 0);
        return;
    }
    s->draining = true;
    http_server_stop_listening(s->server);
    io_timer_start(&s->drain, SERVE_DRAIN_MS);
}

static void serve_on_term(struct io_signal *g, int signum) { (void)signum; serve_terminate((struct serve *)((char *)g - offsetof(struct serve, term))); }
static void serve_on_interrupt(struct io_signal *g, int signum) { (void)signum; serve_terminate((struct serve *)((char *)g - offsetof(struct serve, interrupt))); }

static void serve_handle_closed(struct serve *s)
{
    if (--s->handles == 0)
        io_loop_stop(s->loop);
}
static void serve_wake_closed(struct io_wake *w) { serve_handle_closed((struct serve *)((char *)w - offsetof(struct serve, wake))); }
static void serve_timer_closed(struct io_timer *t) { serve_handle_closed((struct serve *)((char *)t - offsetof(struct serve, drain))); }
static void serve_term_closed(struct io_signal *g) { serve_handle_closed((struct serve *)((char *)g - offsetof(struct serve, term))); }
static void serve_interrupt_closed(struct io_signal *g) { serve_handle_closed((struct serve *)((char *)g - offsetof(struct serve, interrupt))); }

/* The server is closed: no request is left, so the jobs' memory may go once the inference thread has ended. */
static void serve_server_closed(void *ctx)
{
    struct serve *s = ctx;
    s->handles += 4;
    io_wake_close(&s->wake, serve_wake_closed);
    io_timer_close(&s->drain, serve_timer_closed);
    io_signal_close(&s->term, serve_term_closed);
    io_signal_close(&s->interrupt, serve_interrupt_closed);
}

static void serve_stop(struct serve *s, int status)
{
    struct engine_job *j;
    struct queue_item *list;
    if (s->stopping)
        return;
    s->stopping = true;
    s->status = status;
    engine_close(s->engine);            /* every call's end is among the news now */
    for (list = engine_news(s->engine); (j = engine_news_next(&list));)
        call_news(s, (struct serve_call *)j);
    http_server_close(s->server, serve_server_closed, s);
}

static enum err serve_open(struct serve *s)
{
    static const struct http_handler handler = { .on_request = serve_on_request, .on_reject = serve_on_reject, .on_gone = serve_on_gone, .on_drain = serve_on_drain };
    struct http_handler h = handler;
    struct http_limits lim = http_limits_default;
    lim.body = BODY_MAX;
    lim.arena = ARENA_MAX;
    lim.connections = 512;
    h.ctx = s;
    enum err e = io_loop_new(&s->loop);
    if (e == ERR_OK)
        e = io_wake_init(s->loop, &s->wake, serve_on_wake);
    if (e == ERR_OK)
        e = io_signal_init(s->loop, &s->term, SIGTERM, serve_on_term);
    if (e == ERR_OK)
        e = io_signal_init(s->loop, &s->interrupt, SIGINT, serve_on_interrupt);
    if (e != ERR_OK)
        return e;
    io_timer_init(s->loop, &s->drain, serve_on_drain_timer);
    e = http_server_new(s->loop, s->config->listen_fd, true, &lim, &h, &s->server);
    return e == ERR_OK ? engine_new(&s->config->model, &s->wake, &s->engine) : e;
}

int serve_run(const struct serve_config *c)
{
    struct serve s = { .config = c, .rng = rand_system(), .started_s = clock_wall_us(&clock_system) / 1000000 };
    char why[MODEL_WHY] = "";
    snprintf(s.peer, sizeof s.peer, "unix:%u", (unsigned)geteuid());
    buf_init(&s.facts, 1 << 20);
    buf_init(&s.props, 1 << 20);
    enum err e = serve_open(&s);
    if (e != ERR_OK) {
        fprintf(stderr, "error: the engine could not be started: %s\n", err_text(e));
        return 1;                       /* the process ends, and all of it with it */
    }
    io_loop_run(s.loop);
    if (s.status == 3)
        snprintf(why, sizeof why, "%s", engine_why(s.engine));
    engine_free(s.engine);
    io_loop_free(s.loop);
    buf_free(&s.facts);
    buf_free(&s.props);
    if (why[0])
        fprintf(stderr, "error: %s\n", why);
    return s.status;
}
