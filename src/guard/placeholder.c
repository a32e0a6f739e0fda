/* guard/placeholder.c: HMAC, base32, and a table of how each type is normalised and which surrogate it has. */
#include "guard/placeholder.h"

#include <assert.h>
#include <stdio.h>

enum normal { AS_IS, LOWER, DIGITS, ALNUM, WORDS };
enum surrogate { NO_SURROGATE, MAIL, PHONE, CARD, SSN, IP, MAC };

static const struct { enum normal normal; enum surrogate surrogate; } kinds[GUARD_N_TYPES] = {
    [GUARD_EMAIL] = { LOWER, MAIL },
    [GUARD_PHONE] = { DIGITS, PHONE },
    [GUARD_CREDIT_CARD] = { DIGITS, CARD },
    [GUARD_IBAN] = { ALNUM, NO_SURROGATE },
    [GUARD_US_SSN] = { DIGITS, SSN },
    [GUARD_NATIONAL_ID] = { ALNUM, NO_SURROGATE },
    [GUARD_PASSPORT] = { ALNUM, NO_SURROGATE },
    [GUARD_IP_ADDRESS] = { LOWER, IP },
    [GUARD_MAC_ADDRESS] = { ALNUM, MAC },
    [GUARD_DATE_OF_BIRTH] = { AS_IS, NO_SURROGATE },
    [GUARD_PERSON] = { WORDS, NO_SURROGATE },
    [GUARD_ADDRESS] = { WORDS, NO_SURROGATE },
    [GUARD_SECRET] = { AS_IS, NO_SURROGATE },
    [GUARD_CUSTOM] = { AS_IS, NO_SURROGATE },
    [GUARD_OWN ... GUARD_N_TYPES - 1] = { LOWER, NO_SURROGATE },
};

static const size_t tag_lengths[PLACEHOLDER_ROUNDS] = { 5, 8, 13, 26 }, tail_lengths[PLACEHOLDER_ROUNDS] = { 2, 4, 8, 16 };
static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
static bool is_alnum(char c) { return is_digit(c) || is_letter(c); }
static bool is_hex(char c) { return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c; }

str placeholder_normal(struct arena *a, enum guard_type t, str value)
{
    char *to = arena_alloc(a, value.n + 1, 1);
    size_t n = 0;
    if (!to)
        return STR_NONE;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        switch (kinds[t].normal) {
        case AS_IS: to[n++] = c; break;
        case LOWER: to[n++] = lower(c); break;
        case DIGITS:
            if (is_digit(c) || (c == '+' && !n))
                to[n++] = c;
            break;
        case ALNUM:
            if (is_alnum(c) || (unsigned char)c >= 0x80)
                to[n++] = lower(c);
            break;
        case WORDS:
            if (c != ' ' && c != '\t')
                to[n++] = lower(c);
            else if (n && to[n - 1] != ' ')
                to[n++] = ' ';
            break;
        }
    }
    /* Without any byte left, all such values would be one: then each stands for itself. */
    return n ? (str){ to, n } : arena_str(a, value);
}

/* The HMAC of a purpose, a type and a text, with the round where the bytes themselves must change with it. The parts are told apart by zeros, which
 * the first three never hold. */
static struct digest keyed(const struct digest *key, str purpose, str name, unsigned round, str text)
{
    char joined[64 + PLACEHOLDER_VALUE_MAX];
    int n = snprintf(joined, 64, "%.*s%c%.*s%c%u", STR_ARG(purpose), 0, STR_ARG(name), 0, round);
    assert(n > 0 && n < 63);
    joined[n++] = '\0';
    /* Of a text that is too long for its place, its digest; nobody can have it for a shorter one, whose bytes stand as they are. */
    struct digest whole = { { 0 } };
    if (text.n > PLACEHOLDER_VALUE_MAX) {
        whole = sha256_of(text);
        text = (str){ (const char *)whole.b, sizeof whole.b };
    }
    if (text.n)
        memcpy(joined + n, text.p, text.n);
    return hmac_sha256((str){ (const char *)key->b, sizeof key->b }, (str){ joined, (size_t)n + text.n });
}

static void put_base32(const struct digest *d, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        size_t bit = 5 * i, at = bit / 8;
        unsigned two = (unsigned)d->b[at] << 8 | d->b[at + 1];
        out[i] = base32[two >> (11 - bit % 8) & 31];
    }
}

