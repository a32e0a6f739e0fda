/* The vault, over an array and over the file that gate will give it: the same value, the same placeholder, over turns, restarts, rotation and kill -9. */
#include "shelf.h"

#include "ledger/box.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena mem;
static struct shelf shelf;
static const struct seal_key master = { { 7 } }, newer = { { 8 } };

static int setup(void **state)
{
    (void)state;
    arena_init(&mem, 64 << 20);
    (void)shelf_open(&shelf);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shelf_close(&shelf);
    arena_free(&mem);
    return 0;
}

static struct vault_store store(void) { return (struct vault_store){ &shelf, shelf_get, shelf_put, shelf_list, shelf_forget }; }

static struct vault *opened(const struct seal_key *keys, size_t n)
{
    struct vault *v = NULL;
    struct vault_store s = store();
    assert_int_equal(vault_open(&mem, &s, keys, n, &v), ERR_OK);
    return v;
}

static str token(struct vault *v, struct vault_ask ask)
{
    struct vault_token t = { 0 };
    assert_int_equal(vault_ask_token(v, &mem, &ask, &t), ERR_OK);
    return t.text;
}

#define ASK(t, s, ...) ((struct vault_ask){ .type = (t), .value = S(s), .keep = true, __VA_ARGS__ })

/* BerriAI/litellm#41600: placeholders were numbered anew on every request. */
static void litellm_41600_a_value_keeps_its_placeholder_over_turns_and_restarts(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    str first = token(v, ASK(GUARD_EMAIL, "maria@keller.de"));
    assert_true(str_starts(first, S("EMAIL_")) && first.n == 11);
    (void)token(v, ASK(GUARD_EMAIL, "somebody@else.org"));
    assert_true(str_eq(token(v, ASK(GUARD_EMAIL, "maria@keller.de")), first));
    vault_close(v);
    v = opened(&master, 1);
    assert_true(str_eq(token(v, ASK(GUARD_EMAIL, "maria@keller.de")), first));
    struct restore_entry r;
    assert_int_equal(vault_value(v, &mem, STR_NONE, first, &r), ERR_OK);
    assert_true(str_eq(r.value, S("maria@keller.de")) && r.type == GUARD_EMAIL && !r.bare);
    assert_int_equal(vault_value(v, &mem, STR_NONE, S("EMAIL_aaaaa"), &r), ERR_NOTFOUND);
    vault_close(v);
}

/* microsoft/presidio#1151: deanonymize(anonymize(text)) was another text. Spellings share a stem, and each comes back as it was. */
static void presidio_1151_spellings_are_told_apart(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    str a = token(v, ASK(GUARD_PERSON, "Maria Keller")), b = token(v, ASK(GUARD_PERSON, "MARIA KELLER")), c = token(v, ASK(GUARD_PERSON, "maria keller"));
    assert_true(str_starts(b, a) && b.n == a.n + 3 && b.p[a.n] == '-' && str_starts(c, a) && !str_eq(b, c));
    struct restore_entry r;
    assert_int_equal(vault_value(v, &mem, STR_NONE, b, &r), ERR_OK);
    assert_true(str_eq(r.value, S("MARIA KELLER")));
    /* as another type, or in another realm, it is something else */
    assert_false(str_eq(str_skip(token(v, ASK(GUARD_CUSTOM, "Maria Keller")), 7), str_skip(a, 7)));
    str there = token(v, ASK(GUARD_PERSON, "Maria Keller", .realm = S("tenant")));
    assert_false(str_eq(there, a));
    assert_int_equal(vault_value(v, &mem, STR_NONE, there, &r), ERR_NOTFOUND);
    assert_int_equal(vault_value(v, &mem, S("tenant"), there, &r), ERR_OK);
    vault_close(v);
}

