/* wire/sse.c: events cut out of pieces. A piece that holds whole events is only looked at; what is left at its end moves to
 * the carry buffer, which the next piece is appended to. No byte is looked at twice for its line's end, however it drips in. */
#include "wire/sse.h"

static const str bom = S("\xEF\xBB\xBF");

void sse_init(struct sse *s, size_t max_event)
{
    *s = (struct sse){ .rest = STR_NONE, .max = max_event };
    buf_init(&s->carry, SIZE_MAX / 2);          /* an event of at most `max`, and one piece */
    buf_init(&s->joined, max_event);
}

void sse_free(struct sse *s)
{
    buf_free(&s->carry);
    buf_free(&s->joined);
    s->rest = STR_NONE;
    s->carry_used = false;
}

/* Moves what is left of a piece to the carry, or what is left of the carry to its start. */
static void keep(struct sse *s)
{
    if (s->carry_used) {
        if (s->rest.n < s->carry.n)
            buf_drop(&s->carry, s->carry.n - s->rest.n);
    } else {
        buf_clear(&s->carry);
        s->failed = buf_put(&s->carry, s->rest);
    }
    s->carry_used = s->carry.n > 0;
    s->rest = STR_NONE;
}

void sse_feed(struct sse *s, str piece)
{
    if (s->failed)
        return;
    if (s->rest.p)
        keep(s);
    if (!s->carry_used) {
        s->rest = piece;
        return;
    }
    if (!s->failed)
        s->failed = buf_put(&s->carry, piece);
    s->rest = buf_str(&s->carry);
}

/* Bytes before the first LF or CR. In short steps, so that a stream without any LF is not searched to its end for each line. */
static size_t line_length(str s)
{
    enum { STEP = 256 };
    for (size_t at = 0; at < s.n; at += STEP) {
        size_t n = s.n - at < STEP ? s.n - at : STEP;
        const char *from = s.p + at, *lf = memchr(from, '\n', n), *cr = memchr(from, '\r', lf ? (size_t)(lf - from) : n);
        if (cr || lf)
            return (size_t)((cr ? cr : lf) - s.p);
    }
    return s.n;
}

/* The end of the line that begins at s->line: its length without and with its end. A CR as the last byte may be half of a
 * CRLF, unless it is a blank line in a stream of lone CRs: waiting there would hold back a whole event for ever. */
static bool line_end(struct sse *s, size_t *n, size_t *whole)
{
    str t = s->rest;
    size_t at = s->looked = s->looked + line_length(str_skip(t, s->looked));
    if (at == t.n)
        return false;
    *n = at - s->line;
    *whole = *n + 1;
    if (t.p[at] == '\n') {
        s->lone_cr = false;
        return true;
    }
    if (*n == 0 && s->lone_cr)
        return true;
    if (at + 1 == t.n)
        return false;
    s->lone_cr = t.p[at + 1] != '\n';
    *whole += !s->lone_cr;
    return true;
}

static str value_of(str v) { return v.n && v.p[0] == ' ' ? str_skip(v, 1) : v; }

static enum err add_data(struct sse *s, struct sse_event *ev, str v, size_t *lines)
{
    enum err e = ERR_OK;
    ev->has_data = true;
    if ((*lines)++ == 0) {
        ev->data = v;
        return ERR_OK;
    }
    if (*lines == 2)
        e = buf_put(&s->joined, ev->data);
    if (!e)
        e = buf_putc(&s->joined, '\n');
    if (!e)
        e = buf_put(&s->joined, v);
    ev->data = buf_str(&s->joined);
    return e;
}

static enum err fields(struct sse *s, struct sse_event *ev)
{
    str left = ev->raw;
    size_t lines = 0;
    enum err e = ERR_OK;
    buf_clear(&s->joined);
    if (!s->begun && str_starts(left, bom))
        left = str_skip(left, bom.n);
    s->begun = true;
    while (left.n && !e) {
        size_t n = line_length(left);
        str line = { left.p, n }, name, v;
        left = str_skip(left, n + 1);           /* a CRLF leaves an empty line behind, which means nothing here */
        str_cut(line, ':', &name, &v);
        if (str_eq(name, S("data")))
            e = add_data(s, ev, value_of(v), &lines);
        else if (str_eq(name, S("event")))
            ev->event = value_of(v);
    }
    return e;
}

/* What is left is of no use now, and a piece does not outlive its feeding. */
static enum err fail(struct sse *s, enum err e)
{
    s->rest = STR_NONE;
    return s->failed = e;
}

/* The raw bytes up to `end` are an event. */
static enum err give(struct sse *s, size_t end, struct sse_event *out)
{
    struct sse_event ev = { .raw = { s->rest.p, end } };
    s->rest = str_skip(s->rest, end);
    s->line = s->looked = 0;
    enum err e = end > s->max ? ERR_LIMIT : fields(s, &ev);
    if (e)
        return fail(s, e);
    *out = ev;
    return ERR_OK;
}

enum err sse_next(struct sse *s, struct sse_event *out)
{
    size_t n, whole;
    if (s->failed)
        return s->failed;
    if (!s->rest.p)
        return ERR_AGAIN;
    while (line_end(s, &n, &whole)) {
        s->line += whole;
        s->looked = s->line;
        if (n == 0)
            return give(s, s->line, out);
    }
    if (s->rest.n > s->max)
        return fail(s, ERR_LIMIT);
    keep(s);
    return s->failed ? s->failed : ERR_AGAIN;
}

bool sse_pending(const struct sse *s)
{
    if (s->failed)
        return true;
    str left = s->rest.n ? s->rest : s->carry_used ? buf_str(&s->carry) : STR_NONE;
    if (!s->begun && str_starts(left, bom))
        left = str_skip(left, bom.n);
    while (left.n) {
        size_t n = line_length(left);
        if (n && left.p[0] != ':')
            return true;
        left = str_skip(left, n + 1);
    }
    return false;
}
