/* What leaves for a cloud, as a table of options. */
#include "cmd/config_guard.h"

#include "guard/pattern.h"

#define COUNT(t) (sizeof(t) / sizeof *(t))
#define G(f)     offsetof(struct guard_entry, f)
#define T(f)     offsetof(struct guard_type_entry, f)
#define ANY      GUARD_N_TYPES          /* in place of a type */

const char *const guard_words[] = { "off", "detect", "mask", "mask+model", "local", "block", NULL };
static const char *const unsure_words[] = { "send", "local", "block", NULL };

static const struct option guard_options[] = {
    { "cloud", OPTION_WORD, G(cloud), NULL, 0, 0, guard_words,
      "off: calls go to cloud models as they are; detect: so too, and what was found is recorded; mask: what is found is replaced, and put back in the answer; mask+model: a local model looks, too, and may add to what is replaced; local: what holds something is answered "
      "by a local fallback or candidate, or refused; block: it is refused. Unset: mask, but where a task or model says something" },
    { "unsure", OPTION_WORD, G(unsure), "local", 0, 0, unsure_words, "images, documents, token arrays and whatever else cannot be searched: answered by a local fallback or candidate, or refused; block: refused; send: sent as it is" },
    { "leave", OPTION_LIST, G(leave), NULL, 0, 0, NULL, "types that are not masked, such as IP_ADDRESS or one of your own; a task or model that writes a guard of its own masks them" },
    { "surrogates", OPTION_LIST, G(surrogates), NULL, 0, 0, NULL, "types whose values are replaced by others of their form, so that code and data stay valid, instead of by placeholders: EMAIL, PHONE, CREDIT_CARD, US_SSN, IP_ADDRESS, MAC_ADDRESS" },
    { "model", OPTION_TEXT, G(model), NULL, 0, 0, NULL, "the model that looks where mask+model is written: one of the machine or private zone, asked as any private call is" },
    { "model_timeout", OPTION_DURATION, G(model_ms), "60s", 100, 3600000, NULL, "how long it may look at one request; then the call does not leave" },
    { "restore_secrets", OPTION_BOOL, G(restore_secrets), "false", 0, 0, NULL, "put secrets back in answers, too: else they stay placeholders" },
    { "tagger", OPTION_BOOL, G(tagger), "true", 0, 0, NULL, "names and addresses are looked for by learnt weights, too: more are found, and searching takes about twice as long" },
    { "limit", OPTION_SIZE, G(limit), "8MiB", 1 << 10, 256 << 20, NULL, "a larger request is not searched, so it does not leave" },
    { "vault", OPTION_PATH, G(vault), NULL, 0, 0, NULL, "the file in which the values lie, sealed; unset: guard.db beside the ledger. It is made by the first call that leaves" },
    { "key_file", OPTION_PATH, G(key_file), NULL, 0, 0, NULL, "its key, 32 bytes with mode 0600, made where there is none; unset: guard.key beside the ledger" },
    { "key", OPTION_SECRET, G(key), NULL, 0, 0, NULL, "the key instead of key_file, 64 hexadecimal digits" },
    /* These stand here for the manual: they may also be maps. */
    { "allow", OPTION_LIST, 0, NULL, 0, 0, NULL, "values that are nobody's: exact, or *@example.org and Acme*. Or such lists by type: { EMAIL: ['*@example.org'], any: [Acme*] }" },
    { "deny", OPTION_LIST, 0, NULL, 0, 0, NULL, "words that are masked wherever they stand whole, as CUSTOM. Or such lists by type: { PERSON: [Zoe], CUSTOM: [Nachtfalke] }" },
};
enum { PLAIN_OPTIONS = COUNT(guard_options) - 2 };

static const struct option threshold_options[] = {      /* for the manual */
    { "TYPE", OPTION_INT, 0, "50", 1, 100, NULL, "a type of hearth's, or one of your own" },
};

