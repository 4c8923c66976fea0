#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/dev_drv_priv.h"

/* Guests.  A guest that runs is watched through its pidfd; one whose process is gone is Stopped for
 * the reason that it wrote down, or Vanished when it could not write. */

#define STATE_SUFFIX ".state"

char *dev_state_path(const struct dev_drv *d, const char *vm)
{
    return mem_printf("%s/%s" STATE_SUFFIX, d->guests_dir, vm);
}

/* --- observing ---------------------------------------------------------------------------------
 */

/* Is the process of this state file the one that runs under its pid? */
static bool alive(const struct dev_state *s, char *ret_letter)
{
    uint64_t start;

    return dev_proc_stat(s->pid, &start, ret_letter) && start == s->start && *ret_letter != 'Z' &&
           *ret_letter != 'X';
}

static void fill(const struct dev_state *s, struct drv_domain *ret)
{
    char letter = '?';

    *ret = (struct drv_domain){
        .incarnation = s->incarnation,
        .token = s->token,
        .since_wall_ms = s->since_wall_ms,
        .memory_bytes = s->memory,
        .id = s->pid,
    };
    ret->vm = mem_strdup(s->vm);
    ret->uid = mem_strdup(s->uid);
    if (alive(s, &letter)) {
        ret->state = letter == 'T' || letter == 't' || s->suspended ? DOM_PAUSED : DOM_RUNNING;
        ret->detail = s->suspended ? mem_strdup("suspended to be moved") : NULL;
        ret->tty = mem_strdup(s->tty);
        ret->console = s->tty == NULL ? NULL : mem_printf("tty %s", s->tty);
        return;
    }
    ret->state = DOM_STOPPED;
    ret->reason = s->stopped ? s->reason : DOM_REASON_VANISHED;
    ret->detail = s->stopped ? NULL : mem_strdup("its process ended without a word");
}

static void emit(struct dev_drv *d, const struct drv_domain *dom)
{
    struct drv_event ev = { .kind = DRV_EV_DOMAIN, .domain = dom };

    drv_emit(&d->drv, &ev);
}

static void emit_absent(struct dev_drv *d, const char *vm)
{
    struct drv_domain dom = { .state = DOM_ABSENT };

    dom.vm = mem_strdup(vm);
    dom.uid = mem_strdup("");
    emit(d, &dom);
    drv_domain_done(&dom);
}

static void on_poll_closed(uv_handle_t *h)
{
    struct dev_guest *g = h->data;

    (void)close(g->pidfd);
    dev_state_done(&g->state);
    free(g->vm);
    free(g);
}

void dev_guest_drop(struct dev_guest *g)
{
    (void)map_del(&g->d->guests, g->vm);
    uv_close((uv_handle_t *)&g->poll, on_poll_closed);
}

/* Read the state file of a guest; what is of another boot is removed: ERR_NOT_FOUND then too. */
static int read_state(struct dev_drv *d, const char *vm, struct dev_state *ret, struct err *err)
{
    char *path = dev_state_path(d, vm);
    int rc = dev_state_read(path, ret, err);

    if (rc == 0 && !str_eq(ret->boot, d->boot_id)) {
        char *lock = mem_printf("%s.lock", path);

        dev_state_done(ret);
        (void)unlink(path);
        (void)unlink(lock);
        free(lock);
        rc = err_set(err, ERR_NOT_FOUND, "%s is of another boot", path);
    }
    free(path);
    return rc;
}

static void on_exit_seen(uv_poll_t *p, int status, int events)
{
    struct dev_guest *g = p->data;
    struct dev_drv *d = g->d;
    char *vm = mem_strdup(g->vm);
    struct dev_job *j = map_get(&d->dying, vm);

    (void)status;
    (void)events;
    dev_guest_drop(g);
    if (j != NULL) {
        char *path = dev_state_path(d, vm);

        (void)map_del(&d->dying, vm);
        (void)unlink(path);
        free(path);
        emit_absent(d, vm);
        dev_job_done(j);
    } else {
        dev_dom_see(d, vm);
    }
    free(vm);
}

/* Watch a running guest; false when its process is gone (or cannot be watched). */
static bool watch(struct dev_drv *d, const struct dev_state *s)
{
    struct dev_guest *g = map_get(&d->guests, s->vm);
    char letter;
    int fd;

    if (g != NULL && g->pid == s->pid && g->state.start == s->start) {
        return true;
    }
    if (g != NULL) {
        dev_guest_drop(g);
    }
    fd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    if (fd < 0) {
        return false;
    }
    g = OBJ_NEW(struct dev_guest);
    g->d = d;
    g->pidfd = fd;
    g->pid = s->pid;
    g->vm = mem_strdup(s->vm);
    g->poll.data = g;
    if (uv_poll_init(d->loop, &g->poll, fd) != 0) {
        (void)close(fd);
        free(g->vm);
        free(g);
        return false;
    }
    (void)map_put(&d->guests, g->vm, g);
    /* The pid may have been given to another process before the pidfd was opened. */
    if (!alive(s, &letter)) {
        dev_guest_drop(g);
        return false;
    }
    g->state.start = s->start;
    g->state.memory = s->memory;
    for (size_t i = 0; i < s->n_disks; i++) {
        g->state.disks[g->state.n_disks++] = mem_strdup(s->disks[i]);
    }
    CHECK(uv_poll_start(&g->poll, UV_READABLE, on_exit_seen) == 0);
    return true;
}

