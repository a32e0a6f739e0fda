/* RECORD: one row for what happened, then, when that row is on disk, the end of the answer for the client. The same
 * function fills the intent and the end, so that the two rows of an attempt cannot tell different stories. */
#include "gate/request.h"

#include "core/log.h"

static str record_stop(struct gate_req *r)
{
    json stop = json_member(r->call.root, r->dialect == DIALECT_ANTHROPIC ? S("stop_sequences") : S("stop"));
    return json_type(stop) == JSON_NONE || gate_guard_seals(r) ? STR_NONE : json_span(stop);
}

/* The end of a try that came to no intent after one that had one (the client left meanwhile, nobody could be asked) is one more. */
static int64_t record_attempt(const struct gate_req *r, enum row_kind kind)
{
    return r->attempt && kind == ROW_END && !r->entries->intent.on_done ? r->attempt + 1 : r->attempt;
}

static void record_request(struct gate_req *r, struct ledger_row *row)
{
    const struct http_head *h = http_req_head(r->http);
    const struct params *p = &r->call.params;
    row->at_us = clock_wall_us(&r->loop->gate->opt.clock);
    row->call_id = str_slice(r->id, UUID_TEXT - 1);
    row->attempt = record_attempt(r, row->kind);
    row->operation = op_name(r->op);
    row->dialect = dialect_name(r->dialect);
    row->policy = &r->view->cfg->policy.hash;
    row->arm = S("primary");
    row->client = r->client_text;
    if (r->key)
        row->key_id = r->key->name;
    row->trace = http_get(h, S("traceparent"));
    row->conversation = http_get(h, S("x-hearth-conversation"));
    row->parent_call = http_get(h, S("x-hearth-parent"));
    if (!row->parent_call.n || row->parent_call.n > 64)
        row->parent_call = *r->repeats ? str_of(r->repeats) : STR_NONE;
    if (r->client_retry)
        row->client_retry = r->client_retry;
    if (!row->trace.n)
        row->trace = STR_NONE;
    if (!row->conversation.n)
        row->conversation = STR_NONE;
    row->request_bytes = (int64_t)http_req_body(r->http).n;
    if (json_type(r->call.root) != JSON_OBJECT)
        return;                         /* it could not be read: there is nothing more to say of it */
    row->model_asked = r->call.model;
    row->stream = r->call.stream;
    row->temperature = p->temperature;
    row->top_p = p->top_p;
    row->min_p = p->min_p;
    row->frequency_penalty = p->frequency_penalty;
    row->presence_penalty = p->presence_penalty;
    row->top_k = p->top_k;
    row->max_tokens = p->max_tokens;
    row->seed = p->seed;
    row->choices = p->n;
    row->stop = record_stop(r);
}

/* How the name became this model. */
static str record_route(struct gate_req *r)
{
    const struct decision *d = &r->decision;
    str s = d->rule.n ? arena_printf(r->a, "%.*s; %s", STR_ARG(d->rule), d->reason) : str_of(d->reason);
    return s.p ? s : str_of(d->reason);
}

static void record_decision(struct gate_req *r, struct ledger_row *row)
{
    const struct decision *d = &r->decision;
    if (!d->reason)
        return;
    row->risk = risk_name(d->risk);
    row->data_class = data_name(d->data);
    row->decision = record_route(r);
    row->candidates = d->candidates;
    if (d->task) {
        row->task = d->task->name;
        if (d->task->prompt.n && !r->prompt)
            row->prompt_name = d->task->prompt;
    }
    if (r->prompt) {
        row->prompt_name = r->prompt->name;
        row->prompt_version = arena_printf(r->a, "%lld", (long long)r->prompt->version);
        row->prompt_hash = &r->prompt->hash;
    }
    if (!d->model)
        return;
    row->model = d->model->name;
    row->model_id = d->model->id.n ? d->model->id : d->model->name;
    row->provider = d->model->provider->name;
    row->zone = zone_name(gate_zone(r));
    row->endpoint = d->model->provider->url.n ? d->model->provider->url : d->model->provider->managed ? S("managed") : S("embedded");
    if (r->ready && r->ready->known)
        row->fingerprint = &r->ready->fingerprint;
}

static void record_init(struct gate_req *r, struct ledger_entry *e, enum row_kind kind)
{
    /* What was refused before it could be classified might have been private. */
    bool private = r->decision.data == DATA_PRIVATE || !r->decision.reason || gate_guard_seals(r);
    *e = (struct ledger_entry){ .port = &r->loop->ledger_port, .ctx = r, .private = private };
    row_init(&e->row, kind);
    record_request(r, &e->row);
    record_decision(r, &e->row);
    gate_guard_row(r, &e->row);
    if (!r->prompt)
        return;
    r->entries->variables = r->variables;
    r->entries->rendered = r->rendered;
    e->variables = (struct ledger_body){ &r->entries->variables, r->variables.n ? 1 : 0 };
    e->rendered = (struct ledger_body){ &r->entries->rendered, r->rendered.n ? 1 : 0 };
}

