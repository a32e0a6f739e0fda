/* Digests of files: taken once, remembered for this very file alone. */
#include "fleet/fleet.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void a_digest_is_remembered_until_the_file_changes(void **state)
{
    char file[] = "/tmp/hearth-digest-XXXXXX", cache[64];
    struct digest d, noted = { { 7 } };
    bool cached;
    (void)state;
    int fd = mkstemp(file);
    snprintf(cache, sizeof cache, "%s.cache", file);
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(fleet_digest_file(fd, cache, &d, &cached), ERR_OK);
    struct digest want = sha256_of(S("hello"));
    assert_true(!cached && digest_eq(&d, &want));
    assert_int_equal(fleet_digest_file(fd, cache, &d, &cached), ERR_OK);
    assert_true(cached && digest_eq(&d, &want));
    assert_int_equal(pwrite(fd, "jello", 5, 0), 5);
    /* One that was taken elsewhere counts as if it had been taken here, for this version of the file. */
    fleet_digest_note(fd, cache, &noted);
    fleet_digest_note(fd, cache, &noted);
    assert_int_equal(fleet_digest_file(fd, cache, &d, &cached), ERR_OK);
    assert_true(cached && digest_eq(&d, &noted));
    usleep(20000);                      /* the clock of the file system has to move on */
    assert_int_equal(pwrite(fd, "hello", 5, 0), 5);
    assert_int_equal(fleet_digest_file(fd, cache, &d, &cached), ERR_OK);
    assert_true(!cached && digest_eq(&d, &want));
    close(fd);
    unlink(file);
    unlink(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_digest_is_remembered_until_the_file_changes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
