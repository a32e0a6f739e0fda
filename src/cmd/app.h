/* cmd/app.h: what commands share: the configuration, and the running parts behind `serve` and `run`. Includes: all below.
 *
 * An app holds, in this order of life: configuration, ledger (and its lock), keeper loop, fleet, gate. Whoever has the ledger's
 * lock answers on the command socket beside it; every other command that calls a model is its client. */
#ifndef HEARTH_CMD_APP_H
#define HEARTH_CMD_APP_H

#include "cmd/command.h"
#include "cmd/config.h"
#include "gate/gate.h"

#include <sys/stat.h>

struct app_config {                     /* a loaded configuration and the gate's view of it, in one arena */
    struct gate_config gate;            /* first: release() casts */
    struct gate_guard guard;
    struct guard_finder *finder;        /* its own memory */
    struct arena arena;
    struct config *config;
};

struct app {
    struct app_config *cfg;
    struct ledger *ledger;
    struct key_accounts *accounts;
    struct io_loop *loop;               /* the keeper's: fleet, signals, the client of `run` */
    struct fleet *fleet;
    struct gate *gate;
    int tcp_fd, unix_fd;
    uint16_t port;
    char socket[108];                   /* the command socket */
    char ledger_path[4096], listen_text[256];   /* in use, whatever a newer configuration says */
    struct io_addr listen;
    struct app_fixed {                  /* what else is as it was at the start; without padding, so that it can be compared */
        struct http_limits limits;
        int64_t threads, log_level, log_format;
        struct { int64_t retain_ms, sync, queue_items, queue_bytes, body_max, keep_bodies, keep_private; } ledger;
        struct { int64_t load_ms, hang_ms; } engine;
    } fixed;
    _Atomic(struct cmd *) reloads;      /* how it was started, where SIGHUP makes it read its configuration again; else NULL */
};

/* Loads what -c, -l, --model and --listen say. Prints every mistake; an exit_code. `probe`: discovery may look for servers. */
int app_load(struct cmd *c, bool probe, struct app_config **out);
/* The same without a word: what is wrong stands in `errors`. Any thread. ERR_RANGE: --listen. */
enum err app_load_into(struct cmd *c, bool probe, struct app_config **out, struct buf *errors);
void app_unload(struct app_config *k);          /* for commands that never started a gate with it */
/* The folders that `path` lies in, with mode 0700 where they are new. ERR_IO with errno. */
enum err app_make_parents(const char *path);
enum err app_sync_folder(const char *path);     /* the folder of `path`: names that were given or taken there lie on the disk; ERR_IO */
static inline bool app_same_file(const struct stat *a, const struct stat *b) { return a->st_ino == b->st_ino && a->st_dev == b->st_dev; }
/* Where commands reach whoever has this ledger. */
bool app_socket(const struct config *c, char out[108]);

/* Ledger, fleet and gate. `listen`: on TCP too. An exit_code; EXIT_MISSING and *busy when another process has the ledger. */
int app_start(struct app *a, struct app_config *k, bool listen, bool *busy);
/* Says why this address is not served (config_may_listen); EXIT_FAILED. */
int app_listen_refused(const struct config *c);
/* What of `next` is in force only after a restart, as names of its sections with a comma between; empty: nothing. Any thread. */
void app_needs_restart(const struct app *a, const struct config *next, char out[120]);
/* Reads the configuration again; the old one stays when it is wrong. */
void app_reload(struct app *a, struct cmd *c);
/* Loads the default model's engine now, so that the first call does not wait for it. */
void app_warm(struct app *a);
/* Takes no new calls and lets running ones end for up to `ms`, or until io_loop_stop(). */
void app_drain(struct app *a, int64_t ms);
/* Takes everything down in order; what still runs is recorded as cut. */
void app_stop(struct app *a);

#endif