size_t placeholder_stem(const struct digest *key, str name, str normal, unsigned round, char out[PLACEHOLDER_MAX])
{
    struct digest d = keyed(key, S("value"), name, 0, normal);
    assert(round < PLACEHOLDER_ROUNDS && name.n + 1 + 26 + 1 + 16 < PLACEHOLDER_MAX);
    size_t n = str_join(out, PLACEHOLDER_MAX, (str[]){ name, S("_") }, 2);
    put_base32(&d, tag_lengths[round], out + n);
    return n + tag_lengths[round];
}

size_t placeholder_tail(const struct digest *key, str name, str stem, str value, unsigned round, char out[PLACEHOLDER_MAX])
{
    struct digest d = keyed(key, S("spelling"), name, 0, value);
    assert(round < PLACEHOLDER_ROUNDS && stem.n + 1 + 16 < PLACEHOLDER_MAX);
    memmove(out, stem.p, stem.n);
    out[stem.n] = '-';
    put_base32(&d, tail_lengths[round], out + stem.n + 1);
    return stem.n + 1 + tail_lengths[round];
}

/* Digits of the value replaced, everything else kept. false: it has other bytes than digits and separators, or too many digits. */
static bool put_digits(const struct digest *d, str value, char *out, size_t *n_digits)
{
    size_t n = 0;
    if (!value.n || value.n >= PLACEHOLDER_MAX)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (is_digit(c)) {
            if (n == sizeof d->b)
                return false;
            c = (char)('0' + d->b[n++] % 10);
        } else if (!memchr(" -./()+", c, 7)) {
            return false;
        }
        out[i] = c;
    }
    *n_digits = n;
    return n >= 5 && is_digit(value.p[value.n - 1]) && !memchr("-./ )", value.p[0], 5);
}

/* ISO/IEC 7812-1, annex B: every second digit from the right is doubled. */
static void put_check_digit(char *p, size_t n)
{
    unsigned sum = 0, place = 0;
    size_t last = n - 1;
    for (size_t i = last; i-- > 0;) {
        if (!is_digit(p[i]))
            continue;
        unsigned v = (unsigned)(p[i] - '0') << (place++ % 2 == 0);
        sum += v > 9 ? v - 9 : v;
    }
    p[last] = (char)('0' + (10 - sum % 10) % 10);
}

static bool put_phone(const struct digest *d, str value, char *out)
{
    size_t n;
    if (!put_digits(d, value, out, &n))
        return false;
    size_t i = 0;
    if (value.p[0] == '+') {
        for (unsigned nines = 0; i < value.n && nines < 3; i++)
            if (is_digit(out[i])) {
                out[i] = '9';
                nines++;
            }
        return true;
    }
    for (; i < value.n && !(is_digit(value.p[i]) && value.p[i] != '0'); i++)
        out[i] = value.p[i];            /* zeros that lead out of a place or a country stay */
    return true;
}

static bool put_ip(const struct digest *d, str value, char *out, size_t *n)
{
    bool v4 = true, v6 = str_index(value, ':') < value.n;
    for (size_t i = 0; i < value.n; i++) {
        v4 = v4 && (is_digit(value.p[i]) || value.p[i] == '.');
        v6 = v6 && (is_hex(value.p[i]) || value.p[i] == ':' || value.p[i] == '.');
    }
    if (v4)
        *n = (size_t)snprintf(out, PLACEHOLDER_MAX, "198.%d.%d.%d", 18 + d->b[0] % 2, d->b[1], d->b[2]);
    else if (v6)
        *n = (size_t)snprintf(out, PLACEHOLDER_MAX, "2001:db8:%02x%02x:%02x%02x::%02x%02x", d->b[0], d->b[1], d->b[2], d->b[3], d->b[4] | 0x10, d->b[5]);
    return v4 || v6;
}

static bool put_mac(const struct digest *d, str value, char *out)
{
    bool upper = false;
    size_t n = 0;
    if (value.n < 12 || value.n >= PLACEHOLDER_MAX)
        return false;
    for (size_t i = 0; i < value.n; i++)
        upper = upper || (value.p[i] >= 'A' && value.p[i] <= 'F');
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (is_hex(c)) {
            if (n == sizeof d->b)
                return false;
            c = n == 0 ? '0' : n == 1 ? '2' : (upper ? "0123456789ABCDEF" : "0123456789abcdef")[d->b[n] & 15];
            n++;
        } else if (c != ':' && c != '-' && c != '.') {
            return false;
        }
        out[i] = c;
    }
    return n == 12;
}