static const struct option type_options[] = {
    { "words", OPTION_LIST, T(words), NULL, 0, 0, NULL, "found wherever they stand whole, in any case; of all types and deny together at most 50000, of 200 bytes" },
    { "pattern", OPTION_TEXT, T(pattern), NULL, 0, 0, NULL, "a regular expression as RE2 has it, of at most 1000 bytes, best in '…'; a match has at most 1024 bytes. \\b is the border of a word" },
    { "context", OPTION_LIST, T(context), NULL, 0, 0, NULL, "words of which one must stand near a match of the pattern, 80 bytes before it or 40 behind it" },
};

struct guard_rules guard_rules_of(int word)
{
    struct guard_rules r = { .action = GUARD_UNSET };
    if (word >= 0)
        (void)guard_action_from(str_of(guard_words[word]), &r.action);
    return r;
}

/* ---- lists by type ---- */

static size_t lists_count(const struct guard_lists *l)
{
    size_t n = 0;
    for (int t = 0; t <= ANY; t++)
        n += l->of[t].n;
    return n;
}

static enum err words_of(struct arena *a, const struct guard_lists *l, const struct guard_word **out, size_t *n)
{
    struct guard_word *w = arena_new(a, struct guard_word, lists_count(l) + 1);
    *n = 0;
    for (int t = 0; w && t <= ANY; t++)
        for (size_t i = 0; i < l->of[t].n; i++)
            w[(*n)++] = (struct guard_word){ l->of[t].v[i], (enum guard_type)t };
    *out = w;
    return w ? ERR_OK : ERR_LIMIT;
}

/* ---- types ---- */

static const char *type_name(const struct guard_entry *e, size_t t)
{
    return t == ANY ? "any" : t < GUARD_OWN ? guard_type_name(NULL, (enum guard_type)t) : e->types[t - GUARD_OWN].name.p;
}

/* Of hearth and of the owner. False: there is none, and that is said. */
static bool type_named(struct option_reader *r, const struct guard_entry *e, struct yaml_place at, const char *what, str name, enum guard_type *out)
{
    const char *words[GUARD_N_TYPES];
    char hint[OPTION_HINT];
    size_t n = GUARD_OWN + (e->n_types < GUARD_OWN_MAX ? e->n_types : GUARD_OWN_MAX);
    for (size_t t = 0; t < n; t++) {
        words[t] = type_name(e, t);
        if (str_eq(name, str_of(words[t]))) {
            *out = (enum guard_type)t;
            return true;
        }
    }
    option_hint(name, words, n, hint);
    yaml_complain(r->report, at, "guard.%s: there is no type %.*s%s", what, STR_ARG(name), hint);
    return false;
}

/* The first text of a list, or the one that stands in place of it: the others follow it. */
static const struct yaml_node *first_text(const struct yaml_node *list) { return list && list->kind == YAML_LIST ? list->first : list; }

static void check_words(struct option_reader *r, const struct yaml_node *list, const char *what, const struct option_list *words)
{
    const struct yaml_node *m = first_text(list);
    for (size_t i = 0; m && i < words->n; i++, m = m->next)
        if (!guard_word_fits(words->v[i]))
            yaml_complain(r->report, m->at, "guard.%s: each word has a letter or digit and at most 200 bytes", what);
}

static void check_type(struct option_reader *r, const struct yaml_node *m, const struct guard_type_entry *t)
{
    char why[PATTERN_WHY];
    const struct yaml_node *pattern = yaml_member(m, S("pattern"));
    if (!guard_own_name(t->name))
        yaml_complain(r->report, m->key_at, "guard.types: %.*s cannot be a type's name: write 2 to 24 of A-Z, 0-9 and _, a letter first, and none of hearth's own types", STR_ARG(t->name));
    if (!t->words.n && !t->pattern.n)
        yaml_complain(r->report, m->key_at, "guard.types: %.*s needs words, or a pattern", STR_ARG(t->name));
    if (t->context.n && !t->pattern.n)
        yaml_complain(r->report, m->key_at, "guard.types: the context of %.*s belongs to a pattern, and it has none", STR_ARG(t->name));
    check_words(r, yaml_member(m, S("words")), "types", &t->words);
    check_words(r, yaml_member(m, S("context")), "types", &t->context);
    if (!pattern || !t->pattern.n)
        return;
    struct pattern *trial = pattern_new(t->pattern.p, t->pattern.n, why);
    if (!trial)
        yaml_complain(r->report, pattern->at, "the pattern of %.*s cannot be searched for: %s", STR_ARG(t->name), why);
    pattern_free(trial);
}

