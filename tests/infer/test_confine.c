/* What a confined process cannot do any more, tried from inside: each in a child of its own, which is confined as the engine is. */
#include "infer/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { YES = 0, NO = 1, BROKEN = 2 };  /* exit statuses of the children: it worked, it was refused, the test itself failed */

static int listener = -1;               /* a Unix socket that was open before */

/* ---- what must be refused ---- */

static bool open_a_file(void) { return open("/etc/passwd", O_RDONLY) >= 0; }
static bool open_itself(void) { return open("/proc/self/maps", O_RDONLY) >= 0; }
static bool make_a_file(void) { return open("/tmp/hearth-confine-test", O_WRONLY | O_CREAT, 0600) >= 0; }
static bool list_a_folder(void) { return open("/", O_RDONLY | O_DIRECTORY) >= 0; }
static bool remove_a_file(void) { return unlink("/tmp/hearth-confine-victim") == 0; }
static bool tcp_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) >= 0; }
static bool unix_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }
static bool socket_pair(void) { int fds[2]; return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0; }
static bool run_a_program(void) { return execl("/bin/true", "true", (char *)NULL) == 0 || errno != EPERM; }
static bool fork_a_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0;
}
static bool signal_its_parent(void) { return kill(getppid(), 0) == 0; }
static bool trace_its_parent(void) { return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0; }
static bool make_a_namespace(void) { return unshare(CLONE_NEWUSER) == 0; }
static bool use_io_uring(void) { char params[256] = { 0 }; return syscall(SYS_io_uring_setup, 4, params) >= 0; }
static bool read_memory_of_others(void) { char c; struct { void *p; size_t n; } v = { &c, 1 }; return syscall(SYS_process_vm_readv, getppid(), &v, 1, &v, 1, 0) >= 0; }
static bool raise_a_limit(void) { struct rlimit l = { 1 << 20, 1 << 20 }; return setrlimit(RLIMIT_NOFILE, &l) == 0; }
static bool dump_core(void) { struct rlimit l; return getrlimit(RLIMIT_CORE, &l) != 0 || l.rlim_max != 0; }
static bool gain_privileges(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1; }

/* ---- what must still work ---- */

static void *thread_main(void *arg) { *(int *)arg = 7; return NULL; }
static bool start_a_thread(void)
{
    pthread_t t;
    int v = 0;
    return pthread_create(&t, NULL, thread_main, &v) == 0 && pthread_join(t, NULL) == 0 && v == 7;
}
static bool map_memory(void) { return mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED; }
static bool wake_a_loop(void) { return eventfd(0, EFD_CLOEXEC) >= 0; }
static bool wait_for_a_client(void) { return accept4(listener, NULL, NULL, SOCK_NONBLOCK) >= 0 || errno == EAGAIN; }
static bool signal_itself(void) { return kill(getpid(), 0) == 0; }

static const struct { const char *name; bool (*act)(void); bool allowed; } acts[] = {
    { "open a file", open_a_file, false }, { "open its own maps", open_itself, false }, { "make a file", make_a_file, false },
    { "list a folder", list_a_folder, false }, { "remove a file", remove_a_file, false }, { "make a TCP socket", tcp_socket, false },
    { "make a Unix socket", unix_socket, false }, { "make a socket pair", socket_pair, false }, { "run a program", run_a_program, false },
    { "fork", fork_a_process, false }, { "signal its parent", signal_its_parent, false }, { "trace its parent", trace_its_parent, false },
    { "make a namespace", make_a_namespace, false }, { "use io_uring", use_io_uring, false }, { "read another's memory", read_memory_of_others, false },
    { "raise a limit", raise_a_limit, false }, { "dump core", dump_core, false }, { "gain privileges", gain_privileges, false },
    { "start a thread", start_a_thread, true }, { "map memory", map_memory, true }, { "make an eventfd", wake_a_loop, true },
    { "accept on its socket", wait_for_a_client, true }, { "signal itself", signal_itself, true },
};

static int in_child(bool (*act)(void), bool confine)
{
    pid_t pid = fork();
    int status = -1;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct confinement c;
        if (confine && confine_self(false, 0, &c) != ERR_OK)
            _exit(BROKEN);
        _exit(act() ? YES : NO);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        fail_msg("the child was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void a_confined_process_has_what_it_needs_and_nothing_else(void **state)
{
    (void)state;
    close(open("/tmp/hearth-confine-victim", O_WRONLY | O_CREAT, 0600));
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        int got = in_child(acts[i].act, true);
        if (got != (acts[i].allowed ? YES : NO))
            fail_msg("%s: %s", acts[i].name, got == YES ? "it could" : got == NO ? "it could not" : "it could not be confined");
    }
    assert_int_equal(access("/tmp/hearth-confine-victim", F_OK), 0);
    unlink("/tmp/hearth-confine-victim");
}

/* A test that everything fails would pass the one above. */
static void an_unconfined_process_can_do_the_plain_ones(void **state)
{
    (void)state;
    bool (*const plain[])(void) = { open_a_file, open_itself, list_a_folder, tcp_socket, unix_socket, socket_pair, fork_a_process, signal_its_parent, start_a_thread };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        assert_int_equal(in_child(plain[i], false), YES);
}

static bool every_layer_is_on(void)
{
    struct confinement c;
    return confine_self(false, 0, &c) == ERR_OK && c.no_new_privs && c.capabilities && c.seccomp && c.limits;
}

static bool seccomp_alone_refuses_paths(void)   /* as on a kernel without Landlock: the second filter is added to the first */
{
    struct confinement c;
    return confine_self(false, 0, &c) == ERR_OK && (c.landlock > 0 || open("/etc/passwd", O_RDONLY) < 0);
}

static void the_report_says_what_is_on(void **state)
{
    (void)state;
    assert_int_equal(in_child(every_layer_is_on, false), YES);
    assert_int_equal(in_child(seccomp_alone_refuses_paths, false), YES);
    struct buf b;
    struct json_out o;
    buf_init(&b, 1024);
    json_out_init(&o, &b);
    confine_json(&o, &(struct confinement){ .asked = true, .seccomp = true, .landlock = 4 });
    assert_int_equal(o.err, ERR_OK);
    assert_true(str_eq(buf_str(&b), S("{\"no_new_privs\":false,\"network_namespace\":false,\"no_capabilities\":false,\"seccomp\":true,\"limits\":false,"
                                      "\"landlock\":true,\"landlock_version\":4}")));
    buf_free(&b);
}

/* The peer's uid must stay its own across the user namespace: an unmapped one would make everybody the same nobody. */
static bool the_peer_keeps_its_uid(void)
{
    struct confinement c;
    struct ucred cred;
    socklen_t n = sizeof cred;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
        return false;
    uid_t before = geteuid();
    return confine_self(false, 0, &c) == ERR_OK && geteuid() == before && getsockopt(fds[0], SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0 && cred.uid == before;
}

static void uids_mean_the_same_inside(void **state)
{
    (void)state;
    assert_int_equal(in_child(the_peer_keeps_its_uid, false), YES);
}

static int open_listener(void **state)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    (void)state;
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/hearth-confine-%d.sock", getpid());
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int bad = bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 4);
    unlink(a.sun_path);
    return bad;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confined_process_has_what_it_needs_and_nothing_else),
        cmocka_unit_test(an_unconfined_process_can_do_the_plain_ones),
        cmocka_unit_test(the_report_says_what_is_on),
        cmocka_unit_test(uids_mean_the_same_inside),
    };
    return cmocka_run_group_tests(tests, open_listener, NULL);
}
