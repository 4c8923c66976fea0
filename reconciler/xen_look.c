#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_map.h"
#include "reconciler/xen_priv.h"

/* What is there: lists of domains, whose they are, how they ended, and what the host has. */

#define MISSED_MAX 5U /* lists without it, and without word of its death, until it is forgotten */

/* --- the table ---------------------------------------------------------------------------------
 */

static void key_of(uint32_t domid, char key[16])
{
    (void)snprintf(key, 16, "%" PRIu32, domid);
}

struct xen_dom *xen_by_id(struct xen_work *w, uint32_t domid)
{
    char key[16];

    key_of(domid, key);
    return map_get(&w->doms, key);
}

struct xen_dom *xen_find(struct xen_work *w, const char *vm, bool *ret_more)
{
    struct xen_dom *found = NULL;
    const char *key;
    void *v;

    *ret_more = false;
    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        struct xen_dom *d = v;

        if (!str_eq(d->vm, vm) || d->state == DOM_DYING || d->state == DOM_UNKNOWN) {
            continue;
        }
        *ret_more = found != NULL;
        if (*ret_more) {
            return NULL;
        }
        found = d;
    }
    return found;
}

struct xen_dom *xen_any(struct xen_work *w, const char *vm)
{
    struct xen_dom *found = NULL;
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        struct xen_dom *d = v;

        if (str_eq(d->vm, vm) && (found == NULL || found->state == DOM_DYING)) {
            found = d;
        }
    }
    return found;
}

static void dom_free(struct xen_work *w, struct xen_dom *d)
{
    if (d->evgen != NULL && w->ctx != NULL) {
        libxl_evdisable_domain_death(w->ctx, d->evgen);
    }
    free(d->vm);
    free(d->uid);
    free(d->console);
    free(d->tty);
    free(d);
}

void xen_doms_free(struct xen_work *w)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        dom_free(w, v);
    }
    map_done(&w->doms);
    for (size_t i = 0; map_next(&w->told, &i, &key, &v);) {
        drv_domain_done(v);
        free(v);
    }
    map_done(&w->told);
    map_done(&w->odd);
}

/* --- xenstore ----------------------------------------------------------------------------------
 */

static char *node_path(uint32_t domid, const char *node)
{
    return mem_printf("/local/domain/%" PRIu32 "/%s", domid, node);
}

/* NULL and errno: ENOENT when there is none. */
char *xen_node(const struct xen_work *w, uint32_t domid, const char *node)
{
    char *path = node_path(domid, node);
    unsigned len = 0;
    char *value;
    int e;

    errno = 0;
    value = xs_read(w->xs, XBT_NULL, path, &len);
    e = errno;
    free(path);
    errno = e;
    return value;
}

void xen_node_put(const struct xen_work *w, uint32_t domid, const char *node, const char *value)
{
    char *path = node_path(domid, node);

    if (!xs_write(w->xs, XBT_NULL, path, value, (unsigned)strlen(value))) {
        lg_warn("xen", "domid=%" PRIu32 " node=%s errno=%d msg=\"cannot be written\"", domid, path,
                errno);
    }
    free(path);
}

static uint64_t number_node(const struct xen_work *w, uint32_t domid, const char *node)
{
    char *text = xen_node(w, domid, node);
    uint64_t n = 0;

    if (text != NULL) {
        (void)str_parse_u64(text, &n);
    }
    free(text);
    return n;
}

/* Whose is it?  0, ERR_NOT_FOUND: nobody's that can be ours, ERR_DRIVER: could not look. */
static int identify(struct xen_work *w, struct xen_dom *d, struct err *err)
{
    char *vm = xen_node(w, d->domid, XEN_MARK_VM);
    int e = errno;

    if (vm == NULL && e != ENOENT) {
        return err_native(err, ERR_DRIVER, "errno", e, "read the marks of domain %" PRIu32,
                          d->domid);
    }
    d->marked = vm != NULL;
    d->vm = d->marked ? vm : libxl_domid_to_name(w->ctx, d->domid);
    if (d->vm == NULL || !str_is_name(d->vm)) {
        if (d->vm != NULL && map_put(&w->odd, d->vm, w) == NULL) {
            lg_info("xen", "domid=%" PRIu32 " name=\"%s\" msg=\"not one of ours: left alone\"",
                    d->domid, d->vm);
        }
        return err_set(err, ERR_NOT_FOUND, "not a machine of the cluster");
    }
    if (!d->marked) {
        d->uid = mem_strdup("");
        d->ready = true;
        return 0;
    }
    d->uid = xen_node(w, d->domid, XEN_MARK_UID);
    if (d->uid == NULL) {
        d->uid = mem_strdup("");
    }
    d->incarnation = number_node(w, d->domid, XEN_MARK_INCARNATION);
    d->token = number_node(w, d->domid, XEN_MARK_TOKEN);
    d->since_wall_ms = number_node(w, d->domid, XEN_MARK_SINCE);
    return 0;
}