static void a_taken_placeholder_gets_longer(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    struct vault_ask probe = ASK(GUARD_IBAN, "DE89370400440532013000");
    str free_one = token(v, probe);
    /* Somebody else's value in that place: what is kept under the name is exchanged. */
    char name[64] = "";
    for (size_t i = 0; i < shelf.n; i++)
        if (str_starts(shelf.rows[i].name, S("t:")) && str_ends(shelf.rows[i].name, S(":iban_"))) {
            assert_true(false);
        } else if (str_find(shelf.rows[i].name, S(":iban_")) < shelf.rows[i].name.n) {
            assert_true(shelf.rows[i].name.n < sizeof name);
            memcpy(name, shelf.rows[i].name.p, shelf.rows[i].name.n);
            struct arena a;
            struct seal_key k = master;
            str plain, sealed;
            arena_init(&a, 1 << 16);
            assert_int_equal(seal_open(&a, &k, str_of(name), str_skip(shelf.rows[i].value, 4), &plain), ERR_OK);
            memset((char *)(uintptr_t)plain.p + 2, 0x55, 32);   /* the digests of another value */
            assert_int_equal(seal_close(&a, &k, str_of(name), plain, &sealed), ERR_OK);
            shelf.rows[i].value = arena_cat(&shelf.a, (str[]){ { shelf.rows[i].value.p, 4 }, sealed }, 2);
            arena_free(&a);
        }
    vault_close(v);
    v = opened(&master, 1);
    str longer = token(v, probe);
    assert_true(longer.n == free_one.n + 3 && str_starts(longer, free_one));
    assert_true(str_eq(token(v, probe), longer));
    vault_close(v);
}

static void what_policy_does_not_restore_is_not_kept(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    struct vault_ask secret = ASK(GUARD_SECRET, "sk-live-\"0123456789abcdef\n");
    struct restore_entry r;
    struct vault_token t;
    assert_int_equal(vault_ask_token(v, &mem, &secret, &t), ERR_RANGE);     /* such bytes could not be put into JSON as they are */
    secret.keep = false;
    str s = token(v, secret);
    assert_int_equal(vault_value(v, &mem, STR_NONE, s, &r), ERR_NOTFOUND);
    struct vault_ask plain = ASK(GUARD_SECRET, "hunter2hunter2");
    plain.keep = false;
    s = token(v, plain);
    assert_int_equal(vault_value(v, &mem, STR_NONE, s, &r), ERR_NOTFOUND);
    plain.keep = true;                                                      /* another policy allows it: the same placeholder */
    assert_true(str_eq(token(v, plain), s));
    assert_int_equal(vault_value(v, &mem, STR_NONE, s, &r), ERR_OK);
    plain.value = STR_NONE;
    assert_int_equal(vault_ask_token(v, &mem, &plain, &t), ERR_RANGE);
    vault_close(v);
}

static void surrogates_are_told_apart(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    enum { N = 300 };
    str seen[N];
    for (int i = 0; i < N; i++) {
        struct vault_ask ask = { .type = GUARD_IP_ADDRESS, .value = arena_printf(&mem, "10.1.%d.%d", i / 100, i % 100), .form = VAULT_SURROGATE, .keep = true };
        struct vault_token t;
        assert_int_equal(vault_ask_token(v, &mem, &ask, &t), ERR_OK);
        assert_true(t.bare);
        seen[i] = t.text;
        for (int k = 0; k < i; k++)
            assert_false(str_eq(seen[i], seen[k]));
    }
    struct vault_token t;
    assert_int_equal(vault_ask_token(v, &mem, &ASK(GUARD_PERSON, "Maria Keller", .form = VAULT_SURROGATE), &t), ERR_OK);
    assert_false(t.bare);                                                   /* names have none */
    assert_int_equal(vault_ask_token(v, &mem, &ASK(GUARD_PHONE, "4930901820", .form = VAULT_NUMBER), &t), ERR_OK);
    assert_true(t.bare && t.text.n == 10 && t.text.p[0] == '9');
    assert_int_equal(vault_ask_token(v, &mem, &ASK(GUARD_PHONE, "12x", .form = VAULT_NUMBER), &t), ERR_RANGE);
    vault_close(v);
}

/* presidio#1845: an unsalted hash of a value can be tried out. Nothing in the store depends on a value alone. */
static void presidio_1845_the_store_tells_nothing_without_the_key(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    (void)token(v, ASK(GUARD_US_SSN, "536-90-4399"));
    struct digest plain = sha256_of(S("536-90-4399"));
    for (size_t i = 0; i < shelf.n; i++) {
        assert_int_equal(str_find(shelf.rows[i].value, S("536-90")), shelf.rows[i].value.n);
        assert_int_equal(str_find(shelf.rows[i].value, (str){ (char *)plain.b, 8 }), shelf.rows[i].value.n);
    }
    vault_close(v);
    struct vault_store s = store();
    assert_int_equal(vault_open(&mem, &s, &newer, 1, &v), ERR_FORBIDDEN);
    /* a row under another's name does not open */
    v = opened(&master, 1);
    str a = token(v, ASK(GUARD_EMAIL, "a@keller.de")), b = token(v, ASK(GUARD_EMAIL, "b@keller.de"));
    size_t ia = shelf.n, ib = shelf.n;
    for (size_t i = 0; i < shelf.n; i++) {
        ia = str_ends(shelf.rows[i].name, str_skip(a, 6)) ? i : ia;
        ib = str_ends(shelf.rows[i].name, str_skip(b, 6)) ? i : ib;
    }
    shelf.rows[ia].value = shelf.rows[ib].value;
    struct restore_entry r;
    assert_int_equal(vault_value(v, &mem, STR_NONE, a, &r), ERR_FORBIDDEN);
    vault_close(v);
}

