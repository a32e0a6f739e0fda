/* `hearth guard rotate`: the vault under a new key.
 *
 * The steps, each of which may be the last before a kill: a new key is written beside the old one; the old one gets a second name, KEY.old; the new one takes
 * its place; rows are sealed with it, batch by batch; KEY.old goes. While it is there, whoever opens the vault has both keys. A gateway that has it open sees
 * with its next call that the file is another one (gate/vaults.c); what it seals in between with the old key is found by the last walk. A sanitize, which
 * looks only once, holds a lock of the file that rotation waits for. */
#include "cmd/app.h"
#include "cmd/sanitize.h"
#include "core/json.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

enum { BATCH = 256, WAIT_MS = 5000, GRACE_US = 500000, ARENA = 32 << 20 };  /* GRACE: twice what a loop of a gateway may still be at with the old key */

struct names { char old[4096], fresh[4096]; };

/* The new key in its place and the old one beside it; or they are there already, by a rotation that was cut off. */
static int change_key(const char *key, const struct names *n)
{
    struct stat a, b;
    struct seal_key made;
    if (stat(key, &a) == 0 && stat(n->old, &b) == 0 && app_same_file(&a, &b))
        unlink(n->old);                 /* cut off before the new one was there */
    if (access(n->old, F_OK) == 0)
        return EXIT_DONE;
    enum err e = seal_key_load(n->fresh, &made);
    explicit_bzero(&made, sizeof made);
    if (e != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the new key %s cannot be made: %s", n->fresh, err_text(e));
    if (link(key, n->old) || ((void)app_sync_folder(key), rename(n->fresh, key)))
        return cmd_fail(EXIT_FAILED, NULL, "the key %s cannot be changed: %s", key, strerror(errno));
    (void)app_sync_folder(key);
    usleep(GRACE_US);
    return EXIT_DONE;
}

/* A sanitize may be at work since before a rotation that was cut off: it has the old key alone, and its lock. */
static bool old_is_free(const char *old, int lock)
{
    struct stat a, b;
    int fd = open(old, O_RDONLY | O_CLOEXEC);
    bool same = fd >= 0 && fstat(fd, &a) == 0 && fstat(lock, &b) == 0 && app_same_file(&a, &b);
    bool free = fd < 0 || same || flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return free;
}

static enum err reseal(struct vault_file *f, size_t *moved)
{
    struct arena a;
    struct clock clock = clock_system;
    bool done = false;
    enum err e = ERR_OK;
    arena_init(&a, ARENA);
    while (!e && !done) {
        e = vault_reseal(vault_file_vault(f), &a, BATCH, clock_wall_us(&clock), moved, &done);
        arena_reset(&a);
    }
    arena_free(&a);
    return e;
}

static int open_file(const struct sanitize_vault *v, struct vault_file **f)
{
    char why[256] = "";
    return vault_file_open(v->path, &v->keys, WAIT_MS, f, why) == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "the vault cannot be opened: %s", why);
}

/* Twice: what a gateway put in with the old key before it saw the new one. */
static int move_rows(const struct sanitize_vault *v, size_t *moved)
{
    struct vault_file *f = NULL;
    int code = open_file(v, &f);
    if (code)
        return code;
    enum err e = reseal(f, moved);
    if (!e) {
        usleep(GRACE_US);
        e = reseal(f, moved);
    }
    if (!e)
        e = vault_file_sync(f);
    vault_file_close(f);
    return e ? cmd_fail(EXIT_FAILED, "Run it again: it goes on where it was.", "the vault is not whole under the new key: %s", err_text(e)) : EXIT_DONE;
}

static int rotate_file(struct sanitize_vault *v, size_t *moved)
{
    struct names n;
    int a = snprintf(n.old, sizeof n.old, "%s.old", v->key_file), b = snprintf(n.fresh, sizeof n.fresh, "%s.new", v->key_file);
    if (a < 0 || b < 0 || (size_t)a >= sizeof n.old || (size_t)b >= sizeof n.fresh)
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_LIMIT));
    if (v->lock < 0 || flock(v->lock, LOCK_EX | LOCK_NB))
        return cmd_fail(EXIT_FAILED, "Wait for it, then run this again.", "a hearth sanitize or another rotate is at work with the key %s", v->key_file);
    int code = change_key(v->key_file, &n);
    if (code)
        return code;
    if (!old_is_free(n.old, v->lock))
        return cmd_fail(EXIT_FAILED, "Wait for it, then run this again.", "a hearth sanitize is at work with the old key %s", n.old);
    enum err e = vault_keys_load(v->key_file, &v->keys);
    if (e)
        return cmd_fail(EXIT_FAILED, NULL, "the key %s: %s", v->key_file, err_text(e));
    code = move_rows(v, moved);
    if (code)
        return code;
    if (unlink(n.old) && errno != ENOENT)
        return cmd_fail(EXIT_FAILED, "Delete it: nothing needs it any more.", "the old key %s stays: %s", n.old, strerror(errno));
    (void)app_sync_folder(v->key_file);
    return EXIT_DONE;
}

/* A gateway does not see that a key which was given itself is another one, and would go on sealing with the old one: none serves until this process ends. */
static int keep_gateway_away(struct cmd *c)
{
    struct app_config *k;
    char path[4096];
    int code = app_load(c, false, &k);
    if (code)
        return code;
    int n = snprintf(path, sizeof path, "%.*s.lock", STR_ARG(k->config->ledger.path));
    app_unload(k);
    if (n < 0 || (size_t)n >= sizeof path)
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_LIMIT));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == ENOENT ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "%s cannot be opened: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB))   /* else held until the end */
        return close(fd), cmd_fail(EXIT_FAILED, "Stop it, run this again, and start it with the new key.", "a hearth is serving, and would go on with the old key");
    return EXIT_DONE;
}

static int rotate_given(struct cmd *c, struct sanitize_vault *v, size_t *moved)
{
    const char *old = getenv("HEARTH_GUARD_OLD_KEY");
    if (!old || !vault_key_read(str_of(old), &v->keys.keys[1]))
        return cmd_fail(EXIT_USAGE, "Give the new key as before, the old one in HEARTH_GUARD_OLD_KEY, and start hearth again with the new one.",
                        "the vault's key is given itself, not by a file: HEARTH_GUARD_OLD_KEY must hold the old one, 64 hexadecimal digits");
    v->keys.n = 2;
    int code = keep_gateway_away(c);
    return code ? code : move_rows(v, moved);
}

static void said(const char *path, size_t moved)
{
    struct buf b = { .max = 1 << 20 };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_text(&o, S("vault"), str_of(path));
    json_put_key(&o, S("rows"));
    json_put_i64(&o, (int64_t)moved);
    json_close(&o, '}');
    printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
}

int guard_rotate(struct cmd *c)
{
    struct sanitize_vault v;
    size_t moved = 0;
    int code = sanitize_vault_find(c, NULL, true, &v);
    if (!code)
        code = v.key_file ? rotate_file(&v, &moved) : rotate_given(c, &v, &moved);
    explicit_bzero(&v.keys, sizeof v.keys);
    if (code)
        return code;
    if (c->f.json)
        said(v.path, moved);
    else
        printf("%s has a new key; %zu rows were sealed with it, and the old one opens nothing any more.\n", v.path, moved);
    return EXIT_DONE;
}
