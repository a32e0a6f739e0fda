/* cmd/config_engine.c */
#include "cmd/config_engine.h"

enum { DRAFT_MOST = 32, ADAPTERS_MOST = 16, ARGS_MOST = 6, NAME_MOST = 64 };

const char *const flash_attn_words[] = { "auto", "on", "off", NULL };

static bool add(struct option_reader *r, struct model *m, str word)
{
    ((str *)(uintptr_t)m->engine_args)[m->n_engine_args++] = str_of(arena_cstr(r->a, word));
    return m->engine_args[m->n_engine_args - 1].p != NULL;
}

/* auto, off, or a number. */
static bool read_speculate(struct option_reader *r, str s, struct model *m, enum err *e)
{
    uint64_t n = 0;
    if (!s.n || str_eq(s, S("auto")))
        return true;
    if (!str_eq(s, S("off")) && (!str_u64(s, &n) || n > DRAFT_MOST))
        return false;
    if (!add(r, m, S("--draft")) || !add(r, m, arena_printf(r->a, "%llu", (unsigned long long)n)))
        *e = ERR_LIMIT;
    return true;
}

/* off, or a size: whole MiB, at least one, are the engine's unit. */
static bool read_prefix_cache(struct option_reader *r, str s, struct model *m, enum err *e)
{
    size_t bytes;
    bool ok = true;
    if (!s.n)
        return true;
    if (str_eq(s, S("off")))
        ok = add(r, m, S("--no-reuse"));
    else if (option_size(s, &bytes) && bytes >= 1 << 20)
        ok = add(r, m, S("--kv-memory")) && add(r, m, arena_printf(r->a, "%zu", bytes >> 20));
    else
        return false;
    *e = ok ? *e : ERR_LIMIT;
    return true;
}

enum err engine_entry_load(struct option_reader *r, const struct yaml_node *model, const struct engine_entry *x, struct model *m)
{
    enum err e = ERR_OK;
    m->engine_args = arena_new(r->a, str, ARGS_MOST);
    if (!m->engine_args)
        return ERR_LIMIT;
    m->kv_tokens = x->kv_tokens;
    m->deterministic = x->deterministic;
    if (!read_speculate(r, x->speculate, m, &e))
        yaml_complain(r->report, model->key_at, "model %.*s: speculate is auto, off, or a number up to %d, not %.*s", STR_ARG(m->name), DRAFT_MOST, STR_ARG(x->speculate));
    if (!read_prefix_cache(r, x->prefix_cache, m, &e))
        yaml_complain(r->report, model->key_at, "model %.*s: prefix_cache is off, or a size from 1MiB on such as 256MiB, not %.*s", STR_ARG(m->name), STR_ARG(x->prefix_cache));
    if (x->flash_attn && !(add(r, m, S("--flash-attn")) && add(r, m, str_of(flash_attn_words[x->flash_attn]))))
        e = ERR_LIMIT;
    if (m->provider && m->provider->api != API_EMBEDDED && m->deterministic)
        yaml_complain(r->report, model->key_at, "model %.*s: deterministic is promised by hearth's own engine alone", STR_ARG(m->name));
    return e;
}

static const struct yaml_node *adapters_of(const struct yaml_node *model)
{
    return yaml_member(model->kind == YAML_MAP ? model : NULL, S("adapters"));
}

size_t engine_adapters_count(const struct yaml_node *model)
{
    const struct yaml_node *map = adapters_of(model);
    return map && map->kind == YAML_MAP ? map->n : 0;
}

static bool is_adapter_name(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-' || s.p[i] == '_' || s.p[i] == '.'))
            return false;
    return s.n > 0 && s.n <= NAME_MOST;
}

enum err engine_adapters_load(struct option_reader *r, const struct yaml_node *model, struct model *m, struct model *to,
                              enum err (*find)(void *ctx, const struct yaml_node *at, str file, str *path), void *ctx)
{
    const struct yaml_node *map = adapters_of(model);
    if (!map)
        return ERR_OK;
    if (map->kind != YAML_MAP || (m->provider && m->provider->api != API_EMBEDDED) || map->n > ADAPTERS_MOST) {
        yaml_complain(r->report, map->at, "model %.*s: adapters are NAME: FILE, of an embedded model, at most %d", STR_ARG(m->name), ADAPTERS_MOST);
        return ERR_OK;
    }
    str *words = arena_new(r->a, str, map->n + 1);
    size_t n = 0;
    if (!words)
        return ERR_LIMIT;
    for (const struct yaml_node *x = map->first; x; x = x->next) {
        str path;
        if (x->kind != YAML_SCALAR || !is_adapter_name(x->key)) {
            yaml_complain(r->report, x->key_at, "model %.*s: an adapter is NAME: FILE; its name has letters, digits, - _ . and at most %d of them", STR_ARG(m->name), NAME_MOST);
            continue;
        }
        enum err e = find(ctx, x, x->text, &path);
        if (e)
            return e;
        str name = arena_printf(r->a, "%.*s:%.*s", STR_ARG(m->name), STR_ARG(x->key));
        words[n] = arena_printf(r->a, "%.*s=%.*s", STR_ARG(x->key), STR_ARG(path));
        if (!name.p || !words[n].p)
            return ERR_LIMIT;
        to[n++] = (struct model){ .name = name, .id = x->key };
    }
    m->adapters = words;
    m->n_adapters = n;
    for (size_t i = 0; i < n; i++) {            /* the same in everything else */
        str name = to[i].name, adapter = to[i].id;
        to[i] = *m;
        to[i].name = name;
        to[i].id = adapter;
        to[i].base = m;
    }
    return ERR_OK;
}

void engine_adapters_write(struct option_writer *w, const struct model *m)
{
    str name, path;
    if (!m->n_adapters)
        return;
    option_open(w, S("adapters"));
    for (size_t i = 0; i < m->n_adapters; i++)
        if (str_cut(m->adapters[i], '=', &name, &path))
            option_put(w, name, path, false);
    option_close(w);
}
