/* fleet/source.h: where a model comes from, and what hubs and registries say of it. Includes: core. Pure.
 *
 * Three ways of writing a source:
 *   hf:OWNER/REPO[@REVISION][:FILE.gguf | :QUANT]     a repository of a hub that speaks Hugging Face's protocol; hf: may be left out
 *   ollama:[HOST/][NAMESPACE/]NAME[:TAG]              a model of an Ollama registry
 *   https://…/FILE.gguf                               an address;  file:PATH, or a path that says so itself (/, ./, ../, ~ or .gguf at its end)
 *
 * The protocols, read in the sources of their clients:
 *   hub       GET /api/models/OWNER/REPO/tree/REVISION?recursive=true lists [{"type":"file","path","size","lfs":{"oid":SHA-256,"size"}}], in pages by a
 *             Link field (huggingface_hub, hf_api.py list_repo_tree, utils/_pagination.py); GET /OWNER/REPO/resolve/REVISION/PATH answers with the file or a
 *             redirect to where it lies, X-Linked-Etag being its SHA-256 (file_download.py). Which file is meant without a word: llama.cpp, common/download.cpp.
 *   registry  GET /v2/NAMESPACE/NAME/manifests/TAG is {"layers":[{"mediaType","digest":"sha256:…","size"}]}, GET /v2/NAMESPACE/NAME/blobs/DIGEST a layer
 *             (ollama, server/images.go PullModel, manifest/manifest.go; names: types/model/name.go).
 *
 * Everything here becomes a part of a path or of an address: what is not in the short list of characters of its kind is refused. */
#ifndef HEARTH_FLEET_SOURCE_H
#define HEARTH_FLEET_SOURCE_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/hash.h"

#define SOURCE_LISTING  (32u << 20)     /* bytes of a listing */
#define SOURCE_FILES    20000           /* files of a repository */
#define SOURCE_MANIFEST (1u << 20)
#define SOURCE_LAYER    (1u << 20)      /* of a layer that is a text: template, parameters, system */
#define SOURCE_SPLIT    256             /* files of a split model */
#define SOURCE_NAME     200             /* bytes of a file's name */

enum source_kind { SOURCE_HUB, SOURCE_REGISTRY, SOURCE_URL, SOURCE_FILE };

struct source {                         /* slices of the text, or static */
    enum source_kind kind;
    str text;                           /* as it was written */
    str repo, revision, want;           /* hub: "owner/repo", "main", and a file, a quantization or nothing */
    str host, space, name, tag;         /* registry: host empty: the configured one; "library", "qwen3", "latest" */
    str path;                           /* a file; or the address */
};
/* ERR_SYNTAX with a sentence in *why (static) that says how it is written. */
enum err source_parse(str text, struct source *out, const char **why);

/* ---- a hub ---- */

struct source_file { str path; uint64_t size; struct digest digest; bool has_digest; };
struct source_list { struct source_file *v; size_t n, cap, left_out; };    /* left_out: files whose names could not be used */
/* Adds a page of a listing; only GGUF files are kept, in its order. ERR_UPSTREAM: not a listing; ERR_LIMIT: too many. The paths live in `a`. */
enum err source_add_page(struct arena *a, str body, struct source_list *l);
/* The files that `want` means, all of a split model in order: *out has *n of them. ERR_NOTFOUND or ERR_RANGE (several could be meant); `why` then
 * lists what there is. */
enum err source_choose(struct arena *a, const struct source_list *l, str want, const struct source_file **out, size_t *n, struct buf *why);
/* Weights, and not what goes with them (projectors, importance matrices, draft heads). */
bool source_is_weights(str path);
/* The name under which the file is kept here: the last part of its path, odd characters as dashes. False: there is none. */
bool source_file_name(str path, char out[SOURCE_NAME + 1]);
/* base + "/OWNER/REPO/resolve/REVISION/PATH", everything escaped that an address needs escaped. */
enum err source_hub_file_url(struct buf *b, str base, const struct source *s, str path);
enum err source_hub_list_url(struct buf *b, str base, const struct source *s);

/* ---- a registry ---- */

enum source_layer { LAYER_MODEL, LAYER_TEMPLATE, LAYER_PARAMS, LAYER_SYSTEM, LAYER_PROJECTOR, LAYER_ADAPTER, LAYER_KINDS };
struct source_manifest {
    struct { bool there; struct digest digest; uint64_t size; } layers[LAYER_KINDS];
};
/* ERR_UPSTREAM with a sentence in *why: not a manifest, or no GGUF in it. */
enum err source_manifest(struct arena *a, str body, struct source_manifest *out, const char **why);
/* Part 0 to 3 of HOST/NAMESPACE/NAME/TAG: one that Ollama itself would take. */
bool source_registry_part(str s, int part);
/* The model's name as Ollama shows it: "qwen3:latest", "someone/x:1b". The shortest, without the default host and namespace. */
enum err source_registry_name(struct buf *b, str host, str space, str name, str tag);

/* ---- both ---- */

/* "sha256:…" or "sha256-…" or bare: 64 hexadecimal digits. */
bool source_digest(str s, struct digest *out);
/* One part of a name that becomes a path: letters, digits and . _ + - (never first a dot or a dash), at most SOURCE_NAME bytes. */
bool source_is_part(str s);
/* May clients ask for it: letters, digits and . _ : / @ + -, at most 128, and no name that means something else? */
bool source_is_client_name(str s);
/* A text as a name for clients: lower case, odd characters as dashes. */
enum err source_model_name(struct buf *b, str s);
/* The family of chat templates (libllama's names) that a template's text shows, from the control tokens in it; NULL: none that is known. */
const char *source_template_family(str text);

#endif
