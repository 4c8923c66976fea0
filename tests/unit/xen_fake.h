#ifndef TESTS_UNIT_XEN_FAKE_H
#define TESTS_UNIT_XEN_FAKE_H

/* A libxenlight and a xenstore in memory: the functions below are found by the linker before those
 * of the libraries.  What only fills in or prints structures is the real one's.
 *
 * Operations end in afterpoll unless they are told to end within the call, to hang until they are
 * aborted, to fail, or to be deaf to aborts too.  The driver's thread calls most of this, the test
 * the fk_* functions. */

#include <errno.h>
#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>
#include <xenstore.h>

#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"

#define FK_DOMS 16
#define FK_OPS 16

enum fk_op {
    FK_CREATE = 0,
    FK_UNPAUSE,
    FK_PAUSE,
    FK_DESTROY,
    FK_SHUTDOWN,
    FK_TRIGGER,
    FK_VCPUS,
    FK_SUSPEND,
    FK_RESTORE,
    FK_RESUME,
    FK_KINDS,
};

enum fk_mode {
    FK_OK = 0,
    FK_SYNC,   /* well, and within the call */
    FK_FAIL,   /* with fk.rc */
    FK_HANG,   /* until it is aborted */
    FK_DEAF,   /* until fk_release */
    FK_REFUSE, /* the call itself fails with fk.rc */
};

struct fk_dom {
    bool used;
    uint32_t domid;
    libxl_uuid uuid;
    char *name; /* NULL: has none in xenstore */
    bool paused, shutdown, dying, hidden;
    libxl_shutdown_reason reason;
    uint64_t kb;
    uint32_t vcpus;
    bool watched; /* its death is waited for */
};

struct fk_pending {
    bool used;
    enum fk_op op;
    libxl_asyncop_how how;
    uint32_t domid;
    uint32_t *ret_domid;
    char *name;
    libxl_uuid uuid;
    uint64_t kb;
    uint32_t vcpus;
    int fd;
    bool aborted;
};

struct fk_event {
    uint32_t domid;
    libxl_event_type type;
};

static struct {
    pthread_mutex_t lock;
    enum fk_mode mode[FK_KINDS];
    int rc;
    _Atomic unsigned calls[FK_KINDS];
    struct fk_dom doms[FK_DOMS];
    struct fk_pending ops[FK_OPS];
    struct fk_event events[FK_DOMS];
    size_t n_events;
    struct map nodes; /* path -> char * */
    uint32_t next_domid;
    int fd;
    _Atomic bool list_fails, xs_fails, ctx_fails,
        half; /* half: an aborted creation leaves something */
    bool pv;  /* what libxl_domain_info says of every domain */
    _Atomic bool want_disaster, ctx_open, xs_open;
    _Atomic unsigned ctxs;
    uint64_t need_kb, free_kb;
    _Atomic unsigned sigchld;
    unsigned stop_after_create_ms;
    const libxl_event_hooks *hooks;
    void *hooks_user;
    const xentoollog_logger *logger;
} fk = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

static inline void fk_wake(void)
{
    uint64_t one = 1;

    assert_int_equal(write(fk.fd, &one, sizeof(one)), sizeof(one));
}

static inline void fk_reset(void)
{
    const char *key;
    void *v;

    for (size_t i = 0; i < FK_DOMS; i++) {
        free(fk.doms[i].name);
    }
    for (size_t i = 0; i < FK_OPS; i++) {
        free(fk.ops[i].name);
    }
    for (size_t i = 0; map_next(&fk.nodes, &i, &key, &v);) {
        free(v);
    }
    map_done(&fk.nodes);
    if (fk.fd >= 0) {
        (void)close(fk.fd);
    }
    memset(&fk, 0, sizeof(fk));
    assert_int_equal(pthread_mutex_init(&fk.lock, NULL), 0);
    fk.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fk.next_domid = 1;
    fk.free_kb = 8 << 20;
    fk.need_kb = 65536;
    fk.rc = ERROR_FAIL;
}

/* --- xenstore ----------------------------------------------------------------------------------
 */

static inline void fk_node_locked(uint32_t domid, const char *node, const char *value)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/local/domain/%u/%s", domid, node);
    free(map_put(&fk.nodes, path, strdup(value)));
}

static inline void fk_node(uint32_t domid, const char *node, const char *value)
{
    pthread_mutex_lock(&fk.lock);
    fk_node_locked(domid, node, value);
    pthread_mutex_unlock(&fk.lock);
}

