#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/addrmap.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/dev_drv_priv.h"

/* Live migration of dev guests (docs/migration.md).
 *
 * Source: the guest writes itself into the FIFO "VM.state.mig"; that is copied into the move.  The
 * end of the FIFO comes when the guest stands still (its state file says so) or has given up.
 * Target: picket-guest --receive reads the move's other end, and stops itself when it is whole.
 * Nothing here makes the source go on or the target run: RESUME and UNPAUSE do. */

#define CHUNK 65536U
#define PORT_DEFAULT 7445U
#define GUEST_SEND (SIGRTMIN + 2)
#define GUEST_RESUME (SIGRTMIN + 3)

enum stage {
    MIG_WAIT = 1, /* for the other host */
    MIG_SEND,     /* the guest sends, then stands still */
    MIG_RESULT,   /* everything was sent: is it whole there? */
    MIG_LAUNCH,   /* picket-guest receives */
    MIG_TOLD,     /* whole here; the other host is being told */
    MIG_OVER,
};

/* --- ends --------------------------------------------------------------------------------------
 */

static void forget(struct dev_job *j)
{
    struct dev_job **p = &j->d->migs;

    while (*p != j) {
        CHECK(*p != NULL);
        p = &(*p)->mig_next;
    }
    *p = j->mig_next;
    if (j->move != NULL) {
        xen_move_end(j->move);
        j->move = NULL;
    }
    free(j->chunk);
    j->chunk = NULL;
    j->mig_stage = MIG_OVER;
}

static void done(struct dev_job *j)
{
    dev_dom_see(j->d, j->job->vm);
    forget(j);
    dev_job_done(j);
}

static void fail(struct dev_job *j, int code, const char *why)
{
    char text[ERR_MSG_MAX];

    (void)str_copy(text, sizeof(text), why); /* it may be the move's */
    dev_dom_see(j->d, j->job->vm);
    forget(j);
    (void)dev_job_fail(j, code, "%s", text);
}

/* "IP:PORT" as declared, to where it really is; a host that declares nothing is known by name. */
static int resolve(const char *address, const char *host, char *dst, size_t size, struct err *err)
{
    const char *colon = strrchr(address, ':');
    uint64_t port = PORT_DEFAULT;
    char ip[256];
    struct err missing;

    if (colon == NULL || (size_t)(colon - address) >= sizeof(ip) ||
        !str_parse_u64(colon + 1, &port) || port == 0 || port > 65535) {
        return err_set(err, ERR_INVALID, "\"%s\" is not an address and a port", address);
    }
    memcpy(ip, address, (size_t)(colon - address));
    ip[colon - address] = '\0';
    if (addr_resolve(ip, (uint16_t)port, ADDR_TCP, dst, size, err) == 0 ||
        addr_resolve(host, PORT_DEFAULT, ADDR_TCP, dst, size, &missing) == 0) {
        return 0;
    }
    return err->code;
}

static bool begin(struct dev_drv *d, struct dev_job *j, bool send)
{
    const struct drv_job *job = j->job;
    struct xen_move_req req = { .send = send,
                                .vm = job->vm,
                                .uid = job->uid,
                                .migration = job->migration,
                                .peer = job->peer,
                                .bandwidth = job->bandwidth };
    char real[64];
    struct err err;

    if (d->mover == NULL) {
        (void)dev_job_fail(j, ERR_UNSUPPORTED, "this agent has no certificate to migrate with");
        return false;
    }
    if (job->uid == NULL || job->migration == NULL || job->peer == NULL ||
        job->peer_address == NULL) {
        (void)dev_job_fail(j, ERR_INVALID,
                           "a migration needs its name, the other host and an address");
        return false;
    }
    if (resolve(job->peer_address, send ? job->peer : d->host, real, sizeof(real), &err) != 0) {
        (void)dev_job_fail(j, ERR_DRIVER, "%s", err.msg);
        return false;
    }
    req.address = real;
    j->move = xen_move_begin(d->mover, &req, &j->move_fd);
    j->mig_stage = MIG_WAIT;
    j->mig_seen = XEN_MOVE_WAIT;
    j->mig_next = d->migs;
    d->migs = j;
    return true;
}

