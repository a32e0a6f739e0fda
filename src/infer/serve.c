/* The engine's process: its server, what it can be asked for, how it learns of its model and how it ends. All on the loop's thread.
 * Calls are in generate.c and embed.c. */
#include "infer/serve_state.h"

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

/* ---- answers ---- */

void serve_answer(struct http_req *r, int status, str body)
{
    str fields = status == 429 || status == 503 ? S("Retry-After: 1\r\n") : STR_NONE;
    (void)http_reply(r, status, S("application/json"), fields, body);
}

/* With how long the queue is expected to take: who comes back earlier finds it as it is. */
void serve_answer_busy(struct serve *s, struct http_req *r)
{
    struct arena *a = http_req_arena(r);
    struct engine_load l = engine_load_now(s->engine);
    long long wait_s = (long long)(l.wait_ms + 999) / 1000;
    wait_s = wait_s < 1 ? 1 : wait_s > 3600 ? 3600 : wait_s;
    str message = arena_printf(a, "this model answers %d calls and %d wait: about %lld s of work; try again then", l.busy, l.waiting, wait_s);
    (void)http_reply(r, 429, S("application/json"), arena_printf(a, "Retry-After: %lld\r\n", wait_s), openai_error_body(a, ERR_BUSY, message, STR_NONE));
}

void serve_answer_error(struct http_req *r, enum err e, str message, str param)
{
    serve_answer(r, err_http(e), openai_error_body(http_req_arena(r), e, message, param));
}

static void serve_on_reject(void *ctx, const struct http_head *h, int status, const char *what, struct arena *a, struct http_refusal *out)
{
    (void)ctx, (void)h;
    enum err e = status == 413 ? ERR_LIMIT : status == 408 ? ERR_TIMEOUT : status == 403 ? ERR_FORBIDDEN : status >= 500 ? ERR_INTERNAL : ERR_SYNTAX;
    out->content_type = S("application/json");
    out->body = openai_error_body(a, e, str_of(what), STR_NONE);
}

/* ---- small questions ---- */

static void serve_models(struct serve *s, struct http_req *r)
{
    struct openai_model list[1 + MODEL_MAX_ADAPTERS] = { { .id = str_of(s->config->name), .owned_by = S("hearth"), .created = s->started_s, .meta = buf_str(&s->facts) } };
    size_t n = 1;
    for (int i = 0; s->known && i < engine_model(s->engine)->n_adapters; i++)
        list[n++] = (struct openai_model){ .id = str_of(engine_model(s->engine)->adapters[i].name), .owned_by = S("hearth"), .created = s->started_s };
    serve_answer(r, 200, openai_models_body(http_req_arena(r), list, n));
}

/* Of the KV cache: what is in use and what should not be. */
static str census(struct arena *a, const struct kv_census *c)
{
    return arena_printf(a, "{\"sequences\":%zu,\"open\":%zu,\"kept\":%zu,\"astray\":%zu,\"room\":%zu,\"left\":%zu,\"lost\":%zu}", c->sequences, c->open, c->resident,
                        c->astray, c->room, c->left, c->lost);
}

static void serve_health(struct serve *s, struct http_req *r)
{
    struct arena *a = http_req_arena(r);
    struct engine_load l = engine_load_now(s->engine);
    str idle = census(a, &l.census);
    if (s->known)
        serve_answer(r, 200, arena_printf(a, "{\"status\":\"%s\",\"step_ms\":%" PRId64 ",\"busy\":%d,\"waiting\":%d,\"slots\":%d,\"wait_ms\":%" PRId64 ",\"steps\":%" PRIu64
                                    ",\"tokens\":%" PRIu64 ",\"prompt_tokens_evaluated\":%" PRIu64 ",\"prompt_tokens_reused\":%" PRIu64 ",\"drafted\":%" PRIu64
                                    ",\"accepted\":%" PRIu64 ",\"preempted\":%" PRIu64 ",\"kept\":%zu,\"kept_bytes\":%zu,\"idle\":%.*s}",
                                    s->draining ? "draining" : "ok", l.step_ms, l.busy, l.waiting, s->config->model.slots, l.wait_ms, l.steps, l.tokens,
                                    l.read, l.reused, l.drafted, l.accepted, l.preempted, l.kept, l.kept_bytes, STR_ARG(idle)));
    else
        serve_answer(r, 503, arena_printf(a, "{\"status\":\"loading\",\"progress\":%.3f}", engine_progress(s->engine)));
}