static bool is_stubdomain(const struct xen_work *w, uint32_t domid)
{
    char *target = xen_node(w, domid, "target");
    bool yes = target != NULL;

    free(target);
    return yes;
}

/* --- what a domain looks like to the loop ------------------------------------------------------
 */

static bool being_started(const struct xen_work *w, const char *vm)
{
    const struct xen_job *j;

    TAILQ_FOREACH (j, &w->jobs, link) {
        if ((j->op == DRV_START || j->op == DRV_MIG_RECEIVE) && str_eq(j->vm, vm)) {
            return true;
        }
    }
    return false;
}

static void describe(const struct xen_work *w, const struct xen_dom *d, struct drv_domain *ret)
{
    const char *detail = NULL;

    ret->state = d->state;
    if (d->state == DOM_STOPPED) {
        ret->reason = xen_reason(d->shutdown_reason, d->asked);
        detail = xen_reason_text(d->shutdown_reason);
    } else if (d->suspended) {
        detail = "suspended to be moved";
    } else if (!d->ready && d->state != DOM_DYING) {
        /* Half of a domain must not be unpaused: only removed, and started anew. */
        ret->state = being_started(w, d->vm) ? DOM_PAUSED : DOM_STOPPED;
        ret->reason = ret->state == DOM_STOPPED ? DOM_REASON_VANISHED : DOM_REASON_NONE;
        detail = ret->state == DOM_STOPPED ? "its start was interrupted" : "is being started";
    }
    ret->detail = mem_strdup(detail);
}

/* A living domain says more than a dying one, and that more than one that is missing. */
static int rank(const struct xen_dom *d)
{
    return d->state == DOM_UNKNOWN ? 1 : d->state == DOM_DYING ? 2 : 3;
}

static const struct xen_dom *pick(const struct xen_work *w, const char *vm,
                                  const struct xen_dom **ret_second)
{
    const struct xen_dom *best = NULL;
    const char *key;
    void *v;

    *ret_second = NULL;
    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        const struct xen_dom *d = v;

        if (!str_eq(d->vm, vm)) {
            continue;
        }
        if (best == NULL || rank(d) > rank(best)) {
            best = d;
        } else if (rank(d) == 3) {
            *ret_second = d;
        }
    }
    return best;
}

/* What all domains of one machine come to.  False: there is none. */
static bool view(const struct xen_work *w, const char *vm, struct drv_domain *ret)
{
    const struct xen_dom *second;
    const struct xen_dom *d = pick(w, vm, &second);

    *ret = (struct drv_domain){ 0 };
    if (d == NULL) {
        return false;
    }
    ret->vm = mem_strdup(vm);
    ret->uid = mem_strdup(d->uid);
    ret->incarnation = d->incarnation;
    ret->token = d->token;
    ret->since_wall_ms = d->since_wall_ms;
    ret->memory_bytes = d->memory_bytes;
    ret->memory_target_bytes = d->target_bytes;
    ret->vcpus = d->vcpus_online;
    ret->console = mem_strdup(d->console);
    ret->tty = mem_strdup(d->tty);
    ret->id = d->domid;
    if (second == NULL) {
        describe(w, d, ret);
        return true;
    }
    /* Which of them is the real one is for a person to say: nothing is done to either. */
    ret->state = DOM_UNKNOWN;
    ret->detail = mem_printf("DuplicateRunning: domains %" PRIu32 " and %" PRIu32
                             " both are this machine; end one of them (xl destroy)",
                             d->domid, second->domid);
    return true;
}

static bool differs(const struct drv_domain *a, const struct drv_domain *b)
{
    return a->state != b->state || a->reason != b->reason || a->id != b->id ||
           a->memory_target_bytes != b->memory_target_bytes || a->vcpus != b->vcpus ||
           !str_eq(a->detail, b->detail) || !str_eq(a->console, b->console) ||
           !str_eq(a->tty, b->tty);
}

/* The loop is told when it was not told the same before.  Takes what *d points to. */
static void tell(struct xen_work *w, struct drv_domain *d)
{
    struct drv_domain *old = map_get(&w->told, d->vm);

    if (old == NULL) {
        old = OBJ_NEW(struct drv_domain);
        (void)map_put(&w->told, d->vm, old);
    } else if (!differs(old, d)) {
        drv_domain_done(d);
        return;
    }
    drv_domain_done(old);
    *old = *d;
    xen_post_event(w, DRV_EV_DOMAIN, old);
}

