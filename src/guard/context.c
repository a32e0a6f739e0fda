/* guard/context.c: what surrounds a value. */
#include "guard/hunt.h"

static bool goes_on(char c) { return c == '-' || c == '.' || c == '/' || c == ':' || c == '@'; }

bool hunt_alone_before(const struct hunt *h, size_t begin)
{
    if (begin == 0)
        return true;
    char c = h->p[begin - 1];
    if (is(c, C_WORD) || (c == '/' && begin >= 2 && h->p[begin - 2] != '/' && is(h->p[begin - 2], C_WORD)))
        return false;
    if (c == '.' || c == '-' || c == '#' || c == '$' || c == '%' || c == '+')
        return begin >= 2 && !is(h->p[begin - 2], C_WORD) && c == '-' && h->p[begin - 2] != '-' && h->p[begin - 2] != ' ';
    return !(c == ',' && begin >= 2 && is(h->p[begin - 2], C_DIGIT) && is(h->p[begin], C_DIGIT) && hunt_back(h, begin - 1, C_DIGIT, 4) == 3);
}

bool hunt_alone_after(const struct hunt *h, size_t end)
{
    char c = hunt_at(h, end);
    return !is(c, C_WORD) && !(goes_on(c) && is(hunt_at(h, end + 1), C_WORD));
}

enum { SAYS_NO = W_OTHER | W_VERSION | W_DATE };
enum { SAYS_YES = W_IP | W_PHONE | W_CARD | W_SSN | W_ID | W_PASSPORT | W_BIRTH };

static bool is_number(str word)
{
    return word.n == 6 ? str_ieq(word, S("number")) : word.n == 2 && (word.p[0] | 0x20) == 'n' && ((word.p[1] | 0x20) == 'o' || (word.p[1] | 0x20) == 'r');
}

/* The bits of the word that ends at *i, none of it before `least`; *i becomes its beginning. Values stand close, and the words before one are before the next, too. */
static uint32_t word_before(struct hunt *h, size_t least, size_t *i)
{
    size_t end = *i, begin = end, place = end % (sizeof h->said / sizeof *h->said);
    if (h->said[place].end == end && h->said[place].begin > least) {
        *i = h->said[place].begin;
        return h->said[place].bits;
    }
    *i = begin -= hunt_back(h, end, C_WORD | C_DASH, end - least);
    uint32_t bits = words_find_name(h->words, hunt_str(h, begin, end));
    if (begin > least && begin < end) {             /* else the word may go on before */
        h->said[place].begin = begin;
        h->said[place].end = end;
        h->said[place].bits = bits;
    }
    return bits;
}

static uint32_t gathered(struct hunt *h, size_t at)
{
    size_t least = at > CONTEXT_BYTES ? at - CONTEXT_BYTES : 0, i = at;
    uint32_t all = 0;
    int weak = -2;                              /* which word was a weak one */
    bool numbered = false;                      /* the last word was "number" */
    for (int words = 0; words < CONTEXT_WORDS; words++) {
        while (i > least && !is(h->p[i - 1], C_WORD))
            if (h->p[--i] == '\n' || (h->p[i] == '.' && i + 1 < at && h->p[i + 1] == ' ' && hunt_back(h, i, C_WORD, 5) == 5))
                return all;                     /* the end of a sentence, not of "tel." */
        size_t end = i;
        uint32_t bits = word_before(h, least, &i);
        if (i == end)
            break;
        str word = hunt_str(h, i, end);
        if (numbered && str_ieq(word, S("id")))
            bits |= W_ID;                       /* "id number" */
        numbered = is_number(word) || (numbered && str_ieq(word, S("card")));
        if ((bits & SAYS_NO) && !(bits & SAYS_YES) && (!(all & ~(uint32_t)W_IP) || (all & W_WEAK && words == weak + 1)))
            return bits;
        if (bits & SAYS_YES)
            all |= bits;
        if (bits & W_WEAK)
            weak = words;
    }
    return all;
}

uint32_t hunt_context(struct hunt *h, size_t at)
{
    if (h->given)
        return h->given;
    if (h->context_of == at + 1)
        return h->context;                      /* several rules ask for one place */
    uint32_t all = gathered(h, at);
    h->context_of = at + 1;
    h->context = all & W_WEAK && all & (W_ID | W_SSN | W_CARD | W_PASSPORT) ? all & ~(uint32_t)W_PHONE : all;    /* "NHS number" is no telephone's */
    return h->context;
}
