/* guard/name.c: names of people and postal addresses, by what is around them: fields, greetings, closings, and the address of mail they stand before. */
#include "guard/hunt.h"
#include "guard/names.h"

enum { NAME_WORDS = 5, NAME_BYTES = 64 };

/* The end of a word of a name that starts at `i`: a capital first, letters, apostrophes and dashes behind it; an initial may have a dot. 0: none. */
static size_t name_word(const struct hunt *h, size_t i)
{
    char c = hunt_at(h, i);
    size_t k = i;
    if (!is(c, C_UPPER | C_HIGH))
        return 0;
    while (k < h->n && k - i < 32) {
        k += hunt_run(h, k, C_LETTER, 32 - (k - i));
        if (k - i == 32 || (hunt_at(h, k) != '-' && hunt_at(h, k) != '\''))
            break;
        if (is(hunt_at(h, k + 1), C_UPPER | C_HIGH))
            k++;
        else if (h->p[k] == '\'' && hunt_at(h, k + 1) == '\'' && is(hunt_at(h, k + 2), C_UPPER))
            k += 2;                     /* an apostrophe inside of SQL's quotes */
        else
            break;
    }
    if (k - i == 1 && hunt_at(h, k) == '.')
        return k + 1;
    return is(hunt_at(h, k), C_DIGIT | C_UNDER) ? 0 : k;
}

/* Behind the particle ("van") that stands at `i`, and a blank; 0: there is none. */
static size_t particle_end(const struct hunt *h, size_t i)
{
    size_t k = hunt_run(h, i, C_LOWER, 5);
    return k && hunt_at(h, i + k) == ' ' && words_find(h->words, hunt_str(h, i, i + k)) & W_PARTICLE ? i + k + 1 : 0;
}

/* Words of a name from `i` on this line, at most NAME_WORDS: the end of the last, and how many; particles ("van der") count with the word behind them. */
static size_t name_end(const struct hunt *h, size_t i, unsigned *words)
{
    size_t end = i;
    *words = 0;
    while (*words < NAME_WORDS) {
        size_t at = i, word;
        for (int particles = 0; particles < 3 && (word = particle_end(h, at)); particles++)
            at = word;
        word = name_word(h, at);
        uint32_t never = W_COMMON | W_COMPANY | W_GREETING | (word - at > 3 ? W_MONTH : 0);         /* Jan is a name */
        if (!word || words_find(h->words, hunt_str(h, at, word)) & never || (word - at < 2 && *words == 0))
            break;
        end = word;
        ++*words;
        if (hunt_at(h, word) != ' ')
            break;
        i = word + 1;
    }
    return end;
}

static size_t skip_title(const struct hunt *h, size_t i, size_t end)
{
    for (int titles = 0; titles < 2; titles++) {
        size_t k = hunt_run(h, i, C_LETTER, 10), dot = hunt_at(h, i + k) == '.';
        if (!k || i + k + dot + 1 >= end || hunt_at(h, i + k + dot) != ' ' || !(words_find(h->words, hunt_str(h, i, i + k)) & W_GREETING))
            return i;
        i += k + dot + 1;
    }
    return i;
}

static bool is_company(const struct hunt *h, size_t begin, size_t end)
{
    size_t i = end;
    if (i > begin && h->p[i - 1] == '.')
        i--;
    size_t k = hunt_back(h, i, C_LETTER, WORD_LONGEST);
    return words_find(h->words, hunt_str(h, i - k, i)) & W_COMPANY || (end - begin > 4 && str_eq(hunt_str(h, end - 4, end), S("S.A.")));
}

static void person_add(struct hunt *h, size_t begin, size_t end, enum rule rule, unsigned score)
{
    hunt_add(h, begin, end, rule, score);
    if (h->done < end)
        h->done = end;
}

bool rule_name_value(struct hunt *h, uint32_t bits, size_t begin, size_t end, bool quoted)
{
    unsigned words, more;
    size_t from = skip_title(h, begin, end), to = name_end(h, from, &words);
    if (!words || to > end || end - begin > NAME_BYTES + 40 || is_company(h, from, end))
        return false;
    if (hunt_at(h, to) == ',' && to < end && hunt_at(h, to + 1) == ' ') {       /* "Keller, Maria" */
        size_t second = name_end(h, to + 2, &more);
        if (more && second == end) {
            to = second;
            words += more;
        }
    }
    if (quoted ? to != end : to != end && !strchr(",/", hunt_at(h, to)))
        return false;
    if (!(bits & W_GIVEN) && (words < 2 || (is(h->p[from + 1], C_UPPER) && is(h->p[from + 2], C_UPPER))))
        return false;
    person_add(h, from, to, RULE_person_field, bits & W_GIVEN ? 90 : quoted ? 65 : 75);
    return true;
}

static bool is_street(const struct hunt *h, size_t i)
{
    return words_find(h->words, hunt_str(h, i, i + hunt_run(h, i, C_LETTER, WORD_LONGEST))) & W_STREET;
}

