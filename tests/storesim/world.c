/* Nodes, time, links and disks: tests/unit/raft_world.h with more of them and more faults. */

#define WORLD_MAX 9u
#include "tests/unit/raft_world.h"

#include "tests/storesim/sim.h"

static struct world w;
struct sim_node nodes[SIM_NODES];

_Static_assert(WORLD_MAX == SIM_NODES, "one world for all");
_Static_assert(WORLD_HEARTBEAT == SIM_HEARTBEAT && WORLD_ELECTION == SIM_ELECTION, "same timing");

/* --- time and chance --- */

uint64_t now(void)
{
    return w.now;
}

uint64_t rnd(uint64_t n)
{
    return world_rand(&w, n);
}

bool chance(unsigned percent)
{
    return world_rand(&w, 100) < percent;
}

/* --- nodes --- */

struct rep *rep_of(unsigned i)
{
    return w.nodes[i].died ? NULL : w.nodes[i].rep;
}

bool node_used(unsigned i)
{
    return w.nodes[i].used;
}

bool node_dying(unsigned i, const char **ret_why)
{
    *ret_why = w.nodes[i].why;
    return w.nodes[i].died;
}

bool node_paused(unsigned i)
{
    return w.nodes[i].paused && w.nodes[i].paused_until > w.now;
}

uint64_t node_clock(unsigned i)
{
    return we_now(&w.nodes[i]);
}

const char *node_name(unsigned i)
{
    return w.nodes[i].name;
}

static struct rep_fsm fsm_of(struct wnode *n)
{
    return machine_fsm(&nodes[n->i]);
}

static void on_role(void *ctx, enum rep_role role, uint64_t term, uint64_t leader_id)
{
    const struct wnode *n = ctx;

    story("%s role %d term %llu leader %llu", n->name, (int)role, (unsigned long long)term,
          (unsigned long long)leader_id);
    REQUIRE(role != REP_UNAVAILABLE);
    if (role == REP_LEADER) {
        machine_led(n->i, term);
    } else {
        nodes[n->i].lead_term = 0;
        leasebook_close(&nodes[n->i].book);
    }
}

static void on_lead_ready(void *ctx, uint64_t term)
{
    const struct wnode *n = ctx;
    struct sim_node *s = &nodes[n->i];

    story("%s leads term %llu", n->name, (unsigned long long)term);
    s->lead_term = term;
    leasebook_open(&s->book, s->store, node_clock(n->i));
}

static void on_applied(void *ctx, uint64_t index, uint64_t hash)
{
    const struct wnode *n = ctx;

    REQUIRE(nodes[n->i].applied >= index);
    REQUIRE(hash == machine_state_after(index));
}

static void on_call(void *ctx, uint64_t from_id, const char *from_name, uint16_t kind,
                    const uint8_t *data, size_t len, uint64_t call_id)
{
    const struct wnode *n = ctx;

    (void)from_id;
    (void)from_name;
    REQUIRE(kind == 2);
    lease_call(n->i, data, len, call_id);
}

static struct rep_events events_of(struct wnode *n)
{
    return (struct rep_events){ .ctx = n,
                                .on_role = on_role,
                                .on_lead_ready = on_lead_ready,
                                .on_applied = on_applied,
                                .on_call = on_call };
}

void world_setup(uint64_t seed)
{
    world_init(&w, seed);
    w.fsm = fsm_of;
    w.events = events_of;
    for (unsigned i = 0; i < SIM_NODES; i++) {
        nodes[i] = (struct sim_node){ .i = i };
    }
}

void world_teardown(void)
{
    for (unsigned i = 0; i < SIM_NODES; i++) {
        leasebook_close(&nodes[i].book);
        watchers_node_down(i);
    }
    world_done(&w);
    for (unsigned i = 0; i < SIM_NODES; i++) {
        machine_stop(&nodes[i]);
    }
}

void world_go(void)
{
    world_step(&w);
}

