/* The replicated log alone: one or three nodes in one process over loopback, a trivial state
 * machine, 256-byte commands, so many outstanding at a time.
 *
 *   raft_bench DIR NODES OUTSTANDING SECONDS [leader|follower] [read]
 *
 * Build with `make build/bench/raft_bench`.  Ratios between runs say something; the numbers are
 * those of the machine and its disk. */

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/rep.h"

#define NODES_MAX 5
#define LAT_MAX (4u << 20)

struct node {
    struct rep *rep;
    char name[16], address[32], dir[256];
    uint64_t hash;
};

struct op {
    struct rep_req req;
    uint64_t start_us;
};

static uv_loop_t loop;
static struct node nodes[NODES_MAX];
static struct node *on;
static uint32_t *lat_us;
static size_t n_lat, n_failed;
static bool reads, stop;
static uint8_t cmd[256];

static void fsm_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                      const struct rep_cmd *cmds, size_t n, struct buf *results)
{
    struct node *o = ctx;

    (void)term;
    (void)leader_ms;
    for (size_t i = 0; i < n; i++) {
        o->hash += cmds[i].len + index;
        buf_add_u64(&results[i], o->hash);
    }
}

static void *fsm_begin(void *ctx)
{
    return mem_dup(ctx, 1);
}

static int fsm_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    (void)ctx;
    return sink->write(sink, snap, 1, err);
}

static void fsm_end(void *ctx, void *snap)
{
    (void)ctx;
    free(snap);
}

static int fsm_restore(void *ctx, struct rep_source *source, struct err *err)
{
    uint8_t byte;

    (void)ctx;
    return source->read(source, &byte, 1, err);
}

static void next_op(struct op *op);

static void finish(struct op *op, const struct err *err)
{
    if (err != NULL) {
        n_failed++;
    } else if (n_lat < LAT_MAX) {
        lat_us[n_lat++] = (uint32_t)(clock_now_us() - op->start_us);
    }
    if (!stop) {
        next_op(op);
    }
}

static void on_done(struct rep_req *req, const struct err *err, uint64_t index,
                    const uint8_t *result, size_t len)
{
    (void)index;
    (void)result;
    (void)len;
    finish(req->data, err);
}

static void on_read(struct rep_req *req, const struct err *err)
{
    finish(req->data, err);
}

static void next_op(struct op *op)
{
    op->req.data = op;
    op->start_us = clock_now_us();
    if (reads) {
        rep_read(on->rep, &op->req, 10000, on_read);
    } else {
        rep_propose(on->rep, &op->req, cmd, sizeof(cmd), 10000, on_done);
    }
}

static void free_port(char *dst, size_t size)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    (void)snprintf(dst, size, "127.0.0.1:%u", ntohs(a.sin_port));
    (void)close(fd);
}

static void open_nodes(const char *dir, size_t n)
{
    struct rep_member m[NODES_MAX];
    struct err err;

    for (size_t i = 0; i < n; i++) {
        struct node *o = &nodes[i];

        (void)snprintf(o->name, sizeof(o->name), "n%zu", i + 1);
        (void)snprintf(o->dir, sizeof(o->dir), "%s/%s", dir, o->name);
        free_port(o->address, sizeof(o->address));
        m[i] = (struct rep_member){ .id = i + 1, .name = o->name, .address = o->address };
    }
    for (size_t i = 0; i < n; i++) {
        struct node *o = &nodes[i];
        struct rep_params p = {
            .loop = &loop,
            .dir = o->dir,
            .id = i + 1,
            .name = o->name,
            .listen = o->address,
            .cluster = "bench",
            .heartbeat_ms = 50,
            .election_ms = 500,
            .fsm = { .ctx = o,
                     .apply = fsm_apply,
                     .snap_begin = fsm_begin,
                     .snap_write = fsm_write,
                     .snap_end = fsm_end,
                     .restore = fsm_restore },
        };

        if (rep_bootstrap(o->dir, m, n, &err) != 0 || rep_open(&p, &o->rep, &err) != 0) {
            (void)fprintf(stderr, "%s\n", err.msg);
            exit(1);
        }
    }
}

static struct node *find_leader(size_t n, bool leader)
{
    for (size_t i = 0; i < n; i++) {
        if (rep_lead_ready(nodes[i].rep)) {
            return leader || n == 1 ? &nodes[i] : &nodes[(i + 1) % n];
        }
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void on_timer(uv_timer_t *t)
{
    (void)t;
    stop = true;
    uv_stop(&loop);
}

static double cpu_us(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    size_t outstanding = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    uint64_t seconds = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    struct op *ops;
    uv_timer_t timer;
    double cpu;

    if (n == 0 || n > NODES_MAX || outstanding == 0 || seconds == 0) {
        (void)fprintf(stderr, "usage: %s DIR NODES OUTSTANDING SECONDS [leader|follower] [read]\n",
                      argv[0]);
        return 2;
    }
    lg_set_level(LG_WARN);
    reads = argc > 6 && str_eq(argv[6], "read");
    lat_us = mem_alloc(LAT_MAX * sizeof(*lat_us));
    ops = mem_alloc(outstanding * sizeof(*ops));
    CHECK(uv_loop_init(&loop) == 0);
    open_nodes(argv[1], n);
    do {
        (void)uv_run(&loop, UV_RUN_ONCE);
        on = find_leader(n, argc <= 5 || !str_eq(argv[5], "follower"));
    } while (on == NULL);
    CHECK(uv_timer_init(&loop, &timer) == 0);
    CHECK(uv_timer_start(&timer, on_timer, seconds * 1000, 0) == 0);
    cpu = cpu_us();
    for (size_t i = 0; i < outstanding; i++) {
        next_op(&ops[i]);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    cpu = cpu_us() - cpu;
    qsort(lat_us, n_lat, sizeof(*lat_us), by_size);
    if (n_lat == 0) {
        return 1;
    }
    printf(
        "%zu nodes, %zu outstanding, %s on the %s: %.0f/s, p50 %.3f ms, p99 %.3f ms, max %.1f ms, "
        "%.1f us CPU each, %zu failed\n",
        n, outstanding, reads ? "reads" : "commands",
        argc > 5 && str_eq(argv[5], "follower") ? "follower" : "leader",
        (double)n_lat / (double)seconds, lat_us[n_lat / 2] / 1e3, lat_us[n_lat * 99 / 100] / 1e3,
        lat_us[n_lat - 1] / 1e3, cpu / (double)n_lat, n_failed);
    return 0;
}
