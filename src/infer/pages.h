/* infer/pages.h: how much room is left in a KV cache that sequences share. Includes: core. Pure.
 *
 * A mirror of what libllama holds, in pages of PAGE_TOKENS, counted by reference as in paged attention (Kwon et al. 2023, "vLLM"): a
 * sequence that starts with a copy of another's beginning shares its whole pages. libllama itself shares to the token, so the mirror
 * never says that there is room where there is none. libllama does not tell how many cells are taken. */
#ifndef HEARTH_INFER_PAGES_H
#define HEARTH_INFER_PAGES_H

#include "core/err.h"

#define PAGE_TOKENS 16

struct pages;
/* Room for `tokens` in all, of `sequences` with at most `longest` each. ERR_MEMORY. */
enum err pages_new(size_t tokens, int sequences, size_t longest, struct pages **out);
void pages_free(struct pages *p);                               /* NULL is fine */

/* Makes the sequence n tokens long. ERR_BUSY: there is no room, and nothing has changed. Shorter always works. */
enum err pages_resize(struct pages *p, int seq, size_t n);
/* An empty sequence becomes a copy of the first n tokens of another. ERR_BUSY as above. */
enum err pages_copy(struct pages *p, int from, int to, size_t n);

size_t pages_length(const struct pages *p, int seq);
size_t pages_left(const struct pages *p);                       /* tokens that a new sequence could have */
/* Pages that only this sequence holds: what its end would give back, in tokens. */
size_t pages_own(const struct pages *p, int seq);
/* Pages that are neither free nor held by a sequence, in tokens: 0, or there is a mistake in here. Looks at every page of every sequence. */
size_t pages_lost(const struct pages *p);

#endif
