/* The way of a pull: what is there, which files, each one fetched into its .part, checked, renamed, recorded. */
#include "fleet/pull.h"

#include "core/clock.h"
#include "core/gguf.h"
#include "fleet/fleet.h"
#include "fleet/join.h"
#include "fleet/local.h"
#include "fleet/part.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { EVENT_MS = 100, SAVE_MS = 1000, HASH_PIECE = 32 << 20, ADDRESS = DOWNLOAD_URL };
#define SPARE_BYTES (64u << 20)         /* left free on the disk */

struct wanted {                         /* one file */
    char name[SOURCE_NAME + 1];         /* here */
    const char *url;
    uint64_t size;                      /* 0: not known */
    struct digest digest;
    bool has_digest;
};

struct puller {
    struct arena *a;
    const struct pull_options *o;
    const struct source *s;
    struct downloader *d;
    struct pulled *out;
    char *why;
    int dir;
    struct wanted *files;
    uint32_t n, at;
    struct part *part;
    struct local_record record;         /* what all files have in common */
    int64_t told_ms, saved_ms;
    bool begun, stopped;                /* begun: the server has said what it sends */
};

static enum err fail(struct puller *p, enum err e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static enum err fail(struct puller *p, enum err e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->why, PULL_WHY, fmt, ap);
    va_end(ap);
    return e;
}

static int64_t now_ms(void) { return clock_mono_us(&clock_system) / 1000; }

static bool tell(struct puller *p, struct pull_event e)
{
    if (p->files) {
        bool joined = p->at == p->n;    /* the one that comes of all */
        e.file = p->files[p->at].name;
        e.index = joined ? 1 : p->at + 1;
        e.count = joined ? 1 : p->n;
    }
    if (p->o->on_event && !p->o->on_event(p->o->ctx, &e))
        p->stopped = true;
    return !p->stopped;
}

/* ---- while bytes come ---- */

static bool on_tick(void *ctx)
{
    struct puller *p = ctx;
    int64_t now = now_ms();
    if (now - p->told_ms < EVENT_MS)
        return !p->stopped;
    p->told_ms = now;
    if (!p->part || !p->begun)
        return tell(p, (struct pull_event){ .step = PULL_LISTING });
    /* A failure of the disk shows at the next write; the digest is taken up again at the end. */
    (void)part_hash(p->part, HASH_PIECE);
    if (now - p->saved_ms >= SAVE_MS) {
        (void)part_save(p->part);
        p->saved_ms = now;
    }
    return tell(p, (struct pull_event){ .step = PULL_PROGRESS, .done = part_come(p->part), .total = part_size(p->part) });
}

static void on_retry(void *ctx, const char *why, int64_t wait_ms)
{
    (void)tell(ctx, (struct pull_event){ .step = PULL_RETRY, .why = why, .wait_ms = wait_ms });
}

static enum err check_space(struct puller *p, uint64_t size)
{
    struct statvfs v;
    uint64_t have = part_on_disk(p->part), need = size > have ? size - have : 0;
    for (uint32_t i = p->at + 1; i < p->n; i++)
        need += p->files[i].size;
    if (fstatvfs(p->dir, &v) != 0)
        return ERR_OK;                  /* the disk itself will say */
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    if (need + SPARE_BYTES <= room || need == 0)
        return ERR_OK;
    return fail(p, ERR_IO, "%s has %llu MB free and %llu MB are still to come: make room, or set models_dir to another disk", p->o->folder,
                (unsigned long long)room / 1000000, (unsigned long long)need / 1000000);
}

static enum err on_begin(void *ctx, uint64_t size, str tag, bool ranges, const struct download_reply *r)
{
    struct puller *p = ctx;
    struct wanted *w = &p->files[p->at];
    struct digest said;
    bool says = *r->digest && source_digest(str_of(r->digest), &said);
    if (says && w->has_digest && !digest_eq(&said, &w->digest))
        return fail(p, ERR_UPSTREAM, "%s has another SHA-256 at the hub now (%s) than its list says: try again", w->name, r->digest);
    if (*r->commit)
        p->record.commit = arena_str(p->a, str_of(r->commit));
    if (says && !w->has_digest) {
        w->digest = said;
        w->has_digest = true;
    }
    enum err e = part_begin(p->part, size, tag, ranges);
    if (e != ERR_OK)
        return fail(p, e, "%s cannot be this long: %llu bytes", w->name, (unsigned long long)size);
    e = check_space(p, size);
    if (e != ERR_OK)
        return e;
    p->begun = true;
    return tell(p, (struct pull_event){ .step = PULL_BEGIN, .done = part_come(p->part), .total = size }) ? ERR_OK : ERR_CLIENT;
}

static bool on_next(void *ctx, uint64_t *from, uint64_t *to) { return part_next(((struct puller *)ctx)->part, from, to); }
static void on_put_back(void *ctx, uint64_t from) { part_put_back(((struct puller *)ctx)->part, from); }

