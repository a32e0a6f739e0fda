/* fuzz: core */
/* gguf_check() over any bytes: it ends, stays inside, and what it accepts keeps its promises. */
#include "core/gguf.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool inside(str s, str file)
{
    return s.n == 0 || (s.p >= file.p && s.p + s.n <= file.p + file.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct gguf_facts f = { .version = 0 };
    const char *why = NULL;
    uint64_t at = 0, tensors = 0;
    str file = { (const char *)p, n };
    enum err e = gguf_check(file, &f, &why, &at);
    assert(at <= n);
    if (e != ERR_OK) {
        assert(e == ERR_SYNTAX && why && *why && f.version == 0);
        return 0;
    }
    for (size_t i = 0; i < GGUF_TYPES; i++)
        tensors += f.tensors_of[i];
    if (tensors != f.n_tensors || f.n_tensors == 0)
        __builtin_trap();               /* assert() alone would leave `tensors` unused in a release build */
    assert(f.alignment > 0 && f.data_at % f.alignment == 0);
    assert(f.data_bytes == 0 || (f.data_at <= n && f.data_bytes <= n - f.data_at));
    assert(inside(f.architecture, file) && inside(f.name, file) && f.architecture.n > 0);
    return 0;
}
