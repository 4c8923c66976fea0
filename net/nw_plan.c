/* The planner's frame: order, undo list, record; and a plan as text. */

#include "net/nw_plan.h"

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw_plan_priv.h"

struct nw_op plan_op(enum nw_op_kind kind, const char *dev)
{
    struct nw_op op = { .kind = kind };

    (void)str_copy(op.dev, sizeof(op.dev), dev);
    return op;
}

struct nw_op plan_op_other(enum nw_op_kind kind, const char *dev, const char *other)
{
    struct nw_op op = plan_op(kind, dev);

    (void)str_copy(op.other, sizeof(op.other), other);
    return op;
}

struct nw_op plan_op_addr(enum nw_op_kind kind, const char *dev, const struct nw_addr *addr)
{
    struct nw_op op = plan_op(kind, dev);

    op.addr = *addr;
    return op;
}

static void append(struct planner *p, struct nw_op **list, size_t *n, size_t *cap,
                   const struct nw_op *op)
{
    struct nw_op *bigger;

    if (*n == *cap) {
        *cap = *cap == 0 ? 16 : *cap * 2;
        bigger = ARENA_ARRAY(p->a, struct nw_op, *cap);
        if (*n > 0) {
            memcpy(bigger, *list, *n * sizeof(**list));
        }
        *list = bigger;
    }
    (*list)[(*n)++] = *op;
}

void plan_emit(struct planner *p, struct nw_op op, struct nw_op inverse, const char *fmt, ...)
{
    char why[200];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    op.why = arena_strdup(p->a, why);
    inverse.why = "as it was before";
    (void)str_copy(op.object, sizeof(op.object), p->object);
    (void)str_copy(inverse.object, sizeof(inverse.object), p->object);
    if (op.kind != NW_OP_NONE) {
        append(p, &p->plan->ops, &p->plan->n_ops, &p->cap_ops, &op);
        nw_obs_apply(&p->now, &op);
    }
    if (inverse.kind != NW_OP_NONE) {
        append(p, &p->inverse, &p->n_inverse, &p->cap_inverse, &inverse);
    }
}

/* The undo list switches the member on again at the end: it may never have left. */
void plan_leave(struct planner *p, const char *member, const char *fmt, ...)
{
    struct nw_link l = *nw_obs_link(&p->now, member);
    const struct nw_link *master = nw_obs_link(&p->now, l.master);
    char why[200];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    if (l.up && master != NULL && master->kind == NW_BOND) {
        struct nw_op mtu = plan_op(NW_OP_MTU, member);

        mtu.value = l.mtu;
        plan_keep_vlan_mtu(p, member, 0);
        plan_emit(p, (struct nw_op){ 0 }, mtu, "as it was");
        plan_emit(p, (struct nw_op){ 0 }, plan_op(NW_OP_UP, member), "as it was");
    }
    plan_emit(p, plan_op_other(NW_OP_MASTER, member, ""),
              plan_op_other(NW_OP_MASTER, member, l.master), "%s", why);
}

/* What the kernel dropped on the way and no single step brings back. */
static void ensure(struct planner *p, struct nw_obs *end, size_t *cap)
{
    struct nw_plan *plan = p->plan;

    for (size_t i = 0; i < p->before->n_addrs; i++) {
        const struct nw_ifaddr *a = &p->before->addrs[i];
        struct nw_op op = plan_op_addr(NW_OP_ADDR_ADD, a->dev, &a->addr);

        if (a->permanent && a->scope == RT_SCOPE_UNIVERSE &&
            nw_obs_addr(end, a->dev, &a->addr) == NULL) {
            op.why = "as it was before";
            append(p, &plan->undo, &plan->n_undo, cap, &op);
        }
    }
    for (size_t i = 0; i < p->before->n_routes; i++) {
        const struct nw_route *r = &p->before->routes[i];
        const struct nw_route *have = nw_obs_route(end, r);
        struct nw_op op = plan_op(NW_OP_ROUTE_PUT, r->dev);

        if (nw_route_is_static(r) && (have == NULL || !nw_route_eq(have, r))) {
            op.route = *r;
            op.why = "as it was before";
            append(p, &plan->undo, &plan->n_undo, cap, &op);
        }
    }
}

static void make_undo(struct planner *p)
{
    struct nw_obs end;
    size_t cap = 0;

    nw_obs_copy(&end, &p->now, p->a);
    for (size_t i = p->n_inverse; i > 0; i--) {
        append(p, &p->plan->undo, &p->plan->n_undo, &cap, &p->inverse[i - 1]);
        nw_obs_apply(&end, &p->inverse[i - 1]);
    }
    if (p->plan->n_ops > 0) {
        ensure(p, &end, &cap);
    }
}

