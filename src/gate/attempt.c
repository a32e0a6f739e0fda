/* One try at one model: CALL gets the engine ready, puts the intent on record and sends the request; STREAM hands on what
 * comes back. The end of a stream (from the event that says the answer is complete) is held until RECORD has its row on disk. */
#include "gate/request.h"

#include "core/log.h"

#define ERROR_BODY_MAX (1u << 20)       /* of an upstream's error reply */
#define EARLY_MAX (64u << 10)           /* of a stream that shows nothing yet */

/* ---- CALL ---- */

/* The door: every attempt passes here, whatever chose its model. ROUTE has refused already what may not leave; this
 * asks again, so that no later way of choosing can forget it. What leaves is searched and masked when it is written: attempt_intent(). */
static enum err attempt_door(struct gate_req *r)
{
    const struct provider *p = r->decision.model->provider;
    if (p->zone == ZONE_CLOUD && r->decision.data == DATA_PRIVATE)
        return gate_fail(r, ERR_PRIVATE, STR_NONE);
    r->deterministic = r->asks_deterministic || r->decision.model->deterministic || (r->decision.task && r->decision.task->deterministic);
    if (r->deterministic && p->api != API_EMBEDDED)
        return gate_fail(r, ERR_UNSUPPORTED, arena_printf(r->a, "'deterministic' is promised by models that hearth runs itself; %.*s is not one of them", STR_ARG(r->decision.model->name)));
    return speak_asks(r) ? gate_breaker_ask(r) : ERR_OK;
}

enum zone gate_zone(const struct gate_req *r) { return r->ready && r->ready->remote ? ZONE_CLOUD : r->decision.model->provider->zone; }

/* What the server says of itself may put it farther away than the configuration does. */
static enum err attempt_far(struct gate_req *r)
{
    const struct decision *d = &r->decision;
    str name = d->model->name;
    if (!r->ready || (!r->ready->remote && !r->ready->unsure))
        return ERR_OK;
    if (d->data == DATA_PRIVATE)
        return gate_fail(r, ERR_PRIVATE, r->ready->remote ? arena_printf(r->a, "this call is private, and model %.*s is passed on to another host by its server", STR_ARG(name))
                                                          : arena_printf(r->a, "this call is private, and the server of model %.*s did not say whether it passes calls on", STR_ARG(name)));
    if (r->ready->remote && d->grant && d->grant->ceiling < ZONE_CLOUD)
        return gate_fail(r, ERR_FORBIDDEN, arena_printf(r->a, "this key does not reach a cloud, and model %.*s is passed on to one by its server", STR_ARG(name)));
    return ERR_OK;
}

/* A model that takes only so many calls at once: this one's turn. */
static enum err attempt_seat(struct gate_req *r)
{
    const struct model *m = r->decision.model;
    struct seats *s = r->view->seats[m - r->view->cfg->policy.models];
    int64_t retry_s = 1, now = clock_mono_us(&r->loop->gate->opt.clock);
    if (!s || r->op == OP_LOAD || r->op == OP_UNLOAD) {
        r->call_step = r->op == OP_UNLOAD ? CALL_INTENT : CALL_ENGINE;
        return ERR_OK;
    }
    r->seat_us = now;
    enum err e = seat_take(s, &r->seat, &r->loop->seat_port, r->batch, now, &retry_s);
    r->call_step = e == ERR_AGAIN ? CALL_SEAT_WAIT : CALL_ENGINE;
    if (e == ERR_AGAIN) {
        r->seat_until_us = now + m->queue_ms * 1000;
        gate_deadline_set(r->loop, r->seat_until_us);
    } else if (e == ERR_BUSY) {
        r->retry_after = arena_printf(r->a, "%lld", (long long)retry_s);
        return gate_fail(r, e, arena_printf(r->a, "model %.*s is busy with %lld calls, and %lld wait; try again in %lld s", STR_ARG(m->name), (long long)m->concurrency,
                                            (long long)m->queue, (long long)retry_s));
    }
    return e;
}

