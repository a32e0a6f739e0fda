/* cmd/discover.h: a configuration from what is on this machine, for the first day. Includes: core, http. */
#ifndef HEARTH_CMD_DISCOVER_H
#define HEARTH_CMD_DISCOVER_H

#include "cmd/config.h"

/* The text of a configuration: a model for each GGUF in the models folders, and one for each model of the servers that answer on
 * their usual loopback ports (Ollama 11434, vLLM 8000, llama-server 8080). Never a cloud: that is written, not found. */
enum err discover(struct arena *a, const struct config_env *env, str *text);

#endif