static void record_on_done(struct ledger_entry *e, enum err err, int64_t seq)
{
    struct gate_req *r = e->ctx;
    e->err = err;
    e->seq = seq;
    r->in_ledger--;
    r->end_back |= e == &r->entries->end;
    if (r->stage == STAGE_DONE && r->in_ledger == 0)
        gate_end(r);
    else
        gate_step(r);
}

static void record_submit(struct gate_req *r, struct ledger_entry *e)
{
    e->on_done = record_on_done;
    r->places--;
    r->in_ledger++;
    ledger_submit(r->loop->gate->opt.ledger, e);
}

void gate_submit_intent(struct gate_req *r)
{
    if (!r->loop->gate->opt.ledger)
        return;
    record_init(r, &r->entries->intent, ROW_INTENT);
    record_submit(r, &r->entries->intent);
    gate_want_flush(r->loop, gate_zone(r) == ZONE_CLOUD);
}

/* ---- the end row ---- */

static int64_t record_cost(const struct gate_req *r)
{
    const struct model *m = r->decision.model;
    if (!m || r->reply.prompt_tokens < 0 || r->reply.completion_tokens < 0 || m->price_input != m->price_input || m->price_output != m->price_output)
        return ROW_NULL_I;
    /* Dollars per million tokens are micro-dollars per token. */
    return (int64_t)((double)r->reply.prompt_tokens * m->price_input + (double)r->reply.completion_tokens * m->price_output + 0.5);
}

static int64_t known(int64_t tokens) { return tokens == TOKENS_UNKNOWN ? ROW_NULL_I : tokens; }
static str said(str s) { return s.n ? s : STR_NONE; }

/* A code as APIs have them; anything else may be a text, and a text may quote the prompt. */
static str said_code(str s)
{
    enum { LONGEST = 64 };
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
            return STR_NONE;
    }
    return s.n <= LONGEST ? said(s) : STR_NONE;
}

/* Of a call that was refused before it was sent: up to now. */
int64_t gate_overhead_us(const struct gate_req *r)
{
    int64_t until = r->sent_us ? r->sent_us : clock_mono_us(&r->loop->gate->opt.clock);
    return until - r->begin_us - r->queue_us - r->lost_us;
}

static enum metric_outcome record_outcome(const struct gate_req *r)
{
    switch (r->err) {
    case ERR_OK:     return METRIC_OK;
    case ERR_CLIENT: return METRIC_CANCELLED;
    case ERR_CUT:    return METRIC_CUT;
    default:         return r->attempt ? METRIC_ERROR : METRIC_REFUSED;
    }
}

static void record_metrics(struct gate_req *r)
{
    const struct metric_call c = { .outcome = record_outcome(r), .total_us = clock_mono_us(&r->loop->gate->opt.clock) - r->begin_us,
                                   .first_us = r->first_us ? r->first_us - r->sent_us : -1, .input_tokens = r->reply.prompt_tokens,
                                   .output_tokens = r->reply.completion_tokens, .cost_micros = record_cost(r), .tries = r->attempt };
    metrics_count(&r->loop->metrics, r->decision.model, &c);
    gate_settle(r, c.cost_micros == ROW_NULL_I ? -1 : c.cost_micros);
}

static void record_result(struct gate_req *r, struct ledger_row *row)
{
    int64_t now = clock_mono_us(&r->loop->gate->opt.clock);
    row->outcome = str_of(metric_outcome_name(record_outcome(r)));
    row->http_status = r->reply_started ? 200 : r->http_status;
    row->total_us = now - r->begin_us;
    if (r->err != ERR_OK) {
        row->error_type = str_of(*err_code(r->err) ? err_code(r->err) : err_name(r->err));
        if (r->reply.has_error)
            row->error_detail = said_code(r->reply.error_code.n ? r->reply.error_code : r->reply.error_type);
    }
    if (!r->attempt)
        return;
    row->overhead_us = r->sent_us ? gate_overhead_us(r) : ROW_NULL_I;
    row->queue_us = r->asked_us || r->seat_us ? r->queue_us : ROW_NULL_I;
    row->first_us = r->first_us ? r->first_us - r->sent_us : ROW_NULL_I;
    row->model_served = said(r->reply.model);
    row->response_id = said(r->reply.id);
    row->system_fingerprint = said(r->reply.fingerprint);
    row->finish_reason = said(r->reply.finish_reason);
    row->deterministic = r->deterministic ? 1 : ROW_NULL_I;
    row->input_tokens = known(r->reply.prompt_tokens);
    row->output_tokens = known(r->reply.completion_tokens);
    row->cached_tokens = known(r->reply.cached_tokens);
    row->reasoning_tokens = known(r->reply.reasoning_tokens);
    row->accepted_tokens = known(r->reply.accepted_tokens);
    row->rejected_tokens = known(r->reply.rejected_tokens);
    row->cost_micros = record_cost(r);
}