static enum err attempt_seat_back(struct gate_req *r)
{
    const struct model *m = r->decision.model;
    int64_t now = clock_mono_us(&r->loop->gate->opt.clock);
    if (seat_waits(&r->seat) && now < r->seat_until_us)
        return ERR_AGAIN;
    r->seat_until_us = 0;
    r->queue_us = now - r->seat_us;
    if (!seat_waits(&r->seat)) {
        r->call_step = CALL_ENGINE;
        return ERR_OK;
    }
    seat_release(&r->seat, now);
    r->retry_after = arena_printf(r->a, "%lld", (long long)m->queue_ms / 1000 + 1);
    return gate_fail(r, ERR_BUSY, arena_printf(r->a, "model %.*s had no room for this call within %lld ms", STR_ARG(m->name), (long long)m->queue_ms));
}

static void attempt_on_ready(struct fleet_waiter *w)
{
    struct gate_req *r = w->ctx;
    gate_step(r);
}

static enum err attempt_engine(struct gate_req *r)
{
    struct fleet_model *e = r->view->cfg->engines[r->decision.model - r->view->cfg->policy.models];
    if (!e) {
        r->call_step = CALL_INTENT;
        return ERR_OK;
    }
    r->waiter = (struct fleet_waiter){ .port = &r->loop->fleet_port, .on_ready = attempt_on_ready, .ctx = r };
    r->asked_us = clock_mono_us(&r->loop->gate->opt.clock);
    enum err err = fleet_acquire(e, &r->waiter, &r->ready);
    r->call_step = err == ERR_AGAIN ? CALL_ENGINE_WAIT : CALL_INTENT;
    if (err == ERR_OK)
        return attempt_far(r);
    return err == ERR_AGAIN ? err : gate_fail(r, err, str_of(r->waiter.why));
}

static enum err attempt_engine_back(struct gate_req *r)
{
    if (fleet_waits(&r->waiter))
        return ERR_AGAIN;
    if (r->waiter.err == ERR_LOADING)   /* there was no room for it */
        r->retry_after = S("5");
    if (r->waiter.err != ERR_OK)
        return gate_fail(r, r->waiter.err, str_of(r->waiter.why));
    r->ready = r->waiter.ready;
    r->queue_us += clock_mono_us(&r->loop->gate->opt.clock) - r->asked_us;
    r->call_step = CALL_INTENT;
    return attempt_far(r);
}

static enum err attempt_intent(struct gate_req *r)
{
    enum err e = r->call_step == CALL_INTENT ? speak_request(r) : gate_looks(r) ? ERR_AGAIN : ERR_OK;
    if (e == ERR_OK)
        e = gate_guard_door(r);
    if (e == ERR_AGAIN)
        r->call_step = CALL_LOOK_WAIT;
    if (e != ERR_OK)
        return e;
    r->attempt++;
    gate_submit_intent(r);
    r->call_step = gate_zone(r) == ZONE_CLOUD && r->in_ledger ? CALL_INTENT_WAIT : CALL_SEND;
    return ERR_OK;
}

static enum err attempt_intent_back(struct gate_req *r)
{
    if (r->in_ledger)
        return ERR_AGAIN;
    r->call_step = CALL_SEND;
    return r->entries->intent.err == ERR_OK ? ERR_OK : gate_fail(r, ERR_STORE, STR_NONE);
}

static void attempt_on_head(void *ctx, const struct http_head *h);
static void attempt_on_data(void *ctx, str data);
static void attempt_on_end(void *ctx, enum err e, const char *detail);

/* A model that is in memory now, and nothing to ask it. */
static enum err attempt_nothing(struct gate_req *r)
{
    r->sent_us = clock_mono_us(&r->loop->gate->opt.clock);
    r->status = 200;
    r->upstream_ended = true;
    r->call_step = CALL_WAIT;
    return ERR_OK;
}

static enum err attempt_send(struct gate_req *r)
{
    if (!r->n_slices)
        return attempt_nothing(r);
    static const struct http_client_events events = { attempt_on_head, attempt_on_data, attempt_on_end };
    const struct provider *p = r->decision.model->provider;
    struct http_pool *pool;
    enum err e = gate_pool(r->view, r->decision.model, r->ready, &pool);
    if (e != ERR_OK)
        return gate_fail(r, e, STR_NONE);
    str own = r->up->fields(r);
    const str parts[] = { S("User-Agent: hearth/" HEARTH_VERSION "\r\nContent-Type: application/json\r\nAccept: "),
                          !r->call.stream ? S("application/json") : r->up->lines ? S("application/x-ndjson") : S("text/event-stream"), S("\r\n"), own };
    str fields = arena_cat(r->a, parts, sizeof parts / sizeof *parts);
    if (!own.p || !fields.p)
        return ERR_LIMIT;
    struct http_request rq = { .method = S("POST"), .fields = fields, .body = r->slices, .n_body = r->n_slices,
                               .target = r->up->target(r), .beside = upstream_is_beside(r),
                               .first_byte_ms = p->first_byte_ms, .gap_ms = p->gap_ms };
    r->sent_us = clock_mono_us(&r->loop->gate->opt.clock);
    r->call_step = CALL_WAIT;
    return http_exchange_start(pool, &rq, &events, r, &r->x);
}

