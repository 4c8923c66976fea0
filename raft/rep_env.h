#ifndef RAFT_REP_ENV_H
#define RAFT_REP_ENV_H

/* What the replicated log needs from the world: time, randomness, threads, files and peers.
 *
 * rep_env_uv.c gives the real world (libuv, threads, POSIX files, TLS); the simulator gives its
 * own, with virtual time, lossy peers and a disk that crashes.  Nothing else below raft/ reads a
 * clock, opens a file or knows libuv.
 *
 * Threads: every function here is called on the loop's thread, but the functions of struct
 * rep_disk, which block and are called on the loop's thread while the log is opened and on a lane's
 * thread afterwards.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "raft/rep.h"

/* Work is done in order within a lane; different lanes run side by side. */
enum rep_lane {
    REP_LANE_WAL,  /* writes of the log, nothing else: their latency is the commit's */
    REP_LANE_FILE, /* preparing segments, chunks of snapshots that are sent or received */
    REP_LANE_SNAP, /* writing a snapshot: may take long */
    /* Not a thread: the loop's own, before submit returns.  Only for jobs that the caller would
     * have on REP_LANE_WAL, none of which is there. */
    REP_LANE_HERE,
};
#define REP_LANES 3 /* threads */

struct rep_job {
    void (*run)(struct rep_job *job);  /* on the lane's thread */
    void (*done)(struct rep_job *job); /* on the loop's thread, afterwards */
    struct rep_job *next;              /* the lane's */
};

struct rep_file; /* an open file of a rep_disk */

enum rep_open {
    REP_OPEN_READ,  /* must exist */
    REP_OPEN_WRITE, /* must exist; also readable */
    REP_OPEN_NEW,   /* empty; an old one is cut to nothing */
};

/* A flat directory of files.  Every failure sets err with the file's name in it. */
struct rep_disk {
    /* Calls cb for each file name, in no order. */
    int (*list)(struct rep_disk *d, void (*cb)(void *ctx, const char *name), void *ctx,
                struct err *err);
    int (*open)(struct rep_disk *d, const char *name, enum rep_open mode, struct rep_file **ret,
                struct err *err);
    void (*close)(struct rep_disk *d, struct rep_file *f);
    int (*size)(struct rep_disk *d, struct rep_file *f, uint64_t *ret, struct err *err);
    /* Exactly len bytes; ERR_CORRUPT when the file ends before. */
    int (*read)(struct rep_disk *d, struct rep_file *f, uint64_t off, void *data, size_t len,
                struct err *err);
    /* durable: the bytes are on the medium when this returns 0. */
    int (*write)(struct rep_disk *d, struct rep_file *f, uint64_t off, const void *data, size_t len,
                 bool durable, struct err *err);
    int (*sync)(struct rep_disk *d, struct rep_file *f, struct err *err);
    /* Both change the directory durably.  rename replaces `to`; remove of nothing is fine. */
    int (*rename)(struct rep_disk *d, const char *from, const char *to, struct err *err);
    int (*remove)(struct rep_disk *d, const char *name, struct err *err);
    void (*free)(struct rep_disk *d); /* NULL is allowed */
};

struct rep_env {
    void *ctx;
    uint64_t (*now_ms)(void *ctx);  /* monotonic */
    uint64_t (*now_us)(void *ctx);  /* any thread; NULL: writes are not timed */
    uint64_t (*wall_ms)(void *ctx); /* since 1970 */
    uint64_t (*random)(void *ctx);
    /* Run the job on the lane; done is called later, never from within this call. */
    void (*submit)(void *ctx, enum rep_lane lane, struct rep_job *job);
    /* One whole frame (raft/frame_codec.h) to a peer, copied.  False: no link, nothing was sent. */
    bool (*net_send)(void *ctx, uint64_t id, const void *frame, size_t len);
    bool (*net_up)(void *ctx, uint64_t id);
    size_t (*net_queued)(void *ctx, uint64_t id); /* bytes not yet given to the network */
    /* The members changed: keep links with these (this node may be among them). */
    void (*net_members)(void *ctx, const struct rep_peer_info *peers, size_t n);
    /* Links are of this cluster epoch from now on; NULL: it does not matter there. */
    void (*net_epoch)(void *ctx, uint64_t epoch);
    /* Have rep_step called in about so many ms, or before that, when a call was made already;
     * NULL: nothing is put off. */
    void (*step_in)(void *ctx, unsigned ms);
    /* This process must end: nothing more may be acknowledged.  The real one does not return; after
     * the simulator's has returned, the node ignores every call but rep_free. */
    void (*die)(void *ctx, const char *why);
    /* Called by rep_free: stop links and timers, finish every job that was submitted (run and done;
     * done may submit again), deliver nothing afterwards. */
    void (*close)(void *ctx);
    void (*free)(void *ctx); /* the last call of all; NULL is allowed */
    struct rep_disk *disk;
    /* Smallest allowed log file, 0: 4 MiB.  The simulator, with small commands, uses less. */
    uint64_t segment_min;
    /* Bytes of commands given to the state machine in one step, 0: 256 KiB; likewise. */
    size_t apply_slice;
    /* Bytes of applied entries' data that stay in memory, 0: 4 MiB; likewise. */
    size_t shed_keep;
};

/* POSIX files of one directory, made if missing.  Owned by the caller (disk->free). */
int rep_disk_posix(const char *dir, struct rep_disk **ret, struct err *err) ERR_USED;

/* Open on any environment: params->loop, listen and tls are not looked at, env is copied and
 * belongs to the log from now on: on failure it is closed and freed too. */
int rep_open_env(const struct rep_params *params, const struct rep_env *env, struct rep **ret,
                 struct err *err) ERR_USED;
/* rep_bootstrap on any disk. */
int rep_bootstrap_disk(struct rep_disk *disk, const struct rep_member *members, size_t n,
                       struct err *err) ERR_USED;

/* What the environment calls.  rep_step must follow every batch of events (and calls of rep.h)
 * before the loop sleeps: it sends what was collected and runs the callbacks that are due. */
void rep_tick(struct rep *r); /* every params->heartbeat_ms */
void rep_step(struct rep *r);
void rep_link_up(struct rep *r, uint64_t id);
void rep_link_down(struct rep *r, uint64_t id);
void rep_newer_epoch(struct rep *r, uint64_t epoch, const char *name);
/* One frame whose header and checksum were verified (frame_next). */
void rep_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len);

#endif
