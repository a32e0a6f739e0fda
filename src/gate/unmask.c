/* Values in the place of placeholders, before anybody else reads what the upstream said: so forwarded and translated answers are the same to this.
 *
 * A whole reply is a tree of strings. In a stream a placeholder may lie in two events: each text that streams is a slot with a restorer of its own, which
 * holds back what may still become one. Where a text ends (another one goes on, the answer or its block is complete) what was held goes out before that
 * event, as an event of the same kind. The members of each API that stream are listed below; all others are taken as whole strings, or left alone. */
#include "gate/request.h"

enum { OUT_MAX = 64 << 20 };

/* ---- whole ---- */

static bool is_digits(str s)
{
    bool yes = s.n > 0 && (s.n == 1 || s.p[0] != '0');
    for (size_t i = 0; i < s.n && yes; i++)
        yes = s.p[i] >= '0' && s.p[i] <= '9';
    return yes;
}

/* Appends the JSON text to `out`, restored. A number stays a number. */
static enum err restore_json(struct arena *a, const struct restore_set *set, str text, struct buf *out)
{
    struct walk w;
    enum err e = walk_value(a, text, &w);
    for (size_t i = 0; i < w.n && e == ERR_OK; i++) {
        struct restore_place first;
        str to;
        if (!restore_find(set, w.texts[i].text, 0, &first))
            continue;
        e = restore_text(a, set, w.texts[i].text, &to, NULL);
        if (e == ERR_OK && (!w.texts[i].is_number || is_digits(to)))
            w.texts[i].to = to;
    }
    return e == ERR_OK ? walk_write(&w, out) : e;
}

bool gate_unmasks(const struct gate_req *r) { return r->guarded && r->guarded->restores; }

/* `taken` is the restored text from now on, where that went well. */
static enum err restore_taken(struct gate_req *r)
{
    struct buf b;
    buf_init(&b, r->view->cfg->reply_max);
    arena_reset(&r->loop->scratch);
    enum err e = restore_json(&r->loop->scratch, &r->guarded->set, buf_str(&r->taken), &b);
    if (e == ERR_OK) {
        buf_clear(&r->taken);
        r->taken.max = r->view->cfg->reply_max;
        e = buf_put(&r->taken, buf_str(&b));
    }
    buf_free(&b);
    return e;
}

enum err gate_unmask_reply(struct gate_req *r)
{
    if (!gate_unmasks(r))
        return ERR_OK;
    enum err e = restore_taken(r);
    return e == ERR_SYNTAX ? ERR_OK : e;        /* no JSON: whoever reads it next says so */
}

void gate_unmask_error(struct gate_req *r)
{
    if (gate_unmasks(r))
        (void)restore_taken(r);
}

/* ---- one event ---- */

struct edit { str span; size_t begin, end; };           /* what stands in its place: a part of guarded.fresh */

enum { EDITS_MAX = 64 };

struct work {
    struct gate_req *r;
    struct gate_guarded *x;
    const struct sse_event *ev;
    json root;
    struct edit edits[EDITS_MAX];
    size_t n_edits;
    struct gate_made *made;
    size_t n_made;
    enum err err;
};

static void fail(struct work *w, enum err e)
{
    if (w->err == ERR_OK)
        w->err = e;
}

static void add_edit(struct work *w, str span, size_t begin)
{
    if (w->n_edits == EDITS_MAX)
        fail(w, ERR_LIMIT);
    else
        w->edits[w->n_edits++] = (struct edit){ span, begin, w->x->fresh.n };
}

static void whole(struct work *w, json v)
{
    size_t begin = w->x->fresh.n;
    if (json_type(v) != JSON_STRING && json_type(v) != JSON_OBJECT && json_type(v) != JSON_ARRAY)
        return;
    fail(w, restore_json(&w->r->loop->scratch, &w->x->set, json_span(v), &w->x->fresh));
    add_edit(w, json_span(v), begin);
}

