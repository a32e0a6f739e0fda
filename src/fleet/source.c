/* Names and lists of hubs and registries, read strictly: each of them ends as a path on this disk or as an address. */
#include "fleet/source.h"

#include "core/gguf.h"
#include "core/json.h"

#include <stdlib.h>

#define COUNT(t) (sizeof(t) / sizeof *(t))

/* ---- names ---- */

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

/* `more`: characters that may follow the first, besides letters, digits and underscores. */
static bool is_plain(str s, const char *more, size_t most)
{
    if (s.n == 0 || s.n > most || !is_word(s.p[0]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_word(s.p[i]) && (s.p[i] == '\0' || !strchr(more, s.p[i])))
            return false;
    return true;
}

bool source_is_part(str s) { return is_plain(s, ".+-", SOURCE_NAME); }

bool source_digest(str s, struct digest *out)
{
    if (str_starts(s, S("sha256:")) || str_starts(s, S("sha256-")))
        s = str_skip(s, 7);
    return s.n == HEX_DIGEST && hex_decode(s, out->b, sizeof out->b);
}

bool source_is_client_name(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_word(s.p[i]) && !memchr(".:/@+-", s.p[i], 6))
            return false;
    return s.n > 0 && s.n <= 128 && is_word(s.p[0]) && str_find(s, S("..")) == s.n && !str_eq(s, S("default")) && !str_eq(s, S("auto")) && !str_starts(s, S("task/"));
}

enum err source_model_name(struct buf *b, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        c = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        bool keeps = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == ':' || c == '/';
        enum err e = buf_putc(b, keeps ? c : '-');
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* A path in a repository: parts that are neither empty nor dots, no bytes that mean something to a shell, a terminal or a file system. */
static bool is_repo_path(str path)
{
    if (path.n == 0 || path.n > 1000 || !str_is_utf8(path))
        return false;
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7F || path.p[i] == '\\')
            return false;
    for (bool more = true; more;) {
        str one;
        more = str_cut(path, '/', &one, &path);
        if (one.n == 0 || one.n > SOURCE_NAME || str_eq(one, S(".")) || str_eq(one, S("..")))
            return false;
    }
    return true;
}

static str last_part(str path)
{
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/')
            return str_skip(path, i);
    return path;
}

bool source_file_name(str path, char out[SOURCE_NAME + 1])
{
    str name = last_part(path);
    if (name.n == 0 || name.n > SOURCE_NAME)
        return false;
    for (size_t i = 0; i < name.n; i++)
        out[i] = is_word(name.p[i]) || (i && memchr(".+-", name.p[i], 3)) ? name.p[i] : '-';
    out[name.n] = '\0';
    if (!is_word(out[0]))
        out[0] = '_';
    return true;
}

/* ---- what a person wrote ---- */

/* "--" and ".." stand in no repository's name, so that "owner--repo" is one (huggingface_hub, utils/_validators.py). */
static bool is_repo(str repo)
{
    str owner, name;
    return repo.n <= 96 && str_cut(repo, '/', &owner, &name) && is_plain(owner, ".-", 96) && is_plain(name, ".-", 96) && str_find(repo, S("--")) == repo.n &&
           str_find(repo, S("..")) == repo.n && !str_ends(repo, S(".git"));
}

static enum err parse_hub(str rest, struct source *s, const char **why)
{
    s->kind = SOURCE_HUB;
    (void)str_cut(rest, ':', &rest, &s->want);
    if (!str_cut(rest, '@', &s->repo, &s->revision)) {
        s->revision = S("main");
    } else if (!is_plain(s->revision, ".-", 80)) {
        *why = "a revision is a branch, a tag or a commit: letters, digits and . _ -";
        return ERR_SYNTAX;
    }
    *why = "a model of a hub is written hf:OWNER/REPO, hf:OWNER/REPO:Q4_K_M or hf:OWNER/REPO:FILE.gguf";
    bool wants_file = str_ends(s->want, S(".gguf"));
    return is_repo(s->repo) && (s->want.n == 0 || (wants_file ? is_repo_path(s->want) : is_plain(s->want, ".-", 40))) ? ERR_OK : ERR_SYNTAX;
}

