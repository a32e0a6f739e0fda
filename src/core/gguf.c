/* A walk over a GGUF header: magic, version, counts, keys and values, tensors. Every step asks first whether the bytes are there,
 * and every product is checked, so the walk ends inside the file whatever it holds. Its time is linear in the header. Bytes that the
 * file has but the caller does not yet are "again", never "wrong". */
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

/* What ggml's converters and quantizers write into general.file_type (llama.h, enum llama_ftype). */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",     [3] = "Q4_1",    [7] = "Q8_0",     [8] = "Q5_0",    [9] = "Q5_1",     [10] = "Q2_K",
    [11] = "Q3_K_S",  [12] = "Q3_K_M",  [13] = "Q3_K_L",  [14] = "Q4_K_S", [15] = "Q4_K_M",  [16] = "Q5_K_S", [17] = "Q5_K_M",  [18] = "Q6_K",
    [19] = "IQ2_XXS", [20] = "IQ2_XS",  [21] = "Q2_K_S",  [22] = "IQ3_XS", [23] = "IQ3_XXS", [24] = "IQ1_S",  [25] = "IQ4_NL",  [26] = "IQ3_S",
    [27] = "IQ3_M",   [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",   [32] = "BF16",   [36] = "TQ1_0",   [37] = "TQ2_0",
    [38] = "MXFP4_MOE", [39] = "NVFP4", [40] = "Q1_0",    [41] = "Q2_0",
};

struct reader { str in; uint64_t size, at; bool again; const char *why; const struct gguf_visitor *visitor; };

bool gguf_type_block(uint32_t type, uint32_t *elements, uint32_t *bytes)
{
    if (type >= GGUF_TYPES || blocks[type].elements == 0)
        return false;
    *elements = blocks[type].elements;
    *bytes = blocks[type].bytes;
    return true;
}

const char *gguf_file_type(int64_t file_type)
{
    const int64_t n = sizeof file_types / sizeof *file_types;
    return file_type >= 0 && file_type < n && file_types[file_type] ? file_types[file_type] : "";
}

/* Five digits, as printf's %05d writes them. */
static bool five_digits(str s, uint32_t *out)
{
    uint64_t n;
    if (s.n != 5 || !str_u64(s, &n))
        return false;
    *out = (uint32_t)n;
    return true;
}

bool gguf_split_name(str name, str *stem, uint32_t *no, uint32_t *count)
{
    const size_t tail = sizeof "-00001-of-00002.gguf" - 1;
    uint32_t i, n;
    if (name.n <= tail || !str_ends(name, S(".gguf")))
        return false;
    str end = str_skip(name, name.n - tail);
    if (end.p[0] != '-' || !str_eq(str_slice(end.p + 6, 4), S("-of-")) || !five_digits(str_slice(end.p + 1, 5), &i) || !five_digits(str_slice(end.p + 10, 5), &n) ||
        i < 1 || i > n)
        return false;
    *stem = str_slice(name.p, name.n - tail);
    *no = i;
    *count = n;
    return true;
}

static bool bad(struct reader *r, const char *why)
{
    r->why = why;
    return false;
}

static bool skip(struct reader *r, uint64_t n)
{
    if (n > r->size - r->at)
        return bad(r, "the file ends before its header does");
    if (n > r->in.n - r->at) {
        r->again = true;
        return false;
    }
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
        return r->again ? false : bad(r, "a string reaches beyond the end of the file");
    *out = str_slice(r->in.p + at, n);
    return true;
}

/* Facts that are numbers, by the key's name after the architecture's. */
static const struct { str key; size_t offset; } number_facts[] = {
    { S("context_length"), offsetof(struct gguf_facts, context) },          { S("block_count"), offsetof(struct gguf_facts, layers) },
    { S("embedding_length"), offsetof(struct gguf_facts, embedding) },      { S("attention.head_count"), offsetof(struct gguf_facts, heads) },
    { S("attention.head_count_kv"), offsetof(struct gguf_facts, heads_kv) }, { S("attention.key_length"), offsetof(struct gguf_facts, key_length) },
    { S("attention.value_length"), offsetof(struct gguf_facts, value_length) },
};

static uint64_t *number_fact(struct gguf_facts *f, str key)
{
    str architecture, rest;
    if (!str_cut(key, '.', &architecture, &rest) || str_eq(architecture, S("general")))
        return NULL;
    for (size_t i = 0; i < sizeof number_facts / sizeof *number_facts; i++)
        if (str_eq(rest, number_facts[i].key))
            return (uint64_t *)(void *)((char *)f + number_facts[i].offset);
    return NULL;
}

static bool is_whole(uint64_t type) { return type <= V_I32 || type == V_U64 || type == V_I64; }

/* Of whole numbers, `most` (may be NULL) gets the largest: what a list of one number per layer is worth knowing for. */
static bool read_array(struct reader *r, uint64_t *most)
{
    uint64_t type, n, v;
    str s;
    if (!get(r, 4, &type) || !get(r, 8, &n))
        return false;
    if (type == V_ARRAY || type >= V_COUNT)
        return bad(r, "an array holds elements of an unknown type");
    if (n > r->size)
        return bad(r, "an array has more elements than the file has bytes");
    if (type == V_STRING) {
        for (uint64_t i = 0; i < n; i++)
            if (!get_str(r, r->size, &s))
                return false;
        return true;
    }
    uint64_t from = r->at, bytes;
    if (__builtin_mul_overflow(n, (uint64_t)value_size[type], &bytes))
        return bad(r, "an array reaches beyond the end of the file");
    if (!skip(r, bytes))
        return r->again ? false : bad(r, "an array reaches beyond the end of the file");
    if (!most || !is_whole(type))
        return true;
    r->at = from;
    for (uint64_t i = 0; i < n && get(r, value_size[type], &v); i++)
        *most = v <= INT32_MAX && v > *most ? v : *most;
    return true;
}

