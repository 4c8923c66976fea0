/* What is in the record and no longer wanted. */

#include <linux/rtnetlink.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw_plan_priv.h"

static bool wants_addr(const struct nw_iface *f, const struct nw_addr *a)
{
    for (size_t i = 0; f != NULL && i < f->n_addrs; i++) {
        if (nw_addr_eq(&f->addrs[i], a)) {
            return true;
        }
    }
    return false;
}

static bool wanted_anywhere(const struct planner *p, const struct nw_addr *a)
{
    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        if (p->plan->verdicts[i].kind != NW_BLOCKED && wants_addr(&p->want->ifaces[i], a)) {
            return true;
        }
    }
    return false;
}

static void detach(struct planner *p, const char *member, const char *master)
{
    const struct nw_link *l = nw_obs_link(&p->now, member);
    bool was_up;

    if (l == NULL || strcmp(l->master, master) != 0) {
        return;
    }
    was_up = l->up;
    plan_leave(p, member, "no longer declared as part of %s", master);
    if (was_up) { /* a bond switches off what it lets go */
        plan_bring_up(p, member, "it was on before");
    }
}

static void drop_gateway(struct planner *p, const char *dev, const struct nw_ip *gw)
{
    for (size_t i = 0; gw->family != 0 && i < p->now.n_routes; i++) {
        struct nw_op op = plan_op(NW_OP_ROUTE_DEL, dev);
        struct nw_op inverse = plan_op(NW_OP_ROUTE_PUT, dev);

        op.route = p->now.routes[i];
        inverse.route = op.route;
        if (op.route.dst_len == 0 && nw_route_is_static(&op.route) &&
            strcmp(op.route.dev, dev) == 0 && nw_ip_eq(&op.route.gw, gw)) {
            p->dropped[p->n_dropped++] = op.route;
            plan_emit(p, op, inverse, "the gateway is no longer declared");
            return;
        }
    }
}

static void drop_addr(struct planner *p, const char *dev, const struct nw_addr *a)
{
    if (nw_obs_addr(&p->now, dev, a) != NULL) {
        plan_emit(p, plan_op_addr(NW_OP_ADDR_DEL, dev, a), plan_op_addr(NW_OP_ADDR_ADD, dev, a),
                  "no longer declared");
    }
}

void plan_remove_parts(struct planner *p, const struct nw_iface *f, const struct nw_owned *o)
{
    if (!nw_ip_eq(&o->gateway, &f->gateway) && o->gateway.family != 0 &&
        f->gateway.family != o->gateway.family) {
        drop_gateway(p, f->name, &o->gateway);
    }
    for (size_t i = 0; i < o->n_addrs; i++) {
        if (!wants_addr(f, &o->addrs[i].addr)) {
            drop_addr(p, f->name, &o->addrs[i].addr);
        }
    }
    for (size_t i = 0; i < o->n_members; i++) {
        if (!plan_has_member(f, o->members[i])) {
            detach(p, o->members[i], f->name);
        }
    }
}

/* Delete a link in steps of which each can be undone. */
void plan_delete_link(struct planner *p, const char *name)
{
    struct nw_link l = *nw_obs_link(&p->now, name);
    struct nw_op add = plan_op_other(NW_OP_ADD_LINK, name, l.lower);
    struct nw_op mtu = plan_op(NW_OP_MTU, name);

    if (l.master[0] != 0) {
        plan_leave(p, name, "it is going away");
    }
    for (size_t i = 0; i < p->now.n_addrs; i++) {
        struct nw_ifaddr a = p->now.addrs[i];

        if (strcmp(a.dev, name) == 0 && a.scope == RT_SCOPE_UNIVERSE && a.permanent) {
            plan_emit(p, plan_op_addr(NW_OP_ADDR_DEL, name, &a.addr),
                      plan_op_addr(NW_OP_ADDR_ADD, name, &a.addr), "its interface is going away");
            i = SIZE_MAX; /* from the start: the list has changed */
        }
    }
    if (nw_obs_link(&p->now, name)->up) {
        plan_emit(p, plan_op(NW_OP_DOWN, name), plan_op(NW_OP_UP, name), "it is going away");
    }
    mtu.value = l.mtu;
    plan_emit(p, (struct nw_op){ 0 }, mtu, "as it was");
    add.link_kind = l.kind;
    add.vlan_id = l.vlan_id;
    if (l.kind == NW_BOND) {
        add.bond = l.bond;
        add.bond.set = plan_bond_bits(&l.bond) & ~(uint32_t)NW_BOND_PRIMARY;
    } else if (l.kind == NW_BRIDGE) {
        add.bridge = l.bridge;
        add.bridge.set &= l.bridge.vlan_filtering ? UINT32_MAX : ~(uint32_t)NW_BRIDGE_VLANS;
    }
    plan_emit(p, plan_op(NW_OP_DEL_LINK, name), add, "made by Picket and no longer wanted so");
}

