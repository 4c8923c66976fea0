/* Faults, members that come and go, and the end of all that. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "tests/storesim/sim.h"

static struct rep_req change_req;
static bool changing;
static unsigned change_node;
static uint64_t change_since;
static bool healing;

void nemesis_reset(void)
{
    changing = healing = false;
}

struct sim_node *leader(void)
{
    struct sim_node *best = NULL;

    for (unsigned i = 0; i < SIM_NODES; i++) {
        if (rep_of(i) != NULL && rep_lead_ready(rep_of(i)) &&
            (best == NULL || rep_term(rep_of(i)) > rep_term(rep_of(best->i)))) {
            best = &nodes[i];
        }
    }
    return best;
}

/* --- down and up -------------------------------------------------------------------------------
 */

static void crash(unsigned i)
{
    uint64_t torn = world_torn();

    node_crash(i);
    node_disk_fail(i, false);
    totals.fault_crash++;
    totals.fault_torn += world_torn() - torn;
    if (changing && change_node == i) {
        changing = false; /* whoever asked hears nothing any more */
    }
}

/* A node that ended itself says why, and only for a few reasons. */
static void bury(unsigned i)
{
    const char *why;

    (void)node_dying(i, &why);
    story("%s ended itself: %s", node_name(i), why);
    totals.fault_death++;
    if (strstr(why, "new id") != NULL) {
        nodes[i].gone = true; /* it has forgotten something (damage) */
    } else if (strstr(why, "start again") == NULL && strstr(why, "input/output") == NULL &&
               strstr(why, "no space") == NULL) {
        FAIL("%s ended itself: %s", node_name(i), why);
    }
    crash(i);
}

static void start(unsigned i)
{
    struct err err;

    if (node_start(i, &err)) {
        return;
    }
    if (nodes[i].store != NULL) {
        FAIL("%s: half started", node_name(i));
    }
    if (err.code == ERR_CORRUPT && opt.flips) {
        totals.fault_refused_damage++;
        nodes[i].gone = true;
    } else if (opt.disks &&
               (strstr(err.msg, "no space") != NULL || strstr(err.msg, "input/output") != NULL)) {
        node_disk_room(i, 0); /* somebody looks after it */
        node_disk_fail(i, false);
    } else {
        FAIL("%s does not start: %s", node_name(i), err.msg);
    }
}

void nemesis_restart(bool all)
{
    const char *why;

    for (unsigned i = 0; i < SIM_NODES; i++) {
        if (nodes[i].store != NULL && node_dying(i, &why)) {
            bury(i);
        }
        if (node_used(i) && !nodes[i].gone && nodes[i].store == NULL &&
            (all || chance(opt.flips ? 2 : 5))) {
            start(i);
        }
    }
}

/* --- damage ------------------------------------------------------------------------------------
 */

/* Only what the others can do without may be damaged: all that was ever committed, and every vote
 * of this node, must be known to a majority without it.  (Two faults at once, one of them a disk
 * that lies, are beyond what three voters can take.) */
static bool dispensable(unsigned i)
{
    struct rep_peer_info info[SIM_NODES];
    const struct sim_node *l = leader();
    size_t n, voters = 0, good = 0;

    if (l == NULL || now() < nodes[i].down_since + 1500) {
        return false;
    }
    n = rep_peers(rep_of(l->i), info, SIM_NODES);
    for (size_t k = 0; k < n; k++) {
        unsigned o = (unsigned)info[k].id - 1;

        if (info[k].role != REP_VOTER) {
            continue;
        }
        voters++;
        good += o != i && rep_of(o) != NULL && !node_paused(o) &&
                rep_term(rep_of(o)) == rep_term(rep_of(l->i)) &&
                nodes[o].applied >= nodes[i].down_index;
    }
    return good > voters / 2 && rep_term(rep_of(l->i)) >= nodes[i].down_term;
}

static void flip(void)
{
    unsigned damaged = 0;
    char what[128];

    for (unsigned i = 0; i < SIM_NODES; i++) {
        damaged += nodes[i].gone;
    }
    for (unsigned i = 0; i < SIM_NODES && damaged < 3; i++) {
        if (node_used(i) && !nodes[i].gone && nodes[i].store == NULL && dispensable(i) &&
            node_disk_flip(i, what, sizeof(what))) {
            totals.fault_bit_flip++;
            story("%s: a bit flips in %s", node_name(i), what);
            return;
        }
    }
}

/* --- members -----------------------------------------------------------------------------------
 */

