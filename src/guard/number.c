/* guard/number.c: what starts with digits, or has them: cards, accounts, addresses of machines, dates of birth, passports. One token or group of digits is read
 * once: what is no value as a whole is no value from its middle either. */
#include "guard/check.h"
#include "guard/hunt.h"

/* ---- cards ---- */

/* The sizes of groups that cards are printed in. */
static const char *const card_sizes[] = { "4444", "465", "464", "44441", "44442", "44443", "4447", "466" };

/* Groups of digits with one separator between them, which stays the same: how many digits, and where each group ends. */
struct groups { char digits[CHECK_ROOM]; uint8_t size[8]; size_t end[8], n; unsigned count; };

static void groups_read(const struct hunt *h, size_t i, struct groups *g)
{
    char separator = 0;
    memset(g, 0, sizeof *g);
    while (g->count < 8) {
        size_t k = hunt_run(h, i, C_DIGIT, 24);
        if (!k || g->n + k > 24)
            return;
        memcpy(g->digits + g->n, h->p + i, k);
        g->n += k;
        i += k;
        g->size[g->count] = (uint8_t)k;
        g->end[g->count++] = i;
        char c = hunt_at(h, i);
        if ((c != ' ' && c != '-') || (separator && c != separator))
            return;
        separator = c;
        i++;
    }
}

static bool card_add(struct hunt *h, size_t begin, size_t end)
{
    if (!hunt_alone_after(h, end))
        return false;
    hunt_add(h, begin, end, RULE_card, hunt_context(h, begin) & W_CARD ? 98 : 80);
    h->done = end;
    return true;
}

static bool rule_card(struct hunt *h, size_t at, size_t run)
{
    struct groups g;
    char after = hunt_at(h, at + run);
    if (run == 4 ? (after != ' ' && after != '-') || !is(hunt_at(h, at + 5), C_DIGIT) : run < 13 || run > 19)
        return false;
    groups_read(h, at, &g);
    if (g.size[0] >= 13 && g.size[0] <= 19)
        return check_card(g.digits, g.size[0]) && (g.size[0] > 13 || hunt_context(h, at) & W_CARD) && card_add(h, at, g.end[0]);
    if (g.size[0] != 4 || g.count < 3)
        return false;
    for (size_t s = 0; s < sizeof card_sizes / sizeof *card_sizes; s++) {
        size_t digits = 0, k = 0;
        for (; card_sizes[s][k] && k < g.count && g.size[k] == card_sizes[s][k] - '0'; k++)
            digits += g.size[k];
        if (card_sizes[s][k])
            continue;
        if (check_card(g.digits, digits) && card_add(h, at, g.end[k - 1]))
            return true;
        if (k == 4)
            h->dull = g.end[k - 1];         /* printed like a card, and none: nor are its parts anything */
    }
    return h->dull > at;
}

/* ---- accounts ---- */

/* Capitals in groups, or without any separator in either case. */
static bool rule_iban(struct hunt *h, size_t begin)
{
    char v[CHECK_ROOM] = "";
    size_t n = 0, i = begin, length = 0;
    bool small = false, parted = false;
    for (; i < h->n && n < 34; i++) {
        char c = h->p[i];
        small = small || is(c, C_LOWER);
        if (is(c, C_ALNUM))
            v[n++] = is(c, C_LOWER) ? (char)(c & ~0x20) : c;
        else if ((c != ' ' && c != '-') || !is(hunt_at(h, i + 1), C_ALNUM))
            return false;
        else
            parted = true;
        if (n == 2 && !length && !(length = check_iban_length(v)))
            return false;
        if (n == length)
            break;
    }
    if (n < 15 || n != length || (small && parted) || !hunt_alone_after(h, i + 1))
        return false;
    if (check_iban(v, n))
        hunt_add(h, begin, i + 1, RULE_iban, 98);
    h->dull = i + 1;                                            /* with wrong check digits, too */
    return true;
}

/* ---- addresses of machines ---- */

static bool ipv4_is_nobodys(const unsigned b[4])
{
    return b[0] == 127 || b[0] == 0 || b[0] > 223 || (b[0] == 192 && b[1] == 0 && b[2] == 2) || (b[0] == 198 && b[1] == 51 && b[2] == 100) ||
           (b[0] == 203 && b[1] == 0 && b[2] == 113) || (b[2] == 0 && b[3] == 0);       /* loopback, "this", masks, multicast, RFC 5737, networks */
}

