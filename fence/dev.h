#ifndef FENCE_DEV_H
#define FENCE_DEV_H

/* A device operation, and the text protocol of picket-fence, the child process that carries it out.
 *
 * stdin: `key=value` lines, ended by an empty line.  After it the parent may send more lines
 * `deadline_boottime_ms=N`, as its own lease is renewed; the newest counts.  stdout: one JSON line
 * (struct fence_answer).  Exit status: 0 Succeeded, 1 Failed, 2 Unknown.  Secrets travel on stdin
 * only: never on a command line, in the environment or in a log.
 *
 * keys (all kinds)  type, action, host (the target's name), timeout_ms, deadline_boottime_ms
 *   ApcSnmp         address=IP[:161], version=1|2c|3, community | username, auth_protocol=MD5|SHA,
 *                   auth_password, priv_protocol=DES|AES, priv_password (v3: none, auth or auth and
 * priv), plugs="1,2", or outlets=Auto and host=NAME Ipmi            address=IP[:623], username,
 * password, lanplus=1|0, privilege, cipher Agent           program=fence_xyz, and
 * param.<name>=<value> for its own options Redfish         address, username, password,
 * systems_uri, fingerprint (SHA-256 of its certificate) or insecure Null            lab=1, or it is
 * refused Manual          nothing: the answer is always Unknown, only a person's confirmation
 * counts
 *
 * Three-valued results.  Succeeded: what was asked for is true and was read back (off: twice, at
 * least 1 s apart, on every plug).  Failed: it is *known* that this operation switched nothing off:
 * the device refused, or nothing that switches was ever sent.  Unknown: everything else, a device
 * that falls silent after a switching packet first of all.
 *
 * Pure (dev.c); any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum fence_type {
    FENCE_TYPE_NONE = 0,
    FENCE_TYPE_APC_SNMP,
    FENCE_TYPE_IPMI,
    FENCE_TYPE_REDFISH,
    FENCE_TYPE_SCSI_RESERVATION,
    FENCE_TYPE_WATCHDOG,
    FENCE_TYPE_AGENT,
    FENCE_TYPE_SSH,
    FENCE_TYPE_MANUAL,
    FENCE_TYPE_NULL,
};

/* What a success of the device may prove (safety.md 4). */
enum fence_class { FENCE_CLASS_NONE = 0, FENCE_CLASS_POWER, FENCE_CLASS_STORAGE };

/* Values as in the store. */
enum fence_outcome { FENCE_UNKNOWN = 0, FENCE_SUCCEEDED = 1, FENCE_FAILED = 2 };

enum fence_power { FENCE_POWER_UNKNOWN = 0, FENCE_POWER_ON, FENCE_POWER_OFF };

/* REBOOT is off, proven, then on; only for a level of one device: with several devices the executor
 * says OFF to all of them and ON afterwards, or a host with two supplies would never be without
 * power. */
enum fence_action {
    FENCE_ACTION_NONE = 0,
    FENCE_ACTION_STATUS, /* power of the plugs; Succeeded when it could be read */
    FENCE_ACTION_OFF,
    FENCE_ACTION_ON,
    FENCE_ACTION_REBOOT,
    FENCE_ACTION_PROBE, /* reach the device, log in, find the plugs; switches nothing */
    FENCE_ACTION_LIST,  /* outlets with their names */
};

const char *fence_type_name(enum fence_type t);       /* as in FenceDevice.spec.type; "" for NONE */
enum fence_type fence_type_parse(const char *s);      /* NONE when there is no such type */
const char *fence_action_name(enum fence_action a);   /* "off" */
enum fence_action fence_action_parse(const char *s);  /* NONE when there is no such action */
const char *fence_outcome_name(enum fence_outcome r); /* "Succeeded", "Failed", "Unknown" */
const char *fence_power_name(enum fence_power p);     /* "On", "Off", "Unknown" */

/* The proof class of a device.
 *
 * @program   Agent: file name of the program, without directories; else NULL
 * @provides  FenceDevice.spec.provides ("Power", "Storage", "None"), or NULL; it can raise an
 * unknown program to Power or Storage, never one that is on our list of those that prove nothing
 * Null is Power in a lab only.
 */
enum fence_class fence_class_of(enum fence_type t, const char *program, const char *provides,
                                bool lab);

/* --- an operation ------------------------------------------------------------------------------
 */

#define FENCE_OP_MAX_PARAMS 48U
#define FENCE_OP_MAX_BYTES 32768U
#define FENCE_MAX_PLUGS 16U
#define FENCE_MAX_OUTLETS 64U

struct fence_param {
    char key[48];
    char value[512];
};

/* Fixed size and without pointers, so that one explicit_bzero forgets every secret in it. */
struct fence_op {
    enum fence_type type;
    enum fence_action action;
    uint64_t timeout_ms;           /* for the whole operation */
    uint64_t deadline_boottime_ms; /* no switching packet leaves after it; 0: not given, refused */
    char host[256];                /* the target */
    struct fence_param params[FENCE_OP_MAX_PARAMS];
    size_t n_params;
};

/* ERR_INVALID: a key or value that cannot be sent (too long, line break), or too many. */
int fence_op_set(struct fence_op *op, const char *key, const char *value, struct err *err) ERR_USED;
const char *fence_op_get(const struct fence_op *op, const char *key); /* NULL when absent */
void fence_op_done(struct fence_op *op);                              /* wipes it */

/* The text for stdin, the empty line included.  It holds secrets: wipe the buffer. */
void fence_op_encode(const struct fence_op *op, struct buf *out);
/* ERR_INVALID says which line and why; values are never part of a message. */
int fence_op_decode(const char *text, size_t len, struct fence_op *ret, struct err *err) ERR_USED;

/* --- an answer ---------------------------------------------------------------------------------
 */

struct fence_outlet {
    char plug[16];
    char name[64];
    enum fence_power power;
};

struct fence_answer {
    enum fence_outcome result;
    enum fence_power power; /* of all plugs of the target together; On if any is on */
    char detail[256];       /* one line, no secrets */
    struct fence_outlet outlets[FENCE_MAX_OUTLETS];
    size_t n_outlets;
};

/* {"result":"Succeeded","power":"Off","detail":"...","outlets":{"1":{"name":"node1","power":"Off"}}}
 */
void fence_answer_encode(const struct fence_answer *ans, struct buf *out);
/* Strict: anything else is ERR_INVALID, and the caller takes the operation for Unknown. */
int fence_answer_decode(const char *text, size_t len, struct fence_answer *ret,
                        struct err *err) ERR_USED;

/* Set result and detail. */
void fence_answer_set(struct fence_answer *ans, enum fence_outcome result, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Plugs of a host among named outlets (outlets: Auto).  Rule: the names NAME, NAME-x and NAME.x,
 * NAME_x, NAME/x with x one letter A-H or one digit (the supplies of one host), compared without
 * regard to case; every match counts.  Returns how many; ret holds indexes into outlets. */
size_t fence_outlets_match(const struct fence_outlet *outlets, size_t n, const char *host,
                           size_t ret[FENCE_MAX_OUTLETS]);

#endif
