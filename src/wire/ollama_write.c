/* wire/ollama_write.c: what a client of Ollama's API is given. */
#include "wire/ollama.h"

#include "wire/codec.h"

enum { BODY_MAX = 64 << 20 };

static void put_number(struct json_out *o, str key, int64_t v)
{
    json_put_key(o, key);
    json_put_i64(o, v > 0 ? v : 0);
}

void ollama_writer_free(struct ollama_writer *w)
{
    if (w->init)
        answer_free(&w->kept);
    w->init = false;
}

/* ---- messages ---- */

/* Arguments are an object here; what is none (a model may write anything) is told as a text under one name. */
static void put_calls(struct arena *a, struct json_out *o, const struct answer_choice *c)
{
    bool begun = false;
    for (size_t i = 0; i < c->n; i++) {
        const struct answer_block *k = &c->blocks[i];
        str args = buf_str(&k->text);
        json v;
        if (k->kind != BLOCK_TOOL)
            continue;
        if (!begun) {
            json_put_key(o, S("tool_calls"));
            json_open(o, '[');
        }
        begun = true;
        bool object = json_parse(a, args, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_type(v) == JSON_OBJECT;
        json_open(o, '{');
        json_put_text(o, S("id"), k->id);
        json_put_key(o, S("function"));
        json_open(o, '{');
        json_put_text(o, S("name"), k->name);
        json_put_key(o, S("arguments"));
        if (object || !args.n) {
            json_put_raw(o, args.n ? args : S("{}"));
        } else {
            json_open(o, '{');
            json_put_text(o, S("raw"), args);
            json_close(o, '}');
        }
        json_close(o, '}');
        json_close(o, '}');
    }
    if (begun)
        json_close(o, ']');
}

static void line_open(struct json_out *o, struct buf *b, const struct ollama_writer *w)
{
    json_out_init(o, b);
    json_open(o, '{');
    json_put_text(o, S("model"), w->model);
    json_put_text(o, S("created_at"), w->created_at);
}

static enum err line_close(struct json_out *o, bool done)
{
    if (!done) {
        json_put_key(o, S("done"));
        json_put_bool(o, false);
    }
    json_close(o, '}');
    return o->err ? o->err : buf_putc(o->b, '\n');
}

static void put_said(struct arena *a, struct json_out *o, const struct ollama_writer *w, str text, str thinking, const struct answer_choice *calls)
{
    if (w->generate) {
        json_put_text(o, S("response"), text);
        if (thinking.n)
            json_put_text(o, S("thinking"), thinking);
        return;
    }
    json_put_key(o, S("message"));
    json_open(o, '{');
    json_put_text(o, S("role"), S("assistant"));
    json_put_text(o, S("content"), text);
    if (thinking.n)
        json_put_text(o, S("thinking"), thinking);
    if (calls)
        put_calls(a, o, calls);
    json_close(o, '}');
}

/* Nanoseconds: what hearth can know of an upstream's durations is when the first and the last token came. */
static void put_done(struct json_out *o, const struct ollama_writer *w, const struct reply *r, str finish)
{
    int64_t first = w->first_ns > w->begin_ns + w->load_ns ? w->first_ns : w->begin_ns + w->load_ns;
    json_put_text(o, S("done_reason"), str_eq(finish, S("length")) ? S("length") : S("stop"));
    json_put_key(o, S("done"));
    json_put_bool(o, true);
    put_number(o, S("total_duration"), w->now_ns - w->begin_ns);
    put_number(o, S("load_duration"), w->load_ns);
    if (r->prompt_tokens != TOKENS_UNKNOWN)
        put_number(o, S("prompt_eval_count"), r->prompt_tokens);
    put_number(o, S("prompt_eval_duration"), first - w->begin_ns - w->load_ns);
    if (r->completion_tokens != TOKENS_UNKNOWN)
        put_number(o, S("eval_count"), r->completion_tokens);
    put_number(o, S("eval_duration"), w->now_ns - first);
}

/* ---- a stream ---- */

static enum err write_line(struct ollama_writer *w, struct arena *a, struct buf *b, str text, str thinking, const struct answer_choice *calls)
{
    struct json_out o;
    line_open(&o, b, w);
    put_said(a, &o, w, text, thinking, calls);
    return line_close(&o, false);
}

static enum err write_end(struct ollama_writer *w, struct arena *a, struct buf *b, const struct reply *r)
{
    struct json_out o;
    line_open(&o, b, w);
    put_said(a, &o, w, S(""), STR_NONE, NULL);
    put_done(&o, w, r, w->finish);
    return line_close(&o, true);
}

static enum err write_delta(struct ollama_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d)
{
    if (!w->init)
        answer_init(&w->kept, a, BODY_MAX);
    w->init = true;
    if (d->choice > 0)
        return ERR_OK;
    switch (d->kind) {
    case DELTA_TEXT:
    case DELTA_REFUSAL:  return write_line(w, a, b, d->text, STR_NONE, NULL);
    case DELTA_THINKING: return d->text.n ? write_line(w, a, b, S(""), d->text, NULL) : ERR_OK;
    case DELTA_TOOL_START:
    case DELTA_TOOL_ARGS:
        answer_add(&w->kept, d);
        return w->kept.err;
    case DELTA_FINISH:
        w->finish = arena_str(a, d->text);
        return w->kept.n && !w->generate ? write_line(w, a, b, S(""), STR_NONE, &w->kept.choices[0]) : ERR_OK;
    case DELTA_END:      return write_end(w, a, b, r);
    default:             return ERR_OK;
    }
}

enum err ollama_write_delta(struct ollama_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d)
{
    enum err e = write_delta(w, a, b, r, d);
    return codec_end(a, NULL, e);
}

/* ---- a whole reply ---- */

static enum err joined(struct arena *a, const struct answer_choice *c, enum block_kind one, enum block_kind other, str *out)
{
    struct buf b;
    enum err e = ERR_OK;
    buf_init(&b, BODY_MAX);
    for (size_t i = 0; i < c->n && !e; i++)
        if (c->blocks[i].kind == one || c->blocks[i].kind == other)
            e = buf_put(&b, buf_str(&c->blocks[i].text));
    *out = e ? STR_NONE : arena_str(a, buf_str(&b));
    buf_free(&b);
    return e ? e : out->p ? ERR_OK : ERR_LIMIT;
}

static enum err write_reply(struct arena *a, struct buf *b, const struct ollama_writer *w, const struct reply *r, const struct answer *answer)
{
    static const struct answer_choice nothing;
    const struct answer_choice *c = answer->n ? &answer->choices[0] : &nothing;
    struct json_out o;
    str text, thinking;
    enum err e = joined(a, c, BLOCK_TEXT, BLOCK_REFUSAL, &text);
    if (!e)
        e = joined(a, c, BLOCK_THINKING, BLOCK_THINKING, &thinking);
    if (e)
        return e;
    line_open(&o, b, w);
    put_said(a, &o, w, text, thinking, c);
    put_done(&o, w, r, c->finish);
    json_close(&o, '}');
    return o.err;
}

enum err ollama_write_reply(struct arena *a, struct buf *b, const struct ollama_writer *w, const struct reply *r, const struct answer *answer)
{
    enum err e = write_reply(a, b, w, r, answer);
    return codec_end(a, NULL, e);
}

enum err ollama_write_loaded(struct buf *b, const struct ollama_writer *w, str reason)
{
    struct json_out o;
    line_open(&o, b, w);
    put_said(NULL, &o, w, S(""), STR_NONE, NULL);
    json_put_key(&o, S("done"));
    json_put_bool(&o, true);
    json_put_text(&o, S("done_reason"), reason);
    json_close(&o, '}');
    return o.err;
}

/* ---- errors ---- */

static str error_body(struct arena *a, str message, bool line)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_text(&o, S("error"), message);
    json_close(&o, '}');
    enum err e = o.err ? o.err : line ? buf_putc(&b, '\n') : ERR_OK;
    return codec_settle(a, &b, e, line ? S("{\"error\":\"out of memory\"}\n") : S("{\"error\":\"out of memory\"}"));
}

