/* Walks over five kinds of folders, each a few lines on top of one bounded walk. */
#include "fleet/local.h"

#include "core/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(t) (sizeof(t) / sizeof *(t))

const char *local_store_name(enum local_store s)
{
    static const char *const names[] = { "hearth", "ollama", "hf", "lmstudio", "llamacpp" };
    return names[s];
}

/* ---- where to look ---- */

/* The first variable that is set, and what stands behind it. Of the rows of one store those that exist all count. */
static const struct { const char *var, *after; enum local_store store; bool stops; } known_places[] = {
    { "OLLAMA_MODELS", "", LOCAL_OLLAMA, true },            { "HOME", "/.ollama/models", LOCAL_OLLAMA, false },
    { NULL, "/usr/share/ollama/.ollama/models", LOCAL_OLLAMA, false },      /* where its service keeps them */
    { "HF_HUB_CACHE", "", LOCAL_HF, true },                 { "HUGGINGFACE_HUB_CACHE", "", LOCAL_HF, true },
    { "HF_HOME", "/hub", LOCAL_HF, true },                  { "XDG_CACHE_HOME", "/huggingface/hub", LOCAL_HF, true },
    { "HOME", "/.cache/huggingface/hub", LOCAL_HF, false },
    { "HOME", "/.lmstudio/models", LOCAL_LMSTUDIO, false }, { "HOME", "/.cache/lm-studio/models", LOCAL_LMSTUDIO, false },
    { "LLAMA_CACHE", "", LOCAL_LLAMACPP, true },            { "XDG_CACHE_HOME", "/llama.cpp", LOCAL_LLAMACPP, true },
    { "HOME", "/.cache/llama.cpp", LOCAL_LLAMACPP, false },
};

enum err local_places(struct arena *a, const str *own, size_t n_own, const char *(*var)(void *ctx, const char *name), void *ctx, struct local_place **out, size_t *n)
{
    struct local_place *list = arena_new(a, struct local_place, n_own + COUNT(known_places));
    size_t k = 0;
    if (!list)
        return ERR_LIMIT;
    for (size_t i = 0; i < n_own; i++)
        list[k++] = (struct local_place){ LOCAL_HEARTH, own[i] };
    for (size_t i = 0; i < COUNT(known_places); i++) {
        const char *v = known_places[i].var ? var(ctx, known_places[i].var) : "";
        if (!v || (known_places[i].var && *v != '/'))
            continue;
        str folder = arena_printf(a, "%s%s", v, known_places[i].after);
        if (!folder.p)
            return ERR_LIMIT;
        list[k++] = (struct local_place){ known_places[i].store, folder };
        for (bool stops = known_places[i].stops; stops && i + 1 < COUNT(known_places) && known_places[i + 1].store == list[k - 1].store;)
            i++;
    }
    *out = list;
    *n = k;
    return ERR_OK;
}

/* ---- the walk ---- */

struct walk {
    struct arena *a;
    struct local_model *v;
    size_t n, first;                    /* first: of the place being walked */
    int64_t entries;                    /* that may still be looked at */
    enum local_store store;
    bool full;                          /* the arena */
};

static int by_text(const void *x, const void *y) { return str_cmp(*(const str *)x, *(const str *)y); }

/* A folder inside `dir`, never through a link; -1: none. */
static int enter(int dir, const char *name) { return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK); }

/* The names in a folder that a person could have given, sorted, so that what is found is always found in one order. */
static size_t names_in(struct walk *w, int dir, str **out)
{
    int fd = dup(dir);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    size_t n = 0, cap = 0;
    str *list = NULL;
    if (!d && fd >= 0)
        close(fd);
    for (struct dirent *f; d && w->entries > 0 && (f = readdir(d));) {
        str name = str_of(f->d_name);
        w->entries--;
        if (name.p[0] == '.' || name.n > SOURCE_NAME || !str_is_utf8(name))
            continue;
        str *more = arena_more(w->a, list, n, &cap);
        if (!more)
            break;
        list = more;
        char *copy = arena_cstr(w->a, name);
        if (!copy)
            break;
        list[n++] = (str){ copy, name.n };
    }
    if (d)
        closedir(d);
    if (n)
        qsort(list, n, sizeof *list, by_text);
    *out = list;
    return n;
}

