/* From a preset or a command line to the words that the fleet starts. */
#include "cmd/config_managed.h"

#include "fleet/command.h"
#include "fleet/kind.h"

/* A secret that stands in a value would be printed with the configuration; by its name alone it is not. */
static void check_env(struct option_reader *r, const struct yaml_node *provider)
{
    const struct yaml_node *list = yaml_member(provider, S("env"));
    const struct yaml_node *m = list && list->kind == YAML_LIST ? list->first : list;
    for (; m; m = list->kind == YAML_LIST ? m->next : NULL) {
        size_t name = 0;
        while (name < m->text.n && (m->text.p[name] == '_' || (m->text.p[name] >= 'A' && m->text.p[name] <= 'Z') || (m->text.p[name] >= 'a' && m->text.p[name] <= 'z') ||
                                    (name && m->text.p[name] >= '0' && m->text.p[name] <= '9')))
            name++;
        if (str_find(m->text, S("${")) < m->text.n)
            yaml_complain(r->report, m->at, "env: write the name alone, such as HF_TOKEN: its value is passed on and never printed");
        else if (!name || (name < m->text.n && m->text.p[name] != '='))
            yaml_complain(r->report, m->at, "env: write NAME=value, or NAME alone");
    }
}

static enum provider_api api_of(const char *word, const char *const *apis)
{
    int i = 0;
    while (apis[i] && strcmp(apis[i], word) != 0)
        i++;
    return (enum provider_api)i;
}

/* What speaks so is asked in this way. */
static const struct kind *kind_of_api(int api)
{
    switch (api) {
    case API_VLLM:     return kind_of(FLEET_VLLM);
    case API_LLAMACPP: return kind_of(FLEET_LLAMA_SERVER);
    case API_OLLAMA:   return kind_of(FLEET_OLLAMA);
    default:           return kind_of(FLEET_OTHER);
    }
}

static enum err take_words(struct option_reader *r, const struct yaml_node *provider, const struct managed_entry *e, const char *command, struct managed *m)
{
    str *words, *all;
    size_t n;
    const char *why;
    enum err err = command_split(r->a, command ? str_of(command) : e->start, &words, &n, &why);
    if (err == ERR_SYNTAX) {
        yaml_complain(r->report, provider->key_at, "start of provider %.*s: %s", STR_ARG(provider->key), why);
        return ERR_OK;
    }
    all = err ? NULL : arena_new(r->a, str, n + e->args.n + 1);
    if (!all)
        return ERR_LIMIT;
    memcpy(all, words, n * sizeof *words);
    if (e->program.n)
        all[0] = e->program;
    for (size_t i = 0; i < e->args.n; i++)
        all[n++] = e->args.v[i];
    m->words = all;
    m->n_words = n;
    return ERR_OK;
}

static bool has_port(const struct kind *k, const struct managed *m)
{
    bool in_kind = false;
    for (size_t i = 0; i < sizeof k->env / sizeof *k->env && k->env[i]; i++)
        in_kind |= strstr(k->env[i], "{port}") != NULL;
    return in_kind || command_has(m->words, m->n_words, COMMAND_PORT) || command_has(m->env, m->n_env, COMMAND_PORT);
}

enum err managed_load(struct option_reader *r, const struct yaml_node *provider, const struct managed_entry *e, const char *const *apis, int *api, struct managed **out)
{
    bool any = e->start.n || e->program.n || e->args.n || e->env.n || e->health.n || e->load_ms;
    if (any && !e->start.n)
        yaml_complain(r->report, provider->key_at, "provider %.*s: program, args, env, health and load_time need start", STR_ARG(provider->key));
    if (!e->start.n)
        return ERR_OK;
    const struct kind *preset = kind_find(e->start);
    if (*api < 0)
        *api = (int)api_of(preset ? preset->api : "openai", apis);
    if (*api == API_EMBEDDED || *api == API_ANTHROPIC || (preset && *api != (int)api_of(preset->api, apis)))
        yaml_complain(r->report, provider->key_at, "provider %.*s: a server that hearth starts speaks openai, vllm, llamacpp or ollama, and a preset its own", STR_ARG(provider->key));
    const struct kind *k = preset ? preset : kind_of_api(*api);
    struct managed *m = arena_new(r->a, struct managed, 1);
    if (!m)
        return ERR_LIMIT;
    *m = (struct managed){ .kind = preset ? str_of(preset->name) : S(""), .env = e->env.v, .n_env = e->env.n, .health = e->health.n ? e->health : str_of(k->health), .load_ms = e->load_ms };
    check_env(r, provider);
    enum err err = take_words(r, provider, e, preset ? preset->command : NULL, m);
    if (!err && m->n_words && !has_port(k, m))
        yaml_complain(r->report, provider->key_at, "start of provider %.*s names no {port}: hearth chooses a free one for every start", STR_ARG(provider->key));
    if (!str_starts(m->health, S("/")))
        yaml_complain(r->report, provider->key_at, "health of provider %.*s must be a path such as /health", STR_ARG(provider->key));
    *out = m;
    return err;
}

void managed_manual(struct buf *b)
{
    (void)buf_put(b, S("\n### Servers that hearth starts\n\n"
                       "With `start` a provider is a program: it is started when the first call for one of its models comes, on a free loopback port, watched, started again with growing\n"
                       "pauses when it ends or hangs, stopped after `idle`, and ended with everything below it when hearth ends, however that is. What it prints is kept in `engine.log_dir`\n"
                       "(16 MiB each). A command line is split into words as a shell would, but there is no shell. In its words and in `env` these are replaced: `{port}`, `{host}`\n"
                       "(127.0.0.1), `{model}` (the model's `file`, else its `id`), `{name}` (its `id`), `{threads}`, `{context}`, `{slots}`, `{total_context}` (context times slots). Words\n"
                       "between the words `[` and `]` are left out when a placeholder among them has no value. Where neither `{model}` nor `{name}` stands, one server has all models\n"
                       "of the provider; else each model has its own. The presets:\n\n| start | api | is |\n|---|---|---|\n"));
    for (int k = 0; k < FLEET_KINDS; k++) {
        const struct kind *x = kind_of((enum fleet_kind)k);
        if (!x->command)
            continue;
        (void)buf_printf(b, "| `%s` | %s | `", x->name, x->api);
        for (size_t i = 0; i < sizeof x->env / sizeof *x->env && x->env[i]; i++)
            (void)buf_printf(b, "%s ", x->env[i]);
        (void)buf_printf(b, "%s` |\n", x->command);
    }
    (void)buf_put(b, S("\nA server gets what a user's programs have in the environment (PATH, HOME, LD_LIBRARY_PATH, CUDA_…, HF_HOME and the like), and no key unless `env` names it.\n"));
}
