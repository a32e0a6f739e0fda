/* guard/address.c: postal addresses in running text and in letters. A postal code with its town is the anchor; from there the words are read backwards as long as
 * they can belong to an address: capitals, numbers, words for streets, particles. What stands before them ("at", "wohnhaft", "est") ends it. */
#include "guard/hunt.h"

enum { ADDRESS_BYTES = 120, TOWN_WORDS = 4 };

/* The town's name from `i`: "Las Palmas", "Aubry-sur-Dias", "Klein Zundert"; its end, or 0. */
static size_t town_end(const struct hunt *h, size_t i)
{
    size_t end = 0;
    for (int words = 0; words < TOWN_WORDS && is(hunt_at(h, i), C_UPPER | C_HIGH); words++) {
        size_t k = i;
        while (k < h->n && k - i < 40 && (is(h->p[k], C_LETTER) || ((h->p[k] == '-' || h->p[k] == '\'') && is(hunt_at(h, k + 1), C_LETTER))))
            k++;
        if (k - i < 2)
            break;
        end = k;
        if (hunt_at(h, k) != ' ')
            break;
        i = k + 1;
        size_t particle = hunt_run(h, i, C_LOWER, 5);
        if (particle && particle < 5 && hunt_at(h, i + particle) == ' ' && words_find(h->words, hunt_str(h, i, i + particle)) & W_PARTICLE)
            i += particle + 1;
    }
    return end;
}

static bool after_comma(const struct hunt *h, size_t i)
{
    return i && (h->p[i - 1] == '\n' || (i > 1 && h->p[i - 1] == ' ' && h->p[i - 2] == ','));
}

static bool is_blank_or_end(char c) { return !is(c, C_WORD); }

/* "TN 81818" with its digits at `i`. */
static bool is_us(const struct hunt *h, size_t i)
{
    return i > 3 && h->p[i - 1] == ' ' && hunt_back(h, i - 1, C_UPPER, 3) == 2 && is_blank_or_end(h->p[i - 4]);
}

/* "S6A 7RA", "K1A 0B6" with the second part at `i`: where the first begins, or `i`. */
static size_t british(const struct hunt *h, size_t i)
{
    size_t k = i && h->p[i - 1] == ' ' ? hunt_back(h, i - 1, C_UPPER | C_DIGIT, 5) : 0, end = i + 3;
    if (k < 2 || k > 4 || end > h->n || is(hunt_at(h, end), C_WORD) || !is(h->p[i - 1 - k], C_UPPER) || hunt_back(h, i - 1, C_UPPER, 5) == k)
        return i;
    bool uk = is(h->p[i + 1], C_UPPER) && is(h->p[i + 2], C_UPPER), ca = k == 3 && is(h->p[i + 1], C_UPPER) && is(h->p[i + 2], C_DIGIT);
    return (uk || ca) && i > k + 1 && is_blank_or_end(h->p[i - 2 - k]) ? i - 1 - k : i;
}

/* The postal code whose digits start at `at` and the town that belongs to it: the end of the address, or 0; *code is where the code begins. */
static size_t code_end(const struct hunt *h, size_t at, size_t run, size_t *code)
{
    size_t second = at + run;
    char after = hunt_at(h, second);
    *code = at;
    if (run == 1 && is(after, C_UPPER) && (*code = british(h, at)) < at)
        return at + 3;
    if (run == 5 && is_us(h, at)) {
        *code = at - 3;
        return after == '-' && hunt_run(h, second + 1, C_DIGIT, 5) == 4 ? second + 5 : is(after, C_WORD) ? 0 : second;
    }
    if (!after_comma(h, at) || (after != ' ' && after != '-' && !is(after, C_UPPER)))
        return 0;
    if (run == 2 && after == '-' && hunt_run(h, second + 1, C_DIGIT, 4) == 3 && hunt_at(h, second + 4) == ' ')
        return town_end(h, second + 5);                             /* PL */
    if (run == 4 && after == '-' && hunt_run(h, second + 1, C_DIGIT, 4) == 3 && hunt_at(h, second + 4) == ' ')
        return town_end(h, second + 5);                             /* PT */
    if (run == 3 && after == ' ' && hunt_run(h, second + 1, C_DIGIT, 3) == 2 && hunt_at(h, second + 3) == ' ')
        return town_end(h, second + 4);                             /* SE, CZ, SK, GR */
    size_t gap = after == ' ';
    if (run == 4 && hunt_run(h, second + gap, C_UPPER, 3) == 2 && hunt_at(h, second + gap + 2) == ' ')
        return town_end(h, second + gap + 3);                       /* NL */
    return (run == 4 || run == 5) && after == ' ' ? town_end(h, second + 1) : 0;
}

