/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pressure_read.c - cgroups of version 2, and stall information, as text files of the kernel.
 *
 *     /proc/self/cgroup           0::/system.slice/db.service
 *     /sys/fs/cgroup/system.slice/db.service/memory.current      usage, of each folder up to the root
 *                                            memory.stat         inactive_file: what costs nothing to drop
 *                                            memory.high, .max   its limits; "max": none
 *                                            memory.pressure     some ... total=<us stalled>
 *     /proc/pressure/memory       the same of the whole system, where the cgroup has none
 *
 * The process's cgroup is asked for at each look, as it may be moved.  In a container the path may be
 * one outside while the files are mounted from a folder on its way: it is shortened from the front
 * until there is such a folder.  A limit of any folder above binds, too; the one that is nearest to its
 * limit counts.  Folders without these files (no memory controller, the root) have no limit; if none has
 * them, or if what is there cannot be read or understood, the look is blind.
 *
 * Pages of files that are not in use are left out of the usage: the kernel drops them first, and a
 * process that reads files would always be at its limit.
 *
 * The total of the stalls is read, not an average: it has the time between two looks to the microsecond.
 *
 * Locks: none; one thread looks.
 */
#include "pressure_read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mathx.h"
#include "plat.h"

#define SELF        "/proc/self/cgroup"
#define MOUNT       "/sys/fs/cgroup"
#define MOUNT_MIXED "/sys/fs/cgroup/unified" /* beside version 1 */
#define SYSTEM_FILE "/proc/pressure/memory"

/* ---- text ---------------------------------------------------------------------------------------- */

