#ifndef RAFT_HELLO_CODEC_H
#define RAFT_HELLO_CODEC_H

/* The first frame on a link, both ways, and the refusal.  Pure; any thread.
 *
 *   HELLO   version u32, from u64, to u64, boot u64, name length u16, name, cluster length u16,
 *           cluster, epoch u64, round u32 (the last two are not there in older versions: 0)
 *   REFUSE  text
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define HELLO_VERSION 1u

struct hello {
    uint32_t version;
    uint64_t from;
    uint64_t to;
    uint64_t boot; /* of the sending process: another number, another process */
    char name[64];
    char cluster[64];
    uint64_t epoch; /* of the cluster, 0: the sender knows none yet */
    uint32_t round; /* of this link; the answer repeats it */
};

void hello_frame(struct buf *b, const struct hello *h);
bool hello_decode(const uint8_t *data, size_t len, struct hello *ret);
void refuse_frame(struct buf *b, const char *why);

/* May a peer that says `h` be linked with `self`?  want_name: what the member of that id is called
 * here, cert_name: what its certificate says; NULL or empty: not known. */
int hello_check(const struct hello *h, const struct hello *self, const char *want_name,
                const char *cert_name, struct err *err) ERR_USED;
/* Is `h` of a later epoch of the very cluster that `self` was in?  Then that one was restored or
 * recovered without `self`, whose state counts no more (safety.md 1). */
bool hello_supersedes(const struct hello *h, const struct hello *self, const char *cert_name);

#endif