bool rule_address_value(struct hunt *h, size_t begin, size_t end, bool quoted)
{
    static const bool never[256] = { ['@'] = true, ['='] = true, ['_'] = true, ['{'] = true, ['}'] = true, ['<'] = true, ['>'] = true, ['\\'] = true,
                                     ['?'] = true, ['#'] = true, ['['] = true, [']'] = true, ['+'] = true, ['*'] = true, ['|'] = true };
    unsigned digits = 0, letters = 0, blanks = 0, longest = 0, run = 0;
    bool street = false;
    for (size_t i = begin; i < end; i++) {
        digits += is(h->p[i], C_DIGIT);
        run = is(h->p[i], C_DIGIT) ? run + 1 : 0;
        longest = run > longest ? run : longest;
        street = street || ((i == begin || !is(h->p[i - 1], C_WORD)) && is_street(h, i));
        letters += is(h->p[i], C_LETTER);
        blanks += h->p[i] == ' ' || h->p[i] == ',';
        if (never[(unsigned char)h->p[i]])
            return false;
    }
    if (!digits || letters < 5 || !blanks || end - begin < 10 || end - begin > 200 || digits > letters || (!quoted && longest < 4 && !street))
        return false;
    hunt_add(h, begin, end, RULE_address_field, quoted ? 85 : 75);
    h->done = end;
    return true;
}

/* ---- before an address of mail ---- */

/* "Maria Keller <maria@…>", "Maria Keller (maria@…)": the words before the bracket at `open`. */
void rule_name_of_mail(struct hunt *h, size_t open)
{
    size_t end = open, least = open > NAME_BYTES ? open - NAME_BYTES : 0, i;
    unsigned words;
    while (end > least && (h->p[end - 1] == ' ' || h->p[end - 1] == '"'))
        end--;
    i = end;
    for (int n = 0; n < NAME_WORDS && i > least; n++) {         /* back over words of letters */
        size_t k = i;
        while (k > least && (is(h->p[k - 1], C_LETTER | C_DASH) || h->p[k - 1] == '\'' || h->p[k - 1] == '.'))
            k--;
        if (k == i)
            break;
        i = k;
        if (i == least || h->p[i - 1] != ' ')
            break;
        i--;
    }
    i += hunt_at(h, i) == ' ';
    while (i < end) {                                           /* the longest name that ends there */
        size_t from = skip_title(h, i, end);
        if (name_end(h, from, &words) == end && words && from < end) {
            person_add(h, from, end, RULE_person_mail, words > 1 ? 90 : 70);
            return;
        }
        while (i < end && h->p[i] != ' ')
            i++;
        i += i < end;
    }
}

/* ---- greetings ---- */

static uint32_t word_before(const struct hunt *h, size_t at, size_t *begin)
{
    size_t i = at;
    while (i && at - i < 3 && (h->p[i - 1] == ' ' || h->p[i - 1] == '.' || h->p[i - 1] == ',' || h->p[i - 1] == '('))
        i--;
    size_t k = hunt_back(h, i, C_LETTER, WORD_LONGEST);
    *begin = i - k;
    return words_find(h->words, hunt_str(h, i - k, i));
}

/* The line before `at`, which starts one, says goodbye: "Best," or "-- ". */
static bool after_closing(const struct hunt *h, size_t at)
{
    size_t i = at - 1, least = at > 40 ? at - 40 : 0;
    if (i && h->p[i - 1] == '\n')
        i--;
    size_t end = i;
    while (i >= least + RUN_STEP && !run_equal(run_load(h->p + i - RUN_STEP), '\n'))
        i -= RUN_STEP;
    while (i > least && h->p[i - 1] != '\n')
        i--;
    str line = str_trim(hunt_str(h, i, end));
    if (str_eq(line, S("--")))
        return true;
    if (i == least && least)
        return false;
    bool comma = line.n && (line.p[line.n - 1] == ',' || line.p[line.n - 1] == '!' || line.p[line.n - 1] == '.');
    size_t word = end - (line.n ? (size_t)comma : 0);
    size_t k = hunt_back(h, word, C_LETTER, WORD_LONGEST);
    return line.n && words_find(h->words, hunt_str(h, word - k, word)) & W_CLOSING;
}

/* "My name is Alex Pearson", "Kind regards, Véronique Carre"; the word before the name begins at `begin`. */
static bool after_phrase(const struct hunt *h, size_t at, size_t begin, uint32_t bits)
{
    str between = hunt_str(h, begin, at);
    if (str_eq(between, S("is ")) && begin > 1)
        return words_find(h->words, hunt_str(h, begin - 1 - hunt_back(h, begin - 1, C_LETTER, WORD_LONGEST), begin - 1)) & W_NAME;
    return bits & W_CLOSING && str_ends(between, S(", "));
}

/* May stand before the blank before a name that something says. */
static bool may_precede(char c) { return is(c, C_LETTER) || c == ' ' || c == '.' || c == ',' || c == '('; }

