/* ledger/box.h: a table of named blobs in a SQLite file of its own. Includes: core.
 *
 * What the guard's vault lies in (guard/vault.h, whose `struct vault_store` these functions fit): names are readable, values are sealed by whoever puts
 * them. A box belongs to one thread; several boxes, also of other processes, may have the same file open. The file is made with mode 0600, in WAL mode
 * with synchronous=NORMAL: what was put survives kill -9, and a loss of power takes at most the last of it, never a part of a transaction.
 *
 * Schema: box (name BLOB PRIMARY KEY, at_us INTEGER, value BLOB), application_id "Hrbx". Calls wait up to 5 s for another writer. */
#ifndef HEARTH_LEDGER_BOX_H
#define HEARTH_LEDGER_BOX_H

#include "core/arena.h"
#include "core/err.h"

struct box;
struct box_row { str name, value; };

/* ERR_STORE (and `why`, for people): it cannot be opened, is another kind of database, or of a newer hearth; ERR_FORBIDDEN: others may read the file. */
enum err box_open(const char *path, struct box **out, char why[256]);
void box_close(struct box *b);                          /* NULL is fine */
void box_patience(struct box *b, int ms);               /* waits for another writer no longer than that */

enum err box_get(struct box *b, struct arena *a, str name, str *value);         /* ERR_NOTFOUND, ERR_STORE, ERR_LIMIT */
/* All or none. fresh: ERR_AGAIN when one of the names is there; else they are replaced. at_us: when, for box_forget(). */
enum err box_put(struct box *b, const struct box_row *rows, size_t n, bool fresh, int64_t at_us);
/* In the order of the names' bytes: the first `most` that begin with `prefix` and come behind `after`. */
enum err box_list(struct box *b, struct arena *a, str prefix, str after, size_t most, struct box_row **rows, size_t *n);
enum err box_forget(struct box *b, str prefix, int64_t before_us);
/* What was put, by any box of this file, lies on the disk. By SQLite's own descriptors: to open and close another one would drop its locks. ERR_IO. */
enum err box_sync(struct box *b);

#endif
