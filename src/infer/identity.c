/* Facts from the GGUF's metadata, libllama and our own configuration, in a fixed order. */
#include "infer/identity.h"

#include "core/json.h"
#include "infer/sampler.h"

#include <ggml.h>
#include <llama.h>
#include <unistd.h>

static void put_number(struct json_out *o, const char *key, int64_t value)
{
    json_put_key(o, str_of(key));
    json_put_i64(o, value);
}

/* A string of the file's metadata; nothing when it is not there. */
static void put_meta(struct json_out *o, const char *key, const struct llama_model *m, const char *name)
{
    char text[256];
    if (llama_model_meta_val_str(m, name, text, sizeof text) > 0)
        json_put_text(o, str_of(key), str_of(text));
}

static void put_digest(struct json_out *o, const char *key, const struct digest *d)
{
    char hex[HEX_DIGEST];
    hex_encode(d->b, sizeof d->b, hex);
    json_put_text(o, str_of(key), str_slice(hex, sizeof hex));
}

static void put_tensor_types(struct json_out *o, const struct gguf_facts *f)
{
    json_put_key(o, S("tensor_types"));
    json_open(o, '{');
    for (int i = 0; i < GGUF_TYPES; i++) {
        char name[24];
        if (f->tensors_of[i] == 0)
            continue;
        snprintf(name, sizeof name, "%s", i < GGML_TYPE_COUNT ? ggml_type_name((enum ggml_type)i) : "unknown");
        for (char *c = name; *c; c++)
            *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
        put_number(o, name, f->tensors_of[i]);
    }
    json_close(o, '}');
}

/* The file's label, without libllama's "(guessed)" where the file itself says nothing. */
static void put_quantization(struct json_out *o, const struct llama_model *m)
{
    enum llama_ftype t = llama_model_ftype(m);
    json_put_text(o, S("quantization"), str_of(llama_ftype_name((enum llama_ftype)(t & ~LLAMA_FTYPE_GUESSED))));
}

static void put_sampling(struct json_out *o)
{
    struct sampling s = SAMPLING_DEFAULTS;
    json_put_key(o, S("sampling"));
    json_open(o, '{');
    json_put_key(o, S("temperature"));
    json_put_f64(o, s.temperature);
    json_put_key(o, S("top_p"));
    json_put_f64(o, s.top_p);
    json_put_key(o, S("min_p"));
    json_put_f64(o, s.min_p);
    put_number(o, "top_k", s.top_k);
    json_close(o, '}');
}

static void put_model(struct json_out *o, const struct model *m)
{
    json_put_text(o, S("format"), S("gguf"));
    put_meta(o, "name", m->llama, "general.name");
    put_meta(o, "architecture", m->llama, "general.architecture");
    put_quantization(o, m->llama);
    put_tensor_types(o, &m->facts);
    put_number(o, "parameters", (int64_t)llama_model_n_params(m->llama));
    put_number(o, "size_bytes", (int64_t)llama_model_size(m->llama));
    json_put_key(o, S("tokenizer"));
    json_open(o, '{');
    put_meta(o, "model", m->llama, "tokenizer.ggml.model");
    put_meta(o, "pre", m->llama, "tokenizer.ggml.pre");
    put_number(o, "tokens", llama_vocab_n_tokens(m->vocab));
    json_close(o, '}');
    if (m->chat.text) {
        json_put_text(o, S("chat_template"), str_of(m->chat.family));
        put_digest(o, "chat_template_sha256", &m->chat.digest);
        json_put_text(o, S("tools"), str_of(m->chat.tools->name));
    }
}

static void put_adapters(struct json_out *o, const struct model *m)
{
    char hex[HEX_DIGEST];
    if (!m->n_adapters)
        return;
    json_put_key(o, S("adapters"));
    json_open(o, '{');
    for (int i = 0; i < m->n_adapters; i++) {
        hex_encode(m->adapters[i].digest.b, sizeof m->adapters[i].digest.b, hex);
        json_put_key(o, str_of(m->adapters[i].name));
        json_put_str(o, str_slice(hex, sizeof hex));
    }
    json_close(o, '}');
}

enum err identity_json(struct buf *b, const struct model *m)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    put_model(&o, m);
    json_put_text(&o, S("engine"), S("libllama"));
    json_put_text(&o, S("engine_version"), S(HEARTH_LLAMA_PACKAGE));
    json_put_text(&o, S("engine_commit"), S(HEARTH_LLAMA_COMMIT));
    json_put_text(&o, S("build"), str_of(llama_print_system_info()));
    put_number(&o, "context", (int64_t)m->limits.context);
    put_number(&o, "batch", m->batch);
    put_number(&o, "slots", m->slots);
    put_number(&o, "threads", m->threads);
    json_put_text(&o, S("kv_types"), S("F16/F16"));
    json_put_text(&o, S("flash_attn"), str_of(llama_flash_attn_type_name(m->flash_attn)));
    put_sampling(&o);
    put_adapters(&o, m);
    json_close(&o, '}');
    return o.err;
}

enum err identity_props(struct buf *b, str facts, str id, const struct confinement *c)
{
    struct json_out o;
    enum err e = buf_put(b, str_slice(facts.p, facts.n - 1));       /* without its last brace */
    if (e == ERR_OK)
        e = buf_putc(b, ',');
    if (e != ERR_OK)
        return e;
    size_t brace = b->n;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_put_text(&o, S("id"), id);
    put_number(&o, "pid", getpid());
    json_put_key(&o, S("confinement"));
    confine_json(&o, c);
    json_close(&o, '}');
    memmove(b->p + brace, b->p + brace + 1, b->n - brace - 1);
    b->n--;
    return o.err;
}

void identity_fingerprint(str facts, char out[IDENTITY_FINGERPRINT])
{
    struct digest d = sha256_of(facts);
    memcpy(out, "hearth-", 7);
    hex_encode(d.b, 6, out + 7);
    out[19] = 0;
}