/* Look at one guest and tell. */
void dev_dom_see(struct dev_drv *d, const char *vm)
{
    struct drv_domain dom;
    struct dev_state s;
    struct err err;
    int rc = read_state(d, vm, &s, &err);

    if (rc == ERR_NOT_FOUND) {
        emit_absent(d, vm);
        return;
    }
    if (rc != 0) {
        struct drv_event doubt = { .kind = DRV_EV_DOUBT };

        lg_warn("dev", "vm=%s err=\"%s\"", vm, err.msg);
        drv_emit(&d->drv, &doubt);
        return;
    }
    (void)watch(d, &s);
    fill(&s, &dom);
    emit(d, &dom);
    drv_domain_done(&dom);
    dev_state_done(&s);
}

bool dev_dom_uses(const struct dev_drv *d, const char *path)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&d->guests, &i, &vm, &v);) {
        const struct dev_guest *g = v;

        for (size_t k = 0; k < g->state.n_disks; k++) {
            if (str_eq(g->state.disks[k], path)) {
                return true;
            }
        }
    }
    return false;
}

uint64_t dev_dom_memory(const struct dev_drv *d)
{
    uint64_t sum = 0;
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&d->guests, &i, &vm, &v);) {
        sum += ((const struct dev_guest *)v)->state.memory;
    }
    return sum;
}

/* --- listing -----------------------------------------------------------------------------------
 */

static int is_state(const struct dirent *e)
{
    return str_ends(e->d_name, STATE_SUFFIX) && strlen(e->d_name) > strlen(STATE_SUFFIX);
}

void dev_dom_list(struct dev_drv *d, struct dev_job *j)
{
    struct dirent **names = NULL;
    int n = scandir(d->guests_dir, &names, is_state, alphasort);
    struct drv_domain *list = mem_alloc((size_t)(n > 0 ? n : 1) * sizeof(*list));
    size_t n_list = 0;
    struct err err;
    int rc = 0;

    if (n < 0) {
        rc = err_native(&err, ERR_DRIVER, "errno", errno, "read folder %s", d->guests_dir);
    }
    for (int i = 0; i < n; i++) {
        const char *file = names[i]->d_name;
        char *vm = mem_strndup(file, strlen(file) - strlen(STATE_SUFFIX));
        struct dev_state s;
        int r = rc == 0 ? read_state(d, vm, &s, &err) : ERR_CANCELED;

        if (r == 0) {
            (void)watch(d, &s);
            fill(&s, &list[n_list++]);
            dev_state_done(&s);
        } else if (r != ERR_NOT_FOUND && r != ERR_CANCELED) {
            rc = r; /* a file that cannot be read is a domain that cannot be seen */
        }
        free(vm);
        free(names[i]);
    }
    free(names);
    j->job->result.domains = list;
    j->job->result.n_domains = rc == 0 ? n_list : 0;
    j->job->cb(j->job, rc == 0 ? NULL : &err);
    for (size_t i = 0; i < n_list; i++) {
        drv_domain_done(&list[i]);
    }
    free(list);
}

/* --- starting ----------------------------------------------------------------------------------
 */

struct argv {
    char *v[32 + 2 * DEV_DISKS_MAX];
    size_t n;
};

static void arg(struct argv *a, const char *name, char *value)
{
    a->v[a->n++] = mem_strdup(name);
    a->v[a->n++] = value;
}

static void argv_done(struct argv *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->v[i]);
    }
}