bool placeholder_has_surrogate(enum guard_type t) { return kinds[t].surrogate != NO_SURROGATE; }

bool placeholder_surrogate(const struct digest *key, enum guard_type t, str normal, str value, unsigned round, char out[PLACEHOLDER_MAX], size_t *n)
{
    size_t digits;
    assert(round < PLACEHOLDER_ROUNDS);
    if (kinds[t].surrogate == NO_SURROGATE || value.n > PLACEHOLDER_VALUE_MAX)
        return false;
    struct digest d = keyed(key, S("surrogate"), str_of(guard_type_name(NULL, t)), round, normal);
    *n = value.n;
    switch (kinds[t].surrogate) {
    case MAIL: {
        char tag[26];
        put_base32(&d, tag_lengths[round], tag);
        *n = (size_t)snprintf(out, PLACEHOLDER_MAX, "u-%.*s@masked.invalid", (int)tag_lengths[round], tag);
        return true;
    }
    case PHONE: return put_phone(&d, value, out);
    case IP: return put_ip(&d, value, out, n);
    case MAC: return put_mac(&d, value, out);
    case CARD:
    case SSN:
        if (!put_digits(&d, value, out, &digits) || !is_digit(value.p[0]))
            return false;
        out[0] = '9';
        if (kinds[t].surrogate == CARD)
            put_check_digit(out, value.n);
        return true;
    default: return false;
    }
}

bool placeholder_number(const struct digest *key, enum guard_type t, str value, unsigned round, char out[PLACEHOLDER_MAX], size_t *n)
{
    size_t digits;
    assert(round < PLACEHOLDER_ROUNDS);
    struct digest d = keyed(key, S("number"), t < GUARD_OWN ? str_of(guard_type_name(NULL, t)) : S("OWN"), round, value);
    if (!put_digits(&d, value, out, &digits) || digits != value.n || digits < 7)
        return false;
    out[0] = '9';
    *n = value.n;
    return true;
}

static bool goes_on(char c) { return is_alnum(c) || c == '@' || c == '_' || c == '-' || (unsigned char)c >= 0x80; }

bool placeholder_fits(str before, str after)
{
    if (before.n) {
        char c = before.p[before.n - 1];
        /* JSON writes most control characters with a letter or digit at the end. */
        if (goes_on(c) || c == '.' || c == '+' || c == '\\' || ((unsigned char)c < 0x20 && !memchr("\n\t\r\b\f", c, 5)))
            return false;
    }
    if (!after.n)
        return true;
    /* A full stop ends a sentence unless something goes on behind it. */
    if (after.p[0] == '.')
        return after.n == 1 || !goes_on(after.p[1]);
    return !goes_on(after.p[0]);
}

/* What stands behind "EMAIL_". */
static bool is_tag(str tag)
{
    str tail;
    bool tailed = str_cut(tag, '-', &tag, &tail), right = false;
    for (unsigned i = 0; i < PLACEHOLDER_ROUNDS; i++)
        right = right || tag.n == tag_lengths[i];
    for (size_t i = 0; i < tag.n && right; i++)
        right = memchr(base32, lower(tag.p[i]), 32) != NULL;
    for (size_t i = 0; tailed && i < tail.n && right; i++)
        right = memchr(base32, lower(tail.p[i]), 32) != NULL;
    return right;
}

bool placeholder_is_stem(const struct guard_finder *f, str s)
{
    for (unsigned t = 0; t < GUARD_N_TYPES; t++) {
        str name = str_of(guard_type_name(f, (enum guard_type)t));
        if (!name.n)
            break;
        if (s.n > name.n && s.p[name.n] == '_' && str_ieq((str){ s.p, name.n }, name) && is_tag(str_skip(s, name.n + 1)))
            return true;
    }
    return false;
}

bool placeholder_may_be_stem(str s)
{
    size_t n = s.n;                     /* of the name: up to the last "_", which no tag has */
    while (n && s.p[n - 1] != '_')
        n--;
    if (n < 3 || n > 25 || !is_letter(s.p[0]) || !is_tag(str_skip(s, n)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '_')
            return false;
    return true;
}
