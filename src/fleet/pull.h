/* fleet/pull.h: a model fetched from a hub, a registry, an address or a file into a folder of models. Includes: core, http.
 *
 * Blocking, for a command of its own. The files of a split model are joined at the end (join.h), where the disk has room for that. A file appears under its name only when all of it is there, its SHA-256 is the one that was announced, and
 * its header is that of a GGUF; what was fetched of it stays in NAME.part for the next try (part.h). Beside it lies NAME.json, the record of
 * where it came from (local.h reads it). Where requests may go and what carries the token: http/download.h. Sources and protocols: source.h. */
#ifndef HEARTH_FLEET_PULL_H
#define HEARTH_FLEET_PULL_H

#include "fleet/source.h"
#include "http/download.h"

enum pull_step {
    PULL_LISTING,                       /* asking what there is */
    PULL_HAVE,                          /* a file is there already */
    PULL_WAITING,                       /* another process fetches it; five times a second */
    PULL_BEGIN,                         /* a file: total, and done, what is there of it */
    PULL_PROGRESS,                      /* some more; ten times a second */
    PULL_RETRY,                         /* a failure: why, and when it is tried again */
    PULL_CHECKING,                      /* the rest of it is hashed */
    PULL_FILE,                          /* a file is whole, right and under its name: digest */
    PULL_JOINING                        /* the files of a split model become one */
};
struct pull_event {
    enum pull_step step;
    const char *file;                   /* its name here; NULL: none yet */
    uint32_t index, count;              /* of several files, from 1 */
    uint64_t done, total;               /* bytes; total 0: not known */
    const char *why;
    int64_t wait_ms;
    const struct digest *digest;
};

struct pull_options {
    const char *folder;                 /* made when it is not there */
    const char *hub, *registry;         /* base addresses */
    const char *digests;                /* the file of remembered digests (fleet.h), or NULL */
    const char *name;                   /* what clients call it; NULL: after the source */
    const struct digest *digest;        /* for an address or one file: what it must have; NULL: what the source says */
    bool copy;                          /* a file: copied, not linked */
    struct download_rules rules;        /* its ctx, on_tick and on_retry are set by pull() */
    bool (*on_event)(void *ctx, const struct pull_event *e);    /* false: stop, and keep what has come */
    void *ctx;
};

struct pulled {                         /* texts live in the arena */
    str name, file, path;               /* of the first file */
    str source;
    uint64_t bytes;                     /* of all files */
    uint32_t files, joined;             /* joined: files that it was split over and no longer is; 0: none */
    bool have;                          /* nothing had to be fetched */
    struct digest digest;               /* of the first file */
    bool announced;                     /* the source said that digest; else it is only what came */
    str architecture, family, params;   /* family: the chat template to name, where the file has none of its own; params: the registry's, JSON */
    int64_t file_type;
    uint64_t parameters, context;
    bool has_template, projector;       /* projector: the source has one, which is not fetched */
};

#define PULL_WHY 1200
/* ERR_NOTFOUND (the source has no such model, or does not show it), ERR_RANGE (several could be meant), ERR_SYNTAX (not a GGUF), ERR_FORBIDDEN (another
 * model has the name, or a rule was broken), ERR_UPSTREAM (wrong digest, wrong length, an answer that cannot be used), ERR_BUSY, ERR_CLIENT (stopped),
 * ERR_IO (disk), and those of download.h; `why` is a sentence that says what to do. */
enum err pull(struct arena *a, const struct pull_options *o, const struct source *s, struct pulled *out, char why[PULL_WHY]);

#endif
