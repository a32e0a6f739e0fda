/* Embeddings and the questions about tokens: what needs the tokenizer and no generation. */
#include "infer/serve_state.h"

#include "infer/embedder.h"
#include "infer/prompt.h"

#include <math.h>

enum { INPUTS_MAX = 2048 };             /* OpenAI's most for one request */

/* ---- embeddings ---- */

struct embedding {
    struct serve_job sj;                /* first: news come as this */
    struct http_req *req, *held;        /* req NULL: the client has left */
    bool base64;
    size_t size;                        /* numbers of a vector, as asked for */
};

static void put_base64(struct json_out *o, const float *v, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)v;          /* little-endian, as x86 and ARM have it */
    size_t bytes = n * sizeof *v;
    struct buf b = { .max = 4 * bytes / 3 + 8 };
    for (size_t i = 0; i < bytes; i += 3) {
        unsigned three = (unsigned)p[i] << 16 | (i + 1 < bytes ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < bytes ? p[i + 2] : 0);
        char four[4] = { digits[three >> 18], digits[three >> 12 & 63], i + 1 < bytes ? digits[three >> 6 & 63] : '=', i + 2 < bytes ? digits[three & 63] : '=' };
        (void)buf_put(&b, str_slice(four, 4));
    }
    json_put_str(o, buf_str(&b));
    buf_free(&b);
}

/* A vector cut to fewer dimensions has length 1 again (OpenAI API reference, "dimensions"). */
static void put_vector(struct json_out *o, float *v, size_t size, bool base64)
{
    double sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += (double)v[i] * v[i];
    for (size_t i = 0; i < size && sum > 0; i++)
        v[i] = (float)(v[i] / sqrt(sum));
    if (base64) {
        put_base64(o, v, size);
        return;
    }
    char number[32];
    json_open(o, '[');
    for (size_t i = 0; i < size; i++)
        json_put_raw(o, str_slice(number, (size_t)snprintf(number, sizeof number, "%.9g", (double)v[i])));      /* 9 digits are a float */
    json_close(o, ']');
}

static void answer_embedding(struct serve *s, struct embedding *m)
{
    const struct engine_job *j = &m->sj.job;
    size_t whole = embedder_size(engine_model(s->engine));
    int64_t tokens = 0;
    struct buf b = { .max = REPLY_MAX };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("object"));
    json_put_str(&o, S("list"));
    json_put_key(&o, S("data"));
    json_open(&o, '[');
    for (size_t i = 0; i < j->n_inputs; i++) {
        json_open(&o, '{');
        json_put_key(&o, S("object"));
        json_put_str(&o, S("embedding"));
        json_put_key(&o, S("index"));
        json_put_i64(&o, (int64_t)i);
        json_put_key(&o, S("embedding"));
        put_vector(&o, j->vectors + i * whole, m->size, m->base64);
        json_close(&o, '}');
        tokens += (int64_t)j->inputs[i].n;
    }
    json_close(&o, ']');
    json_put_key(&o, S("model"));
    json_put_str(&o, str_of(s->config->name));
    json_put_key(&o, S("usage"));
    json_open(&o, '{');
    json_put_key(&o, S("prompt_tokens"));
    json_put_i64(&o, tokens);
    json_put_key(&o, S("total_tokens"));
    json_put_i64(&o, tokens);
    json_close(&o, '}');
    json_close(&o, '}');
    if (o.err == ERR_OK)
        serve_answer(m->req, 200, buf_str(&b));
    else
        serve_answer_error(m->req, o.err, STR_NONE, STR_NONE);
    buf_free(&b);
}

static void on_news(struct serve *s, struct serve_job *j)
{
    struct embedding *m = (struct embedding *)j;
    struct buf none = { .max = 0 };
    bool done;
    (void)engine_take(s->engine, &j->job, &none, NULL, &done);
    if (!done)
        return;
    s->calls--;
    if (m->req && j->job.err == ERR_OK)
        answer_embedding(s, m);
    else if (m->req)
        serve_answer_error(m->req, j->job.err == ERR_CLIENT ? ERR_ENGINE : j->job.err, STR_NONE, STR_NONE);     /* the client is still here: it is the engine that ends */
    http_req_release(m->held);          /* and with it the job */
}

static void on_gone(struct serve *s, struct serve_job *j)
{
    struct embedding *m = (struct embedding *)j;
    http_req_set_data(m->req, NULL);
    m->req = NULL;
    engine_cancel(s->engine, &j->job);
}

