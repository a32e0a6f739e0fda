/* Which failed call a client asks again. */
#include "gate/retried.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MINUTE INT64_C(60000000)

static void id_of(int i, char id[UUID_TEXT]) { snprintf(id, UUID_TEXT, "%036d", i); }

static void the_latest_with_the_same_body_of_the_same_client_is_found(void **state)
{
    static const struct { str who, what; int64_t at; int want; } asks[] = {
        { S("a"), S("hello"), 3 * MINUTE, 2 }, { S("b"), S("hello"), 3 * MINUTE, 3 }, { S("a"), S("other"), 3 * MINUTE, 4 },
        { S("a"), S("hell"), 3 * MINUTE, 0 }, { S("ah"), S("ello"), 3 * MINUTE, 0 }, { S("c"), S("hello"), 3 * MINUTE, 0 }, { S("a"), S(""), 3 * MINUTE, 0 },
        { S("a"), S("hello"), 11 * MINUTE + 1, 2 }, { S("a"), S("hello"), 12 * MINUTE, 0 },
    };
    static const struct { str who, what; } failed[] = { { S("a"), S("hello") }, { S("a"), S("hello") }, { S("b"), S("hello") }, { S("a"), S("other") } };
    struct retried *t = retried_new();
    char id[UUID_TEXT], want[UUID_TEXT];
    (void)state;
    assert_false(retried_find(t, S("a"), S("hello"), MINUTE, id));
    for (int i = 0; i < 4; i++) {
        id_of(i + 1, id);
        retried_note(t, failed[i].who, failed[i].what, id, (i + 1) * MINUTE);
    }
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        bool found = retried_find(t, asks[i].who, asks[i].what, asks[i].at, id);
        id_of(asks[i].want, want);
        if (found != (asks[i].want > 0) || (found && strcmp(id, want) != 0))
            fail_msg("%zu: %d %s", i, found, found ? id : "");
    }
    retried_free(t);
}

static void the_ring_forgets_the_oldest(void **state)
{
    struct retried *t = retried_new();
    char id[UUID_TEXT], text[16];
    (void)state;
    for (int i = 0; i < 300; i++) {
        id_of(i, id);
        snprintf(text, sizeof text, "%d", i);
        retried_note(t, S("a"), str_of(text), id, MINUTE);
    }
    assert_false(retried_find(t, S("a"), S("43"), MINUTE, id));
    assert_true(retried_find(t, S("a"), S("44"), MINUTE, id) && retried_find(t, S("a"), S("299"), MINUTE, id));
    retried_free(t);
    retried_free(NULL);
}

static void large_bodies_differ_by_their_length_and_beginning(void **state)
{
    enum { N = 1 << 20 };
    struct retried *t = retried_new();
    char *body = calloc(1, N), id[UUID_TEXT];
    (void)state;
    id_of(1, id);
    retried_note(t, S("a"), str_slice(body, N), id, MINUTE);
    assert_true(retried_find(t, S("a"), str_slice(body, N), MINUTE, id));
    assert_false(retried_find(t, S("a"), str_slice(body, N - 1), MINUTE, id));
    body[7] = 'x';
    assert_false(retried_find(t, S("a"), str_slice(body, N), MINUTE, id));
    free(body);
    retried_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_with_the_same_body_of_the_same_client_is_found),
        cmocka_unit_test(the_ring_forgets_the_oldest),
        cmocka_unit_test(large_bodies_differ_by_their_length_and_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
