#ifndef STORAGE_ISCSI_CODEC_H
#define STORAGE_ISCSI_CODEC_H

/* open-iscsi: what `iscsiadm -m session -P 3` prints, and node records with our settings.
 *
 * Secrets are written into a record's file (mode 0600), never given to iscsiadm as arguments, which
 * every user of the host can read. Memory belongs to the arena of the caller. Pure; any thread.
 * Source: iscsiadm(8), open-iscsi 2.1.8 (usr/session_info.c, usr/idbm.c). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define ISCSI_SESSION_EXISTS_STATUS 15 /* exit status of --login when there is one already */
#define ISCSI_NO_SESSIONS_STATUS 21    /* exit status of iscsiadm -m session when there are none */
#define ISCSI_SESSIONS_MAX 4096
#define ISCSI_DISKS_MAX 65536

struct iscsi_disk {
    uint64_t lun;
    const char *device; /* "sdb" */
    bool running;       /* the kernel's state of the device */
};

struct iscsi_session {
    const char *target;
    const char *portal;  /* "10.0.0.1:3260" as it was configured, without the group's tag */
    const char *current; /* where it is connected, after a redirection another one */
    const char *initiator;
    uint64_t sid;
    bool logged_in;         /* session and connection */
    const char *state;      /* as printed: "LOGGED_IN", "FAILED", "FREE" */
    const char *connection; /* "LOGGED IN", "TRANSPORT WAIT", ... */
    struct iscsi_disk *disks;
    size_t n_disks;
};

struct iscsi_sessions {
    struct iscsi_session *list;
    size_t n;
};

/* ERR_CORRUPT: a line that has to have a value has none, or a session lacks its number. */
int iscsi_parse_sessions(const char *text, size_t len, struct arena *a, struct iscsi_sessions *ret,
                         struct err *err) ERR_USED;
/* The session with this target over this portal ("address" or "address:port"); NULL: none. */
const struct iscsi_session *iscsi_find(const struct iscsi_sessions *s, const char *target,
                                       const char *portal);
/* Do two portals mean the same? Port 3260 when there is none; IPv6 with or without brackets. */
bool iscsi_portal_eq(const char *a, const char *b);

/* Settings of an ISCSITarget object, times in milliseconds. Strings may be NULL. */
struct iscsi_settings {
    const char *username; /* NULL: no CHAP */
    const char *password;
    const char *mutual_username; /* NULL: the target does not have to prove itself */
    const char *mutual_password;
    bool header_crc;
    bool data_crc;
    uint64_t replacement_ms;
    uint64_t noop_interval_ms;
    uint64_t noop_timeout_ms;
};

/* The text of a node record with these settings in it: lines that are there are replaced, missing
 * ones added, all others kept. ERR_INVALID: a value that cannot be in a record (line ends, more
 * than 255 bytes), never with the value in the message. ERR_CORRUPT: not a record. *out holds
 * secrets: the caller wipes it. */
int iscsi_record_set(const char *record, size_t len, const struct iscsi_settings *s,
                     struct buf *out, struct err *err) ERR_USED;

#endif
