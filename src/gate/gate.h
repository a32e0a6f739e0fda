/* gate/gate.h: the gateway: loop threads that take calls from clients through seven stages to the ledger. Includes: all below.
 *
 * The picture is in gate.c. Each loop thread has its own connections, upstream pools and ports; nothing on the way of a call
 * takes a lock but the queues. A configuration is immutable and counted: a call keeps the one it began with, so swapping
 * is atomic and touches no running call. */
#ifndef HEARTH_GATE_GATE_H
#define HEARTH_GATE_GATE_H

#include "core/clock.h"
#include "core/hash.h"
#include "fleet/fleet.h"
#include "guard/policy.h"
#include "http/client.h"
#include "http/server.h"
#include "keys/keys.h"
#include "ledger/ledger.h"
#include "prompt/prompt.h"
#include "route/policy.h"

#include <stdatomic.h>

struct gate;

/* What is done about personal data and secrets before a call leaves for a cloud (guard.c). */
struct gate_guard {
    const struct guard_finder *finder;
    struct guard_rules all;
    const struct guard_rules *models, *tasks;   /* one per policy.models (n_all) and policy.tasks */
    size_t body_max;                    /* a longer request does not leave */
    str model;                          /* that looks where policy says mask+model; empty: none, so nothing leaves there */
    int64_t model_ms;                   /* what that may take */
    str vault;                          /* the file of the vault; each loop opens it when the first call leaves */
    str key_file, key;                  /* its key: 64 hexadecimal digits in `key`, or a file, which is made */
    struct digest names;                /* of these three: a vault of other names is another one */
};

struct gate_config {
    struct policy policy;
    struct fleet_model **engines;       /* one per policy.models: what the fleet has of it; NULL: nothing, it is only called */
    struct key_list keys;
    struct prompt_book prompts;
    const struct gate_guard *guard;     /* NULL: nothing can be guarded, so nothing leaves for a cloud */
    const str *hosts;                   /* names that Host fields may have besides the loopback's */
    size_t n_hosts;
    struct http_client_limits upstream;
    size_t reply_max;                   /* bytes of a reply that is not streamed; default 64 MiB */
    struct gate_quiet { int64_t ms; bool ping, comment; } quiet;        /* signs of life in streams, see quiet.c */
    atomic_int refs;
    void (*release)(struct gate_config *c);     /* when the last call that began with it has ended; any thread */
    void *owner;
};

/* What is asked of the gateway itself, under /hearth/: answered by the program around it, on a thread of its own, since that reads files and the
 * ledger. Whoever asks holds the admin key, or is the owner on the command socket. */
struct gate_question { str method, path, query; struct gate_config *config; bool via_unix; };  /* path: behind "/hearth/"; config: in force when it came */
struct gate_answer { int status; str content_type; char fields[200]; struct buf body; };        /* fields: "Name: value\r\n" */

struct gate_options {
    int threads;
    int tcp_fd, unix_fd;                /* listening; -1: none. Not owned. */
    const char *own_socket;             /* the path of unix_fd, lives as long as the gate; NULL: none */
    uint16_t port;                      /* of tcp_fd: Host fields must name it */
    struct http_limits limits;
    struct key_accounts *accounts;      /* NULL: keys have no limits */
    struct ledger *ledger;              /* NULL: no record is kept (the bench's development switch, nothing else) */
    void (*manage)(void *ctx, const struct gate_question *q, struct gate_answer *out);     /* NULL: nothing can be asked */
    void *manage_ctx;
    struct fleet *fleet;                /* for questions about it; NULL: there is none */
    struct clock clock;
    size_t record_max;                  /* reply bytes kept for the record; default 8 MiB */
};

/* Takes one reference of `c`. Returns when all loops run. */
enum err gate_start(const struct gate_options *o, struct gate_config *c, struct gate **out);
void gate_swap_config(struct gate *g, struct gate_config *c);    /* new calls use it from their loop's next turn on */
void gate_drain(struct gate *g);                                 /* no new connections; what is connected gets its answer and is closed */
bool gate_drained(const struct gate *g);                         /* after that: no call runs and nobody is connected */
size_t gate_running(const struct gate *g);                       /* calls that have not ended, their record included */
void gate_stop(struct gate *g);                                  /* drops what still runs (recorded as cut), joins the threads, frees */

/* Where a provider with a URL is, and what its zone asks of connections to it. */
enum err gate_origin(const struct provider *p, struct http_origin *o);

void gate_config_ref(struct gate_config *c);
void gate_config_unref(struct gate_config *c);

#endif
