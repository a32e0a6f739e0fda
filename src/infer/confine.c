/* The order matters: namespaces need /proc for their maps, Landlock and seccomp take that away; capabilities go before seccomp, which
 * refuses nothing of what comes after it. */
#include "infer/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- network ---- */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* An empty network namespace. Without privilege it takes a user namespace around it, in which our own ids are mapped to
 * themselves: unmapped, every peer of the socket would look like the same nobody. */
static bool confine_network(void)
{
    char map[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWNET) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    snprintf(map, sizeof map, "%u %u 1\n", (unsigned)uid, (unsigned)uid);
    bool ok = write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "%u %u 1\n", (unsigned)gid, (unsigned)gid);
    return write_text("/proc/self/gid_map", map) && ok;
}

/* ---- capabilities and limits ---- */

static bool confine_capabilities(void)
{
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);     /* refused without CAP_SETPCAP, when there is nothing to drop */
    return syscall(SYS_capset, &head, none) == 0;
}

static bool confine_limits(uint64_t file_size)
{
    const rlim_t log_size = 64u << 20;  /* standard error may be a log file */
    const struct { int what; rlim_t most; } limits[] = {
        { RLIMIT_CORE, 0 }, { RLIMIT_FSIZE, file_size > log_size ? file_size : log_size }, { RLIMIT_NOFILE, 1024 }, { RLIMIT_MSGQUEUE, 0 } };
    bool ok = signal(SIGXFSZ, SIG_IGN) != SIG_ERR;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit l = { 0, 0 };
        ok &= getrlimit((__rlimit_resource_t)limits[i].what, &l) == 0;
        l.rlim_max = l.rlim_cur = l.rlim_max < limits[i].most ? l.rlim_max : limits[i].most;
        ok &= setrlimit((__rlimit_resource_t)limits[i].what, &l) == 0;
    }
    return ok;
}

/* ---- Landlock ---- */

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define ACCESS_IOCTL_DEV (1ULL << 15)
#define ACCESS_READ  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define ACCESS_DEVICE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)

static void allow_path(int ruleset, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = open(path, O_PATH | O_CLOEXEC) };
    if (rule.parent_fd < 0)
        return;
    (void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

static void allow_gpu(int ruleset, int abi)
{
    uint64_t device = ACCESS_DEVICE | (abi >= 5 ? ACCESS_IOCTL_DEV : 0);
    static const char *const trees[] = { "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc", "/sys", "/opt/rocm" };
    for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++)
        allow_path(ruleset, trees[i], i == 3 ? LANDLOCK_ACCESS_FS_READ_FILE : ACCESS_READ);
    allow_path(ruleset, "/dev/kfd", device);
    allow_path(ruleset, "/dev/dri", device | LANDLOCK_ACCESS_FS_READ_DIR);
    DIR *d = opendir("/dev");
    for (struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, "nvidia", 6) == 0) {
            char path[300];
            snprintf(path, sizeof path, "/dev/%s", e->d_name);
            allow_path(ruleset, path, device);
        }
    if (d)
        closedir(d);
}

static int confine_paths(bool gpu)
{
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return 0;
    uint64_t all = (1ULL << 13) - 1;    /* version 1 */
    all |= abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
    all |= abi >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0;
    all |= abi >= 5 ? ACCESS_IOCTL_DEV : 0;
    /* From version 4: binding and connecting of TCP, too; from version 6: abstract sockets and signals to outside. */
    struct { uint64_t fs, net, scoped; } attr = { all, abi >= 4 ? 3 : 0, abi >= 6 ? 3 : 0 };
    size_t size = abi >= 6 ? sizeof attr : abi >= 4 ? 16 : 8;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return 0;
    if (gpu)
        allow_gpu(ruleset, abi);
    bool ok = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    return ok ? abi : 0;
}

/* ---- seccomp ---- */

#if defined(__x86_64__)
#define ARCH_HERE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH_HERE AUDIT_ARCH_AARCH64
#endif

