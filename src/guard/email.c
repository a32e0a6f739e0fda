/* guard/email.c: e-mail addresses, from their '@' (or "%40") to both sides. Limits of the parts: RFC 5321, 4.5.3.1. Domains that nobody owns (RFC 2606,
 * RFC 6761) are no addresses, nor are those of mailing lists and file names with a density ("icon@2x.png"). */
#include "guard/hunt.h"

enum { LOCAL_MAX = 64, DOMAIN_MAX = 253, TLD_MAX = 18 };

static bool is_local(char c) { return is(c, C_TOKEN | C_HIGH) || c == '.' || c == '+' || c == '\''; }

/* The start of the local part that ends at `at`; `at` itself when there is none. */
static size_t local_start(const struct hunt *h, size_t at)
{
    size_t i = at, least = at > LOCAL_MAX ? at - LOCAL_MAX : 0;
    for (unsigned others = 0; !others && i >= least + RUN_STEP;) {
        run_bytes v = run_load(h->p + i - RUN_STEP);
        others = ~(run_mask(v, C_TOKEN | C_HIGH) | run_equal(v, '.') | run_equal(v, '+') | run_equal(v, '\'')) << RUN_STEP;
        i -= others ? (size_t)__builtin_clz(others) : RUN_STEP;
    }
    while (i > least && is_local(h->p[i - 1]))
        i--;
    if (i == least && i > 0 && is_local(h->p[i - 1]))
        return at;                                  /* longer than a local part can be */
    while (i < at && !is(h->p[i], C_ALNUM | C_UNDER | C_HIGH))
        i++;                                        /* neither a quote, a dash of a list, nor half of a character starts one */
    while (i < at && ((unsigned char)h->p[i] & 0xC0) == 0x80)
        i++;
    if (i && h->p[i - 1] == '\\' && at - i > 2 && h->p[i] == 'f' && memchr("BIPR", h->p[i + 1], 4))
        i += 2;                                     /* a change of font in a manual page: "\fIada@..." */
    return i >= at || h->p[at - 1] == '.' ? at : i;
}

/* The end of the domain that starts at `at`: labels of letters, digits and dashes, the last of letters; `at` when there is none. */
static size_t domain_end(const struct hunt *h, size_t at)
{
    size_t i = at, end = at, label = at;
    bool letters = true;
    for (; i < h->n && i - at <= DOMAIN_MAX; i++) {
        char c = h->p[i];
        if (c == '.' && i > label) {
            if (label > at && letters && i - label >= 2)
                end = i;
            label = i + 1;
            letters = true;
        } else if (is(c, C_ALNUM | C_DASH | C_HIGH)) {
            letters = letters && is(c, C_LETTER);
        } else {
            break;
        }
    }
    if (i - at > DOMAIN_MAX)
        return at;
    bool last = label > at && letters && i - label >= 2 && i - label <= TLD_MAX;
    return last ? i : end;
}

static bool is_nobodys(str domain)
{
    static const str names[] = { S("example.com"), S("example.org"), S("example.net"), S("example.edu"), S(".example"), S(".test"), S(".invalid"), S(".localhost"),
                                 S(".png"), S(".jpg"), S(".jpeg"), S(".gif"), S(".svg"), S(".webp"), S(".css"), S(".js") };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        str s = names[i];
        if (domain.n < s.n || ((domain.p[domain.n - 1] ^ s.p[s.n - 1]) & 0x5F) || ((domain.p[domain.n - 2] ^ s.p[s.n - 2]) & 0x5F) ||
            !str_ieq(str_skip(domain, domain.n - s.n), s))
            continue;
        if (s.p[0] == '.' || domain.n == s.n || domain.p[domain.n - s.n - 1] == '.')
            return true;
    }
    return false;
}

/* What is sent to it is public: "@lists.debian.org". */
static bool is_list(str domain) { return domain.n > 6 && str_ieq(str_slice(domain.p, 6), S("lists.")); }

/* A password stands before the '@' of "scheme://user:password@host", no local part. */
static bool is_userinfo(const struct hunt *h, size_t begin)
{
    return begin > 0 && h->p[begin - 1] == ':' && begin > 1 && is(h->p[begin - 2], C_WORD);
}

void rule_email(struct hunt *h, size_t at, size_t width)
{
    if (!at || !is_local(h->p[at - 1]) || !is(hunt_at(h, at + width), C_ALNUM | C_DASH | C_HIGH))
        return;
    size_t begin = local_start(h, at), end = domain_end(h, at + width);
    if (begin == at || end <= at + width)
        return;
    if (is_nobodys(hunt_str(h, at + width, end)) || is_list(hunt_str(h, at + width, end)) || str_ieq(hunt_str(h, begin, at), S("git")))
        return;
    if (width == 1 && is_userinfo(h, begin)) {
        size_t k = hunt_back(h, begin - 1, C_WORD | C_DASH, 40);
        if (k + 4 <= begin && str_eq(hunt_str(h, begin - 1 - k - 3, begin - 1 - k), S("://")))
            return;
    }
    hunt_add(h, begin, end, width == 1 ? RULE_email : RULE_email_encoded, 95);
    h->done = end;
    if (width == 1 && begin && (h->p[begin - 1] == '<' || h->p[begin - 1] == '('))
        rule_name_of_mail(h, begin - 1);
    else if (width == 1 && begin > 6 && str_eq(hunt_str(h, begin - 4, begin), S(" at ")))
        rule_name_of_mail(h, begin - 4);
}
