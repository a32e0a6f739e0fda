/* Names that stand for other names. A target is written as a model's name, "task/NAME" or "auto". */
#include "cmd/config_routes.h"

#include <math.h>
#include <stdlib.h>

#define COUNT(t) (sizeof(t) / sizeof *(t))
#define R(f)     offsetof(struct rule_entry, f)

static const struct option rule_options[] = {
    { "path", OPTION_LIST, R(paths), NULL, 0, 0, NULL, "the request's path begins so: /v1/messages" },
    { "words", OPTION_LIST, R(words), NULL, 0, 0, NULL, "one of them stands in what the user said last, as a word, in either case" },
    { "language", OPTION_LIST, R(languages), NULL, 0, 0, NULL, "a fenced block of code there is marked so: python" },
    { "tool", OPTION_LIST, R(tool_names), NULL, 0, 0, NULL, "a tool of this name is offered to the model" },
    { "tools", OPTION_TRUTH, R(tools), NULL, 0, 0, NULL, "whether any tools are offered" },
    { "images", OPTION_TRUTH, R(images), NULL, 0, 0, NULL, "whether there is an image" },
    { "min_bytes", OPTION_SIZE, R(min_bytes), "0", 0, 0, NULL, "the request is at least so long" },
    { "max_bytes", OPTION_SIZE, R(max_bytes), "0", 0, 0, NULL, "and at most; 0: any length" },
    { "to", OPTION_TEXT, R(to), NULL, 0, 0, NULL, "a model, or task/NAME" },
};

/* ---- targets ---- */

static bool find_target(struct option_reader *r, const struct policy *p, struct yaml_place at, str text, struct target *out)
{
    const char *words[64];
    size_t n = 0;
    char hint[OPTION_HINT];
    *out = (struct target){ .is_auto = str_eq(text, S("auto")) };
    if (out->is_auto)
        return true;
    bool is_task = str_starts(text, S("task/"));
    str name = is_task ? str_skip(text, 5) : text;
    if (is_task)
        out->task = policy_task(p, name);
    else
        out->model = policy_model(p, name);
    if (out->task || out->model)
        return true;
    for (size_t i = 0; n < 64 && i < (is_task ? p->n_tasks : p->n_models); i++)
        words[n++] = is_task ? p->tasks[i].name.p : p->models[i].name.p;
    option_hint(name, words, n, hint);
    yaml_complain(r->report, at, "there is no %s %.*s%s", is_task ? "task" : "model", STR_ARG(name), hint);
    return false;
}

static enum err load_default(struct option_reader *r, const struct yaml_node *n, struct policy *p, struct routes *x)
{
    if (n && yaml_is_null(n))
        n = NULL;
    enum err e = n ? option_text(r, n, &x->default_name) : ERR_OK;
    if (!e && n)
        (void)find_target(r, p, n->at, x->default_name, &p->default_to);
    else if (p->n_models == 1)
        p->default_to.model = &p->models[0];    /* there is nothing to choose from */
    p->default_model = p->default_to.model;
    if (n && p->default_to.is_auto && !p->n_rules)
        yaml_complain(r->report, n->at, "default: auto needs rules under auto:");
    return e;
}

/* ---- aliases ---- */

static bool is_alias_name(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7F || (s.p[i] == '*' && i + 1 < s.n))
            return false;
    return s.n > 0 && s.n <= 128 && !str_eq(s, S("default")) && !str_eq(s, S("auto")) && !str_starts(s, S("task/"));
}

