/* Masking a whole body and restoring what comes back: nothing planted leaves, restore(mask(x)) is x, in every API and however a stream is cut. */
#include "shelf.h"

#include "core/rand.h"
#include "guard/mask.h"
#include "wire/anthropic.h"
#include "wire/ollama.h"
#include "wire/openai_chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a finder that knows what was planted ---- */

static const struct plant { str value; enum guard_type type; } plants[] = {
    { S("maria@keller.de"), GUARD_EMAIL },   { S("Maria@Keller.de"), GUARD_EMAIL },  { S("jo.kim@acme.io"), GUARD_EMAIL },       { S("+49 30 901-82"), GUARD_PHONE },
    { S("4930901820"), GUARD_PHONE },        { S("10.20.30.40"), GUARD_IP_ADDRESS }, { S("4111 1111 1111 1111"), GUARD_CREDIT_CARD }, { S("Maria Keller"), GUARD_PERSON },
    { S("MARIA KELLER"), GUARD_PERSON },     { S("J\xC3\xBCrgen \"Jo\" K\xC3\xB6hl"), GUARD_PERSON }, { S("Hauptstr. 5\n10115 Berlin"), GUARD_ADDRESS }, { S("C:\\Users\\maria"), GUARD_CUSTOM },
    { S("sk-live-0123456789abcdef"), GUARD_SECRET }, { S("536-90-4399"), GUARD_US_SSN }, { S("AA:BB:CC:DD:EE:0F"), GUARD_MAC_ADDRESS }, { S("DE89370400440532013000"), GUARD_IBAN },
};
enum { PLANTS = sizeof plants / sizeof *plants, WHOLE_PLANTS = 9 };

static enum err find_planted(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n)
{
    size_t cap = 0;
    (void)ctx;
    *out = NULL;
    *n = 0;
    for (size_t at = 0; at < text.n;) {
        size_t best = 0, longest = 0;
        for (size_t i = 0; i < PLANTS; i++)
            if (plants[i].value.n > longest && str_starts(str_skip(text, at), plants[i].value)) {
                best = i;
                longest = plants[i].value.n;
            }
        if (!longest) {
            at++;
            continue;
        }
        if (*n == cap) {
            *out = arena_grow(a, *out, cap * sizeof **out, (2 * cap + 16) * sizeof **out, _Alignof(struct guard_span));
            cap = 2 * cap + 16;
        }
        (*out)[(*n)++] = (struct guard_span){ .begin = at, .end = at + longest, .type = plants[best].type, .rule = 1, .score = 90 };
        at += longest;
    }
    return ERR_OK;
}

static enum err find_fails(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n)
{
    (void)a;
    (void)text;
    (void)out;
    (void)n;
    return *(enum err *)ctx;
}

static enum err find_real(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(ctx, a, text, out, n); }

/* ---- a world ---- */

static struct arena mem;
static struct shelf shelf;
static struct vault *vault;
static const struct seal_key master = { { 3 } };
static const struct guard_search planted = { .find = find_planted };

static int setup(void **state)
{
    (void)state;
    arena_init(&mem, 256 << 20);
    struct vault_store s = shelf_open(&shelf);
    return vault_open(&mem, &s, &master, 1, &vault) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    vault_close(vault);
    shelf_close(&shelf);
    arena_free(&mem);
    return 0;
}

struct masked {
    struct guard_verdict verdict;
    struct restore_set set;
    struct mask_report report;
    str body;
};

static struct guard_policy policy(bool surrogates, bool secrets)
{
    struct guard_rules r = { 0 };
    const struct guard_rules *list[] = { &r };
    for (int t = 0; t < GUARD_N_TYPES; t++)
        r.types[t].surrogate = surrogates;
    r.types[GUARD_SECRET].restore = secrets ? GUARD_RESTORE : GUARD_RESTORE_NOT;
    struct guard_policy p = guard_policy_join(list, 1);
    return p;
}

static enum err mask_with(const struct guard_search *f, const struct guard_policy *p, str body, struct masked *m)
{
    struct buf out;
    buf_init(&out, 8 << 20);
    *m = (struct masked){ 0 };
    enum err e = guard_scan(&mem, f, body, NULL, &m->verdict);
    if (!e)
        e = guard_mask(&mem, vault, p, &(struct mask_job){ 0 }, &m->verdict, &m->set, &out, &m->report);
    if (!e)
        m->body = arena_str(&mem, buf_str(&out));
    buf_free(&out);
    return e;
}

