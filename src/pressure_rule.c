/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pressure_rule.c - when the bound is lowered and raised, and by how much.
 *
 *     usage of the cgroup      0 ........ low ........ high ........ limit
 *                                 raise    |   keep     |  lower by what is above low
 *
 *     time                     pressure   | quiet: keep | one step | a quarter | one step | ...
 *
 * Down.  A cgroup that is above high of its limit gets what it has above low: the bound becomes the
 * charge less that.  If tasks stall, the bound becomes the charge less an eighth, at each look.  What
 * counts is the charge where it is below the bound, since a bound that nothing touches gives nothing
 * back.  While the charge is above the bound the shrinker is still at it, and nothing is lowered more.
 *
 * Up.  After a quiet time a thirty-second of the capacity, and again after each quarter of it; in a
 * cgroup with a limit only as far as it stays below low if the cache fills all that it then may.  So
 * what was raised by this rule is not lowered by it again.
 *
 * Stalls do not tell how much is too much.  If they come back within two quiet times after a step up,
 * the next step waits twice as long, up to 16 times; when there was no pressure for four times that,
 * half as long again.  A bound that is too high by its nature is tried again, ever more rarely.
 *
 * What cannot be seen is neither pressure nor quiet: the bound stays, and the quiet time begins anew.
 *
 * No locks, no clock, no system.
 */
#include "pressure_rule.h"

#include "mathx.h"

#define STALL_PART    8u  /* of the charge, given back at a look */
#define STEP_PART     32u /* of the capacity, at a step up */
#define STEP_MIN_PART 256u
#define STEPS_QUIET   4u /* steps up in a quiet time, once it was waited for */
#define PATIENCE_MAX  16u

static uint64_t percent(uint64_t bytes, uint32_t of_hundred)
{
    return zc_mul_div(bytes, of_hundred, 100);
}

/* Bytes that are too much; 0: there is no pressure. */
static uint64_t excess(const struct zc_pressure_rules *rules,
                       const struct zc_pressure_look *look,
                       uint64_t held)
{
    uint64_t bytes = 0;

    if (look->limit_bytes > 0 &&
        look->usage_bytes > percent(look->limit_bytes, rules->high_percent)) {
        bytes = look->usage_bytes - percent(look->limit_bytes, rules->low_percent);
    }
    if (look->stall_permille >= rules->stall_percent * 10) {
        bytes = ZC_MAX(bytes, held / STALL_PART + 1);
    }
    return bytes;
}

static uint64_t bound(const struct zc_pressure_state *state, const struct zc_pressure_rules *rules)
{
    return ZC_MIN(state->limit_bytes, rules->capacity_bytes);
}

static bool since(uint64_t then_ns, uint64_t now_ns, uint64_t ns)
{
    return zc_sub_sat(now_ns, then_ns) >= ns;
}

static void lose_patience(struct zc_pressure_state *state,
                          const struct zc_pressure_rules *rules,
                          uint64_t now_ns)
{
    if (state->raised_ns > state->lowered_ns &&
        !since(state->raised_ns, now_ns, UINT64_C(2) * state->patience * rules->quiet_ns)) {
        state->patience = ZC_MIN(state->patience * 2, PATIENCE_MAX);
    }
}

static enum zc_pressure_move lower(struct zc_pressure_state *state,
                                   const struct zc_pressure_rules *rules,
                                   const struct zc_pressure_look *look,
                                   uint64_t bytes)
{
    uint64_t now = bound(state, rules);
    uint64_t floor = ZC_MIN(rules->floor_bytes, rules->capacity_bytes);
    uint64_t next = ZC_MAX(zc_sub_sat(ZC_MIN(now, look->charge_bytes), bytes), floor);

    if (look->charge_bytes > now || next >= now) {
        return ZC_PRESSURE_KEPT;
    }
    lose_patience(state, rules, look->now_ns);
    state->limit_bytes = next;
    state->lowered_ns = look->now_ns;
    return ZC_PRESSURE_LOWERED;
}

/* How far the bound may go up now. */
static uint64_t step_up(const struct zc_pressure_rules *rules,
                        const struct zc_pressure_look *look,
                        uint64_t now)
{
    uint64_t step = rules->capacity_bytes / STEP_PART + 1;
    uint64_t filled = zc_add_sat(look->usage_bytes, zc_sub_sat(now, look->charge_bytes));

    if (look->limit_bytes > 0) {
        step = ZC_MIN(step, zc_sub_sat(percent(look->limit_bytes, rules->low_percent), filled));
    }
    return step > rules->capacity_bytes / STEP_MIN_PART ? step : 0;
}

static enum zc_pressure_move raise(struct zc_pressure_state *state,
                                   const struct zc_pressure_rules *rules,
                                   const struct zc_pressure_look *look)
{
    uint64_t wait_ns = state->patience * rules->quiet_ns;
    uint64_t now = bound(state, rules);
    uint64_t step;

    if (!since(ZC_MAX(state->pressed_ns, state->lowered_ns), look->now_ns, wait_ns) ||
        !since(state->raised_ns, look->now_ns, wait_ns / STEPS_QUIET)) {
        return ZC_PRESSURE_KEPT;
    }
    step = step_up(rules, look, now);
    if (step == 0) {
        return ZC_PRESSURE_KEPT;
    }
    state->limit_bytes = zc_add_sat(now, step);
    if (state->limit_bytes >= rules->capacity_bytes) {
        state->limit_bytes = UINT64_MAX;
    }
    state->raised_ns = look->now_ns;
    return ZC_PRESSURE_RAISED;
}

enum zc_pressure_move zc_pressure_rule(struct zc_pressure_state *state,
                                       const struct zc_pressure_rules *rules,
                                       const struct zc_pressure_look *look)
{
    uint64_t held = ZC_MIN(look->charge_bytes, bound(state, rules));
    uint64_t bytes = excess(rules, look, held);

    if (bytes > 0) {
        state->pressed_ns = look->now_ns;
        return lower(state, rules, look, bytes);
    }
    if (look->blind) {
        state->pressed_ns = look->now_ns;
        return ZC_PRESSURE_KEPT;
    }
    if (state->patience > 1 && since(ZC_MAX(state->pressed_ns, state->raised_ns), look->now_ns,
                                     UINT64_C(4) * state->patience * rules->quiet_ns)) {
        state->patience /= 2;
        state->pressed_ns = zc_sub_sat(look->now_ns, state->patience * rules->quiet_ns);
    }
    return state->limit_bytes == UINT64_MAX ? ZC_PRESSURE_KEPT : raise(state, rules, look);
}
