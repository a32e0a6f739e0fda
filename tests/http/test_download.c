/* Addresses that may be asked, and pauses that servers ask for. What it does on the wire: tests/e2e/test_pull.py. */
#include "http/download.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void only_https_and_this_machine_are_asked(void **state)
{
    static const struct { const char *url; bool ok; } all[] = {
        { "https://example.com/a", true }, { "https://example.com:8443/a?b=c#d", true }, { "HTTPS://example.com", true }, { "http://127.0.0.1:8000/a", true }, { "http://127.9.8.7/", true },
        { "http://[::1]:80/", true }, { "http://localhost/x", true }, { "http://example.com/", false }, { "http://127.0.0.1.example.com/", false }, { "http://10.0.0.1/", false },
        { "http://[::2]/", false }, { "http://localhost.example.com/", false }, { "https://user@example.com/", false }, { "https://user:pw@example.com/", false }, { "http://127.0.0.1@example.com/", false },
        { "ftp://127.0.0.1/", false }, { "file:///etc/passwd", false }, { "javascript:1", false }, { "", false }, { "https://", false }, { "//example.com/", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *why = NULL;
        bool ok = download_check_url(all[i].url, &why) == ERR_OK;
        if (ok != all[i].ok)
            fail_msg("%s: %s", all[i].url, ok ? "taken" : why);
    }
}

static void pauses_are_read_from_either_field(void **state)
{
    static const struct { const char *after, *limit; int64_t s; } all[] = {
        { "120", "", 120 }, { "0", "", 0 }, { "Fri, 31 Dec 1999 23:59:59 GMT", "", -1 }, { "-1", "", -1 }, { "99999999999999999999", "", -1 }, { "", "\"api\";r=0;t=55", 55 },
        { "", "\"api\";r=0;t=", -1 }, { "", "", -1 }, { "7", "\"api\";r=0;t=55", 7 }, { "", "\"api\";r=3;t=9;x=1", 9 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (download_pause_s(str_of(all[i].after), str_of(all[i].limit)) != all[i].s)
            fail_msg("%s, %s", all[i].after, all[i].limit);
}

static bool stop_at_once(void *ctx)
{
    (void)ctx;
    return false;
}

static void what_cannot_be_reached_or_asked_is_an_error_with_a_sentence(void **state)
{
    struct download_rules r;
    struct downloader *d;
    struct download_reply reply;
    struct arena a;
    (void)state;
    arena_init(&a, 1 << 16);
    download_rules_default(&r);
    r.tries = 2;
    r.backoff_ms = 1;
    assert_int_equal(downloader_new(&r, &d), ERR_OK);
    assert_int_equal(download_text(d, &a, "http://127.0.0.1:1/", NULL, 100, &reply), ERR_REFUSED);
    assert_true(strlen(downloader_why(d)) > 10);
    assert_int_equal(download_text(d, &a, "http://example.com/", NULL, 100, &reply), ERR_FORBIDDEN);
    downloader_free(d);
    r.on_tick = stop_at_once;
    r.tries = 100;
    r.backoff_ms = 60000;
    assert_int_equal(downloader_new(&r, &d), ERR_OK);
    assert_int_equal(download_text(d, &a, "http://127.0.0.1:1/", NULL, 100, &reply), ERR_CLIENT);
    downloader_free(d);
    downloader_free(NULL);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_https_and_this_machine_are_asked),
        cmocka_unit_test(pauses_are_read_from_either_field),
        cmocka_unit_test(what_cannot_be_reached_or_asked_is_an_error_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
