/* ledger/store.h: what the files of the ledger share. Private. Includes: core, sqlite3, zstd. */
#ifndef HEARTH_LEDGER_STORE_H
#define HEARTH_LEDGER_STORE_H

#include "core/seal.h"
#include "ledger/ledger.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <zstd.h>

enum { SALT = 16, KNOWN_MAX = 4096 };
#define LEDGER_APPLICATION_ID 0x48727468        /* "Hrth" */

/* Nobody is at it; its thread has been asked to; the thread has left only a little, for the writer. */
enum checkpoint { CHECKPOINT_NONE, CHECKPOINT_ASKED, CHECKPOINT_NEAR };
enum body_kind { BODY_PLAIN, BODY_SEALED };

/* schema.c */
enum err store_open_db(const char *path, const char *vfs, int flags, sqlite3 **out, char why[256]);
enum err store_migrate(sqlite3 *db, const char *path, char why[256]);
enum err store_exec(sqlite3 *db, const char *sql);
int64_t store_int(sqlite3 *db, const char *sql);                                /* the first value of the first row; -1: none */
enum err store_head(sqlite3 *db, int64_t *seq, struct digest *head);
int64_t store_last_body(sqlite3 *db);                                           /* the highest id that any body has ever had; -1: it cannot be read */

/* row.c */
enum err row_bind(sqlite3_stmt *q, const struct ledger_row *r);                 /* parameters 4… */
void row_read(sqlite3_stmt *q, struct ledger_seen *out);                        /* columns seq, schema, kind, hash, fields… */
extern const char row_columns[];                                                /* ", at_us, call_id, …" */

/* SHA-256(previous || canonical form), the canonical form being left in `b`. */
enum err row_hash(struct sha256 *h, struct buf *b, const struct ledger_seen *row, const struct digest *previous, struct digest *out);
/* What a row says of a body: salted, keyed when `key` is given. */
struct digest body_hash(struct sha256 *h, const struct seal_key *key, const uint8_t salt[SALT], const str *slices, size_t n);

struct ledger {
    struct ledger_options o;
    char path[4096], lock_path[4104], key_path[4104];
    int lock_fd;
    sqlite3 *db;
    sqlite3_stmt *insert_row, *insert_body, *begin, *commit;
    struct queue queue;
    pthread_t writer, checkpointer;
    pthread_mutex_t lock;               /* known, stats, checkpoint */
    pthread_cond_t wish;
    enum checkpoint checkpoint;
    bool closing, started;
    atomic_llong wal_pages;             /* in the log, as of the last commit */
    pthread_mutex_t checkpointing;      /* SQLite refuses a second one while one runs */
    atomic_bool healthy;
    struct digest known[KNOWN_MAX];
    size_t n_known;
    struct ledger_stats stats;
    /* the writer's own */
    struct ledger_stats own;
    int64_t seq;
    int64_t retention_ms, retain_from;  /* when to look again for what is too old; the id that was looked at last, 0: from the front */
    int64_t swept_id;                   /* the same of the walk over everything */
    bool retaining;                     /* there is more of it */
    int64_t body_id;                    /* the latest body's */
    int64_t page_size, wal_next;        /* bytes of log at which the next checkpoint is asked for */
    struct digest head;
    struct sha256 *sha;
    ZSTD_CCtx *zstd;
    struct buf packed, canonical, joined;
    struct arena arena;
    struct seal_key key;
    bool has_key, outage;
    bool empty_wal;                     /* the log is to be emptied after this batch, whatever its size */
    int level;                          /* of compression, for this batch */
};

/* checkpoint.c */
void *checkpoint_main(void *ledger);                    /* the thread */
void checkpoint_after_batch(struct ledger *l);          /* for the writer */

/* erase.c: for the writer, inside of a batch: deletes and fills the entry's detail. */
enum err erase_bodies(struct ledger *l, struct ledger_entry *e);

#endif