enum err gate_call(struct gate_req *r)
{
    static enum err (*const steps[])(struct gate_req *) = {     /* in the order of enum call_step */
        attempt_seat, attempt_seat_back, attempt_engine, attempt_engine_back, attempt_intent, attempt_intent, attempt_intent_back, attempt_send };
    if (r->again_us)
        return ERR_AGAIN;               /* not yet */
    if (r->op == OP_COUNT && !upstream_counts(r))
        return gate_estimate(r);
    if (r->call_step == CALL_SEAT) {
        gate_replica(r);
        enum err e = attempt_door(r);
        if (e != ERR_OK)
            return e;
    }
    while (r->call_step < CALL_WAIT) {
        enum err e = steps[r->call_step](r);
        if (e != ERR_OK)
            return e;
    }
    return r->status || r->upstream_ended ? ERR_OK : ERR_AGAIN;
}

/* ---- STREAM: what the upstream sends ---- */

static bool is_json(str type) { return str_ieq(str_slice(type.p, type.n < 16 ? type.n : 16), S("application/json")); }
static bool is_lines(str type) { return str_ieq(str_slice(type.p, type.n < 20 ? type.n : 20), S("application/x-ndjson")); }
static bool is_sse(str type) { return str_ieq(str_slice(type.p, type.n < 17 ? type.n : 17), S("text/event-stream")); }

/* The attempt is over by our own decision: no further event will come. */
static void attempt_give_up(struct gate_req *r, enum err e, str message)
{
    gate_fail(r, e, message);
    if (r->x)
        http_exchange_cancel(r->x);
    r->x = NULL;
    r->upstream_ended = true;
    r->upstream_err = e;
}

static void attempt_on_head(void *ctx, const struct http_head *h)
{
    struct gate_req *r = ctx;
    r->status = h->status;
    gate_breaker_note(r, h->status >= 500);
    r->upstream_type = arena_str(r->a, http_get(h, S("content-type")));
    if (h->status != 200) {
        r->retry_after = arena_str(r->a, http_get(h, S("retry-after")));
        r->retry_after_ms = arena_str(r->a, http_get(h, S("retry-after-ms")));
        r->should_retry = arena_str(r->a, http_get(h, S("x-should-retry")));
    }
    if (h->status >= 300 && h->status < 400)
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream answered with a redirect, which is not followed"));
    else if (h->status != 200 && (h->status < 300 || h->status > 599))      /* neither an answer nor an error: nothing that could be handed on */
        attempt_give_up(r, ERR_UPSTREAM, arena_printf(r->a, "the upstream answered with status %d, which is none of its API", h->status));
    else if (h->status == 200 && r->call.stream && !(r->up->lines ? is_lines(r->upstream_type) : is_sse(r->upstream_type)))
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream did not answer with a stream"));
    else if (h->status == 200 && !r->call.stream && !is_json(r->upstream_type))
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream did not answer with JSON"));
    else if (h->status == 200 && r->call.stream && r->up->lines) {
        ndjson_init(&r->lines, r->loop->gate->opt.record_max);
        r->lines_open = true;
        gate_quiet_watch(r);
    } else if (h->status == 200 && r->call.stream) {
        sse_init(&r->sse, r->loop->gate->opt.record_max);
        r->sse_open = true;
        gate_quiet_watch(r);
    } else if (h->status != 200)
        r->taken.max = ERROR_BODY_MAX;
    gate_step(r);
}

static void attempt_send_on(struct gate_req *r, str bytes)
{
    if (!bytes.n)
        return;
    r->taken_bytes += bytes.n;
    size_t room = r->loop->gate->opt.record_max - r->taken.n;
    (void)buf_put(&r->taken, str_slice(bytes.p, bytes.n < room ? bytes.n : room));
    if (http_reply_write(r->http, bytes) == ERR_AGAIN && r->x && !r->paused) {
        r->paused = true;
        http_exchange_pause(r->x, true);
    }
}

