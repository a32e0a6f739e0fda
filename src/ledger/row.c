/* ledger/row.c: the field table, walked: binding, reading, canonical form. */
#include "ledger/row.h"

#include "core/json.h"
#include "ledger/store.h"

#include <math.h>

#define KIND_I 'I'
#define KIND_F 'F'
#define KIND_T 'T'
#define KIND_D 'D'

const struct row_field row_fields[] = {
#define X(type, name, otel, help) { #name, KIND_##type, offsetof(struct ledger_row, name), otel, help, { ",\"" #name "\":", sizeof #name + 3 } },
    ROW_FIELDS(X)
#undef X
};
const size_t row_n_fields = sizeof row_fields / sizeof *row_fields;

const char row_columns[] =
#define X(type, name, otel, help) ", " #name
    ROW_FIELDS(X)
#undef X
    ;

static void *at(const struct ledger_row *r, const struct row_field *f) { return (char *)(uintptr_t)r + f->offset; }

#define NULL_I ROW_NULL_I
#define NULL_F NAN
#define NULL_T STR_NONE
#define NULL_D NULL
static const struct ledger_row nothing = {
#define X(type, name, otel, help) .name = NULL_##type,
    ROW_FIELDS(X)
#undef X
};

void row_init(struct ledger_row *r, enum row_kind kind)
{
    *r = nothing;
    r->kind = kind;
}

const char *row_kind_name(enum row_kind k)
{
    static const char *const names[] = { "intent", "end", "score", "decision", "event" };
    return (unsigned)k < sizeof names / sizeof *names ? names[k] : "unknown";
}

/* Where each field lies, without what else is known of it: this is walked twice a call. */
static const struct { uint16_t offset; char type; } places[] = {
#define X(type, name, otel, help) { offsetof(struct ledger_row, name), KIND_##type },
    ROW_FIELDS(X)
#undef X
};
_Static_assert(sizeof places / sizeof *places <= ROW_PARTS_MAX, "room for every field");

size_t row_parts(const struct ledger_row *r, struct row_part out[ROW_PARTS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const void *v = (const char *)r + places[i].offset;
        const str *text = v;
        bool there;
        switch (places[i].type) {
        case 'I': there = *(const int64_t *)v != ROW_NULL_I; break;
        case 'F': there = !isnan(*(const double *)v); break;
        case 'T': there = text->p != NULL; break;
        default:  there = *(const struct digest *const *)v != NULL; break;
        }
        if (there)
            out[n++] = (struct row_part){ (uint8_t)i, places[i].type != 'T' || json_plain(*text) == text->n };
    }
    return n;
}

enum err row_bind(sqlite3_stmt *q, const struct ledger_row *r, const struct row_part *parts, size_t n)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        const struct row_field *f = &row_fields[parts[i].field];
        int k = (int)i + 5;
        switch (f->type) {
        case 'I': bad |= sqlite3_bind_int64(q, k, *(int64_t *)at(r, f)); break;
        case 'F': bad |= sqlite3_bind_double(q, k, *(double *)at(r, f)); break;
        case 'T': bad |= sqlite3_bind_text64(q, k, ((str *)at(r, f))->p, ((str *)at(r, f))->n, SQLITE_STATIC, SQLITE_UTF8); break;
        default:  bad |= sqlite3_bind_blob(q, k, (*(const struct digest **)at(r, f))->b, 32, SQLITE_STATIC); break;
        }
    }
    return bad ? ERR_STORE : ERR_OK;
}

static void read_digest(sqlite3_stmt *q, int column, struct digest *to)
{
    const void *b = sqlite3_column_blob(q, column);
    memset(to, 0, sizeof *to);
    if (b && sqlite3_column_bytes(q, column) == 32)
        memcpy(to->b, b, 32);
}

