/* fleet/server.h: one server and its models as the keeper sees them; private to the fleet. Includes: core, io, http.
 *
 * The process (engines and managed ones; an attached server is always UP):
 *
 *          somebody wants it, and there is room          it answers, the file is hashed
 *   OFF ───────────────────────► LOADING ───────────────────────────────────► UP
 *    ▲                             │  ▲                                        │ │
 *    │ nothing of it runs          │  │ pause over, and there is room          │ │ exit, hang, file changed
 *    │                             ▼  │                                        │ ▼
 *   STOPPING ◄─────────────────  PAUSED (or FAILED: refused, or it never comes up) ◄
 *    ▲                                                                         │
 *    └─────────── leaving: idle, unloaded, to make room, or held by nobody; its doors are shut, and their calls have ended ◄
 *
 * A model of a server that is UP:
 *
 *   CLOSED ── what are you? ──► ASKING ── known, or as much as it says ──► OPEN     calls pass; where the kind has a check, each waits for one
 *                                                                                   that began after it came
 *
 * Only the keeper changes a state; other threads read `open`, count themselves into `running`, and put themselves into `waiters`, under the fleet's lock.
 * A door is shut by taking `open` away and then looking at `running`; a call counts itself first and then looks at `open`: one of the two sees the other. */
#ifndef HEARTH_FLEET_SERVER_H
#define HEARTH_FLEET_SERVER_H

#include "fleet/facts.h"
#include "fleet/fleet.h"
#include "fleet/foot.h"
#include "fleet/load.h"
#include "fleet/look.h"
#include "fleet/plan.h"
#include "fleet/talk.h"
#include "io/child.h"

#include <stdatomic.h>
#include <sys/stat.h>

#define FLEET_SOCKET "e%d-%u.sock"       /* our process, the server's number */
#define PROPS_MAX    (256u << 10)
#define FEET_MAX     1024               /* footprints remembered */
#define LOAD_MS      1000               /* how busy it is is asked this often, while it is used … */
#define LOAD_IDLE_MS 60000              /* … and no more when it has not been for so long */
#define POLL_MS      10000              /* an attached server is asked again what it is this often … */
#define POLL_IDLE_MS 120000             /* … and so often about a model that nobody has called for as long */

enum server_state { SERVER_OFF, SERVER_LOADING, SERVER_UP, SERVER_PAUSED, SERVER_FAILED, SERVER_STOPPING };
enum model_state { MODEL_CLOSED, MODEL_ASKING, MODEL_OPEN };
enum server_event { EVENT_START, EVENT_READY, EVENT_CRASH, EVENT_REFUSED, EVENT_LOOP, EVENT_STOPPED, EVENT_WAKE, EVENT_UNLOADED, EVENTS };
enum errand { ERRAND_NONE, ERRAND_LEARN, ERRAND_CHECK, ERRAND_WAKE, ERRAND_UNLOAD };
enum leaving { STAYS, LEAVES_IDLE, LEAVES_UNLOADED, LEAVES_FOR_ROOM, LEAVES_UNHELD };

struct server_hash {                    /* a digest in the making, on a thread of its own; outlives its process if it must */
    pthread_t thread;
    bool running, wanted;               /* wanted: there is a file to be hashed */
    atomic_bool done;
    int fd;                             /* of the file */
    char cache[512];
    struct io_wake *wake;
    enum err err;
    struct digest digest;
    bool from_cache;
};

struct fleet_model {
    struct fleet_model *next;
    struct fleet_server *server;
    struct arena mem;                   /* the strings of `spec` */
    struct fleet_spec spec;
    struct digest key;                  /* of the specification */
    uint64_t number;                    /* in the order in which they were made */

    /* any thread */
    _Atomic(const struct fleet_ready *) open;
    atomic_int running;
    atomic_llong used_ms;               /* when a call last came or went */
    atomic_bool unload;                 /* somebody asked for it */

    /* under the fleet's lock */
    int refs;
    bool wanted;
    struct fleet_waiter *waiters, **waiters_end;    /* in the order they came */
    struct fleet_waiter *asking;        /* those that the running check is for */
    atomic_size_t n_waiting;            /* read by any thread */
    enum model_state state;

