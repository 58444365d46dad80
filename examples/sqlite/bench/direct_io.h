/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SQLite reads and writes a database with O_DIRECT: each read is one of the device, and none is served
 * from the system's page cache. Journals and logs are as always.
 */
#ifndef ZCACHEVFS_BENCH_DIRECT_IO_H
#define ZCACHEVFS_BENCH_DIRECT_IO_H

#include <stdatomic.h>

/*
 * From now on, for the file of that path; SQLite's VFS "unix" gets other system calls. @reads counts them.
 * A read takes @read_us at least, which may change: a device that is slower than this one, which others
 * can use meanwhile.
 */
void direct_io_install(const char *path, atomic_uint *read_us, atomic_ullong *reads);

#endif /* ZCACHEVFS_BENCH_DIRECT_IO_H */
