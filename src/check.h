/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Assertion ladder and object tags.
 *
 *   ZC_ASSERT        always on, O(1), proven: a failure is a broken library and ends the process
 *   ZC_DEBUG_ASSERT  in debug builds, may cost
 *   ZC_UNEXPECTED    believed impossible, yet survivable: if (ZC_UNEXPECTED(x)) return -EINVAL;
 */
#ifndef ZC_CHECK_H
#define ZC_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#define ZC_LIKELY(x)     __builtin_expect(!!(x), 1)
#define ZC_UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define ZC_UNEXPECTED(x) ZC_UNLIKELY(x)

/* Off the hot path: not inlined, so that what it needs costs those nothing who do not come here. */
#define ZC_COLD __attribute__((cold, noinline))

/* On it: inlined wherever it is used, so that what its callers know costs it nothing. */
#define ZC_HOT inline __attribute__((always_inline))

/** zc_check_fail() - report a failed assertion to the hook, then abort. */
_Noreturn void zc_check_fail(const char *file, int line, const char *text);

#ifdef ZCACHE_TEST_HOOKS
/** zc_check_hook - test builds: called first by zc_check_fail(); may leave by longjmp. */
extern _Thread_local void (*zc_check_hook)(const char *file, int line, const char *text);
#endif

#define ZC_ASSERT(cond)                                                                            \
    do {                                                                                           \
        if (ZC_UNLIKELY(!(cond))) {                                                                \
            zc_check_fail(__FILE__, __LINE__, #cond);                                              \
        }                                                                                          \
    } while (0)

#ifdef ZCACHE_DEBUG
#define ZC_DEBUG_ASSERT(cond) ZC_ASSERT(cond)
#else
#define ZC_DEBUG_ASSERT(cond)                                                                      \
    do {                                                                                           \
        (void)sizeof(!(cond));                                                                     \
    } while (0)
#endif

/* Tags: first member of an object, set at init, cleared at fini. */
#define ZC_TAG_CACHE  0x7a636361u
#define ZC_TAG_TENANT 0x7a637465u
#define ZC_TAG_POOL   0x7a63706fu
#define ZC_TAG_EPOCH  0x7a636570u
#define ZC_TAG_THREAD 0x7a637468u
#define ZC_TAG_CODECS 0x7a63636fu
#define ZC_TAG_DICTS  0x7a636469u
#define ZC_TAG_INDEX  0x7a636978u
#define ZC_TAG_CHUNK  0x7a636368u

#endif /* ZC_CHECK_H */
