/* What an engine really is. The engine says what it loaded and how (/props); the digest of the weights is ours, taken from
 * the descriptor that it got. The fingerprint is the SHA-256 of the JSON made here, so the order of the fields is fixed
 * and only facts that change the answers are in it. */
#include "fleet/engine.h"

#include "core/json.h"

/* Members of /props that make a model another model. What the sandbox or the process looks like is not among them. */
static const char *const identity_keys[] = {
    "format", "name", "architecture", "quantization", "tensor_types", "parameters", "size_bytes", "tokenizer", "chat_template",
    "chat_template_sha256", "tools", "engine", "engine_version", "engine_commit", "build", "context", "batch", "slots", "threads", "kv_type", "kv_types", "flash_attn", "sampling" };

enum err engine_identity(struct arena *a, str props, const struct digest *weights, str *out)
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
    for (size_t i = 0; i < sizeof identity_keys / sizeof identity_keys[0]; i++) {
        json m = json_member(v, str_of(identity_keys[i]));
        if (json_type(m) == JSON_NONE)
            continue;
        json_put_key(&o, str_of(identity_keys[i]));
        json_put_raw(&o, json_span(m));
    }
    json_close(&o, '}');
    enum err e = o.err;
    if (e == ERR_OK) {
        *out = arena_str(a, buf_str(&b));
        e = out->p ? ERR_OK : ERR_LIMIT;
    }
    buf_free(&b);
    return e;
}
