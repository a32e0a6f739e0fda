/* Between the two sides of a call. Nothing here knows a dialect: the tables of client.c and upstream.c do. */
#include "gate/request.h"

static void speak_on_delta(void *ctx, const struct delta *d)
{
    struct gate_req *r = ctx;
    struct speech *s = r->speech;
    if (!s->begun)
        r->client->begin(r);
    s->begun = true;
    if (!r->call.stream)
        answer_add(&s->answer, d);
    else if (s->err == ERR_OK)
        s->err = r->client->delta(r, d);
}

static enum err speak_sliced(struct gate_req *r, enum err e)
{
    r->slices[0] = buf_str(&r->speech->body);
    r->n_slices = 1;
    return e;
}

static enum err speak_translate(struct gate_req *r, str id)
{
    struct speech *s = r->speech;
    r->sink = &s->sink;
    if (r->op == OP_EMBEDDING && r->up->dialect != DIALECT_ANTHROPIC)
        return speak_sliced(r, embed_translate(r->a, &r->call, r->up->dialect, id, &s->body, &r->why));
    if (r->op != OP_CHAT && !(r->op == OP_COUNT && upstream_counts(r)))
        return gate_fail(r, ERR_UNSUPPORTED, arena_printf(r->a, "model %.*s is served by another API, which has no such operation", STR_ARG(r->decision.model->name)));
    enum err e = r->client->to_chat(r->a, &r->call, &s->chat, &r->why);
    s->chat.early_count = s->chat.stream && r->dialect == DIALECT_ANTHROPIC;
    return speak_sliced(r, e == ERR_OK ? r->up->from_chat(r, id) : e);
}

/* Only Ollama is told to load or to unload. */
bool speak_asks(const struct gate_req *r) { return (r->op != OP_LOAD && r->op != OP_UNLOAD) || upstream_side(r)->dialect == DIALECT_OLLAMA; }

/* A server of ours has been started by now, or is stopped when its calls have ended; others load by themselves. Where keys are needed, memory is the owner's. */
static enum err speak_nothing(struct gate_req *r)
{
    const struct model *m = r->decision.model;
    struct fleet_model *f = r->view->cfg->engines[m - r->view->cfg->policy.models];
    r->n_slices = 0;
    if (r->op == OP_LOAD)
        return ERR_OK;
    if (r->key)
        return gate_fail(r, ERR_FORBIDDEN, arena_printf(r->a, "model %.*s stays loaded: a key does not unload what others use (hearth unload does)", STR_ARG(m->name)));
    if (f && fleet_unload(f) == ERR_OK)
        return ERR_OK;
    return gate_fail(r, ERR_UNSUPPORTED, arena_printf(r->a, "model %.*s cannot be unloaded from here: provider %.*s decides itself", STR_ARG(m->name), STR_ARG(m->provider->name)));
}

enum err speak_request(struct gate_req *r)
{
    str id = r->decision.model->id.n ? r->decision.model->id : r->decision.model->name;
    r->up = upstream_side(r);
    if (!speak_asks(r))
        return speak_nothing(r);
    if (op_is_tokens(r->op) && !upstream_has_tokens(r))
        return gate_fail(r, ERR_UNSUPPORTED, arena_printf(r->a, "model %.*s cannot be asked for tokens: of upstreams, vLLM and llama-server can", STR_ARG(r->decision.model->name)));
    if (r->dialect == DIALECT_OPENAI && r->up->dialect == DIALECT_OPENAI)
        return r->up->forward(r->a, &r->call, id, r->slices, &r->n_slices);
    struct speech *s = r->speech = arena_new(r->a, struct speech, 1);
    if (!s)
        return ERR_LIMIT;
    s->sink = (struct delta_sink){ speak_on_delta, r };
    if (r->up->lines)
        s->reader.ollama.call = str_slice(r->id + UUID_TEXT - 13, 12);       /* the id's random end */
    buf_init(&s->body, r->loop->gate->opt.limits.body * 2);
    buf_init(&s->out, r->loop->gate->opt.record_max);
    answer_init(&s->answer, r->a, r->view->cfg->reply_max);
    return r->dialect == r->up->dialect ? r->up->forward(r->a, &r->call, id, r->slices, &r->n_slices) : speak_translate(r, id);
}

