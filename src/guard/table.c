/* guard/table.c: CSV and its kin (RFC 4180; also with ';', tabs and '|'): a line of names of columns says what stands in the lines below it. A table begins
 * where a line has names only, one of them telling, and the next line has as many cells; it ends with a line that has another number of them. */
#include "guard/hunt.h"

enum { COLUMNS = 64, HEAD_MAX = 1024, TELLING = W_NAME | W_ADDRESS | W_BIRTH | W_PHONE | W_ID | W_SSN | W_PASSPORT | W_CARD | W_PASSWORD | W_TOKEN };

struct table { uint32_t bits[COLUMNS]; unsigned n; char separator; };

static bool is_separator(char c) { return c == ',' || c == ';' || c == '\t' || c == '|'; }

/* The cell that starts at `i`: its value, and where the next cell or line starts. */
static size_t cell(const struct hunt *h, size_t i, char separator, size_t *begin, size_t *end)
{
    bool quoted = hunt_at(h, i) == '"';
    *begin = i + quoted;
    if (quoted) {
        for (i++; i < h->n && h->p[i] != '\n'; i++) {
            if (h->p[i] != '"')
                continue;
            if (hunt_at(h, i + 1) != '"')
                break;
            i++;
        }
        *end = i < h->n ? i : h->n;
        i += i < h->n && h->p[i] == '"';
    }
    size_t k = i;
    while (k < h->n && h->p[k] != separator && h->p[k] != '\n')
        k++;
    if (!quoted)
        *end = k;
    while (*begin < *end && h->p[*begin] == ' ')
        ++*begin;
    while (*end > *begin && (h->p[*end - 1] == ' ' || h->p[*end - 1] == '\r'))
        --*end;
    return k;
}

/* Whether the line at `i` is one of names; `next` is behind it. */
static bool head(const struct hunt *h, size_t i, size_t next, struct table *t)
{
    uint32_t all = 0;
    unsigned named = 0;
    size_t begin, end;
    if (next - i > HEAD_MAX)
        return false;
    for (t->n = 0; t->n < COLUMNS; i++) {
        i = cell(h, i, t->separator, &begin, &end);
        if (end - begin > 40 || (begin < end && hunt_run(h, begin, C_DIGIT, 1)))
            return false;
        for (size_t k = begin; k < end; k++)
            if (!is(h->p[k], C_WORD | C_DASH) && h->p[k] != ' ' && h->p[k] != '.' && h->p[k] != '/')
                return false;
        named += begin < end;
        t->bits[t->n] = words_find_name(h->words, hunt_str(h, begin, end));
        all |= t->bits[t->n++];
        if (i + 1 >= next)
            return named > 1 && all & TELLING;
    }
    return false;
}

static void value(struct hunt *h, uint32_t bits, size_t begin, size_t end)
{
    size_t digit = begin;
    if (!(bits & TELLING) || end - begin > 256)
        return;
    h->given = bits & ~(uint32_t)W_WEAK;
    h->done = h->dull = 0;
    rule_value(h, bits & ~(uint32_t)W_WEAK, begin, end, true);
    while (digit < end && !is(h->p[digit], C_DIGIT))
        digit++;
    if (digit < end && bits & (W_ID | W_SSN | W_PASSPORT | W_CARD | W_PHONE) && !h->done)
        rule_digits(h, digit);
    h->given = 0;
}

/* A month, a day and a comma in the cell [begin, end), with a year behind it: the year's end, or 0. */
static size_t date_with_comma(const struct hunt *h, size_t begin, size_t end)
{
    size_t letters = hunt_run(h, begin, C_LETTER, WORD_LONGEST), day = begin + letters + 1, from, to;
    if (!letters || end - begin > WORD_LONGEST || hunt_at(h, begin + letters) != ' ' || !hunt_run(h, day, C_DIGIT, 2))
        return 0;
    to = hunt_date(h, day, &from);
    return to > end && from == begin ? to : 0;
}

/* The cells of one line, added or only counted; their number. */
static unsigned row(struct hunt *h, size_t i, size_t next, const struct table *t, bool add)
{
    char separator = t->separator;
    unsigned n = 0;
    for (size_t begin, end; i <= next; i++) {
        i = cell(h, i, separator, &begin, &end);
        size_t date = n < t->n && t->bits[n] & W_BIRTH && separator == ',' ? date_with_comma(h, begin, i) : 0;
        if (date)
            i = cell(h, i + 1, separator, &(size_t){ 0 }, &end);    /* "Dec 26, 1999" without quotes takes two cells */
        if (add && n < t->n)
            value(h, t->bits[n], begin, date ? date : end);
        n++;
        if (i >= h->n || h->p[i] == '\n')
            break;
    }
    return n;
}

static size_t line_end(const struct hunt *h, size_t i)
{
    const char *at = i < h->n ? memchr(h->p + i, '\n', h->n - i) : NULL;
    return at ? (size_t)(at - h->p) + 1 : h->n;
}

/* A name of a column and a separator start a line of names. */
static char first_separator(const struct hunt *h, size_t i)
{
    size_t k = i + (hunt_at(h, i) == '"' || hunt_at(h, i) == '|');
    if (k == i && !is(hunt_at(h, i), C_LETTER | C_UNDER))
        return '\0';                    /* most lines of source end here */
    for (size_t most = k + 32; k < h->n && k < most && (is(h->p[k], C_WORD | C_DASH) || h->p[k] == ' '); k++)
        ;
    k += hunt_at(h, k) == '"';
    return k > i + 1 && is_separator(hunt_at(h, k)) ? h->p[k] : '\0';
}

void hunt_tables(struct hunt *h)
{
    struct table t;
    for (size_t i = 0, next; i < h->n && !h->e; i = next) {
        next = line_end(h, i);
        if (next == h->n || !(t.separator = first_separator(h, i)) || !head(h, i, next, &t))
            continue;
        size_t from = next;
        while (from < h->n && !h->e && row(h, from, line_end(h, from), &t, false) == t.n) {
            next = line_end(h, from);
            (void)row(h, from, next, &t, true);
            from = next;
        }
    }
    h->done = h->dull = 0;
}
