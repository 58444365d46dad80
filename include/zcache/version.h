/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The version of the interface these headers describe.  The build reads the numbers from here.
 */
#ifndef ZCACHE_VERSION_H
#define ZCACHE_VERSION_H

#define ZCACHE_VERSION_MAJOR 0
#define ZCACHE_VERSION_MINOR 1
#define ZCACHE_VERSION_PATCH 0

#endif /* ZCACHE_VERSION_H */
