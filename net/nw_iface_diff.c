/* One wanted interface: from what is to what should be.
 *
 * Addresses move in this order: the new place gets the address first (the host always has it),
 * then the card joins, then the routes follow, then the old place gives the address up.
 */

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw_plan_priv.h"

void plan_bring_up(struct planner *p, const char *name, const char *why)
{
    const struct nw_link *l = nw_obs_link(&p->now, name);

    if (l != NULL && !l->up) {
        plan_emit(p, plan_op(NW_OP_UP, name), plan_op(NW_OP_DOWN, name), "%s", why);
    }
}

/* --- creation ----------------------------------------------------------------------------------
 */

static void create(struct planner *p, const struct nw_iface *f, const char *why)
{
    struct nw_op op = plan_op_other(NW_OP_ADD_LINK, f->name, f->lower);

    op.link_kind = f->kind;
    op.vlan_id = f->vlan_id;
    op.bond = f->bond;
    op.bond.set &= ~(uint32_t)NW_BOND_PRIMARY; /* when it is a member */
    op.bridge = f->bridge;
    if (!f->bridge.vlan_filtering) { /* so it is anyway; some kernels know no such option */
        op.bridge.set &= ~(uint32_t)NW_BRIDGE_VLANS;
    }
    plan_emit(p, op, plan_op(NW_OP_DEL_LINK, f->name), "%s", why);
    p->made[f - p->want->ifaces] = true;
}

/* Id and link of a VLAN cannot be changed. */
static bool vlan_differs(const struct nw_iface *f, const struct nw_link *l)
{
    return f->kind == NW_VLAN && (l->vlan_id != f->vlan_id || strcmp(l->lower, f->lower) != 0);
}

static void create_if_needed(struct planner *p, const struct nw_iface *f)
{
    const struct nw_link *l = nw_obs_link(&p->now, f->name);

    if (l == NULL) {
        create(p, f, "it does not exist");
    } else if (vlan_differs(f, l)) {
        plan_delete_link(p, f->name);
        create(p, f, "link or id has changed");
    }
}

/* --- members -----------------------------------------------------------------------------------
 */

static void attach(struct planner *p, const struct nw_iface *f, const char *name)
{
    const struct nw_link *l = nw_obs_link(&p->now, name);

    if (l == NULL) {
        return;
    }
    if (strcmp(l->master, f->name) == 0) {
        plan_bring_up(p, name, "a member has to be on");
        return;
    }
    if (l->master[0] != 0) {
        plan_leave(p, name, "it moves to %s", f->name);
        l = nw_obs_link(&p->now, name);
    }
    if (f->kind == NW_BOND && l->up) {
        plan_emit(p, plan_op(NW_OP_DOWN, name), plan_op(NW_OP_UP, name),
                  "a bond takes only cards that are off, and switches them on");
    } else if (f->kind == NW_BRIDGE) {
        plan_bring_up(p, name, "a port has to be on");
    }
    if (f->kind == NW_BOND) {
        plan_keep_vlan_mtu(p, name, nw_obs_link(&p->now, f->name)->mtu);
    }
    plan_emit(p, plan_op_other(NW_OP_MASTER, name, f->name), plan_op_other(NW_OP_MASTER, name, ""),
              "declared as part of %s", f->name);
}

static void note_member(struct nw_owned *o, const char *name)
{
    for (size_t i = 0; i < o->n_members; i++) {
        if (strcmp(o->members[i], name) == 0) {
            return;
        }
    }
    if (o->n_members < NW_MEMBERS) {
        (void)str_copy(o->members[o->n_members++], NW_NAME, name);
    }
}

static void attach_all(struct planner *p, const struct nw_iface *f, struct nw_owned *o)
{
    for (size_t i = 0; i < f->n_members; i++) {
        const struct nw_link *l = nw_obs_link(p->before, f->members[i]);
        bool was = l != NULL && strcmp(l->master, f->name) == 0;

        attach(p, f, f->members[i]);
        if (!was && nw_obs_link(&p->now, f->members[i]) != NULL) {
            note_member(o, f->members[i]);
        }
    }
}

/* --- addresses ---------------------------------------------------------------------------------
 */

/* Where else the address is, as the world was, or NULL. */
static const struct nw_ifaddr *elsewhere(const struct nw_obs *o, const char *dev,
                                         const struct nw_addr *a)
{
    for (size_t i = 0; i < o->n_addrs; i++) {
        if (nw_ip_eq(&o->addrs[i].addr.ip, &a->ip) && strcmp(o->addrs[i].dev, dev) != 0) {
            return &o->addrs[i];
        }
    }
    return NULL;
}

