#ifndef RECONCILER_PLACE_PRIV_H
#define RECONCILER_PLACE_PRIV_H

/* What the place_*_plan.c files share.  Nobody else includes it.
 *
 * Hosts are handled by rank, their position by name; bit sets of hosts are by rank.  Virtual
 * machines and rules keep the index of the input; `order` says in which sequence they are decided.
 * A context has a fixed part (the index) and a part that place_reset sets up for one scenario:
 * which hosts have failed.
 */

#include "reconciler/place.h"

struct place_hx { /* a host, by rank */
    const struct place_host *h;
    uint32_t id; /* index in the input */
    enum place_host_state state;
    bool failed;        /* assumed so by the scenario */
    uint64_t cpu_limit; /* UINT64_MAX: none */
    struct place_load used;
    struct place_load promised; /* will become free and nobody counts on it yet */
    struct place_load yielding; /* held by those that may be preempted, as far as not promised */
};

struct place_vx { /* a virtual machine, by index of the input */
    const struct place_vm *v;
    uint32_t seq;         /* position in order */
    uint32_t group;       /* key that keeps Together groups next to each other in order */
    const uint64_t *mask; /* hosts that would do, seen alone; NULL: all */
    const uint32_t *rules;
    uint32_t n_rules;
    bool dynamic;   /* is in a required Together or Apart */
    bool prefers;   /* is in a preferred rule */
    uint32_t cycle; /* number of the startAfter cycle it is in, 0: none */
    /* the scenario */
    bool held;
    bool todo;                /* counted in the todo of its Together rules */
    bool decided;             /* likewise in `decided` of its rules */
    uint32_t current;         /* rank */
    uint32_t peer;            /* rank */
    uint32_t preemptor;       /* who needs its room; PLACE_NONE */
    uint32_t apart[2];        /* ranks where Apart rules count it; PLACE_NONE */
    uint32_t together;        /* rank where Together rules count it; PLACE_NONE */
    uint32_t charged;         /* rank where it was charged when it was decided; PLACE_NONE */
    struct place_load charge; /* what it was charged with there */
};

struct place_rx { /* a rule */
    const struct place_rule *r;
    uint32_t rank; /* by name */
    int64_t weight;
    const uint32_t *dom; /* domain by rank of host; NULL: the rank itself */
    uint64_t *hosts;     /* OnHosts, NotOnHosts */
    uint64_t *common;    /* Together, required: hosts that would do for every member */
    uint32_t *present;   /* members by domain */
    uint32_t *decided;   /* of which have been decided in this pass */
    uint32_t *who;       /* by domain: the member that came last, or PLACE_NONE */
    uint32_t n_present;
    uint32_t n_decided;
    struct place_load todo; /* members that still have to find a host */
};

struct place_ctx {
    const struct place_input *in;
    struct arena *a;
    bool quiet; /* no messages, no rejects */
    bool ignore_after;
    uint32_t n_hosts, n_vms, n_rules;
    uint32_t words; /* of a bit set of hosts */
    struct place_hx *hosts;
    uint32_t *rank_of;    /* host index to rank */
    uint32_t *host_order; /* rank to host index */
    struct place_vx *vms;
    struct place_rx *rules;
    uint32_t *order;   /* of decision */
    uint32_t *on_host; /* virtual machines by rank of their current host, in order of decision... */
    uint32_t *on_host_at; /* ...of rank r: from on_host_at[r] to on_host_at[r + 1] */
    uint64_t *ready;      /* hosts that take virtual machines */
    uint64_t *all;
    uint32_t *scratch;   /* for sorting, as many as there are hosts, machines and rules */
    uint32_t *victims;   /* n_vms */
    const char **cycles; /* text by number - 1 */
    struct place_result *out;
    uint64_t steps;
    uint32_t n_moves;
    bool no_preempt; /* what would need it sets `escalate` and finds no host */
    bool escalate;
};

/* ---- place_index_plan.c: the fixed part ---- */
void place_index(struct place_ctx *c, const struct place_input *in, struct arena *a);
typedef int place_cmp(const struct place_ctx *c, uint32_t x, uint32_t y);
/* Stable; scratch holds n. */
void place_sort(const struct place_ctx *c, uint32_t *v, size_t n, uint32_t *scratch,
                place_cmp *cmp);