bool rule_ipv4(struct hunt *h, size_t at)
{
    unsigned byte[4];
    size_t i = at;
    for (int k = 0; k < 4; k++) {
        size_t n = hunt_run(h, i, C_DIGIT, 4);
        unsigned v = 0;
        for (size_t j = 0; j < n; j++)
            v = v * 10 + (unsigned)(h->p[i + j] - '0');
        if (!n || n > 3 || v > 255 || (n > 1 && h->p[i] == '0'))
            return false;
        byte[k] = v;
        i += n;
        if (k < 3 && hunt_at(h, i++) != '.')
            return false;
    }
    char c = hunt_at(h, i);
    if (is(c, C_WORD) || ((c == '.' || c == '-') && is(hunt_at(h, i + 1), C_WORD)))
        return false;
    h->done = i;
    if (!hunt_alone_before(h, at) || ipv4_is_nobodys(byte) || hunt_context(h, at) & W_VERSION)
        return true;
    bool low = byte[0] < 32 && byte[0] != 10 && byte[1] < 32 && byte[2] < 32 && byte[3] < 32;      /* a chapter, if nothing says an address */
    if (low && !(hunt_context(h, at) & W_IP))
        return true;
    hunt_add(h, at, i, RULE_ipv4, low ? 75 : 85);
    return true;
}

/* Six pairs with the same separator, or three groups of four with dots, that start at `i`: the end, or 0. */
static size_t mac_end(const struct hunt *h, size_t i)
{
    size_t size = hunt_run(h, i, C_HEX, 5), groups = size == 2 ? 6 : size == 4 ? 3 : 0;
    char separator = hunt_at(h, i + size);
    if (!groups || (size == 2 ? separator != ':' && separator != '-' : separator != '.'))
        return 0;
    for (size_t k = 0; k < groups; k++) {
        if (hunt_run(h, i, C_HEX, size + 1) != size || (k + 1 < groups && hunt_at(h, i + size) != separator))
            return 0;
        i += size + (k + 1 < groups);
    }
    return is(hunt_at(h, i), C_WORD) || (hunt_at(h, i) == separator && is(hunt_at(h, i + 1), C_HEX)) ? 0 : i;
}

/* Whether one of eight bytes is `c`: of these with `c` taken away one is zero. */
static bool has_byte(uint64_t eight, char c)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t x = eight ^ ones * (unsigned char)c;
    return (x - ones) & ~x & ones << 7;
}

/* Most digits have none of the separators as near as an address would. */
static bool near_separator(const struct hunt *h, size_t at)
{
    if (at > 2 && h->n - at > 5) {
        uint64_t near;                                  /* with a byte in front, which counts as the next */
        memcpy(&near, h->p + at - 3, sizeof near);
        memcpy(&near, h->p + at - 2, 1);
        return has_byte(near, ':') || has_byte(near, '-') || has_byte(near, '.');
    }
    for (size_t i = at > 2 ? at - 2 : 0; i < at + 5 && i < h->n; i++)
        if (h->p[i] == ':' || h->p[i] == '-' || h->p[i] == '.')
            return true;
    return false;
}

/* A digit or a colon may stand anywhere in it. */
bool rule_mac(struct hunt *h, size_t at)
{
    if (!near_separator(h, at))
        return false;
    size_t i = at, least = at > 17 ? at - 17 : 0;
    if (i >= RUN_STEP) {
        run_bytes v = run_load(h->p + i - RUN_STEP);
        unsigned in = run_mask(v, C_HEX | C_DASH) | run_equal(v, ':') | run_equal(v, '.');
        i -= (size_t)__builtin_clz(~in << RUN_STEP | 1u << (RUN_STEP - 1));
        if (i > at - RUN_STEP)
            least = i;
    }
    while (i > least && (is(h->p[i - 1], C_HEX) || h->p[i - 1] == ':' || h->p[i - 1] == '-' || h->p[i - 1] == '.'))
        i--;
    size_t end = mac_end(h, i);
    if (!end || end <= at || (i && is(h->p[i - 1], C_WORD)))
        return false;
    bool zero = true, full = true;
    for (size_t k = i; k < end; k++) {
        zero = zero && (h->p[k] == '0' || !is(h->p[k], C_HEX));
        full = full && (h->p[k] == 'f' || h->p[k] == 'F' || !is(h->p[k], C_HEX));
    }
    if (!zero && !full)
        hunt_add(h, i, end, RULE_mac, h->p[i + 2] == ':' || h->p[i + 2] == '-' ? 90 : 80);
    h->done = end;
    return true;
}

