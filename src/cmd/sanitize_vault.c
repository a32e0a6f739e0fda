/* The guard's vault, for commands: found, opened once a thread, on the disk before a file that needs it is. */
#include "cmd/app.h"
#include "cmd/sanitize.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

static enum err get(void *ctx, struct arena *a, str name, str *value) { return box_get(ctx, a, name, value); }

/* A vault's row is a box's row, by the same fields. */
_Static_assert(sizeof(struct vault_row) == sizeof(struct box_row), "two strings");

static enum err put(void *ctx, const struct vault_row *rows, size_t n, bool fresh, int64_t at_us)
{
    enum { MANY = 64 };
    struct box_row some[MANY];
    if (n > MANY)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++)
        some[i] = (struct box_row){ rows[i].name, rows[i].value };
    return box_put(ctx, some, n, fresh, at_us);
}

static enum err list(void *ctx, struct arena *a, str prefix, str after, size_t most, struct vault_row **rows, size_t *n)
{
    struct box_row *some = NULL;
    enum err e = box_list(ctx, a, prefix, after, most, &some, n);
    struct vault_row *copy = e ? NULL : arena_new(a, struct vault_row, *n + 1);
    if (!e && !copy)
        return ERR_LIMIT;
    for (size_t i = 0; !e && i < *n; i++)
        copy[i] = (struct vault_row){ some[i].name, some[i].value };
    *rows = copy;
    return e;
}

static enum err forget(void *ctx, str prefix, int64_t before_us) { return box_forget(ctx, prefix, before_us); }

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

enum err sanitize_vault_open(const struct sanitize_vault *k, struct sanitize_open *out, char why[256])
{
    *out = (struct sanitize_open){ 0 };
    enum err e = box_open(k->path, &out->box, why);
    if (e)
        return e;
    const struct vault_store store = { out->box, get, put, list, forget };
    arena_init(&out->arena, 4 << 20);
    e = vault_open(&out->arena, &store, &k->key, 1, &out->vault);
    if (e) {
        snprintf(why, 256, "%.200s: %s", k->path, e == ERR_FORBIDDEN ? "it was made with another key" : err_text(e));
        sanitize_vault_close(out);
    }
    return e;
}

void sanitize_vault_close(struct sanitize_open *o)
{
    vault_close(o->vault);
    arena_free(&o->arena);
    box_close(o->box);
    *o = (struct sanitize_open){ 0 };
}

enum err sanitize_vault_sync(const struct sanitize_vault *k)
{
    char path[PATH_MAX];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s%s", k->path, i ? "" : "-wal");
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue;
        bool ok = fd >= 0 && fsync(fd) == 0;
        if (fd >= 0)
            close(fd);
        if (!ok)
            return ERR_IO;
    }
    return ERR_OK;
}
