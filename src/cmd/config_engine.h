/* cmd/config_engine.h: what is written for a model of hearth's own engine beside its file (docs/engine.md), and its LoRA adapters, which are models of their
 * own. Includes: cmd/options.h, route. */
#ifndef HEARTH_CMD_CONFIG_ENGINE_H
#define HEARTH_CMD_CONFIG_ENGINE_H

#include "cmd/options.h"
#include "route/policy.h"

struct engine_entry { str speculate, prefix_cache; int64_t kv_tokens; int flash_attn; bool deterministic; };
extern const char *const flash_attn_words[];

/* Rows of the table of models; `at`: where the entry lies in their struct. */
#define ENGINE_MODEL_OPTIONS(at)                                                                                                                                     \
    { "kv_tokens", OPTION_INT, (at) + offsetof(struct engine_entry, kv_tokens), "0", 0, 2147483647, NULL, "embedded: tokens of all sequences together, who then share one room; 0: each has its own" }, \
    { "prefix_cache", OPTION_TEXT, (at) + offsetof(struct engine_entry, prefix_cache), "256MiB", 0, 0, NULL, "embedded: memory for what ended calls leave for those that begin alike: a size, or off" }, \
    { "speculate", OPTION_TEXT, (at) + offsetof(struct engine_entry, speculate), "auto", 0, 0, NULL, "embedded: tokens guessed in a step where text is copied from the prompt: auto (as many as pay), off, or a number" }, \
    { "flash_attn", OPTION_WORD, (at) + offsetof(struct engine_entry, flash_attn), "auto", 0, 0, flash_attn_words, "embedded: how attention is computed; auto: off on a CPU where it makes tokens faster, and where it has the memory" }, \
    { "deterministic", OPTION_BOOL, (at) + offsetof(struct engine_entry, deterministic), "false", 0, 0, NULL, "embedded: every call gives the same bytes again, at any load; such calls run one after the other" }

/* Of a model whose other fields are read: its engine's arguments. Mistakes are complained about. */
enum err engine_entry_load(struct option_reader *r, const struct yaml_node *model, const struct engine_entry *e, struct model *m);
/* `adapters: { NAME: FILE }`: how many there may be; and they as models MODEL:NAME in `to`, which has room for as many, m->n_adapters of them. `find` makes a path
 * of a file's name. */
size_t engine_adapters_count(const struct yaml_node *model);
enum err engine_adapters_load(struct option_reader *r, const struct yaml_node *model, struct model *m, struct model *to,
                              enum err (*find)(void *ctx, const struct yaml_node *at, str file, str *path), void *ctx);

void engine_adapters_write(struct option_writer *w, const struct model *m);

#endif
