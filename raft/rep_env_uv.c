#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "raft/peer.h"
#include "raft/rep_env.h"

/* The real world: libuv for time and links, a thread for each lane, POSIX files. */

struct lane {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct rep_job *head, **tail;
    bool stop;
    int nice;
    struct uv_env *env;
};

/* A snapshot takes seconds of a processor and nobody waits for it. */
#define SNAP_NICE 15

struct uv_env {
    struct rep *rep;
    struct rep_disk *disk;
    struct peer_net *net;
    struct lane lanes[REP_LANES];
    pthread_mutex_t done_lock;
    struct rep_job *done, **done_tail;
    struct rep_job *here; /* run on the loop, not told yet */
    uv_async_t async;
    uv_timer_t timer, step_timer;
    uv_prepare_t prepare;
    uv_check_t check;
    unsigned handles; /* not closed yet */
    bool closing, released;
    struct prng prng;
};

/* --- lanes --- */

static struct rep_job *lane_next(struct lane *l)
{
    struct rep_job *job;

    (void)pthread_mutex_lock(&l->lock);
    while (l->head == NULL && !l->stop) {
        (void)pthread_cond_wait(&l->wake, &l->lock);
    }
    job = l->head;
    if (job != NULL) {
        l->head = job->next;
        if (l->head == NULL) {
            l->tail = &l->head;
        }
    }
    (void)pthread_mutex_unlock(&l->lock);
    return job;
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    struct uv_env *e = l->env;
    struct rep_job *job;

    /* Of this thread alone (setpriority(2), "C library/kernel differences"). */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + l->nice);
    while ((job = lane_next(l)) != NULL) {
        job->run(job);
        (void)pthread_mutex_lock(&e->done_lock);
        job->next = NULL;
        *e->done_tail = job;
        e->done_tail = &job->next;
        (void)pthread_mutex_unlock(&e->done_lock);
        (void)uv_async_send(&e->async);
    }
    return NULL;
}

/* One at a time, as on the log's lane. */
static void env_run_here(struct uv_env *e, struct rep_job *job)
{
    CHECK(e->here == NULL);
    job->run(job);
    e->here = job;
}

static void env_submit(void *ctx, enum rep_lane lane, struct rep_job *job)
{
    struct uv_env *e = ctx;
    struct lane *l;

    if (e->closing) { /* the threads are gone; env_run_done goes on until nothing is left */
        job->run(job);
        job->next = NULL;
        *e->done_tail = job;
        e->done_tail = &job->next;
        return;
    }
    if (lane == REP_LANE_HERE) {
        env_run_here(e, job);
        return;
    }
    l = &e->lanes[lane];
    (void)pthread_mutex_lock(&l->lock);
    job->next = NULL;
    *l->tail = job;
    l->tail = &job->next;
    (void)pthread_mutex_unlock(&l->lock);
    (void)pthread_cond_signal(&l->wake); /* who wakes up finds the lock free */
}

static void env_run_done(struct uv_env *e)
{
    struct rep_job *job;

    for (;;) {
        (void)pthread_mutex_lock(&e->done_lock);
        job = e->done;
        if (job != NULL) {
            e->done = job->next;
            if (e->done == NULL) {
                e->done_tail = &e->done;
            }
        }
        (void)pthread_mutex_unlock(&e->done_lock);
        if (job == NULL) {
            return;
        }
        job->done(job);
    }
}

static void lane_start(struct uv_env *e, struct lane *l)
{
    l->env = e;
    l->nice = l == &e->lanes[REP_LANE_SNAP] ? SNAP_NICE : 0;
    l->tail = &l->head;
    CHECK(pthread_mutex_init(&l->lock, NULL) == 0);
    CHECK(pthread_cond_init(&l->wake, NULL) == 0);
    CHECK(pthread_create(&l->thread, NULL, lane_main, l) == 0);
}

static void lane_stop(struct lane *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->stop = true;
    (void)pthread_cond_signal(&l->wake);
    (void)pthread_mutex_unlock(&l->lock);
    CHECK(pthread_join(l->thread, NULL) == 0);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->lock);
}

/* --- the loop --- */

static void env_on_async(uv_async_t *h)
{
    env_run_done(h->data);
}

static void env_on_timer(uv_timer_t *h)
{
    struct uv_env *e = h->data;

    if (e->rep != NULL && e->net != NULL) {
        peer_net_tick(e->net);
        rep_tick(e->rep);
    }
}

