/* Streams in which nothing comes for a while: proxies on the way hang up, and clients give up, on a connection that says nothing. What may
 * stand between two events of a dialect without meaning anything is sent then: Anthropic's `ping` event, which is a part of its API and which
 * its SDKs skip; for OpenAI's two APIs an SSE comment, only where the configuration asks for it, since naive clients read every line as JSON.
 * Ollama's NDJSON has nothing of the kind.
 *
 * The first sign says the status 200 to a client that has seen nothing yet. So it waits for the upstream's own 200, and it ends what
 * another try could still do: who has waited so long for an upstream that said yes is better served by a connection that holds. */
#include "gate/request.h"

static str sign_of(const struct gate_req *r)
{
    const struct gate_quiet *q = &r->view->cfg->quiet;
    return (r->dialect == DIALECT_ANTHROPIC ? q->ping : q->comment) ? r->client->sign : S("");
}

/* Four looks in the time that a stream may be quiet, so the hot way of a call pays for no clock and no timer of its own. */
static void look_again(struct gate_loop *l, int64_t quiet_ms)
{
    l->quiet_set = true;
    io_timer_start(&l->quiet_timer, quiet_ms < 4 ? 1 : quiet_ms / 4);
}

void gate_quiet_watch(struct gate_req *r)
{
    if (!sign_of(r).n)
        return;
    r->quiet_us = clock_mono_us(&r->loop->gate->opt.clock);
    r->quiet_bytes = r->taken_bytes;
    if (!r->loop->quiet_set)
        look_again(r->loop, r->view->cfg->quiet.ms);
}

static void look(struct gate_req *r, int64_t now)
{
    if (r->quiet_bytes != r->taken_bytes) {
        r->quiet_bytes = r->taken_bytes;
        r->quiet_us = now;
    } else if (now - r->quiet_us >= r->view->cfg->quiet.ms * 1000 && !r->paused && !r->gone) {
        gate_attempt_sign(r, sign_of(r));
        r->quiet_bytes = r->taken_bytes;
        r->quiet_us = now;
    }
}

void gate_on_quiet(struct io_timer *t)
{
    struct gate_loop *l = (struct gate_loop *)((char *)t - offsetof(struct gate_loop, quiet_timer));
    int64_t now = clock_mono_us(&l->gate->opt.clock), shortest = INT64_MAX;
    l->quiet_set = false;
    for (struct gate_req *r = l->requests; r; r = r->next) {
        if (r->stage != STAGE_STREAM || !(r->sse_open || r->lines_open) || !r->quiet_us)
            continue;
        look(r, now);
        shortest = r->view->cfg->quiet.ms < shortest ? r->view->cfg->quiet.ms : shortest;
    }
    if (shortest != INT64_MAX)
        look_again(l, shortest);
}
