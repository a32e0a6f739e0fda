/* Requests in, jobs to the inference thread; news out of it, bytes to the clients. All on the loop's thread.
 *
 *   request ─ decode, tokenize, submit ─► one job for each choice ─ news ─► text ─► reply or chunks
 *
 * A call keeps its request's memory (http_req_hold) until its jobs are done, also when the client has left before. */
#include "infer/serve_state.h"

#include "core/log.h"
#include "infer/tell.h"
#include "infer/probs.h"
#include "infer/prompt.h"

/* A stream's head leaves with its first token, or after this time without one: until then a failure has a status of its own, and after it
 * whoever hands the stream on can send signs of life, however long the prompt or the queue is. */
#define HEAD_AFTER_US 2000000

struct choice {
    struct serve_job sj;                /* first: news come as this */
    struct generation *call;
    int64_t index;
    struct buf text, probs;             /* what came and is not written yet; a whole reply's stays until the end */
    struct telling answer;               /* what becomes of it */
    size_t text_bytes, prob_bytes;      /* of the answer's text so far, and of the tokens whose probabilities were written */
    int64_t prob_characters;
    bool done;
};

struct generation {
    struct http_req *req;               /* NULL: the client has left */
    struct http_req *held;
    struct openai_writer writer;
    struct buf out;
    struct choice *choices;
    size_t n, left;                     /* left: jobs that are not done */
    struct cached_grammar *grammar;     /* NULL: the answer may be anything */
    struct tool_plan tools;
    int32_t top;                        /* probabilities of so many alternatives; -1: none */
    bool stream, headed, started, failed;
    struct generation *next_silent;
    int64_t asked_us;
};

/* ---- ending ---- */

static void silent_remove(struct serve *s, struct generation *g)
{
    for (struct generation **at = &s->silent; *at; at = &(*at)->next_silent)
        if (*at == g) {
            *at = g->next_silent;
            return;
        }
}

static void generation_free(struct serve *s, struct generation *g)
{
    struct http_req *held = g->held;
    silent_remove(s, g);
    for (size_t i = 0; i < g->n; i++) {
        buf_free(&g->choices[i].text);
        buf_free(&g->choices[i].probs);
        tell_free(&g->choices[i].answer);
    }
    buf_free(&g->out);
    grammar_cache_put(g->grammar);
    http_req_release(held);             /* the call itself lay in its arena */
}

static void cancel_jobs(struct serve *s, struct generation *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (!g->choices[i].done)
            engine_cancel(s->engine, &g->choices[i].sj.job);
}

static void forget_client(struct serve *s, struct generation *g)
{
    http_req_set_data(g->req, NULL);
    g->req = NULL;
    cancel_jobs(s, g);
}

/* Sends what the writers left in `out`. A slow reader pauses the generation, one that has gone ends it. */
static void flush(struct serve *s, struct generation *g)
{
    enum err e = http_reply_write(g->req, buf_str(&g->out));
    buf_clear(&g->out);
    for (size_t i = 0; e == ERR_AGAIN && i < g->n; i++)
        atomic_store(&g->choices[i].sj.job.paused, true);
    if (e != ERR_OK && e != ERR_AGAIN)
        forget_client(s, g);
}

/* ---- probabilities ---- */

/* Those of tokens that begin in the text that has come so far: a stop string's tokens never do. Empty: none. */
static enum err take_probs(struct serve *s, struct choice *c, struct buf *out)
{
    struct generation *g = c->call;
    size_t size = (size_t)(1 + g->top) * sizeof(struct token_prob), n = 0;
    const struct llama_vocab *vocab = engine_model(s->engine)->vocab;
    const struct token_prob *list = (const void *)c->probs.p;
    if (g->top < 0)
        return ERR_OK;
    while ((n + 1) * size <= c->probs.n && c->prob_bytes < c->text_bytes)
        c->prob_bytes += probs_token_bytes(vocab, list[n++ * (size_t)(1 + g->top)].token);
    if (!n)
        return ERR_OK;
    enum err e = probs_write(out, vocab, g->writer.is_chat, g->top, list, n, &c->prob_characters);
    memmove(c->probs.p, c->probs.p + n * size, c->probs.n - n * size);
    c->probs.n -= n * size;
    return e;
}

