/* fleet/local.h: the models that lie on this machine, in hearth's folder and in those of others, without copying. Includes: core.
 *
 *   hearth     FOLDER/NAME.gguf, beside it NAME.gguf.json, what `hearth pull` knows of it
 *   ollama     manifests/HOST/NAMESPACE/NAME/TAG names blobs/sha256-… (ollama, manifest/paths.go; envconfig: OLLAMA_MODELS, else ~/.ollama/models)
 *   hf         models--OWNER--REPO/snapshots/COMMIT/FILE, a link to ../../blobs/SHA-256 (huggingface_hub, constants.py: HF_HUB_CACHE, HF_HOME/hub)
 *   lmstudio   PUBLISHER/REPO/FILE.gguf in ~/.lmstudio/models, before in ~/.cache/lm-studio/models (LM Studio's documentation, "Import models")
 *   llamacpp   FILE.gguf in ~/.cache/llama.cpp (llama.cpp, common: LLAMA_CACHE)
 *
 * Names: hearth's own by their file or their record; others' begin with the store, as one would write the source: "ollama:qwen3:4b",
 * "hf:owner/repo:file". So a name stands for one place, whatever else is found, and two pulls never change what an older name means.
 *
 * These folders are foreign bytes: the walk is bounded in depth, entries and models, enters no linked folder below the first, opens nothing but
 * regular files, and takes only names that would be taken from a person. What is odd is left out. A digest that a store's names promise is only
 * that: the weights are hashed when they are loaded. */
#ifndef HEARTH_FLEET_LOCAL_H
#define HEARTH_FLEET_LOCAL_H

#include "core/gguf.h"
#include "fleet/source.h"

#define LOCAL_MODELS  1000
#define LOCAL_ENTRIES 50000             /* of folders, in all */
#define LOCAL_DEPTH   6
#define LOCAL_RECORD  (4u << 20)

enum local_store { LOCAL_HEARTH, LOCAL_OLLAMA, LOCAL_HF, LOCAL_LMSTUDIO, LOCAL_LLAMACPP };
const char *local_store_name(enum local_store s);

struct local_place { enum local_store store; str folder; };
/* Where models may lie, by the variables of the environment. `own`: hearth's folders. The list lives in `a`; *n of them. */
enum err local_places(struct arena *a, const str *own, size_t n_own, const char *(*var)(void *ctx, const char *name), void *ctx, struct local_place **out, size_t *n);

struct local_model {
    enum local_store store;
    str name, path;                     /* path: of the first file, absolute, NUL behind it */
    str source;                         /* hearth's: where it was pulled from; else empty */
    struct digest digest;               /* as the store says */
    bool has_digest;
    uint64_t bytes;                     /* of all files */
    uint32_t files;
    int64_t modified_us;
    str family;                         /* the chat template to name, where the file has none of its own */
};
/* In the order of places, then by name. ERR_LIMIT: the arena is full. */
enum err local_find(struct arena *a, const struct local_place *places, size_t n_places, struct local_model **out, size_t *n);

/* The head of an open GGUF file. The facts' texts lie in `head`, which the caller frees. ERR_SYNTAX with *why, ERR_IO, ERR_LIMIT. */
enum err local_read_head(int fd, struct buf *head, struct gguf_facts *out, const char **why);

/* What `hearth pull` keeps beside a file. */
struct local_record {
    str name, source, url, commit, template, params, system;    /* empty: not known */
    str parts;                          /* of a model that was split and is one file now: the digests of its files, in order, hexadecimal */
    struct digest digest;
    bool announced;                     /* the source said the digest */
    uint64_t size;
    int64_t pulled_us;
};
void local_record_write(struct buf *b, const struct local_record *r);
/* The record of `file` in the folder `dir`: ERR_NOTFOUND, ERR_SYNTAX. Lives in `a`. */
enum err local_record_read(struct arena *a, int dir, const char *file, struct local_record *out);
#endif