static bool has(str text, str part) { return str_find(text, part) < text.n; }

static str restored(const struct masked *m, str text)
{
    str out = STR_NONE;
    assert_int_equal(restore_text(&mem, &m->set, text, &out, NULL), ERR_OK);
    return out;
}

/* ---- examples ---- */

/* Bodies, and what goes out with each token written as <TYPE>. */
static void bodies_go_out_masked(void **state)
{
    (void)state;
    static const struct { const char *body, *out; } cases[] = {
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}", "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}" },
        { "{ \"messages\": [{\"role\":\"user\",\"content\":\"to maria@keller.de.\"}] , \"x\":1.0}", "{ \"messages\": [{\"role\":\"user\",\"content\":\"to <EMAIL>.\"}] , \"x\":1.0}" },
        { "{\"messages\":[{\"content\":\"m \\u006daria\\u0040keller.de\"}],\"user\":\"maria@keller.de\"}", "{\"messages\":[{\"content\":\"m <EMAIL>\"}]}" },
        /* litellm#41265, #14612 */
        { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"call_1\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"to\\\":\\\"maria@keller.de\\\"}\"}}]},"
          "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"sent by Maria Keller\"}]}",
          "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"call_1\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"to\\\":\\\"<EMAIL>\\\"}\"}}]},"
          "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"sent by <PERSON>\"}]}" },
        /* unknown fields, keys, schemas */
        { "{\"x\":{\"maria@keller.de\":[\"536-90-4399\"]},\"tools\":[{\"input_schema\":{\"properties\":{\"10.20.30.40\":{\"default\":\"Maria Keller\"}}}}]}",
          "{\"x\":{\"<EMAIL>\":[\"<US_SSN>\"]},\"tools\":[{\"input_schema\":{\"properties\":{\"<IP_ADDRESS>\":{\"default\":\"<PERSON>\"}}}}]}" },
        /* what JSON escapes stays between the parts */
        { "{\"a\":\"at Hauptstr. 5\\n10115 Berlin\",\"b\":\"J\xC3\xBCrgen \\\"Jo\\\" K\xC3\xB6hl\",\"c\":\"C:\\\\Users\\\\maria\"}",
          "{\"a\":\"at <ADDRESS>\\n<ADDRESS>\",\"b\":\"<PERSON> \\\"<PERSON>\\\" <PERSON>\",\"c\":\"<CUSTOM>\\\\<CUSTOM>\\\\<CUSTOM>\"}" },
        /* JSON in text that is no JSON as a whole, and in an address of the web: decoded once more */
        { "{\"a\":\"see {\\\"m\\\":\\\"maria\\\\u0040keller.de\\\"\",\"b\":\"?q=maria%40keller.de&x\"}",
          "{\"a\":\"see {\\\"m\\\":\\\"<EMAIL>\\\\<EMAIL>\\\"\",\"b\":\"?q=<EMAIL>&x\"}" },
    };
    struct guard_policy p = policy(false, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct masked m;
        assert_int_equal(mask_with(&planted, &p, str_of(cases[i].body), &m), ERR_OK);
        struct buf shown;
        buf_init(&shown, 1 << 20);
        for (size_t at = 0; at < m.body.n;) {
            size_t end = at + str_index(str_skip(m.body, at), ']');
            str inner = m.body.p[at] == '[' ? str_slice(m.body.p + at + 1, end - at - 1) : STR_NONE, type = inner;
            if (inner.n && placeholder_is_stem(NULL, inner)) {
                while (type.n && type.p[type.n - 1] != '_')
                    type.n--;
                assert_int_equal(buf_printf(&shown, "<%.*s>", (int)type.n - 1, type.p), ERR_OK);
                at = end + 1;
            } else {
                assert_int_equal(buf_putc(&shown, m.body.p[at++]), ERR_OK);
            }
        }
        if (!str_eq(buf_str(&shown), str_of(cases[i].out)))
            print_error("case %zu: %.*s\n", i, STR_ARG(buf_str(&shown)));
        assert_true(str_eq(buf_str(&shown), str_of(cases[i].out)));
        buf_free(&shown);
    }
}

