/* The whole gate in one process, from one seed: real loops and a real ledger; backends that stall, reset, lie, drip and fail; clients that leave at any
 * moment; configurations that are swapped; a wall clock that jumps and a monotonic one that runs ten times too fast. Afterwards every call that was
 * accepted is on record exactly once, and what a client saw whole is there as such.
 *
 *   SEED=… CALLS=… gate_test_gate
 */
#include "gate/gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { CLIENTS = 12, BACKENDS = 2, CONNS = 256, MODELS = 4, FAST = 10, NUMBERS = 1 << 16 };

static unsigned long long seed;

static uint64_t mix(uint64_t x)        /* splitmix64 */
{
    x += 0x9E3779B97F4A7C15;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return x ^ x >> 31;
}

static uint64_t draw(uint64_t *s) { return mix((*s)++ * 0x2545F4914F6CDD1D + seed); }

static int64_t real_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- clocks ---- */

static int64_t wall_us;

static int64_t fast_mono(void *ctx) { (void)ctx; return real_us() * FAST; }
static int64_t odd_wall(void *ctx) { (void)ctx; return __atomic_load_n(&wall_us, __ATOMIC_SEQ_CST); }

/* ---- backends: what each does is in the number that a request carries, and how often that was asked before ---- */

enum habit { WHOLE, SLOW, DRIP, CUT_FIN, CUT_RST, STALL, STATUS, GARBAGE, HTML, LIE, GONE, HABITS };

struct conn {
    int fd;
    char in[4096];
    size_t n_in;
    char out[8192];
    size_t n_out, at, step, stop;       /* so many bytes at a time; where it ends too early */
    int64_t next_us, pause_us;
    enum habit habit;
    bool answering, used;
};

struct backend { pthread_t thread; int fd; uint8_t asked[NUMBERS]; };   /* how often each number was */
static int requests_seen, sent_again;   /* the second: to a kept connection that was closed without a byte of a reply, so they may come once more */
static bool over;

static void put(struct conn *c, const char *text, size_t n)
{
    assert_true(n <= sizeof c->out - c->n_out);
    memcpy(c->out + c->n_out, text, n);
    c->n_out += n;
}

#define PUT(c, literal) put(c, literal, sizeof literal - 1)
#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

static void put_event(struct conn *c, const char *data)
{
    char chunk[800];
    int n = snprintf(chunk, sizeof chunk, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + 8, data);
    put(c, chunk, (size_t)n);
}

#define CHUNK(delta, finish) "{\"id\":\"up\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}"
#define REPLY "{\"id\":\"up\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"all of it\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}"

static void say_status(struct conn *c, int status, const char *more, const char *body)
{
    char head[800];
    put(c, head, (size_t)snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status, more, strlen(body), body));
}

