/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SQLite reads and writes a database with O_DIRECT: each read is one of the device, and none is served
 * from the system's page cache. Journals and logs are as always.
 */
#ifndef ZCACHEVFS_BENCH_DIRECT_IO_H
#define ZCACHEVFS_BENCH_DIRECT_IO_H

/* From now on, for the file of that path; SQLite's VFS "unix" gets other system calls. */
void direct_io_install(const char *path);

/* Reads of that file by this process. */
unsigned long long direct_io_reads(void);

#endif /* ZCACHEVFS_BENCH_DIRECT_IO_H */
