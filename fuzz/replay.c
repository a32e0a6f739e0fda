/* Runs a fuzz target over files and folders: what was found once is checked in every test run, with any compiler. */
#include "core/str.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;
    size_t n = 0;
    if (!f || fseek(f, 0, SEEK_END))
        return perror(path), -1;
    long size = ftell(f);
    rewind(f);
    bytes = malloc(size > 0 ? (size_t)size : 1);        /* exact size, so that ASan sees one byte too many */
    n = bytes ? fread(bytes, 1, (size_t)size, f) : 0;
    fclose(f);
    if (n == (size_t)size)
        LLVMFuzzerTestOneInput(bytes, n);
    free(bytes);
    return n == (size_t)size ? 1 : -1;
}

static int replay(const char *path)
{
    struct stat st;
    int total = 0;
    if (stat(path, &st))
        return perror(path), -1;
    if (!S_ISDIR(st.st_mode))
        return replay_file(path);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char name[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        int n = replay(name);
        if (n < 0)
            total = -1;
        else if (total >= 0)
            total += n;
    }
    if (d)
        closedir(d);
    return total;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int n = replay(argv[i]);
        if (n <= 0) {
            fprintf(stderr, "%s: nothing could be replayed\n", argv[i]);
            return 1;
        }
        total += n;
    }
    printf("%d inputs\n", total);
    return total ? 0 : 1;
}
