/* picket kv: the raw key space over the native protocol. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/native_client.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"

struct kv {
    struct cli *cli;
    struct native_client *client;
    bool open, over;
    struct err err; /* code 0: none */
    bool values_only;
    uint64_t rev;
    uint64_t found;
};

/* --- the connection --- */

static void on_open(void *data, const struct native_ans *hello)
{
    struct kv *k = data;

    (void)hello;
    k->open = true;
    uv_stop(&k->cli->loop);
}

static void on_end(void *data, const struct err *err)
{
    struct kv *k = data;

    k->over = true;
    if (k->err.code == 0) {
        k->err = *err;
    }
    uv_stop(&k->cli->loop);
}

static void kv_close(struct kv *k)
{
    if (k->client != NULL) {
        native_client_close(k->client);
        k->client = NULL;
        (void)uv_run(&k->cli->loop, UV_RUN_DEFAULT);
    }
}

static int try_server(struct kv *k, const char *server)
{
    static const struct native_client_cbs cbs = { .on_open = on_open, .on_end = on_end };
    struct native_client_opts o = { .tls = k->cli->cfg->tls, .want_role = "picket:voters" };
    char address[256];

    k->open = k->over = false;
    k->err.code = 0;
    o.address = address;
    if (http_endpoint_resolve(server, address, sizeof(address), &k->err) != 0 ||
        native_client_open(&k->cli->loop, &o, &cbs, k, &k->client, &k->err) != 0) {
        return k->err.code;
    }
    while (!k->open && !k->over) {
        (void)uv_run(&k->cli->loop, UV_RUN_DEFAULT);
    }
    if (k->open) {
        return 0;
    }
    kv_close(k);
    return k->err.code;
}

static int kv_connect(struct kv *k)
{
    int rc = cli_prepare(k->cli);

    if (rc != CLI_OK) {
        return rc;
    }
    cli_pick_server(k->cli);
    for (size_t i = 0; i < k->cli->cfg->n_servers; i++) {
        if (try_server(k, k->cli->cfg->servers[i]) == 0) {
            return CLI_OK;
        }
    }
    return cli_fail(k->cli, &k->err);
}

/* --- answers --- */

static void print_bytes(struct native_bytes b)
{
    (void)fwrite(b.p == NULL ? "" : (const char *)b.p, 1, b.n, stdout);
    (void)putchar('\n');
}

static void print_kvs(struct kv *k, const struct native_result *r)
{
    for (size_t i = 0; i < r->n_kvs; i++) {
        if (!k->values_only) {
            print_bytes(r->kvs[i].key);
        }
        print_bytes(r->kvs[i].value);
    }
    k->found += r->n_kvs;
}

static void print_events(const struct native_ans *a)
{
    for (size_t i = 0; i < a->n_events; i++) {
        const struct native_event *e = &a->events[i];

        (void)printf("%llu %s ", (unsigned long long)e->kv.mod_rev, e->deleted ? "DELETE" : "PUT");
        print_bytes(e->kv.key);
        if (!e->deleted) {
            print_bytes(e->kv.value);
        }
    }
    (void)fflush(stdout);
}

static void print_node(const struct native_ans *a)
{
    const struct native_node *n = &a->node;

    (void)printf("member     %.*s (%llu)\nleader     %llu\nterm       %llu\nrevision   %llu\n"
                 "compacted  %llu\napplied    %llu\nkeys       %llu\nbytes      %llu\n",
                 (int)a->text.n, (const char *)a->text.p, (unsigned long long)n->id,
                 (unsigned long long)n->leader, (unsigned long long)n->term,
                 (unsigned long long)a->rev, (unsigned long long)n->compact_rev,
                 (unsigned long long)n->applied, (unsigned long long)n->count,
                 (unsigned long long)n->bytes);
}

static void on_answer(void *data, const struct err *err, const struct native_ans *a)
{
    struct kv *k = data;
    bool more = false;

    if (err != NULL) {
        k->err = *err;
    } else if (a->kind == NATIVE_NODE) {
        print_node(a);
    } else if (a->kind == NATIVE_EVENTS) {
        print_events(a);
        more = true;
    } else if (a->kind == NATIVE_NUMBERS || a->kind == NATIVE_MARK) {
        more = true; /* a watch was accepted, or is alive */
    } else if (a->kind == NATIVE_RESULT && a->n_ops > 0) {
        print_kvs(k, &a->ops[0]);
        k->found += a->ops[0].kind == NATIVE_OP_GET ? 0 : a->ops[0].count;
    }
    if (!more) {
        k->over = true;
        uv_stop(&k->cli->loop);
    }
}

/* --- requests --- */