bool source_registry_part(str s, int part)
{
    static const struct { const char *more; size_t most; } parts[] = { { ".:-", 255 }, { "-", 80 }, { ".-", 80 }, { ".-", 80 } };
    return is_plain(s, parts[part].more, parts[part].most);
}

static enum err parse_registry(str rest, struct source *s, const char **why)
{
    s->kind = SOURCE_REGISTRY;
    s->space = S("library");
    *why = "a model of an Ollama registry is written ollama:NAME, ollama:NAME:TAG or ollama:NAMESPACE/NAME:TAG";
    str name = last_part(rest), before = { rest.p, rest.n - name.n };
    if (!str_cut(name, ':', &s->name, &s->tag))
        s->tag = S("latest");
    else if (!source_registry_part(s->tag, 3))
        return ERR_SYNTAX;
    if (before.n) {
        before.n--;
        s->space = last_part(before);
        s->host = (str){ before.p, before.n > s->space.n ? before.n - s->space.n - 1 : 0 };
        if (before.n > s->space.n && !source_registry_part(s->host, 0))
            return ERR_SYNTAX;
    }
    return source_registry_part(s->name, 2) && source_registry_part(s->space, 1) ? ERR_OK : ERR_SYNTAX;
}

static bool is_path(str text)
{
    return str_starts(text, S("/")) || str_starts(text, S("./")) || str_starts(text, S("../")) || str_starts(text, S("~/")) ||
           (str_ends(text, S(".gguf")) && str_index(text, ':') == text.n);
}

enum err source_parse(str text, struct source *out, const char **why)
{
    struct source s = { .text = text };
    enum err e = ERR_OK;
    *why = "say where it is: hf:OWNER/REPO, ollama:NAME, an https address, or a file";
    if (text.n == 0 || text.n > 4096 || str_index(text, '\0') < text.n || str_index(text, '\n') < text.n)
        return ERR_SYNTAX;
    if (str_starts(text, S("https://")) || str_starts(text, S("http://")))
        s = (struct source){ .kind = SOURCE_URL, .text = text, .path = text };
    else if (str_starts(text, S("file:")))
        s = (struct source){ .kind = SOURCE_FILE, .text = text, .path = str_skip(text, 5) };
    else if (is_path(text))
        s = (struct source){ .kind = SOURCE_FILE, .text = text, .path = text };
    else if (str_starts(text, S("ollama:")))
        e = parse_registry(str_skip(text, 7), &s, why);
    else if (str_starts(text, S("hf:")))
        e = parse_hub(str_skip(text, 3), &s, why);
    else if (str_index(text, '/') < str_index(text, ':'))
        e = parse_hub(text, &s, why);
    else
        e = ERR_SYNTAX;
    if (e == ERR_OK && s.kind == SOURCE_FILE && s.path.n == 0)
        e = ERR_SYNTAX;
    if (e == ERR_OK)
        *out = s;
    return e;
}

/* ---- addresses ---- */

/* RFC 3986: what is not unreserved is escaped; `keep` besides. */
static enum err put_escaped(struct buf *b, str s, const char *keep)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < s.n && e == ERR_OK; i++)
        e = is_word(s.p[i]) || (s.p[i] && strchr(keep, s.p[i])) ? buf_putc(b, s.p[i]) : buf_printf(b, "%%%02X", (unsigned char)s.p[i]);
    return e;
}

static str bare(str base)
{
    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    return base;
}

