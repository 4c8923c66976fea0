/* Status of Hosts, of the Cluster, and of objects whose references are missing. */

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/capacity.h"
#include "cmd/picketd/ctl_disk.h"
#include "cmd/picketd/ctl_facts.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/upkeep.h"
#include "cmd/picketd/view.h"

/* --- hosts -------------------------------------------------------------------------------------
 */

static void set_int(json_t *obj, const char *path, uint64_t v)
{
    jset(obj, path, json_integer((json_int_t)v));
}

static void host_lease(const struct s_inc *inc, json_t *next)
{
    set_int(next, "status.lease.leaseMs", inc->loosest.lease_ms); /* that may be in force */
    jset(next, "status.lease.onQuorumLoss",
         json_string(quorum_loss_name(inc->offered.on_quorum_loss)));
    jset(next, "status.lease.watchdog", json_string(wd_name(inc->offered.wd)));
    set_int(next, "status.lease.watchdogMs", inc->offered.watchdog_ms);
    jset(next, "status.lease.guarded", json_boolean(inc->offered.guarded));
}

static void host_update(struct pass *p, const struct ctl_obj *o, const struct decide_cond *d)
{
    const struct s_inc *inc = pass_inc(p, o->name);
    json_t *next = json_deep_copy(o->json);
    char fencing[OBJECT_NAME_MAX];

    set_int(next, "status.incarnation", inc == NULL ? 0 : inc->number);
    jset(next, "status.incarnationState",
         json_string(inc == NULL ? "None" : inc_state_name(inc->state)));
    if (inc != NULL) {
        host_lease(inc, next);
    }
    if (inc != NULL && inc->fencing != 0) {
        (void)snprintf(fencing, sizeof(fencing), "%s-%" PRIu64, o->name, inc->fencing);
        jset(next, "status.fencing", json_string(fencing));
    } else {
        (void)json_object_del(json_object_get(next, "status"), "fencing");
    }
    ctl_drain_status(p, o, next);
    ctl_netcheck_host(p, o, next);
    (void)cond_set(next, "Ready", d->ready, d->reason, d->message, p->wall_ms);
    (void)cond_set(next, "FencingReady", d->fencing_ready, d->fencing_reason, d->fencing_message,
                   p->wall_ms);
    fence_host_status(p, o, next);
    pass_update(p, o, next);
}

void ctl_host_pass(struct pass *p, const struct decide_plan *d)
{
    for (size_t i = 0; i < d->n_conds; i++) {
        const struct ctl_obj *o = ctl_find(p->c, "hosts", d->conds[i].host);

        if (o != NULL) {
            host_update(p, o, &d->conds[i]);
        }
    }
}

/* --- references --------------------------------------------------------------------------------
 */

struct refs {
    struct pass *p;
    struct buf *out;
};

static void ref_add(struct refs *r, const struct kind *k, const char *name)
{
    if (k != NULL && ctl_find(r->p->c, k->plural, name) == NULL) {
        buf_printf(r->out, "%s%s %s", r->out->len == 0 ? "" : ", ", k->name, name);
    }
}

static void ref_check(void *ctx, const char *ref_kind, const char *name, const char *path)
{
    (void)path;
    ref_add(ctx, kind_find(ref_kind), name);
}

/* The world has already read what its objects refer to. */
static void refs_of(struct refs *r, const struct ctl_obj *o)
{
    if (o->rev == 0) { /* of a what-if */
        obj_refs(o->k, o->json, ref_check, r);
        return;
    }
    for (size_t i = 0; i < o->n_refs; i++) {
        if (!o->refs[i].owner) {
            ref_add(r, o->refs[i].k, o->refs[i].name);
        }
    }
}

const char *pass_missing_refs(struct pass *p, const struct ctl_obj *o)
{
    struct buf b = { 0 };
    struct refs r = { .p = p, .out = &b };
    const char *text;

    if (o->rev != 0 && o->n_refs == 0) {
        return "";
    }

    refs_of(&r, o);
    text = b.len == 0 ? "" : arena_strdup(&p->a, buf_cstr(&b));
    buf_done(&b);
    return text;
}

/* Kinds that hosts realise: Ready when every live host that reports them says so. */
static bool on_hosts(const struct kind *k)
{
    static const char *const kinds[] = { "ISCSITarget",     "LUN",    "MultipathPolicy",
                                         "VolumeGroup",     "Volume", "Bond",
                                         "Bridge",          "VLAN",   "NetworkCheck",
                                         "SharedFilesystem" };

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(k->name, kinds[i])) {
            return true;
        }
    }
    return false;
}

