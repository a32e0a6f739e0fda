/* gate/request.h: one call on its way through the stages; private to the gate. Includes: all below.
 *
 * A gate_req lives in the arena of its http_req, which is held until both ledger entries are back and nothing else
 * refers to it. Callbacks (client, upstream, ledger, fleet) note what happened in it and call gate_step(). */
#ifndef HEARTH_GATE_REQUEST_H
#define HEARTH_GATE_REQUEST_H

#include "core/queue.h"
#include "core/rand.h"
#include "gate/gate.h"
#include "gate/guard.h"
#include "gate/metrics.h"
#include "gate/retried.h"
#include "gate/speak.h"
#include "gate/seat.h"
#include "route/route.h"
#include "wire/openai.h"
#include "wire/sse.h"

struct gate_view {                      /* a configuration as one loop uses it: with that loop's upstream connections */
    struct gate_loop *loop;
    struct gate_config *cfg;
    struct http_pool **by_provider;     /* lazily opened */
    struct http_pool **by_model;        /* embedded and managed */
    struct http_pool *own;              /* to hearth's own command socket: look.c */
    uint16_t *ports;                    /* of managed ones: which port by_model leads to */
    struct gate_breaker *breakers;      /* by provider */
    struct seats **seats;               /* by model; NULL: it has no limit */
    int refs;                           /* the loop, and each running call */
    int closing;                        /* pools that have not closed yet */
    struct gate_view *next_dead;        /* nobody uses it: closed at the end of the turn */
};

struct gate_loop {
    struct gate *gate;
    int index;
    pthread_t thread;
    struct io_loop *io;
    struct http_server *servers[2];
    struct io_wake wake;
    struct io_timer flush_timer;        /* intents that no end has carried to the writer yet */
    struct ledger_port ledger_port;
    struct fleet_port fleet_port;
    struct seat_port seat_port;
    struct gate_view *view;
    struct arena scratch;               /* for one event or one reply; reset by its user */
    struct rng rng;
    struct metrics metrics;
    struct gate_vault *vault;           /* of the guard; NULL: not open */
    struct gate_req *requests;          /* all running, for stopping */
    struct gate_view *dead_views;
    struct gate_dead_pool { struct gate_dead_pool *next; struct http_pool *pool; } *dead_pools;     /* their server has another port now */
    struct gate_req *again;             /* waiting to be tried again */
    struct gate_inquiry *inquiries;     /* to the keeper */
    struct io_timer again_timer, deadline_timer, quiet_timer;
    struct queue answered;              /* questions of manage.c that have come back */
    int64_t deadline_us;                /* when the timer fires; 0: it is not set */
    bool flush_now, flush_later, draining, stopping;
    bool quiet_set;                     /* its timer runs */
    int closing;                        /* how far: 0 not, 1 servers and pools, 2 handles, 3 all */
    int open;                           /* servers, pools, handles still to be closed */

    pthread_mutex_t lock;               /* orders from other threads: */
    struct gate_config *next_config;
    bool ask_drain, ask_stop;
    atomic_size_t running;
    atomic_size_t connections;          /* while draining: how many are left */
};

struct gate {
    struct gate_options opt;
    struct gate_loop *loops;
    int n_loops;
    struct seat_registry *seats;
    struct manager *manager;
    struct retried *retried;
};

enum stage { STAGE_READ, STAGE_CLASSIFY, STAGE_GUARD, STAGE_ROUTE, STAGE_CALL, STAGE_STREAM, STAGE_RECORD, STAGE_DONE };
enum call_step { CALL_SEAT, CALL_SEAT_WAIT, CALL_ENGINE, CALL_ENGINE_WAIT, CALL_INTENT, CALL_LOOK_WAIT, CALL_INTENT_WAIT, CALL_SEND, CALL_WAIT };

enum { TRIES_MAX = 8 };

struct gate_entries {                   /* what the ledger is given of one try, with the slices that it refers to */
    struct ledger_entry intent, end;
    str request, response, variables, rendered;
};

struct gate_breaker {                   /* of one provider, in one loop */
    int failures;                       /* in a row */
    bool probing;                       /* half open: one call is finding out */
    int64_t open_until_us;              /* 0: closed */
};

struct gate_req {
    struct gate_req *next, **back;
    struct gate_loop *loop;
    struct gate_view *view;
    struct http_req *http;
    struct arena *a;
    char id[UUID_TEXT];
    bool stepping;                      /* gate_step() is on the stack */
    enum op op;
    enum dialect dialect;               /* the client's */
    const struct client_side *client;
    enum stage stage;
    enum err err;
    struct wire_error why;              /* text for the client; may be empty */

    str path, path_model;               /* as OpenAI has it where it came in Azure's way, and the model that was in it; empty: none */
    str asked;                          /* the request's body, or what its prompt made of it */
    const struct prompt *prompt;        /* of the registry; NULL: none was named */
    str variables, rendered;            /* JSON: what it was filled with, and the messages that came of it */