bool gate_reserve_try(struct gate_req *r)
{
    struct ledger *led = r->loop->gate->opt.ledger;
    struct gate_entries *n = arena_new(r->a, struct gate_entries, 1);
    str *slices = arena_new(r->a, str, OPENAI_MAX_SLICES);
    if (!n || !slices || (led && ledger_reserve(led, (size_t)(2 - r->places)) != ERR_OK))
        return false;
    r->places = led ? 2 : 0;
    r->entries = n;
    r->slices = slices;
    r->n_slices = 0;
    return true;
}

void gate_submit_failed_try(struct gate_req *r, enum err e)
{
    struct gate_entries *n = r->entries;
    if (r->places <= 0)
        return;
    r->err = e;
    record_init(r, &n->end, ROW_END);
    record_result(r, &n->end.row);
    r->err = ERR_OK;
    n->response = r->body;
    n->end.upstream = (struct ledger_body){ r->slices, r->n_slices };
    n->end.response = (struct ledger_body){ &n->response, n->response.n ? 1 : 0 };
    n->end.row.response_bytes = (int64_t)n->response.n;
    record_submit(r, &n->end);
    gate_want_flush(r->loop, false);
}

static void record_submit_end(struct gate_req *r)
{
    struct gate_entries *n = r->entries;
    struct ledger_entry *end = &n->end;
    record_init(r, end, ROW_END);
    record_result(r, &end->row);
    n->request = http_req_body(r->http);
    end->request = (struct ledger_body){ &n->request, n->request.n ? 1 : 0 };
    if (r->attempt)
        end->upstream = (struct ledger_body){ r->slices, r->n_slices };
    /* What the client is given: the stream with its end, the reply, or the error. */
    if (r->reply_started || (r->err == ERR_OK && r->call.stream)) {
        r->taken_bytes += r->early.n + r->held.n;
        if (r->err == ERR_OK)           /* a beginning that showed nothing, and then the end */
            (void)buf_put(&r->taken, buf_str(&r->early));
        size_t room = r->loop->gate->opt.record_max - r->taken.n;
        if (r->err == ERR_OK)
            (void)buf_put(&r->taken, str_slice(r->held.p, r->held.n < room ? r->held.n : room));
        n->response = buf_str(&r->taken);
    } else
        n->response = r->err == ERR_OK ? buf_str(&r->taken) : r->body;
    if (r->err == ERR_CLIENT && !r->reply_started)
        n->response = STR_NONE;
    end->response = (struct ledger_body){ &n->response, n->response.n ? 1 : 0 };
    end->row.response_bytes = r->reply_started ? (int64_t)r->taken_bytes : (int64_t)n->response.n;
    record_submit(r, end);
    gate_want_flush(r->loop, true);
}

/* ---- the end of the answer ---- */

/* When a client should ask again: what the upstream said, or what hearth knows itself. Both SDKs heed x-should-retry. */
static str retry_fields(struct gate_req *r)
{
    str after = r->retry_after, ms = r->retry_after_ms, should = r->should_retry;
    if (r->reply_started || !r->http_status || r->http_status == 200)
        return S("");
    if (!after.n && (r->err == ERR_BUSY || r->err == ERR_STORE))
        after = S("1");
    if (r->err == ERR_BUDGET)           /* which does not come back in a moment */
        should = S("false");
    const str line = S("\r\n"), none = S("");
    const str parts[] = { after.n ? S("retry-after: ") : none, after, after.n ? line : none, ms.n ? S("retry-after-ms: ") : none, ms, ms.n ? line : none,
                          should.n ? S("x-should-retry: ") : none, should, should.n ? line : none };
    str all = arena_cat(r->a, parts, sizeof parts / sizeof *parts);
    return all.p ? all : none;
}

static str cost_field(struct gate_req *r)
{
    int64_t cost = record_cost(r);
    str s = cost == ROW_NULL_I ? S("") : arena_printf(r->a, "x-hearth-cost: %lld.%06lld\r\n", (long long)(cost / 1000000), (long long)(cost % 1000000));
    return s.p ? s : S("");
}

