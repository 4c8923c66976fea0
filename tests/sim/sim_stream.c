/* In the place of base/stream*.c and TLS: connections between processes over the simulated network.
 *
 * Bytes travel in order and are kept until they arrive: a cut stalls a connection, a heal lets it
 * go on, and a sender whose bytes are not acknowledged for its user timeout breaks.  A killed
 * process' kernel answers with a reset; a machine without power does not answer at all.  Who the
 * other side is (role and name) is given as data instead of a certificate. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/stream.h"
#include "tests/sim/sim_priv.h"

#define RETRY_US 100000U
#define PATIENCE_MS 20000U /* of a sender without a user timeout */
#define STREAM_MAX_QUEUE (64U << 20)
#define LISTENERS_MAX 256U

struct seg {
    struct seg *next;
    uint64_t at;
    size_t len; /* 0: the end */
    uint8_t *data;
};

enum end_state { END_NONE, END_OPENING, END_OPEN, END_BROKEN, END_GONE };

struct end {
    struct proc *p;
    uint64_t life;
    unsigned machine;
    enum end_state state;
    struct stream *st;
    /* towards the other end */
    struct seg *head, **tail;
    size_t queued;
    uint64_t last_at;
    uint64_t stalled_us; /* since when nothing was acknowledged; 0: it goes well */
    unsigned user_timeout_ms;
    bool polling, over;
};

struct sconn {
    struct sconn *next, *prev;
    uint64_t id;
    unsigned link, port;
    struct end ends[2]; /* 0: the client */
    uint64_t deadline_us;
    unsigned refs; /* events under way */
    bool dead;
};

/* What the product knows: in the heap of its process. */
struct stream {
    unsigned magic;
    struct sconn *c; /* NULL: closed */
    unsigned e;
    struct stream_cbs cbs;
    void *data;
    struct stream_peer peer;
    char remote[64];
    bool paused, opened, closing, ended;
    size_t max_queue, low_mark;
    struct proc *p;
    char want_role[64], want_name[128];
};

#define SIM_STREAM_MAGIC 0x51575245U

struct listener {
    struct proc *p;
    uint64_t life;
    unsigned machine, port;
    int link; /* -1: all */
    bool used;
    void (*on_accept)(struct listener *l, struct stream *s);
    void *data;
    char address[64];
};

static struct listener listeners[LISTENERS_MAX];
static uint64_t next_conn;

/* --- who and where -----------------------------------------------------------------------------
 */

void machine_address(const struct machine *m, unsigned link, unsigned port, char *dst, size_t size)
{
    (void)snprintf(dst, size, "10.%u.0.%u:%u", link, m->i + 1, port);
}

static bool parse_address(const char *address, unsigned *ret_link, unsigned *ret_machine,
                          unsigned *ret_port)
{
    unsigned host;

    if (sscanf(address, "10.%u.0.%u:%u", ret_link, &host, ret_port) != 3 || host == 0 ||
        *ret_link >= SIM_LINKS_MAX || host > sim_world->n_machines + 1) {
        return false;
    }
    *ret_machine = host - 1;
    return true;
}

static void identity(const struct proc *p, struct stream_peer *ret)
{
    static const char *const roles[] = { [PROC_PICKETD] = "picket:voters",
                                         [PROC_AGENT] = "picket:agents",
                                         [PROC_WATCHDOG] = "",
                                         [PROC_USER] = "picket:admins" };

    *ret = (struct stream_peer){ .local = false };
    (void)str_copy(ret->role, sizeof(ret->role), p->role[0] != '\0' ? p->role : roles[p->kind]);
    (void)str_copy(ret->name, sizeof(ret->name), p->role[0] != '\0' ? p->name : p->m->name);
    (void)str_copy(ret->cluster, sizeof(ret->cluster), sim_world->cluster);
}

bool sim_path(const struct sim *s, unsigned link, unsigned from, unsigned to)
{
    const struct machine *a = &s->machines[from], *b = &s->machines[to];

    return !s->cut[link][from][to] && a->booted && b->booted && !a->suspended && !b->suspended;
}

static uint64_t latency(void)
{
    const struct sim *s = sim_world;

    return s->lat_min + sim_rand(s->lat_max - s->lat_min + 1);
}

