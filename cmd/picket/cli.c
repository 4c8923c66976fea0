#include "cmd/picket/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/http_codec.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

/* ---- options ---- */

enum { OPT_KUBECONFIG = 1000, OPT_CONTEXT, OPT_SERVER, OPT_REQUEST_TIMEOUT };

static const struct option common_options[] = {
    { "kubeconfig", required_argument, NULL, OPT_KUBECONFIG },
    { "context", required_argument, NULL, OPT_CONTEXT },
    { "server", required_argument, NULL, OPT_SERVER },
    { "request-timeout", required_argument, NULL, OPT_REQUEST_TIMEOUT },
    { "verbose", no_argument, NULL, 'v' },
    { "help", no_argument, NULL, 'h' },
};

#define OPTIONS_MAX 48

static bool take_common(struct cli *c, int o)
{
    switch (o) {
    case OPT_KUBECONFIG:
        c->config = optarg;
        return true;
    case OPT_CONTEXT:
        c->context = optarg;
        return true;
    case OPT_SERVER:
        c->server = optarg;
        return true;
    case 'v':
        c->verbose++;
        return true;
    default:
        return false;
    }
}

int cli_getopt(struct cli *c, int argc, char **argv, const char *shorts, const struct option *longs)
{
    struct option all[OPTIONS_MAX];
    char letters[64];
    size_t n = 0;
    int o;

    for (; longs != NULL && longs->name != NULL; longs++) {
        CHECK(n < OPTIONS_MAX - ARRAY_LEN(common_options) - 1);
        all[n++] = *longs;
    }
    memcpy(all + n, common_options, sizeof(common_options));
    all[n + ARRAY_LEN(common_options)] = (struct option){ 0 };
    CHECK(snprintf(letters, sizeof(letters), "%shv", shorts) < (int)sizeof(letters));
    while ((o = getopt_long(argc, argv, letters, all, NULL)) != -1) {
        if (o == 'h') {
            c->usage_only = true;
            return '?';
        }
        if (o == OPT_REQUEST_TIMEOUT) {
            if (!str_parse_duration(optarg, &c->request_ms)) {
                cli_say("picket %s: --request-timeout \"%s\": want a duration such as 10s", c->verb,
                        optarg);
                return '?';
            }
        } else if (!take_common(c, o)) {
            return o;
        }
    }
    return -1;
}

int cli_usage(struct cli *c)
{
    if (c->usage_only) {
        cli_print_usage(cli_verb_find(c->verb), stdout);
        return CLI_OK;
    }
    cli_say("See: picket %s --help", c->verb);
    return CLI_USAGE;
}

int cli_bad_usage(struct cli *c, const char *fmt, ...)
{
    va_list ap;

    (void)fflush(stdout);
    (void)fprintf(stderr, "picket %s: ", c->verb);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
    return cli_usage(c);
}

/* ---- messages ---- */

void cli_say(const char *fmt, ...)
{
    va_list ap;

    (void)fflush(stdout);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
}

int cli_exit_code(int code)
{
    switch (code) {
    case 0:
        return CLI_OK;
    case ERR_NOT_FOUND:
        return CLI_NOT_FOUND;
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_REFUSED:
    case ERR_STALE:
        return CLI_CONFLICT;
    case ERR_NO_QUORUM:
    case ERR_NOT_LEADER:
    case ERR_UNREACHABLE:
        return CLI_UNREACHABLE;
    case ERR_UNKNOWN_OUTCOME:
        return CLI_UNKNOWN;
    case ERR_TIMEOUT:
        return CLI_TIMEOUT;
    default:
        return CLI_ERROR;
    }
}

