/* route/policy.h: what is configured about providers, models and tasks. Includes: core, wire. Plain data, immutable once loaded. */
#ifndef HEARTH_ROUTE_POLICY_H
#define HEARTH_ROUTE_POLICY_H

#include "core/arena.h"
#include "core/hash.h"
#include "wire/names.h"

enum provider_api { API_EMBEDDED, API_OPENAI, API_VLLM, API_LLAMACPP, API_OLLAMA, API_ANTHROPIC };
str api_name(enum provider_api a);
bool api_from(str s, enum provider_api *out);

struct managed {                        /* a server that hearth starts: how */
    str kind;                           /* a preset of fleet/kind.h; empty: a command line of its own */
    const str *words, *env;             /* fleet/command.h */
    size_t n_words, n_env;
    str health;
    int64_t load_ms;                    /* 0: as engines */
};

struct provider {
    str name;
    enum provider_api api;
    str url;                            /* "" for embedded and managed ones */
    str key;                            /* the secret, or empty; never printed */
    enum zone zone;                     /* written, or derived: unwritten is cloud, embedded is machine, loopback is machine */
    bool zone_written;                  /* a derived `machine` does not hold for private data */
    str proxy, ca_file;
    int64_t connect_ms, first_byte_ms, gap_ms;      /* 0: default */
    const struct managed *managed;      /* NULL: it runs already, or is embedded */
    int64_t idle_ms;                    /* embedded and managed: a server without calls is stopped; 0: never */
};

struct model {
    str name;                           /* what clients ask for */
    const struct provider *provider;
    str id;                             /* the provider's own name for it */
    str file;                           /* embedded and managed: the GGUF, or a folder */
    str chat_template;                  /* embedded: a family by name ("chatml"), or empty: the file's own */
    str tools;                          /* embedded: how tools are called ("hermes"), or empty: as its template shows */
    int64_t context, threads, slots;    /* embedded and managed; 0: default */
    int64_t kv_tokens;                  /* embedded: of all sequences together; 0: each has its own room */
    const str *engine_args;             /* embedded: more arguments of its engine */
    size_t n_engine_args;
    bool deterministic;                 /* embedded: every call, as if it had asked for that */
    const str *adapters;                /* embedded: LoRA adapters of its engine, as NAME=FILE */
    size_t n_adapters;
    const struct model *base;           /* with one of the adapters, called `id` there: the model without; else NULL */
    int64_t memory;                     /* bytes that it needs; 0: as measured */
    int gpu;                            /* 0: as its server does, 1: on one, 2: on none */
    bool pin;                           /* not sent away to make room */
    int64_t retries;                    /* tries after the first, here and at fallbacks together */
    int64_t concurrency, queue, queue_ms;       /* calls at once, 0: no limit; how many may wait, and how long */
    const struct model *fallback;       /* asked when this one fails; NULL: none */
    const struct model *replicas;       /* the same model at other providers, n_replicas of them, behind the models in the policy; NULL: none */
    size_t n_replicas;
    const struct model *main;           /* of a replica: the model that it is one of; else NULL */
    double price_input, price_output;   /* dollars per million tokens; NAN: unknown */
};

struct task {
    str name;
    enum risk risk;
    enum data_class data;
    const struct model *reference, *candidate, *fixed;      /* fixed: `model:`; else reference and candidate */
    str prompt, graders;                                    /* recorded; used later */
    int64_t deadline_ms;                                    /* for the whole answer, tries and waits together; 0: none */
    bool deterministic;                                     /* its calls give the same bytes again, at any load */
    bool share_prefix;                                      /* its system messages are no secret: other keys' calls may use what an engine knows of them */
    bool batch;                                             /* it can wait: interactive calls go before it */
    int64_t retries;                                        /* instead of the model's own; -1: not said */
};

/* What a name stands for: exactly one of the three. */
struct target {
    const struct model *model;
    const struct task *task;
    bool is_auto;                       /* the rules of `auto` choose */
};

struct alias {                          /* another name, or every name that begins so */
    str name;
    bool is_prefix;                     /* written with a star at its end, which is not in `name` */
    const struct target *targets;       /* one, or several with weights; those are models and tasks */
    const double *weights;              /* their sum is 1 */
    size_t n;
};

/* One rule of `auto`: all that is written must hold. */
struct auto_rule {
    str name;
    const str *paths, *words, *languages, *tool_names;  /* of each list one is enough; an empty list holds always */
    size_t n_paths, n_words, n_languages, n_tool_names;
    int tools, images;                  /* 1, 0; -1: not asked */
    size_t min_bytes, max_bytes;        /* of the request; max 0: any */
    struct target to;                   /* not auto */
};

struct policy {
    const struct provider *providers;
    size_t n_providers;
    const struct model *models;         /* those that have names, then their replicas */
    size_t n_models, n_all;             /* with names; with replicas */
    const struct task *tasks;
    size_t n_tasks;
    const struct model *default_model;  /* what `default_to` names, when that is a model; NULL: none */
    struct target default_to;           /* for model "default" and calls that name none; all zero: none */
    const struct alias *aliases;        /* exact names first, then prefixes, the longest first */
    size_t n_aliases;
    const struct auto_rule *rules;      /* the first that holds wins */
    size_t n_rules;
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