static inline bool fk_has_node(uint32_t domid, const char *node, const char *value)
{
    char path[128];
    bool has;

    (void)snprintf(path, sizeof(path), "/local/domain/%u/%s", domid, node);
    pthread_mutex_lock(&fk.lock);
    has = str_eq(map_get(&fk.nodes, path), value);
    pthread_mutex_unlock(&fk.lock);
    return has;
}

struct xs_handle *xs_open(unsigned long flags)
{
    (void)flags;
    fk.xs_open = true;
    return (struct xs_handle *)&fk;
}

void xs_close(struct xs_handle *xsh)
{
    (void)xsh;
    fk.xs_open = false;
}

void *xs_read(struct xs_handle *h, xs_transaction_t t, const char *path, unsigned int *len)
{
    char *value;

    (void)h;
    (void)t;
    pthread_mutex_lock(&fk.lock);
    value = map_get(&fk.nodes, path);
    errno = fk.xs_fails ? EIO : ENOENT;
    value = fk.xs_fails || value == NULL ? NULL : strdup(value);
    pthread_mutex_unlock(&fk.lock);
    *len = value == NULL ? 0 : (unsigned)strlen(value);
    return value;
}

bool xs_write(struct xs_handle *h, xs_transaction_t t, const char *path, const void *data,
              unsigned int len)
{
    (void)h;
    (void)t;
    pthread_mutex_lock(&fk.lock);
    free(map_put(&fk.nodes, path, mem_strndup(data, len)));
    pthread_mutex_unlock(&fk.lock);
    return true;
}

/* --- domains -----------------------------------------------------------------------------------
 */

static inline struct fk_dom *fk_find(uint32_t domid)
{
    for (size_t i = 0; i < FK_DOMS; i++) {
        if (fk.doms[i].used && fk.doms[i].domid == domid) {
            return &fk.doms[i];
        }
    }
    return NULL;
}

/* One that is there. */
static inline struct fk_dom *fk_dom(uint32_t domid)
{
    struct fk_dom *d = fk_find(domid);

    if (d == NULL) {
        abort();
    }
    return d;
}

static inline struct fk_dom *fk_add_locked(const char *name)
{
    for (size_t i = 0; i < FK_DOMS; i++) {
        struct fk_dom *d = &fk.doms[i];

        if (!d->used) {
            *d = (struct fk_dom){ .used = true, .domid = fk.next_domid++, .kb = 65536, .vcpus = 1 };
            d->name = name == NULL ? NULL : strdup(name);
            memcpy(d->uuid.uuid, &d->domid, sizeof(d->domid));
            return d;
        }
    }
    abort();
}

/* A domain that somebody else made, running. */
static inline uint32_t fk_add(const char *name)
{
    uint32_t domid;

    pthread_mutex_lock(&fk.lock);
    domid = fk_add_locked(name)->domid;
    pthread_mutex_unlock(&fk.lock);
    return domid;
}

static inline void fk_remove_locked(uint32_t domid)
{
    struct fk_dom *d = fk_find(domid);
    char prefix[64];
    const char *path;
    void *v;

    if (d == NULL) {
        return;
    }
    (void)snprintf(prefix, sizeof(prefix), "/local/domain/%u/", domid);
    for (size_t i = 0; map_next(&fk.nodes, &i, &path, &v);) {
        if (str_starts(path, prefix)) {
            free(map_del(&fk.nodes, path));
        }
    }
    free(d->name);
    *d = (struct fk_dom){ 0 };
}

static inline void fk_event_locked(uint32_t domid, libxl_event_type type)
{
    fk.events[fk.n_events++] = (struct fk_event){ domid, type };
}

/* It ends by itself. */
static inline void fk_shutdown(uint32_t domid, libxl_shutdown_reason reason)
{
    pthread_mutex_lock(&fk.lock);
    fk_dom(domid)->shutdown = true;
    fk_dom(domid)->reason = reason;
    fk_event_locked(domid, LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN);
    pthread_mutex_unlock(&fk.lock);
    fk_wake();
}

/* Somebody else destroys it; with or without word of it. */
static inline void fk_destroy(uint32_t domid, bool told)
{
    pthread_mutex_lock(&fk.lock);
    fk_remove_locked(domid);
    if (told) {
        fk_event_locked(domid, LIBXL_EVENT_TYPE_DOMAIN_DEATH);
    }
    pthread_mutex_unlock(&fk.lock);
    fk_wake();
}

