/* Child processes: what they are given, how they end, and that what they started ends with them. */
#include "io/child.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct ended { struct io_child c; int exits, closed, status, signum; };

static struct io_loop *loop;

static int setup(void **state)
{
    (void)state;
    return io_loop_new(&loop) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    io_loop_free(loop);
    return 0;
}

static void on_exit_(struct io_child *c, int status, int signum)
{
    struct ended *x = (struct ended *)c;
    x->exits++;
    x->status = status;
    x->signum = signum;
}

static void on_closed(struct io_child *c) { ((struct ended *)c)->closed++; }

static bool turn_until(const int *n, int want)
{
    for (int i = 0; *n < want && i < 20000; i++) {
        io_loop_run_once(loop);
        usleep(500);
    }
    return *n >= want;
}

static void end(struct ended *x)
{
    io_child_close(&x->c, on_closed);
    assert_true(turn_until(&x->closed, 1));
}

/* What `sh -c script` writes to its standard output; its end in *x. */
static void run(const char *script, struct io_child_spec spec, struct ended *x, char *out, size_t room)
{
    const char *argv[] = { "sh", "-c", script, NULL };
    int fds[2];
    size_t n = 0;
    *x = (struct ended){ .exits = 0 };
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    spec.file = "/bin/sh";
    spec.argv = argv;
    spec.out_fd = fds[1];
    spec.err_fd = -1;
    assert_int_equal(io_child_start(loop, &x->c, &spec, on_exit_), ERR_OK);
    assert_true(x->c.pid > 0);
    close(fds[1]);
    for (ssize_t got; n < room - 1 && (got = read(fds[0], out + n, room - 1 - n)) > 0;)
        n += (size_t)got;
    out[n] = '\0';
    close(fds[0]);
    assert_true(turn_until(&x->exits, 1));
    assert_int_equal(x->c.pid, 0);
    end(x);
}

static void a_child_ends_with_a_status_or_by_a_signal(void **state)
{
    static const struct { const char *script; int status, signum; const char *out; } cases[] = {
        { "echo hello", 0, 0, "hello\n" }, { "echo no >&2; exit 7", 7, 0, "" }, { "kill -9 $$", 0, SIGKILL, "" }, { "kill -TERM $$", 0, SIGTERM, "" }, { "exit 255", 255, 0, "" },
    };
    struct ended x;
    char out[64];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run(cases[i].script, (struct io_child_spec){ .n_keep = 0 }, &x, out, sizeof out);
        if (x.status != cases[i].status || x.signum != cases[i].signum || strcmp(out, cases[i].out) != 0)
            fail_msg("%s: status %d, signal %d, \"%s\"", cases[i].script, x.status, x.signum, out);
    }
}

static void a_child_has_what_it_was_given_and_nothing_else(void **state)
{
    static const char *const env[] = { "A=1", "PATH=/usr/bin:/bin", NULL };
    struct ended x;
    char out[256];
    int kept[2], other = open("/dev/null", O_RDONLY);       /* without O_CLOEXEC, as one that we were started with */
    (void)state;
    assert_int_equal(pipe2(kept, O_CLOEXEC), 0);
    assert_int_equal(write(kept[1], "through 3\n", 10), 10);
    close(kept[1]);
    run("echo $A $HOME; pwd; cat <&3; readlink /proc/self/fd/0", (struct io_child_spec){ .env = env, .cwd = "/", .keep_fds = { kept[0] }, .n_keep = 1 }, &x, out, sizeof out);
    assert_string_equal(out, "1\n/\nthrough 3\n/dev/null\n");
    close(kept[0]);
    run("ls /proc/self/fd | wc -l", (struct io_child_spec){ .n_keep = 0 }, &x, out, sizeof out);
    assert_true(strtol(out, NULL, 10) <= 4);        /* 0, 1, 2 and the folder itself */
    assert_int_equal(fcntl(other, F_GETFD), 0);     /* ours are as they were */
    close(other);
    run("ps -o pgid= -o pid= -p $$ 2>/dev/null || cut -d' ' -f5,1 /proc/$$/stat", (struct io_child_spec){ .n_keep = 0 }, &x, out, sizeof out);
    long group = 0, pid = 0;
    assert_int_equal(sscanf(out, "%ld %ld", &group, &pid), 2);
    assert_true(group == pid);          /* a group of its own: no terminal's Ctrl-C reaches it */
}

static void a_kill_reaches_what_the_child_has_started(void **state)
{
    const char *argv[] = { "sh", "-c", "sleep 1000 & echo $!; wait", NULL };
    struct ended x = { .exits = 0 };
    char out[32] = "";
    int fds[2];
    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const struct io_child_spec spec = { .file = "/bin/sh", .argv = argv, .out_fd = fds[1], .err_fd = -1 };
    assert_int_equal(io_child_start(loop, &x.c, &spec, on_exit_), ERR_OK);
    close(fds[1]);
    assert_true(read(fds[0], out, sizeof out - 1) > 0);
    pid_t grandchild = (pid_t)strtol(out, NULL, 10);
    assert_true(grandchild > 1 && kill(grandchild, 0) == 0);
    io_child_kill(&x.c, SIGKILL);
    assert_true(turn_until(&x.exits, 1));
    assert_int_equal(x.signum, SIGKILL);
    io_child_kill(&x.c, SIGKILL);       /* it has ended: nothing */
    assert_int_equal(read(fds[0], out, sizeof out), 0);     /* whoever held the other end is gone, the grandchild too */
    close(fds[0]);
    end(&x);
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
    const char *argv[] = { "x", NULL };
    static const char *const files[] = { "/no/such/program", "/etc/passwd" };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct ended x = { .exits = 0 };
        const struct io_child_spec spec = { .file = files[i], .argv = argv, .out_fd = -1, .err_fd = -1 };
        assert_int_equal(io_child_start(loop, &x.c, &spec, on_exit_), ERR_NOTFOUND);
        assert_int_equal(x.c.pid, 0);
        end(&x);                        /* closed all the same */
        assert_int_equal(x.exits, 0);
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_child_ends_with_a_status_or_by_a_signal),
        TEST(a_child_has_what_it_was_given_and_nothing_else),
        TEST(a_kill_reaches_what_the_child_has_started),
        TEST(a_program_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
