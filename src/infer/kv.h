/* infer/kv.h: the KV cache: sequences, and what is kept of ended calls for those that begin alike. Includes: core, llama (in kv.c).
 *
 *   kv_open    a sequence for a prompt, with as much of it in place as is known from before
 *   kv_grew    … has so many tokens now          kv_cut    only so many        kv_head   its beginning is worth keeping by itself
 *   kv_close   the call has ended: the sequence is kept as an entry, or given up
 *
 * Two layouts. By default each sequence has its own room (a stream of libllama): attention reads only that, and sixteen streams run
 * 15 % faster than in one buffer. Where the room is less than sequences × context (kv_options.pool), all share one: a beginning that two
 * sequences share is there once (copy on write), room is planned by pages.h, and the engine may have to put a call off.
 *
 * What is kept is an entry of prefix.h, by owner: the sequence itself as long as nobody needs it; then its state in memory, up to
 * kv_options.memory, least recently used first to go. An entry that a prompt continues is taken over; from one that it
 * shares only a part with, that part is copied. Entries with a name may also be in a file (spill.h), for the next start.
 *
 * Owners: a prompt finds entries of its own owner, and, for as many tokens as its head has, those of `shared`. Whoever calls makes sure that
 * owners differ by caller and adapter.
 *
 * One thread. Models whose memory cannot be cut (recurrent, hybrid) get no reuse; those with a sliding window only where the window
 * is whole. */
#ifndef HEARTH_INFER_KV_H
#define HEARTH_INFER_KV_H

#include "core/err.h"

struct llama_context;
struct kv;
struct spill;

#define KV_LEAST   24                   /* a shorter beginning is not worth the trouble */
#define KV_ENTRIES 512
#define KV_PARKED  32                   /* sequences beside those of running calls, where all share one room */

struct kv_options {
    int sequences;                      /* of calls at once */
    size_t context;                     /* tokens of one, at most */
    size_t pool;                        /* tokens of all; 0: each has its own room */
    size_t memory;                      /* bytes of states outside of the cache */
    struct spill *spill;                /* NULL: none. Not owned */
    bool no_reuse;
};
/* libllama's n_seq_max for these. */
int kv_sequences(const struct kv_options *o);
enum err kv_new(struct llama_context *ctx, const struct kv_options *o, struct kv **out);
void kv_free(struct kv *kv);            /* NULL is fine */

struct kv_prompt {
    uint64_t owner;
    uint64_t shared;                    /* owner of what callers share, by a name; 0: none */
    const int32_t *tokens;              /* stays, and what is made is appended to it, until kv_close() */
    size_t n;
    size_t head;                        /* of those, the leading tokens that the system's messages gave; 0: none */
};
/* *reused tokens are in place, fewer than n. ERR_AGAIN: no sequence or no room now. */
enum err kv_open(struct kv *kv, const struct kv_prompt *p, int *seq, size_t *reused);
/* Another call reads a prompt now of which this one could reuse a good part soon: it is worth waiting. */
bool kv_soon(const struct kv *kv, const struct kv_prompt *p);
/* Room for n tokens in all. ERR_AGAIN: there is none, whatever was given up for it. */
enum err kv_reserve(struct kv *kv, int seq, size_t n);
void kv_grew(struct kv *kv, int seq, size_t n);
void kv_cut(struct kv *kv, int seq, size_t n);
/* True where a copy of the head would be new: the engine then reads to its end, calls kv_head(), and goes on. */
bool kv_wants_head(const struct kv *kv, const struct kv_prompt *p);
void kv_head(struct kv *kv, int seq);
void kv_close(struct kv *kv, int seq, bool keep);

struct kv_look { size_t entries, resident, bytes; uint64_t taken, copied, restored, dropped; };
struct kv_look kv_look(const struct kv *kv);

/* Who has what, asked of libllama itself where it tells: a mistake in here shows before memory runs out. Looks at every sequence. */
struct kv_census {
    size_t sequences, open, resident;   /* in all, of running calls, of entries; the others are free */
    size_t astray;                      /* free ones that are not empty, and entries that are not as long as they should be: none */
    size_t room, left, lost;            /* tokens of a shared room (0: each has its own), those that nobody has, those that are nobody's and not free: none */
};
struct kv_census kv_census(const struct kv *kv);

#endif
