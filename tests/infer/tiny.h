/* tests/infer/tiny.h: where the models of these tests are. The tiny ones are made by tools/make-tiny-gguf (a fixture of ctest); the
 * real one is the starter model in the cache, and its tests are skipped with a message where it is not. */
#ifndef HEARTH_TESTS_TINY_H
#define HEARTH_TESTS_TINY_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline const char *tiny_model(const char *which)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.gguf", HEARTH_TINY_DIR, which);
    return path;
}

static inline const char *real_model(void)
{
    static char path[PATH_MAX];
    const char *models = getenv("HEARTH_MODELS"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (models)
        snprintf(path, sizeof path, "%s/SmolLM2-135M-Instruct.Q4_1.gguf", models);
    else
        snprintf(path, sizeof path, "%s%s/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf", cache ? cache : home ? home : "", cache ? "" : "/.cache");
    if (access(path, R_OK) == 0)
        return path;
    fprintf(stderr, "skipped: %s is not there (make deps fetches it)\n", path);
    return NULL;
}

#endif
