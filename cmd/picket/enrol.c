#include "cmd/picket/enrol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/obj.h"
#include "base/str.h"

static bool take_port(struct cli *c, const char *text, uint64_t *ret)
{
    if (!str_parse_u64(text, ret) || *ret == 0 || *ret > 65535) {
        (void)cli_bad_usage(c, "\"%s\" is no port", text);
        return false;
    }
    return true;
}

static bool take_lifetime(struct cli *c, const char *text, uint64_t *ret)
{
    uint64_t ms;

    if (!str_parse_duration(text, &ms) || ms < 5000 || ms > 3650ULL * 24 * 3600 * 1000) {
        (void)cli_bad_usage(c, "--cert-lifetime: \"%s\" is no time from 5s to 3650d", text);
        return false;
    }
    *ret = ms / 1000;
    return true;
}

bool enrol_option(struct cli *c, struct enrol *e, int o)
{
    const char **text[] = { [1] = &e->name, [2] = &e->ip, [3] = &e->dir, [4] = &e->data };

    if (o >= 1 && o <= 4) {
        *text[o] = optarg;
        return true;
    }
    if (o == 5 || o == 6) {
        return take_port(c, optarg, o == 5 ? &e->api_port : &e->peer_port);
    }
    if (o == 8) {
        return take_lifetime(c, optarg, &e->lifetime_s);
    }
    e->lab = o == 7;
    return o == 7;
}

static bool addresses_good(const char *list)
{
    char *copy = mem_strdup(list), *save = NULL;
    struct in_addr a;
    size_t count = 0;
    bool good = true;

    for (char *p = strtok_r(copy, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        good = good && inet_pton(AF_INET, p, &a) == 1;
        count++;
    }
    free(copy);
    return good && count > 0 && count <= 4;
}

char *enrol_addresses(const struct enrol *e, uint64_t port, char sep)
{
    char *copy = mem_strdup(e->ip), *save = NULL, *text;
    struct buf b = { 0 };

    for (char *p = strtok_r(copy, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        if (b.len > 0) {
            buf_add_byte(&b, (uint8_t)sep);
        }
        buf_printf(&b, "%s:%" PRIu64, p, port);
    }
    free(copy);
    text = mem_strdup(buf_cstr(&b));
    buf_done(&b);
    return text;
}

int enrol_check(struct cli *c, const struct enrol *e)
{

    if (e->name == NULL || e->ip == NULL) {
        return cli_bad_usage(c, "--name HOST and --address IP are needed");
    }
    if (!str_is_name(e->name) || strlen(e->name) >= 64) {
        return cli_bad_usage(c, "--name: \"%s\" is no host name", e->name);
    }
    if (!addresses_good(e->ip)) {
        return cli_bad_usage(
            c, "--address: \"%s\" is no IPv4 address, nor up to four of them separated by commas",
            e->ip);
    }
    return CLI_OK;
}

char *enrol_path(const struct enrol *e, const char *rel)
{
    return mem_printf("%s/%s", e->dir, rel);
}

int enrol_dirs(const struct enrol *e, struct err *err)
{
    char *tls = enrol_path(e, "tls");
    int rc = 0;

    if ((mkdir(e->dir, 0755) != 0 && errno != EEXIST) ||
        (mkdir(tls, 0700) != 0 && errno != EEXIST)) {
        rc = err_native(err, ERR_SYS, "errno", errno, "make directory %s", tls);
    }
    free(tls);
    return rc;
}

int enrol_write(const struct enrol *e, const char *rel, unsigned mode, const char *text,
                struct err *err)
{
    char *path = enrol_path(e, rel);
    size_t len = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    int rc = 0;

    if (fd < 0) {
        rc = err_native(err, errno == EEXIST ? ERR_EXISTS : ERR_SYS, "errno", errno, "create %s",
                        path);
    } else if (write(fd, text, len) != (ssize_t)len || fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "write %s", path);
        (void)unlink(path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(path);
    return rc;
}

static void tls_lines(const struct enrol *e, const char *who, struct buf *b)
{
    buf_printf(b, "tls-cert = %s/tls/%s.crt\ntls-key = %s/tls/%s.key\ntls-ca = %s/tls/ca.crt\n",
               e->dir, who, e->dir, who, e->dir);
}

int enrol_write_picketd(const struct enrol *e, const char *cluster, uint64_t id, bool bootstrap,
                        struct err *err)
{
    char *peer = enrol_addresses(e, e->peer_port, ','), *api = enrol_addresses(e, e->api_port, ',');
    char *boot = enrol_addresses(e, e->peer_port, '+');
    struct buf b = { 0 };
    int rc;

    buf_printf(&b,
               "# picketd: the long options without dashes (picketd --help)\n"
               "name = %s\ndata = %s\ncluster = %s\nid = %" PRIu64 "\nlisten-peer = %s"
               "\nlisten-api = %s\n",
               e->name, e->data, cluster, id, peer, api);
    if (bootstrap) {
        buf_printf(&b, "bootstrap = %" PRIu64 "=%s@%s\n", id, e->name, boot);
    }
    tls_lines(e, "voter", &b);
    if (e->lifetime_s != 0) {
        buf_printf(&b, "cert-lifetime = %" PRIu64 "s\n", e->lifetime_s);
    }
    buf_printf(&b, "%s", e->lab ? "lab\n" : "");
    rc = enrol_write(e, "picketd.conf", 0644, buf_cstr(&b), err);
    buf_done(&b);
    free(peer);
    free(api);
    free(boot);
    return rc;
}

int enrol_write_agent(const struct enrol *e, const char *endpoints, struct err *err)
{
    struct buf b = { 0 };
    int rc;

    buf_printf(&b,
               "# picket-agent: the long options without dashes (picket-agent --help)\n"
               "name = %s\ndata = %s/agent\nendpoints = %s\n",
               e->name, e->data, endpoints);
    tls_lines(e, "agent", &b);
    rc = enrol_write(e, "agent.conf", 0644, buf_cstr(&b), err);
    buf_done(&b);
    return rc;
}