static void surrogates_keep_a_body_valid(void **state)
{
    (void)state;
    struct guard_policy p = policy(true, false);
    struct masked m;
    str body = S("{\"arguments\":{\"n\":4930901820,\"ip\":\"10.20.30.40\",\"both\":\"x10.20.30.40 10.20.30.40:80\",\"who\":\"Maria Keller\"}}");
    assert_int_equal(mask_with(&planted, &p, body, &m), ERR_OK);
    json root, args;
    int64_t n;
    assert_int_equal(json_parse(&mem, m.body, &JSON_DEFAULT_LIMITS, &root, NULL), ERR_OK);
    args = json_member(root, S("arguments"));
    assert_true(json_i64(json_member(args, S("n")), &n) && n >= 9000000000 && n <= 9999999999);
    assert_true(str_starts(json_span(json_member(args, S("ip"))), S("\"198.1")));
    assert_true(has(m.body, S("\"x[IP_ADDRESS_")) && has(m.body, S(":80\"")) && has(m.body, S("[PERSON_")));
    assert_true(str_eq(restored(&m, m.body), body));
}

/* elizaOS and others restore whatever has the form: here what a caller types is text, whoever made it and however it is written. */
static void what_a_caller_typed_is_never_taken_for_a_placeholder(void **state)
{
    (void)state;
    struct guard_policy p = policy(false, false);
    struct masked m;
    assert_int_equal(mask_with(&planted, &p, S("{\"content\":\"maria@keller.de\"}"), &m), ERR_OK);
    str token = str_skip(m.body, 13);
    token.n -= 3;                                           /* EMAIL_xxxxx */
    static const char *const forms[] = { "[%.*s]", "%.*s", "[ %.*s ]", "\\\\[%.*s\\\\]", "**[%.*s]**" };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (int with = 0; with < 2; with++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            str typed = arena_printf(&mem, forms[i], STR_ARG(token));
#pragma GCC diagnostic pop
            str body = arena_printf(&mem, "{\"messages\":[{\"content\":\"what is %.*s\"},{\"content\":\"%s\"}]}", STR_ARG(typed), with ? "maria@keller.de" : "nobody");
            assert_int_equal(mask_with(&planted, &p, body, &m), ERR_OK);
            assert_int_equal(m.report.typed, with);
            /* Without the value in this conversation, nothing is known by it; with it, the typed one is told apart. */
            str echo = restored(&m, m.body);
            assert_true(str_eq(echo, body));
        }
    /* A set of another conversation knows nothing of it. */
    struct masked another;
    assert_int_equal(mask_with(&planted, &p, S("{\"content\":\"jo.kim@acme.io\"}"), &another), ERR_OK);
    str reply = arena_printf(&mem, "[%.*s]", STR_ARG(token));
    assert_true(str_eq(restored(&another, reply), reply));
}

static void secrets_are_not_given_back_unless_policy_says_so(void **state)
{
    (void)state;
    str body = S("{\"content\":\"key sk-live-0123456789abcdef\"}");
    for (int secrets = 0; secrets < 2; secrets++) {
        struct guard_policy p = policy(false, secrets);
        struct masked m;
        assert_int_equal(mask_with(&planted, &p, body, &m), ERR_OK);
        assert_true(has(m.body, S("[SECRET_")) && !has(m.body, S("sk-live")));
        assert_int_equal(str_eq(restored(&m, m.body), body), secrets);
    }
}

/* A finder that looks at what stands before: whatever follows "password = " is one. */
static enum err find_passwords(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n)
{
    (void)ctx;
    *out = arena_new(a, struct guard_span, 8);
    *n = 0;
    for (size_t at = 0; *n < 8 && (at += str_find(str_skip(text, at), S("password = "))) < text.n;) {
        size_t end = at += 11;
        while (end < text.n && text.p[end] > ' ')
            end++;
        (*out)[(*n)++] = (struct guard_span){ .begin = at, .end = end, .type = GUARD_SECRET, .score = 90 };
    }
    return ERR_OK;
}