/* The status line, and what was kept back: from here on there is no other try. */
static void attempt_begin_reply(struct gate_req *r)
{
    if (r->reply_started)
        return;
    r->reply_started = true;
    str fields = gate_reply_fields(r);
    str all = arena_printf(r->a, "%.*sCache-Control: no-cache\r\n", STR_ARG(fields));
    http_reply_start(r->http, 200, r->client->stream_type, all.p ? all : fields);
    attempt_send_on(r, buf_str(&r->early));
    buf_clear(&r->early);
}

void gate_attempt_sign(struct gate_req *r, str sign)
{
    attempt_begin_reply(r);
    attempt_send_on(r, sign);
}

/* To the client now, and to the record up to its limit. */
static void attempt_relay(struct gate_req *r, str bytes)
{
    if (!bytes.n || r->gone)
        return;
    /* Roles and keep-alives commit to nothing: they wait for something to see, as long as another try could take over. */
    if (!r->reply_started && !r->reply.started && r->early.n + bytes.n <= EARLY_MAX && gate_may_try_again(r) && buf_put(&r->early, bytes) == ERR_OK)
        return;
    attempt_begin_reply(r);
    attempt_send_on(r, bytes);
}

static void attempt_hold(struct gate_req *r, str bytes)
{
    if (buf_put(&r->held, bytes) != ERR_OK)
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream sent too much after its last token"));
}

/* One event: true when its bytes go to the client at once. */
static bool attempt_event(struct gate_req *r, const struct sse_event *ev)
{
    if (!ev->has_data)                  /* a comment: of use where the client reads such a stream too */
        return !r->holding && !r->sink;
    bool started = r->reply.started;
    str out;
    enum wire_event kind = speak_event(r, ev->event, ev->data, &out);
    if (!started && r->reply.started)
        r->first_us = clock_mono_us(&r->loop->gate->opt.clock);
    switch (kind) {
    case WIRE_ERROR:
        attempt_give_up(r, ERR_UPSTREAM, r->reply.error_message);
        return false;
    case WIRE_INVALID:
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream sent an event that is none of its API"));
        return false;
    case WIRE_USAGE:
        if (r->call.include_usage && !r->sink)
            attempt_hold(r, ev->raw);
        return false;
    case WIRE_FINISH:
    case WIRE_DONE:
        r->holding = r->holding || r->reply.finished || kind == WIRE_DONE;
        break;
    case WIRE_DELTA:
        break;
    }
    if (r->holding)
        attempt_hold(r, r->sink ? out : ev->raw);
    else if (r->sink)
        attempt_relay(r, out);
    return !r->holding && !r->sink;
}

static void attempt_on_unmasked(struct gate_req *r, const struct sse_event *ev)
{
    if (!r->upstream_ended && attempt_event(r, ev))
        attempt_relay(r, ev->raw);
}

/* As attempt_event(), of what is said to the guard's placeholders: values are in their place first. */
static bool attempt_guarded_event(struct gate_req *r, const struct sse_event *ev)
{
    if (!gate_unmasks(r))
        return attempt_event(r, ev);
    if (!ev->has_data)
        attempt_on_unmasked(r, ev);
    else if (gate_unmask_event(r, ev, attempt_on_unmasked) != ERR_OK)
        attempt_give_up(r, ERR_GUARD, S("the values that were masked could not be put back into the answer"));
    return false;
}

/* All events of one read go out with one write, as long as nothing between them is dropped. */
static void attempt_events(struct gate_req *r, str data)
{
    struct sse_event ev;
    str run = STR_NONE;
    enum err e = ERR_OK;
    sse_feed(&r->sse, data);
    while (!r->upstream_ended && (e = sse_next(&r->sse, &ev)) == ERR_OK) {
        if (!attempt_guarded_event(r, &ev))
            continue;
        if (run.n && run.p + run.n == ev.raw.p) {
            run.n += ev.raw.n;
            continue;
        }
        attempt_relay(r, run);
        run = ev.raw;
        if (run.p < data.p || run.p >= data.p + data.n) {       /* put together in the carry: not valid after the next event */
            attempt_relay(r, run);
            run = STR_NONE;
        }
    }
    attempt_relay(r, run);
    if (e != ERR_OK && e != ERR_AGAIN && !r->upstream_ended)
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream sent an event that is too large"));
}