static bool rule_ipv6(struct hunt *h, size_t colon)
{
    size_t begin = colon - hunt_back(h, colon, C_HEX, 5), i = begin, groups = 0, longest = 0;
    bool gap = false, digits = false;
    if (begin && (is(h->p[begin - 1], C_WORD) || h->p[begin - 1] == ':'))
        return false;
    for (;;) {
        size_t k = hunt_run(h, i, C_HEX, 5);
        digits = digits || hunt_run(h, i, C_DIGIT, 1);
        groups += k > 0;
        longest = k > longest ? k : longest;
        i += k;
        if (k > 4 || hunt_at(h, i) != ':' || (!k && !gap))
            break;
        bool twice = hunt_at(h, i + 1) == ':';
        if (twice && gap)
            return false;
        gap = gap || twice;
        if (!twice && !is(hunt_at(h, i + 1), C_HEX))
            break;
        i += 1 + twice;
    }
    if (groups > 8 || (gap ? groups > 7 || groups < 2 : groups != 8) || is(hunt_at(h, i), C_WORD) || !digits || longest < 3)
        return false;
    h->done = i;
    str v = hunt_str(h, begin, i);
    if (!str_starts(v, S("2001:db8")) && !str_starts(v, S("2001:DB8")) && !str_starts(v, S("2001:0db8")) && (groups > 3 || longest == 4) && !str_ends(v, S("::")) && !str_starts(v, S("ff0")))
        hunt_add(h, begin, i, RULE_ipv6, 90);
    return true;
}

void rule_colon(struct hunt *h, size_t at)
{
    if (at && is(h->p[at - 1], C_HEX) && (is(hunt_at(h, at + 1), C_HEX) || hunt_at(h, at + 1) == ':') && (rule_mac(h, at) || rule_ipv6(h, at)))
        return;
    if (rule_user(h, at))
        return;
    rule_field(h, at);
}

/* ---- dates ---- */

static unsigned value_of(const struct hunt *h, size_t i, size_t n)
{
    unsigned v = 0;
    for (size_t k = 0; k < n; k++)
        v = v * 10 + (unsigned)(h->p[i + k] - '0');
    return v;
}

static bool is_year(unsigned y) { return y >= 1850 && y <= 2100; }

/* A numeric date at `i`: 1980-12-31, 31.12.1980, 12/31/80. Its end, or 0. */
static size_t date_numeric(const struct hunt *h, size_t i)
{
    size_t n[3];
    unsigned v[3];
    char separator = 0;
    for (int k = 0; k < 3; k++) {
        n[k] = hunt_run(h, i, C_DIGIT, 5);
        if (!n[k] || n[k] == 3 || n[k] > 4)
            return 0;
        v[k] = value_of(h, i, n[k]);
        i += n[k];
        char c = hunt_at(h, i);
        if (k == 2)
            break;
        if ((c != '-' && c != '/' && c != '.') || (k && c != separator))
            return 0;
        separator = c;
        i += 1 + (c == '.' && hunt_at(h, i + 1) == ' ');
    }
    if (n[0] == 4)
        return is_year(v[0]) && check_date(v[0], v[1], v[2]) ? i : 0;
    if (n[0] > 2 || n[1] > 2 || n[2] < 2)
        return 0;
    if (n[2] == 4 && !is_year(v[2]))
        return 0;
    return check_date(2000, v[1], v[0]) || check_date(2000, v[0], v[1]) ? i : 0;
}

/* The month's name that stands at `i`: its end, or 0. */
static size_t month_end(const struct hunt *h, size_t i)
{
    size_t k = hunt_run(h, i, C_LETTER, WORD_LONGEST);
    return words_month(h->words, hunt_str(h, i, i + k)) ? i + k : 0;
}

static size_t skip_any(const struct hunt *h, size_t i, const char *set)
{
    for (const char *s; i < h->n; i++) {
        for (s = set; *s && *s != h->p[i]; s++)
            ;
        if (!*s)
            break;
    }
    return i;
}

/* "31 December 1980", "31st of December, 1980", "5. mai 1955", "3 de abril de 1999"; with the day at `i`. */
static size_t date_day_first(const struct hunt *h, size_t i)
{
    size_t n = hunt_run(h, i, C_DIGIT, 3), from = i;
    if (n > 2 || !n)
        return 0;
    i += n;
    if (hunt_run(h, i, C_LOWER, 3) == 2)
        i += 2;
    size_t k = skip_any(h, i, " .-/");
    if (k == i || k > i + 3 || !is(hunt_at(h, k), C_LETTER))
        return 0;
    for (int words = 0; words < 2 && (hunt_run(h, k, C_LOWER, 3) == 2); words++)
        k += 3;
    size_t month = month_end(h, k);
    if (!month)
        return 0;
    k = skip_any(h, month, " .,-/");
    if (hunt_run(h, k, C_LOWER, 3) == 2)
        k += 3;
    n = hunt_run(h, k, C_DIGIT, 5);
    unsigned day = value_of(h, from, hunt_run(h, from, C_DIGIT, 2));
    return n == 4 && k < month + 6 && is_year(value_of(h, k, 4)) && day >= 1 && day <= 31 ? k + 4 : 0;
}