static enum err on_data(void *ctx, uint64_t at, str data)
{
    struct puller *p = ctx;
    enum err e = part_write(p->part, at, data);
    return e == ERR_IO ? fail(p, e, "%s", part_why(p->part)) : e;
}

static bool on_wait(void *ctx)
{
    return tell(ctx, (struct pull_event){ .step = PULL_WAITING });
}

/* ---- what a refusal means ---- */

static enum err explain(struct puller *p, enum err e, const struct download_reply *r)
{
    const char *token = p->o->rules.token && *p->o->rules.token ? "HF_TOKEN may not read it" : "set HF_TOKEN to a token that may read it";
    if (e != ERR_UPSTREAM || (r->status != 401 && r->status != 403 && r->status != 404 && r->status != 410))
        return fail(p, e, "%s", downloader_why(p->d));
    if (p->s->kind == SOURCE_REGISTRY)
        return fail(p, ERR_NOTFOUND, r->status == 404 ? "the registry has no model %.*s: %s" : "the registry does not give %.*s to everybody: %s", STR_ARG(p->s->text), downloader_why(p->d));
    if (p->s->kind == SOURCE_URL)
        return fail(p, ERR_NOTFOUND, "%s", downloader_why(p->d));
    if (strcmp(r->code, "GatedRepo") == 0 || (r->status == 403 && !*r->code))
        return fail(p, ERR_NOTFOUND, "%.*s is gated: accept its terms at %s/%.*s; then %s (%s)", STR_ARG(p->s->repo), p->o->hub, STR_ARG(p->s->repo), token, downloader_why(p->d));
    if (strcmp(r->code, "RevisionNotFound") == 0)
        return fail(p, ERR_NOTFOUND, "%.*s has no revision %.*s", STR_ARG(p->s->repo), STR_ARG(p->s->revision));
    return fail(p, ERR_NOTFOUND, "the hub has no repository %.*s, or it is private: %s (%s)", STR_ARG(p->s->repo), token, downloader_why(p->d));
}

static enum err ask(struct puller *p, const char *url, const char *accept, size_t max, struct download_reply *r)
{
    if (!tell(p, (struct pull_event){ .step = PULL_LISTING }))
        return fail(p, ERR_CLIENT, "stopped");
    enum err e = download_text(p->d, p->a, url, accept, max, r);
    return e == ERR_OK ? e : explain(p, e, r);
}

/* ---- what there is ---- */

static enum err new_files(struct puller *p, uint32_t n)
{
    p->files = arena_new(p->a, struct wanted, n + 1);        /* one more: what they are joined to */
    p->n = n;
    return p->files ? ERR_OK : fail(p, ERR_LIMIT, "%s", err_text(ERR_LIMIT));
}

static const char *kept(struct puller *p, struct buf *b)
{
    const char *text = arena_cstr(p->a, buf_str(b));
    buf_free(b);
    return text ? text : "";
}

static enum err list_hub(struct puller *p, struct source_list *l)
{
    struct buf url = { .max = ADDRESS };
    struct download_reply r = { .status = 0 };
    enum { PAGES = 64 };
    enum err e = source_hub_list_url(&url, str_of(p->o->hub), p->s);
    const char *next = kept(p, &url);
    for (int i = 0; e == ERR_OK && *next; i++) {
        if (i == PAGES)
            return fail(p, ERR_UPSTREAM, "the hub's list of %.*s does not end", STR_ARG(p->s->repo));
        e = ask(p, next, "application/json", SOURCE_LISTING, &r);
        if (e == ERR_OK && (e = source_add_page(p->a, r.body, l)) != ERR_OK)
            return fail(p, e, e == ERR_LIMIT ? "the hub's list of %.*s is too large" : "the hub's list of %.*s cannot be read", STR_ARG(p->s->repo));
        next = arena_cstr(p->a, str_of(r.next));
        if (!next)
            return fail(p, ERR_LIMIT, "%s", err_text(ERR_LIMIT));
    }
    return e;
}

static enum err plan_hub(struct puller *p)
{
    struct source_list l = { .n = 0 };
    struct buf names = { .max = PULL_WHY - 200 };
    const struct source_file *found;
    size_t n;
    enum err e = list_hub(p, &l);
    if (e == ERR_OK && (e = source_choose(p->a, &l, p->s->want, &found, &n, &names)) != ERR_OK)
        (void)fail(p, e, "%.*s: %.*s%s", STR_ARG(p->s->repo), STR_ARG(buf_str(&names)), e == ERR_RANGE ? "; name one: hf:OWNER/REPO:FILE.gguf" : "");
    buf_free(&names);
    if (e == ERR_OK)
        e = new_files(p, (uint32_t)n);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct buf url = { .max = ADDRESS };
        struct wanted *w = &p->files[i];
        e = source_hub_file_url(&url, str_of(p->o->hub), p->s, found[i].path);
        w->url = kept(p, &url);
        w->size = found[i].size;
        w->digest = found[i].digest;
        w->has_digest = found[i].has_digest;
        if (e != ERR_OK || !source_file_name(found[i].path, w->name))
            e = fail(p, ERR_UPSTREAM, "the name of a file in %.*s cannot be used", STR_ARG(p->s->repo));
    }
    return e;
}

