/* A world: its machines, its network, and what can be seen of it. */

#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "cmd/picketd/node.h"
#include "reconciler/sim_drv.h"
#include "tests/sim/sim_priv.h"

struct machine *sim_machine(const struct sim *s, const char *name)
{
    for (unsigned i = 0; i <= s->n_machines; i++) {
        if (str_eq(s->machines[i].name, name)) {
            return (struct machine *)(uintptr_t)&s->machines[i];
        }
    }
    (void)fprintf(stderr, "sim: there is no machine \"%s\"\n", name);
    abort();
}

bool sim_machine_exists(const struct sim *s, const char *name)
{
    for (unsigned i = 0; i < s->n_machines; i++) {
        if (str_eq(s->machines[i].name, name)) {
            return true;
        }
    }
    return false;
}

size_t sim_machines(const struct sim *s)
{
    return s->n_machines;
}

const char *sim_machine_name(const struct sim *s, size_t i)
{
    CHECK(i < s->n_machines);
    return s->machines[i].name;
}

bool sim_has_agent(const struct sim *s, const char *machine)
{
    return sim_machine(s, machine)->is_host;
}

const struct sim_opts *sim_options(const struct sim *s)
{
    return &s->opts;
}

static void defaults(struct sim_opts *o)
{
    CHECK(o->hosts >= 1 && o->hosts <= SIM_HOSTS_MAX);
    o->voters = o->voters != 0 ? o->voters : o->hosts >= 5 ? 5 : o->hosts >= 3 ? 3 : o->hosts;
    o->voters = o->voters > o->hosts ? o->hosts : o->voters;
    o->links = o->links == 0 ? 1 : o->links;
    CHECK(o->links <= SIM_LINKS_MAX);
    o->heartbeat_ms = o->heartbeat_ms == 0 ? 500 : o->heartbeat_ms;
    o->host_timeout_ms = o->host_timeout_ms == 0 ? 3000 : o->host_timeout_ms;
    o->watchdog_ms = o->watchdog_ms == 0 ? 5000 : o->watchdog_ms;
    o->boot_ms = o->boot_ms == 0 ? 8000 : o->boot_ms;
    o->watchdog =
        o->watchdog || o->fencing == SIM_FENCE_WATCHDOG || o->fencing == SIM_FENCE_PDU_WATCHDOG;
}

struct sim *sim_new(const struct sim_opts *opts)
{
    struct sim *s;

    CHECK(sim_world == NULL);
    sim_heap_init();
    sim_crash_on_check();
    json_object_seed(1);
    s = OBJ_NEW(struct sim);
    sim_world = s;
    s->opts = *opts;
    defaults(&s->opts);
    if (opts->debug) {
        lg_set_level(LG_DEBUG);
    }
    prng_init(&s->prng, opts->seed);
    s->now = 1000000;
    s->lat_min = 100;
    s->lat_max = 700;
    s->log_hash = 0xcbf29ce484222325ULL;
    s->san = sim_san_new();
    (void)str_copy(s->cluster, sizeof(s->cluster), "5b0c9d1e-0000-4000-8000-000000000001");
    check_new(s);
    for (unsigned i = 0; i < s->opts.hosts; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "node%u", i + 1);
        machine_new(s, i, name, true, i < s->opts.voters);
    }
    s->n_machines = s->opts.hosts;
    if (s->opts.witness) {
        machine_new(s, s->n_machines, "witness", false, true);
        s->n_machines++;
    }
    machine_new(s, s->n_machines, "admin", false, false);
    s->admin = &s->machines[s->n_machines];
    sim_devs_new(s);
    for (unsigned i = 0; i < s->n_machines; i++) {
        machine_power(&s->machines[i], true, "the operator");
    }
    user_start(s);
    return s;
}

void sim_free(struct sim *s)
{
    for (unsigned i = 0; i <= s->n_machines; i++) {
        machine_free(&s->machines[i]);
    }
    sim_san_free(s->san);
    free(s->slots);
    sim_devs_free(s);
    check_free(s);
    sim_net_reset();
    sim_uv_reset();
    sim_core_free(s);
    free(s);
    sim_world = NULL;
}

/* --- network faults ----------------------------------------------------------------------------
 */

static void set_cut(struct sim *s, int link, unsigned from, unsigned to, bool cut)
{
    for (unsigned l = 0; l < SIM_LINKS_MAX; l++) {
        if (from != to && (link < 0 || (unsigned)link == l)) {
            s->cut[l][from][to] = cut;
        }
    }
    machine_hurt(&s->machines[from]);
    machine_hurt(&s->machines[to]);
}

