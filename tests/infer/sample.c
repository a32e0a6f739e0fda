/* Texts made at random by schemas and patterns, for other programs to judge: a line of JSON in, a line out.
 *
 *   {"schema": …} or {"regex": "…"} or {"grammar": "…"}, with "seed" and "n"   ->   {"samples": ["…", …]}   or   {"error": "…", "param": "…"}
 *
 * Each text is a walk through the grammar that takes any allowed byte, and the end where it may come. A text that has not come to its
 * end after 20,000 bytes is left out. */
#include "infer/grammar.h"
#include "infer/regex.h"
#include "infer/schema.h"

#include "core/rand.h"

#include <stdio.h>
#include <stdlib.h>

enum { LONGEST = 20000, PATIENCE = 300 };

/* The next byte: any that is allowed, more ASCII than there are bytes of it, and after a while what closes a string, a list or an object. */
static bool step(struct grammar_run *r, struct rng *rng, struct buf *out, bool *ended)
{
    char allowed[256];
    size_t n = 0;
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        if (grammar_fits(r, str_slice(&c, 1)))
            allowed[n++] = c;
    }
    *ended = grammar_may_end(r) && (n == 0 || out->n > PATIENCE || rand_u64(rng) % 4 == 0);
    if (*ended || !n)
        return false;
    char c = allowed[rand_u64(rng) % n];
    for (int tries = 0; tries < 3 && (unsigned char)c >= 0x80; tries++)
        c = allowed[rand_u64(rng) % n];
    for (size_t i = 0; out->n > PATIENCE && i < n; i++)
        if (allowed[i] == '"' || allowed[i] == ']' || allowed[i] == '}')
            c = allowed[i];
    return grammar_take(r, str_slice(&c, 1)) && buf_putc(out, c) == ERR_OK;
}

static bool sample(struct grammar *g, struct rng *rng, struct buf *out)
{
    struct grammar_run r;
    bool ended = false;
    buf_clear(out);
    grammar_begin(g, &r);
    while (out->n < LONGEST && step(&r, rng, out, &ended))
        ;
    grammar_end(&r);
    return ended;
}

static enum err convert(struct arena *a, json ask, struct rules *o, str *message, str *param)
{
    struct schema_error wrong;
    struct gbnf_error why = { 0, "" };
    struct regex *re;
    char name[SCHEMA_NAME];
    str text;
    enum err e;
    if (json_text(a, json_member(ask, S("grammar")), &text) == ERR_OK)
        return buf_put(&o->b, text);
    if (json_text(a, json_member(ask, S("regex")), &text) == ERR_OK) {
        rules_put(o, "root ::= ");
        e = regex_read(a, text, false, &re, &why);
        e = e ? e : regex_write(&o->b, re, false);
        *message = arena_printf(a, "at %zu: %s", why.at, why.what);
        return e;
    }
    e = schema_write(a, o, json_member(ask, S("schema")), STR_NONE, name, &wrong);
    *message = wrong.message;
    *param = wrong.param;
    rules_put(o, "root ::= %s\n", name);
    return e ? e : rules_finish(o);
}

static void answer(json ask, struct buf *out)
{
    struct arena a;
    struct rules o;
    struct json_out j;
    struct grammar *g = NULL;
    struct gbnf_error why;
    str message = STR_NONE, param = STR_NONE;
    int64_t n = 1, seed = 1;
    arena_init(&a, 256 << 20);
    rules_init(&o);
    (void)json_i64(json_member(ask, S("n")), &n);
    (void)json_i64(json_member(ask, S("seed")), &seed);
    enum err e = convert(&a, ask, &o, &message, &param);
    if (!e && (e = grammar_new(buf_str(&o.b), false, GRAMMAR_MEMORY, &g, &why)))
        message = arena_printf(&a, "%s", why.what);
    json_out_init(&j, out);
    json_open(&j, '{');
    json_put_key(&j, e ? S("error") : S("samples"));
    if (e) {
        json_put_str(&j, message.n ? message : str_of(err_text(e)));
        json_put_key(&j, S("param"));
        json_put_str(&j, param);
    } else {
        struct rng rng = rand_seeded((uint64_t)seed);
        struct buf text = { .max = LONGEST + 1 };
        json_open(&j, '[');
        while (n-- > 0)
            if (sample(g, &rng, &text))
                json_put_str(&j, buf_str(&text));
        json_close(&j, ']');
        buf_free(&text);
    }
    json_close(&j, '}');
    grammar_free(g);
    rules_free(&o);
    arena_free(&a);
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        struct arena a;
        struct buf out = { .max = 64 << 20 };
        json ask;
        arena_init(&a, 64 << 20);
        if (json_parse(&a, str_slice(line, (size_t)n), &JSON_DEFAULT_LIMITS, &ask, NULL) != ERR_OK)
            return 1;
        answer(ask, &out);
        printf("%.*s\n", STR_ARG(buf_str(&out)));
        fflush(stdout);
        buf_free(&out);
        arena_free(&a);
    }
    free(line);
    return 0;
}
