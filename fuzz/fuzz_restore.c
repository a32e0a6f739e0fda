/* fuzz: guard core */
/* Two things of one input, whose first byte says how it is cut:
 *   - any text through a restorer, in pieces and at once, gives the same, and never more is held back than a placeholder can be long
 *   - as a string of a body whose numbers are personal data, masked and restored, it is what it was, and no such number goes out */
#include "../tests/guard/shelf.h"

#include "guard/mask.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static enum err find_numbers(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n)
{
    static const enum guard_type types[] = { GUARD_PHONE, GUARD_PERSON, GUARD_IP_ADDRESS, GUARD_CUSTOM };
    struct guard_span *s = arena_new(a, struct guard_span, text.n / 3 + 1);
    size_t k = 0;
    (void)ctx;
    for (size_t i = 0; s && i < text.n; i++) {
        size_t from = i;
        while (i < text.n && (is_digit(text.p[i]) || (i > from && text.p[i] == '-' && i + 1 < text.n && is_digit(text.p[i + 1]))))
            i++;
        if (i - from >= 3)
            s[k++] = (struct guard_span){ .begin = from, .end = i, .type = types[(i - from) % 4], .score = 90 };
    }
    *out = s;
    *n = k;
    return s ? ERR_OK : ERR_LIMIT;
}

static str fed(struct arena *a, const struct restore_set *set, str text, size_t step)
{
    struct restorer r;
    struct buf out;
    restorer_init(&r, set);
    buf_init(&out, 64 << 20);
    while (text.n) {
        size_t k = step < text.n ? step : text.n;
        assert(restorer_feed(&r, (str){ text.p, k }, false, &out) == ERR_OK && r.held.n < 1024);
        text = str_skip(text, k);
    }
    assert(restorer_feed(&r, STR_NONE, true, &out) == ERR_OK && r.held.n == 0);
    str s = arena_str(a, buf_str(&out));
    buf_free(&out);
    restorer_free(&r);
    return s;
}

static void any_text(struct arena *a, str text, size_t step)
{
    static const struct { str token; bool bare; } known[] = { { S("EMAIL_k7q2m"), false }, { S("EMAIL_k7q2m-f3"), false }, { S("US_SSN_aaaaa"), false }, { S("198.18.3.4"), true },
                                                              { S("u-k7q2m@masked.invalid"), true }, { S("+999 30 1"), true } };
    struct restore_set set = { 0 };
    str at_once;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert(restore_set_add(a, &set, known[i].token, S("\xC3\xA4 value"), GUARD_EMAIL, known[i].bare) == ERR_OK);
    restore_set_ready(&set);
    assert(restore_text(a, &set, text, &at_once, NULL) == ERR_OK);
    assert(str_eq(at_once, fed(a, &set, text, step)) && str_eq(at_once, fed(a, &set, text, 1)));
}

static void round_trip(struct arena *a, str text, size_t step)
{
    static struct shelf shelf;
    const struct seal_key key = { { 1 } };
    const struct guard_search search = { .find = find_numbers };
    struct vault_store store = shelf_open(&shelf);
    struct vault *vault;
    struct buf b;
    struct json_out o;
    struct guard_verdict v;
    struct guard_rules rules = { 0 };
    const struct guard_rules *list[] = { &rules };
    rules.types[GUARD_PHONE].surrogate = rules.types[GUARD_IP_ADDRESS].surrogate = step % 2;
    struct guard_policy policy = guard_policy_join(list, 1);
    struct restore_set set = { 0 };
    struct mask_report report;
    buf_init(&b, 1 << 20);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("x"));
    json_put_str(&o, text);
    json_close(&o, '}');
    str body = arena_str(a, buf_str(&b));
    buf_clear(&b);
    assert(vault_open(a, &store, &key, 1, &vault) == ERR_OK);
    enum err e = guard_scan(a, &search, body, NULL, &v);
    if (!e)
        e = guard_mask(a, vault, &policy, &(struct mask_job){ 0 }, &v, &set, &b, &report);
    assert(e == ERR_OK || e == ERR_PRIVATE || e == ERR_LIMIT || e == ERR_STORE);
    for (size_t i = 0; i < v.walk.n && !e; i++) {
        const struct walk_text *t = &v.walk.texts[i];
        str out = t->to.p ? t->to : t->text;
        assert(str_eq(fed(a, &set, out, step), t->text));
        assert(t->is_number || v.n || str_eq(out, t->text));
    }
    vault_close(vault);
    buf_free(&b);
    shelf_close(&shelf);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (!n)
        return 0;
    struct arena a;
    str text = { (const char *)p + 1, n - 1 };
    arena_init(&a, 128 << 20);
    any_text(&a, text, 1 + p[0] % 32);
    if (n < 2000 && str_is_utf8(text))
        round_trip(&a, text, 1 + p[0] % 32);
    arena_free(&a);
    return 0;
}
