/* guard/vault.c: probing: the first round of a value's tag is looked up, and what is there is the value itself, another spelling of it, another value, or
 * nothing. So no index by value is needed, and nothing in the store can be searched for a value without the key. */
#include "guard/vault.h"

#include "core/rand.h"

#include <assert.h>

enum { KEYS_MAX = 8, KEY_ID = 4, SHORT = 16, CACHE_SLOTS = 2048, NAME_MAX_BYTES = 256, BATCH = 512 };
enum { FLAG_KEPT = 1, FLAG_BARE = 2 };
enum { ROW_HEAD = 2 + 2 * SHORT };      /* type, flags, digest of the value, digest of the normal form */

struct cached {
    struct digest of;                   /* of realm, type, form, keep and value; all zero: none */
    uint8_t n;
    bool bare;
    char text[PLACEHOLDER_MAX];
};

struct vault {
    struct vault_store store;
    struct seal_key keys[KEYS_MAX];
    uint8_t ids[KEYS_MAX][KEY_ID];
    size_t n_keys;
    struct digest tags;                 /* what tags are made with */
    struct cached *cache;
    char cursor[NAME_MAX_BYTES];        /* of vault_reseal(): the last name it has seen */
    size_t cursor_n;
};

bool vault_key_read(str text, struct seal_key *out) { return hex_decode(text, out->b, sizeof out->b); }

static str bytes(const void *p, size_t n) { return (str){ p, n }; }

/* ---- rows ---- */

static enum err row_close(struct vault *v, struct arena *a, str name, str plain, str *out)
{
    str sealed;
    enum err e = seal_close(a, &v->keys[0], name, plain, &sealed);
    if (e)
        return e;
    *out = arena_cat(a, (str[]){ bytes(v->ids[0], KEY_ID), sealed }, 2);
    return out->p ? ERR_OK : ERR_LIMIT;
}

/* Which key a row is under; n_keys: none of ours. */
static size_t row_key(const struct vault *v, str value)
{
    size_t k = 0;
    while (k < v->n_keys && !str_starts(value, bytes(v->ids[k], KEY_ID)))
        k++;
    return k;
}

static enum err row_open(struct vault *v, struct arena *a, str name, str value, str *plain)
{
    size_t k = row_key(v, value);
    return k == v->n_keys ? ERR_FORBIDDEN : seal_open(a, &v->keys[k], name, str_skip(value, KEY_ID), plain);
}

static enum err row_get(struct vault *v, struct arena *a, str name, str *plain)
{
    str value;
    enum err e = v->store.get(v->store.ctx, a, name, &value);
    return e ? e : row_open(v, a, name, value, plain);
}

static enum err row_put(struct vault *v, struct arena *a, str name, str plain, bool fresh, int64_t at_us)
{
    struct vault_row row = { .name = name };
    enum err e = row_close(v, a, name, plain, &row.value);
    return e ? e : v->store.put(v->store.ctx, &row, 1, fresh, at_us);
}

/* ---- opening ---- */

static enum err tags_get(struct vault *v, struct arena *a)
{
    struct rng rng = rand_system();
    for (int tries = 0; tries < 2; tries++) {
        str plain;
        enum err e = row_get(v, a, S("key"), &plain);
        if (!e && plain.n == sizeof v->tags.b)
            memcpy(v->tags.b, plain.p, plain.n);
        if (e != ERR_NOTFOUND)
            return e || plain.n == sizeof v->tags.b ? e : ERR_FORBIDDEN;
        rng.fill(&rng, v->tags.b, sizeof v->tags.b);
        e = row_put(v, a, S("key"), bytes(v->tags.b, sizeof v->tags.b), true, 0);
        if (e != ERR_AGAIN)
            return e;                   /* again: another process has made it in between */
    }
    return ERR_STORE;
}

enum err vault_open(struct arena *a, const struct vault_store *store, const struct seal_key *keys, size_t n_keys, struct vault **out)
{
    assert(n_keys >= 1);
    if (n_keys > KEYS_MAX)
        return ERR_RANGE;
    struct vault *v = arena_new(a, struct vault, 1);
    if (!v || !(v->cache = arena_new(a, struct cached, CACHE_SLOTS)))
        return ERR_LIMIT;
    v->store = *store;
    v->n_keys = n_keys;
    for (size_t i = 0; i < n_keys; i++) {
        struct digest id = hmac_sha256(bytes(keys[i].b, SEAL_KEY), S("hearth guard vault key id"));
        v->keys[i] = keys[i];
        memcpy(v->ids[i], id.b, KEY_ID);
    }
    enum err e = tags_get(v, a);
    if (e) {
        vault_close(v);
        return e;
    }
    *out = v;
    return ERR_OK;
}

