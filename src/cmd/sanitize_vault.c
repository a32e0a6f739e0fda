/* What of the guard's configuration is for commands, too: what is found, and where the vault and its key are. */
#include "cmd/app.h"
#include "cmd/sanitize.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

/* A lock of the key's file as it is called now: rotation puts another one in its place. */
static int lock_key(const char *path)
{
    struct stat mine, named;
    for (int i = 0; i < 10; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_SH) == 0 && fstat(fd, &mine) == 0 && stat(path, &named) == 0 && app_same_file(&mine, &named))
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

static int key_of(const struct cmd *c, const char *path, bool exists, struct sanitize_vault *out)
{
    const char *text = getenv("HEARTH_GUARD_KEY");
    out->keys.n = 1;
    if (!c->f.key && text && *text)
        return vault_key_read(str_of(text), &out->keys.keys[0]) ? EXIT_DONE : cmd_fail(EXIT_USAGE, "Make one by: openssl rand -hex 32", "HEARTH_GUARD_KEY is not 64 hexadecimal digits");
    if (exists && access(path, R_OK))
        return cmd_fail(EXIT_MISSING, "Name it by --key FILE, or give the key in HEARTH_GUARD_KEY.", "the vault's key %s cannot be read: %s", path, strerror(errno));
    out->key_file = path;
    out->lock = lock_key(path);
    enum err e = vault_keys_load(path, &out->keys);
    if (e == ERR_OK && out->lock < 0)   /* it was made now */
        out->lock = lock_key(path);
    if (e == ERR_FORBIDDEN)
        return cmd_fail(EXIT_FAILED, "chmod 600 it.", "others may read the key %s", path);
    return e == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "the key %s: %s", path, err_text(e));
}

int sanitize_rules_load(struct cmd *c, struct sanitize_rules *r, struct sanitize_job *job)
{
    const struct guard_rules *rules[] = { &r->rules };
    int code = app_load(c, false, &r->config);
    if (code)
        return code;
    r->rules = r->config->config->guard.all;
    r->rules.action = GUARD_MASK;
    r->rules.types[GUARD_SECRET].restore = c->f.keep_secrets ? GUARD_RESTORE : GUARD_RESTORE_UNSET;
    job->policy = guard_policy_join(rules, 1);
    job->finder = r->config->finder;
    return EXIT_DONE;
}

int sanitize_vault_find(struct cmd *c, const struct gate_guard *g, bool exists, struct sanitize_vault *out)
{
    struct app_config *k = NULL;
    const char *key = c->f.key;
    bool given = false;                 /* the key itself, by the configuration */
    *out = (struct sanitize_vault){ .path = c->f.vault, .lock = -1, .keys.n = 1 };
    if (!g && (!out->path || !key)) {
        int code = app_load(c, false, &k);
        if (code)
            return code;
        g = &k->config->guard;
    }
    /* Those of the gate, so that what it masks and what is masked here is the same. */
    if (g && !out->path)
        out->path = arena_cstr(&c->arena, g->vault);
    if (g && !key) {
        key = arena_cstr(&c->arena, g->key_file);
        given = g->key.n && vault_key_read(g->key, &out->keys.keys[0]);
    }
    app_unload(k);
    if (!out->path || !key)
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    if (exists && access(out->path, R_OK | W_OK))
        return cmd_fail(EXIT_MISSING, "Name the vault that the files were sanitized with by --vault FILE.", "the vault %s cannot be opened: %s", out->path, strerror(errno));
    if (!exists && (app_make_parents(out->path) != ERR_OK || app_make_parents(key) != ERR_OK))
        return cmd_fail(EXIT_FAILED, NULL, "the folder of the vault %s cannot be made: %s", out->path, strerror(errno));
    return given ? EXIT_DONE : key_of(c, key, exists, out);
}
