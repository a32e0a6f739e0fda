/* infer/prompt.h: from a call to its prompt, tools included. Includes: core, wire, llama (in the .c). */
#ifndef HEARTH_INFER_PROMPT_H
#define HEARTH_INFER_PROMPT_H

#include "infer/model.h"

/* A chat or a completion. *plan says how its answer is read; off where there are no tools. Errors as those of template_chat() and
 * tool_plan_make(). What the plan refers to lives in `a`. */
enum err prompt_of_call(struct arena *a, const struct model *m, const struct prompt_limits *lim, struct rng *r, const struct call *c,
                        struct tool_plan *plan, struct token_list *out, struct wire_error *why);

#endif
