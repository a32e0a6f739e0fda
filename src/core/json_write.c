/* core/json_write.c: JSON into a buffer, piece by piece. */
#include "core/json.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* True when one of eight bytes is a quote, a backslash, a control byte or not ASCII ("Bit Twiddling Hacks", zero in word). */
static bool any_special(uint64_t v)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
    return ((v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & high) != 0;
}

size_t json_plain(str text)
{
    const unsigned char *p = (const unsigned char *)text.p;
    size_t i = 0;
#ifdef __SSE2__
    for (; text.n - i >= 16; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
        bad = _mm_or_si128(bad, _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)));   /* signed: bytes above ASCII, too */
        int mask = _mm_movemask_epi8(bad);
        if (mask)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    for (uint64_t eight; text.n - i >= sizeof eight; i += sizeof eight) {
        memcpy(&eight, p + i, sizeof eight);
        if (any_special(eight))
            break;
    }
    while (i < text.n && p[i] >= 0x20 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

void json_out_init(struct json_out *o, struct buf *b) { *o = (struct json_out){ .b = b }; }

static void put(struct json_out *o, str s)
{
    if (o->err == ERR_OK)
        o->err = buf_put(o->b, s);
}

/* Before a value or a key: the comma that its predecessor owes. */
static void comma(struct json_out *o)
{
    if (o->comma >> o->depth & 1)
        put(o, S(","));
    o->comma |= UINT64_C(1) << o->depth;
}

void json_open(struct json_out *o, char bracket)
{
    comma(o);
    put(o, (str){ &bracket, 1 });
    if (o->depth == 63) {
        o->err = ERR_LIMIT;
        return;
    }
    o->depth++;
    o->comma &= ~(UINT64_C(1) << o->depth);
}

void json_close(struct json_out *o, char bracket)
{
    assert(o->depth || o->err);
    if (o->depth)
        o->depth--;
    put(o, (str){ &bracket, 1 });
}

void json_put_key(struct json_out *o, str key)
{
    json_put_str(o, key);
    put(o, S(":"));
    o->comma &= ~(UINT64_C(1) << o->depth);      /* the value that follows owes none before it */
}

enum err json_escape(struct buf *b, str text)
{
    static const char hex[] = "0123456789abcdef", named[] = "\"\\\b\f\n\r\t";
    if (!text.n)
        return ERR_OK;                  /* it may have no address */
    const char *p = text.p, *end = text.p + text.n;
    while (p < end) {
        size_t run = json_plain((str){ p, (size_t)(end - p) });
        enum err e = buf_put(b, (str){ p, run });
        p += run;
        if (e || p == end)
            return e;
        unsigned char c = (unsigned char)*p;
        if (c >= 0x80) {
            size_t n = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
            bool right = n <= (size_t)(end - p) && str_is_utf8((str){ p, n });
            e = buf_put(b, right ? (str){ p, n } : S("\xEF\xBF\xBD"));
            p += right ? n : 1;
        } else {
            const char *shortcut = memchr(named, c, sizeof named - 1);
            char esc[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
            if (shortcut)
                esc[1] = "\"\\bfnrt"[shortcut - named];
            e = buf_put(b, (str){ esc, shortcut ? 2 : 6 });
            p++;
        }
        if (e)
            return e;
    }
    return ERR_OK;
}

void json_put_str(struct json_out *o, str text)
{
    comma(o);
    put(o, S("\""));
    if (o->err == ERR_OK)
        o->err = json_escape(o->b, text);
    put(o, S("\""));
}

void json_put_raw(struct json_out *o, str json_text)
{
    comma(o);
    put(o, json_text);
}

void json_put_i64(struct json_out *o, int64_t v)
{
    char text[STR_I64];
    json_put_raw(o, str_from_i64(v, text));
}

/* The shortest of 15, 16 and 17 digits that reads back as the same number: 17 always do (IEEE 754, 5.12.2). */
void json_put_f64(struct json_out *o, double v)
{
    char text[40];
    int n = 0;
    if (!isfinite(v)) {
        json_put_null(o);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    json_put_raw(o, (str){ text, (size_t)n });
}

void json_put_bool(struct json_out *o, bool v) { json_put_raw(o, v ? S("true") : S("false")); }
void json_put_null(struct json_out *o) { json_put_raw(o, S("null")); }

void json_put_text(struct json_out *o, str key, str text)
{
    json_put_key(o, key);
    json_put_str(o, text);
}

void json_put_text_or_null(struct json_out *o, str key, str text)
{
    json_put_key(o, key);
    if (text.n)
        json_put_str(o, text);
    else
        json_put_null(o);
}

void json_put_count_or_null(struct json_out *o, str key, int64_t n)
{
    json_put_key(o, key);
    if (n >= 0)
        json_put_i64(o, n);
    else
        json_put_null(o);
}