/* Kinds that can be declared, but that nothing on the hosts handles yet. */
static bool on_no_host(const struct kind *k)
{
    return str_eq(k->name, "ReplicatedVolume") || str_eq(k->name, "ISCSIExport") ||
           str_eq(k->name, "VirtualIP");
}

/* What the hosts report of one object, in a condition's words. */
struct realised {
    size_t ready, hosts;
    const char *bad_host, *reason, *message;
    const char *good_reason;
};

static void realised_on(struct pass *p, const struct ctl_obj *o, struct realised *r)
{
    const struct world_reports *reps = world_reports_of(p->c->world, o->k->plural, o->name);

    for (size_t i = 0; reps != NULL && i < reps->n; i++) {
        const json_t *rep = reps->items[i]->json;
        const char *host = reps->items[i]->host;

        if (!pass_host_ready(p, host) || ctl_find(p->c, "hosts", host) == NULL) {
            continue;
        }
        r->hosts++;
        if (str_eq(jget_str(rep, "state", ""), "Ready")) {
            r->ready++;
            r->good_reason = jget_str(rep, "reason", "Ready");
        } else if (r->bad_host == NULL || strcmp(host, r->bad_host) < 0) {
            r->bad_host = host;
            r->reason = jget_str(rep, "reason", "NotReady");
            r->message = jget_str(rep, "message", "");
        }
    }
}

static void ref_condition(struct pass *p, const struct ctl_obj *o, const char *missing,
                          json_t *next)
{
    struct realised r = { 0 };
    char *message = NULL;

    if (*missing != 0) {
        message = arena_printf(&p->a, "waits for %s, which does not exist (yet)", missing);
        (void)cond_set(next, "Ready", "False", "ReferenceNotFound", message, p->wall_ms);
        return;
    }
    if (on_no_host(o->k)) { /* what nobody looks at is not well (C25) */
        message = arena_printf(&p->a,
                               "this version of Picket does nothing for a %s: it is only "
                               "declared",
                               o->k->name);
        (void)cond_set(next, "Ready", "False", "NotSupported", message, p->wall_ms);
        return;
    }
    if (!on_hosts(o->k)) {
        if (cond_get(next, "Ready") != NULL) {
            (void)cond_set(next, "Ready", "True", "ReferencesFound", "", p->wall_ms);
        }
        return;
    }
    realised_on(p, o, &r);
    if (r.bad_host != NULL) {
        message = arena_printf(&p->a, "%s: %s", r.bad_host, r.message);
        (void)cond_set(next, "Ready", "False", r.reason, message, p->wall_ms);
    } else if (r.ready > 0) {
        message = arena_printf(&p->a, "on %zu host%s", r.ready, r.ready == 1 ? "" : "s");
        (void)cond_set(next, "Ready", "True", r.good_reason, message, p->wall_ms);
    } else {
        (void)cond_set(next, "Ready", "False", "Pending", "no host has reported it yet",
                       p->wall_ms);
    }
}

/* VirtualMachines, Hosts and the Cluster have writers of their own. */
static bool has_own_writer(const struct kind *k)
{
    return str_eq(k->name, "VirtualMachine") || str_eq(k->name, "Host") ||
           str_eq(k->name, "Cluster") || str_eq(k->name, "Migration") ||
           str_eq(k->name, "Secret") || str_eq(k->name, "FenceDevice");
}

/* Devices depend on probes, of which nothing in the store tells. */
void ctl_device_pass(struct pass *p)
{
    const struct kind *k = kind_by_plural("fencedevices");
    const struct ctl_obj *o;

    for (size_t pos = 0; !pass_full(p) && (o = ctl_next(p->c, k, &pos)) != NULL;) {
        json_t *next = json_deep_copy(o->json);
        const char *missing = pass_missing_refs(p, o);

        if (*missing == 0) {
            fence_device_status(p, o, next);
        } else {
            ref_condition(p, o, missing, next);
        }
        pass_update(p, o, next);
    }
}

void ctl_ref_one(struct pass *p, const struct ctl_obj *o)
{
    const char *missing;
    json_t *next;

    if (has_own_writer(o->k)) {
        return;
    }
    missing = pass_missing_refs(p, o);
    next = json_deep_copy(o->json);
    ref_condition(p, o, missing, next);
    ctl_disk_status(p, o, next);
    if (str_eq(o->k->name, "NetworkCheck") && *missing == 0) {
        ctl_netcheck_status(p, o, next);
    }
    pass_update(p, o, next);
}