static int add_disks(struct dev_drv *d, struct dev_job *j, struct argv *a)
{
    const struct drv_job *job = j->job;

    if (job->n_disks > DEV_DISKS_MAX) {
        return dev_job_fail(j, ERR_LIMIT, "%zu disks; a dev guest can have %d", job->n_disks,
                            DEV_DISKS_MAX);
    }
    for (size_t i = 0; i < job->n_disks; i++) {
        const struct drv_disk *k = &job->disks[i];

        if (k->volume != NULL && !dev_vol_active(d, k->group, k->volume)) {
            return dev_job_fail(j, ERR_DRIVER, "volume %s/%s of disk %s is not active on %s",
                                k->group, k->volume, k->name, d->host);
        }
        if (k->read_only) {
            continue; /* dev guests only write */
        }
        if (k->volume != NULL) {
            arg(a, "--disk", dev_vol_path(d, k->group, k->volume));
        } else if (k->path != NULL) {
            arg(a, "--disk", mem_strdup(k->path));
        }
    }
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct dev_job *j = h->data;
    struct dev_drv *d = j->d;

    if (--j->open > 0) {
        return;
    }
    j->text[j->n_text] = '\0';
    j->text[strcspn(j->text, "\n")] = '\0';
    if (j->job->op == DRV_MIG_RECEIVE) {
        dev_mig_launched(d, j);
        return;
    }
    dev_dom_see(d, j->job->vm);
    if (j->aborted) {
        (void)dev_job_fail(j, ERR_UNKNOWN_OUTCOME, "the start of %s was aborted", j->job->vm);
    } else if (j->status != 0 || !str_starts(j->text, "ok ")) {
        (void)dev_job_fail(j, ERR_DRIVER, "%s",
                           j->text[0] != '\0' ? j->text : "picket-guest ended without a word");
    } else {
        dev_job_done(j);
    }
}

static void on_launched(uv_process_t *p, int64_t status, int sig)
{
    struct dev_job *j = p->data;

    j->status = sig != 0 ? 128 + sig : status;
    uv_close((uv_handle_t *)p, on_closed);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct dev_job *j = h->data;

    (void)suggested;
    *buf = uv_buf_init(j->text + j->n_text, (unsigned)(sizeof(j->text) - 1 - j->n_text));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct dev_job *j = s->data;

    (void)buf;
    if (n > 0) {
        j->n_text += (size_t)n;
    } else if (n < 0 && !uv_is_closing((uv_handle_t *)s)) {
        uv_close((uv_handle_t *)s, on_closed);
    }
}

static void spawn(struct dev_drv *d, struct dev_job *j, struct argv *a, int fd)
{
    uv_stdio_container_t io[3] = { { .flags = fd < 0 ? UV_IGNORE : UV_INHERIT_FD,
                                     .data = { .fd = fd } },
                                   { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE },
                                   { .flags = UV_INHERIT_FD, .data = { .fd = 2 } } };
    uv_process_options_t o = {
        .file = d->guest_path, .args = a->v, .exit_cb = on_launched, .stdio = io, .stdio_count = 3
    };
    int r;

    CHECK(uv_pipe_init(d->loop, &j->out, 0) == 0);
    j->out.data = j;
    j->process.data = j;
    io[1].data.stream = (uv_stream_t *)&j->out;
    j->open = 2;
    /* No UV_PROCESS_DETACHED: the guest has to stay in the host's process group. */
    r = uv_spawn(d->loop, &j->process, &o);
    if (r != 0) {
        j->n_text = (size_t)snprintf(j->text, sizeof(j->text), "cannot run %s: %s", d->guest_path,
                                     uv_strerror(r));
        j->status = 1;
        uv_close((uv_handle_t *)&j->process, on_closed);
        uv_close((uv_handle_t *)&j->out, on_closed);
        return;
    }
    CHECK(uv_read_start((uv_stream_t *)&j->out, on_alloc, on_read) == 0);
}

void dev_dom_launch(struct dev_drv *d, struct dev_job *j, int fd)
{
    const struct drv_job *job = j->job;
    struct argv a = { 0 };

    a.v[a.n++] = mem_strdup(d->guest_path);
    arg(&a, "--vm", mem_strdup(job->vm));
    arg(&a, "--uid", mem_strdup(job->uid));
    arg(&a, "--host", mem_strdup(d->host));
    arg(&a, "--incarnation", mem_printf("%" PRIu64, job->incarnation));
    arg(&a, "--token", mem_printf("%" PRIu64, job->token));
    arg(&a, "--state", dev_state_path(d, job->vm));
    arg(&a, "--boot-id", mem_strdup(d->boot_id));
    arg(&a, "--memory", mem_printf("%" PRIu64, jget_size(job->object, "spec.memory", 0)));
    arg(&a, "--not-after", mem_printf("%" PRIu64, job->not_after_ms));
    arg(&a, "--log", mem_printf("%s/%s.log", d->guests_dir, job->vm));
    if (fd >= 0) {
        a.v[a.n++] = mem_strdup("--receive");
    }
    if (add_disks(d, j, &a) == 0) {
        spawn(d, j, &a, fd);
    }
    argv_done(&a);
}

void dev_dom_start(struct dev_drv *d, struct dev_job *j)
{
    struct dev_state s;
    struct err err;

    if (read_state(d, j->job->vm, &s, &err) == 0) {
        dev_state_done(&s);
        (void)dev_job_fail(j, ERR_DRIVER, "a domain of %s exists on %s", j->job->vm, d->host);
        return;
    }
    dev_dom_launch(d, j, -1);
}

