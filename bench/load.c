/* The load of bench/gateway that wrk does not make: calls at fixed times, and streams whose tokens must be on time.
 *
 *   load open PORT BODY_FILE RATE SECONDS      RATE calls a second; latency counts from the moment that each was due, whatever came before
 *   load stream PORT BODY_FILE STREAMS CALLS   so many streams side by side, each CALLS calls; how late each token of bench/upstream is
 *   load idle PORT BODY_FILE CONNECTIONS SECONDS   one call on each of so many connections, which then stay open
 *
 * Prints one JSON object. One thread, loopback, keep-alive. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNS = 4096, IN_MAX = 262144, EVENTS = 256, KEEP = 32, LAST_MS = 10000 };

struct conn {
    int fd, left;                       /* calls still to be made on it */
    bool busy, streams;                 /* a call is running; its reply is chunked */
    int64_t due_ns;                     /* of the call */
    size_t n, need;                     /* bytes of the reply so far; how many it has, 0: not known yet */
    char in[IN_MAX];
};

static struct conn *conns[CONNS];
static int n_conns, n_busy, epoll_fd;
static uint16_t port;
static char *request;
static size_t n_request;
static int32_t *taken_us;               /* one number a call, or a token */
static size_t n_taken, cap_taken;
static unsigned long calls, errors;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void note(int64_t us)
{
    if (n_taken == cap_taken && !(taken_us = realloc(taken_us, (cap_taken = cap_taken * 2 + 65536) * sizeof *taken_us)))
        die("load");
    taken_us[n_taken++] = (int32_t)us;
}

/* ---- connections ---- */

