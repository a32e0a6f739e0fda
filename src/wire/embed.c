/* Vectors: from one shape into the other. */
#include "wire/embed.h"

#include "wire/codec.h"

/* ---- requests ---- */

static enum err check_input(struct arena *a, const struct call *c, const char *name, struct wire_error *why)
{
    json one = json_type(c->input) == JSON_ARRAY ? json_first(c->input) : c->input;
    bool ids = c->dialect == DIALECT_OPENAI && (json_type(one) == JSON_NUMBER || json_type(one) == JSON_ARRAY);
    if (json_type(c->input) == JSON_STRING)
        return ERR_OK;
    if (json_type(c->input) != JSON_ARRAY || !json_count(c->input))
        return codec_bad(a, why, ERR_SYNTAX, name, "must be a text, or a list that is not empty");
    for (; json_type(one) != JSON_NONE; one = json_next(one))
        if (json_type(one) != JSON_STRING && !ids)
            return codec_bad(a, why, ERR_SYNTAX, name, "must be a text or a list of texts");
    return ERR_OK;
}

static enum err decode(struct arena *a, enum dialect d, bool old, str body, struct call *out, struct wire_error *why)
{
    const char *name = old ? "prompt" : "input";
    *out = (struct call){ .dialect = d, .op = OP_EMBEDDING, .body = body, .generate = old };
    params_init(&out->params);
    enum err e = codec_root(a, out, why);
    if (e)
        return e;
    json model = json_member(out->root, S("model")), format = json_member(out->root, S("encoding_format"));
    if (!codec_absent(model) && (e = json_text(a, model, &out->model)))
        return e == ERR_SYNTAX ? codec_bad(a, why, e, "model", "must be a string") : e;
    out->input = json_member(out->root, str_of(name));
    out->base64 = d == DIALECT_OPENAI && json_is(format, S("base64"));
    if (d == DIALECT_OPENAI && !codec_absent(format) && !out->base64 && !json_is(format, S("float")))
        return codec_bad(a, why, ERR_RANGE, "encoding_format", "must be float or base64");
    if (old && json_type(out->input) != JSON_STRING)
        return codec_bad(a, why, ERR_SYNTAX, "prompt", "must be a text");
    return check_input(a, out, name, why);
}

enum err embed_decode(struct arena *a, enum dialect d, bool old, str body, struct call *out, struct wire_error *why)
{
    enum err e = decode(a, d, old, body, out, why);
    return codec_end_why(a, e, why);
}

static enum err translate(struct arena *a, const struct call *c, enum dialect to, str model_id, struct buf *out, struct wire_error *why)
{
    struct json_out o;
    json one = json_type(c->input) == JSON_ARRAY ? json_first(c->input) : c->input, dimensions = json_member(c->root, S("dimensions"));
    if (to == DIALECT_OLLAMA && json_type(one) != JSON_STRING)
        return codec_bad(a, why, ERR_UNSUPPORTED, "input", "Ollama takes texts, no token ids");
    json_out_init(&o, out);
    json_open(&o, '{');
    json_put_key(&o, S("model"));
    json_put_str(&o, model_id);
    json_put_key(&o, S("input"));
    json_put_raw(&o, json_span(c->input));
    if (!codec_absent(dimensions)) {
        json_put_key(&o, S("dimensions"));
        json_put_raw(&o, json_span(dimensions));
    }
    if (to == DIALECT_OPENAI) {
        json_put_key(&o, S("encoding_format"));
        json_put_str(&o, S("float"));
    }
    json_close(&o, '}');
    return o.err;
}

enum err embed_translate(struct arena *a, const struct call *c, enum dialect to, str model_id, struct buf *out, struct wire_error *why)
{
    enum err e = translate(a, c, to, model_id, out, why);
    return codec_end_why(a, e, why);
}

/* ---- replies ---- */

/* The list of what holds a vector each: OpenAI's objects, or Ollama's arrays. */
static json vectors_of(enum dialect from, json v) { return json_member(v, from == DIALECT_OPENAI ? S("data") : S("embeddings")); }
static json vector_of(enum dialect from, json item) { return from == DIALECT_OPENAI ? json_member(item, S("embedding")) : item; }

