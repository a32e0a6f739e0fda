/* guard/pattern.cc: the one file in C++, since RE2 speaks nothing else. No exception leaves it.
 *
 * RE2 reads on behind a match for as long as a longer one could be preferred, so that asking for every match of "x|x(?s:.*)y" would read the text once for each. Therefore
 * it is shown a window: a match that ends before the window does is what it would be in the whole text (RE2 looks at the bytes around a window for "\b" and
 * "$"), and one that touches the window's end is asked for again in a window of its own. */
#include "guard/pattern.h"

#include <re2/re2.h>

struct pattern { RE2 re; };

static const struct { RE2::ErrorCode code; const char *what, *instead; } mistakes[] = {
    { RE2::ErrorBadEscape, "this escape is unknown", "write \\\\ for a backslash; what was matched before (\\1) cannot be asked for: write the alternatives out" },
    { RE2::ErrorBadCharClass, "this class of characters is unknown", "write one such as [A-Z] or [[:alpha:]]" },
    { RE2::ErrorBadCharRange, "this is no range or class of characters", "write the lower character first, \\- for a dash, or a class such as [[:alpha:]]" },
    { RE2::ErrorMissingBracket, "a [ has no ]", "write \\[ for a bracket of the text" },
    { RE2::ErrorMissingParen, "a ( has no )", "write \\( for a parenthesis of the text" },
    { RE2::ErrorUnexpectedParen, "a ) has no (", "write \\) for a parenthesis of the text" },
    { RE2::ErrorTrailingBackslash, "it ends with a backslash", "write \\\\ for a backslash of the text" },
    { RE2::ErrorRepeatArgument, "nothing stands before what repeats it", "write \\* \\+ or \\? for that character of the text" },
    { RE2::ErrorRepeatSize, "it repeats too often, or less than nothing", "write at most {1000}, the smaller number first" },
    { RE2::ErrorRepeatOp, "one repetition stands right behind another", "put the first into (?: )" },
    { RE2::ErrorBadPerlOp, "this does not exist here", "instead of looking ahead or behind write \\b, or words into context; a group is (?: )" },
    { RE2::ErrorBadUTF8, "it is no UTF-8", "save the file as UTF-8" },
    { RE2::ErrorBadNamedCapture, "this name of a group cannot be", "write (?: ): names are not used" },
    { RE2::ErrorPatternTooLarge, "it takes too much memory", "repeat less, or write several types" },
};

static const char *tell(const RE2 &re, char why[PATTERN_WHY])
{
    for (const auto &m : mistakes)
        if (m.code == re.error_code()) {
            const std::string &at = re.error_arg();
            bool show = !at.empty() && at.size() <= 60 && m.code != RE2::ErrorPatternTooLarge;
            (void)snprintf(why, PATTERN_WHY, "%s%s%s: %s", m.what, show ? ", at " : "", show ? at.c_str() : "", m.instead);
            return why;
        }
    (void)snprintf(why, PATTERN_WHY, "%.200s", re.error().c_str());
    return why;
}

/* Nothing to find is found everywhere. */
static bool finds_nothing(const RE2 &re)
{
    for (re2::StringPiece text : { "", "a", "1", "-", "a b\n", " 1" }) {
        re2::StringPiece found;
        if (re.Match(text, 0, text.size(), RE2::UNANCHORED, &found, 1) && found.empty())
            return true;
    }
    return false;
}

/* In a request these are the ends of all its texts together, where no match stands. */
static bool asks_for_an_end(re2::StringPiece p)
{
    size_t slashes = 0;
    while (slashes + 1 < p.size() && p[p.size() - 2 - slashes] == '\\')
        slashes++;
    return p[0] == '^' || p.starts_with("\\A") || (slashes % 2 == 0 && p.ends_with("$")) || (slashes % 2 && p.ends_with("\\z"));
}

struct pattern *pattern_new(const char *p, size_t n, char why[PATTERN_WHY])
{
    (void)snprintf(why, PATTERN_WHY, "%s", n ? "there is no memory for it" : "it is empty: write what is to be found");
    if (n > PATTERN_BYTES)
        (void)snprintf(why, PATTERN_WHY, "it has more than %d bytes: write several types", PATTERN_BYTES);
    if (!n || n > PATTERN_BYTES)
        return nullptr;
    try {
        RE2::Options o;
        o.set_max_mem(PATTERN_MEMORY);
        o.set_log_errors(false);
        auto x = new pattern { RE2(re2::StringPiece(p, n), o) };
        if (!x->re.ok())
            tell(x->re, why);
        else if (x->re.ProgramSize() > PATTERN_STEPS)
            (void)snprintf(why, PATTERN_WHY, "it takes too many steps: repeat less, or name fewer characters");
        else if (asks_for_an_end({ p, n }))
            (void)snprintf(why, PATTERN_WHY, "it asks for the beginning or the end of the whole text: write \\b, the border of a word");
        else if (finds_nothing(x->re))
            (void)snprintf(why, PATTERN_WHY, "it also matches nothing at all, which is everywhere: write + for * or {1,} for {0,}");
        else
            return x;
        delete x;
    } catch (...) {
    }
    return nullptr;
}

void pattern_free(struct pattern *x) { delete x; }

/* The first match in [from, to) of the text. */
static bool match(const struct pattern *x, re2::StringPiece text, size_t from, size_t to, size_t *begin, size_t *end)
{
    re2::StringPiece found;
    if (!x->re.Match(text, from, to, RE2::UNANCHORED, &found, 1))
        return false;
    *begin = static_cast<size_t>(found.data() - text.data());
    *end = *begin + found.size();
    return true;
}

static size_t character(const char *text, size_t n, size_t at)
{
    do
        at++;
    while (at < n && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
    return at;
}

/* The end of a window of `size` bytes, which cuts no character: half of one would be no UTF-8 and no match. */
static size_t window(const char *text, size_t n, size_t from, size_t size)
{
    return n - from <= size ? n : character(text, n, from + size - 1);
}

enum pattern_found pattern_find(const struct pattern *x, const char *text, size_t n, size_t from, size_t *begin, size_t *end)
{
    try {
        while (from < n) {
            size_t to = window(text, n, from, 2 * PATTERN_WINDOW), first, last;
            if (!match(x, { text, n }, from, to, &first, &last)) {
                if (to == n)
                    return PATTERN_NONE;
                from = window(text, n, from, PATTERN_WINDOW);   /* a match may begin in the window's second half and go on behind it */
                continue;
            }
            if (last == to && to < n)           /* it may go on */
                (void)match(x, { text, n }, first, window(text, n, first, PATTERN_WINDOW), &first, &last);
            if (last > first) {
                *begin = first;
                *end = last;
                return PATTERN_MATCH;
            }
            from = character(text, n, first);
        }
        return PATTERN_NONE;
    } catch (...) {
        return PATTERN_ERROR;
    }
}
