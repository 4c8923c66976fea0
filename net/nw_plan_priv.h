#ifndef NET_NW_PLAN_PRIV_H
#define NET_NW_PLAN_PRIV_H

/* Between the files of the planner. */

#include "net/nw_plan.h"

struct planner {
    const struct nw_want *want;
    const struct nw_obs *before;
    const struct nw_record *rec;
    struct arena *a;
    struct nw_obs now; /* after the operations so far */
    struct nw_plan *plan;
    struct nw_op *inverse; /* of ops, in their order */
    size_t n_inverse, cap_inverse, cap_ops;
    const char *object;       /* for whose sake */
    struct nw_route *dropped; /* not to be brought back */
    size_t n_dropped;
    bool *made;            /* one for each of want->ifaces: created by this plan */
    struct nw_owned *next; /* one for each of want->ifaces */
};

/* Append an operation with what undoes it (NW_OP_NONE: nothing), and look at the result. */
void plan_emit(struct planner *p, struct nw_op op, struct nw_op inverse, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
struct nw_op plan_op(enum nw_op_kind kind, const char *dev);
struct nw_op plan_op_other(enum nw_op_kind kind, const char *dev, const char *other);
struct nw_op plan_op_addr(enum nw_op_kind kind, const char *dev, const struct nw_addr *addr);

/* Take a member away from its bond or bridge. */
void plan_leave(struct planner *p, const char *member, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* nw_check_plan.c: fill in the verdicts. */
void plan_check(struct planner *p);
/* The wanted interface of that name which is not blocked, or NULL. */
const struct nw_iface *plan_wanted(const struct planner *p, const char *name);
bool plan_has_member(const struct nw_iface *f, const char *name);

/* nw_iface_diff.c: everything about one wanted interface. */
void plan_iface(struct planner *p, size_t i);
void plan_bring_up(struct planner *p, const char *name, const char *why);
/* Put static routes and IPv6 addresses where they belong now; none stays at `leaving` (or NULL). */
void plan_rehome(struct planner *p, const char *leaving);

/* nw_option_diff.c: options and MTU of an interface that exists. */
/* Those options that the kernel takes in the mode that `b` has. */
uint32_t plan_bond_bits(const struct nw_bond *b);
void plan_options(struct planner *p, const struct nw_iface *f);
/* `name` gets smaller, and with it VLANs above: the undo list makes them large again. */
void plan_keep_vlan_mtu(struct planner *p, const char *name, uint32_t mtu);
void plan_mtu(struct planner *p, const struct nw_iface *f);
void plan_primary(struct planner *p, const struct nw_iface *f);
void plan_path_cost(struct planner *p, const struct nw_iface *f);

/* nw_remove_diff.c: what is ours and no longer wanted. */
void plan_remove_parts(struct planner *p, const struct nw_iface *f, const struct nw_owned *o);
void plan_delete_link(struct planner *p, const char *name);
void plan_remove(struct planner *p);

#endif
