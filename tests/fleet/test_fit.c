/* Would it fit? Numbers by hand, and what is missing. */
#include "fleet/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void keys_and_values_are_counted_as_the_engine_allocates_them(void **state)
{
    (void)state;
    /* SmolLM2-135M: 30 layers, 9 heads of 64, 3 for keys and values; 4 sequences of 4096 tokens in 16 bits. */
    struct gguf_facts f = { .layers = 30, .heads = 9, .heads_kv = 3, .embedding = 576, .context = 8192 };
    struct fit n = fit_estimate(&f, 98000000, 0, 0);
    assert_int_equal(n.context, 4096);
    assert_int_equal(n.kv, 30ull * 3 * (64 + 64) * 2 * 4096 * 4);
    assert_int_equal(n.all, n.kv + n.weights + n.buffers);
    f.key_length = 128;
    f.value_length = 32;
    f.heads_kv = 0;                     /* not said: as many as heads */
    assert_int_equal(fit_estimate(&f, 1, 100, 1).kv, 30ull * 9 * (128 + 32) * 2 * 100);
    f.context = 1000;
    assert_int_equal(fit_estimate(&f, 1, 0, 1).context, 1000);
    f = (struct gguf_facts){ .layers = INT32_MAX, .heads = 1, .heads_kv = INT32_MAX, .embedding = INT32_MAX };
    assert_int_equal(fit_judge(&(struct fit){ .weights = 1, .all = fit_estimate(&f, 1, INT32_MAX, 64).all }, 1ull << 40), FIT_NO);
}

static void free_memory_is_the_kernels_and_the_groups(void **state)
{
    static const struct { const char *meminfo, *group; uint64_t bytes; } all[] = {
        { "MemTotal: 10 kB\nMemAvailable:   2000 kB\n", "", 2048000 }, { "MemAvailable: 2000 kB\n", "max\n5\n", 2048000 }, { "MemAvailable: 2000 kB\n", "1000000\n400000\n", 600000 },
        { "MemAvailable: 2000 kB\n", "1000\n400000\n", 0 }, { "", "", 0 }, { "MemAvailable:", "", 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(fit_available_in(str_of(all[i].meminfo), str_of(all[i].group)), all[i].bytes);
    assert_true(fit_available() > 0);
}

static void the_verdict_has_a_middle(void **state)
{
    struct fit f = { .weights = 1, .all = 900 };
    (void)state;
    assert_string_equal(fit_verdict_name(fit_judge(&f, 1000)), "yes");
    assert_string_equal(fit_verdict_name(fit_judge(&f, 950)), "tight");
    assert_string_equal(fit_verdict_name(fit_judge(&f, 899)), "no");
    assert_string_equal(fit_verdict_name(fit_judge(&f, 0)), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_values_are_counted_as_the_engine_allocates_them),
        cmocka_unit_test(free_memory_is_the_kernels_and_the_groups),
        cmocka_unit_test(the_verdict_has_a_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
