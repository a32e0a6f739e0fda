/* A model at several providers: each try goes to one of them. Those that begin alike go to the same server (its cache has their beginning), those that failed
 * are not asked again while others are left. The choice itself is route/replica.c. */
#include "gate/request.h"

#include "route/replica.h"

#define BEGINNING 4096                  /* bytes of each part of a request that count */
#define REPLICAS  64

static uint64_t hash_part(uint64_t h, json part)
{
    str s = json_span(part);
    return json_type(part) == JSON_NONE ? h : replica_hash(h, str_slice(s.p, s.n < BEGINNING ? s.n : BEGINNING));
}

/* Instructions, and the messages up to the first of the user: what stays the same while a conversation grows. Of a prompt, its first bytes. */
static uint64_t beginning_of(const struct gate_req *r)
{
    json root = r->call.root, messages = json_member(root, S("messages"));
    uint64_t h = hash_part(hash_part(REPLICA_HASH, json_member(root, S("system"))), json_member(root, S("instructions")));
    if (json_type(messages) == JSON_NONE)
        messages = json_member(root, S("input"));
    if (json_type(messages) != JSON_ARRAY)
        h = hash_part(hash_part(h, messages), json_member(root, S("prompt")));
    for (json m = json_first(messages); json_type(messages) == JSON_ARRAY && json_type(m) != JSON_NONE; m = json_next(m)) {
        h = hash_part(h, m);
        if (json_is(json_member(m, S("role")), S("user")))
            break;
    }
    return h ? h : 1;
}

static bool was_tried(const struct gate_req *r, const struct model *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (r->tried[i] == m)
            return true;
    return false;
}

static const struct model *main_of(const struct model *m) { return m->main ? m->main : m; }
static const struct model *nth(const struct model *m, size_t i) { return i ? &m->replicas[i - 1] : m; }

bool gate_replica_left(const struct gate_req *r, size_t n_tried)
{
    const struct model *m = main_of(r->decision.model);
    for (size_t i = 0; i <= m->n_replicas && m->n_replicas; i++)
        if (!was_tried(r, nth(m, i), n_tried))
            return true;
    return false;
}

static bool is_open(const struct gate_req *r, const struct model *m)
{
    const struct gate_breaker *b = &r->view->breakers[m->provider - r->view->cfg->policy.providers];
    return b->open_until_us && b->open_until_us > clock_mono_us(&r->loop->gate->opt.clock);
}

void gate_replica(struct gate_req *r)
{
    const struct model *m = main_of(r->decision.model), *of[REPLICAS];
    struct replica list[REPLICAS];
    size_t n = 0;
    if (!m->n_replicas)
        return;
    bool left = gate_replica_left(r, r->n_tried);
    for (size_t i = 0; i <= m->n_replicas && n < REPLICAS; i++) {
        struct fleet_model *f = r->view->cfg->engines[nth(m, i) - r->view->cfg->policy.models];
        if (left && was_tried(r, nth(m, i), r->n_tried))
            continue;
        of[n] = nth(m, i);
        list[n] = (struct replica){ .id = replica_hash(REPLICA_HASH, of[n]->provider->name) };
        list[n].well = (!f || fleet_pressure(f, &list[n].load)) && !is_open(r, of[n]);
        n++;
    }
    if (!r->beginning)
        r->beginning = beginning_of(r);
    r->decision.model = of[replica_choose(r->beginning, list, n)];
}