/* Digits at @at, which end with a newline or with the text. */
static bool parse_number(const char *at, uint64_t *value_out)
{
    uint64_t value = 0;
    bool any = false;

    for (; *at >= '0' && *at <= '9'; at++) {
        any = true;
        if (!zc_mul_ok(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
            return false;
        }
    }
    *value_out = value;
    return any && (*at == '\n' || *at == '\0');
}

/* What follows @name in the line that begins with it; NULL: there is none. */
static const char *line_of(const char *text, const char *name)
{
    size_t len = strlen(name);

    while (text != NULL) {
        if (strncmp(text, name, len) == 0) {
            return text + len;
        }
        text = strchr(text, '\n');
        text = text == NULL ? NULL : text + 1;
    }
    return NULL;
}

/* ---- files --------------------------------------------------------------------------------------- */

/* A file of @folder to eyes->text.  Its length; a negative errno. */
static int read_in(struct zc_pressure_eyes *eyes, const char *folder, const char *name)
{
    char path[ZC_PRESSURE_FILE];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return zc_plat_read_file(path, eyes->text, sizeof(eyes->text));
}

static bool is_cgroup(struct zc_pressure_eyes *eyes, const char *folder)
{
    return read_in(eyes, folder, "cgroup.controllers") >= 0;
}

/* Where version 2 is mounted; NULL: nowhere. */
static const char *find_mount(struct zc_pressure_eyes *eyes)
{
    return is_cgroup(eyes, MOUNT) ? MOUNT : is_cgroup(eyes, MOUNT_MIXED) ? MOUNT_MIXED : NULL;
}

/* The path of the process's cgroup, "" for the root; false: it cannot be told. */
static bool read_self(struct zc_pressure_eyes *eyes, char path[ZC_PRESSURE_PATH])
{
    const char *line;
    size_t len;

    if (zc_plat_read_file(SELF, eyes->text, sizeof(eyes->text)) < 0) {
        return false;
    }
    line = line_of(eyes->text, "0::/");
    len = line == NULL ? 0 : strcspn(line, "\n");
    /* Outside of what this process may see there is "..". */
    if (line == NULL || len + 2 > ZC_PRESSURE_PATH || strncmp(line, "..", 2) == 0) {
        return false;
    }
    (void)snprintf(path, ZC_PRESSURE_PATH, "%s%.*s", len > 0 ? "/" : "", (int)len, line);
    return true;
}

/* The longest end of @path below @mount that is a folder. */
static void find_folder(struct zc_pressure_eyes *eyes, const char *mount, const char *path)
{
    const char *end = path;

    do {
        (void)snprintf(eyes->folder, sizeof(eyes->folder), "%s%s", mount, end);
        end = *end == '\0' ? NULL : strchr(end + 1, '/');
        end = end == NULL ? "" : end;
    } while (strcmp(eyes->folder, mount) != 0 && !is_cgroup(eyes, eyes->folder));
}

/* Sets eyes->folder; the length of its part that is the mount, 0 if there is no such folder. */
static size_t find_self(struct zc_pressure_eyes *eyes, bool *blind)
{
    char path[ZC_PRESSURE_PATH];
    const char *mount = find_mount(eyes);

    eyes->folder[0] = '\0';
    if (mount == NULL || !read_self(eyes, path)) {
        *blind = true;
        return 0;
    }
    find_folder(eyes, mount, path);
    return strlen(mount);
}

/* ---- limits -------------------------------------------------------------------------------------- */

/* A file with a number, or "max".  False: it is there and says something else. */
static bool read_limit(struct zc_pressure_eyes *eyes,
                       const char *folder,
                       const char *name,
                       uint64_t *limit,
                       bool *any)
{
    int rc = read_in(eyes, folder, name);
    uint64_t value;

    if (rc == -ENOENT) {
        return true;
    }
    *any = true;
    if (rc >= 0 && strcmp(eyes->text, "max\n") == 0) {
        return true;
    }
    if (rc < 0 || !parse_number(eyes->text, &value)) {
        return false;
    }
    *limit = ZC_MIN(*limit, value);
    return true;
}

static bool read_usage(struct zc_pressure_eyes *eyes, const char *folder, uint64_t *usage)
{
    const char *line;
    uint64_t files;

    if (read_in(eyes, folder, "memory.current") < 0 || !parse_number(eyes->text, usage)) {
        return false;
    }
    if (read_in(eyes, folder, "memory.stat") < 0) {
        return false;
    }
    line = line_of(eyes->text, "inactive_file ");
    if (line == NULL || !parse_number(line, &files)) {
        return false;
    }
    *usage = zc_sub_sat(*usage, files);
    return true;
}

/* One folder.  False: it has limits that cannot be told, or a usage. */
static bool look_at_folder(struct zc_pressure_eyes *eyes,
                           const char *folder,
                           struct zc_pressure_look *look,
                           bool *any)
{
    uint64_t limit = UINT64_MAX;
    uint64_t usage;

    if (!read_limit(eyes, folder, "memory.high", &limit, any) ||
        !read_limit(eyes, folder, "memory.max", &limit, any)) {
        return false;
    }
    if (limit == UINT64_MAX) {
        return true;
    }
    if (!read_usage(eyes, folder, &usage)) {
        return false;
    }
    limit = ZC_MAX(limit, 1);
    /* Compared by shares, in steps of a 65536th. */
    if (look->limit_bytes == 0 ||
        zc_mul_div(usage, 65536, limit) > zc_mul_div(look->usage_bytes, 65536, look->limit_bytes)) {
        look->limit_bytes = limit;
        look->usage_bytes = usage;
    }
    return true;
}

static void look_at_limits(struct zc_pressure_eyes *eyes,
                           size_t mount_len,
                           struct zc_pressure_look *look)
{
    char folder[ZC_PRESSURE_FOLDER];
    bool any = false;

    (void)snprintf(folder, sizeof(folder), "%s", eyes->folder);
    while (strlen(folder) > mount_len) {
        look->blind = !look_at_folder(eyes, folder, look, &any) || look->blind;
        *strrchr(folder, '/') = '\0';
    }
    look->blind = !look_at_folder(eyes, folder, look, &any) || !any || look->blind;
}

/* ---- stalls -------------------------------------------------------------------------------------- */

static bool read_total(struct zc_pressure_eyes *eyes, const char *path, uint64_t *total_us)
{
    const char *line;
    const char *total;

    if (zc_plat_read_file(path, eyes->text, sizeof(eyes->text)) < 0) {
        return false;
    }
    line = line_of(eyes->text, "some ");
    total = line == NULL ? NULL : strstr(line, "total=");
    return total != NULL && total < line + strcspn(line, "\n") &&
           parse_number(total + strlen("total="), total_us);
}

static void look_at_stalls(struct zc_pressure_eyes *eyes, struct zc_pressure_look *look)
{
    char path[ZC_PRESSURE_FILE] = SYSTEM_FILE;
    uint64_t total_us = 0;
    uint64_t passed_us;
    bool known = false;

    if (eyes->folder[0] != '\0') {
        (void)snprintf(path, sizeof(path), "%s/memory.pressure", eyes->folder);
        known = read_total(eyes, path, &total_us);
    }
    if (!known) {
        (void)snprintf(path, sizeof(path), SYSTEM_FILE);
        known = read_total(eyes, path, &total_us);
    }
    if (!known) {
        eyes->stall_file[0] = '\0';
        eyes->stall_ns = 0;
        look->blind = true;
        return;
    }
    if (strcmp(path, eyes->stall_file) != 0) {
        (void)snprintf(eyes->stall_file, sizeof(eyes->stall_file), "%s", path);
        eyes->stall_ns = 0;
    }
    passed_us = (look->now_ns - eyes->stall_ns) / 1000;
    if (eyes->stall_ns != 0 && passed_us > 0) {
        uint64_t share = zc_mul_div(zc_sub_sat(total_us, eyes->stall_us), 1000, passed_us);

        look->stall_permille = (uint32_t)ZC_MIN(share, 1000);
    }
    eyes->stall_us = total_us;
    eyes->stall_ns = look->now_ns;
}

void zc_pressure_read(struct zc_pressure_eyes *eyes,
                      unsigned what,
                      uint64_t now_ns,
                      struct zc_pressure_look *look)
{
    bool no_cgroup = false;
    size_t mount_len = find_self(eyes, &no_cgroup);

    *look = (struct zc_pressure_look){.now_ns = now_ns};
    if ((what & ZC_PRESSURE_LIMITS) != 0) {
        look->blind = no_cgroup;
        if (!no_cgroup) {
            look_at_limits(eyes, mount_len, look);
        }
    }
    if ((what & ZC_PRESSURE_STALLS) != 0) {
        look_at_stalls(eyes, look);
    }
}