/* Whether the word [begin, end) can stand in an address. */
static bool belongs(const struct hunt *h, size_t begin, size_t end)
{
    if (is(h->p[begin], C_DIGIT))
        return true;
    uint32_t bits = words_find(h->words, hunt_str(h, begin, end));
    if (bits & W_MONTH && end - begin > 3)
        return false;
    if (is(h->p[begin], C_UPPER | C_HIGH))
        return !(bits & (W_COMPANY | W_GREETING)) || bits & W_STREET;
    return bits & (W_STREET | W_PARTICLE) || end - begin < 2;
}

static bool is_year(const struct hunt *h, size_t i) { return (h->p[i] == '1' && h->p[i + 1] == '9') || (h->p[i] == '2' && h->p[i + 1] == '0'); }

/* Where a name ends that was found before `code`, on its own before a comma or a line's end: it stands above its address, or before it. 0: there is none. */
static size_t name_before(const struct hunt *h, size_t code)
{
    size_t least = code > ADDRESS_BYTES ? code - ADDRESS_BYTES : 0;
    for (size_t i = h->n_spans; i-- > 0 && i + 4 > h->n_spans;)
        if (h->spans[i].type == GUARD_PERSON && h->spans[i].end > least && h->spans[i].end < code && (h->p[h->spans[i].end] == ',' || h->p[h->spans[i].end] == '\n'))
            return h->spans[i].end;
    return 0;
}

/* The words before `code` that belong to its address: where the first begins. A year is no number of a house where the code may be one, too. */
static size_t address_start(const struct hunt *h, size_t code, size_t name, bool years, bool *number)
{
    size_t i = code, start = code, least = code > ADDRESS_BYTES ? code - ADDRESS_BYTES : 0;
    int lines = 0;
    *number = false;
    while (i > least && i > name) {
        char c = h->p[i - 1];
        if (c == '\n' && (*number || lines++ == 2))
            break;
        if (c == '\n' || c == ' ' || c == ',' || c == '/' || c == '-' || c == '\r') {
            i--;
            continue;
        }
        bool dot = c == '.', sharp = c == '#';
        size_t end = i - dot, k = hunt_back(h, end, C_WORD, 40);
        if (sharp) {
            i--;
            continue;
        }
        if (c == '\'' && hunt_back(h, i - 1, C_LETTER, 4)) {        /* "d'Azur", "l'Église" */
            i--;
            continue;
        }
        if (!k || k == 40 || (dot && k > 5) || !belongs(h, end - k, end))
            break;
        *number = *number || (is(h->p[end - k], C_DIGIT) && !(years && k == 4 && is_year(h, end - k)));
        i = start = end - k;
    }
    return i == least && least ? code : start;
}

/* A line above an address that is a name and nothing else. */
static void name_above(struct hunt *h, size_t begin)
{
    size_t end = begin > 1 && h->p[begin - 1] == '\n' ? begin - 1 : 0, i = end;
    while (i && end - i < 64 && h->p[i - 1] != '\n')
        i--;
    if (end > i + 3 && (i == 0 || h->p[i - 1] == '\n'))
        (void)rule_name_value(h, W_NAME, i, end, true);
}

/* "Example Foundation, Inc., 675 Mass Ave, …": an office, named before it on its line. */
static bool is_office(const struct hunt *h, size_t begin)
{
    size_t end = begin > 3 && h->p[begin - 1] == ' ' && h->p[begin - 2] == ',' ? begin - 2 : 0;
    end -= end && h->p[end - 1] == '.';
    size_t k = hunt_back(h, end, C_LETTER, WORD_LONGEST);
    return k && is(h->p[end - k], C_UPPER) && words_find(h->words, hunt_str(h, end - k, end)) & W_COMPANY;
}

/* Whether what lies between `begin` and its code is an address: it has a number or a street, and words enough. */
static bool is_address(const struct hunt *h, size_t begin, size_t code, bool number)
{
    size_t letters = 0;
    for (size_t i = begin; i < code; i++)
        letters += is(h->p[i], C_LETTER);
    bool street = !number && begin < code && words_find(h->words, hunt_str(h, begin, begin + hunt_run(h, begin, C_LETTER, 24))) & W_STREET;
    return (number || street) && letters >= 4 && !is_office(h, begin);
}

bool rule_address(struct hunt *h, size_t at, size_t run)
{
    size_t code, end = code_end(h, at, run, &code), name, begin;
    bool number, years = run == 4 && is_year(h, at);
    if (!end)
        return false;
    name = name_before(h, code);
    begin = address_start(h, code, name, years, &number);
    if (name && !is_address(h, begin, code, number))        /* the name is that of the street */
        begin = address_start(h, code, 0, years, &number);
    if (!is_address(h, begin, code, number))
        return false;
    hunt_add(h, begin, end, RULE_address_form, 72);
    name_above(h, begin);
    if (h->done < end)
        h->done = end;
    return true;
}