static struct gate_slot *slot_of(struct work *w, enum slot_shape shape, int64_t choice, int64_t tool, str field)
{
    struct gate_slot *s = w->x->slots;
    while (s && !(s->shape == shape && s->choice == choice && s->tool == tool && str_eq(s->field, field)))
        s = s->next;
    if (s)
        return s;
    s = w->x->n_slots < GATE_SLOTS_MAX ? arena_new(w->r->a, struct gate_slot, 1) : NULL;
    str name = arena_str(w->r->a, field);
    if (!s || !name.p) {
        fail(w, ERR_LIMIT);
        return NULL;
    }
    *s = (struct gate_slot){ .next = w->x->slots, .shape = shape, .choice = choice, .tool = tool, .field = name };
    restorer_init(&s->restorer, &w->x->set);
    w->x->slots = s;
    w->x->n_slots++;
    return s;
}

static void put_quoted(struct work *w, str text)
{
    struct buf *b = &w->x->fresh;
    (void)buf_putc(b, '"');
    (void)json_escape(b, text);
    (void)buf_putc(b, '"');
    fail(w, b->failed ? ERR_LIMIT : ERR_OK);
}

/* A piece of a text that streams; `last`: its event says that the text ends. */
static void feed(struct work *w, json v, bool last, enum slot_shape shape, int64_t choice, int64_t tool, str field)
{
    str piece;
    struct gate_slot *s = json_type(v) == JSON_STRING ? slot_of(w, shape, choice, tool, field) : NULL;
    if (!s)
        return;
    size_t begin = w->x->fresh.n;
    buf_clear(&w->x->text);
    fail(w, json_text(&w->r->loop->scratch, v, &piece));
    if (w->err != ERR_OK || !piece.n)
        return;                         /* an empty piece says nothing of its text */
    s->fed = true;
    fail(w, restorer_feed(&s->restorer, piece, last, &w->x->text));
    if (w->err != ERR_OK || str_eq(piece, buf_str(&w->x->text)))
        return;
    put_quoted(w, buf_str(&w->x->text));
    add_edit(w, json_span(v), begin);
}

/* ---- events that are made ---- */

/* Members of the event that names the answer, without what it says. */
static void put_root(struct work *w, struct json_out *o)
{
    static const str kept[] = { S("id"), S("object"), S("created"), S("created_at"), S("model"), S("system_fingerprint"), S("service_tier") };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        json v = json_member(w->root, kept[i]);
        if (json_type(v) == JSON_NONE)
            continue;
        json_put_key(o, kept[i]);
        json_put_raw(o, json_span(v));
    }
}

static void put_member(struct json_out *o, str key, str text)
{
    json_put_key(o, key);
    json_put_str(o, text);
}

static void put_index(struct json_out *o, int64_t index)
{
    json_put_key(o, S("index"));
    json_put_i64(o, index);
}

static void open_member(struct json_out *o, str key, char bracket)
{
    json_put_key(o, key);
    json_open(o, bracket);
}

/* One choice of OpenAI's with nothing but the rest of a text. */
static void put_choice(struct json_out *o, const struct gate_slot *s, str rest)
{
    open_member(o, S("choices"), '[');
    json_open(o, '{');
    put_index(o, s->choice);
    if (s->shape == SLOT_TEXT) {
        put_member(o, S("text"), rest);
    } else {
        open_member(o, S("delta"), '{');
        if (s->shape == SLOT_DELTA) {
            put_member(o, s->field, rest);
        } else if (s->shape == SLOT_FUNCTION) {
            open_member(o, S("function_call"), '{');
            put_member(o, s->field, rest);
            json_close(o, '}');
        } else {
            open_member(o, S("tool_calls"), '[');
            json_open(o, '{');
            put_index(o, s->tool);
            open_member(o, S("function"), '{');
            put_member(o, s->field, rest);
            json_close(o, '}');
            json_close(o, '}');
            json_close(o, ']');
        }
        json_close(o, '}');
    }
    json_put_key(o, S("logprobs"));
    json_put_null(o);
    json_put_key(o, S("finish_reason"));
    json_put_null(o);
    json_close(o, '}');
    json_close(o, ']');
}

