/* cmd/config_prompts.h: the registry of prompts as a file, and the folder that is imported into it. Includes: config.h, prompt. */
#ifndef HEARTH_CMD_CONFIG_PROMPTS_H
#define HEARTH_CMD_CONFIG_PROMPTS_H

#include "cmd/config.h"

/* `path` may not exist: no prompts. Complains into `errors`. */
enum err prompt_file_load(struct arena *a, const struct config_env *env, const char *path, struct buf *errors, struct prompt_book *out);
/* Lines to its end, in one write, under a lock of the file: two who add at once do not mix. ERR_IO with errno. */
enum err prompt_file_append(const char *path, str lines);
/* NAME.md, NAME.txt and NAME.prompt of the folder whose text is not the newest version of NAME become new versions. *added: how many. */
enum err prompt_dir_import(struct arena *a, const struct config_env *env, const char *dir, const char *path, struct prompt_book *book, struct buf *errors, int *added);

#endif