/* --- connections -------------------------------------------------------------------------------
 */

static bool end_alive(const struct end *e)
{
    return e->p != NULL && e->p->alive && e->p->life == e->life && e->st != NULL;
}

static void conn_drop_queue(struct end *e)
{
    while (e->head != NULL) {
        struct seg *g = e->head;

        e->head = g->next;
        free(g->data);
        free(g);
    }
    e->tail = &e->head;
    e->queued = 0;
}

static void conn_check(struct sconn *c)
{
    if (c->refs > 0 || c->ends[0].state != END_GONE || c->ends[1].state != END_GONE) {
        return;
    }
    conn_drop_queue(&c->ends[0]);
    conn_drop_queue(&c->ends[1]);
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        sim_world->conns = c->next;
    }
    free(c);
}

static void conn_post(struct sconn *c, uint64_t delay_us, sim_fn *fn, uint64_t n)
{
    c->refs++;
    sim_post(NULL, delay_us, fn, c, n);
}

static void conn_unref(struct sconn *c)
{
    c->refs--;
    conn_check(c);
}

/* Something to tell the process that owns this end. */
struct note {
    struct stream *st;
    struct err err;
    bool has_err;
    uint64_t id; /* of the connection: the stream may be another by now */
};

static bool note_fits(const struct note *n)
{
    return n->st->magic == SIM_STREAM_MAGIC && !n->st->closing;
}

static void tell(struct end *e, sim_fn *fn, const struct err *err)
{
    struct note *n;
    unsigned heap = sim_heap;

    if (!end_alive(e)) {
        return;
    }
    sim_heap = e->p->heap; /* it goes with its process */
    n = OBJ_NEW(struct note);
    sim_heap = heap;
    n->st = e->st;
    n->has_err = err != NULL;
    if (err != NULL) {
        n->err = *err;
    }
    sim_post(e->p, 0, fn, n, 0);
}

static void on_closed(void *arg, uint64_t n)
{
    struct stream *st = arg;

    (void)n;
    if (st->cbs.on_closed != NULL) {
        st->cbs.on_closed(st);
    }
    st->magic = 0;
    free(st);
}

static void note_end(void *arg, uint64_t n)
{
    struct note *note = arg;
    struct stream *st = note->st;

    (void)n;
    if (note_fits(note) && !st->ended) {
        st->ended = true;
        if (st->cbs.on_end != NULL) {
            st->cbs.on_end(st, note->has_err ? &note->err : NULL);
        }
    }
    free(note);
}

static void note_open(void *arg, uint64_t n)
{
    struct note *note = arg;
    struct stream *st = note->st;

    (void)n;
    if (note_fits(note) && !st->opened) {
        st->opened = true;
        if (note->has_err) {
            st->closing = true;
            st->cbs.on_open(st, &note->err);
            sim_post(st->p, 0, on_closed, st, 0);
        } else if (st->cbs.on_open != NULL) {
            st->cbs.on_open(st, NULL);
        }
    }
    free(note);
}

static void note_drain(void *arg, uint64_t n)
{
    struct note *note = arg;

    (void)n;
    if (note_fits(note) && !note->st->ended && note->st->cbs.on_drain != NULL) {
        note->st->cbs.on_drain(note->st);
    }
    free(note);
}

/* This end learns that the connection is over. */
static void end_break(struct sconn *c, unsigned i, const char *why)
{
    struct end *e = &c->ends[i];
    struct err err;

    if (e->state == END_GONE || e->state == END_BROKEN) {
        return;
    }
    (void)err_set(&err, ERR_UNREACHABLE, "%s", why == NULL ? "closed" : why);
    err.native = UV_ECONNRESET;
    err.origin = "uv";
    if (e->state == END_OPENING) {
        tell(e, note_open, &err);
        if (end_alive(e)) { /* the connection may be gone before it hears of that */
            e->st->c = NULL;
        }
        e->st = NULL;
        e->state = END_GONE;
    } else {
        tell(e, note_end, why == NULL ? NULL : &err);
        e->state = END_BROKEN;
    }
    conn_drop_queue(e);
}

