/* ledger/checkpoint.c: pages go from SQLite's log (the WAL) back into the file.
 *
 * The log can begin again only when every page of it has been moved, which never happens by itself while commits go on: a
 * checkpoint waits for the disk twice, and each commit adds pages. So a thread of its own moves the bulk, again and again
 * until little is left, and the writer moves that between two batches. */
#include "core/log.h"
#include "ledger/store.h"

enum { LITTLE = 64, PASSES = 8 };       /* pages that the writer moves itself; how often the thread tries to come so far */

static enum checkpoint move_bulk(struct ledger *l, sqlite3 *db)
{
    for (int i = 0; i < PASSES; i++) {
        int in_log = 0, moved = 0;
        pthread_mutex_lock(&l->checkpointing);
        int rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved);
        pthread_mutex_unlock(&l->checkpointing);
        if (rc != SQLITE_OK || moved < in_log)
            return CHECKPOINT_NONE;     /* a reader still needs an older page */
        if (atomic_load(&l->wal_pages) - moved <= LITTLE)
            break;
    }
    return CHECKPOINT_NEAR;
}

void *checkpoint_main(void *arg)
{
    struct ledger *l = arg;
    sqlite3 *db = NULL;
    char why[256];
    if (store_open_db(l->path, l->o.vfs, SQLITE_OPEN_READWRITE, &db, why) != ERR_OK) {
        log_warn("checkpointer_off", LOG_C("why", why));
        return NULL;
    }
    pthread_mutex_lock(&l->lock);
    while (!l->closing) {
        if (l->checkpoint != CHECKPOINT_ASKED) {
            pthread_cond_wait(&l->wish, &l->lock);
            continue;
        }
        pthread_mutex_unlock(&l->lock);
        enum checkpoint next = move_bulk(l, db);
        pthread_mutex_lock(&l->lock);
        l->checkpoint = next;
    }
    pthread_mutex_unlock(&l->lock);
    sqlite3_close(db);
    return NULL;
}

/* The log begins anew. While the thread is at work that cannot be; past twice the limit it is waited for, or the log would grow for as long as calls
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

void checkpoint_after_batch(struct ledger *l)
{
    int64_t bytes = atomic_load(&l->wal_pages) * l->page_size;
    if (bytes > (int64_t)l->o.wal_hard || l->empty_wal) {
        empty_log(l, l->empty_wal || bytes > 2 * (int64_t)l->o.wal_hard);
        return;
    }
    bool long_enough = bytes > (int64_t)l->o.wal_soft;
    if (!long_enough)
        l->wal_next = (int64_t)l->o.wal_soft;
    pthread_mutex_lock(&l->lock);
    enum checkpoint was = l->checkpoint;
    if (was == CHECKPOINT_NEAR) {
        l->checkpoint = CHECKPOINT_NONE;
    } else if (was == CHECKPOINT_NONE && bytes > l->wal_next) {
        l->checkpoint = CHECKPOINT_ASKED;
        l->wal_next = bytes + (int64_t)l->o.wal_soft / 4;      /* if a reader keeps it from its end */
        pthread_cond_signal(&l->wish);
    }
    pthread_mutex_unlock(&l->lock);
    /* A log that is short by now has begun again by itself: the thread's last turn was done between two commits. */
    if (was == CHECKPOINT_NEAR && long_enough)
        (void)sqlite3_wal_checkpoint_v2(l->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}
