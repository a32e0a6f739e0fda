/* Addresses and sockets: what is an address, what a path that is taken means, who is at the other end. */
#include "io/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/hearth-socket-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[128];
    (void)state;
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static void addresses_are_numeric_or_paths(void **state)
{
    static const struct { const char *text, *host; int port; bool loopback, is_unix; } good[] = {
        { "127.0.0.1:8420", "127.0.0.1", 8420, true, false }, { "localhost:1", "127.0.0.1", 1, true, false }, { "[::1]:65535", "::1", 65535, true, false }, { "0.0.0.0:0", "0.0.0.0", 0, false, false },
        { "127.8.9.1:80", "127.8.9.1", 80, true, false }, { "[::]:80", "::", 80, false, false }, { "10.0.0.1:80", "10.0.0.1", 80, false, false }, { "unix:/run/x.sock", "/run/x.sock", 0, true, true },
    };
    static const char *const bad[] = { "", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8x", "127.0.0.1:+1", "example.org:80", "[::1]", "[::1]80", "[::1:80", "::1:80", "1.2.3:80",
                                       "1.2.3.4.5:80", "unix:", "[127.0.0.1]:80 ", " 127.0.0.1:80", "127.0.0.1 :80" };
    struct io_addr a;
    char longer[200] = "unix:/";
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (io_addr_parse(str_of(good[i].text), &a) != ERR_OK)
            fail_msg("refused: %s", good[i].text);
        if (strcmp(a.host, good[i].host) != 0 || a.port != good[i].port || a.loopback != good[i].loopback || a.is_unix != good[i].is_unix)
            fail_msg("%s: %s %d", good[i].text, a.host, a.port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (io_addr_parse(str_of(bad[i]), &a) != ERR_SYNTAX)
            fail_msg("taken: %s", bad[i]);
    memset(longer + 6, 'x', 150);
    assert_int_equal(io_addr_parse(str_of(longer), &a), ERR_SYNTAX);
    assert_int_equal(io_addr_parse((str){ "unix:/a\0b", 9 }, &a), ERR_SYNTAX);
}

static int flags_of(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC); }

static void a_connection_is_accepted_and_its_peer_is_known(void **state)
{
    struct io_addr a;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd, got, second;
    uint16_t port;
    char text[64];
    (void)state;
    assert_int_equal(io_addr_parse(S("127.0.0.1:0"), &a), ERR_OK);
    assert_int_equal(io_listen(&a, 8, &fd), ERR_OK);
    assert_true(flags_of(fd));
    assert_int_equal(io_bound_port(fd, &port), ERR_OK);
    assert_true(port > 0);
    assert_int_equal(io_accept(fd, &got), ERR_AGAIN);
    a.port = port;
    assert_int_equal(io_listen(&a, 8, &second), ERR_BUSY);
    to.sin_port = htons(port);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(io_accept(fd, &got), ERR_OK);
    assert_true(flags_of(got));
    io_peer_text(got, text);
    assert_string_equal(text, "127.0.0.1");
    io_peer_text(-1, text);
    assert_string_equal(text, "?");
    close(got);
    close(client);
    close(fd);
    assert_int_not_equal(io_bound_port(fd, &port), ERR_OK);
}

static void without_descriptors_accepting_says_so(void **state)
{
    struct io_addr a;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct rlimit old, few;
    uint16_t port;
    int fd, got;
    (void)state;
    assert_int_equal(io_addr_parse(S("127.0.0.1:0"), &a), ERR_OK);
    assert_int_equal(io_listen(&a, 8, &fd), ERR_OK);
    assert_int_equal(io_bound_port(fd, &port), ERR_OK);
    to.sin_port = htons(port);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof to), 0);
    getrlimit(RLIMIT_NOFILE, &old);
    few = (struct rlimit){ (rlim_t)client + 1, old.rlim_max };
    setrlimit(RLIMIT_NOFILE, &few);
    enum err e = io_accept(fd, &got);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(io_accept(fd, &got), ERR_OK);          /* it has waited */
    close(got);
    close(client);
    close(fd);
}

