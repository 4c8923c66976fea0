#ifndef FENCE_SLOT_H
#define FENCE_SLOT_H

/* The storage heartbeat: on a small shared volume every host writes a sign of life, and reads those
 * of the others.  Evidence only (safety.md 4): it can contradict a Watchdog or Confirmation proof,
 * and is shown; it never keeps a lease alive and never releases anything.
 *
 * The volume is SLOT_COUNT sectors of 512 bytes; a host takes one and keeps it as long as it finds
 * itself there.  A record is written whole in one sector, with a checksum: a torn one is no record.
 *
 *   slot_codec.c  pure: one sector
 *   slot_sm.c     pure: what was seen in the sectors over time, and which one is ours
 *   slot_io.c     a thread that reads and writes, once in a heartbeat; it may hang with the storage
 *                 for as long as it likes, nobody waits for it
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SLOT_BYTES 512U
#define SLOT_COUNT 256U
#define SLOT_FILE_BYTES (SLOT_BYTES * SLOT_COUNT)
#define SLOT_HOST_MAX 64U

struct slot_rec {
    char host[SLOT_HOST_MAX];
    uint64_t epoch;
    uint64_t incarnation;
    uint64_t counter; /* one more with every write */
    uint64_t wall_ms; /* for people with a hex editor */
};

void slot_encode(const struct slot_rec *r, uint8_t dst[SLOT_BYTES]);
/* False: empty, torn, or of something else. */
bool slot_decode(const uint8_t src[SLOT_BYTES], struct slot_rec *ret);

/* One sector over time.  A change that was found by a reading happened after the one before. */
struct slot_track {
    bool used;
    struct slot_rec rec;
    uint64_t changed_ms; /* it was written after this (clock_now_ms); 0: never seen to change */
};

struct slot_table {
    struct slot_track slots[SLOT_COUNT];
    uint64_t read_ms; /* of the newest image, 0: none */
};

/* A new image of the whole volume, read at now_ms. */
void slot_table_feed(struct slot_table *t, const uint8_t *image, uint64_t now_ms);
/* The sector of this host; else a free one; else the one that has not moved for longest, if that is
 * longer than stale_ms.  -1: there is none. */
int slot_table_pick(const struct slot_table *t, const char *host, uint64_t now_ms,
                    uint64_t stale_ms);

/* --- the thread ----------------------------------------------------------------------------------
 */

struct slots;

struct slots_opts {
    const char *host;
    const char *path; /* a block device, or a file (which is made) */
    uint32_t heartbeat_ms;
};

/* What the others wrote. */
struct slot_seen {
    char host[SLOT_HOST_MAX];
    uint64_t epoch, incarnation;
    uint64_t age_ms; /* at most so old is its newest sign of life */
};

/* ERR_SYS: no thread.  A volume that cannot be opened (yet) is tried again. */
int slots_start(const struct slots_opts *opts, struct slots **ret, struct err *err) ERR_USED;
/* Lets the thread end when it can; NULL is fine. */
void slots_stop(struct slots *s);
/* Who we are; incarnation 0: nobody yet, nothing is written.  Any thread. */
void slots_identity(struct slots *s, uint64_t epoch, uint64_t incarnation);
/* Signs of life of other hosts that moved since we began to look; how many.  Any thread. */
size_t slots_seen(struct slots *s, struct slot_seen *dst, size_t max);
/* Why it does not work, "" when it does.  Any thread. */
void slots_error(struct slots *s, char *dst, size_t size);

#endif
