/* A box holds what a vault stores: their rows have the same two strings, under two names, since neither folder sees the other. */
#include "gate/vault_file.h"

#include "ledger/box.h"

#include <stdio.h>
#include <stdlib.h>

enum { VAULT_ARENA = 4 << 20 };

struct vault_file {
    struct arena a;
    struct box *box;
    struct vault *vault;
};

static enum err get(void *b, struct arena *a, str name, str *value) { return box_get(b, a, name, value); }
static enum err forget(void *b, str prefix, int64_t before_us) { return box_forget(b, prefix, before_us); }

static enum err put(void *b, const struct vault_row *rows, size_t n, bool fresh, int64_t at_us)
{
    struct box_row *r = calloc(n + 1, sizeof *r);
    if (!r)
        return ERR_MEMORY;
    for (size_t i = 0; i < n; i++)
        r[i] = (struct box_row){ rows[i].name, rows[i].value };
    enum err e = box_put(b, r, n, fresh, at_us);
    free(r);
    return e;
}

static enum err list(void *b, struct arena *a, str prefix, str after, size_t most, struct vault_row **rows, size_t *n)
{
    struct box_row *r = NULL;
    enum err e = box_list(b, a, prefix, after, most, &r, n);
    struct vault_row *out = e ? NULL : arena_new(a, struct vault_row, *n + 1);
    if (!e && !out)
        e = ERR_LIMIT;
    for (size_t i = 0; !e && i < *n; i++)
        out[i] = (struct vault_row){ r[i].name, r[i].value };
    *rows = out;
    return e;
}

enum err vault_keys_load(const char *path, struct vault_keys *out)
{
    char old[4096];
    int n = snprintf(old, sizeof old, "%s.old", path);
    if (n < 0 || (size_t)n >= sizeof old)
        return ERR_LIMIT;
    enum err e = seal_key_load(path, &out->keys[0]);
    if (e != ERR_OK)
        return e;
    e = seal_key_read(old, &out->keys[1]);
    out->n = e == ERR_OK ? 2 : 1;
    return e == ERR_NOTFOUND ? ERR_OK : e;
}

enum err vault_file_open(const char *path, const struct vault_keys *keys, int wait_ms, struct vault_file **out, char why[256])
{
    struct vault_file *f = calloc(1, sizeof *f);
    if (!f) {
        snprintf(why, 256, "%s", err_text(ERR_MEMORY));
        return ERR_MEMORY;
    }
    arena_init(&f->a, VAULT_ARENA);
    enum err e = box_open(path, &f->box, why);
    if (!e) {
        const struct vault_store store = { f->box, get, put, list, forget };
        if (wait_ms)
            box_patience(f->box, wait_ms);
        if ((e = vault_open(&f->a, &store, keys->keys, keys->n, &f->vault)))
            snprintf(why, 256, "%.200s: %s", path, e == ERR_FORBIDDEN ? "it was made with another key" : err_text(e));
    }
    if (e) {
        vault_file_close(f);
        return e;
    }
    *out = f;
    return ERR_OK;
}

struct vault *vault_file_vault(struct vault_file *f) { return f->vault; }
enum err vault_file_sync(struct vault_file *f) { return box_sync(f->box); }

void vault_file_close(struct vault_file *f)
{
    if (!f)
        return;
    vault_close(f->vault);
    box_close(f->box);
    arena_free(&f->a);
    free(f);
}