void row_read(sqlite3_stmt *q, struct ledger_seen *out)
{
    size_t digests = 0;
    out->seq = sqlite3_column_int64(q, 0);
    out->schema = sqlite3_column_int(q, 1);
    row_init(&out->row, (enum row_kind)sqlite3_column_int(q, 2));
    read_digest(q, 3, &out->hash);
    for (size_t i = 0; i < row_n_fields; i++) {
        const struct row_field *f = &row_fields[i];
        int k = (int)i + 4;
        if (sqlite3_column_type(q, k) == SQLITE_NULL)
            continue;
        switch (f->type) {
        case 'I': *(int64_t *)at(&out->row, f) = sqlite3_column_int64(q, k); break;
        case 'F': *(double *)at(&out->row, f) = sqlite3_column_double(q, k); break;
        case 'T':
            *(str *)at(&out->row, f) = (str){ (const char *)sqlite3_column_text(q, k), 0 };
            ((str *)at(&out->row, f))->n = (size_t)sqlite3_column_bytes(q, k);
            break;
        default:
            read_digest(q, k, &out->digests[digests]);
            *(const struct digest **)at(&out->row, f) = &out->digests[digests++];
            break;
        }
    }
}

static enum err put_text(struct buf *b, str text, bool plain)
{
    enum err e = buf_reserve(b, text.n + 2);
    if (e)
        return e;
    b->p[b->n++] = '"';
    if (!plain)
        e = json_escape(b, text);
    else if (text.n)
        memcpy(b->p + b->n, text.p, text.n);
    b->n += plain ? text.n : 0;
    return e ? e : buf_putc(b, '"');
}

static enum err put_field(struct buf *b, const struct ledger_row *row, const struct row_part *part)
{
    const struct row_field *f = &row_fields[part->field];
    char number[STR_I64];
    struct json_out o;
    enum err e = buf_reserve(b, f->key.n + HEX_DIGEST + 2);      /* enough for all but a text */
    if (e)
        return e;
    (void)buf_put(b, f->key);
    switch (f->type) {
    case 'I': return buf_put(b, str_from_i64(*(int64_t *)at(row, f), number));
    case 'T': return put_text(b, *(str *)at(row, f), part->plain);
    case 'D':
        b->p[b->n] = b->p[b->n + HEX_DIGEST + 1] = '"';
        hex_encode((*(const struct digest **)at(row, f))->b, sizeof(struct digest), b->p + b->n + 1);
        b->n += HEX_DIGEST + 2;
        return ERR_OK;
    default:
        json_out_init(&o, b);
        json_put_f64(&o, *(double *)at(row, f));
        return o.err;
    }
}

/* Two of these are made for every call, so the keys are ready with their commas and quotes. */
static enum err put_row(struct buf *b, const struct ledger_seen *row, const struct row_part *parts, size_t n_parts)
{
    char n[2][STR_I64];
    str seq = str_from_i64(row->seq, n[0]), schema = str_from_i64(row->schema, n[1]), kind = str_of(row_kind_name(row->row.kind));
    const str head[] = { S("{\"seq\":"), seq, S(",\"schema\":"), schema, S(",\"kind\":\""), kind, S("\"") };
    enum err e = ERR_OK;
    for (size_t i = 0; i < sizeof head / sizeof *head && !e; i++)
        e = buf_put(b, head[i]);
    for (size_t i = 0; i < n_parts && !e; i++)
        e = put_field(b, &row->row, &parts[i]);
    return e ? e : buf_putc(b, '}');
}

enum err ledger_canonical(struct buf *b, const struct ledger_seen *row)
{
    struct row_part parts[ROW_PARTS_MAX];
    return put_row(b, row, parts, row_parts(&row->row, parts));
}

enum err row_hash(struct sha256 *h, struct buf *b, const struct ledger_seen *row, const struct row_part *parts, size_t n, const struct digest *previous, struct digest *out)
{
    buf_clear(b);
    enum err e = put_row(b, row, parts, n);
    if (e)
        return e;
    sha256_begin(h);
    sha256_add(h, (str){ (const char *)previous->b, sizeof previous->b });
    sha256_add(h, buf_str(b));
    *out = sha256_end(h);
    return ERR_OK;
}

struct digest body_hash(struct sha256 *h, const struct seal_key *key, const uint8_t salt[SALT], const str *slices, size_t n)
{
    sha256_begin(h);
    sha256_add(h, (str){ (const char *)salt, SALT });
    for (size_t i = 0; i < n; i++)
        sha256_add(h, slices[i]);
    struct digest d = sha256_end(h);
    /* Keyed: nobody without the key can test a guess, even while salt and row are there. */
    return key ? hmac_sha256((str){ (const char *)key->b, sizeof key->b }, (str){ (const char *)d.b, sizeof d.b }) : d;
}
