/* Page numbers on a stack of free ones, a count for each page, a table of pages for each sequence. */
#include "infer/pages.h"

#include <assert.h>
#include <stdlib.h>

struct pages {
    int32_t total, n_free, per_sequence, sequences;
    int32_t *free;                      /* a stack */
    int32_t *refs;                      /* of each page */
    int32_t *table;                     /* per_sequence places for each sequence */
    size_t *length;                     /* of each sequence, in tokens */
};

static size_t pages_of(size_t tokens) { return (tokens + PAGE_TOKENS - 1) / PAGE_TOKENS; }

enum err pages_new(size_t tokens, int sequences, size_t longest, struct pages **out)
{
    struct pages *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_MEMORY;
    p->total = p->n_free = (int32_t)(tokens / PAGE_TOKENS);
    p->per_sequence = (int32_t)pages_of(longest);
    p->sequences = sequences;
    p->free = calloc((size_t)p->total + 1, sizeof *p->free);
    p->refs = calloc((size_t)p->total + 1, sizeof *p->refs);
    p->table = calloc((size_t)sequences * (size_t)p->per_sequence + 1, sizeof *p->table);
    p->length = calloc((size_t)sequences + 1, sizeof *p->length);
    if (!p->free || !p->refs || !p->table || !p->length) {
        pages_free(p);
        return ERR_MEMORY;
    }
    for (int32_t i = 0; i < p->total; i++)
        p->free[i] = i;
    *out = p;
    return ERR_OK;
}

void pages_free(struct pages *p)
{
    if (!p)
        return;
    free(p->free);
    free(p->refs);
    free(p->table);
    free(p->length);
    free(p);
}

static int32_t *table_of(const struct pages *p, int seq) { return p->table + (size_t)seq * (size_t)p->per_sequence; }

enum err pages_resize(struct pages *p, int seq, size_t n)
{
    int32_t *table = table_of(p, seq);
    size_t has = pages_of(p->length[seq]), needs = pages_of(n);
    assert(needs <= (size_t)p->per_sequence);
    if (needs > has && needs - has > (size_t)p->n_free)
        return ERR_BUSY;
    for (; has < needs; has++) {
        int32_t page = p->free[--p->n_free];
        p->refs[page] = 1;
        table[has] = page;
    }
    for (; has > needs; has--) {
        int32_t page = table[has - 1];
        if (--p->refs[page] == 0)
            p->free[p->n_free++] = page;
    }
    p->length[seq] = n;
    return ERR_OK;
}

enum err pages_copy(struct pages *p, int from, int to, size_t n)
{
    size_t whole = n / PAGE_TOKENS, rest = n % PAGE_TOKENS ? 1 : 0;
    const int32_t *source = table_of(p, from);
    int32_t *table = table_of(p, to);
    assert(p->length[to] == 0 && p->length[from] >= n);
    if (rest > (size_t)p->n_free)
        return ERR_BUSY;
    for (size_t i = 0; i < whole; i++) {
        table[i] = source[i];
        p->refs[source[i]]++;
    }
    p->length[to] = whole * PAGE_TOKENS;
    return pages_resize(p, to, n);
}

size_t pages_length(const struct pages *p, int seq) { return p->length[seq]; }
size_t pages_left(const struct pages *p) { return (size_t)p->n_free * PAGE_TOKENS; }

size_t pages_own(const struct pages *p, int seq)
{
    const int32_t *table = table_of(p, seq);
    size_t own = 0;
    for (size_t i = 0; i < pages_of(p->length[seq]); i++)
        own += p->refs[table[i]] == 1;
    return own * PAGE_TOKENS;
}

/* A page is taken as long as its count says so, and the counts are what the tables hold. */
size_t pages_lost(const struct pages *p)
{
    int64_t counted = 0, held = 0, taken = p->total - p->n_free;
    for (int32_t i = 0; i < p->total; i++) {
        counted += p->refs[i];
        taken -= p->refs[i] > 0;
    }
    for (int32_t i = 0; i < p->sequences; i++)
        held += (int64_t)pages_of(p->length[i]);
    return (size_t)(llabs(counted - held) + llabs(taken)) * PAGE_TOKENS;
}