static enum err read_types(struct option_reader *r, const struct yaml_node *map, struct guard_entry *e)
{
    size_t n = map && map->kind == YAML_MAP ? map->n : 0;
    if (map && map->kind != YAML_MAP && !yaml_is_null(map))
        yaml_complain(r->report, map->at, "guard.types must be a map of names");
    if (n > GUARD_OWN_MAX) {
        yaml_complain(r->report, map->at, "guard.types: there may be %d types", GUARD_OWN_MAX);
        return ERR_OK;
    }
    e->types = arena_new(r->a, struct guard_type_entry, n + 1);
    if (!e->types)
        return ERR_LIMIT;
    for (const struct yaml_node *m = n ? map->first : NULL; m; m = m->next) {
        struct guard_type_entry *t = &e->types[e->n_types++];
        enum err err = option_read(r, type_options, COUNT(type_options), m, NULL, t);
        if (err)
            return err;
        t->name = m->key;
        check_type(r, m, t);
    }
    return ERR_OK;
}

/* `searched`: its words are looked for, not compared with what was found. */
static enum err read_list(struct option_reader *r, const struct yaml_node *n, const char *key, bool searched, struct option_list *out)
{
    enum err err = option_list_read(r, key, n, out);
    if (!err && searched)
        check_words(r, n, key, out);
    return err;
}

/* `key` of the section, a list for the type `plain`, or lists by type. */
static enum err read_lists(struct option_reader *r, const struct yaml_node *section, const char *key, const struct guard_entry *e, enum guard_type plain, struct guard_lists *to)
{
    const struct yaml_node *n = yaml_member(section, str_of(key));
    if (!n || n->kind != YAML_MAP)
        return n ? read_list(r, n, key, plain != ANY, &to->of[plain]) : ERR_OK;
    enum err err = ERR_OK;
    for (const struct yaml_node *m = n->first; m && !err; m = m->next) {
        enum guard_type t = ANY;
        if ((plain == ANY && str_eq(m->key, S("any"))) || type_named(r, e, m->key_at, key, m->key, &t))
            err = read_list(r, m, key, plain != ANY, &to->of[t]);
    }
    return err;
}

static void check_number_of_words(struct option_reader *r, const struct yaml_node *section, const struct guard_entry *e)
{
    size_t n = lists_count(&e->deny);
    for (size_t i = 0; i < e->n_types; i++)
        n += e->types[i].words.n;
    if (n > GUARD_WORDS_MAX)
        yaml_complain(r->report, section->at, "guard: of all types and deny together there may be %d words, and there are %zu", GUARD_WORDS_MAX, n);
}

/* ---- thresholds ---- */

static void read_threshold(struct option_reader *r, const struct yaml_node *m, str text, int64_t *out)
{
    char hint[48] = "", part[8] = "";
    double share = 0;
    if (m->kind == YAML_SCALAR && str_i64(text, out) && *out >= 1 && *out <= 100)
        return;
    *out = 0;
    if (str_starts(text, S("0.")) && text.n < sizeof part) {    /* as other programs have it */
        memcpy(part, text.p, text.n);
        share = strtod(part, NULL);
        if (share >= 0.01)
            snprintf(hint, sizeof hint, ": for %s write %.0f", part, share * 100);
    }
    yaml_complain(r->report, m->at, "guard.threshold: %.*s must be a score from 1 to 100, as hearth guard explain shows it%s", STR_ARG(m->key), hint);
}

