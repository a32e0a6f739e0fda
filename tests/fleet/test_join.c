/* Split files of our own making, joined; and files that do not belong together. */
#include "fleet/join.h"

#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

enum { U16 = 2, U32 = 4, STRING = 8 };

static void number(struct buf *b, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(buf_putc(b, (char)(v >> 8 * i)), ERR_OK);
}

static void text(struct buf *b, const char *s)
{
    number(b, strlen(s), 8);
    assert_int_equal(buf_put(b, str_of(s)), ERR_OK);
}

static void key(struct buf *b, const char *name, uint32_t type, uint64_t value, size_t bytes)
{
    text(b, name);
    number(b, type, 4);
    number(b, value, bytes);
}

/* File `no` of `count`, with `tensors` F32 tensors of 3 elements, filled with their number; alignment 64 in the first. */
static int split_file(uint16_t no, uint16_t count, int tensors)
{
    struct buf b = { .max = 1 << 16 };
    uint64_t alignment = no == 0 ? 64 : 32;
    int fd = memfd_create("part", MFD_CLOEXEC);
    assert_int_equal(buf_put(&b, S("GGUF")), ERR_OK);
    number(&b, 3, 4);
    number(&b, (uint64_t)tensors, 8);
    number(&b, no == 0 ? 5 : 3, 8);
    if (no == 0) {
        text(&b, "general.architecture");
        number(&b, STRING, 4);
        text(&b, "llama");
    }
    key(&b, "split.no", U16, no, 2);
    key(&b, "split.count", U16, count, 2);
    key(&b, "split.tensors.count", U32, 5, 4);
    if (no == 0)
        key(&b, "general.alignment", U32, 64, 4);
    for (int i = 0; i < tensors; i++) {
        char name[24];
        snprintf(name, sizeof name, "t%d.%d", no, i);
        text(&b, name);
        number(&b, 1, 4);
        number(&b, 3, 8);
        number(&b, 0, 4);
        number(&b, (uint64_t)i * alignment, 8);
    }
    for (int i = 0; i < tensors; i++) {
        while (b.n % alignment)
            number(&b, 0, 1);
        for (int k = 0; k < 12; k++)
            number(&b, (uint64_t)(no * 10 + i + 1), 1);
    }
    assert_int_equal(write(fd, b.p, b.n), b.n);
    buf_free(&b);
    return fd;
}

static enum err keep(void *ctx, uint64_t at, str data)
{
    struct buf *b = ctx;
    assert_int_equal(at, b->n);         /* from the first byte to the last */
    return buf_put(b, data);
}

struct seen { struct buf names; uint64_t offsets[8]; int n; };

static void on_pair(void *ctx, str k, str whole)
{
    struct seen *s = ctx;
    (void)whole;
    (void)buf_printf(&s->names, "%.*s ", STR_ARG(k));
}

static void on_tensor(void *ctx, str whole, uint64_t offset, uint64_t bytes)
{
    struct seen *s = ctx;
    assert_int_equal(bytes, 12);
    (void)buf_printf(&s->names, "%.*s ", 4, whole.p + 8);
    s->offsets[s->n++] = offset;
}

static void files_become_one_with_all_keys_and_tensors_in_order(void **state)
{
    int fds[3] = { split_file(0, 3, 0), split_file(1, 3, 3), split_file(2, 3, 2) };     /* the first may be without tensors */
    struct buf whole = { .max = 1 << 16 };
    struct seen seen = { .names.max = 1000 };
    struct gguf_visitor v = { &seen, on_pair, on_tensor };
    struct gguf_facts f;
    struct join *j;
    const char *why = "";
    (void)state;
    assert_int_equal(join_plan(fds, 3, &j, &why), ERR_OK);
    assert_int_equal(join_write(j, keep, &whole), ERR_OK);
    assert_int_equal(join_size(j), whole.n);
    join_free(j);
    assert_int_equal(gguf_visit(buf_str(&whole), whole.n, &v, &f, &why), ERR_OK);
    assert_int_equal(f.split_count, 0);
    assert_int_equal(f.alignment, 64);
    assert_int_equal(f.n_tensors, 5);
    assert_true(str_eq(buf_str(&seen.names), S("general.architecture general.alignment t1.0 t1.1 t1.2 t2.0 t2.1 ")));
    static const char filled[] = { 11, 12, 13, 21, 22 };
    for (int i = 0; i < 5; i++) {
        assert_int_equal(seen.offsets[i], i * 64);
        for (int k = 0; k < 12; k++)
            assert_int_equal(whole.p[f.data_at + seen.offsets[i] + (uint64_t)k], filled[i]);
    }
    buf_free(&whole);
    buf_free(&seen.names);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void files_of_different_models_are_refused(void **state)
{
    static const struct { int no[2], count[2]; } bad[] = { { { 1, 0 }, { 2, 2 } }, { { 0, 0 }, { 2, 2 } }, { { 0, 1 }, { 2, 3 } }, { { 0, 1 }, { 3, 3 } } };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fds[2] = { split_file((uint16_t)bad[i].no[0], (uint16_t)bad[i].count[0], 1), split_file((uint16_t)bad[i].no[1], (uint16_t)bad[i].count[1], 1) };
        struct join *j;
        const char *why = NULL;
        assert_int_equal(join_plan(fds, 2, &j, &why), ERR_SYNTAX);
        assert_non_null(why);
        close(fds[0]);
        close(fds[1]);
    }
    int fds[2] = { split_file(0, 2, 1), memfd_create("empty", 0) };
    struct join *j;
    const char *why = NULL;
    assert_int_equal(join_plan(fds, 2, &j, &why), ERR_SYNTAX);
    join_free(NULL);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_become_one_with_all_keys_and_tensors_in_order),
        cmocka_unit_test(files_of_different_models_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