void xen_dom_gone(struct xen_work *w, struct xen_dom *d)
{
    bool explained = d->ending || d->state == DOM_STOPPED;
    struct drv_domain now;
    char key[16];

    key_of(d->domid, key);
    (void)map_del(&w->doms, key);
    if (!view(w, d->vm, &now)) {
        now = (struct drv_domain){ .state = explained ? DOM_ABSENT : DOM_UNKNOWN, .id = d->domid };
        now.vm = mem_strdup(d->vm);
        now.uid = mem_strdup(d->uid);
        /* Not our doing, and nobody saw why: believed after several reads agree. */
        now.detail = explained ? NULL : mem_strdup("its domain was destroyed by somebody else");
    }
    tell(w, &now);
    dom_free(w, d);
}

/* --- scanning ----------------------------------------------------------------------------------
 */

/* What libxl_primary_console_get_tty gives: of an HVM guest the first serial port, which the device
 * model serves, else the console of xenconsoled. */
static char *console_tty(struct xen_work *w, uint32_t domid)
{
    static const char *const nodes[] = { "serial/0/tty", "console/tty" };

    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        char *tty = xen_node(w, domid, nodes[i]);

        if (tty != NULL && tty[0] != '\0') { /* empty until somebody serves it */
            return tty;
        }
        free(tty);
    }
    return NULL;
}

/* Where a person finds its console and its screen: "tty /dev/pts/3, vnc 127.0.0.1:5901". */
static void update_console(struct xen_work *w, struct xen_dom *d)
{
    char *tty = console_tty(w, d->domid);
    char *port = xen_node(w, d->domid, "console/vnc-port");
    char *listen = port == NULL ? NULL : xen_node(w, d->domid, "console/vnc-listen");

    free(d->console);
    free(d->tty);
    d->tty = mem_strdup(tty);
    d->console = NULL;
    if (tty != NULL || port != NULL) {
        d->console = mem_printf("%s%s%s%s%s%s%s", tty == NULL ? "" : "tty ", tty == NULL ? "" : tty,
                                tty != NULL && port != NULL ? ", " : "", port == NULL ? "" : "vnc ",
                                listen == NULL ? "" : listen, port == NULL ? "" : ":",
                                port == NULL ? "" : port);
    }
    free(tty);
    free(port);
    free(listen);
}

static void update_live(struct xen_work *w, struct xen_dom *d)
{
    uint64_t kb = 0;

    update_console(w, d);
    d->target_bytes = libxl_get_memory_target(w->ctx, d->domid, &kb) == 0 ? kb * 1024 : 0;
}

static void update(struct xen_work *w, struct xen_dom *d, const libxl_dominfo *info)
{
    d->seen = true;
    d->missed = 0;
    d->memory_bytes = info->current_memkb * 1024;
    d->vcpus_online = info->vcpu_online;
    d->suspended = info->shutdown && info->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;
    d->suspended_ms = !d->suspended ? 0 : d->suspended_ms == 0 ? clock_now_ms() : d->suspended_ms;
    if (info->dying) {
        d->state = DOM_DYING;
    } else if (d->suspended) {
        d->state = DOM_PAUSED;
    } else if (info->shutdown) {
        d->state = DOM_STOPPED;
        d->shutdown_reason = (int)info->shutdown_reason;
    } else {
        d->state = info->paused ? DOM_PAUSED : DOM_RUNNING;
    }
    if (d->state == DOM_RUNNING) {
        update_live(w, d);
    }
    if (!d->ready) {
        char *ready = xen_node(w, d->domid, XEN_MARK_READY);

        d->ready = ready != NULL;
        free(ready);
    }
}

/* A domain that is not in the table. ERR_DRIVER: could not look. */
static int meet(struct xen_work *w, const libxl_dominfo *info, struct err *err)
{
    struct xen_dom *d = OBJ_NEW(struct xen_dom);
    char key[16];
    int rc;

    d->domid = info->domid;
    d->uuid = info->uuid;
    rc = is_stubdomain(w, d->domid) ? ERR_NOT_FOUND : identify(w, d, err);
    if (rc != 0) {
        dom_free(w, d);
        return rc == ERR_NOT_FOUND ? 0 : rc;
    }
    if (libxl_evenable_domain_death(w->ctx, d->domid, 0, &d->evgen) != 0) {
        d->evgen = NULL;
        rc = err_set(err, ERR_DRIVER, "watch the death of domain %" PRIu32 ": %s", d->domid,
                     w->last_msg);
        dom_free(w, d);
        return rc;
    }
    update(w, d, info);
    key_of(d->domid, key);
    (void)map_put(&w->doms, key, d);
    return 0;
}

static int scan_one(struct xen_work *w, const libxl_dominfo *info, struct err *err)
{
    struct xen_dom *d = xen_by_id(w, info->domid);

    if (d != NULL && libxl_uuid_compare(&d->uuid, &info->uuid) != 0) {
        xen_dom_gone(w, d); /* the number is another domain's now */
        d = NULL;
    }
    if (d == NULL) {
        return meet(w, info, err);
    }
    update(w, d, info);
    return 0;
}

