/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of zcache-bench; each is told its arguments from its own name on. */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

int cmd_hit(int argc, const char **argv);
int cmd_put(int argc, const char **argv);

#endif /* BENCH_COMMANDS_H */