void node_bootstrap(unsigned n_voters)
{
    struct rep_member m[SIM_NODES];
    struct err err;

    w.snapshot_bytes = opt.snapshot_bytes;
    w.segment_bytes = opt.segment_bytes;
    w.net_ms = opt.net_ms;
    w.apply_slice = 1 + opt.net_ms * 100; /* as different as the nets are */
    w.shed_keep = 1 + opt.net_ms * 400;
    for (unsigned i = 0; i < n_voters; i++) {
        m[i] = (struct rep_member){
            .id = i + 1, .name = w.nodes[i].name, .address = w.nodes[i].name, .role = REP_VOTER
        };
    }
    for (unsigned i = 0; i < n_voters; i++) {
        REQUIRE(rep_bootstrap_disk(&w.nodes[i].disk.disk, m, n_voters, &err) == 0);
    }
}

bool node_start(unsigned i, struct err *err)
{
    struct sim_node *s = &nodes[i];

    REQUIRE(w.nodes[i].rep == NULL && s->store == NULL && !s->gone);
    machine_start(s);
    if (world_open(&w, i, err) != 0) {
        w.nodes[i].rep = NULL;
        machine_stop(s);
        story("%s does not start: %s", w.nodes[i].name, err->msg);
        return false;
    }
    story("%s started, applied %llu", w.nodes[i].name, (unsigned long long)s->applied);
    return true;
}

void node_crash(unsigned i)
{
    struct sim_node *s = &nodes[i];

    REQUIRE(w.nodes[i].rep != NULL);
    s->down_since = w.now;
    s->down_term = rep_term(w.nodes[i].rep);
    s->down_index = machine_index();
    s->lead_term = 0;
    leasebook_close(&s->book);
    watchers_node_down(i);
    world_crash(&w, i);
    w.nodes[i].died = false;
    ops_node_down(i);
    machine_stop(s);
    story("%s crashed", w.nodes[i].name);
}

void node_after(unsigned i)
{
    world_after(&w.nodes[i]);
}

/* --- faults --- */

void node_pause(unsigned i, uint64_t ms)
{
    if (w.nodes[i].paused_until <= w.now) { /* a longer one would mix up the order of what waits */
        w.nodes[i].paused = true;
        w.nodes[i].paused_until = w.now + ms;
    }
}

void node_disk_ms(unsigned i, unsigned ms)
{
    w.nodes[i].disk_ms = ms;
}

void node_disk_fail(unsigned i, bool fail)
{
    w.nodes[i].disk.fail_writes = fail;
}

void node_disk_room(unsigned i, size_t bytes)
{
    w.nodes[i].disk.room = bytes == 0 ? 0 : w.nodes[i].disk.used + bytes;
}

bool node_disk_flip(unsigned i, char *ret_what, size_t size)
{
    struct memdisk *d = &w.nodes[i].disk;
    const struct md_name *f;
    size_t at;

    if (d->n == 0) {
        return false;
    }
    f = &d->names[world_rand(&w, d->n)];
    if (f->inode->size == 0) {
        return false;
    }
    /* most of a prepared file is zeroes that nobody reads: look for something written */
    for (int tries = 0; tries < 40; tries++) {
        at = world_rand(&w, f->inode->size);
        if (f->inode->data[at] != 0) {
            break;
        }
    }
    f->inode->data[at] ^= (uint8_t)(1U << world_rand(&w, 8));
    f->inode->durable[at] = f->inode->data[at];
    (void)snprintf(ret_what, size, "%s byte %zu of %zu", f->name, at, f->inode->size);
    return true;
}

void node_clock_rate(unsigned i, unsigned per_mille)
{
    struct wnode *n = &w.nodes[i];
    uint64_t is = we_now(n);

    n->rate = (double)per_mille / 1000;
    n->offset += is - we_now(n); /* it never jumps; wraps around when that is negative */
    while (we_now(n) < is) {
        n->offset++;
    }
}

void node_wall_step(unsigned i, int64_t ms)
{
    w.nodes[i].wall_step += ms;
}

void link_cut(unsigned from, unsigned to, bool cut)
{
    world_cut(&w, from, to, cut);
}

void link_break(unsigned a, unsigned b)
{
    world_link_break(&w, a, b);
}

void net_loss(unsigned drop, unsigned twice, unsigned late)
{
    w.drop = drop;
    w.twice = twice;
    w.late = late;
}

uint64_t world_lost(void)
{
    return w.lost;
}

uint64_t world_torn(void)
{
    return w.torn;
}
