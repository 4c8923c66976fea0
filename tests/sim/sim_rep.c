/* In the place of raft/rep_env_uv.c and rep_lock.c: the replicated log on a disk in memory that
 * forgets what was not synced, with jobs that take virtual time, over raft's own peer links. */

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "raft/peer.h"
#include "raft/rep_offline.h"
#include "tests/sim/sim_priv.h"
#include "tests/unit/raft_memdisk.h"

#define FILES_MAX 64U
#define JOBS_MAX 256U

struct simdisk {
    struct memdisk md;
    struct rep_disk face; /* what raft/ gets: the same in the world's heap */
    struct machine *m;
    struct rep_file *open[FILES_MAX];
    unsigned slow_ms;
};

struct simjob {
    struct rep_job *job;
    enum rep_lane lane;
    uint64_t no;
};

/* In the heap of the process. */
struct simrep {
    struct proc *p;
    struct rep *rep;
    struct peer_net *net;
    struct simdisk *disk;
    struct simjob jobs[JOBS_MAX];
    size_t n_jobs;
    uint64_t next_job;
    uint64_t lane_at[REP_LANES];
    unsigned heartbeat_ms;
    bool closing;
    bool step_due; /* on_step is posted */
    struct prng prng;
};

/* --- the disk ----------------------------------------------------------------------------------
 */

static struct simdisk *disk_of(struct rep_disk *d)
{
    return CONTAINER_OF(d, struct simdisk, face);
}

static int sd_list(struct rep_disk *d, void (*cb)(void *ctx, const char *name), void *ctx,
                   struct err *err)
{
    return md_list(&disk_of(d)->md.disk, cb, ctx, err);
}

static int sd_open(struct rep_disk *d, const char *name, enum rep_open mode, struct rep_file **ret,
                   struct err *err)
{
    struct simdisk *sd = disk_of(d);
    size_t i = 0;
    int rc;

    SIM_WORLD_BEGIN();
    rc = md_open(&sd->md.disk, name, mode, ret, err);
    SIM_WORLD_END();
    while (rc == 0 && sd->open[i] != NULL) {
        i++;
        CHECK(i < FILES_MAX);
    }
    if (rc == 0) {
        sd->open[i] = *ret;
    }
    return rc;
}

static void sd_close(struct rep_disk *d, struct rep_file *f)
{
    struct simdisk *sd = disk_of(d);

    for (size_t i = 0; f != NULL && i < FILES_MAX; i++) {
        if (sd->open[i] == f) {
            sd->open[i] = NULL;
        }
    }
    md_close(&sd->md.disk, f);
}

static int sd_size(struct rep_disk *d, struct rep_file *f, uint64_t *ret, struct err *err)
{
    return md_size(&disk_of(d)->md.disk, f, ret, err);
}

static int sd_read(struct rep_disk *d, struct rep_file *f, uint64_t off, void *data, size_t len,
                   struct err *err)
{
    return md_read(&disk_of(d)->md.disk, f, off, data, len, err);
}

static int sd_write(struct rep_disk *d, struct rep_file *f, uint64_t off, const void *data,
                    size_t len, bool durable, struct err *err)
{
    int rc;

    SIM_WORLD_BEGIN();
    rc = md_write(&disk_of(d)->md.disk, f, off, data, len, durable, err);
    SIM_WORLD_END();
    return rc;
}

static int sd_sync(struct rep_disk *d, struct rep_file *f, struct err *err)
{
    return md_sync(&disk_of(d)->md.disk, f, err);
}

static int sd_rename(struct rep_disk *d, const char *from, const char *to, struct err *err)
{
    return md_rename(&disk_of(d)->md.disk, from, to, err);
}

static int sd_remove(struct rep_disk *d, const char *name, struct err *err)
{
    return md_remove(&disk_of(d)->md.disk, name, err);
}

static void sd_free(struct rep_disk *d)
{
    (void)d; /* the machine's */
}

struct simdisk *simdisk_new(struct machine *m)
{
    struct simdisk *sd = OBJ_NEW(struct simdisk);

    memdisk_init(&sd->md, &m->prng);
    sd->m = m;
    sd->slow_ms = 2;
    sd->face = (struct rep_disk){ .list = sd_list,
                                  .open = sd_open,
                                  .close = sd_close,
                                  .size = sd_size,
                                  .read = sd_read,
                                  .write = sd_write,
                                  .sync = sd_sync,
                                  .rename = sd_rename,
                                  .remove = sd_remove,
                                  .free = sd_free };
    return sd;
}

