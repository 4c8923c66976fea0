/* picketd: the replicated store, the API and the controllers (docs/architecture.md). */

#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/optfile.h"
#include "base/str.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/node.h"

static const struct option long_options[] = {
    { "name", required_argument, NULL, 'n' },
    { "data", required_argument, NULL, 'd' },
    { "listen-peer", required_argument, NULL, 'p' },
    { "listen-api", required_argument, NULL, 'a' },
    { "tls-cert", required_argument, NULL, 'c' },
    { "tls-key", required_argument, NULL, 'k' },
    { "tls-ca", required_argument, NULL, 'A' },
    { "cluster", required_argument, NULL, 'C' },
    { "bootstrap", required_argument, NULL, 'b' },
    { "id", required_argument, NULL, 'i' },
    { "fence-helper", required_argument, NULL, 'f' },
    { "seal-key", required_argument, NULL, 's' },
    { "lab", no_argument, NULL, 'l' },
    { "cert-lifetime", required_argument, NULL, 'L' },
    { "max-feature-level", required_argument, NULL, 'F' },
    { "raft-heartbeat-ms", required_argument, NULL, 'H' },
    { "raft-election-ms", required_argument, NULL, 'E' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static void usage(FILE *f)
{
    (void)fputs(
        "usage: picketd --name HOST --data DIR --listen-peer IP:PORT --listen-api IP:PORT\n"
        "               --cluster UUID (--id N | --bootstrap ID=HOST@ADDRESS:PORT,...)\n"
        "               --tls-cert FILE --tls-key FILE --tls-ca FILE\n"
        "               [--fence-helper PATH (picket-fence beside this program)]\n"
        "               [--seal-key FILE] [--lab]\n"
        "               [--raft-heartbeat-ms N] [--raft-election-ms N]\n"
        "               [--cert-lifetime TIME]    of certificates that this node signs (90d)\n"
        "               [--max-feature-level N]   behave as a version that knows no more\n"
        "               [--config FILE]   lines \"key = value\": the same options\n",
        f);
}

static void parse_ms(const char *text, unsigned *ret)
{
    uint64_t v;

    if (!str_parse_u64(text, &v) || v == 0 || v > 600000) {
        (void)fprintf(stderr, "picketd: \"%s\" is not a number of milliseconds\n", text);
        exit(2);
    }
    *ret = (unsigned)v;
}

static void parse_id(const char *text, uint64_t *ret)
{
    if (!str_parse_u64(text, ret) || *ret == 0) {
        (void)fprintf(stderr, "picketd: --id: \"%s\" is no member id (1, 2, ...)\n", text);
        exit(2);
    }
}

static void parse_lifetime(const char *text, uint64_t *ret)
{
    uint64_t ms;

    if (!str_parse_duration(text, &ms) || ms < 5000 || ms > 3650ULL * 24 * 3600 * 1000) {
        (void)fprintf(stderr, "picketd: --cert-lifetime: \"%s\" is no time from 5s to 3650d\n",
                      text);
        exit(2);
    }
    *ret = ms / 1000;
}

static void parse_level(const char *text, unsigned *ret)
{
    uint64_t v;

    if (!str_parse_u64(text, &v) || v == 0 || v > STORE_FEATURE_MAX) {
        (void)fprintf(stderr, "picketd: --max-feature-level: 1 to %u\n", STORE_FEATURE_MAX);
        exit(2);
    }
    *ret = (unsigned)v;
}

static void parse_option(int c, struct node_opts *o)
{
    const char **text[] = { ['n'] = &o->name,         ['d'] = &o->data,     ['p'] = &o->listen_peer,
                            ['a'] = &o->listen_api,   ['c'] = &o->tls_cert, ['k'] = &o->tls_key,
                            ['A'] = &o->tls_ca,       ['C'] = &o->cluster,  ['b'] = &o->bootstrap,
                            ['f'] = &o->fence_helper, ['s'] = &o->seal_key };

    if (c == 'l') {
        o->lab = true;
    } else if (c == 'H') {
        parse_ms(optarg, &o->heartbeat_ms);
    } else if (c == 'E') {
        parse_ms(optarg, &o->election_ms);
    } else if (c == 'L') {
        parse_lifetime(optarg, &o->cert_lifetime_s);
    } else if (c == 'F') {
        parse_level(optarg, &o->max_level);
    } else if (c == 'i') {
        parse_id(optarg, &o->id);
    } else if (c == 'h') {
        usage(stdout);
        exit(0);
    } else if (c > 0 && (size_t)c < ARRAY_LEN(text) && text[c] != NULL) {
        *text[c] = optarg;
    } else {
        usage(stderr);
        exit(2);
    }
}

static void check_options(const struct node_opts *o)
{
    const struct {
        const char *name;
        const char *value;
    } needed[] = { { "name", o->name },
                   { "data", o->data },
                   { "listen-peer", o->listen_peer },
                   { "listen-api", o->listen_api },
                   { "cluster", o->cluster },
                   { "tls-cert", o->tls_cert },
                   { "tls-key", o->tls_key },
                   { "tls-ca", o->tls_ca },
                   { "id or --bootstrap", o->id != 0 ? "" : o->bootstrap } };

    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if (needed[i].value == NULL) {
            (void)fprintf(stderr, "picketd: --%s is missing\n", needed[i].name);
            usage(stderr);
            exit(2);
        }
    }
}

/* The program beside this one, as `make install` puts them. */
static void default_helper(struct node_opts *o)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("picket-fence"));
    char *slash;

    if (o->fence_helper != NULL || n <= 0) {
        return;
    }
    path[n] = '\0';
    slash = strrchr(path, '/');
    CHECK(slash != NULL);
    (void)snprintf(slash + 1, sizeof("picket-fence"), "picket-fence");
    o->fence_helper = path;
}

