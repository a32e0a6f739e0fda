/* Sequences of libllama's memory, and the states that were taken out of it. */
#include "infer/kv.h"

#include "infer/pages.h"
#include "infer/prefix.h"
#include "infer/spill.h"

#include <assert.h>
#include <llama.h>
#include <stdlib.h>

#define SEQUENCES_MAX 256               /* LLAMA_MAX_SEQ */
#define SOON_LEAST    64                /* tokens that waiting for another call must save */

struct entry {
    struct prefix_entry at;             /* first: the index gives these */
    int seq;                            /* in the cache; -1: not */
    uint8_t *state;                     /* in memory; NULL: not */
    size_t bytes;
    bool head;                          /* the beginning of many: it stays when one of them ends */
    int spilled;                        /* its number in the file; -1: not there */
};

struct sequence {
    bool open;
    struct kv_prompt prompt;            /* while open */
    size_t n;                           /* tokens in the cache */
    struct entry *entry;                /* what it is kept as, while not open; NULL: free */
};

struct kv {
    struct llama_context *ctx;
    struct kv_options o;
    struct pages *pages;                /* NULL: each sequence has its own room */
    bool reuse;
    int32_t window;                     /* of a model with sliding attention; 0: none */
    int n;
    struct sequence seqs[SEQUENCES_MAX];
    struct prefix_index index;
    struct prefix_entry *list[KV_ENTRIES];
    const struct entry *pinned;         /* a prompt is being started from it: it stays */
    size_t bytes;                       /* of all states in memory */
    struct kv_look counts;
};

static llama_memory_t memory(const struct kv *kv) { return llama_get_memory(kv->ctx); }

int kv_sequences(const struct kv_options *o)
{
    if (!o->pool)
        return o->sequences;
    int most = (int)llama_max_parallel_sequences(), n = o->sequences + KV_PARKED;
    return n < most ? n : most;
}

/* ---- entries ---- */

static void sequence_clear(struct kv *kv, int seq)
{
    llama_memory_seq_rm(memory(kv), seq, -1, -1);
    if (kv->pages)
        (void)pages_resize(kv->pages, seq, 0);
    kv->seqs[seq] = (struct sequence){ .open = false };
}

static void entry_forget_state(struct kv *kv, struct entry *e)
{
    kv->bytes -= e->bytes;
    free(e->state);
    e->state = NULL;
    e->bytes = 0;
}

static void entry_drop(struct kv *kv, struct entry *e)
{
    if (e->seq >= 0)
        sequence_clear(kv, e->seq);
    entry_forget_state(kv, e);
    prefix_remove(&kv->index, &e->at);
    free((void *)e->at.tokens);
    free(e);
    kv->counts.dropped++;
}

static bool is_resident(const struct entry *e) { return e->seq >= 0; }
static bool is_stored(const struct entry *e) { return e->state != NULL; }
static bool is_any(const struct entry *e) { (void)e; return true; }

static struct entry *entry_oldest(const struct kv *kv, bool (*which)(const struct entry *), const struct entry *except)
{
    struct entry *oldest = NULL;
    for (size_t i = 0; i < kv->index.n; i++) {
        struct entry *e = (struct entry *)kv->list[i];
        if (e != except && e != kv->pinned && which(e) && (!oldest || e->at.used < oldest->at.used))
            oldest = e;
    }
    return oldest;
}

/* A list that is full loses its oldest. */
static struct entry *entry_new(struct kv *kv, uint64_t owner, const int32_t *tokens, size_t n)
{
    struct entry *e = calloc(1, sizeof *e);
    int32_t *copy = malloc(n * sizeof *copy);
    if (!e || !copy) {
        free(e);
        free(copy);
        return NULL;
    }
    memcpy(copy, tokens, n * sizeof *copy);
    if (kv->index.n == kv->index.cap)
        entry_drop(kv, entry_oldest(kv, is_any, NULL));
    *e = (struct entry){ .at = { .owner = owner, .tokens = copy, .n = n }, .seq = -1, .spilled = -1 };
    (void)prefix_add(&kv->index, &e->at);
    return e;
}

/* ---- states in memory ---- */

static bool memory_room(struct kv *kv, size_t bytes, const struct entry *except)
{
    struct entry *e;
    if (bytes > kv->o.memory)
        return false;
    while (kv->bytes + bytes > kv->o.memory && (e = entry_oldest(kv, is_stored, except))) {
        entry_forget_state(kv, e);
        if (e->seq < 0 && e->spilled < 0)
            entry_drop(kv, e);
    }
    return kv->bytes + bytes <= kv->o.memory;
}

