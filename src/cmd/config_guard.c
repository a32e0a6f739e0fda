/* What leaves for a cloud, as a table of options. */
#include "cmd/config_guard.h"

#define COUNT(t) (sizeof(t) / sizeof *(t))
#define G(f)     offsetof(struct guard_entry, f)

const char *const guard_words[] = { "off", "detect", "mask", "local", "block", NULL };
static const char *const unsure_words[] = { "send", "local", "block", NULL };

static const struct option guard_options[] = {
    { "cloud", OPTION_WORD, G(cloud), NULL, 0, 0, guard_words,
      "off: calls go to cloud models as they are; detect: so too, and what was found is recorded; mask: what is found is replaced, and put back in the answer; local: what holds something is answered "
      "by a local fallback or candidate, or refused; block: it is refused. Unset: mask, but where a task or model says something" },
    { "unsure", OPTION_WORD, G(unsure), "local", 0, 0, unsure_words, "images, documents, token arrays and whatever else cannot be searched: answered by a local fallback or candidate, or refused; block: refused; send: sent as it is" },
    { "allow", OPTION_LIST, G(allow), NULL, 0, 0, NULL, "values that are nobody's: exact, or *@example.org and Acme*" },
    { "deny", OPTION_LIST, G(deny), NULL, 0, 0, NULL, "words that are masked wherever they stand, as CUSTOM" },
    { "leave", OPTION_LIST, G(leave), NULL, 0, 0, NULL, "types that are not masked, such as IP_ADDRESS or PERSON; a task or model that writes a guard of its own masks them" },
    { "restore_secrets", OPTION_BOOL, G(restore_secrets), "false", 0, 0, NULL, "put secrets back in answers, too: else they stay placeholders" },
    { "limit", OPTION_SIZE, G(limit), "8MiB", 1 << 10, 256 << 20, NULL, "a larger request is not searched, so it does not leave" },
    { "vault", OPTION_PATH, G(vault), NULL, 0, 0, NULL, "the file in which the values lie, sealed; unset: guard.db beside the ledger. It is made by the first call that leaves" },
    { "key_file", OPTION_PATH, G(key_file), NULL, 0, 0, NULL, "its key, 32 bytes with mode 0600, made where there is none; unset: guard.key beside the ledger" },
    { "key", OPTION_SECRET, G(key), NULL, 0, 0, NULL, "the key instead of key_file, 64 hexadecimal digits" },
};

struct guard_rules guard_rules_of(int word)
{
    struct guard_rules r = { .action = GUARD_UNSET };
    if (word >= 0)
        (void)guard_action_from(str_of(guard_words[word]), &r.action);
    return r;
}

static enum err words_of(struct arena *a, const struct option_list *l, enum guard_type t, const struct guard_word **out)
{
    struct guard_word *w = arena_new(a, struct guard_word, l->n + 1);
    for (size_t i = 0; w && i < l->n; i++)
        w[i] = (struct guard_word){ l->v[i], t };
    *out = w;
    return w ? ERR_OK : ERR_LIMIT;
}

static void leave_type(struct option_reader *r, const struct yaml_node *section, str name, struct guard_rules *rules)
{
    const char *words[GUARD_N_TYPES];
    char hint[OPTION_HINT];
    for (int t = 0; t < GUARD_N_TYPES; t++) {
        words[t] = guard_type_name((enum guard_type)t);
        if (str_eq(name, str_of(words[t]))) {
            rules->types[t].action = GUARD_OFF;
            return;
        }
    }
    option_hint(name, words, GUARD_N_TYPES, hint);
    yaml_complain(r->report, section->at, "guard.leave: there is no type %.*s%s", STR_ARG(name), hint);
}

static struct digest names_of(const struct guard_entry *e)
{
    const struct digest file = sha256_of(e->key_file), key = sha256_of(e->key.value);
    struct digest both = hmac_sha256((str){ (const char *)file.b, sizeof file.b }, (str){ (const char *)key.b, sizeof key.b });
    return hmac_sha256((str){ (const char *)both.b, sizeof both.b }, e->vault);
}

enum err guard_load(struct option_reader *r, const struct yaml_node *section, str beside_vault, str beside_key, struct guard_entry *e, struct gate_guard *out)
{
    static const enum guard_action unsure[] = { GUARD_MASK, GUARD_LOCAL, GUARD_BLOCK };
    struct guard_finder *trial = NULL;
    enum err err = option_read(r, guard_options, COUNT(guard_options), section, NULL, e);
    if (err)
        return err;
    if (!e->vault.n)
        e->vault = beside_vault;
    if (!e->key_file.n)
        e->key_file = beside_key;
    *out = (struct gate_guard){ .all = guard_rules_of(e->cloud), .body_max = e->limit, .vault = e->vault, .key_file = e->key_file, .key = e->key.value, .names = names_of(e) };
    out->all.unsure = unsure[e->unsure];
    out->all.types[GUARD_SECRET].restore = e->restore_secrets ? GUARD_RESTORE : GUARD_RESTORE_UNSET;
    out->all.n_allow = e->allow.n;
    for (size_t i = 0; i < e->leave.n; i++)
        leave_type(r, section, e->leave.v[i], &out->all);
    if (e->key.value.n) {
        struct seal_key unused;
        if (!vault_key_read(e->key.value, &unused))
            yaml_complain(r->report, section->at, "guard.key: %.*s must hold 64 hexadecimal digits", STR_ARG(e->key.variable));
    }
    if ((err = words_of(r->a, &e->allow, GUARD_N_TYPES, &out->all.allow)))
        return err;
    if (!e->deny.n)
        return ERR_OK;
    err = guard_load_finder(r->a, e, &trial);
    guard_finder_free(trial);
    if (err == ERR_RANGE)
        yaml_complain(r->report, section->at, "guard.deny: each word has a letter or digit and at most 200 bytes");
    return err == ERR_RANGE ? ERR_OK : err;
}

enum err guard_load_finder(struct arena *a, const struct guard_entry *e, struct guard_finder **out)
{
    struct guard_options o = { .n_deny = e->deny.n };
    enum err err = words_of(a, &e->deny, GUARD_CUSTOM, &o.deny);
    return err ? err : guard_finder_new(&o, out);
}

void guard_write(struct option_writer *w, const struct guard_entry *e)
{
    option_open(w, S("guard"));
    option_write(w, guard_options, COUNT(guard_options), e);
    option_close(w);
}

void guard_manual(struct buf *b)
{
    option_manual(b, "guard:", "What is done about personal data and secrets in calls to the cloud zone (docs/guard.md). Nothing need be written: what is found is masked, and what cannot be\n"
                               "searched or masked does not leave. `guard` of tasks and models says the same for theirs; of all that is written the strictest holds.", guard_options, COUNT(guard_options));
}
