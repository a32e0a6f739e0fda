/* fleet/fleet.h: the servers that hearth looks after; here, one engine process per GGUF. Includes: core, wire, io, http, ledger.
 *
 * An engine is started on first need: the model file is opened once, hashed and handed over through that very descriptor,
 * together with a listening Unix socket in a directory of mode 0700. It is ready when it answers /health and its digest is
 * known; its identity (what /props says, with the digest) then gives the fingerprint, which goes into the ledger.
 *
 * It is watched once a second: a process that ended, does not answer, or has been in one decode step for too long is
 * killed and started again, with growing pauses. A file that changed under its name is loaded anew. Every such change is an event row.
 *
 * Threads: everything runs on the keeper's loop but fleet_acquire(), fleet_forget(), fleet_put() and fleet_collect(),
 * which gate loops call. An engine lives as long as somebody holds it (fleet_get/fleet_put); then it is drained and stopped. */
#ifndef HEARTH_FLEET_FLEET_H
#define HEARTH_FLEET_FLEET_H

#include "core/arena.h"
#include "core/hash.h"
#include "io/loop.h"
#include "ledger/ledger.h"

struct fleet;
struct fleet_engine;

struct fleet_options {
    const char *engine_path;            /* hearth-engine */
    const char *run_dir;                /* sockets: made with mode 0700 */
    const char *log_dir;                /* one file per model, kept */
    const char *digest_cache;           /* file that remembers digests by device, inode, size, mtime and ctime; NULL: none */
    struct ledger *ledger;              /* events and identities; may be NULL in tests */
    int64_t load_ms;                    /* a load that takes longer has failed; default 600,000 */
    int64_t hang_ms;                    /* one decode step, or a silent /health; default 30,000 */
    struct clock clock;
};
void fleet_options_default(struct fleet_options *o);

enum err fleet_new(struct io_loop *keeper, const struct fleet_options *o, struct fleet **out);
/* Stops every engine (SIGTERM, after `drain_ms` SIGKILL) and then frees the fleet. */
void fleet_close(struct fleet *f, int64_t drain_ms, void (*on_closed)(void *ctx), void *ctx);

struct fleet_spec {
    str name, file, chat_template, tools;       /* copied */
    int64_t context, threads, slots;    /* 0: the engine's default */
};
/* The engine for this specification, made when there is none like it yet; not started. Keeper only. */
enum err fleet_get(struct fleet *f, const struct fleet_spec *s, struct fleet_engine **out);
void fleet_start(struct fleet_engine *e);                       /* keeper only: load it now */
void fleet_put(struct fleet_engine *e);

const char *fleet_socket(const struct fleet_engine *e);         /* path; the same over restarts */

/* What a loop learns when the engine is ready. Immutable, lives as long as the fleet. */
struct fleet_ready {
    uint64_t generation;                /* counts starts */
    struct digest fingerprint, weights;
    str identity;                       /* JSON; fingerprint is its SHA-256 */
    struct fleet_ready *older;          /* private */
};

/* Where waiting calls come back: one per gate loop, like a ledger_port. */
struct fleet_port {
    pthread_mutex_t lock;
    struct fleet_waiter *head, **tail;
    void (*wake)(void *ctx);
    void *ctx;
};
struct fleet_waiter {
    struct fleet_waiter *next;
    struct fleet_port *port;
    struct fleet_engine *engine;
    enum { FLEET_IDLE, FLEET_WAITING, FLEET_BACK } state;        /* private, under the fleet's lock */
    enum err err;
    const struct fleet_ready *ready;
    char why[200];
    void (*on_ready)(struct fleet_waiter *w);
    void *ctx;
};
void fleet_port_init(struct fleet_port *p, void (*wake)(void *ctx), void *ctx);
void fleet_port_destroy(struct fleet_port *p);

/* ERR_OK: *out, at once and without a lock. ERR_AGAIN: it is being loaded (started now if need be), and on_ready comes through
 * the port with err and ready set. ERR_ENGINE: it failed, w->why says how. */
enum err fleet_acquire(struct fleet_engine *e, struct fleet_waiter *w, const struct fleet_ready **out);
void fleet_forget(struct fleet_waiter *w);                       /* no on_ready any more */
void fleet_collect(struct fleet_port *p);

/* state: "off", "loading", "ready", "failed". identity: of a ready one, else empty; lives as long as the fleet. */
struct fleet_state { const char *state; double progress; char why[200]; int pid; uint64_t starts; str identity; };
void fleet_look(struct fleet_engine *e, struct fleet_state *out);

/* SHA-256 of an open file, through the cache; `path` is only for messages. Blocking: for a thread of its own. */
enum err fleet_digest_file(int fd, const char *cache_path, struct digest *out, bool *from_cache);
/* Keeps a digest that was taken of this very file just now. */
void fleet_digest_note(int fd, const char *cache_path, const struct digest *d);

#endif
