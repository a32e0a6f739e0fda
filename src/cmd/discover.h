/* cmd/discover.h: a configuration from what is on this machine, for the first day. Includes: core, http, fleet. */
#ifndef HEARTH_CMD_DISCOVER_H
#define HEARTH_CMD_DISCOVER_H

#include "cmd/config.h"

/* hearth's own folders of models when none is written: where pulled ones go, and where the starter model is kept. */
void discover_folders(struct arena *a, const struct config_env *env, str out[2]);

/* The text of a configuration: a model for each GGUF in hearth's folders, one for each model of the servers that answer on their usual loopback
 * ports (Ollama 11434, vLLM 8000, llama-server 8080), and one for each GGUF in the stores of other programs (fleet/local.h). Never a cloud:
 * that is written, not found. */
enum err discover(struct arena *a, const struct config_env *env, str *text);

#endif
