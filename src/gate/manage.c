/* Questions about the gateway itself. What answers them reads files and the ledger, which a loop must never wait for: it hands the question to
 * one thread, and gets it back answered. Few may wait, and one is answered at a time. */
#include "gate/request.h"

enum { WAITING_MAX = 8, BODY_MAX = 64 << 20 };

struct manager {
    pthread_t thread;
    struct queue asked;
};

struct manage_call {                       /* lies in the arena of its request, which is held until it has come back */
    struct queue_item item;             /* first */
    struct gate_loop *loop;
    struct http_req *http;
    struct gate_question q;
    struct gate_answer answer;
};

static void *manager_main(void *arg)
{
    struct gate *g = arg;
    for (struct queue_item *it; (it = queue_take_all(&g->manager->asked, -1));)
        for (struct queue_item *next; it; it = next) {
            struct manage_call *x = (struct manage_call *)it;
            struct gate_loop *l = x->loop;      /* from the put on, `x` is the loop's */
            bool wake;
            next = it->next;
            g->opt.manage(g->opt.manage_ctx, &x->q, &x->answer);
            (void)queue_put(&l->answered, it, false, &wake);    /* it has room for more than can wait */
            io_wake_send(&l->wake);
        }
    return NULL;
}

enum err manager_start(struct gate *g)
{
    struct manager *m = g->opt.manage ? calloc(1, sizeof *m) : NULL;
    if (!g->opt.manage)
        return ERR_OK;
    if (!m || queue_init(&m->asked, WAITING_MAX, SIZE_MAX) != ERR_OK) {
        free(m);
        return ERR_MEMORY;
    }
    g->manager = m;
    if (pthread_create(&m->thread, NULL, manager_main, g) == 0)
        return ERR_OK;
    queue_destroy(&m->asked);
    free(m);
    g->manager = NULL;
    return ERR_MEMORY;
}

void manager_stop(struct gate *g)
{
    struct manager *m = g->manager;
    if (!m)
        return;
    queue_close(&m->asked);
    pthread_join(m->thread, NULL);
    queue_destroy(&m->asked);
    free(m);
    g->manager = NULL;
}

bool manager_ask(struct gate_loop *l, struct http_req *http, str path)
{
    const struct http_head *h = http_req_head(http);
    struct manage_call *x = arena_new(http_req_arena(http), struct manage_call, 1);
    bool wake;
    if (!x)
        return false;
    x->loop = l;
    x->http = http;
    x->q = (struct gate_question){ .method = str_eq(h->method, S("HEAD")) ? S("GET") : h->method, .path = path, .query = h->query, .config = l->view->cfg, .via_unix = http_req_via_unix(http) };
    x->answer.status = 500;
    buf_init(&x->answer.body, BODY_MAX);
    if (queue_put(&l->gate->manager->asked, &x->item, false, &wake) != ERR_OK)
        return false;
    http_req_hold(http);                /* its loop alone gives it back, so this comes in time */
    gate_config_ref(x->q.config);
    queue_wake(&l->gate->manager->asked);
    return true;
}

void manager_collect(struct gate_loop *l)
{
    for (struct queue_item *it = queue_take_all(&l->answered, 0), *next; it; it = next) {
        struct manage_call *x = (struct manage_call *)it;
        struct http_req *http = x->http;
        next = it->next;
        /* A client that left meanwhile is not answered: http_reply() knows. */
        gate_answer_with(l, http, x->answer.status, x->answer.content_type, str_of(x->answer.fields), buf_str(&x->answer.body));
        buf_free(&x->answer.body);
        gate_config_unref(x->q.config);
        http_req_release(http);
    }
}