static struct conn *conn_open(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1;
    struct conn *c = n_conns < CONNS ? calloc(1, sizeof *c) : NULL;
    if (!c || (c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to))
        die("load: connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
    return conns[n_conns++] = c;
}

static void call_begin(struct conn *c, int64_t due_ns)
{
    c->busy = true;
    c->due_ns = due_ns;
    c->n = c->need = 0;
    c->streams = false;
    n_busy++;
    if (send(c->fd, request, n_request, MSG_NOSIGNAL) != (ssize_t)n_request)
        die("load: send");
}

static void call_end(struct conn *c, bool good)
{
    c->busy = false;
    n_busy--;
    calls++;
    errors += !good;
    if (--c->left > 0)
        call_begin(c, now_ns());
}

/* ---- replies ---- */

/* A reply's head has come: how long is it? */
static void take_head(struct conn *c)
{
    char *end = memmem(c->in, c->n, "\r\n\r\n", 4);
    if (!end)
        return;
    size_t head = (size_t)(end + 4 - c->in);
    for (char *p = c->in; (p = memchr(p, '\r', (size_t)(end - p))) && p < end; p++) {
        if (strncasecmp(p, "\r\ncontent-length:", 17) == 0)
            c->need = head + strtoul(p + 17, NULL, 10);
        c->streams |= strncasecmp(p, "\r\ntransfer-encoding: chunked", 28) == 0;
    }
    if (!c->need && !c->streams)
        die("load: a reply without a length");
    if (strncmp(c->in, "HTTP/1.1 200 ", 13) != 0) {
        fprintf(stderr, "load: %.*s\n", (int)c->n, c->in);
        exit(1);
    }
}

/* The tokens among what has come, each with the time at which it was due; what may be half of one is kept. */
static void take_tokens(struct conn *c, int64_t now)
{
    char *p = c->in, *end = c->in + c->n;
    while ((p = memchr(p, '@', (size_t)(end - p)))) {
        if (end - p < 16)
            break;
        note(now / 1000 - strtoll(p + 1, NULL, 10));
        p += 16;
    }
    if (c->n >= 7 && memcmp(end - 7, "\r\n0\r\n\r\n", 7) == 0) {
        call_end(c, true);
        return;
    }
    size_t keep = p ? (size_t)(end - p) : c->n < KEEP ? c->n : KEEP;
    if (!p && memchr(end - keep, '@', keep))    /* seen already */
        *(char *)memrchr(end - keep, '@', keep) = ' ';
    memmove(c->in, end - keep, keep);
    c->n = keep;
}

static void on_readable(struct conn *c)
{
    ssize_t got = recv(c->fd, c->in + c->n, IN_MAX - c->n, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || !c->busy)
        die("load: the connection ended");
    c->n += (size_t)got;
    if (!c->need && !c->streams)
        take_head(c);
    if (c->streams)
        take_tokens(c, now_ns());
    else if (c->need && c->n >= c->need) {
        note((now_ns() - c->due_ns) / 1000);
        call_end(c, true);
    }
}

static void turn(int64_t wait_ns)
{
    struct epoll_event got[EVENTS];
    struct timespec t = { .tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000 };
    int n = epoll_pwait2(epoll_fd, got, EVENTS, &t, NULL);
    for (int i = 0; i < n; i++)
        on_readable(got[i].data.ptr);
}

static void finish(void)
{
    int64_t until = now_ns() + LAST_MS * INT64_C(1000000);
    while (n_busy && now_ns() < until)
        turn(100000000);
    errors += (unsigned long)n_busy;
}

/* ---- what is asked for ---- */

static struct conn *conn_idle(void)
{
    static int at;
    for (int i = 0; i < n_conns; i++) {
        at = (at + 1) % n_conns;
        if (!conns[at]->busy)
            return conns[at];
    }
    return conn_open();
}

static void run_open(long rate, long seconds)
{
    int64_t begin = now_ns() + 10000000;
    long all = rate * seconds;
    for (long i = 0; i < all;) {
        int64_t due = begin + i * 1000000000 / rate, now = now_ns();
        if (now < due) {
            turn(due - now);
            continue;
        }
        call_begin(conn_idle(), due);
        i++;
    }
    finish();
}

/* Streams begin one after the other within a fiftieth of a second, so that their tokens are not all due at once. */
static void run_streams(long streams, long each)
{
    int64_t begin = now_ns();
    for (long i = 0; i < streams;) {
        int64_t due = begin + i * 20000000 / streams, now = now_ns();
        if (now < due) {
            turn(due - now);
            continue;
        }
        struct conn *c = conn_open();
        c->left = (int)each;
        call_begin(c, now);
        i++;
    }
    while (n_busy)
        turn(100000000);
}

static void run_idle(long n, long seconds)
{
    for (long i = 0; i < n; i++) {
        call_begin(conn_open(), now_ns());
        while (n_busy)
            turn(100000000);
    }
    sleep((unsigned)seconds);
}

static int by_size(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static double at(double share) { return n_taken ? taken_us[(size_t)(share * (double)(n_taken - 1) + 0.5)] : -1; }

static void read_request(const char *path)
{
    char body[65536], *all = malloc(sizeof body + 512);
    FILE *f = fopen(path, "rb");
    if (!f || !all)
        die(path);
    size_t n = fread(body, 1, sizeof body, f);
    fclose(f);
    n_request = (size_t)snprintf(all, 512, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:%u\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", port, n);
    memcpy(all + n_request, body, n);
    n_request += n;
    request = all;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: load open|stream|idle PORT BODY_FILE NUMBER NUMBER\n", stderr);
        return 2;
    }
    long x = strtol(argv[4], NULL, 10), y = strtol(argv[5], NULL, 10);
    port = (uint16_t)strtoul(argv[2], NULL, 10);
    read_request(argv[3]);
    prctl(PR_SET_TIMERSLACK, 1);
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll");
    int64_t begin = now_ns();
    if (strcmp(argv[1], "open") == 0)
        run_open(x, y);
    else if (strcmp(argv[1], "stream") == 0)
        run_streams(x, y);
    else
        run_idle(x, y);
    qsort(taken_us, n_taken, sizeof *taken_us, by_size);
    size_t late = 0;                    /* more than a token's time, at 50 a second */
    while (late < n_taken && taken_us[n_taken - 1 - late] > 20000)
        late++;
    printf("{\"seconds\":%.3f,\"calls\":%lu,\"errors\":%lu,\"n\":%zu,\"late\":%zu,\"p50\":%.0f,\"p90\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%.0f}\n",
           (double)(now_ns() - begin) / 1e9, calls, errors, n_taken, late, at(0.5), at(0.9), at(0.99), at(0.999), at(1));
    return 0;
}
