/* One thread, one job at a time; two results that take turns, so that the keeper can read one while the other is being filled. */
#include "fleet/look.h"

#include <pthread.h>
#include <stdlib.h>

struct looker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wish;
    bool asked, closing, has_result;
    struct io_wake *wake;
    char library[512];
    bool any_library;
    struct look results[2];
    int filling;                        /* the other is the last result */
};

static void look_at_processes(struct gpus *g, struct look *l)
{
    struct gpu_process on[256];
    int pids[HOST_TREE];
    for (size_t i = 0; i < l->n_uses; i++) {
        struct look_use *u = &l->uses[i];
        size_t n = host_tree(&host_paths_system, u->pid, pids);
        host_use(&host_paths_system, pids, n, &u->host);
        for (size_t d = 0; d < l->n_devices; d++) {
            size_t k = gpu_processes(g, d, on, sizeof on / sizeof *on);
            for (size_t p = 0; p < k; p++)
                for (size_t t = 0; t < n; t++)
                    u->device[d] += on[p].pid == pids[t] ? on[p].bytes : 0;
        }
    }
}

static void *looker_main(void *arg)
{
    struct looker *l = arg;
    char why[200] = "";
    const struct gpu_options o = { .library = l->any_library ? NULL : l->library, .visible = getenv("CUDA_VISIBLE_DEVICES") };
    struct gpus *g = gpu_open(&o, why);
    pthread_mutex_lock(&l->lock);
    while (!l->closing) {
        if (!l->asked) {
            pthread_cond_wait(&l->wish, &l->lock);
            continue;
        }
        struct look *r = &l->results[l->filling];
        pthread_mutex_unlock(&l->lock);
        r->host_known = host_look(&host_paths_system, &r->host) == ERR_OK;
        r->n_devices = g ? gpu_look(g, r->devices) : 0;
        look_at_processes(g, r);
        memcpy(r->why, why, sizeof r->why);
        pthread_mutex_lock(&l->lock);
        l->asked = false;
        l->has_result = true;
        l->filling = 1 - l->filling;
        io_wake_send(l->wake);
    }
    pthread_mutex_unlock(&l->lock);
    gpu_close(g);
    return NULL;
}

enum err looker_new(struct io_wake *wake, const char *library, struct looker **out)
{
    struct looker *l = calloc(1, sizeof *l);
    if (!l)
        return ERR_MEMORY;
    l->wake = wake;
    l->any_library = !library || !*library;
    snprintf(l->library, sizeof l->library, "%s", library ? library : "");
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wish, NULL);
    if (pthread_create(&l->thread, NULL, looker_main, l) != 0) {
        free(l);
        return ERR_MEMORY;
    }
    *out = l;
    return ERR_OK;
}

void looker_free(struct looker *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_signal(&l->wish);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->wish);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

bool look_ask(struct looker *l, const struct look_use *roots, size_t n, int64_t now_ms)
{
    pthread_mutex_lock(&l->lock);
    bool free_now = !l->asked;
    if (free_now) {
        struct look *r = &l->results[l->filling];
        *r = (struct look){ .asked_ms = now_ms, .n_uses = n < LOOK_ROOTS ? n : LOOK_ROOTS };
        for (size_t i = 0; i < r->n_uses; i++)
            r->uses[i] = (struct look_use){ .id = roots[i].id, .pid = roots[i].pid };
        l->asked = true;
        pthread_cond_signal(&l->wish);
    }
    pthread_mutex_unlock(&l->lock);
    return free_now;
}

const struct look *look_take(struct looker *l)
{
    pthread_mutex_lock(&l->lock);
    const struct look *r = l->has_result ? &l->results[1 - l->filling] : NULL;
    pthread_mutex_unlock(&l->lock);
    return r;
}

bool look_runs(struct looker *l)
{
    pthread_mutex_lock(&l->lock);
    bool runs = l->asked;
    pthread_mutex_unlock(&l->lock);
    return runs;
}