static inline size_t fk_count(void)
{
    size_t n = 0;

    pthread_mutex_lock(&fk.lock);
    for (size_t i = 0; i < FK_DOMS; i++) {
        n += fk.doms[i].used;
    }
    pthread_mutex_unlock(&fk.lock);
    return n;
}

libxl_dominfo *libxl_list_domain(libxl_ctx *ctx, int *nb_domain_out)
{
    libxl_dominfo *list = calloc(FK_DOMS + 1, sizeof(*list));
    int n = 1; /* dom0 */

    (void)ctx;
    pthread_mutex_lock(&fk.lock);
    for (size_t i = 0; i < FK_DOMS; i++) {
        const struct fk_dom *d = &fk.doms[i];

        if (!d->used || d->hidden) {
            continue;
        }
        libxl_dominfo_init(&list[n]);
        list[n].domid = d->domid;
        list[n].uuid = d->uuid;
        list[n].paused = d->paused;
        list[n].shutdown = d->shutdown;
        list[n].dying = d->dying;
        list[n].shutdown_reason = d->shutdown ? d->reason : LIBXL_SHUTDOWN_REASON_UNKNOWN;
        list[n].running = !d->paused && !d->shutdown;
        list[n].current_memkb = d->kb;
        list[n].vcpu_online = d->vcpus;
        n++;
    }
    pthread_mutex_unlock(&fk.lock);
    if (fk.list_fails) {
        free(list);
        return NULL;
    }
    *nb_domain_out = n;
    return list;
}

void libxl_dominfo_list_free(libxl_dominfo *list, int nb_domain)
{
    (void)nb_domain;
    free(list);
}

int libxl_domain_info(libxl_ctx *ctx, libxl_dominfo *info_r, uint32_t domid)
{
    int rc;

    (void)ctx;
    if (info_r != NULL) {
        info_r->domain_type = fk.pv ? LIBXL_DOMAIN_TYPE_PV : LIBXL_DOMAIN_TYPE_PVH;
    }
    pthread_mutex_lock(&fk.lock);
    rc = fk_find(domid) == NULL ? ERROR_DOMAIN_NOTFOUND : 0;
    pthread_mutex_unlock(&fk.lock);
    return rc;
}

char *libxl_domid_to_name(libxl_ctx *ctx, uint32_t domid)
{
    const struct fk_dom *d;
    char *name;

    (void)ctx;
    pthread_mutex_lock(&fk.lock);
    d = fk_find(domid);
    name = d == NULL || d->name == NULL ? NULL : strdup(d->name);
    pthread_mutex_unlock(&fk.lock);
    return name;
}

int libxl_evenable_domain_death(libxl_ctx *ctx, uint32_t domid, libxl_ev_user user,
                                libxl_evgen_domain_death **evgen_out)
{
    (void)ctx;
    (void)user;
    pthread_mutex_lock(&fk.lock);
    fk_dom(domid)->watched = true;
    pthread_mutex_unlock(&fk.lock);
    *evgen_out = malloc(1); /* so that one that is not disabled shows as a leak */
    return 0;
}

void libxl_evdisable_domain_death(libxl_ctx *ctx, libxl_evgen_domain_death *evgen)
{
    (void)ctx;
    free(evgen);
}

void libxl_event_free(libxl_ctx *ctx, libxl_event *event)
{
    (void)ctx;
    free(event);
}

/* --- operations --------------------------------------------------------------------------------
 */

/* What libxl sends and takes. */
static char fk_memory[] = "the memory of a guest";

static inline bool fk_restores(int fd)
{
    char text[sizeof(fk_memory) + 8];
    size_t n = 0;
    ssize_t r;

    while ((r = read(fd, text + n, sizeof(text) - n)) > 0) {
        n += (size_t)r;
    }
    return r == 0 && n == sizeof(fk_memory) && memcmp(text, fk_memory, n) == 0;
}

