/* A file on its way: any order, any stop, another version, wrong states; the bytes at the end are those that were sent. */
#include "fleet/part.h"

#include "core/rand.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { SIZE = (9 << 20) + 12345 };

struct world { char path[64]; int dir; char *data; struct digest digest; };

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct rng r = rand_seeded(7);
    snprintf(w->path, sizeof w->path, "/tmp/hearth-part-XXXXXX");
    if (!mkdtemp(w->path) || (w->dir = open(w->path, O_RDONLY | O_DIRECTORY)) < 0 || !(w->data = malloc(SIZE)))
        return -1;
    r.fill(&r, w->data, SIZE);
    w->digest = sha256_of(str_slice(w->data, SIZE));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    DIR *d = opendir(w->path);
    for (struct dirent *f; d && (f = readdir(d));)
        unlinkat(w->dir, f->d_name, 0);
    if (d)
        closedir(d);
    rmdir(w->path);
    close(w->dir);
    free(w->data);
    free(w);
    return 0;
}

static bool never(void *ctx)
{
    (void)ctx;
    fail_msg("nobody else has it");
    return false;
}

static struct part *open_part(struct world *w, uint64_t size, const struct digest *digest)
{
    struct part_wish wish = { .source = S("here"), .size = size, .digest = digest };
    struct part *p;
    char why[256] = "";
    if (part_open(w->dir, "m.gguf", &wish, never, NULL, &p, why) != ERR_OK)
        fail_msg("%s", why);
    return p;
}

/* Takes up to `most` bytes of the next range, as a server would send them. False: there is none. */
static bool feed(struct world *w, struct part *p, uint64_t most)
{
    uint64_t from, to;
    if (!part_next(p, &from, &to))
        return false;
    uint64_t n = to - from < most ? to - from : most;
    assert_int_equal(part_write(p, from, str_slice(w->data + from, n)), ERR_OK);
    part_put_back(p, from);
    return true;
}