static int kv_run(struct kv *k, const struct native_req *req)
{
    int rc = kv_connect(k);

    if (rc != CLI_OK) {
        return rc;
    }
    (void)native_client_call(k->client, req, on_answer, k);
    while (!k->over) {
        (void)uv_run(&k->cli->loop, UV_RUN_DEFAULT);
    }
    kv_close(k);
    return k->err.code == 0 ? CLI_OK : cli_fail(k->cli, &k->err);
}

static struct native_bytes span(const char *s)
{
    return (struct native_bytes){ .p = (const uint8_t *)s, .n = strlen(s) };
}

/* All keys that begin with `prefix`: up to the next string of its length; "" is everything. */
static char *prefix_end(const char *prefix)
{
    char *end = mem_strdup(prefix);
    size_t n = strlen(end);

    while (n > 0 && (unsigned char)end[n - 1] == 0xff) {
        n--;
    }
    if (n > 0) {
        end[n - 1] = (char)((unsigned char)end[n - 1] + 1);
    }
    end[n] = 0;
    return end;
}

static int kv_range(struct kv *k, const char *key, bool all)
{
    char *end = prefix_end(key);
    struct native_op op = { .kind = NATIVE_OP_GET };
    struct native_req r = { .call = NATIVE_RANGE, .then = &op, .n_then = 1, .number = k->rev };
    int rc;

    op.key = *key == 0 ? (struct native_bytes){ (const uint8_t *)"", 1 } : span(key);
    if (all) {
        op.end = span(end);
    }
    rc = kv_run(k, &r);
    free(end);
    if (rc == CLI_OK && !all && k->found == 0) {
        cli_say("picket kv: there is no key \"%s\"", key);
        rc = CLI_NOT_FOUND;
    }
    return rc;
}

static int kv_change(struct kv *k, const char *key, const char *value)
{
    struct native_op op = { .kind = value == NULL ? NATIVE_OP_DELETE : NATIVE_OP_PUT };
    struct native_req r = { .then = &op, .n_then = 1 };
    int rc;

    r.call = value == NULL ? NATIVE_DELETE : NATIVE_PUT;
    op.key = span(key);
    op.value = span(value == NULL ? "" : value);
    rc = kv_run(k, &r);
    if (rc == CLI_OK && value == NULL && k->found == 0) {
        cli_say("picket kv: there is no key \"%s\"", key);
        rc = CLI_NOT_FOUND;
    }
    return rc;
}

static int kv_watch(struct kv *k, const char *prefix)
{
    char *end = prefix_end(prefix);
    struct native_req r = { .call = NATIVE_WATCH, .number = k->rev, .flags = NATIVE_PROGRESS };
    int rc;

    r.key = *prefix == 0 ? (struct native_bytes){ (const uint8_t *)"", 1 } : span(prefix);
    r.end = span(end);
    rc = kv_run(k, &r);
    free(end);
    return rc;
}

static int kv_dispatch(struct kv *k, int argc, char **argv)
{
    const char *what = argc > 0 ? argv[0] : "";
    const struct native_req status = { .call = NATIVE_STATUS };

    if (str_eq(what, "get") && argc == 2 && *argv[1] != 0) {
        return kv_range(k, argv[1], false);
    }
    if (str_eq(what, "list") && argc <= 2) {
        return kv_range(k, argc == 2 ? argv[1] : "", true);
    }
    if (str_eq(what, "put") && argc == 3 && *argv[1] != 0) {
        return kv_change(k, argv[1], argv[2]);
    }
    if (str_eq(what, "delete") && argc == 2 && *argv[1] != 0) {
        return kv_change(k, argv[1], NULL);
    }
    if (str_eq(what, "watch") && argc <= 2) {
        return kv_watch(k, argc == 2 ? argv[1] : "");
    }
    if (str_eq(what, "status") && argc == 1) {
        return kv_run(k, &status);
    }
    return cli_bad_usage(k->cli,
                         "get KEY, list [PREFIX], put KEY VALUE, delete KEY, watch [PREFIX] "
                         "or status");
}

int verb_kv(struct cli *c, int argc, char **argv)
{
    static const struct option longs[] = { { "print-value-only", no_argument, NULL, 'P' },
                                           { "rev", required_argument, NULL, 'R' },
                                           { NULL, 0, NULL, 0 } };
    struct kv k = { .cli = c };
    int o;

    while ((o = cli_getopt(c, argc, argv, "", longs)) != -1) {
        if (o == 'P') {
            k.values_only = true;
        } else if (o != 'R') {
            return cli_usage(c);
        } else if (!str_parse_u64(optarg, &k.rev)) {
            return cli_bad_usage(c, "--rev: \"%s\" is no revision", optarg);
        }
    }
    return kv_dispatch(&k, argc - optind, argv + optind);
}
