/* core/arena.c: blocks that double, from 8 KiB up to one MiB, so that small lives stay small and long ones take few blocks. */
#include "core/arena.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK_FIRST = 8192, BLOCK_LARGEST = 1 << 20 };

struct arena_block {
    struct arena_block *next;
    size_t size;                        /* bytes after this header */
    _Alignas(max_align_t) char mem[];
};

static atomic_size_t fail_after = SIZE_MAX;

void memory_fail_after(size_t n) { atomic_store(&fail_after, n); }

bool memory_made_to_fail(void)
{
    size_t left = atomic_load_explicit(&fail_after, memory_order_relaxed);
    if (left == SIZE_MAX)
        return false;
    if (!left)
        return true;
    atomic_store(&fail_after, left - 1);
    return false;
}

void arena_init(struct arena *a, size_t limit) { *a = (struct arena){ .budget = limit }; }

static void use_block(struct arena *a, struct arena_block *b)
{
    a->base = a->at = b->mem;
    a->end = b->mem + b->size;
}

void arena_reset(struct arena *a)
{
    struct arena_block *b = a->blocks;
    a->failed = false;
    if (!b) {
        a->at = a->base;
        return;
    }
    while (b->next) {
        struct arena_block *older = b->next;
        a->budget += b->size;
        free(b);
        b = older;
    }
    a->blocks = b;
    use_block(a, b);
}

void arena_free(struct arena *a)
{
    a->failed = false;
    while (a->blocks) {
        struct arena_block *older = a->blocks->next;
        a->budget += a->blocks->size;
        free(a->blocks);
        a->blocks = older;
        if (!older)
            a->base = a->at = a->end = NULL;
    }
}

static bool more(struct arena *a, size_t n)
{
    size_t size = a->blocks ? a->blocks->size * 2 : BLOCK_FIRST;
    if (size > BLOCK_LARGEST)
        size = BLOCK_LARGEST;
    if (size > a->budget)
        size = a->budget;
    if (size < n)
        size = n;
    if (size > a->budget || memory_made_to_fail())
        return false;
    struct arena_block *b = malloc(sizeof *b + size);
    if (!b)
        return false;
    *b = (struct arena_block){ .next = a->blocks, .size = size };
    a->blocks = b;
    a->budget -= size;
    use_block(a, b);
    return true;
}

void *arena_alloc(struct arena *a, size_t n, size_t align)
{
    for (int tries = 0; tries < 2; tries++) {
        size_t pad = (size_t)(-(uintptr_t)a->at & (align - 1));
        size_t room = (size_t)(a->end - a->at);
        if (a->at && pad <= room && n <= room - pad) {
            char *p = a->at + pad;
            a->at = p + n;
            return p;
        }
        /* A block from malloc is aligned for every type, and one byte keeps empty results apart from NULL. */
        if (n > SIZE_MAX / 2 || !more(a, n ? n : 1))
            break;
    }
    a->failed = true;
    return NULL;
}

void *arena_grow(struct arena *a, void *old, size_t from, size_t to, size_t align)
{
    char *p = old;
    if (p && p + from == a->at && to >= from && to - from <= (size_t)(a->end - a->at)) {
        a->at += to - from;
        return p;
    }
    char *fresh = arena_alloc(a, to, align);
    if (fresh && p)
        memcpy(fresh, p, from < to ? from : to);
    return fresh;
}

void *arena_room(struct arena *a, void *list, size_t n, size_t *cap, size_t size, size_t align)
{
    size_t more = *cap ? *cap * 2 : 16;
    if (n < *cap)
        return list;
    void *grown = arena_grow(a, list, *cap * size, more * size, align);
    *cap = grown ? more : *cap;
    return grown;
}

void *arena_zeroed(struct arena *a, size_t size, size_t count, size_t align)
{
    size_t n;
    if (__builtin_mul_overflow(size, count, &n)) {
        a->failed = true;
        return NULL;
    }
    void *p = arena_alloc(a, n, align);
    return p ? memset(p, 0, n) : NULL;
}

str arena_str(struct arena *a, str s)
{
    char *p = arena_alloc(a, s.n, 1);
    if (!p)
        return STR_NONE;
    if (s.n)
        memcpy(p, s.p, s.n);
    return (str){ p, s.n };
}

str arena_cat(struct arena *a, const str *parts, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += parts[i].n;
    char *p = arena_alloc(a, sum, 1), *at = p;
    if (!p)
        return STR_NONE;
    for (size_t i = 0; i < n; i++)
        if (parts[i].n) {
            memcpy(at, parts[i].p, parts[i].n);
            at += parts[i].n;
        }
    return (str){ p, sum };
}

char *arena_cstr(struct arena *a, str s)
{
    char *p = arena_alloc(a, s.n < SIZE_MAX ? s.n + 1 : SIZE_MAX, 1);
    if (!p)
        return NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

str arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    va_list again;
    size_t room = a->at ? (size_t)(a->end - a->at) : 0;
    va_copy(again, ap);
    /* Mostly it fits behind what is there: then it was written once, and what follows only takes the place. */
    int n = vsnprintf(a->at, room, fmt, ap);
    if (n >= 0 && (size_t)n < room) {
        va_end(again);
        return (str){ arena_alloc(a, (size_t)n + 1, 1), (size_t)n };
    }
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1, 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p ? (str){ p, (size_t)n } : STR_NONE;
}

str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    str s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}