/* --- the cluster -------------------------------------------------------------------------------
 */

static void count_machines(struct pass *p, json_t *next)
{
    const struct kind *k = kind_by_plural("virtualmachines");
    uint64_t total = 0, ready = 0;
    struct ctl_obj *o;

    if (!p->c->counts_dirty) {
        return;
    }
    p->c->counts_dirty = false;
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        const struct vm_facts *f = ctl_vm_facts(o);

        if (f->on) {
            total++;
            ready += f->running ? 1U : 0U;
        }
    }
    set_int(next, "status.virtualMachines.total", total);
    set_int(next, "status.virtualMachines.ready", ready);
}

static void count_hosts(struct pass *p, json_t *next)
{
    const struct kind *hk = kind_by_plural("hosts");
    const struct ctl_obj *o;
    uint64_t total = 0, ready = 0;

    for (size_t pos = 0; (o = ctl_next(p->c, hk, &pos)) != NULL; total++) {
        ready += pass_host_ready(p, o->name) ? 1U : 0U;
    }
    set_int(next, "status.hosts.total", total);
    set_int(next, "status.hosts.ready", ready);
}

static void voters(struct pass *p, json_t *next)
{
    struct rep_peer_info peers[32];
    size_t n = rep_peers(p->c->node->rep, peers, ARRAY_LEN(peers));
    json_t *list = json_array();
    size_t up = 0;

    for (size_t i = 0; i < n; i++) {
        bool ok = peers[i].reachable || peers[i].id == p->c->node->id;

        up += ok;
        (void)json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", peers[i].name,
                                                    "reachable", ok, "role",
                                                    peers[i].role == REP_VOTER     ? "Voter"
                                                    : peers[i].role == REP_STANDBY ? "Standby"
                                                                                   : "Spare"));
    }
    jset(next, "status.voters", list);
    jset(next, "status.quorum", json_true());
    (void)cond_set(next, "Ready", "True", up == n ? "AllVotersReachable" : "VotersMissing",
                   arena_printf(&p->a, "%zu of %zu voters reachable", up, n), p->wall_ms);
}

/* Room, and whether the replicas agree. */
static void store_health(struct pass *p, json_t *next)
{
    struct store_room r;
    struct upkeep_view v;
    const char *why = "";

    store_room(p->c->node->store, &r);
    upkeep_view(p->c->node, &v);
    set_int(next, "status.featureLevel", v.level);
    jset(next, "status.versions", upkeep_versions(p->c->node));
    if (v.nospace || v.raw_nospace) {
        /* no exact numbers: each would be a change of the store */
        why = v.disks_low[0] != 0 ? arena_printf(&p->a, "nearly full disks: %s", v.disks_low)
              : v.nospace
                  ? arena_printf(&p->a, "%zu%% of spec.storage.quota (%zu bytes) are used",
                                 r.bytes / (r.quota / 100), r.quota)
                  : arena_printf(&p->a, "%zu%% of the quota of raw keys (%zu bytes) are used",
                                 r.raw_bytes / (r.raw_quota / 100), r.raw_quota);
        why = arena_printf(&p->a, "%s: what grows is refused%s; delete something or add room", why,
                           v.nospace ? "" : " in the raw key space");
    }
    (void)cond_set(next, "Storage", v.nospace || v.raw_nospace ? "False" : "True",
                   v.nospace || v.raw_nospace ? "NoSpace" : "HasRoom",
                   v.nospace || v.raw_nospace ? why : "", p->wall_ms);
    (void)cond_set(next, "ReplicasAgree", v.diverged[0] != 0 ? "False" : "True",
                   v.diverged[0] != 0 ? "Diverged" : "HashesEqual",
                   v.diverged[0] == 0
                       ? ""
                       : arena_printf(&p->a,
                                      "the state of %s differs from the others': it was told to "
                                      "end; remove that member and join it anew",
                                      v.diverged),
                   p->wall_ms);
}

void ctl_cluster_pass(struct pass *p)
{
    const struct ctl_obj *o = ctl_find(p->c, "clusters", "cluster");
    json_t *next;

    if (o == NULL) {
        return;
    }
    next = json_deep_copy(o->json);
    jset(next, "status.leader", json_string(p->c->node->opts.name));
    set_int(next, "status.term", p->c->term);
    jset(next, "status.clusterID", json_string(p->c->node->opts.cluster));
    voters(p, next);
    store_health(p, next);
    count_hosts(p, next);
    count_machines(p, next);
    capacity_status(p, next);
    pass_update(p, o, next);
}