static void a_unix_socket_is_for_its_owner_and_replaces_a_dead_one(void **state)
{
    struct io_addr a = { .is_unix = true, .loopback = true };
    struct stat st;
    int fd, client, got, second;
    uid_t uid;
    char text[64], mine[64];
    (void)state;
    snprintf(a.host, sizeof a.host, "%s/s", dir);
    assert_int_equal(io_connect_unix(a.host, &client), ERR_REFUSED);
    mode_t before = umask(0);
    assert_int_equal(io_listen(&a, 8, &fd), ERR_OK);
    assert_int_equal(umask(before), 0);                     /* as it was */
    assert_int_equal(stat(a.host, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(io_listen(&a, 8, &second), ERR_BUSY);  /* somebody answers there */
    assert_int_equal(io_connect_unix(a.host, &client), ERR_OK);
    while (io_accept(fd, &got) == ERR_OK && io_peer_uid(got, &uid) != ERR_OK)
        close(got);
    assert_int_equal(uid, geteuid());
    io_peer_text(got, text);
    snprintf(mine, sizeof mine, "unix:%u", (unsigned)geteuid());
    assert_string_equal(text, mine);
    close(got);
    close(client);
    close(fd);                                              /* the file stays, and nobody answers */
    assert_int_equal(io_connect_unix(a.host, &client), ERR_REFUSED);
    assert_int_equal(io_listen(&a, 8, &fd), ERR_OK);
    close(fd);
    unlink(a.host);
    FILE *f = fopen(a.host, "w");                           /* a file that is no socket is nobody's to remove */
    fclose(f);
    assert_int_equal(io_listen(&a, 8, &fd), ERR_BUSY);
    assert_int_equal(stat(a.host, &st), 0);
    snprintf(a.host, sizeof a.host, "%s/none/s", dir);
    assert_int_equal(io_listen(&a, 8, &fd), ERR_IO);
    assert_int_equal(errno, ENOENT);
}

/* The parent of a socket that is handed over is played by dup2. */
static bool inherit(const char *fds, const char *pid, bool loopback, int *out)
{
    struct io_addr a;
    int fd, kept = fcntl(3, F_DUPFD_CLOEXEC, 50);
    assert_int_equal(io_addr_parse(loopback ? S("127.0.0.1:0") : S("0.0.0.0:0"), &a), ERR_OK);
    assert_int_equal(io_listen(&a, 1, &fd), ERR_OK);
    assert_int_equal(dup2(fd, 3), 3);
    if (fd != 3)
        close(fd);
    if (fds)
        setenv("LISTEN_FDS", fds, 1);
    if (pid)
        setenv("LISTEN_PID", pid, 1);
    bool taken = io_inherit(out);
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_PID"));
    if (!taken)
        close(3);
    if (kept >= 0) {
        dup2(kept, 3);
        close(kept);
    }
    return taken;
}

static void a_socket_that_is_handed_over_is_taken_when_it_is_meant_for_us_and_near(void **state)
{
    char mine[24];
    int fd = -1;
    uint16_t port;
    (void)state;
    snprintf(mine, sizeof mine, "%d", (int)getpid());
    assert_false(inherit(NULL, NULL, true, &fd));
    assert_false(inherit("1", "1", true, &fd));
    assert_false(inherit("2", mine, true, &fd));
    assert_false(inherit("x", mine, true, &fd));
    assert_false(inherit("1", mine, false, &fd));           /* others could reach it */
    assert_true(inherit("1", mine, true, &fd));
    assert_true(fd > 3 && flags_of(fd));
    assert_int_equal(io_bound_port(fd, &port), ERR_OK);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_numeric_or_paths),
        cmocka_unit_test(a_connection_is_accepted_and_its_peer_is_known),
        cmocka_unit_test(without_descriptors_accepting_says_so),
        cmocka_unit_test_setup_teardown(a_unix_socket_is_for_its_owner_and_replaces_a_dead_one, setup, teardown),
        cmocka_unit_test(a_socket_that_is_handed_over_is_taken_when_it_is_meant_for_us_and_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
