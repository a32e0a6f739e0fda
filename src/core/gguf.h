/* core/gguf.h: is this file a GGUF that may be given to libllama, and what does it say of itself? Includes: core. Pure.
 *
 * Source: the GGUF specification (ggml docs/gguf.md), versions 2 and 3; file types are numbered as in llama.h (enum llama_ftype), the keys of
 * split files as llama.cpp's gguf-split writes them. A model file is foreign bytes, and parsers of it have had
 * overflows (CVE-2024-21802, CVE-2024-23496, CVE-2025-53630): everything that leads to a size, an offset or a count is
 * checked here against the bytes that are there. What it says of itself beyond that is libllama's to judge. */
#ifndef HEARTH_CORE_GGUF_H
#define HEARTH_CORE_GGUF_H

#include "core/err.h"
#include "core/str.h"

#define GGUF_TYPES 64                   /* tensor type numbers below this may be known */
#define GGUF_HEAD_MAX (64u << 20)       /* bytes of a header that a reader need take */

struct gguf_facts {
    uint32_t version;
    uint64_t n_tensors, n_keys, alignment;
    uint64_t data_at, data_bytes;       /* of the tensors, within the file */
    uint64_t parameters;                /* elements of all tensors */
    uint64_t split_count, split_no;     /* files the model is split over, 0: not said; which of them this is, from 0 */
    int64_t file_type;                  /* general.file_type: only a label; -1: not said */
    uint64_t context, layers, embedding, heads, heads_kv, key_length, value_length;     /* of the architecture; 0: not said; the most where layers differ */
    str architecture, name;             /* slices of the file, empty: not said; of at most 128 bytes */
    str type;                           /* general.type: "model", "adapter", "mmproj" …; empty: not said */
    str chat_template;                  /* tokenizer.chat_template, whole */
    uint32_t tensors_of[GGUF_TYPES];    /* tensors by type number */
};

/* ERR_SYNTAX with a sentence in *why (static). `at` (may be NULL): the offset of what is wrong. */
enum err gguf_check(str file, struct gguf_facts *out, const char **why, uint64_t *at);
/* The same when only the first bytes of a file of `size` bytes are at hand: ERR_AGAIN when more of them are needed. */
enum err gguf_head(str head, uint64_t size, struct gguf_facts *out, const char **why, uint64_t *at);

/* The same, with what the header is made of in its order, for those who write it anew: each key with type and value as they stand, each tensor's
 * entry, whose last 8 bytes are the offset of its data. The slices lie in `head`; what was told before an error is worth nothing. */
struct gguf_visitor {
    void *ctx;
    void (*on_pair)(void *ctx, str key, str whole);
    void (*on_tensor)(void *ctx, str whole, uint64_t offset, uint64_t bytes);
};
enum err gguf_visit(str head, uint64_t size, const struct gguf_visitor *v, struct gguf_facts *out, const char **why);

/* Elements and bytes of a block of a tensor type; false: not known here. */
bool gguf_type_block(uint32_t type, uint32_t *elements, uint32_t *bytes);
/* "Q4_K_M" for a file type; "" for one that is not known. */
const char *gguf_file_type(int64_t file_type);
/* "model-00002-of-00003.gguf": one of several files of a model (llama.cpp, llama_split_path). The stem is what stands before the numbers. */
bool gguf_split_name(str name, str *stem, uint32_t *no, uint32_t *count);

#endif