static void tell_all(struct xen_work *w)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        struct xen_dom *d = v;

        if (d->seen) {
            continue;
        }
        if (d->dead || d->ending) {
            xen_dom_gone(w, d);
            continue;
        }
        d->state = DOM_UNKNOWN; /* missing, and nobody told of its death (features.md C05) */
        if (++d->missed >= MISSED_MAX) {
            xen_dom_gone(w, d);
        }
    }
    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        const struct xen_dom *d = v;
        struct drv_domain now;

        if (d->state != DOM_UNKNOWN && view(w, d->vm, &now)) {
            tell(w, &now);
        }
    }
}

int xen_scan(struct xen_work *w, struct err *err)
{
    libxl_dominfo *list;
    const char *key;
    int n = 0, rc = 0;
    void *v;

    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        ((struct xen_dom *)v)->seen = false;
    }
    w->last_msg[0] = '\0';
    list = libxl_list_domain(w->ctx, &n);
    if (list == NULL) {
        return err_set(err, ERR_DRIVER, "list domains: %s", w->last_msg);
    }
    for (int i = 0; rc == 0 && i < n; i++) {
        if (list[i].domid != 0) {
            rc = scan_one(w, &list[i], err);
        }
    }
    libxl_dominfo_list_free(list, n);
    if (rc == 0) {
        tell_all(w);
    }
    return rc;
}

void xen_event(void *user, libxl_event *ev)
{
    struct xen_work *w;
    struct xen_dom *d;

    OBJ_FROM(w, user, XEN_WORK_MAGIC);
    if (ev->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN || ev->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH) {
        d = xen_by_id(w, ev->domid);
        if (d != NULL && ev->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH) {
            d->dead = true;
        }
        w->rescan = true;
    }
    libxl_event_free(w->ctx, ev);
}

/* --- jobs --------------------------------------------------------------------------------------
 */

static bool listed(const struct drv_domain *list, size_t n, const char *vm)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(list[i].vm, vm)) {
            return true;
        }
    }
    return false;
}

void xen_list(struct xen_job *j)
{
    struct xen_work *w = j->w;
    const char *key;
    void *v;

    if (xen_scan(w, &j->err) != 0) {
        j->failed = true;
        xen_job_done(j);
        return;
    }
    j->domains = mem_alloc((w->doms.count + 1) * sizeof(*j->domains));
    for (size_t i = 0; map_next(&w->doms, &i, &key, &v);) {
        const struct xen_dom *d = v;

        if (d->state != DOM_UNKNOWN && !listed(j->domains, j->n_domains, d->vm) &&
            view(w, d->vm, &j->domains[j->n_domains])) {
            j->n_domains++;
        }
    }
    xen_job_done(j);
}

void xen_caps(struct xen_work *w)
{
    const libxl_version_info *v = libxl_get_version_info(w->ctx);
    libxl_physinfo p;

    libxl_physinfo_init(&p);
    if (v != NULL) {
        (void)snprintf(w->caps.version, sizeof(w->caps.version), "xen-%d.%d%s",
                       v->xen_version_major, v->xen_version_minor,
                       v->xen_version_extra == NULL ? "" : v->xen_version_extra);
    }
    if (libxl_get_physinfo(w->ctx, &p) == 0) {
        w->caps.pv = p.cap_pv;
        w->caps.hvm = p.cap_hvm;
        w->caps.hap = p.cap_hap;
        w->caps.pv_logdirty = p.cap_shadow;
    }
    libxl_physinfo_dispose(&p);
}

void xen_capacity(struct xen_job *j)
{
    struct xen_work *w = j->w;
    uint64_t page = 4096;
    libxl_physinfo p;
    uint64_t free_pages;
    int rc;

    libxl_physinfo_init(&p);
    rc = libxl_get_physinfo(w->ctx, &p);
    if (rc != 0) {
        libxl_physinfo_dispose(&p);
        xen_job_fail_rc(j, ERR_DRIVER, rc, "ask the hypervisor what the host has");
        return;
    }
    free_pages = p.free_pages + p.scrub_pages;
    free_pages -= p.outstanding_pages < free_pages ? p.outstanding_pages : free_pages;
    j->capacity = (struct drv_capacity){
        .memory_bytes = p.total_pages * page,
        .memory_free_bytes = free_pages * page,
        .cpus = p.nr_cpus,
        .hypervisor = mem_strdup(w->caps.version),
        .live = w->mover != NULL,
        .live_pv = w->mover != NULL && w->caps.pv_logdirty,
    };
    libxl_physinfo_dispose(&p);
    xen_job_done(j);
}
