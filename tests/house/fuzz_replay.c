/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stands in for libFuzzer: gives every file of a directory to LLVMFuzzerTestOneInput(), and the empty
 * input first.  Each input lies at the end of an allocation of its own size, so that a sanitizer
 * or valgrind sees a read beyond it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long size;
    int status = 1;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        goto out;
    }
    size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0) {
        goto out;
    }
    data = malloc(size > 0 ? (size_t)size : 1);
    if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) {
        goto out;
    }
    status = LLVMFuzzerTestOneInput(data, (size_t)size);
out:
    free(data);
    if (file != NULL) {
        (void)fclose(file);
    }
    if (status != 0) {
        printf("fuzz_replay: %s failed\n", path);
    }
    return status;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **entries = NULL;
    const uint8_t nothing = 0;
    int status;
    int n;

    n = argc == 2 ? scandir(argv[1], &entries, visible, alphasort) : -1;
    if (n < 0) {
        puts("usage: fuzz_NAME CORPUS-DIRECTORY");
        return 2;
    }
    status = LLVMFuzzerTestOneInput(&nothing, 0);
    for (int i = 0; i < n; i++) {
        char path[4096];
        if (snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name) <
            (int)sizeof(path)) {
            status |= replay(path);
        }
        free(entries[i]);
    }
    free(entries);
    printf("fuzz_replay: %d inputs\n", n + 1);
    return status != 0;
}
