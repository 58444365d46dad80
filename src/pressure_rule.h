/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the bound follows memory pressure: a function of what was seen and when, and of nothing else.
 */
#ifndef ZC_PRESSURE_RULE_H
#define ZC_PRESSURE_RULE_H

#include <stdbool.h>
#include <stdint.h>

/** struct zc_pressure_rules - what the application asked for. */
struct zc_pressure_rules {
    uint64_t capacity_bytes;
    uint64_t floor_bytes; /* pressure does not get the bound below */
    uint32_t high_percent;
    uint32_t low_percent;
    uint32_t stall_percent;
    uint64_t quiet_ns;
};

/**
 * struct zc_pressure_look - what one look told.
 * @now_ns:         when.
 * @charge_bytes:   of the cache.
 * @blind:          something that was to be seen could not be: no news is not good news.
 * @limit_bytes:    of the cgroup that is nearest to its limit; 0: none has one.
 * @usage_bytes:    of that cgroup, without file pages that the kernel can drop.
 * @stall_permille: share of the time since the last look in which some task stalled for memory.
 */
struct zc_pressure_look {
    uint64_t now_ns;
    uint64_t charge_bytes;
    bool blind;
    uint64_t limit_bytes;
    uint64_t usage_bytes;
    uint32_t stall_permille;
};

/** struct zc_pressure_state - what is remembered from look to look; see ZC_PRESSURE_STATE_INIT. */
struct zc_pressure_state {
    uint64_t limit_bytes; /* that pressure leaves; UINT64_MAX: all */
    uint64_t pressed_ns;  /* when there was pressure, or nothing could be seen, last */
    uint64_t lowered_ns;
    uint64_t raised_ns;
    unsigned patience; /* how many quiet times to wait: doubles when raising brought pressure */
};

#define ZC_PRESSURE_STATE_INIT                                                                     \
    {                                                                                              \
        UINT64_MAX, 0, 0, 0, 1                                                                     \
    }

enum zc_pressure_move {
    ZC_PRESSURE_KEPT,
    ZC_PRESSURE_LOWERED,
    ZC_PRESSURE_RAISED
};

/** zc_pressure_rule() - one look; @state's limit is what is to hold from now on. */
enum zc_pressure_move zc_pressure_rule(struct zc_pressure_state *state,
                                       const struct zc_pressure_rules *rules,
                                       const struct zc_pressure_look *look);

#endif /* ZC_PRESSURE_RULE_H */
