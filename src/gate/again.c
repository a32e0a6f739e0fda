/* After a failed try: the next model of the fallback chain, the same one a little later, or the failure itself. Only while the client has
 * seen nothing of an answer; every try has its own intent and end in the ledger, under one call id.
 *
 * A provider that fails OPEN_AFTER times in a row is left alone for OPEN_MS; then one call tries it (the circuit breaker of Nygard's
 * "Release It!", half-open probe). Clients that leave and requests that are refused for what they say are not failures. */
#include "gate/request.h"

#include "core/log.h"

enum { OPEN_AFTER = 5, OPEN_MS = 10000, BACKOFF_MS = 250, BACKOFF_MAX_MS = 4000, RETRY_AFTER_MAX_MS = 5000 };

static struct gate_breaker *breaker_of(const struct gate_req *r)
{
    const struct provider *p = r->decision.model->provider;
    return p->api == API_EMBEDDED || p->managed ? NULL : &r->view->breakers[p - r->view->cfg->policy.providers];
}

enum err gate_breaker_ask(struct gate_req *r)
{
    struct gate_breaker *b = breaker_of(r);
    int64_t left = b && b->open_until_us ? b->open_until_us - clock_mono_us(&r->loop->gate->opt.clock) : 0;
    if (!b || !b->open_until_us || (left <= 0 && !b->probing)) {
        if (b)
            b->probing = r->probe = b->open_until_us != 0;
        return ERR_OK;
    }
    int seconds = left > 0 ? (int)((left + 999999) / 1000000) : 1;
    r->retry_after = arena_printf(r->a, "%d", seconds);
    return gate_fail(r, ERR_OPEN, arena_printf(r->a, "provider %.*s failed %d times in a row; it is tried again in %d s", STR_ARG(r->decision.model->provider->name),
                                               b->failures, seconds));
}

void gate_breaker_note(struct gate_req *r, bool failed)
{
    struct gate_breaker *b = breaker_of(r);
    if (!b)
        return;
    bool was_open = b->open_until_us != 0;
    if (r->probe)
        b->probing = r->probe = false;
    if (!failed) {
        if (was_open)
            log_info("upstream_back", LOG_S("provider", r->decision.model->provider->name));
        *b = (struct gate_breaker){ .probing = false };
        return;
    }
    b->failures++;
    if (b->failures < OPEN_AFTER && !was_open)
        return;
    b->open_until_us = clock_mono_us(&r->loop->gate->opt.clock) + INT64_C(1000) * OPEN_MS;
    if (!was_open)
        log_warn("upstream_left_alone", LOG_S("provider", r->decision.model->provider->name), LOG_I("failures", b->failures), LOG_I("ms", OPEN_MS));
}

/* ---- what kind of failure ---- */

/* "2", and "1.5" as clients read it too; rounded up. */
static bool whole_number(str s, uint64_t *out)
{
    str whole, rest = STR_NONE;
    bool fraction = str_cut(s, '.', &whole, &rest);
    if (!str_u64(whole, out) || *out > 86400000)
        return false;
    *out += fraction;
    return true;
}

/* How long the upstream asks to be left alone; -1: it does not say, or gives a date. */
static int64_t retry_after_ms(const struct gate_req *r)
{
    uint64_t n;
    if (whole_number(r->retry_after_ms, &n))
        return (int64_t)n;
    return whole_number(r->retry_after, &n) ? (int64_t)n * 1000 : -1;
}

/* A stream that said 200 and then, in place of an answer, what would have been a status of 500 and more. */
static bool is_of_server(const struct gate_req *r)
{
    static const str types[] = { S("server_error"), S("api_error"), S("overloaded_error") };        /* OpenAI's and Anthropic's, "Errors" */
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (r->reply.has_error && str_eq(r->reply.error_type, types[i]))
            return true;
    return false;
}

/* Might the same model answer in a moment? */
static bool is_passing(const struct gate_req *r, enum err e)
{
    if (r->status == 429)               /* without a time it may be the end of a month's money (Anthropic, "Rate limits") */
        return retry_after_ms(r) >= 0 && retry_after_ms(r) <= RETRY_AFTER_MAX_MS;
    if (r->status && r->status != 200)
        return (r->status == 408 || r->status >= 500) && retry_after_ms(r) <= RETRY_AFTER_MAX_MS;
    return e == ERR_REFUSED || e == ERR_CUT || e == ERR_ENGINE || e == ERR_IO || (e == ERR_UPSTREAM && is_of_server(r));
}

