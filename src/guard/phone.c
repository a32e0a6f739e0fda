/* guard/phone.c: telephone numbers. Those with a country code by ITU's E.164 and the lengths of each country; others by the national way of writing, of which
 * the clear ones stand alone and plain runs of digits need a word that says so. Sources: ITU's list of codes and the countries' numbering plans. */
#include "guard/hunt.h"

enum { GROUPS = 10, DIGITS = 20 };

/* A number as it is written: its digits, and how they are grouped. */
struct dialled {
    char digits[DIGITS + 1];
    unsigned n, groups;
    uint8_t size[GROUPS];       /* digits of each group */
    size_t end[GROUPS];         /* where each ends */
    char separator[GROUPS];     /* before each: ' ', '-', '.', '/', '(' for what stands in parentheses; 0 for none */
};

static bool dial_group(const struct hunt *h, struct dialled *d, size_t *i, char separator)
{
    size_t k = hunt_run(h, *i, C_DIGIT, DIGITS);
    if (!k || d->n + k > DIGITS || d->groups == GROUPS)
        return false;
    memcpy(d->digits + d->n, h->p + *i, k);
    d->n += (unsigned)k;
    *i += k;
    d->size[d->groups] = (uint8_t)k;
    d->end[d->groups] = *i;
    d->separator[d->groups++] = separator;
    return true;
}

/* Reads groups of digits from `i`; a group in parentheses only as the first or second. */
static void dial(const struct hunt *h, size_t i, struct dialled *d)
{
    d->n = d->groups = 0;
    size_t begin = i;
    char separator = 0;
    for (;;) {
        bool open = hunt_at(h, i) == '(';
        size_t k = i + open;
        if ((open && d->groups > 1) || !dial_group(h, d, &k, open ? '(' : separator))
            return;
        if (open) {
            if (hunt_at(h, k) != ')')
                return (void)d->groups--, (void)(d->n -= d->size[d->groups]);
            d->end[d->groups - 1] = ++k;
        }
        i = k;
        char c = hunt_at(h, i);
        separator = open ? '(' : 0;
        if (c == ')' && d->groups == 1 && begin > 1 && h->p[begin - 1] == '+' && h->p[begin - 2] == '(')
            c = hunt_at(h, ++i);                /* (+358) 72738… */
        if (c == ' ' || c == '-' || c == '.' || c == '/') {
            separator = c;
            i++;
            if (c == ' ' && (hunt_at(h, i) == '-' || hunt_at(h, i) == '/') && hunt_at(h, i + 1) == ' ')
                i += 2;
        } else if (!open && c != '(') {
            return;
        }
        if (!is(hunt_at(h, i), C_DIGIT) && hunt_at(h, i) != '(')
            return;
    }
}