void dev_dom_abort(struct dev_drv *d, struct dev_job *j)
{
    j->aborted = true;
    if (j->job->op >= DRV_MIG_SUSPEND && j->job->op <= DRV_MIG_RECEIVE) {
        dev_mig_abort(d, j);
        return;
    }
    if (j->job->op == DRV_START) {
        /* Only the launcher; a guest that it has forked is found by the look that follows. */
        (void)uv_process_kill(&j->process, SIGKILL);
        if (!uv_is_closing((uv_handle_t *)&j->out)) {
            uv_close((uv_handle_t *)&j->out, on_closed);
        }
        return;
    }
    if (map_get(&d->dying, j->job->vm) == j) {
        (void)map_del(&d->dying, j->job->vm);
        (void)dev_job_fail(j, ERR_UNKNOWN_OUTCOME, "%s was killed and has not ended yet",
                           j->job->vm);
    }
}

/* --- signals -----------------------------------------------------------------------------------
 */

int dev_dom_send_signal(const struct dev_guest *g, int sig)
{
    return syscall(SYS_pidfd_send_signal, g->pidfd, sig, NULL, 0) == 0 ? 0 : errno;
}

/* A stopped process changes its state letter a moment after the signal: wait for it briefly. */
void dev_dom_settle(const struct dev_guest *g, bool stopped)
{
    struct timespec moment = { 0, 1000000 };
    uint64_t start;
    char letter;

    for (int i = 0; i < 50; i++) {
        if (!dev_proc_stat(g->pid, &start, &letter) || (letter == 'T') == stopped) {
            return;
        }
        (void)nanosleep(&moment, NULL);
    }
}

struct dev_guest *dev_dom_watched(struct dev_drv *d, const char *vm)
{
    struct dev_guest *g = map_get(&d->guests, vm);
    struct dev_state s;
    struct err err;

    if (g == NULL && read_state(d, vm, &s, &err) == 0) {
        g = watch(d, &s) ? map_get(&d->guests, vm) : NULL;
        dev_state_done(&s);
    }
    return g;
}

static bool is_suspended(struct dev_drv *d, const char *vm)
{
    struct dev_state s;
    struct err err;
    bool yes = read_state(d, vm, &s, &err) == 0;

    if (yes) {
        yes = s.suspended;
        dev_state_done(&s);
    }
    return yes;
}

void dev_dom_signal(struct dev_drv *d, struct dev_job *j)
{
    const struct dev_guest *g = map_get(&d->guests, j->job->vm);
    int sig = j->job->op == DRV_SHUTDOWN ? SIGTERM : j->job->op == DRV_PAUSE ? SIGSTOP : SIGCONT;
    int r;

    if (g == NULL) {
        dev_dom_see(d, j->job->vm);
        (void)dev_job_fail(j, ERR_DRIVER, "%s does not run on %s", j->job->vm, d->host);
        return;
    }
    if (is_suspended(d, j->job->vm)) {
        (void)dev_job_fail(j, ERR_DRIVER, "%s is suspended to be moved", j->job->vm);
        return;
    }
    if (sig == SIGCONT && dev_job_too_late(j)) {
        (void)dev_job_fail(j, ERR_TIMEOUT, "%s may not begin to run any more", j->job->vm);
        return;
    }
    r = dev_dom_send_signal(g, sig);
    if (r != 0) {
        (void)dev_job_fail(j, ERR_DRIVER, "signal %d to %s: %s", sig, j->job->vm, strerror(r));
        return;
    }
    if (sig != SIGTERM) {
        dev_dom_settle(g, sig == SIGSTOP);
        dev_dom_see(d, j->job->vm);
    }
    dev_job_done(j);
}

void dev_dom_destroy(struct dev_drv *d, struct dev_job *j)
{
    const struct dev_guest *g = map_get(&d->guests, j->job->vm);
    struct dev_state s;
    struct err err;
    char *path;
    int rc;

    if (g == NULL) {
        /* Not watched: a record of one that ended, or one that was never looked at. */
        rc = read_state(d, j->job->vm, &s, &err);
        if (rc == 0 && watch(d, &s)) {
            g = map_get(&d->guests, j->job->vm);
        }
        if (rc == 0) {
            dev_state_done(&s);
        }
    }
    if (g != NULL) {
        (void)map_put(&d->dying, j->job->vm, j);
        (void)dev_dom_send_signal(g, SIGKILL); /* gone already: the poll tells */
        return;
    }
    path = dev_state_path(d, j->job->vm);
    if (unlink(path) != 0 && errno != ENOENT) {
        (void)dev_job_fail(j, ERR_DRIVER, "remove %s: %s", path, strerror(errno));
    } else {
        emit_absent(d, j->job->vm);
        dev_job_done(j);
    }
    free(path);
}
