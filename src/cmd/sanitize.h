/* cmd/sanitize.h: what `hearth sanitize` and `hearth guard explain` share: files, the vault on disk, one file's way. Includes: cmd, gate, guard.
 *
 * Memory is bounded whatever the files are: those up to SANITIZE_WHOLE are looked at whole, as many at once as fit into that together; larger ones
 * in pieces of SANITIZE_PIECE. */
#ifndef HEARTH_CMD_SANITIZE_H
#define HEARTH_CMD_SANITIZE_H

#include "cmd/app.h"
#include "gate/vault_file.h"
#include "guard/sanitize.h"

#include <pthread.h>
#include <sys/stat.h>

#define SANITIZE_WHOLE ((size_t)64000000)
#define SANITIZE_PIECE ((size_t)4 << 20)
#define SANITIZE_TEMP ".hearth-tmp"     /* the end of the name of a file that is being written */

enum file_state { FILE_WAITS, FILE_CLEAN, FILE_CHANGED, FILE_BINARY, FILE_SKIPPED, FILE_FAILED };

struct sanitize_file {
    const char *path;                   /* as it was named; "-": standard input */
    const char *to;                     /* where the result goes; NULL: standard output, or nowhere */
    int64_t bytes;
    enum file_state state;
    const char *why;                    /* of a failure, or of what was skipped; else NULL */
    uint32_t found[GUARD_N_TYPES], placeholders, lost, odd_bytes, restored, unknown;
    enum sanitize_kind kind;
};

struct sanitize_files {
    struct arena *a;
    struct sanitize_file *v;
    size_t n, cap;
    int64_t bytes;
};

/* Adds a file, or what is in a folder: what git would look at where it is git's, else everything but links and .git. `out`: the folder that results go
 * into, by the path below the argument; NULL: none. ERR_IO with errno, ERR_LIMIT. */
enum err sanitize_gather(struct sanitize_files *f, const char *path, const char *out);

/* ---- what is found ---- */

/* The finder and the policy of the configuration: its types, words, thresholds and what it leaves. What `guard.cloud` says is about calls. */
struct sanitize_rules {
    struct app_config *config;
    struct guard_rules rules;           /* the job's policy points to it */
};
struct sanitize_job;
int sanitize_rules_load(struct cmd *c, struct sanitize_rules *r, struct sanitize_job *job);     /* an exit_code, said */

/* ---- the vault on disk ---- */

struct sanitize_vault {
    const char *path, *key_file;        /* key_file NULL: the key was given itself */
    struct vault_keys keys;
    int lock;                           /* of the key's file, shared: no rotation meanwhile; -1 */
};
/* Where the vault and its key are, by --vault, --key, the configuration (`g`; NULL: it is read where it is needed) or HEARTH_GUARD_KEY. `exists`: it is not to be made. An exit_code, said. */
int sanitize_vault_find(struct cmd *c, const struct gate_guard *g, bool exists, struct sanitize_vault *out);

int guard_rotate(struct cmd *c);        /* guard_rotate.c; an exit_code */
int guard_try(struct cmd *c);           /* guard_try.c */

/* ---- a file ---- */

struct sanitize_job {                   /* set once, shared by all threads */
    const struct guard_finder *finder;
    struct guard_policy policy;
    const struct sanitize_vault *vault; /* NULL: none, "[EMAIL]" stands for all */
    bool restore, in_place, dry;        /* dry: nothing is written */
    int64_t at_us;
    void (*on_place)(void *ctx, const struct sanitize_place *p);
    void *ctx;
    pthread_mutex_t lock;               /* of what follows */
    pthread_cond_t freed;
    size_t room;                        /* bytes of memory that files may still take */
    int64_t done;
    size_t rules[SANITIZE_RULES];
};
void sanitize_job_init(struct sanitize_job *j);
/* Fills f->state and the counts. `vault` is of this thread, and on the disk before a file that needs it is; NULL in a dry run. `a` holds what is said. */
void sanitize_one(struct sanitize_job *j, struct vault_file *vault, struct arena *a, struct sanitize_file *f);

/* ---- what is said ---- */

bool sanitize_report(const char *path, const struct sanitize_files *f, const struct sanitize_job *j);
/* `names`: the finder, which knows the owner's types. */
void sanitize_json(FILE *to, const struct guard_finder *names, const struct sanitize_file *f);
void sanitize_line(FILE *to, const struct guard_finder *names, const struct sanitize_file *f);

#endif
