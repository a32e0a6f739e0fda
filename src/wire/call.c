/* wire/call.c: what every codec needs of calls and replies. */
#include "wire/call.h"

#include <math.h>

str role_name(enum role r)
{
    static const str names[] = { S("system"), S("user"), S("assistant"), S("tool") };
    return names[r];
}

void params_init(struct params *p)
{
    *p = (struct params){ .temperature = NAN, .top_p = NAN, .min_p = NAN, .frequency_penalty = NAN, .presence_penalty = NAN, .top_k = PARAM_UNSET,
                          .max_tokens = PARAM_UNSET, .seed = PARAM_UNSET, .n = PARAM_UNSET, .logprobs = PARAM_UNSET };
}

void reply_init(struct reply *r)
{
    *r = (struct reply){ .prompt_tokens = TOKENS_UNKNOWN, .completion_tokens = TOKENS_UNKNOWN, .cached_tokens = TOKENS_UNKNOWN, .cache_write_tokens = TOKENS_UNKNOWN,
                         .reasoning_tokens = TOKENS_UNKNOWN, .accepted_tokens = TOKENS_UNKNOWN, .rejected_tokens = TOKENS_UNKNOWN };
}

bool reply_has_usage(const struct reply *r) { return r->prompt_tokens != TOKENS_UNKNOWN || r->completion_tokens != TOKENS_UNKNOWN; }

/* The length of all text parts, or ERR_UNSUPPORTED. */
static enum err parts_text(struct arena *a, json parts, str *out)
{
    size_t n = 0;
    for (json p = json_first(parts); json_type(p) != JSON_NONE; p = json_next(p)) {
        if (!json_is(json_member(p, S("type")), S("text")) || json_type(json_member(p, S("text"))) != JSON_STRING)
            return ERR_UNSUPPORTED;
        n += json_span(json_member(p, S("text"))).n;
    }
    char *to = arena_alloc(a, n, 1);
    if (!to)
        return ERR_LIMIT;
    n = 0;
    for (json p = json_first(parts); json_type(p) != JSON_NONE; p = json_next(p)) {
        str text;
        enum err e = json_text(a, json_member(p, S("text")), &text);
        if (e)
            return e;
        if (text.n)
            memcpy(to + n, text.p, text.n);
        n += text.n;
    }
    *out = (str){ to, n };
    return ERR_OK;
}

enum err message_text(struct arena *a, const struct message *m, str *out)
{
    switch (json_type(m->content)) {
    case JSON_STRING: return json_text(a, m->content, out);
    case JSON_ARRAY:  return parts_text(a, m->content, out);
    case JSON_NONE:
    case JSON_NULL:
        *out = S("");
        return ERR_OK;
    default:          return ERR_UNSUPPORTED;
    }
}
