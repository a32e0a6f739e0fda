/* guard/restore.c: the set is sorted by key, so the keys that begin with what was read so far are a run of it that gets narrower with each byte. That
 * says at once whether a suffix may still become something, and costs a few comparisons a byte. A place that came to nothing is left by one byte and
 * looked at again; keys are short, so that is bounded, too. */
#include "guard/restore.h"

#include <assert.h>

enum { SLASHES = 8, SPACES = 2, HELD_MAX = 4096 };

static bool is_word(int c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_'; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c; }

/* ---- the set ---- */

static size_t set_place(const struct restore_set *s, str key)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (str_cmp(s->entries[mid].key, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static str lowered(str s, char out[PLACEHOLDER_MAX])
{
    for (size_t i = 0; i < s.n; i++)
        out[i] = lower(s.p[i]);
    return (str){ out, s.n };
}

enum err restore_set_add(struct arena *a, struct restore_set *s, str token, str value, enum guard_type type, bool bare)
{
    char small[PLACEHOLDER_MAX];
    if (!token.n || token.n >= PLACEHOLDER_MAX || (!bare && !is_word(token.p[0])))
        return ERR_RANGE;
    str key = lowered(token, small);
    struct restore_entry *grown = arena_more(a, s->entries, s->n, &s->cap);
    if (!grown)
        return ERR_LIMIT;
    s->entries = grown;
    struct restore_entry e = { .key = arena_str(a, key), .value = arena_str(a, value), .type = type, .bare = bare };
    if (!e.key.p || !e.value.p)
        return ERR_LIMIT;
    s->entries[s->n++] = e;
    unsigned char c = (unsigned char)key.p[0];
    s->first[c] = s->first['['] = s->first['\\'] = true;
    if (c >= 'a' && c <= 'z')
        s->first[c & ~32] = true;
    return ERR_OK;
}

static int by_key(const void *x, const void *y)
{
    const struct restore_entry *a = x, *b = y;
    return str_cmp(a->key, b->key);
}

void restore_set_ready(struct restore_set *s)
{
    size_t n = 0;
    if (s->n > 1)
        qsort(s->entries, s->n, sizeof *s->entries, by_key);
    for (size_t i = 0; i < s->n; i++)
        if (!n || !str_eq(s->entries[n - 1].key, s->entries[i].key))
            s->entries[n++] = s->entries[i];
    s->n = n;
}

const struct restore_entry *restore_set_get(const struct restore_set *s, str token)
{
    char small[PLACEHOLDER_MAX];
    if (token.n >= PLACEHOLDER_MAX)
        return NULL;
    str key = lowered(token, small);
    size_t at = set_place(s, key);
    return at < s->n && str_eq(s->entries[at].key, key) ? &s->entries[at] : NULL;
}

/* ---- one place ---- */

enum match { MATCH_NO, MATCH_MAYBE, MATCH_YES };

struct look {
    const struct restore_set *set;
    const char *p;
    size_t n;
    bool last;                          /* nothing follows */
    int before[2];                      /* the byte before the text, and the one before that; -1: none */
};

/* The byte before `at`, as far as borders of words go: the letter of "\n" and its like in JSON is no letter. */
static int byte_before(const struct look *l, size_t at)
{
    int c = at ? (unsigned char)l->p[at - 1] : l->before[0], b = at > 1 ? (unsigned char)l->p[at - 2] : l->before[1 - at];
    return b == '\\' && (c == 'n' || c == 't' || c == 'r' || c == 'b' || c == 'f') ? '\n' : c;
}

struct run { size_t low, high, depth; };        /* entries whose first `depth` bytes were read */

/* How often `c` stands at `at`; one more than `most` when it is more often. */
static size_t count(const struct look *l, size_t at, char c, size_t most)
{
    size_t n = 0;
    while (at + n < l->n && n <= most && l->p[at + n] == c)
        n++;
    return n;
}

/* The first entry of the run whose next byte is not below `c`. */
static size_t run_place(const struct restore_set *s, const struct run *r, int c)
{
    size_t low = r->low, high = r->high;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        str key = s->entries[mid].key;
        int has = key.n > r->depth ? (unsigned char)key.p[r->depth] : -1;
        if (has < c)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool narrow(const struct restore_set *s, struct run *r, char ch)
{
    int c = (unsigned char)lower(ch);
    size_t low = run_place(s, r, c), high = run_place(s, r, c + 1);
    if (low == high)
        return false;
    *r = (struct run){ low, high, r->depth + 1 };
    return true;
}

static bool could_narrow(const struct restore_set *s, struct run r, char c) { return narrow(s, &r, c); }

/* A whole key ended at `at`: does what stands around it leave it one? *end is where it ends with its bracket. */
static enum match ends_well(const struct look *l, const struct restore_entry *e, size_t at, bool open, size_t slashes, int before, size_t *end)
{
    *end = at;
    if (e->bare) {
        char b = (char)before;
        str after = { l->p + at, l->n - at };
        if (open || !placeholder_fits((str){ &b, before >= 0 }, STR_NONE))
            return MATCH_NO;
        if (!l->last && (!after.n || (after.n == 1 && after.p[0] == '.')))
            return MATCH_MAYBE;
        return placeholder_fits(STR_NONE, after) ? MATCH_YES : MATCH_NO;
    }
    if (open) {
        size_t spaces = count(l, at, ' ', SPACES);
        at += spaces;
        if (spaces > SPACES)
            return MATCH_NO;
        size_t n = count(l, at, '\\', SLASHES);
        at += n;
        if (at >= l->n)
            return l->last ? MATCH_NO : MATCH_MAYBE;
        *end = at + 1;
        return n == slashes && l->p[at] == ']' ? MATCH_YES : MATCH_NO;
    }
    if (is_word(before))
        return MATCH_NO;
    if (at == l->n)
        return l->last ? MATCH_YES : MATCH_MAYBE;
    return is_word((unsigned char)l->p[at]) ? MATCH_NO : MATCH_YES;
}

/* The next byte of a key at *at, with what may stand before it stepped over. 0: none of the set goes on here; -1: more bytes are needed. */
static int next_byte(const struct look *l, const struct run *r, size_t *at, bool open)
{
    if (*at >= l->n)
        return -1;
    char c = l->p[*at];
    if (could_narrow(l->set, *r, c))
        return (unsigned char)c;
    if (!r->depth || (c != '\\' && !(c == ' ' && open)))
        return 0;
    size_t n = count(l, *at, c, c == ' ' ? SPACES : SLASHES), next = *at + n;
    if (n > (size_t)(c == ' ' ? SPACES : SLASHES))
        return 0;
    if (next >= l->n)
        return -1;
    char then = l->p[next];
    bool goes = could_narrow(l->set, *r, then);
    if (c == ' ' && then != '_')
        return could_narrow(l->set, *r, '_') ? (*at = next - 1, '_') : 0;
    /* Nobody puts a backslash before a letter, or only to mean something else by it. */
    if (!goes || (c == '\\' && then != '_' && is_word((unsigned char)then)))
        return 0;
    *at = next;
    return (unsigned char)then;
}

static enum match match_at(const struct look *l, size_t at, struct restore_place *out)
{
    int before = byte_before(l, at);
    struct run r = { 0, l->set->n, 0 };
    enum match best = MATCH_NO;
    bool more = false;                  /* the bytes end where a key could go on */
    size_t i = at, slashes = count(l, i, '\\', SLASHES), spaces = 0;
    i += slashes;
    if (slashes > SLASHES || (slashes && before == '\\'))
        return MATCH_NO;                /* only a whole run of backslashes, and a short one, belongs to a bracket */
    if (i >= l->n)
        return l->last ? MATCH_NO : MATCH_MAYBE;
    bool open = l->p[i] == '[';
    if (open)
        spaces = count(l, i + 1, ' ', SPACES);
    i += open + spaces;
    if (open ? spaces > SPACES : slashes || is_word(before))
        return MATCH_NO;
    for (;;) {
        int c = next_byte(l, &r, &i, open);
        more = c < 0 && !l->last;
        if (c <= 0)
            break;
        (void)narrow(l->set, &r, (char)c);
        i++;
        if (c == '_' && open) {
            size_t n = count(l, i, ' ', SPACES);
            i += n <= SPACES ? n : 0;
        }
        const struct restore_entry *e = &l->set->entries[r.low];
        size_t end;
        enum match m = e->key.n == r.depth ? ends_well(l, e, i, open, slashes, before, &end) : MATCH_NO;
        if (m == MATCH_YES)
            *out = (struct restore_place){ at, end, e };
        best = m > MATCH_NO ? m : best;
        if (r.high - r.low == 1 && e->key.n == r.depth)
            break;
    }
    return more ? MATCH_MAYBE : best;
}

/* The next place that is one, or may be, from *at on; *at is where nothing was found up to. */
static enum match next_place(const struct look *l, size_t *at, struct restore_place *out)
{
    for (size_t i = *at; i < l->n; i++) {
        if (!l->set->first[(unsigned char)l->p[i]])
            continue;
        enum match m = match_at(l, i, out);
        if (m != MATCH_NO) {
            *at = i;
            return m;
        }
    }
    *at = l->n;
    return MATCH_NO;
}

bool restore_find(const struct restore_set *s, str text, size_t at, struct restore_place *out)
{
    struct look l = { s, text.p, text.n, true, { -1, -1 } };
    return next_place(&l, &at, out) == MATCH_YES;
}

/* ---- a stream ---- */

void restorer_init(struct restorer *r, const struct restore_set *s)
{
    *r = (struct restorer){ .set = s, .before = { -1, -1 } };
    buf_init(&r->held, HELD_MAX);
}

void restorer_free(struct restorer *r) { buf_free(&r->held); }

/* Counts what has the form of a placeholder in text that stays as it is. */
static void watch(struct restorer *r, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '[') {
            r->in_shape = true;
            r->shape_n = 0;
        } else if (!r->in_shape) {
            i += str_index(str_skip(s, i), '[') - 1;    /* the loop's step leads to the bracket, or past the end */
        } else if (c == ']') {
            r->unknown += placeholder_is_stem(NULL, (str){ r->shape, r->shape_n });
            r->in_shape = false;
        } else if (c == '\\' || c == ' ') {
            continue;
        } else if (r->shape_n == sizeof r->shape || !(is_word((unsigned char)c) || c == '-')) {
            r->in_shape = false;
        } else {
            r->shape[r->shape_n++] = c;
        }
    }
}

static enum err give(struct restorer *r, struct buf *out, str s)
{
    if (!s.n)
        return ERR_OK;
    watch(r, s);
    r->before[1] = s.n > 1 ? (unsigned char)s.p[s.n - 2] : r->before[0];
    r->before[0] = (unsigned char)s.p[s.n - 1];
    return buf_put(out, s);
}

enum err restorer_feed(struct restorer *r, str piece, bool last, struct buf *out)
{
    struct buf joined = { 0 };          /* only where something was held back */
    str text = piece;
    enum err e = ERR_OK;
    if (r->held.n) {
        buf_init(&joined, r->held.n + piece.n);
        if ((e = buf_put(&joined, buf_str(&r->held))) || (e = buf_put(&joined, piece)))
            goto done;
        text = buf_str(&joined);
        buf_clear(&r->held);
    }
    size_t at = 0;
    while (at < text.n && !e) {
        struct look l = { r->set, text.p + at, text.n - at, last, { r->before[0], r->before[1] } };
        struct restore_place found = { 0 };
        size_t until = 0;
        enum match m = next_place(&l, &until, &found);
        e = give(r, out, (str){ l.p, until });
        if (!e && m == MATCH_MAYBE)
            e = buf_put(&r->held, str_skip((str){ l.p, l.n }, until));
        if (e || m != MATCH_YES)
            break;
        e = buf_put(out, found.entry->value);
        r->restored++;
        r->in_shape = false;
        r->before[1] = -1;
        r->before[0] = (unsigned char)l.p[found.end - 1];
        at += found.end;
    }
done:
    buf_free(&joined);
    return e;
}

enum err restore_text(struct arena *a, const struct restore_set *s, str text, str *out, size_t *restored)
{
    struct restorer r;
    struct buf b;
    restorer_init(&r, s);
    buf_init(&b, SIZE_MAX / 2);
    enum err e = restorer_feed(&r, text, true, &b);
    str copy = e ? STR_NONE : arena_str(a, buf_str(&b));
    if (!e && !copy.p)
        e = ERR_LIMIT;
    if (!e) {
        *out = copy;
        if (restored)
            *restored = r.restored;
    }
    buf_free(&b);
    restorer_free(&r);
    return e;
}
