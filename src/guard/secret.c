/* guard/secret.c: keys and passwords: by the prefix that their issuer gives them, by their form (JWT, PEM), in URIs, and as values of fields with a telling name.
 * An issuer's checksum is not asked for: a key with a wrong one is a key mistyped. */
#include "guard/hunt.h"

/* Prefixes that issuers publish, and how many token bytes follow at least. */
static const struct { str text; uint8_t least; } prefixes[] = {
    { S("sk-ant-"), 24 },      { S("sk-proj-"), 24 },     { S("sk-svcacct-"), 24 }, { S("sk-admin-"), 24 }, { S("sk-or-v1-"), 32 },  { S("sk-lf-"), 24 },      { S("sk-"), 24 },
    { S("sk_live_"), 16 },     { S("sk_test_"), 16 },     { S("rk_live_"), 16 },    { S("rk_test_"), 16 },  { S("whsec_"), 24 },     { S("ghp_"), 30 },        { S("gho_"), 30 },
    { S("ghu_"), 30 },         { S("ghs_"), 30 },         { S("ghr_"), 30 },        { S("github_pat_"), 40 }, { S("glpat-"), 16 },   { S("gldt-"), 16 },       { S("glrt-"), 16 },
    { S("glptt-"), 30 },       { S("glcbt-"), 16 },       { S("xoxb-"), 16 },       { S("xoxp-"), 16 },     { S("xoxa-"), 16 },      { S("xoxr-"), 16 },       { S("xoxs-"), 16 },
    { S("xoxe-"), 16 },        { S("xapp-"), 16 },        { S("AIza"), 30 },        { S("GOCSPX-"), 20 },    { S("hf_"), 28 },         { S("gsk_"), 32 },
    { S("xai-"), 32 },         { S("pplx-"), 32 },        { S("r8_"), 30 },         { S("nvapi-"), 32 },    { S("tgp_v1_"), 24 },    { S("csk-"), 32 },        { S("fw_"), 20 },
    { S("npm_"), 30 },         { S("pypi-"), 32 },        { S("rubygems_"), 32 },   { S("dop_v1_"), 40 },   { S("doo_v1_"), 40 },    { S("dor_v1_"), 40 },     { S("shpat_"), 28 },
    { S("shpss_"), 28 },       { S("shpca_"), 28 },       { S("shppa_"), 28 },      { S("sq0atp-"), 20 },   { S("sq0csp-"), 30 },    { S("EAAA"), 56 },        { S("lin_api_"), 30 },
    { S("dapi"), 32 },         { S("dckr_pat_"), 20 },    { S("pscale_tkn_"), 30 }, { S("pscale_pw_"), 30 }, { S("rnd_"), 24 },      { S("sntrys_"), 30 },
    { S("sntryu_"), 30 },      { S("glsa_"), 30 },        { S("glc_"), 30 },        { S("NRAK-"), 24 },     { S("PMAK-"), 24 },      { S("ATATT3"), 40 },      { S("ATCTT3"), 40 },
    { S("AGE-SECRET-KEY-"), 40 }, { S("figd_"), 30 },     { S("ntn_"), 30 },        { S("secret_"), 40 },   { S("sbp_"), 36 },       { S("vercel_"), 20 },     { S("tfp_"), 30 },
    { S("key-"), 32 },         { S("SK"), 32 },           { S("pat-na1-"), 30 },    { S("tskey-"), 24 },    { S("CFPAT-"), 30 },     { S("jina_"), 30 },       { S("voyage-"), 30 },
    { S("pcsk_"), 30 },        { S("lsv2_pt_"), 30 },     { S("lsv2_sk_"), 30 },    { S("re_"), 28 },       { S("phc_"), 36 },       { S("phx_"), 36 },        { S("EZAK"), 40 },
};

static inline char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

/* How mixed a value is. */
struct mix { unsigned upper, lower, digits, others, kinds; };

static struct mix mix_of(str v)
{
    static const uint8_t kind[256] = { ['A' ... 'Z'] = 1, ['a' ... 'z'] = 2, ['0' ... '9'] = 3 };
    unsigned counts[4] = { 0 }, kinds = 0;
    bool seen[256] = { false };
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        counts[kind[c]]++;
        kinds += !seen[c];
        seen[c] = true;
    }
    return (struct mix){ .others = counts[0], .upper = counts[1], .lower = counts[2], .digits = counts[3], .kinds = kinds };
}

static bool at_word(str v, size_t at, str word)
{
    size_t k = 0;
    while (k < word.n && k < v.n - at && lower(v.p[at + k]) == word.p[k])
        k++;
    return k == word.n;
}