static void rotation_goes_on_where_it_was_stopped(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    str tokens[40];
    for (int i = 0; i < 40; i++) {
        struct vault_ask ask = { .type = GUARD_EMAIL, .value = arena_printf(&mem, "m%d@keller.de", i), .keep = true };
        tokens[i] = token(v, ask);
    }
    vault_close(v);
    const struct seal_key both[] = { newer, master };
    size_t moved = 0;
    bool done = false;
    v = opened(both, 2);
    assert_int_equal(vault_reseal(v, &mem, 7, 1, &moved, &done), ERR_OK);
    assert_false(done);
    vault_close(v);                                                         /* killed in the middle */
    v = opened(both, 2);
    for (int i = 0; !done; i++) {
        assert_true(i < 20);
        assert_int_equal(vault_reseal(v, &mem, 7, 1, &moved, &done), ERR_OK);
    }
    vault_close(v);
    assert_int_equal(moved, 41);                                            /* and the row of the tags' key */
    v = opened(&newer, 1);                                                  /* the old key is not needed any more */
    for (int i = 0; i < 40; i++) {
        struct vault_ask ask = { .type = GUARD_EMAIL, .value = arena_printf(&mem, "m%d@keller.de", i), .keep = true };
        struct restore_entry r;
        assert_true(str_eq(token(v, ask), tokens[i]));
        assert_int_equal(vault_value(v, &mem, STR_NONE, tokens[i], &r), ERR_OK);
        assert_true(str_eq(r.value, ask.value));
    }
    vault_close(v);
}

static void a_conversation_recalls_its_own_only(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    struct restore_set turn = { 0 }, later = { 0 };
    str a = token(v, ASK(GUARD_EMAIL, "maria@keller.de")), b = token(v, ASK(GUARD_EMAIL, "jo@keller.de", .at_us = 5));
    assert_int_equal(restore_set_add(&mem, &turn, a, S("maria@keller.de"), GUARD_EMAIL, false), ERR_OK);
    restore_set_ready(&turn);
    assert_int_equal(vault_remember(v, &mem, STR_NONE, S("resp_1"), &turn, 10), ERR_OK);
    assert_int_equal(vault_recall(v, &mem, STR_NONE, S("resp_1"), &later), ERR_OK);
    restore_set_ready(&later);
    assert_int_equal(later.n, 1);
    assert_non_null(restore_set_get(&later, a));
    assert_null(restore_set_get(&later, b));
    struct restore_set none = { 0 };
    assert_int_equal(vault_recall(v, &mem, STR_NONE, S("resp_2"), &none), ERR_OK);
    assert_int_equal(vault_recall(v, &mem, S("tenant"), S("resp_1"), &none), ERR_OK);
    assert_int_equal(none.n, 0);
    assert_int_equal(vault_forget(v, 11), ERR_OK);
    assert_int_equal(vault_recall(v, &mem, STR_NONE, S("resp_1"), &none), ERR_OK);
    assert_int_equal(none.n, 0);
    assert_true(str_eq(token(v, ASK(GUARD_EMAIL, "maria@keller.de")), a));
    vault_close(v);
}

static void a_store_that_fails_is_an_error(void **state)
{
    (void)state;
    struct vault *v = opened(&master, 1);
    for (size_t n = 0;; n++) {
        struct vault_token t;
        struct vault_ask ask = { .type = GUARD_EMAIL, .value = arena_printf(&mem, "f%zu@keller.de", n), .keep = true };
        shelf.fail_after = n;
        enum err e = vault_ask_token(v, &mem, &ask, &t);
        shelf.fail_after = SIZE_MAX;
        if (!e)
            break;
        assert_int_equal(e, ERR_STORE);
    }
    vault_close(v);
    struct seal_key k;
    assert_true(vault_key_read(S("0100000000000000000000000000000000000000000000000000000000000000"), &k));
    assert_true(k.b[0] == 1 && k.b[31] == 0);
    assert_false(vault_key_read(S("01"), &k));
}

