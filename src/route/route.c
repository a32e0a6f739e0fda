/* route/route.c: names to decisions. Every rule that can refuse a call for where it would go is in may_go(). */
#include "route/auto.h"
#include "route/route.h"

static enum err refuse(struct wire_error *why, enum err e, str message, str param)
{
    *why = (struct wire_error){ e, message, param };
    return e;
}

static enum err unknown(struct arena *a, const struct policy *p, str name, struct wire_error *why)
{
    str known = STR_NONE;
    for (size_t i = 0; i < p->n_models && i < 12; i++) {
        str more = arena_printf(a, "%.*s%s%.*s", STR_ARG(known), i ? ", " : "", STR_ARG(p->models[i].name));
        known = more.p ? more : known;
    }
    return refuse(why, ERR_MODEL, arena_printf(a, "there is no model \"%.*s\"; known are: %.*s", (int)(name.n < 200 ? name.n : 200), name.p ? name.p : "",
                                               (int)known.n, known.n ? known.p : "none"), S("model"));
}

/* "provider/model" names a model by where it lives. */
static const struct model *by_provider(const struct policy *p, str name)
{
    str provider, model;
    if (!str_cut(name, '/', &provider, &model))
        return NULL;
    for (size_t i = 0; i < p->n_models; i++)
        if (str_eq(p->models[i].provider->name, provider) && (str_eq(p->models[i].name, model) || str_eq(p->models[i].id, model)))
            return &p->models[i];
    return NULL;
}

static void take_task(struct decision *d, const struct task *t)
{
    d->task = t;
    d->risk = t->risk;
    d->data = t->data;                  /* what the header says is raised to afterwards */
}

static enum err find_task(struct arena *a, const struct policy *p, str name, str param, struct decision *d, struct wire_error *why)
{
    d->task = policy_task(p, name);
    if (!d->task)
        return refuse(why, ERR_MODEL, arena_printf(a, "there is no task \"%.*s\"", (int)(name.n < 200 ? name.n : 200), name.p ? name.p : ""), param);
    take_task(d, d->task);
    return ERR_OK;
}

static enum err take_target(struct decision *d, const struct target *t, const char *reason)
{
    if (t->task)
        take_task(d, t->task);
    d->model = t->model;
    d->reason = reason;
    return ERR_OK;
}

static enum err take_auto(struct arena *a, const struct policy *p, const struct route_ask *ask, struct decision *d, struct wire_error *why)
{
    str because;
    if (!p->n_rules)
        return refuse(why, ERR_MODEL, S("model auto needs rules: write auto: in the configuration"), S("model"));
    const struct auto_rule *r = ask->features ? auto_match(a, p, ask->features, &because) : NULL;
    if (r) {
        d->rule = arena_printf(a, "auto %.*s%.*s", STR_ARG(r->name), STR_ARG(because));
        return take_target(d, &r->to, "model");
    }
    d->rule = S("auto: no rule holds");
    if (p->default_to.is_auto || (!p->default_to.model && !p->default_to.task))
        return refuse(why, ERR_MODEL, S("no rule of auto holds for this call, and there is no default model"), S("model"));
    return take_target(d, &p->default_to, "default");
}

/* Exact names stand first in the list, then prefixes from the longest: the first that fits is the best. */
static const struct alias *find_alias(const struct policy *p, str name)
{
    for (size_t i = 0; i < p->n_aliases; i++)
        if (p->aliases[i].is_prefix ? str_starts(name, p->aliases[i].name) : str_eq(name, p->aliases[i].name))
            return &p->aliases[i];
    return NULL;
}

static const struct target *weigh(const struct alias *x, double unit)
{
    size_t i = 0;
    for (; i + 1 < x->n && unit >= x->weights[i]; i++)
        unit -= x->weights[i];
    return &x->targets[i];
}

static enum err find_model(struct arena *a, const struct policy *p, const struct route_ask *ask, struct decision *d, struct wire_error *why)
{
    str name = ask->model;
    bool is_default = !name.n || str_eq(name, S("default"));
    if (str_eq(name, S("auto")) || (is_default && !ask->default_task.n && p->default_to.is_auto))
        return take_auto(a, p, ask, d, why);
    if (is_default && ask->default_task.n)
        return find_task(a, p, ask->default_task, S("model"), d, why);
    if (is_default)
        return p->default_to.model || p->default_to.task ? take_target(d, &p->default_to, "default")
                                                         : refuse(why, ERR_MODEL, S("no model was named and none is the default"), S("model"));
    d->model = policy_model(p, name);
    if (!d->model)
        d->model = by_provider(p, name);
    if (d->model)
        return ERR_OK;
    const struct alias *x = find_alias(p, name);
    if (!x)
        return unknown(a, p, name, why);
    if (x->n == 1 && x->targets->is_auto)
        return take_auto(a, p, ask, d, why);
    d->rule = arena_printf(a, "alias %.*s%s", STR_ARG(x->name), x->is_prefix ? "*" : "");
    return take_target(d, weigh(x, ask->unit), "model");
}

bool route_is_auto(const struct policy *p, const struct route_ask *ask)
{
    str name = ask->model;
    if (!p->n_rules || ask->task_header.n || str_starts(name, S("task/")))
        return false;
    if (str_eq(name, S("auto")))
        return true;
    if (!name.n || str_eq(name, S("default")))
        return !ask->default_task.n && p->default_to.is_auto;
    if (policy_model(p, name) || by_provider(p, name))
        return false;
    const struct alias *x = find_alias(p, name);
    return x && x->targets->is_auto;
}