static void on_reset(void *arg, uint64_t i)
{
    struct sconn *c = arg;

    if (sim_path(sim_world, c->link, c->ends[1 - i].machine, c->ends[i].machine)) {
        end_break(c, (unsigned)i, "connection reset by peer");
    }
    conn_unref(c);
}

/* --- bytes -------------------------------------------------------------------------------------
 */

static void on_arrive(void *arg, uint64_t from);

static void stall(struct sconn *c, unsigned from)
{
    struct end *e = &c->ends[from];
    uint64_t patience =
        e->user_timeout_ms == 0 ? PATIENCE_MS * 1000ULL : e->user_timeout_ms * 1000ULL;

    if (e->stalled_us == 0) {
        e->stalled_us = sim_world->now;
    }
    if (sim_world->now - e->stalled_us > patience) {
        if (end_alive(e)) {
            end_break(c, from, "connection timed out");
        } else {
            conn_drop_queue(e);
        }
        return;
    }
    if (!e->polling) {
        e->polling = true;
        conn_post(c, RETRY_US, on_arrive, from);
    }
}

/* The process reads. */
struct read_note {
    struct stream *st;
    size_t len;
    uint8_t data[];
};

static void note_data(void *arg, uint64_t n)
{
    struct read_note *r = arg;
    struct stream *st = r->st;

    (void)n;
    if (st->magic == SIM_STREAM_MAGIC && !st->closing && !st->ended && st->cbs.on_data != NULL) {
        st->cbs.on_data(st, r->data, r->len);
    }
    free(r);
}

static void acked(struct end *e, size_t len)
{
    size_t before = e->queued;

    e->queued -= len;
    if (e->over && e->queued < e->st->low_mark && before >= e->st->low_mark) {
        e->over = false;
        tell(e, note_drain, NULL);
    }
}

static void deliver(struct sconn *c, unsigned from)
{
    struct end *e = &c->ends[from], *to = &c->ends[1 - from];
    struct seg *g = e->head;
    struct read_note *r;

    e->head = g->next;
    if (e->head == NULL) {
        e->tail = &e->head;
    }
    if (g->len == 0) {
        end_break(c, 1 - from, NULL);
    } else {
        unsigned heap = sim_heap;

        sim_heap = to->p->heap;
        r = mem_alloc(sizeof(*r) + g->len);
        sim_heap = heap;
        r->st = to->st;
        r->len = g->len;
        memcpy(r->data, g->data, g->len);
        sim_post(to->p, 0, note_data, r, 0);
        if (end_alive(e)) {
            acked(e, g->len);
        }
    }
    free(g->data);
    free(g);
}

static void on_arrive(void *arg, uint64_t from)
{
    struct sconn *c = arg;
    struct end *e = &c->ends[from], *to = &c->ends[1 - from];
    const struct sim *s = sim_world;
    bool there = sim_path(s, c->link, e->machine, to->machine);
    bool back = sim_path(s, c->link, to->machine, e->machine);

    e->polling = false;
    while (e->head != NULL && e->head->at <= s->now && there) {
        if (to->state == END_GONE || to->state == END_BROKEN || !end_alive(to)) {
            conn_drop_queue(e);
            if (e->state == END_OPEN) {
                conn_post(c, latency(), on_reset, from);
            }
            break;
        }
        if (to->st->paused) {
            break; /* stream_pause(false) goes on */
        }
        if (to->state == END_OPENING) { /* its handshake is not over */
            conn_post(c, RETRY_US / 100, on_arrive, from);
            break;
        }
        deliver(c, (unsigned)from);
    }
    if (there && back) {
        e->stalled_us = 0;
    } else if (e->state == END_OPEN && (!there ? e->head != NULL : true)) {
        stall(c, (unsigned)from);
    } else if (e->head != NULL && !e->polling) { /* closed by its process, still being sent */
        stall(c, (unsigned)from);
    }
    conn_unref(c);
}

