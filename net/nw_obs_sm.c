/* What one operation does to the picture of the host's network, side effects of the kernel
 * included. The planner looks at the result before it decides the next operation. */

#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw.h"

static void drop_routes(struct nw_obs *o, const char *dev, uint8_t family)
{
    size_t n = 0;

    for (size_t i = 0; i < o->n_routes; i++) {
        if (strcmp(o->routes[i].dev, dev) != 0 ||
            (family != 0 && o->routes[i].dst.family != family)) {
            o->routes[n++] = o->routes[i];
        }
    }
    o->n_routes = n;
}

static void drop_addrs(struct nw_obs *o, const char *dev, uint8_t family)
{
    size_t n = 0;

    for (size_t i = 0; i < o->n_addrs; i++) {
        if (strcmp(o->addrs[i].dev, dev) != 0 ||
            (family != 0 && o->addrs[i].addr.ip.family != family)) {
            o->addrs[n++] = o->addrs[i];
        }
    }
    o->n_addrs = n;
}

/* Switched off: routes and IPv6 addresses go, IPv4 addresses stay. */
static void go_down(struct nw_obs *o, struct nw_link *l)
{
    l->up = false;
    l->carrier = false;
    drop_routes(o, l->name, 0);
    drop_addrs(o, l->name, AF_INET6);
    for (size_t i = 0; i < o->n_links; i++) {
        if (o->links[i].kind == NW_VLAN && strcmp(o->links[i].lower, l->name) == 0) {
            drop_routes(o, o->links[i].name, 0);
            drop_addrs(o, o->links[i].name, AF_INET6);
        }
    }
}

static void add_link(struct nw_obs *o, const struct nw_op *op)
{
    struct nw_link *l = nw_obs_add_link(o);
    const struct nw_link *lower = nw_obs_link(o, op->other);

    (void)str_copy(l->name, sizeof(l->name), op->dev);
    (void)str_copy(l->type, sizeof(l->type), nw_kind_name(op->link_kind));
    (void)str_copy(l->lower, sizeof(l->lower), op->other);
    l->kind = op->link_kind;
    l->vlan_id = op->vlan_id;
    l->bond = op->bond;
    l->bridge = op->bridge;
    l->mtu = lower != NULL ? lower->mtu : 1500;
}

static void del_link(struct nw_obs *o, const char *name)
{
    size_t n = 0;

    drop_routes(o, name, 0);
    drop_addrs(o, name, 0);
    for (size_t i = 0; i < o->n_links; i++) {
        struct nw_link l = o->links[i];

        if (strcmp(l.name, name) == 0) {
            continue;
        }
        if (strcmp(l.master, name) == 0) {
            l.master[0] = 0;
        }
        o->links[n++] = l;
    }
    o->n_links = n;
}

static void set_mtu(struct nw_obs *o, struct nw_link *l, uint32_t mtu)
{
    l->mtu = mtu;
    for (size_t i = 0; i < o->n_links; i++) {
        struct nw_link *x = &o->links[i];

        if ((l->kind == NW_BOND && strcmp(x->master, l->name) == 0) ||
            (x->kind == NW_VLAN && strcmp(x->lower, l->name) == 0 && x->mtu > mtu)) {
            x->mtu = mtu;
        }
    }
}

static void set_master(struct nw_obs *o, struct nw_link *l, const char *master)
{
    const struct nw_link *old = nw_obs_link(o, l->master);
    const struct nw_link *now = nw_obs_link(o, master);

    if (strcmp(l->master, master) == 0) {
        return;
    }
    if (old != NULL && old->kind == NW_BOND) {
        go_down(o, l);
        set_mtu(o, l, l->own_mtu != 0 ? l->own_mtu : l->mtu);
    }
    (void)str_copy(l->master, sizeof(l->master), master);
    l->is_slave = now != NULL && now->kind == NW_BOND;
    l->port_cost = 0;
    if (l->is_slave) {
        l->up = true;
        l->own_mtu = l->mtu;
        set_mtu(o, l, now->mtu);
    }
}

static void merge_bond(struct nw_bond *d, const struct nw_bond *s)
{
    d->set |= s->set;
    d->mode = (s->set & NW_BOND_MODE) != 0 ? s->mode : d->mode;
    d->miimon = (s->set & NW_BOND_MIIMON) != 0 ? s->miimon : d->miimon;
    d->updelay = (s->set & NW_BOND_UPDELAY) != 0 ? s->updelay : d->updelay;
    d->downdelay = (s->set & NW_BOND_DOWNDELAY) != 0 ? s->downdelay : d->downdelay;
    d->lacp_rate = (s->set & NW_BOND_LACP_RATE) != 0 ? s->lacp_rate : d->lacp_rate;
    d->xmit_hash = (s->set & NW_BOND_XMIT_HASH) != 0 ? s->xmit_hash : d->xmit_hash;
    if ((s->set & NW_BOND_PRIMARY) != 0) {
        memcpy(d->primary, s->primary, sizeof(d->primary));
    }
}

