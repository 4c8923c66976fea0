/* `picket token create` and `picket join TOKEN`.
 *
 * A token is "pkt1." and base64 of JSON: the API servers, the cluster, its CA, and a certificate
 * with key that may do nothing but join once (cmd/picketd/join.h). */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "cmd/picket/enrol.h"
#include "cmd/picket/identity.h"

#define TOKEN_PREFIX "pkt1."
#define TOKEN_MAX 32768
#define SERVERS_MAX 16

const char token_help[] =
    "create  prints a token for one host to join with: good for one use, for a limited time. Who "
    "has\n"
    "        it can enrol a host of any name: hand it over as you would a password.\n"
    "\n"
    "  --voter          the host becomes a voter as soon as it has caught up\n"
    "  --ttl T          how long it lives (1h; a minute to seven days)\n"
    "\n"
    "Examples:\n"
    "  picket token create --voter --ttl 30m\n";

const char join_help[] =
    "Enrols this host: makes its keys here, has them certified, writes its "
    "configuration. The token\n"
    "pins the cluster's CA. Nothing is overwritten, nothing is started.\n"
    "\n"
    "  --name HOST      this host, as its Host object will be called\n"
    "  --address IP,... of this host for the others: one for each link, the preferred one first\n"
    "  --dir DIR        configuration (/etc/picket)\n"
    "  --data DIR       data of the daemons (/var/lib/picket)\n"
    "  --api-port N     7443\n"
    "  --peer-port N    7640\n"
    "  --lab            as at init\n"
    "\n"
    "Examples:\n"
    "  picket join pkt1.eyJ... --name node2 --address 10.0.0.2\n";

/* --- token --- */

static int token_print(struct cli *c, json_t *t, bool voter)
{
    struct buf servers = { 0 };
    char *text, *b64;
    size_t len;

    for (size_t i = 0; i < c->cfg->n_servers; i++) {
        buf_printf(&servers, "%s%s", i > 0 ? "," : "", c->cfg->servers[i]);
    }
    (void)json_object_set_new(t, "servers", json_string(buf_cstr(&servers)));
    (void)json_object_set_new(t, "voter", json_boolean(voter));
    text = json_dumps(t, JSON_COMPACT);
    CHECK(text != NULL);
    len = strlen(text);
    b64 = mem_alloc(4 * ((len + 2) / 3) + 1);
    str_b64_encode(text, len, b64);
    (void)printf(TOKEN_PREFIX "%s\n", b64);
    explicit_bzero(text, len);
    explicit_bzero(b64, strlen(b64));
    free(text);
    free(b64);
    buf_done(&servers);
    return CLI_OK;
}

static int token_create(struct cli *c, bool voter, uint64_t ttl_ms)
{
    json_t *body = json_pack("{s:b, s:I}", "voter", voter, "ttlMs", (json_int_t)ttl_ms);
    struct api_op op = { .method = "POST", .target = "/apis/picket/v1/tokens", .body = body };
    json_t *answer = NULL;
    struct err err = { 0 };
    int rc = cli_connect(c);

    if (rc == CLI_OK) {
        rc = cli_request(c, &op, &answer, &err) != 0 ? cli_fail(c, &err)
                                                     : token_print(c, answer, voter);
    }
    json_decref(answer);
    json_decref(body);
    return rc;
}

int verb_token(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "voter", no_argument, NULL, 1 },
                                             { "ttl", required_argument, NULL, 2 },
                                             { NULL, 0, NULL, 0 } };
    uint64_t ttl_ms = 3600000;
    bool voter = false;
    int o;

    while ((o = cli_getopt(c, argc, argv, "", options)) != -1) {
        if (o == 1) {
            voter = true;
        } else if (o != 2) {
            return cli_usage(c);
        } else if (!str_parse_duration(optarg, &ttl_ms)) {
            return cli_bad_usage(c, "--ttl: \"%s\" is no duration such as 30m", optarg);
        }
    }
    if (argc - optind != 1 || !str_eq(argv[optind], "create")) {
        return cli_bad_usage(c, "want: create");
    }
    return token_create(c, voter, ttl_ms);
}

static json_t *token_parse(const char *text, struct err *err)
{
    uint8_t *raw = mem_alloc(TOKEN_MAX);
    json_t *t = NULL;
    size_t len;

    if (!str_starts(text, TOKEN_PREFIX) ||
        !str_b64_decode(text + strlen(TOKEN_PREFIX), strlen(text) - strlen(TOKEN_PREFIX), raw,
                        TOKEN_MAX, &len) ||
        json_parse_strict((char *)raw, len, &t, err) != 0) {
        (void)err_set(err, ERR_INVALID,
                      "this is no whole token: it begins with " TOKEN_PREFIX
                      " and is one line of `picket token create`");
        t = NULL;
    }
    explicit_bzero(raw, TOKEN_MAX);
    free(raw);
    return t;
}

/* --- join --- */

static int token_client(uv_loop_t *loop, const json_t *t, char *servers, struct api_client **ret,
                        struct err *err)
{
    char *list[SERVERS_MAX], *save = NULL;
    struct api_config cfg = { .servers = list };
    int rc;

    for (char *p = strtok_r(servers, ",", &save); p != NULL && cfg.n_servers < SERVERS_MAX;
         p = strtok_r(NULL, ",", &save)) {
        list[cfg.n_servers++] = p;
    }
    if (cfg.n_servers == 0) {
        return err_set(err, ERR_INVALID, "the token names no server");
    }
    rc = tls_ctx_load_pem("the token", jget_str(t, "cert", ""), jget_str(t, "key", ""),
                          jget_str(t, "ca", ""), jget_str(t, "cluster", ""), &cfg.tls, err);
    if (rc == 0) {
        rc = api_client_new(loop, &cfg, ret, err);
    }
    tls_ctx_unref(cfg.tls);
    return rc;
}

