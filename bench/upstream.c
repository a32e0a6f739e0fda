/* The upstream of bench/gateway: an OpenAI-compatible server that costs as little as it can and keeps time.
 *
 *   upstream PORT REPLY_FILE TOKENS RATE
 *
 * A call is answered at once with the file, or, where its body asks for a stream, with TOKENS events, RATE a second. Each event is due
 * at a fixed time after the call and carries it ('@' and 15 digits: µs of CLOCK_MONOTONIC), so that whoever reads it knows how late it
 * is. GET /count tells how many calls there were below /recorded, where a hearth with its ledger asks. One thread, loopback only, keep-alive, Content-Length only. */
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

enum { CONNS = 8192, IN_MAX = 65536, EVENTS = 256 };

struct conn {
    size_t n;
    int64_t due_ns;                     /* of the next token; 0: no stream */
    int sent, slot;                     /* tokens; place in `streams` */
    char in[IN_MAX];
};

static struct conn *conns[CONNS];       /* by descriptor */
static int streams[CONNS], n_streams;
static int epoll_fd, tokens;
static int64_t gap_ns;
static unsigned long calls;
static char *reply;
static size_t n_reply;

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

static void stream_forget(struct conn *c)
{
    if (!c->due_ns)
        return;
    streams[c->slot] = streams[--n_streams];
    conns[streams[c->slot]]->slot = c->slot;
    c->due_ns = 0;
}

static void conn_close(int fd)
{
    stream_forget(conns[fd]);
    free(conns[fd]);
    conns[fd] = NULL;
    close(fd);
}

/* Everything sent here fits the socket's buffer, unless its reader has stopped: then the connection ends. */
static bool say(int fd, struct iovec *iov, int n)
{
    size_t all = 0;
    for (int i = 0; i < n; i++)
        all += iov[i].iov_len;
    if (sendmsg(fd, &(struct msghdr){ .msg_iov = iov, .msg_iovlen = (size_t)n }, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)all)
        return true;
    conn_close(fd);
    return false;
}

static bool say_bytes(int fd, char *p, int n) { return say(fd, &(struct iovec){ p, (size_t)n }, 1); }

static int chunk(char *out, size_t cap, const char *event)
{
    return snprintf(out, cap, "%zx\r\n%s\r\n", strlen(event), event);
}

static void stream_begin(int fd)
{
    static char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct conn *c = conns[fd];
    c->sent = 0;
    c->due_ns = now_ns() + gap_ns;
    c->slot = n_streams;
    streams[n_streams++] = fd;
    say_bytes(fd, head, sizeof head - 1);
}

#define CHUNK(choices, more) "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":" choices more "}\n\n"
#define DELTA(delta, finish) "[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]"

/* One token, or, after the last of them, the end. False: the connection is gone. */
static bool stream_step(int fd)
{
    struct conn *c = conns[fd];
    char event[512], out[2048];
    int n;
    if (c->sent < tokens) {
        snprintf(event, sizeof event, CHUNK(DELTA("{%s\"content\":\" @%015lld\"}", "null"), ""), c->sent ? "" : "\"role\":\"assistant\",", (long long)(c->due_ns / 1000));
        n = chunk(out, sizeof out, event);
        c->sent++;
        c->due_ns += gap_ns;
        return say_bytes(fd, out, n);
    }
    stream_forget(c);
    snprintf(event, sizeof event, CHUNK("[]", ",\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":%d,\"total_tokens\":%d}"), tokens, tokens + 400);
    n = chunk(out, sizeof out, CHUNK(DELTA("{}", "\"stop\""), ""));
    n += chunk(out + n, sizeof out - (size_t)n, event);
    n += chunk(out + n, sizeof out - (size_t)n, "data: [DONE]\n\n");
    n += snprintf(out + n, sizeof out - (size_t)n, "0\r\n\r\n");
    return say_bytes(fd, out, n);
}

static bool plain(int fd, char *body, size_t n_body)
{
    char head[256];
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", n_body);
    return say(fd, (struct iovec[]){ { head, (size_t)n }, { body, n_body } }, 2);
}

static bool answer(int fd, const char *head, const char *body, size_t n_body)
{
    char count[64];
    if (strncmp(head, "GET /count ", 11) == 0)
        return plain(fd, count, (size_t)snprintf(count, sizeof count, "{\"calls\":%lu}", calls));
    calls += strncmp(head, "POST /recorded/", 15) == 0;
    if (!memmem(body, n_body, "\"stream\":true", 13) && !memmem(body, n_body, "\"stream\": true", 14))
        return plain(fd, reply, n_reply);
    stream_begin(fd);
    return conns[fd] != NULL;
}

static size_t content_length(const char *head, size_t n)
{
    static const char name[] = "\r\ncontent-length:";
    for (size_t i = 0; i + sizeof name < n; i++)
        if (head[i] == '\r' && strncasecmp(head + i, name, sizeof name - 1) == 0)
            return strtoul(head + i + sizeof name - 1, NULL, 10);
    return 0;
}

static void on_readable(int fd)
{
    struct conn *c = conns[fd];
    ssize_t got = recv(fd, c->in + c->n, IN_MAX - c->n, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        conn_close(fd);
        return;
    }
    c->n += (size_t)got;
    while (!c->due_ns) {
        char *end = memmem(c->in, c->n, "\r\n\r\n", 4);
        if (!end)
            return;
        size_t head = (size_t)(end + 4 - c->in), body = content_length(c->in, head);
        if (c->n < head + body)
            return;
        if (!answer(fd, c->in, c->in + head, body))
            return;
        c->n -= head + body;
        memmove(c->in, c->in + head + body, c->n);
    }
}

static void on_connection(int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd >= CONNS || !(conns[fd] = calloc(1, sizeof *conns[fd]))) {
        close(fd);
        return;
    }
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

/* Sends what is due; the time until the next token, or a minute. */
static int64_t keep_time(void)
{
    int64_t next = INT64_C(60000000000), now = now_ns();
    for (int i = n_streams - 1; i >= 0; i--) {
        int fd = streams[i];
        if (conns[fd]->due_ns <= now && !stream_step(fd))
            continue;
        if (conns[fd]->due_ns && conns[fd]->due_ns - now < next)
            next = conns[fd]->due_ns - now;
    }
    return next > 0 ? next : 0;
}

static void read_reply(const char *path)
{
    FILE *f = fopen(path, "rb");
    reply = malloc(IN_MAX);
    if (!f || !reply)
        die(path);
    n_reply = fread(reply, 1, IN_MAX, f);
    fclose(f);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: upstream PORT REPLY_FILE TOKENS RATE\n", stderr);
        return 2;
    }
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    read_reply(argv[2]);
    tokens = (int)strtol(argv[3], NULL, 10);
    gap_ns = 1000000000 / strtol(argv[4], NULL, 10);
    prctl(PR_SET_TIMERSLACK, 1);        /* 50 µs otherwise */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024) || (epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("upstream");
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, got[EVENTS];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int64_t wait = keep_time();
        struct timespec t = { .tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000 };
        int n = epoll_pwait2(epoll_fd, got, EVENTS, &t, NULL);
        for (int i = 0; i < n; i++) {
            if (got[i].data.fd == listener)
                on_connection(listener);
            else if (conns[got[i].data.fd])
                on_readable(got[i].data.fd);
        }
    }
}
