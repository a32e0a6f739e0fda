/* ledger/checkpoint.c: pages go from SQLite's log (the WAL) back into the file.
 *
 * The log can begin again only when every page of it has been moved, which never happens by itself while commits go on: a
 * checkpoint waits for the disk twice, and each commit adds pages. So threads of their own move the bulk, and the writer moves
 * the little that is left: in a moment in which nothing is to be written, so that no call waits for it; where calls come without
 * a pause, between two batches, once the log is LATE times as long as it need be.
 *
 * On a core that has everything else to do as well, a thread with a share of its own would keep loop and writer waiting for a slice
 * of a millisecond or more, several times a checkpoint. So there are two. The patient one is of SCHED_IDLE (sched(7)): whoever wakes
 * up takes the core from it at once. Where no time is left over it would never end: when many calls wait in a batch the eager one
 * is asked, which has its share; and where the log has become twice as long since the patient one was asked (other programs may
 * need the core), it is interrupted, and the eager one does its work, that time and some times more. */
#include "core/log.h"
#include "ledger/store.h"

#include <sched.h>

enum { LATE = 4, LITTLE = 128, PASSES = 8 };    /* pages that the writer moves itself; how often a thread tries to come so far */
enum { PENALTY_MIN = 8, PENALTY_MAX = 256 };

static int64_t soft(const struct ledger *l) { return (int64_t)l->o.wal_soft; }

static int64_t late(const struct ledger *l)
{
    int64_t most = (int64_t)l->o.wal_hard / 2;
    return LATE * soft(l) < most ? LATE * soft(l) : most;
}

static int64_t log_bytes(struct ledger *l) { return atomic_load(&l->wal_pages) * l->page_size; }

/* A checkpoint that did not come to the end of the log leaves the file for the system to write; the one that does would then wait for all of it. So
 * the thread waits for it now, and for the log too, of which the last turn begins with the rest. SQLite's own descriptors: closing another one of the
 * file would drop the process's locks (fcntl(2)). */
static void write_out(sqlite3 *db)
{
    static const int files[] = { SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER };
    for (int i = 0; i < 2; i++) {
        sqlite3_file *f = NULL;
        if (sqlite3_file_control(db, "main", files[i], &f) == SQLITE_OK && f && f->pMethods)
            (void)f->pMethods->xSync(f, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);     /* what fails here fails in the last turn again */
    }
}

/* Pages moved, of those in the log; -1: it was interrupted, or failed. */
static int64_t move_bulk(struct ledger *l, sqlite3 *db)
{
    for (int i = 1;; i++) {
        int in_log = 0, moved = 0;
        pthread_mutex_lock(&l->checkpointing);
        int rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved);
        pthread_mutex_unlock(&l->checkpointing);
        if (rc != SQLITE_OK)
            return -1;
        write_out(db);
        /* Fewer than there are: a reader still needs an older page. */
        if (moved < in_log || i == PASSES || log_bytes(l) < late(l) || atomic_load(&l->wal_pages) - moved <= LITTLE)
            return moved;
    }
}

