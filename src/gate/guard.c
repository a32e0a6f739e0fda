/* The guard at the door. What is searched are the bytes that are about to leave, translated or forwarded, whatever made them: so a part that no rule of an
 * API knows is searched too. Whatever goes wrong, nothing leaves. */
#include "gate/request.h"

#include "core/log.h"

static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(ctx, a, text, out, n); }

static str realm_of(const struct gate_req *r) { return r->key ? r->key->name : S(""); }

/* The strictest word of those that may be written. A key's own counts where it is at least as strict as what holds without it: also as the default. */
static struct guard_policy policy_of(const struct gate_req *r, const struct gate_guard *g)
{
    const struct policy *p = &r->view->cfg->policy;
    const struct decision *d = &r->decision;
    const struct guard_rules of_key = { .action = r->key ? (enum guard_action)r->key->guard : GUARD_UNSET };     /* without lists: none of it is kept */
    const struct guard_rules *from[4] = { &g->all, d->task ? &g->tasks[d->task - p->tasks] : NULL, &g->models[d->model - p->models] };
    struct guard_policy without = guard_policy_join(from, 3);
    if (of_key.action < without.rules.action)
        return without;
    from[3] = &of_key;
    return guard_policy_join(from, 4);
}

static str body_of(struct gate_req *r) { return r->n_slices == 1 ? r->slices[0] : arena_cat(r->a, r->slices, r->n_slices); }

/* Once for all tries that send the same. */
static enum err search(struct gate_req *r, const struct gate_guard *g, struct vault *v)
{
    struct gate_guarded *x = r->guarded;
    str body = body_of(r);
    if (!body.p)
        return ERR_LIMIT;
    if (x->searched && str_eq(x->body, body))
        return ERR_OK;
    x->searched = false;
    x->look = NULL;
    if (body.n > g->body_max)
        return ERR_LIMIT;
    const struct guard_search s = { find, (void *)(uintptr_t)g->finder, v, realm_of(r), g->finder };
    enum err e = guard_scan(r->a, &s, body, NULL, &x->verdict);
    x->body = body;
    x->searched = e == ERR_OK;
    return e;
}

static void note_dropped(struct gate_req *r, struct gate_guarded *x)
{
    const struct walk *w = &x->verdict.walk;
    str all = STR_NONE;
    for (size_t i = 0; i < w->n_dropped; i++)
        all = i ? arena_printf(r->a, "%.*s, %.*s", STR_ARG(all), STR_ARG(w->dropped[i])) : w->dropped[i];
    x->dropped = all;
}

static enum err mask(struct gate_req *r, const struct gate_guard *g, struct vault *v)
{
    struct gate_guarded *x = r->guarded;
    const struct mask_job job = { realm_of(r), clock_wall_us(&r->loop->gate->opt.clock), g->finder };
    struct mask_report report;
    struct buf b;
    x->set = (struct restore_set){ 0 };
    buf_init(&b, x->body.n * 4 + (1u << 20));
    enum err e = guard_mask(r->a, v, &x->policy, &job, &x->verdict, &x->set, &b, &report);
    if (e == ERR_OK && (report.n || x->verdict.walk.n_dropped)) {
        r->slices[0] = arena_str(r->a, buf_str(&b));
        r->n_slices = 1;
        e = r->slices[0].p ? ERR_OK : ERR_LIMIT;
    }
    buf_free(&b);
    x->restores = e == ERR_OK && x->set.n && (r->op == OP_CHAT || r->op == OP_COMPLETION);
    note_dropped(r, x);
    return e;
}

/* By type: what was masked, or, where nothing is masked, what was seen. */
static void note_counts(struct gate_guarded *x, const struct guard_question *q)
{
    const struct guard_type_rule *types = x->policy.rules.types;
    memset(x->counts, 0, sizeof x->counts);
    for (size_t i = 0; i < x->verdict.n; i++) {
        const struct guard_span *s = &x->verdict.hits[i].span;
        x->counts[s->type] += types[s->type].action < GUARD_MASK && s->score >= types[s->type].least;
    }
    for (int t = 0; t < GUARD_N_TYPES; t++)
        if (types[t].action >= GUARD_MASK)
            x->counts[t] = q->found[t];
    x->counted = true;
}

static enum err refuse(struct gate_req *r, const struct guard_question *q, const struct guard_answer *a)
{
    const struct gate_guarded *x = r->guarded;
    str name = r->decision.model->name, of = q->search == ERR_OK && q->unsure ? x->verdict.walk.unsure_of : STR_NONE;
    if (q->search != ERR_OK)
        log_warn("guard_failed", LOG_C("call", r->id), LOG_C("why", err_name(q->search)));
    r->stays = a->what == GUARD_STAY;
    const char *hint = q->search == ERR_LIMIT ? " (it is larger than guard.limit, or too deep)" : q->search != ERR_OK ? " (see the log of hearth)" : "";
    return gate_fail(r, q->search == ERR_OK ? ERR_PRIVATE : ERR_GUARD,
                     arena_printf(r->a, "model %.*s is in the cloud zone, and %s%s%s%.*s%s", STR_ARG(name), a->why, hint, of.n ? " (" : "", STR_ARG(of), of.n ? ")" : ""));
}

