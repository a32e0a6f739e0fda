/* guard/walk.c: a walk over the table of nodes that also notes, for each document, which spans may be replaced. Writing copies the bytes between them. A
 * JSON text within a string is a document of its own, whose output is escaped again where it has changed. */
#include "guard/walk.h"

#include "guard/placeholder.h"

#include <assert.h>

/* What a part of the body is. API: fields that the API gives a meaning. DATA: the caller's own structures, whose names mean something to the
 * finder ("phone": …). SCHEMA: of tools and answers; names, but no values of anybody. */
enum mode { API, DATA, SCHEMA };

enum edit_kind { EDIT_TEXT, EDIT_NESTED, EDIT_DROP };

struct edit {
    str span;                           /* in the document's text; for strings with their quotes */
    enum edit_kind kind;
    size_t text;                        /* TEXT */
    struct walk_doc *nested;            /* NESTED */
};

struct walk_doc {
    str text;
    struct edit *edits;
    size_t n, cap;
};

struct where {
    str key;
    enum mode mode;
    unsigned depth;                     /* of documents: 0 the body */
    bool root;                          /* in the body's own object */
    bool sealed;                        /* in a block that a provider signed or encrypted */
};

struct walker {
    struct arena *a;
    struct walk *w;
    struct json_limits limits;
    bool keep_user;
};

static enum err visit(struct walker *k, struct walk_doc *d, json v, struct where at);

/* ---- tables ---- */

enum shape { SHAPE_ID, SHAPE_WORD, SHAPE_MODEL };

/* Fields of the APIs that are no texts, if what they hold has the form that is expected of them. Anything else in them is a text. */
static const struct { str key; enum shape shape; } known[] = {
    { S("id"), SHAPE_ID },           { S("call_id"), SHAPE_ID },         { S("tool_call_id"), SHAPE_ID },      { S("tool_use_id"), SHAPE_ID },
    { S("item_id"), SHAPE_ID },      { S("previous_response_id"), SHAPE_ID }, { S("role"), SHAPE_WORD },       { S("type"), SHAPE_WORD },
    { S("tool_choice"), SHAPE_WORD },{ S("service_tier"), SHAPE_WORD },  { S("encoding_format"), SHAPE_WORD }, { S("reasoning_effort"), SHAPE_WORD },
    { S("effort"), SHAPE_WORD },     { S("detail"), SHAPE_WORD },        { S("format"), SHAPE_WORD },          { S("finish_reason"), SHAPE_WORD },
    { S("status"), SHAPE_WORD },     { S("model"), SHAPE_MODEL },
};

static const str id_prefixes[] = { S("call_"), S("toolu_"), S("srvtoolu_"), S("msg_"), S("resp_"), S("fc_"), S("rs_"), S("chatcmpl-"), S("chatcmpl-tool-") };

static const str words[] = {
    S("system"),        S("user"),      S("assistant"), S("tool"),        S("developer"),   S("function"),    S("text"),          S("input_text"),
    S("output_text"),   S("message"),   S("tool_use"),  S("tool_result"), S("thinking"),    S("redacted_thinking"), S("refusal"), S("summary_text"),
    S("function_call"), S("function_call_output"), S("reasoning"), S("json_schema"), S("json_object"), S("json"), S("auto"),      S("none"),
    S("any"),           S("required"),  S("default"),   S("flex"),        S("priority"),    S("float"),       S("base64"),        S("minimal"),
    S("low"),           S("medium"),    S("high"),      S("stop"),        S("length"),      S("tool_calls"),  S("completed"),     S("in_progress"),
    S("incomplete"),    S("ephemeral"), S("enabled"),   S("disabled"),    S("adaptive"),    S("object"),      S("array"),         S("string"),
    S("number"),        S("integer"),   S("boolean"),   S("null"),        S("custom"),      S("content"),     S("url"),           S("file"),
};

/* Types of parts whose contents are no text. */
static const str opaque_types[] = { S("image_url"), S("image"), S("input_image"), S("input_audio"), S("audio"), S("document"), S("file"), S("input_file"),
                                    S("video"), S("video_url"), S("container_upload"), S("computer_call_output"), S("image_generation_call") };
/* Fields that hold or name such contents, whatever they lie in. */
static const str opaque_keys[] = { S("images"), S("image_url"), S("input_audio"), S("file_data"), S("file_id"), S("file_url"), S("video_url") };
/* Blocks and fields with base64 of a provider's own, that it wants back as it gave it. */
static const str sealed_types[] = { S("thinking"), S("redacted_thinking"), S("reasoning") };
static const str sealed_keys[] = { S("signature"), S("encrypted_content"), S("data") };
static const str user_keys[] = { S("user"), S("metadata"), S("safety_identifier"), S("prompt_cache_key") };
static const str token_keys[] = { S("prompt"), S("input"), S("context") };