static bool env_here_done(struct uv_env *e)
{
    struct rep_job *job = e->here;

    e->here = NULL;
    if (job != NULL) {
        job->done(job);
    }
    return job != NULL;
}

/* What was written here makes the next step's work, like an answer to the leader. */
static void env_step(struct uv_env *e)
{
    do {
        if (e->rep != NULL) {
            rep_step(e->rep);
        }
    } while (env_here_done(e));
}

/* The step itself is the prepare handle's. */
static void env_on_step_timer(uv_timer_t *h)
{
    (void)h;
}

static void env_step_in(void *ctx, unsigned ms)
{
    struct uv_env *e = ctx;

    if (ms == 0 || !uv_is_active((uv_handle_t *)&e->step_timer)) {
        CHECK(uv_timer_start(&e->step_timer, env_on_step_timer, ms, 0) == 0);
    }
}

static void env_on_prepare(uv_prepare_t *h)
{
    env_step(h->data);
}

static void env_on_check(uv_check_t *h)
{
    env_step(h->data);
}

/* --- struct rep_env --- */

static uint64_t env_now(void *ctx)
{
    (void)ctx;
    return clock_now_ms();
}

static uint64_t env_now_us(void *ctx)
{
    (void)ctx;
    return clock_now_us();
}

static uint64_t env_wall(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

static uint64_t env_random(void *ctx)
{
    struct uv_env *e = ctx;

    return prng_u64(&e->prng);
}

static bool env_net_send(void *ctx, uint64_t id, const void *frame, size_t len)
{
    struct uv_env *e = ctx;

    return e->net != NULL && peer_net_send(e->net, id, frame, len);
}

static bool env_net_up(void *ctx, uint64_t id)
{
    struct uv_env *e = ctx;

    return e->net != NULL && peer_net_up(e->net, id);
}

static size_t env_net_queued(void *ctx, uint64_t id)
{
    struct uv_env *e = ctx;

    return e->net == NULL ? 0 : peer_net_queued(e->net, id);
}

static void env_net_members(void *ctx, const struct rep_peer_info *peers, size_t n)
{
    struct uv_env *e = ctx;

    if (e->net != NULL) {
        peer_net_members(e->net, peers, n);
    }
}

static void env_net_epoch(void *ctx, uint64_t epoch)
{
    struct uv_env *e = ctx;

    if (e->net != NULL) {
        peer_net_epoch(e->net, epoch);
    }
}

static void env_die(void *ctx, const char *why)
{
    (void)ctx;
    lg_err("raft", "msg=\"this process ends\" err=\"%s\"", why);
    _exit(1);
}

static void env_free_if_done(struct uv_env *e)
{
    if (e->released && e->handles == 0) {
        free(e);
    }
}

static void env_on_closed(uv_handle_t *h)
{
    struct uv_env *e = h->data;

    e->handles--;
    env_free_if_done(e);
}

static void env_close(void *ctx)
{
    struct uv_env *e = ctx;

    peer_net_close(e->net);
    e->net = NULL;
    e->rep = NULL;
    for (size_t i = 0; i < REP_LANES; i++) {
        lane_stop(&e->lanes[i]);
    }
    e->closing = true;
    (void)env_here_done(e);
    env_run_done(e);
    (void)pthread_mutex_destroy(&e->done_lock);
    uv_close((uv_handle_t *)&e->async, env_on_closed);
    uv_close((uv_handle_t *)&e->timer, env_on_closed);
    uv_close((uv_handle_t *)&e->step_timer, env_on_closed);
    uv_close((uv_handle_t *)&e->prepare, env_on_closed);
    uv_close((uv_handle_t *)&e->check, env_on_closed);
}

static void env_free(void *ctx)
{
    struct uv_env *e = ctx;

    e->disk->free(e->disk);
    e->released = true;
    env_free_if_done(e);
}

static void net_on_up(void *ctx, uint64_t id)
{
    struct uv_env *e = ctx;

    if (e->rep != NULL) {
        rep_link_up(e->rep, id);
    }
}

static void net_on_down(void *ctx, uint64_t id)
{
    struct uv_env *e = ctx;

    if (e->rep != NULL) {
        rep_link_down(e->rep, id);
    }
}

static void net_on_newer_epoch(void *ctx, uint64_t epoch, const char *name)
{
    struct uv_env *e = ctx;

    if (e->rep != NULL) {
        rep_newer_epoch(e->rep, epoch, name);
    }
}

static void net_on_frame(void *ctx, uint64_t id, uint16_t kind, const uint8_t *data, size_t len)
{
    struct uv_env *e = ctx;

    if (e->rep != NULL) {
        rep_frame(e->rep, id, kind, data, len);
    }
}

/* --- opening --- */

static void env_start(struct uv_env *e, uv_loop_t *loop, unsigned heartbeat_ms)
{
    uint64_t seed;

    clock_random(&seed, sizeof(seed));
    prng_init(&e->prng, seed);
    e->done_tail = &e->done;
    CHECK(pthread_mutex_init(&e->done_lock, NULL) == 0);
    CHECK(uv_async_init(loop, &e->async, env_on_async) == 0);
    CHECK(uv_timer_init(loop, &e->timer) == 0);
    CHECK(uv_timer_init(loop, &e->step_timer) == 0);
    CHECK(uv_prepare_init(loop, &e->prepare) == 0);
    CHECK(uv_check_init(loop, &e->check) == 0);
    e->handles = 5;
    e->async.data = e->timer.data = e->step_timer.data = e->prepare.data = e->check.data = e;
    CHECK(uv_timer_start(&e->timer, env_on_timer, heartbeat_ms, heartbeat_ms) == 0);
    CHECK(uv_prepare_start(&e->prepare, env_on_prepare) == 0);
    CHECK(uv_check_start(&e->check, env_on_check) == 0);
    for (size_t i = 0; i < REP_LANES; i++) {
        lane_start(e, &e->lanes[i]);
    }
}

static struct rep_env env_table(struct uv_env *e)
{
    return (struct rep_env){
        .ctx = e,
        .now_ms = env_now,
        .now_us = env_now_us,
        .wall_ms = env_wall,
        .random = env_random,
        .submit = env_submit,
        .net_send = env_net_send,
        .net_up = env_net_up,
        .net_queued = env_net_queued,
        .net_members = env_net_members,
        .net_epoch = env_net_epoch,
        .step_in = env_step_in,
        .die = env_die,
        .close = env_close,
        .free = env_free,
        .disk = e->disk,
    };
}

static int env_open_net(struct uv_env *e, const struct rep_params *p, struct err *err)
{
    struct peer_opts opts = {
        .loop = p->loop,
        .listen = p->listen,
        .tls = p->tls,
        .id = p->id,
        .name = p->name,
        .cluster = p->cluster,
        .epoch = p->epoch,
        .heartbeat_ms = p->heartbeat_ms,
        .election_ms = p->election_ms,
        .ctx = e,
        .on_up = net_on_up,
        .on_down = net_on_down,
        .on_frame = net_on_frame,
        .on_newer_epoch = net_on_newer_epoch,
    };

    return peer_net_open(&opts, &e->net, err);
}

int rep_open(const struct rep_params *params, struct rep **ret, struct err *err)
{
    struct rep_env table;
    struct uv_env *e;
    int rc;

    if (params->loop == NULL || params->listen == NULL || params->heartbeat_ms == 0) {
        return err_set(err, ERR_INVALID, "the replicated log needs loop, listen and heartbeat");
    }
    e = OBJ_NEW(struct uv_env);
    rc = rep_disk_posix(params->dir, &e->disk, err);
    if (rc != 0) {
        free(e);
        return rc;
    }
    env_start(e, params->loop, params->heartbeat_ms);
    table = env_table(e);
    rc = env_open_net(e, params, err);
    if (rc != 0) {
        env_close(e);
        env_free(e);
        return rc;
    }
    rc = rep_open_env(params, &table, &e->rep, err);
    if (rc == 0) {
        *ret = e->rep;
    }
    return rc; /* on failure rep_open_env has closed and freed the environment */
}

int rep_bootstrap(const char *dir, const struct rep_member *members, size_t n, struct err *err)
{
    struct rep_disk *disk;
    int rc;

    rc = rep_disk_posix(dir, &disk, err);
    if (rc != 0) {
        return rc;
    }
    rc = rep_bootstrap_disk(disk, members, n, err);
    disk->free(disk);
    return rc == 0 ? 0 : err_wrap(err, "%s", dir);
}