/* Somebody else who uses it, or NULL. */
static const char *user_of(const struct planner *p, const struct nw_owned *o)
{
    for (size_t i = 0; i < p->now.n_links; i++) {
        const struct nw_link *l = &p->now.links[i];
        bool ours = false;

        for (size_t k = 0; k < o->n_members; k++) {
            ours = ours || strcmp(o->members[k], l->name) == 0;
        }
        if ((strcmp(l->master, o->name) == 0 && !ours) || strcmp(l->lower, o->name) == 0) {
            return l->name;
        }
    }
    return NULL;
}

static void give_back(struct planner *p, const struct nw_owned *o)
{
    for (size_t i = 0; i < o->n_addrs; i++) {
        const struct nw_owned_addr *x = &o->addrs[i];
        const struct nw_link *from = nw_obs_link(&p->now, x->from);

        if (nw_obs_addr(&p->now, o->name, &x->addr) == NULL || from == NULL ||
            from->master[0] != 0 || wanted_anywhere(p, &x->addr)) {
            continue;
        }
        plan_bring_up(p, x->from, "it gets its address back");
        plan_emit(p, plan_op_addr(NW_OP_ADDR_ADD, x->from, &x->addr),
                  plan_op_addr(NW_OP_ADDR_DEL, x->from, &x->addr), "back from %s to where it was",
                  o->name);
    }
}

static bool remove_owned(struct planner *p, const struct nw_owned *o)
{
    const struct nw_link *l = nw_obs_link(&p->now, o->name);
    const char *user = user_of(p, o);

    if (l == NULL || l->kind != o->kind) {
        return true; /* gone, or somebody else's by now */
    }
    if (o->made && user != NULL) {
        p->plan->leftover =
            arena_printf(p->a, "%s has no object any more but stays as it is, because %s uses it",
                         o->name, user);
        return false;
    }
    if (o->keep) {
        p->plan->leftover =
            arena_printf(p->a, "%s stays: the host could not reach the quorum without it", o->name);
        return false;
    }
    p->object = arena_printf(p->a, "%s/%s", nw_kind_plural(o->kind), o->name);
    for (size_t i = 0; i < o->n_members; i++) {
        detach(p, o->members[i], o->name);
    }
    give_back(p, o);
    plan_rehome(p, o->name);
    drop_gateway(p, o->name, &o->gateway);
    for (size_t i = 0; i < o->n_addrs; i++) {
        drop_addr(p, o->name, &o->addrs[i].addr);
    }
    if (o->made) {
        plan_delete_link(p, o->name);
    }
    return true;
}

static bool has_object(const struct planner *p, const char *name)
{
    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        if (strcmp(p->want->ifaces[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Upper interfaces first: what is used by another of ours waits for it. */
void plan_remove(struct planner *p)
{
    bool *gone = arena_alloc(p->a, p->rec->n_items + 1);
    bool again = true;

    while (again) {
        again = false;
        p->plan->leftover = NULL;
        for (size_t i = 0; i < p->rec->n_items; i++) {
            const struct nw_owned *o = &p->rec->items[i];

            if (!gone[i] && !has_object(p, o->name)) {
                gone[i] = remove_owned(p, o);
                again = again || gone[i];
            }
        }
    }
    for (size_t i = 0; i < p->rec->n_items; i++) {
        if (!gone[i] && !has_object(p, p->rec->items[i].name)) {
            p->plan->next.items[p->plan->next.n_items++] = p->rec->items[i];
        }
    }
}
