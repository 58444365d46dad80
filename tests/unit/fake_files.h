/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of a system that is not here: the linker takes zc_plat_read_file() and zc_plat_watch_stalls() of
 * the tests that link fake_files.c (--wrap).
 */
#ifndef ZC_TESTS_FAKE_FILES_H
#define ZC_TESTS_FAKE_FILES_H

#define CG "/sys/fs/cgroup"

/* There are no files, and triggers are refused. */
void fake_files_clear(void);

/* What a file says from now on; NULL: it is not there. Any thread. */
void fake_file(const char *path, const char *text);

/* From now on it cannot be read. */
void fake_file_error(const char *path, int error);

#endif /* ZC_TESTS_FAKE_FILES_H */