enum err source_hub_list_url(struct buf *b, str base, const struct source *s)
{
    enum err e = buf_printf(b, "%.*s/api/models/%.*s/tree/", STR_ARG(bare(base)), STR_ARG(s->repo));
    if (e == ERR_OK)
        e = put_escaped(b, s->revision, "-.~");
    return e == ERR_OK ? buf_put(b, S("?recursive=true")) : e;
}

enum err source_hub_file_url(struct buf *b, str base, const struct source *s, str path)
{
    enum err e = buf_printf(b, "%.*s/%.*s/resolve/", STR_ARG(bare(base)), STR_ARG(s->repo));
    if (e == ERR_OK)
        e = put_escaped(b, s->revision, "-.~");
    if (e == ERR_OK)
        e = buf_putc(b, '/');
    return e == ERR_OK ? put_escaped(b, path, "-.~/") : e;
}

/* ---- a listing ---- */

static bool is_gguf(str path) { return path.n > 5 && str_ieq(str_skip(path, path.n - 5), S(".gguf")); }

static enum err add_file(struct arena *a, json m, struct source_list *l)
{
    struct source_file f = { .size = 0 };
    json lfs = json_member(m, S("lfs"));
    int64_t size;
    str oid;
    if (!json_is(json_member(m, S("type")), S("file")) || json_text(a, json_member(m, S("path")), &f.path) != ERR_OK || !is_gguf(f.path))
        return ERR_OK;
    json number = json_type(lfs) == JSON_OBJECT ? json_member(lfs, S("size")) : json_member(m, S("size"));
    if (!json_i64(number, &size) || size <= 0 || !is_repo_path(f.path)) {
        l->left_out++;
        return ERR_OK;
    }
    f.size = (uint64_t)size;
    f.has_digest = json_text(a, json_member(lfs, S("oid")), &oid) == ERR_OK && source_digest(oid, &f.digest);
    if (l->n == SOURCE_FILES)
        return ERR_LIMIT;
    struct source_file *v = arena_more(a, l->v, l->n, &l->cap);
    if (!v)
        return ERR_LIMIT;
    l->v = v;
    l->v[l->n++] = f;
    return ERR_OK;
}

enum err source_add_page(struct arena *a, str body, struct source_list *l)
{
    struct json_limits lim = { .depth = 16, .nodes = 2u << 20, .bytes = SOURCE_LISTING };
    json v;
    enum err e = json_parse(a, body, &lim, &v, NULL);
    if (e != ERR_OK)
        return e == ERR_LIMIT ? e : ERR_UPSTREAM;
    if (json_type(v) != JSON_ARRAY)
        return ERR_UPSTREAM;
    for (json m = json_first(v); json_type(m) != JSON_NONE && e == ERR_OK; m = json_next(m))
        e = add_file(a, m, l);
    return e;
}

/* ---- which file ---- */

/* Weights of a language model, not what goes with them (llama.cpp, common/download.cpp, gguf_filename_is_model). */
bool source_is_weights(str path)
{
    static const str others[] = { S("mmproj"), S("imatrix"), S("mtp-"), S("eagle3-"), S("dflash-"), S("dspark-") };
    str name = last_part(path);
    for (size_t i = 0; i < COUNT(others); i++)
        if (str_find(name, others[i]) < name.n)
            return false;
    return true;
}

/* "Q4_K_M" in "x-Q4_K_M.gguf", "x.q4_k_m-00001-of-00002.gguf" or "Q4_K_M/x.gguf", but not in "x-IQ4_K_M.gguf" or "x-Q4_K_M_L.gguf". */
static bool has_quant(str path, str quant)
{
    for (size_t i = 0; i + quant.n < path.n; i++) {
        char after = path.p[i + quant.n];
        bool ends = after == '.' || after == '-' || after == '/', begins = i == 0 || (!is_word(path.p[i - 1]) || path.p[i - 1] == '_');
        if (begins && ends && str_ieq((str){ path.p + i, quant.n }, quant))
            return true;
    }
    return false;
}

