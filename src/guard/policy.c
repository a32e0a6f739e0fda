/* guard/policy.c: joining by the stricter word, and one decision. */
#include "guard/policy.h"

#include <assert.h>

static const char *const action_names[GUARD_ACTIONS] = {
    [GUARD_UNSET] = "", [GUARD_OFF] = "off", [GUARD_DETECT] = "detect", [GUARD_MASK] = "mask", [GUARD_MASK_MODEL] = "mask+model", [GUARD_LOCAL] = "local", [GUARD_BLOCK] = "block",
};

const char *guard_action_name(enum guard_action a) { return (unsigned)a < GUARD_ACTIONS ? action_names[a] : ""; }

bool guard_action_from(str s, enum guard_action *out)
{
    for (int i = GUARD_OFF; i < GUARD_ACTIONS; i++)
        if (str_eq(s, str_of(action_names[i]))) {
            *out = (enum guard_action)i;
            return true;
        }
    return false;
}

static enum guard_action stricter(enum guard_action a, enum guard_action b) { return a > b ? a : b; }

/* A type's own word counts for whoever wrote it in the place of their word for all, and only for them. */
static enum guard_action own_action(const struct guard_rules *r, int t) { return r->types[t].action ? r->types[t].action : r->action; }

static void join_type(struct guard_type_rule *to, const struct guard_rules *from, int t)
{
    const struct guard_type_rule *r = &from->types[t];
    to->action = stricter(to->action, own_action(from, t));
    if (r->least && (!to->least || r->least < to->least))
        to->least = r->least;
    to->surrogate |= r->surrogate;
    to->restore = r->restore > to->restore ? r->restore : to->restore;
}

struct guard_policy guard_policy_join(const struct guard_rules *const *rules, size_t n)
{
    struct guard_policy p = { 0 };
    assert(n <= GUARD_RULES_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct guard_rules *r = rules[i];
        if (!r)
            continue;
        p.rules.action = stricter(p.rules.action, r->action);
        p.rules.unsure = stricter(p.rules.unsure, r->unsure);
        for (int t = 0; t < GUARD_N_TYPES; t++)
            join_type(&p.rules.types[t], r, t);
        if (r->n_allow)
            p.from[p.n_from++] = r;
    }
    if (p.rules.action == GUARD_UNSET)
        p.rules.action = GUARD_MASK;
    if (p.rules.unsure == GUARD_UNSET)
        p.rules.unsure = GUARD_LOCAL;
    for (int t = 0; t < GUARD_N_TYPES; t++) {
        struct guard_type_rule *r = &p.rules.types[t];
        if (r->action == GUARD_UNSET)
            r->action = p.rules.action;
        r->least = r->least ? r->least : GUARD_SCORE_LEAST;
        if (r->restore == GUARD_RESTORE_UNSET)
            r->restore = t == GUARD_SECRET ? GUARD_RESTORE_NOT : GUARD_RESTORE;
    }
    return p;
}

static bool allows(const struct guard_word *w, enum guard_type t, str value)
{
    str s = w->text;
    if (!s.n || (w->type != GUARD_N_TYPES && w->type != t))
        return false;
    bool tail = s.n > 1 && s.p[0] == '*', head = s.n > 1 && !tail && s.p[s.n - 1] == '*';
    if (tail)
        s = str_skip(s, 1);
    s.n -= head;
    if (value.n < s.n || (!tail && !head && value.n != s.n))
        return false;
    return str_ieq(tail ? str_skip(value, value.n - s.n) : (str){ value.p, s.n }, s);
}

/* By each who has written a list; a value that one of them does not allow is not allowed. */
static bool is_allowed(const struct guard_policy *p, enum guard_type t, str value)
{
    for (size_t i = 0; i < p->n_from; i++) {
        bool yes = false;
        for (size_t w = 0; w < p->from[i]->n_allow && !yes; w++)
            yes = allows(&p->from[i]->allow[w], t, value);
        if (!yes)
            return false;
    }
    return p->n_from > 0;
}

bool guard_policy_masks(const struct guard_policy *p, enum guard_type t, unsigned score, str value)
{
    const struct guard_type_rule *r = &p->rules.types[t];
    return r->action >= GUARD_MASK && score >= r->least && !is_allowed(p, t, value);
}

bool guard_policy_searches(const struct guard_policy *p)
{
    bool any = p->rules.action != GUARD_OFF;
    for (int t = 0; t < GUARD_N_TYPES; t++)
        any = any || p->rules.types[t].action != GUARD_OFF;
    return any;
}

/* The strictest action that something found asks for; UNSET: nothing was found. */
static enum guard_action action_for(const struct guard_policy *p, const struct guard_question *q)
{
    enum guard_action a = GUARD_UNSET;
    for (int t = 0; t < GUARD_N_TYPES; t++)
        if (q->found[t])
            a = stricter(a, p->rules.types[t].action);
    return a;
}

static struct guard_answer stay(const struct guard_question *q, const char *why)
{
    return q->has_local ? (struct guard_answer){ GUARD_STAY, ERR_OK, why } : (struct guard_answer){ GUARD_REFUSE, ERR_PRIVATE, why };
}

static struct guard_answer block(const char *why) { return (struct guard_answer){ GUARD_REFUSE, ERR_PRIVATE, why }; }

struct guard_answer guard_decide(const struct guard_policy *p, const struct guard_question *q)
{
    enum guard_action all = p->rules.action;
    if (!q->leaves)
        return (struct guard_answer){ GUARD_SEND, ERR_OK, "stays within the zones that hold private data" };
    if (q->private_data)
        return stay(q, "private data may not leave, masked or not");
    if (!guard_policy_searches(p))
        return (struct guard_answer){ GUARD_SEND, ERR_OK, "the guard is off for this call" };
    if (q->search != ERR_OK) {
        static const char why[] = "the body could not be searched for personal data, so it does not leave";
        return all == GUARD_BLOCK ? block(why) : stay(q, why);
    }
    if (all <= GUARD_DETECT && action_for(p, q) == GUARD_UNSET)
        return (struct guard_answer){ GUARD_SEND, ERR_OK, "the guard only counts for this call" };
    if (q->unsure && (p->rules.unsure == GUARD_BLOCK || all == GUARD_BLOCK))
        return block("the call holds images, documents or other contents that cannot be searched for personal data");
    if (q->unsure && p->rules.unsure == GUARD_LOCAL)
        return stay(q, "the call holds images, documents or other contents that cannot be searched for personal data");
    enum guard_action a = action_for(p, q);
    if (a == GUARD_BLOCK)
        return block("the call holds personal data or secrets of a type that is blocked");
    if (a == GUARD_LOCAL)
        return stay(q, "the call holds personal data or secrets of a type that stays local");
    if (all == GUARD_MASK_MODEL)
        return (struct guard_answer){ GUARD_ASK_MODEL, ERR_OK, "a local model looks for more before it is masked" };
    return (struct guard_answer){ GUARD_SEND_MASKED, ERR_OK, a == GUARD_UNSET ? "nothing was found" : "personal data is masked" };
}
