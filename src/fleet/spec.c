/* Specifications: copied, and compared by a digest of everything that is written in them. */
#include "fleet/command.h"
#include "fleet/server.h"

static bool copy_list(struct arena *a, const str *from, size_t n, const str **to)
{
    str *list = arena_new(a, str, n + 1);
    for (size_t i = 0; list && i < n; i++) {
        list[i] = str_of(arena_cstr(a, from[i]));
        if (!list[i].p)
            return false;
    }
    *to = list;
    return list != NULL;
}

enum err spec_copy(struct arena *a, const struct fleet_spec *from, struct fleet_spec *to)
{
    *to = *from;
    str *const texts[] = { &to->provider, &to->name, &to->id, &to->file, &to->chat_template, &to->tools, &to->adapter, &to->health, &to->fields };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *copy = arena_cstr(a, *texts[i]);          /* the end of an argument, too */
        if (!copy)
            return ERR_LIMIT;
        texts[i]->p = copy;
    }
    return copy_list(a, from->words, from->n_words, &to->words) && copy_list(a, from->env, from->n_env, &to->env) && copy_list(a, from->args, from->n_args, &to->args) &&
                   copy_list(a, from->adapters, from->n_adapters, &to->adapters)
               ? ERR_OK : ERR_LIMIT;
}

static void add(struct sha256 *h, str s)
{
    uint64_t n = s.n;
    sha256_add(h, str_slice((const char *)&n, sizeof n));       /* where one ends and the next begins */
    sha256_add(h, s);
}

static void add_number(struct sha256 *h, int64_t v) { sha256_add(h, str_slice((const char *)&v, sizeof v)); }

/* An attached server has all models of its provider, and so has one whose command names none. */
bool spec_is_shared(const struct fleet_spec *s)
{
    return s->attached || (s->kind != FLEET_ENGINE && !command_has(s->words, s->n_words, COMMAND_MODEL) && !command_has(s->words, s->n_words, COMMAND_NAME));
}

static void add_list(struct sha256 *h, const str *list, size_t n)
{
    add_number(h, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        add(h, list[i]);
}

static struct digest digest_of(const struct fleet_spec *s, bool of_server)
{
    struct digest none = { { 0 } };
    struct sha256 *h = sha256_new();
    const struct http_origin *o = &s->origin;
    if (!h)
        return none;
    sha256_begin(h);
    const str texts[] = { s->provider, s->health, s->fields, str_of(o->host), str_of(o->unix_path), str_of(o->base), str_of(o->ca_file), str_of(o->proxy) };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        add(h, texts[i]);
    add_list(h, s->words, s->n_words);
    add_list(h, s->env, s->n_env);
    const int64_t numbers[] = { s->kind, s->attached, s->load_ms, s->idle_ms, o->port, o->tls, s->here };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        add_number(h, numbers[i]);
    if (!of_server || !spec_is_shared(s)) {
        const str own[] = { s->name, s->id, s->file, s->chat_template, s->tools };
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            add(h, own[i]);
        add_number(h, s->context);
        add_number(h, s->threads);
        add_number(h, s->slots);
        add_number(h, s->memory);
        add_number(h, s->gpu);
        add_number(h, s->pin);
        add_number(h, s->kv_tokens);
        add_list(h, s->args, s->n_args);
        add_list(h, s->adapters, s->n_adapters);
    }
    if (!of_server)
        add(h, s->adapter);
    struct digest d = sha256_end(h);
    sha256_free(h);
    return d;
}

struct digest spec_key(const struct fleet_spec *s) { return digest_of(s, false); }
struct digest spec_server_key(const struct fleet_spec *s) { return digest_of(s, true); }
