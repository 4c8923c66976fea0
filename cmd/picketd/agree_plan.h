#ifndef CMD_PICKETD_AGREE_PLAN_H
#define CMD_PICKETD_AGREE_PLAN_H

/* Do the replicas agree?  Pure; any thread.
 *
 * After each applied entry the hash of the state goes into a ring, so that two replicas can be
 * compared at an entry that both have applied lately.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGREE_RING 4096U

struct agree_ring {
    struct {
        uint64_t index;
        uint64_t hash;
    } items[AGREE_RING];
    uint64_t n; /* noted so far */
};

void agree_note(struct agree_ring *r, uint64_t index, uint64_t hash);
/* The hash after this entry; false when it is not in the ring. */
bool agree_find(const struct agree_ring *r, uint64_t index, uint64_t *ret_hash);
/* The newest one; false when there is none. */
bool agree_newest(const struct agree_ring *r, uint64_t *ret_index, uint64_t *ret_hash);

enum agree_verdict {
    AGREE_OK,
    AGREE_OTHERS, /* those that differ from the leader have diverged */
    AGREE_SELF,   /* the leader has */
};
/* The leader's judgement: so many others have its hash, so many have not.  Where no majority of
 * those who are known tells who is right, the leader's state counts, since clients have seen it. */
enum agree_verdict agree_judge(size_t same, size_t differ);

#endif
