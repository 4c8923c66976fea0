/* Options, and what all programs of the load client share.
 *
 *   load put|get|fill|watch|open|history --proto native|json --address IP:PORT[,...]
 *        [--tls CERT,KEY,CA] [--clients N] [--conns N] [--seconds S] [--warm S] [--keys N]
 *        [--value BYTES] [--prefix TEXT] [--interval MS] [--file FILE] [--seed N]
 *   load probe --file FILE [--clients WRITERS] [--seconds S]
 */

#include "tests/bench/load.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

/* --- links --- */

static void link_dial(struct load_link *l)
{
    switch (l->target.proto) {
    case LOAD_NATIVE:
        load_native_dial(l);
        return;
    case LOAD_JSON:
        load_json_dial(l);
        return;
    }
    CHECK_UNREACHABLE();
}

static void on_again(uv_timer_t *t)
{
    link_dial(t->data);
}

struct load_link *load_link_new(uv_loop_t *loop, const struct load_target *t, const char *address)
{
    struct load_link *l = OBJ_NEW(struct load_link);

    l->loop = loop;
    l->target = *t;
    (void)str_copy(l->address, sizeof(l->address), address);
    l->again.data = l;
    CHECK(uv_timer_init(loop, &l->again) == 0);
    link_dial(l);
    return l;
}

bool load_link_ready(const struct load_link *l)
{
    return l->ready;
}

bool load_link_watching(const struct load_link *l)
{
    return l->watching;
}

void load_link_ready_now(struct load_link *l)
{
    l->ready = true;
}

void load_link_lost(struct load_link *l)
{
    l->ready = false;
    l->watching = false;
    CHECK(uv_timer_start(&l->again, on_again, 20, 0) == 0);
}

void load_link_issue(struct load_link *l, struct load_op *op)
{
    switch (l->target.proto) {
    case LOAD_NATIVE:
        load_native_issue(l, op);
        return;
    case LOAD_JSON:
        load_json_issue(l, op);
        return;
    }
    CHECK_UNREACHABLE();
}

void load_link_watch(struct load_link *l, const char *key,
                     void (*on_event)(void *data, const char *value, size_t len), void *data)
{
    CHECK(!l->ready); /* before it is connected: the watch is the first thing that it says */
    l->watch_key = key;
    l->on_event = on_event;
    l->event_data = data;
}

/* --- latencies --- */

void load_times_add(struct load_times *t, uint64_t us)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 65536 : t->cap * 2;
        t->us = mem_realloc(t->us, t->cap * sizeof(*t->us));
    }
    t->us[t->n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int compare_u32(const void *pa, const void *pb)
{
    const uint32_t *a = pa, *b = pb;

    return *a < *b ? -1 : *a > *b;
}

void load_times_sort(struct load_times *t)
{
    if (t->n > 0) {
        qsort(t->us, t->n, sizeof(*t->us), compare_u32);
    }
}

uint32_t load_times_at(const struct load_times *t, double share)
{
    size_t i = (size_t)((double)t->n * share);

    return t->n == 0 ? 0 : t->us[i < t->n ? i : t->n - 1];
}

/* --- options --- */

static void usage_exit(const char *why)
{
    (void)fprintf(stderr, "load: %s (the options are in tests/bench/load.c)\n", why);
    exit(2);
}

static unsigned number(const char *text)
{
    uint64_t v;

    if (!str_parse_u64(text, &v) || v > 100000000) {
        usage_exit("a number is expected");
    }
    return (unsigned)v;
}

static void parse_tls(char *text, struct load_opts *o)
{
    char *cert = strtok(text, ","), *key = strtok(NULL, ","), *ca = strtok(NULL, ",");
    struct err err;

    if (ca == NULL) {
        usage_exit("--tls CERT,KEY,CA");
    }
    if (tls_ctx_load(cert, key, ca, NULL, &o->target.tls, &err) != 0) {
        usage_exit(err.msg);
    }
}

static void parse_addresses(char *text, struct load_opts *o)
{
    for (char *p = strtok(text, ","); p != NULL && o->n_addresses < ARRAY_LEN(o->addresses);
         p = strtok(NULL, ",")) {
        o->addresses[o->n_addresses++] = p;
    }
}

static void parse_option(int c, struct load_opts *o)
{
    switch (c) {
    case 'p':
        o->target.proto = str_eq(optarg, "json") ? LOAD_JSON : LOAD_NATIVE;
        break;
    case 'a':
        parse_addresses(optarg, o);
        break;
    case 't':
        parse_tls(optarg, o);
        break;
    case 'c':
        o->clients = number(optarg);
        break;
    case 'n':
        o->conns = number(optarg);
        break;
    case 'k':
        o->keys = number(optarg);
        break;
    case 'v':
        o->value_bytes = number(optarg);
        break;
    case 'i':
        o->interval_ms = number(optarg);
        break;
    case 's':
        o->seconds = atof(optarg);
        break;
    case 'w':
        o->warm = atof(optarg);
        break;
    case 'x':
        o->prefix = optarg;
        break;
    case 'f':
        o->file = optarg;
        break;
    case 'S':
        o->seed = number(optarg);
        break;
    default:
        usage_exit("unknown option");
    }
}

static void parse(int argc, char **argv, struct load_opts *o)
{
    static const struct option longs[] = {
        { "proto", required_argument, NULL, 'p' },   { "address", required_argument, NULL, 'a' },
        { "tls", required_argument, NULL, 't' },     { "clients", required_argument, NULL, 'c' },
        { "conns", required_argument, NULL, 'n' },   { "keys", required_argument, NULL, 'k' },
        { "value", required_argument, NULL, 'v' },   { "interval", required_argument, NULL, 'i' },
        { "seconds", required_argument, NULL, 's' }, { "warm", required_argument, NULL, 'w' },
        { "prefix", required_argument, NULL, 'x' },  { "file", required_argument, NULL, 'f' },
        { "seed", required_argument, NULL, 'S' },    { NULL, 0, NULL, 0 },
    };
    int c;

    *o = (struct load_opts){ .program = argc > 1 ? argv[1] : "",
                             .clients = 1,
                             .keys = 100000,
                             .value_bytes = 256,
                             .interval_ms = 10,
                             .seconds = 3,
                             .warm = 0.5,
                             .prefix = "bench/",
                             .seed = 1 };
    optind = 2;
    while (argc > 1 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        parse_option(c, o);
    }
    if (o->conns == 0) {
        o->conns = o->target.proto == LOAD_JSON || o->clients < 100 ? o->clients : 100;
    }
    if (o->clients == 0 || o->conns == 0 || o->keys == 0 || o->value_bytes < 32 ||
        o->value_bytes > 100000) {
        usage_exit("at least one client, connection and key, and values of 32 to 100000 bytes");
    }
    if (o->target.proto == LOAD_JSON && o->conns != o->clients) {
        usage_exit("--proto json: every client has a connection of its own");
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct load_opts *o);
    } programs[] = { { "put", load_rate_main },       { "get", load_rate_main },
                     { "fill", load_fill_main },      { "watch", load_watch_main },
                     { "probe", load_probe_main },    { "open", load_open_main },
                     { "history", load_history_main } };
    struct rlimit files;
    struct load_opts o;

    lg_init("load");
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    parse(argc, argv, &o);
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        if (str_eq(o.program, programs[i].name)) {
            if (o.n_addresses == 0 && programs[i].run != load_probe_main) {
                usage_exit("--address is missing");
            }
            return programs[i].run(&o);
        }
    }
    usage_exit("put, get, fill, watch, open, history or probe?");
    return 2;
}