static void send_bytes(struct sconn *c, unsigned from, const void *data, size_t len)
{
    struct end *e = &c->ends[from];
    struct seg *g = OBJ_NEW(struct seg);
    uint64_t at = sim_world->now + latency();

    at = at < e->last_at ? e->last_at : at;
    e->last_at = at;
    g->at = at;
    g->len = len;
    g->data = len == 0 ? NULL : mem_dup(data, len);
    *e->tail = g;
    e->tail = &g->next;
    e->queued += len;
    conn_post(c, at - sim_world->now, on_arrive, from);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static struct listener *find_listener(unsigned machine, unsigned link, unsigned port)
{
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        struct listener *l = &listeners[i];

        if (l->used && l->p->alive && l->p->life == l->life && l->machine == machine &&
            l->port == port && (l->link < 0 || (unsigned)l->link == link)) {
            return l;
        }
    }
    return NULL;
}

static void on_syn_ack(void *arg, uint64_t n)
{
    struct sconn *c = arg;
    struct end *e = &c->ends[0];

    (void)n;
    if (e->state == END_OPENING && end_alive(e)) {
        if (sim_path(sim_world, c->link, c->ends[1].machine, e->machine)) {
            e->state = END_OPEN;
            tell(e, note_open, NULL);
        } else if (sim_world->now < c->deadline_us) {
            conn_post(c, RETRY_US, on_syn_ack, 0);
        }
    }
    conn_unref(c);
}

static struct stream *stream_make(struct proc *p, struct sconn *c, unsigned e)
{
    struct stream *st = OBJ_NEW(struct stream);

    st->magic = SIM_STREAM_MAGIC;
    st->p = p;
    st->c = c;
    st->e = e;
    st->max_queue = STREAM_MAX_QUEUE;
    st->low_mark = 1U << 20;
    return st;
}

/* In the context of the process that listens: accepted, and its handshake done. */
static void on_accepted(void *arg, uint64_t n)
{
    struct sconn *c = arg;
    struct end *e = &c->ends[1];
    struct listener *l = find_listener(e->machine, c->link, c->port);
    struct stream *st;

    (void)n;
    if (l == NULL || l->p != sim_world->cur || c->ends[0].state != END_OPENING) {
        e->state = END_GONE;
        conn_unref(c);
        return;
    }
    st = stream_make(l->p, c, 1);
    identity(c->ends[0].p, &st->peer);
    machine_address(&sim_world->machines[c->ends[0].machine], c->link, 40000, st->remote,
                    sizeof(st->remote));
    st->opened = true;
    e->p = l->p;
    e->life = l->p->life;
    e->st = st;
    e->state = END_OPEN;
    e->user_timeout_ms = 0;
    l->on_accept(l, st);
    conn_post(c, latency(), on_syn_ack, 0);
    conn_unref(c);
}

static void refuse(struct sconn *c, const char *why)
{
    end_break(c, 0, why);
    c->ends[1].state = END_GONE;
}

static void on_syn(void *arg, uint64_t n)
{
    struct sconn *c = arg;
    struct end *e = &c->ends[0];
    const struct sim *s = sim_world;
    unsigned to = c->ends[1].machine;
    struct listener *l;

    (void)n;
    if (e->state != END_OPENING || !end_alive(e)) {
        c->ends[1].state = END_GONE;
        e->state = END_GONE;
    } else if (!sim_path(s, c->link, e->machine, to)) {
        if (s->now < c->deadline_us) {
            conn_post(c, RETRY_US, on_syn, 0);
        }
    } else {
        l = find_listener(to, c->link, c->port);
        if (l == NULL && sim_path(s, c->link, to, e->machine)) {
            refuse(c, "connection refused");
        } else if (l != NULL) {
            c->refs++;
            sim_post(l->p, 0, on_accepted, c, 0);
        }
    }
    conn_unref(c);
}

static void on_deadline(void *arg, uint64_t n)
{
    struct sconn *c = arg;

    (void)n;
    if (c->ends[0].state == END_OPENING) {
        end_break(c, 0, "connect: timed out");
        if (c->ends[1].state == END_NONE) {
            c->ends[1].state = END_GONE;
        } else {
            conn_post(c, latency(), on_reset, 1);
        }
    }
    conn_unref(c);
}

