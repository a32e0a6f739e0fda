/* The guard's vault as a loop has it: a connection of its own to the file, so no loop waits for another but to write. A value that is new costs one small
 * transaction (no fsync: synchronous=NORMAL), one that was seen before costs a look into the vault's cache or one read. */
#include "gate/request.h"

#include "core/log.h"
#include "gate/vault_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { WAIT_MS = 250 };                 /* for another writer, while this loop does nothing else */

struct gate_vault {
    struct vault_file *file;
    struct digest of;                   /* what it was opened with */
    struct stat key;                    /* its file before; zeroed: there was none yet */
};

static enum err read_key(const struct gate_guard *g, struct vault_keys *out)
{
    out->n = 1;
    if (g->key.n)
        return vault_key_read(g->key, &out->keys[0]) ? ERR_OK : ERR_FORBIDDEN;
    return vault_keys_load(g->key_file.p, out);
}

/* Rotation puts another file in its place: what would still be sealed with the old key could not be read afterwards. */
static bool key_is_another(const struct gate_vault *v, const struct gate_guard *g)
{
    struct stat now;
    return !g->key.n && stat(g->key_file.p, &now) == 0 && (now.st_ino != v->key.st_ino || now.st_dev != v->key.st_dev);
}

/* One loop after the other makes key and file: what a key is written to first is named by the process alone (core/seal.c). */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static enum err open_vault(struct gate_vault *v, const struct gate_guard *g, char why[256])
{
    struct vault_keys keys = { .n = 0 };
    if (g->key.n || stat(g->key_file.p, &v->key))       /* before it is read: where it is changed or made meanwhile, the next call opens the vault again */
        v->key = (struct stat){ .st_ino = 0 };
    enum err e = read_key(g, &keys);
    if (e != ERR_OK) {
        snprintf(why, 256, "its key %.160s %s", g->key.n ? "of the environment" : g->key_file.p,
                 g->key.n ? "must be 64 hexadecimal digits" : e == ERR_FORBIDDEN ? "must be a file of yours that nobody else may read" : "cannot be read or made");
        return e;
    }
    e = vault_file_open(g->vault.p, &keys, WAIT_MS, &v->file, why);
    explicit_bzero(&keys, sizeof keys);
    return e;
}

static void close_vault(struct gate_vault *v)
{
    vault_file_close(v->file);
    free(v);
}

enum err gate_vault(struct gate_loop *l, const struct gate_guard *g, struct vault **out)
{
    char why[256] = "";
    if (l->vault && (!digest_eq(&l->vault->of, &g->names) || key_is_another(l->vault, g)))
        gate_vault_close(l);            /* the configuration names another one now, or it has a new key */
    if (!l->vault) {
        struct gate_vault *v = calloc(1, sizeof *v);
        if (!v)
            return ERR_MEMORY;
        v->of = g->names;
        pthread_mutex_lock(&opening);
        enum err e = open_vault(v, g, why);
        pthread_mutex_unlock(&opening);
        if (e != ERR_OK) {
            log_error("vault_not_open", LOG_C("why", *why ? why : err_text(e)));
            close_vault(v);
            return e;
        }
        l->vault = v;
    }
    *out = vault_file_vault(l->vault->file);
    return ERR_OK;
}

void gate_vault_close(struct gate_loop *l)
{
    if (l->vault)
        close_vault(l->vault);
    l->vault = NULL;
}
