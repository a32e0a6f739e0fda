/* What a GGUF says of itself, from as many of its first bytes as are at hand. */
#include "core/gguf.h"

#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { U32 = 4, I32 = 5, STRING = 8, ARRAY = 9 };

static void number(struct buf *b, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(buf_putc(b, i < 8 ? (char)(v >> 8 * i) : 0), ERR_OK);
}

static void text(struct buf *b, const char *s)
{
    number(b, strlen(s), 8);
    assert_int_equal(buf_put(b, str_of(s)), ERR_OK);
}

static void key(struct buf *b, const char *name, uint32_t type)
{
    text(b, name);
    number(b, type, 4);
}

static void key_u32(struct buf *b, const char *name, uint32_t v)
{
    key(b, name, U32);
    number(b, v, 4);
}

/* A model of one tensor of 64 × 3 F32, with every fact that is read. */
static void write_model(struct buf *b)
{
    assert_int_equal(buf_put(b, S("GGUF")), ERR_OK);
    number(b, 3, 4);
    number(b, 1, 8);
    number(b, 13, 8);
    key(b, "general.architecture", STRING);
    text(b, "llama");
    key(b, "general.type", STRING);
    text(b, "model");
    key_u32(b, "general.file_type", 15 + 1024);
    key_u32(b, "llama.context_length", 8192);
    key_u32(b, "llama.block_count", 30);
    key_u32(b, "llama.embedding_length", 576);
    key_u32(b, "llama.attention.head_count", 9);
    key(b, "llama.attention.head_count_kv", ARRAY);     /* one for each layer */
    number(b, I32, 4);
    number(b, 3, 8);
    number(b, 0, 4);
    number(b, 3, 4);
    number(b, UINT32_MAX, 4);                           /* a negative one is not a count */
    key_u32(b, "llama.attention.key_length", 64);
    key_u32(b, "llama.attention.value_length", 32);
    key_u32(b, "clip.vision.block_count", 99);          /* another thing's layers */
    key(b, "tokenizer.chat_template", STRING);
    text(b, "{% for m in messages %}<|im_start|>{% endfor %}");
    key(b, "tokenizer.ggml.tokens", ARRAY);
    number(b, STRING, 4);
    number(b, 2, 8);
    text(b, "a");
    text(b, "b");
    text(b, "t");
    number(b, 2, 4);
    number(b, 64, 8);
    number(b, 3, 8);
    number(b, 0, 4);
    number(b, 0, 8);
    while (b->n % 32)
        number(b, 0, 1);
    number(b, 0, 768);
}

static void every_fact_is_read(void **state)
{
    struct buf b = { .max = 1 << 16 };
    struct gguf_facts f;
    const char *why = "";
    (void)state;
    write_model(&b);
    assert_int_equal(gguf_check(buf_str(&b), &f, &why, NULL), ERR_OK);
    assert_int_equal(f.file_type, 15);
    assert_string_equal(gguf_file_type(f.file_type), "Q4_K_M");
    assert_int_equal(f.context, 8192);
    assert_int_equal(f.layers, 30);
    assert_int_equal(f.embedding, 576);
    assert_int_equal(f.heads, 9);
    assert_int_equal(f.heads_kv, 3);
    assert_int_equal(f.key_length, 64);
    assert_int_equal(f.value_length, 32);
    assert_int_equal(f.parameters, 192);
    assert_true(str_eq(f.type, S("model")) && str_find(f.chat_template, S("<|im_start|>")) < f.chat_template.n);
    buf_free(&b);
}

static void a_beginning_is_enough_or_asks_for_more(void **state)
{
    struct buf b = { .max = 1 << 16 };
    struct gguf_facts f, whole;
    const char *why = "";
    (void)state;
    write_model(&b);
    assert_int_equal(gguf_check(buf_str(&b), &whole, &why, NULL), ERR_OK);
    for (size_t n = 0; n <= b.n; n++) {
        enum err e = gguf_head(str_slice(b.p, n), b.n, &f, &why, NULL);
        assert_int_equal(e, n < whole.data_at - 31 ? ERR_AGAIN : n >= whole.data_at ? ERR_OK : e);
        assert_true(e == ERR_AGAIN || f.data_bytes == 768);
        /* The same bytes as all there is of the file. */
        assert_int_equal(gguf_check(str_slice(b.p, n), &f, &why, NULL), n == b.n ? ERR_OK : ERR_SYNTAX);
    }
    assert_int_equal(gguf_head(S("GGML1234"), 1 << 30, &f, &why, NULL), ERR_SYNTAX);
    assert_string_equal(why, "this is not a GGUF file");
    buf_free(&b);
}

static void names_of_split_files_are_recognised(void **state)
{
    static const struct { const char *name, *stem; uint32_t no, count; } good[] = {
        { "m-00001-of-00002.gguf", "m", 1, 2 }, { "a-b.Q4-00012-of-00012.gguf", "a-b.Q4", 12, 12 }, { "x/y-00001-of-00001.gguf", "x/y", 1, 1 },
    };
    static const char *const bad[] = { "", "m.gguf", "-00001-of-00002.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf", "m-0001-of-00002.gguf",
                                       "m-00001-of-00002.GGUF", "m-00001-of-00002.gguf.part", "m-+0001-of-00002.gguf", "m-00001_of-00002.gguf" };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        str stem;
        uint32_t no, count;
        assert_true(gguf_split_name(str_of(good[i].name), &stem, &no, &count));
        assert_true(str_eq(stem, str_of(good[i].stem)) && no == good[i].no && count == good[i].count);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (gguf_split_name(str_of(bad[i]), &(str){ 0 }, &(uint32_t){ 0 }, &(uint32_t){ 0 }))
            fail_msg("%s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fact_is_read),
        cmocka_unit_test(a_beginning_is_enough_or_asks_for_more),
        cmocka_unit_test(names_of_split_files_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
