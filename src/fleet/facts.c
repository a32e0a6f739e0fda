/* One reader a question, and the two writers of an identity. Only facts that change the answers are in an identity: where a file lies, when it was
 * loaded and how the process looks are not. */
#include "fleet/facts.h"

#include "core/json.h"

#include <stdlib.h>

#define TEXT_MAX 512                    /* of a fact; a longer one is none */

static const struct json_limits limits = { .depth = 32, .nodes = 1u << 20, .bytes = FACTS_BYTES };

void facts_init(struct facts *f) { *f = (struct facts){ .size = -1, .n_params = -1, .context = -1, .slots = -1 }; }

/* ---- pieces ---- */

static str text(struct arena *a, json v)
{
    str s, copy;
    if (json_type(v) != JSON_STRING || json_text(a, v, &s) != ERR_OK || !s.n || s.n > TEXT_MAX)
        return S("");
    copy = arena_str(a, s);             /* the body goes, the facts stay */
    return copy.p ? copy : S("");
}

static void take(struct arena *a, json object, const char *key, str *to)
{
    str s = text(a, json_member(object, str_of(key)));
    if (s.n)
        *to = s;
}

static void take_number(json object, const char *key, int64_t *to)
{
    int64_t v;
    if (json_i64(json_member(object, str_of(key)), &v) && v >= 0)
        *to = v;
}

static bool is_hex(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return s.n == HEX_DIGEST;
}

/* "sha256:HEX", or HEX alone. */
static void take_digest(struct arena *a, json object, const char *key, str *to)
{
    str s = text(a, json_member(object, str_of(key)));
    if (str_starts(s, S("sha256:")))
        s = str_skip(s, 7);
    if (is_hex(s))
        *to = s;
}

/* A text that may be long is known by its hash. */
static void take_hash(struct arena *a, json object, const char *key, str *to)
{
    str s;
    char *hex = arena_alloc(a, HEX_DIGEST, 1);
    json v = json_member(object, str_of(key));
    if (!hex || json_type(v) != JSON_STRING || json_text(a, v, &s) != ERR_OK || !s.n)
        return;
    struct digest d = sha256_of(s);
    hex_encode(d.b, sizeof d.b, hex);
    *to = str_slice(hex, HEX_DIGEST);
}

static int by_bytes(const void *x, const void *y) { return str_cmp(*(const str *)x, *(const str *)y); }

/* A text whose lines come in any order, each time in another: Ollama's parameters are the entries of a map. */
static void take_hash_of_lines(struct arena *a, json object, const char *key, str *to)
{
    str s, all;
    json v = json_member(object, str_of(key));
    if (json_type(v) != JSON_STRING || json_text(a, v, &s) != ERR_OK || !s.n)
        return;
    size_t n = 0, max = 1;
    for (size_t i = 0; i < s.n; i++)
        max += s.p[i] == '\n';
    str *lines = arena_new(a, str, max);
    char *hex = arena_alloc(a, HEX_DIGEST, 1);
    struct sha256 *h = lines && hex ? sha256_new() : NULL;
    if (!h)
        return;
    for (all = s; all.n;)
        str_cut(all, '\n', &lines[n++], &all);
    qsort(lines, n, sizeof *lines, by_bytes);
    sha256_begin(h);
    for (size_t i = 0; i < n; i++) {
        sha256_add(h, lines[i]);
        sha256_add(h, S("\n"));
    }
    struct digest d = sha256_end(h);
    sha256_free(h);
    hex_encode(d.b, sizeof d.b, hex);
    *to = str_slice(hex, HEX_DIGEST);
}

/* Ollama adds ":latest" to names that have no tag. */
static bool is_name(struct arena *a, json v, str id)
{
    str s = text(a, v);
    return str_eq(s, id) || (str_starts(s, id) && str_eq(str_skip(s, id.n), S(":latest")));
}

/* ---- readers ---- */

static void read_props(struct arena *a, json v, str id, struct facts *f)
{
    (void)id;
    take(a, v, "model_path", &f->path);
    take(a, v, "model_ftype", &f->quantization);
    take(a, v, "build_info", &f->version);
    take_number(v, "total_slots", &f->slots);
    take_hash(a, v, "chat_template", &f->template_sha256);
    take_number(json_member(v, S("default_generation_settings")), "n_ctx", &f->context);
    f->said |= f->quantization.n || f->template_sha256.n;
}

static void read_models(struct arena *a, json v, str id, struct facts *f)
{
    json list = json_member(v, S("data")), m = json_first(list);
    if (json_count(list) > 1)           /* one alone is the one, whatever it is called */
        while (json_type(m) != JSON_NONE && !json_is(json_member(m, S("id")), id))
            m = json_next(m);
    if (json_type(m) != JSON_OBJECT)
        return;
    json meta = json_member(m, S("meta"));
    take(a, m, "root", &f->root);
    take(a, m, "parent", &f->parent);
    take_number(m, "max_model_len", &f->context);
    take_number(meta, "n_params", &f->n_params);
    take_number(meta, "size", &f->size);
    f->said |= f->n_params >= 0 || (f->root.n && !str_eq(f->root, id));
}