/* Secrets are not given back, so the client's next turn has their placeholders in it. They stay as they are, and do not count as found. */
static void a_placeholder_of_an_earlier_turn_is_not_masked_again(void **state)
{
    (void)state;
    struct guard_policy p = policy(false, false);
    const struct guard_search f = { .find = find_passwords, .vault = vault };
    struct masked first, second, foreign;
    size_t found[GUARD_N_TYPES];
    assert_int_equal(mask_with(&f, &p, S("{\"content\":\"password = hunter2hunter2\"}"), &first), ERR_OK);
    assert_true(has(first.body, S("[SECRET_")));
    assert_int_equal(mask_with(&f, &p, first.body, &second), ERR_OK);
    assert_true(str_eq(second.body, first.body));
    guard_count(&second.verdict, &p, found);
    assert_int_equal(found[GUARD_SECRET], 0);
    /* only those that the vault has made */
    assert_int_equal(mask_with(&f, &p, S("{\"content\":\"password = [SECRET_aaaaa]\"}"), &foreign), ERR_OK);
    assert_false(has(foreign.body, S("SECRET_aaaaa")));
}

static void a_model_adds_masks_and_takes_none_away(void **state)
{
    (void)state;
    static const struct guard_word words[] = { { S("kim"), GUARD_PERSON }, { S("maria keller"), GUARD_CUSTOM }, { S("x"), GUARD_PERSON }, { S("Blue Project"), GUARD_CUSTOM } };
    struct guard_policy p = policy(false, false);
    struct guard_verdict v;
    struct restore_set set = { 0 };
    struct mask_report report;
    struct buf out;
    buf_init(&out, 1 << 16);
    str body = S("{\"a\":\"Kim, Kimberly and Maria Keller on blue project x\",\"b\":\"maria@keller.de\"}");
    assert_int_equal(guard_scan(&mem, &planted, body, NULL, &v), ERR_OK);
    assert_int_equal(guard_add(&mem, &v, words, 4), ERR_OK);
    assert_int_equal(guard_mask(&mem, vault, &p, &(struct mask_job){ 0 }, &v, &set, &out, &report), ERR_OK);
    assert_true(has(buf_str(&out), S(", Kimberly and [")) && has(buf_str(&out), S("] on [CUSTOM_")) && has(buf_str(&out), S("] x\"")));
    assert_false(has(buf_str(&out), S("Keller")) || has(buf_str(&out), S("keller")) || has(buf_str(&out), S("project")));
    assert_int_equal(report.n, 4);
    str back;
    assert_int_equal(restore_text(&mem, &set, buf_str(&out), &back, NULL), ERR_OK);
    assert_true(str_eq(back, body));
    buf_free(&out);
}

/* litellm#35951, #30447: what is recorded must not hold the values either. */
static void litellm_35951_the_report_names_no_value(void **state)
{
    (void)state;
    struct guard_policy p = policy(false, false);
    struct masked m;
    assert_int_equal(mask_with(&planted, &p, S("{\"a\":\"Maria Keller and maria@keller.de and maria@keller.de\"}"), &m), ERR_OK);
    size_t found[GUARD_N_TYPES];
    guard_count(&m.verdict, &p, found);
    assert_true(found[GUARD_EMAIL] == 2 && found[GUARD_PERSON] == 1 && m.report.n == 3);
    assert_true(str_eq(m.report.notes[1].token, m.report.notes[2].token) && m.report.notes[0].type == GUARD_PERSON);
    for (size_t i = 0; i < m.report.n; i++)
        assert_true(placeholder_is_stem(NULL, m.report.notes[i].token));
}