static int join_ask(struct cli *c, const json_t *t, const json_t *body, json_t **ret,
                    struct err *err)
{
    struct api_op op = {
        .method = "POST", .target = "/apis/picket/v1/join", .body = body, .timeout_ms = 60000
    };
    char *servers = mem_strdup(jget_str(t, "servers", ""));
    struct api_client *client;
    uv_loop_t loop;
    int rc;

    (void)c;
    CHECK(uv_loop_init(&loop) == 0);
    rc = token_client(&loop, t, servers, &client, err);
    if (rc == 0) {
        rc = api_run(client, &op, ret, err);
        api_client_close(client, NULL, NULL);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop) == 0);
    free(servers);
    return rc;
}

static int write_field(const struct enrol *e, const json_t *a, const char *field, const char *rel,
                       unsigned mode, struct err *err)
{
    const char *text = jget_str(a, field, "");

    if (text[0] == 0) {
        return err_set(err, ERR_INVALID, "the answer has no %s", field);
    }
    return enrol_write(e, rel, mode, text, err);
}

static int join_write(const struct enrol *e, const json_t *t, const json_t *a, struct err *err)
{
    bool voter = jget_bool(a, "voter", false);
    char *own = enrol_addresses(e, e->api_port, ',');
    char *endpoints = voter ? mem_printf("%s,%s", own, jget_str(t, "servers", ""))
                            : mem_strdup(jget_str(t, "servers", ""));
    int rc = write_field(e, a, "ca", "tls/ca.crt", 0644, err);

    rc = rc != 0 ? rc : write_field(e, a, "agentCert", "tls/agent.crt", 0644, err);
    if (rc == 0 && voter) {
        rc = write_field(e, a, "voterCert", "tls/voter.crt", 0644, err);
        rc = rc != 0 ? rc : write_field(e, a, "caKey", "tls/ca.key", 0600, err);
        rc = rc != 0 ? rc : write_field(e, a, "sealKey", "tls/seal.key", 0600, err);
        rc = rc != 0 ? rc
                     : enrol_write_picketd(e, jget_str(a, "cluster", ""),
                                           (uint64_t)jget_int(a, "id", 0), false, err);
    }
    rc = rc != 0 ? rc : enrol_write_agent(e, endpoints, err);
    free(own);
    free(endpoints);
    return rc;
}

/* Keys of an enrolment that did not happen. */
static void drop_keys(const struct enrol *e, bool voter)
{
    char *agent = enrol_path(e, "tls/agent.key"), *own = enrol_path(e, "tls/voter.key");

    (void)unlink(agent);
    if (voter) {
        (void)unlink(own);
    }
    free(agent);
    free(own);
}

static int make_requests(const struct enrol *e, bool voter, json_t *body, struct err *err)
{
    char *agent = enrol_path(e, "tls/agent.key"), *own = enrol_path(e, "tls/voter.key");
    char *csr = NULL;
    int rc = pki_request(agent, &csr, err);

    if (rc == 0) {
        (void)json_object_set_new(body, "agentRequest", json_string(csr));
        free(csr);
        csr = NULL;
        rc = voter ? pki_request(own, &csr, err) : 0;
        if (rc != 0) {
            (void)unlink(agent);
        } else if (voter) {
            (void)json_object_set_new(body, "voterRequest", json_string(csr));
        }
    }
    free(csr);
    free(agent);
    free(own);
    return rc;
}

static int join(struct cli *c, const struct enrol *e, const char *token, struct err *err)
{
    json_t *t = token_parse(token, err), *body, *answer = NULL;
    char *peer;
    bool voter = jget_bool(t, "voter", false);
    int rc;

    if (t == NULL) {
        return err->code;
    }
    peer = enrol_addresses(e, e->peer_port, ',');
    body = json_pack("{s:s, s:s, s:s}", "name", e->name, "ip", e->ip, "address", peer);
    free(peer);
    rc = enrol_dirs(e, err);
    if (rc == 0) {
        rc = make_requests(e, voter, body, err);
    }
    if (rc == 0) {
        rc = join_ask(c, t, body, &answer, err);
        if (rc != 0) {
            drop_keys(e, voter);
        }
    }
    if (rc == 0) {
        rc = join_write(e, t, answer, err);
    }
    if (rc == 0) {
        (void)printf("%s is enrolled in cluster %s%s\nNext: ", e->name,
                     jget_str(answer, "cluster", ""),
                     voter ? "; it votes once it has caught up" : "");
        (void)printf(voter ? "picketd --config %s/picketd.conf\n"
                           : "picket-agent --config %s/agent.conf\n",
                     e->dir);
    }
    json_decref(answer);
    json_decref(body);
    json_decref(t);
    return rc;
}

int verb_join(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { ENROL_OPTIONS, { NULL, 0, NULL, 0 } };
    struct enrol e = ENROL_DEFAULTS;
    struct err err = { 0 };
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "", options)) != -1) {
        if (o == '?') {
            return cli_usage(c);
        }
        if (!enrol_option(c, &e, o)) {
            return CLI_USAGE;
        }
    }
    if (argc - optind != 1) {
        return cli_bad_usage(c, "give one token");
    }
    rc = enrol_check(c, &e);
    return rc != CLI_OK ? rc : join(c, &e, argv[optind], &err) == 0 ? CLI_OK : cli_fail(c, &err);
}
