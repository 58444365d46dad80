/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VFS and its files. A database file is a handle around the file of the VFS below; what is not a
 * database (journals, logs, temporary files) is a file of the VFS below, as it is.
 *
 *     SQLite -> handle -> pages (the cache) -> file of the VFS below
 *                  `----> watch (locks, other processes)
 *
 * mmap is not used: the interface of the files ends where it begins.
 */
#include "zcachevfs.h"

#include "database.h"
#include "pragmas.h"

#include <errno.h>
#include <sqlite3ext.h>
#include <string.h>

SQLITE_EXTENSION_INIT3

struct handle {
    sqlite3_file base;
    struct database *db; /* NULL: not cached */
    struct view view;
    sqlite3_int64 file[]; /* of the VFS below */
};

static struct zcache *the_cache;
static sqlite3_vfs the_vfs;

static struct handle *handle_of(sqlite3_file *file)
{
    return (struct handle *)(void *)file;
}

static sqlite3_file *below(sqlite3_file *file)
{
    return (sqlite3_file *)(void *)handle_of(file)->file;
}

/* ---- the content of a database file ------------------------------------------------------------ */

static int file_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 offset)
{
    struct handle *h = handle_of(file);

    if (h->db != NULL && watch_read_version(&h->db->watch, &h->view, buf, len, offset)) {
        return SQLITE_OK;
    }
    if (h->db != NULL && watch_trusts(&h->db->watch, &h->view)) {
        return pages_read(&h->db->pages, below(file), buf, len, offset);
    }
    return below(file)->pMethods->xRead(below(file), buf, len, offset);
}

static int file_write(sqlite3_file *file, const void *buf, int len, sqlite3_int64 offset)
{
    struct handle *h = handle_of(file);

    if (h->db == NULL) {
        return below(file)->pMethods->xWrite(below(file), buf, len, offset);
    }
    const int rc = pages_write(&h->db->pages, below(file), buf, len, offset);
    watch_wrote(&h->db->watch, rc == SQLITE_OK, buf, len, offset);
    return rc;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct handle *h = handle_of(file);

    if (h->db == NULL) {
        return below(file)->pMethods->xTruncate(below(file), size);
    }
    const int rc = pages_truncate(&h->db->pages, below(file), size);
    watch_truncated(&h->db->watch, size);
    return rc;
}

static int file_sync(sqlite3_file *file, int flags)
{
    return below(file)->pMethods->xSync(below(file), flags);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return below(file)->pMethods->xFileSize(below(file), size);
}

/* ---- its locks --------------------------------------------------------------------------------- */

static int file_lock(sqlite3_file *file, int level)
{
    struct handle *h = handle_of(file);
    const int rc = below(file)->pMethods->xLock(below(file), level);

    if (rc == SQLITE_OK && h->db != NULL) {
        watch_locked(&h->db->watch, &h->view, below(file), level);
    }
    return rc;
}

static int file_unlock(sqlite3_file *file, int level)
{
    struct handle *h = handle_of(file);

    if (h->db != NULL) {
        watch_unlocking(&h->db->watch, &h->view, level);
    }
    return below(file)->pMethods->xUnlock(below(file), level);
}

static int file_check_reserved(sqlite3_file *file, int *reserved)
{
    return below(file)->pMethods->xCheckReservedLock(below(file), reserved);
}

static int file_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **out)
{
    struct handle *h = handle_of(file);
    const int rc = below(file)->pMethods->xShmMap(below(file), region, size, extend, out);

    if (region == 0) {
        h->view.wal_index = rc == SQLITE_OK ? *out : NULL;
    }
    return rc;
}

static int file_shm_lock(sqlite3_file *file, int first, int n, int flags)
{
    struct handle *h = handle_of(file);

    if (h->db == NULL) {
        return below(file)->pMethods->xShmLock(below(file), first, n, flags);
    }
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        watch_shm_unlocking(&h->db->watch, &h->view, first, n);
        return below(file)->pMethods->xShmLock(below(file), first, n, flags);
    }
    const int rc = below(file)->pMethods->xShmLock(below(file), first, n, flags);
    if (rc == SQLITE_OK) {
        watch_shm_locked(&h->db->watch, &h->view, first, n, flags);
    }
    return rc;
}

static void file_shm_barrier(sqlite3_file *file)
{
    below(file)->pMethods->xShmBarrier(below(file));
}

static int file_shm_unmap(sqlite3_file *file, int delete)
{
    struct handle *h = handle_of(file);

    if (h->db != NULL) {
        watch_shm_unmapping(&h->db->watch, &h->view);
    }
    return below(file)->pMethods->xShmUnmap(below(file), delete);
}

/* ---- the rest of it ---------------------------------------------------------------------------- */

static int file_control(sqlite3_file *file, int op, void *arg)
{
    struct handle *h = handle_of(file);
    int rc = SQLITE_NOTFOUND;

    if (op == SQLITE_FCNTL_MMAP_SIZE) {
        *(sqlite3_int64 *)arg = 0;
        return SQLITE_OK;
    }
    if (op == SQLITE_FCNTL_PRAGMA && h->db != NULL) {
        rc = pragmas_run(&h->db->pages, arg);
    }
    if (rc == SQLITE_NOTFOUND) {
        rc = below(file)->pMethods->xFileControl(below(file), op, arg);
    }
    if (op == SQLITE_FCNTL_VFSNAME && rc == SQLITE_OK) {
        char **name = arg;
        *name = sqlite3_mprintf(ZCACHEVFS_NAME "/%z", *name);
    }
    return rc;
}

static int file_sector_size(sqlite3_file *file)
{
    return below(file)->pMethods->xSectorSize(below(file));
}

/* Not a batch that can be taken back: the cache would keep what was in it. */
static int file_characteristics(sqlite3_file *file)
{
    return below(file)->pMethods->xDeviceCharacteristics(below(file)) & ~SQLITE_IOCAP_BATCH_ATOMIC;
}

static int file_close(sqlite3_file *file)
{
    struct handle *h = handle_of(file);

    if (h->db != NULL) {
        watch_shm_unmapping(&h->db->watch, &h->view);
        watch_unlocking(&h->db->watch, &h->view, SQLITE_LOCK_NONE);
    }
    const int rc = below(file)->pMethods->xClose(below(file));
    if (h->db != NULL) {
        database_close(h->db);
    }
    return rc;
}

#define METHODS_1                                                                                  \
    .xClose = file_close, .xRead = file_read, .xWrite = file_write, .xTruncate = file_truncate,    \
    .xSync = file_sync, .xFileSize = file_size, .xLock = file_lock, .xUnlock = file_unlock,        \
    .xCheckReservedLock = file_check_reserved, .xFileControl = file_control,                       \
    .xSectorSize = file_sector_size, .xDeviceCharacteristics = file_characteristics

static const sqlite3_io_methods methods_without_wal = {.iVersion = 1, METHODS_1};
static const sqlite3_io_methods methods = {.iVersion = 2,
                                           METHODS_1,
                                           .xShmMap = file_shm_map,
                                           .xShmLock = file_shm_lock,
                                           .xShmBarrier = file_shm_barrier,
                                           .xShmUnmap = file_shm_unmap};

/* ---- the VFS ----------------------------------------------------------------------------------- */

static sqlite3_vfs *vfs_below(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

static int vfs_open(sqlite3_vfs *vfs,
                    const char *name,
                    sqlite3_file *file,
                    int flags,
                    int *flags_out)
{
    struct handle *h = handle_of(file);

    if ((flags & SQLITE_OPEN_MAIN_DB) == 0 || name == NULL) {
        return vfs_below(vfs)->xOpen(vfs_below(vfs), name, file, flags, flags_out);
    }
    memset(h, 0, sizeof(*h));
    const int rc = vfs_below(vfs)->xOpen(vfs_below(vfs), name, below(file), flags, flags_out);
    if (below(file)->pMethods != NULL) { /* then SQLite calls xClose, also after an error */
        const bool wal = below(file)->pMethods->iVersion >= 2;
        file->pMethods = wal ? &methods : &methods_without_wal;
    }
    if (rc == SQLITE_OK) {
        h->db = database_open(the_cache, below(file), name);
    }
    return rc;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    return vfs_below(vfs)->xDelete(vfs_below(vfs), name, sync_dir);
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    return vfs_below(vfs)->xAccess(vfs_below(vfs), name, flags, result);
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int cap, char *out)
{
    return vfs_below(vfs)->xFullPathname(vfs_below(vfs), name, cap, out);
}

static void *vfs_dl_open(sqlite3_vfs *vfs, const char *name)
{
    return vfs_below(vfs)->xDlOpen(vfs_below(vfs), name);
}

static void vfs_dl_error(sqlite3_vfs *vfs, int cap, char *message)
{
    vfs_below(vfs)->xDlError(vfs_below(vfs), cap, message);
}

static void (*vfs_dl_sym(sqlite3_vfs *vfs, void *library, const char *symbol))(void)
{
    return vfs_below(vfs)->xDlSym(vfs_below(vfs), library, symbol);
}

static void vfs_dl_close(sqlite3_vfs *vfs, void *library)
{
    vfs_below(vfs)->xDlClose(vfs_below(vfs), library);
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *out)
{
    return vfs_below(vfs)->xRandomness(vfs_below(vfs), len, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    return vfs_below(vfs)->xSleep(vfs_below(vfs), microseconds);
}

static int vfs_current_time(sqlite3_vfs *vfs, double *out)
{
    return vfs_below(vfs)->xCurrentTime(vfs_below(vfs), out);
}

static int vfs_last_error(sqlite3_vfs *vfs, int cap, char *out)
{
    return vfs_below(vfs)->xGetLastError(vfs_below(vfs), cap, out);
}

static int vfs_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    return vfs_below(vfs)->xCurrentTimeInt64(vfs_below(vfs), out);
}

static int vfs_set_system_call(sqlite3_vfs *vfs, const char *name, sqlite3_syscall_ptr call)
{
    return vfs_below(vfs)->xSetSystemCall(vfs_below(vfs), name, call);
}

static sqlite3_syscall_ptr vfs_get_system_call(sqlite3_vfs *vfs, const char *name)
{
    return vfs_below(vfs)->xGetSystemCall(vfs_below(vfs), name);
}

static const char *vfs_next_system_call(sqlite3_vfs *vfs, const char *name)
{
    return vfs_below(vfs)->xNextSystemCall(vfs_below(vfs), name);
}

static sqlite3_vfs vfs_above(sqlite3_vfs *base)
{
    return (sqlite3_vfs){
        .iVersion = base->iVersion < 3 ? base->iVersion : 3,
        .szOsFile = (int)sizeof(struct handle) + base->szOsFile,
        .mxPathname = base->mxPathname,
        .zName = ZCACHEVFS_NAME,
        .pAppData = base,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xDlOpen = vfs_dl_open,
        .xDlError = vfs_dl_error,
        .xDlSym = vfs_dl_sym,
        .xDlClose = vfs_dl_close,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_current_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_current_time_int64,
        .xSetSystemCall = vfs_set_system_call,
        .xGetSystemCall = vfs_get_system_call,
        .xNextSystemCall = vfs_next_system_call,
    };
}

int zcachevfs_register(const struct zcache_options *options, const char *base, bool make_default)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(base);

    if (the_cache != NULL) {
        return SQLITE_MISUSE;
    }
    if (vfs == NULL) {
        return SQLITE_NOTFOUND;
    }
    const int rc = zcache_open(options, &the_cache);
    if (rc != 0) {
        return rc == -ENOMEM || rc == -EAGAIN ? SQLITE_NOMEM : SQLITE_MISUSE;
    }
    the_vfs = vfs_above(vfs);
    return sqlite3_vfs_register(&the_vfs, make_default);
}

int zcachevfs_unregister(void)
{
    if (the_cache == NULL || !database_none()) {
        return the_cache == NULL ? SQLITE_OK : SQLITE_BUSY;
    }
    (void)sqlite3_vfs_unregister(&the_vfs);
    if (zcache_close(the_cache, ZCACHE_DISCARD) != 0) {
        return SQLITE_BUSY;
    }
    the_cache = NULL;
    return SQLITE_OK;
}

struct zcache *zcachevfs_cache(void)
{
    return the_cache;
}
