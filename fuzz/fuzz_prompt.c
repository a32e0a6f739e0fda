/* fuzz: prompt core */
/* A registry that is taken reads back from what would be written; a template becomes valid messages for any variables. */
#include "prompt/prompt.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_registry(struct arena *a, str text)
{
    struct prompt_book b, again;
    struct buf out = { .max = 64 << 20 };
    char why[200];
    enum err e = prompt_book_read(a, text, &b, why);
    assert(e != ERR_SYNTAX || *why);
    if (e != ERR_OK)
        return;
    for (size_t i = 0; i < b.n; i++) {
        assert(prompt_book_read(a, arena_str(a, buf_str(&out)), &again, why) == ERR_OK);
        assert(prompt_write_add(&out, &again, b.list[i].name, b.list[i].text, b.list[i].message, b.list[i].at) == ERR_OK);
    }
    buf_free(&out);
}

/* The variables stand before the first line break, the template after it. */
static void check_render(struct arena *a, str text)
{
    struct prompt p = { .name = S("p"), .version = 1 };
    struct wire_error why = { .err = ERR_OK };
    struct buf out = { .max = 64 << 20 };
    str head, system;
    json v, list;
    if (!str_cut(text, '\n', &head, &p.text) || json_parse(a, head, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || !str_is_utf8(p.text))
        return;
    (void)buf_putc(&out, '[');
    enum err e = prompt_render(a, &p, v, &out, text.n % 2 ? &system : NULL, &why);
    (void)buf_putc(&out, ']');
    assert(e != ERR_SYNTAX || why.message.n);
    if (e == ERR_OK)
        assert(json_parse(a, arena_str(a, buf_str(&out)), &(struct json_limits){ 256, 8u << 20, 128u << 20 }, &list, NULL) == ERR_OK);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    if (!n)
        return 0;
    str text = { (const char *)p + 1, n - 1 };
    arena_init(&a, 256 << 20);
    if (p[0] % 2)
        check_registry(&a, text);
    else
        check_render(&a, text);
    arena_free(&a);
    return 0;
}
