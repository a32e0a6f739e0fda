/* cmd/config.h: the configuration, from hearth.yaml or from what is found on this machine. Includes: core, io, http, route, fleet.
 *
 * config_load() reads the file into a tree with positions (config_yaml.h), walks the table of options over it (options.h),
 * resolves names and files, and asks route's policy_check(). Every mistake is reported as "hearth.yaml:12:5: sentence", up to
 * CONFIG_ERRORS of them at once. Without a file, discovery (discover.h) fills the same structs.
 *
 * A configuration is immutable and lives in the arena it was loaded into. All its strings end with a NUL that is not counted,
 * so that x.p can be handed to a library. Environment, files and network enter through `struct config_env`.
 *
 * config.text is the canonical effective configuration: YAML with every value spelled out, references resolved and secrets
 * replaced by where they come from. It loads again to itself; its SHA-256 is policy.hash, and it is what the ledger keeps. */
#ifndef HEARTH_CMD_CONFIG_H
#define HEARTH_CMD_CONFIG_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/log.h"
#include "fleet/local.h"
#include "gate/gate.h"
#include "http/client.h"
#include "http/server.h"
#include "io/socket.h"
#include "keys/keys.h"
#include "prompt/prompt.h"
#include "route/policy.h"

#define CONFIG_BYTES  (1u << 20)        /* of the file */
#define CONFIG_ERRORS 20
#define CONFIG_ARENA  (64u << 20)       /* a good limit for the arena */

/* What a configuration is made from besides its file. config_env_system() fills in this process's own. */
struct config_env {
    void *ctx;
    const char *cwd;                    /* absolute; relative paths begin here */
    int cores;
    const char *(*var)(void *ctx, const char *name);                    /* NULL: not set */
    /* A whole file: ERR_NOTFOUND, ERR_LIMIT (longer than `max`, or the arena is full), ERR_IO. `mode`: its permission bits. */
    enum err (*read)(void *ctx, struct arena *a, const char *path, size_t max, str *bytes, unsigned *mode);
    bool (*is_file)(void *ctx, const char *path);
    /* The names in a folder, in any order; ERR_NOTFOUND. */
    enum err (*list)(void *ctx, struct arena *a, const char *path, str **names, size_t *n);
    /* The model files of this machine, in hearth's folders `own` and in the stores of others (fleet/local.h). */
    enum err (*models)(void *ctx, struct arena *a, const str *own, size_t n_own, struct local_model **out, size_t *n);
    /* GET http://127.0.0.1:PORT/PATH for discovery: quick, and whatever goes wrong is ERR_NOTFOUND. */
    enum err (*get)(void *ctx, struct arena *a, uint16_t port, const char *path, str *body);
};
enum err config_env_system(struct arena *a, struct config_env *out);

enum config_sync { CONFIG_SYNC_NORMAL, CONFIG_SYNC_FULL };

struct config_ledger {
    str path;
    int64_t retain_ms;
    bool keep_bodies, keep_private;
    int sync;                           /* enum config_sync */
    int64_t queue_items;
    size_t queue_bytes, body_max;
};

struct config_engine {                  /* where the fleet finds and keeps its things */
    str program;                        /* hearth-engine; empty: beside this program */
    str run_dir, log_dir, digests;
    str prefix_dir;
    size_t prefix_limit;
    int64_t load_ms, hang_ms;
};

struct config_fleet {                   /* what may be loaded at once */
    size_t memory;                      /* bytes; 0: what is free */
    int64_t stay_ms, window_ms, wait_ms, queue, threads, at_once;
    str nvml;
};

struct option_list { str *v; size_t n; };

struct config_streams { int64_t quiet_ms; bool pings, comments; };

struct config_prompts { str file, dir; };

struct config_pull {                    /* where `hearth pull` fetches, and how */
    str hub, registry;                  /* hub empty: HF_ENDPOINT, else the public one */
    str proxy, ca_file;
    int64_t parallel, tries, connect_ms, stall_ms;
};

struct guard_entry;

struct config_keys { str file, admin_file; int required; bool listen_open; };      /* required: 1, 0; -1: as soon as there is a key */

struct config {
    str path;                           /* the file; empty: nothing was found, so this was discovered */
    struct policy policy;               /* providers with keys, models, tasks, default model, hash */
    str listen_text;
    struct io_addr listen;
    int64_t threads;                    /* loop threads */
    bool watch;                         /* read the file again when it changes */
    int log_level, log_format;          /* enum log_level, enum log_format */
    struct http_limits limits;
    size_t reply_max;                   /* of a reply that is not streamed */
    struct http_client_limits upstream;
    struct config_streams streams;
    struct config_ledger ledger;
    struct config_engine engine;
    struct config_pull pull;
    struct config_fleet fleet;
    struct config_keys keys_options;
    struct key_list keys;
    struct config_prompts prompt_options;
    struct prompt_book prompts;
    struct gate_guard guard;            /* but for its finder, which is not of this arena: guard_load_finder() */
    const struct guard_entry *guard_entry;      /* as written; cmd/config_guard.h */
    struct option_list hosts;           /* besides the loopback's names */
    const str *models_dir;              /* the first is where pulled models go */
    size_t n_models_dir;
    const str *notes;                   /* warnings and hints, one sentence each, for the log and `config check` */
    size_t n_notes;
    str text, json;                     /* canonical; see above */
};

/* `path` NULL: ./hearth.yaml, then ${XDG_CONFIG_HOME:-~/.config}/hearth/hearth.yaml, then discovery.
 * ERR_SYNTAX: the file is wrong, ERR_NOTFOUND: `path` does not exist, ERR_IO: it cannot be read, ERR_LIMIT: no memory left;
 * `errors` (with a `max`) then holds one line for each mistake. */
enum err config_load(struct arena *a, const char *path, const struct config_env *env, struct config **out, struct buf *errors);

/* The same for a text in hand, as if it stood in `path`: for tests and fuzzing. */
enum err config_load_text(struct arena *a, str text, const char *path, const struct config_env *env, struct config **out,
                          struct buf *errors);

/* Others than this machine only with keys, or where it is asked for by name. */
bool config_may_listen(const struct config *c, const struct io_addr *a);

/* docs/configuration.md, from the table of options. */
enum err config_document(struct buf *out);

#endif