/* The state of a sequence, for this entry. False: it is too large, or there is no memory. */
static bool entry_store(struct kv *kv, struct entry *e, int seq)
{
    if (e->state)
        return true;
    size_t bytes = llama_state_seq_get_size(kv->ctx, seq);
    if (!memory_room(kv, bytes, e))
        return false;
    uint8_t *p = malloc(bytes);
    bytes = p ? llama_state_seq_get_data(kv->ctx, p, bytes, seq) : 0;
    if (!bytes) {
        free(p);
        return false;
    }
    e->state = p;
    e->bytes = bytes;
    kv->bytes += bytes;
    return true;
}

/* The same out of the file. False: it was not whole. */
static bool entry_load(struct kv *kv, struct entry *e)
{
    size_t bytes = spill_bytes(kv->o.spill, e->spilled);
    if (!memory_room(kv, bytes, e))
        return false;
    uint8_t *p = malloc(bytes);
    if (!p || !spill_read(kv->o.spill, e->spilled, p)) {
        free(p);
        return false;
    }
    e->state = p;
    e->bytes = bytes;
    kv->bytes += bytes;
    return true;
}

/* Its sequence is needed for something else. It may be gone afterwards. */
static void entry_demote(struct kv *kv, struct entry *e)
{
    bool kept = entry_store(kv, e, e->seq) || e->spilled >= 0;
    sequence_clear(kv, e->seq);
    e->seq = -1;
    if (!kept)
        entry_drop(kv, e);
}

/* ---- room ---- */

enum err kv_reserve(struct kv *kv, int seq, size_t n)
{
    if (!kv->pages || n <= pages_length(kv->pages, seq))
        return ERR_OK;
    while (pages_resize(kv->pages, seq, n) != ERR_OK) {
        struct entry *e = entry_oldest(kv, is_resident, NULL);
        if (!e)
            return ERR_AGAIN;
        entry_demote(kv, e);
    }
    return ERR_OK;
}

/* How many groups of neighbours the open sequences form, should this one be open too: libllama runs each group by itself. */
static int groups_with(const struct kv *kv, int seq)
{
    int groups = 0;
    for (int i = 0; i < kv->n; i++) {
        bool here = kv->seqs[i].open || i == seq, before = i > 0 && (kv->seqs[i - 1].open || i - 1 == seq);
        groups += here && !before;
    }
    return groups;
}

/* A sequence for a new call: one beside the others, rather a free one, else that of the oldest entry. -1: none. */
static int sequence_take(struct kv *kv, const struct entry *except)
{
    int best = -1, best_groups = 0, open = 0;
    for (int i = 0; i < kv->n; i++) {
        const struct sequence *s = &kv->seqs[i], *b = &kv->seqs[best < 0 ? 0 : best];
        open += s->open;
        if (s->open || (s->entry && s->entry == except))
            continue;
        int groups = kv->pages ? 0 : groups_with(kv, i);
        uint64_t used = s->entry ? s->entry->at.used : 0, best_used = b->entry ? b->entry->at.used : 0;
        if (best < 0 || groups < best_groups || (groups == best_groups && used < best_used)) {
            best = i;
            best_groups = groups;
        }
    }
    if (best < 0 || open >= kv->o.sequences)
        return -1;
    if (kv->seqs[best].entry)
        entry_demote(kv, kv->seqs[best].entry);
    return best;
}

/* ---- what a prompt can start from ---- */

struct source { struct entry *entry; int seq; size_t n; };     /* n tokens, of an entry or of a sequence that is open; n 0: nothing */

/* With a sliding window, older positions may be gone: those that the tokens after the first n will look at must be there. */
static bool window_is_whole(const struct kv *kv, int seq, size_t n)
{
    int64_t needed = (int64_t)n - kv->window;
    return !kv->window || llama_memory_seq_pos_min(memory(kv), seq) <= (needed < 0 ? 0 : needed);
}

static bool is_usable(const struct kv *kv, const struct entry *e, size_t n)
{
    if (e->seq >= 0 && window_is_whole(kv, e->seq, n))
        return true;
    return (e->state || e->spilled >= 0) && (!kv->window || n == e->at.n);      /* a state holds only the last window */
}

static int cost_of(const struct entry *e) { return e->seq >= 0 ? 0 : e->state ? 1 : 2; }