/* Country codes, and how many digits follow them. */
static const struct { uint16_t code; uint8_t least, most; } countries[] = {
    { 1, 10, 10 },  { 7, 10, 10 },  { 20, 8, 10 },  { 27, 9, 9 },   { 30, 10, 10 }, { 31, 9, 9 },   { 32, 8, 9 },   { 33, 9, 9 },   { 34, 9, 9 },   { 36, 8, 9 },
    { 39, 6, 11 },  { 40, 9, 9 },   { 41, 9, 9 },   { 43, 7, 13 },  { 44, 9, 10 },  { 45, 8, 8 },   { 46, 7, 10 },  { 47, 8, 8 },   { 48, 9, 9 },   { 49, 6, 11 },
    { 51, 8, 9 },   { 52, 10, 11 }, { 53, 8, 8 },   { 54, 10, 11 }, { 55, 10, 11 }, { 56, 9, 9 },   { 57, 8, 10 },  { 58, 10, 10 }, { 60, 8, 10 },  { 61, 9, 9 },
    { 62, 8, 12 },  { 63, 8, 10 },  { 64, 8, 10 },  { 65, 8, 8 },   { 66, 8, 9 },   { 81, 9, 10 },  { 82, 8, 10 },  { 84, 9, 10 },  { 86, 10, 11 }, { 90, 10, 10 },
    { 91, 10, 10 }, { 92, 9, 10 },  { 93, 9, 9 },   { 94, 9, 9 },   { 95, 7, 10 },  { 98, 10, 10 }, { 212, 9, 9 },  { 213, 8, 9 },  { 216, 8, 8 },  { 218, 8, 9 },
    { 220, 7, 7 },  { 221, 9, 9 },  { 225, 8, 10 }, { 226, 8, 8 },  { 233, 9, 9 },  { 234, 8, 10 }, { 237, 8, 9 },  { 243, 9, 9 },  { 250, 9, 9 },  { 251, 9, 9 },
    { 254, 9, 9 },  { 255, 9, 9 },  { 256, 9, 9 },  { 260, 9, 9 },  { 263, 9, 9 },  { 264, 8, 9 },  { 351, 9, 9 },  { 352, 6, 11 }, { 353, 7, 9 },  { 354, 7, 9 },
    { 355, 8, 9 },  { 356, 8, 8 },  { 357, 8, 8 },  { 358, 6, 12 }, { 359, 8, 9 },  { 370, 8, 8 },  { 371, 8, 8 },  { 372, 7, 8 },  { 373, 8, 8 },  { 374, 8, 8 },
    { 375, 9, 9 },  { 376, 6, 6 },  { 377, 8, 9 },  { 380, 9, 9 },  { 381, 8, 9 },  { 382, 8, 8 },  { 385, 8, 9 },  { 386, 8, 8 },  { 387, 8, 9 },  { 389, 8, 8 },
    { 420, 9, 9 },  { 421, 9, 9 },  { 423, 7, 9 },  { 502, 8, 8 },  { 503, 8, 8 },  { 504, 8, 8 },  { 505, 8, 8 },  { 506, 8, 8 },  { 507, 7, 8 },  { 591, 8, 8 },
    { 593, 8, 9 },  { 595, 9, 9 },  { 598, 8, 8 },  { 852, 8, 8 },  { 853, 8, 8 },  { 855, 8, 9 },  { 880, 8, 10 }, { 886, 8, 9 },  { 960, 7, 7 },  { 961, 7, 8 },
    { 962, 8, 9 },  { 963, 8, 9 },  { 964, 8, 10 }, { 965, 8, 8 },  { 966, 8, 9 },  { 968, 8, 8 },  { 970, 8, 9 },  { 971, 8, 9 },  { 972, 8, 9 },  { 973, 8, 8 },
    { 974, 8, 8 },  { 976, 8, 8 },  { 977, 8, 10 }, { 992, 9, 9 },  { 993, 8, 8 },  { 994, 9, 9 },  { 995, 9, 9 },  { 996, 9, 9 },  { 998, 9, 9 },
};

enum { COUNTRIES = sizeof countries / sizeof *countries, CODES = 1000 };

/* Ways of writing: the sizes of the groups, the separators allowed between them, a prefix of the digits, whether that alone is enough. Separators that start with '(' ask
 * for parentheses around the first group; those with '=' for the same one everywhere. In a prefix '#' is any
 * digit and N is 2 to 9. Many countries share one. */