/* ---- streams ---- */

static struct openai_usage usage_of(const struct generation *g)
{
    const struct engine_job *first = &g->choices[0].sj.job;
    struct openai_usage u = { .prompt = (int64_t)first->tokens.n, .cached = first->reused };
    for (size_t i = 0; i < g->n; i++) {
        const struct engine_job *j = &g->choices[i].sj.job;
        u.completion += j->made;
        u.accepted += j->accepted;
        u.rejected += j->drafted - j->accepted;
    }
    return u;
}

static enum err stream_head(struct serve *s, struct generation *g)
{
    if (g->headed)
        return ERR_OK;
    g->headed = true;
    silent_remove(s, g);
    return http_reply_start(g->req, 200, S("text/event-stream"), S("Cache-Control: no-cache\r\n"));
}

/* The streams in the list are few, and those that left it are no longer looked at. */
void serve_on_heads(struct io_timer *t)
{
    struct serve *s = (struct serve *)((char *)t - offsetof(struct serve, heads));
    int64_t now = clock_mono_us(&clock_system), first = INT64_MAX;
    for (struct generation *g = s->silent, *next; g; g = next) {
        int64_t left = g->asked_us + HEAD_AFTER_US - now;
        next = g->next_silent;
        if (left > 0)
            first = left < first ? left : first;
        else if (!g->req)
            silent_remove(s, g);
        else if (stream_head(s, g) != ERR_OK || http_reply_write(g->req, STR_NONE) == ERR_CLIENT)
            forget_client(s, g);
    }
    if (s->silent)
        io_timer_start(t, first / 1000 + 1);
}

static void silent_add(struct serve *s, struct generation *g)
{
    bool first = !s->silent;
    g->asked_us = clock_mono_us(&clock_system);
    g->next_silent = s->silent;
    s->silent = g;
    if (first)
        io_timer_start(&s->heads, HEAD_AFTER_US / 1000);
}

static enum err stream_start(struct serve *s, struct generation *g)
{
    if (g->started)
        return ERR_OK;
    g->started = true;
    enum err e = stream_head(s, g);
    for (size_t i = 0; i < g->n && e == ERR_OK && g->writer.is_chat; i++)
        e = openai_write_first(&g->out, &g->writer, (int64_t)i);
    return e;
}

static enum err stream_choice(struct serve *s, struct choice *c)
{
    struct generation *g = c->call;
    struct buf probs = { .max = REPLY_MAX };
    enum err e = stream_start(s, g);
    if (e == ERR_OK && c->text.n) {
        c->text_bytes += c->text.n;
        e = take_probs(s, c, &probs);
        if (e == ERR_OK)
            e = tell_put(&c->answer, buf_str(&c->text), buf_str(&probs));
    }
    buf_free(&probs);
    buf_clear(&c->text);
    str finish = c->done ? str_of(c->sj.job.finish) : STR_NONE;
    if (e == ERR_OK && c->done)
        e = tell_end(&c->answer, &finish);
    if (e == ERR_OK && c->done)
        e = openai_write_finish(&g->out, &g->writer, c->index, finish);
    return e;
}

static enum err stream_end(struct generation *g)
{
    struct openai_usage usage = usage_of(g);
    enum err e = g->writer.include_usage ? openai_write_usage(&g->out, &g->writer, &usage) : ERR_OK;
    return e == ERR_OK ? openai_write_done(&g->out) : e;
}

/* One choice that fails fails the call: half of an answer must not look like a whole one. */
static void fail(struct serve *s, struct generation *g, enum err why)
{
    struct http_req *r = g->req;
    g->failed = true;
    if (why == ERR_CLIENT)              /* the client is still here: it is the engine that ends */
        why = ERR_ENGINE;
    if (g->stream && g->headed) {
        (void)http_reply_write(r, openai_error_event(http_req_arena(r), why, STR_NONE));
        forget_client(s, g);
        http_reply_end(r);
    } else {
        forget_client(s, g);
        serve_answer_error(r, why, STR_NONE, STR_NONE);
    }
}

