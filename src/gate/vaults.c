/* The guard's vault as a loop has it: a connection of its own to the file, so no loop waits for another but to write. A value that is new costs one small
 * transaction (no fsync: synchronous=NORMAL), one that was seen before costs a look into the vault's cache or one read. */
#include "gate/request.h"

#include "core/log.h"
#include "gate/vault_file.h"

#include <stdio.h>
#include <stdlib.h>

enum { WAIT_MS = 250 };                 /* for another writer, while this loop does nothing else */

struct gate_vault {
    struct vault_file *file;
    struct digest of;                   /* what it was opened with */
};

static enum err read_key(const struct gate_guard *g, struct seal_key *out)
{
    if (g->key.n)
        return vault_key_read(g->key, out) ? ERR_OK : ERR_FORBIDDEN;
    return seal_key_load(g->key_file.p, out);
}

/* One loop after the other makes key and file: what a key is written to first is named by the process alone (core/seal.c). */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static enum err open_vault(struct gate_vault *v, const struct gate_guard *g, char why[256])
{
    struct seal_key key;
    enum err e = read_key(g, &key);
    if (e != ERR_OK) {
        snprintf(why, 256, "its key %.160s %s", g->key.n ? "of the environment" : g->key_file.p,
                 g->key.n ? "must be 64 hexadecimal digits" : e == ERR_FORBIDDEN ? "must be a file of yours that nobody else may read" : "cannot be read or made");
        return e;
    }
    e = vault_file_open(g->vault.p, &key, WAIT_MS, &v->file, why);
    explicit_bzero(&key, sizeof key);
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
    if (l->vault && !digest_eq(&l->vault->of, &g->names))
        gate_vault_close(l);            /* the configuration names another one now */
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