/* A layer that is a text; it is small, and its digest is checked as any other. */
static enum err fetch_layer(struct puller *p, const struct source_manifest *m, enum source_layer k, const char *base, str *out)
{
    char hex[HEX_DIGEST];
    struct download_reply r = { .status = 0 };
    if (!m->layers[k].there)
        return ERR_OK;
    hex_encode(m->layers[k].digest.b, sizeof m->layers[k].digest.b, hex);
    const char *url = arena_cstr(p->a, arena_printf(p->a, "%s/blobs/sha256:%.*s", base, HEX_DIGEST, hex));
    enum err e = url ? ask(p, url, NULL, SOURCE_LAYER, &r) : ERR_LIMIT;
    if (e != ERR_OK)
        return e;
    struct digest got = sha256_of(r.body);
    if (!digest_eq(&got, &m->layers[k].digest))
        return fail(p, ERR_UPSTREAM, "a layer of %.*s has not the SHA-256 that its manifest says: %.*s", STR_ARG(p->s->text), HEX_DIGEST, hex);
    *out = r.body;
    return ERR_OK;
}

static enum err plan_registry(struct puller *p)
{
    const struct source *s = p->s;
    struct source_manifest m;
    struct download_reply r = { .status = 0 };
    const char *why;
    char hex[HEX_DIGEST];
    str root = s->host.n ? arena_printf(p->a, "https://%.*s", STR_ARG(s->host)) : str_of(p->o->registry);
    while (root.n && root.p[root.n - 1] == '/')
        root.n--;
    const char *base = arena_cstr(p->a, arena_printf(p->a, "%.*s/v2/%.*s/%.*s", STR_ARG(root), STR_ARG(s->space), STR_ARG(s->name)));
    const char *url = base ? arena_cstr(p->a, arena_printf(p->a, "%s/manifests/%.*s", base, STR_ARG(s->tag))) : NULL;
    enum err e = url ? ask(p, url, "application/vnd.docker.distribution.manifest.v2+json", SOURCE_MANIFEST, &r) : ERR_LIMIT;
    if (e == ERR_OK && (e = source_manifest(p->a, r.body, &m, &why)) != ERR_OK)
        return fail(p, e, "%.*s: %s", STR_ARG(s->text), why);
    if (e == ERR_OK)
        e = fetch_layer(p, &m, LAYER_TEMPLATE, base, &p->record.template);
    if (e == ERR_OK)
        e = fetch_layer(p, &m, LAYER_PARAMS, base, &p->record.params);
    if (e == ERR_OK)
        e = fetch_layer(p, &m, LAYER_SYSTEM, base, &p->record.system);
    if (e == ERR_OK)
        e = new_files(p, 1);
    if (e != ERR_OK)
        return e;
    hex_encode(m.layers[LAYER_MODEL].digest.b, 32, hex);
    p->files[0] = (struct wanted){ .url = arena_cstr(p->a, arena_printf(p->a, "%s/blobs/sha256:%.*s", base, HEX_DIGEST, hex)), .size = m.layers[LAYER_MODEL].size,
                                   .digest = m.layers[LAYER_MODEL].digest, .has_digest = true };
    p->out->projector = m.layers[LAYER_PROJECTOR].there;
    str file = arena_printf(p->a, "%.*s-%.*s.gguf", STR_ARG(s->name), STR_ARG(s->tag));
    if (!str_eq(s->space, S("library")))
        file = arena_printf(p->a, "%.*s-%.*s", STR_ARG(s->space), STR_ARG(file));
    return p->files[0].url && file.p && source_file_name(file, p->files[0].name) ? ERR_OK : fail(p, ERR_LIMIT, "%s", err_text(ERR_LIMIT));
}

static enum err plan_url(struct puller *p)
{
    str url = p->s->path, path = url;
    const char *why;
    enum err e = new_files(p, 1);
    if (e != ERR_OK)
        return e;
    p->files[0].url = arena_cstr(p->a, url);
    if (download_check_url(p->files[0].url, &why) != ERR_OK)
        return fail(p, ERR_FORBIDDEN, "%.*s: %s", STR_ARG(url), why);
    path.n = str_index(path, '?') < str_index(path, '#') ? str_index(path, '?') : str_index(path, '#');
    if (!source_file_name(path, p->files[0].name) || !str_ends(str_of(p->files[0].name), S(".gguf")))
        return p->o->name ? ERR_OK : fail(p, ERR_SYNTAX, "the address does not end in a name like model.gguf: say what it is called with --name");
    return ERR_OK;
}

/* ---- names ---- */

