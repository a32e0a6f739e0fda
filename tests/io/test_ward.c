/* The ward: a real one around shell scripts that do what model servers do. This program is the ward too, as hearth is. */
#include "io/ward.h"

#include "core/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct run { pid_t ward; int life; char dir[64], log[96]; };

static const struct timespec moment = { .tv_nsec = 20000000 };

static void start(struct run *r, const char *script, const char *log_max)
{
    int ends[2];
    char fd[16];
    snprintf(r->dir, sizeof r->dir, "/tmp/hearth-ward-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->log, sizeof r->log, "%s/log", r->dir);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(fd, sizeof fd, "%d", ends[0]);
    r->ward = fork();
    assert_true(r->ward >= 0);
    if (r->ward == 0) {
        (void)fcntl(ends[0], F_SETFD, 0);
        if (chdir(r->dir) == 0)
            execl("/proc/self/exe", "ward", WARD_FLAG, fd, r->log, log_max, "sh", "-c", script, (char *)NULL);
        _exit(99);
    }
    close(ends[0]);
    r->life = ends[1];
}

/* A file that the script writes: its text, waited for. */
static long pid_in(const struct run *r, const char *name)
{
    char path[128], text[32] = "";
    snprintf(path, sizeof path, "%s/%s", r->dir, name);
    for (int i = 0; i < 1000; i++, nanosleep(&moment, NULL)) {
        int fd = open(path, O_RDONLY);
        ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
        if (fd >= 0)
            close(fd);
        if (n > 1 && text[n - 1] == '\n')
            return strtol(text, NULL, 10);
    }
    fail_msg("%s was not written", path);
    return 0;
}

static bool is_gone(long pid)
{
    for (int i = 0; i < 1000; i++, nanosleep(&moment, NULL))
        if (kill((pid_t)pid, 0) != 0 && errno == ESRCH)
            return true;
    return false;
}

static int end_of(struct run *r)
{
    int status = 0;
    assert_int_equal(waitpid(r->ward, &status, 0), r->ward);
    return status;
}

static void clean(struct run *r)
{
    char command[160];
    if (r->life >= 0)
        close(r->life);
    snprintf(command, sizeof command, "rm -rf %s", r->dir);
    assert_int_equal(system(command), 0);
}

/* A worker in a session of its own whose parent has ended: nothing but the ward knows of it. */
#define WORKERS "(setsid sh -c 'sleep 1000 & echo $! > orphan; wait' & echo $! > worker); sh -c 'echo $$ > child; exec sleep 1000' & "

static void nothing_is_left_when_hearth_is_gone(void **state)
{
    struct run r;
    (void)state;
    start(&r, "trap '' TERM; " WORKERS "echo $$ > leader; while :; do sleep 1; done", "1000000");
    long pids[] = { pid_in(&r, "leader"), pid_in(&r, "child"), pid_in(&r, "orphan") };
    close(r.life);
    r.life = -1;
    int status = end_of(&r);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (size_t i = 0; i < 3; i++)
        assert_true(is_gone(pids[i]));
    clean(&r);
}

static void a_server_that_ends_takes_its_workers_along_and_its_status_is_told(void **state)
{
    struct run r;
    (void)state;
    start(&r, WORKERS "while [ ! -s orphan ]; do sleep 0.02; done; exit 7", "1000000");
    long orphan = pid_in(&r, "orphan");
    int status = end_of(&r);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_true(is_gone(orphan));
    clean(&r);
}

static void a_signal_that_ends_the_server_is_told(void **state)
{
    struct run r;
    (void)state;
    start(&r, "kill -SEGV $$", "1000000");
    int status = end_of(&r);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    clean(&r);
}

static void sigterm_reaches_the_server_which_may_end_in_its_own_way(void **state)
{
    struct run r;
    (void)state;
    start(&r, "trap 'echo ending; exit 5' TERM; echo $$ > leader; while :; do sleep 0.05; done", "1000000");
    (void)pid_in(&r, "leader");
    assert_int_equal(kill(r.ward, SIGTERM), 0);
    int status = end_of(&r);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    char text[64] = "";
    int fd = open(r.log, O_RDONLY);
    assert_true(read(fd, text, sizeof text - 1) == 7);
    close(fd);
    assert_string_equal(text, "ending\n");
    clean(&r);
}

static void the_log_never_grows_past_its_cap_and_keeps_what_came_last(void **state)
{
    struct run r;
    struct stat now, old;
    char path[128];
    static char all[20001];
    (void)state;
    start(&r, "i=0; while [ $i -lt 3000 ]; do echo \"line $i of a server that says a lot\"; i=$((i+1)); done", "40000");
    assert_int_equal(end_of(&r), 0);
    snprintf(path, sizeof path, "%s.1", r.log);
    assert_int_equal(stat(r.log, &now), 0);
    assert_int_equal(stat(path, &old), 0);
    assert_true(now.st_size <= 20000 && old.st_size <= 20000 && old.st_size > 1000);
    assert_int_equal(now.st_mode & 0777, 0600);
    int fd = open(r.log, O_RDONLY);
    ssize_t n = pread(fd, all, sizeof all - 1, 0);
    close(fd);
    assert_true(str_find(str_slice(all, (size_t)n), S("line 2999 of")) < (size_t)n);
    clean(&r);
}

static void a_program_that_is_not_there_is_named_in_the_log(void **state)
{
    struct run r;
    char text[128] = "";
    (void)state;
    start(&r, "exec /nowhere/server", "1000");
    int status = end_of(&r);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == WARD_NOT_STARTED);
    int fd = open(r.log, O_RDONLY);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    assert_non_null(strstr(text, "/nowhere/server"));
    clean(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_when_hearth_is_gone),
        cmocka_unit_test(a_server_that_ends_takes_its_workers_along_and_its_status_is_told),
        cmocka_unit_test(a_signal_that_ends_the_server_is_told),
        cmocka_unit_test(sigterm_reaches_the_server_which_may_end_in_its_own_way),
        cmocka_unit_test(the_log_never_grows_past_its_cap_and_keeps_what_came_last),
        cmocka_unit_test(a_program_that_is_not_there_is_named_in_the_log),
    };
    if (argc > 1 && strcmp(argv[1], WARD_FLAG) == 0)
        return ward_main(argc - 2, argv + 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
