/* What there is of memory: texts of a kernel that the test writes, a fake NVML that the tests build, and footprints. */
#include "fleet/foot.h"
#include "fleet/gpu.h"
#include "fleet/host.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MB INT64_C(1000000)
#define GIB (INT64_C(1) << 30)

static char dir[64], proc[96], group[96], sys[96];

static void put(const char *base, const char *path, const char *text)
{
    char all[512];
    snprintf(all, sizeof all, "%s/%s", base, path);
    for (char *p = all + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(all, 0755);
            *p = '/';
        }
    int fd = open(all, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/hearth-memory-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(proc, sizeof proc, "%s/proc", dir);
    snprintf(group, sizeof group, "%s/cgroup", dir);
    snprintf(sys, sizeof sys, "%s/sys", dir);
    put(proc, "meminfo", "MemTotal:       16000000 kB\nMemFree:          500000 kB\nMemAvailable:    8000000 kB\nBuffers: 1 kB\n");
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

/* ---- the host ---- */

static struct host look(void)
{
    struct host_paths at = { proc, group };
    struct host h = { -1, -1 };
    assert_int_equal(host_look(&at, &h), ERR_OK);
    return h;
}

static void the_machine_says_what_is_available(void **state)
{
    (void)state;
    struct host h = look();
    assert_int_equal(h.total, INT64_C(16000000) * 1024);
    assert_int_equal(h.free, INT64_C(8000000) * 1024);
    put(proc, "meminfo", "nonsense");
    struct host_paths at = { proc, group };
    assert_int_equal(host_look(&at, &h), ERR_IO);
}

static void the_tightest_group_around_us_counts_and_its_cache_is_free(void **state)
{
    (void)state;
    put(proc, "self/cgroup", "0::/system.slice/hearth.service\n");
    put(group, "system.slice/hearth.service/memory.max", "max\n");
    put(group, "system.slice/hearth.service/memory.current", "100\n");
    put(group, "system.slice/memory.max", "4294967296\n");
    put(group, "system.slice/memory.current", "3221225472\n");
    put(group, "system.slice/memory.stat", "anon 1\nfile 2\ninactive_file 1073741824\nactive_file 7\n");
    struct host h = look();
    assert_int_equal(h.total, 4 * GIB);
    assert_int_equal(h.free, 2 * GIB);
    put(group, "memory.max", "1073741824");         /* in a container the group of all is at the top */
    put(group, "memory.current", "2147483648");
    h = look();
    assert_int_equal(h.total, GIB);
    assert_int_equal(h.free, 0);
}

static void version_1_has_other_names(void **state)
{
    (void)state;
    put(proc, "self/cgroup", "11:devices:/x\n5:memory:/box\n1:name=systemd:/y\n");
    put(group, "memory/box/memory.limit_in_bytes", "2147483648\n");
    put(group, "memory/box/memory.usage_in_bytes", "1610612736\n");
    put(group, "memory/box/memory.stat", "cache 5\ninactive_file 9\ntotal_inactive_file 536870912\n");
    struct host h = look();
    assert_int_equal(h.total, 2 * GIB);
    assert_int_equal(h.free, GIB);
}

static void a_tree_of_processes_is_what_is_below_and_what_it_shares(void **state)
{
    struct host_paths at = { proc, group };
    struct host_use u;
    int pids[HOST_TREE];
    (void)state;
    put(proc, "10/stat", "10 (ward) S 1 10 10 0");
    put(proc, "11/stat", "11 (a) name) ((x) S 10 11 11 0");
    put(proc, "12/stat", "12 (python3) R 11 11 11 0");
    put(proc, "13/stat", "13 (other) S 1 13 13 0");
    put(proc, "14/stat", "broken");
    put(proc, "11/smaps_rollup", "0-1 ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss:                 500 kB\nPss_Dirty: 1 kB\nPss_File:            200 kB\n");
    put(proc, "12/status", "Name: x\nVmRSS:\t     700 kB\n");
    put(proc, "13/smaps_rollup", "Pss: 99999 kB\n");
    assert_int_equal(host_tree(&at, 10, pids), 3);
    host_use(&at, pids, 3, &u);
    assert_int_equal(u.used, 1200 * 1024);
    assert_int_equal(u.mapped, 200 * 1024);
    assert_int_equal(u.n, 2);
    assert_int_equal(host_tree(&host_paths_system, getpid(), pids), 1);
    host_use(&host_paths_system, pids, 1, &u);
    assert_true(u.n == 1 && u.used > 100000);
}

static void a_port_that_another_user_listens_on_is_not_ours(void **state)
{
    struct host_paths at = { proc, group };
    char text[1024];
    (void)state;
    assert_true(host_port_is_ours(&at, 8080));          /* it does not say */
    snprintf(text, sizeof text, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
             "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 %5u        0 11 1 0000 100 0 0 10 0\n"
             "   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000 %5u        0 12 1 0000 100 0 0 10 0\n"
             "   2: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000 %5u        0 13 1 0000 100 0 0 10 0\n", geteuid(), geteuid() + 1, geteuid() + 1);
    put(proc, "net/tcp", text);
    assert_true(host_port_is_ours(&at, 8080));
    assert_false(host_port_is_ours(&at, 8081));
    assert_true(host_port_is_ours(&at, 8082));
    put(proc, "net/tcp", "nonsense\n: : :\n\n   0: 0100007F:1F91 0 0A\n");
    assert_true(host_port_is_ours(&at, 8081));
}

/* ---- GPUs ---- */

static size_t gpus(const char *library, const char *says, const char *visible, struct gpu_device out[GPU_MAX], char why[200], struct gpus **kept)
{
    char path[128];
    put(dir, "nvml", says);
    snprintf(path, sizeof path, "%s/nvml", dir);
    setenv("FAKE_NVML", path, 1);
    const struct gpu_options o = { .library = library, .sys = sys, .visible = visible };
    struct gpus *g = gpu_open(&o, why);
    assert_non_null(g);
    size_t n = gpu_look(g, out);
    if (kept)
        *kept = g;
    else
        gpu_close(g);
    return n;
}

#define TWO "device GPU-aaaa-1 80000 20000 35 61 123456 NVIDIA H100\ndevice GPU-bbbb-2 24000 0 0 30 1 NVIDIA L4\nprocess 0 4711 15000\nprocess 0 4712 -1\n"

static void devices_are_read_with_all_that_they_say(void **state)
{
    struct gpu_device d[GPU_MAX];
    struct gpu_process p[8];
    struct gpus *g;
    char why[200];
    (void)state;
    assert_int_equal(gpus(FAKE_NVML, TWO, NULL, d, why, &g), 2);
    assert_string_equal(why, "");
    assert_string_equal(d[0].name, "NVIDIA H100");
    assert_string_equal(d[0].uuid, "GPU-aaaa-1");
    assert_true(d[0].make == GPU_NVIDIA && d[0].total == 80000 * MB && d[0].free == 60000 * MB && d[0].busy == 35 && d[0].celsius == 61);
    assert_true(fabs(d[0].joules - 123.456) < 1e-9);
    assert_true(d[1].free == 24000 * MB && d[1].busy == 0);
    assert_int_equal(gpu_processes(g, 0, p, 8), 1);     /* one is not told */
    assert_true(p[0].pid == 4711 && p[0].bytes == 15000 * MB);
    assert_int_equal(gpu_processes(g, 1, p, 8), 0);
    assert_int_equal(gpu_processes(g, 7, p, 8), 0);
    put(dir, "nvml", "device GPU-aaaa-1 80000 70000 35 61 1 NVIDIA H100\nlost\n");
    assert_int_equal(gpu_look(g, d), 1);                 /* the other has fallen off the bus */
    assert_int_equal(d[0].free, 10000 * MB);
    gpu_close(g);
}

static void errors_of_the_library_are_said_and_mean_no_devices(void **state)
{
    struct gpu_device d[GPU_MAX];
    char why[200];
    (void)state;
    assert_int_equal(gpus(FAKE_NVML, "init 9\n" TWO, NULL, d, why, NULL), 0);
    assert_string_equal(why, "NVML does not start: error 9 of the fake (9)");
    assert_int_equal(gpus(FAKE_NVML, "count 3\n" TWO, NULL, d, why, NULL), 0);
    assert_int_equal(gpus(FAKE_NVML_LAME, TWO, NULL, d, why, NULL), 0);
    assert_string_equal(why, "NVML lacks nvmlDeviceGetMemoryInfo");
    assert_int_equal(gpus("/nowhere/libnvidia-ml.so.1", TWO, NULL, d, why, NULL), 0);
    assert_non_null(strstr(why, "/nowhere/libnvidia-ml.so.1"));
    assert_int_equal(gpus("off", TWO, NULL, d, why, NULL), 0);
    assert_string_equal(why, "");
}

static void an_older_library_says_less(void **state)
{
    struct gpu_device d[GPU_MAX];
    struct gpu_process p[8];
    struct gpus *g;
    char why[200];
    (void)state;
    assert_int_equal(gpus(FAKE_NVML_OLD, TWO, NULL, d, why, &g), 2);
    assert_true(d[0].total == 80000 * MB && d[0].busy == -1 && d[0].celsius == -1 && isnan(d[0].joules));
    assert_string_equal(d[1].uuid, "1");
    assert_int_equal(gpu_processes(g, 0, p, 8), 0);
    gpu_close(g);
}

static void only_what_cuda_may_see_is_seen(void **state)
{
    static const struct { const char *visible; size_t n; const char *first; } cases[] = {
        { NULL, 2, "GPU-aaaa-1" }, { "1", 1, "GPU-bbbb-2" }, { "GPU-aaaa", 1, "GPU-aaaa-1" }, { "", 0, NULL }, { "-1", 0, NULL }, { "7", 0, NULL }, { "1, 0", 2, "GPU-aaaa-1" }, { "-1,0", 0, NULL } };
    struct gpu_device d[GPU_MAX];
    char why[200];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(gpus(FAKE_NVML, TWO, cases[i].visible, d, why, NULL), cases[i].n);
        if (cases[i].first)
            assert_string_equal(d[0].uuid, cases[i].first);
    }
}

static void amds_are_read_from_the_drivers_files(void **state)
{
    struct gpu_device d[GPU_MAX];
    char why[200];
    (void)state;
    put(sys, "class/drm/card0/device/vendor", "0x8086\n");
    put(sys, "class/drm/card1/device/vendor", "0x1002\n");
    put(sys, "class/drm/card1/device/mem_info_vram_total", "17163091968\n");
    put(sys, "class/drm/card1/device/mem_info_vram_used", "1000000000\n");
    put(sys, "class/drm/card1/device/gpu_busy_percent", "7\n");
    put(sys, "class/drm/card1/device/hwmon/hwmon3/temp1_input", "48000\n");
    put(sys, "class/drm/card2/device/vendor", "0x1002\n");
    put(sys, "class/drm/card2/device/mem_info_vram_total", "odd\n");
    assert_int_equal(gpus("off", "", NULL, d, why, NULL), 1);
    assert_true(d[0].make == GPU_AMD && d[0].total == INT64_C(17163091968) && d[0].free == INT64_C(16163091968) && d[0].busy == 7 && d[0].celsius == 48 && isnan(d[0].joules));
    assert_string_equal(d[0].uuid, "0");
}

/* ---- footprints ---- */

static void a_footprint_holds_for_another_context(void **state)
{
    struct foot f = { .host = 500 * MB, .device = -1, .device_host = -1, .weights = 100 * MB, .kv_token = 20000, .tokens = 8192, .load_ms = 900 };
    (void)state;
    assert_int_equal(foot_rest(&f, false), 500 * MB - 100 * MB - INT64_C(20000) * 8192);
    struct foot twice = foot_for(f, 16384);
    assert_int_equal(twice.host, 500 * MB + INT64_C(20000) * 8192);
    assert_int_equal(twice.tokens, 16384);
    assert_int_equal(foot_for(f, 0).host, f.host);
    assert_int_equal(foot_for(f, 1).host, 500 * MB - INT64_C(20000) * 8191);
    f.kv_token = -1;
    assert_int_equal(foot_for(f, 16384).host, f.host);
    assert_int_equal(foot_rest(&f, false), -1);
}

static void what_was_measured_goes_before_what_is_guessed(void **state)
{
    struct foot guess = { 700, 100, 600, 500, 2, 50, -1 }, f = FOOT_UNKNOWN;
    (void)state;
    assert_int_equal(foot_or(f, guess).host, 700);
    assert_int_equal(foot_or(f, guess).device, 600);
    f.host = 400;
    assert_int_equal(foot_or(f, guess).host, 400);
    assert_int_equal(foot_or(f, guess).device, 400);        /* of the other place it says more than the file does */
    assert_int_equal(foot_or(f, FOOT_UNKNOWN).weights, -1);
}

static void measures_grow_and_a_new_start_may_shrink_them(void **state)
{
    struct foot f = FOOT_UNKNOWN;
    (void)state;
    assert_true(foot_measure(&f, 1000, 0, true));
    assert_false(foot_measure(&f, 1050, 0, false));
    assert_int_equal(f.host, 1050);
    assert_true(foot_measure(&f, 2000, 0, false));
    assert_false(foot_measure(&f, 500, 0, false));
    assert_int_equal(f.host, 2000);
    assert_true(foot_measure(&f, 500, 0, true));
    assert_int_equal(f.host, 500);
    assert_true(foot_measure(&f, 300, 8000, true));
    assert_true(f.host == 500 && f.device_host == 300 && f.device == 8000);
}

static void a_footprint_is_read_as_it_was_written(void **state)
{
    struct arena a;
    struct foot f = { 1, 2, 3, 4, 5, 6, -1 }, back;
    str text;
    (void)state;
    arena_init(&a, 1 << 20);
    assert_int_equal(foot_write(&a, &f, S("m\"x"), "engine", &text), ERR_OK);
    assert_int_equal(foot_read(&a, text, &back), ERR_OK);
    assert_memory_equal(&f, &back, sizeof f);
    assert_int_equal(foot_read(&a, S("[]"), &back), ERR_SYNTAX);
    assert_int_equal(foot_read(&a, S("{\"host\":-5,\"device\":\"x\",\"weights\":1e99}"), &back), ERR_OK);
    assert_true(back.host == -1 && back.device == -1 && back.weights == -1);
    arena_free(&a);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_machine_says_what_is_available), TEST(the_tightest_group_around_us_counts_and_its_cache_is_free), TEST(version_1_has_other_names),
        TEST(a_tree_of_processes_is_what_is_below_and_what_it_shares), TEST(a_port_that_another_user_listens_on_is_not_ours), TEST(devices_are_read_with_all_that_they_say), TEST(errors_of_the_library_are_said_and_mean_no_devices),
        TEST(an_older_library_says_less), TEST(only_what_cuda_may_see_is_seen), TEST(amds_are_read_from_the_drivers_files), TEST(a_footprint_holds_for_another_context),
        TEST(what_was_measured_goes_before_what_is_guessed), TEST(measures_grow_and_a_new_start_may_shrink_them), TEST(a_footprint_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
