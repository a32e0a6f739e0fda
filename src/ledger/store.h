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

/* Who is at it: nobody; a thread that takes only time that nobody else wants; one that takes its share. */
enum checkpoint { CHECKPOINT_NONE, CHECKPOINT_PATIENT, CHECKPOINT_EAGER };
enum body_kind { BODY_PLAIN, BODY_SEALED };

/* schema.c */
enum err store_open_db(const char *path, const char *vfs, int flags, sqlite3 **out, char why[256]);
enum err store_migrate(sqlite3 *db, const char *path, char why[256]);
enum err store_exec(sqlite3 *db, const char *sql);
int64_t store_int(sqlite3 *db, const char *sql);                                /* the first value of the first row; -1: none */
enum err store_head(sqlite3 *db, int64_t *seq, struct digest *head);
int64_t store_last_body(sqlite3 *db);                                           /* the highest id that any body has ever had; -1: it cannot be read */

/* row.c */
/* The fields of a row that are not NULL, in their order, found once for all that is done with them; how many. */
enum { ROW_PARTS_MAX = 128 };
struct row_part { uint8_t field; bool plain; };         /* of row_fields. plain: no text, or one that needs no escape */
size_t row_parts(const struct ledger_row *r, struct row_part out[ROW_PARTS_MAX]);
enum err row_bind(sqlite3_stmt *q, const struct ledger_row *r, const struct row_part *parts, size_t n);         /* parameters 5…, in the order of the parts */
void row_read(sqlite3_stmt *q, struct ledger_seen *out);                        /* columns seq, schema, kind, hash, fields… */
extern const char row_columns[];                                                /* ", at_us, call_id, …" */

/* SHA-256(previous || canonical form), the canonical form being left in `b`. */
enum err row_hash(struct sha256 *h, struct buf *b, const struct ledger_seen *row, const struct row_part *parts, size_t n, const struct digest *previous, struct digest *out);
/* What a row says of a body: salted, keyed when `key` is given. */
struct digest body_hash(struct sha256 *h, const struct seal_key *key, const uint8_t salt[SALT], const str *slices, size_t n);

/* insert.c */
/* The statements that write rows, by the fields that these have: the INSERT_SHAPES used last. The writer's alone; all zero at first. */
enum { INSERT_SHAPES = 32 };
struct inserter {
    struct insert_shape {
        sqlite3_stmt *q;                /* NULL: none yet */
        uint64_t used;                  /* when, as in `now` */
        uint8_t n, fields[ROW_PARTS_MAX];
    } shapes[INSERT_SHAPES];
    uint64_t now;                       /* counts rows */
};
/* Parameters: seq, schema, kind, hash, and the parts in their order. Belongs to the inserter, until its next call. NULL: sqlite3_errmsg says why. */
sqlite3_stmt *insert_statement(struct inserter *in, sqlite3 *db, const struct row_part *parts, size_t n);
void insert_close(struct inserter *in);

struct checkpointer {
    struct ledger *l;
    enum checkpoint is;                 /* what it is asked by */
    pthread_t thread;
    sqlite3 *db;
    bool started;
};

struct ledger {
    struct ledger_options o;
    char path[4096], lock_path[4104], key_path[4104];
    int lock_fd;
    sqlite3 *db;
    sqlite3_stmt *insert_body, *begin, *commit;
    struct queue queue;
    pthread_t writer;
    struct checkpointer patient, eager;
    pthread_mutex_t lock;               /* known, stats, checkpoint, wal_moved */
    pthread_cond_t wish;
    enum checkpoint checkpoint;
    bool closing;
    atomic_llong wal_pages;             /* in the log, as of the last commit */
    int64_t wal_moved;                  /* of them, back in the file */
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
    int64_t wal_asked;                  /* pages of log when it was asked for at last */
    unsigned in_hurry, penalty;         /* so many checkpoints more are the eager thread's; as many as it was at last, 0: none yet */
    struct digest head;
    struct sha256 *sha;
    ZSTD_CCtx *zstd;
    struct buf packed, canonical, joined;
    struct inserter inserter;
    struct arena arena;
    struct seal_key key;
    bool has_key, outage;
    bool empty_wal;                     /* the log is to be emptied after this batch, whatever its size */
    bool busy;                          /* many waited in this batch */
    uint8_t salts[32 * SALT];           /* drawn and not used yet: the first so many bytes */
    size_t salts_left;
};

/* checkpoint.c */
void checkpoint_start(struct ledger *l);                /* its threads; without them the writer empties the log once it is long */
void checkpoint_stop(struct ledger *l);                 /* after the writer */
void checkpoint_after_batch(struct ledger *l);          /* for the writer */
bool checkpoint_waits(struct ledger *l);                /* is there something to do once it is quiet? */
void checkpoint_when_quiet(struct ledger *l);           /* for the writer, when nothing came for a moment */

/* erase.c: for the writer, inside of a batch: deletes and fills the entry's detail. */
enum err erase_bodies(struct ledger *l, struct ledger_entry *e);

#endif
