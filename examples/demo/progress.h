/* SPDX-License-Identifier: BSD-2-Clause */
/* One line that changes on a terminal; elsewhere a line every few seconds. */
#ifndef DEMO_PROGRESS_H
#define DEMO_PROGRESS_H

#include "workload.h"

/* Show @what, the workload's rate and the tenants' charges while the workers run.  Ends after
 * @seconds (0: never), when the workers have ended, or at an interrupt.  Return: seconds passed. */
double progress_watch(const char *what, struct workload *w, unsigned seconds);

/* From now on SIGINT and SIGTERM end progress_watch() early. */
void progress_catch_interrupts(void);
bool progress_interrupted(void);

#endif /* DEMO_PROGRESS_H */