static void stream(struct serve *s, struct choice *c)
{
    struct generation *g = c->call;
    enum err e = stream_choice(s, c);
    if (e == ERR_OK && g->left == 0)
        e = stream_end(g);
    if (e != ERR_OK) {                  /* out of memory, or the client is gone */
        struct http_req *r = g->req;
        forget_client(s, g);
        http_reply_abort(r);
        return;
    }
    flush(s, g);
    if (g->left == 0 && g->req)
        http_reply_end(g->req);
}

/* ---- whole replies ---- */

static void whole(struct serve *s, struct generation *g)
{
    struct openai_usage usage = usage_of(g);
    struct openai_choice list[SAMPLING_MAX_CHOICES];
    struct buf probs[SAMPLING_MAX_CHOICES];
    enum err e = ERR_OK;
    for (size_t i = 0; i < g->n; i++) {
        struct choice *c = &g->choices[i];
        buf_init(&probs[i], REPLY_MAX);
        str finish = str_of(c->sj.job.finish);
        c->text_bytes = c->text.n;
        e = e == ERR_OK ? take_probs(s, c, &probs[i]) : e;
        e = e == ERR_OK ? tell_put(&c->answer, buf_str(&c->text), STR_NONE) : e;
        e = e == ERR_OK ? tell_end(&c->answer, &finish) : e;
        list[i] = tell_choice(&c->answer, finish, buf_str(&probs[i]));
    }
    if (e == ERR_OK)
        e = openai_write_reply(&g->out, &g->writer, list, g->n, &usage);
    if (e == ERR_OK)
        serve_answer(g->req, 200, buf_str(&g->out));
    else
        serve_answer_error(g->req, e, STR_NONE, STR_NONE);
    for (size_t i = 0; i < g->n; i++)
        buf_free(&probs[i]);
}

static void on_news(struct serve *s, struct serve_job *j)
{
    struct choice *c = (struct choice *)j;
    struct generation *g = c->call;
    enum err e = engine_take(s->engine, &j->job, &c->text, g->top >= 0 ? &c->probs : NULL, &c->done);
    if (c->done) {
        g->left--;
        s->calls--;
        log_debug("call_done", LOG_S("id", g->writer.id), LOG_C("err", err_name(j->job.err)), LOG_I("prompt", (int64_t)j->job.tokens.n), LOG_I("made", j->job.made));
        e = e == ERR_OK ? j->job.err : e;
    }
    if (!g->req)
        buf_clear(&c->text);
    else if (e != ERR_OK)
        fail(s, g, e);
    else if (g->stream)
        stream(s, c);
    else if (g->left == 0)
        whole(s, g);
    if (g->left == 0)
        generation_free(s, g);
}

static void on_gone(struct serve *s, struct serve_job *j) { forget_client(s, ((struct choice *)j)->call); }

static void on_drain(struct serve *s, struct serve_job *j)
{
    struct generation *g = ((struct choice *)j)->call;
    for (size_t i = 0; i < g->n; i++)
        if (!g->choices[i].done)
            engine_resume(s->engine, &g->choices[i].sj.job);
}

/* ---- a request becomes jobs ---- */

static enum err read_tokens(struct serve *s, struct arena *a, const struct call *c, struct tool_plan *plan, struct token_list *out, struct wire_error *why)
{
    const struct model *m = engine_model(s->engine);
    enum err e = prompt_of_call(a, m, &m->limits, &s->rng, c, plan, out, why);
    if (e == ERR_OK && out->n == 0) {
        *why = (struct wire_error){ ERR_RANGE, S("the prompt is empty"), S("prompt") };
        e = ERR_RANGE;
    }
    return e;
}

static enum err no_grammar(struct arena *a, str param, bool clients_own, enum err e, const struct gbnf_error *wrong, struct wire_error *why)
{
    str message = clients_own ? arena_printf(a, "%.*s: at byte %zu: %s", STR_ARG(param), wrong->at, wrong->what)
                              : arena_printf(a, "%.*s: cannot be honoured: %s", STR_ARG(param), wrong->what);
    *why = (struct wire_error){ e == ERR_LIMIT ? ERR_UNSUPPORTED : e, message, param };
    return why->err;
}