static inline int fk_apply(struct fk_pending *p)
{
    struct fk_dom *d = fk_find(p->domid);

    if (d == NULL && p->op != FK_CREATE && p->op != FK_RESTORE) {
        return ERROR_DOMAIN_NOTFOUND;
    }
    switch (p->op) {
    case FK_CREATE:
    case FK_RESTORE:
        if (p->op == FK_RESTORE && !fk_restores(p->fd)) {
            return ERROR_FAIL;
        }
        d = fk_add_locked(p->name);
        d->uuid = p->uuid;
        d->paused = true;
        d->kb = p->kb;
        *p->ret_domid = d->domid;
        fk_node_locked(d->domid, "picket/vm", p->name);
        fk_node_locked(d->domid, "picket/uid", "u1");
        fk_node_locked(d->domid, "picket/incarnation", "7");
        fk_node_locked(d->domid, "picket/token", "42");
        return 0;
    case FK_UNPAUSE:
    case FK_PAUSE:
        d->paused = p->op == FK_PAUSE;
        return 0;
    case FK_DESTROY:
        fk_remove_locked(p->domid);
        fk_event_locked(p->domid, LIBXL_EVENT_TYPE_DOMAIN_DEATH);
        return 0;
    case FK_SUSPEND:
        if (write(p->fd, fk_memory, sizeof(fk_memory)) != sizeof(fk_memory)) {
            return ERROR_FAIL;
        }
        d->shutdown = true;
        d->reason = LIBXL_SHUTDOWN_REASON_SUSPEND;
        fk_event_locked(p->domid, LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN);
        return 0;
    case FK_RESUME:
        d->shutdown = false;
        return 0;
    case FK_VCPUS:
        d->vcpus = p->vcpus;
        return 0;
    case FK_SHUTDOWN:
    case FK_TRIGGER:
    case FK_KINDS:
        return 0;
    }
    return 0;
}

static inline int fk_begin(const struct fk_pending *p, const libxl_asyncop_how *how, libxl_ctx *ctx)
{
    struct fk_pending *slot = &fk.ops[0];
    int rc = 0;

    pthread_mutex_lock(&fk.lock);
    fk.calls[p->op]++;
    if (fk.mode[p->op] == FK_REFUSE) {
        pthread_mutex_unlock(&fk.lock);
        return fk.rc;
    }
    while (slot->used) {
        slot++;
        CHECK(slot < fk.ops + FK_OPS);
    }
    free(slot->name);
    *slot = *p;
    slot->name = p->name == NULL ? NULL : strdup(p->name);
    slot->how = *how;
    slot->used = true;
    if (fk.mode[p->op] == FK_SYNC) {
        rc = fk_apply(slot);
        slot->used = false;
    }
    pthread_mutex_unlock(&fk.lock);
    if (fk.mode[p->op] == FK_SYNC) {
        how->callback(ctx, rc, how->u.for_callback);
    }
    return 0;
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *c, uint32_t *domid,
                            const libxl_asyncop_how *how, const libxl_asyncprogress_how *console)
{
    struct fk_pending p = { .op = FK_CREATE,
                            .ret_domid = domid,
                            .name = c->c_info.name,
                            .uuid = c->c_info.uuid,
                            .kb = c->b_info.target_memkb };

    (void)console;
    assert_string_equal(c->c_info.xsdata[0], "picket/vm");
    return fk_begin(&p, how, ctx);
}

#define FK_SIMPLE(fn, kind)                                                                        \
    int fn(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how)                           \
    {                                                                                              \
        struct fk_pending p = { .op = kind, .domid = domid };                                      \
                                                                                                   \
        return fk_begin(&p, how, ctx);                                                             \
    }

FK_SIMPLE(libxl_domain_unpause, FK_UNPAUSE)
FK_SIMPLE(libxl_domain_pause, FK_PAUSE)
FK_SIMPLE(libxl_domain_destroy, FK_DESTROY)
FK_SIMPLE(libxl_domain_shutdown, FK_SHUTDOWN)

int libxl_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd, int flags,
                         const libxl_asyncop_how *how)
{
    struct fk_pending p = { .op = FK_SUSPEND, .domid = domid, .fd = fd };

    assert_int_equal(flags, LIBXL_SUSPEND_LIVE);
    return fk_begin(&p, how, ctx);
}

int libxl_domain_resume(libxl_ctx *ctx, uint32_t domid, int cancel, const libxl_asyncop_how *how)
{
    struct fk_pending p = { .op = FK_RESUME, .domid = domid };

    assert_int_equal(cancel, 1);
    return fk_begin(&p, how, ctx);
}

