/* A call that names a prompt of the registry (x-hearth-prompt, or OpenAI's `prompt` object) or brings only variables for the one that its
 * task has: its messages are rendered and put before the client's own, and from there on it is a call like any other. The client's body is
 * what is recorded as asked; what was made of it is hashed beside it, with the prompt's version and the hash of the variables.
 *
 * A task's prompt is not applied to a call that brings no variables: whoever writes messages has said what is to be said. */
#include "gate/request.h"

/* Where a dialect has its messages. */
static str list_key(const struct gate_req *r)
{
    if (r->op != OP_CHAT || (r->dialect == DIALECT_OLLAMA && str_eq(http_req_head(r->http)->path, S("/api/generate"))))
        return STR_NONE;
    return r->dialect == DIALECT_RESPONSES ? S("input") : S("messages");
}

static enum err bad(struct gate_req *r, str message, str param)
{
    r->why = (struct wire_error){ ERR_SYNTAX, message, param };
    return ERR_SYNTAX;
}

/* "docstring@prod" of the header, or {"id":"docstring","version":"3","variables":{…}}. */
static enum err read_reference(struct gate_req *r, json root, str header, str *reference, json *variables)
{
    json object = json_member(root, S("prompt")), version = json_member(object, S("version"));
    str id, which;
    *variables = json_member(root, S("hearth_variables"));
    *reference = header;
    if (json_type(object) == JSON_OBJECT) {
        if (header.n)
            return bad(r, S("a prompt is named twice, by x-hearth-prompt and by prompt"), S("prompt"));
        if (json_text(r->a, json_member(object, S("id")), &id) != ERR_OK)
            return bad(r, S("prompt.id must name a prompt"), S("prompt.id"));
        *variables = json_member(object, S("variables"));
        if (json_type(version) == JSON_STRING && json_text(r->a, version, &which) == ERR_OK)
            id = arena_printf(r->a, "%.*s@%.*s", STR_ARG(id), STR_ARG(which));
        *reference = id;
    }
    enum json_type t = json_type(*variables);
    return t == JSON_NONE || t == JSON_NULL || t == JSON_OBJECT ? ERR_OK : bad(r, S("variables must be an object"), S("variables"));
}

/* The members that stay, then the list: what was rendered, and what the client said itself. */
static enum err put_body(struct gate_req *r, json root, str key, str rendered, str system, struct buf *out)
{
    struct json_out o;
    json own = json_member(root, key);
    json_out_init(&o, out);
    json_open(&o, '{');
    for (json v = json_first(root); json_type(v) != JSON_NONE; v = json_next(v)) {
        json k = json_key(v);
        if (json_is(k, key) || json_is(k, S("hearth_variables")) || (json_is(k, S("prompt")) && json_type(v) == JSON_OBJECT))
            continue;
        if (system.n && json_is(k, S("system")))
            return bad(r, S("the prompt has a system message, and the request too"), S("system"));
        str name = json_span(k);        /* with its quotes and escapes */
        if (json_text(r->a, k, &name) != ERR_OK)
            return ERR_LIMIT;
        json_put_key(&o, name);
        json_put_raw(&o, json_span(v));
    }
    if (system.n) {
        json_put_key(&o, S("system"));
        json_put_str(&o, system);
    }
    json_put_key(&o, key);
    json_open(&o, '[');
    if (rendered.n)
        json_put_raw(&o, rendered);
    if (json_type(own) == JSON_STRING)  /* Responses: a text is a message of the user */
        json_put_raw(&o, arena_printf(r->a, "{\"role\":\"user\",\"content\":%.*s}", STR_ARG(json_span(own))));
    for (json m = json_first(own); json_type(own) == JSON_ARRAY && json_type(m) != JSON_NONE; m = json_next(m))
        json_put_raw(&o, json_span(m));
    json_close(&o, ']');
    json_close(&o, '}');
    return o.err;
}

static enum err render(struct gate_req *r, json root, str key, const struct prompt *p, json variables)
{
    struct buf list = { .max = r->loop->gate->opt.limits.body }, body = { .max = r->loop->gate->opt.limits.body * 2 };
    str system = STR_NONE;
    enum err e = prompt_render(r->a, p, variables, &list, r->dialect == DIALECT_ANTHROPIC ? &system : NULL, &r->why);
    if (e == ERR_OK)
        e = put_body(r, root, key, buf_str(&list), system, &body);
    if (e == ERR_OK) {
        r->prompt = p;
        r->variables = json_type(variables) == JSON_OBJECT ? json_span(variables) : STR_NONE;
        r->rendered = arena_str(r->a, buf_str(&list));
        r->asked = arena_str(r->a, buf_str(&body));
        e = r->asked.p && r->rendered.p ? ERR_OK : ERR_LIMIT;
    }
    buf_free(&list);
    buf_free(&body);
    return e;
}

/* Variables and no name: the prompt of the call's task. */
static enum err of_task(struct gate_req *r, json root, str *reference)
{
    const struct task *t = NULL;
    str model = STR_NONE;
    if (r->path_model.n)
        model = r->path_model;
    else
        (void)json_text(r->a, json_member(root, S("model")), &model);
    enum err e = gate_task_named(r, model, &t);
    if (e != ERR_OK)
        return e;
    if (!t)
        return bad(r, S("hearth_variables fill a prompt, and none is named: send x-hearth-prompt, or name a task that has one"), S("hearth_variables"));
    if (!t->prompt.n)
        return bad(r, arena_printf(r->a, "hearth_variables fill a prompt, and task %.*s has none: send x-hearth-prompt", STR_ARG(t->name)), S("hearth_variables"));
    *reference = t->prompt;
    return ERR_OK;
}

/* Is there anything here that could name one? Most calls have nothing of the kind and are not parsed for it. */
static bool may_name(const struct gate_req *r, bool list)
{
    bool object = list && r->dialect != DIALECT_ANTHROPIC && r->dialect != DIALECT_OLLAMA;
    return (object && str_find(r->asked, S("\"prompt\"")) < r->asked.n) || str_find(r->asked, S("\"hearth_variables\"")) < r->asked.n;
}

enum err gate_prompt(struct gate_req *r)
{
    str header = http_get(http_req_head(r->http), S("x-hearth-prompt")), key = list_key(r), reference;
    json root, variables;
    const struct prompt_book *book = &r->view->cfg->prompts;
    if (!header.n && !may_name(r, key.n > 0))
        return ERR_OK;
    if (json_parse(r->a, r->asked, &JSON_DEFAULT_LIMITS, &root, NULL) != ERR_OK || json_type(root) != JSON_OBJECT)
        return ERR_OK;                  /* the decoder has the better words for it */
    enum err e = read_reference(r, root, header, &reference, &variables);
    bool has_variables = json_type(variables) == JSON_OBJECT;
    if (e != ERR_OK || (!reference.n && !has_variables))
        return e;
    if (!key.n)
        return bad(r, S("prompts are for chats, not for this operation"), header.n ? S("x-hearth-prompt") : S("hearth_variables"));
    if (!reference.n && (e = of_task(r, root, &reference)) != ERR_OK)
        return e;
    const struct prompt *p = prompt_find(book, reference);
    if (!p) {
        r->why = (struct wire_error){ ERR_NOTFOUND, arena_printf(r->a, "there is no prompt %.*s; hearth prompt list names those that are", (int)(reference.n < 200 ? reference.n : 200),
                                                                 reference.p), S("prompt") };
        return ERR_NOTFOUND;
    }
    return render(r, root, key, p, variables);
}