static void *checkpointer_main(void *arg)
{
    struct checkpointer *c = arg;
    struct ledger *l = c->l;
    if (c->is == CHECKPOINT_PATIENT)
        (void)pthread_setschedparam(pthread_self(), SCHED_IDLE, &(struct sched_param){ 0 });
    pthread_mutex_lock(&l->lock);
    while (!l->closing) {
        if (l->checkpoint != c->is) {
            pthread_cond_wait(&l->wish, &l->lock);
            continue;
        }
        pthread_mutex_unlock(&l->lock);
        int64_t moved = move_bulk(l, c->db);
        pthread_mutex_lock(&l->lock);
        if (l->checkpoint != c->is)
            continue;                   /* the other one has been asked instead */
        l->checkpoint = CHECKPOINT_NONE;
        if (moved >= 0)
            l->wal_moved = moved;
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static void start(struct ledger *l, struct checkpointer *c, enum checkpoint is)
{
    char why[256];
    *c = (struct checkpointer){ .l = l, .is = is };
    if (store_open_db(l->path, l->o.vfs, SQLITE_OPEN_READWRITE, &c->db, why) != ERR_OK)
        log_warn("checkpointer_off", LOG_C("why", why));
    else
        c->started = pthread_create(&c->thread, NULL, checkpointer_main, c) == 0;
}

void checkpoint_start(struct ledger *l)
{
    start(l, &l->patient, CHECKPOINT_PATIENT);
    start(l, &l->eager, CHECKPOINT_EAGER);
}

void checkpoint_stop(struct ledger *l)
{
    struct checkpointer *both[] = { &l->patient, &l->eager };
    pthread_mutex_lock(&l->lock);
    pthread_cond_broadcast(&l->wish);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < 2; i++) {
        if (both[i]->started)
            pthread_join(both[i]->thread, NULL);
        sqlite3_close(both[i]->db);
    }
}

/* The log begins anew. While a thread is at work that cannot be; past twice the limit it is waited for, or the log would grow for as long as calls
 * come faster than pages reach the file. */
static void empty_log(struct ledger *l, bool wait)
{
    if (wait ? pthread_mutex_lock(&l->checkpointing) : pthread_mutex_trylock(&l->checkpointing))
        return;
    l->own.forced_checkpoints++;
    l->empty_wal = false;
    if (sqlite3_wal_checkpoint_v2(l->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) == SQLITE_OK)
        atomic_store(&l->wal_pages, 0);
    pthread_mutex_unlock(&l->checkpointing);
}

/* The last pages, by the writer. The log begins again with its next commit. */
static void finish(struct ledger *l)
{
    int in_log = 0, moved = 0;
    if (sqlite3_wal_checkpoint_v2(l->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved) == SQLITE_OK)
        l->wal_moved = moved;
}

/* With the lock. While the eager thread's turns last, the patient one is not tried. */
static void ask(struct ledger *l)
{
    bool hurry = l->busy || l->in_hurry;
    if (l->in_hurry)
        l->in_hurry--;
    l->checkpoint = hurry ? CHECKPOINT_EAGER : CHECKPOINT_PATIENT;
    l->wal_asked = atomic_load(&l->wal_pages);
    pthread_cond_broadcast(&l->wish);
}

static void take_from_patient(struct ledger *l)
{
    l->penalty = l->penalty ? l->penalty * 2 : PENALTY_MIN;
    if (l->penalty > PENALTY_MAX)
        l->penalty = PENALTY_MAX;
    l->in_hurry = l->penalty;
    l->checkpoint = CHECKPOINT_EAGER;
    if (l->patient.db)
        sqlite3_interrupt(l->patient.db);
    pthread_cond_broadcast(&l->wish);
}

void checkpoint_after_batch(struct ledger *l)
{
    int64_t pages = atomic_load(&l->wal_pages), bytes = pages * l->page_size;
    if (bytes > (int64_t)l->o.wal_hard || l->empty_wal) {
        empty_log(l, l->empty_wal || bytes > 2 * (int64_t)l->o.wal_hard);
        return;
    }
    bool last = false;
    pthread_mutex_lock(&l->lock);
    if (bytes <= soft(l)) {             /* it has begun again */
        l->wal_next = soft(l);
        if (l->checkpoint == CHECKPOINT_NONE)
            l->wal_moved = 0;
    } else if (l->checkpoint == CHECKPOINT_NONE) {
        last = bytes > late(l) && pages - l->wal_moved <= LITTLE;
        if (!last && bytes > l->wal_next) {
            ask(l);
            l->wal_next = bytes + soft(l);
        }
    } else if (l->checkpoint == CHECKPOINT_PATIENT && pages > 2 * l->wal_asked) {
        take_from_patient(l);
    }
    pthread_mutex_unlock(&l->lock);
    if (last)
        finish(l);
}

/* With the lock. Nothing is asked twice for the same log: a reader may need what is left. */
static bool waits(const struct ledger *l, int64_t pages)
{
    int64_t left = pages - l->wal_moved;
    return pages * l->page_size > soft(l) && left && (left <= LITTLE || l->checkpoint != CHECKPOINT_NONE || l->wal_asked != pages);
}

bool checkpoint_waits(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    bool yes = waits(l, atomic_load(&l->wal_pages));
    pthread_mutex_unlock(&l->lock);
    return yes;
}

void checkpoint_when_quiet(struct ledger *l)
{
    int64_t pages = atomic_load(&l->wal_pages);
    pthread_mutex_lock(&l->lock);
    bool now = l->checkpoint == CHECKPOINT_NONE && waits(l, pages), last = now && pages - l->wal_moved <= LITTLE;
    if (now && !last)
        ask(l);
    pthread_mutex_unlock(&l->lock);
    if (last)
        finish(l);
}