static bool is_first(str path)
{
    str stem;
    uint32_t no, count;
    return !gguf_split_name(path, &stem, &no, &count) || no == 1;
}

static size_t find_quant(const struct source_list *l, str quant, const struct source_file **found)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (source_is_weights(l->v[i].path) && is_first(l->v[i].path) && (!quant.n || has_quant(l->v[i].path, quant)) && n++ == 0)
            *found = &l->v[i];
    return n;
}

static size_t find_named(const struct source_list *l, str want, const struct source_file **found)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (str_ieq(l->v[i].path, want)) {
            *found = &l->v[i];
            return 1;
        }
    for (size_t i = 0; i < l->n; i++)
        if (str_ieq(last_part(l->v[i].path), want) && n++ == 0)
            *found = &l->v[i];
    return n;
}

static void list_files(const struct source_list *l, struct buf *why)
{
    enum { SHOWN = 12 };
    size_t shown = 0, all = 0;
    for (size_t i = 0; i < l->n; i++)
        if (is_first(l->v[i].path) && source_is_weights(l->v[i].path) && all++ < SHOWN)
            (void)buf_printf(why, "%s%.*s", shown++ ? ", " : "", STR_ARG(l->v[i].path));
    if (all > shown)
        (void)buf_printf(why, " and %zu more", all - shown);
}

/* All files of a split model, in order; a file that is none is alone. */
static enum err all_parts(struct arena *a, const struct source_list *l, const struct source_file *first, const struct source_file **out, size_t *n, struct buf *why)
{
    str stem, other;
    uint32_t no, count, other_no, other_count;
    size_t found = 0;
    *out = first;
    *n = 1;
    if (!gguf_split_name(first->path, &stem, &no, &count))
        return ERR_OK;
    struct source_file *list = count <= SOURCE_SPLIT ? arena_new(a, struct source_file, count) : NULL;
    if (!list) {
        (void)buf_printf(why, "it is split over %u files", count);
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < l->n; i++)
        if (gguf_split_name(l->v[i].path, &other, &other_no, &other_count) && other_count == count && str_eq(other, stem) && !list[other_no - 1].path.n) {
            list[other_no - 1] = l->v[i];
            found++;
        }
    if (found != count) {
        (void)buf_printf(why, "the repository has only %zu of the model's %u files", found, count);
        return ERR_NOTFOUND;
    }
    *out = list;
    *n = count;
    return ERR_OK;
}

enum err source_choose(struct arena *a, const struct source_list *l, str want, const struct source_file **out, size_t *n, struct buf *why)
{
    const struct source_file *f = NULL;
    size_t found = 0;
    if (str_ends(want, S(".gguf")))
        found = find_named(l, want, &f);
    else if (want.n)
        found = find_quant(l, want, &f);
    else                                /* what llama.cpp takes: a good middle, else nearly lossless, else the only one */
        found = (found = find_quant(l, S("Q4_K_M"), &f)) ? found : (found = find_quant(l, S("Q8_0"), &f)) ? found : find_quant(l, STR_NONE, &f);
    if (found == 1)
        return all_parts(a, l, f, out, n, why);
    if (l->n == 0)
        (void)buf_put(why, S("there is no GGUF file in it"));
    else if (found == 0)
        (void)buf_printf(why, "there is no %.*s in it; it has ", STR_ARG(want));
    else
        (void)buf_put(why, S("several files could be meant: "));
    list_files(l, why);
    return found ? ERR_RANGE : ERR_NOTFOUND;
}

/* ---- a registry ---- */

static const struct { str type; enum source_layer layer; } layer_types[] = {
    { S("application/vnd.ollama.image.model"), LAYER_MODEL },       { S("application/vnd.ollama.image.template"), LAYER_TEMPLATE },
    { S("application/vnd.ollama.image.params"), LAYER_PARAMS },     { S("application/vnd.ollama.image.system"), LAYER_SYSTEM },
    { S("application/vnd.ollama.image.projector"), LAYER_PROJECTOR }, { S("application/vnd.ollama.image.adapter"), LAYER_ADAPTER },
    { S("application/vnd.ollama.image.prompt"), LAYER_TEMPLATE },   /* the template's older name */
};