/* A word so short that letters drawn at random spell it now and then, in one case or with a capital: only as people write it, from where a word may begin up to
 * the next one ("your_key", "myFakeToken"). Of 10,000 keys of 36 letters and digits one held "Todo" before a small letter. */
static bool at_short(str v, size_t at, str word)
{
    bool camel = at && is(v.p[at - 1], C_LOWER);
    if (!at_word(v, at, word) || (camel ? !is(v.p[at], C_UPPER) : at && is(v.p[at - 1], C_UPPER | C_DIGIT)))
        return false;
    size_t upper = 0, end = at + word.n;
    for (size_t k = 0; k < word.n; k++)
        upper += is(v.p[at + k], C_UPPER);
    if (end < v.n && is(v.p[end], upper == word.n ? C_ALNUM : C_LOWER | C_DIGIT))
        return false;
    return upper == 0 || upper == word.n || (upper == 1 && is(v.p[at], C_UPPER));
}

/* Words that say that a value stands for another, at one position. By the first letter, because every byte of a value is asked. */
static bool placeholder_at(str v, size_t i)
{
    switch (lower(v.p[i])) {
    case 'y': return at_short(v, i, S("your"));
    case 'e': return at_word(v, i, S("example")) || at_word(v, i, S("environ"));
    case 'p': return at_word(v, i, S("placeholder")) || at_word(v, i, S("process.env"));
    case 'x': return str_starts(str_skip(v, i), S("xxxx")) || str_starts(str_skip(v, i), S("XXXX"));
    case 'c': return at_word(v, i, S("changeme")) || at_word(v, i, S("change_me"));
    case 'r': return at_word(v, i, S("redacted")) || at_word(v, i, S("replace"));
    case 'd': return at_word(v, i, S("dummy"));
    case 'i': return at_word(v, i, S("insert"));
    case 'g': return at_word(v, i, S("getenv"));
    case 't': return at_short(v, i, S("todo"));
    case 's': return at_word(v, i, S("sample"));
    case 'f': return at_short(v, i, S("fake"));
    case 'a': return at_word(v, i, S("abcdefgh"));
    case '0': return at_word(v, i, S("00000000"));
    case '1': return at_word(v, i, S("12345678"));
    case '.': return at_word(v, i, S("..."));
    case '$': return i == 0 || at_word(v, i, S("${")) || at_word(v, i, S("$("));
    case '{': return at_word(v, i, S("{{"));
    case '*': return at_word(v, i, S("****"));
    case '%': return at_word(v, i, S("%s"));
    case '[': return at_word(v, i, S("[masked"));
    case '_': return i == 0 && at_word(v, i, S("__"));
    case '\xE2': return at_word(v, i, S("\xE2\x80\xA6"));
    case '<': return true;
    default: return false;
    }
}

/* Of the words above a bit for some of their first bytes, and the same bit for their second ones: both are there at few positions. */
#define BOTH(upper, bits) [upper] = (bits), [(upper) + 32] = (bits)
static const uint8_t firsts[256] = {
    BOTH('Y', 1), BOTH('T', 1), BOTH('E', 2 | 4), BOTH('X', 2), BOTH('I', 4), BOTH('P', 8), BOTH('C', 16), BOTH('R', 16), BOTH('G', 16), BOTH('D', 32), BOTH('S', 32), BOTH('F', 32),
    BOTH('A', 32), ['0'] = 64, ['1'] = 64, ['.'] = 64, ['*'] = 64, ['{'] = 64, ['['] = 64, ['%'] = 64, [0xE2] = 64, ['<'] = 128, ['$'] = 128, ['_'] = 128,
};
static const uint8_t seconds[256] = {
    BOTH('O', 1), BOTH('X', 2), BOTH('N', 4), BOTH('L', 8), BOTH('R', 8), BOTH('H', 16), BOTH('E', 16), BOTH('U', 32), BOTH('A', 32), BOTH('B', 32),
    ['0'] = 64, ['2'] = 64, ['.'] = 64, ['*'] = 64, ['{'] = 64, BOTH('M', 64), BOTH('S', 64), [0x80] = 64,
};
#undef BOTH

/* Stands for a secret, and is none. */
static bool is_placeholder(str v)
{
    size_t same = 0;
    for (size_t i = 0; i < v.n; i++) {
        same = i && v.p[i] == v.p[i - 1] && v.p[i] != '/' ? same + 1 : 1;
        unsigned second = i + 1 < v.n ? seconds[(unsigned char)v.p[i + 1]] | 128 : 128;
        if (same > 7 || (firsts[(unsigned char)v.p[i]] & second && placeholder_at(v, i)))
            return true;
    }
    return false;
}

