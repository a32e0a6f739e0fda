/* Sources as people write them, listings and manifests as servers send them; and what is refused of both. */
#include "fleet/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define COUNT(t) (sizeof(t) / sizeof *(t))
#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* ---- sources ---- */

static const struct { const char *text; enum source_kind kind; const char *a, *b, *c; } good[] = {
    { "hf:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", SOURCE_HUB, "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "main", "" },
    { "org/repo", SOURCE_HUB, "org/repo", "main", "" },
    { "org/repo:Q4_K_M", SOURCE_HUB, "org/repo", "main", "Q4_K_M" },
    { "hf:org/repo@v1.0:sub/file-Q8_0.gguf", SOURCE_HUB, "org/repo", "v1.0", "sub/file-Q8_0.gguf" },
    { "ollama:qwen3", SOURCE_REGISTRY, "library", "qwen3", "latest" },
    { "ollama:qwen3:4b", SOURCE_REGISTRY, "library", "qwen3", "4b" },
    { "ollama:someone/x.y:1b-q4_K_M", SOURCE_REGISTRY, "someone", "x.y", "1b-q4_K_M" },
    { "ollama:hf.co/org/repo:Q4_K_M", SOURCE_REGISTRY, "org", "repo", "Q4_K_M" },
    { "https://example.com/a.gguf?x=1", SOURCE_URL, "https://example.com/a.gguf?x=1", NULL, NULL },
    { "file:a b", SOURCE_FILE, "a b", NULL, NULL },
    { "./x", SOURCE_FILE, "./x", NULL, NULL },
    { "models/x.gguf", SOURCE_FILE, "models/x.gguf", NULL, NULL },
    { "~/x.gguf", SOURCE_FILE, "~/x.gguf", NULL, NULL },
};

static void a_source_is_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct source s;
        const char *why;
        if (source_parse(str_of(good[i].text), &s, &why) != ERR_OK)
            fail_msg("%s: %s", good[i].text, why);
        const str got[3] = { s.kind == SOURCE_HUB ? s.repo : s.kind == SOURCE_REGISTRY ? s.space : s.path, s.kind == SOURCE_HUB ? s.revision : s.name, s.kind == SOURCE_HUB ? s.want : s.tag };
        const char *const want[3] = { good[i].a, good[i].b, good[i].c };
        assert_int_equal(s.kind, good[i].kind);
        for (int k = 0; k < 3 && want[k]; k++)
            if (!str_eq(got[k], str_of(want[k])))
                fail_msg("%s: part %d is \"%.*s\"", good[i].text, k, STR_ARG(got[k]));
    }
    struct source s;
    const char *why;
    assert_int_equal(source_parse(S("ollama:hf.co/org/repo"), &s, &why), ERR_OK);
    assert_true(str_eq(s.host, S("hf.co")));
}

static void a_source_that_is_not_one_is_refused_with_a_sentence(void **state)
{
    static const char *const bad[] = { "", "x", "qwen3:4b", "hf:", "hf:org", "hf:org/", "hf:/repo", "hf:../x", "hf:org/..", "hf:org/repo/x", "hf:org/repo:../x.gguf", "hf:org/repo:/x.gguf", "hf:org/repo:a//x.gguf",
                                       "hf:org/repo:a\\x.gguf", "hf:org/repo@:x.gguf", "hf:org/repo@a/b", "hf:org/re po", "hf:o--g/repo", "hf:org/repo.git", "ollama:", "ollama:/x", "ollama:../x", "ollama:a/b/c/d",
                                       "ollama:x:", "ollama:x:..", "ollama:.x", "ollama:x y", "file:", "line\nbreak" };
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct source s = { .kind = SOURCE_URL };
        const char *why = NULL;
        if (source_parse(str_of(bad[i]), &s, &why) != ERR_SYNTAX || !why || !*why)
            fail_msg("\"%s\" was taken", bad[i]);
    }
    struct source s;
    const char *why;
    assert_int_equal(source_parse(str_slice("hf:a/b\0c", 8), &s, &why), ERR_SYNTAX);
}

/* ---- names ---- */