void vault_close(struct vault *v)
{
    if (!v)
        return;
    explicit_bzero(v->cache, CACHE_SLOTS * sizeof *v->cache);
    explicit_bzero(v->keys, sizeof v->keys);
    explicit_bzero(&v->tags, sizeof v->tags);
}

/* ---- names ---- */

/* The key of a realm's tags: the same value has unlike tokens in two realms. */
static struct digest realm_key(const struct vault *v, str realm) { return hmac_sha256(bytes(v->tags.b, sizeof v->tags.b), realm); }

static str realm_name(const struct digest *key, char out[2 * SHORT])
{
    struct digest d = hmac_sha256(bytes(key->b, sizeof key->b), S("hearth guard realm"));
    hex_encode(d.b, SHORT / 2, out);
    return (str){ out, SHORT };
}

static str token_row(struct arena *a, const struct digest *key, str token)
{
    char realm[2 * SHORT], small[PLACEHOLDER_MAX];
    for (size_t i = 0; i < token.n; i++)
        small[i] = token.p[i] >= 'A' && token.p[i] <= 'Z' ? (char)(token.p[i] | 32) : token.p[i];
    return arena_cat(a, (str[]){ S("t:"), realm_name(key, realm), S(":"), { small, token.n } }, 4);
}

static str conversation_prefix(struct arena *a, const struct digest *key, str conversation)
{
    char realm[2 * SHORT], name[2 * SHORT];
    struct digest d = hmac_sha256(bytes(key->b, sizeof key->b), S("hearth guard conversation"));
    d = hmac_sha256(bytes(d.b, sizeof d.b), conversation);
    hex_encode(d.b, SHORT / 2, name);
    return arena_cat(a, (str[]){ S("c:"), realm_name(key, realm), S(":"), { name, SHORT }, S(":") }, 5);
}

/* ---- tokens ---- */

static str type_name(const struct vault_ask *k) { return k->name.n ? k->name : str_of(guard_type_name(NULL, k->type)); }

struct probe {
    struct vault *v;
    struct arena *a;
    const struct vault_ask *ask;
    struct digest key, of_value, of_normal;     /* the digests: keyed, and shortened where they are stored */
};

enum found { FOUND_FREE, FOUND_SAME, FOUND_SPELLING, FOUND_OTHER };

static enum err probe_put(struct probe *q, str name, bool bare, bool fresh)
{
    const struct vault_ask *k = q->ask;
    /* The numbers of types that the owner has named are those of one configuration. */
    char head[ROW_HEAD] = { (char)(k->type < GUARD_OWN ? k->type : GUARD_OWN), (char)((k->keep ? FLAG_KEPT : 0) | (bare ? FLAG_BARE : 0)) };
    memcpy(head + 2, q->of_value.b, SHORT);
    memcpy(head + 2 + SHORT, q->of_normal.b, SHORT);
    str plain = arena_cat(q->a, (str[]){ { head, sizeof head }, k->keep ? k->value : STR_NONE }, 2);
    return plain.p ? row_put(q->v, q->a, name, plain, fresh, k->at_us) : ERR_LIMIT;
}

/* What is kept under a token; a free one is taken. FOUND_FREE is not returned then, but FOUND_SAME. */
static enum err probe_token(struct probe *q, str token, bool bare, enum found *found)
{
    str plain, name = token_row(q->a, &q->key, token);
    if (!name.p)
        return ERR_LIMIT;
    for (int tries = 0; tries < 2; tries++) {
        enum err e = row_get(q->v, q->a, name, &plain);
        if (e == ERR_NOTFOUND) {
            *found = FOUND_SAME;
            if ((e = probe_put(q, name, bare, true)) != ERR_AGAIN)
                return e;
            continue;                   /* another thread took it in between */
        }
        if (e || plain.n < ROW_HEAD)
            return e ? e : ERR_STORE;
        if (memcmp(plain.p + 2, q->of_value.b, SHORT) == 0) {
            *found = FOUND_SAME;
            return q->ask->keep && !(plain.p[1] & FLAG_KEPT) ? probe_put(q, name, bare, false) : ERR_OK;
        }
        *found = memcmp(plain.p + 2 + SHORT, q->of_normal.b, SHORT) == 0 ? FOUND_SPELLING : FOUND_OTHER;
        return ERR_OK;
    }
    return ERR_STORE;
}

static enum err probe_tails(struct probe *q, str stem, char out[PLACEHOLDER_MAX], size_t *n)
{
    for (unsigned round = 0; round < PLACEHOLDER_ROUNDS; round++) {
        char text[PLACEHOLDER_MAX];
        enum found found;
        size_t k = placeholder_tail(&q->key, type_name(q->ask), stem, q->ask->value, round, text);
        enum err e = probe_token(q, (str){ text, k }, false, &found);
        if (e)
            return e;
        if (found == FOUND_SAME) {
            memcpy(out, text, k);
            *n = k;
            return ERR_OK;
        }
    }
    return ERR_INTERNAL;
}