static void attempt_lines(struct gate_req *r, str data)
{
    struct sse_event ev = { .has_data = true };
    enum err e = ERR_OK;
    ndjson_feed(&r->lines, data);
    while (!r->upstream_ended && (e = ndjson_next(&r->lines, &ev.raw, &ev.data)) == ERR_OK)
        if (attempt_guarded_event(r, &ev))
            attempt_relay(r, ev.raw);
    if (e != ERR_OK && e != ERR_AGAIN && !r->upstream_ended)
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream sent a line that is too large"));
}

static void attempt_on_data(void *ctx, str data)
{
    struct gate_req *r = ctx;
    if (r->upstream_ended)
        return;
    if (r->sse_open)
        attempt_events(r, data);
    else if (r->lines_open)
        attempt_lines(r, data);
    else if (buf_put(&r->taken, data) != ERR_OK)
        attempt_give_up(r, ERR_UPSTREAM, S("the upstream's reply is larger than the configured limit"));
    if (r->upstream_ended)
        gate_step(r);
}

static void attempt_on_end(void *ctx, enum err e, const char *detail)
{
    struct gate_req *r = ctx;
    r->x = NULL;
    if (r->lines_open && !r->upstream_ended && e == ERR_OK && ndjson_pending(&r->lines))
        attempt_lines(r, S("\n"));      /* a last line need not end */
    if (r->upstream_ended) {
        gate_step(r);
        return;
    }
    r->upstream_ended = true;
    r->upstream_err = e;
    if (e != ERR_OK && !r->status)
        gate_breaker_note(r, true);
    if (e != ERR_OK && detail && *detail)
        gate_fail(r, e, arena_str(r->a, str_of(detail)));
    gate_step(r);
}

/* ---- STREAM: what it amounts to ---- */

static enum err attempt_error_reply(struct gate_req *r)
{
    gate_unmask_error(r);
    str body = buf_str(&r->taken);
    r->http_status = r->status;
    r->body = speak_error_reply(r, r->status, body);
    return ERR_UPSTREAM;
}

static enum err attempt_stream_end(struct gate_req *r)
{
    if ((r->sse_open && sse_pending(&r->sse)) || !r->reply.finished)
        return gate_fail(r, ERR_CUT, STR_NONE);
    if (r->reply.done)
        return ERR_OK;
    str mark;                           /* complete, but without the mark that clients wait for */
    enum err e = speak_end(r, &mark);
    if (e == ERR_OK)
        attempt_hold(r, mark);
    return e;
}

enum err gate_stream(struct gate_req *r)
{
    if (r->estimated)
        return ERR_OK;
    if (!r->upstream_ended)
        return ERR_AGAIN;
    if (r->upstream_err != ERR_OK) {
        /* Everything was there and only the connection's end was rough: the answer is whole. */
        if ((r->sse_open || r->lines_open) && r->upstream_err == ERR_CUT && r->reply.finished && r->reply.done)
            return ERR_OK;
        return r->upstream_err;
    }
    if (r->status != 200 && gate_has_no_count(r))
        return gate_estimate(r);
    if (r->status != 200)
        return attempt_error_reply(r);
    if (r->sse_open || r->lines_open)
        return attempt_stream_end(r);
    r->first_us = clock_mono_us(&r->loop->gate->opt.clock);
    enum err e = gate_unmask_reply(r);
    if (e == ERR_OK)
        e = speak_reply(r);
    return e == ERR_OK ? ERR_OK : gate_fail(r, e, STR_NONE);
}

/* ---- from outside ---- */

void gate_attempt_abort(struct gate_req *r)
{
    if (r->x)
        http_exchange_cancel(r->x);
    r->x = NULL;
    if (r->guarded)
        gate_look_forget(r->guarded);
    fleet_release(&r->waiter);
    seat_release(&r->seat, clock_mono_us(&r->loop->gate->opt.clock));
    r->seat_until_us = 0;
    r->upstream_ended = true;
}

void gate_on_drain(struct gate_req *r)
{
    if (!r->paused)
        return;
    r->paused = false;
    if (r->x)
        http_exchange_pause(r->x, false);
}
