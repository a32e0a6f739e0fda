/* /metrics of real servers, shortened, and of servers that nobody should believe. */
#include "fleet/load.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct { const char *text; enum err e; struct load want; } cases[] = {
    { "# HELP vllm:num_requests_running Number of requests in model execution batches.\n# TYPE vllm:num_requests_running gauge\n"
      "vllm:num_requests_running{engine=\"0\",model_name=\"q\"} 3.0\nvllm:num_requests_running{engine=\"1\",model_name=\"q\"} 2.0\n"
      "vllm:num_requests_waiting{engine=\"0\",model_name=\"q\"} 7.0\nvllm:num_requests_waiting_by_reason{reason=\"capacity\"} 99\n"
      "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.5\nvllm:generation_tokens_total{engine=\"0\"} 1.5e+06\n"
      "vllm:engine_sleep_state{sleep_state=\"awake\"} 1\n", ERR_OK, { 5, 7, 0.5, 1500000 } },
    { "vllm:gpu_cache_usage_perc{model_name=\"a}b\\\"} 9\"} 0.75 1700000000\n", ERR_OK, { -1, -1, 0.75, -1 } },
    { "llamacpp:requests_processing 2\r\nllamacpp:requests_deferred 0\r\nllamacpp:tokens_predicted_total 4711\r\n", ERR_OK, { 2, 0, -1, 4711 } },
    { "vllm:num_requests_running 0\n", ERR_OK, { 0, -1, -1, -1 } },
    { "vllm:num_requests_running 4", ERR_OK, { 4, -1, -1, -1 } },
    { "vllm:kv_cache_usage_perc 37\n", ERR_OK, { -1, -1, 1, -1 } },
    { "", ERR_UPSTREAM, { 0, 0, 0, 0 } },
    { "<html>\n", ERR_UPSTREAM, { 0, 0, 0, 0 } },
    { "vllm:num_requests_running NaN\nvllm:num_requests_waiting -1\nvllm:kv_cache_usage_perc +Inf\nvllm:generation_tokens_total 1e999\n", ERR_UPSTREAM, { 0, 0, 0, 0 } },
    { "vllm:num_requests_running{engine=\"0 3\nvllm:num_requests_running\nvllm:num_requests_running{} \nvllm:num_requests_running 0x10\n", ERR_UPSTREAM, { 0, 0, 0, 0 } },
    { "vllm:num_requests_running_total 5\nxvllm:num_requests_running 5\n", ERR_UPSTREAM, { 0, 0, 0, 0 } },
};

static void what_is_said_is_read_and_what_is_not_is_unknown(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct load l = { 42, 42, 42, 42 };
        if (load_read(str_of(cases[i].text), &l) != cases[i].e)
            fail_msg("%s", cases[i].text);
        if (cases[i].e == ERR_OK && (l.running != cases[i].want.running || l.waiting != cases[i].want.waiting || l.cache != cases[i].want.cache || l.tokens != cases[i].want.tokens))
            fail_msg("%s: %g %g %g %g", cases[i].text, l.running, l.waiting, l.cache, l.tokens);
        if (cases[i].e != ERR_OK)
            assert_true(l.running == 42);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_said_is_read_and_what_is_not_is_unknown) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