/* BerriAI/litellm#30728: each way to fail is an error, and no body comes out. */
static void litellm_30728_every_failure_is_an_error(void **state)
{
    (void)state;
    struct guard_policy p = policy(false, false);
    struct masked m;
    str body = S("{\"content\":\"maria@keller.de and 4930901820 {\\u0040}\"}");
    for (enum err e = ERR_OK + 1; e < ERR_COUNT; e++) {
        enum err fails = e;
        const struct guard_search f = { .find = find_fails, .ctx = &fails };
        assert_int_equal(mask_with(&f, &p, body, &m), e);
        assert_null(m.body.p);
    }
    assert_int_equal(mask_with(&planted, &p, S("{\"content\":\"\xFF\"}"), &m), ERR_SYNTAX);
    for (size_t n = 0;; n++) {                              /* no memory, at each place */
        struct vault *fresh;
        struct arena a;
        struct vault_store s = { &shelf, shelf_get, shelf_put, shelf_list, shelf_forget };
        assert_int_equal(vault_open(&mem, &s, &master, 1, &fresh), ERR_OK);
        arena_init(&a, 1 << 20);
        struct buf out;
        buf_init(&out, 1 << 20);
        struct guard_verdict v;
        struct restore_set set = { 0 };
        struct mask_report report;
        memory_fail_after(n);
        enum err e = guard_scan(&a, &planted, body, NULL, &v);
        if (!e)
            e = guard_mask(&a, fresh, &p, &(struct mask_job){ 0 }, &v, &set, &out, &report);
        memory_fail_after(SIZE_MAX);
        bool whole = !e && !has(buf_str(&out), S("maria@")) && buf_str(&out).n > 20;
        buf_free(&out);
        arena_free(&a);
        vault_close(fresh);
        if (!e) {
            assert_true(whole);
            break;
        }
    }
    for (size_t n = 0;; n++) {                              /* the store fails at each place */
        shelf.fail_after = n;
        str other = arena_printf(&mem, "{\"content\":\"maria@keller.de\",\"n\":%zu}", n);
        struct vault *fresh;
        struct vault_store s = { &shelf, shelf_get, shelf_put, shelf_list, shelf_forget };
        enum err e = vault_open(&mem, &s, &master, 1, &fresh);
        struct buf out;
        buf_init(&out, 1 << 20);
        if (!e)
            e = guard_scan(&mem, &planted, other, NULL, &m.verdict);
        if (!e) {
            struct restore_set set = { 0 };
            e = guard_mask(&mem, fresh, &p, &(struct mask_job){ 0 }, &m.verdict, &set, &out, &m.report);
            vault_close(fresh);
        }
        shelf.fail_after = SIZE_MAX;
        buf_free(&out);
        if (!e)
            break;
        assert_int_equal(e, ERR_STORE);
    }
}

/* With the finder as it is. */
static void the_finder_and_the_mask_fit(void **state)
{
    (void)state;
    struct guard_finder *f;
    assert_int_equal(guard_finder_new(NULL, &f), ERR_OK);
    const struct guard_search real = { .find = find_real, .ctx = f, .vault = vault };
    struct guard_policy p = policy(false, false);
    struct masked m;
    str body = S("{\"messages\":[{\"role\":\"user\",\"content\":\"Write to maria.keller@posteo.de, and see https://x.io/?m=jo%40posteo.de or m\\u0061x@posteo.de\"}]}");
    assert_int_equal(mask_with(&real, &p, body, &m), ERR_OK);
    assert_false(has(m.body, S("posteo")));
    assert_true(has(m.body, S("Write to [EMAIL_")));
    guard_finder_free(f);
}

/* ---- properties ---- */

static str random_text(struct rng *r, const struct masked *before)
{
    static const str pieces[] = { S(" "), S("."), S(", "), S("["), S("]"), S("[ "), S(" ]"), S("\\"), S("\""), S("\n"), S("**"), S("_"), S("EMAIL"), S("EMAIL_"), S("x"), S("42"), S("@"),
                                  S("\xC3\xA4"), S("{"), S("}"), S("-f3"), S("198.18.1."), S("9123"), S("%40"), S("\\u0040"), S("word "), S("/") };
    str s = S("");
    size_t n = rand_u64(r) % 8;
    for (size_t i = 0; i < n; i++) {
        uint64_t what = rand_u64(r) % 10;
        str piece = pieces[rand_u64(r) % (sizeof pieces / sizeof *pieces)];
        if (what < 4) {
            piece = plants[rand_u64(r) % PLANTS].value;
        } else if (what < 6 && before->set.n) {             /* what went out before, typed in some way */
            piece = before->set.entries[rand_u64(r) % before->set.n].key;
            uint64_t how = rand_u64(r) % 4;
            if (how)
                piece = arena_cat(&mem, (str[]){ how == 3 ? S("\\[") : S("["), how == 2 ? S(" ") : STR_NONE, piece, how == 3 ? S("\\]") : S("]") }, 4);
        }
        s = arena_cat(&mem, (str[]){ s, piece }, 2);
    }
    return s;
}