static bool read_text(struct reader *r, struct gguf_facts *f, str key)
{
    str text;
    if (!get_str(r, r->size, &text))
        return false;
    str start = { text.p, text.n < MAX_FACT ? text.n : MAX_FACT };
    if (str_eq(key, S("general.architecture")))
        f->architecture = start;
    else if (str_eq(key, S("general.name")))
        f->name = start;
    else if (str_eq(key, S("general.type")))
        f->type = start;
    else if (str_eq(key, S("tokenizer.chat_template")))
        f->chat_template = text;
    return true;
}

static bool read_value(struct reader *r, struct gguf_facts *f, str key, uint64_t type)
{
    uint64_t v = 0;
    uint64_t *fact = number_fact(f, key);
    if (type == V_ARRAY)
        return read_array(r, fact);
    if (type == V_STRING)
        return read_text(r, f, key);
    if (!get(r, value_size[type], &v))
        return false;
    if (fact && is_whole(type) && v <= INT32_MAX)
        *fact = v;
    else if (str_eq(key, S("split.count")))
        f->split_count = v;
    else if (str_eq(key, S("split.no")))
        f->split_no = v;
    else if (str_eq(key, S("general.file_type")) && is_whole(type) && v < 4096)
        f->file_type = (int64_t)(v & 1023);             /* 1024: guessed by the writer */
    if (!str_eq(key, S("general.alignment")))
        return true;
    if (type != V_U32 || v == 0 || v > MAX_ALIGNMENT || (v & (v - 1)) != 0)
        return bad(r, "general.alignment is not a power of two that makes sense");
    f->alignment = v;
    return true;
}

static bool read_pair(struct reader *r, struct gguf_facts *f)
{
    str key;
    uint64_t type, from = r->at;
    if (!get_str(r, MAX_KEY, &key) || !get(r, 4, &type))
        return false;
    if (key.n == 0 || memchr(key.p, 0, key.n))
        return bad(r, "a key is empty or holds a NUL byte");
    if (type >= V_COUNT)
        return bad(r, "a value is of an unknown type");
    if (!read_value(r, f, key, type))
        return false;
    if (r->visitor)
        r->visitor->on_pair(r->visitor->ctx, key, str_slice(r->in.p + from, r->at - from));
    return true;
}

/* Elements and bytes of a tensor: the first dimension must be whole blocks. */
static bool tensor_size(struct reader *r, const uint64_t *dims, uint32_t type, uint64_t *n_elements, uint64_t *out)
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
    *n_elements = n;
    return true;
}

/* Notes in *end where the tensor's data ends, relative to the data's start. */
static bool read_tensor(struct reader *r, struct gguf_facts *f, uint64_t *end)
{
    uint64_t n_dims, dims[MAX_DIMS] = { 1, 1, 1, 1 }, type, offset, bytes, elements, from = r->at;
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
    if (!get(r, 4, &type) || !get(r, 8, &offset) || !tensor_size(r, dims, (uint32_t)type, &elements, &bytes))
        return false;
    if (offset % f->alignment != 0)
        return bad(r, "a tensor's data is not aligned");
    if (r->visitor)
        r->visitor->on_tensor(r->visitor->ctx, str_slice(r->in.p + from, r->at - from), offset, bytes);
    if (__builtin_add_overflow(offset, bytes, &offset))
        return bad(r, "a tensor's place overflows");
    *end = offset > *end ? offset : *end;
    if (__builtin_add_overflow(f->parameters, elements, &f->parameters))
        return bad(r, "the tensors' sizes overflow");
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
    if (f->n_keys > r->size / 13 || f->n_tensors > r->size / 25)
        return bad(r, "the header promises more keys or tensors than the file could hold");
    for (uint64_t i = 0; i < f->n_keys; i++)
        if (!read_pair(r, f))
            return false;
    for (uint64_t i = 0; i < f->n_tensors; i++)
        if (!read_tensor(r, f, &end))
            return false;
    f->data_at = (r->at + f->alignment - 1) / f->alignment * f->alignment;
    if (end > 0 && (f->data_at > r->size || end > r->size - f->data_at))
        return bad(r, "the file is shorter than its tensors: it was cut, or its header lies");
    f->data_bytes = end;
    /* Of a split model only the first file says what it is, and that one may be without tensors. */
    if (f->architecture.n == 0 && f->split_count < 2)
        return bad(r, "general.architecture is missing");
    return f->n_tensors > 0 || f->split_count > 1 || bad(r, "the file has no tensors");
}

static enum err read_head(struct reader r, struct gguf_facts *out, const char **why, uint64_t *at)
{
    struct gguf_facts f = { .alignment = 32, .file_type = -1 };
    bool ok = read_file(&r, &f);
    if (at)
        *at = r.at;
    if (r.again)
        return ERR_AGAIN;
    if (!ok) {
        *why = r.why;
        return ERR_SYNTAX;
    }
    *out = f;
    return ERR_OK;
}

#define READER(head, all) { .in = (head), .size = (all), .why = "the file ends before its header does" }

enum err gguf_head(str head, uint64_t size, struct gguf_facts *out, const char **why, uint64_t *at)
{
    struct reader r = READER(head, size);
    return read_head(r, out, why, at);
}

enum err gguf_visit(str head, uint64_t size, const struct gguf_visitor *v, struct gguf_facts *out, const char **why)
{
    struct reader r = READER(head, size);
    r.visitor = v;
    return read_head(r, out, why, NULL);
}

enum err gguf_check(str file, struct gguf_facts *out, const char **why, uint64_t *at) { return gguf_head(file, file.n, out, why, at); }
