/* `picket init`: a new cluster: its CA, its first voter, its first administrator. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "cmd/picket/enrol.h"
#include "cmd/picket/identity.h"

#define ADMIN_LIFETIME_S (365ULL * 24 * 3600) /* `picket renew` */

const char init_help[] =
    "Makes the cluster's own certificate authority, the identity of this host (its picketd, the\n"
    "first voter, and its agent), the key that seals Secrets, and an administrator's "
    "configuration.\n"
    "Nothing is overwritten, nothing is started.\n"
    "\n"
    "  --name HOST       this host, as its Host object will be called\n"
    "  --address IP,...  of this host for the others: one for each link, the preferred one first\n"
    "  --dir DIR         configuration (/etc/picket)\n"
    "  --data DIR        data of the daemons (/var/lib/picket)\n"
    "  --api-port N      7443\n"
    "  --peer-port N     7640\n"
    "  --cert-lifetime T how long certificates of voters and agents are good (90d); they renew\n"
    "                    themselves\n"
    "  --lab             a lab: devices that prove nothing elsewhere are believed\n"
    "\n"
    "Examples:\n"
    "  picket init --name node1 --address 10.0.0.1\n";

static void make_uuid(char dst[37])
{
    uint8_t b[16];
    char hex[33];

    clock_random(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    str_hex(b, sizeof(b), hex);
    (void)snprintf(dst, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
}

static int issue(const struct enrol *e, const char *cluster, const char *role, const char *name,
                 const char *file, struct err *err)
{
    struct pki_subject subject = {
        .role = role, .name = name, .cluster = cluster, .seconds = PKI_LIFETIME_S
    };
    char *tls = enrol_path(e, "tls"), *cert = mem_printf("%s/%s.crt", tls, file);
    char *key = mem_printf("%s/%s.key", tls, file);
    int rc;

    if (str_eq(role, "picket:admins")) {
        subject.seconds = ADMIN_LIFETIME_S;
    } else {
        subject.ip = e->ip;
        subject.seconds = e->lifetime_s != 0 ? e->lifetime_s : PKI_LIFETIME_S;
    }
    rc = pki_issue(tls, &subject, cert, key, err);
    free(tls);
    free(cert);
    free(key);
    return rc;
}

static int make_seal_key(const struct enrol *e, struct err *err)
{
    uint8_t key[32];
    char text[66];
    int rc;

    clock_random(key, sizeof(key));
    str_hex(key, sizeof(key), text);
    text[64] = '\n';
    text[65] = 0;
    rc = enrol_write(e, "tls/seal.key", 0600, text, err);
    explicit_bzero(key, sizeof(key));
    explicit_bzero(text, sizeof(text));
    return rc;
}

static int make_admin(const struct enrol *e, const char *cluster, const char *server,
                      struct err *err)
{
    char *conf = enrol_path(e, "admin.conf"), *ca = enrol_path(e, "tls/ca.crt");
    char *cert = enrol_path(e, "tls/admin.crt"), *key = enrol_path(e, "tls/admin.key");
    int rc = issue(e, cluster, "picket:admins", "admin", "admin", err);

    if (rc == 0) {
        rc = api_config_write(conf, "picket", server, cert, key, ca, cluster, err);
    }
    free(conf);
    free(ca);
    free(cert);
    free(key);
    return rc;
}

static int init(const struct enrol *e, struct err *err)
{
    char *tls = enrol_path(e, "tls");
    char *server = enrol_addresses(e, e->api_port, ',');
    char cluster[37];
    int rc;

    make_uuid(cluster);
    rc = enrol_dirs(e, err);
    rc = rc != 0 ? rc : pki_make_ca(tls, cluster, err);
    rc = rc != 0 ? rc : issue(e, cluster, "picket:voters", e->name, "voter", err);
    rc = rc != 0 ? rc : issue(e, cluster, "picket:agents", e->name, "agent", err);
    rc = rc != 0 ? rc : make_seal_key(e, err);
    rc = rc != 0 ? rc : make_admin(e, cluster, server, err);
    rc = rc != 0 ? rc : enrol_write_picketd(e, cluster, 1, true, err);
    rc = rc != 0 ? rc : enrol_write_agent(e, server, err);
    if (rc == 0) {
        (void)printf(
            "cluster %s, first voter %s\n"
            "%s/admin.conf is the administrator's configuration: keep it safe\n"
            "Next: picketd --config %s/picketd.conf\n"
            "      picket token create --voter, and on each other host: picket join TOKEN\n",
            cluster, e->name, e->dir, e->dir);
    } else if (rc == ERR_EXISTS) {
        (void)err_wrap(err, "%s holds an identity already; nothing of it was changed", e->dir);
    }
    free(tls);
    free(server);
    return rc;
}

int verb_init(struct cli *c, int argc, char **argv)
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
    if (optind != argc) {
        return cli_bad_usage(c, "\"%s\" is too much", argv[optind]);
    }
    rc = enrol_check(c, &e);
    return rc != CLI_OK ? rc : init(&e, &err) == 0 ? CLI_OK : cli_fail(c, &err);
}