static void put_random(struct json_out *o, struct rng *r, const struct masked *before, int depth)
{
    uint64_t what = rand_u64(r) % 8;
    if (depth > 3 || what < 4) {
        json_put_str(o, random_text(r, before));
    } else if (what == 4) {
        json_put_raw(o, rand_u64(r) % 2 ? S("4930901820") : S("17"));
    } else if (what == 5) {                                 /* JSON in a string */
        struct buf b;
        struct json_out inner;
        buf_init(&b, 1 << 20);
        json_out_init(&inner, &b);
        put_random(&inner, r, before, depth + 1);
        json_put_str(o, arena_str(&mem, buf_str(&b)));
        buf_free(&b);
    } else {
        bool object = what == 6;
        json_open(o, object ? '{' : '[');
        for (uint64_t n = rand_u64(r) % 4; n--;) {
            if (object)
                json_put_key(o, rand_u64(r) % 3 ? S("name") : random_text(r, before));
            put_random(o, r, before, depth + 1);
        }
        json_close(o, object ? '}' : ']');
    }
}

static str random_body(struct rng *r, const struct masked *before)
{
    static const str fields[] = { S("messages"), S("x"), S("arguments"), S("input"), S("system"), S("tools"), S("parameters") };
    struct buf b;
    struct json_out o;
    buf_init(&b, 4 << 20);
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        json_put_key(&o, fields[i]);
        put_random(&o, r, before, 0);
    }
    json_close(&o, '}');
    str s = arena_str(&mem, buf_str(&b));
    buf_free(&b);
    return s;
}

static void feed_in_pieces(struct rng *r, const struct restore_set *set, str text, struct buf *out)
{
    struct restorer x;
    restorer_init(&x, set);
    while (text.n) {
        size_t n = 1 + rand_u64(r) % (rand_u64(r) % 3 ? 4 : 40);
        n = n < text.n ? n : text.n;
        assert_int_equal(restorer_feed(&x, (str){ text.p, n }, false, out), ERR_OK);
        text = str_skip(text, n);
    }
    assert_int_equal(restorer_feed(&x, STR_NONE, true, out), ERR_OK);
    restorer_free(&x);
}

/* presidio#1151. Each text of the masked body is what it was when it comes back, in random pieces; and so is the whole body, as the arguments of a tool. */
static void presidio_1151_restore_of_mask_is_the_text(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20261125;
    struct rng r = rand_seeded(seed);
    struct masked before = { 0 };
    for (int i = 0; i < 1500; i++) {
        struct guard_policy p = policy(i % 2, true);
        struct masked m;
        str body = random_body(&r, &before);
        assert_int_equal(mask_with(&planted, &p, body, &m), ERR_OK);
        for (size_t k = 0; k < WHOLE_PLANTS; k++)
            if (has(m.body, plants[k].value))
                print_error("seed %llu, body %d: %.*s\n", (unsigned long long)seed, i, STR_ARG(m.body));
        for (size_t k = 0; k < WHOLE_PLANTS; k++)
            assert_false(has(m.body, plants[k].value));
        struct walk was, is;
        assert_int_equal(walk_body(&mem, body, NULL, &was), ERR_OK);
        assert_int_equal(walk_body(&mem, m.body, NULL, &is), ERR_OK);
        assert_int_equal(was.n, is.n);
        for (size_t k = 0; k < was.n; k++) {
            struct buf out;
            buf_init(&out, 1 << 20);
            feed_in_pieces(&r, &m.set, is.texts[k].text, &out);
            if (!str_eq(buf_str(&out), was.texts[k].text))
                print_error("seed %llu, body %d: %.*s\n  masked %.*s\n  back   %.*s\n", (unsigned long long)seed, i, STR_ARG(was.texts[k].text), STR_ARG(is.texts[k].text),
                            STR_ARG(buf_str(&out)));
            assert_true(str_eq(buf_str(&out), was.texts[k].text));
            buf_free(&out);
        }
        struct buf whole;
        buf_init(&whole, 4 << 20);
        feed_in_pieces(&r, &m.set, m.body, &whole);
        struct walk back;
        assert_int_equal(walk_body(&mem, buf_str(&whole), NULL, &back), ERR_OK);
        if (back.n != was.n)
            print_error("seed %llu, body %d: %.*s\n  masked %.*s\n  back   %.*s\n", (unsigned long long)seed, i, STR_ARG(body), STR_ARG(m.body), STR_ARG(buf_str(&whole)));
        assert_int_equal(back.n, was.n);
        for (size_t k = 0; k < was.n; k++) {
            if (!str_eq(back.texts[k].text, was.texts[k].text))
                print_error("seed %llu, body %d: %.*s\n  back   %.*s\n  in %.*s\n", (unsigned long long)seed, i, STR_ARG(was.texts[k].text), STR_ARG(back.texts[k].text), STR_ARG(m.body));
            assert_true(str_eq(back.texts[k].text, was.texts[k].text));
        }
        buf_free(&whole);
        if (i % 5 == 0 || m.set.n)
            before = m;
    }
}

