/* route/route.h: from a request to the model that answers it, and why. Includes: core, wire. Pure.
 *
 * A client names a task by model ("task/docstring"), by header (x-hearth-task), or a model by its name. Nothing is
 * guessed: an unknown name is refused. `x-hearth-data: private` raises the data class of a call, never lowers it. */
#ifndef HEARTH_ROUTE_ROUTE_H
#define HEARTH_ROUTE_ROUTE_H

#include "route/policy.h"
#include "wire/chat.h"

struct features {                       /* what the rules of `auto` look at */
    str path;
    size_t bytes;                       /* of the body */
    str text;                           /* what the user said last */
    const struct tool *tools;
    size_t n_tools;
    bool has_image;
};

struct route_ask {                      /* what the request says of itself */
    str model;                          /* the model field; may be "task/NAME", "provider/model", "auto", an alias, "default" or empty */
    str task_header, data_header;       /* empty: not given */
    const struct features *features;    /* needed where route_is_auto() */
    double unit;                        /* a random number in [0,1), for aliases with weights */
    str default_task;                   /* of the caller's key, where no model is named; or empty */
};

struct grant {                          /* what the caller's key opens */
    const void *key;
    bool (*allow)(const void *key, str task, str model);
    enum zone ceiling;
};

struct decision {
    const struct task *task;            /* NULL: a plain model */
    const struct model *model;
    enum risk risk;
    enum data_class data;
    const char *reason;                 /* "model", "task-fixed", "task-reference", "task-candidate", "default", "fallback", "guard-local" */
    str rule;                           /* how the name became that: "alias gpt-4o", "auto docs (the word docstring)"; empty: it was the name */
    const char *arm;                    /* "primary" */
    str candidates;                     /* names that were possible, comma-separated */
    const struct grant *grant;          /* NULL: everything. Set between classify and choose; fallbacks ask it too. */
};

/* Do the rules of `auto` decide this one? Then classify wants its features. */
bool route_is_auto(const struct policy *p, const struct route_ask *ask);
/* From a chat (NULL: a plain prompt in `text`). */
enum err route_look(struct arena *a, str path, size_t bytes, const struct chat *c, str text, struct features *out);
/* CLASSIFY: task, risk and data class. ERR_MODEL, ERR_SYNTAX (a bad header). */
enum err route_classify(struct arena *a, const struct policy *p, const struct route_ask *ask, struct decision *out, struct wire_error *why);
/* ROUTE: the model, and whether its zone and the caller's key may have this call: ERR_PRIVATE, ERR_FORBIDDEN. The decision is filled also then. */
enum err route_choose(struct arena *a, struct decision *d, struct wire_error *why);

/* The next model in `from`'s chain of fallbacks that may have this call and is not among `tried`; NULL: none. */
const struct model *route_fallback(const struct policy *p, const struct decision *d, const struct model *from, const struct model *const *tried, size_t n_tried);
/* For a call that must stay: the first such model that is not in the cloud zone, or the task's candidate; NULL: none. */
const struct model *route_local(const struct policy *p, const struct decision *d, const struct model *from, const struct model *const *tried, size_t n_tried);

#endif
