/* A call that asks only what would become of it (x-hearth-explain: 1): it goes through READ, CLASSIFY, GUARD and ROUTE and its request is
 * written for the target, but nothing is sent, and it is no call, so it leaves no row. */
#include "gate/request.h"

bool gate_is_explained(const struct gate_req *r) { return http_count(http_req_head(r->http), S("x-hearth-explain")) > 0; }

static void put_fallbacks(struct json_out *o, const struct gate_req *r)
{
    const struct policy *p = &r->view->cfg->policy;
    const struct model *tried[TRIES_MAX];
    size_t n = 0, max = 1 + (size_t)r->retries;
    json_put_key(o, S("fallbacks"));
    json_open(o, '[');
    tried[n++] = r->decision.model;
    while (n < max && n < TRIES_MAX) {
        const struct model *next = route_fallback(p, &r->decision, tried[n - 1], tried, n);
        if (!next)
            break;
        json_put_str(o, next->name);
        tried[n++] = next;
    }
    json_close(o, ']');
    json_put_key(o, S("retries"));
    json_put_i64(o, r->retries);
}

static void put_model(struct json_out *o, struct gate_req *r)
{
    const struct model *m = r->decision.model;
    struct fleet_state s = { .state = "served" };
    struct fleet_model *e = r->view->cfg->engines[m - r->view->cfg->policy.models];
    if (e)
        fleet_look(e, &s);
    json_put_text_or_null(o, S("model"), m->name);
    json_put_text_or_null(o, S("provider"), m->provider->name);
    json_put_text_or_null(o, S("zone"), zone_name(m->provider->zone));
    json_put_text_or_null(o, S("state"), str_of(s.state));
    put_fallbacks(o, r);
    if (r->up) {
        json_put_text_or_null(o, S("request"), r->sink ? S("translated") : S("forwarded"));
        json_put_text_or_null(o, S("dropped"), r->speech ? chat_dropped(r->a, &r->speech->chat) : STR_NONE);
    }
}

void gate_explain(struct gate_req *r, enum err e)
{
    const struct decision *d = &r->decision;
    struct buf b;
    struct json_out o;
    if (e == ERR_OK && (r->op != OP_COUNT || upstream_counts(r)))
        e = speak_request(r);
    buf_init(&b, 1 << 20);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_text_or_null(&o, S("asked"), r->call.model);
    json_put_text_or_null(&o, S("rule"), d->rule);
    json_put_text_or_null(&o, S("because"), str_of(d->reason ? d->reason : ""));
    json_put_text_or_null(&o, S("task"), d->task ? d->task->name : STR_NONE);
    json_put_text_or_null(&o, S("risk"), d->reason ? risk_name(d->risk) : STR_NONE);
    json_put_text_or_null(&o, S("data"), d->reason ? data_name(d->data) : STR_NONE);
    json_put_text_or_null(&o, S("candidates"), d->candidates);
    json_put_text_or_null(&o, S("prompt"), r->prompt ? arena_printf(r->a, "%.*s@%lld", STR_ARG(r->prompt->name), (long long)r->prompt->version) : STR_NONE);
    if (d->model)
        put_model(&o, r);
    json_put_text_or_null(&o, S("refused"), e == ERR_OK ? STR_NONE : r->why.message.n ? r->why.message : str_of(err_text(e)));
    json_put_key(&o, S("status"));
    json_put_i64(&o, e == ERR_OK ? 200 : err_http(e));
    json_close(&o, '}');
    str body = arena_str(r->a, buf_str(&b));
    buf_free(&b);
    r->recorded = true;
    if (!r->gone)
        (void)http_reply(r->http, 200, S("application/json"), arena_printf(r->a, "x-request-id: %s\r\nrequest-id: %s\r\n", r->id, r->id), o.err == ERR_OK && body.p ? body : S("{}"));
    r->gone = true;
}