/* Might another model answer? Not when the request itself is what is wrong. */
static bool is_of_upstream(const struct gate_req *r, enum err e)
{
    if (r->status && r->status != 200)
        return r->status == 401 || r->status == 402 || r->status == 403 || r->status == 404 || r->status == 408 || r->status == 429 || r->status >= 500;
    return e == ERR_REFUSED || e == ERR_CUT || e == ERR_ENGINE || e == ERR_IO || e == ERR_DEADLINE || e == ERR_TLS || e == ERR_OPEN || e == ERR_BUSY || e == ERR_LOADING || e == ERR_UPSTREAM;
}

/* ---- another try ---- */

static size_t tries_max(const struct gate_req *r)
{
    size_t n = 1 + (size_t)r->retries;
    return n < TRIES_MAX ? n : TRIES_MAX;
}

bool gate_may_try_again(const struct gate_req *r) { return r->first && r->n_tried + 1 < tries_max(r); }

/* Never for embeddings, for the same reason as below. */
const struct model *gate_local(struct gate_req *r)
{
    if (r->op == OP_EMBEDDING || r->n_tried + 1 >= TRIES_MAX)
        return NULL;
    r->tried[r->n_tried] = r->decision.model;
    return route_local(&r->view->cfg->policy, &r->decision, r->decision.model, r->tried, r->n_tried + 1);
}

static int64_t backoff_ms(struct gate_req *r)
{
    int64_t ms = BACKOFF_MS << (r->n_tried < 5 ? r->n_tried - 1 : 4), asked = retry_after_ms(r);
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    ms = (int64_t)((double)ms * (0.5 + 0.5 * rand_unit(&r->loop->rng)));        /* not all at once */
    return asked > ms ? asked : ms;
}

/* What the failed try left, but for what its record still refers to. */
static void forget_try(struct gate_req *r)
{
    gate_attempt_abort(r);
    gate_guard_forget(r);
    if (r->sse_open)
        sse_free(&r->sse);
    if (r->lines_open)
        ndjson_free(&r->lines);
    if (r->speech) {
        r->speech->earlier = r->past;
        r->past = r->speech;
    }
    r->speech = NULL;
    r->sink = NULL;
    buf_clear(&r->taken);
    r->taken.max = r->view->cfg->reply_max;
    buf_clear(&r->early);
    buf_clear(&r->held);
    reply_init(&r->reply);
    r->waiter = (struct fleet_waiter){ .state = FLEET_IDLE };
    r->ready = NULL;
    r->status = r->http_status = 0;
    r->upstream_ended = r->holding = r->sse_open = r->lines_open = r->paused = false;
    r->upstream_err = ERR_OK;
    r->upstream_type = r->retry_after = r->retry_after_ms = r->should_retry = r->body = STR_NONE;
    r->why = (struct wire_error){ .err = ERR_OK };
    r->taken_bytes = 0;
    r->quiet_us = 0;
    r->sent_us = r->first_us = r->asked_us = r->queue_us = r->seat_us = 0;
    r->call_step = CALL_SEAT;
}

static void wait_for_it(struct gate_req *r, int64_t ms)
{
    r->again_us = clock_mono_us(&r->loop->gate->opt.clock) + ms * 1000;
    r->next_again = r->loop->again;
    r->loop->again = r;
    gate_on_again(&r->loop->again_timer);       /* sets the timer to whoever is first */
}