#define IN(list, s) in_list((list), sizeof(list) / sizeof *(list), (s))
static bool in_list(const str *list, size_t n, str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], s))
            return true;
    return false;
}

static bool is_alnum(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

static bool is_id(str s)
{
    bool begins = false;
    for (size_t i = 0; i < sizeof id_prefixes / sizeof *id_prefixes; i++)
        begins = begins || str_starts(s, id_prefixes[i]);
    for (size_t i = 0; i < s.n && begins; i++)
        begins = is_alnum(s.p[i]) || s.p[i] == '_' || s.p[i] == '-';
    return begins && s.n <= 100;
}

/* hearth replaces the body's model by the upstream's own name, so it need only be one. */
static bool is_model(str s)
{
    bool yes = s.n > 0 && s.n <= 200;
    for (size_t i = 0; i < s.n && yes; i++)
        yes = is_alnum(s.p[i]) || memchr("-_.:/", s.p[i], 5);
    return yes;
}

static bool is_known(str key, json v, str text, bool root)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!str_eq(known[i].key, key))
            continue;
        bool string = json_type(v) == JSON_STRING;
        switch (known[i].shape) {
        case SHAPE_ID: return string && is_id(text);
        case SHAPE_WORD: return string && (IN(words, text) || IN(opaque_types, text));
        case SHAPE_MODEL: return string && root && is_model(text);
        }
    }
    return false;
}

/* ---- what is found on the way ---- */

static void unsure(struct walker *k, str of)
{
    if (!k->w->unsure)
        k->w->unsure_of = of;
    k->w->unsure = true;
}

static enum err add_edit(struct walker *k, struct walk_doc *d, struct edit e)
{
    struct edit *grown = arena_more(k->a, d->edits, d->n, &d->cap);
    if (!grown)
        return ERR_LIMIT;
    d->edits = grown;
    d->edits[d->n++] = e;
    return ERR_OK;
}

static enum err add_text(struct walker *k, struct walk_doc *d, str span, struct walk_text t)
{
    struct walk *w = k->w;
    struct walk_text *grown = arena_more(k->a, w->texts, w->n, &w->cap);
    if (!grown)
        return ERR_LIMIT;
    w->texts = grown;
    w->texts[w->n] = t;
    return add_edit(k, d, (struct edit){ .span = span, .kind = EDIT_TEXT, .text = w->n++ });
}

/* ---- strings and numbers ---- */

enum { BASE64_LEAST = 400, DIGITS_LEAST = 7 };

static bool is_blob(str s)
{
    if (s.n < BASE64_LEAST)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && !memchr("+/=-_\r\n", s.p[i], 7))
            return false;
    return true;
}