static void note_addr(struct nw_owned *o, const struct nw_addr *a, const char *from)
{
    struct nw_owned_addr *x;

    if (o->n_addrs >= NW_ADDRESSES) {
        return;
    }
    x = &o->addrs[o->n_addrs++];
    x->addr = *a;
    (void)str_copy(x->from, sizeof(x->from), from);
}

static void add_addrs(struct planner *p, const struct nw_iface *f, struct nw_owned *o)
{
    for (size_t i = 0; i < f->n_addrs; i++) {
        const struct nw_addr *a = &f->addrs[i];
        const struct nw_ifaddr *old = elsewhere(&p->now, f->name, a);

        if (nw_obs_addr(&p->now, f->name, a) != NULL) {
            continue;
        }
        note_addr(o, a, old != NULL ? old->dev : "");
        plan_emit(p, plan_op_addr(NW_OP_ADDR_ADD, f->name, a),
                  plan_op_addr(NW_OP_ADDR_DEL, f->name, a), "%s%s",
                  old != NULL ? "it moves here from " : "declared", old != NULL ? old->dev : "");
    }
}

static void give_up_addrs(struct planner *p, const struct nw_iface *f)
{
    for (size_t i = 0; i < f->n_addrs; i++) {
        const struct nw_ifaddr *old;

        while ((old = elsewhere(&p->now, f->name, &f->addrs[i])) != NULL) {
            struct nw_ifaddr x = *old;

            plan_emit(p, plan_op_addr(NW_OP_ADDR_DEL, x.dev, &x.addr),
                      plan_op_addr(NW_OP_ADDR_ADD, x.dev, &x.addr), "it moved to %s", f->name);
        }
    }
}

/* --- routes ------------------------------------------------------------------------------------
 */

static void put_route(struct planner *p, const struct nw_route *r, const char *why)
{
    struct nw_op op = plan_op(NW_OP_ROUTE_PUT, r->dev);
    struct nw_op inverse = plan_op(NW_OP_ROUTE_DEL, r->dev);
    const struct nw_route *old = nw_obs_route(&p->now, r);

    op.route = *r;
    inverse.route = *r;
    if (old != NULL) {
        inverse.kind = NW_OP_ROUTE_PUT;
        inverse.route = *old;
        (void)str_copy(inverse.dev, sizeof(inverse.dev), old->dev);
    }
    plan_emit(p, op, inverse, "%s", why);
}

static void put_gateway(struct planner *p, const struct nw_iface *f, struct nw_owned *o)
{
    struct nw_route r = { .protocol = RTPROT_STATIC,
                          .type = RTN_UNICAST,
                          .table = RT_TABLE_MAIN,
                          .metric = f->gateway.family == AF_INET6 ? 1024 : 0,
                          .dst = { .family = f->gateway.family },
                          .gw = f->gateway };
    const struct nw_route *have;

    if (f->gateway.family == 0) {
        return;
    }
    (void)str_copy(r.dev, sizeof(r.dev), f->name);
    have = nw_obs_route(&p->now, &r);
    if (have != NULL && strcmp(have->dev, r.dev) == 0 && nw_ip_eq(&have->gw, &r.gw)) {
        return;
    }
    o->gateway = f->gateway;
    put_route(p, &r, "declared");
}

/* A default route that makes place for a declared one, or is not declared any more. */
static bool is_superseded(const struct planner *p, const struct nw_route *r)
{
    const struct nw_link *l = nw_obs_link(&p->now, r->dev);

    for (size_t i = 0; i < p->n_dropped; i++) {
        if (nw_route_eq(&p->dropped[i], r)) {
            return true;
        }
    }

    for (size_t i = 0; r->dst_len == 0 && i < p->want->n_ifaces; i++) {
        if (p->plan->verdicts[i].kind == NW_OK &&
            p->want->ifaces[i].gateway.family == r->dst.family) {
            return r->metric == (r->dst.family == AF_INET6 ? 1024U : 0U) || l == NULL ||
                   l->master[0] != 0;
        }
    }
    return false;
}

static bool usable(const struct planner *p, const char *dev, const char *leaving)
{
    const struct nw_link *l = nw_obs_link(&p->now, dev);

    return l != NULL && l->up && l->master[0] == 0 &&
           (leaving == NULL || strcmp(dev, leaving) != 0);
}