/* The same input with a rule for every group of spread_by. */
const struct place_input *place_with_spread(const struct place_input *in, struct arena *a);
/* Number the cycles of startAfter. */
void place_index_after(struct place_ctx *c);

/* ---- place_fit_plan.c: one virtual machine on one host ---- */
struct place_pick {
    uint32_t rank;
    uint32_t n_fit;
    bool group;     /* the rest of its Together group fits too */
    bool by_prefer; /* preferred rules made the difference */
    bool by_group;  /* likewise that its group fits */
    int64_t prefer;
    uint64_t memory; /* fraction free after it, in 1/2^20 */
    uint64_t vcpus;  /* vCPUs per CPU after it, in 1/2^20 */
};

struct place_ask {
    uint32_t except; /* rank that does not count; PLACE_NONE */
    bool group;      /* only hosts where the rest of its group fits too */
    bool better;     /* only hosts with preferences above `prefer` */
    int64_t prefer;
};

bool place_choose(struct place_ctx *c, const struct place_vx *x, const struct place_ask *ask,
                  struct place_pick *ret);
/* The first reason why not, in a fixed order; false when the host fits.  `running`: judge it where
 * it runs, so that resources and room do not count. */
bool place_reject_static(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                         bool running, struct place_reject *ret);
bool place_reject_rules(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                        struct place_reject *ret);
bool place_reject(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                  struct place_reject *ret);
/* It runs there and breaks a required rule with somebody decided before it (or all by itself). */
bool place_violates(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                    struct place_reject *ret);
bool place_has_room(const struct place_hx *h, const struct place_vm *v);
int64_t place_prefer(const struct place_ctx *c, const struct place_vx *x, uint32_t rank);

/* ---- place_count_plan.c: who is where ---- */
void place_reset(struct place_ctx *c, const uint32_t *failed_ranks, size_t n_failed,
                 bool suspects_fail);
void place_present(struct place_ctx *c, struct place_vx *x, uint32_t apart, uint32_t apart2,
                   uint32_t together);
void place_absent(struct place_ctx *c, struct place_vx *x);
void place_mark_decided(struct place_ctx *c, struct place_vx *x);
void place_unmark_decided(struct place_ctx *c, struct place_vx *x);
void place_todo(struct place_ctx *c, struct place_vx *x, bool on);
void place_charge(struct place_ctx *c, struct place_vx *x, uint32_t rank);
void place_uncharge(struct place_ctx *c, struct place_vx *x);
/* Its host is lost: it is nowhere and has to be decided. */
void place_displace(struct place_ctx *c, struct place_vx *x);

/* ---- place_plan.c ---- */
void place_one(struct place_ctx *c, uint32_t vm);
void place_run(struct place_ctx *c);

/* ---- place_preempt_plan.c ---- */
/* Find a host where lower priorities could make room; marks them.  *ret_why is for the message. */
bool place_preempt(struct place_ctx *c, struct place_vx *x, uint32_t *ret_rank,
                   const char **ret_why);

/* ---- place_text_plan.c ---- */
const char *place_summary(struct place_ctx *c, const struct place_reject *r, size_t n,
                          enum place_reason *ret);
const char *place_pick_text(struct place_ctx *c, const struct place_pick *p);
/* "1.5Gi": at most one decimal, rounded down. */
void place_size_text(uint64_t bytes, char *dst, size_t size);

static inline bool place_bit(const uint64_t *set, uint32_t i)
{
    return (set[i / 64] >> (i % 64) & 1U) != 0;
}

static inline void place_bit_set(uint64_t *set, uint32_t i)
{
    set[i / 64] |= (uint64_t)1 << (i % 64);
}

static inline void place_bit_clear(uint64_t *set, uint32_t i)
{
    set[i / 64] &= ~((uint64_t)1 << (i % 64));
}

static inline uint32_t place_dom(const struct place_rx *r, uint32_t rank)
{
    return r->dom == NULL ? rank : r->dom[rank];
}

#endif