static void close_files(struct simdisk *sd)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (sd->open[i] != NULL) {
            md_close(&sd->md.disk, sd->open[i]);
            sd->open[i] = NULL;
        }
    }
}

void simdisk_free(struct simdisk *sd)
{
    close_files(sd);
    memdisk_done(&sd->md);
    free(sd);
}

void sim_disk_slow(struct sim *s, const char *machine, unsigned ms)
{
    struct machine *m = sim_machine(s, machine);

    sim_log(s, "fault: %s: writes take up to %u ms", machine, ms);
    s->stats.faults++;
    machine_hurt(m);
    m->disk->slow_ms = ms == 0 ? 2 : ms;
}

void sim_disk_full(struct sim *s, const char *machine, bool full)
{
    struct machine *m = sim_machine(s, machine);

    sim_log(s, "fault: %s: the disk of the store %s", machine, full ? "is full" : "has room");
    s->stats.faults++;
    machine_hurt(m);
    m->disk->md.room = full ? m->disk->md.used + 1 : 0;
}

/* --- jobs --------------------------------------------------------------------------------------
 */

static void job_drop(struct simrep *r, size_t i)
{
    r->n_jobs--;
    memmove(&r->jobs[i], &r->jobs[i + 1], (r->n_jobs - i) * sizeof(r->jobs[0]));
}

static void on_job(void *arg, uint64_t no)
{
    struct simrep *r = arg;

    for (size_t i = 0; i < r->n_jobs; i++) {
        if (r->jobs[i].no == no) {
            struct rep_job *job = r->jobs[i].job;

            job_drop(r, i);
            job->run(job);
            job->done(job);
            return;
        }
    }
}

static void env_submit(void *ctx, enum rep_lane lane, struct rep_job *job)
{
    struct simrep *r = ctx;
    uint64_t now = sim_world->now;
    uint64_t most = r->disk->slow_ms * (lane == REP_LANE_SNAP ? 100000ULL : 1000ULL);
    uint64_t at = now + 100 + sim_rand(most + 1);

    CHECK(r->n_jobs < JOBS_MAX);
    at = at < r->lane_at[lane] ? r->lane_at[lane] : at;
    r->lane_at[lane] = at;
    r->jobs[r->n_jobs++] = (struct simjob){ .job = job, .lane = lane, .no = ++r->next_job };
    sim_post(r->p, at - now, on_job, r, r->next_job);
}

/* What was under way when the process was killed: written or not; when the power failed: perhaps
 * half. */
static void crash_jobs(struct simrep *r, bool power)
{
    struct memdisk *md = &r->disk->md;
    bool lane_done[REP_LANES] = { false };

    for (size_t i = 0; i < r->n_jobs; i++) {
        struct simjob *j = &r->jobs[i];

        if (lane_done[j->lane] || sim_rand(2) != 0) {
            lane_done[j->lane] = true;
            continue;
        }
        lane_done[j->lane] = true;
        if (power && j->lane == REP_LANE_WAL) {
            md->tear = sim_rand(3) != 0;
        } else if (power) {
            md->freeze_after = 1 + (unsigned)sim_rand(12);
        }
        j->job->run(j->job);
        md->tear = false;
    }
}

void sim_rep_died(struct proc *p, bool power)
{
    struct simdisk *sd = p->m->disk;

    if (p->rep != NULL) {
        struct proc *before = sim_enter(p);

        crash_jobs((struct simrep *)p->loop->internal_fields, power);
        sim_leave(before);
    }
    p->rep = NULL;
    p->loop = NULL;
    close_files(sd);
    sd->md.frozen = false;
    sd->md.freeze_after = 0;
    if (power) {
        memdisk_crash(&sd->md);
    }
}

/* --- the environment ---------------------------------------------------------------------------
 */

static uint64_t env_now(void *ctx)
{
    (void)ctx;
    return clock_now_ms();
}

