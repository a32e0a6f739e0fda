/* GGUF headers: the corpus, every cut of a good file, every byte of it changed, and our table of types against ggml's. */
#include "core/gguf.h"

#include <dirent.h>
#include <ggml.h>
#include <llama.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define CORPUS "fuzz/corpus/gguf"

/* In memory of exactly the file's size, so that ASan sees one byte too many. */
static char *read_file(const char *name, size_t *n)
{
    char path[300], *p = malloc(1 << 16);
    snprintf(path, sizeof path, CORPUS "/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_non_null(p);
    *n = fread(p, 1, 1 << 16, f);
    fclose(f);
    char *exact = malloc(*n ? *n : 1);
    memcpy(exact, p, *n);
    free(p);
    return exact;
}

static void the_corpus_is_accepted_or_refused_as_its_names_say(void **state)
{
    (void)state;
    int accepted = 0, refused = 0;
    DIR *d = opendir(CORPUS);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        struct gguf_facts f;
        const char *why = NULL;
        size_t n;
        if (e->d_name[0] == '.' || strlen(e->d_name) == 40)     /* 40: what the fuzzer found, under its SHA-1 */
            continue;
        char *p = read_file(e->d_name, &n);
        enum err got = gguf_check(str_slice(p, n), &f, &why, NULL);
        bool valid = strncmp(e->d_name, "valid", 5) == 0;
        if ((got == ERR_OK) != valid)
            fail_msg("%s: %s", e->d_name, got == ERR_OK ? "accepted" : why);
        accepted += valid;
        refused += !valid;
        free(p);
    }
    closedir(d);
    assert_true(accepted >= 4 && refused >= 25);
}

static void facts_are_read(void **state)
{
    (void)state;
    struct gguf_facts f;
    const char *why;
    size_t n;
    char *p = read_file("valid", &n);
    assert_int_equal(gguf_check(str_slice(p, n), &f, &why, NULL), ERR_OK);
    assert_int_equal(f.version, 3);
    assert_int_equal(f.n_tensors, 2);
    assert_int_equal(f.tensors_of[GGML_TYPE_F32], 1);
    assert_int_equal(f.tensors_of[GGML_TYPE_Q4_1], 1);
    assert_true(str_eq(f.architecture, S("llama")));
    assert_true(str_eq(f.name, S("n")));
    assert_int_equal(f.data_bytes, 128 + 40);
    free(p);
    p = read_file("valid-split", &n);
    assert_int_equal(gguf_check(str_slice(p, n), &f, &why, NULL), ERR_OK);
    assert_int_equal(f.split_count, 2);
    free(p);
}

static void a_file_that_was_cut_anywhere_is_refused(void **state)
{
    (void)state;
    size_t n;
    char *p = read_file("valid-kinds", &n);
    for (size_t cut = 0; cut < n; cut++) {
        struct gguf_facts f;
        const char *why = NULL;
        char *part = malloc(cut ? cut : 1);
        memcpy(part, p, cut);
        assert_int_equal(gguf_check(str_slice(part, cut), &f, &why, NULL), ERR_SYNTAX);
        assert_non_null(why);
        free(part);
    }
    free(p);
}

static void any_changed_byte_is_survived(void **state)
{
    (void)state;
    size_t n, accepted = 0;
    char *p = read_file("valid-kinds", &n);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct gguf_facts f;
            const char *why = NULL;
            p[i] ^= (char)(1 << bit);
            enum err e = gguf_check(str_slice(p, n), &f, &why, NULL);
            accepted += e == ERR_OK;
            if (e == ERR_OK)
                assert_true(f.data_at <= n && f.data_bytes <= n - f.data_at);
            p[i] ^= (char)(1 << bit);
        }
    assert_true(accepted > 0);          /* bits of names and of data do not matter */
    free(p);
}

static void our_table_of_types_is_that_of_ggml(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < GGML_TYPE_COUNT; i++) {
        uint32_t elements = 0, bytes = 0;
        size_t size = ggml_type_size((enum ggml_type)i);
        bool known = gguf_type_block(i, &elements, &bytes);
        if (known != (size > 0) || (known && (elements != (uint32_t)ggml_blck_size((enum ggml_type)i) || bytes != size)))
            fail_msg("type %u (%s): ours %u/%u, ggml's %lld/%zu", i, ggml_type_name((enum ggml_type)i), elements, bytes,
                     (long long)ggml_blck_size((enum ggml_type)i), size);
    }
    uint32_t a, b;
    assert_false(gguf_type_block(GGML_TYPE_COUNT, &a, &b));
    assert_false(gguf_type_block(UINT32_MAX, &a, &b));
}

static void our_names_of_file_types_are_those_of_libllama(void **state)
{
#define T(name) { LLAMA_FTYPE_MOSTLY_##name, #name }
    static const struct { int type; const char *name; } all[] = {
        { LLAMA_FTYPE_ALL_F32, "F32" }, T(F16), T(Q4_0), T(Q4_1), T(Q8_0), T(Q5_0), T(Q5_1), T(Q2_K), T(Q3_K_S), T(Q3_K_M), T(Q3_K_L), T(Q4_K_S), T(Q4_K_M), T(Q5_K_S), T(Q5_K_M),
        T(Q6_K), T(IQ2_XXS), T(IQ2_XS), T(Q2_K_S), T(IQ3_XS), T(IQ3_XXS), T(IQ1_S), T(IQ4_NL), T(IQ3_S), T(IQ3_M), T(IQ2_S), T(IQ2_M), T(IQ4_XS), T(IQ1_M), T(BF16), T(TQ1_0), T(TQ2_0),
        T(MXFP4_MOE), T(NVFP4), T(Q1_0), T(Q2_0),
    };
#undef T
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_string_equal(gguf_file_type(all[i].type), all[i].name);
    /* One that libllama has learned and we have not is a label that is missing. */
    for (int i = 0, k = 0; i < 64; i++) {
        if (strstr(llama_ftype_name((enum llama_ftype)i), "unknown"))
            continue;
        assert_true(*gguf_file_type(i) != '\0');
        assert_true(++k <= (int)(sizeof all / sizeof *all));
    }
    assert_string_equal(gguf_file_type(-1), "");
    assert_string_equal(gguf_file_type(INT64_MAX), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_is_accepted_or_refused_as_its_names_say),
        cmocka_unit_test(facts_are_read),
        cmocka_unit_test(a_file_that_was_cut_anywhere_is_refused),
        cmocka_unit_test(any_changed_byte_is_survived),
        cmocka_unit_test(our_table_of_types_is_that_of_ggml),
        cmocka_unit_test(our_names_of_file_types_are_those_of_libllama),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