static enum err probe_stems(struct probe *q, str normal, char out[PLACEHOLDER_MAX], size_t *n)
{
    for (unsigned round = 0; round < PLACEHOLDER_ROUNDS; round++) {
        enum found found;
        *n = placeholder_stem(&q->key, type_name(q->ask), normal, round, out);
        enum err e = probe_token(q, (str){ out, *n }, false, &found);
        if (e || found == FOUND_SAME)
            return e;
        if (found == FOUND_SPELLING) {
            char stem[PLACEHOLDER_MAX];
            memcpy(stem, out, *n);
            return probe_tails(q, (str){ stem, *n }, out, n);
        }
    }
    return ERR_INTERNAL;
}

/* ERR_NOTFOUND: there is no surrogate of this form, or none that is free. */
static enum err probe_surrogates(struct probe *q, str normal, char out[PLACEHOLDER_MAX], size_t *n)
{
    const struct vault_ask *k = q->ask;
    for (unsigned round = 0; round < PLACEHOLDER_ROUNDS; round++) {
        enum found found;
        bool has = k->form == VAULT_NUMBER ? placeholder_number(&q->key, k->type, k->value, round, out, n)
                                           : placeholder_surrogate(&q->key, k->type, normal, k->value, round, out, n);
        if (!has)
            return ERR_NOTFOUND;
        if (str_ieq((str){ out, *n }, k->value))
            continue;
        enum err e = probe_token(q, (str){ out, *n }, true, &found);
        if (e || found == FOUND_SAME)
            return e;
    }
    return ERR_NOTFOUND;
}

/* What can be put into a string of JSON, however deep, as it is. */
static bool can_be_kept(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return s.n <= PLACEHOLDER_VALUE_MAX && str_is_utf8(s);
}

static enum err make_token(struct probe *q, struct cached *slot)
{
    const struct vault_ask *k = q->ask;
    size_t n = 0;
    enum err e = ERR_NOTFOUND;
    str normal = placeholder_normal(q->a, k->type, k->value);
    if (!normal.p)
        return ERR_LIMIT;
    q->of_normal = hmac_sha256(bytes(q->key.b, sizeof q->key.b), normal);
    if (k->form != VAULT_PLACEHOLDER)
        e = probe_surrogates(q, normal, slot->text, &n);
    slot->bare = e == ERR_OK;
    if (e == ERR_NOTFOUND)
        e = k->form == VAULT_NUMBER ? ERR_RANGE : probe_stems(q, normal, slot->text, &n);
    slot->n = (uint8_t)n;
    return e;
}

enum err vault_ask_token(struct vault *v, struct arena *a, const struct vault_ask *ask, struct vault_token *out)
{
    if (!ask->value.n || (ask->keep && !can_be_kept(ask->value)) || (ask->type >= GUARD_OWN) != (ask->name.n > 0) || (ask->name.n && !guard_own_name(ask->name)))
        return ERR_RANGE;
    struct probe q = { .v = v, .a = a, .ask = ask, .key = realm_key(v, ask->realm) };
    q.of_value = hmac_sha256(bytes(q.key.b, sizeof q.key.b), ask->value);
    /* The place in the cache: what the digest says, and what was asked besides. */
    struct digest of = ask->name.n ? hmac_sha256(bytes(q.of_value.b, sizeof q.of_value.b), ask->name) : q.of_value;
    of.b[0] = (uint8_t)(of.b[0] ^ (ask->type < GUARD_OWN ? ask->type : GUARD_OWN));
    of.b[1] = (uint8_t)(of.b[1] ^ (unsigned)(ask->form << 1) ^ ask->keep);
    struct cached *slot = &v->cache[(of.b[2] | (unsigned)of.b[3] << 8) % CACHE_SLOTS];
    if (!digest_eq(&slot->of, &of)) {
        struct cached made = { .of = of };
        enum err e = make_token(&q, &made);
        if (e)
            return e;
        *slot = made;
    }
    str text = arena_str(a, (str){ slot->text, slot->n });
    if (!text.p)
        return ERR_LIMIT;
    *out = (struct vault_token){ text, slot->bare };
    return ERR_OK;
}

