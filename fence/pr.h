#ifndef FENCE_PR_H
#define FENCE_PR_H

/* SCSI-3 persistent reservations as a fence device: keys, what a target says, and the sequence that
 * takes the disks away from one incarnation.
 *
 * A key is made of the cluster, its epoch and the incarnation: what preempts it can never hit a
 * later boot of the same host.  The reservation is of a type that lets registrants write and nobody
 * else; to preempt a key ends every registration that was made with it, on every path at once.
 *
 *   pr_codec.c       pure: keys, replies of the target (hostile bytes), parameters
 *   pr_run.c         the sequence, through a driver; blocking, for picket-fence only
 *   pr_iscsi_drv.c   the driver that speaks iSCSI itself (libiscsi): needs no device on this host
 *
 * Sources: SPC-4 r37 (5.13 persistent reservations, 6.15 and 6.16), safety.md 4.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "fence/dev.h"
#include "fence/run.h"

#define PR_MAX_TARGETS 8U
#define PR_MAX_PORTALS 8U
#define PR_MAX_LUNS 32U
#define PR_MAX_KEYS 256U
#define PR_WWID_MAX 128U
#define PR_NAME_MAX 224U /* an iSCSI name (RFC 7143) and a NUL */

/* Service actions of PERSISTENT RESERVE IN and OUT. */
enum pr_in { PR_IN_KEYS = 0, PR_IN_RESERVATION = 1, PR_IN_CAPABILITIES = 2 };
enum pr_out {
    PR_OUT_RESERVE = 1,
    PR_OUT_PREEMPT = 4,
    PR_OUT_PREEMPT_ABORT = 5,
    PR_OUT_REGISTER_IGNORE = 6,
};

enum pr_type {
    PR_TYPE_NONE = 0,
    PR_TYPE_WRITE_REGISTRANTS = 5, /* one holder */
    PR_TYPE_EXCLUSIVE_REGISTRANTS = 6,
    PR_TYPE_WRITE_ALL = 7, /* every registrant holds it: it stays until the last one goes */
    PR_TYPE_EXCLUSIVE_ALL = 8,
};

/* --- pure ------------------------------------------------------------------------------------- */

/* "PK", 22 bits of the cluster and its epoch, the incarnation.  ERR_INVALID when it does not fit
 * into 26 bits; incarnation 0 is the key of a picketd on a machine without an agent. */
int pr_key(const char *cluster, uint64_t epoch, uint64_t incarnation, uint64_t *ret,
           struct err *err) ERR_USED;
void pr_key_format(uint64_t key, char dst[17]); /* 16 hex digits */
bool pr_key_parse(const char *s, uint64_t *ret);
bool pr_key_is_ours(uint64_t key, uint64_t example); /* the same cluster and epoch */
uint64_t pr_key_incarnation(uint64_t key);

struct pr_keys {
    uint32_t generation;
    uint64_t keys[PR_MAX_KEYS]; /* one for each registered path */
    size_t n;
};

struct pr_reservation {
    uint64_t key; /* of the holder; 0 for "all registrants" types */
    uint8_t type; /* PR_TYPE_NONE: there is no reservation */
};

struct pr_caps {
    bool ptpl_capable; /* could keep registrations through a loss of its power */
    bool ptpl_active;  /* and does */
    bool types_known;
    uint16_t types; /* PERSISTENT RESERVATION TYPE MASK as sent */
};

/* ERR_INVALID: truncated or malformed.  More keys than PR_MAX_KEYS are an error, too: whoever
 * cannot see all of them cannot say that one is gone. */
int pr_keys_decode(const void *data, size_t len, struct pr_keys *ret, struct err *err) ERR_USED;
int pr_reservation_decode(const void *data, size_t len, struct pr_reservation *ret,
                          struct err *err) ERR_USED;
int pr_caps_decode(const void *data, size_t len, struct pr_caps *ret, struct err *err) ERR_USED;
bool pr_keys_have(const struct pr_keys *k, uint64_t key);
size_t pr_keys_count(const struct pr_keys *k, uint64_t key);
/* A type under which only registrants may write. */
bool pr_type_fences(uint8_t type);

/* Does a designator of the logical unit in VPD page 0x83 make this WWID (in the form of scsi_id and
 * multipath: "3" and the NAA in hex, "2" and the EUI-64, "8" and the SCSI name)? */
bool pr_vpd_has_wwid(const void *vpd, size_t len, const char *wwid);

struct pr_target {
    char iqn[PR_NAME_MAX];
    char portals[PR_MAX_PORTALS][64]; /* "IP:PORT" */
    size_t n_portals;
    const char *chap_user, *chap_password;     /* point into the operation; NULL: none */
    const char *mutual_user, *mutual_password; /* the target's at us */
};

struct pr_lun {
    size_t target;
    uint16_t lun;
    char wwid[PR_WWID_MAX]; /* "": not checked */
};

/* What is asked for.  Keys of the operation:
 *   initiator=IQN  key=HEX (of the one to be cut off)  own_key=HEX  drain_ms=N  lab=1
 *   target0=IQN PORTAL[,PORTAL...]  chap_user0= chap_password0= mutual_user0= mutual_password0=
 *   lun0=TARGET:LUN[:WWID] */
struct pr_ask {
    const char *initiator;
    uint64_t key, own_key;
    uint64_t drain_ms; /* 0: not declared */
    bool lab;
    struct pr_target targets[PR_MAX_TARGETS];
    size_t n_targets;
    struct pr_lun luns[PR_MAX_LUNS];
    size_t n_luns;
};

/* ERR_INVALID says which parameter and why; secrets are never part of a message. */
int pr_ask_decode(const struct fence_op *op, struct pr_ask *ret, struct err *err) ERR_USED;

/* --- drivers -----------------------------------------------------------------------------------
 */

/* A path to the logical units of one target.  Every function blocks until `until_ms`
 * (CLOCK_BOOTTIME) at most.  Errors:
 *   ERR_CONFLICT         RESERVATION CONFLICT: refused for lack of a right; nothing happened
 *   ERR_UNSUPPORTED      ILLEGAL REQUEST: the target does not know the command; nothing happened
 *   ERR_UNREACHABLE      the command was not sent
 *   ERR_UNKNOWN_OUTCOME  it was sent, and no answer came */
struct pr_path;
struct pr_drv {
    int (*open)(const struct pr_ask *ask, size_t target, size_t portal, uint64_t until_ms,
                struct pr_path **ret, struct err *err);
    int (*in)(struct pr_path *p, uint16_t lun, enum pr_in action, struct buf *ret, struct err *err);
    int (*out)(struct pr_path *p, uint16_t lun, enum pr_out action, uint8_t type, uint64_t key,
               uint64_t service_key, bool aptpl, struct err *err);
    int (*vpd)(struct pr_path *p, uint16_t lun, uint8_t page, struct buf *ret, struct err *err);
    int (*reset)(struct pr_path *p, uint16_t lun, struct err *err); /* LOGICAL UNIT RESET */
    void (*close)(struct pr_path *p);
};

extern const struct pr_drv pr_iscsi_drv;

/* status, probe, list: every path is opened, WWIDs are compared, keys and reservation read.
 * off: for every LUN, own key registered on every path, reservation taken if there is none, the
 * key preempted with abort of its commands, and on every path read back.
 * on, reboot: Failed; a host registers itself, and once it was cut off only its next boot does.
 *
 * Failed is given only while nothing was sent that takes anything from anybody. */
void pr_run(struct fence_run *run, const struct pr_drv *drv, struct fence_answer *ans);

#endif