static const struct way { const char *sizes, *separators, *prefix; uint8_t alone; } ways[] = {
    { "334", "=-.", "N##N", 70 },        /* US, CA: 212-555-0187 */
    { "334", "( -", "N##N", 75 },       /* (212) 555-0187 */
    { "334", " ", "N##N", 0 },
    { "1334", "-. (", "1N##N", 75 },
    { ":10", "", "N##N", 0 },
    { "22222", " .-", "0", 80 },        /* FR 01 23 45 67 89, NL 06 12 34 56 78 */
    { ":10", "", "0[1-9]", 65 },        /* FR, NL, DE, … */
    { ":11", "", "01", 65 },            /* DE 01711234567, KR */
    { ":11", "", "07", 70 },            /* GB 07… */
    { ":11", "", "02", 60 },
    { ":11", "", "03", 55 },
    { ":9", "", "0", 0 },               /* BE, NL without a digit, CH … */
    { "56", " -", "07", 75 },           /* GB 07123 456789 */
    { "533", " -", "0", 75 },           /* GB 01234 567 890 */
    { "434", " -", "0", 75 },           /* GB 0161 123 4567 */
    { "344", " -", "0", 75 },           /* GB 020 1234 5678; JP 090-1234-5678; KR 010-1234-5678 */
    { "443", " -", "0", 70 },
    { "344", " ", "1", 0 },             /* CN 138 1234 5678 */
    { ":11", "", "1[3-9]", 0 },         /* CN */
    { "37", " -/(", "0", 70 },          /* NL 020-1234567, DE 030/1234567, (040) 1234567 */
    { "47", " -/(", "0", 70 },          /* DE 0171 1234567 */
    { "46", " -/(", "0", 65 },
    { "48", " -/(", "0", 65 },
    { "36", " -/(", "0", 60 },
    { "38", " -/(", "0", 70 },          /* DE 030 12345678 */
    { "55", " -/(", "0", 60 },
    { "56", " -/(", "0", 60 },
    { "28", " -/(", "0", 70 },          /* IT 02 12345678, NL 06-12345678, AU 04 … */
    { "27", " -/(", "0", 60 },
    { "244", " -.(", "0", 75 },          /* IT 06 1234 5678, AU 02 1234 5678 */
    { "235", " -", "0", 60 },
    { "433", " -(", "0", 70 },          /* AU 0412 345 678, BE 0470 123 456, AT, ZA */
    { "334", " -(", "0", 70 },          /* CH 044 123 4567, ZA 082 123 4567, SE */
    { "3322", " -(", "0", 75 },         /* CH 044 123 45 67, SE 070-123 45 67, BE */
    { "4222", " -./(", "0", 75 },       /* BE 0470 12 34 56 */
    { "2322", " -.", "0", 70 },         /* BE 02 123 45 67, PL 0 … */
    { "3222", " -./", "0", 60 },
    { "32222", " -", "0", 65 },
    { "423", " -/", "0", 0 },
    { "364", " -", "0", 0 },
    { "333", " -./", "[4-9]", 0 },      /* ES 612 345 678, PL 600-123-456, PT 912 345 678 */
    { "3222", " -.", "[6-9]", 65 },     /* ES 612 34 56 78 */
    { "2322", " -.", "[89]", 65 },      /* ES 91 123 45 67 */
    { "2322", " -.", "[1-7]", 0 },      /* PL 22 123 45 67 */
    { ":9", "", "[2-9]", 0 },           /* ES, PL, PT, … */
    { "37", " -", "3", 0 },             /* IT 340 1234567 */
    { "334", " -", "3", 0 },            /* IT 340 123 4567 */
    { ":10", "", "3", 0 },
    { "36", " -", "3", 0 },
    { "2222", " -", "[2-9]", 0 },       /* DK, NO, FR without its first */
    { "323", " -", "[49]", 0 },         /* NO 912 34 567 */
    { ":8", "", "[2-9]", 0 },           /* DK, NO, SG */
    { "44", " -", "[2-9]", 0 },         /* SG 9123 4567 */
    { "55", " -", "[6-9]", 0 },         /* IN 98765 43210 */
    { "254", " -(", "[1-9]", 60 },      /* BR (11) 91234-5678 */
    { "244", " -(", "[1-9]", 0 },       /* BR (11) 1234-5678, MX */
    { ":11", "", "[1-9]#9", 0 },        /* BR */
    { "3322", " -(", "[45]", 0 },       /* TR 532 123 45 67 */
    { "43", " -", "[2-9]", 0 },         /* 7 digits of a town */
    { "34", " -", "[2-9]", 0 },
    { "1333", " -", "[0-9]", 0 },
    { "13322", " -(", "8", 70 },        /* RU 8 (912) 345-67-89 */
    { "333", " ", "0", 0 },
    { "2332", " -", "0", 70 },          /* SE 08-598 829 38 */
    { "2222", " -", "0", 55 },          /* SE 08-92 10 45 */
    { "243", " -", "0", 60 },           /* IL, SI */
    { "343", " -", "0", 60 },           /* HR */
    { "553", " -(", "0", 65 },          /* AT */
    { "234", "/- ", "[1-9]", 0 },       /* HU */
    { "434", " -", "[2-9]", 0 },
};