/* A text, or a list of token ids. */
static enum err read_input(struct serve *s, struct arena *a, json v, struct token_list *out, struct wire_error *why)
{
    const struct model *m = engine_model(s->engine);
    struct prompt_limits lim = { .context = embedder_max_tokens(m) + 1, .longest_token = m->limits.longest_token };
    str text;
    int64_t id;
    *why = (struct wire_error){ ERR_SYNTAX, S("'input' must be a text, a list of texts, a list of token ids, or a list of such lists"), S("input") };
    if (json_type(v) == JSON_STRING) {
        if (json_text(a, v, &text) != ERR_OK)
            return ERR_LIMIT;
        *why = (struct wire_error){ ERR_OK, STR_NONE, STR_NONE };
        enum err e = template_text(a, m->vocab, &lim, true, text, out, why);
        if (e == ERR_OK && !out->n) {
            *why = (struct wire_error){ ERR_RANGE, S("an input is empty"), S("input") };
            return ERR_RANGE;
        }
        return e;
    }
    size_t n = json_type(v) == JSON_ARRAY ? json_count(v) : 0;
    if (!n)
        return ERR_SYNTAX;
    if (n > embedder_max_tokens(m)) {
        *why = (struct wire_error){ ERR_CONTEXT, STR_NONE, S("input") };
        return ERR_CONTEXT;
    }
    *out = (struct token_list){ .p = arena_new(a, int32_t, n) };
    for (json t = json_first(v); out->p && json_type(t) != JSON_NONE; t = json_next(t)) {
        if (!json_i64(t, &id) || id < 0 || id >= engine_n_vocab(s->engine))
            return ERR_SYNTAX;
        out->p[out->n++] = (int32_t)id;
    }
    return out->p ? ERR_OK : ERR_LIMIT;
}

static enum err read_inputs(struct serve *s, struct arena *a, json v, struct embedding *m, struct wire_error *why)
{
    bool many = json_type(v) == JSON_ARRAY && json_type(json_first(v)) != JSON_NUMBER;
    size_t n = many ? json_count(v) : 1;
    struct token_list *list = arena_new(a, struct token_list, n + 1);
    if (n < 1 || n > INPUTS_MAX) {
        *why = (struct wire_error){ ERR_RANGE, S("'input' must hold 1 to 2048 texts"), S("input") };
        return ERR_RANGE;
    }
    if (!list)
        return ERR_LIMIT;
    json one = many ? json_first(v) : v;
    for (size_t i = 0; i < n; i++, one = json_next(one)) {
        enum err e = read_input(s, a, one, &list[i], why);
        if (e != ERR_OK)
            return e;
    }
    m->sj.job.inputs = list;
    m->sj.job.n_inputs = n;
    m->sj.job.vectors = arena_new(a, float, n * embedder_size(engine_model(s->engine)));
    return m->sj.job.vectors ? ERR_OK : ERR_LIMIT;
}