str ollama_error_body(struct arena *a, enum err e, str message) { return error_body(a, message.n ? message : str_of(err_text(e)), false); }
str ollama_error_line(struct arena *a, enum err e, str message) { return error_body(a, message.n ? message : str_of(err_text(e)), true); }

str ollama_error_from(struct arena *a, const struct reply *r)
{
    return error_body(a, r->error_message.n ? r->error_message : arena_printf(a, "the upstream answered with status %d", r->error_status), false);
}

/* ---- models ---- */

static void put_details(struct json_out *o, const struct ollama_model *m)
{
    json_put_key(o, S("details"));
    json_open(o, '{');
    json_put_text(o, S("parent_model"), S(""));
    json_put_text(o, S("format"), m->quantization.n ? S("gguf") : S(""));
    json_put_text(o, S("family"), m->family);
    json_put_key(o, S("families"));
    json_open(o, '[');
    if (m->family.n)
        json_put_str(o, m->family);
    json_close(o, ']');
    json_put_text(o, S("parameter_size"), m->parameter_size);
    json_put_text(o, S("quantization_level"), m->quantization);
    json_close(o, '}');
}

static void put_model(struct json_out *o, const struct ollama_model *m)
{
    json_open(o, '{');
    json_put_text(o, S("name"), m->name);
    json_put_text(o, S("model"), m->name);
    json_put_text(o, S("modified_at"), m->modified_at);
    put_number(o, S("size"), m->size);
    json_put_text(o, S("digest"), m->digest);
    put_details(o, m);
}