static void cut_one(struct sim *s, const char *from, const char *to, int link, bool cut)
{
    for (unsigned a = 0; a <= s->n_machines; a++) {
        for (unsigned b = 0; b <= s->n_machines; b++) {
            if ((from == NULL || str_eq(s->machines[a].name, from)) &&
                (to == NULL || str_eq(s->machines[b].name, to)) && a != b) {
                set_cut(s, link, a, b, cut);
            }
        }
    }
}

static const char *or_all(const char *name)
{
    return name == NULL ? "everybody" : name;
}

void sim_cut(struct sim *s, const char *from, const char *to, int link, bool cut)
{
    sim_log(s, "fault: packets from %s to %s %s", or_all(from), or_all(to),
            cut ? "are lost" : "arrive");
    s->stats.faults++;
    cut_one(s, from, to, link, cut);
}

void sim_cut_both(struct sim *s, const char *a, const char *b, int link, bool cut)
{
    sim_log(s, "fault: network between %s and %s %s", or_all(a), or_all(b), cut ? "cut" : "healed");
    s->stats.faults++;
    cut_one(s, a, b, link, cut);
    cut_one(s, b, a, link, cut);
}

void sim_isolate(struct sim *s, const char *machine, bool cut)
{
    sim_log(s, "fault: %s is %s", machine, cut ? "isolated" : "connected again");
    s->stats.faults++;
    cut_one(s, machine, NULL, SIM_ALL_LINKS, cut);
    cut_one(s, NULL, machine, SIM_ALL_LINKS, cut);
    sim_machine(s, machine)->no_gateway = cut;
    sim_devs_isolate(s, sim_machine(s, machine), cut);
}

void sim_gateway_cut(struct sim *s, const char *machine, bool cut)
{
    sim_log(s, "fault: %s %s the users' network", machine, cut ? "loses" : "reaches");
    s->stats.faults++;
    sim_machine(s, machine)->no_gateway = cut;
}

void sim_heal(struct sim *s)
{
    sim_log(s, "fault: the network is healed");
    for (unsigned i = 0; i < s->n_machines; i++) {
        s->machines[i].no_gateway = false;
    }
    cut_one(s, NULL, NULL, SIM_ALL_LINKS, false);
    sim_devs_heal(s);
}

void sim_latency(struct sim *s, unsigned min_us, unsigned max_us)
{
    CHECK(min_us <= max_us);
    sim_log(s, "fault: packets take %u to %u us", min_us, max_us);
    s->lat_min = min_us;
    s->lat_max = max_us;
}

/* --- looking -----------------------------------------------------------------------------------
 */

const char *sim_leader(const struct sim *s)
{
    uint64_t best = 0;
    const char *name = "";

    for (unsigned i = 0; i < s->n_machines; i++) {
        const struct proc *p = &s->machines[i].procs[PROC_PICKETD];

        if (p->alive && p->rep != NULL && p->node->rep != NULL && node_leads(p->node) &&
            rep_term(p->rep) > best) {
            best = rep_term(p->rep);
            name = s->machines[i].name;
        }
    }
    return name;
}

void sim_stats(const struct sim *s, struct sim_stats *ret)
{
    *ret = s->stats;
    ret->host_ms = s->now / 1000 * s->opts.hosts;
}

/* --- the book's cluster ------------------------------------------------------------------------
 */

static void yaml_host(const struct sim *s, const struct machine *m, struct buf *b)
{
    static const char *const levels[] = {
        [SIM_FENCE_PDU] = "  - devices: [pdu]\n",
        [SIM_FENCE_BMC] = "  - devices: [%s-bmc]\n",
        [SIM_FENCE_BMC_PDU] = "  - devices: [%s-bmc]\n  - devices: [pdu]\n",
        [SIM_FENCE_WATCHDOG] = "  - devices: [watchdog]\n",
        [SIM_FENCE_PDU_WATCHDOG] = "  - devices: [pdu]\n  - devices: [watchdog]\n",
        [SIM_FENCE_NONE] = "",
    };
    const char *text = levels[s->opts.fencing];
    const char *name = strstr(text, "%s");

    buf_printf(b, "---\napiVersion: picket/v1\nkind: Host\nmetadata: {name: %s}\nspec:\n", m->name);
    buf_printf(b, "  addresses: [10.0.0.%u%s", m->i + 1, s->opts.links > 1 ? ", 10.1.0." : "]\n");
    if (s->opts.links > 1) {
        buf_printf(b, "%u]\n", m->i + 1);
    }
    if (s->opts.fencing != SIM_FENCE_NONE) {
        buf_printf(b, "  fencing:\n");
    }
    if (name == NULL) {
        buf_add_str(b, text);
    } else {
        buf_printf(b, "%.*s%s%s", (int)(name - text), text, m->name, name + 2);
    }
}