static enum err read_embedding(struct serve *s, struct http_req *r, struct embedding *m, struct wire_error *why)
{
    struct arena *a = http_req_arena(r);
    json v, format, dimensions;
    int64_t size = (int64_t)embedder_size(engine_model(s->engine));
    if (json_parse(a, http_req_body(r), &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT) {
        *why = (struct wire_error){ ERR_SYNTAX, S("the body must be a JSON object"), STR_NONE };
        return ERR_SYNTAX;
    }
    format = json_member(v, S("encoding_format"));
    dimensions = json_member(v, S("dimensions"));
    m->base64 = json_is(format, S("base64"));
    m->size = (size_t)size;
    if (json_type(format) != JSON_NONE && json_type(format) != JSON_NULL && !m->base64 && !json_is(format, S("float"))) {
        *why = (struct wire_error){ ERR_RANGE, S("'encoding_format' must be float or base64"), S("encoding_format") };
        return ERR_RANGE;
    }
    if (json_type(dimensions) != JSON_NONE && json_type(dimensions) != JSON_NULL) {
        int64_t asked;
        if (!json_i64(dimensions, &asked) || asked < 1 || asked > size) {
            *why = (struct wire_error){ ERR_RANGE, arena_printf(a, "'dimensions' must be from 1 to %lld, what this model has", (long long)size), S("dimensions") };
            return ERR_RANGE;
        }
        m->size = (size_t)asked;
    }
    return read_inputs(s, a, json_member(v, S("input")), m, why);
}

void serve_embed(struct serve *s, struct http_req *r)
{
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct embedding *m = arena_new(http_req_arena(r), struct embedding, 1);
    enum err e = m ? serve_may_submit(s, 1) : ERR_LIMIT;
    if (e == ERR_OK)
        e = read_embedding(s, r, m, &why);
    if (e == ERR_OK) {
        m->sj.on_news = on_news;
        m->sj.on_gone = on_gone;
        m->req = m->held = r;
        e = engine_submit(s->engine, &m->sj.job);
    }
    if (e == ERR_BUSY) {
        serve_answer_busy(s, r);
        return;
    }
    if (e != ERR_OK) {
        serve_answer_error(r, e, why.message, why.param);
        return;
    }
    s->calls++;
    http_req_hold(r);
    http_req_set_data(r, &m->sj);
}

/* ---- tokens ---- */

/* llama-server's word for it, or vLLM's. */
static json text_of(json v)
{
    json content = json_member(v, S("content"));
    return json_type(content) == JSON_NONE ? json_member(v, S("prompt")) : content;
}

void serve_tokenize(struct serve *s, struct http_req *r)
{
    struct arena *a = http_req_arena(r);
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct token_list t;
    struct json_out o;
    struct buf b;
    str text;
    json v;
    if (!s->known) {
        serve_answer_error(r, ERR_LOADING, STR_NONE, STR_NONE);
        return;
    }
    const struct model *m = engine_model(s->engine);
    struct prompt_limits lim = { .context = MODEL_MAX_CONTEXT, .longest_token = m->limits.longest_token };
    if (json_parse(a, http_req_body(r), &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_text(a, text_of(v), &text) != ERR_OK) {
        serve_answer_error(r, ERR_SYNTAX, S("a JSON object with a string 'content' (or 'prompt') is expected"), S("content"));
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
        serve_answer(r, 200, buf_str(&b));
    else
        serve_answer_error(r, e, why.message, why.param);
    buf_free(&b);
}

static enum err put_pieces(const struct model *m, json tokens, struct buf *text)
{
    for (json t = json_first(tokens); json_type(t) != JSON_NONE; t = json_next(t)) {
        int64_t id;
        char piece[1024];
        if (!json_i64(t, &id) || id < 0 || id >= llama_vocab_n_tokens(m->vocab))
            return ERR_RANGE;
        int32_t n = llama_token_to_piece(m->vocab, (int32_t)id, piece, sizeof piece, 0, true);
        enum err e = buf_put(text, str_slice(piece, n > 0 ? (size_t)n : 0));
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

void serve_detokenize(struct serve *s, struct http_req *r)
{
    struct arena *a = http_req_arena(r);
    struct buf text = { .max = REPLY_MAX / 8 }, b = { .max = REPLY_MAX };
    struct json_out o;
    json v;
    if (!s->known) {
        serve_answer_error(r, ERR_LOADING, STR_NONE, STR_NONE);
        return;
    }
    if (json_parse(a, http_req_body(r), &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(json_member(v, S("tokens"))) != JSON_ARRAY) {
        serve_answer_error(r, ERR_SYNTAX, S("a JSON object with an array 'tokens' is expected"), S("tokens"));
        return;
    }
    enum err e = put_pieces(engine_model(s->engine), json_member(v, S("tokens")), &text);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("content"));
    json_put_str(&o, buf_str(&text));           /* bytes that are no characters become U+FFFD */
    json_put_key(&o, S("prompt"));
    json_put_str(&o, buf_str(&text));
    json_close(&o, '}');
    e = e == ERR_OK ? o.err : e;
    if (e == ERR_OK)
        serve_answer(r, 200, buf_str(&b));
    else
        serve_answer_error(r, e, e == ERR_RANGE ? S("'tokens' must be ids of this model's tokens") : STR_NONE, S("tokens"));
    buf_free(&text);
    buf_free(&b);
}

/* How many tokens a chat's prompt has, template included: the body is that of a chat. */
void serve_count(struct serve *s, struct http_req *r)
{
    struct arena *a = http_req_arena(r);
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct call *c = arena_new(a, struct call, 1);
    struct tool_plan plan;
    struct token_list t;
    if (!c || !s->known) {
        serve_answer_error(r, c ? ERR_LOADING : ERR_LIMIT, STR_NONE, STR_NONE);
        return;
    }
    const struct model *m = engine_model(s->engine);
    struct prompt_limits lim = { .context = MODEL_MAX_CONTEXT, .longest_token = m->limits.longest_token };
    enum err e = openai_decode(a, OP_CHAT, http_req_body(r), c, &why);
    if (e == ERR_OK)
        e = prompt_of_call(a, m, &lim, &s->rng, c, &plan, &t, &why);
    if (e == ERR_OK)
        serve_answer(r, 200, arena_printf(a, "{\"input_tokens\":%zu}", t.n));
    else
        serve_answer_error(r, e, why.message, why.param);
}
