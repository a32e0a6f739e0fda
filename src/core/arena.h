/* core/arena.h: memory by lifetime. Includes: core/str.h, core/err.h.
 *
 * An arena hands out memory that is freed all at once, with the life that owns it: process, connection, call.
 * It has a hard limit: past it arena_alloc() returns NULL and the caller returns ERR_LIMIT. Who puts many small things together may look at
 * `failed` once, at the end.
 *
 *   struct arena a = { mem, mem, mem + n };    a fixed arena over memory of the caller: never grows
 *   struct arena a; arena_init(&a, limit);     a growing one: takes blocks from malloc until `limit` bytes in all
 *
 * Memory is not zeroed by arena_alloc(); arena_new() zeroes. Not thread-safe. */
#ifndef HEARTH_CORE_ARENA_H
#define HEARTH_CORE_ARENA_H

#include "core/str.h"

#include <stdarg.h>

struct arena_block;

struct arena {
    char *base, *at, *end;              /* the current block: [base, end), next free byte at `at` */
    struct arena_block *blocks;         /* all blocks taken from malloc, newest first; NULL for a fixed arena */
    size_t budget;                      /* bytes that may still be taken from malloc */
    bool failed;                        /* something had no room since the last reset: what was made of it may not be whole */
};

void arena_init(struct arena *a, size_t limit);         /* takes no memory yet */
void arena_reset(struct arena *a);                      /* forgets everything, keeps the first (smallest) block */
void arena_free(struct arena *a);                       /* gives all blocks back; the arena may be used again */

void *arena_alloc(struct arena *a, size_t n, size_t align);
/* Makes `old` (the latest allocation or not) `to` bytes long, in place where it is the latest. */
void *arena_grow(struct arena *a, void *old, size_t from, size_t to, size_t align);

/* `list` has `n` elements and room for *cap: with room for one more, itself or twice as long elsewhere. NULL: there was none, and it is as it was. */
#define arena_more(a, list, n, cap) arena_room((a), (list), (n), (cap), sizeof *(list), _Alignof(__typeof__(*(list))))
void *arena_room(struct arena *a, void *list, size_t n, size_t *cap, size_t size, size_t align);

#define arena_new(a, type, count) \
    ((type *)arena_zeroed((a), sizeof(type), (count), _Alignof(type)))
void *arena_zeroed(struct arena *a, size_t size, size_t count, size_t align);   /* NULL on overflow, too */

/* Copies; .p is NULL when there was no room (also for an empty `s`, whose copy is otherwise non-NULL). */
str arena_str(struct arena *a, str s);
char *arena_cstr(struct arena *a, str s);                                       /* NUL-terminated, for libraries */
str arena_cat(struct arena *a, const str *parts, size_t n);                      /* one after the other; where printf would cost too much */
str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
str arena_vprintf(struct arena *a, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* For fault tests: after `n` more requests of arenas and buffers for memory every further one fails; SIZE_MAX switches it off. One global. */
void memory_fail_after(size_t n);
bool memory_made_to_fail(void);                                                 /* core/arena.c and core/buf.c ask before each request */

#endif