static uint64_t env_wall(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

static uint64_t env_random(void *ctx)
{
    struct simrep *r = ctx;

    return prng_u64(&r->prng);
}

static bool env_net_send(void *ctx, uint64_t id, const void *frame, size_t len)
{
    struct simrep *r = ctx;

    return r->net != NULL && peer_net_send(r->net, id, frame, len);
}

static bool env_net_up(void *ctx, uint64_t id)
{
    struct simrep *r = ctx;

    return r->net != NULL && peer_net_up(r->net, id);
}

static size_t env_net_queued(void *ctx, uint64_t id)
{
    struct simrep *r = ctx;

    return r->net == NULL ? 0 : peer_net_queued(r->net, id);
}

static void env_net_members(void *ctx, const struct rep_peer_info *peers, size_t n)
{
    struct simrep *r = ctx;

    if (r->net != NULL) {
        peer_net_members(r->net, peers, n);
    }
}

static void on_step(void *arg, uint64_t n)
{
    struct simrep *r = arg;

    (void)n;
    r->step_due = false; /* every event is followed by a step */
}

static void env_step_in(void *ctx, unsigned ms)
{
    struct simrep *r = ctx;

    if (!r->step_due) {
        r->step_due = true;
        sim_post(r->p, machine_delay_us(r->p->m, ms), on_step, r, 0);
    }
}

static void env_die(void *ctx, const char *why)
{
    struct simrep *r = ctx;

    r->p->dying = true;
    (void)str_copy(r->p->why, sizeof(r->p->why), why);
    r->p->rep = NULL; /* no step any more; the process ends after this event */
}

static void env_close(void *ctx)
{
    struct simrep *r = ctx;

    r->closing = true;
}

static void net_on_up(void *ctx, uint64_t id)
{
    struct simrep *r = ctx;

    if (r->rep != NULL) {
        rep_link_up(r->rep, id);
    }
}

static void net_on_down(void *ctx, uint64_t id)
{
    struct simrep *r = ctx;

    if (r->rep != NULL) {
        rep_link_down(r->rep, id);
    }
}

static void net_on_frame(void *ctx, uint64_t id, uint16_t kind, const uint8_t *data, size_t len)
{
    struct simrep *r = ctx;

    if (r->rep != NULL) {
        rep_frame(r->rep, id, kind, data, len);
    }
}

static void on_tick(void *arg, uint64_t n)
{
    struct simrep *r = arg;

    if (r->closing) {
        return;
    }
    sim_post(r->p, machine_delay_us(r->p->m, r->heartbeat_ms), on_tick, r, n);
    peer_net_tick(r->net);
    rep_tick(r->rep);
}

static struct rep_env env_table(struct simrep *r)
{
    return (struct rep_env){
        .ctx = r,
        .now_ms = env_now,
        .wall_ms = env_wall,
        .random = env_random,
        .submit = env_submit,
        .net_send = env_net_send,
        .net_up = env_net_up,
        .net_queued = env_net_queued,
        .net_members = env_net_members,
        .step_in = env_step_in,
        .die = env_die,
        .close = env_close,
        .disk = &r->disk->face,
        .segment_min = 64U << 10,
        .apply_slice = 8U << 10,
        .shed_keep = 32U << 10,
    };
}

static int open_net(struct simrep *r, const struct rep_params *p, struct err *err)
{
    struct peer_opts opts = {
        .loop = p->loop,
        .listen = p->listen,
        .id = p->id,
        .name = p->name,
        .cluster = p->cluster,
        .heartbeat_ms = p->heartbeat_ms,
        .election_ms = p->election_ms,
        .ctx = r,
        .on_up = net_on_up,
        .on_down = net_on_down,
        .on_frame = net_on_frame,
    };

    return peer_net_open(&opts, &r->net, err);
}

int rep_open(const struct rep_params *params, struct rep **ret, struct err *err)
{
    struct proc *p = params->loop->data;
    struct simrep *r = OBJ_NEW(struct simrep);
    struct rep_params mine = *params;
    struct rep_env table;
    int rc;

    r->p = p;
    r->prng = machine_prng(p->m, 3, ++p->m->picketds);
    r->disk = p->m->disk;
    r->heartbeat_ms = params->heartbeat_ms;
    p->loop->internal_fields = r;
    mine.segment_bytes = 256U << 10;
    mine.snapshot_bytes = 512U << 10;
    mine.fsm = check_wrap_fsm(p, &params->fsm);
    mine.events = check_wrap_events(p, &params->events);
    rc = open_net(r, &mine, err);
    if (rc != 0) {
        return rc;
    }
    table = env_table(r);
    rc = rep_open_env(&mine, &table, &r->rep, err);
    if (rc == 0) {
        *ret = p->rep = r->rep;
        sim_post(p, machine_delay_us(p->m, 1), on_tick, r, 0);
    }
    return rc;
}

int rep_bootstrap(const char *dir, const struct rep_member *members, size_t n, struct err *err)
{
    (void)dir;
    return rep_bootstrap_disk(&sim_world->cur->m->disk->face, members, n, err);
}

int rep_dir_lock(const char *dir, bool make, int *ret_fd, struct err *err)
{
    (void)dir;
    (void)make;
    (void)err;
    *ret_fd = -1;
    return 0;
}
