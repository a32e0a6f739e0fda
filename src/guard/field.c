/* guard/field.c: fields and labels: what stands behind the ':' or '=' of a name that tells what it is, in JSON, YAML, source, INI files, forms and logs. */
#include "guard/hunt.h"

enum { VALUE_MAX = 512, LINE_MAX = 160 };

static bool is_quote(char c) { return c == '"' || c == '\'' || c == '`'; }

/* The name before `at`: its bits. */
static uint32_t field_bits(const struct hunt *h, size_t at)
{
    size_t end = at;
    while (end && at - end < 3 && (h->p[end - 1] == ' ' || h->p[end - 1] == '*' || h->p[end - 1] == '.'))
        end--;
    if (end && (is_quote(h->p[end - 1]) || h->p[end - 1] == ']'))
        end -= 1 + (end > 1 && (h->p[end - 2] == '\\' || is_quote(h->p[end - 2])));
    size_t begin = end - hunt_back(h, end, C_WORD | C_DASH, NAME_LONGEST);
    if (end - begin < 2 || end - begin == NAME_LONGEST)
        return 0;
    uint32_t bits = words_find_name(h->words, hunt_str(h, begin, end));
    for (int more = 0; h->p[at] == ':' && more < 2 && begin > 1 && h->p[begin - 1] == ' ' && is(h->p[begin - 2], C_WORD); more++) {
        begin -= 1 + hunt_back(h, begin - 1, C_WORD | C_DASH, WORD_LONGEST);
        uint32_t longer = words_find_name(h->words, hunt_str(h, begin, end));
        bits |= longer;
    }
    return bits;
}

/* The first of a quote, a '\\' and a line's end from `i` on: nothing else says where a quoted text ends. `end` or more: none before it. */
static size_t telling(const struct hunt *h, size_t i, char quote, size_t end)
{
    for (; i < end && i + RUN_STEP <= h->n; i += RUN_STEP) {
        run_bytes v = run_load(h->p + i);
        unsigned found = run_equal(v, quote) | run_equal(v, '\\') | run_equal(v, '\n');
        if (found)
            return i + (size_t)__builtin_ctz(found);
    }
    while (i < end && h->p[i] != quote && h->p[i] != '\\' && h->p[i] != '\n')
        i++;
    return i;
}

/* The end of the quoted text that starts behind the quote at `i`, or 0: none on this line. */
static size_t quoted_end(const struct hunt *h, size_t i, bool escaped)
{
    char q = h->p[i];
    const size_t end = h->n - i > VALUE_MAX ? i + VALUE_MAX + 1 : h->n;
    for (size_t k = i + 1; (k = telling(h, k, q, end)) < end; k++) {
        char c = h->p[k];
        if (c == '\n')
            return 0;
        if (escaped && c == '\\' && hunt_at(h, k + 1) == q)
            return k;
        if (!escaped && c == '\\')
            k++;
        else if (c == q)
            return k;
    }
    return 0;
}

/* "&name=" behind a value of a query. */
static bool is_next_parameter(const struct hunt *h, size_t i)
{
    size_t k = hunt_run(h, i + 1, C_WORD | C_DASH, 32);
    return k && hunt_at(h, i + 1 + k) == '=';
}

