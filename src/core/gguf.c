/* A walk over a GGUF header: magic, version, counts, keys and values, tensors. Every step asks first whether the bytes are there,
 * and every product is checked, so the walk ends inside the file whatever it holds. Its time is linear in the header. */
#include "core/gguf.h"

#define MAX_KEY        65535
#define MAX_NAME       63               /* ggml keeps names in 64 bytes, NUL included */
#define MAX_DIMS       4
#define MAX_ALIGNMENT  65536
#define MAX_FACT       128

enum { V_U8, V_I8, V_U16, V_I16, V_U32, V_I32, V_F32, V_BOOL, V_STRING, V_ARRAY, V_U64, V_I64, V_F64, V_COUNT };
static const uint8_t value_size[V_COUNT] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

/* Elements and bytes of a block, by type number: what ggml knows at the version we build against (a test compares). */
static const struct { uint16_t elements, bytes; } blocks[GGUF_TYPES] = {
    [0] = { 1, 4 },     [1] = { 1, 2 },     [2] = { 32, 18 },   [3] = { 32, 20 },   [6] = { 32, 22 },   [7] = { 32, 24 },
    [8] = { 32, 34 },   [9] = { 32, 36 },   [10] = { 256, 84 }, [11] = { 256, 110 }, [12] = { 256, 144 }, [13] = { 256, 176 },
    [14] = { 256, 210 }, [15] = { 256, 292 }, [16] = { 256, 66 }, [17] = { 256, 74 }, [18] = { 256, 98 }, [19] = { 256, 50 },
    [20] = { 32, 18 },  [21] = { 256, 110 }, [22] = { 256, 82 }, [23] = { 256, 136 }, [24] = { 1, 1 },   [25] = { 1, 2 },
    [26] = { 1, 4 },    [27] = { 1, 8 },    [28] = { 1, 8 },    [29] = { 256, 56 }, [30] = { 1, 2 },    [34] = { 256, 54 },
    [35] = { 256, 66 }, [39] = { 32, 17 },  [40] = { 64, 36 },  [41] = { 128, 18 }, [42] = { 64, 18 },
};

struct reader { str in; uint64_t at; const char *why; };

bool gguf_type_block(uint32_t type, uint32_t *elements, uint32_t *bytes)
{
    if (type >= GGUF_TYPES || blocks[type].elements == 0)
        return false;
    *elements = blocks[type].elements;
    *bytes = blocks[type].bytes;
    return true;
}

static bool bad(struct reader *r, const char *why)
{
    r->why = why;
    return false;
}

static bool skip(struct reader *r, uint64_t n)
{
    if (n > r->in.n - r->at)
        return bad(r, "the file ends before its header does");
    r->at += n;
    return true;
}

/* GGUF is little-endian (a big-endian file shows as an unknown version). */
static bool get(struct reader *r, size_t n, uint64_t *out)
{
    uint64_t v = 0, at = r->at;
    if (!skip(r, n))
        return false;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | (uint8_t)r->in.p[at + i];
    *out = v;
    return true;
}

static bool get_str(struct reader *r, uint64_t most, str *out)
{
    uint64_t n;
    if (!get(r, 8, &n))
        return false;
    if (n > most)
        return bad(r, "a name is longer than GGUF allows");
    uint64_t at = r->at;
    if (!skip(r, n))
        return bad(r, "a string reaches beyond the end of the file");
    *out = str_slice(r->in.p + at, n);
    return true;
}

static bool skip_array(struct reader *r)
{
    uint64_t type, n;
    str s;
    if (!get(r, 4, &type) || !get(r, 8, &n))
        return false;
    if (type == V_ARRAY || type >= V_COUNT)
        return bad(r, "an array holds elements of an unknown type");
    if (n > r->in.n)
        return bad(r, "an array has more elements than the file has bytes");
    if (type != V_STRING)
        return skip(r, n * value_size[type]) || bad(r, "an array reaches beyond the end of the file");
    for (uint64_t i = 0; i < n; i++)
        if (!get_str(r, r->in.n, &s))
            return false;
    return true;
}

static bool read_pair(struct reader *r, struct gguf_facts *f)
{
    str key, text;
    uint64_t type, v = 0;
    if (!get_str(r, MAX_KEY, &key) || !get(r, 4, &type))
        return false;
    if (key.n == 0 || memchr(key.p, 0, key.n))
        return bad(r, "a key is empty or holds a NUL byte");
    if (type >= V_COUNT)
        return bad(r, "a value is of an unknown type");
    if (type == V_ARRAY)
        return skip_array(r);
    if (type == V_STRING) {
        if (!get_str(r, r->in.n, &text))
            return false;
        text.n = text.n < MAX_FACT ? text.n : MAX_FACT;
        if (str_eq(key, S("general.architecture")))
            f->architecture = text;
        else if (str_eq(key, S("general.name")))
            f->name = text;
        return true;
    }
    if (!get(r, value_size[type], &v))
        return false;
    if (str_eq(key, S("split.count")))
        f->split_count = v;
    if (!str_eq(key, S("general.alignment")))
        return true;
    if (type != V_U32 || v == 0 || v > MAX_ALIGNMENT || (v & (v - 1)) != 0)
        return bad(r, "general.alignment is not a power of two that makes sense");
    f->alignment = v;
    return true;
}

