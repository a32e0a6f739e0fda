/* `hearth key`: virtual keys, in their file. What is written is read by a running hearth as any change of its configuration. */
#include "cmd/app.h"
#include "cmd/config_guard.h"
#include "cmd/config_keys.h"
#include "cmd/discover.h"
#include "cmd/term.h"
#include "core/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

struct keyring { struct app_config *cfg; const char *path; struct key_file file; struct config_env env; };

static int keyring_open(struct cmd *c, struct keyring *k)
{
    struct buf errors = { .max = 1 << 16 };
    int code = app_load(c, false, &k->cfg);
    if (code)
        return code;
    k->path = k->cfg->config->keys_options.file.p;
    enum err e = config_env_system(&c->arena, &k->env);
    if (e == ERR_OK)
        e = key_file_load(&c->arena, &k->env, k->path, &errors, &k->file);
    if (e != ERR_OK) {
        fwrite(errors.p ? errors.p : "", 1, errors.n, stderr);
        code = cmd_fail(EXIT_FAILED, NULL, "the keys cannot be used");
    }
    buf_free(&errors);
    return code;
}

/* A whole file of mode 0600 under `path`, so that nobody ever reads half of it: in place of the old one, or only where there is none. */
static bool write_file(struct cmd *c, const char *path, str text, bool replace)
{
    char *tmp = arena_cstr(&c->arena, arena_printf(&c->arena, "%s.%d", path, (int)getpid()));
    int fd = tmp && app_make_parents(path) == ERR_OK ? open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return false;
    bool good = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    close(fd);
    good = good && (replace ? rename(tmp, path) : link(tmp, path)) == 0;
    int why = errno;
    if (!good || !replace)
        unlink(tmp);
    errno = why;
    return good;
}

static int keyring_write(struct keyring *k, struct cmd *c)
{
    struct buf text = { .max = 8u << 20 }, errors = { .max = 1 << 16 };
    struct key_list list;
    struct key_file again;
    enum err e = key_file_text(&k->file, &text);
    /* What is written must be what a start would take. */
    if (e == ERR_OK)
        e = key_file_read(&c->arena, &k->env, buf_str(&text), k->path, &errors, &again);
    if (e == ERR_OK)
        e = key_file_list(&c->arena, &again, &k->cfg->config->policy, k->path, &errors, &list);
    fwrite(errors.p ? errors.p : "", 1, errors.n, stderr);
    bool good = e == ERR_OK && write_file(c, k->path, buf_str(&text), true);
    int why = errno;
    buf_free(&text);
    buf_free(&errors);
    if (good)
        return EXIT_DONE;
    return cmd_fail(EXIT_FAILED, NULL, "%s was not written%s%s", k->path, e == ERR_OK ? ": " : "", e == ERR_OK ? strerror(why) : "");
}

static struct key_entry *find(struct keyring *k, str name)
{
    for (size_t i = 0; i < k->file.n; i++)
        if (str_eq(k->file.names[i], name))
            return &k->file.entries[i];
    return NULL;
}

/* "a,b" */
static struct option_list list_of(struct cmd *c, const char *text)
{
    struct option_list l = { NULL, 0 };
    str rest = str_of(text ? text : ""), one;
    if (!rest.n || !(l.v = arena_new(&c->arena, str, rest.n + 1)))
        return l;
    while (rest.n) {
        str tail = STR_NONE;
        if (!str_cut(rest, ',', &one, &tail))
            one = rest;
        one = str_trim(one);
        if (one.n)
            l.v[l.n++] = one;
        rest = tail;
    }
    return l;
}

static bool fresh_key(struct cmd *c, struct key_entry *e, char text[KEY_TEXT + 1])
{
    struct rng r = rand_system();
    char hex[HEX_DIGEST];
    key_make(&r, text);
    struct digest d = key_hash(str_slice(text, KEY_TEXT));
    hex_encode(d.b, sizeof d.b, hex);
    e->hash = arena_printf(&c->arena, "sha256:%.*s", HEX_DIGEST, hex);
    return e->hash.p != NULL;
}

static void show_key(struct cmd *c, str name, const char *text)
{
    if (c->f.json) {
        printf("{\"name\":\"%.*s\",\"key\":\"%s\"}\n", STR_ARG(name), text);
        return;
    }
    printf("%s%s%s\n", term_out("1"), text, term_out("0"));
    fprintf(stderr, "This is the key of %.*s. It is not kept and not shown again. A running hearth knows it within two seconds.\n", STR_ARG(name));
}