const char *cli_advice(int code)
{
    switch (code) {
    case ERR_UNREACHABLE:
        return "No member of the cluster answers. `picket status` shows who does; for a cluster on "
               "this machine run `picket dev up`.";
    case ERR_NO_QUORUM:
    case ERR_NOT_LEADER:
        return "Nothing was changed. A majority of the voters has to be up: see `picket status`.";
    case ERR_UNKNOWN_OUTCOME:
        return "It may have happened. Read back with `picket get`; repeating an apply is safe.";
    case ERR_TIMEOUT:
        return "It did not happen in time. See `picket status`, or raise --request-timeout.";
    case ERR_CONFLICT:
    case ERR_STALE:
        return "Somebody else changed it meanwhile: look again (`picket get`, `picket diff`), then "
               "repeat.";
    case ERR_REFUSED:
        return "The safety rules say no, whoever asks: `picket why KIND NAME` tells what stands in "
               "the way.";
    case ERR_DENIED:
        return "Your certificate's role does not allow it (docs/architecture.md, Identity); ask an "
               "admin, or use another --kubeconfig.";
    case ERR_UNAUTHORIZED:
        return "The cluster does not know your certificate: is this the right --kubeconfig?";
    default:
        return NULL;
    }
}

int cli_fail(struct cli *c, const struct err *err)
{
    const char *advice = cli_advice(err->code);

    cli_say("picket: %s", err->msg);
    if (advice != NULL) {
        cli_say("  %s", advice);
    }
    if (c->verbose > 0) {
        cli_say("  (%s%s%s)", err_name(err->code), err->origin != NULL ? " from " : "",
                err->origin != NULL ? err->origin : "");
    }
    return cli_exit_code(err->code);
}

bool cli_color(FILE *f)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    return isatty(fileno(f)) && (no == NULL || *no == 0) && !str_eq(term, "dumb");
}

bool cli_confirm(const char *question)
{
    char line[64];

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        return false;
    }
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s [yes/no] ", question);
    return fgets(line, sizeof(line), stdin) != NULL && str_eq(line, "yes\n");
}

/* ---- connection ---- */

bool cli_dev_dir(char *dst, size_t size)
{
    const char *env = getenv("PICKET_DEV_DIR");
    const char *home = getenv("HOME");
    int n;

    if (env != NULL && *env != 0) {
        return str_copy(dst, size, env);
    }
    if (home == NULL || *home == 0) {
        return false;
    }
    n = snprintf(dst, size, "%s/.picket/dev", home);
    return n > 0 && (size_t)n < size;
}

/* Does a supervisor listen in the default dev folder? */
static bool dev_runs(const char *dir)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd, n;
    bool ok;

    n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/devd.sock", dir);
    if (n < 0 || (size_t)n >= sizeof(sun.sun_path)) {
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    ok = connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) == 0;
    (void)close(fd);
    return ok;
}

static int configure_dev(struct cli *c, const struct err *first)
{
    char dir[512], file[600];
    struct err err = { 0 };

    if (cli_dev_dir(dir, sizeof(dir)) && dev_runs(dir)) {
        (void)snprintf(file, sizeof(file), "%s/kubeconfig", dir);
        if (api_config_load(file, NULL, &c->cfg, &err) == 0) {
            if (c->verbose > 0) {
                cli_say("picket: no configuration; using the dev cluster in %s", dir);
            }
            return CLI_OK;
        }
    }
    if (!c->quiet_connect) {
        cli_say("picket: no cluster is configured: %s", first->msg);
        cli_say("  Give --kubeconfig FILE, set PICKET_CONFIG, or run `picket dev up` for a cluster "
                "on this machine.");
    }
    return CLI_ERROR;
}

int cli_configure(struct cli *c)
{
    const char *file = c->config != NULL ? c->config : getenv("PICKET_CONFIG");
    struct err err = { 0 };
    int rc;

    if (c->cfg != NULL) {
        return CLI_OK;
    }
    if (file != NULL && *file == 0) {
        file = NULL;
    }
    rc = api_config_load(file, c->context, &c->cfg, &err);
    if (rc == ERR_NOT_FOUND && file == NULL) {
        return configure_dev(c, &err);
    }
    if (rc != 0) {
        if (!c->quiet_connect) {
            cli_say("picket: %s", err.msg);
        }
        return CLI_ERROR;
    }
    return CLI_OK;
}

void cli_warn(struct cli *c, const char *where, const char *text)
{
    if (text == NULL || map_put(&c->warned, text, c) != NULL) {
        return;
    }
    if (where != NULL) {
        cli_say("%s: warning: %s", where, text);
    } else {
        cli_say("Warning: %s", text);
    }
}

static void on_warning(void *ctx, const char *text)
{
    cli_warn(ctx, NULL, text);
}

