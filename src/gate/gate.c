/* The life of one call, in seven stages. Start reading here.
 *
 *   READ      decode the body, reserve places in the ledger                      below
 *   CLASSIFY  name its task, risk and data class                                 below, route/route.c
 *   GUARD     nothing yet: what leaves is searched at the door, by each try      guard.c
 *   ROUTE     choose the model                                                   below, route/route.c
 *   CALL      the engine ready, the intent on record, the request sent           attempt.c
 *   STREAM    hand on what comes; keep back the end                              attempt.c
 *   RECORD    one row; when it is on disk, the end goes to the client            record.c
 *
 * A stage that must wait returns ERR_AGAIN; the callback of what it waits for calls gate_step() again. */
#include "gate/request.h"

#include "core/log.h"

enum err gate_fail(struct gate_req *r, enum err e, str message)
{
    if (!r->why.message.n)
        r->why = (struct wire_error){ .err = e, .message = message };
    return e;
}

/* ---- READ ---- */

static enum err gate_read(struct gate_req *r)
{
    struct ledger *led = r->loop->gate->opt.ledger;
    if (led) {
        enum err e = ledger_reserve(led, 2);
        if (e != ERR_OK)
            return e;                   /* no record can be made, so no answer can be given */
        r->places = 2;
    }
    const struct http_head *h = http_req_head(r->http);
    uint64_t retry;
    if (str_u64(http_get(h, S("x-stainless-retry-count")), &retry) && retry > 0) {
        r->client_retry = (int64_t)retry;
        (void)retried_find(r->loop->gate->retried, r->client_text, http_req_body(r->http), r->begin_us, r->repeats);
    }
    str type = http_get(h, S("content-type"));
    /* A page of a foreign site can post text/plain without asking; JSON it cannot. Ollama's clients say nothing of the kind,
     * and pages are turned away by their Origin (endpoints.c). */
    if (r->dialect != DIALECT_OLLAMA && !str_ieq(str_slice(type.p, type.n < 16 ? type.n : 16), S("application/json")))
        return gate_fail(r, ERR_SYNTAX, S("the Content-Type must be application/json"));
    enum err e = gate_prompt(r);
    if (e == ERR_OK)
        e = r->client->decode(r);
    if (e == ERR_OK && r->path_model.n)
        r->call.model = r->path_model;
    return e;
}

/* ---- CLASSIFY ---- */

/* What the rules of `auto` look at. A body that its own dialect can express and `chat` cannot is judged by what is left: path and size. */
static enum err classify_look(struct gate_req *r, struct features *out)
{
    str path = r->path;
    size_t bytes = r->asked.n;
    struct chat chat;
    struct wire_error ignored = { .err = ERR_OK };
    if (r->op != OP_CHAT)
        return route_look(r->a, path, bytes, NULL, r->call.prompt, out);
    if (r->client->to_chat(r->a, &r->call, &chat, &ignored) != ERR_OK)
        return route_look(r->a, path, bytes, NULL, STR_NONE, out);
    return route_look(r->a, path, bytes, &chat, STR_NONE, out);
}

static void classify_deadline(struct gate_req *r)
{
    const struct task *t = r->decision.task;
    if (!t || !t->deadline_ms)
        return;
    r->deadline_us = r->begin_us + t->deadline_ms * 1000;
    gate_deadline_set(r->loop, r->deadline_us);
}

static enum err classify_priority(struct gate_req *r)
{
    str p = http_get(http_req_head(r->http), S("x-hearth-priority"));
    r->batch = p.n ? str_eq(p, S("batch")) : r->decision.task && r->decision.task->batch;
    return !p.n || r->batch || str_eq(p, S("interactive")) ? ERR_OK : gate_fail(r, ERR_SYNTAX, S("x-hearth-priority must be interactive or batch"));
}

/* The same bytes for the same call, whatever else runs: the header says it in every dialect, the body where hearth's own field fits. */
static enum err classify_deterministic(struct gate_req *r)
{
    str h = http_get(http_req_head(r->http), S("x-hearth-deterministic"));
    json field = r->dialect == DIALECT_OPENAI ? json_member(r->call.root, S("deterministic")) : JSON_ABSENT;
    bool asked = false;
    if (h.n && !str_eq(h, S("true")) && !str_eq(h, S("false")))
        return gate_fail(r, ERR_SYNTAX, S("x-hearth-deterministic must be true or false"));
    if (json_type(field) != JSON_NONE && json_type(field) != JSON_NULL && !json_bool(field, &asked))
        return gate_fail(r, ERR_SYNTAX, S("'deterministic' must be true or false"));
    r->deterministic = r->asks_deterministic = asked || str_eq(h, S("true"));
    return ERR_OK;
}

static struct route_ask classify_ask(const struct gate_req *r, str model)
{
    const struct http_head *h = http_req_head(r->http);
    return (struct route_ask){ .model = model, .task_header = http_get(h, S("x-hearth-task")), .data_header = http_get(h, S("x-hearth-data")), .unit = r->unit,
                               .default_task = r->key ? r->key->default_task : S("") };
}

