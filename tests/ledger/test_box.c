/* A table of blobs in a file: what transactions, prefixes and modes promise. */
#include "ledger/box.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena mem;
static char dir[64], path[128], why[256];

static int setup(void **state)
{
    (void)state;
    arena_init(&mem, 8 << 20);
    snprintf(dir, sizeof dir, "/tmp/hearth-box-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/guard.db", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const ends[] = { "", "-wal", "-shm" };
    for (int i = 0; i < 3; i++)
        (void)remove(arena_cstr(&mem, arena_printf(&mem, "%s%s", path, ends[i])));
    arena_free(&mem);
    return rmdir(dir);
}

static void rows_are_put_whole_and_listed_in_order(void **state)
{
    (void)state;
    struct box *b;
    str v;
    assert_int_equal(box_open(path, &b, why), ERR_OK);
    const struct box_row first[] = { { S("t:b"), S("2") }, { S("t:a"), S("1") }, { S("t:c"), STR_NONE }, { S("u:a"), S("x\0y") }, { S("s"), S("0") } };
    assert_int_equal(box_put(b, first, 5, true, 10), ERR_OK);
    assert_int_equal(box_get(b, &mem, S("u:a"), &v), ERR_OK);
    assert_true(v.n == 3 && memcmp(v.p, "x\0y", 3) == 0);
    assert_int_equal(box_get(b, &mem, S("t:c"), &v), ERR_OK);
    assert_int_equal(v.n, 0);
    assert_int_equal(box_get(b, &mem, S("t:"), &v), ERR_NOTFOUND);
    /* one of them is there: none is put */
    const struct box_row again[] = { { S("t:d"), S("4") }, { S("t:a"), S("9") } };
    assert_int_equal(box_put(b, again, 2, true, 20), ERR_AGAIN);
    assert_int_equal(box_get(b, &mem, S("t:d"), &v), ERR_NOTFOUND);
    assert_int_equal(box_put(b, again, 2, false, 20), ERR_OK);
    assert_int_equal(box_get(b, &mem, S("t:a"), &v), ERR_OK);
    assert_true(str_eq(v, S("9")));
    static const struct { str prefix, after; size_t most; const char *names; } lists[] = {
        { S("t:"), S(""), 9, "t:a t:b t:c t:d " }, { S("t:"), S(""), 2, "t:a t:b " }, { S("t:"), S("t:b"), 9, "t:c t:d " }, { S(""), S(""), 9, "s t:a t:b t:c t:d u:a " },
        { S("t:d"), S(""), 9, "t:d " },            { S("x"), S(""), 9, "" },          { S("t:"), S("u"), 9, "" },
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct box_row *rows;
        size_t n;
        str names = S("");
        assert_int_equal(box_list(b, &mem, lists[i].prefix, lists[i].after, lists[i].most, &rows, &n), ERR_OK);
        for (size_t k = 0; k < n; k++)
            names = arena_cat(&mem, (str[]){ names, rows[k].name, S(" ") }, 3);
        assert_true(str_eq(names, str_of(lists[i].names)));
    }
    assert_int_equal(box_forget(b, S("t:"), 20), ERR_OK);
    assert_int_equal(box_get(b, &mem, S("t:b"), &v), ERR_NOTFOUND);
    assert_int_equal(box_get(b, &mem, S("t:a"), &v), ERR_OK);
    assert_int_equal(box_get(b, &mem, S("s"), &v), ERR_OK);
    box_close(b);
    assert_int_equal(box_open(path, &b, why), ERR_OK);
    assert_int_equal(box_get(b, &mem, S("t:d"), &v), ERR_OK);
    box_close(b);
    box_close(NULL);
}

static void a_file_that_is_none_of_ours_is_refused(void **state)
{
    (void)state;
    struct box *b = NULL;
    FILE *f = fopen(path, "w");
    fputs("this is a text and no database, long enough that nobody takes it for one\n", f);
    fclose(f);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(box_open(path, &b, why), ERR_FORBIDDEN);
    assert_non_null(strstr(why, "chmod 600"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(box_open(path, &b, why), ERR_STORE);
    assert_int_equal(box_open("/nonexistent/guard.db", &b, why), ERR_STORE);
    assert_non_null(strstr(why, "/nonexistent/guard.db"));
    assert_null(b);
}

static void another_writer_is_waited_for_as_long_as_was_said(void **state)
{
    (void)state;
    static const struct box_row row = { S("a"), S("1") };
    struct box *b;
    sqlite3 *other;
    str v;
    assert_int_equal(box_open(path, &b, why), ERR_OK);
    box_patience(b, 1);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(box_put(b, &row, 1, true, 1), ERR_STORE);
    assert_int_equal(box_get(b, &mem, S("a"), &v), ERR_NOTFOUND);      /* who reads waits for nobody */
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(box_put(b, &row, 1, true, 1), ERR_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    box_close(b);
}

enum { OPENERS = 6, NEW_FILES = 100 };

static void *open_it(void *said)
{
    struct box *b = NULL;
    if (box_open(path, &b, said) == ERR_OK)
        box_close(b);
    return b ? NULL : said;
}

static void a_new_one_may_be_opened_by_several_at_once(void **state)
{
    for (int i = 0; i < NEW_FILES; i++) {
        pthread_t thread[OPENERS];
        static char said[OPENERS][256];
        for (int k = 0; k < OPENERS; k++)
            assert_int_equal(pthread_create(&thread[k], NULL, open_it, said[k]), 0);
        for (int k = 0; k < OPENERS; k++) {
            void *why_not;
            assert_int_equal(pthread_join(thread[k], &why_not), 0);
            if (why_not)
                fail_msg("%s", (char *)why_not);
        }
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

/* Whether another process would find the file in use: a connection with a log holds a shared lock for as long as it is open. */
static bool is_locked(void)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000000, .l_len = 512 };      /* SQLite's lock bytes */
        int fd = open(path, O_RDWR | O_CLOEXEC);
        _exit(fd >= 0 && fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status) == 1;
}

static void its_lock_stays_whatever_others_of_this_process_do(void **state)
{
    (void)state;
    struct box *b, *other;
    assert_int_equal(box_open(path, &b, why), ERR_OK);
    assert_int_equal(box_put(b, (const struct box_row[]){ { S("a"), S("1") } }, 1, true, 1), ERR_OK);
    assert_true(is_locked());
    assert_int_equal(box_sync(b), ERR_OK);
    assert_true(is_locked());
    assert_int_equal(box_open(path, &other, why), ERR_OK);
    assert_int_equal(box_sync(other), ERR_OK);
    box_close(other);
    assert_true(is_locked());
    box_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_put_whole_and_listed_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_none_of_ours_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_one_may_be_opened_by_several_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(its_lock_stays_whatever_others_of_this_process_do, setup, teardown),
        cmocka_unit_test_setup_teardown(another_writer_is_waited_for_as_long_as_was_said, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
