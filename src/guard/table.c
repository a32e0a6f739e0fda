/* guard/table.c: CSV and its kin (RFC 4180; also with ';', tabs and '|'): a line of names of columns says what stands in the lines below it. A table begins
 * where a line has names only, one of them telling, and the next line has as many cells; it ends with a line that has another number of them. */
#include "guard/hunt.h"

enum { COLUMNS = 64, HEAD_MAX = 1024, TELLING = W_NAME | W_ADDRESS | W_BIRTH | W_PHONE | W_ID | W_SSN | W_PASSPORT | W_CARD | W_PASSWORD | W_TOKEN };

struct table { uint32_t bits[COLUMNS]; unsigned n; char separator; };

static bool is_separator(char c) { return c == ',' || c == ';' || c == '\t' || c == '|'; }

/* The first `separator` or end of a line from `i` on. */
static size_t cell_end(const struct hunt *h, size_t i, char separator)
{
    for (; i + RUN_STEP <= h->n; i += RUN_STEP) {
        run_bytes v = run_load(h->p + i);
        unsigned ends = run_equal(v, separator) | run_equal(v, '\n');
        if (ends)
            return i + (size_t)__builtin_ctz(ends);
    }
    while (i < h->n && h->p[i] != separator && h->p[i] != '\n')
        i++;
    return i;
}

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
    size_t k = cell_end(h, i, separator);
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

/* The cells of one line, if they are as many as the table has columns. */
static bool row(struct hunt *h, size_t i, size_t next, const struct table *t)
{
    struct { size_t begin, end; } cells[COLUMNS];
    unsigned n = 0;
    for (; i <= next; i++) {
        if (n == t->n)
            return false;
        size_t *begin = &cells[n].begin, *end = &cells[n].end;
        i = cell(h, i, t->separator, begin, end);
        size_t date = t->bits[n] & W_BIRTH && t->separator == ',' ? date_with_comma(h, *begin, i) : 0;
        if (date) {
            i = cell(h, i + 1, t->separator, &(size_t){ 0 }, end);      /* "Dec 26, 1999" without quotes takes two cells */
            *end = date;
        }
        n++;
        if (i >= h->n || h->p[i] == '\n')
            break;
    }
    for (unsigned k = 0; k < n && n == t->n; k++)
        value(h, t->bits[k], cells[k].begin, cells[k].end);
    return n == t->n;
}

static size_t line_end(const struct hunt *h, size_t i)
{
    const char *at = i < h->n ? memchr(h->p + i, '\n', h->n - i) : NULL;
    return at ? (size_t)(at - h->p) + 1 : h->n;
}

/* Bytes of a name of a column from `i` on, at most 32. */
static size_t name_run(const struct hunt *h, size_t i)
{
    const size_t from = i, end = h->n - i < 32 ? h->n : i + 32;
    for (; i + RUN_STEP <= end; i += RUN_STEP) {
        run_bytes v = run_load(h->p + i);
        unsigned others = ~(run_mask(v, C_WORD | C_DASH) | run_equal(v, ' ')) << RUN_STEP;
        if (others)
            return i - from + (size_t)__builtin_ctz(others) - RUN_STEP;
    }
    while (i < end && (is(h->p[i], C_WORD | C_DASH) || h->p[i] == ' '))
        i++;
    return i - from;
}

/* A name of a column and a separator start a line of names. */
static char first_separator(const struct hunt *h, size_t i)
{
    size_t k = i + (hunt_at(h, i) == '"' || hunt_at(h, i) == '|');
    if (k == i && !is(hunt_at(h, i), C_LETTER | C_UNDER))
        return '\0';                    /* most lines of source end here */
    if (k < h->n)
        k += name_run(h, k);
    k += hunt_at(h, k) == '"';
    return k > i + 1 && is_separator(hunt_at(h, k)) ? h->p[k] : '\0';
}

/* ---- SQL ---- */

static bool is_word(const struct hunt *h, size_t i, str word)
{
    return word.n <= h->n - i && str_ieq(hunt_str(h, i, i + word.n), word);
}

static size_t blanks(const struct hunt *h, size_t i)
{
    while (i < h->n && (h->p[i] == ' ' || h->p[i] == '\n' || h->p[i] == '\r' || h->p[i] == '\t'))
        i++;
    return i;
}

/* One member of a list in parentheses, from `i`: its value without quotes, and the ',' or ')' behind it, or h->n. */
static size_t member(const struct hunt *h, size_t i, size_t *begin, size_t *end)
{
    char q = hunt_at(h, i);
    bool quoted = q == '\'' || q == '"' || q == '`';
    *begin = i + quoted;
    for (i += quoted; quoted && i < h->n && (h->p[i] != q || hunt_at(h, i + 1) == q); i++)
        i += h->p[i] == q;
    *end = i < h->n ? i : h->n;
    while (i < h->n && h->p[i] != ',' && h->p[i] != ')')
        i++;
    if (!quoted)
        for (*end = i; *end > *begin && h->p[*end - 1] == ' ';)
            --*end;
    return i < h->n ? i : h->n;
}

/* The names of "t (a, b)", which an INSERT or COPY at `i` has behind its first word: behind them, and the blanks. */
static size_t columns(const struct hunt *h, size_t i, struct table *t)
{
    size_t begin, end, at = i + hunt_run(h, i, C_WORD, 6), most = at + 200 < h->n ? at + 200 : h->n;
    t->n = 0;
    while (at < most && h->p[at] != '(' && h->p[at] != ';')
        at++;
    if (hunt_at(h, at) != '(')
        return at;
    do {
        at = member(h, blanks(h, at + 1), &begin, &end);
        t->bits[t->n++] = words_find_name(h->words, hunt_str(h, begin, end));
    } while (t->n < COLUMNS && hunt_at(h, at) == ',');
    return blanks(h, at < h->n ? at + 1 : at);
}

