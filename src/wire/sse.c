/* wire/sse.c: events cut out of pieces. A piece that holds whole events is only looked at; what is left at its end moves to
 * the carry buffer, which the next piece is appended to. */
#include "wire/sse.h"

enum { PIECE = 1 << 17, FAILED = 1 };   /* no single read is larger than a piece */

void sse_init(struct sse *s, size_t max_event)
{
    *s = (struct sse){ .rest = STR_NONE };
    buf_init(&s->carry, max_event + PIECE);
    buf_init(&s->joined, max_event);
}

void sse_free(struct sse *s)
{
    buf_free(&s->carry);
    buf_free(&s->joined);
}

void sse_feed(struct sse *s, str piece)
{
    if (!s->carry_used || !s->carry.n) {
        s->carry_used = false;
        s->rest = piece;
        return;
    }
    if (buf_put(&s->carry, piece) != ERR_OK)
        s->scanned = SIZE_MAX;          /* sse_next() says ERR_LIMIT */
    s->rest = buf_str(&s->carry);
}

/* One line from `at`: its length without and with its end. False: its end has not come. A CR at the very end may be half of a CRLF. */
static bool line_at(str s, size_t at, size_t *n, size_t *whole)
{
    str rest = str_skip(s, at);
    size_t lf = str_index(rest, '\n');
    size_t cr = str_index((str){ rest.p, lf }, '\r');
    if (cr < lf) {
        *n = cr;
        *whole = cr + 1 + (cr + 1 < rest.n && rest.p[cr + 1] == '\n');
        return cr + 1 < rest.n;
    }
    *n = lf;
    *whole = lf + 1;
    return lf < rest.n;
}

static str value_of(str v) { return v.n && v.p[0] == ' ' ? str_skip(v, 1) : v; }

static enum err add_data(struct sse *s, struct sse_event *ev, str v)
{
    enum err e = ERR_OK;
    if (!ev->has_data) {
        ev->data = v;
    } else {
        if (ev->data.p != s->joined.p || !s->joined.n) {
            buf_clear(&s->joined);
            e = buf_put(&s->joined, ev->data);
        }
        if (!e)
            e = buf_putc(&s->joined, '\n');
        if (!e)
            e = buf_put(&s->joined, v);
        ev->data = buf_str(&s->joined);
    }
    ev->has_data = true;
    return e;
}

static enum err fields(struct sse *s, struct sse_event *ev)
{
    size_t at = 0, n, whole;
    buf_clear(&s->joined);
    while (at < ev->raw.n && line_at(ev->raw, at, &n, &whole)) {
        str line = { ev->raw.p + at, n }, name, v;
        at += whole;
        if (str_starts(line, S("\xEF\xBB\xBF")))
            line = str_skip(line, 3);
        str_cut(line, ':', &name, &v);
        if (str_eq(name, S("data"))) {
            enum err e = add_data(s, ev, value_of(v));
            if (e)
                return ERR_LIMIT;
        } else if (str_eq(name, S("event"))) {
            ev->event = value_of(v);
        }
    }
    return ERR_OK;
}

enum err sse_next(struct sse *s, struct sse_event *out)
{
    size_t n, whole;
    if (s->scanned == SIZE_MAX)
        return ERR_LIMIT;
    if (!s->rest.p)
        return ERR_AGAIN;
    while (line_at(s->rest, s->scanned, &n, &whole)) {
        s->scanned += whole;
        if (n)
            continue;
        *out = (struct sse_event){ .raw = { s->rest.p, s->scanned } };
        s->rest = str_skip(s->rest, s->scanned);
        s->scanned = 0;
        return fields(s, out);
    }
    if (s->carry_used) {
        buf_drop(&s->carry, s->rest.n ? (size_t)(s->rest.p - s->carry.p) : s->carry.n);
    } else {
        buf_clear(&s->carry);
        if (buf_put(&s->carry, s->rest) != ERR_OK)
            return ERR_LIMIT;
    }
    s->carry_used = s->carry.n > 0;
    s->rest = STR_NONE;
    return s->carry.n > s->carry.max - PIECE ? ERR_LIMIT : ERR_AGAIN;
}

bool sse_pending(const struct sse *s)
{
    str left = s->carry_used ? buf_str(&s->carry) : s->rest;
    for (size_t i = 0; i < left.n; i++)
        if (left.p[i] != '\n' && left.p[i] != '\r')
            return true;
    return false;
}
