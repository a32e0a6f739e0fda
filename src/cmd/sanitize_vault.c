/* Where the guard's vault and its key are, for commands. */
#include "cmd/app.h"
#include "cmd/sanitize.h"

#include <errno.h>
#include <unistd.h>

static int key_of(const struct cmd *c, const char *path, bool exists, struct seal_key *out)
{
    const char *text = getenv("HEARTH_GUARD_KEY");
    if (!c->f.key && text && *text)
        return vault_key_read(str_of(text), out) ? EXIT_DONE : cmd_fail(EXIT_USAGE, "Make one by: openssl rand -hex 32", "HEARTH_GUARD_KEY is not 64 hexadecimal digits");
    if (exists && access(path, R_OK))
        return cmd_fail(EXIT_MISSING, "Name it by --key FILE, or give the key in HEARTH_GUARD_KEY.", "the vault's key %s cannot be read: %s", path, strerror(errno));
    enum err e = seal_key_load(path, out);
    if (e == ERR_FORBIDDEN)
        return cmd_fail(EXIT_FAILED, "chmod 600 it.", "others may read the key %s", path);
    return e == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "the key %s: %s", path, err_text(e));
}

int sanitize_vault_find(struct cmd *c, bool exists, struct sanitize_vault *out)
{
    struct app_config *k = NULL;
    const char *key = c->f.key;
    bool given = false;                 /* the key itself, by the configuration */
    out->path = c->f.vault;
    if (!out->path || !key) {
        int code = app_load(c, false, &k);
        if (code)
            return code;
        /* Those of the gate, so that what it masks and what is masked here is the same. */
        const struct gate_guard *g = &k->config->guard;
        if (!out->path)
            out->path = arena_cstr(&c->arena, g->vault);
        if (!key)
            key = arena_cstr(&c->arena, g->key_file);
        if (!c->f.key && g->key.n && vault_key_read(g->key, &out->key))
            given = true;
        app_unload(k);
    }
    if (!out->path || !key)
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    if (exists && access(out->path, R_OK | W_OK))
        return cmd_fail(EXIT_MISSING, "Name the vault that the files were sanitized with by --vault FILE.", "the vault %s cannot be opened: %s", out->path, strerror(errno));
    if (!exists && (app_make_parents(out->path) != ERR_OK || app_make_parents(key) != ERR_OK))
        return cmd_fail(EXIT_FAILED, NULL, "the folder of the vault %s cannot be made: %s", out->path, strerror(errno));
    return given ? EXIT_DONE : key_of(c, key, exists, &out->key);
}