static void read_version(struct arena *a, json v, str id, struct facts *f)
{
    (void)id;
    take(a, v, "version", &f->version);
}

static void read_server_info(struct arena *a, json v, str id, struct facts *f)
{
    (void)id;
    json m = json_member(json_member(v, S("vllm_config")), S("model_config"));
    take(a, m, "revision", &f->revision);
    take(a, m, "quantization", &f->quantization);
    take(a, m, "dtype", &f->dtype);
    f->said |= f->revision.n > 0;
}

static void read_remote(struct arena *a, json m, struct facts *f)
{
    take(a, m, "remote_host", &f->remote_host);
    take(a, m, "remote_model", &f->remote_model);
    /* Whatever stands there, also what is too long to be a name: it is somebody else's. */
    str s;
    const char *const keys[] = { "remote_host", "remote_model" };
    for (size_t i = 0; i < 2; i++) {
        json v = json_member(m, str_of(keys[i]));
        f->remote |= json_type(v) == JSON_STRING ? json_text(a, v, &s) != ERR_OK || s.n > 0 : json_type(v) != JSON_NONE && json_type(v) != JSON_NULL;
    }
}

static void read_details(struct arena *a, json d, struct facts *f)
{
    take(a, d, "format", &f->format);
    take(a, d, "family", &f->architecture);
    take(a, d, "parameter_size", &f->parameters);
    take(a, d, "quantization_level", &f->quantization);
}

static void read_tags(struct arena *a, json v, str id, struct facts *f)
{
    json m = json_first(json_member(v, S("models")));
    while (json_type(m) != JSON_NONE && !is_name(a, json_member(m, S("name")), id) && !is_name(a, json_member(m, S("model")), id))
        m = json_next(m);
    f->listed = true;
    f->missing = json_type(m) != JSON_OBJECT;
    f->remote = false;
    f->manifest = f->remote_host = f->remote_model = S("");
    if (f->missing)
        return;
    take_digest(a, m, "digest", &f->manifest);
    take_number(m, "size", &f->size);
    read_details(a, json_member(m, S("details")), f);
    read_remote(a, m, f);
    f->said |= f->manifest.n > 0;
}

/* "…/blobs/sha256-HEX" at the end of `s`. */
static void take_blob(struct arena *a, str s, str *to)
{
    size_t at = str_find(s, S("sha256-"));
    str hex = str_skip(s, at + 7);
    hex.n = hex.n < HEX_DIGEST ? hex.n : HEX_DIGEST;
    if (at < s.n && is_hex(hex) && !to->n)
        *to = arena_str(a, hex);
}

static void read_show(struct arena *a, json v, str id, struct facts *f)
{
    (void)id;
    str file = S(""), line;
    json modelfile = json_member(v, S("modelfile"));
    take_hash(a, v, "template", &f->template_sha256);
    take_hash_of_lines(a, v, "parameters", &f->options_sha256);
    read_details(a, json_member(v, S("details")), f);
    read_remote(a, v, f);
    f->weights = S("");
    if (json_type(modelfile) == JSON_STRING)
        (void)json_text(a, modelfile, &file);
    while (file.n && !f->weights.n) {
        str_cut(file, '\n', &line, &file);
        if (str_starts(line, S("FROM ")))
            take_blob(a, line, &f->weights);
    }
    take_blob(a, text(a, json_member(json_member(v, S("details")), S("parent_model"))), &f->weights);
}

static void read_sleeping(struct arena *a, json v, str id, struct facts *f)
{
    (void)a;
    (void)id;
    bool b;
    f->sleeps = json_bool(json_member(v, S("is_sleeping")), &b);
    f->sleeping = f->sleeps && b;
}

static void (*const readers[QUESTIONS])(struct arena *a, json v, str id, struct facts *f) = {
    [ASK_PROPS] = read_props, [ASK_MODELS] = read_models, [ASK_VERSION] = read_version, [ASK_API_VERSION] = read_version, [ASK_SERVER_INFO] = read_server_info,
    [ASK_TAGS] = read_tags, [ASK_SHOW] = read_show, [ASK_SLEEPING] = read_sleeping,
};

enum err facts_read(struct arena *a, enum question q, str id, int status, str body, struct facts *f)
{
    json v;
    if (status < 200 || status > 599)
        return ERR_UPSTREAM;
    if (q == ASK_SLEEPING && status != 200)
        f->sleeps = f->sleeping = false;
    if (status != 200 || !readers[q])
        return ERR_OK;
    enum err e = json_parse(a, body, &limits, &v, NULL);
    if (e != ERR_OK || json_type(v) != JSON_OBJECT)
        return e == ERR_LIMIT ? ERR_LIMIT : ERR_UPSTREAM;
    readers[q](a, v, id, f);
    return ERR_OK;
}