static void names_that_become_paths_are_plain(void **state)
{
    static const struct { const char *path, *name; } files[] = {
        { "a/b/m-Q4_K_M.gguf", "m-Q4_K_M.gguf" }, { "x y(1).gguf", "x-y-1-.gguf" }, { ".hidden.gguf", "_hidden.gguf" }, { "-rf.gguf", "_rf.gguf" }, { "a/", NULL }, { "", NULL },
    };
    char out[SOURCE_NAME + 1];
    struct buf b = { .max = 64 };
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        bool ok = source_file_name(str_of(files[i].path), out);
        assert_int_equal(ok, files[i].name != NULL);
        if (ok)
            assert_string_equal(out, files[i].name);
        assert_true(!ok || source_is_part(str_of(out)));
    }
    assert_false(source_is_part(S("..")) || source_is_part(S("a/b")) || source_is_part(S("")) || source_is_part(S("a b")) || source_is_part(str_slice("a\0b", 3)));
    assert_true(source_is_client_name(S("hf:org/repo:m.q4-k-m")) && source_is_client_name(S("qwen3:4b")));
    assert_false(source_is_client_name(S("auto")) || source_is_client_name(S("task/x")) || source_is_client_name(S("")) || source_is_client_name(S("a b")));
    assert_int_equal(source_model_name(&b, S("SmolLM2-135M.Q4_K_M")), ERR_OK);
    assert_true(str_eq(buf_str(&b), S("smollm2-135m.q4-k-m")));
    buf_free(&b);
}

static void digests_are_64_digits_and_nothing_else(void **state)
{
    struct digest d;
    (void)state;
    assert_true(source_digest(S("sha256:" HEX64), &d) && source_digest(S("sha256-" HEX64), &d) && source_digest(S(HEX64), &d));
    assert_int_equal(d.b[1], 0x11);
    assert_false(source_digest(S("md5:" HEX64), &d) || source_digest(S(HEX64 "0"), &d) || source_digest(S("sha256:../../../etc"), &d) || source_digest(S(""), &d));
}

static void addresses_are_escaped(void **state)
{
    struct source s;
    const char *why;
    struct buf b = { .max = 4096 };
    (void)state;
    assert_int_equal(source_parse(S("org/repo@v1"), &s, &why), ERR_OK);
    assert_int_equal(source_hub_file_url(&b, S("https://hub/mirror//"), &s, S("a b/ü?#%.gguf")), ERR_OK);
    assert_true(str_eq(buf_str(&b), S("https://hub/mirror/org/repo/resolve/v1/a%20b/%C3%BC%3F%23%25.gguf")));
    buf_clear(&b);
    assert_int_equal(source_hub_list_url(&b, S("https://hub"), &s), ERR_OK);
    assert_true(str_eq(buf_str(&b), S("https://hub/api/models/org/repo/tree/v1?recursive=true")));
    buf_clear(&b);
    assert_int_equal(source_registry_name(&b, S("Registry.Ollama.ai"), S("library"), S("q"), S("t")), ERR_OK);
    assert_true(str_eq(buf_str(&b), S("q:t")));
    buf_clear(&b);
    assert_int_equal(source_registry_name(&b, S("hf.co"), S("o"), S("q"), S("t")), ERR_OK);
    assert_true(str_eq(buf_str(&b), S("hf.co/o/q:t")));
    buf_free(&b);
}

/* ---- listings ---- */

#define FILE_ENTRY(path) "{\"type\":\"file\",\"path\":\"" path "\",\"size\":7,\"lfs\":{\"oid\":\"" HEX64 "\",\"size\":1000}}"