/* "December 31, 1980" with the day at `i`: its end, and where the month begins. */
static size_t date_month_first(const struct hunt *h, size_t i, size_t *begin)
{
    size_t n = hunt_run(h, i, C_DIGIT, 3), blank = i, k = i + n;
    while (blank && (h->p[blank - 1] == ' ' || h->p[blank - 1] == '.') && i - blank < 2)
        blank--;
    if (!n || n > 2 || blank == i)
        return 0;
    if (hunt_run(h, k, C_LOWER, 3) == 2)
        k += 2;
    size_t year = skip_any(h, k, ", ");
    if (year == k || year > k + 3 || hunt_run(h, year, C_DIGIT, 5) != 4 || !is_year(value_of(h, year, 4)))
        return 0;
    size_t letters = hunt_back(h, blank, C_LETTER, WORD_LONGEST);
    *begin = blank - letters;
    return letters && words_month(h->words, hunt_str(h, blank - letters, blank)) ? year + 4 : 0;
}

size_t hunt_date(const struct hunt *h, size_t at, size_t *begin)
{
    size_t run = hunt_run(h, at, C_DIGIT, 5), end;
    char after = hunt_at(h, at + run);
    *begin = at;
    if (run == 3 || run > 4)
        return 0;
    bool joined = after == '-' || after == '/' || after == '.', digit = is(hunt_at(h, at + run + 1), C_DIGIT);
    end = joined ? date_numeric(h, at) : 0;
    if (!end && run < 4 && (!digit || is(after, C_LOWER)))
        end = date_day_first(h, at);
    if (!end && run < 4 && !joined)
        end = date_month_first(h, at, begin);
    return end && !is(hunt_at(h, end), C_DIGIT) ? end : 0;
}

/* The end of "T07:25:03.326Z" at `i`, or `i`: the time of a log's line, of which no part is anything else. */
static size_t clock_end(const struct hunt *h, size_t i)
{
    if (hunt_at(h, i) != 'T' || h->n - i < sizeof "T07:25:03Z" - 1 || h->p[i + 3] != ':' || h->p[i + 6] != ':')
        return i;
    for (size_t k = i + 1; k < i + 9; k += 3)
        if (!is(h->p[k], C_DIGIT) || !is(h->p[k + 1], C_DIGIT))
            return i;
    size_t k = i + 9, part = h->p[k] == '.' ? hunt_run(h, k + 1, C_DIGIT, 4) : 0;
    if (part == 4)
        return i;
    k += part ? part + 1 : 0;
    return hunt_at(h, k) == 'Z' && !is(hunt_at(h, k + 1), C_WORD) ? k : i;
}

bool rule_birth(struct hunt *h, size_t at)
{
    size_t run = hunt_run(h, at, C_DIGIT, 5), begin, end;
    char before = at ? h->p[at - 1] : '\0', after = hunt_at(h, at + run);
    bool month = (before == ' ' || before == '.') && at > 2 && is(h->p[at - 2], C_LETTER) && (after == ',' || after == ' ' || is(after, C_LOWER));
    if (!month && after != '-' && after != '/' && after != '.' && after != ' ' && !is(after, C_LOWER))
        return false;
    if (!(end = hunt_date(h, at, &begin)))
        return false;
    h->done = clock_end(h, end);
    if (hunt_context(h, begin) & W_BIRTH)
        hunt_add(h, begin, end, RULE_birth_date, 90);
    return true;
}

/* ---- the first digit of a run ---- */

static bool rule_passport(struct hunt *h, size_t begin, size_t end)
{
    if (end - begin < 6 || end - begin > 12 || !hunt_alone_after(h, end) || !hunt_alone_before(h, begin))
        return false;
    for (size_t i = begin; i < end; i++)
        if (!is(h->p[i], C_UPPER | C_DIGIT))
            return false;
    if (!(hunt_context(h, begin) & W_PASSPORT))
        return false;
    hunt_add(h, begin, end, RULE_passport, 90);
    h->done = end;
    return true;
}

