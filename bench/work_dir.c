/* SPDX-License-Identifier: BSD-2-Clause */
#include "work_dir.h"
#include "fail.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#define OPEN_DIRS 8

void work_dir_make(struct work_dir *dir, const char *parent)
{
    const int n = snprintf(dir->path, sizeof dir->path, "%s/zcache-bench.XXXXXX", parent);

    if (n < 0 || (size_t)n >= sizeof dir->path) {
        fail("%s: the path is too long", parent);
    }
    if (mkdtemp(dir->path) == NULL) {
        fail("%s: %s", parent, error_text(-errno));
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void work_dir_remove(const struct work_dir *dir)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): it does not change the working directory */
    (void)nftw(dir->path, remove_one, OPEN_DIRS, FTW_DEPTH | FTW_PHYS);
}
