/* wire/forward.c: the body that goes upstream where both sides speak the same: the client's bytes but for a few. */
#include "wire/codec.h"

/* The original text is walked once; runs of it that stay are slices, and what replaces a value stands between two of them. */
struct cutter {
    str *out;
    size_t n;
    const char *from, *to;              /* the run of original bytes that is not written yet; from NULL: none */
    bool comma, full;
};

static void cut_put(struct cutter *c, str s)
{
    if (!s.n)
        return;
    if (c->n == CODEC_MAX_SLICES)
        c->full = true;
    else
        c->out[c->n++] = s;
}

static void cut_flush(struct cutter *c)
{
    if (c->from)
        cut_put(c, (str){ c->from, (size_t)(c->to - c->from) });
    c->from = NULL;
}

/* A member that stays. */
static void cut_member(struct cutter *c, json v)
{
    str was = json_span(v);
    if (!c->from) {
        if (c->comma)
            cut_put(c, S(","));
        c->from = json_span(json_key(v)).p;
    }
    c->comma = true;
    c->to = was.p + was.n;
}

/* `text` in place of the bytes `was`, which lie in the member that was given last. */
static void cut_replace(struct cutter *c, str was, str text)
{
    const char *end = c->to;
    c->to = was.p;
    cut_flush(c);
    cut_put(c, text);
    c->from = was.p + was.n;
    c->to = end;
}

static enum err quoted(struct arena *a, str s, str *out)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, 1 << 16);
    json_out_init(&o, &b);
    json_put_str(&o, s);
    *out = arena_str(a, buf_str(&b));
    buf_free(&b);
    return o.err ? o.err : out->p ? ERR_OK : ERR_LIMIT;
}

/* include_usage: true within stream_options, and nothing else of it changed. */
static void cut_options(struct cutter *c, json options)
{
    bool yes = false;
    json usage = json_member(options, S("include_usage"));
    if (json_type(options) != JSON_OBJECT)
        cut_replace(c, json_span(options), S("{\"include_usage\":true}"));
    else if (json_type(usage) == JSON_NONE)
        cut_replace(c, (str){ json_span(options).p, 1 }, json_count(options) ? S("{\"include_usage\":true,") : S("{\"include_usage\":true"));
    else if (!json_bool(usage, &yes) || !yes)
        cut_replace(c, json_span(usage), S("true"));
}

/* A key that begins with "hearth", however it is escaped. */
static bool is_ours(struct arena *a, json key)
{
    str raw = json_span(key), text;
    if (str_index(raw, '\\') == raw.n)
        return str_starts(raw, S("\"hearth"));
    return json_text(a, key, &text) == ERR_OK && str_starts(text, S("hearth"));
}

static enum err forward(struct arena *a, const struct call *c, str model_id, bool usage, str slices[CODEC_MAX_SLICES], size_t *n)
{
    struct cutter cut = { .out = slices };
    bool has_model = false, has_options = false;
    str model;
    enum err e = quoted(a, model_id, &model);
    if (e)
        return e;
    cut_put(&cut, S("{"));
    for (json v = json_first(c->root); json_type(v) != JSON_NONE; v = json_next(v)) {
        json key = json_key(v);
        if (is_ours(a, key)) {
            cut_flush(&cut);
            continue;
        }
        cut_member(&cut, v);
        if (json_is(key, S("model"))) {
            has_model = true;
            cut_replace(&cut, json_span(v), model);
        } else if (usage && c->stream && json_is(key, S("stream_options"))) {
            has_options = true;
            cut_options(&cut, v);
        }
    }
    cut_flush(&cut);
    if (!has_model) {
        cut_put(&cut, cut.comma ? S(",\"model\":") : S("\"model\":"));
        cut_put(&cut, model);
    }
    cut_put(&cut, usage && c->stream && !has_options ? S(",\"stream_options\":{\"include_usage\":true}}") : S("}"));
    *n = cut.n;
    return cut.full ? ERR_LIMIT : ERR_OK;
}

enum err codec_forward(struct arena *a, const struct call *c, str model_id, bool usage, str slices[CODEC_MAX_SLICES], size_t *n)
{
    enum err e = forward(a, c, model_id, usage, slices, n);
    return codec_end(a, NULL, e);
}