static void put_block(struct json_out *o, const struct gate_slot *s, str rest)
{
    put_member(o, S("type"), S("content_block_delta"));
    put_index(o, s->choice);
    open_member(o, S("delta"), '{');
    put_member(o, S("type"), str_eq(s->field, S("partial_json")) ? S("input_json_delta") : str_eq(s->field, S("thinking")) ? S("thinking_delta") : S("text_delta"));
    put_member(o, s->field, rest);
    json_close(o, '}');
}

static void put_line(struct json_out *o, const struct gate_slot *s, str rest)
{
    if (s->shape == SLOT_MESSAGE) {
        open_member(o, S("message"), '{');
        put_member(o, S("role"), S("assistant"));
        if (!str_eq(s->field, S("content")))
            put_member(o, S("content"), S(""));
        put_member(o, s->field, rest);
        json_close(o, '}');
    } else {
        if (!str_eq(s->field, S("response")))
            put_member(o, S("response"), S(""));
        put_member(o, s->field, rest);
    }
    json_put_key(o, S("done"));
    json_put_bool(o, false);
}

static struct gate_made *begin_made(struct work *w, str event)
{
    struct buf *b = &w->x->out;
    struct gate_made *m = &w->made[w->n_made++];
    *m = (struct gate_made){ .raw = b->n, .event = event };
    if (!w->r->up->lines && event.n)
        (void)buf_printf(b, "event: %.*s\n", STR_ARG(event));
    if (!w->r->up->lines)
        (void)buf_put(b, S("data: "));
    m->data = b->n;
    return m;
}

static void end_made(struct work *w, struct gate_made *m)
{
    m->data_end = w->x->out.n;
    (void)buf_put(&w->x->out, w->r->up->lines ? S("\n") : S("\n\n"));
    m->raw_end = w->x->out.n;
    fail(w, w->x->out.failed ? ERR_LIMIT : ERR_OK);
}

/* The text has ended: what was held back of it. */
static void flush(struct work *w, struct gate_slot *s)
{
    struct json_out o;
    buf_clear(&w->x->text);
    fail(w, restorer_feed(&s->restorer, STR_NONE, true, &w->x->text));
    if (w->err != ERR_OK || !w->x->text.n)
        return;
    struct gate_made *m = begin_made(w, s->shape == SLOT_BLOCK ? S("content_block_delta") : STR_NONE);
    json_out_init(&o, &w->x->out);
    json_open(&o, '{');
    if (s->shape != SLOT_BLOCK)
        put_root(w, &o);
    if (s->shape == SLOT_BLOCK)
        put_block(&o, s, buf_str(&w->x->text));
    else if (s->shape == SLOT_MESSAGE || s->shape == SLOT_ROOT)
        put_line(&o, s, buf_str(&w->x->text));
    else
        put_choice(&o, s, buf_str(&w->x->text));
    json_close(&o, '}');
    fail(w, o.err);
    end_made(w, m);
}

/* Texts of a choice that this event does not go on with; the oldest slot is the last in the list. */
static void flush_others(struct work *w, int64_t choice, bool all)
{
    struct gate_slot *list[GATE_SLOTS_MAX];
    size_t n = 0;
    for (struct gate_slot *s = w->x->slots; s && n < GATE_SLOTS_MAX; s = s->next)
        if ((all || s->choice == choice) && !s->fed && s->restorer.held.n)
            list[n++] = s;
    while (n && w->err == ERR_OK)
        flush(w, list[--n]);
}

static bool any_fed(const struct work *w, int64_t choice)
{
    for (const struct gate_slot *s = w->x->slots; s; s = s->next)
        if (s->fed && s->choice == choice)
            return true;
    return false;
}

/* ---- what each API's events are ---- */