static void yaml_devices(const struct sim *s, struct buf *b)
{
    buf_add_str(b, "---\napiVersion: picket/v1\nkind: Secret\nmetadata: {name: pdu}\n"
                   "stringData: {community: private}\n"
                   "---\napiVersion: picket/v1\nkind: FenceDevice\nmetadata: {name: pdu}\n"
                   "spec: {type: ApcSnmp, address: 192.168.9.1, outlets: Auto,\n"
                   "  communityRef: {secret: pdu, key: community}}\n"
                   "---\napiVersion: picket/v1\nkind: FenceDevice\nmetadata: {name: watchdog}\n"
                   "spec: {type: Watchdog}\n");
    for (unsigned i = 0; i < s->opts.hosts; i++) {
        buf_printf(b,
                   "---\napiVersion: picket/v1\nkind: FenceDevice\nmetadata: {name: %s-bmc}\n"
                   "spec: {type: Agent, agent: fence_ipmilan, address: 192.168.9.%u}\n",
                   s->machines[i].name, 10 + i);
    }
}

static void yaml_vm(unsigned i, struct buf *b)
{
    buf_printf(b,
               "---\napiVersion: picket/v1\nkind: VolumeGroup\nmetadata: {name: vg%u}\n"
               "spec: {luns: [lun%u]}\n"
               "---\napiVersion: picket/v1\nkind: LUN\nmetadata: {name: lun%u}\n"
               "spec: {target: san, lun: %u}\n"
               "---\napiVersion: picket/v1\nkind: Volume\nmetadata: {name: lv%u}\n"
               "spec: {volumeGroup: vg%u, size: 10Gi, access: Exclusive}\n",
               i, i, i, i, i, i);
    buf_printf(b,
               "---\napiVersion: picket/v1\nkind: VirtualMachine\nmetadata: {name: vm%u}\n"
               "spec:\n  runPolicy: Running\n  virt: PVH\n  memory: 2Gi\n  vcpus: 1\n"
               "  boot: {kernel: /boot/vmlinuz}\n"
               "  disks:\n  - {name: root, volume: lv%u, target: xvda}\n"
               "  ha: {policy: Restart, onGuestPoweroff: Restart, restartLimit: {count: 1000}}\n",
               i, i);
}

/* As long as the product's default; more where leases are long. */
uint64_t sim_grace_ms(const struct sim_opts *o)
{
    uint64_t leases = 4ULL * o->host_timeout_ms;

    return leases > 20000 ? leases : 20000;
}

char *sim_base_yaml(struct sim *s, unsigned vms)
{
    unsigned limit = s->opts.fence_limit == 0 ? 64 : s->opts.fence_limit;
    struct buf b = { 0 };

    buf_printf(
        &b,
        "apiVersion: picket/v1\nkind: Cluster\nmetadata: {name: cluster}\nspec:\n"
        "  onQuorumLoss: %s\n  timing: {heartbeat: %ums, hostTimeout: %ums}\n"
        "  fencing: {action: Off, startupGrace: %" PRIu64 "ms, maxPerWindow: %u, maxPerHost: %u,\n"
        "    window: 10m%s}\n",
        s->opts.freeze ? "Freeze" : "Stop", s->opts.heartbeat_ms, s->opts.host_timeout_ms,
        sim_grace_ms(&s->opts), limit, limit, s->opts.slot ? ", storageHeartbeat: heartbeat" : "");
    yaml_devices(s, &b);
    for (unsigned i = 0; i < s->opts.hosts; i++) {
        yaml_host(s, &s->machines[i], &b);
    }
    if (vms > 0) {
        buf_add_str(&b, "---\napiVersion: picket/v1\nkind: ISCSITarget\nmetadata: {name: san}\n"
                        "spec: {iqn: 'iqn.2026-01.org.example:san', portals: ['10.9.0.1:3260']}\n");
    }
    for (unsigned i = 1; i <= vms; i++) {
        yaml_vm(i, &b);
    }
    if (s->opts.slot) {
        buf_add_str(&b, "---\napiVersion: picket/v1\nkind: Volume\nmetadata: {name: heartbeat}\n"
                        "spec: {volumeGroup: vg1, size: 4Mi, access: Shared}\n");
    }
    return buf_take(&b, NULL);
}