enum { WAYS = sizeof ways / sizeof *ways };

/* Numbers of countries by their code, and of ways of writing by the size of their first group, all from 1; 0: none, or no more. Of `first` a way has a bit for each digit
 * that its prefix may start with. */
struct dials { uint8_t country[CODES], way[DIGITS + 1], next[WAYS + 1]; uint16_t first[WAYS + 1]; };

/* The digits of a way's first group. */
static unsigned first_of(const struct way *w)
{
    return w->sizes[0] != ':' ? (unsigned)(w->sizes[0] - '0') : w->sizes[2] ? 10 + (unsigned)(w->sizes[2] - '0') : (unsigned)(w->sizes[1] - '0');
}

/* One element of a prefix against a digit: where the next element starts, or NULL. */
static const char *fits(const char *prefix, char c)
{
    if (*prefix == '#')
        return prefix + 1;
    if (*prefix == 'N')
        return c >= '2' ? prefix + 1 : NULL;
    if (*prefix != '[')
        return *prefix == c ? prefix + 1 : NULL;
    bool in = prefix[2] == '-' ? c >= prefix[1] && c <= prefix[3] : c == prefix[1] || c == prefix[2];
    return in ? strchr(prefix, ']') + 1 : NULL;
}

struct dials *dials_new(struct arena *a)
{
    struct dials *x = arena_new(a, struct dials, 1);
    for (size_t i = 0; x && i < COUNTRIES; i++)
        x->country[countries[i].code] = (uint8_t)(i + 1);
    for (size_t i = WAYS; x && i-- > 0;) {                  /* so that a chain has them in the order above */
        uint8_t *first = &x->way[first_of(&ways[i])];
        x->next[i + 1] = *first;
        *first = (uint8_t)(i + 1);
        for (unsigned digit = 0; digit < 10; digit++)
            x->first[i + 1] |= (uint16_t)(!*ways[i].prefix || fits(ways[i].prefix, (char)('0' + digit)) ? 1u << digit : 0);
    }
    return x;
}

/* The groups of an international number, of which `skip` digits are the "00": how many of them belong to it, or 0. */
static unsigned international(const struct hunt *h, const struct dialled *d, unsigned skip)
{
    unsigned code = 0;
    for (unsigned k = 0; k < 3 && skip + k < d->n; k++) {
        code = code * 10 + (unsigned)(d->digits[skip + k] - '0');
        size_t c = h->dials->country[code];
        if (!c--)
            continue;
        unsigned digits = 0, taken = 0, trunk = 0;
        for (unsigned g = 0; g < d->groups; g++) {
            trunk += g && d->separator[g] == '(' && d->size[g] == 1 && d->digits[digits] == '0';      /* +44 (0)20 … */
            digits += d->size[g];
            unsigned national = digits - skip - (k + 1) - trunk;
            if (digits > skip + k + trunk && national >= countries[c].least && national <= countries[c].most)
                taken = g + 1;
        }
        return taken;
    }
    return 0;
}