int stream_connect(uv_loop_t *loop, const char *address, const struct stream_opts *opts,
                   const struct stream_cbs *cbs, void *data, struct stream **ret, struct err *err)
{
    struct sim *s = sim_world;
    struct proc *p = loop->data;
    struct stream *st;
    struct sconn *c;
    unsigned link, machine, port;

    if (!parse_address(address, &link, &machine, &port)) {
        return err_set(err, ERR_INVALID, "%s: no such address", address);
    }
    st = stream_make(p, NULL, 0);
    SIM_WORLD_BEGIN();
    c = OBJ_NEW(struct sconn);
    c->id = ++next_conn;
    c->link = link;
    c->port = port;
    c->next = s->conns;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    s->conns = c;
    c->ends[0] = (struct end){ .p = p,
                               .life = p->life,
                               .machine = p->m->i,
                               .state = END_OPENING,
                               .st = st,
                               .user_timeout_ms = opts->user_timeout_ms };
    c->ends[1] = (struct end){ .machine = machine };
    c->ends[0].tail = &c->ends[0].head;
    c->ends[1].tail = &c->ends[1].head;
    c->deadline_us =
        s->now + machine_delay_us(p->m, opts->connect_ms == 0 ? 30000 : opts->connect_ms);
    conn_post(c, latency(), on_syn, 0);
    conn_post(c, c->deadline_us - s->now, on_deadline, 0);
    SIM_WORLD_END();
    st->c = c;
    st->cbs = *cbs;
    st->data = data;
    st->max_queue = opts->max_queue != 0 ? opts->max_queue : STREAM_MAX_QUEUE;
    st->low_mark = opts->low_mark != 0 ? opts->low_mark : 1U << 20;
    (void)str_copy(st->remote, sizeof(st->remote), address);
    (void)str_copy(st->peer.role, sizeof(st->peer.role), "picket:voters");
    (void)str_copy(st->peer.name, sizeof(st->peer.name), s->machines[machine].name);
    (void)str_copy(st->peer.cluster, sizeof(st->peer.cluster), s->cluster);
    *ret = st;
    return 0;
}

/* --- the rest of base/stream.h -----------------------------------------------------------------
 */

int stream_write(struct stream *st, const void *data, size_t len, struct err *err)
{
    struct end *e;

    if (st->c == NULL || st->closing || st->ended) {
        return err_set(err, ERR_CANCELED, "%s: the connection is closed", st->remote);
    }
    e = &st->c->ends[st->e];
    if (len == 0 || e->state == END_BROKEN) {
        return 0;
    }
    if (e->queued + len > st->max_queue) {
        return err_set(err, ERR_LIMIT, "%s: %zu bytes are waiting", st->remote, e->queued);
    }
    SIM_WORLD_BEGIN();
    send_bytes(st->c, st->e, data, len);
    SIM_WORLD_END();
    if (e->queued >= st->low_mark) {
        e->over = true;
    }
    return 0;
}

size_t stream_queued(const struct stream *st)
{
    return st->c == NULL ? 0 : st->c->ends[st->e].queued;
}

void stream_close(struct stream *st, bool flush)
{
    struct sconn *c = st->c;

    CHECK(st->magic == SIM_STREAM_MAGIC && !st->closing);
    (void)flush; /* what was written is sent in any case, as a kernel does */
    st->closing = true;
    SIM_WORLD_BEGIN();
    if (c != NULL) {
        struct end *e = &c->ends[st->e];

        if (e->state == END_OPEN) {
            send_bytes(c, st->e, NULL, 0);
        }
        if (e->state == END_OPENING && c->ends[1].state == END_NONE && st->e == 0) {
            c->ends[1].state = END_GONE;
        } else if (e->state == END_OPENING) {
            conn_post(c, latency(), on_reset, 1);
        }
        e->state = END_GONE;
        e->st = NULL;
    }
    SIM_WORLD_END();
    st->c = NULL;
    sim_post(st->p, 0, on_closed, st, 0);
}

void stream_pause(struct stream *st, bool paused)
{
    struct sconn *c = st->c;

    if (st->paused && !paused && c != NULL) {
        SIM_WORLD_BEGIN();
        conn_post(c, 0, on_arrive, 1 - st->e);
        SIM_WORLD_END();
    }
    st->paused = paused;
}

const struct stream_peer *stream_peer(const struct stream *st)
{
    return &st->peer;
}

const char *stream_remote(const struct stream *st)
{
    return st->remote;
}

void *stream_data(const struct stream *st)
{
    return st->data;
}