bool gate_again(struct gate_req *r, enum err e)
{
    if (r->probe && breaker_of(r))      /* it came to no answer of the upstream */
        breaker_of(r)->probing = r->probe = false;
    bool stays = r->stays;              /* not a failure: another model has to answer */
    r->stays = false;
    if (r->gone || r->reply_started || r->holding || r->loop->stopping || r->err != ERR_OK || (!stays && (!gate_may_try_again(r) || !is_of_upstream(r, e))))
        return false;
    const struct model *local = stays ? gate_local(r) : NULL;
    if (stays && !local)
        return false;
    r->tried[r->n_tried] = r->decision.model;
    /* Vectors and tokens of two models have nothing to do with each other: another one is no help there. */
    bool replica = !stays && gate_replica_left(r, r->n_tried + 1);      /* the same model elsewhere: at once, and before its fallback */
    bool alone = replica || r->op == OP_EMBEDDING || op_is_tokens(r->op);
    const struct model *next = stays ? local : alone ? NULL : route_fallback(&r->view->cfg->policy, &r->decision, r->decision.model, r->tried, r->n_tried + 1);
    if (!next && !replica && !is_passing(r, e))
        return false;
    r->n_tried++;
    int64_t now = clock_mono_us(&r->loop->gate->opt.clock), ms = next || replica ? 0 : backoff_ms(r);
    bool recorded = r->entries->intent.on_done != NULL;
    log_info("try_again", LOG_C("call", r->id), LOG_S("model", r->decision.model->name), LOG_I("status", r->status), LOG_C("why", err_name(e)),
             LOG_S("next", next ? next->name : r->decision.model->name), LOG_I("after_ms", ms));
    if (recorded) {
        gate_submit_failed_try(r, e);
        if (!gate_reserve_try(r))
            return false;
    }
    if (next) {
        r->decision.model = next;
        r->decision.reason = stays ? "guard-local" : "fallback";
    }
    r->lost_us = now - r->begin_us;
    forget_try(r);
    if (ms > 0)
        wait_for_it(r, ms);
    return true;
}

/* ---- waiting ---- */

void gate_again_forget(struct gate_req *r)
{
    for (struct gate_req **at = &r->loop->again; r->again_us && *at; at = &(*at)->next_again)
        if (*at == r) {
            *at = r->next_again;
            break;
        }
    r->again_us = 0;
}

/* All whose time has come, then the timer for the next. */
void gate_on_again(struct io_timer *t)
{
    struct gate_loop *l = (struct gate_loop *)((char *)t - offsetof(struct gate_loop, again_timer));
    int64_t now = clock_mono_us(&l->gate->opt.clock), first = INT64_MAX;
    for (struct gate_req *r = l->again, *next; r; r = next) {
        next = r->next_again;
        if (r->again_us > now) {
            first = r->again_us < first ? r->again_us : first;
            continue;
        }
        gate_again_forget(r);
        r->lost_us = now - r->begin_us;
        gate_step(r);
        next = l->again;                /* the list may have changed: from its start, which is short */
        first = INT64_MAX;
    }
    if (first != INT64_MAX)
        io_timer_start(t, (first - now) / 1000 + 1);
}

/* ---- deadlines ---- */

void gate_deadline_set(struct gate_loop *l, int64_t at_us)
{
    if (l->deadline_us && l->deadline_us <= at_us)
        return;
    int64_t left = at_us - clock_mono_us(&l->gate->opt.clock);
    l->deadline_us = at_us;
    io_timer_start(&l->deadline_timer, left > 0 ? left / 1000 + 1 : 1);
}

/* What the task allows is used up: whatever the call waits for, it ends now. */
static void end_late(struct gate_req *r)
{
    r->why = (struct wire_error){ .err = ERR_DEADLINE, .message = arena_printf(r->a, "the deadline of task %.*s (%lld ms) has passed", STR_ARG(r->decision.task->name),
                                                                               (long long)r->decision.task->deadline_ms) };
    gate_break(r, ERR_DEADLINE);
}

static bool is_due(const struct gate_req *r, int64_t now)
{
    return r->stage < STAGE_RECORD && ((r->deadline_us && r->deadline_us <= now) || (r->seat_until_us && r->seat_until_us <= now));
}

void gate_on_deadline(struct io_timer *t)
{
    struct gate_loop *l = (struct gate_loop *)((char *)t - offsetof(struct gate_loop, deadline_timer));
    int64_t now = clock_mono_us(&l->gate->opt.clock);
    struct gate_req *r;
    l->deadline_us = 0;
    do {                                /* a step may end other calls: from the start after each */
        for (r = l->requests; r && !is_due(r, now); r = r->next)
            ;
        if (r && r->seat_until_us && r->seat_until_us <= now)
            gate_step(r);               /* its turn did not come in time: perhaps another model */
        else if (r)
            end_late(r);
    } while (r);
    for (r = l->requests; r; r = r->next) {
        if (r->deadline_us > now && r->stage < STAGE_RECORD)
            gate_deadline_set(l, r->deadline_us);
        if (r->seat_until_us > now)
            gate_deadline_set(l, r->seat_until_us);
    }
}