static enum err read_thresholds(struct option_reader *r, const struct yaml_node *map, struct guard_entry *e)
{
    enum err err = ERR_OK;
    if (map && map->kind != YAML_MAP && !yaml_is_null(map))
        yaml_complain(r->report, map->at, "guard.threshold must be a map of types, such as { PERSON: 80 }");
    for (const struct yaml_node *m = map && map->kind == YAML_MAP ? map->first : NULL; m && !err; m = m->next) {
        enum guard_type t;
        str text = S("");
        if (!type_named(r, e, m->key_at, "threshold", m->key, &t))
            continue;
        if (m->kind == YAML_SCALAR)
            err = option_text(r, m, &text);
        if (!err)
            read_threshold(r, m, text, &e->least[t]);
    }
    return err;
}

static enum err read_by_type(struct option_reader *r, const struct yaml_node *section, struct guard_entry *e)
{
    enum err err = read_types(r, yaml_member(section, S("types")), e);
    if (!err)
        err = read_lists(r, section, "allow", e, ANY, &e->allow);
    if (!err)
        err = read_lists(r, section, "deny", e, GUARD_CUSTOM, &e->deny);
    if (!err)
        err = read_thresholds(r, yaml_member(section, S("threshold")), e);
    if (section)
        check_number_of_words(r, section, e);
    return err;
}

static struct digest names_of(const struct guard_entry *e)
{
    const struct digest file = sha256_of(e->key_file), key = sha256_of(e->key.value);
    struct digest both = hmac_sha256((str){ (const char *)file.b, sizeof file.b }, (str){ (const char *)key.b, sizeof key.b });
    return hmac_sha256((str){ (const char *)both.b, sizeof both.b }, e->vault);
}

/* The types that a list of the section names: they are left as they are, or (`keep_form`) replaced by others of their form. */
static void types_listed(struct option_reader *r, const struct yaml_node *section, const char *key, const struct guard_entry *e, const struct option_list *l, bool keep_form, struct guard_rules *to)
{
    enum guard_type t;
    const struct yaml_node *m = first_text(yaml_member(section, str_of(key)));
    for (size_t i = 0; m && i < l->n; i++, m = m->next) {
        if (!type_named(r, e, m->at, key, l->v[i], &t))
            continue;
        if (!keep_form)
            to->types[t].action = GUARD_OFF;
        else if (placeholder_has_surrogate(t))
            to->types[t].surrogate = true;
        else
            yaml_complain(r->report, m->at, "guard.%s: there is no form that values of %s could keep", key, t < GUARD_OWN ? guard_type_name(NULL, t) : "types of your own");
    }
}

enum err guard_load(struct option_reader *r, const struct yaml_node *section, str beside_vault, str beside_key, struct guard_entry *e, struct gate_guard *out)
{
    static const enum guard_action unsure[] = { GUARD_MASK, GUARD_LOCAL, GUARD_BLOCK };
    static const char *const also[] = { "types", "allow", "deny", "threshold", NULL };
    enum err err = option_read(r, guard_options, PLAIN_OPTIONS, section, also, e);
    if (!err)
        err = read_by_type(r, section, e);
    if (err)
        return err;
    if (!e->vault.n)
        e->vault = beside_vault;
    if (!e->key_file.n)
        e->key_file = beside_key;
    *out = (struct gate_guard){ .all = guard_rules_of(e->cloud), .body_max = e->limit, .model = e->model, .model_ms = e->model_ms, .vault = e->vault, .key_file = e->key_file, .key = e->key.value, .names = names_of(e) };
    out->all.unsure = unsure[e->unsure];
    out->all.types[GUARD_SECRET].restore = e->restore_secrets ? GUARD_RESTORE : GUARD_RESTORE_UNSET;
    for (int k = 0; k < GUARD_N_TYPES; k++)
        out->all.types[k].least = (uint8_t)e->least[k];
    types_listed(r, section, "leave", e, &e->leave, false, &out->all);
    types_listed(r, section, "surrogates", e, &e->surrogates, true, &out->all);
    if (e->key.value.n) {
        struct seal_key unused;
        if (!vault_key_read(e->key.value, &unused))
            yaml_complain(r->report, section->at, "guard.key: %.*s must hold 64 hexadecimal digits", STR_ARG(e->key.variable));
    }
    return words_of(r->a, &e->allow, &out->all.allow, &out->all.n_allow);
}

