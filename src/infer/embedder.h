/* infer/embedder.h: texts as vectors, by the model that is loaded. Includes: core, llama.
 *
 * A context of its own beside that of the generations, made when the first text comes: pooling needs a text in one piece. The pooling
 * is what the model's file says (pooling_type); a model that was made for text and says nothing is pooled by the mean over its tokens.
 * Vectors have length 1 (L2), as clients of the OpenAI API expect. */
#ifndef HEARTH_INFER_EMBEDDER_H
#define HEARTH_INFER_EMBEDDER_H

#include "infer/model.h"

#define EMBEDDER_MAX_TOKENS 2048        /* of one text; fewer where the model's context is smaller */

struct embedder;
/* ERR_MEMORY. `alive` is called many times while a text is read: false ends it. */
enum err embedder_new(const struct model *m, bool (*alive)(void *ctx), void *ctx, struct embedder **out);
/* `out` has room for embedder_size() numbers. ERR_CLIENT: `alive` said no. ERR_INTERNAL: libllama failed. */
enum err embedder_run(struct embedder *e, const struct token_list *text, float *out);
void embedder_free(struct embedder *e);                         /* NULL is fine */

/* Of a loaded model; any thread. */
size_t embedder_size(const struct model *m);
size_t embedder_max_tokens(const struct model *m);

#endif
