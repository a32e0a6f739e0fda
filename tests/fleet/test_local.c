/* Stores of five kinds, made here, with what is odd in them; and records. */
#include "fleet/local.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define COUNT(t) (sizeof(t) / sizeof *(t))
#define BLOB  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TEXT  "aa112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char root[64];

static void put(const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *c = whole + strlen(root) + 1; *c; c++)
        if (*c == '/') {
            *c = '\0';
            mkdir(whole, 0700);
            *c = '/';
        }
    FILE *f = fopen(whole, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void link_to(const char *target, const char *path)
{
    char whole[512];
    put(path, "");
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    assert_int_equal(unlink(whole), 0);
    assert_int_equal(symlink(target, whole), 0);
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *f)
{
    (void)st, (void)what, (void)f;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hearth-local-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "name@digest's first byte or -:files" of everything in one store, by name. */
static void found_in(struct arena *a, enum local_store store, const char *folder, struct buf *out)
{
    struct local_place place = { store, arena_printf(a, "%s/%s", root, folder) };
    struct local_model *m;
    size_t n;
    assert_int_equal(local_find(a, &place, 1, &m, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        assert_true(m[i].path.p[m[i].path.n] == '\0' && access(m[i].path.p, R_OK) == 0);
        (void)buf_printf(out, "%s%.*s", i ? " " : "", STR_ARG(m[i].name));
        if (m[i].has_digest)
            (void)buf_printf(out, "@%02x", m[i].digest.b[0]);
        if (m[i].files > 1)
            (void)buf_printf(out, "*%u", m[i].files);
        if (m[i].family.n)
            (void)buf_printf(out, "~%.*s", STR_ARG(m[i].family));
    }
}

static void assert_found(enum local_store store, const char *folder, const char *want)
{
    struct arena a;
    struct buf b = { .max = 65536 };
    arena_init(&a, 16 << 20);
    found_in(&a, store, folder, &b);
    if (!str_eq(buf_str(&b), str_of(want)))
        fail_msg("found %.*s, not %s", STR_ARG(buf_str(&b)), want);
    buf_free(&b);
    arena_free(&a);
}

static void hearths_own_folder_is_flat_and_names_are_files_or_records(void **state)
{
    (void)state;
    put("own/Tiny_Q4.gguf", "x");
    put("own/tiny-q4.gguf", "yy");                  /* the same name once it is tamed */
    put("own/a.gguf", "12345");
    put("own/a.gguf.json", "{\"size\":5,\"sha256\":\"" BLOB "\",\"name\":\"qwen3:4b\",\"source\":\"ollama:qwen3:4b\"}");
    put("own/b.gguf", "12345");
    put("own/b.gguf.json", "{\"size\":6,\"sha256\":\"" BLOB "\",\"name\":\"of another file\"}");
    put("own/c.gguf", "1");
    put("own/c.gguf.json", "{\"size\":1,\"sha256\":\"" BLOB "\",\"name\":\"../../etc\"}");
    put("own/d.gguf.part", "1");
    put("own/mmproj-x.gguf", "1");
    put("own/.hidden.gguf", "1");
    put("own/sub/e.gguf", "1");
    put("own/s-00001-of-00002.gguf", "1");
    put("own/s-00002-of-00002.gguf", "1");
    put("own/t-00001-of-00002.gguf", "1");          /* not whole */
    link_to("/dev/zero", "own/device.gguf");
    link_to("nowhere", "own/dangling.gguf");
    assert_found(LOCAL_HEARTH, "own", "b c@00 qwen3:4b@00 s*2 tiny-q4 tiny-q4-2");
    assert_found(LOCAL_HEARTH, "absent", "");
}

#define MANIFEST(digest, more) "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" digest "\",\"size\":5}" more "]}"

static void ollamas_store_is_read_by_its_manifests(void **state)
{
    (void)state;
    put("o/blobs/sha256-" BLOB, "weights");
    put("o/blobs/sha256-" TEXT, "<|im_start|><|im_end|>");
    put("o/manifests/registry.ollama.ai/library/qwen3/4b", MANIFEST(BLOB, ",{\"mediaType\":\"application/vnd.ollama.image.template\",\"digest\":\"sha256:" TEXT "\",\"size\":5}"));
    put("o/manifests/registry.ollama.ai/someone/x/latest", MANIFEST(BLOB, ""));
    put("o/manifests/hf.co/org/repo/Q4_K_M", MANIFEST(BLOB, ""));
    put("o/manifests/registry.ollama.ai/library/gone/latest", MANIFEST(OTHER, ""));
    put("o/manifests/registry.ollama.ai/library/odd/latest", MANIFEST("../../../../etc/passwd", ""));
    put("o/manifests/registry.ollama.ai/library/cloud/latest", "{\"layers\":[]}");
    put("o/manifests/registry.ollama.ai/library/broken/latest", "{");
    put("o/manifests/registry.ollama.ai/library/-x/latest", MANIFEST(BLOB, ""));
    put("o/manifests/too/flat", MANIFEST(BLOB, ""));
    put("elsewhere/library/linked/latest", MANIFEST(BLOB, ""));
    char target[128];
    snprintf(target, sizeof target, "%s/elsewhere", root);
    link_to(target, "o/manifests/linked");
    assert_found(LOCAL_OLLAMA, "o", "ollama:hf.co/org/repo:q4-k-m@00 ollama:qwen3:4b@00 ollama:someone/x:latest@00");
}

static void a_hubs_cache_is_read_by_its_snapshots(void **state)
{
    (void)state;
    put("h/models--org--repo/blobs/" BLOB, "x");
    put("h/models--org--repo/refs/main", "bbb\n");
    link_to("../../blobs/" BLOB, "h/models--org--repo/snapshots/aaa/old.gguf");
    link_to("../../blobs/" BLOB, "h/models--org--repo/snapshots/bbb/M-Q4.gguf");
    link_to("../../../blobs/" BLOB, "h/models--org--repo/snapshots/bbb/sub/N.gguf");
    link_to("/etc/passwd", "h/models--org--repo/snapshots/bbb/evil.gguf");
    link_to("../../../../outside.gguf", "h/models--org--repo/snapshots/bbb/out.gguf");
    put("outside.gguf", "x");
    put("h/models--org--plain/snapshots/ccc/p.gguf", "x");      /* a cache without links */
    put("h/models--..--evil/snapshots/ccc/p.gguf", "x");
    put("h/datasets--org--data/snapshots/ccc/p.gguf", "x");
    assert_found(LOCAL_HF, "h", "hf:org/plain:p hf:org/repo:m-q4@00 hf:org/repo:n@00");
}

static void other_folders_are_walked_so_deep_and_no_deeper(void **state)
{
    (void)state;
    put("l/publisher/repo/m.gguf", "x");
    put("l/top.gguf", "x");
    put("l/1/2/3/4/5/6/7/8/deep.gguf", "x");
    char target[128];
    snprintf(target, sizeof target, "%s/l", root);
    link_to(target, "l/loop");
    assert_found(LOCAL_LMSTUDIO, "l", "lmstudio:publisher/repo/m lmstudio:top");
    put("c/org_repo_m-Q8_0.gguf", "x");
    put("c/a/b/m.gguf", "x");
    assert_found(LOCAL_LLAMACPP, "c", "llamacpp:org-repo-m-q8-0");
}

static void a_walk_has_an_end(void **state)
{
    struct arena a;
    struct local_model *m;
    size_t n;
    char name[64];
    (void)state;
    for (int i = 0; i < LOCAL_MODELS + 50; i++) {
        snprintf(name, sizeof name, "many/m%05d.gguf", i);
        put(name, "x");
    }
    arena_init(&a, 16 << 20);
    struct local_place place = { LOCAL_HEARTH, arena_printf(&a, "%s/many", root) };
    assert_int_equal(local_find(&a, &place, 1, &m, &n), ERR_OK);
    assert_int_equal(n, LOCAL_MODELS);
    arena_free(&a);
    arena_init(&a, 600 << 10);          /* and less memory is an error, not a crash */
    place.folder = arena_printf(&a, "%s/many", root);
    enum err e = local_find(&a, &place, 1, &m, &n);
    assert_true(e == ERR_OK || e == ERR_LIMIT);
    arena_free(&a);
}

static const char *var(void *ctx, const char *name)
{
    const char *const *v = ctx;
    for (; v[0]; v += 2)
        if (strcmp(v[0], name) == 0)
            return v[1];
    return NULL;
}

static void places_follow_the_environment(void **state)
{
    static const char *const home[] = { "HOME", "/h", NULL };
    static const char *const set[] = { "HOME", "/h", "OLLAMA_MODELS", "/o", "HF_HOME", "/x", "LLAMA_CACHE", "relative", NULL };
    static const struct { const char *const *env, *want; } all[] = {
        { home, "hearth=/own ollama=/h/.ollama/models ollama=/usr/share/ollama/.ollama/models hf=/h/.cache/huggingface/hub lmstudio=/h/.lmstudio/models lmstudio=/h/.cache/lm-studio/models llamacpp=/h/.cache/llama.cpp " },
        { set, "hearth=/own ollama=/o hf=/x/hub lmstudio=/h/.lmstudio/models lmstudio=/h/.cache/lm-studio/models llamacpp=/h/.cache/llama.cpp " },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(all); i++) {
        struct arena a;
        struct local_place *p;
        struct buf b = { .max = 4096 };
        size_t n;
        str own = S("/own");
        arena_init(&a, 1 << 20);
        assert_int_equal(local_places(&a, &own, 1, var, (void *)(uintptr_t)all[i].env, &p, &n), ERR_OK);
        for (size_t k = 0; k < n; k++)
            (void)buf_printf(&b, "%s=%.*s ", local_store_name(p[k].store), STR_ARG(p[k].folder));
        if (!str_eq(buf_str(&b), str_of(all[i].want)))
            fail_msg("%.*s", STR_ARG(buf_str(&b)));
        buf_free(&b);
        arena_free(&a);
    }
}

static void a_record_reads_back_as_it_was_written(void **state)
{
    struct arena a;
    struct buf b = { .max = 1 << 16 };
    struct local_record r = { .name = S("q:4b"), .source = S("ollama:q:4b"), .template = S("<|im_start|>\n\"x\""), .params = S("{\"stop\":[]}"), .announced = true, .size = 12, .pulled_us = 34 }, back;
    (void)state;
    r.digest.b[31] = 9;
    local_record_write(&b, &r);
    (void)buf_putc(&b, '\0');
    put("m.gguf.json", b.p);
    int dir = open(root, O_RDONLY | O_DIRECTORY);
    arena_init(&a, 1 << 20);
    assert_int_equal(local_record_read(&a, dir, "m.gguf", &back), ERR_OK);
    assert_true(str_eq(back.name, r.name) && str_eq(back.source, r.source) && str_eq(back.template, r.template) && str_eq(back.params, r.params) && back.system.n == 0);
    assert_true(digest_eq(&back.digest, &r.digest) && back.announced && back.size == 12 && back.pulled_us == 34);
    assert_int_equal(local_record_read(&a, dir, "n.gguf", &back), ERR_NOTFOUND);
    put("n.gguf.json", "{\"size\":0}");
    assert_int_equal(local_record_read(&a, dir, "n.gguf", &back), ERR_SYNTAX);
    link_to("/etc/passwd", "o.gguf.json");
    assert_int_equal(local_record_read(&a, dir, "o.gguf", &back), ERR_NOTFOUND);
    close(dir);
    buf_free(&b);
    arena_free(&a);
}

static void heads_are_read_in_pieces_or_refused(void **state)
{
    struct buf head = { .max = GGUF_HEAD_MAX };
    struct gguf_facts f;
    const char *why = NULL;
    char path[128];
    (void)state;
    int fd = open("fuzz/corpus/gguf/valid", O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(local_read_head(fd, &head, &f, &why), ERR_OK);
    assert_true(str_eq(f.architecture, S("llama")));
    close(fd);
    /* A header of 100 KiB, more than the first piece: one long string, and no tensors. */
    snprintf(path, sizeof path, "%s/long.gguf", root);
    FILE *x = fopen(path, "wb");
    static const char start[] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\x8\0\0\0";
    fwrite(start, 1, sizeof start - 1, x);
    fwrite("\0\220\1\0\0\0\0\0", 1, 8, x);
    for (int i = 0; i < 102400; i++)
        fputc('x', x);
    fclose(x);
    fd = open(path, O_RDONLY);
    assert_int_equal(local_read_head(fd, &head, &f, &why), ERR_SYNTAX);
    assert_string_equal(why, "general.architecture is missing");
    close(fd);
    fd = open("/dev/zero", O_RDONLY);
    assert_int_equal(local_read_head(fd, &head, &f, &why), ERR_IO);
    close(fd);
    buf_free(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hearths_own_folder_is_flat_and_names_are_files_or_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ollamas_store_is_read_by_its_manifests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hubs_cache_is_read_by_its_snapshots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_folders_are_walked_so_deep_and_no_deeper, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_walk_has_an_end, set_up, tear_down),
        cmocka_unit_test(places_follow_the_environment),
        cmocka_unit_test_setup_teardown(a_record_reads_back_as_it_was_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(heads_are_read_in_pieces_or_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