static void assert_whole(struct world *w, struct part *p)
{
    struct digest d;
    struct stat st;
    assert_int_equal(part_digest(p, &d), ERR_OK);
    assert_true(digest_eq(&d, &w->digest));
    assert_int_equal(part_finish(p, false), ERR_OK);
    part_close(p);
    assert_int_equal(fstatat(w->dir, "m.gguf", &st, 0), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_int_equal(faccessat(w->dir, "m.gguf.part", F_OK, 0), -1);
    assert_int_equal(faccessat(w->dir, "m.gguf.part.json", F_OK, 0), -1);
}

static void ranges_in_any_order_and_over_many_lives_make_the_file(void **state)
{
    struct world *w = *state;
    struct rng r = rand_seeded(1);
    int lives = 0;
    for (bool more = true; more; lives++) {
        struct part *p = open_part(w, SIZE, &w->digest);
        assert_int_equal(part_begin(p, SIZE, S("whatever"), true), ERR_OK);
        uint64_t a = 0, a_to, b, b_to;
        bool one = part_next(p, &a, &a_to), two = one && part_next(p, &b, &b_to);
        if (two) {                      /* two ranges on their way at once; the later one comes first */
            uint64_t n = b_to - b < 1000 ? b_to - b : 1000;
            assert_true(b >= a_to);
            assert_int_equal(part_write(p, b, str_slice(w->data + b, n)), ERR_OK);
            assert_int_equal(part_write(p, b, str_slice(w->data + b, n)), ERR_AGAIN);       /* twice is not next */
            assert_int_equal(part_write(p, a + 1, str_slice(w->data + a + 1, 10)), ERR_AGAIN);
            assert_int_equal(part_write(p, SIZE, S("x")), ERR_AGAIN);
            part_put_back(p, b);
        }
        if (one)
            part_put_back(p, a);
        (void)part_hash(p, 4096);
        more = feed(w, p, 1 + rand_u64(&r) % (2 << 20));
        if (!more) {
            assert_whole(w, p);
            break;
        }
        part_close(p);                  /* a life ends; what has come is known to the next */
    }
    assert_true(lives > 5);
}

static void what_came_of_another_version_is_forgotten(void **state)
{
    struct world *w = *state;
    static const struct { const char *before, *after; bool kept; } all[] = { { "v1", "v1", true }, { "v1", "v2", false }, { "", "", false }, { "v1", "", false } };
    for (size_t i = 0; i < 4; i++) {
        struct part *p = open_part(w, 0, NULL);
        uint64_t from, to;
        assert_true(part_next(p, &from, &to) && from == 0 && to == PART_CHUNK);
        assert_int_equal(part_begin(p, SIZE, str_of(all[i].before), true), ERR_OK);
        assert_int_equal(part_write(p, 0, str_slice(w->data, 5000)), ERR_OK);
        part_put_back(p, 0);
        part_close(p);
        p = open_part(w, 0, NULL);
        assert_int_equal(part_come(p), 5000);
        assert_int_equal(part_begin(p, SIZE, str_of(all[i].after), true), ERR_OK);
        assert_int_equal(part_come(p), all[i].kept ? 5000 : 0);
        while (feed(w, p, UINT64_MAX))
            ;
        assert_whole(w, p);
        unlinkat(w->dir, "m.gguf", 0);
    }
}

static void without_ranges_it_begins_at_the_first_byte_each_time(void **state)
{
    struct world *w = *state;
    struct part *p = open_part(w, SIZE, &w->digest);
    uint64_t from, to;
    for (int i = 0; i < 2; i++) {
        assert_true(part_next(p, &from, &to));
        assert_int_equal(part_begin(p, SIZE, S(""), false), ERR_OK);
        assert_false(part_next(p, &from, &to));
        assert_int_equal(part_write(p, 0, str_slice(w->data, 1 << 20)), ERR_OK);
        (void)part_hash(p, SIZE_MAX);
        part_put_back(p, from);
    }
    assert_int_equal(part_write(p, 1 << 20, str_slice(w->data + (1 << 20), SIZE - (1 << 20))), ERR_OK);
    assert_false(part_next(p, &from, &to));
    assert_whole(w, p);
}

static void the_digest_is_of_what_lies_on_the_disk(void **state)
{
    struct world *w = *state;
    struct part *p = open_part(w, SIZE, &w->digest);
    struct digest d;
    assert_int_equal(part_digest(p, &d), ERR_CUT);
    while (feed(w, p, UINT64_MAX))
        ;
    assert_int_equal(pwrite(part_fd(p), "x", 1, SIZE - 5), 1);
    assert_int_equal(part_digest(p, &d), ERR_OK);
    assert_false(digest_eq(&d, &w->digest));
    part_drop(p);
    part_close(p);
    assert_int_equal(faccessat(w->dir, "m.gguf.part", F_OK, 0), -1);
}

static void a_name_that_is_taken_is_not_overwritten_unawares(void **state)
{
    struct world *w = *state;
    struct part *p = open_part(w, SIZE, &w->digest);
    while (feed(w, p, UINT64_MAX))
        ;
    int fd = openat(w->dir, "m.gguf", O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(part_finish(p, false), ERR_FORBIDDEN);
    assert_int_equal(part_finish(p, true), ERR_OK);
    part_close(p);
}

static bool give_up(void *ctx) { return ++*(int *)ctx < 2; }

static void only_one_has_it(void **state)
{
    struct world *w = *state;
    struct part *p = open_part(w, SIZE, &w->digest), *other;
    struct part_wish wish = { .source = S("here"), .size = SIZE };
    char why[256];
    int asked = 0;
    assert_int_equal(part_open(w->dir, "m.gguf", &wish, give_up, &asked, &other, why), ERR_CLIENT);
    assert_int_equal(asked, 2);
    part_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranges_in_any_order_and_over_many_lives_make_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_came_of_another_version_is_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_ranges_it_begins_at_the_first_byte_each_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_digest_is_of_what_lies_on_the_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_is_taken_is_not_overwritten_unawares, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_one_has_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