/* ---- tokens with a prefix ---- */

static bool secret_add(struct hunt *h, size_t begin, size_t end, enum rule rule, unsigned score)
{
    if (is_placeholder(hunt_str(h, begin, end < begin + 256 ? end : begin + 256)))
        return false;
    hunt_add(h, begin, end, rule, score);
    return true;
}

static size_t token_end(const struct hunt *h, size_t i) { return i + hunt_run(h, i, C_TOKEN, SIZE_MAX); }

/* "eyJ…" are the first bytes of a JSON object in base64url; three parts with dots between them (RFC 7519). */
static bool rule_jwt(struct hunt *h, size_t begin, size_t end)
{
    size_t payload = end + 1, second, third;
    if (hunt_at(h, end) != '.' || (second = token_end(h, payload)) - payload < 8 || hunt_at(h, second) != '.')
        return false;
    third = token_end(h, second + 1);
    h->done = third;
    return secret_add(h, begin, third, RULE_secret_jwt, 95);
}

static bool is_aws_id(const struct hunt *h, size_t begin, size_t end)
{
    str v = hunt_str(h, begin, end);
    if (v.n != 20 || !(str_starts(v, S("AKIA")) || str_starts(v, S("ASIA")) || str_starts(v, S("ABIA")) || str_starts(v, S("ACCA"))))
        return false;
    return hunt_run(h, begin, C_UPPER | C_DIGIT, 21) == 20;
}

enum { PREFIXES = sizeof prefixes / sizeof *prefixes, STARTS = 1 << 12 };

/* Numbers of prefixes, from 1, in chains: those of which the first two bytes have the same place in `first`. */
struct prefixes { uint8_t first[STARTS], next[PREFIXES + 1]; };

static size_t start_of(str v) { return ((size_t)(unsigned char)v.p[0] << 6 ^ (unsigned char)v.p[1]) % STARTS; }

struct prefixes *prefixes_new(struct arena *a)
{
    struct prefixes *x = arena_new(a, struct prefixes, 1);
    for (size_t i = 0; x && i < PREFIXES; i++) {
        uint8_t *first = &x->first[start_of(prefixes[i].text)];
        x->next[i + 1] = *first;
        *first = (uint8_t)(i + 1);
    }
    return x;
}

static bool has_prefix(const struct prefixes *x, str v)
{
    for (size_t i = x->first[start_of(v)]; i; i = x->next[i]) {
        str p = prefixes[i - 1].text;
        if (!str_starts(v, p) || v.n < p.n + prefixes[i - 1].least)
            continue;
        struct mix m = mix_of(str_skip(v, p.n));
        if ((m.digits >= 2 || (m.upper >= 4 && m.lower >= 4)) && m.kinds >= 8 && m.others * 3 < v.n)
            return true;
    }
    return false;
}

/* "SG.<22>.<43>" of SendGrid, "<digits>:<35>" of Telegram, "hvs." of Vault, "ya29." of Google: what stands before the token belongs to it. */
static size_t odd_start(const struct hunt *h, size_t begin, size_t end)
{
    static const str dotted[] = { S("hvs."), S("hvb."), S("ya29.") };
    for (size_t i = 0; begin && h->p[begin - 1] == '.' && end - begin >= 24 && i < sizeof dotted / sizeof *dotted; i++)
        if (begin >= dotted[i].n && str_eq(hunt_str(h, begin - dotted[i].n, begin), dotted[i]))
            return begin - dotted[i].n;
    if (begin >= 3 && str_eq(hunt_str(h, begin - 3, begin), S("SG.")) && end - begin >= 20 && end - begin <= 24 && hunt_at(h, end) == '.')
        return begin - 3;
    size_t digits = begin > 1 && h->p[begin - 1] == ':' ? hunt_back(h, begin - 1, C_DIGIT, 11) : 0;
    return digits >= 8 && digits <= 10 && end - begin == 35 && h->p[begin] == 'A' ? begin - 1 - digits : begin;
}

static bool after_bearer(const struct hunt *h, size_t begin)
{
    return begin >= 7 && str_ieq(hunt_str(h, begin - 7, begin), S("bearer "));
}

