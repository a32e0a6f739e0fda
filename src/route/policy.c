/* route/policy.c: looking names up in a policy, and the contradictions that refuse one. */
#include "route/policy.h"

static const str apis[] = { S("embedded"), S("openai"), S("vllm"), S("llamacpp"), S("ollama"), S("anthropic") };

str api_name(enum provider_api a) { return apis[a]; }

bool api_from(str s, enum provider_api *out)
{
    for (size_t i = 0; i < sizeof apis / sizeof *apis; i++)
        if (str_eq(apis[i], s)) {
            *out = (enum provider_api)i;
            return true;
        }
    return false;
}

const struct model *policy_model(const struct policy *p, str name)
{
    for (size_t i = 0; i < p->n_models; i++)
        if (str_eq(p->models[i].name, name))
            return &p->models[i];
    return NULL;
}

const struct task *policy_task(const struct policy *p, str name)
{
    for (size_t i = 0; i < p->n_tasks; i++)
        if (str_eq(p->tasks[i].name, name))
            return &p->tasks[i];
    return NULL;
}

bool provider_holds_private(const struct provider *v)
{
    return v->zone != ZONE_CLOUD && (v->zone_written || v->api == API_EMBEDDED);
}

enum err policy_check(struct arena *a, const struct policy *p, str *why)
{
    *why = STR_NONE;
    for (size_t i = 0; i < p->n_tasks; i++) {
        const struct task *t = &p->tasks[i];
        const struct model *models[] = { t->reference, t->candidate, t->fixed };
        for (size_t k = 0; t->data == DATA_PRIVATE && k < 3; k++) {
            const struct model *m = models[k];
            const struct provider *v = m ? m->provider : NULL;
            if (!v || provider_holds_private(v))
                continue;
            *why = v->zone == ZONE_CLOUD
                       ? arena_printf(a, "task %.*s is private, but its model %.*s is in the cloud zone", STR_ARG(t->name), STR_ARG(m->name))
                       : arena_printf(a, "task %.*s is private, and the zone of its model %.*s is only guessed from the address: write zone: %.*s for provider %.*s",
                                      STR_ARG(t->name), STR_ARG(m->name), STR_ARG(zone_name(v->zone)), STR_ARG(v->name));
            return why->p ? ERR_PRIVATE : ERR_LIMIT;
        }
    }
    return ERR_OK;
}
