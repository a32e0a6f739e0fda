/* fleet/engine.h: one engine as the keeper sees it; private to the fleet. Includes: core, io, http.
 *
 *          fleet_start, a waiter              /health ok, digest and /props known
 *   OFF ───────────────────────► LOADING ───────────────────────────────────► READY
 *    ▲                             │  ▲                                          │
 *    │ nobody holds it             │  │ pause over                               │ exit, hang, file changed
 *    │                             ▼  │                                          ▼
 *   STOPPING ◄─────────────────  PAUSED (or FAILED: the model itself was refused) ◄
 *
 * Only the keeper changes a state; other threads read `ready` and put themselves into `waiters`, under the fleet's lock. */
#ifndef HEARTH_FLEET_ENGINE_H
#define HEARTH_FLEET_ENGINE_H

#include "core/buf.h"
#include "fleet/fleet.h"
#include "http/client.h"
#include "io/child.h"

#include <stdatomic.h>
#include <sys/stat.h>

#define FLEET_SOCKET "e%d-%u.sock"       /* our process, the engine's number */

enum engine_state { ENGINE_OFF, ENGINE_LOADING, ENGINE_READY, ENGINE_PAUSED, ENGINE_FAILED, ENGINE_STOPPING };

struct engine_hash {                    /* a digest in the making, on a thread of its own; outlives its engine if it must */
    pthread_t thread;
    bool running;
    atomic_bool done;
    int fd;                             /* a duplicate of the model's descriptor */
    char cache[512];
    struct io_wake *wake;
    enum err err;
    struct digest digest;
    bool from_cache;
};

struct fleet_engine {
    struct fleet_engine *next;
    struct fleet *fleet;
    struct arena mem;                   /* the specification's strings */
    struct fleet_spec spec;
    char file[512], name[128], socket[108], log[512];

    /* under the fleet's lock */
    int refs;
    enum engine_state state;
    bool wanted;
    struct fleet_waiter *waiters;
    char why[200];
    double progress;
    uint64_t starts;
    int64_t pause_until_ms;

    _Atomic(const struct fleet_ready *) ready;

    /* the keeper's own */
    struct io_child child;
    bool child_alive, child_open;
    int pid;
    int model_fd;
    struct stat model_stat;
    struct engine_hash hash;
    struct http_pool *pool;
    bool pool_closing;
    struct http_exchange *probe;
    struct buf probe_body;
    bool probe_props;
    int probe_status;
    int64_t started_ms, answered_ms, ready_ms, term_ms;
    int failures;                       /* starts in a row that did not stay up */
    char kill_why[120];                 /* why we killed it, for the event row */
};

struct fleet {
    struct io_loop *loop;
    struct fleet_options opt;
    char engine_path[512], run_dir[96], log_dir[512], digest_cache[512];
    pthread_mutex_t lock;
    struct fleet_engine *engines;
    struct fleet_ready *readies;
    uint32_t n_made;
    uint64_t generation;
    struct io_wake wake;
    struct io_timer tick;
    bool closing;
    int64_t drain_ms;
    int handles_open;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

enum err engine_open(struct fleet *f, const struct fleet_spec *s, struct fleet_engine **out);
void engine_step(struct fleet_engine *e, int64_t now_ms);        /* called on every tick and wake; moves the machine on */
void engine_stop(struct fleet_engine *e, const char *why, bool hard);
bool engine_gone(const struct fleet_engine *e);                  /* nothing of it runs any more: it may be freed */
void engine_free(struct fleet_engine *e);
/* Under no lock: sets the state and, for READY and FAILED, hands the waiters back. */
void engine_set_state(struct fleet_engine *e, enum engine_state s, const char *why);

/* identity.c: the identity JSON of a ready engine from its /props and the digest we took ourselves. ERR_UPSTREAM: /props is not usable. */
enum err engine_identity(struct arena *a, str props, const struct digest *weights, str *json);

#endif
