/* Lines that two texts share, and those that they do not. */
#include "cmd/textdiff.h"

struct lines { str *v; size_t n; };

static enum err split(struct arena *a, str s, struct lines *out)
{
    size_t n = 1;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n';
    *out = (struct lines){ arena_new(a, str, n), 0 };
    if (!out->v)
        return ERR_LIMIT;
    while (s.n) {
        size_t end = str_index(s, '\n');
        out->v[out->n++] = str_slice(s.p, end);
        s = str_skip(s, end + 1);
    }
    return ERR_OK;
}

static void give(const struct textdiff *out, char mark, const str *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out->line(out->ctx, mark, v[i]);
}

/* table[i][j]: the length of the longest common subsequence of x[i…] and y[j…]. */
static enum err middle(struct arena *a, struct lines x, struct lines y, const struct textdiff *out)
{
    size_t wide = y.n + 1, i = 0, j = 0;
    if (x.n > TEXTDIFF_LINES || y.n > TEXTDIFF_LINES) {
        give(out, '-', x.v, x.n);
        give(out, '+', y.v, y.n);
        return ERR_OK;
    }
    uint16_t *table = arena_new(a, uint16_t, (x.n + 1) * wide);
    if (!table)
        return ERR_LIMIT;
    for (i = x.n; i-- > 0;)
        for (j = y.n; j-- > 0;) {
            uint16_t down = table[(i + 1) * wide + j], right = table[i * wide + j + 1];
            table[i * wide + j] = str_eq(x.v[i], y.v[j]) ? (uint16_t)(table[(i + 1) * wide + j + 1] + 1) : down > right ? down : right;
        }
    for (i = j = 0; i < x.n || j < y.n;) {
        if (i < x.n && j < y.n && str_eq(x.v[i], y.v[j])) {
            give(out, ' ', &x.v[i], 1);
            i++;
            j++;
        } else if (i < x.n && (j == y.n || table[(i + 1) * wide + j] >= table[i * wide + j + 1])) {
            give(out, '-', &x.v[i++], 1);
        } else {
            give(out, '+', &y.v[j++], 1);
        }
    }
    return ERR_OK;
}

enum err textdiff_run(struct arena *a, str x, str y, const struct textdiff *out)
{
    struct lines p, q;
    size_t head = 0, tail = 0;
    enum err e = split(a, x, &p);
    if (e == ERR_OK)
        e = split(a, y, &q);
    if (e != ERR_OK)
        return e;
    while (head < p.n && head < q.n && str_eq(p.v[head], q.v[head]))
        head++;
    while (tail < p.n - head && tail < q.n - head && str_eq(p.v[p.n - 1 - tail], q.v[q.n - 1 - tail]))
        tail++;
    give(out, ' ', p.v, head);
    e = middle(a, (struct lines){ p.v + head, p.n - head - tail }, (struct lines){ q.v + head, q.n - head - tail }, out);
    give(out, ' ', p.v + p.n - tail, tail);
    return e;
}

size_t textdiff_first(str x, str y)
{
    size_t i = 0;
    while (i < x.n && i < y.n && x.p[i] == y.p[i])
        i++;
    return i;
}
