#ifndef TESTS_STORESIM_MODEL_H
#define TESTS_STORESIM_MODEL_H

/* What the store must do, written a second time and as plainly as possible.
 *
 * The model is given every command in the order of the log, with the answer and the changes that
 * the store made of it, and says what is wrong.  Raw keys, leases, compaction and sessions are
 * predicted to the byte; of safety commands and objects the changes are taken over, and only what
 * must hold for every command is checked (revisions, versions, who may touch which keys; see
 * lockcheck.h for the rest).
 *
 * It keeps every version of every key for ever, so it can tell what a read at any revision and a
 * watch from any revision must show.  Pure; one thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "store/cmd.h"
#include "store/store.h"

struct m_event {
    uint64_t rev;
    bool del;
    struct bytes key, value;
    uint64_t create_rev, version, lease; /* del: 0 */
    int64_t prev;                        /* position of this key's event before, -1: none */
};

struct m_key {
    struct bytes key;
    int64_t last;
};

struct m_session {
    uint64_t id;
    const char *owner; /* NULL: closed */
    uint64_t ack;
    struct m_kept {
        uint64_t seq;
        struct bytes answer;
    } * kept;
    size_t n, cap;
};

struct model {
    struct arena a; /* keys, values, answers */
    struct m_event *events;
    size_t n, cap;
    struct m_key *keys; /* in order */
    size_t n_keys, cap_keys;
    struct m_session *sessions;
    size_t n_sessions, cap_sessions;
    uint64_t rev, compact_rev;
    uint64_t history_count; /* of the store's limits: what trims the history */
    bool nospace;
    uint64_t predicted, adopted; /* commands */
};

/* What one command did, as the store shows it. */
struct m_seen {
    uint64_t term;
    const uint8_t *cmd, *answer;
    size_t cmd_len, answer_len;
    const struct m_event *events; /* prev is not looked at */
    size_t n_events;
    uint64_t compact_rev;       /* afterwards */
    size_t bytes_before, quota; /* live bytes of the store */
};

void model_init(struct model *m, uint64_t history_count);
void model_done(struct model *m);

/* ERR_CONFLICT: the store did something else than the model says. */
int model_apply(struct model *m, const struct m_seen *seen, struct err *err) ERR_USED;

/* The version of a key at a revision (0: now), or NULL. */
const struct m_event *model_get(const struct model *m, struct bytes key, uint64_t rev);
/* The n-th live key of [key, end) at a revision (end absent: the one key); NULL: there are fewer.
 */
const struct m_event *model_range(const struct model *m, struct bytes key, struct bytes end,
                                  uint64_t rev, size_t nth);
/* The first event at or behind position `from` in [key, end) (end absent: keys that begin with
 * key); -1: none. */
int64_t model_next(const struct model *m, size_t from, struct bytes key, struct bytes end);
/* The first position whose revision is above rev. */
size_t model_after(const struct model *m, uint64_t rev);
bool model_same(const struct m_event *a, const struct m_event *b); /* but for prev */

#endif