/* A bare value: of one word for secrets, else to the end of its line or of its cell. */
static size_t bare_end(const struct hunt *h, size_t i, bool word)
{
    static const uint8_t may_end[256] = {           /* 1: any value; 2: one of a word; 4: one of a line */
        [0 ... ' ' - 1] = 1, ['"'] = 1, ['<'] = 1, ['|'] = 1, [';'] = 1, ['{'] = 1, ['}'] = 1, ['='] = 6, [' '] = 6, [','] = 2, ['&'] = 2, ['\''] = 2, ['`'] = 2, ['>'] = 2,
        ['\\'] = 2, ['('] = 4, [':'] = 4,
    };
    size_t k = i, most = word ? (size_t)VALUE_MAX : (size_t)LINE_MAX, end = h->n - i < most ? h->n : i + most;
    for (; k < end; k++) {
        unsigned char c = (unsigned char)h->p[k], ends = may_end[c];
        if (!(ends & (word ? 3 : 5)))
            continue;
        if (ends & 1)
            break;
        if (word && ((c == '=' && is(hunt_at(h, k + 1), C_WORD)) || c == ' ' || c == ',' || (c == '&' && is_next_parameter(h, k)) || c == '\'' || c == '`' || c == '>' || c == '\\'))
            break;
        if (!word && (c == '(' || c == '=' || (c == ' ' && hunt_at(h, k + 1) == ' ')))
            break;
        if (!word && c == ':' && hunt_at(h, k + 1) == ' ')
            return i;                   /* the next label */
    }
    while (k > i && h->p[k - 1] == ' ')
        k--;
    return k;
}

/* What a byte is around a ':' or '=': may end the name before it; ends every bare value behind it, whatever the name says; is no start of one. */
enum { K_NAME = 1, K_END = 2, K_NONE = 4 };
static const uint8_t kinds[256] = {
    [0 ... ' ' - 1] = K_END | K_NONE, ['<'] = K_END | K_NONE, ['|'] = K_END | K_NONE, ['{'] = K_END | K_NONE, ['}'] = K_END | K_NONE,
    ['('] = K_NONE, ['['] = K_NONE, ['\\'] = K_NONE,
    ['"'] = K_NAME | K_END | K_NONE, ['\''] = K_NAME, ['`'] = K_NAME, [' '] = K_NAME, ['*'] = K_NAME, ['.'] = K_NAME, [']'] = K_NAME, ['-'] = K_NAME, ['_'] = K_NAME,
    ['0' ... '9'] = K_NAME, ['A' ... 'Z'] = K_NAME, ['a' ... 'z'] = K_NAME, [0x80 ... 0xFF] = K_NAME,
};
static inline bool is_kind(char c, unsigned k) { return kinds[(unsigned char)c] & k; }

/* Whether what stands at `i` without quotes can be no value of any kind, as most of what source code assigns: nothing, a call, an index, a name of a variable, a small
 * number. A secret has a digit, a date too; a name starts with a capital, a title or a particle and a blank; an address has a digit and no '_'. It costs
 * less to see than what the name before it says. */
static bool is_no_value(const struct hunt *h, size_t i)
{
    char c = hunt_at(h, i);
    if (is_kind(c, K_NONE))
        return true;
    size_t k = i;
    if (is(c, C_DIGIT)) {
        k += hunt_run(h, i, C_DIGIT, 6);
        return k - i < 6 && (is_kind(hunt_at(h, k), K_END) || hunt_at(h, k) == ';');
    }
    bool under = false;
    for (;; k++) {
        k += hunt_run(h, k, C_ALPHA, SIZE_MAX);
        c = hunt_at(h, k);
        under = under || c == '_';
        if (c != '_' && (c != '.' || k == i || !is(hunt_at(h, k + 1), C_ALPHA | C_UNDER)))
            break;
    }
    if (k == i || (!under && !is(h->p[i], C_LOWER)))
        return false;
    return is_kind(c, K_END) || c == ';' || c == '(' || c == '[' || (c == '-' && hunt_at(h, k + 1) == '>') || (under && (c == ' ' || c == ','));
}

/* Where the value of the field begins whose ':' or '=' is at `at`: at its quote, or before a '\\' and the quote. */
static inline size_t value_start(const struct hunt *h, size_t at)
{
    size_t i = at + 1;
    while (i < h->n && i - at < 4 && (h->p[i] == '=' || h->p[i] == '>' || h->p[i] == ':'))
        i++;
    while (i < h->n && i - at < 6 && (h->p[i] == ' ' || h->p[i] == '\t' || h->p[i] == '*'))
        i++;
    if (i + 1 < h->n && is_quote(h->p[i + 1]) && (h->p[i] == 'b' || h->p[i] == 'f' || h->p[i] == 'r' || h->p[i] == 'u'))
        i++;
    return i;
}