int libxl_domain_create_restore(libxl_ctx *ctx, libxl_domain_config *c, uint32_t *domid, int fd,
                                int back, const libxl_domain_restore_params *params,
                                const libxl_asyncop_how *how,
                                const libxl_asyncprogress_how *console)
{
    struct fk_pending p = { .op = FK_RESTORE,
                            .ret_domid = domid,
                            .name = c->c_info.name,
                            .uuid = c->c_info.uuid,
                            .kb = c->b_info.target_memkb,
                            .fd = fd };

    (void)console;
    assert_int_equal(back, -1);
    assert_int_equal(params->stream_version, 2);
    return fk_begin(&p, how, ctx);
}

int libxl_send_trigger(libxl_ctx *ctx, uint32_t domid, libxl_trigger trigger, uint32_t vcpuid,
                       const libxl_asyncop_how *how)
{
    struct fk_pending p = { .op = FK_TRIGGER, .domid = domid };

    assert_int_equal(trigger, LIBXL_TRIGGER_POWER);
    assert_int_equal(vcpuid, 0);
    return fk_begin(&p, how, ctx);
}

int libxl_set_vcpuonline(libxl_ctx *ctx, uint32_t domid, libxl_bitmap *cpumap,
                         const libxl_asyncop_how *how)
{
    struct fk_pending p = { .op = FK_VCPUS, .domid = domid };

    for (uint32_t i = 0; i < cpumap->size * 8; i++) {
        p.vcpus += (cpumap->map[i / 8] >> (i % 8)) & 1;
    }
    return fk_begin(&p, how, ctx);
}

int libxl_set_memory_target(libxl_ctx *ctx, uint32_t domid, int64_t target_memkb, int relative,
                            int enforce)
{
    (void)ctx;
    assert_int_equal(relative, 0);
    assert_int_equal(enforce, 1);
    pthread_mutex_lock(&fk.lock);
    fk_dom(domid)->kb = (uint64_t)target_memkb;
    pthread_mutex_unlock(&fk.lock);
    return 0;
}

int libxl_get_memory_target(libxl_ctx *ctx, uint32_t domid, uint64_t *out_target)
{
    (void)ctx;
    pthread_mutex_lock(&fk.lock);
    *out_target = fk_dom(domid)->kb;
    pthread_mutex_unlock(&fk.lock);
    return 0;
}

int libxl_domain_need_memory(libxl_ctx *ctx, libxl_domain_config *c, uint32_t domid,
                             uint64_t *need_memkb)
{
    (void)ctx;
    (void)c;
    (void)domid;
    *need_memkb = fk.need_kb;
    return 0;
}

int libxl_get_physinfo(libxl_ctx *ctx, libxl_physinfo *p)
{
    (void)ctx;
    p->total_pages = 4 << 20;
    p->free_pages = fk.free_kb / 4;
    p->nr_cpus = 8;
    p->cap_pv = true;
    p->cap_hvm = true;
    return 0;
}

const libxl_version_info *libxl_get_version_info(libxl_ctx *ctx)
{
    static char extra[] = ".5";
    static const libxl_version_info v = { .xen_version_major = 4,
                                          .xen_version_minor = 17,
                                          .xen_version_extra = extra };

    (void)ctx;
    return &v;
}

int libxl_ao_abort(libxl_ctx *ctx, const libxl_asyncop_how *how)
{
    int rc = ERROR_NOTFOUND;

    (void)ctx;
    pthread_mutex_lock(&fk.lock);
    for (size_t i = 0; i < FK_OPS; i++) {
        if (fk.ops[i].used && fk.ops[i].how.u.for_callback == how->u.for_callback) {
            fk.ops[i].aborted = true;
            rc = 0;
        }
    }
    pthread_mutex_unlock(&fk.lock);
    return rc;
}

/* Operations of a context that was left behind are nobody's; none of them was aborted. */
static inline void fk_reset_ops(void)
{
    for (size_t i = 0; i < FK_OPS; i++) {
        assert_false(fk.ops[i].used && fk.ops[i].aborted);
        fk.ops[i].used = false;
    }
}

/* What hangs deaf goes on. */
static inline void fk_release(enum fk_op op)
{
    pthread_mutex_lock(&fk.lock);
    fk.mode[op] = FK_OK;
    pthread_mutex_unlock(&fk.lock);
    fk_wake();
}

/* --- context and loop --------------------------------------------------------------------------
 */