/* What is around it says that a name begins here. */
static bool rule_said(struct hunt *h, size_t at)
{
    char before = at ? h->p[at - 1] : '\n';
    unsigned words;
    size_t begin, end;
    if (before == '\n') {
        if (!at || !after_closing(h, at))
            return false;
        end = name_end(h, at, &words);
        if (!words || (hunt_at(h, end) != '\n' && end != h->n))
            return false;
        person_add(h, at, end, RULE_person_greeting, 80);
        return true;
    }
    if ((before != ' ' && before != '(') || (before == ' ' && at > 1 && !may_precede(h->p[at - 2])))
        return false;
    uint32_t bits = word_before(h, at, &begin);
    if (!(bits & W_GREETING) && hunt_at(h, at - 2) == '.')
        return false;                                           /* "Dr. Keller", but not "as it is. Another sentence" */
    bool greeting = bits & W_GREETING && is(h->p[begin], C_UPPER) && (before == '(' || is(h->p[begin + 1], C_LOWER));
    if (!greeting && (before == '(' || !(bits & (W_INTRO | W_GIVEN))) && !after_phrase(h, at, begin, bits))
        return false;
    end = name_end(h, at, &words);
    if ((!greeting || (before == '(' && words == 1)) && is(hunt_at(h, at + 1), C_UPPER))
        return false;                                           /* "the client RTSP session", "TODO (PEP 632)": an abbreviation */
    if (words <= !greeting || is_company(h, at, end))
        return false;
    person_add(h, at, end, RULE_person_greeting, words > 1 ? 80 : 70);
    return true;
}

/* ---- names that are known as such ---- */

/* How sure a given name and a surname are together; 0: not at all. `joined`: by an initial or a particle, as only names are. */
static unsigned pair_score(unsigned given, unsigned surname, bool joined)
{
    if (!(given & NAMES_GIVEN) || !(surname & NAMES_SURNAME) || (given & surname & NAMES_WORD && !joined))
        return 0;
    return (given | surname) & NAMES_WORD ? 60 : 70;
}

/* "Henry Schein Inc.", "Bosch, GmbH". */
static bool company_follows(const struct hunt *h, size_t end)
{
    size_t i = end + (hunt_at(h, end) == ',');
    size_t k = hunt_at(h, i) == ' ' ? hunt_run(h, i + 1, C_LETTER, WORD_LONGEST) : 0;
    return k && words_find(h->words, hunt_str(h, i + 1, i + 1 + k)) & W_COMPANY;
}

/* "Maria Keller", "Jan M. van der Berg", "Anna Maria Keller": a given name that is known and ends at `end`, and a surname behind it. */
static bool rule_listed(struct hunt *h, size_t at, size_t end)
{
    size_t i = end;
    if (end < at + 3 || hunt_at(h, end) != ' ')
        return false;
    char next = hunt_at(h, end + 1);
    if (!is(next, C_UPPER | C_HIGH) && !particle_end(h, end + 1))
        return false;
    unsigned given = names_find(hunt_str(h, at, end)), score = 0, best = 0;
    bool joined = false;
    if (!(given & NAMES_GIVEN))
        return false;
    for (int words = 0; words < 3 && hunt_at(h, i) == ' '; words++) {
        unsigned n;
        size_t from = i + 1, to;
        (void)name_end(h, from, &n);                            /* reads particles, too */
        size_t last = from;
        if (!n)
            break;
        while (!is(h->p[last], C_UPPER | C_HIGH))               /* behind the particles */
            last++;
        to = name_word(h, last);
        if (is_street(h, last))
            return false;                                       /* "51 Franklin Street" */
        unsigned bits = names_find(hunt_str(h, last, to));
        joined = joined || last > from || to - last < 3;
        score = pair_score(given, bits, joined);
        if (score && to - last > 2) {
            best = score;
            end = to;
        } else if (to - last > 2 && !(bits & (NAMES_GIVEN | NAMES_SURNAME))) {
            break;
        }
        i = to;
    }
    if (!best || is_company(h, at, end) || company_follows(h, end))
        return false;
    person_add(h, at, end, RULE_person_list, best);
    return true;
}

void rule_capital(struct hunt *h, size_t at)
{
    if (at && h->p[at - 1] == '-' && rule_begin(h, at))
        return;
    size_t end = name_word(h, at);
    if (end > at + 1 && !rule_said(h, at))
        (void)rule_listed(h, at, end);
}

/* ---- around a name of one word ---- */

void hunt_name_around(const struct hunt *h, bool known, size_t *begin, size_t *end)
{
    unsigned words;
    size_t from = *begin, k;
    for (int back = known ? 2 : 0; back < 2 && from > 1 && h->p[from - 1] == ' ' && (k = hunt_back(h, from - 1, C_LETTER | C_DASH, 32)); back++) {
        size_t at = from - 1 - k;
        if (!is(h->p[at], C_UPPER | C_HIGH) || (at && is(h->p[at - 1], C_WORD)) || name_end(h, skip_title(h, at, from), &words) < from || skip_title(h, at, from) != at)
            break;
        from = at;
    }
    *begin = from;
    k = name_end(h, from, &words);
    *end = k > *end ? k : *end;
}
