/* A vault's store in an array, and one in a file: the tests of the guard run over both. */
#ifndef HEARTH_TESTS_GUARD_SHELF_H
#define HEARTH_TESTS_GUARD_SHELF_H

#include "guard/vault.h"

struct shelf {
    struct arena a;
    struct { str name, value; int64_t at_us; bool used; } rows[4096];
    size_t n;
    size_t fail_after;                  /* so many calls work; SIZE_MAX: all */
};

static inline bool shelf_fails(struct shelf *s) { return s->fail_after != SIZE_MAX && (s->fail_after == 0 || s->fail_after-- == 0); }

static inline size_t shelf_index(struct shelf *s, str name)
{
    size_t i = 0;
    while (i < s->n && !(s->rows[i].used && str_eq(s->rows[i].name, name)))
        i++;
    return i;
}

static inline enum err shelf_get(void *ctx, struct arena *a, str name, str *value)
{
    struct shelf *s = ctx;
    size_t i = shelf_index(s, name);
    if (shelf_fails(s))
        return ERR_STORE;
    if (i == s->n)
        return ERR_NOTFOUND;
    *value = arena_str(a, s->rows[i].value);
    return value->p ? ERR_OK : ERR_LIMIT;
}

static inline enum err shelf_put(void *ctx, const struct vault_row *rows, size_t n, bool fresh, int64_t at_us)
{
    struct shelf *s = ctx;
    if (shelf_fails(s))
        return ERR_STORE;
    for (size_t k = 0; k < n && fresh; k++)
        if (shelf_index(s, rows[k].name) < s->n)
            return ERR_AGAIN;
    for (size_t k = 0; k < n; k++) {
        size_t i = shelf_index(s, rows[k].name);
        if (i == s->n && s->n++ == sizeof s->rows / sizeof *s->rows)
            return ERR_STORE;
        s->rows[i].name = arena_str(&s->a, rows[k].name);
        s->rows[i].value = arena_str(&s->a, rows[k].value);
        s->rows[i].at_us = at_us;
        s->rows[i].used = true;
    }
    return ERR_OK;
}

static inline enum err shelf_list(void *ctx, struct arena *a, str prefix, str after, size_t most, struct vault_row **rows, size_t *n)
{
    struct shelf *s = ctx;
    struct vault_row *r = arena_new(a, struct vault_row, most + 1);
    if (shelf_fails(s))
        return ERR_STORE;
    for (*n = 0; *n < most;) {
        size_t best = s->n;
        for (size_t i = 0; i < s->n; i++)
            if (s->rows[i].used && str_starts(s->rows[i].name, prefix) && str_cmp(s->rows[i].name, after) > 0 && (best == s->n || str_cmp(s->rows[i].name, s->rows[best].name) < 0))
                best = i;
        if (best == s->n)
            break;
        after = s->rows[best].name;
        r[(*n)++] = (struct vault_row){ arena_str(a, after), arena_str(a, s->rows[best].value) };
    }
    *rows = r;
    return ERR_OK;
}

static inline enum err shelf_forget(void *ctx, str prefix, int64_t before_us)
{
    struct shelf *s = ctx;
    for (size_t i = 0; i < s->n; i++)
        if (str_starts(s->rows[i].name, prefix) && s->rows[i].at_us < before_us)
            s->rows[i].used = false;
    return ERR_OK;
}

static inline struct vault_store shelf_open(struct shelf *s)
{
    memset(s, 0, sizeof *s);
    arena_init(&s->a, 64 << 20);
    s->fail_after = SIZE_MAX;
    return (struct vault_store){ s, shelf_get, shelf_put, shelf_list, shelf_forget };
}

static inline void shelf_close(struct shelf *s) { arena_free(&s->a); }

#endif