/* Does interface i need another one that is still to come? */
static bool waits(const struct planner *p, size_t i, const bool *done)
{
    const struct nw_iface *f = &p->want->ifaces[i];

    for (size_t k = 0; k < p->want->n_ifaces; k++) {
        const char *name = p->want->ifaces[k].name;

        if (k != i && !done[k] && (plan_has_member(f, name) || strcmp(f->lower, name) == 0)) {
            return true;
        }
    }
    return false;
}

/* Lower interfaces first. Verdicts have ruled out cycles. */
static void plan_wanted_ones(struct planner *p)
{
    bool *done = arena_alloc(p->a, p->want->n_ifaces + 1);
    bool again = true;

    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        done[i] = p->plan->verdicts[i].kind != NW_OK;
    }
    while (again) {
        again = false;
        for (size_t i = 0; i < p->want->n_ifaces; i++) {
            if (!done[i] && !waits(p, i, done)) {
                plan_iface(p, i);
                done[i] = true;
                again = true;
            }
        }
    }
}

/* Entries of what is blocked or paused stay as they are. */
static void make_record(struct planner *p)
{
    struct nw_record *next = &p->plan->next;

    for (size_t i = 0; i < p->want->n_ifaces; i++) {
        const struct nw_owned *old = nw_record_find(p->rec, p->want->ifaces[i].name);

        if (nw_record_find(next, p->want->ifaces[i].name) != NULL) {
            continue;
        }
        if (p->plan->verdicts[i].kind == NW_OK) {
            next->items[next->n_items++] = p->next[i];
        } else if (old != NULL) {
            next->items[next->n_items++] = *old;
        }
    }
}

void nw_plan_make(const struct nw_want *want, const struct nw_obs *obs, const struct nw_record *rec,
                  struct arena *a, struct nw_plan *ret)
{
    struct planner p = { .want = want, .before = obs, .rec = rec, .a = a, .plan = ret };

    *ret = (struct nw_plan){ 0 };
    ret->verdicts = ARENA_ARRAY(a, struct nw_verdict, want->n_ifaces + 1);
    ret->next.items = ARENA_ARRAY(a, struct nw_owned, want->n_ifaces + rec->n_items + 1);
    p.dropped = ARENA_ARRAY(a, struct nw_route, want->n_ifaces + rec->n_items + 1);
    p.made = arena_alloc(a, want->n_ifaces + 1);
    p.next = ARENA_ARRAY(a, struct nw_owned, want->n_ifaces + 1);
    p.object = "";
    nw_obs_copy(&p.now, obs, a);
    plan_check(&p);
    plan_wanted_ones(&p);
    make_record(&p);
    plan_remove(&p);
    make_undo(&p);
}

/* --- text --------------------------------------------------------------------------------------
 */

static void format_bond(const struct nw_bond *o, struct buf *b)
{
    if ((o->set & NW_BOND_MODE) != 0) {
        buf_printf(b, " mode %s", nw_bond_mode_name(o->mode));
    }
    if ((o->set & NW_BOND_MIIMON) != 0) {
        buf_printf(b, " miimon %u", o->miimon);
    }
    if ((o->set & NW_BOND_UPDELAY) != 0) {
        buf_printf(b, " updelay %u", o->updelay);
    }
    if ((o->set & NW_BOND_DOWNDELAY) != 0) {
        buf_printf(b, " downdelay %u", o->downdelay);
    }
    if ((o->set & NW_BOND_PRIMARY) != 0) {
        buf_printf(b, " primary %s", o->primary[0] != 0 ? o->primary : "none");
    }
    if ((o->set & NW_BOND_LACP_RATE) != 0) {
        buf_printf(b, " lacp-rate %s", o->lacp_rate != 0 ? "fast" : "slow");
    }
    if ((o->set & NW_BOND_XMIT_HASH) != 0) {
        buf_printf(b, " xmit-hash %u", (unsigned)o->xmit_hash);
    }
}

static void format_bridge(const struct nw_bridge *o, struct buf *b)
{
    if ((o->set & NW_BRIDGE_STP) != 0) {
        buf_printf(b, " stp %s", o->stp ? "on" : "off");
    }
    if ((o->set & NW_BRIDGE_DELAY) != 0) {
        buf_printf(b, " forward-delay %ums", o->forward_delay);
    }
    if ((o->set & NW_BRIDGE_HELLO) != 0) {
        buf_printf(b, " hello %ums", o->hello_time);
    }
    if ((o->set & NW_BRIDGE_MAX_AGE) != 0) {
        buf_printf(b, " max-age %ums", o->max_age);
    }
    if ((o->set & NW_BRIDGE_VLANS) != 0) {
        buf_printf(b, " vlan-filtering %s", o->vlan_filtering ? "on" : "off");
    }
}