enum wire_event speak_event(struct gate_req *r, str event, str data, str *out)
{
    *out = STR_NONE;
    if (r->sink)
        buf_clear(&r->speech->out);
    enum wire_event kind = r->up->event(r, event, data, r->sink);
    if (!r->sink)
        return kind;
    *out = buf_str(&r->speech->out);
    return r->speech->err == ERR_OK ? kind : WIRE_INVALID;
}

static enum err speak_embedding(struct gate_req *r)
{
    struct arena *scratch = &r->loop->scratch;
    enum err e = embed_read(r->a, scratch, r->up->dialect, buf_str(&r->taken), &r->reply);
    if (e != ERR_OK || !r->sink)
        return e;
    struct buf *out = &r->speech->out;
    out->max = r->view->cfg->reply_max;
    e = embed_write(scratch, &r->call, r->up->dialect, buf_str(&r->taken), r->call.model.n ? r->call.model : r->decision.model->name, &r->reply, out);
    buf_clear(&r->taken);
    if (e == ERR_UPSTREAM)
        return gate_fail(r, e, S("the upstream did not answer with one vector for each text: a model without pooling gives one for each token"));
    return e == ERR_OK ? buf_put(&r->taken, buf_str(out)) : e;
}

static enum err speak_loaded(struct gate_req *r)
{
    const struct ollama_writer w = ollama_client_writer(r);
    r->reply.finish_reason = r->op == OP_UNLOAD ? S("unload") : S("load");
    return ollama_write_loaded(&r->taken, &w, r->reply.finish_reason);
}

enum err speak_reply(struct gate_req *r)
{
    if ((r->op == OP_LOAD || r->op == OP_UNLOAD) && !r->n_slices)
        return speak_loaded(r);
    if (r->op == OP_EMBEDDING)
        return speak_embedding(r);
    enum err e = r->up->reply(r, buf_str(&r->taken), r->sink);
    if (e != ERR_OK || !r->sink)
        return e;
    buf_clear(&r->taken);               /* the pieces have been copied out of it */
    if (r->op == OP_COUNT)              /* asked for by Anthropic's clients only */
        return buf_put(&r->taken, anthropic_count_body(r->a, r->reply.prompt_tokens));
    return r->speech->answer.err ? r->speech->answer.err : r->client->whole(r, &r->taken);
}

enum err speak_end(struct gate_req *r, str *out)
{
    *out = r->client->end_mark;
    if (!r->sink)
        return ERR_OK;
    buf_clear(&r->speech->out);
    speak_on_delta(r, &(struct delta){ .kind = DELTA_END });
    *out = buf_str(&r->speech->out);
    return r->speech->err;
}

/* A body that is already in the client's dialect goes on as it is: clients depend on its wording. */
str speak_error_reply(struct gate_req *r, int status, str body)
{
    json v;
    r->up->error(r, status, body);
    str own = r->client->error_from(r);
    if (r->dialect != r->up->dialect)
        return own;
    arena_reset(&r->loop->scratch);
    enum json_type is = r->dialect == DIALECT_OLLAMA ? JSON_STRING : JSON_OBJECT;
    if (json_parse(&r->loop->scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_type(json_member(v, S("error"))) == is)
        return arena_str(r->a, body);
    return own;
}

void speak_free(struct gate_req *r)
{
    if (r->speech)
        r->speech->earlier = r->past;
    for (struct speech *s = r->speech ? r->speech : r->past; s; s = s->earlier) {
        buf_free(&s->body);
        buf_free(&s->out);
        answer_free(&s->answer);
        if (r->dialect == DIALECT_OLLAMA)
            ollama_writer_free(&s->writer.ollama);
        if (r->dialect == DIALECT_RESPONSES)
            responses_writer_free(&s->writer.responses);
    }
}