/* Rules for an answer that is bound by a field, by tools, or by both. *any: by none. */
static enum err write_rules(struct arena *a, const struct constraint *k, struct tool_plan *tools, struct rules *rules, bool *any, struct wire_error *why)
{
    char content[SCHEMA_NAME] = "", name[SCHEMA_NAME] = "";
    bool bound = k->kind != CONSTRAINT_NONE, on = tool_plan_is_on(tools);
    enum err e = bound ? constraint_write(a, k, rules, content, why) : ERR_OK;
    if (!e && on)
        e = tools_rules(a, tools, rules, bound ? content : NULL, name, why);
    *any = bound || *name;
    rules_put(rules, "root ::= %s\n", on ? name : content);
    if (!e && *any && (e = rules_finish(rules)))
        *why = (struct wire_error){ ERR_UNSUPPORTED, S("the schemas are too large"), k->param };
    return e == ERR_LIMIT ? ERR_UNSUPPORTED : e;
}

/* What the answer must be, compiled. */
static enum err read_grammar(struct serve *s, struct arena *a, const struct call *c, struct generation *g, struct sampling *p, struct wire_error *why)
{
    struct constraint k;
    struct rules rules;
    struct gbnf_error wrong = { 0, "" };
    bool any = true, on = tool_plan_is_on(&g->tools);
    str text = STR_NONE;
    enum err e = constraint_find(a, c, &k, why);
    if (!e && on && (k.kind == CONSTRAINT_GRAMMAR || p->top >= 0)) {
        *why = (struct wire_error){ ERR_UNSUPPORTED, S("tools cannot be offered together with a grammar or with logprobs"), k.kind == CONSTRAINT_GRAMMAR ? k.param : S("logprobs") };
        e = ERR_UNSUPPORTED;
    }
    if (e || (k.kind == CONSTRAINT_NONE && !on))
        return e;
    rules_init(&rules);
    if (k.kind == CONSTRAINT_GRAMMAR) {
        e = json_text(a, k.value, &text);
    } else {
        e = write_rules(a, &k, &g->tools, &rules, &any, why);
        text = buf_str(&rules.b);
    }
    if (!e && any && (e = grammar_cache_get(&s->grammars, text, on, &g->grammar, &wrong)))
        e = no_grammar(a, k.kind == CONSTRAINT_NONE ? S("tools") : k.param, k.kind == CONSTRAINT_GRAMMAR, e, &wrong, why);
    rules_free(&rules);
    p->shown = on ? engine_model(s->engine)->chat.marker : -1;
    if (e || !any)
        return e;
    p->grammar = grammar_cache_grammar(g->grammar);
    p->vocabulary = engine_model(s->engine)->vocabulary;
    return ERR_OK;
}

/* Who asks, and what the engine may do for it: hearth says so in fields of the head (serve.h). */
static enum err read_terms(struct serve *s, const struct http_head *h, const struct call *c, struct engine_job *j, struct wire_error *why)
{
    str share = http_get(h, S("x-hearth-share"));
    json deterministic = json_member(c->root, S("deterministic"));
    j->caller = serve_name_hash(http_get(h, S("x-hearth-caller")));
    j->shared = share.n ? serve_name_hash(share) | 1 : 0;
    j->batch = str_eq(http_get(h, S("x-hearth-priority")), S("batch"));
    j->deterministic = str_eq(http_get(h, S("x-hearth-deterministic")), S("true"));
    j->no_draft = str_eq(http_get(h, S("x-hearth-draft")), S("off"));
    j->adapter = model_adapter(engine_model(s->engine), c->model);
    if (json_type(deterministic) == JSON_NONE || json_type(deterministic) == JSON_NULL || json_bool(deterministic, &j->deterministic))
        return ERR_OK;
    *why = (struct wire_error){ ERR_SYNTAX, S("'deterministic' must be true or false"), S("deterministic") };
    return ERR_SYNTAX;
}

