/* ledger/ledger.h: the append-only, hash-chained record of calls, in one SQLite file. Includes: core, wire, sqlite3, zstd.
 *
 * One writer: whoever holds the lock beside the file (PATH.lock, flock). Its thread takes what waits in a bounded queue,
 * writes it as one transaction (WAL; synchronous NORMAL survives the death of the process, FULL also of the power), and
 * hands every entry back through the port it came from. A second thread moves what was committed from SQLite's log into the file, all but
 * the last few pages, so that hardly a commit waits for it (checkpoint.c).
 *
 * Bodies lie in a table of their own: SHA-256, zstd, salt, expiry. Chained rows hold only salted hashes
 * (SHA-256(salt || body); keyed by HMAC for private calls), so a body can be erased and the chain stays valid.
 * Bodies of private calls are sealed (AES-256-GCM, key file PATH.key of mode 0600) or not kept.
 *
 * When the disk is full or read-only an entry comes back with ERR_STORE, the caller refuses its call, and
 * ledger_healthy() is false until a write succeeds again; the writer tries by itself, no restart is needed. */
#ifndef HEARTH_LEDGER_LEDGER_H
#define HEARTH_LEDGER_LEDGER_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/queue.h"
#include "core/rand.h"
#include "ledger/row.h"

struct ledger;

struct ledger_options {
    const char *path;
    const char *vfs;                    /* SQLite VFS by name, for fault tests; NULL: the default */
    bool full_sync;                     /* synchronous=FULL */
    bool keep_bodies;                   /* default true */
    bool keep_private;                  /* private bodies sealed (true, default) or not kept */
    int64_t retain_ms;                  /* bodies older than this are erased; default 90 days */
    size_t queue_items, queue_bytes;    /* default 4096, 256 MiB */
    size_t body_max;                    /* a longer body is cut in the record, and marked so; default 8 MiB */
    /* Bytes of log: from the first on a thread moves it back into the file, and it begins again in the next quiet moment, at four times that without one
     * (default 16 MiB); at the second, calls wait for it (128 MiB), and from twice that on they wait for the thread that is at it too. */
    size_t wal_soft, wal_hard;
    struct clock clock;
    struct rng rng;
};
void ledger_options_default(struct ledger_options *o, const char *path);

/* Takes the lock, migrates (with a backup first), starts the threads. ERR_BUSY: another process has it, and `why`
 * names its pid; ERR_STORE: `why` says what is wrong (newer schema, damaged, read-only). */
enum err ledger_open(const struct ledger_options *o, struct ledger **out, char why[256]);
void ledger_close(struct ledger *l);    /* writes what waits, then stops; every entry has come back before it returns */
bool ledger_healthy(const struct ledger *l);

/* ---- writing ---- */

/* Where finished entries come back: one per loop. wake() is called from the writer's thread when entries are there and
 * none were before; the loop then calls ledger_collect() on its own thread. */
struct ledger_port {
    pthread_mutex_t lock;
    struct ledger_entry *head, **tail;
    void (*wake)(void *ctx);
    void *ctx;
};
void ledger_port_init(struct ledger_port *p, void (*wake)(void *ctx), void *ctx);
void ledger_port_destroy(struct ledger_port *p);

struct ledger_body {
    const str *slices;                  /* as many pieces as it came in; n = 0: none */
    size_t n;
};

/* One row on its way, with the bodies that belong to it. Owned by the ledger from ledger_submit() until on_done; everything
 * it points to must live until then. */
struct ledger_entry {
    struct queue_item item;             /* first; item.bytes is set by ledger_submit() */
    struct ledger_row row;
    struct ledger_body request, upstream, response;      /* upstream: only hashed, where it is not the request's bytes */
    struct ledger_body variables, rendered;              /* of a prompt: only hashed */
    bool private;                       /* hashes keyed, bodies sealed */
    struct ledger_port *port;           /* NULL: nobody waits; the entry is freed by on_done from the writer's thread */
    void (*on_done)(struct ledger_entry *e, enum err err, int64_t seq);
    void *ctx;
    struct ledger_entry *next_done;     /* from here on the ledger's own */
    enum { NOTE_NONE, NOTE_MODEL, NOTE_CONFIG, NOTE_ERASE, NOTE_FOOTPRINT } note;
    struct digest note_key;
    str note_text;
    enum err err;
    int64_t seq;
};

/* A call reserves its places when it is accepted, so that its end can always be queued: ERR_BUSY when the queue is full, ERR_STORE when the ledger is ill. */
enum err ledger_reserve(struct ledger *l, size_t places);
void ledger_unreserve(struct ledger *l, size_t places);
/* Queues an entry and uses one reserved place. Does not wake the writer: ledger_flush() does, once per turn of a loop. */
void ledger_submit(struct ledger *l, struct ledger_entry *e);
void ledger_flush(struct ledger *l);
/* Runs on_done of everything that has come back to this port. */
void ledger_collect(struct ledger_port *p);

/* Tables beside the chain; each also leaves an event row the first time. Queued like entries; cheap when already known. */
enum err ledger_note_model(struct ledger *l, const struct digest *fingerprint, str identity_json);
enum err ledger_note_config(struct ledger *l, const struct digest *hash, str text);
/* What a model was measured to need: the latest measure of a key stands in its table, and each is an event row ("model_measured"). */
enum err ledger_note_footprint(struct ledger *l, const struct digest *key, str facts_json);
/* An event row of the process itself ("start", "stop", "engine_crash"), `detail` a JSON object. */
enum err ledger_note_event(struct ledger *l, const char *event, str detail);