/* A whole small file, or nothing. */
static str read_small(struct arena *a, int dir, const char *name, size_t most)
{
    struct stat st;
    str text = STR_NONE;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return text;
    char *p = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size <= most ? arena_alloc(a, (size_t)st.st_size, 1) : NULL;
    ssize_t n = p ? read(fd, p, (size_t)st.st_size) : -1;
    if (n > 0)
        text = (str){ p, (size_t)n };
    close(fd);
    return text;
}

static bool is_taken(const struct walk *w, str name)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->v[i].name, name))
            return true;
    return false;
}

/* Adds a model under a name that nothing else has: "-2" behind it where two files of one store would share it. */
static void add(struct walk *w, str wished, struct local_model m)
{
    struct buf b = { .max = 256 };
    enum { NAME_MAX_BYTES = 128 };
    if (w->n == LOCAL_MODELS || source_model_name(&b, wished) != ERR_OK)
        goto done;
    size_t bare = b.n;
    for (int i = 2; is_taken(w, buf_str(&b)) && i < 100; i++) {
        b.n = bare;
        (void)buf_printf(&b, "-%d", i);
    }
    if (b.n == 0 || b.n > NAME_MAX_BYTES || is_taken(w, buf_str(&b)))
        goto done;
    m.name = arena_str(w->a, buf_str(&b));
    w->full |= !m.name.p || !m.path.p;
    if (!w->full)
        w->v[w->n++] = m;
done:
    buf_free(&b);
}

/* Files of a model that begins with `file`; false: it is none, not the first, or not whole. *stem: its name without numbers and ending. */
static bool measure(int dir, str file, struct local_model *m, str *stem)
{
    char name[SOURCE_NAME + 1];
    struct stat st;
    uint32_t no = 1, count = 1;
    if (!str_ends(file, S(".gguf")) || !source_is_weights(file))
        return false;
    if (!gguf_split_name(file, stem, &no, &count))
        *stem = str_slice(file.p, file.n - 5);
    if (no != 1 || count > SOURCE_SPLIT || stem->n == 0)
        return false;
    m->files = count;
    for (uint32_t i = 1; i <= count; i++) {
        if (count == 1)
            snprintf(name, sizeof name, "%.*s", STR_ARG(file));
        else
            snprintf(name, sizeof name, "%.*s-%05u-of-%05u.gguf", STR_ARG(*stem), i, count);
        if (fstatat(dir, name, &st, 0) != 0 || !S_ISREG(st.st_mode))
            return false;
        m->bytes += (uint64_t)st.st_size;
        if (i == 1)
            m->modified_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    }
    return true;
}

/* The digest in the name of what a link points to: blobs/SHA-256. */
static void digest_of_link(int dir, str file, struct local_model *m)
{
    char to[PATH_MAX];
    ssize_t n = readlinkat(dir, file.p, to, sizeof to - 1);
    str path = { to, n > 0 ? (size_t)n : 0 };
    m->has_digest = path.n > HEX_DIGEST && path.p[path.n - HEX_DIGEST - 1] == '/' && source_digest(str_skip(path, path.n - HEX_DIGEST), &m->digest);
}

/* What a link points to must lie in the store. */
static bool is_inside(str path, str root)
{
    char *real = realpath(path.p, NULL), *base = realpath(root.p, NULL);
    size_t n = base ? strlen(base) : 0;
    bool inside = real && base && strncmp(real, base, n) == 0 && real[n] == '/';
    free(real);
    free(base);
    return inside;
}

/* GGUF files below `dir`; `path` leads there, `name` is what the model is called before its stem. */
static void walk_files(struct walk *w, int dir, str root, str path, str name, int depth)
{
    str *names, stem;
    size_t n = names_in(w, dir, &names);
    for (size_t i = 0; i < n && !w->full; i++) {
        struct local_model m = { .store = w->store };
        str whole = arena_printf(w->a, "%.*s/%.*s", STR_ARG(path), STR_ARG(names[i]));
        if (measure(dir, names[i], &m, &stem)) {
            m.path = str_of(arena_cstr(w->a, whole));
            if (w->store == LOCAL_HF)
                digest_of_link(dir, names[i], &m);
            if (m.path.p && (w->store == LOCAL_HEARTH || is_inside(m.path, root)))
                add(w, arena_printf(w->a, "%.*s%.*s", STR_ARG(name), STR_ARG(stem)), m);
            continue;
        }
        int in = depth > 0 ? enter(dir, names[i].p) : -1;
        if (in < 0)
            continue;
        /* Folders are part of the name where publishers are folders; in a hub's snapshot they are not. */
        str deeper = w->store == LOCAL_HF ? name : arena_printf(w->a, "%.*s%.*s/", STR_ARG(name), STR_ARG(names[i]));
        walk_files(w, in, root, whole, deeper, depth - 1);
        close(in);
    }
}