/* ---- identities ---- */

static enum err finish(struct arena *a, struct json_out *o, str *out)
{
    enum err e = o->err;
    str s = e == ERR_OK ? arena_str(a, buf_str(o->b)) : STR_NONE;
    buf_free(o->b);
    if (!s.p)
        return e ? e : ERR_LIMIT;
    *out = s;
    return ERR_OK;
}

enum err facts_identity(struct arena *a, const struct kind *k, const struct facts *f, const struct digest *weights, str *out)
{
    struct buf b;
    struct json_out o;
    char hex[HEX_DIGEST];
    if (weights)
        hex_encode(weights->b, sizeof weights->b, hex);
    const struct { const char *key; str value; } texts[] = {
        { "weights_sha256", weights ? str_slice(hex, sizeof hex) : f->weights }, { "manifest_sha256", f->manifest }, { "root", f->root }, { "revision", f->revision },
        { "parent", f->parent }, { "format", f->format }, { "architecture", f->architecture }, { "quantization", f->quantization }, { "parameter_size", f->parameters },
        { "dtype", f->dtype }, { "chat_template_sha256", f->template_sha256 }, { "parameters_sha256", f->options_sha256 }, { "remote_host", f->remote_host },
        { "remote_model", f->remote_model }, { "engine", str_of(k->name) }, { "engine_version", f->version } };
    const struct { const char *key; int64_t value; } numbers[] = { { "size_bytes", f->size }, { "parameters", f->n_params }, { "context", f->context }, { "slots", f->slots } };
    buf_init(&b, 64u << 10);
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        json_put_text_or_null(&o, str_of(texts[i].key), texts[i].value);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_put_count_or_null(&o, str_of(numbers[i].key), numbers[i].value);
    json_close(&o, '}');
    return finish(a, &o, out);
}

/* Members of an engine's /props that make a model another model. What the sandbox or the process looks like is not among them. */
static const char *const engine_keys[] = {
    "format", "name", "architecture", "quantization", "tensor_types", "parameters", "size_bytes", "tokenizer", "chat_template",
    "chat_template_sha256", "tools", "engine", "engine_version", "engine_commit", "build", "context", "batch", "slots", "threads", "kv_type", "kv_types", "flash_attn", "sampling" };

enum err facts_engine_identity(struct arena *a, str props, const struct digest *weights, str adapter, str *out)
{
    json v;
    struct buf b;
    struct json_out o;
    char hex[HEX_DIGEST];
    struct json_limits lim = { .depth = 16, .nodes = 4096, .bytes = 256 << 10 };
    if (json_parse(a, props, &lim, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return ERR_UPSTREAM;
    buf_init(&b, 256 << 10);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("weights_sha256"));
    hex_encode(weights->b, sizeof weights->b, hex);
    json_put_str(&o, str_slice(hex, sizeof hex));
    for (size_t i = 0; i < sizeof engine_keys / sizeof engine_keys[0]; i++) {
        json m = json_member(v, str_of(engine_keys[i]));
        if (json_type(m) == JSON_NONE)
            continue;
        json_put_key(&o, str_of(engine_keys[i]));
        json_put_raw(&o, json_span(m));
    }
    json one = json_member(json_member(v, S("adapters")), adapter);
    if (adapter.n && json_type(one) != JSON_STRING) {
        buf_free(&b);
        return ERR_UPSTREAM;
    }
    if (adapter.n) {
        json_put_key(&o, S("adapter_sha256"));
        json_put_raw(&o, json_span(one));
    }
    json_close(&o, '}');
    return finish(a, &o, out);
}

/* Those of `x` that `y` has otherwise, or not; of those that both have, only when `both`. */
static void differ(struct arena *a, json x, json y, bool both, str *out)
{
    for (json m = json_first(x); json_type(m) != JSON_NONE; m = json_next(m)) {
        str name = text(a, json_key(m));
        json other = json_member(y, name);
        if (json_type(other) != JSON_NONE && (!both || str_eq(json_span(m), json_span(other))))
            continue;
        str more = arena_printf(a, "%.*s%s%.*s", STR_ARG(*out), out->n ? ", " : "", STR_ARG(name));
        *out = more.p ? more : *out;
    }
}

str facts_differences(struct arena *a, str was, str is)
{
    json x, y;
    str out = S("");
    if (json_parse(a, was, &limits, &x, NULL) != ERR_OK || json_parse(a, is, &limits, &y, NULL) != ERR_OK)
        return S("everything");
    differ(a, x, y, true, &out);
    differ(a, y, x, false, &out);
    return out;
}