/* name: target, or name: { target: weight, … } */
static enum err read_alias(struct option_reader *r, const struct yaml_node *m, struct alias_entry *x)
{
    size_t max = m->kind == YAML_MAP ? m->n : 1;
    x->key = m->key;
    x->to.v = arena_new(r->a, str, max + 1);
    x->weights = arena_new(r->a, double, max + 1);
    if (!x->to.v || !x->weights)
        return ERR_LIMIT;
    if (m->kind == YAML_SCALAR && !yaml_is_null(m)) {
        x->weights[0] = 1;
        x->to.n = 1;
        return option_text(r, m, &x->to.v[0]);
    }
    if (m->kind != YAML_MAP || !m->n) {
        yaml_complain(r->report, m->at, "alias %.*s must be a model, or models with weights such as { a: 3, b: 1 }", STR_ARG(m->key));
        return ERR_OK;
    }
    double sum = 0;
    for (const struct yaml_node *w = m->first; w; w = w->next) {
        str text = STR_NONE;
        uint64_t weight = 0;
        enum err e = w->kind == YAML_SCALAR ? option_text(r, w, &text) : ERR_OK;
        if (e)
            return e;
        if (!str_u64(text, &weight) || weight < 1 || weight > 1000000 || str_eq(w->key, S("auto")))
            yaml_complain(r->report, w->at, "a weight is a number from 1 to 1000000, of a model or a task");
        x->to.v[x->to.n] = w->key;
        x->weights[x->to.n++] = (double)weight;
        sum += (double)weight;
    }
    for (size_t i = 0; i < x->to.n && sum > 0; i++)
        x->weights[i] /= sum;
    return ERR_OK;
}

static enum err load_alias(struct option_reader *r, const struct yaml_node *m, struct policy *p, struct alias_entry *x, struct alias *out)
{
    bool is_prefix = m->key.n && m->key.p[m->key.n - 1] == '*';
    if (!is_alias_name(m->key))
        yaml_complain(r->report, m->key_at, "an alias is a name without spaces, which may end with a star, and is neither default, auto nor task/…");
    if (policy_model(p, m->key))
        yaml_complain(r->report, m->key_at, "alias %.*s is the name of a model", STR_ARG(m->key));
    enum err e = read_alias(r, m, x);
    struct target *list = arena_new(r->a, struct target, x->to.n + 1);
    if (e || !list)
        return e ? e : ERR_LIMIT;
    for (size_t i = 0; i < x->to.n; i++)
        (void)find_target(r, p, m->at, x->to.v[i], &list[i]);
    *out = (struct alias){ .name = { m->key.p, m->key.n - is_prefix }, .is_prefix = is_prefix, .targets = list, .weights = x->weights, .n = x->to.n };
    return ERR_OK;
}

static int by_fit(const void *x, const void *y)
{
    const struct alias *a = x, *b = y;
    if (a->is_prefix != b->is_prefix)
        return a->is_prefix - b->is_prefix;
    if (a->name.n != b->name.n)
        return a->name.n < b->name.n ? 1 : -1;
    return str_cmp(a->name, b->name);
}

static enum err load_aliases(struct option_reader *r, const struct yaml_node *map, struct policy *p, struct routes *x)
{
    size_t n = map && map->kind == YAML_MAP ? map->n : 0, i = 0;
    struct alias *list = arena_new(r->a, struct alias, n + 1);
    x->aliases = arena_new(r->a, struct alias_entry, n + 1);
    if (!list || !x->aliases)
        return ERR_LIMIT;
    if (map && map->kind != YAML_MAP && !yaml_is_null(map))
        yaml_complain(r->report, map->at, "aliases must be a map of names");
    for (const struct yaml_node *m = n ? map->first : NULL; m; m = m->next, i++) {
        enum err e = load_alias(r, m, p, &x->aliases[i], &list[i]);
        if (e)
            return e;
    }
    x->n_aliases = n;
    qsort(list, n, sizeof *list, by_fit);
    p->aliases = list;
    p->n_aliases = r->report->n ? 0 : n;        /* one without a target must not be asked */
    return ERR_OK;
}

/* ---- rules ---- */