static struct source source_among(const struct kv *kv, uint64_t owner, const int32_t *tokens, size_t n)
{
    struct prefix_match m = prefix_find(&kv->index, owner, tokens, n);
    struct source s = { NULL, -1, 0 };
    for (size_t i = m.first; i < m.end; i++) {
        struct entry *e = (struct entry *)kv->list[i];
        if (is_usable(kv, e, m.n) && (!s.entry || cost_of(e) < cost_of(s.entry) || (cost_of(e) == cost_of(s.entry) && e->at.n < s.entry->at.n)))
            s = (struct source){ e, e->seq, m.n };
    }
    return s;
}

/* At least the last token of the prompt must be read, to know what comes after it. */
static struct source source_find(const struct kv *kv, const struct kv_prompt *p)
{
    struct source best = { NULL, -1, 0 };
    if (!kv->reuse || p->n < KV_LEAST)
        return best;
    best = source_among(kv, p->owner, p->tokens, p->n - 1);
    if (p->shared && p->head > best.n) {
        struct source s = source_among(kv, p->shared, p->tokens, p->head < p->n ? p->head : p->n - 1);
        best = s.n > best.n ? s : best;
    }
    for (int i = 0; i < kv->n; i++) {
        const struct sequence *s = &kv->seqs[i];
        if (!s->open || s->prompt.owner != p->owner)
            continue;
        size_t same = prefix_common(p->tokens, p->n - 1, s->prompt.tokens, s->n);
        if (same > best.n && window_is_whole(kv, i, same))
            best = (struct source){ NULL, i, same };
    }
    return best.n < KV_LEAST ? (struct source){ NULL, -1, 0 } : best;
}

bool kv_soon(const struct kv *kv, const struct kv_prompt *p)
{
    size_t now = source_find(kv, p).n;
    if (!kv->reuse || p->n < SOON_LEAST)
        return false;
    for (int i = 0; i < kv->n; i++) {
        const struct sequence *s = &kv->seqs[i];
        if (s->open && s->prompt.owner == p->owner && s->n < s->prompt.n &&
            prefix_common(p->tokens, p->n - 1, s->prompt.tokens, s->prompt.n) >= now + SOON_LEAST)
            return true;
    }
    return false;
}

/* ---- putting it in place ---- */

/* From bytes. The sequence is empty afterwards where it fails. */
static bool restore(struct kv *kv, int seq, const uint8_t *state, size_t bytes, size_t has, size_t n)
{
    bool ok = kv_reserve(kv, seq, has) == ERR_OK && llama_state_seq_set_data(kv->ctx, state, bytes, seq) > 0 &&
              llama_memory_seq_pos_max(memory(kv), seq) == (llama_pos)has - 1;
    if (!ok) {
        sequence_clear(kv, seq);
        return false;
    }
    if (n < has)
        llama_memory_seq_rm(memory(kv), seq, (llama_pos)n, -1);
    if (kv->pages)
        (void)pages_resize(kv->pages, seq, n);
    kv->counts.restored++;
    return true;
}

static bool copy_shared(struct kv *kv, int from, int to, size_t n)
{
    while (pages_copy(kv->pages, from, to, n) != ERR_OK) {
        struct entry *e = entry_oldest(kv, is_resident, NULL);
        if (!e)
            return false;
        entry_demote(kv, e);
    }
    llama_memory_seq_cp(memory(kv), from, to, 0, (llama_pos)n);
    kv->counts.copied++;
    return true;
}

static bool copy_of_open(struct kv *kv, int from, int to, size_t n)
{
    size_t bytes = llama_state_seq_get_size(kv->ctx, from);
    uint8_t *p = malloc(bytes);
    bytes = p ? llama_state_seq_get_data(kv->ctx, p, bytes, from) : 0;
    bool ok = bytes && restore(kv, to, p, bytes, kv->seqs[from].n, n);
    free(p);
    return ok;
}

/* n tokens of the source into an empty sequence. */
static bool put_in_place(struct kv *kv, const struct source *s, int seq)
{
    struct entry *e = s->entry;
    if (kv->pages && s->seq >= 0)
        return copy_shared(kv, s->seq, seq, s->n);
    if (!e)
        return copy_of_open(kv, s->seq, seq, s->n);
    if (!e->state && e->seq < 0 && !entry_load(kv, e)) {
        kv->pinned = NULL;              /* what the file has of it is no use */
        entry_drop(kv, e);
        return false;
    }
    if (!e->state && !entry_store(kv, e, e->seq))
        return copy_of_open(kv, e->seq, seq, s->n);
    return restore(kv, seq, e->state, e->bytes, e->at.n, s->n);
}

