/* What the guard adds to a call, by CPU time: a body of 8 KB (or a given size) with N values, as a conversation that comes again and again.
 *
 *   mask_raw [KB [VALUES]]      scan: walking and finding; mask: vault and writing; restore: the masked body, in pieces of 12 bytes; a line each */
#include "guard/mask.h"
#include "ledger/box.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(enum err e, const char *what)
{
    if (e) {
        fprintf(stderr, "error: %s: %s\n", what, err_text(e));
        exit(1);
    }
}

static struct arena rows_mem;
static enum err get(void *b, struct arena *a, str name, str *value) { return box_get(b, a, name, value); }
static enum err put(void *b, const struct vault_row *rows, size_t n, bool fresh, int64_t at_us)
{
    struct box_row *r = arena_new(&rows_mem, struct box_row, n);
    for (size_t i = 0; r && i < n; i++)
        r[i] = (struct box_row){ rows[i].name, rows[i].value };
    enum err e = r ? box_put(b, r, n, fresh, at_us) : ERR_LIMIT;
    arena_reset(&rows_mem);
    return e;
}
static enum err find(void *f, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(f, a, text, out, n); }

/* Messages of source-like text, with addresses of mail spread over them. */
static str make_body(struct arena *a, size_t bytes, int values)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    must(buf_put(&b, S("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"")), "body");
    for (int i = 0, v = 0; b.n < bytes; i++) {
        must(buf_printf(&b, "    if (row[%d].count > limit) return parse_value(ctx, &row[%d], \\\"field\\\");\\n", i, i), "body");
        if (v < values && b.n * (size_t)values > bytes * (size_t)v)
            must(buf_printf(&b, "# ask maria.keller%d@posteo.de about this\\n", v++), "body");
    }
    must(buf_put(&b, S("\"}]}")), "body");
    str s = arena_str(a, buf_str(&b));
    buf_free(&b);
    return s;
}

struct times { double scan, mask, restore; };

static void one_call(const struct guard_search *search, struct vault *vault, struct arena *a, str body, struct times *t)
{
    const struct guard_policy p = guard_policy_join(NULL, 0);
    struct guard_verdict v;
    struct restore_set set = { 0 };
    struct mask_report report;
    struct restorer r;
    struct buf out, back;
    buf_init(&out, 64 << 20);
    buf_init(&back, 64 << 20);
    double at = seconds();
    must(guard_scan(a, search, body, NULL, &v), "scan");
    t->scan += seconds() - at;
    at = seconds();
    must(guard_mask(a, vault, &p, &(struct mask_job){ 0 }, &v, &set, &out, &report), "mask");
    t->mask += seconds() - at;
    at = seconds();
    restorer_init(&r, &set);
    for (str rest = buf_str(&out); rest.n; rest = str_skip(rest, 12))
        must(restorer_feed(&r, (str){ rest.p, rest.n < 12 ? rest.n : 12 }, false, &back), "restore");
    must(restorer_feed(&r, STR_NONE, true, &back), "restore");
    t->restore += seconds() - at;
    if (!str_eq(buf_str(&back), body))
        must(ERR_INTERNAL, "the body did not come back");
    restorer_free(&r);
    buf_free(&out);
    buf_free(&back);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/hearth-mask-XXXXXX", path[64], why[256] = "";
    struct arena a, keep;
    struct guard_finder *f;
    struct vault *vault;
    struct box *box;
    struct times t = { 0 };
    const struct seal_key key = { { 1 } };
    arena_init(&a, 512 << 20);
    arena_init(&keep, 512 << 20);
    arena_init(&rows_mem, 1 << 20);
    size_t kb = argc > 1 ? strtoul(argv[1], NULL, 10) : 8;
    str body = make_body(&keep, kb << 10, argc > 2 ? (int)strtol(argv[2], NULL, 10) : 10);
    must(mkdtemp(dir) ? ERR_OK : ERR_IO, dir);
    snprintf(path, sizeof path, "%s/guard.db", dir);
    must(box_open(path, &box, why), why);
    const struct vault_store store = { .ctx = box, .get = get, .put = put };
    must(vault_open(&keep, &store, &key, 1, &vault), "vault");
    must(guard_finder_new(NULL, &f), "finder");
    const struct guard_search search = { .find = find, .ctx = f, .vault = vault };
    one_call(&search, vault, &a, body, &(struct times){ 0 });     /* the first turn puts the values into the vault */
    int calls = (int)(20000 / (kb + 1)) + 1;
    for (int i = 0; i < calls; i++) {
        arena_reset(&a);
        one_call(&search, vault, &a, body, &t);
    }
    printf("body %zu bytes, %d calls\nscan    %8.1f us\nmask    %8.1f us\nrestore %8.1f us, %.0f MB/s\n", body.n, calls, t.scan / calls * 1e6, t.mask / calls * 1e6, t.restore / calls * 1e6,
           (double)body.n * calls / t.restore / 1e6);
    guard_finder_free(f);
    vault_close(vault);
    box_close(box);
    static const char *const ends[] = { "", "-wal", "-shm" };
    for (int i = 0; i < 3; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        (void)remove(name);
    }
    return rmdir(dir) ? 1 : 0;
}
