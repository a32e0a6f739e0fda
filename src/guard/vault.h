/* guard/vault.h: which value each placeholder stands for, sealed, over turns and restarts. Includes: core, guard.
 *
 * The vault decides which text stands for a value and keeps the pair. Where the rows lie is not its business: `struct vault_store` is a table of named
 * blobs that somebody else keeps (gate gives it ledger/box.h, the file guard.db; tests an array). What it stores:
 *
 *   key                       the 32 bytes of HMAC key that tags are made with, drawn once: rotation of the master key changes no placeholder
 *   t:REALM:TOKEN             type, flags, keyed digests of the value and of its normal form, and the value, when it may be restored
 *   c:REALM:CONVERSATION:TOKEN    empty: the token went out in a turn of this conversation
 *
 * REALM and CONVERSATION are 16 hexadecimal digits of a keyed HMAC of what the caller of these functions named (a tenant's key; a response's id). Values
 * of the first two are: 4 bytes that name the master key, then AES-256-GCM (core/seal.h) with the row's name as context, so that a row moved under
 * another name does not open.
 *
 * The master key: a file of mode 0600 (seal_key_load), or 64 hexadecimal digits out of the environment (vault_key_read). To rotate, open the vault with
 * the new key first and the old ones behind it, and call vault_reseal() until it is done; each batch is one transaction, and what was killed in the
 * middle goes on, because every row says which key it is under. Then the old key may go.
 *
 * One vault belongs to one thread; several (one a loop thread, and other processes) may share a store. Memory: a fixed cache of some 600 KB, and what a
 * call asks for, which lies in its arena. Gate opens one per loop thread, asks vault_token() through mask_body() (guard/mask.h) before an attempt at a cloud, and an
 * error there means that nothing leaves. */
#ifndef HEARTH_GUARD_VAULT_H
#define HEARTH_GUARD_VAULT_H

#include "core/seal.h"
#include "guard/restore.h"

struct vault_row { str name, value; };

/* A table of blobs by name, ordered by the bytes of the names. Each call is one transaction: when it has returned, its effect survives the death of the
 * process. Errors are ERR_STORE unless said otherwise. */
struct vault_store {
    void *ctx;
    enum err (*get)(void *ctx, struct arena *a, str name, str *value);                  /* ERR_NOTFOUND */
    /* All rows or none. fresh: ERR_AGAIN when one of the names is there already, else they are replaced. */
    enum err (*put)(void *ctx, const struct vault_row *rows, size_t n, bool fresh, int64_t at_us);
    /* The first `most` rows whose names begin with `prefix` and come behind `after`. */
    enum err (*list)(void *ctx, struct arena *a, str prefix, str after, size_t most, struct vault_row **rows, size_t *n);
    enum err (*forget)(void *ctx, str prefix, int64_t before_us);                       /* rows that were put last before that time */
};

struct vault;

/* keys[0] seals; the others only open. The vault lives in `a`. ERR_FORBIDDEN: no key of these opens the store; ERR_LIMIT: `a` is full. */
enum err vault_open(struct arena *a, const struct vault_store *store, const struct seal_key *keys, size_t n_keys, struct vault **out);
void vault_close(struct vault *v);                      /* wipes keys and the cache, which holds digests and tokens; NULL is fine */
bool vault_key_read(str text, struct seal_key *out);    /* 64 hexadecimal digits */

enum vault_form { VAULT_PLACEHOLDER, VAULT_SURROGATE, VAULT_NUMBER };   /* number: of JSON, see placeholder_number() */

struct vault_ask {
    str realm;                          /* tokens of one realm mean nothing in another; empty is one, too */
    enum guard_type type;
    str name;                           /* of a type that the owner has named; else empty */
    str value;                          /* UTF-8, without control characters, '"' and '\' when it is to be restored */
    enum vault_form form;               /* a surrogate where there is one, else a placeholder */
    bool keep;                          /* may be restored: else only digests are stored */
    int64_t at_us;
};
struct vault_token {
    str text;                           /* a stem without brackets, or a surrogate */
    bool bare;                          /* a surrogate or number */
};

/* The token of a value, the same for the same value each time; lies in `a`. ERR_RANGE: the value cannot be kept (its bytes, its length) or, for a
 * number, has no surrogate. */
enum err vault_ask_token(struct vault *v, struct arena *a, const struct vault_ask *ask, struct vault_token *out);
/* Is anything known by it, kept or not? ERR_OK, or ERR_NOTFOUND. */
enum err vault_knows(struct vault *v, struct arena *a, str realm, str token);
/* ERR_NOTFOUND: unknown, or its value was not kept. */
enum err vault_value(struct vault *v, struct arena *a, str realm, str token, struct restore_entry *out);

/* What went out in a turn may come back in a later one. `conversation` is whatever names it, e.g. the id of the response that a Responses call goes on
 * from; for APIs that send the whole conversation with each turn nothing needs to be remembered. */
enum err vault_remember(struct vault *v, struct arena *a, str realm, str conversation, const struct restore_set *set, int64_t at_us);
/* Adds to `set`, at most VAULT_RECALL_MAX; restore_set_ready() is the caller's. */
enum err vault_recall(struct vault *v, struct arena *a, str realm, str conversation, struct restore_set *set);
enum { VAULT_RECALL_MAX = 16384 };

/* One batch of rotation; *moved grows by the rows that were under an old key, *done when no row is under an old key. `a` may be reset afterwards. */
enum err vault_reseal(struct vault *v, struct arena *a, size_t most, int64_t at_us, size_t *moved, bool *done);
/* Values and conversations that nothing was put for since then are forgotten. A value that comes again gets its placeholder again. */
enum err vault_forget(struct vault *v, int64_t before_us);

#endif
