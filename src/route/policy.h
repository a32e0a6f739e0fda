/* route/policy.h: what is configured about providers, models and tasks. Includes: core, wire. Plain data, immutable once loaded. */
#ifndef HEARTH_ROUTE_POLICY_H
#define HEARTH_ROUTE_POLICY_H

#include "core/arena.h"
#include "core/hash.h"
#include "wire/names.h"

enum provider_api { API_EMBEDDED, API_OPENAI, API_VLLM, API_LLAMACPP, API_OLLAMA, API_ANTHROPIC };
str api_name(enum provider_api a);
bool api_from(str s, enum provider_api *out);

struct provider {
    str name;
    enum provider_api api;
    str url;                            /* "" for embedded */
    str key;                            /* the secret, or empty; never printed */
    enum zone zone;                     /* written, or derived: unwritten is cloud, embedded is machine, loopback is machine */
    bool zone_written;                  /* a derived `machine` does not hold for private data */
    str proxy, ca_file;
    int64_t connect_ms, first_byte_ms, gap_ms;      /* 0: default */
};

struct model {
    str name;                           /* what clients ask for */
    const struct provider *provider;
    str id;                             /* the provider's own name for it */
    str file;                           /* embedded: the GGUF */
    str chat_template;                  /* embedded: a family by name ("chatml"), or empty: the file's own */
    int64_t context, threads, slots;    /* embedded; 0: default */
    int64_t retries;                    /* tries after the first, here and at fallbacks together */
    const struct model *fallback;       /* asked when this one fails; NULL: none */
    double price_input, price_output;   /* dollars per million tokens; NAN: unknown */
};

struct task {
    str name;
    enum risk risk;
    enum data_class data;
    const struct model *reference, *candidate, *fixed;      /* fixed: `model:`; else reference and candidate */
    str prompt, graders;                                    /* recorded; used later */
};

struct policy {
    const struct provider *providers;
    size_t n_providers;
    const struct model *models;
    size_t n_models;
    const struct task *tasks;
    size_t n_tasks;
    const struct model *default_model;  /* for model "default" and calls that name none; NULL: none */
    bool cloud_without_guard;           /* guard: { cloud: off } is written */
    struct digest hash;                 /* of the configuration this came from; in every row */
};

const struct model *policy_model(const struct policy *p, str name);
const struct task *policy_task(const struct policy *p, str name);

/* May private data go there? Not to the cloud, and not where the zone is only guessed from an address. */
bool provider_holds_private(const struct provider *v);

/* A contradiction that must refuse the configuration: a private task with a model in the cloud zone or in a zone that
 * is only derived. ERR_PRIVATE, and the sentence names the task and the model. */
enum err policy_check(struct arena *a, const struct policy *p, str *why);

#endif