    struct call call;
    double unit;                        /* random, in [0,1): for aliases with weights, which are asked twice where a task's prompt is looked for */
    struct decision decision;
    const struct key *key;              /* of the caller; lives with the view. NULL: none */
    struct grant grant;
    struct key_hold hold;

    /* CALL */
    enum call_step call_step;
    bool batch;                         /* interactive calls go before it */
    bool asks_deterministic;            /* by the caller */
    bool deterministic;                 /* by the caller, the task or the model: the same bytes again, at any load: only an engine of ours promises that */
    bool probe;                         /* this try finds out whether an upstream is back */
    struct seat seat;
    int64_t seat_until_us, seat_us;     /* how long it may wait for its turn; 0: it does not. When it began to */
    struct fleet_waiter waiter;
    const struct fleet_ready *ready;
    const struct upstream_side *up;
    struct speech *speech;              /* NULL: forwarded from OpenAI to OpenAI */
    const struct delta_sink *sink;      /* NULL: forwarded, not translated */
    str *slices;                        /* of this try: its record refers to them */
    size_t n_slices;
    struct http_exchange *x;
    int attempt;                        /* which one this is, from 1; 0: none has an intent yet */
    const struct model *tried[TRIES_MAX];
    size_t n_tried;                     /* tries in all, also those that came to no intent */
    const struct model *first;          /* the model of the first try */
    uint64_t beginning;                 /* hash of how the call begins, where its model has replicas; 0: not taken yet */
    int64_t retries;                    /* tries after it: the task's word, or that model's */
    struct speech *past;                /* of earlier tries */
    struct gate_guarded *guarded;       /* NULL: no try of it was to leave, or none had to be guarded */
    bool stays;                         /* the guard says: a local model, or none */
    int64_t deadline_us;                /* of the whole answer; 0: none */
    int64_t again_us, lost_us;          /* when to try again, 0: not waiting; what earlier tries and waits have taken */
    struct gate_req *next_again;

    /* STREAM */
    int status;                         /* the upstream's */
    bool upstream_ended, paused, reply_started, holding, sse_open, lines_open;
    bool estimated;                     /* the answer is a guess of ours: nothing is asked of the upstream any more */
    enum err upstream_err;
    struct sse sse;
    struct ndjson lines;                /* in place of it where the upstream speaks so */
    struct reply reply;
    str upstream_type;
    str retry_after, retry_after_ms, should_retry;      /* what the client is told of when to ask again */
    struct buf taken;                   /* what the client was or will be given: for the record, and the reply itself when not streamed */
    struct buf early;                   /* the beginning of a stream that shows nothing yet: while it is here, another try is possible */
    struct buf held;                    /* the end of a stream, until its row is on disk */
    size_t taken_bytes;                 /* all of it, also past the record's limit */
    size_t quiet_bytes;                 /* what it was when quiet.c looked last */
    int64_t quiet_us;                   /* since when it has been that; 0: not watched */

    /* RECORD */
    struct gate_entries *entries;       /* of this try; earlier ones may still be on their way to the disk */
    int places;                         /* reserved in the ledger's queue and not used yet */
    int in_ledger;                      /* entries that have not come back */
    bool recorded, gone;
    bool end_back;                      /* the end entry of this try is the ledger's no more: its seq and err may be read */
    int http_status;
    str body;                           /* the error body that the client gets */
    str client_text;                    /* peer and user agent */
    int64_t client_retry;               /* the client says that it asks again, for this time; 0: no */
    char repeats[UUID_TEXT];            /* the call that it repeats, as far as that is remembered; empty: not known */

    int64_t begin_us, asked_us, queue_us, sent_us, first_us, wall_us;   /* asked: an engine for room; queue: how long that took */
};

/* gate.c */
struct gate_req *gate_begin(struct gate_loop *l, struct http_req *http, enum dialect dialect, enum op op, const struct key *key);
void gate_step(struct gate_req *r);
enum err gate_fail(struct gate_req *r, enum err e, str message);         /* notes the text, returns e */
/* The task that a call will be of, before its body is decoded, by the name of its model; NULL: none, or the rules of `auto` decide it by what the body says. */
enum err gate_task_named(struct gate_req *r, str model, const struct task **out);

/* manage.c: questions about the gateway itself */
enum err manager_start(struct gate *g);
void manager_stop(struct gate *g);               /* when all loops have ended */
bool manager_ask(struct gate_loop *l, struct http_req *http, str path);      /* false: too many wait */
void manager_collect(struct gate_loop *l);

/* prompted.c: a prompt of the registry becomes messages */
enum err gate_prompt(struct gate_req *r);

