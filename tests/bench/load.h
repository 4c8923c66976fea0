#ifndef TESTS_BENCH_LOAD_H
#define TESTS_BENCH_LOAD_H

/* The load client of `make bench-store` and `make torture`: one thread, one loop, many clients.
 *
 * A link is one connection to one member; it speaks the native protocol, or etcd's JSON gateway
 * (plain or TLS).  An op is one request on a link.
 */

#include <uv.h>

#include "base/buf.h"
#include "base/stream.h"

enum load_kind { LOAD_PUT, LOAD_GET, LOAD_CAS, LOAD_DELETE };
enum load_proto { LOAD_NATIVE, LOAD_JSON };

struct load_link;

struct load_op {
    enum load_kind kind;
    const char *key; /* text; the caller's until done */
    const char *value;
    size_t vlen;
    const char *old; /* CAS: put `value` if the value is this; NULL: if the key is absent */
    size_t old_len;
    /* Exactly once, never from within load_link_issue.  For GET: *value NULL when there is none;
     * for CAS and DELETE: whether it changed something. */
    void (*done)(struct load_op *op, const struct err *err, const char *value, size_t len,
                 bool changed);
    void *data;
};

struct load_target {
    enum load_proto proto;
    struct tls_ctx *tls;
    const char *role; /* of the server's certificate */
};

/* Dials at once and again 20 ms after each end.  With no connection ops fail with ERR_UNREACHABLE.
 */
struct load_link *load_link_new(uv_loop_t *loop, const struct load_target *t, const char *address);
bool load_link_ready(const struct load_link *l);
/* JSON links take one op at a time. */
void load_link_issue(struct load_link *l, struct load_op *op);
/* Watch one key: on_event for each event's value.  The link is used for nothing else. */
void load_link_watch(struct load_link *l, const char *key,
                     void (*on_event)(void *data, const char *value, size_t len), void *data);
bool load_link_watching(const struct load_link *l); /* the server has said so */

/* The two kinds of links (load_native.c, load_json.c). */
struct load_link {
    uv_loop_t *loop;
    struct load_target target;
    char address[128];
    bool ready, watching;
    uv_timer_t again;
    const char *watch_key;
    void (*on_event)(void *data, const char *value, size_t len);
    void *event_data;
    void *impl;
};
void load_native_dial(struct load_link *l);
void load_native_issue(struct load_link *l, struct load_op *op);
void load_json_dial(struct load_link *l);
void load_json_issue(struct load_link *l, struct load_op *op);
void load_link_ready_now(struct load_link *l);
void load_link_lost(struct load_link *l);

/* --- latencies --- */

struct load_times {
    uint32_t *us;
    size_t n, cap;
};
void load_times_add(struct load_times *t, uint64_t us);
void load_times_sort(struct load_times *t);
uint32_t load_times_at(const struct load_times *t, double share); /* sorted */

/* --- the programs; each prints one line of JSON --- */

struct load_opts {
    const char *program;
    struct load_target target;
    const char *addresses[16];
    size_t n_addresses;
    unsigned clients, conns, keys, value_bytes, interval_ms;
    double seconds, warm;
    const char *prefix;
    const char *file;
    uint64_t seed;
};
int load_rate_main(const struct load_opts *o);    /* put, get */
int load_fill_main(const struct load_opts *o);    /* fill: `keys` different keys */
int load_watch_main(const struct load_opts *o);   /* watch */
int load_probe_main(const struct load_opts *o);   /* probe: the disk */
int load_open_main(const struct load_opts *o);    /* open: one put each interval, timestamps */
int load_history_main(const struct load_opts *o); /* history: for the checker of `make torture` */

#endif