/* The groups of `d` that are written this way, or 0. */
static unsigned written(const struct dialled *d, const struct way *w)
{
    unsigned groups = 0;
    if (w->sizes[0] == ':') {
        if (d->size[0] != first_of(w) || d->separator[0] == '(')
            return 0;
        groups = 1;
    }
    if (w->separators[0] == '(' && d->separator[0] != '(')
        return 0;
    for (const char *s = w->sizes; w->sizes[0] != ':' && *s; s++, groups++) {
        if (groups >= d->groups || d->size[groups] != *s - '0')
            return 0;
        if (d->separator[groups] && (!strchr(w->separators, d->separator[groups]) || (w->separators[0] == '=' && groups > 1 && d->separator[groups] != d->separator[1])))
            return 0;
    }
    const char *prefix = w->prefix;
    for (unsigned i = 0; prefix && *prefix; i++)
        prefix = fits(prefix, d->digits[i]);
    return prefix ? groups : 0;
}

static bool phone_add(struct hunt *h, size_t begin, size_t end, enum rule rule, unsigned score)
{
    size_t k = hunt_at(h, end) == ' ' ? end + 1 : end;                  /* "212-555-0187x12": the extension belongs to it */
    size_t digits = hunt_at(h, k) == 'x' ? hunt_run(h, k + 1, C_DIGIT, 7) : 0;
    if (digits && digits < 7)
        end = k + 1 + digits;
    if (!hunt_alone_after(h, end))
        return false;
    hunt_add(h, begin, end, rule, score);
    h->done = end;
    return true;
}

static bool phone_national(struct hunt *h, size_t begin, const struct dialled *d)
{
    const struct way *best = NULL;
    unsigned groups = 0;
    for (size_t i = h->dials->way[d->size[0]]; i; i = h->dials->next[i]) {
        const struct way *w = &ways[i - 1];
        unsigned g = h->dials->first[i] >> (d->digits[0] - '0') & 1 ? written(d, w) : 0;
        if (g > groups || (g && g == groups && w->alone > best->alone)) {
            best = w;
            groups = g;
        }
    }
    if (!best || (groups < d->groups && d->separator[groups] != ' ' && d->separator[groups] != '-'))
        return false;
    uint32_t context = hunt_context(h, begin);
    bool said = context & W_PHONE && !(best->sizes[0] == ':' && d->size[0] < 10 && context & W_WEAK);
    if (context & (W_OTHER | W_VERSION | W_ID | W_SSN | W_CARD) ? !said : !said && !best->alone)
        return false;
    if (groups < d->groups && !said)
        return false;
    return phone_add(h, begin, d->end[groups - 1], RULE_phone_national, said ? 90 : best->alone);
}

bool rule_phone(struct hunt *h, size_t at)
{
    struct dialled d;
    size_t begin = at;
    if (at && h->p[at - 1] == '(')
        begin--;
    bool plus = begin && h->p[begin - 1] == '+';
    dial(h, begin, &d);
    if (d.n < 7)
        return false;
    if (plus) {
        unsigned g = international(h, &d, 0);
        if (begin > 1 && h->p[begin - 2] == '(' && hunt_at(h, d.end[0]) == ')')
            return g && phone_add(h, begin - 2, d.end[g - 1], RULE_phone_e164, 90);
        bool before = begin < 2 || !is(h->p[begin - 2], C_ALNUM | C_UNDER) || h->p[begin - 2] == '=';
        return g && before && phone_add(h, begin - 1, d.end[g - 1], RULE_phone_e164, 90);
    }
    if (!hunt_alone_before(h, begin) || d.groups == 0 || str_starts(str_slice(d.digits, d.n), S("0123456")) || str_starts(str_slice(d.digits, d.n), S("0987654")) ||
        (d.groups == 1 && (str_eq(str_slice(d.digits, d.n), S("2147483647")) || str_eq(str_slice(d.digits, d.n), S("4294967295")))))
        return false;
    if (d.digits[0] == '0' && d.digits[1] == '0' && d.size[0] > 1) {
        unsigned g = international(h, &d, 2);
        if (g && (g > 1 || hunt_context(h, begin) & W_PHONE))
            return phone_add(h, begin, d.end[g - 1], RULE_phone_e164, 80);
        return false;
    }
    return phone_national(h, begin, &d);
}