static void on_changed(struct rep_req *req, const struct err *err)
{
    (void)req;
    story("change of members: %s", err == NULL ? "done" : err->msg);
    changing = false;
}

static void change_begin(const struct sim_node *l)
{
    changing = true;
    change_node = l->i;
    change_since = now();
    totals.fault_member++;
}

static const struct rep_peer_info *member(const struct rep_peer_info *info, size_t n, unsigned i)
{
    for (size_t k = 0; k < n; k++) {
        if (info[k].id == i + 1) {
            return &info[k];
        }
    }
    return NULL;
}

static void remove_member(const struct sim_node *l, unsigned i)
{
    story("%s is to remove %s", node_name(l->i), node_name(i));
    change_begin(l);
    rep_remove(rep_of(l->i), &change_req, i + 1, on_changed);
    node_after(l->i);
}

static void add_member(const struct sim_node *l, unsigned i)
{
    struct rep_member m = { .id = i + 1,
                            .name = node_name(i),
                            .address = node_name(i),
                            .role = chance(70) || healing ? REP_VOTER : REP_STANDBY };

    if (!node_used(i)) {
        start(i);
    }
    story("%s is to add %s", node_name(l->i), node_name(i));
    change_begin(l);
    rep_add(rep_of(l->i), &change_req, &m, on_changed);
    node_after(l->i);
}

/* A voter whose files are damaged is removed, and another machine comes in its place. */
static bool repair(const struct sim_node *l, const struct rep_peer_info *info, size_t n)
{
    size_t voters = 0;

    for (size_t k = 0; k < n; k++) {
        voters += info[k].role == REP_VOTER;
    }
    for (size_t k = 0; k < n; k++) {
        unsigned i = (unsigned)info[k].id - 1;

        if (nodes[i].gone && i != l->i) {
            totals.fault_replaced++;
            remove_member(l, i);
            return true;
        }
    }
    for (unsigned i = 0; i < SIM_NODES && voters < opt.voters; i++) {
        const struct rep_peer_info *p = member(info, n, i);

        if (nodes[i].gone) {
            continue;
        }
        if (p == NULL) {
            add_member(l, i);
            return true;
        }
        if (p->role != REP_VOTER) {
            change_begin(l);
            rep_assign(rep_of(l->i), &change_req, i + 1, REP_VOTER, on_changed);
            node_after(l->i);
            return true;
        }
    }
    return false;
}

static void change_at_random(const struct sim_node *l, const struct rep_peer_info *info, size_t n)
{
    unsigned i = (unsigned)rnd(SIM_NODES);
    const struct rep_peer_info *p = member(info, n, i);
    size_t voters = 0;

    for (size_t k = 0; k < n; k++) {
        voters += info[k].role == REP_VOTER;
    }
    if (nodes[i].gone) {
        return;
    }
    if (p == NULL && n < 7) {
        add_member(l, i);
    } else if (p != NULL && p->role != REP_VOTER) {
        change_begin(l);
        rep_assign(rep_of(l->i), &change_req, i + 1, REP_VOTER, on_changed);
        node_after(l->i);
    } else if (p != NULL && voters > opt.voters) {
        if (chance(50)) {
            remove_member(l, i);
        } else {
            change_begin(l);
            rep_assign(rep_of(l->i), &change_req, i + 1, REP_STANDBY, on_changed);
            node_after(l->i);
        }
    }
}

void nemesis_members(bool heal)
{
    struct rep_peer_info info[SIM_NODES];
    const struct sim_node *l = leader();
    size_t n;

    if (changing && now() > change_since + 60000) {
        changing = false; /* its leader forgot it */
    }
    if (l == NULL || changing) {
        return;
    }
    n = rep_peers(rep_of(l->i), info, SIM_NODES);
    if (!repair(l, info, n) && !heal && opt.members) {
        change_at_random(l, info, n);
    }
}

bool nemesis_settled(void)
{
    struct rep_peer_info info[SIM_NODES];
    const struct sim_node *l = leader();
    size_t n;

    if (l == NULL || changing) {
        return false;
    }
    n = rep_peers(rep_of(l->i), info, SIM_NODES);
    for (size_t k = 0; k < n; k++) {
        if (nodes[info[k].id - 1].gone) {
            return false;
        }
    }
    return true;
}

/* --- faults ------------------------------------------------------------------------------------
 */

static void isolate(unsigned a)
{
    bool both = chance(50);

    for (unsigned k = 0; k < SIM_NODES; k++) {
        if (k != a) {
            link_cut(a, k, true);
            link_cut(k, a, both || chance(30));
        }
    }
    totals.fault_partition++;
    story("%s is cut off%s", node_name(a), both ? "" : ", one way");
}

