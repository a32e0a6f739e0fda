/* Who asks: the virtual key of a request, and what is taken from its account. */
#include "gate/request.h"

/* OpenAI's way, Anthropic's, Azure's. */
static str key_sent(const struct http_head *h)
{
    str bearer = http_get(h, S("authorization")), x = http_get(h, S("x-api-key"));
    if (bearer.n > 7 && str_ieq(str_slice(bearer.p, 7), S("bearer ")))
        return str_trim(str_skip(bearer, 7));
    return x.n ? x : http_get(h, S("api-key"));
}

/* The owner's own commands come over the Unix socket, which checks the uid. */
enum err gate_who(struct gate_loop *l, const struct http_head *h, bool via_unix, const struct key **out)
{
    const struct key_list *keys = &l->view->cfg->keys;
    *out = NULL;
    if (!keys->n)
        return keys->required && !via_unix ? ERR_AUTH : ERR_OK;
    str sent = key_sent(h);
    if (sent.n)
        *out = keys_find(keys, sent, clock_wall_us(&l->gate->opt.clock));
    return *out || via_unix || !keys->required ? ERR_OK : ERR_AUTH;
}

bool gate_is_admin(struct gate_loop *l, const struct http_head *h, bool via_unix)
{
    return via_unix || keys_is_admin(&l->view->cfg->keys, key_sent(h));
}

static bool grant_allow(const void *key, str task, str model) { return keys_allow(key, task, model); }

void gate_grant(struct gate_req *r)
{
    if (!r->key)
        return;
    r->grant = (struct grant){ r->key, grant_allow, r->key->ceiling };
    r->decision.grant = &r->grant;
}

/* Tokens by four bytes each, and what the answer may have: a guess to be settled when the call has ended. */
static void estimate(const struct gate_req *r, int64_t *tokens, int64_t *micros)
{
    const struct model *m = r->decision.model;
    const struct params *p = &r->call.params;
    enum { ANSWER = 512 };
    int64_t in = (int64_t)r->asked.n / 4 + 1, out = r->op != OP_CHAT && r->op != OP_COMPLETION ? 0 : p->max_tokens > 0 && p->max_tokens < 1000000 ? p->max_tokens : ANSWER;
    double dollars = (m->price_input == m->price_input ? (double)in * m->price_input : 0) + (m->price_output == m->price_output ? (double)out * m->price_output : 0);
    *tokens = in + out;
    *micros = (int64_t)dollars;
}

enum err gate_take(struct gate_req *r)
{
    const struct key *k = r->key;
    struct key_refusal why;
    int64_t tokens, micros;
    if (!k || !r->loop->gate->opt.accounts || gate_is_explained(r))
        return ERR_OK;
    estimate(r, &tokens, &micros);
    enum err e = key_take(r->loop->gate->opt.accounts, k, clock_mono_us(&r->loop->gate->opt.clock), clock_wall_us(&r->loop->gate->opt.clock), tokens, micros, &r->hold, &why);
    if (e == ERR_OK)
        return ERR_OK;
    if (why.retry_s)
        r->retry_after = arena_printf(r->a, "%lld", (long long)why.retry_s);
    return gate_fail(r, e, e == ERR_BUDGET ? arena_printf(r->a, "key %.*s has spent its budget for %s", STR_ARG(k->name), why.what)
                                           : arena_printf(r->a, "key %.*s has reached its limit: %s; try again in %lld s", STR_ARG(k->name), why.what, (long long)why.retry_s));
}

void gate_settle(struct gate_req *r, int64_t cost_micros)
{
    if (!r->hold.account)
        return;
    int64_t tokens = r->reply.prompt_tokens >= 0 && r->reply.completion_tokens >= 0 ? r->reply.prompt_tokens + r->reply.completion_tokens : -1;
    if ((tokens < 0 && r->err != ERR_OK && !r->reply_started) || r->op == OP_LOAD || r->op == OP_UNLOAD || op_is_tokens(r->op))
        tokens = cost_micros = 0;       /* nothing came of it, or nothing that the model computed */
    key_settle(r->loop->gate->opt.accounts, &r->hold, tokens, cost_micros);
}