static void a_listing_gives_the_files_that_can_be_used(void **state)
{
    struct arena a;
    struct source_list l = { .n = 0 };
    (void)state;
    arena_init(&a, 1 << 20);
    assert_int_equal(source_add_page(&a, S("[" FILE_ENTRY("m.gguf") ",{\"type\":\"file\",\"path\":\"README.md\",\"size\":3},{\"type\":\"directory\",\"path\":\"x.gguf\"},"
                                           FILE_ENTRY("../m.gguf") "," FILE_ENTRY("/m.gguf") "," FILE_ENTRY("a\\u0000.gguf") "," FILE_ENTRY("a/./m.gguf") ","
                                           "{\"type\":\"file\",\"path\":\"plain.GGUF\",\"size\":12},{\"type\":\"file\",\"path\":\"zero.gguf\",\"size\":0},7,null]"), &l), ERR_OK);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.left_out, 5);
    assert_true(str_eq(l.v[0].path, S("m.gguf")) && l.v[0].size == 1000 && l.v[0].has_digest && l.v[0].digest.b[2] == 0x22);
    assert_true(str_eq(l.v[1].path, S("plain.GGUF")) && l.v[1].size == 12 && !l.v[1].has_digest);
    assert_int_equal(source_add_page(&a, S("[" FILE_ENTRY("second.gguf") "]"), &l), ERR_OK);
    assert_int_equal(l.n, 3);
    assert_int_equal(source_add_page(&a, S("{}"), &l), ERR_UPSTREAM);
    assert_int_equal(source_add_page(&a, S("[1,"), &l), ERR_UPSTREAM);
    arena_free(&a);
}

static const struct { const char *files, *want, *found; enum err err; } choices[] = {
    { "a-Q4_K_M.gguf b-Q8_0.gguf", "", "a-Q4_K_M.gguf", ERR_OK },
    { "a-Q2_K.gguf b-Q8_0.gguf", "", "b-Q8_0.gguf", ERR_OK },
    { "only.gguf", "", "only.gguf", ERR_OK },
    { "one.gguf two.gguf", "", NULL, ERR_RANGE },
    { "a-IQ4_XS.gguf a-Q4_XS.gguf", "q4_xs", "a-Q4_XS.gguf", ERR_OK },
    { "a-Q4_K_M.gguf a-Q4_K_M_L.gguf", "Q4_K_M", "a-Q4_K_M.gguf", ERR_OK },
    { "UD/a-UD-Q4_K_XL.gguf", "Q4_K_XL", "UD/a-UD-Q4_K_XL.gguf", ERR_OK },
    { "Q4_K_M/a.gguf Q8_0/a.gguf", "Q8_0", "Q8_0/a.gguf", ERR_OK },
    { "mmproj-Q8_0.gguf a-Q8_0.gguf", "Q8_0", "a-Q8_0.gguf", ERR_OK },
    { "mmproj-F16.gguf", "", NULL, ERR_NOTFOUND },
    { "a-Q8_0.gguf b-Q8_0.gguf", "Q8_0", NULL, ERR_RANGE },
    { "a-Q8_0.gguf", "Q4_0", NULL, ERR_NOTFOUND },
    { "x/a.gguf y/a.gguf", "x/a.gguf", "x/a.gguf", ERR_OK },
    { "x/a.gguf y/a.gguf", "a.gguf", NULL, ERR_RANGE },
    { "x/a.gguf", "A.gguf", "x/a.gguf", ERR_OK },
    { "a-Q8_0-00002-of-00002.gguf a-Q8_0-00001-of-00002.gguf", "Q8_0", "a-Q8_0-00001-of-00002.gguf a-Q8_0-00002-of-00002.gguf", ERR_OK },
    { "a-00001-of-00003.gguf a-00003-of-00003.gguf b-00002-of-00003.gguf", "", NULL, ERR_NOTFOUND },
    { "a-00001-of-00002.gguf a-00001-of-00002.gguf", "", NULL, ERR_RANGE },
    { "a-00001-of-99999.gguf", "", NULL, ERR_LIMIT },
    { "", "", NULL, ERR_NOTFOUND },
};