    /* the keeper's own */
    const struct fleet_ready *ready;    /* what it is, as known now; NULL: it has not said yet */
    const struct fleet_ready *before;   /* what it was when it was known last, also by another process */
    bool checks;                        /* calls wait for a check */
    struct talk talk;
    enum errand errand;                 /* what the questions are for */
    enum question script[KIND_IDENTITY + 2];
    int at;                             /* the question of the script that is being asked */
    bool awaits_hash;
    struct facts facts, heard;          /* in force, and being gathered */
    struct arena facts_mem[2];          /* of the two */
    int mem_at;
    bool silent;                        /* attached: the last question was not answered */
    int64_t asked_ms, again_ms, wake_ms;
};

struct fleet_server {
    struct fleet_server *next;
    struct fleet *fleet;
    const struct kind *kind;
    bool attached;
    struct digest key;                  /* of what it is started with, or where it is */
    uint32_t number;
    struct fleet_model *models;
    struct arena mem;
    struct fleet_spec spec;             /* of the model that it was made for; copied */
    char name[160];                     /* of the model, or of the provider where several share it */
    char file[512], socket[108], log[512];

    /* under the fleet's lock */
    enum server_state state;
    char why[240];
    double progress;
    uint64_t starts;
    int64_t pause_until_ms;
    char plan[240];                     /* what it waits for before it can be started; empty: nothing */
    struct host_use use;                /* of its processes, when they were looked at last */
    int64_t use_device;
    struct load load;                   /* as it says itself */
    double rate;                        /* tokens a second, between its last two words; -1: it does not say */
    struct foot foot;                   /* as measured, by this process or in the ledger */

    atomic_int leaving;                 /* enum leaving; a call that ends wakes the keeper then */
    atomic_int foreign, cache_percent;  /* calls of others, by its own word; how full its cache is */
    atomic_bool ill;                    /* it failed, or does not answer */

    /* the keeper's own */
    struct io_child child;
    bool child_alive, child_open;
    int pid, life;                      /* life: our end of the ward's pipe; -1: none */
    uint16_t port;
    int model_fd;
    struct stat model_stat;
    struct server_hash hash;
    struct http_pool *pool;
    bool pool_closing;
    struct talk health, busy;
    int64_t busy_ms, load_at_ms;        /* when its load was asked last, and said last */
    bool no_load;                       /* it has no /metrics */
    int64_t started_ms, answered_ms, up_ms, term_ms, load_ms;       /* load_ms: how long the last load took */
    int failures;                       /* starts in a row that did not stay up */
    bool was_up;                        /* this process has answered: what it prints from now on may hold prompts */
    char kill_why[160];                 /* why we killed it, for the event row */
    char leave_why[160];
    struct foot guess, need;            /* from its file; by all that is known */
    struct digest foot_key;
    bool foot_known, measured;          /* looked up; measured of this process */
    char gpu[64];                       /* the device that it is on; empty: the host */
    int gpu_make;
    bool no_gpu;                        /* it is to keep off all of them */
    int64_t free_before;                /* of that device, before it was started */
};

struct fleet {
    struct io_loop *loop;
    struct fleet_options opt;
    char engine_path[512], ward_path[512], run_dir[96], log_dir[512], digest_cache[512];
    pthread_mutex_t lock;
    struct fleet_server *servers;
    struct fleet_ask *asks;             /* under the lock: questions that wait for the keeper */
    uint64_t n_asked;
    struct fleet_ready *readies;
    uint32_t n_made;
    uint64_t n_models_made;
    uint64_t generation;
    struct io_wake wake;
    struct io_timer tick;

    /* keep.c: memory */
    struct looker *looker;
    struct look seen;                   /* the last look; written under the lock */
    struct look_use roots[LOOK_ROOTS];
    struct { struct digest key; struct foot foot; } feet[FEET_MAX];
    size_t n_feet;
    struct plan_world world;
    struct fleet_server *in_world[PLAN_MODELS];
    int64_t swapped_ms, ended_ms;       /* ended: when a process of ours did last; its memory comes back a moment later */
    uint64_t swaps;
    bool look_wanted, gpu_told;