static void merge_bridge(struct nw_bridge *d, const struct nw_bridge *s)
{
    d->set |= s->set;
    d->stp = (s->set & NW_BRIDGE_STP) != 0 ? s->stp : d->stp;
    d->vlan_filtering = (s->set & NW_BRIDGE_VLANS) != 0 ? s->vlan_filtering : d->vlan_filtering;
    d->forward_delay = (s->set & NW_BRIDGE_DELAY) != 0 ? s->forward_delay : d->forward_delay;
    d->hello_time = (s->set & NW_BRIDGE_HELLO) != 0 ? s->hello_time : d->hello_time;
    d->max_age = (s->set & NW_BRIDGE_MAX_AGE) != 0 ? s->max_age : d->max_age;
}

static void add_addr(struct nw_obs *o, const struct nw_op *op)
{
    struct nw_ifaddr *a;

    if (nw_obs_addr(o, op->dev, &op->addr) != NULL) {
        return;
    }
    a = nw_obs_add_addr(o);
    (void)str_copy(a->dev, sizeof(a->dev), op->dev);
    a->addr = op->addr;
    a->permanent = true;
}

static void del_addr(struct nw_obs *o, const struct nw_op *op)
{
    struct nw_ifaddr *a = nw_obs_addr(o, op->dev, &op->addr);
    uint8_t family = op->addr.ip.family;

    if (a == NULL) {
        return;
    }
    *a = o->addrs[--o->n_addrs];
    for (size_t i = 0; i < o->n_addrs; i++) {
        if (strcmp(o->addrs[i].dev, op->dev) == 0 && o->addrs[i].addr.ip.family == family) {
            return;
        }
    }
    if (family == AF_INET) { /* the last one takes the routes along */
        drop_routes(o, op->dev, family);
    }
}

static void put_route(struct nw_obs *o, const struct nw_route *r)
{
    struct nw_route *old = nw_obs_route(o, r);

    *(old != NULL ? old : nw_obs_add_route(o)) = *r;
}

static void del_route(struct nw_obs *o, const struct nw_route *r)
{
    for (size_t i = 0; i < o->n_routes; i++) {
        if (nw_route_eq(&o->routes[i], r)) {
            o->routes[i] = o->routes[--o->n_routes];
            return;
        }
    }
}

static void apply_to_link(struct nw_obs *o, struct nw_link *l, const struct nw_op *op)
{
    if (op->kind == NW_OP_UP) {
        l->up = true;
    } else if (op->kind == NW_OP_DOWN) {
        go_down(o, l);
    } else if (op->kind == NW_OP_MTU) {
        set_mtu(o, l, op->value);
    } else if (op->kind == NW_OP_MASTER) {
        set_master(o, l, op->other);
    } else if (op->kind == NW_OP_BOND_SET) {
        merge_bond(&l->bond, &op->bond);
    } else if (op->kind == NW_OP_BRIDGE_SET) {
        merge_bridge(&l->bridge, &op->bridge);
    } else if (op->kind == NW_OP_PORT_COST) {
        l->port_cost = op->value;
    }
}

void nw_obs_apply(struct nw_obs *o, const struct nw_op *op)
{
    struct nw_link *l = nw_obs_link(o, op->dev);

    switch (op->kind) {
    case NW_OP_NONE:
        return;
    case NW_OP_ADD_LINK:
        if (l == NULL) {
            add_link(o, op);
        }
        return;
    case NW_OP_DEL_LINK:
        del_link(o, op->dev);
        return;
    case NW_OP_ADDR_ADD:
        add_addr(o, op);
        return;
    case NW_OP_ADDR_DEL:
        del_addr(o, op);
        return;
    case NW_OP_ROUTE_PUT:
        put_route(o, &op->route);
        return;
    case NW_OP_ROUTE_DEL:
        del_route(o, &op->route);
        return;
    case NW_OP_UP:
    case NW_OP_DOWN:
    case NW_OP_MTU:
    case NW_OP_MASTER:
    case NW_OP_BOND_SET:
    case NW_OP_BRIDGE_SET:
    case NW_OP_PORT_COST:
        if (l != NULL) {
            apply_to_link(o, l, op);
        }
        return;
    }
    CHECK_UNREACHABLE();
}