/* Of a stream the cost is known when its head is long gone: it follows its end, for clients that take such fields. */
static bool has_cost_trailer(const struct gate_req *r)
{
    const struct model *m = r->decision.model;
    return r->call.stream && m->price_input == m->price_input && m->price_output == m->price_output && http_req_takes_trailers(r->http);
}

/* The fields that every reply of a call carries; request-id is how Anthropic's SDK calls it. */
str gate_reply_fields(struct gate_req *r)
{
    const str id = { r->id, UUID_TEXT - 1 }, line = S("\r\n"), none = S("");
    str dropped = gate_guard_dropped(r, r->speech && r->speech->chat.n_dropped ? chat_dropped(r->a, &r->speech->chat) : none);
    const str ids[] = { S("x-request-id: "), id, S("\r\nrequest-id: "), id, S("\r\nx-hearth-call: "), id, line, gate_count_field(r), gate_guard_field(r), retry_fields(r),
                        dropped.n ? S("x-hearth-dropped: ") : none, dropped, dropped.n ? line : none };
    str first = arena_cat(r->a, ids, sizeof ids / sizeof *ids);
    if (!r->decision.model || !first.p)
        return first;
    char fingerprint[HEX_DIGEST], overhead[STR_I64];
    bool known = r->ready && r->ready->known;
    if (known)
        hex_encode(r->ready->fingerprint.b, sizeof r->ready->fingerprint.b, fingerprint);
    const str more[] = { first, S("x-hearth-model: "), r->decision.model->name, S("\r\nx-hearth-route: "), r->decision.reason ? record_route(r) : none,
                         S("\r\nx-hearth-fingerprint: "), known ? str_slice(fingerprint, HEX_DIGEST) : S("unknown"), S("\r\nx-hearth-overhead-us: "),
                         str_from_i64(gate_overhead_us(r), overhead), line, has_cost_trailer(r) ? S("Trailer: x-hearth-cost\r\n") : r->call.stream ? none : cost_field(r) };
    str all = arena_cat(r->a, more, sizeof more / sizeof *more);
    return all.p ? all : first;
}

static void answer_error(struct gate_req *r)
{
    if (r->reply_started) {
        str ev = r->client->error_event(r, r->err, r->why.message);
        (void)http_reply_write(r->http, ev);
        http_reply_end_with(r->http, has_cost_trailer(r) ? cost_field(r) : STR_NONE);
        return;
    }
    (void)http_reply(r->http, r->http_status, S("application/json"), gate_reply_fields(r), r->body);
}

static void answer(struct gate_req *r)
{
    if (r->gone)
        return;
    if (r->err != ERR_OK) {
        answer_error(r);
    } else if (!r->call.stream) {
        (void)http_reply(r->http, 200, S("application/json"), gate_reply_fields(r), buf_str(&r->taken));
    } else {
        if (!r->reply_started)
            (void)http_reply_start(r->http, 200, r->client->stream_type, gate_reply_fields(r));
        r->reply_started = true;
        (void)http_reply_write(r->http, buf_str(&r->early));
        (void)http_reply_write(r->http, buf_str(&r->held));
        http_reply_end_with(r->http, has_cost_trailer(r) ? cost_field(r) : STR_NONE);
    }
    r->gone = true;                     /* the reply has ended: the connection is no longer ours */
}

static void record_error_body(struct gate_req *r)
{
    if (r->err == ERR_OK || r->reply_started)
        return;
    if (!r->body.n) {
        r->body = r->client->error_body(r, r->err, r->why.message, r->why.param);
        r->http_status = err_http(r->err);
    }
}

enum err gate_record(struct gate_req *r)
{
    if (!r->recorded) {
        r->recorded = true;
        gate_attempt_abort(r);
        r->http_status = r->err == ERR_OK ? 200 : r->http_status;
        record_error_body(r);
        record_metrics(r);
        if (r->err != ERR_OK && r->dialect != DIALECT_OLLAMA)   /* whose clients do not repeat by themselves */
            retried_note(r->loop->gate->retried, r->client_text, http_req_body(r->http), r->id, clock_mono_us(&r->loop->gate->opt.clock));
        if (r->places > 0)
            record_submit_end(r);
    }
    const struct ledger_entry *end = &r->entries->end;
    if (end->on_done && !r->end_back)   /* another entry of this call may come back first */
        return ERR_AGAIN;
    if (end->on_done && end->err != ERR_OK) {        /* no answer without its record */
        log_warn("call_refused", LOG_C("call", r->id), LOG_C("why", err_text(ERR_STORE)));
        r->err = ERR_STORE;
        r->why = (struct wire_error){ .err = ERR_STORE };
        r->body = STR_NONE;
        record_error_body(r);
    }
    answer(r);
    return ERR_OK;
}