static void serve_props(struct serve *s, struct http_req *r)
{
    if (s->known)
        serve_answer(r, 200, buf_str(&s->props));
    else
        serve_answer_error(r, ERR_LOADING, STR_NONE, STR_NONE);
}

static void serve_chat(struct serve *s, struct http_req *r) { serve_generate(s, r, OP_CHAT); }
static void serve_completion(struct serve *s, struct http_req *r) { serve_generate(s, r, OP_COMPLETION); }

static const struct route { str method, path; void (*run)(struct serve *, struct http_req *); } routes[] = {
    { S("POST"), S("/v1/chat/completions"), serve_chat },
    { S("POST"), S("/v1/completions"),      serve_completion },
    { S("GET"),  S("/v1/models"),           serve_models },
    { S("GET"),  S("/health"),              serve_health },
    { S("GET"),  S("/props"),               serve_props },
    { S("POST"), S("/v1/embeddings"),       serve_embed },
    { S("POST"), S("/v1/count"),            serve_count },
    { S("POST"), S("/tokenize"),            serve_tokenize },
    { S("POST"), S("/detokenize"),          serve_detokenize },
};

static void serve_on_request(void *ctx, struct http_req *r)
{
    struct serve *s = ctx;
    const struct http_head *h = http_req_head(r);
    bool known = false;
    if (!http_req_via_unix(r) || strcmp(http_req_peer(r), s->peer) != 0) {
        serve_answer_error(r, ERR_FORBIDDEN, S("this engine answers only the user it runs as"), STR_NONE);
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
    serve_answer_error(r, known ? ERR_METHOD : ERR_NOTFOUND, STR_NONE, STR_NONE);
}

static void serve_on_gone(void *ctx, struct http_req *r)
{
    struct serve_job *j = http_req_data(r);
    if (j)
        j->on_gone(ctx, j);
}

static void serve_on_drain(void *ctx, struct http_req *r)
{
    struct serve_job *j = http_req_data(r);
    if (j && j->on_drain)
        j->on_drain(ctx, j);
}

uint64_t serve_name_hash(str name)
{
    struct digest d = sha256_of(name);
    uint64_t h;
    memcpy(&h, d.b, sizeof h);
    return h;
}

void serve_news(struct serve *s, struct engine_job *j) { ((struct serve_job *)j)->on_news(s, (struct serve_job *)j); }

enum err serve_may_submit(struct serve *s, size_t jobs)
{
    if (s->draining)
        return ERR_ENGINE;
    if (engine_state(s->engine) != ENGINE_READY)
        return ERR_LOADING;
    return s->calls + jobs > (size_t)s->config->model.slots + ENGINE_MAX_WAITING ? ERR_BUSY : ERR_OK;
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
        serve_news(s, j);
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
static void serve_heads_closed(struct io_timer *t) { serve_handle_closed((struct serve *)((char *)t - offsetof(struct serve, heads))); }
static void serve_term_closed(struct io_signal *g) { serve_handle_closed((struct serve *)((char *)g - offsetof(struct serve, term))); }
static void serve_interrupt_closed(struct io_signal *g) { serve_handle_closed((struct serve *)((char *)g - offsetof(struct serve, interrupt))); }

/* The server is closed: no request is left, so the jobs' memory may go once the inference thread has ended. */
static void serve_server_closed(void *ctx)
{
    struct serve *s = ctx;
    s->handles += 5;
    io_wake_close(&s->wake, serve_wake_closed);
    io_timer_close(&s->drain, serve_timer_closed);
    io_timer_close(&s->heads, serve_heads_closed);
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
        serve_news(s, j);
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
    io_timer_init(s->loop, &s->heads, serve_on_heads);
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
    grammar_cache_free(&s.grammars);
    io_loop_free(s.loop);
    buf_free(&s.facts);
    buf_free(&s.props);
    if (why[0])
        fprintf(stderr, "error: %s\n", why);
    return s.status;
}