/* --- source ------------------------------------------------------------------------------------
 */

static char *fifo_path(const struct dev_drv *d, const char *vm)
{
    char *state = dev_state_path(d, vm);
    char *path = mem_printf("%s.mig", state);

    free(state);
    return path;
}

static bool suspended(struct dev_job *j, uint64_t *ret_since_ms)
{
    char *path = dev_state_path(j->d, j->job->vm);
    struct dev_state s;
    struct err err;
    bool yes = dev_state_read(path, &s, &err) == 0;

    free(path);
    if (yes) {
        yes = s.suspended;
        *ret_since_ms = s.suspended_ms;
        dev_state_done(&s);
    }
    return yes;
}

/* The guest takes the FIFO away when it has done with it; one that does not in time is told that
 * nobody reads. */
static void wait_for_guest(struct dev_job *j)
{
    struct timespec moment = { 0, 2000000 };
    struct dev_guest *g = dev_dom_watched(j->d, j->job->vm);
    char *path = fifo_path(j->d, j->job->vm);

    for (int i = 0; i < 100 && g != NULL && access(path, F_OK) == 0; i++) {
        (void)nanosleep(&moment, NULL);
    }
    if (g != NULL && access(path, F_OK) == 0) {
        (void)dev_dom_send_signal(g, GUEST_RESUME);
    }
    (void)unlink(path);
    free(path);
}

/* Both pipes have closed: the guest has sent everything, or nothing more comes. */
static void on_pipes_closed(uv_handle_t *h)
{
    struct dev_job *j = h->data;
    bool stands;

    if (--j->open > 0) {
        return;
    }
    wait_for_guest(j);
    stands = suspended(j, &j->suspended_ms);
    if (j->mig_code == 0 && stands) {
        xen_move_eof(j->move);
        j->mig_stage = MIG_RESULT;
        dev_dom_see(j->d, j->job->vm);
        (void)uv_async_send(&j->d->moved); /* the answer may have come already */
        return;
    }
    if (stands) {
        fail(j, ERR_UNKNOWN_OUTCOME, "the guest stands still here and is perhaps whole there");
    } else {
        fail(j, j->mig_code == 0 ? ERR_DRIVER : j->mig_code,
             j->mig_code == ERR_CANCELED ? "the migration was called back"
                                         : "the connection with the other host broke");
    }
}

static void close_pipes(struct dev_job *j)
{
    if (!uv_is_closing((uv_handle_t *)&j->fifo)) {
        uv_close((uv_handle_t *)&j->fifo, on_pipes_closed);
        uv_close((uv_handle_t *)&j->wire, on_pipes_closed);
    }
}

static void on_fifo_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct dev_job *j = h->data;

    (void)suggested;
    *buf = uv_buf_init(j->chunk, CHUNK);
}