static const int refused_calls[] = {
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen, SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_pidfd_open, SYS_pidfd_getfd, SYS_pidfd_send_signal, SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_unshare, SYS_setns, SYS_mount, SYS_umount2,
    SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr, SYS_name_to_handle_at,
    SYS_open_by_handle_at, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_keyctl, SYS_add_key,
    SYS_request_key, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct,
    SYS_syslog, SYS_quotactl, SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex, SYS_sethostname, SYS_setdomainname, SYS_personality, SYS_setuid,
    SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_setfsuid, SYS_setfsgid, SYS_capset, SYS_fanotify_init,
    SYS_inotify_init1, SYS_shmget, SYS_msgget, SYS_semget, SYS_mq_open, SYS_kcmp, SYS_process_madvise, SYS_vhangup, SYS_mknodat,
#ifdef SYS_fork
    SYS_fork, SYS_vfork, SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS_mknod, SYS_inotify_init,
#endif
};
static const int path_calls[] = {       /* when there is no Landlock */
    SYS_openat, SYS_openat2, SYS_unlinkat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_mkdirat, SYS_fchmodat, SYS_fchownat, SYS_truncate,
#ifdef SYS_open
    SYS_open, SYS_creat, SYS_unlink, SYS_rename, SYS_link, SYS_symlink, SYS_mkdir, SYS_rmdir, SYS_chmod, SYS_chown, SYS_lchown, SYS_renameat,
#endif
};

#define FILTER_MAX 320
struct program { struct sock_filter code[FILTER_MAX]; unsigned short n; };

static void put(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    if (p->n < FILTER_MAX)
        p->code[p->n++] = (struct sock_filter){ code, yes, no, k };
}

static void put_answer(struct program *p, uint32_t answer) { put(p, BPF_RET | BPF_K, answer, 0, 0); }

static void put_refused(struct program *p, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i], 0, 1);
        put_answer(p, SECCOMP_RET_ERRNO | EPERM);
    }
}

static void put_load(struct program *p, size_t offset) { put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0); }

/* Answers of the calls whose arguments decide. Each part is entered with the call's number loaded, and leaves it loaded. */
static void put_arguments(struct program *p)
{
    const size_t number = offsetof(struct seccomp_data, nr), first = offsetof(struct seccomp_data, args[0]);
    put(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);        /* its flags are behind a pointer: libc then takes clone() */
    put_answer(p, SECCOMP_RET_ERRNO | ENOSYS);
    put(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4);         /* threads yes, processes no */
    put_load(p, first);
    put(p, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0);
    put_answer(p, SECCOMP_RET_ERRNO | EPERM);
    put_load(p, number);
    for (int i = 0; i < 2; i++) {                               /* signals to this process only: abort() and raise() */
        put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(i ? SYS_tgkill : SYS_kill), 0, 4);
        put_load(p, first);
        put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 1, 0);
        put_answer(p, SECCOMP_RET_ERRNO | EPERM);
        put_load(p, number);
    }
}

static bool confine_calls(bool paths)
{
#ifdef ARCH_HERE
    struct program p = { .n = 0 };
    put_load(&p, offsetof(struct seccomp_data, arch));
    put(&p, BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0);
    put_answer(&p, SECCOMP_RET_KILL_PROCESS);
    put_load(&p, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
    put(&p, BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1);       /* x32 numbers reach the same calls by another name */
    put_answer(&p, SECCOMP_RET_KILL_PROCESS);
#endif
    put_arguments(&p);
    put_refused(&p, refused_calls, sizeof refused_calls / sizeof refused_calls[0]);
    if (paths)
        put_refused(&p, path_calls, sizeof path_calls / sizeof path_calls[0]);
    put_answer(&p, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { .len = p.n, .filter = p.code };
    return p.n < FILTER_MAX && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
#else
    (void)paths;
    return false;
#endif
}

/* ---- all of it ---- */

enum err confine_self(bool gpu, uint64_t file_size, struct confinement *out)
{
    struct confinement c = { .asked = true };
    c.limits = confine_limits(file_size);
    c.network = confine_network();
    c.no_new_privs = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    c.capabilities = confine_capabilities();
    c.landlock = confine_paths(gpu);
    c.seccomp = confine_calls(c.landlock == 0 && !gpu);
    *out = c;
    return c.no_new_privs && c.seccomp ? ERR_OK : ERR_IO;
}

void confine_json(struct json_out *o, const struct confinement *c)
{
    const struct { const char *name; bool on; } facts[] = { { "no_new_privs", c->no_new_privs }, { "network_namespace", c->network },
        { "no_capabilities", c->capabilities }, { "seccomp", c->seccomp }, { "limits", c->limits }, { "landlock", c->landlock > 0 } };
    json_open(o, '{');
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        json_put_key(o, str_of(facts[i].name));
        json_put_bool(o, facts[i].on);
    }
    json_put_key(o, S("landlock_version"));
    json_put_i64(o, c->landlock);
    json_close(o, '}');
}
