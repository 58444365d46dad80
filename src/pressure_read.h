/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the system says about memory pressure.
 */
#ifndef ZC_PRESSURE_READ_H
#define ZC_PRESSURE_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pressure_rule.h"

#define ZC_PRESSURE_PATH   1024                      /* bytes of a cgroup's path */
#define ZC_PRESSURE_FOLDER (ZC_PRESSURE_PATH + 32)   /* with where it is mounted */
#define ZC_PRESSURE_FILE   (ZC_PRESSURE_FOLDER + 32) /* and a file in it */
#define ZC_PRESSURE_TEXT   4096                      /* of a file: what is looked at */

/** struct zc_pressure_eyes - what is remembered from look to look, and room to read into; zeroed. */
struct zc_pressure_eyes {
    char folder[ZC_PRESSURE_FOLDER];   /* of the process's cgroup; "" none was found */
    char stall_file[ZC_PRESSURE_FILE]; /* that stalls are read from; "" none */
    uint64_t stall_us;                 /* its total at the last look */
    uint64_t stall_ns;                 /* when that was; 0: there is none yet */
    char text[ZC_PRESSURE_TEXT];
};

enum zc_pressure_what {
    ZC_PRESSURE_LIMITS = 1 << 0, /* as in enum zcache_pressure */
    ZC_PRESSURE_STALLS = 1 << 1
};

/** zc_pressure_read() - look; fills all of @look but the charge.  @what: of enum zc_pressure_what. */
void zc_pressure_read(struct zc_pressure_eyes *eyes,
                      unsigned what,
                      uint64_t now_ns,
                      struct zc_pressure_look *look);

#endif /* ZC_PRESSURE_READ_H */