/* ---- streams of each API ---- */

struct channels {
    struct restorer text, args;
    struct buf text_out, args_out;
};

static void on_delta(void *ctx, const struct delta *d)
{
    struct channels *c = ctx;
    if (d->kind == DELTA_TEXT)
        assert_int_equal(restorer_feed(&c->text, d->text, false, &c->text_out), ERR_OK);
    if (d->kind == DELTA_TOOL_ARGS)
        assert_int_equal(restorer_feed(&c->args, d->text, false, &c->args_out), ERR_OK);
}

static str quoted(str s)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, 1 << 20);
    json_out_init(&o, &b);
    json_put_str(&o, s);
    str q = arena_str(&mem, buf_str(&b));
    buf_free(&b);
    return q;
}

struct upstream {
    struct openai_reader openai;
    struct anthropic_reader anthropic;
    struct ollama_reader ollama;
    struct arena a, scratch;
    struct reply reply;
    struct delta_sink sink;
};

static void say(struct upstream *u, enum dialect d, const char *event, str data)
{
    enum wire_event k = d == DIALECT_OPENAI      ? openai_read_deltas(&u->openai, &u->a, &u->scratch, data, &u->reply, &u->sink)
                        : d == DIALECT_ANTHROPIC ? anthropic_read_event(&u->anthropic, &u->a, &u->scratch, str_of(event), data, &u->reply, &u->sink)
                                                 : ollama_read_line(&u->ollama, &u->a, &u->scratch, data, &u->reply, &u->sink);
    assert_true(k != WIRE_ERROR && k != WIRE_INVALID);
    arena_reset(&u->scratch);
}

/* One piece of text or of a tool's arguments, as the upstream of that API says it. */
static void say_piece(struct upstream *u, enum dialect d, bool args, str piece)
{
    str q = quoted(piece);
    if (d == DIALECT_OPENAI && !args)
        say(u, d, "", arena_printf(&mem, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":%.*s}}]}", STR_ARG(q)));
    else if (d == DIALECT_OPENAI)
        say(u, d, "", arena_printf(&mem, "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":%.*s}}]}}]}", STR_ARG(q)));
    else if (d == DIALECT_ANTHROPIC)
        say(u, d, "content_block_delta", arena_printf(&mem, "{\"type\":\"content_block_delta\",\"index\":%d,\"delta\":{\"type\":\"%s\",\"%s\":%.*s}}", args,
                                                     args ? "input_json_delta" : "text_delta", args ? "partial_json" : "text", STR_ARG(q)));
    else
        say(u, d, "", arena_printf(&mem, "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":%.*s},\"done\":false}", STR_ARG(q)));
}

static void say_tool(struct upstream *u, enum dialect d, str args)
{
    if (d == DIALECT_OPENAI) {
        say(u, d, "", S("{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}"));
    } else if (d == DIALECT_ANTHROPIC) {
        say(u, d, "content_block_stop", S("{\"type\":\"content_block_stop\",\"index\":0}"));
        say(u, d, "content_block_start", S("{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{}}}"));
    } else {                                                /* Ollama gives arguments whole, as an object */
        say(u, d, "", arena_printf(&mem, "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":%.*s}}]},\"done\":false}", STR_ARG(args)));
    }
}

