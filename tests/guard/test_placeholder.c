/* The texts that stand for values: stable, keyed, typed, and surrogates whose form is that of the value. */
#include "guard/placeholder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena mem;
static const struct digest key = { { 1, 2, 3 } }, other = { { 9 } };

static int setup(void **state)
{
    (void)state;
    arena_init(&mem, 8 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

static void spellings_have_one_normal_form(void **state)
{
    (void)state;
    static const struct { enum guard_type type; str value, normal; } cases[] = {
        { GUARD_EMAIL, S("Maria@Keller.DE"), S("maria@keller.de") }, { GUARD_PHONE, S("+49 (30) 901-82"), S("+493090182") },
        { GUARD_CREDIT_CARD, S("4111 1111-1111 1111"), S("4111111111111111") }, { GUARD_IBAN, S("DE89 3704 0044"), S("de8937040044") },
        { GUARD_PERSON, S("MARIA  Keller"), S("maria keller") },     { GUARD_MAC_ADDRESS, S("AA:bb:0C"), S("aabb0c") },
        { GUARD_SECRET, S("aB c"), S("aB c") },                     { GUARD_PHONE, S("--"), S("--") },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str n = placeholder_normal(&mem, cases[i].type, cases[i].value);
        assert_true(str_eq(n, cases[i].normal));
    }
}

static void a_stem_says_its_type_and_nothing_of_its_value(void **state)
{
    (void)state;
    static const size_t lengths[] = { 5, 8, 13, 26 };
    char a[PLACEHOLDER_MAX], b[PLACEHOLDER_MAX];
    for (int t = 0; t < GUARD_OWN; t++)
        for (unsigned r = 0; r < PLACEHOLDER_ROUNDS; r++) {
            str name = str_of(guard_type_name(NULL, (enum guard_type)t));
            size_t n = placeholder_stem(&key, name, S("value"), r, a);
            assert_int_equal(n, name.n + 1 + lengths[r]);
            assert_true(str_starts((str){ a, n }, name) && placeholder_is_stem(NULL, (str){ a, n }));
            assert_int_equal(placeholder_stem(&key, name, S("value"), r, b), n);
            assert_memory_equal(a, b, n);                       /* again the same */
            assert_int_equal(placeholder_stem(&other, name, S("value"), r, b), n);
            assert_memory_not_equal(a, b, n);                   /* under another key, another */
            n = placeholder_tail(&key, name, (str){ a, n }, S("VALUE"), r, a);
            assert_true(n < PLACEHOLDER_MAX && placeholder_is_stem(NULL, (str){ a, n }));
        }
}

static void only_stems_are_stems(void **state)
{
    (void)state;
    static const struct { str s; bool yes; } cases[] = {
        { S("EMAIL_k7q2m"), true },  { S("email_K7Q2M"), true }, { S("US_SSN_aaaaa"), true }, { S("EMAIL_k7q2m-f3"), true }, { S("EMAIL_k7q2"), false }, { S("EMAIL_k7q2m1"), false },
        { S("EMAIL_k7q21"), false }, { S("EMAILk7q2m"), false }, { S("MAIL_k7q2m"), false },  { S("EMAIL_"), false },        { S(""), false },           { S("email_address"), false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(placeholder_is_stem(NULL, cases[i].s), cases[i].yes);
}

/* `like`: d digit, x lower-case hexadecimal, X upper-case; everything else as it stands. */
static void surrogates_keep_the_form(void **state)
{
    (void)state;
    static const struct { enum guard_type type; str value; const char *like; } cases[] = {
        { GUARD_PHONE, S("+49 (30) 901-82"), "+99 (9d) ddd-dd" }, { GUARD_PHONE, S("030 90182/12"), "0dd ddddd/dd" }, { GUARD_PHONE, S("0049 30 90182"), "00dd dd ddddd" },
        { GUARD_CREDIT_CARD, S("4111 1111 1111 1111"), "9ddd dddd dddd dddd" }, { GUARD_US_SSN, S("536-90-4399"), "9dd-dd-dddd" },
        { GUARD_MAC_ADDRESS, S("AA:BB:CC:DD:EE:FF"), "02:XX:XX:XX:XX:XX" },     { GUARD_MAC_ADDRESS, S("aabb.ccdd.eeff"), "02xx.xxxx.xxxx" },
        { GUARD_PHONE, S("call 030"), NULL }, { GUARD_PHONE, S("030 x 12"), NULL }, { GUARD_IP_ADDRESS, S("10.0.0.1/24"), NULL }, { GUARD_PERSON, S("Maria"), NULL },
        { GUARD_SECRET, S("sk-123"), NULL },  { GUARD_IBAN, S("DE89370400440532013000"), NULL }, { GUARD_US_SSN, S("12"), NULL }, { GUARD_MAC_ADDRESS, S("AA:BB"), NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned r = 0; r < PLACEHOLDER_ROUNDS; r++) {
            char out[PLACEHOLDER_MAX];
            size_t n = 0;
            str normal = placeholder_normal(&mem, cases[i].type, cases[i].value);
            bool has = placeholder_surrogate(&key, cases[i].type, normal, cases[i].value, r, out, &n);
            assert_int_equal(has, cases[i].like != NULL);
            assert_true(!has || n == strlen(cases[i].like));
            for (size_t k = 0; has && k < n; k++) {
                char want = cases[i].like[k], c = out[k];
                bool ok = want == 'd'   ? c >= '0' && c <= '9'
                          : want == 'x' ? (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')
                          : want == 'X' ? (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F')
                                        : c == want;
                assert_true(ok);
            }
        }
}

static bool luhn(str s)
{
    int sum = 0, twice = 0;
    for (size_t i = s.n; i-- > 0;) {
        if (s.p[i] < '0' || s.p[i] > '9')
            continue;
        int v = (s.p[i] - '0') * (1 + twice);
        sum += v > 9 ? v - 9 : v;
        twice = !twice;
    }
    return sum % 10 == 0;
}

static void surrogates_lie_in_ranges_that_are_nobodys(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        char out[PLACEHOLDER_MAX];
        size_t n;
        str v = arena_printf(&mem, "10.%d.%d.7", i % 256, i / 2);
        int b, c, d;
        assert_true(placeholder_surrogate(&key, GUARD_IP_ADDRESS, v, v, 0, out, &n));
        assert_true(sscanf(arena_cstr(&mem, (str){ out, n }), "198.%d.%d.%d", &b, &c, &d) == 3 && (b == 18 || b == 19) && c < 256 && d < 256);
        v = arena_printf(&mem, "2a02::%x", i);
        assert_true(placeholder_surrogate(&key, GUARD_IP_ADDRESS, v, v, 0, out, &n) && str_starts((str){ out, n }, S("2001:db8:")));
        v = arena_printf(&mem, "m%d@keller.de", i);
        assert_true(placeholder_surrogate(&key, GUARD_EMAIL, v, v, 0, out, &n) && str_ends((str){ out, n }, S("@masked.invalid")));
        v = arena_printf(&mem, "4111-1111-1111-%04d", i);
        assert_true(placeholder_surrogate(&key, GUARD_CREDIT_CARD, v, v, 0, out, &n) && luhn((str){ out, n }) && out[0] == '9');
        v = arena_printf(&mem, "49309%05d", i);
        assert_true(placeholder_number(&key, GUARD_PHONE, v, 0, out, &n) && n == v.n && out[0] == '9');
    }
    char out[PLACEHOLDER_MAX];
    size_t n;
    assert_false(placeholder_number(&key, GUARD_PHONE, S("123456"), 0, out, &n));
    assert_false(placeholder_number(&key, GUARD_PHONE, S("12 34567"), 0, out, &n));
}

static void a_surrogate_stands_only_between_clear_borders(void **state)
{
    (void)state;
    static const struct { str before, after; bool fits; } cases[] = {
        { S(""), S(""), true },    { S("to "), S(" x"), true }, { S("\""), S("\""), true }, { S("x"), S(""), false },  { S(""), S("x"), false }, { S(""), S("."), true },
        { S(""), S(". X"), true }, { S(""), S(".x"), false },   { S("."), S(""), false },  { S("a\\"), S(""), false }, { S(""), S("\xC3\xA4"), false }, { S("/"), S(":80"), true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(placeholder_fits(cases[i].before, cases[i].after), cases[i].fits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings_have_one_normal_form), cmocka_unit_test(a_stem_says_its_type_and_nothing_of_its_value), cmocka_unit_test(only_stems_are_stems),
        cmocka_unit_test(surrogates_keep_the_form),       cmocka_unit_test(surrogates_lie_in_ranges_that_are_nobodys),
        cmocka_unit_test(a_surrogate_stands_only_between_clear_borders),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