static int add(struct cmd *c, struct keyring *k, str name)
{
    const struct flags *f = &c->f;
    static const char *const zones[] = { "machine", "private", "cloud" };
    char text[KEY_TEXT + 1];
    if (find(k, name))
        return cmd_fail(EXIT_USAGE, "Give it a new secret with  hearth key rotate NAME  or choose another name.", "there is a key %.*s already", STR_ARG(name));
    if (!k->file.entries)
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    struct key_entry *e = &k->file.entries[k->file.n];
    *e = (struct key_entry){ .tasks = list_of(c, f->tasks), .models = list_of(c, f->models), .task = str_of(f->task ? f->task : ""), .expires = str_of(f->expires ? f->expires : ""),
                             .zone = ZONE_CLOUD, .guard = -1, .admin = f->admin, .requests_per_minute = f->requests > 0 ? f->requests : 0, .tokens_per_minute = f->tokens > 0 ? f->tokens : 0,
                             .dollars_per_day = f->per_day, .dollars_per_month = f->per_month };
    for (int z = 0; f->zone && z < 3; z++)
        e->zone = strcmp(f->zone, zones[z]) == 0 ? z : e->zone;
    if (f->zone && strcmp(f->zone, zones[e->zone]) != 0)
        return cmd_fail(EXIT_USAGE, NULL, "--zone is machine, private or cloud");
    for (int i = 0; f->guard && guard_words[i]; i++)
        e->guard = strcmp(f->guard, guard_words[i]) == 0 ? i : e->guard;
    if (f->guard && e->guard < 0)
        return cmd_fail(EXIT_USAGE, NULL, "--guard is off, detect, mask, mask+model, local or block");
    k->file.names[k->file.n++] = name;
    if (!fresh_key(c, e, text))
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    int code = keyring_write(k, c);
    if (code == EXIT_DONE)
        show_key(c, name, text);
    return code;
}

static int change(struct cmd *c, struct keyring *k, str name, bool rotate)
{
    char text[KEY_TEXT + 1];
    struct key_entry *e = find(k, name);
    if (!e)
        return cmd_fail(EXIT_MISSING, "See: hearth key list", "there is no key %.*s", STR_ARG(name));
    if (rotate && !fresh_key(c, e, text))
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    e->disabled = !rotate;
    int code = keyring_write(k, c);
    if (code == EXIT_DONE && rotate)
        show_key(c, name, text);
    else if (code == EXIT_DONE)
        fprintf(stderr, "%.*s opens nothing from now on (a running hearth knows within two seconds); its records stay.\n", STR_ARG(name));
    return code;
}

static void put_list(const struct option_list *l, const char *none)
{
    for (size_t i = 0; i < l->n; i++)
        printf("%s%.*s", i ? "," : "", STR_ARG(l->v[i]));
    if (!l->n)
        fputs(none, stdout);
}

static int list(struct cmd *c, struct keyring *k)
{
    struct buf b = { .max = 8u << 20 };
    if (c->f.json) {
        (void)key_file_json(&k->file, &b);
        printf("%.*s\n", STR_ARG(buf_str(&b)));
    } else if (k->file.n) {
        printf("%s%-20s %-9s %-8s %-24s %s%s\n", term_out("1"), "KEY", "STATE", "ZONE", "OPENS", "LIMITS", term_out("0"));
    } else {
        fprintf(stderr, "No keys: everybody on this machine may call. hearth key add NAME makes one, and from then on one is needed.\n");
    }
    static const char *const zones[] = { "machine", "private", "cloud" };
    for (size_t i = 0; i < k->file.n && !c->f.json; i++) {
        const struct key_entry *e = &k->file.entries[i];
        printf("%-20.*s %-9s %-8s ", STR_ARG(k->file.names[i]), e->disabled ? "revoked" : e->expires.n ? e->expires.p : "open", zones[e->zone]);
        put_list(&e->tasks, e->models.n ? "" : "everything");
        if (e->tasks.n && e->models.n)
            fputs("; models ", stdout);
        put_list(&e->models, "");
        if (e->requests_per_minute)
            printf("  %lld requests/min", (long long)e->requests_per_minute);
        if (e->tokens_per_minute)
            printf("  %lld tokens/min", (long long)e->tokens_per_minute);
        if (!isnan(e->dollars_per_day))
            printf("  $%.2f/day", e->dollars_per_day);
        if (!isnan(e->dollars_per_month))
            printf("  $%.2f/month", e->dollars_per_month);
        if (e->guard >= 0)
            printf("  guard %s", guard_words[e->guard]);
        puts(e->admin ? "  admin" : "");
    }
    buf_free(&b);
    return EXIT_DONE;
}

