/* How fast Hyperscan searches for 40 patterns of what the finder finds: matching only. It checks no digit, looks at no surroundings, and says only where a match ends.
 *
 *   hyperscan_raw SECONDS KIB FILE…     MB/s (of CPU time) of each file, in texts of about so many KiB that end with a line, as guard_raw speed reads them */
#include <hs/hs.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const patterns[] = {
    "[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,64}\\.[A-Za-z]{2,18}",
    "\\+[1-9][0-9]{0,2}[ .()-]?[0-9]{1,4}[ .()-]?[0-9]{2,4}[ .-]?[0-9]{2,4}",
    "\\([0-9]{3}\\) ?[0-9]{3}-[0-9]{4}\\b",
    "\\b[0-9]{3}[.-][0-9]{3}[.-][0-9]{4}\\b",
    "\\b0[1-9]([ .-]?[0-9]{2}){4}\\b",
    "\\b0[0-9]{2,4}[ /-][0-9]{5,8}\\b",
    "\\b4[0-9]{3}([ -]?[0-9]{4}){3}\\b",
    "\\b5[1-5][0-9]{2}([ -]?[0-9]{4}){3}\\b",
    "\\b3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}\\b",
    "\\b6011([ -]?[0-9]{4}){3}\\b",
    "\\b[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){3,7}",
    "\\b[0-9]{3}-[0-9]{2}-[0-9]{4}\\b",
    "\\b[0-9]{3}\\.[0-9]{3}\\.[0-9]{3}-[0-9]{2}\\b",
    "\\b[0-9]{8}-?[A-Z]\\b",
    "\\b[XYZ][0-9]{7}-?[A-Z]\\b",
    "\\b[A-Z]{6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]{3}[A-Z]\\b",
    "\\b[0-9]{6}-[0-9]{4}\\b",
    "\\b[0-9]{6}[-A+][0-9]{3}[0-9A-Y]\\b",
    "\\b[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\\b",
    "\\b[0-9]{3} [0-9]{3} [0-9]{4}\\b",
    "\\b[0-9]{4} [0-9]{4} [0-9]{4}\\b",
    "\\b[A-Z]{5}[0-9]{4}[A-Z]\\b",
    "\\b[0-9]{6}-[1-4][0-9]{6}\\b",
    "\\b756\\.[0-9]{4}\\.[0-9]{4}\\.[0-9]{2}\\b",
    "\\b[0-9]{11}\\b",
    "\\b[0-9]{9}\\b",
    "\\b([0-9]{1,3}\\.){3}[0-9]{1,3}\\b",
    "\\b([0-9a-fA-F]{1,4}:){2,7}[0-9a-fA-F]{1,4}\\b",
    "\\b([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\\b",
    "\\b(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]\\b",
    "\\b[0-3]?[0-9][./][01]?[0-9][./](19|20)[0-9]{2}\\b",
    "\\bgh[pousr]_[A-Za-z0-9]{36}",
    "\\bsk-[A-Za-z0-9_-]{20,}",
    "\\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "\\b(AKIA|ASIA)[A-Z0-9]{16}\\b",
    "\\beyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}\\.",
    "-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----",
    "://[^:/@ ]{1,64}:[^@/ ]{1,64}@",
    "(?i)(password|passwd|secret|token|api_key)[\"' ]{0,3}[:=]",
    "(?i)bearer [A-Za-z0-9._-]{16,}",
};
enum { N_PATTERNS = sizeof patterns / sizeof *patterns, FILE_MAX = 1 << 28 };
_Static_assert(N_PATTERNS == 40, "as many as are said");

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *count)
{
    (void)id, (void)from, (void)to, (void)flags;
    ++*(size_t *)count;
    return 0;
}

static int fail(const char *what) { return fprintf(stderr, "error: %s\n", what), 1; }

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t pass(const hs_database_t *db, hs_scratch_t *scratch, const char *p, size_t n, size_t piece)
{
    size_t matches = 0;
    for (size_t part; n; p += part, n -= part) {
        const char *line = n > piece ? memchr(p + piece, '\n', n - piece) : NULL;
        part = line ? (size_t)(line + 1 - p) : n;
        if (hs_scan(db, p, (unsigned)part, 0, scratch, on_match, &matches) != HS_SUCCESS)
            return (size_t)-1;
    }
    return matches;
}

/* The best of five parts of `seconds`. */
static int measure(const hs_database_t *db, hs_scratch_t *scratch, const char *path, size_t piece, double seconds)
{
    char *text = malloc(FILE_MAX);
    FILE *f = text ? fopen(path, "rb") : NULL;
    size_t n = f ? fread(text, 1, FILE_MAX, f) : 0, matches = 0;
    double best = 0;
    if (f)
        fclose(f);
    for (int part = 0; part < 5 && n; part++) {
        double began = cpu_seconds(), now, bytes = 0;
        do {
            matches = pass(db, scratch, text, n, piece);
            bytes += (double)n;
            now = cpu_seconds();
        } while (now - began < seconds / 5);
        best = bytes / 1e6 / (now - began) > best ? bytes / 1e6 / (now - began) : best;
    }
    free(text);
    if (!n || matches == (size_t)-1)
        return fail("the file could not be read or searched");
    const char *slash = strrchr(path, '/');
    printf("%-28.28s %8.2f MB %8zu matches %8.1f MB/s\n", slash ? slash + 1 : path, (double)n / 1e6, matches, best);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned flags[N_PATTERNS], ids[N_PATTERNS];
    hs_database_t *db = NULL;
    hs_compile_error_t *error = NULL;
    hs_scratch_t *scratch = NULL;
    int rc = 0;
    if (argc < 4)
        return fprintf(stderr, "usage: hyperscan_raw SECONDS KIB FILE...\n"), 2;
    for (unsigned i = 0; i < N_PATTERNS; i++) {
        flags[i] = HS_FLAG_DOTALL;
        ids[i] = i;
    }
    if (hs_compile_multi(patterns, flags, ids, N_PATTERNS, HS_MODE_BLOCK, NULL, &db, &error) != HS_SUCCESS) {
        rc = fail(error ? error->message : "the patterns could not be compiled");
        hs_free_compile_error(error);
        return rc;
    }
    if (hs_alloc_scratch(db, &scratch) != HS_SUCCESS)
        rc = fail("out of memory");
    for (int i = 3; i < argc && !rc; i++)
        rc = measure(db, scratch, argv[i], strtoul(argv[2], NULL, 10) << 10, strtod(argv[1], NULL));
    hs_free_scratch(scratch);
    hs_free_database(db);
    return rc;
}