/* ---- over a file ---- */

static enum err file_get(void *b, struct arena *a, str name, str *value) { return box_get(b, a, name, value); }
static enum err file_put(void *b, const struct vault_row *rows, size_t n, bool fresh, int64_t at_us)
{
    struct box_row *r = arena_new(&mem, struct box_row, n);
    for (size_t i = 0; i < n; i++)
        r[i] = (struct box_row){ rows[i].name, rows[i].value };
    return box_put(b, r, n, fresh, at_us);
}
static enum err file_list(void *b, struct arena *a, str prefix, str after, size_t most, struct vault_row **rows, size_t *n)
{
    struct box_row *r = NULL;
    enum err e = box_list(b, a, prefix, after, most, &r, n);
    *rows = e ? NULL : arena_new(a, struct vault_row, *n + 1);
    for (size_t i = 0; !e && i < *n; i++)
        (*rows)[i] = (struct vault_row){ r[i].name, r[i].value };
    return e;
}
static enum err file_forget(void *b, str prefix, int64_t before_us) { return box_forget(b, prefix, before_us); }

static struct vault *file_vault(const char *path, struct box **b)
{
    char why[256] = "";
    struct vault *v = NULL;
    assert_int_equal(box_open(path, b, why), ERR_OK);
    struct vault_store s = { *b, file_get, file_put, file_list, file_forget };
    assert_int_equal(vault_open(&mem, &s, &master, 1, &v), ERR_OK);
    return v;
}

/* A child makes placeholders, says which, and is killed; each that was said is there afterwards. */
static void a_placeholder_that_went_out_survives_kill_9(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-vault-XXXXXX", path[128], line[PLACEHOLDER_MAX + 2];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/guard.db", dir);
    int p[2];
    assert_int_equal(pipe(p), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        struct box *b;
        struct vault *v = file_vault(path, &b);
        for (int i = 0;; i++) {
            struct vault_ask ask = { .type = GUARD_EMAIL, .value = arena_printf(&mem, "m%d@keller.de", i), .keep = true };
            str t = token(v, ask);
            if (dprintf(p[1], "%.*s\n", STR_ARG(t)) < 0)
                _exit(1);
        }
    }
    close(p[1]);
    FILE *f = fdopen(p[0], "r");
    int said = 0;
    str all[4000];
    while (said < 50 && fgets(line, sizeof line, f))
        all[said++] = arena_str(&mem, (str){ line, strlen(line) - 1 });
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (said < 4000 && fgets(line, sizeof line, f) && line[strlen(line) - 1] == '\n')
        all[said++] = arena_str(&mem, (str){ line, strlen(line) - 1 });
    fclose(f);
    assert_true(said >= 50);
    struct box *b;
    struct vault *v = file_vault(path, &b);
    for (int i = 0; i < said; i++) {
        struct restore_entry r;
        assert_int_equal(vault_value(v, &mem, STR_NONE, all[i], &r), ERR_OK);
        assert_true(str_eq(r.value, arena_printf(&mem, "m%d@keller.de", i)));
    }
    /* Two vaults over one file, as two loop threads have them, agree. */
    struct box *b2;
    struct vault *v2 = file_vault(path, &b2);
    struct vault_ask ask = ASK(GUARD_PERSON, "Jo Keller");
    assert_true(str_eq(token(v, ask), token(v2, ask)));
    vault_close(v);
    vault_close(v2);
    box_close(b);
    box_close(b2);
    struct stat st;
    assert_true(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    static const char *const ends[] = { "", "-wal", "-shm" };
    for (int i = 0; i < 3; i++)
        (void)remove(arena_cstr(&mem, arena_printf(&mem, "%s%s", path, ends[i])));
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(litellm_41600_a_value_keeps_its_placeholder_over_turns_and_restarts), T(presidio_1151_spellings_are_told_apart), T(a_taken_placeholder_gets_longer),
        T(what_policy_does_not_restore_is_not_kept), T(surrogates_are_told_apart), T(presidio_1845_the_store_tells_nothing_without_the_key), T(rotation_goes_on_where_it_was_stopped),
        T(a_conversation_recalls_its_own_only), T(a_store_that_fails_is_an_error), T(a_placeholder_that_went_out_survives_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
