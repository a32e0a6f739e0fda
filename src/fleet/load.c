/* One walk over the lines. Numbers are read without the locale; what is no number, negative, or not finite is left out. */
#include "fleet/load.h"

#include <math.h>
#include <stdlib.h>

static const struct { str name; size_t at; bool most; } known[] = {
    { S("vllm:num_requests_running"), offsetof(struct load, running), false },    { S("vllm:num_requests_waiting"), offsetof(struct load, waiting), false },
    { S("vllm:kv_cache_usage_perc"), offsetof(struct load, cache), true },        { S("vllm:gpu_cache_usage_perc"), offsetof(struct load, cache), true },
    { S("vllm:generation_tokens_total"), offsetof(struct load, tokens), false },  { S("llamacpp:requests_processing"), offsetof(struct load, running), false },
    { S("llamacpp:requests_deferred"), offsetof(struct load, waiting), false },   { S("llamacpp:tokens_predicted_total"), offsetof(struct load, tokens), false },
};

/* The place behind "{…}"; a quoted value may hold braces and escaped quotes. line.n: it does not end. */
static size_t after_labels(str line, size_t i)
{
    bool quoted = false;
    for (; i < line.n; i++) {
        if (quoted && line.p[i] == '\\')
            i++;
        else if (line.p[i] == '"')
            quoted = !quoted;
        else if (!quoted && line.p[i] == '}')
            return i + 1;
    }
    return line.n;
}

/* "12", "0.25", "1.5e+06"; no sign but a plus. */
static bool read_number(str s, double *out)
{
    char text[40], *end;
    if (!s.n || s.n >= sizeof text || !((s.p[0] >= '0' && s.p[0] <= '9') || s.p[0] == '+' || s.p[0] == '.'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'))
            return false;
        text[i] = c;
    }
    text[s.n] = '\0';
    *out = strtod(text, &end);          /* the locale of this program is always "C" */
    return !*end && isfinite(*out) && *out >= 0;
}

static bool read_line(str line, struct load *to)
{
    size_t n = 0;
    double v;
    str value;
    while (n < line.n && line.p[n] != '{' && line.p[n] != ' ' && line.p[n] != '\t')
        n++;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!str_eq(str_slice(line.p, n), known[i].name))
            continue;
        value = str_trim(str_skip(line, n < line.n && line.p[n] == '{' ? after_labels(line, n) : n));
        size_t end = 0;
        while (end < value.n && value.p[end] != ' ' && value.p[end] != '\t')
            end++;
        if (!read_number(str_slice(value.p, end), &v))
            return false;
        double *at = (double *)((char *)to + known[i].at);
        double was = *at > 0 ? *at : 0;
        *at = known[i].most ? fmax(was, v) : was + v;
        return true;
    }
    return false;
}

enum err load_read(str metrics, struct load *out)
{
    struct load l = LOAD_UNKNOWN;
    bool any = false;
    str line;
    while (metrics.n) {
        str_cut(metrics, '\n', &line, &metrics);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n && line.p[0] != '#')
            any |= read_line(line, &l);
    }
    if (!any)
        return ERR_UPSTREAM;
    if (l.cache > 1)                    /* a share in percent is none */
        l.cache = 1;
    *out = l;
    return ERR_OK;
}