    bool closing;
    int64_t drain_ms;
    int handles_open;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

const char *fleet_state_name(const struct fleet_model *m);       /* under the lock; fleet_state.state */
static inline int64_t fleet_now(const struct fleet *f) { return clock_mono_us(&f->opt.clock) / 1000; }
static inline void fleet_soon(struct fleet *f) { io_timer_start(&f->tick, 0); }

/* ---- spec.c ---- */
enum err spec_copy(struct arena *a, const struct fleet_spec *from, struct fleet_spec *to);
bool spec_is_shared(const struct fleet_spec *s);                 /* its server has other models, too */
struct digest spec_key(const struct fleet_spec *s);              /* two with the same key are the same model */
struct digest spec_server_key(const struct fleet_spec *s);       /* … are served by the same process, or address */

/* ---- server.c: the machine ---- */
enum err server_open(struct fleet *f, const struct fleet_spec *s, const struct digest *key, struct fleet_server **out);
void server_step(struct fleet_server *s, int64_t now_ms);        /* called on every tick and wake; moves the machine on */
bool server_wants(struct fleet_server *s, int64_t now_ms);       /* it would be started now, if there is room */
void server_begin(struct fleet_server *s, int64_t now_ms);       /* starts it */
void server_stop(struct fleet_server *s, const char *why, bool hard);
void server_leave(struct fleet_server *s, enum leaving why);
void server_hear_load(struct fleet_server *s, const struct load *l, int64_t now_ms);
bool server_gone(const struct fleet_server *s);                  /* nothing of it runs any more: it may be freed */
void server_free(struct fleet_server *s);
void server_set_state(struct fleet_server *s, enum server_state state, const char *why);
void server_note(struct fleet_server *s, enum server_event event, const char *why);      /* an event row, and a line of the log */
void server_refuse(struct fleet_server *s, const char *why);     /* it cannot be started: those who wait are told */
int server_running(const struct fleet_server *s);
int64_t server_used(const struct fleet_server *s);               /* when a call last came or went */
int64_t server_waits_since(struct fleet_server *s);              /* when the first of the calls that wait came; INT64_MAX: none waits */

/* ---- keep.c: memory ---- */
void keep_turn(struct fleet *f, int64_t now_ms);                 /* looks, measures, and starts what may be started */
struct foot keep_foot(struct fleet_server *s);                   /* what it needs, by all that is known */
void keep_plan(struct fleet *f, struct fleet_server *s, struct plan_world *w, struct plan *out);       /* what would become of it */

/* ---- start.c: processes ---- */
/* Starts the program with its descriptors, log and port. ERR_…: errno says more, or *why. */
enum err start_process(struct fleet_server *s, void (*on_exit)(struct io_child *c, int status, int signum), const char **why);
enum err start_pool(struct fleet_server *s);
/* The last line of its log that says what went wrong, as the reason a person wants to see; *out is left alone when there is none. */
void start_log_reason(const struct fleet_server *s, char *out, size_t cap);
void start_kill(struct fleet_server *s, bool hard);

/* ---- hash.c: the digest of its file ---- */
enum err hash_start(struct fleet_server *s);
void hash_reap(struct fleet_server *s);
/* The file that an attached server names: opened, and hashed anew where it is another than before. False: it is none that could be hashed. */
bool hash_named_file(struct fleet_server *s, str path);
const struct digest *hash_known(const struct fleet_server *s);   /* NULL: there is none */

/* ---- model.c: doors ---- */
enum err model_new(struct fleet_server *s, const struct fleet_spec *spec, const struct digest *key, struct fleet_model **out);
void model_free(struct fleet_model *m);
bool model_idle(const struct fleet_model *m);                    /* nothing is being asked: it may be freed */
void model_step(struct fleet_model *m, int64_t now_ms);          /* while its server is UP */
void model_shut(struct fleet_model *m);                          /* no call passes any more; those that wait go on waiting */
void model_forget(struct fleet_model *m);                        /* its process is gone: what is being asked is not answered */
/* Hands back all that wait. ERR_OK: with `r`, held. */
void model_give_back(struct fleet_model *m, enum err e, const struct fleet_ready *r, const char *why);
void model_expire(struct fleet_model *m, int64_t before_ms, const char *why);      /* ERR_LOADING to those that came before */
bool model_is_wanted(struct fleet_model *m);                     /* somebody waits for it, or asked for it */

/* ---- report.c: answers to people ---- */
/* Of everything, or of what loading `m` would do. ERR_AGAIN: it needs a newer look at memory, which was asked for. */
enum err report_write(struct fleet *f, struct fleet_model *m, int64_t now_ms, struct buf *out);

#endif