static void openai_tools(struct work *w, json calls, int64_t choice, bool last)
{
    int64_t position = 0;
    for (json t = json_first(calls); json_type(t) != JSON_NONE; t = json_next(t), position++) {
        json f = json_member(t, S("function"));
        int64_t index = position;
        (void)json_i64(json_member(t, S("index")), &index);
        for (json v = json_first(f); json_type(f) == JSON_OBJECT && json_type(v) != JSON_NONE; v = json_next(v)) {
            bool arguments = json_is(json_key(v), S("arguments"));
            if (arguments && json_type(v) == JSON_STRING)
                feed(w, v, last, SLOT_TOOL, choice, index, S("arguments"));
            else if (arguments || json_is(json_key(v), S("name")))
                whole(w, v);
        }
    }
}

static void openai_delta(struct work *w, json delta, int64_t choice, bool last)
{
    for (json v = json_first(delta); json_type(v) != JSON_NONE; v = json_next(v)) {
        str key = json_span(json_key(v));
        key = str_slice(key.p + 1, key.n - 2);          /* as it is written: of no other letters than a name has */
        if (str_eq(key, S("tool_calls")))
            openai_tools(w, v, choice, last);
        else if (str_eq(key, S("function_call")))
            feed(w, json_member(v, S("arguments")), last, SLOT_FUNCTION, choice, 0, S("arguments"));
        else if (json_type(v) == JSON_STRING && !str_eq(key, S("role")) && str_index(key, '\\') == key.n)
            feed(w, v, last, SLOT_DELTA, choice, 0, key);
        else if (json_type(v) == JSON_OBJECT || json_type(v) == JSON_ARRAY)
            whole(w, v);
    }
}

static void openai_event(struct work *w)
{
    json choices = json_member(w->root, S("choices"));
    for (json c = json_first(choices); json_type(c) != JSON_NONE; c = json_next(c)) {
        bool last = json_type(json_member(c, S("finish_reason"))) == JSON_STRING;
        json delta = json_member(c, S("delta"));
        int64_t index = 0;
        (void)json_i64(json_member(c, S("index")), &index);
        if (json_type(delta) == JSON_OBJECT)
            openai_delta(w, delta, index, last);
        else
            feed(w, json_member(c, S("text")), last, SLOT_TEXT, index, 0, S("text"));
        if (last || any_fed(w, index) || json_count(json_member(delta, S("tool_calls"))))
            flush_others(w, index, false);
    }
}

static void anthropic_event(struct work *w)
{
    static const str texts[] = { S("text"), S("thinking"), S("partial_json") };
    json type = json_member(w->root, S("type")), delta = json_member(w->root, S("delta"));
    int64_t index = 0;
    (void)json_i64(json_member(w->root, S("index")), &index);
    if (json_is(type, S("content_block_delta"))) {
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            feed(w, json_member(delta, texts[i]), false, SLOT_BLOCK, index, 0, texts[i]);
        whole(w, json_member(delta, S("citation")));
    } else if (json_is(type, S("content_block_start"))) {
        whole(w, json_member(w->root, S("content_block")));
    } else if (json_is(type, S("content_block_stop"))) {
        flush_others(w, index, false);
    } else if (json_is(type, S("message_delta")) || json_is(type, S("message_stop"))) {
        flush_others(w, 0, true);
    }
}

static void ollama_fields(struct work *w, json object, enum slot_shape shape, bool last)
{
    for (json v = json_first(object); json_type(v) != JSON_NONE; v = json_next(v)) {
        json key = json_key(v);
        if (shape == SLOT_ROOT && json_is(key, S("message")) && json_type(v) == JSON_OBJECT)
            ollama_fields(w, v, SLOT_MESSAGE, last);
        else if (json_is(key, S("content")))
            feed(w, v, last, shape, 0, 0, S("content"));
        else if (json_is(key, S("thinking")))
            feed(w, v, last, shape, 0, 0, S("thinking"));
        else if (json_is(key, S("response")))
            feed(w, v, last, shape, 0, 0, S("response"));
        else if (json_is(key, S("tool_calls")))
            whole(w, v);
    }
}

