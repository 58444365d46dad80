/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Concurrency Kit in terms that ThreadSanitizer understands.
 *
 * ck's x86 port is inline assembly and its portable port is volatile accesses: to ThreadSanitizer
 * the first does not synchronise and the second is a race.  This header takes the place of the
 * portable port (it claims that port's include guard) and says the same with __atomic builtins.  It
 * has to come first in every translation unit, ck's own included: -include ck_tsan.h.
 *
 * Only loads, stores and compare-and-swap are given; ck_pr.h builds everything else from these (add,
 * fetch-and-add, swap, bit operations) where a port does not claim to have it.
 *
 * Orders are those of the processor that the release runs on: an x86 load acquires, a store
 * releases, a locked instruction is sequentially consistent.  Anything stronger would hide races.
 */
#ifndef ZC_CK_TSAN_H
#define ZC_CK_TSAN_H

#ifdef CK_PR_H
#error "ck_tsan.h must be included before ck_pr.h"
#endif

#define CK_USE_CC_BUILTINS 1
#define CK_PR_GCC_H
#define CK_F_PR
#define CK_PR_DISABLE_DOUBLE

#include <ck_cc.h>
#include <ck_limits.h>
#include <ck_md.h>
#include <ck_stdbool.h>
#include <ck_stdint.h>

#define CK_F_PR_LOAD_8
#define CK_F_PR_LOAD_16
#define CK_F_PR_LOAD_32
#define CK_F_PR_LOAD_64
#define CK_F_PR_LOAD_CHAR
#define CK_F_PR_LOAD_INT
#define CK_F_PR_LOAD_UINT
#define CK_F_PR_LOAD_PTR
#define CK_F_PR_STORE_8
#define CK_F_PR_STORE_16
#define CK_F_PR_STORE_32
#define CK_F_PR_STORE_64
#define CK_F_PR_STORE_CHAR
#define CK_F_PR_STORE_INT
#define CK_F_PR_STORE_UINT
#define CK_F_PR_STORE_PTR
#define CK_F_PR_CAS_8
#define CK_F_PR_CAS_16
#define CK_F_PR_CAS_32
#define CK_F_PR_CAS_64
#define CK_F_PR_CAS_CHAR
#define CK_F_PR_CAS_INT
#define CK_F_PR_CAS_UINT
#define CK_F_PR_CAS_PTR
#define CK_F_PR_CAS_8_VALUE
#define CK_F_PR_CAS_16_VALUE
#define CK_F_PR_CAS_32_VALUE
#define CK_F_PR_CAS_64_VALUE
#define CK_F_PR_CAS_CHAR_VALUE
#define CK_F_PR_CAS_INT_VALUE
#define CK_F_PR_CAS_UINT_VALUE
#define CK_F_PR_CAS_PTR_VALUE

CK_CC_INLINE static void ck_pr_barrier(void)
{
    __asm__ __volatile__("" ::: "memory");
}

CK_CC_INLINE static void ck_pr_stall(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("pause" ::: "memory");
#else
    ck_pr_barrier();
#endif
}

/*
 * One size of memory access.
 * MEM is what the caller points to (void for pointers), VAL the value, CELL the object in memory.
 */
#define ZC_CK_ACCESS(SUFFIX, MEM, VAL, CELL)                                                       \
    CK_CC_INLINE static CELL ck_pr_md_load_##SUFFIX(const MEM *at)                                 \
    {                                                                                              \
        return __atomic_load_n((CELL const *)at, __ATOMIC_ACQUIRE);                                \
    }                                                                                              \
    CK_CC_INLINE static void ck_pr_md_store_##SUFFIX(MEM *at, VAL value)                           \
    {                                                                                              \
        __atomic_store_n((CELL *)at, (CELL)(uintptr_t)value, __ATOMIC_RELEASE);                    \
    }                                                                                              \
    CK_CC_INLINE static bool ck_pr_cas_##SUFFIX##_value(MEM *at, CELL expected, CELL desired,      \
                                                        MEM *seen)                                 \
    {                                                                                              \
        bool swapped = __atomic_compare_exchange_n((CELL *)at, &expected, desired, false,          \
                                                   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
        *(CELL *)seen = expected;                                                                  \
        return swapped;                                                                            \
    }                                                                                              \
    CK_CC_INLINE static bool ck_pr_cas_##SUFFIX(MEM *at, CELL expected, CELL desired)              \
    {                                                                                              \
        CELL seen;                                                                                 \
        return ck_pr_cas_##SUFFIX##_value(at, expected, desired, &seen);                           \
    }

ZC_CK_ACCESS(8, uint8_t, uint8_t, uint8_t)
ZC_CK_ACCESS(16, uint16_t, uint16_t, uint16_t)
ZC_CK_ACCESS(32, uint32_t, uint32_t, uint32_t)
ZC_CK_ACCESS(64, uint64_t, uint64_t, uint64_t)
ZC_CK_ACCESS(char, char, char, char)
ZC_CK_ACCESS(int, int, int, int)
ZC_CK_ACCESS(uint, unsigned int, unsigned int, unsigned int)
ZC_CK_ACCESS(ptr, void, const void *, void *)

#undef ZC_CK_ACCESS

/* For the processor.  ThreadSanitizer does not model fences; the accesses above carry the order. */
#if defined(__x86_64__)
#define ZC_CK_FULL_FENCE() __asm__ __volatile__("mfence" ::: "memory")
#else
#define ZC_CK_FULL_FENCE() __sync_synchronize()
#endif
#define ZC_CK_FENCE(KIND)                                                                          \
    CK_CC_INLINE static void ck_pr_fence_strict_##KIND(void)                                       \
    {                                                                                              \
        ZC_CK_FULL_FENCE();                                                                        \
    }

ZC_CK_FENCE(acqrel)
ZC_CK_FENCE(acquire)
ZC_CK_FENCE(atomic)
ZC_CK_FENCE(atomic_load)
ZC_CK_FENCE(atomic_store)
ZC_CK_FENCE(load)
ZC_CK_FENCE(load_atomic)
ZC_CK_FENCE(load_store)
ZC_CK_FENCE(lock)
ZC_CK_FENCE(memory)
ZC_CK_FENCE(release)
ZC_CK_FENCE(store)
ZC_CK_FENCE(store_atomic)
ZC_CK_FENCE(store_load)
ZC_CK_FENCE(unlock)

#undef ZC_CK_FENCE
#undef ZC_CK_FULL_FENCE

#include <ck_pr.h>

#endif /* ZC_CK_TSAN_H */