int libxl_ctx_alloc(libxl_ctx **pctx, int version, unsigned flags, xentoollog_logger *lg)
{
    assert_int_equal(version, LIBXL_VERSION);
    assert_int_equal(flags, 0);
    fk.logger = lg;
    if (fk.ctx_fails) {
        return ERROR_FAIL;
    }
    fk.ctx_open = true;
    fk.ctxs++;
    *pctx = (libxl_ctx *)&fk;
    return 0;
}

int libxl_ctx_free(libxl_ctx *ctx)
{
    (void)ctx;
    fk.ctx_open = false;
    return 0;
}

void libxl_childproc_setmode(libxl_ctx *ctx, const libxl_childproc_hooks *hooks, void *user)
{
    (void)ctx;
    (void)user;
    assert_int_equal(hooks->chldowner, libxl_sigchld_owner_mainloop);
}

void libxl_childproc_sigchld_occurred(libxl_ctx *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&fk.lock);
    fk.sigchld++;
    pthread_mutex_unlock(&fk.lock);
}

void libxl_event_register_callbacks(libxl_ctx *ctx, const libxl_event_hooks *hooks, void *user)
{
    (void)ctx;
    fk.hooks = hooks;
    fk.hooks_user = user;
}

static inline bool fk_ends(const struct fk_pending *p)
{
    switch (fk.mode[p->op]) {
    case FK_HANG:
        return p->aborted;
    case FK_DEAF:
        return false;
    default:
        return true;
    }
}

int libxl_osevent_beforepoll(libxl_ctx *ctx, int *nfds_io, struct pollfd *fds, int *timeout_upd,
                             struct timeval now)
{
    (void)ctx;
    (void)now;
    assert_true(fk.ctx_open);
    if (*nfds_io < 1) {
        *nfds_io = 1;
        return ERROR_BUFFERFULL;
    }
    fds[0] = (struct pollfd){ .fd = fk.fd, .events = POLLIN };
    *nfds_io = 1;
    pthread_mutex_lock(&fk.lock);
    for (size_t i = 0; i < FK_OPS; i++) {
        *timeout_upd = fk.ops[i].used && fk_ends(&fk.ops[i]) ? 0 : *timeout_upd;
    }
    *timeout_upd = fk.n_events > 0 || fk.want_disaster ? 0 : *timeout_upd;
    pthread_mutex_unlock(&fk.lock);
    return 0;
}

static inline void fk_run_ops(libxl_ctx *ctx)
{
    for (size_t i = 0; i < FK_OPS; i++) {
        struct fk_pending p;
        bool ends;
        int rc = 0;

        pthread_mutex_lock(&fk.lock);
        ends = fk.ops[i].used && fk_ends(&fk.ops[i]);
        if (ends) {
            if (fk.mode[fk.ops[i].op] == FK_FAIL) {
                rc = fk.rc;
            } else if (fk.mode[fk.ops[i].op] == FK_HANG) {
                rc = ERROR_ABORTED;
            }
            if (rc == 0 || (rc == ERROR_ABORTED && fk.half)) {
                int r = fk_apply(&fk.ops[i]);

                rc = rc == 0 ? r : rc;
            }
            fk.ops[i].used = false;
        }
        p = fk.ops[i];
        pthread_mutex_unlock(&fk.lock);
        if (ends) {
            p.how.callback(ctx, rc, p.how.u.for_callback);
        }
    }
}

void libxl_osevent_afterpoll(libxl_ctx *ctx, int nfds, const struct pollfd *fds, struct timeval now)
{
    uint64_t count;

    (void)nfds;
    (void)fds;
    (void)now;
    (void)!read(fk.fd, &count, sizeof(count));
    fk_run_ops(ctx);
    for (;;) {
        libxl_event *ev = calloc(1, sizeof(*ev));

        pthread_mutex_lock(&fk.lock);
        if (fk.n_events == 0) {
            pthread_mutex_unlock(&fk.lock);
            free(ev);
            break;
        }
        ev->domid = fk.events[0].domid;
        ev->type = fk.events[0].type;
        memmove(fk.events, fk.events + 1, --fk.n_events * sizeof(fk.events[0]));
        pthread_mutex_unlock(&fk.lock);
        fk.hooks->event_occurs(fk.hooks_user, ev);
    }
    if (fk.want_disaster) {
        fk.want_disaster = false;
        fk.hooks->disaster(fk.hooks_user, 0, "test", ENOMEM);
    }
}

#endif