static enum err value_of(struct vault *v, struct arena *a, const struct digest *key, str token, struct restore_entry *out)
{
    str plain, name = token_row(a, key, token);
    if (!name.p)
        return ERR_LIMIT;
    enum err e = row_get(v, a, name, &plain);
    if (e || plain.n < ROW_HEAD || !(plain.p[1] & FLAG_KEPT) || (uint8_t)plain.p[0] >= GUARD_N_TYPES)
        return e ? e : ERR_NOTFOUND;
    *out = (struct restore_entry){ .key = token, .value = str_skip(plain, ROW_HEAD), .type = (enum guard_type)plain.p[0], .bare = plain.p[1] & FLAG_BARE };
    return ERR_OK;
}

enum err vault_knows(struct vault *v, struct arena *a, str realm, str token)
{
    struct digest key = realm_key(v, realm);
    str value, name = token.n && token.n < PLACEHOLDER_MAX ? token_row(a, &key, token) : STR_NONE;
    if (!name.p)
        return a->failed ? ERR_LIMIT : ERR_NOTFOUND;
    return v->store.get(v->store.ctx, a, name, &value);
}

enum err vault_value(struct vault *v, struct arena *a, str realm, str token, struct restore_entry *out)
{
    struct digest key = realm_key(v, realm);
    return token.n && token.n < PLACEHOLDER_MAX ? value_of(v, a, &key, token, out) : ERR_NOTFOUND;
}

/* ---- conversations ---- */

enum err vault_remember(struct vault *v, struct arena *a, str realm, str conversation, const struct restore_set *set, int64_t at_us)
{
    struct digest key = realm_key(v, realm);
    str prefix = conversation_prefix(a, &key, conversation);
    struct vault_row *rows = arena_new(a, struct vault_row, set->n + 1);
    if (!prefix.p || !rows)
        return ERR_LIMIT;
    for (size_t i = 0; i < set->n; i++) {
        rows[i].name = arena_cat(a, (str[]){ prefix, set->entries[i].key }, 2);
        if (!rows[i].name.p)
            return ERR_LIMIT;
    }
    return set->n ? v->store.put(v->store.ctx, rows, set->n, false, at_us) : ERR_OK;
}

enum err vault_recall(struct vault *v, struct arena *a, str realm, str conversation, struct restore_set *set)
{
    struct digest key = realm_key(v, realm);
    str prefix = conversation_prefix(a, &key, conversation), after = STR_NONE;
    if (!prefix.p)
        return ERR_LIMIT;
    for (size_t seen = 0; seen < VAULT_RECALL_MAX;) {
        struct vault_row *rows = NULL;
        size_t n = 0;
        enum err e = v->store.list(v->store.ctx, a, prefix, after, BATCH, &rows, &n);
        for (size_t i = 0; i < n && !e; i++) {
            struct restore_entry r;
            str token = str_skip(rows[i].name, prefix.n);
            e = token.n && token.n < PLACEHOLDER_MAX ? value_of(v, a, &key, token, &r) : ERR_STORE;
            if (!e)
                e = restore_set_add(a, set, token, r.value, r.type, r.bare);
            e = e == ERR_NOTFOUND ? ERR_OK : e;         /* forgotten meanwhile, or not to be restored */
        }
        if (e || n < BATCH)
            return e;
        after = rows[n - 1].name;
        seen += n;
    }
    return ERR_OK;
}

/* ---- care ---- */

enum err vault_reseal(struct vault *v, struct arena *a, size_t most, int64_t at_us, size_t *moved, bool *done)
{
    struct vault_row *rows = NULL;
    size_t n = 0, old = 0;
    enum err e = v->store.list(v->store.ctx, a, STR_NONE, (str){ v->cursor, v->cursor_n }, most, &rows, &n);
    for (size_t i = 0; i < n && !e; i++) {
        str plain;
        if (!rows[i].value.n || row_key(v, rows[i].value) == 0)
            continue;                   /* of a conversation, or under the new key */
        e = row_open(v, a, rows[i].name, rows[i].value, &plain);
        if (!e)
            e = row_close(v, a, rows[i].name, plain, &rows[i].value);
        rows[old++] = rows[i];
    }
    if (!e && old)
        e = v->store.put(v->store.ctx, rows, old, false, at_us);
    if (e)
        return e;
    *moved += old;
    *done = n < most;
    v->cursor_n = 0;
    if (!*done && rows[n - 1].name.n <= sizeof v->cursor) {
        v->cursor_n = rows[n - 1].name.n;
        memcpy(v->cursor, rows[n - 1].name.p, v->cursor_n);
    }
    return ERR_OK;
}

enum err vault_forget(struct vault *v, int64_t before_us)
{
    enum err e = v->store.forget(v->store.ctx, S("c:"), before_us);
    explicit_bzero(v->cache, CACHE_SLOTS * sizeof *v->cache);
    return e ? e : v->store.forget(v->store.ctx, S("t:"), before_us);
}