/* Erases prompts and answers, with their salts: what the rows still have of them are hashes that nothing can be checked against. The rows
 * stay, and the chain with them; an event "bodies_erased" says by what, and how many. All that is given must hold; nothing given is
 * ERR_RANGE. Done by the writer in its turn: `token` stands in the event's detail. */
struct ledger_erase { str call, key, conversation, task; int64_t before_us; };
enum err ledger_erase(struct ledger *l, const struct ledger_erase *what, str token);

struct ledger_stats { uint64_t rows, batches, bytes_in, forced_checkpoints, failures; size_t waiting; };
void ledger_stats(struct ledger *l, struct ledger_stats *out);

/* ---- reading: any process, any time, beside a running writer ---- */

struct ledger_reader;
enum err ledger_reader_open(const char *path, struct ledger_reader **out, char why[256]);
void ledger_reader_close(struct ledger_reader *r);

struct ledger_filter {
    str call_id;                        /* a prefix will do */
    str task, model, provider, zone, outcome, key, conversation;     /* empty: any */
    int64_t since_us, until_us;         /* 0: no bound */
    int64_t after_seq;                  /* rows after this one, in order (for following); -1: all, in order */
    int64_t limit;                      /* newest first unless after_seq is set; 0: 50 */
    bool guarded;                       /* only where the guard found something, or kept a call from leaving */
    str found;                          /* only where it found something of this type, as rows name it: "EMAIL"; empty: any */
    unsigned kinds;                     /* bit set of 1 << ROW_…; 0: ends, and intents without an end (cut) */
};
struct ledger_seen {                    /* one row as read; strings live until the next row */
    int64_t seq;
    int schema;
    struct ledger_row row;              /* digests point into this struct */
    struct digest digests[16], hash;
    bool cut;                           /* an intent whose end never came (and whose writer is gone) */
};
enum err ledger_read(struct ledger_reader *r, const struct ledger_filter *f, bool (*each)(void *ctx, const struct ledger_seen *row), void *ctx);
/* The body with this id, unpacked (and unsealed with the key file): ERR_NOTFOUND when it was erased, ERR_FORBIDDEN without the key. */
enum err ledger_read_body(struct ledger_reader *r, struct arena *a, int64_t id, str *out, bool *truncated);
/* The identity JSON of a fingerprint; a configuration by its hash. */
enum err ledger_read_model(struct ledger_reader *r, struct arena *a, const struct digest *fingerprint, str *json);

/* The last measure of every key. */
enum err ledger_read_footprints(struct ledger_reader *r, void (*each)(void *ctx, const struct digest *key, str facts_json), void *ctx);

/* What each key's answers have cost since two moments (the earlier one first). */
enum err ledger_read_spend(struct ledger_reader *r, int64_t month_us, int64_t day_us, void (*each)(void *ctx, str key, int64_t day_micros, int64_t month_micros), void *ctx);

/* The latest `limit` good answers, newest first: by which model, when, and how fast, from the first visible byte on. */
struct ledger_answer {
    str model;                          /* lives during the call */
    bool has_fingerprint;
    struct digest fingerprint;
    int64_t at_us;
    double tokens_per_second;           /* of a stream; 0: it does not tell */
};
enum err ledger_read_answers(struct ledger_reader *r, int64_t limit, void (*each)(void *ctx, const struct ledger_answer *a), void *ctx);

/* What every try cost, between two moments, in the order of its end. */
struct ledger_usage {
    int64_t at_us;
    str task, model, key, zone, outcome;                /* live during the call; empty: none */
    bool is_call;                       /* the last try of its call; the others only cost */
    struct digest policy;               /* the configuration it was made under; all zero: unknown */
    int64_t input_tokens, output_tokens, cost_micros, total_us;         /* ROW_NULL_I: unknown */
    double energy_j;                    /* NAN: unknown */
};
enum err ledger_read_usage(struct ledger_reader *r, int64_t since_us, int64_t until_us, void (*each)(void *ctx, const struct ledger_usage *u), void *ctx);

struct ledger_verdict {
    int64_t rows, calls, ends, cut, bodies;
    int64_t bad_seq;                    /* 0: none; else the first row that is wrong */
    char what[160];                     /* "row_hash differs", "seq 812 is missing", "body 40 does not match its hash", "two ends for call … attempt 1" */
    struct digest head;
};
/* Recomputes the chain, checks that every attempt has at most one end and every kept body its hash. `on_progress` may be NULL. */
enum err ledger_verify(struct ledger_reader *r, void (*on_progress)(void *ctx, int64_t done, int64_t total), void *ctx, struct ledger_verdict *out);
/* A consistent copy while a writer runs (SQLite's online backup); `to` must not exist. */
enum err ledger_backup(struct ledger_reader *r, const char *to, void (*on_progress)(void *ctx, int64_t done, int64_t total), void *ctx, char why[256]);
/* The canonical JSON of a row (ledger/row.h), into b. */
enum err ledger_canonical(struct buf *b, const struct ledger_seen *row);

#endif
