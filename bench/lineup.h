/* SPDX-License-Identifier: BSD-2-Clause */
/* The subjects of one case: who is in it, measuring them together, a row for each. */
#ifndef BENCH_LINEUP_H
#define BENCH_LINEUP_H

#include "peer.h"
#include "report.h"

struct lineup {
    struct report *report;
    const char *name; /* of the case */
    unsigned threads;
    unsigned n;
    unsigned reference; /* with whom the others are compared; the first subject by default */
    struct subject subject[SUBJECTS_MAX];
    json_t *more[SUBJECTS_MAX];      /* further members of the subject's row */
    struct peer *peer[SUBJECTS_MAX]; /* opened by the lineup; NULL for others */
};

void lineup_begin(struct lineup *l, struct report *report, const char *name, unsigned threads);

/* Whether --peer asks for it. */
bool lineup_wants(const struct lineup *l, enum peer_id id);

/*
 * Add a subject.
 *
 * Return: an object for further members of its row.
 */
json_t *lineup_add(struct lineup *l, struct subject subject);

/* The same, and it is the reference. */
json_t *lineup_add_reference(struct lineup *l, struct subject subject);

/* Note that a subject cannot be had. */
void lineup_miss(struct lineup *l, enum peer_id id, const char *reason);

/*
 * Open a cache of @config, fill it with the corpus, and add what @subject_of makes of it: if it is
 * wanted and can be had; otherwise note the reason.
 */
void lineup_add_peer(struct lineup *l,
                     const struct peer_config *config,
                     struct subject (*subject_of)(struct peer *peer));

/*
 * Open a cache without filling it.
 *
 * Return: the peer, closed with the lineup; NULL if it is not wanted or cannot be had.
 */
struct peer *lineup_open_peer(struct lineup *l, const struct peer_config *config);

/* Measure all, and report. */
void lineup_run(struct lineup *l, const struct order *order);

void lineup_end(struct lineup *l);

#endif /* BENCH_LINEUP_H */
