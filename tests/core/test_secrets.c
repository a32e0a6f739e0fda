/* Digests and seals by published vectors and by tampering; ids, times, the queue between threads, the log's lines. */
#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/queue.h"
#include "core/rand.h"
#include "core/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_hex(struct digest d, const char *want)
{
    char hex[HEX_DIGEST + 1] = "";
    hex_encode(d.b, sizeof d.b, hex);
    assert_string_equal(hex, want);
}

static void digests_follow_the_standards(void **state)
{
    (void)state;
    assert_hex(sha256_of(STR_NONE), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_hex(sha256_of(S("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-4 */
    assert_hex(hmac_sha256(S("Jefe"), S("what do ya want for nothing?")),                              /* RFC 4231, 2 */
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    struct sha256 *h = sha256_new();
    for (int round = 0; round < 2; round++) {
        sha256_begin(h);
        sha256_add(h, S("a"));
        sha256_add(h, STR_NONE);
        sha256_add(h, S("bc"));
        assert_hex(sha256_end(h), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
    sha256_free(h);
    uint8_t b[2];
    assert_true(hex_decode(S("0aFf"), b, 2) && b[0] == 0x0A && b[1] == 0xFF);
    assert_false(hex_decode(S("0a"), b, 2) || hex_decode(S("0g00"), b, 2) || hex_decode(S("0a000"), b, 2));
    assert_true(secret_eq(S("key"), S("key")) && !secret_eq(S("key"), S("kez")) && !secret_eq(S("key"), S("key2")) && !secret_eq(STR_NONE, S("k")));
}

static void a_seal_opens_only_whole(void **state)
{
    (void)state;
    struct arena a;
    struct seal_key k = { { 1 } }, other = { { 2 } };
    str sealed, again, plain;
    arena_init(&a, 1 << 20);
    assert_int_equal(seal_close(&a, &k, S("row 1"), S("personal"), &sealed), ERR_OK);
    assert_int_equal(sealed.n, 12 + 8 + 16);
    assert_int_equal(str_find(sealed, S("personal")), sealed.n);
    assert_int_equal(seal_close(&a, &k, S("row 1"), S("personal"), &again), ERR_OK);
    assert_false(str_eq(sealed, again));            /* a nonce each */
    assert_int_equal(seal_open(&a, &k, S("row 1"), sealed, &plain), ERR_OK);
    assert_true(str_eq(plain, S("personal")));
    assert_int_equal(seal_open(&a, &k, S("row 2"), sealed, &plain), ERR_FORBIDDEN);
    assert_int_equal(seal_open(&a, &other, S("row 1"), sealed, &plain), ERR_FORBIDDEN);
    for (size_t n = 0; n < sealed.n; n++)
        assert_int_not_equal(seal_open(&a, &k, S("row 1"), str_slice(sealed.p, n), &plain), ERR_OK);
    for (size_t bit = 0; bit < sealed.n * 8; bit++) {
        str bent = arena_str(&a, sealed);
        ((char *)(uintptr_t)bent.p)[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(seal_open(&a, &k, S("row 1"), bent, &plain), ERR_FORBIDDEN);
    }
    arena_free(&a);
}

static void a_key_that_others_may_read_is_refused(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-key-XXXXXX", path[64];
    struct seal_key k, again;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/key", dir);
    assert_int_equal(seal_key_load(path, &k), ERR_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(seal_key_load(path, &again), ERR_OK);
    assert_memory_equal(k.b, again.b, sizeof k.b);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(seal_key_load(path, &again), ERR_FORBIDDEN);
    assert_int_equal(chmod(path, 0600) | truncate(path, 7), 0);
    assert_int_not_equal(seal_key_load(path, &again), ERR_OK);
    unlink(path);
    rmdir(dir);
}

static void randomness_does_not_repeat(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct rng r = rand_system(), one = rand_seeded(7), two = rand_seeded(7);
    uint8_t (*seen)[16] = calloc(N, sizeof *seen), zero[16] = { 0 }, large[300], none[300] = { 0 };
    assert_non_null(seen);
    for (size_t i = 0; i < N; i++) {                /* past many refills of the supply */
        r.fill(&r, seen[i], 16);
        assert_memory_not_equal(seen[i], zero, 16);
    }
    for (size_t i = 0; i < N; i += 37)
        for (size_t k = i + 1; k < N; k++)
            assert_memory_not_equal(seen[i], seen[k], 16);
    free(seen);
    memset(large, 0, sizeof large);
    r.fill(&r, large, sizeof large);
    assert_memory_not_equal(large + 200, none, 100);
    for (int i = 0; i < 100; i++) {
        double u = rand_unit(&one);
        assert_true(u >= 0 && u < 1);
        (void)rand_u64(&two);
    }
    assert_int_equal(rand_u64(&one), rand_u64(&two));
}

static void ids_sort_by_time(void **state)
{
    (void)state;
    struct rng r = rand_system();
    char a[UUID_TEXT], b[UUID_TEXT];
    uuid7(&r, 1700000000000000, a);
    uuid7(&r, 1700000000001000, b);
    assert_true(strcmp(a, b) < 0);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '7');
    assert_non_null(strchr("89ab", a[19]));
    assert_memory_equal(a, "018bcfe5-6800-", 14);
}

static void times_and_durations(void **state)
{
    (void)state;
    char text[CLOCK_TEXT];
    int64_t ms = 0;
    clock_text(INT64_C(1709210096123456), text);
    assert_string_equal(text, "2024-02-29T12:34:56.123Z");
    assert_true(clock_duration_ms(S("90d"), &ms) && ms == INT64_C(90) * 86400000);
    assert_true(clock_duration_ms(S("250ms"), &ms) && ms == 250);
    assert_true(clock_duration_ms(S("5m"), &ms) && ms == 300000);
    static const char *const bad[] = { "", "5", "m", "-1s", "1.5h", "5 m", "99999999999999999d", "0s" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(clock_duration_ms(str_of(bad[i]), &ms));
}

struct number { struct queue_item item; int v; };

static void *put_numbers(void *arg)
{
    struct queue *q = arg;
    for (int i = 0; i < 1000; i++) {
        struct number *n = calloc(1, sizeof *n);
        bool wake = false;
        n->v = i;
        n->item.bytes = 1;
        while (queue_put(q, &n->item, false, &wake) == ERR_BUSY)
            sched_yield();
        if (wake)
            queue_wake(q);
    }
    return NULL;
}

static void a_queue_is_bounded_and_in_order(void **state)
{
    (void)state;
    struct queue q;
    pthread_t t;
    bool wake;
    struct number one = { .item.bytes = 60 }, two = { .item.bytes = 60 };
    assert_int_equal(queue_init(&q, 4, 100), ERR_OK);
    assert_int_equal(queue_put(&q, &one.item, false, &wake), ERR_OK);
    assert_int_equal(queue_put(&q, &two.item, false, &wake), ERR_BUSY);   /* by bytes */
    assert_ptr_equal(queue_take_all(&q, 0), &one.item);
    for (int i = 0; i < 4; i++)
        assert_int_equal(queue_reserve(&q), ERR_OK);
    assert_int_equal(queue_reserve(&q), ERR_BUSY);                        /* by promises */
    assert_int_equal(queue_put(&q, &two.item, true, &wake), ERR_OK);      /* a promise is kept */
    for (int i = 0; i < 3; i++)
        queue_unreserve(&q);
    assert_ptr_equal(queue_take_all(&q, 0), &two.item);
    assert_null(queue_take_all(&q, 1));
    assert_int_equal(pthread_create(&t, NULL, put_numbers, &q), 0);
    for (int next = 0; next < 1000;) {
        struct queue_item *it = queue_take_all(&q, 5000);
        assert_non_null(it);
        for (struct queue_item *after; it; it = after, next++) {
            after = it->next;
            assert_int_equal(((struct number *)it)->v, next);
            free(it);
        }
    }
    pthread_join(t, NULL);
    queue_close(&q);
    assert_int_equal(queue_put(&q, &one.item, false, &wake), ERR_INTERNAL);
    assert_null(queue_take_all(&q, -1));
    queue_destroy(&q);
}

static void read_line(int fd, char *out, size_t n)
{
    ssize_t got = read(fd, out, n - 1);
    out[got > 0 ? got : 0] = '\0';
}

static void a_log_line_is_one_line(void **state)
{
    (void)state;
    int p[2];
    char line[4096], huge[3000];
    assert_int_equal(pipe(p), 0);
    memset(huge, 'x', sizeof huge);
    log_setup(LOG_INFO, LOG_TEXT, p[1]);
    log_debug("hidden", LOG_I("n", 1));
    log_info("shown", LOG_S("name", S("two words\nand \"more\"")), LOG_I("n", -3));
    read_line(p[0], line, sizeof line);
    assert_non_null(strstr(line, "Z info shown name=\"two words\\u000aand \\\"more\\\"\" n=-3\n"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    log_warn("large", LOG_S("text", str_slice(huge, sizeof huge)));
    read_line(p[0], line, sizeof line);
    assert_true(strlen(line) <= 2048 && line[strlen(line) - 1] == '\n');
    log_setup(LOG_INFO, LOG_JSON, p[1]);
    log_info("shown", LOG_S("name", S("a\"b\x01")));
    read_line(p[0], line, sizeof line);
    assert_non_null(strstr(line, "\"name\":\"a\\\"b\\u0001\"}\n"));
    log_setup(LOG_INFO, LOG_TEXT, 2);
    close(p[0]);
    close(p[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_follow_the_standards), cmocka_unit_test(a_seal_opens_only_whole), cmocka_unit_test(a_key_that_others_may_read_is_refused),
        cmocka_unit_test(randomness_does_not_repeat),   cmocka_unit_test(ids_sort_by_time),        cmocka_unit_test(times_and_durations),
        cmocka_unit_test(a_queue_is_bounded_and_in_order), cmocka_unit_test(a_log_line_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