/* A digit inside of a token with letters. */
static void rule_digits_of_token(struct hunt *h, size_t begin, size_t at)
{
    size_t end = at + hunt_run(h, at, C_WORD, 64);
    if (end - begin > 36) {
        h->dull = end;                          /* a hash, an id, a part of base64 */
        return;
    }
    bool alone = hunt_alone_before(h, begin);
    if (rule_mac(h, at) || rule_secret_said(h, begin))
        return;
    if (alone && at - begin == 2 && hunt_run(h, begin, C_ALPHA, 3) == 2 && rule_iban(h, begin))
        return;
    bool plain = hunt_run(h, begin, C_UPPER | C_DIGIT, 40) == end - begin;      /* as numbers of people are written */
    if (alone && plain && (rule_ids(h, begin) || rule_passport(h, begin, end)))
        return;
    h->dull = end;
}

/* "KT 58 01 45 B", "X-1234567-L": one or two capitals stand apart from the digits. */
static bool rule_ids_apart(struct hunt *h, size_t at)
{
    size_t k = hunt_back(h, at - 1, C_UPPER, 3);
    return k && k < 3 && hunt_alone_before(h, at - 1 - k) && rule_ids(h, at - 1 - k);
}

/* A list of small numbers is no value, however it goes on: "1 2 3 4 …", "1.1.1.1.…". */
static bool rule_list(struct hunt *h, size_t at, size_t run, char separator)
{
    size_t i = at, groups = 0;
    if (hunt_at(h, at + 8 * (run + 1) + run) != separator)
        return false;                   /* there are no nine */
    while (groups < 12 && hunt_run(h, i, C_DIGIT, 3) == run && hunt_at(h, i + run) == separator && !is(separator, C_WORD)) {
        i += run + 1;
        groups++;
    }
    if (groups > 8)
        h->dull = i;
    return groups > 8;
}

/* Few digits, of which `after` is the next byte, and no more behind it that could belong to them. */
static bool is_short(const struct hunt *h, size_t end, char after)
{
    char next = hunt_at(h, end + 1);
    if (is(after, C_WORD) || after == '(')
        return false;
    if (after == ')' || after == '/' || after == '-' || after == '.' || after == ' ')
        return !is(next, C_DIGIT) && next != '(' && next != ' ' && next != '-' && !(after != ' ' && is(next, C_LETTER));
    return after != ',';
}

/* May stand between two groups of one number. */
static bool joins(char c) { return c == '.' || c == '-' || c == ' ' || c == '/' || c == '(' || c == ')' || c == ','; }

void rule_digits(struct hunt *h, size_t at)
{
    size_t run = hunt_run(h, at, C_DIGIT, 32), end = at + run;
    char before = at ? h->p[at - 1] : ' ', after = hunt_at(h, end);
    if (run < 3 && !is(before, C_WORD) && !is(after, C_ALPHA) && !joins(after))
        return;
    if (before == '%' && hunt_at(h, at) == '4' && hunt_at(h, at + 1) == '0')
        rule_email(h, at - 1, 3);
    if (h->done > at)
        return;
    if (run <= 5 && (before == ' ' || before == '\n') && (after == ' ' || run == 5 || after == '-' || is(after, C_UPPER)) && rule_address(h, at, run))
        return;
    if (run < 3 && rule_list(h, at, run, after))
        return;
    if (run >= 32) {
        for (h->dull = end; h->dull < h->n && is(h->p[h->dull], C_DIGIT);)
            h->dull++;
        return;
    }
    if (is(before, C_WORD)) {
        rule_digits_of_token(h, at - hunt_back(h, at, C_WORD, 40), at);
        return;
    }
    if (at && (before == ' ' || before == '-') && rule_ids_apart(h, at))
        return;
    if (run < 6 && is_short(h, end, after)) {
        (void)(run <= 4 && (rule_mac(h, at) || (after == ' ' && rule_birth(h, at))));
        return;
    }
    if (run <= 4 && (rule_mac(h, at) || (run <= 3 && after == '.' && rule_ipv4(h, at)) || rule_birth(h, at)))
        return;
    if (is(after, C_WORD) && (run < 6 || !hunt_alone_before(h, at) || !rule_ids(h, at))) {
        rule_digits_of_token(h, at, at);
        return;
    }
    if (h->done > at || (hunt_alone_before(h, at) && (rule_card(h, at, run) || rule_ids(h, at))) || rule_phone(h, at))
        return;
    (void)(hunt_alone_before(h, at) && run >= 6 && rule_passport(h, at, end));
}