/* What is decided with what a local model has found besides; GUARD_ASK_MODEL: it still looks. */
static struct guard_answer looked(struct gate_req *r, struct guard_question *q)
{
    struct gate_guarded *x = r->guarded;
    q->search = gate_look(r);
    if (q->search == ERR_AGAIN)
        return (struct guard_answer){ GUARD_ASK_MODEL, ERR_OK, "" };
    x->seals = x->seals || q->search != ERR_OK || x->verdict.n;
    if (q->search == ERR_OK) {
        guard_count(&x->verdict, &x->policy, q->found);
        note_counts(x, q);
    }
    struct guard_answer a = guard_decide(&x->policy, q);
    if (a.what == GUARD_ASK_MODEL)
        a.what = GUARD_SEND_MASKED;
    return a;
}

enum err gate_guard_door(struct gate_req *r)
{
    const struct gate_guard *g = r->view->cfg->guard;
    struct vault *v = NULL;
    if (gate_zone(r) != ZONE_CLOUD || !r->n_slices)
        return ERR_OK;
    if (!g || !g->finder)
        return gate_fail(r, ERR_GUARD, STR_NONE);
    const struct guard_policy policy = policy_of(r, g);
    if (!guard_policy_searches(&policy))
        return ERR_OK;
    struct gate_guarded *x = r->guarded ? r->guarded : arena_new(r->a, struct gate_guarded, 1);
    if (!x)
        return gate_fail(r, ERR_GUARD, STR_NONE);
    r->guarded = x;
    x->policy = policy;
    struct guard_question q = { .leaves = true, .private_data = r->decision.data == DATA_PRIVATE, .search = gate_vault(r->loop, g, &v), .has_local = gate_local(r) != NULL };
    if (q.search == ERR_OK)
        q.search = search(r, g, v);
    x->seals = x->seals || q.search != ERR_OK || x->verdict.n || x->verdict.walk.unsure;
    if (q.search == ERR_OK) {
        q.unsure = x->verdict.walk.unsure;
        guard_count(&x->verdict, &x->policy, q.found);
        note_counts(x, &q);
    }
    struct guard_answer a = guard_decide(&x->policy, &q);
    if (a.what == GUARD_ASK_MODEL && (a = looked(r, &q)).what == GUARD_ASK_MODEL)
        return ERR_AGAIN;
    if (a.what == GUARD_SEND_MASKED && (q.search = mask(r, g, v)) != ERR_OK)
        a = guard_decide(&x->policy, &q);
    return a.what == GUARD_SEND || a.what == GUARD_SEND_MASKED ? ERR_OK : refuse(r, &q, &a);
}

void gate_guard_forget(struct gate_req *r)
{
    struct gate_guarded *x = r->guarded;
    if (!x)
        return;
    gate_look_forget(x);
    for (struct gate_slot *s = x->slots; s; s = s->next)
        restorer_free(&s->restorer);
    buf_free(&x->text);
    buf_free(&x->fresh);
    buf_free(&x->out);
    x->slots = NULL;
    x->n_slots = 0;
    x->restores = x->counted = false;
    x->dropped = STR_NONE;
}

/* ---- what is said of it ---- */

bool gate_guard_seals(const struct gate_req *r) { return r->guarded && r->guarded->seals; }

/* The numbers by type, for a row or for a field of the reply. */
static str counts_text(struct gate_req *r, bool as_json)
{
    str all = S("");
    for (int t = 0; t < GUARD_N_TYPES; t++) {
        size_t n = r->guarded->counts[t];
        const char *name = guard_type_name(r->view->cfg->guard->finder, (enum guard_type)t);
        if (!n)
            continue;
        str more = as_json ? arena_printf(r->a, "%.*s%s\"%s\":%zu", STR_ARG(all), all.n ? "," : "", name, n) : arena_printf(r->a, "%.*s%s%s %zu", STR_ARG(all), all.n ? ", " : "", name, n);
        all = more.p ? more : all;
    }
    return all;
}

void gate_guard_row(struct gate_req *r, struct ledger_row *row)
{
    if (!r->guarded || !r->guarded->counted)
        return;
    str counts = counts_text(r, true);
    row->guard_version = S(HEARTH_VERSION);     /* rules and words are a part of the program */
    row->guard_counts = arena_printf(r->a, "{%.*s}", STR_ARG(counts));
}

str gate_guard_field(struct gate_req *r)
{
    if (!r->guarded || !r->guarded->counted)
        return S("");
    str counts = counts_text(r, false), field = arena_printf(r->a, "x-hearth-guard: %.*s\r\n", STR_ARG(counts.n ? counts : S("nothing")));
    return field.p ? field : S("");
}

str gate_guard_dropped(struct gate_req *r, str also)
{
    str own = r->guarded ? r->guarded->dropped : STR_NONE;
    if (!own.n || !also.n)
        return own.n ? own : also;
    str both = arena_printf(r->a, "%.*s, %.*s", STR_ARG(also), STR_ARG(own));
    return both.p ? both : also;
}