enum err guard_load_finder(struct arena *a, const struct guard_entry *e, struct guard_finder **out)
{
    struct guard_options o = { .n_own = e->n_types, .no_tagger = !e->tagger };
    struct guard_own *own = arena_new(a, struct guard_own, e->n_types + 1);
    enum err err = own ? words_of(a, &e->deny, &o.deny, &o.n_deny) : ERR_LIMIT;
    if (err)
        return err;
    for (int t = 0; t < GUARD_N_TYPES; t++)
        o.least[t] = (uint8_t)e->least[t];
    for (size_t i = 0; i < e->n_types; i++) {
        const struct guard_type_entry *t = &e->types[i];
        own[i] = (struct guard_own){ t->name, t->words.v, t->words.n, t->pattern, t->context.v, t->context.n };
    }
    o.own = own;
    return guard_finder_new(&o, out);
}

static void write_lists(struct option_writer *w, str key, const struct guard_entry *e, enum guard_type plain, const struct guard_lists *l)
{
    size_t n = lists_count(l);
    if (n && n == l->of[plain].n) {
        option_put_list(w, key, &l->of[plain]);
        return;
    }
    if (n)
        option_open(w, key);
    for (size_t t = 0; n && t <= ANY; t++)
        if (l->of[t].n)
            option_put_list(w, str_of(type_name(e, t)), &l->of[t]);
    if (n)
        option_close(w);
}

static void write_thresholds(struct option_writer *w, const struct guard_entry *e)
{
    char text[STR_I64];
    bool any = false;
    for (size_t t = 0; t < GUARD_N_TYPES; t++) {
        if (!e->least[t])
            continue;
        if (!any)
            option_open(w, S("threshold"));
        any = true;
        option_put(w, str_of(type_name(e, t)), str_from_i64(e->least[t], text), true);
    }
    if (any)
        option_close(w);
}

void guard_write(struct option_writer *w, const struct guard_entry *e)
{
    option_open(w, S("guard"));
    option_write(w, guard_options, PLAIN_OPTIONS, e);
    write_lists(w, S("allow"), e, ANY, &e->allow);
    write_lists(w, S("deny"), e, GUARD_CUSTOM, &e->deny);
    write_thresholds(w, e);
    if (e->n_types)
        option_open(w, S("types"));
    for (size_t i = 0; i < e->n_types; i++) {
        option_open(w, e->types[i].name);
        option_write(w, type_options, COUNT(type_options), &e->types[i]);
        option_close(w);
    }
    if (e->n_types)
        option_close(w);
    option_close(w);
}

void guard_manual(struct buf *b)
{
    option_manual(b, "guard:", "What is done about personal data and secrets in calls to the cloud zone (docs/guard.md). Nothing need be written: what is found is masked, and what cannot be\n"
                               "searched or masked does not leave. `guard` of tasks and models says the same for theirs; of all that is written the strictest holds.", guard_options, COUNT(guard_options));
    option_manual(b, "guard: threshold:", "How sure a finding of a type must be: `threshold: { PERSON: 80, EMPLOYEE: 40 }`, by the scores that `hearth guard explain` shows. A lower one masks more.", threshold_options,
                  COUNT(threshold_options));
    option_manual(b, "guard: types: NAME:", "Types of your own, of words, of a pattern, or of both: `PROJECT: { words: [Nachtfalke, 'Blue Heron'] }`, `EMPLOYEE: { pattern: '\\bE-\\d{6}\\b', context: [employee] }`. What is found\n"
                                            "becomes `[PROJECT_k7q2m]`. At most 32; a name has 2 to 24 of A-Z, 0-9 and _, a letter first.", type_options, COUNT(type_options));
}
