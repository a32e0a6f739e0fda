/* fleet/fleet.h: the servers that answer for models, and hearth's care for them. Includes: core, wire, io, http, ledger.
 *
 * A *server* is a process that answers calls. There are three ways to one, and one machine (server.h) for all of them:
 *
 *   engine     hearth-engine, one per GGUF. The file is opened once, hashed and handed over by that very descriptor, with a listening Unix socket.
 *   managed    a foreign program that hearth starts when it is needed, on a free port of the loopback: llama-server, llama_cpp.server, vLLM, Ollama, or
 *              any command line. It runs below a ward (io/ward.h), so nothing of it is left when it ends, or when hearth does, however that is.
 *   attached   one that runs already, at a URL. It is asked what it is and never touched.
 *
 * A *model* is what a call is for, and the door to its server: fleet_acquire() opens it, at once and without a lock where the model is loaded and known;
 * else the call waits, and comes back through its loop's port, when the server was started, when memory was made for it (plan.h), when a sleeping vLLM was
 * woken, or when an Ollama has been asked what stands behind the name now. An open door is held until fleet_release(): a model with held doors
 * is never unloaded.
 *
 * What a model really is (facts.h) gives its fingerprint, which goes into the ledger. An identity that changes behind the same name is an event row.
 *
 * Servers are watched once a second: one that ended, does not answer, or is in one step for too long is killed and started again, with growing pauses. One
 * that never comes up is told to those who wait, and in `hearth ps`. Every start and end is an event row.
 *
 * Threads: everything runs on the keeper's loop but fleet_acquire(), fleet_release(), fleet_put(), fleet_collect(), fleet_look() and fleet_unload(), which gate
 * loops call. A model lives as long as somebody holds it (fleet_get/fleet_put); a server without models is drained and stopped. */
#ifndef HEARTH_FLEET_FLEET_H
#define HEARTH_FLEET_FLEET_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/hash.h"
#include "fleet/kind.h"
#include "http/client.h"
#include "io/loop.h"
#include "ledger/ledger.h"

struct fleet;
struct fleet_model;

struct fleet_options {
    const char *engine_path;            /* hearth-engine */
    const char *ward_path;              /* a program that is the ward when its first argument is WARD_FLAG; default: this one */
    const char *run_dir;                /* sockets: made with mode 0700 */
    const char *log_dir;                /* one file per server, kept */
    const char *digest_cache;           /* file that remembers digests by device, inode, size, mtime and ctime; NULL: none */
    struct ledger *ledger;              /* events and identities; may be NULL in tests */
    int64_t load_ms;                    /* a load that takes longer has failed; default 600,000 */
    int64_t hang_ms;                    /* one decode step, or a silent server; default 30,000 */
    size_t queue;                       /* calls that may wait for one model; default 1024 */
    int64_t memory;                     /* bytes of the host for all models together; 0: what is free */
    int64_t stay_ms, window_ms;         /* plan.h; default 10,000 and 30,000 */
    int64_t wait_ms;                    /* a call waits for room no longer; default 300,000 */
    const char *prefix_dir;             /* a file for each engine, with what is kept for its next start (infer/spill.h); NULL: nothing is */
    int64_t prefix_limit;               /* bytes of such a file; 0: the engine's default */
    const char *gpu_library;            /* gpu.h; NULL: by its usual names */
    size_t log_max;                     /* bytes of a server's log; default 16 MiB */
    struct clock clock;
};
void fleet_options_default(struct fleet_options *o);

enum err fleet_new(struct io_loop *keeper, const struct fleet_options *o, struct fleet **out);
/* What the ledger has kept of an earlier measure. Before models are made. */
void fleet_recall(struct fleet *f, const struct digest *key, str foot_json);
/* Stops every server that hearth runs (SIGTERM, after `drain_ms` SIGKILL) and then frees the fleet. */
void fleet_close(struct fleet *f, int64_t drain_ms, void (*on_closed)(void *ctx), void *ctx);

struct fleet_spec {                     /* strings are copied */
    enum fleet_kind kind;
    bool attached;                      /* it runs already, at `origin` */
    str provider, name;                 /* as hearth calls them */
    str id;                             /* as the server calls the model */
    str file;                           /* what is loaded: a GGUF, or a folder for servers that take one; empty: `id` says it */
    str chat_template, tools;           /* engine: families by name; empty: as the file shows */
    int64_t context, threads, slots;    /* 0: the server's default */
    int64_t kv_tokens;                  /* engine: of all sequences together; 0: each has its own room */
    const str *args, *adapters;         /* engine: more arguments; LoRA adapters that it loads, as NAME=FILE */
    size_t n_args, n_adapters;
    str adapter;                        /* engine: the model is the one with this adapter; empty: the one without */
    int64_t memory;                     /* bytes that it needs, as written; 0: as measured */
    enum { FLEET_GPU_AUTO, FLEET_GPU_ON, FLEET_GPU_OFF } gpu;
    bool pin;                           /* never sent away to make room */
    /* managed */
    const str *words, *env;             /* fleet/command.h; env: NAME=value, or NAME for what this process has under it */
    size_t n_words, n_env;
    str health;                         /* the path that says 200 when it can answer */
    int64_t load_ms;                    /* 0: the fleet's */
    int64_t idle_ms;                    /* stopped after so long without a call; 0: never. Also of engines. */
    /* attached */
    struct http_origin origin;          /* its base without /v1 */
    str fields;                         /* "Name: value\r\n" for each question: its key */
    bool here;                          /* on this machine: a file that it names can be looked at */
};
/* The model for this specification, made when there is none like it yet; not started. Keeper only. Models of one managed provider whose command names no
 * model share one server. */
