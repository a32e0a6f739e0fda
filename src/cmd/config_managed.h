/* cmd/config_managed.h: providers that hearth starts: `start:` and what belongs to it. Includes: cmd/options.h, fleet, route. */
#ifndef HEARTH_CMD_CONFIG_MANAGED_H
#define HEARTH_CMD_CONFIG_MANAGED_H

#include "cmd/options.h"

struct managed_entry {
    str start, program, health;
    struct option_list args, env;
    int64_t load_ms, idle_ms;
};

/* Rows of the table of providers; `at`: where the entry lies in their struct. */
#define MANAGED_OPTIONS(at)                                                                                                                                          \
    { "start", OPTION_TEXT, (at) + offsetof(struct managed_entry, start), NULL, 0, 0, NULL, "hearth starts it: llama-server, llama-cpp-python, vllm, ollama, or a command line with {port}" },  \
    { "program", OPTION_TEXT, (at) + offsetof(struct managed_entry, program), NULL, 0, 0, NULL, "started: in place of the program that start names, such as .venv/bin/vllm" },        \
    { "args", OPTION_LIST, (at) + offsetof(struct managed_entry, args), NULL, 0, 0, NULL, "started: more arguments, after the others" },                                \
    { "env", OPTION_LIST, (at) + offsetof(struct managed_entry, env), NULL, 0, 0, NULL, "started: NAME=value, or NAME alone to pass on what hearth has under it, as for HF_TOKEN" },  \
    { "health", OPTION_TEXT, (at) + offsetof(struct managed_entry, health), NULL, 0, 0, NULL, "started: the path that answers 200 when it is ready; unset: as its API has it" },        \
    { "load_time", OPTION_DURATION, (at) + offsetof(struct managed_entry, load_ms), NULL, 0, 0, NULL, "started: as engine.load_time, for this one" },                           \
    { "idle", OPTION_DURATION, (at) + offsetof(struct managed_entry, idle_ms), NULL, 0, 0, NULL, "started and embedded: stopped after so long without a call; unset: it stays" }

/* Reads `start` and its like into *out, which stays NULL when there is none; *api (an index of `apis`, the words of enum provider_api; -1: none is written) is the
 * preset's where it was not written. Mistakes are complained about. */
enum err managed_load(struct option_reader *r, const struct yaml_node *provider, const struct managed_entry *e, const char *const *apis, int *api, struct managed **out);
void managed_manual(struct buf *b);

#endif