/* A cut that leaves UTF-8 whole, as an upstream's JSON must. */
static size_t cut(str s, size_t n)
{
    n = n < s.n ? n : s.n;
    while (n < s.n && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n++;
    return n;
}

/* BerriAI/litellm#31950 (arguments of tools), #42476 (Anthropic's streams). */
static void litellm_31950_42476_streams_of_every_api_are_restored(void **state)
{
    (void)state;
    struct guard_policy p = policy(false, true);
    for (size_t step = 1; step < 40; step++)
        for (int d = DIALECT_OPENAI; d <= DIALECT_OLLAMA; d++) {
            struct masked m;
            str text = S("To Maria Keller <maria@keller.de>:\n\"J\xC3\xBCrgen \"Jo\" K\xC3\xB6hl\", Hauptstr. 5\n10115 Berlin, C:\\Users\\maria");
            str args = S("{\"to\":\"maria@keller.de\",\"body\":\"{\\\"at\\\":\\\"Hauptstr. 5\\\\n10115 Berlin\\\"}\",\"who\":[\"MARIA KELLER\",\"J\xC3\xBCrgen \\\"Jo\\\" K\xC3\xB6hl\"]}");
            str body = arena_printf(&mem, "{\"content\":%.*s,\"arguments\":%.*s}", STR_ARG(quoted(text)), STR_ARG(quoted(args)));
            assert_int_equal(mask_with(&planted, &p, body, &m), ERR_OK);
            json root;
            str out_text, out_args;
            assert_int_equal(json_parse(&mem, m.body, &JSON_DEFAULT_LIMITS, &root, NULL), ERR_OK);
            assert_int_equal(json_text(&mem, json_member(root, S("content")), &out_text), ERR_OK);
            assert_int_equal(json_text(&mem, json_member(root, S("arguments")), &out_args), ERR_OK);
            struct channels c;
            restorer_init(&c.text, &m.set);
            restorer_init(&c.args, &m.set);
            buf_init(&c.text_out, 1 << 16);
            buf_init(&c.args_out, 1 << 16);
            struct upstream u = { .sink = { on_delta, &c } };
            arena_init(&u.a, 16 << 20);
            arena_init(&u.scratch, 16 << 20);
            reply_init(&u.reply);
            u.ollama.call = S("x");
            if (d == DIALECT_ANTHROPIC) {
                say(&u, d, "message_start", S("{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}"));
                say(&u, d, "content_block_start", S("{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}"));
            }
            for (str rest = out_text; rest.n; rest = str_skip(rest, cut(rest, step)))
                say_piece(&u, (enum dialect)d, false, (str){ rest.p, cut(rest, step) });
            say_tool(&u, (enum dialect)d, out_args);
            for (str rest = out_args; rest.n && d != DIALECT_OLLAMA; rest = str_skip(rest, cut(rest, step)))
                say_piece(&u, (enum dialect)d, true, (str){ rest.p, cut(rest, step) });
            assert_int_equal(restorer_feed(&c.text, STR_NONE, true, &c.text_out), ERR_OK);
            assert_int_equal(restorer_feed(&c.args, STR_NONE, true, &c.args_out), ERR_OK);
            assert_true(str_eq(buf_str(&c.text_out), text));
            if (!str_eq(buf_str(&c.args_out), args))
                print_error("%d: %.*s\n", d, STR_ARG(buf_str(&c.args_out)));
            assert_true(str_eq(buf_str(&c.args_out), args));
            restorer_free(&c.text);
            restorer_free(&c.args);
            buf_free(&c.text_out);
            buf_free(&c.args_out);
            arena_free(&u.a);
            arena_free(&u.scratch);
        }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(bodies_go_out_masked), T(surrogates_keep_a_body_valid), T(what_a_caller_typed_is_never_taken_for_a_placeholder), T(secrets_are_not_given_back_unless_policy_says_so), T(a_placeholder_of_an_earlier_turn_is_not_masked_again), T(a_model_adds_masks_and_takes_none_away),
        T(litellm_35951_the_report_names_no_value), T(litellm_30728_every_failure_is_an_error), T(the_finder_and_the_mask_fit), T(presidio_1151_restore_of_mask_is_the_text),
        T(litellm_31950_42476_streams_of_every_api_are_restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