static void format_args(const struct nw_op *op, struct buf *b)
{
    char text[NW_ADDR_TEXT];

    if (op->kind == NW_OP_ADD_LINK) {
        buf_printf(b, " %s", nw_kind_name(op->link_kind));
        if (op->link_kind == NW_VLAN) {
            buf_printf(b, " %u on %s", (unsigned)op->vlan_id, op->other);
        }
        format_bond(&op->bond, b);
        format_bridge(&op->bridge, b);
    } else if (op->kind == NW_OP_MTU || op->kind == NW_OP_PORT_COST) {
        buf_printf(b, " %u", op->value);
    } else if (op->kind == NW_OP_MASTER) {
        buf_printf(b, " %s", op->other[0] != 0 ? op->other : "none");
    } else if (op->kind == NW_OP_BOND_SET) {
        format_bond(&op->bond, b);
    } else if (op->kind == NW_OP_BRIDGE_SET) {
        format_bridge(&op->bridge, b);
    } else if (op->kind == NW_OP_ADDR_ADD || op->kind == NW_OP_ADDR_DEL) {
        nw_addr_format(&op->addr, text, sizeof(text));
        buf_printf(b, " %s", text);
    }
}

void nw_op_format(const struct nw_op *op, struct buf *b)
{
    static const char *const names[] = {
        [NW_OP_NONE] = "nothing",
        [NW_OP_ADD_LINK] = "add",
        [NW_OP_DEL_LINK] = "delete",
        [NW_OP_UP] = "up",
        [NW_OP_DOWN] = "down",
        [NW_OP_MTU] = "mtu",
        [NW_OP_MASTER] = "master",
        [NW_OP_BOND_SET] = "set",
        [NW_OP_BRIDGE_SET] = "set",
        [NW_OP_PORT_COST] = "cost",
        [NW_OP_ADDR_ADD] = "address-add",
        [NW_OP_ADDR_DEL] = "address-delete",
        [NW_OP_ROUTE_PUT] = "route",
        [NW_OP_ROUTE_DEL] = "route-delete",
    };

    CHECK((size_t)op->kind < ARRAY_LEN(names));
    buf_add_str(b, names[op->kind]);
    if (op->kind == NW_OP_ROUTE_PUT || op->kind == NW_OP_ROUTE_DEL) {
        buf_add_byte(b, ' ');
        nw_route_format(&op->route, b);
    } else {
        buf_printf(b, " %s", op->dev);
        format_args(op, b);
    }
}

static void format_record(const struct nw_record *r, struct buf *b)
{
    char text[NW_ADDR_TEXT];

    for (size_t i = 0; i < r->n_items; i++) {
        const struct nw_owned *o = &r->items[i];

        buf_printf(b, "record %s %s %s", nw_kind_name(o->kind), o->name,
                   o->made ? "made" : "adopted");
        for (size_t k = 0; k < o->n_members; k++) {
            buf_printf(b, " member=%s", o->members[k]);
        }
        for (size_t k = 0; k < o->n_addrs; k++) {
            nw_addr_format(&o->addrs[k].addr, text, sizeof(text));
            buf_printf(b, " address=%s", text);
            if (o->addrs[k].from[0] != 0) {
                buf_printf(b, "(from %s)", o->addrs[k].from);
            }
        }
        if (o->gateway.family != 0) {
            nw_ip_format(&o->gateway, text, sizeof(text));
            buf_printf(b, " gateway=%s", text);
        }
        buf_add_byte(b, '\n');
    }
}

void nw_plan_format(const struct nw_want *want, const struct nw_plan *plan, struct buf *b)
{
    static const char *const verdicts[] = { "ok", "paused", "blocked" };

    for (size_t i = 0; i < want->n_ifaces; i++) {
        const struct nw_verdict *v = &plan->verdicts[i];

        buf_printf(b, "%s: %s", want->ifaces[i].object, verdicts[v->kind]);
        if (v->reason != NULL) {
            buf_printf(b, " %s: %s", v->reason, v->message);
        }
        buf_add_byte(b, '\n');
    }
    for (size_t i = 0; i < plan->n_ops; i++) {
        buf_add_str(b, "do   ");
        nw_op_format(&plan->ops[i], b);
        buf_printf(b, "  # %s\n", plan->ops[i].why);
    }
    for (size_t i = 0; i < plan->n_undo; i++) {
        buf_add_str(b, "undo ");
        nw_op_format(&plan->undo[i], b);
        buf_add_byte(b, '\n');
    }
    format_record(&plan->next, b);
    if (plan->leftover != NULL) {
        buf_printf(b, "leftover: %s\n", plan->leftover);
    }
}
