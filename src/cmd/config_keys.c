/* Virtual keys as a table of options. */
#include "cmd/config_keys.h"

#include "cmd/config_guard.h"

#include <math.h>
#include <stdio.h>

#define COUNT(t) (sizeof(t) / sizeof *(t))
#define K(f)     offsetof(struct key_entry, f)

static const char *const zone_words[] = { "machine", "private", "cloud", NULL };

static const struct option key_options[] = {
    { "hash", OPTION_TEXT, K(hash), NULL, 0, 0, NULL, "sha256: and the 64 digits of the key's hash; the key itself is nowhere" },
    { "tasks", OPTION_LIST, K(tasks), NULL, 0, 0, NULL, "tasks it opens, with whatever model serves them; without tasks and models: everything" },
    { "models", OPTION_LIST, K(models), NULL, 0, 0, NULL, "models it opens" },
    { "task", OPTION_TEXT, K(task), NULL, 0, 0, NULL, "the task of calls that name no model" },
    { "zone", OPTION_WORD, K(zone), "cloud", 0, 0, zone_words, "no call of this key goes farther" },
    { "guard", OPTION_WORD, K(guard), NULL, 0, 0, guard_words, "off, detect, mask, mask+model, local or block: what is done at least about personal data before a call of this key leaves" },
    { "admin", OPTION_BOOL, K(admin), "false", 0, 0, NULL, "may read /metrics; for the rest of /hearth/… there is the admin key" },
    { "disabled", OPTION_BOOL, K(disabled), "false", 0, 0, NULL, "kept for its records, but opens nothing" },
    { "expires", OPTION_TEXT, K(expires), NULL, 0, 0, NULL, "the day from which it opens nothing: 2027-01-31 (UTC)" },
    { "requests_per_minute", OPTION_INT, K(requests_per_minute), "0", 0, 1000000000, NULL, "0: no limit" },
    { "tokens_per_minute", OPTION_INT, K(tokens_per_minute), "0", 0, INT64_C(1000000000000), NULL, "of prompts and answers together; 0: no limit" },
    { "dollars_per_day", OPTION_MONEY, K(dollars_per_day), NULL, 0, 0, NULL, "by the prices of the models; a day of UTC" },
    { "dollars_per_month", OPTION_MONEY, K(dollars_per_month), NULL, 0, 0, NULL, "a month of UTC" },
};