static void say_stream(struct conn *c)
{
    PUT(c, STREAM_HEAD);
    put_event(c, CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null"));
    put_event(c, CHUNK("{\"content\":\"all \"}", "null"));
    put_event(c, CHUNK("{\"content\":\"of it\"}", "null"));
    put_event(c, CHUNK("{}", "\"stop\""));
    put_event(c, "[DONE]");
    PUT(c, "0\r\n\r\n");
}

static void answer(struct backend *b, struct conn *c, unsigned number, bool stream)
{
    uint64_t s = number * 256u + b->asked[number]++;
    uint64_t r = draw(&s);
    __atomic_add_fetch(&requests_seen, 1, __ATOMIC_SEQ_CST);
    c->habit = r % 100 < 55 ? WHOLE : (enum habit)(1 + r / 100 % (HABITS - 1));
    c->n_out = c->at = 0;
    c->step = sizeof c->out;
    c->pause_us = 0;
    c->answering = true;
    c->next_us = real_us() + (int64_t)(draw(&s) % 3000);
    if (stream)
        say_stream(c);
    else
        say_status(c, 200, "", REPLY);
    c->stop = c->n_out;
    switch (c->habit) {
    case SLOW:    c->next_us += 60000; break;
    case DRIP:    c->step = 1 + draw(&s) % 200; c->pause_us = 1000; break;
    case CUT_FIN:
    case CUT_RST:
    case STALL:   c->stop = draw(&s) % c->n_out; break;
    case STATUS:
        c->n_out = 0;
        say_status(c, (int[]){ 500, 503, 429, 400, 404, 529 }[draw(&s) % 6], draw(&s) % 2 ? "retry-after: 0\r\n" : "", "{\"error\":{\"message\":\"scripted\",\"type\":\"t\",\"code\":null}}");
        c->stop = c->n_out;
        break;
    case GARBAGE:
        for (size_t i = 0; i < c->n_out; i += 1 + draw(&s) % 40)
            c->out[i] = (char)draw(&s);
        break;
    case HTML:
        c->n_out = 0;
        PUT(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>");
        c->stop = c->n_out;
        break;
    case LIE:                           /* JSON that is none, in a sound frame */
        c->n_out = 0;
        if (stream) {
            PUT(c, STREAM_HEAD);
            put_event(c, CHUNK("{\"content\":\"half\"}", "null"));
            put_event(c, "{\"choices\":");
            PUT(c, "0\r\n\r\n");
        } else {
            say_status(c, 200, "", "{\"choices\":[");
        }
        c->stop = c->n_out;
        break;
    case GONE:    c->stop = 0; break;
    default:      break;
    }
}

/* False: the connection has ended. */
static bool read_request(struct backend *b, struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->n_in, sizeof c->in - 1 - c->n_in, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return false;
    c->n_in += n > 0 ? (size_t)n : 0;
    c->in[c->n_in] = '\0';
    const char *end = strstr(c->in, "\r\n\r\n"), *length = strstr(c->in, "Content-Length: ");
    if (!end || !length)
        return true;
    size_t head = (size_t)(end - c->in) + 4, body = strtoul(length + 16, NULL, 10);
    const char *number = c->n_in >= head + body ? strstr(end, "number ") : NULL;
    if (!number)
        return true;
    unsigned n_asked = (unsigned)strtoul(number + 7, NULL, 10) % NUMBERS;
    bool stream = strstr(end, "\"stream\":true") != NULL;
    memmove(c->in, c->in + head + body, c->n_in - head - body);
    c->n_in -= head + body;
    answer(b, c, n_asked, stream);
    return true;
}

static bool go_on(struct conn *c)
{
    if (real_us() < c->next_us)
        return true;
    size_t n = c->stop - c->at < c->step ? c->stop - c->at : c->step;
    ssize_t sent = n ? send(c->fd, c->out + c->at, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (sent < 0)
        return errno == EAGAIN;
    c->at += (size_t)sent;
    c->next_us = real_us() + c->pause_us;
    if (c->at < c->stop)
        return true;
    if (c->habit == STALL) {            /* for as long as the other side bears it */
        c->next_us = INT64_MAX;
        return true;
    }
    c->answering = false;
    if (c->used && (!c->at || c->habit == CUT_RST))      /* a reset takes along what was not read yet */
        __atomic_add_fetch(&sent_again, 1, __ATOMIC_SEQ_CST);
    c->used = true;
    if (c->habit == CUT_RST)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
    return c->habit != CUT_FIN && c->habit != CUT_RST && c->habit != GONE && c->habit != GARBAGE;
}

static void *backend(void *arg)
{
    struct backend *b = arg;
    struct conn *conns = calloc(CONNS, sizeof *conns);
    struct pollfd *fds = calloc(CONNS + 1, sizeof *fds);
    int n = 0;
    while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
        fds[0] = (struct pollfd){ .fd = b->fd, .events = n < CONNS ? POLLIN : 0 };
        for (int i = 0; i < n; i++)
            fds[i + 1] = (struct pollfd){ .fd = conns[i].fd, .events = POLLIN };
        poll(fds, (nfds_t)n + 1, 1);
        for (int i = n; i-- > 0;) {
            struct conn *c = &conns[i];
            bool alive = !(fds[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) || read_request(b, c);
            if (alive && c->answering)
                alive = go_on(c);
            if (!alive) {
                close(c->fd);
                *c = conns[--n];
            }
        }
        if (fds[0].revents & POLLIN && (conns[n].fd = accept4(b->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
            int fd = conns[n].fd;
            conns[n++] = (struct conn){ .fd = fd };
        }
    }
    while (n)
        close(conns[--n].fd);
    free(conns);
    free(fds);
    return NULL;
}

/* ---- clients ---- */

enum seen { SEEN_WHOLE, SEEN_ERROR, SEEN_BROKEN, SEEN_NOTHING, LEFT };

struct sent { char id[40]; enum seen seen; bool whole; };
struct client { pthread_t thread; int index, n; uint16_t port; struct sent *calls; };

static const char *const paths[] = { "/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses" };
static const char *const marks[] = { "data: [DONE]", "message_stop", "\"done\":true", "response.completed" };
static const char *const models[MODELS] = { "fails-over", "once", "few", "late" };

static int dial(uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int request_text(char *out, size_t room, uint16_t port, int api, bool stream, const char *model, unsigned number)
{
    char body[400];
    int n = api == 3 ? snprintf(body, sizeof body, "{\"model\":\"%s\",\"stream\":%s,\"input\":\"number %u\"}", model, stream ? "true" : "false", number)
                     : snprintf(body, sizeof body, "{\"model\":\"%s\",\"stream\":%s,\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"number %u\"}]}", model, stream ? "true" : "false", number);
    if (api == 2)
        n = snprintf(body, sizeof body, "{\"model\":\"%s\",\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"number %u\"}]}", model, stream ? "true" : "false", number);
    return snprintf(out, room, "POST %s HTTP/1.1\r\nHost: localhost:%u\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", paths[api], port, n, body);
}

/* Is what came a whole reply by its framing? */
static bool is_framed(const char *in, size_t n, const char **body)
{
    const char *end = strstr(in, "\r\n\r\n"), *length;
    if (!end)
        return false;
    *body = end + 4;
    size_t got = n - (size_t)(*body - in);
    length = strstr(in, "Content-Length: ");
    if (length && length < end)
        return got >= strtoul(length + 16, NULL, 10);
    return got >= 5 && memcmp(in + n - 5, "0\r\n\r\n", 5) == 0;
}

static void one_call(struct client *c, struct sent *call, uint64_t *s, unsigned number)
{
    char out[1000], in[16384];
    size_t got = 0;
    int api = (int)(draw(s) % 4), n;
    bool stream = draw(s) % 2, leaves = draw(s) % 5 == 0;
    int64_t until = real_us() + (int64_t)(draw(s) % 40000);
    const char *body = NULL;
    n = request_text(out, sizeof out, c->port, api, stream, models[draw(s) % MODELS], number);
    int fd = dial(c->port);
    call->seen = SEEN_NOTHING;
    if (fd < 0)
        return;
    struct timeval patience = { .tv_sec = leaves ? 0 : 30, .tv_usec = leaves ? 1000 : 0 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int cut = draw(s) % 3 ? n : (int)(draw(s) % (uint64_t)n);
    call->whole = send(fd, out, (size_t)cut, MSG_NOSIGNAL) == cut && (cut == n || (usleep(500), send(fd, out + cut, (size_t)(n - cut), MSG_NOSIGNAL) == n - cut));
    while (got < sizeof in - 1) {
        ssize_t k = recv(fd, in + got, sizeof in - 1 - got, 0);
        if (leaves && real_us() >= until) {
            call->seen = LEFT;
            break;
        }
        if (k < 0 && (errno == EAGAIN || errno == EINTR) && leaves)
            continue;
        if (k <= 0)
            break;
        got += (size_t)k;
        in[got] = '\0';
        if (is_framed(in, got, &body))
            break;
    }
    in[got] = '\0';
    const char *id = strstr(in, "x-hearth-call: ");
    if (id)
        (void)sscanf(id + 15, "%39[0-9a-f-]", call->id);
    if (got && call->seen != LEFT) {
        bool framed = is_framed(in, got, &body), ok = strncmp(in, "HTTP/1.1 200 ", 13) == 0;
        call->seen = !framed ? SEEN_BROKEN : ok && (stream ? strstr(body, marks[api]) != NULL : strstr(body, "all of it") != NULL) ? SEEN_WHOLE : SEEN_ERROR;
    }
    if (draw(s) % 2)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
    close(fd);
}

static void *client(void *arg)
{
    struct client *c = arg;
    uint64_t s = (uint64_t)c->index << 32;
    for (int i = 0; i < c->n; i++)
        one_call(c, &c->calls[i], &s, (unsigned)(c->index * c->n + i) % NUMBERS);
    return NULL;
}

/* ---- the world ---- */

struct world {
    char dir[64], path[96];
    struct gate_config config[2];
    struct provider providers[BACKENDS];
    struct model models[MODELS];
    struct task task;
    struct ledger *ledger;
    struct gate *gate;
    int listen_fd;
    uint16_t port;
    struct backend backends[BACKENDS];
    char urls[BACKENDS][64];
};

static int listen_here(uint16_t *port)
{
    struct io_addr a;
    int fd;
    assert_int_equal(io_addr_parse(S("127.0.0.1:0"), &a), ERR_OK);
    assert_int_equal(io_listen(&a, 256, &fd), ERR_OK);
    assert_int_equal(io_bound_port(fd, port), ERR_OK);
    return fd;
}

static void configure(struct world *w, struct gate_config *c)
{
    *c = (struct gate_config){ .reply_max = 1 << 20, .upstream = http_client_limits_default };
    c->upstream.connect_ms = 2000;
    c->upstream.first_byte_ms = 150;
    c->upstream.gap_ms = 150;
    c->upstream.open_max = 100;
    c->policy = (struct policy){ .providers = w->providers, .n_providers = BACKENDS, .models = w->models, .n_all = MODELS, .n_models = MODELS, .tasks = &w->task, .n_tasks = 1, .default_model = &w->models[1],
                                 .default_to = { .model = &w->models[1] } };
    c->engines = calloc(MODELS + 1, sizeof(struct fleet_model *));
    atomic_init(&c->refs, 1);
}

static void open_world(struct world *w)
{
    char why[256];
    struct ledger_options lo;
    *w = (struct world){ .listen_fd = -1 };
    snprintf(w->dir, sizeof w->dir, "/tmp/hearth-gate-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/l.db", w->dir);
    for (int i = 0; i < BACKENDS; i++) {
        uint16_t port;
        w->backends[i].fd = listen_here(&port);
        snprintf(w->urls[i], sizeof w->urls[i], "http://127.0.0.1:%u/v1", port);
        w->providers[i] = (struct provider){ .name = i ? S("b") : S("a"), .api = API_OPENAI, .url = str_of(w->urls[i]), .zone = ZONE_MACHINE, .zone_written = true };
        assert_int_equal(pthread_create(&w->backends[i].thread, NULL, backend, &w->backends[i]), 0);
    }
    for (int i = 0; i < MODELS; i++)
        w->models[i] = (struct model){ .name = str_of(models[i]), .provider = &w->providers[i % BACKENDS], .price_input = 1, .price_output = 2 };
    w->models[0].retries = 3;
    w->models[0].fallback = &w->models[1];
    w->models[2].concurrency = 2;
    w->models[2].queue = 4;
    w->models[2].queue_ms = 500;
    w->models[3].retries = 2;
    configure(w, &w->config[0]);
    configure(w, &w->config[1]);
    ledger_options_default(&lo, w->path);
    lo.clock = (struct clock){ fast_mono, odd_wall, NULL };
    lo.queue_items = 256;
    if (ledger_open(&lo, &w->ledger, why) != ERR_OK)
        fail_msg("%s", why);
    w->listen_fd = listen_here(&w->port);
    const struct gate_options o = { .threads = 3, .tcp_fd = w->listen_fd, .unix_fd = -1, .port = w->port, .limits = http_limits_default, .ledger = w->ledger, .clock = lo.clock, .record_max = 1 << 20 };
    assert_int_equal(gate_start(&o, &w->config[0], &w->gate), ERR_OK);
}

static void close_world(struct world *w)
{
    gate_stop(w->gate);
    ledger_close(w->ledger);
    __atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
    for (int i = 0; i < BACKENDS; i++) {
        pthread_join(w->backends[i].thread, NULL);
        close(w->backends[i].fd);
    }
    close(w->listen_fd);
    free(w->config[0].engines);
    free(w->config[1].engines);
}

/* ---- what is on record ---- */

struct record { char id[40]; int intents, ends, ok, most; };
struct records { struct record *list; size_t n, cap; int intents, ends; };

static bool on_row(void *ctx, const struct ledger_seen *s)
{
    struct records *all = ctx;
    struct record *r = NULL;
    for (size_t i = all->n; i-- > 0 && !r;)
        r = str_eq(str_of(all->list[i].id), s->row.call_id) ? &all->list[i] : NULL;
    if (!r) {
        assert_true(all->n < all->cap);
        r = &all->list[all->n++];
        *r = (struct record){ .most = 0 };
        memcpy(r->id, s->row.call_id.p, s->row.call_id.n < 39 ? s->row.call_id.n : 39);
    }
    bool is_end = s->row.kind == ROW_END;
    r->intents += !is_end;
    r->ends += is_end;
    all->intents += !is_end;
    all->ends += is_end;
    r->ok += is_end && str_eq(s->row.outcome, S("ok"));
    r->most = s->row.attempt > r->most ? (int)s->row.attempt : r->most;
    return true;
}

static const struct record *find(const struct records *all, const char *id)
{
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->list[i].id, id) == 0)
            return &all->list[i];
    return NULL;
}

/* Every try that had an intent has one end, and a call whose last try came to none has one more; at most one of them is ok. */
static void check_record(const struct record *r)
{
    bool fits = r->ends == r->intents || r->ends == r->intents + 1;
    if (!fits || r->ok > 1 || !r->ends || r->most > r->ends)
        fail_msg("seed %llu: call %s has %d intents, %d ends, %d of them ok, and %d tries", seed, r->id, r->intents, r->ends, r->ok, r->most);
}

static void check_call(const struct records *all, const struct sent *c, int *counts)
{
    counts[c->seen]++;
    if (!*c->id) {
        if (c->seen == SEEN_WHOLE)
            fail_msg("seed %llu: an answer without the id of its call", seed);
        return;
    }
    const struct record *r = find(all, c->id);
    if (!r)
        fail_msg("seed %llu: call %s was answered and is not on record", seed, c->id);
    if (c->seen == SEEN_WHOLE && r->ok != 1)
        fail_msg("seed %llu: call %s was whole for its client, and is on record as ok %d times", seed, c->id, r->ok);
    if ((c->seen == SEEN_ERROR || c->seen == SEEN_BROKEN) && r->ok)
        fail_msg("seed %llu: call %s failed for its client, and is on record as ok", seed, c->id);
}

static void every_accepted_call_is_on_record_exactly_once(void **state)
{
    static struct world w;
    struct client clients[CLIENTS];
    const char *e = getenv("CALLS");
    int n = e ? (int)strtol(e, NULL, 10) / CLIENTS : 60, counts[LEFT + 1] = { 0 }, sent = 0, running = CLIENTS, current = 0;
    uint64_t s = 77;
    (void)state;
    wall_us = 1700000000000000;
    open_world(&w);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){ .index = i, .n = n, .port = w.port, .calls = calloc((size_t)n, sizeof(struct sent)) };
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client, &clients[i]), 0);
    }
    while (running) {                   /* meanwhile: the clock jumps, the configuration is another */
        __atomic_store_n(&wall_us, 1700000000000000 + (int64_t)(draw(&s) % 2000000) * 1000000 - 1000000000000, __ATOMIC_SEQ_CST);
        if (draw(&s) % 4 == 0) {
            current = !current;
            gate_swap_config(w.gate, &w.config[current]);
        }
        usleep(20000);
        while (running && pthread_tryjoin_np(clients[running - 1].thread, NULL) == 0)
            running--;
    }
    gate_drain(w.gate);
    for (int i = 0; i < 20000 && !gate_drained(w.gate); i++)
        usleep(1000);
    assert_int_equal(gate_running(w.gate), 0);
    close_world(&w);

    struct records all = { .cap = (size_t)(CLIENTS * n) + 16 };
    struct ledger_reader *r;
    struct ledger_verdict v;
    char why[256];
    all.list = calloc(all.cap, sizeof *all.list);
    assert_int_equal(ledger_reader_open(w.path, &r, why), ERR_OK);
    assert_int_equal(ledger_verify(r, NULL, NULL, &v), ERR_OK);
    if (v.bad_seq)
        fail_msg("seed %llu: %s", seed, v.what);
    assert_int_equal(v.cut, 0);
    assert_int_equal(ledger_read(r, &(struct ledger_filter){ .after_seq = -1, .limit = INT64_MAX, .kinds = 1u << ROW_INTENT | 1u << ROW_END }, on_row, &all), ERR_OK);
    ledger_reader_close(r);
    for (size_t i = 0; i < all.n; i++)
        check_record(&all.list[i]);
    for (int i = 0; i < CLIENTS; i++)
        for (int k = 0; k < n; k++) {
            check_call(&all, &clients[i].calls[k], counts);
            sent += clients[i].calls[k].whole;
        }
    /* Who left may have done so before its request was read; nobody else's call is missing, and none is there that was not sent. */
    assert_true((int)all.n <= sent && (int)all.n >= sent - counts[LEFT]);
    assert_true(requests_seen - sent_again <= all.intents);
    if (!e)                             /* the mixture is one */
        assert_true(counts[SEEN_WHOLE] > n && counts[SEEN_ERROR] > n / 2 && counts[LEFT] > 0 && all.intents > (int)all.n / 2);
    printf("measured: seed %llu: %d calls (%d whole, %d errors, %d broken, %d left), %d tries, each on record once\n", seed, (int)all.n, counts[SEEN_WHOLE], counts[SEEN_ERROR], counts[SEEN_BROKEN],
           counts[LEFT], all.intents);
    for (int i = 0; i < CLIENTS; i++)
        free(clients[i].calls);
    free(all.list);
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", w.dir);
    assert_int_equal(system(cmd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_accepted_call_is_on_record_exactly_once) };
    const char *e = getenv("SEED");
    seed = e ? strtoull(e, NULL, 10) : (unsigned long long)real_us() % 1000000;
    printf("seed %llu\n", seed);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