enum err fleet_get(struct fleet *f, const struct fleet_spec *s, struct fleet_model **out);
void fleet_start(struct fleet_model *m);                        /* keeper only: load it now */
void fleet_put(struct fleet_model *m);
/* Stop it when its calls have ended (an Ollama unloads it); the next call loads it again. ERR_UNSUPPORTED: it is not ours to stop. Any thread. */
enum err fleet_unload(struct fleet_model *m);

const char *fleet_socket(const struct fleet_model *m);          /* of an engine: path; the same over restarts */

/* What a loop learns when the door opens. Immutable, lives as long as the fleet. */
struct fleet_ready {
    uint64_t generation;                /* differs between any two */
    bool known;                         /* the fingerprint is one; else nothing was said that could make one */
    bool remote;                        /* the server passes calls on to another host: a cloud, wherever the server is */
    bool unsure;                        /* it may do so: it could not be asked */
    uint16_t port;                      /* of a managed server, on the loopback */
    struct digest fingerprint, weights; /* weights: all zero where they are unknown */
    str identity;                       /* JSON; fingerprint is its SHA-256 */
    struct fleet_ready *older;          /* private */
};

/* Where waiting calls come back: one per gate loop, like a ledger_port. */
struct fleet_port {
    pthread_mutex_t lock;
    struct fleet_waiter *head, **tail;
    struct fleet_ask *answers;
    void (*wake)(void *ctx);
    void *ctx;
};
struct fleet_waiter {                   /* of one call; zeroed: none */
    struct fleet_waiter *next;
    struct fleet_port *port;
    struct fleet_model *model;
    enum { FLEET_IDLE, FLEET_WAITING, FLEET_ASKING, FLEET_BACK, FLEET_HELD } state;     /* private, under the fleet's lock; see fleet_waits() */
    enum err err;
    const struct fleet_ready *ready;
    int64_t since_ms;
    char why[240];
    void (*on_ready)(struct fleet_waiter *w);
    void *ctx;
};
void fleet_port_init(struct fleet_port *p, void (*wake)(void *ctx), void *ctx);
void fleet_port_destroy(struct fleet_port *p);

/* ERR_OK: *out, the door is held. ERR_AGAIN: it is being seen to, and on_ready comes through the port with err and ready set; held when err is ERR_OK.
 * ERR_ENGINE: it failed, ERR_BUSY: too many wait; w->why says more. */
enum err fleet_acquire(struct fleet_model *m, struct fleet_waiter *w, const struct fleet_ready **out);
void fleet_release(struct fleet_waiter *w);                      /* held, waiting or none: afterwards none */
static inline bool fleet_waits(const struct fleet_waiter *w) { return w->state != FLEET_IDLE && w->state != FLEET_HELD; }   /* its own loop asks */
void fleet_collect(struct fleet_port *p);

/* How busy its server is: calls that run or wait there, ours and, where it says so, those of others, weighed by how full its cache is. False: it is not well, so
 * better not asked. At once and without a lock. */
bool fleet_pressure(const struct fleet_model *m, double *load);

/* "off", "waiting" (for memory: `why` says for what), "loading", "ready", "asleep", "failed", "stopping"; attached: "served" or "unreachable". */
/* identity: of one whose door is open, else empty; lives as long as the fleet. */
struct fleet_state { const char *state; double progress; char why[240]; int pid; uint64_t starts; bool attached; str identity; };
void fleet_look(struct fleet_model *m, struct fleet_state *out);

/* ---- questions that the keeper answers: for people ---- */

/* What there is, or what loading a model would do, as JSON; the shapes are in report.c. It comes back through the port. */
struct fleet_ask {
    struct fleet_ask *next;
    uint64_t id;                        /* private */
    struct fleet_port *port;
    struct fleet_model *model;          /* NULL: everything */
    enum { FLEET_ASK_NONE, FLEET_ASK_WAITS, FLEET_ASK_BACK } state;         /* private, under the fleet's lock */
    enum err err;
    struct buf answer;                  /* freed by whoever asked */
    void (*on_answer)(struct fleet_ask *a);
    void *ctx;
};
void fleet_ask(struct fleet *f, struct fleet_ask *a);
void fleet_ask_forget(struct fleet *f, struct fleet_ask *a);     /* no on_answer any more */
/* Any thread: loads it as a call would that waits for it. ERR_UNSUPPORTED: it is not ours to start. */
enum err fleet_load(struct fleet_model *m);

/* SHA-256 of an open file, through the cache. Blocking: for a thread of its own. */
enum err fleet_digest_file(int fd, const char *cache_path, struct digest *out, bool *from_cache);
/* Keeps a digest that was taken of this very file just now. */
void fleet_digest_note(int fd, const char *cache_path, const struct digest *d);

#endif