static bool is_data_url(str s)
{
    size_t colon = str_find(s, S("data:"));
    return colon < s.n && str_find(str_skip(s, colon), S(";base64,")) < s.n - colon;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* A whole JSON object or array, with nothing but space around it? */
static bool looks_nested(str s)
{
    size_t from = 0, to = s.n;
    while (from < to && is_space(s.p[from]))
        from++;
    while (to > from && is_space(s.p[to - 1]))
        to--;
    return to - from >= 2 && ((s.p[from] == '{' && s.p[to - 1] == '}') || (s.p[from] == '[' && s.p[to - 1] == ']'));
}

/* The document in a string, if it is one; else *is_one is false and the string is a text. */
static enum err visit_nested(struct walker *k, struct walk_doc *d, str span, str text, struct where at, bool *is_one)
{
    json root;
    *is_one = false;
    if (!looks_nested(text))
        return ERR_OK;
    enum err e = json_parse(k->a, text, &k->limits, &root, NULL);
    if (k->a->failed)
        return ERR_LIMIT;
    if (e == ERR_SYNTAX)
        return ERR_OK;                  /* it only looked so: a text, searched as it is */
    if (e || at.depth == WALK_NESTED) {
        unsure(k, S("nested JSON"));
        return ERR_OK;
    }
    struct walk_doc *nested = arena_new(k->a, struct walk_doc, 1);
    if (!nested)
        return ERR_LIMIT;
    nested->text = text;
    *is_one = true;
    e = visit(k, nested, root, (struct where){ .key = at.key, .mode = DATA, .depth = at.depth + 1 });
    return e ? e : add_edit(k, d, (struct edit){ .span = span, .kind = EDIT_NESTED, .nested = nested });
}

static enum err visit_string(struct walker *k, struct walk_doc *d, json v, str text, struct where at)
{
    bool nested;
    enum err e = visit_nested(k, d, json_span(v), text, at, &nested);
    if (e || nested)
        return e;
    if (is_data_url(text))
        unsure(k, S("data: URL"));
    else if (is_blob(text) && !(at.sealed && IN(sealed_keys, at.key)))
        unsure(k, S("base64"));
    return add_text(k, d, json_span(v), (struct walk_text){ .text = text, .key = at.mode == DATA ? at.key : STR_NONE });
}

static enum err visit_number(struct walker *k, struct walk_doc *d, json v, struct where at)
{
    str s = json_span(v);
    if (s.n && s.p[0] == '-')
        s = str_skip(s, 1);
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return ERR_OK;
    if (s.n < DIGITS_LEAST)
        return ERR_OK;
    return add_text(k, d, s, (struct walk_text){ .text = s, .key = at.mode == DATA ? at.key : STR_NONE, .is_number = true });
}

/* ---- members ---- */

/* A name that says nothing about anybody: letters and underscores, in an object of the API or a schema; but none that would be taken for a placeholder. */
static bool is_plain_name(str s, enum mode mode)
{
    bool plain = mode != DATA && s.n <= 64 && !placeholder_is_stem(NULL, s);
    for (size_t i = 0; i < s.n && plain; i++)
        plain = s.p[i] == '_' || ((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z');
    return plain;
}

/* A part of a message that holds something else than text. A document is one unless it says that it is a text. */
static void look_at_part(struct walker *k, json object)
{
    json type = json_member(object, S("type"));
    for (size_t i = 0; i < sizeof opaque_types / sizeof *opaque_types; i++) {
        if (!json_is(type, opaque_types[i]))
            continue;
        json source = json_member(json_member(object, S("source")), S("type"));
        if (!str_eq(opaque_types[i], S("document")) || !(json_is(source, S("text")) || json_is(source, S("content"))))
            unsure(k, opaque_types[i]);
    }
}

static bool is_sealed(json object)
{
    json type = json_member(object, S("type"));
    for (size_t i = 0; i < sizeof sealed_types / sizeof *sealed_types; i++)
        if (json_is(type, sealed_types[i]))
            return true;
    return false;
}

static bool is_tokens(json v)
{
    json first = json_first(v);
    return json_type(v) == JSON_ARRAY && (json_type(first) == JSON_NUMBER || json_type(json_first(first)) == JSON_NUMBER);
}

static bool is_empty(json v)
{
    enum json_type t = json_type(v);
    return t == JSON_NULL || t == JSON_FALSE || ((t == JSON_ARRAY || t == JSON_OBJECT) && !json_count(v));
}

/* Where the value of an API's member leads. */
static enum mode mode_of(str key, json v)
{
    bool object = json_type(v) == JSON_OBJECT;
    if (str_eq(key, S("arguments")) || (object && str_eq(key, S("input"))))
        return DATA;
    if (object && (str_eq(key, S("parameters")) || str_eq(key, S("input_schema")) || str_eq(key, S("schema"))))
        return SCHEMA;
    return API;
}

static enum err visit_member(struct walker *k, struct walk_doc *d, json v, str key, struct where at)
{
    str text = STR_NONE;
    enum err e = ERR_OK;
    if (!is_plain_name(key, at.mode))
        e = add_text(k, d, json_span(json_key(v)), (struct walk_text){ .text = key, .is_key = true });
    if (!e && json_type(v) == JSON_STRING)
        e = json_text(k->a, v, &text);
    if (e)
        return e;
    struct where in = { .key = key, .mode = at.mode, .depth = at.depth, .sealed = at.sealed };
    if (at.mode == API) {
        if (is_known(key, v, text, at.root))
            return ERR_OK;
        if (IN(opaque_keys, key) && !is_empty(v))
            unsure(k, key);
        if (IN(token_keys, key) && is_tokens(v))
            unsure(k, S("tokens"));
        in.mode = mode_of(key, v);
    }
    return visit(k, d, v, in);
}

static enum err visit_object(struct walker *k, struct walk_doc *d, json object, struct where at)
{
    const char *kept_end = NULL, *from = NULL, *end = NULL;     /* the last member that stays; what is left out since */
    if (at.mode == API)
        look_at_part(k, object);
    at.sealed = at.mode == API && is_sealed(object);
    for (json v = json_first(object); json_type(v) != JSON_NONE; v = json_next(v)) {
        str key;
        enum err e = json_text(k->a, json_key(v), &key);
        if (e)
            return e;
        const char *begins = json_span(json_key(v)).p;
        end = json_span(v).p + json_span(v).n;
        if (at.root && !k->keep_user && IN(user_keys, key)) {
            from = from ? from : begins;
            if (k->w->n_dropped < WALK_DROPPED_MAX)
                k->w->dropped[k->w->n_dropped++] = key;
            continue;
        }
        if (from)
            e = add_edit(k, d, (struct edit){ .span = { from, (size_t)(begins - from) }, .kind = EDIT_DROP });
        if (!e)
            e = visit_member(k, d, v, key, at);
        if (e)
            return e;
        from = NULL;
        kept_end = end;
    }
    if (!from)
        return ERR_OK;
    from = kept_end ? kept_end : from;  /* the last ones: with the comma before them */
    return add_edit(k, d, (struct edit){ .span = { from, (size_t)(end - from) }, .kind = EDIT_DROP });
}

/* The depth of C's stack is that of the JSON, which its limits bound, times WALK_NESTED. */
static enum err visit(struct walker *k, struct walk_doc *d, json v, struct where at)
{
    str text;
    enum err e = ERR_OK;
    switch (json_type(v)) {
    case JSON_STRING:
        e = json_text(k->a, v, &text);
        return e ? e : visit_string(k, d, v, text, at);
    case JSON_NUMBER: return visit_number(k, d, v, at);
    case JSON_OBJECT: return visit_object(k, d, v, at);
    case JSON_ARRAY:
        for (json i = json_first(v); !e && json_type(i) != JSON_NONE; i = json_next(i))
            e = visit(k, d, i, at);
        return e;
    default: return ERR_OK;
    }
}

static enum err walk_from(struct arena *a, str text, const struct walk_options *o, bool body, struct walk *out)
{
    json root;
    *out = (struct walk){ 0 };
    struct walker k = { .a = a, .w = out, .limits = o && o->limits.bytes ? o->limits : JSON_DEFAULT_LIMITS, .keep_user = o && o->keep_user };
    enum err e = json_parse(a, text, &k.limits, &root, NULL);
    if (e)
        return e;
    if (body && json_type(root) != JSON_OBJECT)
        return ERR_SYNTAX;
    if (!(out->doc = arena_new(a, struct walk_doc, 1)))
        return ERR_LIMIT;
    out->doc->text = text;
    return visit(&k, out->doc, root, (struct where){ .mode = body ? API : DATA, .root = body });
}

enum err walk_body(struct arena *a, str body, const struct walk_options *o, struct walk *out) { return walk_from(a, body, o, true, out); }
enum err walk_value(struct arena *a, str json_text_, struct walk *out) { return walk_from(a, json_text_, NULL, false, out); }

/* ---- writing ---- */

static bool is_changed(const struct walk *w, const struct walk_doc *d)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct edit *e = &d->edits[i];
        if (e->kind == EDIT_DROP || (e->kind == EDIT_TEXT && w->texts[e->text].to.p) || (e->kind == EDIT_NESTED && is_changed(w, e->nested)))
            return true;
    }
    return false;
}

static enum err put_quoted(struct buf *out, str text)
{
    enum err e = buf_putc(out, '"');
    if (!e)
        e = json_escape(out, text);
    return e ? e : buf_putc(out, '"');
}

static enum err write_doc(const struct walk *w, const struct walk_doc *d, struct buf *out)
{
    const char *at = d->text.p, *end = d->text.p + d->text.n;
    enum err e = ERR_OK;
    for (size_t i = 0; i < d->n && !e; i++) {
        const struct edit *x = &d->edits[i];
        bool nested = x->kind == EDIT_NESTED && is_changed(w, x->nested);
        const struct walk_text *t = x->kind == EDIT_TEXT && w->texts[x->text].to.p ? &w->texts[x->text] : NULL;
        if (!nested && !t && x->kind != EDIT_DROP)
            continue;                   /* its bytes stay, with those around it */
        assert(x->span.p >= at);
        e = buf_put(out, (str){ at, (size_t)(x->span.p - at) });
        if (!e && t)
            e = t->is_number ? buf_put(out, t->to) : put_quoted(out, t->to);
        if (!e && nested) {
            struct buf inner;
            buf_init(&inner, out->max);
            e = write_doc(w, x->nested, &inner);
            if (!e)
                e = put_quoted(out, buf_str(&inner));
            buf_free(&inner);
        }
        at = x->span.p + x->span.n;
    }
    return e ? e : buf_put(out, (str){ at, (size_t)(end - at) });
}

enum err walk_write(const struct walk *w, struct buf *out) { return write_doc(w, w->doc, out); }
