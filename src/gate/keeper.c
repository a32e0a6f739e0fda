/* Questions and orders that are the keeper's: what is loaded, what loading would do, load, unload. They come over the command socket from commands
 * (`hearth ps`, `hearth plan` …); what they look at belongs to the keeper's thread, so an answer comes back through the loop's port. */
#include "gate/request.h"

struct gate_inquiry {                  /* in the arena of its request, which is held */
    struct gate_inquiry *next;
    struct gate_loop *loop;
    struct gate_view *view;             /* the model lives as long */
    struct http_req *http;
    struct fleet_ask ask;
};

static void say(struct http_req *http, enum err e, str message)
{
    (void)http_reply(http, err_http(e), S("application/json"), STR_NONE, openai_error_body(http_req_arena(http), e, message, STR_NONE));
}

static void end_inquiry(struct gate_inquiry *q)
{
    struct gate_inquiry **at = &q->loop->inquiries;
    while (*at && *at != q)
        at = &(*at)->next;
    if (*at)
        *at = q->next;
    buf_free(&q->ask.answer);
    gate_view_unref(q->view);
    http_req_release(q->http);          /* q lies in its arena: gone now */
}

static void on_answer(struct fleet_ask *a)
{
    struct gate_inquiry *q = (struct gate_inquiry *)((char *)a - offsetof(struct gate_inquiry, ask));
    if (a->err == ERR_OK)
        (void)http_reply(q->http, 200, S("application/json"), STR_NONE, buf_str(&a->answer));
    else
        say(q->http, a->err, STR_NONE);
    end_inquiry(q);
}

static void ask(struct gate_loop *l, struct http_req *http, struct fleet_model *m)
{
    struct gate_inquiry *q = arena_new(http_req_arena(http), struct gate_inquiry, 1);
    if (!q || !l->gate->opt.fleet) {
        say(http, q ? ERR_UNSUPPORTED : ERR_LIMIT, STR_NONE);
        return;
    }
    *q = (struct gate_inquiry){ .next = l->inquiries, .loop = l, .view = l->view, .http = http, .ask = { .port = &l->fleet_port, .model = m, .on_answer = on_answer } };
    l->inquiries = q;
    l->view->refs++;
    http_req_hold(http);
    fleet_ask(l->gate->opt.fleet, &q->ask);
}

void gate_fleet_forget(struct gate_loop *l)
{
    while (l->inquiries) {
        fleet_ask_forget(l->gate->opt.fleet, &l->inquiries->ask);
        end_inquiry(l->inquiries);
    }
}

/* {"model": NAME} as a model of the fleet; else the error is said. */
static bool find(struct gate_loop *l, struct http_req *http, struct fleet_model **out)
{
    const struct gate_config *cfg = l->view->cfg;
    struct arena *a = http_req_arena(http);
    const struct model *m = NULL;
    json v;
    str name = S("");
    if (json_parse(a, http_req_body(http), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_text(a, json_member(v, S("model")), &name) == ERR_OK)
        m = str_eq(name, S("default")) ? cfg->policy.default_model : policy_model(&cfg->policy, name);
    *out = m ? cfg->engines[m - cfg->policy.models] : NULL;
    if (!m)
        say(http, ERR_MODEL, arena_printf(a, "there is no model \"%.*s\"", STR_ARG(name)));
    else if (!*out)
        say(http, ERR_UNSUPPORTED, arena_printf(a, "model %.*s is only called, at provider %.*s: hearth neither loads nor unloads it", STR_ARG(name), STR_ARG(m->provider->name)));
    return *out != NULL;
}

void gate_fleet_report(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    ask(l, http, NULL);
}

void gate_fleet_plan(struct gate_loop *l, struct http_req *http, str rest)
{
    struct fleet_model *m;
    (void)rest;
    if (find(l, http, &m))
        ask(l, http, m);
}

static void order(struct gate_loop *l, struct http_req *http, enum err (*give)(struct fleet_model *m), const char *what)
{
    struct fleet_model *m;
    if (!find(l, http, &m))
        return;
    if (give(m) == ERR_OK)
        (void)http_reply(http, 202, S("application/json"), STR_NONE, S("{\"accepted\":true}"));
    else
        say(http, ERR_UNSUPPORTED, arena_printf(http_req_arena(http), "its server runs by itself: hearth does not %s its models", what));
}

void gate_fleet_load(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    order(l, http, fleet_load, "load");
}

void gate_fleet_unload(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    order(l, http, fleet_unload, "unload");
}