static enum err read_layer(struct arena *a, json m, struct source_manifest *out, const char **why)
{
    str digest;
    int64_t size;
    for (size_t i = 0; i < COUNT(layer_types); i++) {
        if (!json_is(json_member(m, S("mediaType")), layer_types[i].type))
            continue;
        enum source_layer k = layer_types[i].layer;
        *why = "a layer's digest or size cannot be used";
        if (json_text(a, json_member(m, S("digest")), &digest) != ERR_OK || !str_starts(digest, S("sha256:")) || !source_digest(digest, &out->layers[k].digest) ||
            !json_i64(json_member(m, S("size")), &size) || size <= 0)
            return ERR_UPSTREAM;
        *why = "the model has several files of weights";
        if (k == LAYER_MODEL && out->layers[k].there)
            return ERR_UPSTREAM;
        out->layers[k].there = true;
        out->layers[k].size = (uint64_t)size;
    }
    return ERR_OK;
}

enum err source_manifest(struct arena *a, str body, struct source_manifest *out, const char **why)
{
    struct json_limits lim = { .depth = 16, .nodes = 20000, .bytes = SOURCE_MANIFEST };
    struct source_manifest m = { .layers = { { .there = false } } };
    json v;
    *why = "this is not a manifest of a model";
    if (json_parse(a, body, &lim, &v, NULL) != ERR_OK || json_type(json_member(v, S("layers"))) != JSON_ARRAY)
        return ERR_UPSTREAM;
    for (json l = json_first(json_member(v, S("layers"))); json_type(l) != JSON_NONE; l = json_next(l)) {
        enum err e = read_layer(a, l, &m, why);
        if (e != ERR_OK)
            return e;
    }
    *why = "the model is not a GGUF file: its manifest has no layer application/vnd.ollama.image.model";
    if (!m.layers[LAYER_MODEL].there)
        return ERR_UPSTREAM;
    *out = m;
    return ERR_OK;
}

enum err source_registry_name(struct buf *b, str host, str space, str name, str tag)
{
    enum err e = ERR_OK;
    if (host.n && !str_ieq(host, S("registry.ollama.ai")))
        e = buf_printf(b, "%.*s/%.*s/", STR_ARG(host), STR_ARG(space));
    else if (!str_ieq(space, S("library")))
        e = buf_printf(b, "%.*s/", STR_ARG(space));
    return e == ERR_OK ? buf_printf(b, "%.*s:%.*s", STR_ARG(name), STR_ARG(tag)) : e;
}

const char *source_template_family(str text)
{
    /* Control tokens that belong to one family alone; "[INST]", which four share, is not among them. The first line that holds counts. */
    static const struct { str token, and; const char *family; } marks[] = {
        { S("<|im_start|>"), S("<|im_sep|>"), "phi4" },     { S("<|im_start|>"), S("<|im_end|>"), "chatml" },      { S("<|start_header_id|>"), S("<|eot_id|>"), "llama3" },
        { S("<|header_start|>"), S("<|eot|>"), "llama4" },  { S("<start_of_turn>"), S("<end_of_turn>"), "gemma" }, { S("[SYSTEM_PROMPT]"), S("[INST]"), "mistral-v7" },
        { S("<|assistant|>"), S("<|end|>"), "phi3" },       { S("<|start_of_role|>"), S("<|end_of_role|>"), "granite" },
    };
    for (size_t i = 0; i < COUNT(marks); i++)
        if (str_find(text, marks[i].token) < text.n && str_find(text, marks[i].and) < text.n)
            return marks[i].family;
    return NULL;
}
