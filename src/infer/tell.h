/* infer/tell.h: what is made of an answer's text for the client: a stream's pieces, or a whole message. Includes: core, wire. Pure.
 *
 * Without tools the text is the answer. With them, calls are found in it (tools.h), get an id, and are written as OpenAI's API has them. */
#ifndef HEARTH_INFER_TELL_H
#define HEARTH_INFER_TELL_H

#include "core/rand.h"
#include "infer/tools.h"
#include "wire/openai.h"

struct telling {
    const struct openai_writer *writer;
    const struct tool_plan *plan;       /* NULL: no calls are looked for */
    struct arena *a;                    /* of ids and names; lives with the call */
    struct rng *rng;
    struct buf *out;                    /* a stream's; NULL: the answer is collected */
    int64_t index;                      /* of the choice */
    struct tool_parser parser;
    struct buf text;                    /* collected */
    struct openai_call calls[TOOLS_MAX_CALLS];
    struct buf arguments[TOOLS_MAX_CALLS];
};
void tell_init(struct telling *w, const struct openai_writer *writer, const struct tool_plan *plan, struct arena *a, struct rng *rng, struct buf *out, int64_t index);
void tell_free(struct telling *w);
/* A piece of the text; valid UTF-8. `logprobs`: JSON or empty; not with tools. */
enum err tell_put(struct telling *w, str text, str logprobs);
/* That was all; *finish is "stop" or "length" and may become "tool_calls". */
enum err tell_end(struct telling *w, str *finish);
/* After the end, of an answer that was collected; lives as long as it. */
struct openai_choice tell_choice(struct telling *w, str finish, str logprobs);

#endif