/* ---- hearth's own ---- */

static str record_text(struct arena *a, json v, const char *key)
{
    str s;
    return json_text(a, json_member(v, str_of(key)), &s) == ERR_OK ? s : STR_NONE;
}

enum err local_record_read(struct arena *a, int dir, const char *file, struct local_record *out)
{
    char name[SOURCE_NAME + 16];
    struct json_limits lim = { .depth = 8, .nodes = 1024, .bytes = LOCAL_RECORD };
    struct local_record r = { .size = 0 };
    int64_t size;
    json v;
    if ((size_t)snprintf(name, sizeof name, "%s.json", file) >= sizeof name)
        return ERR_NOTFOUND;
    str text = read_small(a, dir, name, LOCAL_RECORD);
    if (!text.n)
        return ERR_NOTFOUND;
    if (json_parse(a, text, &lim, &v, NULL) != ERR_OK || !json_i64(json_member(v, S("size")), &size) || size <= 0 ||
        !source_digest(record_text(a, v, "sha256"), &r.digest))
        return ERR_SYNTAX;
    r.size = (uint64_t)size;
    r.name = record_text(a, v, "name");
    r.source = record_text(a, v, "source");
    r.url = record_text(a, v, "url");
    r.commit = record_text(a, v, "commit");
    r.template = record_text(a, v, "template");
    r.params = record_text(a, v, "params");
    r.system = record_text(a, v, "system");
    r.parts = record_text(a, v, "parts");
    (void)json_bool(json_member(v, S("announced")), &r.announced);
    (void)json_i64(json_member(v, S("pulled_us")), &r.pulled_us);
    *out = r;
    return ERR_OK;
}

void local_record_write(struct buf *b, const struct local_record *r)
{
    const struct { const char *key; str text; } texts[] = { { "name", r->name },         { "source", r->source }, { "url", r->url },      { "commit", r->commit },
                                                            { "template", r->template }, { "params", r->params }, { "system", r->system },
                                                            { "parts", r->parts } };
    struct json_out o;
    char hex[HEX_DIGEST];
    hex_encode(r->digest.b, sizeof r->digest.b, hex);
    json_out_init(&o, b);
    json_open(&o, '{');
    json_put_key(&o, S("sha256"));
    json_put_str(&o, str_slice(hex, sizeof hex));
    json_put_key(&o, S("announced"));
    json_put_bool(&o, r->announced);
    json_put_key(&o, S("size"));
    json_put_i64(&o, (int64_t)r->size);
    json_put_key(&o, S("pulled_us"));
    json_put_i64(&o, r->pulled_us);
    for (size_t i = 0; i < COUNT(texts); i++)
        if (texts[i].text.n) {
            json_put_key(&o, str_of(texts[i].key));
            json_put_str(&o, texts[i].text);
        }
    json_close(&o, '}');
    (void)buf_putc(b, '\n');
}