/* The interface that a route should use now: its own, or where the address went that it needs. */
static const char *home_of(const struct planner *p, const struct nw_route *r, const char *leaving)
{
    if (usable(p, r->dev, leaving)) {
        return r->dev;
    }
    for (size_t i = 0; i < p->now.n_addrs; i++) {
        const struct nw_ifaddr *a = &p->now.addrs[i];
        bool fits = r->src.family != 0 ? nw_ip_eq(&a->addr.ip, &r->src)
                                       : r->gw.family != 0 && nw_addr_covers(&a->addr, &r->gw);

        if (fits && a->scope == RT_SCOPE_UNIVERSE && usable(p, a->dev, leaving)) {
            return a->dev;
        }
    }
    return NULL;
}

static void rehome_addrs(struct planner *p)
{
    for (size_t i = 0; i < p->before->n_addrs; i++) {
        const struct nw_ifaddr *a = &p->before->addrs[i];

        if (a->addr.ip.family == AF_INET6 && a->permanent && a->scope == RT_SCOPE_UNIVERSE &&
            usable(p, a->dev, NULL) && nw_obs_addr(&p->now, a->dev, &a->addr) == NULL &&
            elsewhere(&p->now, a->dev, &a->addr) == NULL) {
            plan_emit(p, plan_op_addr(NW_OP_ADDR_ADD, a->dev, &a->addr),
                      plan_op_addr(NW_OP_ADDR_DEL, a->dev, &a->addr),
                      "it was lost while %s was off", a->dev);
        }
    }
}

void plan_rehome(struct planner *p, const char *leaving)
{
    if (leaving == NULL) {
        rehome_addrs(p);
    }
    for (size_t i = 0; i < p->before->n_routes; i++) {
        struct nw_route r = p->before->routes[i];
        const struct nw_route *have;
        const char *dev;

        if (!nw_route_is_static(&r) || is_superseded(p, &r)) {
            continue;
        }
        dev = home_of(p, &r, leaving);
        have = nw_obs_route(&p->now, &r);
        if (dev == NULL || (have != NULL && usable(p, have->dev, leaving))) {
            continue;
        }
        (void)str_copy(r.dev, sizeof(r.dev), dev);
        put_route(p, &r, "the route goes where its address is");
    }
}

/* --- all of it ---------------------------------------------------------------------------------
 */

static void start_record(struct planner *p, const struct nw_iface *f, struct nw_owned *o)
{
    const struct nw_owned *old = nw_record_find(p->rec, f->name);

    if (old != NULL && old->kind == f->kind) {
        *o = *old;
    }
    (void)str_copy(o->name, sizeof(o->name), f->name);
    o->kind = f->kind;
}

/* Keep in the record what is still so. */
static void finish_record(struct planner *p, const struct nw_iface *f, struct nw_owned *o)
{
    size_t n = 0;

    o->made = o->made || p->made[f - p->want->ifaces];
    for (size_t i = 0; i < o->n_members; i++) {
        const struct nw_link *l = nw_obs_link(&p->now, o->members[i]);

        if (l != NULL && strcmp(l->master, f->name) == 0) {
            memmove(o->members[n++], o->members[i], NW_NAME);
        }
    }
    o->n_members = n;
    n = 0;
    for (size_t i = 0; i < o->n_addrs; i++) {
        bool twice = false;

        for (size_t k = 0; k < n; k++) {
            twice = twice || nw_addr_eq(&o->addrs[k].addr, &o->addrs[i].addr);
        }
        if (!twice && nw_obs_addr(&p->now, f->name, &o->addrs[i].addr) != NULL) {
            o->addrs[n++] = o->addrs[i];
        }
    }
    o->n_addrs = n;
    if (!nw_ip_eq(&o->gateway, &f->gateway)) {
        o->gateway = (struct nw_ip){ 0 };
    }
}

void plan_iface(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    struct nw_owned *o = &p->next[i];
    struct nw_owned old;

    p->object = f->object;
    start_record(p, f, o);
    old = *o;
    create_if_needed(p, f);
    plan_options(p, f);
    if (f->kind == NW_VLAN) {
        plan_bring_up(p, f->lower, "what is below a VLAN has to be on");
    }
    plan_mtu(p, f);
    plan_bring_up(p, f->name, "declared");
    add_addrs(p, f, o);
    attach_all(p, f, o);
    put_gateway(p, f, o);
    plan_rehome(p, NULL);
    give_up_addrs(p, f);
    plan_path_cost(p, f);
    plan_primary(p, f);
    plan_remove_parts(p, f, &old);
    finish_record(p, f, o);
}