static enum err read_vectors(struct arena *a, struct arena *scratch, enum dialect from, str body, struct reply *r)
{
    json v, usage;
    arena_reset(scratch);
    if (json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return ERR_UPSTREAM;
    json list = vectors_of(from, v), old = json_member(v, S("embedding"));
    if (!json_count(list) && !(from == DIALECT_OLLAMA && json_type(old) == JSON_ARRAY))
        return ERR_UPSTREAM;
    for (json item = json_first(list); json_type(item) != JSON_NONE; item = json_next(item)) {
        enum json_type t = json_type(vector_of(from, item));
        if (t != JSON_ARRAY && !(t == JSON_STRING && from == DIALECT_OPENAI))
            return ERR_UPSTREAM;
    }
    usage = json_member(v, S("usage"));
    codec_tokens(from == DIALECT_OPENAI ? json_member(usage, S("prompt_tokens")) : json_member(v, S("prompt_eval_count")), &r->prompt_tokens);
    r->completion_tokens = 0;
    codec_note(a, scratch, json_member(v, S("model")), &r->model);
    r->finished = r->done = r->started = true;
    return ERR_OK;
}

enum err embed_read(struct arena *a, struct arena *scratch, enum dialect from, str body, struct reply *r)
{
    enum err e = read_vectors(a, scratch, from, body, r);
    return codec_end(a, scratch, e);
}

/* Four bytes of a float each, little-endian. */
static void put_base64(struct json_out *o, json vector)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf b = { .max = 64u << 20 };
    uint32_t three = 0;
    int have = 0;
    enum err e = ERR_OK;
    for (json x = json_first(vector); json_type(x) != JSON_NONE && !e; x = json_next(x)) {
        double number;
        float f;
        uint32_t bits;
        if (!json_f64(x, &number)) {
            e = ERR_UPSTREAM;
            break;
        }
        f = (float)number;
        memcpy(&bits, &f, sizeof bits);
        for (int k = 0; k < 4 && !e; k++) {
            three = three << 8 | (bits >> 8 * k & 0xFF);
            if (++have < 3)
                continue;
            e = buf_put(&b, (str){ (char[]){ digits[three >> 18 & 63], digits[three >> 12 & 63], digits[three >> 6 & 63], digits[three & 63] }, 4 });
            three = 0;
            have = 0;
        }
    }
    if (have && !e) {
        three <<= 8 * (3 - have);
        e = buf_put(&b, (str){ (char[]){ digits[three >> 18 & 63], digits[three >> 12 & 63], have == 2 ? digits[three >> 6 & 63] : '=', '=' }, 4 });
    }
    json_put_str(o, buf_str(&b));
    buf_free(&b);
    if (e)
        o->err = e;
}

static void write_openai(struct json_out *o, const struct call *c, enum dialect from, json list, str model, const struct reply *r)
{
    int64_t i = 0, tokens = r->prompt_tokens == TOKENS_UNKNOWN ? 0 : r->prompt_tokens;
    json_open(o, '{');
    json_put_key(o, S("object"));
    json_put_str(o, S("list"));
    json_put_key(o, S("data"));
    json_open(o, '[');
    for (json item = json_first(list); json_type(item) != JSON_NONE; item = json_next(item), i++) {
        json_open(o, '{');
        json_put_key(o, S("object"));
        json_put_str(o, S("embedding"));
        json_put_key(o, S("index"));
        json_put_i64(o, i);
        json_put_key(o, S("embedding"));
        if (c->base64)
            put_base64(o, vector_of(from, item));
        else
            json_put_raw(o, json_span(vector_of(from, item)));
        json_close(o, '}');
    }
    json_close(o, ']');
    json_put_key(o, S("model"));
    json_put_str(o, model);
    json_put_key(o, S("usage"));
    json_open(o, '{');
    json_put_key(o, S("prompt_tokens"));
    json_put_i64(o, tokens);
    json_put_key(o, S("total_tokens"));
    json_put_i64(o, tokens);
    json_close(o, '}');
    json_close(o, '}');
}

static void write_ollama(struct json_out *o, const struct call *c, enum dialect from, json list, str model, const struct reply *r)
{
    json_open(o, '{');
    if (c->generate) {
        json_put_key(o, S("embedding"));
        json_put_raw(o, json_span(vector_of(from, json_first(list))));
        json_close(o, '}');
        return;
    }
    json_put_key(o, S("model"));
    json_put_str(o, model);
    json_put_key(o, S("embeddings"));
    json_open(o, '[');
    for (json item = json_first(list); json_type(item) != JSON_NONE; item = json_next(item))
        json_put_raw(o, json_span(vector_of(from, item)));
    json_close(o, ']');
    if (r->prompt_tokens != TOKENS_UNKNOWN) {
        json_put_key(o, S("prompt_eval_count"));
        json_put_i64(o, r->prompt_tokens);
    }
    json_close(o, '}');
}

static enum err write_vectors(struct arena *scratch, const struct call *c, enum dialect from, str body, str model, const struct reply *r, struct buf *out)
{
    json v;
    struct json_out o;
    arena_reset(scratch);
    if (json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return ERR_UPSTREAM;
    json list = vectors_of(from, v);
    for (json item = json_first(list); json_type(item) != JSON_NONE; item = json_next(item)) {
        json vector = vector_of(from, item);
        if (json_type(vector) != JSON_ARRAY || json_type(json_first(vector)) != JSON_NUMBER)
            return ERR_UPSTREAM;        /* base64, which was not asked for; of a model without pooling a vector for each token */
    }
    json_out_init(&o, out);
    (c->dialect == DIALECT_OPENAI ? write_openai : write_ollama)(&o, c, from, list, model, r);
    return o.err;
}

enum err embed_write(struct arena *scratch, const struct call *c, enum dialect from, str body, str model, const struct reply *r, struct buf *out)
{
    enum err e = write_vectors(scratch, c, from, body, model, r, out);
    return codec_end(scratch, NULL, e);
}
