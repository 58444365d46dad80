/* SPDX-License-Identifier: BSD-2-Clause */
#include "lineup.h"
#include "fail.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void lineup_begin(struct lineup *l, struct report *report, const char *name, unsigned threads)
{
    *l = (struct lineup){.report = report, .name = name, .threads = threads};
}

bool lineup_wants(const struct lineup *l, enum peer_id id)
{
    return (l->report->opts->peers & 1u << id) != 0;
}

json_t *lineup_add(struct lineup *l, struct subject subject)
{
    if (l->n == SUBJECTS_MAX) {
        fail("%s: more than %d subjects", l->name, SUBJECTS_MAX);
    }
    l->subject[l->n] = subject;
    l->more[l->n] = json_object();
    if (l->more[l->n] == NULL) {
        fail("no memory for a result");
    }
    return l->more[l->n++];
}

json_t *lineup_add_reference(struct lineup *l, struct subject subject)
{
    l->reference = l->n;
    return lineup_add(l, subject);
}

void lineup_miss(struct lineup *l, enum peer_id id, const char *reason)
{
    report_missing(l->report, l->name, peer_names[id], reason);
}

struct peer *lineup_open_peer(struct lineup *l, const struct peer_config *config)
{
    char reason[PEER_REASON_BYTES];
    struct peer *peer;

    if (!lineup_wants(l, config->id)) {
        return NULL;
    }
    peer = peer_open(config, reason);
    if (peer == NULL) {
        lineup_miss(l, config->id, reason);
    }
    return peer;
}

void lineup_add_peer(struct lineup *l,
                     const struct peer_config *config,
                     struct subject (*subject_of)(struct peer *peer))
{
    char reason[PEER_REASON_BYTES];
    struct peer *peer = lineup_open_peer(l, config);

    if (peer == NULL) {
        return;
    }
    if (!peer_fill(peer, reason)) {
        lineup_miss(l, config->id, reason);
        peer_close(peer);
        return;
    }
    l->peer[l->n] = peer;
    (void)lineup_add(l, subject_of(peer));
}

static const char *label(const struct subject *s, char *buf, size_t cap)
{
    (void)snprintf(buf, cap, "%s%s%s", s->name, s->detail != NULL ? " " : "",
                   s->detail != NULL ? s->detail : "");
    return buf;
}

void lineup_run(struct lineup *l, const struct order *order)
{
    const struct bench_options *opts = l->report->opts;
    const struct plan plan = {.what = l->name,
                              .order = order,
                              .threads = l->threads,
                              .page_bytes = l->report->corpus->page_bytes,
                              .repeats = opts->repeats,
                              .seconds = opts->seconds};
    struct result result[SUBJECTS_MAX];
    char relative_to[64];

    measure(&plan, l->subject, l->n, l->reference, result);
    (void)label(&l->subject[l->reference], relative_to, sizeof relative_to);
    for (unsigned k = 0; k < l->n; k++) {
        json_t *row = report_new_row(l->report, l->name, l->subject[k].name, l->subject[k].detail,
                                     l->threads);

        if (strcmp(l->subject[k].name, "zcache") != 0) {
            result[k].locks_per_op = NAN; /* others' locks are not counted */
        }
        report_set_times(row, &result[k], order->n, relative_to);
        if (json_object_update(row, l->more[k]) != 0) {
            fail("no memory for a result");
        }
        report_row(l->report, row);
    }
}

void lineup_end(struct lineup *l)
{
    for (unsigned k = 0; k < l->n; k++) {
        peer_close(l->peer[k]);
        json_decref(l->more[k]);
    }
    *l = (struct lineup){0};
}