void rule_field(struct hunt *h, size_t at)
{
    if (h->p[at] == ':' && hunt_at(h, at + 1) == '/' && hunt_at(h, at + 2) == '/') {
        rule_uri(h, at);
        return;
    }
    if (!at || !is_kind(h->p[at - 1], K_NAME))
        return;
    size_t i = value_start(h, at);
    bool escaped = hunt_at(h, i) == '\\' && is_quote(hunt_at(h, i + 1));
    i += escaped;
    bool quoted = i < h->n && is_quote(h->p[i]);
    if (quoted ? !escaped && hunt_at(h, i + 1) == h->p[i] : is_no_value(h, i))
        return;
    uint32_t bits = field_bits(h, at) & (W_NAME | W_ADDRESS | W_PASSWORD | W_TOKEN | W_BIRTH | W_PHONE | W_PASSPORT | W_GIVEN | W_CARD | W_WEAK);
    if (!bits || (bits & ~(uint32_t)W_WEAK) == 0)
        return;
    if (bits & W_PASSWORD && bits & W_WEAK && !quoted && h->p[at] == ':')
        return;                         /* "PASS: …" is a test's */
    if (bits & W_ADDRESS && hunt_at(h, i) == ';') {         /* ADR of a vCard (RFC 6350, 6.3.1) */
        while (i < h->n && h->p[i] == ';')
            i++;
        size_t parts = i;
        for (; parts < h->n && parts - i < VALUE_MAX && h->p[parts] != '\n' && h->p[parts] != '\r';)
            parts++;
        (void)rule_address_value(h, i, parts, true);
        return;
    }
    if (!quoted && bits & W_TOKEN)
        i += secret_scheme(hunt_str(h, i, i + 8 < h->n ? i + 8 : h->n));
    size_t end = quoted ? quoted_end(h, i, escaped) : bare_end(h, i, bits & (W_PASSWORD | W_TOKEN));
    i += quoted;
    if (end > i)
        rule_value(h, bits, i, end, quoted);
}

/* ---- typed values ---- */

static bool value_phone(struct hunt *h, size_t begin, size_t end)
{
    size_t digits = 0;
    for (size_t i = begin; i < end; i++) {
        digits += is(h->p[i], C_DIGIT);
        if (!is(h->p[i], C_DIGIT) && !strchr("+-./() ", h->p[i]))
            return false;
    }
    if (digits < 7 || digits > 15)
        return false;
    hunt_add(h, begin, end, RULE_phone_field, 92);
    h->done = end;
    return true;
}

static bool value_birth(struct hunt *h, size_t begin, size_t end)
{
    size_t i = begin, from, to;
    while (i < end && i - begin < 16 && !is(h->p[i], C_DIGIT))
        i++;
    if (i >= end || !(to = hunt_date(h, i, &from)) || to > end || from != begin)
        return false;
    hunt_add(h, from, to, RULE_birth_date_field, 95);
    h->done = to;
    return true;
}

void rule_value(struct hunt *h, uint32_t bits, size_t begin, size_t end, bool quoted)
{
    if (bits & (W_PASSWORD | W_TOKEN)) {
        if (rule_secret_value(h, bits, begin, end, quoted) && h->done < end)
            h->done = end;
        return;
    }
    if (bits & W_BIRTH && value_birth(h, begin, end))
        return;
    if (bits & W_PHONE && !(bits & W_WEAK) && quoted && value_phone(h, begin, end))
        return;
    if (bits & W_NAME && rule_name_value(h, bits, begin, end, quoted))
        return;
    if (bits & W_ADDRESS)
        (void)rule_address_value(h, begin, end, quoted);
}
