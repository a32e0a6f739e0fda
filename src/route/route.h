/* route/route.h: from a request to the model that answers it, and why. Includes: core, wire. Pure.
 *
 * A client names a task by model ("task/docstring"), by header (x-hearth-task), or a model by its name. Nothing is
 * guessed: an unknown name is refused. `x-hearth-data: private` raises the data class of a call, never lowers it. */
#ifndef HEARTH_ROUTE_ROUTE_H
#define HEARTH_ROUTE_ROUTE_H

#include "route/policy.h"
#include "wire/call.h"

struct route_ask {                      /* what the request says of itself */
    str model;                          /* the model field; may be "task/NAME", "provider/model", "default" or empty */
    str task_header, data_header;       /* empty: not given */
};

struct decision {
    const struct task *task;            /* NULL: a plain model */
    const struct model *model;
    enum risk risk;
    enum data_class data;
    const char *reason;                 /* "model", "task-fixed", "task-reference", "task-candidate", "default" */
    const char *arm;                    /* "primary" */
    str candidates;                     /* names that were possible, comma-separated */
};

/* CLASSIFY: task, risk and data class. ERR_MODEL, ERR_SYNTAX (a bad header). */
enum err route_classify(struct arena *a, const struct policy *p, const struct route_ask *ask, struct decision *out, struct wire_error *why);
/* ROUTE: the model, and whether its zone may have this call: ERR_PRIVATE, ERR_GUARD. The decision is filled also then. */
enum err route_choose(struct arena *a, const struct policy *p, struct decision *d, struct wire_error *why);

/* The next model in `from`'s chain of fallbacks that may have this call and is not among `tried`; NULL: none. */
const struct model *route_fallback(const struct policy *p, const struct decision *d, const struct model *from, const struct model *const *tried, size_t n_tried);

#endif