/* The family that a template's text shows, when the file has no template of its own. */
static str needed_family(int dir, const char *file, str template)
{
    const char *family = template.n ? source_template_family(template) : NULL, *why;
    struct gguf_facts f = { .version = 0 };
    struct buf head = { .max = GGUF_HEAD_MAX };
    int fd = family ? openat(dir, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    bool needs = fd >= 0 && local_read_head(fd, &head, &f, &why) == ERR_OK && f.chat_template.n == 0;
    if (fd >= 0)
        close(fd);
    buf_free(&head);
    return needs ? str_of(family) : STR_NONE;
}

/* What the records of a folder's files say of them. */
static void apply_records(struct walk *w, int dir)
{
    for (size_t i = w->first; i < w->n; i++) {
        struct local_model *m = &w->v[i];
        struct local_record r;
        const char *file = strrchr(m->path.p, '/') + 1;
        if (local_record_read(w->a, dir, file, &r) != ERR_OK)
            continue;
        struct stat st;
        if (fstatat(dir, file, &st, 0) != 0 || (uint64_t)st.st_size != r.size)
            continue;                   /* it tells of another file that had this name */
        if (source_is_client_name(r.name) && (str_eq(r.name, m->name) || !is_taken(w, r.name)))
            m->name = r.name;
        m->source = r.source;
        m->digest = r.digest;
        m->has_digest = true;
        m->family = needed_family(dir, file, r.template);
    }
}

/* ---- Ollama's store ---- */

enum { BLOB_NAME = 8 + HEX_DIGEST };

static void blob_name(const struct digest *d, char out[BLOB_NAME])
{
    memcpy(out, "sha256-", 7);
    hex_encode(d->b, sizeof d->b, out + 7);
    out[7 + HEX_DIGEST] = '\0';
}

static void ollama_tag(struct walk *w, int blobs, str folder, int dir, const str part[4])
{
    struct source_manifest s;
    struct local_model m = { .store = LOCAL_OLLAMA, .files = 1, .has_digest = true };
    struct buf name = { .max = 512 };
    struct stat st;
    const char *why;
    char blob[BLOB_NAME], other[BLOB_NAME];
    str text = read_small(w->a, dir, part[3].p, SOURCE_MANIFEST);
    if (!text.n || source_manifest(w->a, text, &s, &why) != ERR_OK || buf_put(&name, S("ollama:")) != ERR_OK ||
        source_registry_name(&name, part[0], part[1], part[2], part[3]) != ERR_OK)
        goto done;
    m.digest = s.layers[LAYER_MODEL].digest;
    blob_name(&m.digest, blob);
    if (fstatat(blobs, blob, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        goto done;
    m.bytes = (uint64_t)st.st_size;
    m.modified_us = (int64_t)st.st_mtim.tv_sec * 1000000;
    m.path = str_of(arena_cstr(w->a, arena_printf(w->a, "%.*s/blobs/%s", STR_ARG(folder), blob)));
    if (s.layers[LAYER_TEMPLATE].there) {
        blob_name(&s.layers[LAYER_TEMPLATE].digest, other);
        m.family = needed_family(blobs, blob, read_small(w->a, blobs, other, SOURCE_LAYER));
    }
    add(w, buf_str(&name), m);
done:
    buf_free(&name);
}

/* HOST/NAMESPACE/NAME/TAG, each a name that Ollama itself would take. */
static void ollama_level(struct walk *w, int blobs, str folder, int dir, str part[4], int level)
{
    str *names;
    size_t n = names_in(w, dir, &names);
    for (size_t i = 0; i < n && !w->full; i++) {
        part[level] = names[i];
        if (!source_registry_part(names[i], level))
            continue;
        if (level == 3) {
            ollama_tag(w, blobs, folder, dir, part);
            continue;
        }
        int in = enter(dir, names[i].p);
        if (in < 0)
            continue;
        ollama_level(w, blobs, folder, in, part, level + 1);
        close(in);
    }
}

static void walk_ollama(struct walk *w, int root, str folder)
{
    str part[4];
    int manifests = enter(root, "manifests"), blobs = enter(root, "blobs");
    if (manifests >= 0 && blobs >= 0)
        ollama_level(w, blobs, folder, manifests, part, 0);
    if (manifests >= 0)
        close(manifests);
    if (blobs >= 0)
        close(blobs);
}

/* ---- a hub's cache ---- */

/* The snapshot that "main" names, or the last by name: one commit of a repository is enough. */
static int enter_snapshot(struct walk *w, int repo, str *commit)
{
    str *names;
    int refs = enter(repo, "refs"), snapshots = enter(repo, "snapshots"), in = -1;
    str main = refs >= 0 ? str_trim(read_small(w->a, refs, "main", 128)) : STR_NONE;
    if (refs >= 0)
        close(refs);
    size_t n = snapshots >= 0 ? names_in(w, snapshots, &names) : 0;
    while (main.n && (main.p[main.n - 1] == '\n' || main.p[main.n - 1] == '\r'))
        main.n--;
    for (size_t i = n; i-- > 0 && in < 0;)
        if ((!main.n || str_eq(names[i], main)) && (in = enter(snapshots, names[i].p)) >= 0)
            *commit = names[i];
    if (snapshots >= 0)
        close(snapshots);
    return in;
}

static void walk_hub(struct walk *w, int root, str folder)
{
    str *names, commit = STR_NONE;
    size_t n = names_in(w, root, &names);
    for (size_t i = 0; i < n && !w->full; i++) {
        str rest = str_starts(names[i], S("models--")) ? str_skip(names[i], 8) : STR_NONE;
        size_t cut = str_find(rest, S("--"));
        str owner = { rest.p, cut }, name = str_skip(rest, cut + 2);
        if (cut == rest.n || !source_is_part(owner) || !source_is_part(name))
            continue;
        int repo = enter(root, names[i].p), in = repo >= 0 ? enter_snapshot(w, repo, &commit) : -1;
        if (in >= 0) {
            walk_files(w, in, folder, arena_printf(w->a, "%.*s/%.*s/snapshots/%.*s", STR_ARG(folder), STR_ARG(names[i]), STR_ARG(commit)),
                       arena_printf(w->a, "hf:%.*s/%.*s:", STR_ARG(owner), STR_ARG(name)), LOCAL_DEPTH);
            close(in);
        }
        if (repo >= 0)
            close(repo);
    }
}

/* ---- all of them ---- */

static int by_name(const void *x, const void *y) { return str_cmp(((const struct local_model *)x)->name, ((const struct local_model *)y)->name); }

static void walk_place(struct walk *w, const struct local_place *p)
{
    char *path = arena_cstr(w->a, p->folder);
    int root = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (root < 0)
        return;
    str folder = { path, p->folder.n };
    w->store = p->store;
    w->first = w->n;
    switch (p->store) {
    case LOCAL_HEARTH:
        walk_files(w, root, folder, folder, STR_NONE, 0);
        apply_records(w, root);
        break;
    case LOCAL_OLLAMA:   walk_ollama(w, root, folder); break;
    case LOCAL_HF:       walk_hub(w, root, folder); break;
    case LOCAL_LMSTUDIO: walk_files(w, root, folder, folder, S("lmstudio:"), LOCAL_DEPTH); break;
    case LOCAL_LLAMACPP: walk_files(w, root, folder, folder, S("llamacpp:"), 1); break;
    }
    close(root);
    qsort(w->v + w->first, w->n - w->first, sizeof *w->v, by_name);
}

enum err local_find(struct arena *a, const struct local_place *places, size_t n_places, struct local_model **out, size_t *n)
{
    struct walk w = { .a = a, .entries = LOCAL_ENTRIES, .v = arena_new(a, struct local_model, LOCAL_MODELS) };
    if (!w.v)
        return ERR_LIMIT;
    for (size_t i = 0; i < n_places && !w.full; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = places[k].store == places[i].store && str_eq(places[k].folder, places[i].folder);
        if (!seen)
            walk_place(&w, &places[i]);
    }
    *out = w.v;
    *n = w.n;
    return w.full ? ERR_LIMIT : ERR_OK;
}

/* ---- heads ---- */

enum err local_read_head(int fd, struct buf *head, struct gguf_facts *out, const char **why)
{
    struct stat st;
    size_t want = 64 << 10;
    *why = "this is not a file";
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_IO;
    for (buf_clear(head);; want *= 4) {
        *why = "the header is too large";
        if (want > GGUF_HEAD_MAX || buf_reserve(head, want - head->n) != ERR_OK)
            return ERR_LIMIT;
        while (head->n < want) {
            ssize_t n = pread(fd, head->p + head->n, want - head->n, (off_t)head->n);
            if (n < 0 && errno == EINTR)
                continue;
            *why = "it cannot be read";
            if (n < 0)
                return ERR_IO;
            if (n == 0)
                break;
            head->n += (size_t)n;
        }
        enum err e = gguf_head(buf_str(head), (uint64_t)st.st_size, out, why, NULL);
        if (e != ERR_AGAIN)
            return e;
        if (head->n < want) {           /* it has become shorter */
            *why = "the file changes while it is read";
            return ERR_IO;
        }
    }
}