/* auth.c: who asks */
enum err gate_who(struct gate_loop *l, const struct http_head *h, bool via_unix, const struct key **out);     /* ERR_AUTH; *out NULL: nobody in particular */
bool gate_is_admin(struct gate_loop *l, const struct http_head *h, bool via_unix);      /* the owner, or who holds the admin key */
void gate_grant(struct gate_req *r);                     /* what the key opens, for ROUTE */
enum err gate_take(struct gate_req *r);                  /* from the key's account: ERR_RATE, ERR_BUDGET, with r->why */
void gate_settle(struct gate_req *r, int64_t cost_micros);      /* when it has ended */

/* attempt.c: CALL and STREAM */
enum err gate_call(struct gate_req *r);
enum err gate_stream(struct gate_req *r);
void gate_attempt_abort(struct gate_req *r);     /* nothing more from engine or upstream */
void gate_on_drain(struct gate_req *r);
enum zone gate_zone(const struct gate_req *r);           /* of the model; an Ollama that passes calls on is a cloud, wherever it is */
void gate_attempt_sign(struct gate_req *r, str sign);    /* of life, to the client */

/* quiet.c: streams in which nothing comes */
void gate_quiet_watch(struct gate_req *r);       /* its upstream has begun a stream */
void gate_on_quiet(struct io_timer *t);

/* again.c: after a failed try */
enum err gate_breaker_ask(struct gate_req *r);            /* before a request is sent: ERR_OPEN, with the words for the client */
void gate_breaker_note(struct gate_req *r, bool failed);  /* what the upstream made of it */
bool gate_again(struct gate_req *r, enum err e);         /* true: the call is at CALL again, now or when again_us has come */
bool gate_may_try_again(const struct gate_req *r);       /* is there a try left, should this one fail? */
const struct model *gate_local(struct gate_req *r);      /* the model that answers what must not leave; NULL: none */
void gate_again_forget(struct gate_req *r);              /* it ends while it waits */
void gate_on_again(struct io_timer *t);
void gate_deadline_set(struct gate_loop *l, int64_t at_us);
void gate_on_deadline(struct io_timer *t);

/* count.c: how long a prompt is */
int64_t gate_guess(const struct gate_req *r);            /* for want of a tokenizer: tokens, at least 1 */
bool gate_has_no_count(struct gate_req *r);              /* the reply in r->taken says that the upstream does not know what it was asked */
enum err gate_estimate(struct gate_req *r);              /* the guess becomes the answer of a call that only counts */
str gate_count_field(const struct gate_req *r);          /* "x-hearth-count: …\r\n" for who is told a count, else empty */

/* replica.c: one of several servers of a model */
void gate_replica(struct gate_req *r);                   /* the decision's model becomes the best of its replicas that was not tried yet */
bool gate_replica_left(const struct gate_req *r, size_t n_tried);       /* is there one? */

/* explain.c: what would become of a call */
bool gate_is_explained(const struct gate_req *r);
void gate_explain(struct gate_req *r, enum err e);       /* in place of CALL and what follows; `e`: it was refused before */

/* record.c: RECORD */
bool gate_reserve_try(struct gate_req *r);               /* places in the ledger's queue for another intent and end, and entries */
void gate_submit_failed_try(struct gate_req *r, enum err e);     /* its end row; the call goes on */
enum err gate_record(struct gate_req *r);
void gate_submit_intent(struct gate_req *r);
str gate_reply_fields(struct gate_req *r);
int64_t gate_overhead_us(const struct gate_req *r);     /* hearth's own part of the time before the request was sent */

/* keeper.c: what only the keeper can do or answer, for the owner */
void gate_fleet_report(struct gate_loop *l, struct http_req *http, str rest);
void gate_fleet_plan(struct gate_loop *l, struct http_req *http, str rest);
void gate_fleet_load(struct gate_loop *l, struct http_req *http, str rest);
void gate_fleet_unload(struct gate_loop *l, struct http_req *http, str rest);
void gate_fleet_forget(struct gate_loop *l);             /* the loop ends: nobody waits for answers any more */

/* loop.c */
void gate_want_flush(struct gate_loop *l, bool now);
enum err gate_pool(struct gate_view *v, const struct model *m, const struct fleet_ready *ready, struct http_pool **out);
enum err gate_own_pool(struct gate_view *v, struct http_pool **out);
void gate_view_unref(struct gate_view *v);
void gate_break(struct gate_req *r, enum err e); /* ends a call from outside of its stages */
void gate_end(struct gate_req *r);               /* gives everything back */

/* endpoints.c */
void gate_on_request(void *ctx, struct http_req *http);
void gate_answer_with(struct gate_loop *l, struct http_req *http, int status, str type, str fields, str body);     /* with the ids that every reply has */
int gate_check_head(void *ctx, const struct http_head *h, bool via_unix, const char **what);
void gate_on_reject(void *ctx, const struct http_head *h, int status, const char *what, struct arena *a, struct http_refusal *out);

#endif
