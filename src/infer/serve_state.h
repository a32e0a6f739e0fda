/* infer/serve_state.h: what the files of the engine's server share; private to them. Includes: core, wire, io, http.
 *
 *   serve.c      the process, its routes and its end
 *   generate.c   chat and completions
 *   embed.c      embeddings, tokens and their number */
#ifndef HEARTH_INFER_SERVE_STATE_H
#define HEARTH_INFER_SERVE_STATE_H

#include "core/clock.h"
#include "http/server.h"
#include "infer/constraint.h"
#include "infer/engine.h"
#include "infer/identity.h"
#include "infer/serve.h"
#include "wire/openai.h"

#define REPLY_MAX (64u << 20)

struct serve {
    const struct serve_config *config;
    struct io_loop *loop;
    struct http_server *server;
    struct engine *engine;
    struct io_wake wake;
    struct io_signal term, interrupt;
    struct io_timer drain, heads;
    struct generation *silent;          /* streams whose head has not left yet */
    struct rng rng;
    struct buf facts, props;
    struct grammar_cache grammars;
    char fingerprint[IDENTITY_FINGERPRINT], peer[32];
    int64_t started_s;
    size_t calls;                       /* jobs submitted and not done */
    bool known, draining, stopping;
    int handles, status;
};


void serve_answer(struct http_req *r, int status, str body);
void serve_answer_error(struct http_req *r, enum err e, str message, str param);
void serve_answer_busy(struct serve *s, struct http_req *r);     /* ERR_BUSY, with when to come back */

/* What the engine works on for a request. A request's data is the serve_job that hears when its client leaves or reads on. */
struct serve_job {
    struct engine_job job;
    void (*on_news)(struct serve *s, struct serve_job *j);
    void (*on_gone)(struct serve *s, struct serve_job *j);
    void (*on_drain)(struct serve *s, struct serve_job *j);      /* NULL: it writes all at once */
};
uint64_t serve_name_hash(str name);                              /* of a caller, of something shared: the same in every process */
void serve_news(struct serve *s, struct engine_job *j);
enum err serve_may_submit(struct serve *s, size_t jobs);         /* ERR_LOADING, ERR_BUSY, ERR_ENGINE */

/* generate.c */
void serve_generate(struct serve *s, struct http_req *r, enum op op);
void serve_on_heads(struct io_timer *t);                         /* streams that have been silent for too long */

/* embed.c */
void serve_embed(struct serve *s, struct http_req *r);
void serve_tokenize(struct serve *s, struct http_req *r);
void serve_detokenize(struct serve *s, struct http_req *r);
void serve_count(struct serve *s, struct http_req *r);

#endif