static void the_right_file_is_chosen_or_what_there_is_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(choices); i++) {
        struct arena a;
        struct buf json = { .max = 1 << 16 }, why = { .max = 1000 }, found = { .max = 1000 };
        struct source_list l = { .n = 0 };
        const struct source_file *files;
        size_t n;
        str rest = str_of(choices[i].files), one;
        arena_init(&a, 1 << 20);
        (void)buf_putc(&json, '[');
        while (rest.n) {
            str_cut(rest, ' ', &one, &rest);
            (void)buf_printf(&json, "%s{\"type\":\"file\",\"path\":\"%.*s\",\"size\":5}", json.n > 1 ? "," : "", STR_ARG(one));
        }
        (void)buf_putc(&json, ']');
        assert_int_equal(source_add_page(&a, buf_str(&json), &l), ERR_OK);
        enum err e = source_choose(&a, &l, str_of(choices[i].want), &files, &n, &why);
        if (e != choices[i].err)
            fail_msg("%s, %s: %s (%.*s)", choices[i].files, choices[i].want, err_name(e), STR_ARG(buf_str(&why)));
        assert_true(e == ERR_OK || why.n > 0);
        for (size_t k = 0; e == ERR_OK && k < n; k++)
            (void)buf_printf(&found, "%s%.*s", k ? " " : "", STR_ARG(files[k].path));
        if (e == ERR_OK && !str_eq(buf_str(&found), str_of(choices[i].found)))
            fail_msg("%s, %s: %.*s", choices[i].files, choices[i].want, STR_ARG(buf_str(&found)));
        buf_free(&json), buf_free(&why), buf_free(&found);
        arena_free(&a);
    }
}

/* ---- manifests ---- */

#define LAYER(kind, digest, size) "{\"mediaType\":\"application/vnd.ollama.image." kind "\",\"digest\":\"" digest "\",\"size\":" size "}"

static void a_manifest_names_its_layers(void **state)
{
    static const char *const bad[] = { "", "{}", "[]", "{\"layers\":{}}", "{\"layers\":[]}", "{\"layers\":[" LAYER("template", "sha256:" HEX64, "5") "]}", "{\"layers\":[" LAYER("model", HEX64, "5") "]}",
                                       "{\"layers\":[" LAYER("model", "sha256:..", "5") "]}", "{\"layers\":[" LAYER("model", "sha256:" HEX64, "0") "]}", "{\"layers\":[" LAYER("model", "sha256:" HEX64, "1.5") "]}",
                                       "{\"layers\":[" LAYER("model", "sha256:" HEX64, "5") "," LAYER("model", "sha256:" HEX64, "5") "]}" };
    struct arena a;
    struct source_manifest m;
    const char *why;
    (void)state;
    arena_init(&a, 1 << 20);
    assert_int_equal(source_manifest(&a, S("{\"schemaVersion\":2,\"config\":{},\"layers\":[" LAYER("model", "sha256:" HEX64, "5") "," LAYER("license", "x", "-1") "," LAYER("params", "sha256:" HEX64, "9") "]}"), &m, &why), ERR_OK);
    assert_true(m.layers[LAYER_MODEL].there && m.layers[LAYER_MODEL].size == 5 && m.layers[LAYER_PARAMS].size == 9 && !m.layers[LAYER_TEMPLATE].there);
    for (size_t i = 0; i < COUNT(bad); i++) {
        why = NULL;
        if (source_manifest(&a, str_of(bad[i]), &m, &why) != ERR_UPSTREAM || !why)
            fail_msg("%s was taken", bad[i]);
    }
    arena_free(&a);
}

static void a_template_shows_its_family_or_none(void **state)
{
    static const struct { const char *text, *family; } all[] = {
        { "{{ .System }}<|im_start|>user<|im_end|>", "chatml" }, { "<|start_header_id|>user<|end_header_id|><|eot_id|>", "llama3" }, { "<start_of_turn>user<end_of_turn>", "gemma" },
        { "<|im_start|>user<|im_sep|><|im_end|>", "phi4" }, { "[INST] {{ .Prompt }} [/INST]", NULL }, { "{{ .Prompt }}", NULL }, { "", NULL },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(all); i++) {
        const char *f = source_template_family(str_of(all[i].text));
        assert_true(all[i].family ? f && strcmp(f, all[i].family) == 0 : !f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_is_taken_apart),
        cmocka_unit_test(a_source_that_is_not_one_is_refused_with_a_sentence),
        cmocka_unit_test(names_that_become_paths_are_plain),
        cmocka_unit_test(digests_are_64_digits_and_nothing_else),
        cmocka_unit_test(addresses_are_escaped),
        cmocka_unit_test(a_listing_gives_the_files_that_can_be_used),
        cmocka_unit_test(the_right_file_is_chosen_or_what_there_is_is_named),
        cmocka_unit_test(a_manifest_names_its_layers),
        cmocka_unit_test(a_template_shows_its_family_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