/* The name that a model gets without being told one: the registry's, or that of its file. */
static enum err default_name(struct buf *b, const struct source *s, str file)
{
    str stem = { file.p, file.n - (str_ends(file, S(".gguf")) ? 5 : 0) };
    uint32_t no, count;
    if (s->kind == SOURCE_REGISTRY)
        return source_registry_name(b, s->host, s->space, s->name, s->tag);
    (void)gguf_split_name(file, &stem, &no, &count);
    return source_model_name(b, stem);
}

/* The names of the files that clients will know as p->o->name. */
static enum err rename_files(struct puller *p)
{
    char stem[SOURCE_NAME + 1];
    for (uint32_t i = 0; i < p->n; i++) {
        snprintf(stem, sizeof stem, "%s", p->o->name);
        for (char *c = stem; *c; c++)
            *c = *c == '/' || *c == ':' || *c == '@' ? '-' : *c;
        int n = p->n == 1 ? snprintf(p->files[i].name, sizeof p->files[i].name, "%.180s.gguf", stem)
                          : snprintf(p->files[i].name, sizeof p->files[i].name, "%.180s-%05u-of-%05u.gguf", stem, i + 1, p->n);
        if (n < 0 || !source_is_part(str_of(p->files[i].name)) || !source_is_client_name(str_of(p->o->name)))
            return fail(p, ERR_SYNTAX, "a model cannot be called \"%s\": letters, digits and . _ - : /", p->o->name);
    }
    return ERR_OK;
}

static enum err name_model(struct puller *p)
{
    struct buf b = { .max = 300 };
    enum err e = p->o->name ? rename_files(p) : ERR_OK;
    if (e == ERR_OK)
        e = p->o->name ? buf_put(&b, str_of(p->o->name)) : default_name(&b, p->s, str_of(p->files[0].name));
    p->record.name = arena_str(p->a, buf_str(&b));
    p->record.source = p->s->text;
    if (p->s->kind == SOURCE_URL)       /* what is behind the path may be a secret */
        p->record.source.n = str_index(p->record.source, '?');
    buf_free(&b);
    return e;
}

/* ---- one file ---- */

static enum err read_facts(struct puller *p, int fd, const char *name)
{
    struct buf head = { .max = GGUF_HEAD_MAX };
    struct gguf_facts f;
    const char *why = "";
    enum err e = local_read_head(fd, &head, &f, &why);
    if (e != ERR_OK)
        (void)fail(p, e == ERR_IO ? e : ERR_SYNTAX, "%s is not a model that can be used: %s", name, why);
    else if (f.type.n && !str_eq(f.type, S("model")))
        e = fail(p, ERR_SYNTAX, "%s is not a language model: its general.type is %.*s", name, STR_ARG(f.type));
    if (e == ERR_OK) {
        bool whole = p->at == p->n;     /* joined */
        p->out->parameters = whole ? f.parameters : p->out->parameters + f.parameters;
        if (p->at == 0 || whole) {
            const char *family = f.chat_template.n ? NULL : source_template_family(p->record.template);
            p->out->architecture = arena_str(p->a, f.architecture);
            p->out->file_type = f.file_type;
            p->out->context = f.context;
            p->out->has_template = f.chat_template.n > 0;
            p->out->family = str_of(family);
        }
    }
    buf_free(&head);
    return e;
}

