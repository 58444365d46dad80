/* SPDX-License-Identifier: BSD-2-Clause */
/* A directory for files of a benchmark, which goes with them. */
#ifndef BENCH_WORK_DIR_H
#define BENCH_WORK_DIR_H

struct work_dir {
    char path[256];
};

/* Make a new one in @parent. */
void work_dir_make(struct work_dir *dir, const char *parent);

/* Remove it and all that is in it. */
void work_dir_remove(const struct work_dir *dir);

#endif /* BENCH_WORK_DIR_H */