bool rule_token(struct hunt *h, size_t at)
{
    size_t begin = at - (SCAN_LONG - 1), end = token_end(h, at + 1);
    if (begin && h->p[begin - 1] == '\\' && strchr("nrt", h->p[begin]))
        begin++;                                        /* an escape of a string that nobody has decoded */
    size_t odd = odd_start(h, begin, end);
    str v = hunt_str(h, begin, end);
    if (v.n > 512 && !str_starts(v, S("eyJ"))) {
        h->done = end;
        return true;
    }
    if (str_starts(v, S("eyJ")) && rule_jwt(h, begin, end))
        return true;
    if (odd != begin) {
        end = hunt_at(h, end) == '.' && is(hunt_at(h, end + 1), C_TOKEN) ? token_end(h, end + 1) : end;
        secret_add(h, odd, end, RULE_secret_prefix, 95);
    } else if (is_aws_id(h, begin, end) || has_prefix(h->prefixes, v)) {
        secret_add(h, begin, end, RULE_secret_prefix, 95);
    } else if (after_bearer(h, begin)) {
        end = begin + hunt_run(h, begin, C_TOKEN, 512);
        while (end < h->n && end - begin < 4096 && (is(h->p[end], C_TOKEN) || (strchr("./+=~", h->p[end]) && h->p[end])))
            end++;
        struct mix m = mix_of(hunt_str(h, begin, end));
        if (m.digits && m.kinds > 9)
            secret_add(h, begin, end, RULE_secret_bearer, 85);
    } else {
        return false;                                   /* its digits may still be something */
    }
    h->done = end;
    return true;
}

/* "curl -u name:password", "--user name:password" with the ':' at `colon`. */
bool rule_user(struct hunt *h, size_t colon)
{
    size_t begin = colon, end = colon + 1, least = colon > 64 ? colon - 64 : 0;
    char first = hunt_at(h, end);
    if (!is(first, C_TOKEN) && first != '#' && first != '!' && first != '*' && first != '.')
        return false;
    while (begin > least && (is(h->p[begin - 1], C_TOKEN) || h->p[begin - 1] == '.' || h->p[begin - 1] == '@'))
        begin--;
    if (begin == colon)
        return false;
    begin -= begin && (h->p[begin - 1] == '"' || h->p[begin - 1] == '\'');
    str before = hunt_str(h, begin > 8 ? begin - 8 : 0, begin);
    if (!str_ends(before, S(" -u ")) && !str_ends(before, S(" --user ")))
        return false;
    while (end < h->n && end - colon < 128 && (unsigned char)h->p[end] > ' ' && !strchr("\"'`$<>|;{}", h->p[end]))
        end++;
    if (end - colon <= 6 || hunt_at(h, end) == '$' || hunt_at(h, end) == '{')
        return false;
    return rule_secret_value(h, W_PASSWORD, colon + 1, end, true);
}

/* ---- PEM ---- */

/* "-----BEGIN … PRIVATE KEY-----" with `at` on its B: the whole block, or what is there of it. */
static bool rule_pem(struct hunt *h, size_t at)
{
    str rest = str_skip(str_slice(h->p, h->n), at), head = str_slice(rest.p, rest.n < 64 ? rest.n : 64);
    size_t key = str_find(head, S("PRIVATE KEY")), i;
    if (at < 5 || !str_starts(head, S("BEGIN ")) || !str_eq(hunt_str(h, at - 5, at), S("-----")) || key == head.n)
        return false;
    i = at + key + strlen("PRIVATE KEY");
    while (i < h->n && h->p[i] != '-' && i < at + 80)
        i++;
    while (i < h->n && h->p[i] == '-')
        i++;
    size_t body = i;
    while (i < h->n && (is(h->p[i], C_ALNUM) || strchr("+/=\n\r\\ ,:\t\"", h->p[i])) && h->p[i])
        i++;
    str tail = str_skip(str_slice(h->p, h->n), i);
    if (str_starts(tail, S("-----END "))) {
        size_t end = i + 9;
        while (end < h->n && (is(h->p[end], C_UPPER) || h->p[end] == ' ') && end < i + 60)
            end++;
        while (end < h->n && h->p[end] == '-')
            end++;
        i = end;
    } else if (i - body < 64) {
        return false;
    }
    h->done = i;
    hunt_add(h, at - 5, i, RULE_secret_pem, 98);
    return true;
}

bool rule_begin(struct hunt *h, size_t at) { return h->p[at] == 'B' && rule_pem(h, at); }

/* ---- URIs ---- */