static void on_stop(uv_timer_t *t)
{
    (void)t;
    _exit(0);
}

static void on_term(uv_signal_t *s, int signum)
{
    struct node *n = s->data;
    struct err e;

    lg_info("node", "signal=%d msg=\"stopping\"", signum);
    /* Hand leadership over first, so that nobody waits for an election; then just go (crash-only).
     */
    if (rep_role(n->rep) == REP_LEADER && rep_transfer(n->rep, 0, &e) == 0) {
        static uv_timer_t t;

        CHECK(uv_timer_init(n->loop, &t) == 0);
        CHECK(uv_timer_start(&t, on_stop, 300, 0) == 0);
        return;
    }
    _exit(0);
}

/* The heap grows and shrinks in larger steps than glibc's, and groups of commands (up to 1 MiB)
 * come from it: fresh pages for each of them were a fifth of the processor time of a put at 1000
 * clients. */
static void tune_heap(void)
{
    arena_keep(16);
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
    (void)mallopt(M_TOP_PAD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 16 << 20);
}

int main(int argc, char **argv)
{
    static struct node node;
    static uv_signal_t term, intr;
    struct node_opts o = { 0 };
    struct err err;
    int c;

    tune_heap();
    lg_init("picketd");
    (void)signal(SIGPIPE, SIG_IGN);
    if (optfile_expand(&argc, &argv, &err) != 0) {
        lg_err("node", "msg=\"%s\"", err.msg);
        return 2;
    }
    while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        parse_option(c, &o);
    }
    check_options(&o);
    default_helper(&o);
    if (o.fence_helper == NULL || access(o.fence_helper, X_OK) != 0) {
        lg_err("node", "msg=\"--fence-helper %s cannot be run: without it no host can be fenced\"",
               o.fence_helper == NULL ? "(missing)" : o.fence_helper);
        return 2;
    }
    (void)mkdir(o.data, 0700);
    if (node_start(&node, &o, uv_default_loop(), &err) != 0) {
        lg_err("node", "msg=\"cannot start: %s\"", err.msg);
        return 1;
    }
    term.data = &node;
    intr.data = &node;
    CHECK(uv_signal_init(node.loop, &term) == 0);
    CHECK(uv_signal_init(node.loop, &intr) == 0);
    CHECK(uv_signal_start(&term, on_term, SIGTERM) == 0);
    CHECK(uv_signal_start(&intr, on_term, SIGINT) == 0);
    lg_info("node", "name=%s api=%s peer=%s msg=\"started\"", o.name, o.listen_api, o.listen_peer);
    return uv_run(node.loop, UV_RUN_DEFAULT);
}
