/* gate/request.h: one call on its way through the stages; private to the gate. Includes: all below.
 *
 * A gate_req lives in the arena of its http_req, which is held until both ledger entries are back and nothing else
 * refers to it. Callbacks (client, upstream, ledger, fleet) note what happened in it and call gate_step(). */
#ifndef HEARTH_GATE_REQUEST_H
#define HEARTH_GATE_REQUEST_H

#include "core/rand.h"
#include "gate/gate.h"
#include "gate/speak.h"
#include "route/route.h"
#include "wire/openai.h"
#include "wire/sse.h"

struct gate_view {                      /* a configuration as one loop uses it: with that loop's upstream connections */
    struct gate_loop *loop;
    struct gate_config *cfg;
    struct http_pool **by_provider;     /* lazily opened */
    struct http_pool **by_model;        /* embedded */
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
    struct gate_view *view;
    struct arena scratch;               /* for one event or one reply; reset by its user */
    struct rng rng;
    struct gate_req *requests;          /* all running, for stopping */
    struct gate_view *dead_views;
    bool flush_now, flush_later, draining, stopping;
    int closing;                        /* how far: 0 not, 1 servers and pools, 2 handles, 3 all */
    int open;                           /* servers, pools, handles still to be closed */

    pthread_mutex_t lock;               /* orders from other threads: */
    struct gate_config *next_config;
    bool ask_drain, ask_stop;
    atomic_size_t running;
};

struct gate {
    struct gate_options opt;
    struct gate_loop *loops;
    int n_loops;
};

enum stage { STAGE_READ, STAGE_CLASSIFY, STAGE_GUARD, STAGE_ROUTE, STAGE_CALL, STAGE_STREAM, STAGE_RECORD, STAGE_DONE };
enum call_step { CALL_ENGINE, CALL_ENGINE_WAIT, CALL_INTENT, CALL_INTENT_WAIT, CALL_SEND, CALL_WAIT };

struct gate_req {
    struct gate_req *next, **back;
    struct gate_loop *loop;
    struct gate_view *view;
    struct http_req *http;
    struct arena *a;
    char id[UUID_TEXT];
    enum op op;
    enum dialect dialect;               /* the client's */
    const struct client_side *client;
    enum stage stage;
    enum err err;
    struct wire_error why;              /* text for the client; may be empty */
    bool stepping;                      /* gate_step() is on the stack */

    struct call call;
    struct decision decision;

    /* CALL */
    enum call_step call_step;
    struct fleet_waiter waiter;
    const struct fleet_ready *ready;
    const struct upstream_side *up;
    struct speech *speech;              /* NULL: forwarded from OpenAI to OpenAI */
    const struct delta_sink *sink;      /* NULL: forwarded, not translated */
    str slices[OPENAI_MAX_SLICES];
    size_t n_slices;
    struct http_exchange *x;
    bool attempted;                     /* an intent was written */

    /* STREAM */
    int status;                         /* the upstream's */
    bool upstream_ended, paused, reply_started, holding, sse_open, lines_open;
    enum err upstream_err;
    struct sse sse;
    struct ndjson lines;                /* in place of it where the upstream speaks so */
    struct reply reply;
    str upstream_type, retry_after;
    struct buf taken;                   /* what the client was or will be given: for the record, and the reply itself when not streamed */
    struct buf held;                    /* the end of a stream, until its row is on disk */
    size_t taken_bytes;                 /* all of it, also past the record's limit */

    /* RECORD */
    struct ledger_entry intent, end;
    int places;                         /* reserved in the ledger's queue and not used yet */
    int in_ledger;                      /* entries that have not come back */
    bool recorded, gone;
    int http_status;
    str slice_request, slice_response, body;     /* of the entries; body: the error body that the client gets */
    char client_text[160];

    int64_t begin_us, asked_us, queue_us, sent_us, first_us, wall_us;   /* asked: an engine for room; queue: how long that took */
};

/* gate.c */
struct gate_req *gate_begin(struct gate_loop *l, struct http_req *http, enum dialect dialect, enum op op);
void gate_step(struct gate_req *r);
enum err gate_fail(struct gate_req *r, enum err e, str message);         /* notes the text, returns e */

/* attempt.c: CALL and STREAM */
enum err gate_call(struct gate_req *r);
enum err gate_stream(struct gate_req *r);
void gate_attempt_abort(struct gate_req *r);     /* nothing more from engine or upstream */
void gate_on_drain(struct gate_req *r);

/* record.c: RECORD */
enum err gate_record(struct gate_req *r);
void gate_submit_intent(struct gate_req *r);
str gate_reply_fields(struct gate_req *r);
int64_t gate_overhead_us(const struct gate_req *r);     /* hearth's own part of the time before the request was sent */

/* loop.c */
void gate_want_flush(struct gate_loop *l, bool now);
enum err gate_pool(struct gate_view *v, const struct model *m, struct http_pool **out);
void gate_view_unref(struct gate_view *v);
void gate_end(struct gate_req *r);               /* gives everything back */

/* endpoints.c */
void gate_on_request(void *ctx, struct http_req *http);
int gate_check_head(void *ctx, const struct http_head *h, bool via_unix, const char **what);
void gate_on_reject(void *ctx, str path, int status, const char *what, struct arena *a, str *content_type, str *body);

#endif
