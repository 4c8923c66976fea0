/* What cannot be done, and why: verdicts before the first operation. */

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/obj.h"
#include "net/nw_plan_priv.h"

static bool block(struct planner *p, size_t i, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool block(struct planner *p, size_t i, const char *reason, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    p->plan->verdicts[i] = (struct nw_verdict){ .kind = NW_BLOCKED,
                                                .reason = reason,
                                                .message = arena_strdup(p->a, text) };
    return true;
}

bool plan_has_member(const struct nw_iface *f, const char *name)
{
    for (size_t i = 0; i < f->n_members; i++) {
        if (strcmp(f->members[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static size_t want_index(const struct planner *p, const char *name)
{
    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        if (p->plan->verdicts[i].kind != NW_BLOCKED && strcmp(p->want->ifaces[i].name, name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

const struct nw_iface *plan_wanted(const struct planner *p, const char *name)
{
    size_t i = want_index(p, name);

    return i == SIZE_MAX ? NULL : &p->want->ifaces[i];
}

static bool is_ours(const struct planner *p, const char *name)
{
    return plan_wanted(p, name) != NULL || nw_record_find(p->rec, name) != NULL;
}

/* Does any object say something about this interface? */
static bool is_named(const struct planner *p, const char *name)
{
    if (is_ours(p, name)) {
        return true;
    }
    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        const struct nw_iface *f = &p->want->ifaces[i];

        if (plan_has_member(f, name) || strcmp(f->lower, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool wants_addr(const struct planner *p, const struct nw_addr *a)
{
    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        const struct nw_iface *f = &p->want->ifaces[i];

        for (size_t k = 0; p->plan->verdicts[i].kind == NW_OK && k < f->n_addrs; k++) {
            if (nw_addr_eq(&f->addrs[k], a)) {
                return true;
            }
        }
    }
    return false;
}

static bool check_itself(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    const struct nw_link *l = nw_obs_link(p->before, f->name);
    const struct nw_owned *o = nw_record_find(p->rec, f->name);

    for (size_t k = 0; k < i; k++) {
        if (strcmp(p->want->ifaces[k].name, f->name) == 0) {
            return block(p, i, "NameTaken", "%s is the same interface; rename one of the two",
                         p->want->ifaces[k].object);
        }
    }
    if (l == NULL) {
        return false;
    }
    if (l->kind != f->kind) {
        return block(p, i, "WrongKind",
                     "%s exists and is no %s%s%s%s; remove it, or rename the object", f->name,
                     nw_kind_name(f->kind), l->type[0] != 0 ? " but a " : "", l->type,
                     l->type[0] != 0 ? "" : " but a card");
    }
    if (f->kind == NW_VLAN && (o == NULL || !o->made) &&
        (l->vlan_id != f->vlan_id || strcmp(l->lower, f->lower) != 0)) {
        return block(p, i, "WrongKind",
                     "%s exists as VLAN %u of %s and was not made by Picket; remove it, or correct "
                     "link and id",
                     f->name, (unsigned)l->vlan_id, l->lower);
    }
    return false;
}

static bool check_lower(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    const struct nw_iface *w = plan_wanted(p, f->lower);

    for (size_t k = 0; f->kind == NW_VLAN && k < p->want->n_ifaces; k++) {
        const struct nw_iface *g = &p->want->ifaces[k];

        if (p->plan->verdicts[k].kind != NW_BLOCKED && g->kind == NW_BOND &&
            plan_has_member(g, f->lower)) {
            return block(p, i, "MemberTaken", "%s is part of %s; put the VLAN on %s", f->lower,
                         g->object, g->name);
        }
    }
    if (f->kind != NW_VLAN || nw_obs_link(p->before, f->lower) != NULL ||
        (w != NULL && p->plan->verdicts[w - p->want->ifaces].kind == NW_OK)) {
        return false;
    }
    return block(p, i, "NoInterface", "there is no interface %s", f->lower);
}

/* A VLAN's packets pass through what is below it; cards are adapted, objects have their own word.
 */
static bool check_mtu(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    const struct nw_iface *w = plan_wanted(p, f->lower);
    const struct nw_link *l = nw_obs_link(p->before, f->lower);
    uint32_t below = w == NULL ? 0 : w->mtu != 0 ? w->mtu : l != NULL ? l->mtu : 1500;

    if (w == NULL || f->mtu <= below) {
        return false;
    }
    return block(p, i, "MtuTooLarge",
                 "mtu %u does not fit through %s, which has %u; set its mtu too", f->mtu, w->object,
                 below);
}

static bool check_addr_in_the_way(struct planner *p, size_t i, const char *member)
{
    char text[NW_ADDR_TEXT];

    for (size_t k = 0; k < p->before->n_addrs; k++) {
        const struct nw_ifaddr *a = &p->before->addrs[k];

        if (strcmp(a->dev, member) != 0 || a->scope != RT_SCOPE_UNIVERSE ||
            wants_addr(p, &a->addr) || (a->addr.ip.family == AF_INET6 && !a->permanent)) {
            continue;
        }
        nw_addr_format(&a->addr, text, sizeof(text));
        return block(p, i, "AddressInTheWay",
                     "%s has the address %s, which would be lost; add it to spec.addresses (or "
                     "perHost) of this object or of one above it",
                     member, text);
    }
    return false;
}

static bool check_member(struct planner *p, size_t i, const char *m)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    const struct nw_iface *w = plan_wanted(p, m);
    const struct nw_link *l = nw_obs_link(p->before, m);

    if (strcmp(m, f->name) == 0) {
        return block(p, i, "Cycle", "it is its own member");
    }
    if (w != NULL && w->n_addrs > 0) {
        return block(p, i, "AddressInTheWay",
                     "%s is part of it and has addresses of its own; move them to this object",
                     w->object);
    }
    for (size_t k = 0; k < p->want->n_ifaces; k++) {
        if (k != i && p->plan->verdicts[k].kind != NW_BLOCKED &&
            plan_has_member(&p->want->ifaces[k], m)) {
            return block(p, i, "MemberTaken", "%s is also claimed by %s; take it out of one", m,
                         p->want->ifaces[k].object);
        }
    }
    if (l == NULL) {
        return false;
    }
    if (l->loopback) {
        return block(p, i, "WrongKind", "%s is the loopback interface", m);
    }
    if (l->master[0] != 0 && strcmp(l->master, f->name) != 0 && !is_ours(p, l->master)) {
        return block(p, i, "MemberTaken",
                     "%s belongs to %s, which no object names; take it out there by hand, or "
                     "declare %s",
                     m, l->master, l->master);
    }
    return strcmp(l->master, f->name) != 0 && check_addr_in_the_way(p, i, m);
}

static bool is_available(const struct planner *p, const char *m)
{
    const struct nw_iface *w = plan_wanted(p, m);

    return nw_obs_link(p->before, m) != NULL ||
           (w != NULL && p->plan->verdicts[w - p->want->ifaces].kind == NW_OK);
}

static bool check_members(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    struct nw_verdict *v = &p->plan->verdicts[i];
    size_t n = 0;

    v->reason = NULL;
    for (size_t k = 0; k < f->n_members; k++) {
        if (check_member(p, i, f->members[k])) {
            return true;
        }
        if (is_available(p, f->members[k])) {
            n++;
        } else {
            v->reason = "MemberMissing";
            v->message = arena_printf(p->a, "there is no interface %s", f->members[k]);
        }
    }
    if (f->kind == NW_BOND && n == 0) {
        return block(p, i, "NoInterface", "none of its members exists");
    }
    return false;
}

static bool check_addrs(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    char text[NW_ADDR_TEXT];

    for (size_t k = 0; k < f->n_addrs; k++) {
        nw_addr_format(&f->addrs[k], text, sizeof(text));
        for (size_t j = 0; j < i; j++) {
            const struct nw_iface *g = &p->want->ifaces[j];

            for (size_t n = 0; p->plan->verdicts[j].kind == NW_OK && n < g->n_addrs; n++) {
                if (nw_ip_eq(&g->addrs[n].ip, &f->addrs[k].ip)) {
                    return block(p, i, "AddressTwice", "%s is also an address of %s", text,
                                 g->object);
                }
            }
        }
        for (size_t j = 0; j < p->before->n_addrs; j++) {
            const struct nw_ifaddr *a = &p->before->addrs[j];

            if (nw_ip_eq(&a->addr.ip, &f->addrs[k].ip) && strcmp(a->dev, f->name) != 0 &&
                !is_named(p, a->dev)) {
                return block(p, i, "AddressTwice",
                             "%s is already an address of %s, which no object names", text, a->dev);
            }
        }
    }
    return false;
}

/* The kernel refuses a gateway that no address of the interface has in its network. */
static bool check_gateway(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];
    bool found = f->gateway.family == 0;
    char text[NW_ADDR_TEXT];

    for (size_t k = 0; k < f->n_addrs; k++) {
        found = found || nw_addr_covers(&f->addrs[k], &f->gateway);
    }
    for (size_t k = 0; k < p->before->n_addrs; k++) {
        found = found || (strcmp(p->before->addrs[k].dev, f->name) == 0 &&
                          nw_addr_covers(&p->before->addrs[k].addr, &f->gateway));
    }
    if (found) {
        return false;
    }
    nw_ip_format(&f->gateway, text, sizeof(text));
    return block(p, i, "GatewayOutOfReach",
                 "the gateway %s is in the network of none of its addresses", text);
}

static bool reaches(const struct planner *p, const char *from, const char *to, size_t depth)
{
    const struct nw_iface *f = plan_wanted(p, from);

    if (strcmp(from, to) == 0) {
        return true;
    }
    if (f == NULL || depth > p->want->n_ifaces) {
        return false;
    }
    for (size_t i = 0; i < f->n_members; i++) {
        if (reaches(p, f->members[i], to, depth + 1)) {
            return true;
        }
    }
    return f->lower[0] != 0 && reaches(p, f->lower, to, depth + 1);
}

static bool check_cycle(struct planner *p, size_t i)
{
    const struct nw_iface *f = &p->want->ifaces[i];

    for (size_t k = 0; k < f->n_members; k++) {
        if (reaches(p, f->members[k], f->name, 0)) {
            return block(p, i, "Cycle", "%s is above it and below it", f->members[k]);
        }
    }
    if (f->lower[0] != 0 && reaches(p, f->lower, f->name, 0)) {
        return block(p, i, "Cycle", "%s is above it and below it", f->lower);
    }
    return false;
}

void plan_check(struct planner *p)
{
    bool again = true;

    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        if (p->want->ifaces[i].paused) {
            p->plan->verdicts[i] =
                (struct nw_verdict){ NW_PAUSED, "Paused", "spec.paused is true" };
        } else if (p->want->ifaces[i].refused != NULL) {
            (void)block(p, i, p->want->ifaces[i].refused_reason, "%s", p->want->ifaces[i].refused);
        }
    }
    /* What is blocked wants no addresses and makes no interfaces: look again at the others. */
    while (again) {
        again = false;
        for (size_t i = 0; i < p->want->n_ifaces; i++) {
            if (p->plan->verdicts[i].kind == NW_OK &&
                (check_itself(p, i) || check_cycle(p, i) || check_lower(p, i) || check_mtu(p, i) ||
                 check_members(p, i) || check_addrs(p, i) || check_gateway(p, i))) {
                again = true;
            }
        }
    }
}