static enum err make_choices(struct arena *a, struct generation *g, const struct call *c, const struct engine_job *terms, const struct sampling *p, const struct token_list *tokens)
{
    g->n = (size_t)p->choices;
    g->choices = arena_new(a, struct choice, g->n);
    if (!g->choices)
        return ERR_LIMIT;
    for (size_t i = 0; i < g->n; i++) {
        struct choice *k = &g->choices[i];
        struct engine_job *j = &k->sj.job;
        *j = *terms;
        k->sj.on_news = on_news;
        k->sj.on_gone = on_gone;
        k->sj.on_drain = on_drain;
        k->call = g;
        k->index = (int64_t)i;
        buf_init(&k->text, REPLY_MAX);
        buf_init(&k->probs, REPLY_MAX);
        j->tokens = *tokens;
        j->head = tokens->head;
        j->sampling = *p;
        j->sampling.seed += (uint32_t)i;        /* of one seed, different answers, and the same ones again */
        j->max_tokens = p->max_tokens == PARAM_UNSET ? 0 : p->max_tokens > INT32_MAX ? INT32_MAX : (int32_t)p->max_tokens;
        j->stops = c->params.stop;
        j->n_stops = c->params.n_stop;
    }
    return ERR_OK;
}

static enum err read_generation(struct serve *s, struct http_req *r, enum op op, struct generation *g, struct wire_error *why)
{
    struct arena *a = http_req_arena(r);
    struct call *c = arena_new(a, struct call, 1);
    struct engine_job terms = { .head = 0 };
    struct sampling sampling;
    struct token_list tokens;
    char id[UUID_TEXT];
    if (!c)
        return ERR_LIMIT;
    enum err e = openai_decode(a, op, http_req_body(r), c, why);
    if (e == ERR_OK)
        e = read_terms(s, http_req_head(r), c, &terms, why);
    if (e == ERR_OK)
        e = sampling_read(a, c, engine_n_vocab(s->engine), &s->rng, &sampling, why);
    if (e == ERR_OK)
        e = read_tokens(s, a, c, &g->tools, &tokens, why);
    if (e == ERR_OK)
        e = read_grammar(s, a, c, g, &sampling, why);
    if (e == ERR_OK)
        e = make_choices(a, g, c, &terms, &sampling, &tokens);
    if (e != ERR_OK)
        return e;
    g->stream = c->stream;
    g->top = sampling.top;
    uuid7(&s->rng, clock_wall_us(&clock_system), id);
    g->writer = (struct openai_writer){ .id = arena_printf(a, "%s-%s", op == OP_CHAT ? "chatcmpl" : "cmpl", id), .model = str_of(s->config->name),
        .fingerprint = str_of(s->fingerprint), .created = clock_wall_us(&clock_system) / 1000000, .include_usage = c->include_usage, .is_chat = op == OP_CHAT,
        .prompt_tokens = json_type(json_member(c->root, S("hearth_prompt_tokens"))) == JSON_TRUE ? (int64_t)tokens.n : 0 };
    for (size_t i = 0; i < g->n; i++)
        tell_init(&g->choices[i].answer, &g->writer, tool_plan_is_on(&g->tools) ? &g->tools : NULL, a, &s->rng, g->stream ? &g->out : NULL, (int64_t)i);
    return g->writer.id.p ? ERR_OK : ERR_LIMIT;
}

/* All of them or none: those that the engine took before it was full are cancelled, and their news end here. */
static enum err submit(struct serve *s, struct generation *g)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < g->n; i++) {
        e = e == ERR_OK ? engine_submit(s->engine, &g->choices[i].sj.job) : e;
        g->choices[i].done = e != ERR_OK;
        g->left += e == ERR_OK;
    }
    s->calls += g->left;
    if (e != ERR_OK)
        cancel_jobs(s, g);
    return e;
}

void serve_generate(struct serve *s, struct http_req *r, enum op op)
{
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct generation *g = arena_new(http_req_arena(r), struct generation, 1);
    enum err e = g ? serve_may_submit(s, 1) : ERR_LIMIT;
    if (e == ERR_OK)
        e = read_generation(s, r, op, g, &why);
    if (e == ERR_OK)
        e = serve_may_submit(s, g->n);
    if (e == ERR_OK) {
        buf_init(&g->out, REPLY_MAX);
        g->req = g->held = r;
        e = submit(s, g);
    }
    if (g && g->left) {
        http_req_hold(r);
        if (e == ERR_OK)
            http_req_set_data(r, &g->choices[0].sj);
        else
            g->req = NULL;
        if (e == ERR_OK && g->stream)
            silent_add(s, g);
    } else if (g) {
        grammar_cache_put(g->grammar);
    }
    if (e == ERR_BUSY)
        serve_answer_busy(s, r);
    else if (e != ERR_OK)
        serve_answer_error(r, e, why.message, why.param);
}