/* --server overrides the servers of the configuration and keeps its identity. */
static void override_servers(struct cli *c)
{
    const char *s = c->server;

    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < c->cfg->n_servers; i++) {
        free(c->cfg->servers[i]);
    }
    c->cfg->servers = mem_realloc(c->cfg->servers, sizeof(c->cfg->servers[0]));
    c->cfg->servers[0] = mem_strdup(str_starts(s, "https://") ? s + 8 : s);
    c->cfg->n_servers = 1;
}

int cli_prepare(struct cli *c)
{
    int rc = cli_configure(c);

    if (rc != CLI_OK) {
        return rc;
    }
    override_servers(c);
    if (!c->loop_ready) {
        CHECK(uv_loop_init(&c->loop) == 0);
        c->loop_ready = true;
    }
    return CLI_OK;
}

int cli_connect(struct cli *c)
{
    struct err err = { 0 };
    int rc = cli_prepare(c);

    if (rc != CLI_OK) {
        return rc;
    }
    cli_pick_server(c);
    if (api_client_new(&c->loop, c->cfg, &c->client, &err) != 0) {
        return cli_fail(c, &err);
    }
    if (!c->quiet_connect) {
        api_client_on_warning(c->client, on_warning, c);
    }
    return CLI_OK;
}

void cli_done(struct cli *c)
{
    if (c->client != NULL) {
        api_client_close(c->client, NULL, NULL);
        c->client = NULL;
    }
    if (c->loop_ready) {
        (void)uv_run(&c->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&c->loop);
        c->loop_ready = false;
    }
    api_config_free(c->cfg);
    c->cfg = NULL;
    map_done(&c->warned);
    c->warned = (struct map){ 0 };
}

/* ---- requests ---- */

int cli_request(struct cli *c, const struct api_op *op, json_t **ret, struct err *err)
{
    struct api_op copy = *op;

    if (copy.timeout_ms == 0) {
        copy.timeout_ms = c->request_ms;
    }
    return api_run(c->client, &copy, ret, err);
}

int cli_get(struct cli *c, const char *plural, const char *name, json_t **ret, struct err *err)
{
    struct api_op op = { .method = "GET", .plural = plural, .name = name };

    return cli_request(c, &op, ret, err);
}

void cli_query(struct buf *b, const char *key, const char *value)
{
    if (value != NULL) {
        buf_printf(b, "%s%s=", b->len > 0 ? "&" : "", key);
        http_escape(b, value);
    }
}

int cli_list(struct cli *c, const char *plural, const char *labels, const char *fields,
             json_t **ret_items, struct err *err)
{
    struct buf q = { 0 };
    struct api_op op = { .method = "GET", .plural = plural };
    json_t *list = NULL;
    int rc;

    cli_query(&q, "labelSelector", labels);
    cli_query(&q, "fieldSelector", fields);
    op.query = q.len > 0 ? buf_cstr(&q) : NULL;
    rc = cli_request(c, &op, &list, err);
    buf_done(&q);
    if (rc != 0) {
        return rc;
    }
    *ret_items = json_incref(json_object_get(list, "items"));
    json_decref(list);
    if (!json_is_array(*ret_items)) {
        json_decref(*ret_items);
        *ret_items = NULL;
        return err_set(err, ERR_CORRUPT, "the server's list of %s has no items", plural);
    }
    return 0;
}

int cli_merge(struct cli *c, const char *plural, const char *name, json_t *patch, json_t **ret,
              struct err *err)
{
    struct api_op op = { .method = "PATCH",
                         .plural = plural,
                         .name = name,
                         .content_type = "application/merge-patch+json",
                         .query = "fieldManager=picket",
                         .body = patch };
    int rc = cli_request(c, &op, ret, err);

    json_decref(patch);
    return rc;
}

static void stop_loop(uv_timer_t *t)
{
    uv_stop(t->loop);
}

void cli_sleep(struct cli *c, uint64_t ms)
{
    uv_timer_t t;

    CHECK(uv_timer_init(&c->loop, &t) == 0);
    uv_update_time(&c->loop);
    (void)uv_timer_start(&t, stop_loop, ms, 0);
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&t, NULL);
    (void)uv_run(&c->loop, UV_RUN_NOWAIT);
}
