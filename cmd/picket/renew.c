/* `picket renew`: a new certificate for the one who asks, before the old one expires. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/pki.h"
#include "cmd/picket/identity.h"

const char renew_help[] =
    "Makes a new key, has the cluster sign it for the identity that you have now, and writes a\n"
    "configuration with it. The old certificate stays good until it expires. Certificates of\n"
    "administrators and other users last a year; those of voters and agents renew themselves.\n"
    "\n"
    "  -o, --output FILE   the configuration to write; it is replaced if it exists\n"
    "  --ca FILE           the cluster's CA certificate (/etc/picket/tls/ca.crt)\n"
    "\n"
    "Examples:\n"
    "  picket renew -o ~/.picket/config\n";

static int write_text(const char *file, const char *text, struct err *err)
{
    FILE *f = fopen(file, "we");
    bool ok = f != NULL && fputs(text, f) >= 0;

    ok = f != NULL && fclose(f) == 0 && ok;
    return ok ? 0 : err_native(err, ERR_SYS, "errno", errno, "write %s", file);
}

static char *servers(const struct api_config *cfg)
{
    struct buf b = { 0 };
    char *text;

    for (size_t i = 0; i < cfg->n_servers; i++) {
        buf_printf(&b, "%s%s", i > 0 ? "," : "", cfg->servers[i]);
    }
    text = mem_strdup(buf_cstr(&b));
    buf_done(&b);
    return text;
}

static int ask(struct cli *c, const char *csr, json_t **ret, struct err *err)
{
    json_t *body = json_pack("{s:s}", "request", csr);
    struct api_op op = {
        .method = "POST", .target = API_PREFIX "/renew", .body = body, .repeatable = true
    };
    int rc = cli_request(c, &op, ret, err);

    json_decref(body);
    return rc;
}

static int renew(struct cli *c, const char *file, const char *ca, struct err *err)
{
    char *key = mem_printf("%s.key", file), *cert = mem_printf("%s.crt", file);
    char *list = servers(c->cfg), *csr = NULL;
    json_t *answer = NULL;
    int rc;

    (void)unlink(key);
    rc = pki_request(key, &csr, err);
    rc = rc != 0 ? rc : ask(c, csr, &answer, err);
    rc = rc != 0 ? rc : write_text(cert, jget_str(answer, "cert", ""), err);
    rc = rc != 0 ? rc
                 : api_config_write(file, "picket", list, cert, key, ca, c->cfg->cluster_id, err);
    (void)unlink(key);
    (void)unlink(cert);
    json_decref(answer);
    free(csr);
    free(list);
    free(key);
    free(cert);
    return rc;
}

int verb_renew(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "output", required_argument, NULL, 'o' },
                                             { "ca", required_argument, NULL, 1 },
                                             { NULL, 0, NULL, 0 } };
    const char *file = NULL, *ca = "/etc/picket/tls/ca.crt";
    struct err err = { 0 };
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "o:", options)) != -1) {
        if (o == 'o') {
            file = optarg;
        } else if (o == 1) {
            ca = optarg;
        } else {
            return cli_usage(c);
        }
    }
    if (optind != argc || file == NULL) {
        return cli_bad_usage(c, "say with -o FILE where the new configuration goes");
    }
    rc = cli_connect(c);
    if (rc != CLI_OK) {
        return rc;
    }
    if (renew(c, file, ca, &err) != 0) {
        return cli_fail(c, &err);
    }
    (void)printf("%s holds a new certificate\n", file);
    return CLI_OK;
}