static void on_fifo(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static void on_wired(uv_write_t *w, int status)
{
    struct dev_job *j = w->data;

    if (uv_is_closing((uv_handle_t *)&j->fifo)) {
        return;
    }
    if (status < 0) {
        j->mig_code = ERR_DRIVER;
        close_pipes(j);
    } else if (uv_read_start((uv_stream_t *)&j->fifo, on_fifo_alloc, on_fifo) != 0) {
        close_pipes(j);
    }
}

static void on_fifo(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct dev_job *j = s->data;
    uv_buf_t b;

    (void)buf;
    if (n == 0) {
        return;
    }
    if (n < 0) {
        close_pipes(j);
        return;
    }
    (void)uv_read_stop(s); /* one piece at a time: a slow wire slows the guest's sending down */
    b = uv_buf_init(j->chunk, (unsigned)n);
    j->write.data = j;
    if (uv_write(&j->write, (uv_stream_t *)&j->wire, &b, 1, on_wired) != 0) {
        j->mig_code = ERR_DRIVER;
        close_pipes(j);
    }
}

static int open_fifo(struct dev_job *j)
{
    char *path = fifo_path(j->d, j->job->vm);
    int fd;

    (void)unlink(path);
    fd = mkfifo(path, 0600) != 0 ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    free(path);
    return fd;
}

static void send_guest(struct dev_job *j)
{
    struct dev_drv *d = j->d;
    struct dev_guest *g = dev_dom_watched(d, j->job->vm);
    int fd = g == NULL ? -1 : open_fifo(j);
    int wire = fd < 0 ? -1 : fcntl(j->move_fd, F_DUPFD_CLOEXEC, 0);

    if (wire < 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        fail(j, ERR_DRIVER, g == NULL ? "it does not run here" : strerror(errno));
        return;
    }
    j->chunk = mem_alloc(CHUNK);
    CHECK(uv_pipe_init(d->loop, &j->fifo, 0) == 0);
    CHECK(uv_pipe_init(d->loop, &j->wire, 0) == 0);
    CHECK(uv_pipe_open(&j->fifo, fd) == 0);
    CHECK(uv_pipe_open(&j->wire, wire) == 0);
    j->fifo.data = j->wire.data = j;
    j->open = 2;
    j->mig_stage = MIG_SEND;
    CHECK(uv_read_start((uv_stream_t *)&j->fifo, on_fifo_alloc, on_fifo) == 0);
    if (dev_dom_send_signal(g, GUEST_SEND) != 0) {
        close_pipes(j);
    }
}

/* A source that has not sent its last piece goes on by itself when nobody reads any more. */
static void call_off(struct dev_job *j, int code)
{
    j->mig_code = code;
    close_pipes(j);
}

static void resume(struct dev_drv *d, struct dev_job *j)
{
    struct dev_guest *g = dev_dom_watched(d, j->job->vm);
    struct timespec moment = { 0, 2000000 };
    uint64_t since;

    if (dev_job_too_late(j)) {
        (void)dev_job_fail(j, ERR_TIMEOUT, "%s may not go on any more", j->job->vm);
        return;
    }
    if (g == NULL || dev_dom_send_signal(g, GUEST_RESUME) != 0) {
        (void)dev_job_fail(j, ERR_DRIVER, "%s does not run on %s", j->job->vm, d->host);
        return;
    }
    for (int i = 0; i < 100 && suspended(j, &since); i++) {
        (void)nanosleep(&moment, NULL); /* it writes that down within a moment */
    }
    dev_dom_see(d, j->job->vm);
    if (suspended(j, &since)) {
        (void)dev_job_fail(j, ERR_UNKNOWN_OUTCOME, "%s does not go on", j->job->vm);
    } else {
        dev_job_done(j);
    }
}

static void source_moved(struct dev_job *j, enum xen_move_state st, const struct err *err)
{
    if (j->mig_stage == MIG_WAIT && st == XEN_MOVE_READY) {
        send_guest(j);
    } else if (j->mig_stage == MIG_WAIT && st == XEN_MOVE_FAILED) {
        fail(j, ERR_DRIVER, err->msg);
    } else if (j->mig_stage == MIG_SEND && st == XEN_MOVE_FAILED) {
        call_off(j, ERR_DRIVER);
    } else if (j->mig_stage == MIG_RESULT && st == XEN_MOVE_FAILED) {
        fail(j, ERR_UNKNOWN_OUTCOME, err->msg);
    } else if (j->mig_stage == MIG_RESULT && st == XEN_MOVE_DONE) {
        done(j);
    }
}

/* --- target ------------------------------------------------------------------------------------
 */

static void receive(struct dev_job *j)
{
    j->mig_stage = MIG_LAUNCH;
    dev_dom_launch(j->d, j, j->move_fd);
    if (j->failed && j->mig_stage != MIG_OVER) {
        forget(j); /* its disks are not there; the job is over */
    }
}

void dev_mig_launched(struct dev_drv *d, struct dev_job *j)
{
    struct dev_guest *g;

    if (j->aborted) {
        fail(j, ERR_UNKNOWN_OUTCOME, "receiving it was aborted");
        return;
    }
    if (j->status != 0 || !str_starts(j->text, "ok ")) {
        const char *why = j->text[0] != '\0' ? j->text : "picket-guest ended without a word";

        xen_move_finish(j->move, false, why);
        fail(j, ERR_DRIVER, why);
        return;
    }
    g = dev_dom_watched(d, j->job->vm);
    if (g != NULL) {
        dev_dom_settle(g, true);
    }
    dev_dom_see(d, j->job->vm);
    xen_move_finish(j->move, true, "");
    j->mig_stage = MIG_TOLD;
    (void)uv_async_send(&d->moved);
}

static void target_moved(struct dev_job *j, enum xen_move_state st, const struct err *err)
{
    if (j->mig_stage == MIG_WAIT && st == XEN_MOVE_READY) {
        receive(j);
    } else if (j->mig_stage == MIG_WAIT && st == XEN_MOVE_FAILED) {
        fail(j, ERR_DRIVER, err->msg);
    } else if (j->mig_stage == MIG_TOLD && (st == XEN_MOVE_DONE || st == XEN_MOVE_FAILED)) {
        done(j); /* whether or not the source heard it: it is whole, and paused */
    }
}

/* --- all ---------------------------------------------------------------------------------------
 */

static void on_moved(uv_async_t *a)
{
    struct dev_drv *d = a->data;
    struct dev_job *next;

    for (struct dev_job *j = d->migs; j != NULL; j = next) {
        struct err err;
        enum xen_move_state st = xen_move_look(j->move, &err);

        next = j->mig_next;
        if (j->job->op == DRV_MIG_RECEIVE) {
            target_moved(j, st, &err);
        } else {
            source_moved(j, st, &err);
        }
    }
}

static void on_notify(void *ctx)
{
    struct dev_drv *d = ctx;

    (void)uv_async_send(&d->moved);
}

void dev_mig_open(struct dev_drv *d, const struct dev_drv_opts *opts)
{
    struct xen_mover_opts o = { .tls_cert = opts->tls_cert,
                                .tls_key = opts->tls_key,
                                .tls_ca = opts->tls_ca,
                                .notify = on_notify,
                                .ctx = d };
    struct err err;

    CHECK(uv_async_init(d->loop, &d->moved, on_moved) == 0);
    d->moved.data = d;
    if (xen_mover_new(&o, &d->mover, &err) != 0) {
        lg_warn("dev", "err=\"%s\" msg=\"guests cannot migrate live\"", err.msg);
        d->mover = NULL;
    }
}

void dev_mig_abort(struct dev_drv *d, struct dev_job *j)
{
    (void)d;
    switch ((enum stage)j->mig_stage) {
    case MIG_WAIT:
        fail(j, ERR_CANCELED, "the migration was called back before it began");
        return;
    case MIG_SEND:
        call_off(j, ERR_CANCELED);
        return;
    case MIG_RESULT:
        fail(j, ERR_UNKNOWN_OUTCOME,
             "aborted when everything was sent; the guest stands still here and is perhaps whole "
             "there");
        return;
    case MIG_LAUNCH:
        (void)uv_process_kill(&j->process, SIGKILL);
        xen_move_finish(j->move, false, "called back");
        return;
    case MIG_TOLD:
        done(j);
        return;
    case MIG_OVER:
        return;
    }
    CHECK_UNREACHABLE();
}

void dev_mig_close(struct dev_drv *d)
{
    while (d->migs != NULL) {
        struct dev_job *j = d->migs;

        if (j->mig_stage == MIG_SEND || j->mig_stage == MIG_LAUNCH) {
            break; /* ends by itself when its pipes have closed */
        }
        fail(j, ERR_UNKNOWN_OUTCOME, "the driver is being closed");
    }
    for (struct dev_job *j = d->migs; j != NULL; j = j->mig_next) {
        dev_mig_abort(d, j);
    }
}

void dev_mig_job(struct dev_drv *d, struct dev_job *j)
{
    if (j->job->op == DRV_MIG_RESUME) {
        resume(d, j);
    } else if (j->job->op == DRV_MIG_SUSPEND) {
        if (dev_dom_watched(d, j->job->vm) == NULL) {
            (void)dev_job_fail(j, ERR_DRIVER, "%s does not run on %s", j->job->vm, d->host);
        } else {
            (void)begin(d, j, true);
        }
    } else {
        (void)begin(d, j, false);
    }
}