static str models_body(struct arena *a, const struct ollama_model *m, size_t n, bool loaded)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("models"));
    json_open(&o, '[');
    for (size_t i = 0; i < n; i++) {
        put_model(&o, &m[i]);
        if (loaded) {
            json_put_text(&o, S("expires_at"), S("2300-01-01T00:00:00Z"));   /* never: clients take a time that is past for a model that is being stopped */
            put_number(&o, S("size_vram"), 0);
            put_number(&o, S("context_length"), m[i].context);
        }
        json_close(&o, '}');
    }
    json_close(&o, ']');
    json_close(&o, '}');
    return codec_settle(a, &b, o.err, S("{\"models\":[]}"));
}

str ollama_tags_body(struct arena *a, const struct ollama_model *m, size_t n) { return models_body(a, m, n, false); }
str ollama_ps_body(struct arena *a, const struct ollama_model *m, size_t n) { return models_body(a, m, n, true); }

str ollama_show_body(struct arena *a, const struct ollama_model *m, str chat_template)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_text(&o, S("modelfile"), S(""));
    json_put_text(&o, S("parameters"), S(""));
    json_put_text(&o, S("template"), chat_template);
    json_put_text(&o, S("modified_at"), m->modified_at);
    put_details(&o, m);
    json_put_key(&o, S("model_info"));
    json_open(&o, '{');
    if (m->family.n)
        json_put_text(&o, S("general.architecture"), m->family);
    if (m->context > 0)
        put_number(&o, S("general.context_length"), m->context);
    json_close(&o, '}');
    json_put_key(&o, S("capabilities"));
    json_put_raw(&o, m->capabilities.n ? m->capabilities : S("[\"completion\"]"));
    json_close(&o, '}');
    return codec_settle(a, &b, o.err, S("{}"));
}

str ollama_version_body(struct arena *a, str version) { return arena_printf(a, "{\"version\":\"%.*s\"}", STR_ARG(version)); }