/* A password between ':' and '@' of the authority that starts at `at`, or a webhook whose path is the secret. */
void rule_uri(struct hunt *h, size_t colon)
{
    size_t from = colon + 3, i = from, sep = 0, sign = 0, least = hunt_back(h, colon, C_ALNUM | C_DASH, 20);
    for (; i < h->n && i - from < 300; i++) {
        char c = h->p[i];
        if (c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' || c == '`' || c == '<' || c == '>' || (unsigned char)c <= ' ')
            break;
        if (c == ':' && !sep)
            sep = i;
        if (c == '@')
            sign = i;
    }
    if (sep && sign > sep + 1 && least) {
        str v = hunt_str(h, sep + 1, sign);
        if (!words_find(h->words, v) && str_index(v, '\\') == v.n && secret_add(h, sep + 1, sign, RULE_secret_uri, 92))
            h->done = sign;
        return;
    }
    str host = hunt_str(h, from, i);
    if ((str_ends(host, S("hooks.slack.com")) && str_starts(str_skip(str_slice(h->p, h->n), i), S("/services/T"))) ||
        (str_ends(host, S("discord.com")) && str_starts(str_skip(str_slice(h->p, h->n), i), S("/api/webhooks/")))) {
        size_t end = i;
        while (end < h->n && (is(h->p[end], C_TOKEN) || h->p[end] == '/') && end - i < 300)
            end++;
        if (end - i > 40 && secret_add(h, colon - least, end, RULE_secret_webhook, 95))
            h->done = end;
    }
}

/* ---- values of telling names ---- */

size_t secret_scheme(str v)
{
    static const str schemes[] = { S("bearer "), S("basic "), S("token "), S("apikey ") };
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (v.n >= schemes[i].n && str_ieq(str_slice(v.p, schemes[i].n), schemes[i]))
            return schemes[i].n;
    return 0;
}

static bool is_expression(str v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] == '(' || v.p[i] == ')' || v.p[i] == '{' || v.p[i] == '}' || v.p[i] == '[' || v.p[i] == ']')
            return true;
    return str_find(v, S("->")) < v.n || str_find(v, S("::")) < v.n || v.p[0] == '&' || v.p[0] == '*';
}

bool rule_secret_value(struct hunt *h, uint32_t bits, size_t begin, size_t end, bool quoted)
{
    str v = str_skip(hunt_str(h, begin, end), secret_scheme(hunt_str(h, begin, end)));
    size_t from = end - v.n;
    if (v.n < 4 || v.n > 512 || str_index(v, ' ') < v.n || (!quoted && is_expression(v)))
        return false;
    struct mix m = mix_of(v);
    bool telling = bits & W_PASSWORD ? m.digits || (m.others && m.lower + m.upper) || (m.upper && m.lower > m.upper + 2 && quoted)
                                     : v.n >= 10 && m.digits >= 2 && m.kinds >= 7 && m.lower + m.upper >= 2;
    if (!quoted && (bits & W_PASSWORD) && !m.digits)
        telling = false;
    if (!quoted && m.others && str_index(v, '.') < v.n && m.digits < 2)
        telling = false;                                        /* args.password1 */
    if (bits & W_PASSWORD && quoted && v.n >= 5 && v.n <= 32 && m.lower == v.n && !words_find(h->words, v))
        telling = true;
    if (m.digits == v.n && v.n < 6)
        telling = false;
    return telling && secret_add(h, from, end, RULE_secret_field, quoted ? 85 : 75);
}

/* "the password is hunter2": the token with a digit that starts at `begin`, behind two words. */
bool rule_secret_said(struct hunt *h, size_t begin)
{
    static const str verbs[] = { S("is"), S("ist"), S("est"), S("es"), S("jest"), S("was") };
    size_t verb = begin ? hunt_back(h, begin - 1, C_LOWER, 5) : 0, from = begin - 1 - verb, k, end = begin;
    bool said = false;
    if (!verb || verb > 4 || h->p[begin - 1] != ' ' || !from || h->p[from - 1] != ' ')
        return false;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        said = said || str_eq(hunt_str(h, from, begin - 1), verbs[i]);
    k = said ? hunt_back(h, from - 1, C_LETTER, WORD_LONGEST) : 0;
    if (!k || !(words_find(h->words, hunt_str(h, from - 1 - k, from - 1)) & W_PASSWORD))
        return false;
    while (end < h->n && end - begin < 64 && (unsigned char)h->p[end] > ' ' && h->p[end] != '"')
        end++;
    while (end > begin && strchr(".,;:)?", h->p[end - 1]))
        end--;
    if (!rule_secret_value(h, W_PASSWORD, begin, end, true))
        return false;
    h->done = end;
    return true;
}