static enum err load_rules(struct option_reader *r, const struct yaml_node *map, struct policy *p, struct routes *x)
{
    size_t n = map && map->kind == YAML_MAP ? map->n : 0, i = 0;
    struct auto_rule *list = arena_new(r->a, struct auto_rule, n + 1);
    x->rules = arena_new(r->a, struct rule_entry, n + 1);
    if (!list || !x->rules)
        return ERR_LIMIT;
    if (map && map->kind != YAML_MAP && !yaml_is_null(map))
        yaml_complain(r->report, map->at, "auto must be a map of rules, which are tried in their order");
    for (const struct yaml_node *m = n ? map->first : NULL; m; m = m->next, i++) {
        struct rule_entry *e = &x->rules[i];
        enum err err = option_read(r, rule_options, COUNT(rule_options), m, NULL, e);
        if (err)
            return err;
        list[i] = (struct auto_rule){ .name = m->key, .paths = e->paths.v, .n_paths = e->paths.n, .words = e->words.v, .n_words = e->words.n, .languages = e->languages.v,
                                      .n_languages = e->languages.n, .tool_names = e->tool_names.v, .n_tool_names = e->tool_names.n, .tools = e->tools, .images = e->images,
                                      .min_bytes = e->min_bytes, .max_bytes = e->max_bytes };
        if (!is_alias_name(m->key))
            yaml_complain(r->report, m->key_at, "a rule's name has no spaces");
        if (!e->to.n || str_eq(e->to, S("auto")))
            yaml_complain(r->report, m->key_at, "rule %.*s needs a model or a task in to", STR_ARG(m->key));
        else
            (void)find_target(r, p, m->at, e->to, &list[i].to);
    }
    p->rules = list;
    p->n_rules = n;
    return ERR_OK;
}

enum err routes_load(struct option_reader *r, const struct yaml_node *root, struct policy *p, struct routes *out)
{
    enum err e = load_rules(r, yaml_member(root, S("auto")), p, out);
    if (!e)
        e = load_aliases(r, yaml_member(root, S("aliases")), p, out);
    return e ? e : load_default(r, yaml_member(root, S("default")), p, out);
}

/* ---- writing ---- */

void routes_write_default(struct option_writer *w, const struct routes *x)
{
    if (x->default_name.n)
        option_put(w, S("default"), x->default_name, false);
}

void routes_write(struct option_writer *w, const struct policy *p, const struct routes *x)
{
    char text[32];
    if (x->n_aliases)
        option_open(w, S("aliases"));
    for (size_t i = 0; i < x->n_aliases; i++) {
        const struct alias_entry *e = &x->aliases[i];
        if (e->to.n == 1) {
            option_put(w, e->key, e->to.v[0], false);
            continue;
        }
        option_open(w, e->key);
        for (size_t k = 0; k < e->to.n; k++) {
            snprintf(text, sizeof text, "%.0f", fmax(1, round(e->weights[k] * 1e6)));
            option_put(w, e->to.v[k], str_of(text), true);
        }
        option_close(w);
    }
    if (x->n_aliases)
        option_close(w);
    if (p->n_rules)
        option_open(w, S("auto"));
    for (size_t i = 0; i < p->n_rules; i++) {
        option_open(w, p->rules[i].name);
        option_write(w, rule_options, COUNT(rule_options), &x->rules[i]);
        option_close(w);
    }
    if (p->n_rules)
        option_close(w);
}

void routes_manual(struct buf *b)
{
    (void)buf_put(b, S("\n## aliases:\n\nOther names for models and tasks: `gpt-4o: coder`. A name that ends with a star stands for every name that begins so: `claude-*: frontier`;\n"
                       "exact names go before, and longer beginnings before shorter. Several targets share by weight: `fast: { coder: 3, qwen: 1 }`. A target is a\n"
                       "model, `task/NAME` or `auto`. What was asked for and what answered both stand in the ledger.\n"));
    option_manual(b, "auto: RULE:", "What the model `auto` is: the rules are tried in their order, and the first of which everything holds decides; when none does, `default`.\n"
                                    "The rule and what it found stand in the ledger and in `x-hearth-route`; `hearth explain` shows it without a call.", rule_options, COUNT(rule_options));
}