/* The prompt continues all of an entry, which is nothing without it then. */
static int take_over(struct kv *kv, struct entry *e)
{
    int seq = e->seq;
    e->seq = -1;
    kv->seqs[seq].entry = NULL;
    entry_drop(kv, e);
    kv->counts.dropped--;
    kv->counts.taken++;
    return seq;
}

static bool is_taken_over(const struct source *s) { return s->entry && s->entry->seq >= 0 && s->n == s->entry->at.n && !s->entry->head; }

/* A sequence of its own for the prompt, with a copy of what it can start from. */
static enum err open_copy(struct kv *kv, const struct kv_prompt *p, int *seq, size_t *n)
{
    struct source s = source_find(kv, p);
    kv->pinned = s.entry;
    if (s.entry)
        prefix_touch(&kv->index, &s.entry->at);
    *seq = sequence_take(kv, s.entry);
    if (*seq < 0 && s.entry) {          /* the only one left is the source itself: it goes to memory, or is lost */
        kv->pinned = NULL;
        *seq = sequence_take(kv, NULL);
        s = source_find(kv, p);
        kv->pinned = s.entry;
    }
    if (*seq < 0)
        return ERR_AGAIN;
    *n = s.n && put_in_place(kv, &s, *seq) ? s.n : 0;
    return ERR_OK;
}

enum err kv_open(struct kv *kv, const struct kv_prompt *p, int *seq, size_t *reused)
{
    struct source s = source_find(kv, p);
    enum err e = ERR_OK;
    size_t n = s.n;
    if (is_taken_over(&s))
        *seq = take_over(kv, s.entry);
    else
        e = open_copy(kv, p, seq, &n);
    if (e == ERR_OK && kv_reserve(kv, *seq, p->n) != ERR_OK && n && kv->pinned) {
        sequence_clear(kv, *seq);       /* the source takes room that is needed: without it, then */
        kv->pinned = NULL;
        n = 0;
    }
    kv->pinned = NULL;
    if (e != ERR_OK)
        return e;
    kv->seqs[*seq] = (struct sequence){ .open = true, .prompt = *p, .n = n };
    if (kv_reserve(kv, *seq, p->n) != ERR_OK) {
        kv_close(kv, *seq, true);
        return ERR_AGAIN;
    }
    *reused = n;
    return ERR_OK;
}

/* ---- while it runs ---- */

void kv_grew(struct kv *kv, int seq, size_t n) { kv->seqs[seq].n = n; }

void kv_cut(struct kv *kv, int seq, size_t n)
{
    llama_memory_seq_rm(memory(kv), seq, (llama_pos)n, -1);
    if (kv->pages && n < pages_length(kv->pages, seq))
        (void)pages_resize(kv->pages, seq, n);
    kv->seqs[seq].n = n;
}

static uint64_t head_owner(const struct kv_prompt *p) { return p->shared ? p->shared : p->owner; }

static struct entry *entry_equal(const struct kv *kv, uint64_t owner, const int32_t *tokens, size_t n)
{
    struct prefix_match m = prefix_find(&kv->index, owner, tokens, n);
    for (size_t i = m.first; m.n == n && i < m.end; i++)
        if (kv->list[i]->n == n)
            return (struct entry *)kv->list[i];
    return NULL;
}

bool kv_wants_head(const struct kv *kv, const struct kv_prompt *p)
{
    return kv->reuse && p->head >= KV_LEAST && p->head < p->n && !entry_equal(kv, head_owner(p), p->tokens, p->head);
}

void kv_head(struct kv *kv, int seq)
{
    const struct sequence *s = &kv->seqs[seq];
    const struct kv_prompt *p = &s->prompt;
    assert(s->open && s->n == p->head);
    if (!kv_wants_head(kv, p))
        return;
    struct entry *e = entry_new(kv, head_owner(p), p->tokens, p->head);
    if (!e)
        return;
    e->head = true;
    if (p->shared && kv->o.spill && entry_store(kv, e, seq))
        e->spilled = spill_write(kv->o.spill, &e->at, e->state, e->bytes);
    int to = -1;
    for (int i = 0; kv->pages && i < kv->n && to < 0; i++)
        if (!kv->seqs[i].open && !kv->seqs[i].entry)
            to = i;
    if (to >= 0 && copy_shared(kv, seq, to, p->head)) {
        e->seq = to;
        kv->seqs[to] = (struct sequence){ .n = p->head, .entry = e };
    } else if (!entry_store(kv, e, seq)) {
        entry_drop(kv, e);
    }
}

