/* Arithmetic of footprints, and their JSON. */
#include "fleet/foot.h"

#include "core/json.h"

#define DEVICE_HOST_GUESS (INT64_C(1) << 30)    /* of the host, for a process whose model is on a GPU: runtime and libraries */

static const struct { const char *key; size_t at; } members[] = {
    { "host", offsetof(struct foot, host) }, { "device_host", offsetof(struct foot, device_host) }, { "device", offsetof(struct foot, device) },
    { "weights", offsetof(struct foot, weights) }, { "kv_token", offsetof(struct foot, kv_token) }, { "tokens", offsetof(struct foot, tokens) },
    { "load_ms", offsetof(struct foot, load_ms) } };

static int64_t *member(struct foot *f, size_t i) { return (int64_t *)((char *)f + members[i].at); }

static int64_t moved(int64_t bytes, int64_t by)
{
    if (bytes < 0)
        return bytes;
    return bytes + by > 0 ? bytes + by : 0;
}

struct foot foot_for(struct foot f, int64_t tokens)
{
    if (f.kv_token < 0 || f.tokens < 0 || tokens <= 0 || tokens == f.tokens)
        return f;
    int64_t by = f.kv_token * (tokens - f.tokens);
    f.host = moved(f.host, by);
    f.device = moved(f.device, by);
    f.tokens = tokens;
    return f;
}

struct foot foot_or(struct foot f, struct foot guess)
{
    /* What is known of one place says more of the other than a guess from the file does. */
    if (f.device < 0 && f.host >= 0)
        f.device = f.host;
    if (f.host < 0 && f.device >= 0)
        f.host = f.device;
    if (f.device_host < 0 && f.device >= 0)
        f.device_host = f.host < DEVICE_HOST_GUESS ? f.host : DEVICE_HOST_GUESS;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (*member(&f, i) < 0)
            *member(&f, i) = *member(&guess, i);
    return f;
}

static bool is_news(int64_t was, int64_t is, bool first)
{
    return was < 0 || is > was + was / 10 || (first && is < was - was / 10);
}

bool foot_measure(struct foot *f, int64_t host, int64_t device, bool first)
{
    int64_t *to = device > 0 ? &f->device_host : &f->host;
    bool news = is_news(*to, host, first) || (device > 0 && is_news(f->device, device, first));
    if (first || host > *to)
        *to = host;
    if (device > 0 && (first || device > f->device))
        f->device = device;
    return news;
}

int64_t foot_rest(const struct foot *f, bool on_device)
{
    int64_t all = on_device ? f->device : f->host;
    if (all < 0 || f->weights < 0 || f->kv_token < 0 || f->tokens < 0)
        return -1;
    int64_t rest = all - f->weights - f->kv_token * f->tokens;
    return rest > 0 ? rest : 0;
}

enum err foot_write(struct arena *a, const struct foot *f, str model, const char *kind, str *out)
{
    struct foot copy = *f;
    struct buf b;
    struct json_out o;
    buf_init(&b, 16u << 10);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("model"));
    json_put_str(&o, model);
    json_put_key(&o, S("kind"));
    json_put_str(&o, str_of(kind));
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        json_put_key(&o, str_of(members[i].key));
        if (*member(&copy, i) >= 0)
            json_put_i64(&o, *member(&copy, i));
        else
            json_put_null(&o);
    }
    json_close(&o, '}');
    str s = o.err == ERR_OK ? arena_str(a, buf_str(&b)) : STR_NONE;
    buf_free(&b);
    if (!s.p)
        return o.err ? o.err : ERR_LIMIT;
    *out = s;
    return ERR_OK;
}

enum err foot_read(struct arena *a, str text, struct foot *out)
{
    json v;
    struct json_limits lim = { .depth = 8, .nodes = 256, .bytes = 64 << 10 };
    if (json_parse(a, text, &lim, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return ERR_SYNTAX;
    *out = FOOT_UNKNOWN;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        int64_t n;
        if (json_i64(json_member(v, str_of(members[i].key)), &n) && n >= 0 && n < INT64_C(1) << 50)
            *member(out, i) = n;
    }
    return ERR_OK;
}
