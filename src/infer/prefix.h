/* infer/prefix.h: which evaluated texts are kept, and which of them a new prompt begins like. Includes: core. Pure.
 *
 * An entry is a run of tokens whose keys and values somebody holds; the index knows the tokens only. Entries of one owner are
 * never found for another.
 *
 * They stand in one array, sorted by owner, then token by token. What shares the longest prefix with a prompt then stands next to
 * the place where the prompt itself would stand, as in a suffix array: a look-up is a binary search, and all entries that share as much are
 * neighbours. That is the look-up of a radix tree (Zheng et al. 2024, "SGLang", RadixAttention) without nodes to split and join. */
#ifndef HEARTH_INFER_PREFIX_H
#define HEARTH_INFER_PREFIX_H

#include "core/err.h"

struct prefix_entry {                   /* lies in the struct of whoever holds the state */
    uint64_t owner;
    const int32_t *tokens;              /* unchanged while it is in the index */
    size_t n;
    uint64_t used;                      /* the index's count of uses when this one was last touched: the least is the oldest */
};

struct prefix_index {
    struct prefix_entry **list;         /* of the caller, `cap` places */
    size_t n, cap;
    uint64_t uses;
};

/* Entries [first, end) of the list share `n` tokens with what was looked up, and none shares more. n 0: there is none. */
struct prefix_match { size_t n, first, end; };

size_t prefix_common(const int32_t *a, size_t na, const int32_t *b, size_t nb);     /* length of the common prefix */
struct prefix_match prefix_find(const struct prefix_index *x, uint64_t owner, const int32_t *tokens, size_t n);
/* ERR_BUSY: the list is full. Two entries of one owner may hold the same tokens. Touches it. */
enum err prefix_add(struct prefix_index *x, struct prefix_entry *e);
void prefix_remove(struct prefix_index *x, struct prefix_entry *e);
void prefix_touch(struct prefix_index *x, struct prefix_entry *e);

#endif