/* NAME.json beside the file, whole or not at all. */
static enum err write_record(struct puller *p, const char *name, uint64_t size, const struct digest *digest, bool announced)
{
    struct local_record r = p->record;
    struct buf b = { .max = LOCAL_RECORD };
    char record[SOURCE_NAME + 16], fresh[SOURCE_NAME + 20];
    r.digest = *digest;
    r.announced = announced;
    r.size = size;
    r.url = str_of(p->files[p->at].url);
    r.url.n = str_index(r.url, '?');
    if (p->at < p->n)                   /* the whole's alone */
        r.parts = STR_NONE;
    r.pulled_us = clock_wall_us(&clock_system);
    local_record_write(&b, &r);
    snprintf(record, sizeof record, "%s.json", name);
    snprintf(fresh, sizeof fresh, "%s.json.new", name);
    int fd = openat(p->dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
    bool ok = fd >= 0 && b.p && write(fd, b.p, b.n) == (ssize_t)b.n && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    ok = ok && renameat(p->dir, fresh, p->dir, record) == 0;
    buf_free(&b);
    return ok ? ERR_OK : fail(p, ERR_IO, "cannot write %s: %s", record, strerror(errno));
}

static enum err file_done(struct puller *p, int fd, uint64_t size, const struct digest *digest, bool announced, bool have)
{
    const struct wanted *w = &p->files[p->at];
    enum err e = have ? ERR_OK : write_record(p, w->name, size, digest, announced);
    if (e != ERR_OK)
        return e;
    if (p->o->digests)                  /* it was hashed here: loading it need not do that again */
        fleet_digest_note(fd, p->o->digests, digest);
    p->out->bytes = p->at < p->n ? p->out->bytes + size : size;
    if (p->at == 0 || p->at == p->n) {
        p->out->digest = *digest;
        p->out->announced = announced;
    }
    p->out->have &= have;
    (void)tell(p, (struct pull_event){ .step = have ? PULL_HAVE : PULL_FILE, .done = size, .total = size, .digest = digest });
    return ERR_OK;
}

/* A file that has the name already. ERR_OK and *there: it is the one that is wanted. *replace: an older one from the same source. */
static enum err look_for(struct puller *p, bool *there, bool *replace)
{
    assert(p->files);
    struct wanted *w = &p->files[p->at];
    struct local_record r;
    struct digest got;
    struct stat st;
    bool cached;
    *there = *replace = false;
    int fd = openat(p->dir, w->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : fail(p, ERR_IO, "%s/%s: %s", p->o->folder, w->name, strerror(errno));
    bool known = local_record_read(p->a, p->dir, w->name, &r) == ERR_OK && fstat(fd, &st) == 0 && (uint64_t)st.st_size == r.size;
    enum err e = fleet_digest_file(fd, p->o->digests, &got, &cached);
    bool same_source = known && str_eq(r.source, p->record.source);
    if (e != ERR_OK)
        (void)fail(p, e, "%s/%s cannot be read", p->o->folder, w->name);
    else if (w->has_digest ? digest_eq(&got, &w->digest) : same_source && digest_eq(&got, &r.digest))
        *there = true;
    else if (same_source)
        *replace = true;
    else
        e = fail(p, ERR_FORBIDDEN, "another model is called %s already (from %.*s): give this one a name with --name, or remove that one with: hearth rm %.*s", w->name,
                 known ? (int)r.source.n : 9, known ? r.source.p : "elsewhere", STR_ARG(p->record.name));
    if (e == ERR_OK && *there && (e = read_facts(p, fd, w->name)) == ERR_OK && fstat(fd, &st) == 0)
        e = file_done(p, fd, (uint64_t)st.st_size, &got, w->has_digest, known);
    close(fd);
    return e;
}

static enum err check_part(struct puller *p, struct digest *got)
{
    const struct wanted *w = &p->files[p->at];
    char is[HEX_DIGEST], wants[HEX_DIGEST];
    enum err e = ERR_AGAIN;
    while (e == ERR_AGAIN) {
        if (!tell(p, (struct pull_event){ .step = PULL_CHECKING, .done = part_hashed(p->part), .total = part_size(p->part) }))
            return fail(p, ERR_CLIENT, "stopped");
        e = part_hash(p->part, HASH_PIECE);
    }
    e = part_digest(p->part, got);
    if (e != ERR_OK)
        return fail(p, e, "%s", e == ERR_IO ? part_why(p->part) : "not all of the file has come");
    if (!w->has_digest || digest_eq(got, &w->digest))
        return ERR_OK;
    hex_encode(got->b, sizeof got->b, is);
    hex_encode(w->digest.b, sizeof w->digest.b, wants);
    return fail(p, ERR_UPSTREAM, "%s has not the SHA-256 that was announced, so it is thrown away: announced %.*s, came %.*s", w->name, HEX_DIGEST, wants, HEX_DIGEST, is);
}

static enum err finish_part(struct puller *p, bool replace)
{
    struct wanted *w = &p->files[p->at];
    struct digest got;
    enum err e = check_part(p, &got);
    if (e == ERR_OK)
        e = read_facts(p, part_fd(p->part), w->name);
    if (e == ERR_UPSTREAM || e == ERR_SYNTAX)
        part_drop(p->part);             /* bytes that are wrong are worth nothing next time */
    if (e == ERR_OK && (e = part_finish(p->part, replace)) != ERR_OK)
        (void)fail(p, e, "%s", part_why(p->part));
    return e == ERR_OK ? file_done(p, part_fd(p->part), part_size(p->part), &got, w->has_digest, false) : e;
}

static enum err fetch_into_part(struct puller *p, bool replace)
{
    struct wanted *w = &p->files[p->at];
    struct download_sink sink = { .ctx = p, .on_begin = on_begin, .next = on_next, .on_data = on_data, .put_back = on_put_back, .size = w->size, .by_digest = w->has_digest };
    struct download_reply r = { .status = 0 };
    bool resumed = part_come(p->part) > 0;
    enum err e = part_size(p->part) ? check_space(p, part_size(p->part)) : ERR_OK;
    if (e != ERR_OK)
        return e;
    p->why[0] = '\0';
    p->begun = false;
    e = download_file(p->d, w->url, &sink, &r);
    if (e == ERR_UPSTREAM && r.status == 416 && resumed && !*p->why) {      /* it has become shorter since */
        part_drop(p->part);
        return ERR_AGAIN;
    }
    if (e == ERR_CLIENT)
        return fail(p, e, "stopped: the same command goes on from here");
    if (e != ERR_OK)
        return *p->why ? e : explain(p, e, &r);
    return finish_part(p, replace);
}

static enum err fetch_file(struct puller *p)
{
    struct wanted *w = &p->files[p->at];
    bool there, replace;
    char why[256];
    for (int i = 0; i < 5; i++) {
        enum err e = look_for(p, &there, &replace);
        if (e != ERR_OK || there)
            return e;
        struct part_wish wish = { .source = p->record.source, .size = w->size, .digest = w->has_digest ? &w->digest : NULL };
        e = part_open(p->dir, w->name, &wish, on_wait, p, &p->part, why);
        if (e == ERR_AGAIN)             /* another process has just ended with it */
            continue;
        if (e != ERR_OK)
            return fail(p, e, "%s", e == ERR_CLIENT ? "stopped" : why);
        e = fetch_into_part(p, replace);
        part_close(p->part);
        p->part = NULL;
        if (e != ERR_AGAIN)
            return e;
    }
    return fail(p, ERR_BUSY, "%s changes all the time: other processes fetch it too", w->name);
}

/* ---- a model of several files ---- */

/* The digests of its files, so that a later pull knows whether the whole is made of the same. Empty: one was not announced. */
static str parts_text(struct puller *p)
{
    struct buf b = { .max = SOURCE_SPLIT * (HEX_DIGEST + 1) };
    char hex[HEX_DIGEST];
    bool all = true;
    for (uint32_t i = 0; i < p->n; i++) {
        hex_encode(p->files[i].digest.b, sizeof p->files[i].digest.b, hex);
        all &= p->files[i].has_digest && buf_printf(&b, "%s%.*s", i ? " " : "", HEX_DIGEST, hex) == ERR_OK;
    }
    str text = all ? arena_str(p->a, buf_str(&b)) : STR_NONE;
    buf_free(&b);
    return text;
}

/* The file that all become: *there, made of the same; *replace, made of older ones. */
static enum err look_for_whole(struct puller *p, bool *there, bool *replace)
{
    struct wanted *w = &p->files[p->n];
    struct local_record r;
    struct stat st;
    str stem;
    uint32_t no, count;
    *there = *replace = false;
    if (!gguf_split_name(str_of(p->files[0].name), &stem, &no, &count))
        return fail(p, ERR_UPSTREAM, "the names of the model's files do not belong together");
    *w = (struct wanted){ .url = p->files[0].url };
    snprintf(w->name, sizeof w->name, "%.*s.gguf", STR_ARG(stem));
    p->record.parts = parts_text(p);
    int fd = openat(p->dir, w->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ERR_OK;
    bool known = local_record_read(p->a, p->dir, w->name, &r) == ERR_OK && fstat(fd, &st) == 0 && (uint64_t)st.st_size == r.size && str_eq(r.source, p->record.source);
    *there = known && p->record.parts.n && str_eq(r.parts, p->record.parts);
    *replace = known;
    enum err e = known ? ERR_OK : fail(p, ERR_FORBIDDEN, "another model is called %s already: give this one a name with --name, or remove that one with: hearth rm %.*s", w->name, STR_ARG(p->record.name));
    if (*there) {
        p->at = p->n;
        p->out->joined = p->n;
        e = read_facts(p, fd, w->name);
        if (e == ERR_OK)
            e = file_done(p, fd, r.size, &r.digest, false, true);
    }
    close(fd);
    return e;
}

static enum err write_joined(void *ctx, uint64_t at, str data)
{
    struct puller *p = ctx;
    enum err e = on_data(p, at, data);
    if (e != ERR_OK || now_ms() - p->told_ms < EVENT_MS)
        return e;
    p->told_ms = now_ms();
    e = part_hash(p->part, HASH_PIECE);
    if (!tell(p, (struct pull_event){ .step = PULL_JOINING, .done = part_come(p->part), .total = part_size(p->part) }))
        return fail(p, ERR_CLIENT, "stopped");
    return e == ERR_AGAIN ? ERR_OK : e;
}

static void remove_parts(struct puller *p)
{
    char record[SOURCE_NAME + 16];
    for (uint32_t i = 0; i < p->n; i++) {
        snprintf(record, sizeof record, "%s.json", p->files[i].name);
        (void)unlinkat(p->dir, p->files[i].name, 0);
        (void)unlinkat(p->dir, record, 0);
    }
}

static enum err join_into_part(struct puller *p, const struct join *j, bool replace)
{
    struct part_wish wish = { .source = p->record.source };
    char why[256];
    enum err e = part_open(p->dir, p->files[p->n].name, &wish, on_wait, p, &p->part, why);
    if (e != ERR_OK)
        return fail(p, e, "%s", e == ERR_AGAIN ? "another process joins the model's files" : why);
    e = part_begin(p->part, join_size(j), STR_NONE, false);
    if (e == ERR_OK && check_space(p, join_size(j)) != ERR_OK) {
        part_close(p->part);            /* it stays split; the output says how it is joined by hand */
        p->part = NULL;
        return ERR_OK;
    }
    if (e == ERR_OK)
        e = join_write(j, write_joined, p);
    if (e == ERR_IO && !*p->why)
        (void)fail(p, e, "a file of the model cannot be read again");
    if (e == ERR_OK && (e = finish_part(p, replace)) == ERR_OK) {
        p->out->joined = p->n;
        remove_parts(p);
    }
    part_close(p->part);
    p->part = NULL;
    return e;
}

static enum err join_files(struct puller *p, bool replace)
{
    int fds[SOURCE_SPLIT];
    uint32_t open_files = 0;
    struct join *j = NULL;
    const char *why = "";
    enum err e = ERR_OK;
    for (; e == ERR_OK && open_files < p->n; open_files++)
        if ((fds[open_files] = openat(p->dir, p->files[open_files].name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0) {
            e = fail(p, ERR_IO, "%s: %s", p->files[open_files].name, strerror(errno));
            break;
        }
    p->at = p->n;
    p->why[0] = '\0';
    if (e == ERR_OK && (e = join_plan(fds, p->n, &j, &why)) != ERR_OK)
        (void)fail(p, e, "the files of the model cannot be joined: %s", why);
    if (e == ERR_OK)
        e = join_into_part(p, j, replace);
    join_free(j);
    while (open_files > 0)
        close(fds[--open_files]);
    return e;
}

static enum err fetch_all(struct puller *p)
{
    bool there = false, replace = false;
    enum err e = p->n > 1 ? look_for_whole(p, &there, &replace) : ERR_OK;
    if (e != ERR_OK || there)
        return e;
    for (p->at = 0; e == ERR_OK && p->at < p->n; p->at++)
        e = fetch_file(p);
    return e == ERR_OK && p->n > 1 ? join_files(p, replace) : e;
}

/* ---- a file of this machine ---- */

static enum err copy_into_part(struct puller *p, int from, uint64_t size)
{
    enum { PIECE = 1 << 20 };
    char *piece = malloc(PIECE);
    enum err e = piece ? part_begin(p->part, size, STR_NONE, false) : ERR_MEMORY;
    p->begun = true;
    if (e == ERR_OK)
        e = check_space(p, size);
    for (uint64_t at = 0; e == ERR_OK && at < size;) {
        ssize_t n = pread(from, piece, PIECE, (off_t)at);
        if (n <= 0) {
            e = fail(p, ERR_IO, "%.*s cannot be read: %s", STR_ARG(p->s->path), n < 0 ? strerror(errno) : "it has become shorter");
            break;
        }
        e = on_data(p, at, str_slice(piece, (size_t)n));
        at += (uint64_t)n;
        if (e == ERR_OK && !on_tick(p))
            e = fail(p, ERR_CLIENT, "stopped");
    }
    free(piece);
    return e;
}

/* A second name for the very file that was looked at. False: the disk does not want to, so it is copied. */
static bool link_file(struct puller *p, int fd)
{
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return !p->o->copy && linkat(AT_FDCWD, self, p->dir, p->files[0].name, AT_SYMLINK_FOLLOW) == 0;
}

static enum err import_copy(struct puller *p, int fd, uint64_t size)
{
    struct part_wish wish = { .source = p->record.source, .size = size, .digest = p->files[0].has_digest ? &p->files[0].digest : NULL };
    char why[256];
    enum err e = part_open(p->dir, p->files[0].name, &wish, on_wait, p, &p->part, why);
    if (e != ERR_OK)
        return fail(p, e, "%s", e == ERR_AGAIN ? "another process imports it" : why);
    e = copy_into_part(p, fd, size);
    if (e == ERR_OK)
        e = finish_part(p, false);
    part_close(p->part);
    p->part = NULL;
    return e;
}

static enum err import_open(struct puller *p, int fd)
{
    struct wanted *w = &p->files[0];
    struct stat st;
    struct digest got;
    bool there, replace, cached;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        return fail(p, ERR_NOTFOUND, "%.*s is not a file", STR_ARG(p->s->path));
    if (!tell(p, (struct pull_event){ .step = PULL_CHECKING, .total = (uint64_t)st.st_size }))
        return fail(p, ERR_CLIENT, "stopped");
    enum err e = fleet_digest_file(fd, p->o->digests, &got, &cached);
    if (e != ERR_OK)
        return fail(p, e, "%.*s cannot be read, or changes while it is", STR_ARG(p->s->path));
    if (w->has_digest && !digest_eq(&got, &w->digest))
        return fail(p, ERR_UPSTREAM, "%.*s has not the SHA-256 that was asked for", STR_ARG(p->s->path));
    w->digest = got;
    bool announced = w->has_digest;
    w->has_digest = true;
    e = look_for(p, &there, &replace);
    if (e != ERR_OK || there)
        return e;
    if (replace)
        return fail(p, ERR_FORBIDDEN, "%s is there already with other contents: hearth rm %.*s first", w->name, STR_ARG(p->record.name));
    e = read_facts(p, fd, w->name);
    if (e != ERR_OK)
        return e;
    if (!link_file(p, fd)) {
        p->out->parameters = 0;
        return import_copy(p, fd, (uint64_t)st.st_size);
    }
    return file_done(p, fd, (uint64_t)st.st_size, &got, announced, false);
}

static enum err import_file(struct puller *p)
{
    const char *path = arena_cstr(p->a, p->s->path), *home = getenv("HOME");
    if (path && str_starts(p->s->path, S("~/")) && home)
        path = arena_cstr(p->a, arena_printf(p->a, "%s%s", home, path + 1));
    enum err e = new_files(p, 1);
    if (e != ERR_OK || !path)
        return e;
    str stem;
    uint32_t no, count;
    bool named = source_file_name(p->s->path, p->files[0].name);
    if (!named || !str_ends(str_of(p->files[0].name), S(".gguf"))) {
        if (!p->o->name)
            return fail(p, ERR_SYNTAX, "%s does not end in .gguf: say what it is called with --name", path);
    } else if (gguf_split_name(str_of(p->files[0].name), &stem, &no, &count) && count > 1) {
        return fail(p, ERR_SYNTAX, "%s is one of %u files of a model: join them first (llama-gguf-split --merge)", path, count);
    }
    if (p->o->digest) {
        p->files[0].digest = *p->o->digest;
        p->files[0].has_digest = true;
    }
    e = name_model(p);
    int fd = e == ERR_OK ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (e == ERR_OK && fd < 0)
        return fail(p, ERR_NOTFOUND, "%s: %s", path, strerror(errno));
    if (e == ERR_OK) {
        char *real = realpath(path, NULL);
        p->files[0].url = real ? arena_cstr(p->a, str_of(real)) : path;
        free(real);
        e = import_open(p, fd);
    }
    if (fd >= 0)
        close(fd);
    return e;
}

/* ---- all of it ---- */

static enum err open_folder(struct puller *p)
{
    char dir[PATH_MAX];
    if ((size_t)snprintf(dir, sizeof dir, "%s/", p->o->folder) >= sizeof dir || dir[0] != '/')
        return fail(p, ERR_RANGE, "the folder of models must be an absolute path");
    for (char *c = dir + 1; *c; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        if (mkdir(dir, 0755) != 0 && errno != EEXIST)
            return fail(p, ERR_IO, "the folder %s cannot be made: %s", dir, strerror(errno));
        *c = '/';
    }
    p->dir = open(p->o->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return p->dir >= 0 ? ERR_OK : fail(p, ERR_IO, "the folder %s cannot be opened: %s", p->o->folder, strerror(errno));
}

static enum err plan(struct puller *p)
{
    enum err e = p->s->kind == SOURCE_HUB ? plan_hub(p) : p->s->kind == SOURCE_REGISTRY ? plan_registry(p) : plan_url(p);
    if (e != ERR_OK)
        return e;
    if (p->o->digest && p->n > 1)
        return fail(p, ERR_RANGE, "the model has %u files, so one SHA-256 cannot be right for it", p->n);
    if (p->o->digest && p->files[0].has_digest && !digest_eq(p->o->digest, &p->files[0].digest))
        return fail(p, ERR_UPSTREAM, "the source announces another SHA-256 than was asked for");
    if (p->o->digest) {
        p->files[0].digest = *p->o->digest;
        p->files[0].has_digest = true;
    }
    return name_model(p);
}

enum err pull(struct arena *a, const struct pull_options *o, const struct source *s, struct pulled *out, char why[PULL_WHY])
{
    struct puller p = { .a = a, .o = o, .s = s, .out = out, .why = why, .dir = -1 };
    struct download_rules rules = o->rules;
    rules.ctx = &p;
    rules.on_tick = on_tick;
    rules.on_retry = on_retry;
    why[0] = '\0';
    *out = (struct pulled){ .have = true, .file_type = -1 };
    enum err e = open_folder(&p);
    if (e == ERR_OK && s->kind == SOURCE_FILE) {
        e = import_file(&p);
    } else if (e == ERR_OK) {
        e = downloader_new(&rules, &p.d);
        if (e == ERR_OK)
            e = plan(&p);
        if (e == ERR_OK)
            e = fetch_all(&p);
        downloader_free(p.d);
    }
    if (p.dir >= 0)
        close(p.dir);
    if (e != ERR_OK)
        return *why ? e : fail(&p, e, "%s", err_text(e));
    out->name = p.record.name;
    out->source = p.record.source;
    const char *file = p.files[out->joined ? p.n : 0].name;
    out->files = out->joined ? 1 : p.n;
    out->params = p.record.params;
    out->file = arena_str(a, str_of(file));
    out->path = arena_printf(a, "%s/%s", o->folder, file);
    return out->file.p && out->path.p ? ERR_OK : ERR_LIMIT;
}