/* ---- the end ---- */

/* Entries that the new one holds all of, but heads, are kept for nothing. */
static void drop_covered(struct kv *kv, const struct sequence *s)
{
    for (size_t i = 0; i < kv->index.n;) {
        struct entry *e = (struct entry *)kv->list[i];
        if (e->at.owner == s->prompt.owner && !e->head && e->at.n <= s->n && prefix_common(e->at.tokens, e->at.n, s->prompt.tokens, s->n) == e->at.n)
            entry_drop(kv, e);
        else
            i++;
    }
}

void kv_close(struct kv *kv, int seq, bool keep)
{
    struct sequence *s = &kv->seqs[seq];
    assert(s->open);
    struct entry *e = NULL;
    if (keep && kv->reuse && s->n >= KV_LEAST && prefix_find(&kv->index, s->prompt.owner, s->prompt.tokens, s->n).n < s->n) {
        drop_covered(kv, s);
        e = entry_new(kv, s->prompt.owner, s->prompt.tokens, s->n);
    }
    if (!e) {
        sequence_clear(kv, seq);
        return;
    }
    e->seq = seq;
    if (kv->pages)
        (void)pages_resize(kv->pages, seq, s->n);
    *s = (struct sequence){ .n = e->at.n, .entry = e };
}

/* What an earlier start has left in the file. */
static void take_spilled(struct kv *kv)
{
    struct prefix_entry at;
    for (int i = 0; kv->o.spill && i < spill_count(kv->o.spill) && kv->index.n < kv->index.cap; i++) {
        if (!spill_tokens(kv->o.spill, i, &at))
            continue;
        struct entry *e = entry_new(kv, at.owner, at.tokens, at.n);
        if (!e)
            return;
        e->spilled = i;
        e->head = true;
    }
}

enum err kv_new(struct llama_context *ctx, const struct kv_options *o, struct kv **out)
{
    const struct llama_model *m = llama_get_model(ctx);
    struct kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return ERR_MEMORY;
    *kv = (struct kv){ .ctx = ctx, .o = *o, .n = kv_sequences(o), .window = llama_model_n_swa(m),
                       .reuse = !o->no_reuse && !llama_model_is_recurrent(m) && !llama_model_is_hybrid(m) };
    kv->index = (struct prefix_index){ .list = kv->list, .cap = KV_ENTRIES };
    if (o->pool && pages_new(o->pool, kv->n, o->context, &kv->pages) != ERR_OK) {
        free(kv);
        return ERR_MEMORY;
    }
    take_spilled(kv);
    *out = kv;
    return ERR_OK;
}

void kv_free(struct kv *kv)
{
    if (!kv)
        return;
    for (int i = 0; i < kv->n; i++)
        if (kv->seqs[i].open)
            sequence_clear(kv, i);
    while (kv->index.n)
        entry_drop(kv, (struct entry *)kv->list[0]);
    pages_free(kv->pages);
    free(kv);
}

struct kv_look kv_look(const struct kv *kv)
{
    struct kv_look l = kv->counts;
    l.entries = kv->index.n;
    l.bytes = kv->bytes;
    for (size_t i = 0; i < kv->index.n; i++)
        l.resident += ((struct entry *)kv->list[i])->seq >= 0;
    return l;
}

/* How long libllama thinks that it is, and the mirror of its pages. */
static bool is_as_long(const struct kv *kv, int seq, size_t n)
{
    return llama_memory_seq_pos_max(memory(kv), seq) + 1 == (llama_pos)n && (!kv->pages || pages_length(kv->pages, seq) == n);
}

struct kv_census kv_census(const struct kv *kv)
{
    struct kv_census c = { .sequences = (size_t)kv->n, .room = kv->o.pool };
    for (int i = 0; i < kv->n; i++) {
        const struct sequence *s = &kv->seqs[i];
        c.open += s->open;
        c.resident += s->entry != NULL;
        c.astray += !s->open && !is_as_long(kv, i, s->entry ? s->n : 0);
    }
    if (kv->pages) {
        c.left = pages_left(kv->pages);
        c.lost = pages_lost(kv->pages);
    }
    return c;
}
