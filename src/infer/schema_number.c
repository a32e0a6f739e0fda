/* Numbers within bounds, digit by digit. While the digits so far equal those of a bound, the next is bound by it, too; once they are apart, any
 * digit will do. All is done in decimal, as the schema has it: at most 15 digits, so that what is read as a double keeps the order. */
#include "infer/schema_state.h"

#include <inttypes.h>
#include <stdlib.h>

enum { DIGITS = 15, FREE_WHOLE = 9, FREE_FRACTION = 8, MULTIPLE_MAX = 100, MULTIPLE_DIGITS = 9, LIST_MAX = 500 };
#define WHOLE_END INT64_C(1000000000000000)     /* ten to the power of DIGITS */

/* An absolute value. */
struct amount {
    int64_t whole;
    char fraction[DIGITS];              /* without zeros at its end */
    int n;
    bool huge;                          /* WHOLE_END or more */
};
struct bound { bool set, open, negative; struct amount x; };

/* What bounds the digits that come. */
struct limit { bool set, open; const char *digits; int n; };

/* ---- a schema's number ---- */

static bool add_digit(struct amount *x, int place, char digit)
{
    if (place > 0) {
        x->whole = x->whole * 10 + (digit - '0');
        x->huge |= x->whole >= WHOLE_END;
        x->whole = x->huge ? WHOLE_END : x->whole;
        return true;
    }
    if (-place >= DIGITS)
        return digit == '0';
    x->fraction[-place] = digit;
    x->n = digit != '0' ? 1 - place : x->n;
    return true;
}

/* -12.5e3. False: it has more digits after the point than are compared. */
static bool read_bound(str text, struct bound *out)
{
    struct bound b = { .set = true };
    str mantissa, exponent, whole, fraction;
    int64_t shift = 0;
    bool sign = str_starts(text, S("-")), exact = true;
    text = str_skip(text, sign);
    if (!str_cut(text, 'e', &mantissa, &exponent) && !str_cut(text, 'E', &mantissa, &exponent))
        exponent = STR_NONE;
    if (str_starts(exponent, S("+")))
        exponent = str_skip(exponent, 1);
    if (exponent.n && (!str_i64(exponent, &shift) || shift > 400 || shift < -400))
        return false;
    (void)str_cut(mantissa, '.', &whole, &fraction);
    int place = (int)whole.n + (int)shift;          /* of the first digit: 1 is that before the point */
    for (int p = 0; p > place && -p < DIGITS; p--)
        b.x.fraction[-p] = '0';
    for (size_t i = 0; i < whole.n + fraction.n && place > -10000; i++, place--)
        exact &= add_digit(&b.x, place, i < whole.n ? whole.p[i] : fraction.p[i - whole.n]);
    for (; place > 0 && !b.x.huge && b.x.whole; place--)
        (void)add_digit(&b.x, place, '0');
    b.negative = sign && (b.x.whole || b.x.n || b.x.huge);
    *out = b;
    return exact;
}

static int compare(const struct bound *a, const struct bound *b)
{
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    int order = a->x.whole != b->x.whole ? (a->x.whole < b->x.whole ? -1 : 1) : str_cmp(str_slice(a->x.fraction, (size_t)a->x.n), str_slice(b->x.fraction, (size_t)b->x.n));
    return a->negative ? -order : order;
}

static enum err tighten(struct converter *c, json s, const char *keyword, json v, bool upper, bool open, struct bound *to)
{
    struct bound b;
    if (json_type(v) == JSON_NONE)
        return ERR_OK;
    if (json_type(v) != JSON_NUMBER)
        return schema_fail(c, ERR_SYNTAX, s, keyword, "must be a number");
    if (!read_bound(json_span(v), &b))
        return schema_fail(c, ERR_UNSUPPORTED, s, keyword, "has more digits than can be compared (15 after the point)");
    if (b.x.huge && b.negative == upper)
        return schema_fail(c, ERR_UNSUPPORTED, s, keyword, "numbers of more than 15 digits are not made");
    b.open = open;
    if (b.x.huge)
        return ERR_OK;
    int order = to->set ? compare(&b, to) : 0;
    if (!to->set || (upper ? order < 0 : order > 0) || (order == 0 && open))
        *to = b;
    return ERR_OK;
}

