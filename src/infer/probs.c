/* Tokens with their probabilities, as JSON. */
#include "infer/probs.h"

#include "core/json.h"

#include <llama.h>
#include <math.h>

enum { PIECE_MAX = 1024 };

static str piece_of(const struct llama_vocab *vocab, int32_t token, char out[PIECE_MAX])
{
    int32_t n = token >= 0 ? llama_token_to_piece(vocab, token, out, PIECE_MAX, 0, false) : 0;
    return str_slice(out, n > 0 ? (size_t)n : 0);
}

size_t probs_token_bytes(const struct llama_vocab *vocab, int32_t token)
{
    char piece[PIECE_MAX];
    return piece_of(vocab, token, piece).n;
}

/* Bytes that are no whole character become U+FFFD. */
static str whole_characters(str s, char out[PIECE_MAX * 3])
{
    size_t n = 0;
    while (s.n) {
        size_t k = 1;                   /* of one character: the shortest beginning that is valid */
        while (k <= 4 && (k > s.n || !str_is_utf8(str_slice(s.p, k))))
            k++;
        bool whole = k <= 4;
        memcpy(out + n, whole ? s.p : "\xEF\xBF\xBD", whole ? k : 3);
        n += whole ? k : 3;
        s = str_skip(s, whole ? k : 1);
    }
    return str_slice(out, n);
}

static int64_t characters(str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

/* A probability of zero has no logarithm that JSON could write: OpenAI's API gives -9999.0. */
static double written(float logprob) { return isfinite(logprob) ? (double)logprob : -9999.0; }

static void put_token(struct json_out *o, const struct llama_vocab *vocab, const struct token_prob *p, bool open)
{
    char piece[PIECE_MAX], text[PIECE_MAX * 3];
    str s = piece_of(vocab, p->token, piece);
    json_open(o, '{');
    json_put_key(o, S("token"));
    json_put_str(o, whole_characters(s, text));
    json_put_key(o, S("logprob"));
    json_put_f64(o, written(p->logprob));
    json_put_key(o, S("bytes"));
    json_open(o, '[');
    for (size_t i = 0; i < s.n; i++)
        json_put_i64(o, (unsigned char)s.p[i]);
    json_close(o, ']');
    if (!open)
        json_close(o, '}');
}

static void put_chat(struct json_out *o, const struct llama_vocab *vocab, int32_t top, const struct token_prob *probs, size_t n)
{
    json_open(o, '{');
    json_put_key(o, S("content"));
    json_open(o, '[');
    for (size_t i = 0; i < n; i++, probs += 1 + top) {
        put_token(o, vocab, probs, true);
        json_put_key(o, S("top_logprobs"));
        json_open(o, '[');
        for (int32_t k = 1; k <= top && probs[k].token >= 0; k++)
            put_token(o, vocab, &probs[k], false);
        json_close(o, ']');
        json_close(o, '}');
    }
    json_close(o, ']');
    json_put_key(o, S("refusal"));
    json_put_null(o);
    json_close(o, '}');
}

static void put_alternatives(struct json_out *o, const struct llama_vocab *vocab, int32_t top, const struct token_prob *probs)
{
    char piece[PIECE_MAX], text[PIECE_MAX * 3];
    json_open(o, '{');
    for (int32_t k = 1; k <= top && probs[k].token >= 0; k++) {
        json_put_key(o, whole_characters(piece_of(vocab, probs[k].token, piece), text));
        json_put_f64(o, written(probs[k].logprob));
    }
    json_close(o, '}');
}

static void put_completion(struct json_out *o, const struct llama_vocab *vocab, int32_t top, const struct token_prob *probs, size_t n, int64_t *offset)
{
    static const char *const lists[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };
    char piece[PIECE_MAX], text[PIECE_MAX * 3];
    json_open(o, '{');
    for (size_t l = 0; l < 4; l++) {
        json_put_key(o, str_of(lists[l]));
        json_open(o, '[');
        for (size_t i = 0; i < n; i++) {
            const struct token_prob *p = probs + i * (size_t)(1 + top);
            str s = piece_of(vocab, p->token, piece);
            switch (l) {
            case 0: json_put_str(o, whole_characters(s, text)); break;
            case 1: json_put_f64(o, written(p->logprob)); break;
            case 2: put_alternatives(o, vocab, top, p); break;
            default:
                json_put_i64(o, *offset);
                *offset += characters(s);
            }
        }
        json_close(o, ']');
    }
    json_close(o, '}');
}

enum err probs_write(struct buf *b, const struct llama_vocab *vocab, bool is_chat, int32_t top, const struct token_prob *probs, size_t n, int64_t *offset)
{
    struct json_out o;
    json_out_init(&o, b);
    if (is_chat)
        put_chat(&o, vocab, top, probs, n);
    else
        put_completion(&o, vocab, top, probs, n, offset);
    return o.err;
}