enum err route_classify(struct arena *a, const struct policy *p, const struct route_ask *ask, struct decision *d, struct wire_error *why)
{
    *d = (struct decision){ .risk = RISK_MEDIUM, .data = DATA_INTERNAL, .reason = "model", .arm = "primary" };
    enum data_class raised = DATA_PUBLIC;
    enum err e;
    if (ask->data_header.n && !data_from(ask->data_header, &raised)) {
        d->data = DATA_PRIVATE;         /* somebody meant to protect it: the row of the refusal keeps no open body */
        return refuse(why, ERR_SYNTAX, S("x-hearth-data must be public, internal or private"), S("x-hearth-data"));
    }
    if (raised > d->data)
        d->data = raised;
    if (ask->task_header.n)
        e = find_task(a, p, ask->task_header, S("x-hearth-task"), d, why);
    else if (str_starts(ask->model, S("task/")))
        e = find_task(a, p, str_skip(ask->model, 5), S("model"), d, why);
    else
        e = find_model(a, p, ask, d, why);
    if (raised > d->data)
        d->data = raised;               /* up only */
    return e;
}

static enum err may_go(const struct decision *d, const struct model *m)
{
    const struct provider *v = m->provider;
    if (d->data == DATA_PRIVATE && !provider_holds_private(v))
        return ERR_PRIVATE;
    if (d->grant && (v->zone > d->grant->ceiling || !d->grant->allow(d->grant->key, d->task ? d->task->name : S(""), m->name)))
        return ERR_FORBIDDEN;
    return ERR_OK;
}

static enum err refuse_zone(struct arena *a, enum err e, const struct model *m, struct wire_error *why)
{
    if (e == ERR_FORBIDDEN)
        return refuse(why, e, arena_printf(a, "this key does not open model %.*s", STR_ARG(m->name)), S("model"));
    return refuse(why, e, m->provider->zone == ZONE_CLOUD
                              ? arena_printf(a, "this call is private, and model %.*s is in the cloud zone", STR_ARG(m->name))
                              : arena_printf(a, "this call is private, and the zone of provider %.*s is not written in the configuration", STR_ARG(m->provider->name)),
                  S("model"));
}

static str join(struct arena *a, const struct model *x, const struct model *y)
{
    if (!x || !y)
        return x ? x->name : y ? y->name : STR_NONE;
    return arena_printf(a, "%.*s,%.*s", STR_ARG(x->name), STR_ARG(y->name));
}

/* The reference, while the candidate has no evidence; but the candidate where only it may have this call. */
static enum err choose_of_task(const struct task *t, struct decision *d)
{
    const struct model *first = t->reference ? t->reference : t->candidate;
    d->model = first;
    d->reason = t->reference ? "task-reference" : "task-candidate";
    if (!first)
        return ERR_MODEL;
    enum err e = may_go(d, first);
    if (e && t->candidate && may_go(d, t->candidate) == ERR_OK) {
        d->model = t->candidate;
        d->reason = "task-candidate";
        return ERR_OK;
    }
    return e;
}

enum err route_choose(struct arena *a, struct decision *d, struct wire_error *why)
{
    const struct task *t = d->task;
    enum err e;
    if (t && !t->fixed) {
        d->candidates = join(a, t->reference, t->candidate);
        e = choose_of_task(t, d);
    } else {
        if (t) {
            d->model = t->fixed;
            d->reason = "task-fixed";
        }
        if (!d->model)                  /* classify() has found one, or there is nothing to choose */
            return refuse(why, ERR_MODEL, S("no model was chosen"), S("model"));
        d->candidates = d->model->name;
        e = may_go(d, d->model);
    }
    if (t && e == ERR_MODEL)
        return refuse(why, e, arena_printf(a, "task %.*s has no model", STR_ARG(t->name)), S("model"));
    return e ? refuse_zone(a, e, d->model, why) : ERR_OK;
}

static bool is_among(const struct model *m, const struct model *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == m)
            return true;
    return false;
}

const struct model *route_fallback(const struct policy *p, const struct decision *d, const struct model *from, const struct model *const *tried, size_t n_tried)
{
    const struct model *m = from->fallback;
    for (size_t steps = 0; m && steps < p->n_models; m = m->fallback, steps++)      /* a chain may be a circle */
        if (!is_among(m, tried, n_tried) && may_go(d, m) == ERR_OK)
            return m;
    return NULL;
}

static bool may_stay_at(const struct decision *d, const struct model *m, const struct model *const *tried, size_t n_tried)
{
    return m->provider->zone != ZONE_CLOUD && !is_among(m, tried, n_tried) && may_go(d, m) == ERR_OK;
}

const struct model *route_local(const struct policy *p, const struct decision *d, const struct model *from, const struct model *const *tried, size_t n_tried)
{
    const struct model *m = from->fallback, *candidate = d->task ? d->task->candidate : NULL;
    for (size_t steps = 0; m && steps < p->n_models; m = m->fallback, steps++)
        if (may_stay_at(d, m, tried, n_tried))
            return m;
    return candidate && may_stay_at(d, candidate, tried, n_tried) ? candidate : NULL;
}
