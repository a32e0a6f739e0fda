/* core/gguf.h: is this file a GGUF that may be given to libllama? Includes: core. Pure.
 *
 * Source: the GGUF specification (ggml docs/gguf.md), versions 2 and 3. A model file is foreign bytes, and parsers of it have had
 * overflows (CVE-2024-21802, CVE-2024-23496, CVE-2025-53630): everything that leads to a size, an offset or a count is
 * checked here against the bytes that are there. What it says of itself beyond that is libllama's to judge. */
#ifndef HEARTH_CORE_GGUF_H
#define HEARTH_CORE_GGUF_H

#include "core/err.h"
#include "core/str.h"

#define GGUF_TYPES 64                   /* tensor type numbers below this may be known */

struct gguf_facts {
    uint32_t version;
    uint64_t n_tensors, n_keys, alignment;
    uint64_t data_at, data_bytes;       /* of the tensors, within the file */
    uint64_t split_count;               /* files the model is split over; 0: not said */
    str architecture, name;             /* slices of the file, empty: not said; of at most 128 bytes */
    uint32_t tensors_of[GGUF_TYPES];    /* tensors by type number */
};

/* ERR_SYNTAX with a sentence in *why (static). `at` (may be NULL): the offset of what is wrong. */
enum err gguf_check(str file, struct gguf_facts *out, const char **why, uint64_t *at);

/* Elements and bytes of a block of a tensor type; false: not known here. */
bool gguf_type_block(uint32_t type, uint32_t *elements, uint32_t *bytes);

#endif
