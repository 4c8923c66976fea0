/* Options of an interface that exists. */

#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw_plan_priv.h"

static uint32_t bond_differs(const struct nw_bond *w, const struct nw_bond *h)
{
    uint32_t d = 0;

    d |= w->mode != h->mode ? NW_BOND_MODE : 0U;
    d |= w->miimon != h->miimon ? NW_BOND_MIIMON : 0U;
    d |= w->updelay != h->updelay ? NW_BOND_UPDELAY : 0U;
    d |= w->downdelay != h->downdelay ? NW_BOND_DOWNDELAY : 0U;
    d |= w->lacp_rate != h->lacp_rate ? NW_BOND_LACP_RATE : 0U;
    d |= w->xmit_hash != h->xmit_hash ? NW_BOND_XMIT_HASH : 0U;
    if ((d & NW_BOND_MIIMON) != 0) { /* the kernel keeps delays as multiples of it */
        d |= NW_BOND_UPDELAY | NW_BOND_DOWNDELAY;
    }
    return d & w->set;
}

uint32_t plan_bond_bits(const struct nw_bond *b)
{
    bool has_primary = b->mode == 1 || b->mode == 5 || b->mode == 6;
    bool has_hash = b->mode == 2 || b->mode >= NW_BOND_MODE_LACP;
    uint32_t bits = b->set;

    bits &= has_primary ? UINT32_MAX : ~(uint32_t)NW_BOND_PRIMARY;
    bits &= has_hash ? UINT32_MAX : ~(uint32_t)NW_BOND_XMIT_HASH;
    bits &= b->mode == NW_BOND_MODE_LACP ? UINT32_MAX : ~(uint32_t)NW_BOND_LACP_RATE;
    if (b->miimon == 0) { /* delays are multiples of it */
        bits &= ~(uint32_t)(NW_BOND_UPDELAY | NW_BOND_DOWNDELAY);
    }
    return bits;
}

static void set_bond(struct planner *p, const struct nw_iface *f, uint32_t bits, const char *why)
{
    const struct nw_link *l = nw_obs_link(&p->now, f->name);
    struct nw_op op = plan_op(NW_OP_BOND_SET, f->name);
    struct nw_op inverse = op;

    op.bond = f->bond;
    inverse.bond = l->bond;
    op.bond.set = bits;
    inverse.bond.set &= bits & plan_bond_bits(&inverse.bond);
    plan_emit(p, op, inverse, "%s", why);
}

/* The kernel changes mode and LACP rate only while the bond is off and has no members. */
static void reset_bond(struct planner *p, const struct nw_iface *f, uint32_t bits)
{
    char members[NW_MEMBERS][NW_NAME];
    size_t n = 0;

    for (size_t i = 0; i < p->now.n_links && n < NW_MEMBERS; i++) {
        if (strcmp(p->now.links[i].master, f->name) == 0) {
            (void)str_copy(members[n++], NW_NAME, p->now.links[i].name);
        }
    }
    for (size_t i = 0; i < n; i++) {
        plan_leave(p, members[i], "the mode can change only without members");
    }
    if (nw_obs_link(&p->now, f->name)->up) {
        plan_emit(p, plan_op(NW_OP_DOWN, f->name), plan_op(NW_OP_UP, f->name),
                  "the mode can change only while it is off");
    }
    set_bond(p, f, bits, "as declared");
    plan_bring_up(p, f->name, "mode is set");
    for (size_t i = 0; i < n; i++) {
        plan_emit(p, plan_op_other(NW_OP_MASTER, members[i], f->name),
                  plan_op_other(NW_OP_MASTER, members[i], ""), "it was a member before");
    }
}

static void bond_options(struct planner *p, const struct nw_iface *f)
{
    const struct nw_link *l = nw_obs_link(&p->now, f->name);
    uint32_t bits = bond_differs(&f->bond, &l->bond);

    if ((bits & (NW_BOND_MODE | NW_BOND_LACP_RATE)) != 0) {
        reset_bond(p, f, bits);
    } else if (bits != 0) {
        set_bond(p, f, bits, "as declared");
    }
}

void plan_primary(struct planner *p, const struct nw_iface *f)
{
    const struct nw_link *l = nw_obs_link(&p->now, f->name);
    const struct nw_link *primary = nw_obs_link(&p->now, f->bond.primary);

    if (f->kind != NW_BOND || (f->bond.set & NW_BOND_PRIMARY) == 0 ||
        strcmp(l->bond.primary, f->bond.primary) == 0 ||
        (f->bond.primary[0] != 0 && (primary == NULL || strcmp(primary->master, f->name) != 0))) {
        return;
    }
    set_bond(p, f, NW_BOND_PRIMARY, "the preferred card");
}