static bool is_key_name(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || ((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z') || memchr("._@+-", s.p[i], 5)))
            return false;
    return s.n > 0 && s.n <= 64;
}

static bool parse_hash(str s, struct digest *out) { return str_starts(s, S("sha256:")) && hex_decode(str_skip(s, 7), out->b, sizeof out->b); }

/* Days from civil (Hinnant), the inverse of what keys/account.c does. */
static bool parse_day(str s, int64_t *us)
{
    uint64_t y, m, d;
    if (s.n != 10 || s.p[4] != '-' || s.p[7] != '-' || !str_u64(str_slice(s.p, 4), &y) || !str_u64(str_slice(s.p + 5, 2), &m) || !str_u64(str_slice(s.p + 8, 2), &d) ||
        y < 1970 || m < 1 || m > 12 || d < 1 || d > 31)
        return false;
    int64_t year = (int64_t)y - (m <= 2), era = year / 400, yoe = year - era * 400;
    int64_t doy = (153 * ((int64_t)m + (m > 2 ? -3 : 9)) + 2) / 5 + (int64_t)d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    *us = (era * 146097 + doe - 719468) * INT64_C(86400000000);
    return true;
}

static enum err read_entries(struct option_reader *r, const struct yaml_node *root, struct key_file *f)
{
    size_t n = root && root->kind == YAML_MAP ? root->n : 0;
    struct digest unused;
    int64_t day;
    f->names = arena_new(r->a, str, n + 2);         /* room for one that `hearth key add` makes */
    f->entries = arena_new(r->a, struct key_entry, n + 2);
    if (!f->names || !f->entries)
        return ERR_LIMIT;
    for (const struct yaml_node *m = n ? root->first : NULL; m; m = m->next, f->n++) {
        struct key_entry *e = &f->entries[f->n];
        f->names[f->n] = m->key;
        enum err err = option_read(r, key_options, COUNT(key_options), m, NULL, e);
        if (err)
            return err;
        if (!is_key_name(m->key))
            yaml_complain(r->report, m->key_at, "a key's name has letters, digits and . _ @ + -");
        if (!parse_hash(e->hash, &unused))
            yaml_complain(r->report, m->key_at, "key %.*s needs a hash: sha256: and 64 digits, as hearth key add writes it", STR_ARG(m->key));
        if (e->expires.n && !parse_day(e->expires, &day))
            yaml_complain(r->report, m->key_at, "key %.*s: expires must be a day such as 2027-01-31", STR_ARG(m->key));
    }
    return ERR_OK;
}

enum err key_file_read(struct arena *a, const struct config_env *env, str text, const char *path, struct buf *errors, struct key_file *out)
{
    struct yaml_report report = { .out = errors, .file = str_of(path), .max = CONFIG_ERRORS };
    struct option_reader r = { .a = a, .env = env, .report = &report, .dir = str_of(env->cwd) };
    struct yaml_node *root = NULL;
    *out = (struct key_file){ .n = 0 };
    enum err e = yaml_read(a, text, &report, &root);
    if (!e && root && root->kind != YAML_MAP && !yaml_is_null(root))
        yaml_complain(&report, root->at, "the file of keys must be a map of names");
    if (!e && root && root->n > KEYS_MAX)
        yaml_complain(&report, root->at, "there are more than %d keys", KEYS_MAX);
    else if (!e)
        e = read_entries(&r, root, out);
    yaml_complain_end(&report);
    return e ? e : report.n ? ERR_SYNTAX : ERR_OK;
}

enum err key_file_load(struct arena *a, const struct config_env *env, const char *path, struct buf *errors, struct key_file *out)
{
    str text = S("");
    unsigned mode = 0600;
    enum err e = env->read(env->ctx, a, path, CONFIG_BYTES, &text, &mode);
    if (e == ERR_NOTFOUND)
        return key_file_read(a, env, S(""), path, errors, out);
    if (e != ERR_OK) {
        (void)buf_printf(errors, "%s: the file of keys cannot be read\n", path);
        return e == ERR_LIMIT ? e : ERR_IO;
    }
    if (mode & 077) {
        (void)buf_printf(errors, "%s: others can read the file of keys: chmod 600 %s\n", path, path);
        return ERR_SYNTAX;
    }
    return key_file_read(a, env, text, path, errors, out);
}

/* One line with the key itself: it is shown again to whoever may read the file. */
enum err admin_key_load(struct arena *a, const struct config_env *env, const char *path, struct buf *errors, struct key_list *out)
{
    str text;
    unsigned mode = 0;
    enum err e = env->read(env->ctx, a, path, 4096, &text, &mode);
    if (e == ERR_NOTFOUND)
        return ERR_OK;
    if (e != ERR_OK) {
        (void)buf_printf(errors, "%s: the admin key cannot be read\n", path);
        return e == ERR_LIMIT ? ERR_SYNTAX : ERR_IO;
    }
    if (mode & 077) {
        (void)buf_printf(errors, "%s: others can read the admin key: delete it, and make another one with  hearth key admin\n", path);
        return ERR_SYNTAX;
    }
    while (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    if (text.n != KEY_TEXT || !str_starts(text, S("hk-"))) {
        (void)buf_printf(errors, "%s: this is no admin key: delete it, and make one with  hearth key admin\n", path);
        return ERR_SYNTAX;
    }
    out->admin = key_hash(text);
    out->has_admin = true;
    return ERR_OK;
}

/* ---- for the gate ---- */

static int64_t micros(double dollars) { return isnan(dollars) ? -1 : (int64_t)(dollars * 1e6 + 0.5); }

static bool check_names(const struct key_file *f, size_t i, const struct policy *p, const char *path, struct buf *errors)
{
    const struct key_entry *e = &f->entries[i];
    bool good = true;
    for (size_t k = 0; k < e->tasks.n + (e->task.n > 0); k++) {
        str name = k < e->tasks.n ? e->tasks.v[k] : e->task;
        if (policy_task(p, name))
            continue;
        (void)buf_printf(errors, "%s: key %.*s: there is no task %.*s\n", path, STR_ARG(f->names[i]), STR_ARG(name));
        good = false;
    }
    for (size_t k = 0; k < e->models.n; k++)
        if (!policy_model(p, e->models.v[k])) {
            (void)buf_printf(errors, "%s: key %.*s: there is no model %.*s\n", path, STR_ARG(f->names[i]), STR_ARG(e->models.v[k]));
            good = false;
        }
    return good;
}

enum err key_file_list(struct arena *a, const struct key_file *f, const struct policy *p, const char *path, struct buf *errors, struct key_list *out)
{
    struct key *list = arena_new(a, struct key, f->n + 1);
    bool good = true;
    if (!list)
        return ERR_LIMIT;
    for (size_t i = 0; i < f->n; i++) {
        const struct key_entry *e = &f->entries[i];
        list[i] = (struct key){ .name = f->names[i], .admin = e->admin, .disabled = e->disabled, .tasks = e->tasks.v, .n_tasks = e->tasks.n, .models = e->models.v,
                                .n_models = e->models.n, .default_task = e->task, .ceiling = (enum zone)e->zone, .guard = (int)guard_rules_of(e->guard).action, .requests_per_minute = e->requests_per_minute,
                                .tokens_per_minute = e->tokens_per_minute, .micros_per_day = micros(e->dollars_per_day), .micros_per_month = micros(e->dollars_per_month) };
        (void)parse_hash(e->hash, &list[i].hash);
        if (e->expires.n)
            (void)parse_day(e->expires, &list[i].expires_us);
        good = check_names(f, i, p, path, errors) && good;
    }
    keys_sort(list, f->n);
    out->keys = list;
    out->n = f->n;
    return good ? ERR_OK : ERR_SYNTAX;
}

/* ---- writing ---- */

static enum err write_file(const struct key_file *f, struct buf *yaml, struct buf *text)
{
    struct json_out o;
    json_out_init(&o, text);
    json_open(&o, '{');
    struct option_writer w = { yaml, &o, 0 };
    for (size_t i = 0; i < f->n; i++) {
        option_open(&w, f->names[i]);
        option_write(&w, key_options, COUNT(key_options), &f->entries[i]);
        option_close(&w);
    }
    json_close(&o, '}');
    return o.err ? o.err : yaml->failed ? ERR_LIMIT : ERR_OK;
}

enum err key_file_text(const struct key_file *f, struct buf *out)
{
    struct buf unused = { .max = 8u << 20 };
    enum err e = buf_put(out, S("# Written by `hearth key`. Hashes only: a key that is lost is replaced, not read here.\n"));
    if (e == ERR_OK)
        e = write_file(f, out, &unused);
    buf_free(&unused);
    return e;
}

enum err key_file_json(const struct key_file *f, struct buf *out)
{
    struct buf unused = { .max = 8u << 20 };
    enum err e = write_file(f, &unused, out);
    buf_free(&unused);
    return e;
}

void key_file_manual(struct buf *b)
{
    option_manual(b, "keys.file: NAME:", "The file of keys is written by `hearth key`, beside the ledger unless `keys: { file: … }` says otherwise, and read again when it changes.\n"
                                         "As soon as it holds a key, calls over TCP need one (`keys: { required: false }` makes them optional). Commands of the owner use the command\n"
                                         "socket and need none.", key_options, COUNT(key_options));
}