void stream_set_data(struct stream *st, void *data)
{
    st->data = data;
}

void stream_set_cbs(struct stream *st, const struct stream_cbs *cbs)
{
    st->cbs = *cbs;
}

int listener_open(uv_loop_t *loop, const char *address, const struct stream_opts *opts,
                  void (*on_accept)(struct listener *l, struct stream *s), void *data,
                  struct listener **ret, struct err *err)
{
    struct proc *p = loop->data;
    const char *colon = strrchr(address, ':');
    uint64_t port = 0;

    (void)opts;
    if (colon == NULL || !str_parse_u64(colon + 1, &port)) {
        return err_set(err, ERR_INVALID, "listen %s: not IP:PORT", address);
    }
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        struct listener *l = &listeners[i];

        if (!l->used || !l->p->alive || l->p->life != l->life) {
            *l = (struct listener){ .p = p,
                                    .life = p->life,
                                    .machine = p->m->i,
                                    .port = (unsigned)port,
                                    .link = -1,
                                    .used = true,
                                    .on_accept = on_accept,
                                    .data = data };
            (void)str_copy(l->address, sizeof(l->address), address);
            *ret = l;
            return 0;
        }
    }
    return err_set(err, ERR_LIMIT, "too many listeners");
}

void listener_close(struct listener *l)
{
    l->used = false;
}

void *listener_data(const struct listener *l)
{
    return l->data;
}

const char *listener_address(const struct listener *l)
{
    return l->address;
}

/* --- deaths ------------------------------------------------------------------------------------
 */

static void ends_gone(struct proc *p, struct machine *m)
{
    struct sconn *c, *next;

    for (c = sim_world->conns; c != NULL; c = next) {
        next = c->next;
        for (unsigned i = 0; i < 2; i++) {
            struct end *e = &c->ends[i];

            if (e->state == END_GONE || e->state == END_NONE ||
                (p != NULL ? e->p != p : e->machine != m->i)) {
                continue;
            }
            conn_drop_queue(e);
            if (p != NULL && e->state != END_BROKEN) { /* its kernel says so */
                if (i == 0 && c->ends[1].state == END_NONE) {
                    c->ends[1].state = END_GONE;
                } else {
                    conn_post(c, latency(), on_reset, 1 - i);
                }
            } else if (i == 0 && c->ends[1].state == END_NONE) {
                c->ends[1].state = END_GONE;
            }
            e->state = END_GONE;
            e->st = NULL;
        }
        c->refs++;
        conn_unref(c);
    }
}

void sim_net_proc_died(struct proc *p)
{
    ends_gone(p, NULL);
}

void sim_net_machine_died(struct machine *m)
{
    ends_gone(NULL, m);
}

static void end_skip(struct end *e, uint64_t us)
{
    for (struct seg *g = e->head; g != NULL; g = g->next) {
        g->at += us;
    }
    e->last_at += us;
    e->stalled_us += e->stalled_us == 0 ? 0 : us;
}

void sim_net_skip(struct sim *s, uint64_t us)
{
    for (struct sconn *c = s->conns; c != NULL; c = c->next) {
        c->deadline_us += us;
        end_skip(&c->ends[0], us);
        end_skip(&c->ends[1], us);
    }
}

/* Nothing of a world is left for the next one. */
void sim_net_reset(void)
{
    memset(listeners, 0, sizeof(listeners));
    next_conn = 0;
}

/* --- TLS: nobody has certificates here ---------------------------------------------------------
 */

int tls_ctx_load(const char *cert_file, const char *key_file, const char *ca_file,
                 const char *cluster, struct tls_ctx **ret, struct err *err)
{
    (void)cert_file;
    (void)key_file;
    (void)ca_file;
    (void)cluster;
    (void)ret;
    return err_set(err, ERR_UNSUPPORTED, "no TLS in the simulator");
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *t)
{
    return t;
}

void tls_ctx_unref(struct tls_ctx *t)
{
    (void)t;
}

int tls_ctx_load_pem(const char *what, const char *cert, const char *key, const char *ca,
                     const char *cluster, struct tls_ctx **ret, struct err *err)
{
    (void)what;
    return tls_ctx_load(cert, key, ca, cluster, ret, err);
}