static void set_bridge(struct planner *p, const struct nw_iface *f, uint32_t bits)
{
    const struct nw_link *l = nw_obs_link(&p->now, f->name);
    struct nw_op op = plan_op(NW_OP_BRIDGE_SET, f->name);
    struct nw_op inverse = op;

    if (bits == 0) {
        return;
    }
    op.bridge = f->bridge;
    inverse.bridge = l->bridge;
    op.bridge.set = bits;
    inverse.bridge.set = bits;
    plan_emit(p, op, inverse, "as declared");
}

static void bridge_options(struct planner *p, const struct nw_iface *f)
{
    const struct nw_bridge h = nw_obs_link(&p->now, f->name)->bridge;
    const struct nw_bridge *w = &f->bridge;
    uint32_t d = 0;

    d |= w->forward_delay != h.forward_delay ? NW_BRIDGE_DELAY : 0U;
    d |= w->hello_time != h.hello_time ? NW_BRIDGE_HELLO : 0U;
    d |= w->max_age != h.max_age ? NW_BRIDGE_MAX_AGE : 0U;
    d |= w->vlan_filtering != h.vlan_filtering ? NW_BRIDGE_VLANS : 0U;
    d &= w->set;
    /* With spanning tree on, the kernel refuses a short delay: never both in one request. */
    if (w->stp != h.stp && !w->stp) {
        set_bridge(p, f, NW_BRIDGE_STP);
    }
    set_bridge(p, f, d);
    if (w->stp != h.stp && w->stp) {
        set_bridge(p, f, NW_BRIDGE_STP);
    }
}

void plan_options(struct planner *p, const struct nw_iface *f)
{
    if (f->kind == NW_BOND) {
        bond_options(p, f);
    } else if (f->kind == NW_BRIDGE) {
        bridge_options(p, f);
    }
}

void plan_keep_vlan_mtu(struct planner *p, const char *name, uint32_t mtu)
{
    for (size_t i = 0; i < p->now.n_links; i++) {
        const struct nw_link *x = &p->now.links[i];

        if (x->kind == NW_VLAN && strcmp(x->lower, name) == 0 && x->mtu > mtu) {
            struct nw_op again = plan_op(NW_OP_MTU, x->name);

            again.value = x->mtu;
            plan_emit(p, (struct nw_op){ 0 }, again, "as it was");
        }
    }
}

static void set_mtu(struct planner *p, const char *name, uint32_t mtu, const char *why)
{
    const struct nw_link *l = nw_obs_link(&p->now, name);
    struct nw_op op = plan_op(NW_OP_MTU, name);
    struct nw_op inverse = op;

    if (l == NULL || l->mtu == mtu) {
        return;
    }
    plan_keep_vlan_mtu(p, name, mtu);
    op.value = mtu;
    inverse.value = l->mtu;
    plan_emit(p, op, inverse, "%s", why);
}

/* Cards have no object of their own: they take the largest size of what is above them. */
static void card_mtu(struct planner *p, const char *card, bool only_raise)
{
    const struct nw_link *l = nw_obs_link(&p->now, card);
    uint32_t mtu = 0;

    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        const struct nw_iface *f = &p->want->ifaces[i];

        if (p->plan->verdicts[i].kind != NW_BLOCKED && f->mtu > mtu &&
            (strcmp(f->lower, card) == 0 || plan_has_member(f, card))) {
            mtu = f->mtu;
        }
    }
    if (l != NULL && plan_wanted(p, card) == NULL && nw_record_find(p->rec, card) == NULL &&
        (!only_raise || l->mtu < mtu)) {
        set_mtu(p, card, mtu, "packets of that size have to pass through it");
    }
}

void plan_mtu(struct planner *p, const struct nw_iface *f)
{
    if (f->mtu == 0) {
        return;
    }
    if (f->kind == NW_VLAN) {
        card_mtu(p, f->lower, true);
    }
    for (size_t i = 0; f->kind == NW_BRIDGE && i < f->n_members; i++) {
        card_mtu(p, f->members[i], false);
    }
    set_mtu(p, f->name, f->mtu, "as declared");
}

void plan_path_cost(struct planner *p, const struct nw_iface *f)
{
    for (size_t i = 0; f->kind == NW_BRIDGE && f->path_cost != 0 && i < f->n_members; i++) {
        const struct nw_link *l = nw_obs_link(&p->now, f->members[i]);
        struct nw_op op = plan_op(NW_OP_PORT_COST, f->members[i]);
        struct nw_op inverse = op;

        if (l == NULL || strcmp(l->master, f->name) != 0 || l->port_cost == f->path_cost) {
            continue;
        }
        op.value = f->path_cost;
        inverse.value = l->port_cost;
        inverse.kind = l->port_cost == 0 ? NW_OP_NONE : NW_OP_PORT_COST;
        plan_emit(p, op, inverse, "as declared");
    }
}