enum err gate_task_named(struct gate_req *r, str model, const struct task **out)
{
    const struct policy *p = &r->view->cfg->policy;
    struct route_ask ask = classify_ask(r, model);
    struct decision d = { .task = NULL };
    enum err e = route_is_auto(p, &ask) ? ERR_OK : route_classify(r->a, p, &ask, &d, &r->why);
    *out = d.task;
    return e;
}

static enum err gate_classify(struct gate_req *r)
{
    const struct policy *p = &r->view->cfg->policy;
    struct route_ask ask = classify_ask(r, r->call.model);
    struct features features;
    if (route_is_auto(p, &ask)) {
        enum err e = classify_look(r, &features);
        if (e != ERR_OK)
            return e;
        ask.features = &features;
    }
    enum err e = route_classify(r->a, p, &ask, &r->decision, &r->why);
    gate_grant(r);
    if (e == ERR_OK)
        classify_deadline(r);
    if (e == ERR_OK)
        e = classify_priority(r);
    if (e == ERR_OK)
        e = classify_deterministic(r);
    return e;
}

/* ---- GUARD ---- */

/* Which bytes leave, and whether any do, is known when a try has its model, its zone and its body: guard.c searches them at that door, once for all
 * tries that send the same. So a call that stays costs nothing here. */
static enum err gate_guard(struct gate_req *r)
{
    (void)r;
    return ERR_OK;
}

/* ---- ROUTE ---- */

static enum err gate_route(struct gate_req *r)
{
    enum err e = route_choose(r->a, &r->decision, &r->why);
    r->first = r->decision.model;
    r->retries = r->decision.task && r->decision.task->retries >= 0 ? r->decision.task->retries : r->first ? r->first->retries : 0;
    return e == ERR_OK ? gate_take(r) : e;
}

/* ---- the machine ---- */

static enum err (*const stage_run[STAGE_DONE])(struct gate_req *) = {   /* in the order of enum stage */
    gate_read, gate_classify, gate_guard, gate_route, gate_call, gate_stream, gate_record };

/* Runs stages until one must wait (ERR_AGAIN). A failed stage jumps to RECORD:
 * a refused call is evidence too, so it must reach the ledger. */
void gate_step(struct gate_req *r)
{
    if (r->stepping)
        return;                         /* a callback inside a stage: the loop below looks again */
    r->stepping = true;
    while (r->stage < STAGE_DONE) {
        enum err e = stage_run[r->stage](r);
        if (e == ERR_AGAIN) {
            r->stepping = false;
            return;
        }
        if (e != ERR_OK && (r->stage == STAGE_CALL || r->stage == STAGE_STREAM) && gate_again(r, e)) {
            r->stage = STAGE_CALL;
            continue;
        }
        if (r->stage <= STAGE_ROUTE && (e != ERR_OK || r->stage == STAGE_ROUTE) && gate_is_explained(r)) {
            gate_explain(r, e);
            r->stage = STAGE_DONE;
            break;
        }
        if (e != ERR_OK && r->err == ERR_OK)
            r->err = e;
        r->stage = e != ERR_OK && r->stage < STAGE_RECORD ? STAGE_RECORD : r->stage + 1;
    }
    r->stepping = false;
    if (r->in_ledger == 0)
        gate_end(r);
}

static void gate_client(struct gate_req *r)
{
    str agent = http_get(http_req_head(r->http), S("user-agent"));
    const str parts[] = { str_of(http_req_peer(r->http)), S(" "), str_slice(agent.p, agent.n < 90 ? agent.n : 90) };
    r->client_text = arena_cat(r->a, parts, 3);
}

struct gate_req *gate_begin(struct gate_loop *l, struct http_req *http, enum dialect dialect, enum op op, const struct key *key)
{
    struct gate_req *r = arena_new(http_req_arena(http), struct gate_req, 1);
    struct gate_entries *entries = arena_new(http_req_arena(http), struct gate_entries, 1);
    str *slices = arena_new(http_req_arena(http), str, OPENAI_MAX_SLICES);
    if (!r || !entries || !slices)
        return NULL;
    r->entries = entries;
    r->slices = slices;
    http_req_hold(http);
    http_req_set_data(http, r);
    r->loop = l;
    r->view = l->view;
    r->view->refs++;
    r->http = http;
    r->a = http_req_arena(http);
    r->op = op;
    r->dialect = dialect;
    r->client = client_side(dialect);
    r->key = key;
    r->asked = http_req_body(http);
    r->begin_us = http_req_received_us(http);
    r->wall_us = clock_wall_us(&l->gate->opt.clock);
    r->unit = r->view->cfg->policy.n_aliases ? rand_unit(&l->rng) : 0;
    uuid7(&l->rng, r->wall_us, r->id);
    buf_init(&r->taken, r->view->cfg->reply_max);
    buf_init(&r->held, l->gate->opt.record_max);
    buf_init(&r->early, l->gate->opt.record_max);
    reply_init(&r->reply);
    gate_client(r);
    r->next = l->requests;
    r->back = &l->requests;
    if (r->next)
        r->next->back = &r->next;
    l->requests = r;
    atomic_fetch_add_explicit(&l->running, 1, memory_order_relaxed);
    return r;
}
