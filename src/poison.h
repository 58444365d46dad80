/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tells AddressSanitizer which memory of our own allocators nobody may touch now, so that it
 * reports a use after free in a pool as it does for malloc().  Costs nothing in other builds.
 */
#ifndef ZC_POISON_H
#define ZC_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define ZC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ZC_ASAN 1
#endif
#endif

#ifdef ZC_ASAN
#include <sanitizer/asan_interface.h>
/** ZC_POISON() - nobody may touch @size bytes at @ptr; a multiple of 8 bytes from the start. */
#define ZC_POISON(ptr, size)   __asan_poison_memory_region(ptr, size)
#define ZC_UNPOISON(ptr, size) __asan_unpoison_memory_region(ptr, size)
/** ZC_MAY_READ_POISON - a function that looks at free memory on purpose. */
#define ZC_MAY_READ_POISON __attribute__((no_sanitize_address))
#else
#define ZC_POISON(ptr, size)   ((void)(ptr), (void)(size))
#define ZC_UNPOISON(ptr, size) ((void)(ptr), (void)(size))
#define ZC_MAY_READ_POISON
#endif

#endif /* ZC_POISON_H */