/* exclusiveMinimum is a number, or in draft 4 says of `minimum` that it is one. */
static enum err read_bounds(struct converter *c, const struct view *v, struct bound *min, struct bound *max)
{
    *min = *max = (struct bound){ .set = false };
    for (uint32_t i = 0; i < v->n; i++) {
        json s = v->p[i].s, low = schema_member(c, s, "exclusiveMinimum"), high = schema_member(c, s, "exclusiveMaximum");
        bool low_open = json_type(low) == JSON_TRUE, high_open = json_type(high) == JSON_TRUE;
        low = low_open || json_type(low) == JSON_FALSE ? JSON_ABSENT : low;
        high = high_open || json_type(high) == JSON_FALSE ? JSON_ABSENT : high;
        enum err e = tighten(c, s, "minimum", schema_member(c, s, "minimum"), false, low_open, min);
        e = e ? e : tighten(c, s, "maximum", schema_member(c, s, "maximum"), true, high_open, max);
        e = e ? e : tighten(c, s, "exclusiveMinimum", low, false, true, min);
        e = e ? e : tighten(c, s, "exclusiveMaximum", high, true, true, max);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- whole numbers ---- */

static void put_digits(struct rules *o, char from, char to) { rules_put(o, from == to ? "\"%c\"" : "[%c-%c]", from, to); }

static void put_any(struct rules *o, size_t n)
{
    if (n)
        rules_put(o, " [0-9]{%zu}", n);
}

/* Digits of a number of the same length that is at least, or at most, `d`. */
static void put_side(struct rules *o, str d, bool least)
{
    char last = least ? '9' : '0', first = least ? '0' : '9';
    size_t same = 0;
    while (same < d.n && d.p[same] == first)
        same++;
    if (same == d.n) {
        put_any(o, d.n);
        return;
    }
    rules_put(o, " (");
    put_digits(o, d.p[0], d.p[0]);
    put_side(o, str_skip(d, 1), least);
    if (d.p[0] != last) {
        rules_put(o, " | ");
        put_digits(o, least ? (char)(d.p[0] + 1) : '0', least ? '9' : (char)(d.p[0] - 1));
        put_any(o, d.n - 1);
    }
    rules_put(o, ")");
}

static void put_between(struct rules *o, str low, str high)
{
    size_t same = 0;
    while (same < low.n && low.p[same] == high.p[same])
        same++;
    if (same)
        rules_put(o, "\"%.*s\" ", (int)same, low.p);
    low = str_skip(low, same);
    high = str_skip(high, same);
    if (!low.n)
        return;
    rules_put(o, "(");
    put_digits(o, low.p[0], low.p[0]);
    put_side(o, str_skip(low, 1), true);
    rules_put(o, " | ");
    if (low.p[0] + 1 < high.p[0]) {
        put_digits(o, (char)(low.p[0] + 1), (char)(high.p[0] - 1));
        put_any(o, low.n - 1);
        rules_put(o, " | ");
    }
    put_digits(o, high.p[0], high.p[0]);
    put_side(o, str_skip(high, 1), false);
    rules_put(o, ")");
}

/* 0 <= low <= high */
static void put_range(struct rules *o, int64_t low, int64_t high)
{
    rules_put(o, "(");
    for (int64_t from = low; from <= high;) {
        char a[STR_I64], b[STR_I64];
        str first = str_from_i64(from, a);
        int64_t end = 1;
        for (size_t i = 0; i < first.n; i++)
            end *= 10;
        end = end - 1 < high ? end - 1 : high;
        if (from > low)
            rules_put(o, " | ");
        put_between(o, first, str_from_i64(end, b));
        from = end + 1;
    }
    rules_put(o, ")");
}

/* The least whole number that `b` allows (or the greatest, for an upper bound). */
static int64_t whole_of(const struct bound *b, bool upper)
{
    int64_t v = b->negative ? -b->x.whole : b->x.whole;
    if (b->x.n)
        return upper ? v - b->negative : v + !b->negative;
    return b->open ? v + (upper ? -1 : 1) : v;
}

static void put_integers(struct rules *o, int64_t low, int64_t high)
{
    if (low < 0) {
        rules_put(o, "\"-\" ");
        put_range(o, high < 0 ? -high : 1, -low);
    }
    if (low < 0 && high >= 0)
        rules_put(o, " | ");
    if (high >= 0)
        put_range(o, low > 0 ? low : 0, high);
    rules_put(o, "\n");
}

/* ---- multiples ---- */

static enum err read_multiple(struct converter *c, const struct view *v, int64_t *out, json *given)
{
    *out = 1;
    for (uint32_t i = 0; i < v->n; i++) {
        json m = schema_member(c, v->p[i].s, "multipleOf");
        struct bound b;
        if (json_type(m) == JSON_NONE)
            continue;
        *given = v->p[i].s;
        if (json_type(m) != JSON_NUMBER || !read_bound(json_span(m), &b) || b.negative || (!b.x.whole && !b.x.n))
            return schema_fail(c, ERR_SYNTAX, v->p[i].s, "multipleOf", "must be a number above 0 of at most 15 digits");
        if (b.x.n || b.x.huge || (*out > 1 && *out != b.x.whole))
            return schema_fail(c, ERR_UNSUPPORTED, v->p[i].s, "multipleOf", "only one whole number of at most 15 digits can be honoured");
        *out = b.x.whole;
    }
    return ERR_OK;
}

static void put_list(struct rules *o, int64_t low, int64_t high, int64_t m)
{
    bool any = false;
    int64_t first = low / m * m;
    for (int64_t x = first < low ? first + m : first; x <= high; x += m, any = true)
        rules_put(o, "%s\"%" PRId64 "\"", any ? " | " : "", x);
    rules_put(o, "%s\n", any ? "" : rules_use(o, PRIMITIVE_NEVER));
}

/* NAMEq5x3: up to three digits more make a multiple of what leaves 5 so far. */
static void put_remainders(struct rules *o, const char *name, int m, bool negative, bool zero)
{
    rules_put(o, "%s%sfirst%s\n%sfirst ::= ", negative ? "\"-\"? " : "", name, zero ? " | \"0\"" : "", name);
    for (int d = 1; d < 10; d++)
        rules_put(o, "%s\"%d\" %sq%dx%d", d > 1 ? " | " : "", d, name, d % m, MULTIPLE_DIGITS - 1);
    rules_put(o, "\n");
    for (int left = 0; left < MULTIPLE_DIGITS; left++)
        for (int k = 0; k < m; k++) {
            rules_put(o, "%sq%dx%d ::= %s", name, k, left, k == 0 ? "\"\"" : left == 0 ? rules_use(o, PRIMITIVE_NEVER) : "");
            for (int d = 0; d < 10 && left; d++)
                rules_put(o, "%s\"%d\" %sq%dx%d", d > 0 || k == 0 ? " | " : "", d, name, (k * 10 + d) % m, left - 1);
            rules_put(o, "\n");
        }
}

static enum err write_multiples(struct converter *c, json given, const struct bound *min, const struct bound *max, int64_t low, int64_t high, int64_t m, const char *name)
{
    if (min->set && max->set && (high - low) / m < LIST_MAX) {
        put_list(c->o, low, high, m);
        return ERR_OK;
    }
    if (m > MULTIPLE_MAX || max->set || (min->set && (low < 0 || low > m)))
        return schema_fail(c, ERR_UNSUPPORTED, given, "multipleOf", "of more than 100, or with these bounds, cannot be honoured (at most 500 values between minimum and maximum can)");
    put_remainders(c->o, name, (int)m, !min->set, !min->set || low == 0);
    return ERR_OK;
}

/* ---- fractions ---- */

static const struct limit free_limit;

static struct limit rest(struct limit l)
{
    return l.n ? (struct limit){ l.set, l.open, l.digits + 1, l.n - 1 } : l;
}

/* The number may end here: what would follow is zeros. */
static bool may_end(struct limit low, struct limit high)
{
    return (!low.set || (low.n == 0 && !low.open)) && (!high.set || high.n > 0 || !high.open);
}

static bool put_fraction(struct rules *o, struct limit low, struct limit high, int left, bool must);

static bool put_group(struct rules *o, bool *any, char from, char to, struct limit low, struct limit high, int left)
{
    size_t back = o->b.n;
    if (from > to)
        return false;
    rules_put(o, "%s", *any ? " | " : "");
    put_digits(o, from, to);
    rules_put(o, " ");
    bool ok = put_fraction(o, low, high, left - 1, false);
    if (ok)
        *any = true;
    else
        o->b.n = back;
    return ok;
}

/* Digits after the point, at most `left`, at least one where there `must` be. False, and nothing is written: there are none. */
static bool put_fraction(struct rules *o, struct limit low, struct limit high, int left, bool must)
{
    size_t back = o->b.n;
    bool any = !must && may_end(low, high);
    if (!low.set && !high.set) {
        if (left > 0)
            rules_put(o, "[0-9]{%d,%d}", must, left);
        else
            rules_put(o, "\"\"");
        return left > 0 || !must;
    }
    rules_put(o, "(%s", any ? "\"\"" : "");
    char from = low.set && low.n ? low.digits[0] : '0', to = !high.set ? '9' : high.n ? high.digits[0] : '0';
    if (left > 0 && from == to) {
        (void)put_group(o, &any, from, to, low.set ? rest(low) : free_limit, high.set ? rest(high) : free_limit, left);
    } else if (left > 0) {
        if (low.set)
            (void)put_group(o, &any, from, from, rest(low), free_limit, left);
        (void)put_group(o, &any, (char)(from + low.set), (char)(to - high.set), free_limit, free_limit, left);
        if (high.set && from < to)
            (void)put_group(o, &any, to, to, free_limit, rest(high), left);
    }
    rules_put(o, ")");
    if (!any)
        o->b.n = back;
    return any;
}

/* What stands behind the whole part: nothing, or a point and digits. */
static bool put_tail(struct rules *o, struct limit low, struct limit high, int places)
{
    size_t back = o->b.n;
    bool any = may_end(low, high);
    rules_put(o, " (%s", any ? "\"\"" : "");
    size_t point = o->b.n;
    rules_put(o, "%s\".\" ", any ? " | " : "");
    if (places > 0 && put_fraction(o, low, high, places, true))
        any = true;
    else
        o->b.n = point;
    rules_put(o, ")");
    if (!any)
        o->b.n = back;
    return any;
}

static bool put_one(struct rules *o, bool any, int64_t from, int64_t to, struct limit low, struct limit high, int places)
{
    size_t back = o->b.n;
    if (from > to)
        return false;
    rules_put(o, "%s", any ? " | " : "");
    put_range(o, from, to);
    bool ok = put_tail(o, low, high, places);
    if (!ok)
        o->b.n = back;
    return ok;
}

/* From low to high, both without their signs. */
static bool put_amounts(struct rules *o, const struct bound *low, const struct bound *high, int places)
{
    struct limit l = { true, low->open, low->x.fraction, low->x.n }, h = { true, high->open, high->x.fraction, high->x.n };
    int64_t a = low->x.whole, b = high->x.whole;
    bool any = false;
    if (a > b || (a == b && str_cmp(str_slice(l.digits, (size_t)l.n), str_slice(h.digits, (size_t)h.n)) > 0))
        return false;
    if (a == b)
        return put_one(o, false, a, a, l, h, places);
    any |= put_one(o, any, a, a, l, free_limit, places);
    any |= put_one(o, any, a + 1, b - 1, free_limit, free_limit, places);
    any |= put_one(o, any, b, b, free_limit, h, places);
    return any;
}

static int digits_of(int64_t v)
{
    int n = 1;
    for (; v > 9; v /= 10)
        n++;
    return n;
}

static enum err write_decimals(struct converter *c, const struct view *v, struct bound min, struct bound max)
{
    struct rules *o = c->o;
    static const struct bound zero = { .set = true }, above_zero = { .set = true, .open = true };
    int64_t most = min.x.whole > max.x.whole ? min.x.whole : max.x.whole, end = 1;
    int whole = digits_of(most), fraction = min.x.n > max.x.n ? min.x.n : max.x.n;
    if (!min.set || !max.set)
        whole = whole < FREE_WHOLE ? FREE_WHOLE : whole < DIGITS ? whole + 1 : DIGITS;
    int places = DIGITS - whole < FREE_FRACTION ? DIGITS - whole : FREE_FRACTION;
    places = places > fraction ? places : fraction;
    if (whole + places > DIGITS)
        return schema_fail(c, ERR_UNSUPPORTED, v->p[0].s, min.set ? "minimum" : "maximum", "numbers of more than 15 digits are not made");
    for (int i = 0; i < whole; i++)
        end *= 10;
    min = min.set ? min : (struct bound){ .set = true, .negative = true, .x = { .whole = end - 1 } };
    max = max.set ? max : (struct bound){ .set = true, .x = { .whole = end - 1 } };
    size_t back = o->b.n;
    bool any = false;
    if (min.negative) {
        rules_put(o, "\"-\" (");
        any = put_amounts(o, max.negative ? &max : &above_zero, &min, places);
        rules_put(o, ")");
        if (!any)
            o->b.n = back;
    }
    back = o->b.n;
    rules_put(o, "%s", any ? " | " : "");
    if (!max.negative && put_amounts(o, min.negative ? &zero : &min, &max, places))
        any = true;
    else
        o->b.n = back;
    rules_put(o, "%s\n", any ? "" : rules_use(o, PRIMITIVE_NEVER));
    return ERR_OK;
}

/* ---- the rule ---- */

static bool is_int32(struct converter *c, const struct view *v)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (json_is(schema_member(c, v->p[i].s, "format"), S("int32")))
            return true;
    return false;
}

bool number_is_plain(struct converter *c, const struct view *v)
{
    static const char *const keywords[] = { "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf" };
    for (uint32_t i = 0; i < v->n; i++)
        for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++)
            if (json_type(schema_member(c, v->p[i].s, keywords[k])) != JSON_NONE)
                return false;
    return !is_int32(c, v);
}

enum err write_number(struct converter *c, const struct view *v, bool integer, const char *name)
{
    struct bound min, max;
    int64_t multiple = 1;
    json given = JSON_ABSENT;
    enum err e = read_bounds(c, v, &min, &max);
    e = e ? e : read_multiple(c, v, &multiple, &given);
    if (e)
        return e;
    rules_put(c->o, "%s ::= ", name);
    if (!integer && json_type(given) == JSON_NONE)
        return write_decimals(c, v, min, max);
    int64_t low = min.set ? whole_of(&min, false) : -WHOLE_END + 1, high = max.set ? whole_of(&max, true) : WHOLE_END - 1;
    if (is_int32(c, v)) {
        low = low > INT32_MIN ? low : INT32_MIN;
        high = high < INT32_MAX ? high : INT32_MAX;
    }
    if (low > high)
        rules_put(c->o, "%s\n", rules_use(c->o, PRIMITIVE_NEVER));
    else if (multiple > 1)
        return write_multiples(c, given, &min, &max, low, high, multiple, name);
    else
        put_integers(c->o, low, high);
    return ERR_OK;
}