/* Bytes of a tensor: the first dimension must be whole blocks. */
static bool tensor_bytes(struct reader *r, const uint64_t *dims, uint32_t type, uint64_t *out)
{
    uint32_t elements, bytes;
    uint64_t n = 1;
    if (!gguf_type_block(type, &elements, &bytes))
        return bad(r, "a tensor is of a type that is not known");
    if (dims[0] % elements != 0)
        return bad(r, "a tensor's row is not a whole number of blocks");
    for (size_t i = 0; i < MAX_DIMS; i++)
        if (dims[i] > INT64_MAX || __builtin_mul_overflow(n, dims[i], &n) || n > INT64_MAX)
            return bad(r, "a tensor's size overflows");
    if (__builtin_mul_overflow(n / elements, (uint64_t)bytes, out))
        return bad(r, "a tensor's size overflows");
    return true;
}

/* Notes in *end where the tensor's data ends, relative to the data's start. */
static bool read_tensor(struct reader *r, struct gguf_facts *f, uint64_t *end)
{
    uint64_t n_dims, dims[MAX_DIMS] = { 1, 1, 1, 1 }, type, offset, bytes;
    str name;
    if (!get_str(r, MAX_NAME, &name) || !get(r, 4, &n_dims))
        return false;
    if (name.n == 0 || memchr(name.p, 0, name.n))
        return bad(r, "a tensor's name is empty or holds a NUL byte");
    if (n_dims > MAX_DIMS)
        return bad(r, "a tensor has more than four dimensions");
    for (size_t i = 0; i < n_dims; i++)
        if (!get(r, 8, &dims[i]))
            return false;
    if (!get(r, 4, &type) || !get(r, 8, &offset) || !tensor_bytes(r, dims, (uint32_t)type, &bytes))
        return false;
    if (offset % f->alignment != 0)
        return bad(r, "a tensor's data is not aligned");
    if (__builtin_add_overflow(offset, bytes, &offset))
        return bad(r, "a tensor's place overflows");
    *end = offset > *end ? offset : *end;
    f->tensors_of[type]++;
    return true;
}

static bool read_file(struct reader *r, struct gguf_facts *f)
{
    uint64_t version, end = 0;
    if (!skip(r, 4) || !str_eq(str_slice(r->in.p, 4), S("GGUF")))
        return bad(r, "this is not a GGUF file");
    if (!get(r, 4, &version) || (version != 2 && version != 3))
        return bad(r, "this GGUF version is not known (2 and 3 are), or the file is big-endian");
    f->version = (uint32_t)version;
    if (!get(r, 8, &f->n_tensors) || !get(r, 8, &f->n_keys))
        return false;
    /* A key takes at least 13 bytes, a tensor at least 25: counts beyond that are lies, and libllama would allocate for them. */
    if (f->n_keys > r->in.n / 13 || f->n_tensors > r->in.n / 25)
        return bad(r, "the header promises more keys or tensors than the file could hold");
    for (uint64_t i = 0; i < f->n_keys; i++)
        if (!read_pair(r, f))
            return false;
    for (uint64_t i = 0; i < f->n_tensors; i++)
        if (!read_tensor(r, f, &end))
            return false;
    f->data_at = (r->at + f->alignment - 1) / f->alignment * f->alignment;
    if (end > 0 && (f->data_at > r->in.n || end > r->in.n - f->data_at))
        return bad(r, "the file is shorter than its tensors: it was cut, or its header lies");
    f->data_bytes = end;
    if (f->architecture.n == 0)
        return bad(r, "general.architecture is missing");
    return f->n_tensors > 0 || bad(r, "the file has no tensors");
}

enum err gguf_check(str file, struct gguf_facts *out, const char **why, uint64_t *at)
{
    struct reader r = { .in = file, .why = "the file ends before its header does" };
    struct gguf_facts f = { .alignment = 32 };
    bool ok = read_file(&r, &f);
    if (at)
        *at = r.at;
    if (!ok) {
        *why = r.why;
        return ERR_SYNTAX;
    }
    *out = f;
    return ERR_OK;
}
