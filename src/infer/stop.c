/* Stop strings and characters over token borders. The buffer of held bytes is never longer than a stop string and a piece,
 * so looking at all of it for every token costs nothing that could be measured beside a decode step. */
#include "infer/stop.h"

#define HELD_MAX (64u << 10)

void stop_init(struct stop_filter *f, const str *stops, size_t n_stops)
{
    *f = (struct stop_filter){ .stops = stops, .n_stops = n_stops };
    buf_init(&f->held, HELD_MAX);
}

void stop_free(struct stop_filter *f)
{
    buf_free(&f->held);
}

/* Length of the character at the start of `s`, 0 when there is none. */
static size_t char_length(str s)
{
    for (size_t n = 1; n <= 4 && n <= s.n; n++)
        if (str_is_utf8(str_slice(s.p, n)))
            return n;
    return 0;
}

static enum err put_valid(struct buf *out, str s)
{
    enum err e = ERR_OK;
    if (str_is_utf8(s))
        return buf_put(out, s);
    while (s.n && e == ERR_OK) {
        size_t n = char_length(s);
        e = buf_put(out, n ? str_slice(s.p, n) : S("\xef\xbf\xbd"));
        s = str_skip(s, n ? n : 1);
    }
    return e;
}

/* The stop string that ends first; false when none is complete. */
static bool find_stop(const struct stop_filter *f, size_t *start)
{
    size_t first_end = SIZE_MAX;
    for (size_t i = 0; i < f->n_stops; i++) {
        size_t at = str_find(buf_str(&f->held), f->stops[i]);
        if (at == f->held.n)
            continue;
        size_t end = at + f->stops[i].n;
        if (end < first_end || (end == first_end && at < *start)) {
            first_end = end;
            *start = at;
        }
    }
    return first_end != SIZE_MAX;
}

/* How many bytes at the end of what is held may be the beginning of a stop string. */
static size_t stop_beginning(const struct stop_filter *f)
{
    size_t most = 0;
    for (size_t i = 0; i < f->n_stops; i++) {
        size_t n = f->stops[i].n - 1 < f->held.n ? f->stops[i].n - 1 : f->held.n;
        while (n > most && memcmp(f->held.p + f->held.n - n, f->stops[i].p, n) != 0)
            n--;
        if (n > most)
            most = n;
    }
    return most;
}

enum err stop_push(struct stop_filter *f, str piece, struct buf *out)
{
    size_t at = 0;
    if (f->hit)
        return ERR_OK;
    enum err e = buf_put(&f->held, piece);
    if (e != ERR_OK)
        return e;
    f->hit = find_stop(f, &at);
    if (f->hit) {
        e = put_valid(out, str_slice(f->held.p, at));
        buf_clear(&f->held);
        return e;
    }
    size_t safe = str_utf8_whole(str_slice(f->held.p, f->held.n - stop_beginning(f)));
    e = put_valid(out, str_slice(f->held.p, safe));
    if (e == ERR_OK)
        buf_drop(&f->held, safe);
    return e;
}

enum err stop_flush(struct stop_filter *f, struct buf *out)
{
    enum err e = f->hit ? ERR_OK : put_valid(out, buf_str(&f->held));
    buf_clear(&f->held);
    return e;
}