static void split(void)
{
    uint64_t side = rnd(1U << SIM_NODES);

    for (unsigned a = 0; a < SIM_NODES; a++) {
        for (unsigned b = 0; b < SIM_NODES; b++) {
            if ((side >> a & 1) != (side >> b & 1)) {
                link_cut(a, b, true);
            }
        }
    }
    totals.fault_partition++;
    story("the network is split, %03x", (unsigned)side);
}

static void mend(void)
{
    for (unsigned a = 0; a < SIM_NODES; a++) {
        for (unsigned b = 0; b < SIM_NODES; b++) {
            link_cut(a, b, false);
        }
    }
}

static void clock_fault(unsigned a)
{
    totals.fault_clock++;
    if (chance(50)) {
        int64_t ms = (int64_t)rnd(7200000) - 3600000;

        node_wall_step(a, ms);
        story("%s: the wall clock steps by %" PRId64 " ms", node_name(a), ms);
    } else {
        unsigned rate = 900 + (unsigned)rnd(220);

        node_clock_rate(a, rate);
        story("%s: the clock goes at %u per mille", node_name(a), rate);
    }
}

static void disk_fault(unsigned a)
{
    switch (rnd(3)) {
    case 0:
        node_disk_ms(a, chance(33) ? 300 : 5);
        totals.fault_slow_disk++;
        story("%s: another disk speed", node_name(a));
        break;
    case 1:
        if (chance(30)) {
            node_disk_fail(a, true);
            totals.fault_io_error++;
            story("%s: writes fail", node_name(a));
        }
        break;
    default:
        node_disk_room(a, chance(50) ? 0 : 1 + rnd(1U << 20));
        totals.fault_full_disk++;
        story("%s: the disk fills up or is emptied", node_name(a));
        break;
    }
}

static void hand_over(void)
{
    const struct sim_node *l = leader();
    uint64_t to = 1 + rnd(SIM_NODES);
    struct err err;

    if (l != NULL && rep_transfer(rep_of(l->i), to, &err) == 0) {
        totals.fault_transfer++;
        story("%s is to hand over to n%" PRIu64, node_name(l->i), to);
    }
    if (l != NULL) {
        node_after(l->i);
    }
}

static void link_fault(unsigned a, unsigned b)
{
    if (a == b) {
        return;
    }
    if (chance(60)) {
        link_cut(a, b, true);
        totals.fault_one_way++;
        story("%s does not reach %s any more", node_name(a), node_name(b));
    } else {
        link_break(a, b);
        totals.fault_link_broken++;
        story("the link of %s and %s breaks", node_name(a), node_name(b));
    }
}

static unsigned victim(void)
{
    const struct sim_node *l = leader();
    unsigned a = SIM_NODES;

    if (l != NULL && chance(33)) {
        return l->i; /* leaders have the most to lose */
    }
    for (unsigned tries = 0; tries < 30; tries++) {
        a = (unsigned)rnd(SIM_NODES);
        if (node_used(a)) {
            return a;
        }
    }
    return 0;
}

void nemesis_fault(void)
{
    unsigned a = victim();
    uint64_t what = rnd(14);

    if (what < 3 && opt.crashes && nodes[a].store != NULL) {
        crash(a);
    } else if (what == 3 && opt.cuts) {
        isolate(a);
    } else if (what == 4 && opt.cuts) {
        split();
    } else if (what == 5 && opt.cuts) {
        link_fault(a, (unsigned)rnd(SIM_NODES));
    } else if (what < 8) {
        mend();
        story("the network is whole");
    } else if (what == 8 && opt.pauses) {
        node_pause(a, 10 + rnd(2500));
        totals.fault_pause++;
        story("%s pauses", node_name(a));
    } else if (what == 9 && opt.clocks) {
        clock_fault(a);
    } else if (what == 10 && opt.transfers) {
        hand_over();
    } else if (what == 11 && opt.disks) {
        disk_fault(a);
    } else if (what >= 12 && opt.flips) {
        flip();
    }
}

void nemesis_heal(void)
{
    story("everything heals");
    healing = true;
    net_loss(0, 0, 0);
    mend();
    for (unsigned i = 0; i < SIM_NODES; i++) {
        node_disk_ms(i, 5);
        node_disk_fail(i, false);
        node_disk_room(i, 0);
    }
}

bool nemesis_healing(void)
{
    return healing;
}
