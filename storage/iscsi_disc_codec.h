#ifndef STORAGE_ISCSI_DISC_CODEC_H
#define STORAGE_ISCSI_DISC_CODEC_H

/* What an iSCSI target says of itself when it is asked (SendTargets, RFC 7143 appendix C), as
 * `iscsiadm -m discovery -t st -o nonpersistent` prints it, and ISCSITarget objects made of it.
 *
 * The text comes from whoever answers on that port: names and addresses are checked before they get
 * anywhere. Memory belongs to the arena of the caller. Pure; any thread. */

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define ISCSI_FOUND_MAX 1024   /* targets */
#define ISCSI_PORTALS_MAX 16   /* of a target, as ISCSITarget.spec.portals has */
#define ISCSI_NAME_LEN_MAX 223 /* RFC 7143 4.2.7.1 */

struct iscsi_found {
    const char *iqn;
    const char *portals[ISCSI_PORTALS_MAX]; /* "10.0.0.1:3260", "[2001:db8::1]:3260" */
    size_t n_portals;
    size_t n_more; /* portals that did not fit */
};

struct iscsi_founds {
    struct iscsi_found *list; /* in the order in which they were seen */
    size_t n;
};

/* Add what one portal said; a portal that is known already is not added twice.  ERR_CORRUPT names
 * the line. */
int iscsi_parse_discovery(const char *text, size_t len, struct arena *a, struct iscsi_founds *f,
                          struct err *err) ERR_USED;
/* Manifests for `picket apply`: a document for each target, with a name that is made of its IQN. */
void iscsi_manifests(const struct iscsi_founds *f, struct buf *out);

#endif