/* Made on first need. It is kept as it is, since its owner may look at it again; whoever can read the file can change the ledger beside it, too. */
static int admin(struct cmd *c, bool another)
{
    struct app_config *cfg;
    struct config_env env;
    char text[KEY_TEXT + 2];
    str kept;
    unsigned mode;
    bool good = true;
    struct rng r = rand_system();
    int code = app_load(c, false, &cfg);
    if (code)
        return code;
    const char *path = cfg->config->keys_options.admin_file.p;
    key_make(&r, text);
    text[KEY_TEXT] = '\n';
    if (another || !cfg->gate.keys.has_admin)       /* EEXIST: somebody else has made it meanwhile */
        good = write_file(c, path, str_slice(text, KEY_TEXT + 1), another) || (!another && errno == EEXIST);
    if (!good || config_env_system(&c->arena, &env) != ERR_OK || env.read(env.ctx, &c->arena, path, 4096, &kept, &mode) != ERR_OK || kept.n < KEY_TEXT) {
        code = cmd_fail(EXIT_FAILED, NULL, "%s was not written: %s", path, strerror(errno));
    } else if (c->f.json) {
        printf("{\"key\":\"%.*s\",\"file\":\"%s\"}\n", KEY_TEXT, kept.p, path);
    } else {
        printf("%s%.*s%s\n", term_out("1"), KEY_TEXT, kept.p, term_out("0"));
        fprintf(stderr, "The admin key of this hearth, from %s. It opens /hearth/… and /metrics, and no model.\n", path);
    }
    app_unload(cfg);
    return code;
}

static int key_run(struct cmd *c)
{
    struct keyring k = { .cfg = NULL };
    const char *what = c->argv[0];
    bool named = c->argc == 2;
    if (strcmp(what, "admin") == 0 && (!named || strcmp(c->argv[1], "new") == 0))
        return admin(c, named);
    if (strcmp(what, "list") != 0 && !named)
        return cmd_fail(EXIT_USAGE, "See: hearth key --help", "hearth key %s needs the name of a key", what);
    int code = keyring_open(c, &k);
    if (code == EXIT_DONE && strcmp(what, "list") == 0)
        code = list(c, &k);
    else if (code == EXIT_DONE && strcmp(what, "add") == 0)
        code = add(c, &k, str_of(c->argv[1]));
    else if (code == EXIT_DONE && (strcmp(what, "rotate") == 0 || strcmp(what, "revoke") == 0))
        code = change(c, &k, str_of(c->argv[1]), what[1] == 'o');
    else if (code == EXIT_DONE)
        code = cmd_fail(EXIT_USAGE, "See: hearth key --help", "hearth key knows add, list, rotate, revoke and admin [new], not %s", what);
    app_unload(k.cfg);
    return code;
}

const struct command command_key = {
    .name = "key", .args = "add|list|rotate|revoke|admin [NAME]", .brief = "virtual keys: who may call what, how often, for how much",
    .about = "A key is shown once, when it is made; its file holds hashes. From the first key on, calls over TCP need one, in Authorization: Bearer,\n"
             "x-api-key or api-key; and an address that others can reach may be served. Limits count estimates in advance and settle them afterwards.\n"
             "admin prints the admin key and makes it when there is none (admin new: another one): it opens what is asked of hearth itself, GET /hearth/calls,\n"
             "/hearth/calls/ID, /hearth/config, /hearth/keys and POST /hearth/reload, also where calls need no key.",
    .examples = "  hearth key add alice --tasks docstring,unit-test --zone private --requests 60 --per-day 5\n  hearth key add ci --models coder --tokens 200000 --expires 2027-01-31\n"
                "  hearth key add intern --guard block   # what holds personal data does not leave\n  hearth key add ops --admin        # may read /metrics\n  hearth key list\n  hearth key rotate alice\n  curl -H \"Authorization: Bearer $(hearth key admin)\" 'http://127.0.0.1:8420/hearth/calls?outcome=error&since=1h'\n  HEARTH_KEY=hk-… hearth exec -- aider",
    .flags = { &flag_tasks, &flag_models, &flag_task, &flag_key_zone, &flag_guard, &flag_requests, &flag_tokens, &flag_per_day, &flag_per_month, &flag_expires, &flag_admin, &flag_json, &flag_config, &flag_ledger },
    .min_args = 1, .max_args = 2, .run = key_run,
};