/* "INSERT INTO t (a, b) VALUES ('x', 'y'), …" at `i`: behind what was read. */
static size_t insert(struct hunt *h, size_t i)
{
    struct table t;
    size_t begin, end, at = columns(h, i, &t);
    if (!t.n || !is_word(h, at, S("values")))
        return at;
    for (at = blanks(h, at + 6); hunt_at(h, at) == '(' && !h->e;) {
        unsigned n = 0;
        do {
            at = member(h, blanks(h, at + 1), &begin, &end);
            if (n < t.n)
                value(h, t.bits[n], begin, end);
            n++;
        } while (hunt_at(h, at) == ',');
        at = blanks(h, at < h->n ? at + 1 : at);
        if (hunt_at(h, at) == ',')
            at = blanks(h, at + 1);
    }
    return at;
}

/* Where the line at `i` has an INSERT: at its start, or at the start of a string. */
static size_t insert_at(const struct hunt *h, size_t i)
{
    size_t end = h->n - i < 40 ? h->n : i + 40;
    for (; i + RUN_STEP <= end; i += RUN_STEP) {
        run_bytes v = run_load(h->p + i);
        unsigned others = ~(run_equal(v, ' ') | run_equal(v, '\t') | run_equal(v, '"')) << RUN_STEP;
        if (others) {
            i += (size_t)__builtin_ctz(others) - RUN_STEP;
            break;
        }
    }
    while (i < end && (h->p[i] == ' ' || h->p[i] == '\t' || h->p[i] == '"'))
        i++;
    return i + 12 < h->n && (h->p[i] | 0x20) == 'i' && (h->p[i + 1] | 0x20) == 'n' && is_word(h, i, S("insert into ")) ? i : h->n;
}

/* The lines from `i` on that have the table's number of cells: behind the last. */
static size_t rows(struct hunt *h, size_t i, const struct table *t)
{
    for (size_t next; i < h->n && !h->e && row(h, i, next = line_end(h, i), t);)
        i = next;
    return i;
}

/* "COPY t (a, b) FROM stdin;" of PostgreSQL's dumps on the line at `i`, with lines of tabs below it: behind them, or `next`. */
static size_t copied(struct hunt *h, size_t i, size_t next)
{
    if ((hunt_at(h, i) | 0x20) != 'c' || !is_word(h, i, S("copy ")))
        return next;
    struct table t = { .separator = '\t' };
    struct hunt line = *h;              /* a head that does not end here is none: nothing behind it is read for it */
    line.n = next = line_end(h, i);
    if (!is_word(&line, columns(&line, i, &t), S("from stdin")))
        return next;
    return t.n > 1 ? rows(h, next, &t) : next;
}

/* What the line at `i` begins: an INSERT, a table, or nothing. Returns behind what was read, `i` when that is nothing. */
static size_t line_read(struct hunt *h, size_t i)
{
    struct table t;
    size_t sql = insert_at(h, i);
    if (sql < h->n) {
        sql = insert(h, sql);
        return sql > line_end(h, i) ? sql : line_end(h, i);
    }
    sql = copied(h, i, i);
    if (sql > i)
        return sql;
    t.separator = first_separator(h, i);
    if (!t.separator)
        return i;
    size_t next = line_end(h, i), from = next;
    if (next == h->n || !head(h, i, next, &t))
        return next;
    return rows(h, from, &t);
}

/* The same, and what stands behind an INSERT that ended inside of a line. */
static size_t lines_read(struct hunt *h, size_t i)
{
    size_t next = line_read(h, i);
    while (next > i && next < h->n && h->p[next - 1] != '\n' && !h->e) {
        i = next;
        next = line_read(h, i);
    }
    return next;
}

/* The line of the mark at `at`: one of "ins" stands in its INSERT, behind blanks and a quote. h->n: nothing begins there. */
static size_t line_of(const struct hunt *h, size_t at)
{
    char c = h->p[at];
    if (h->p[at - 1] == '\n')
        return c == '"' || c == '|' || (c | 0x20) == 'c' || (c | 0x20) == 'i' || first_separator(h, at) ? at : h->n;
    size_t i = at - 2, least = i > 40 ? i - 40 : 0;
    if (!is_word(h, i, S("insert into ")))
        return h->n;
    while (i > least && (h->p[i - 1] == ' ' || h->p[i - 1] == '\t' || h->p[i - 1] == '"'))
        i--;
    return i && h->p[i - 1] == '\n' && insert_at(h, i) < h->n ? i : h->n;
}

void hunt_tables(struct hunt *h)
{
    struct scan s = { .what = SCAN_LINES };
    uint16_t at[SCAN_CHUNK];
    size_t next = h->n ? lines_read(h, 0) : 0;
    for (size_t base = 0; base < h->n && !h->e; base += SCAN_CHUNK) {
        size_t found = h->scan(&s, h->p + base, h->n - base < SCAN_CHUNK ? h->n - base : SCAN_CHUNK, at);
        for (size_t i = 0; i < found && !h->e; i++) {
            size_t line = base + at[i] >= next ? line_of(h, base + at[i]) : h->n;
            if (line >= next && line < h->n)
                next = lines_read(h, line);
        }
    }
    h->done = h->dull = 0;
}