static void ollama_event(struct work *w)
{
    bool last = false;
    (void)json_bool(json_member(w->root, S("done")), &last);
    last = last || json_count(json_member(json_member(w->root, S("message")), S("tool_calls")));
    ollama_fields(w, w->root, SLOT_ROOT, last);
    if (last || any_fed(w, 0))
        flush_others(w, 0, false);
}

/* ---- all of it ---- */

static void put_edited(struct work *w)
{
    struct gate_made *m = begin_made(w, w->ev->event);
    str data = w->ev->data;
    const char *at = data.p;
    for (size_t i = 0; i < w->n_edits; i++) {
        const struct edit *x = &w->edits[i];
        if (x->span.p < at) {           /* members stood in another order than they are read in */
            fail(w, ERR_INTERNAL);
            return;
        }
        (void)buf_put(&w->x->out, (str){ at, (size_t)(x->span.p - at) });
        (void)buf_put(&w->x->out, (str){ w->x->fresh.p + x->begin, x->end - x->begin });
        at = x->span.p + x->span.n;
    }
    (void)buf_put(&w->x->out, (str){ at, (size_t)(data.p + data.n - at) });
    /* Data of several lines becomes one: a line's end stands between the tokens of JSON only. */
    for (size_t i = m->data; i < w->x->out.n && !w->r->up->lines; i++)
        if (w->x->out.p[i] == '\n')
            w->x->out.p[i] = ' ';
    end_made(w, m);
}

static void read_event(struct work *w)
{
    struct gate_guarded *x = w->x;
    for (struct gate_slot *s = x->slots; s; s = s->next)
        s->fed = false;
    x->fresh.max = x->out.max = x->text.max = OUT_MAX;
    buf_clear(&x->fresh);
    buf_clear(&x->out);
    json error = json_member(w->root, S("error"));
    if (json_type(error) == JSON_STRING || json_type(error) == JSON_OBJECT)
        whole(w, error);
    else if (w->r->up->dialect == DIALECT_ANTHROPIC)
        anthropic_event(w);
    else if (w->r->up->dialect == DIALECT_OLLAMA)
        ollama_event(w);
    else
        openai_event(w);
    if (w->err == ERR_OK && x->fresh.failed)
        w->err = ERR_LIMIT;
    if (w->err == ERR_OK && (w->n_edits || w->n_made))
        put_edited(w);
}

enum err gate_unmask_event(struct gate_req *r, const struct sse_event *ev, void (*each)(struct gate_req *r, const struct sse_event *ev))
{
    struct arena *scratch = &r->loop->scratch;
    struct work w = { .r = r, .x = r->guarded, .ev = ev };
    arena_reset(scratch);
    enum err e = json_parse(scratch, ev->data, &JSON_DEFAULT_LIMITS, &w.root, NULL);
    if (e != ERR_OK || json_type(w.root) != JSON_OBJECT) {
        each(r, ev);                    /* "[DONE]", or what is none of its API, as whoever reads it will say */
        return ERR_OK;
    }
    if (!w.x->made && !(w.x->made = arena_new(r->a, struct gate_made, GATE_SLOTS_MAX + 1)))
        return ERR_LIMIT;
    w.made = w.x->made;
    read_event(&w);
    if (w.err != ERR_OK)
        return w.err;
    if (!w.n_made)
        each(r, ev);
    /* The readers take the scratch memory from here on: nothing of the tree above is used any more. */
    for (size_t i = 0; i < w.n_made; i++) {
        const char *p = w.x->out.p;
        const struct gate_made *m = &w.made[i];
        const struct sse_event x = { .raw = { p + m->raw, m->raw_end - m->raw }, .event = m->event, .data = { p + m->data, m->data_end - m->data }, .has_data = true };
        each(r, &x);
    }
    return ERR_OK;
}
