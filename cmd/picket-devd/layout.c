/* What a dev cluster keeps on disk:
 *
 *   D/dev.json            cluster id, base port, hosts; written once, boots counted
 *   D/pki/                CA, certificates of hosts and of the admin
 *   D/kubeconfig          for picket and kubectl
 *   D/devd.{sock,lock,pid,log}
 *   D/hosts/NAME/         addrmap, boot-id, hardware-id, init.json, watchdog.sock, log/, run/,
 * store/, agent/ D/san/                volumes, shared by all hosts
 */

#include "cmd/picket-devd/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/client.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"

static int vpath(char *dst, const char *base, const char *fmt, va_list ap)
{
    int n = snprintf(dst, DEV_PATH_MAX, "%s/", base);

    CHECK(n > 0 && n < DEV_PATH_MAX);
    n += vsnprintf(dst + n, (size_t)(DEV_PATH_MAX - n), fmt, ap);
    CHECK(n < DEV_PATH_MAX); /* D is at most DEV_DIR_MAX long */
    return n;
}

int dev_path(const struct dev *d, char *dst, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vpath(dst, d->dir, fmt, ap);
    va_end(ap);
    return n;
}

int host_path(const struct dev_host *h, char *dst, const char *fmt, ...)
{
    char base[DEV_PATH_MAX];
    va_list ap;
    int n;

    dev_path(h->dev, base, "hosts/%s", h->name);
    va_start(ap, fmt);
    n = vpath(dst, base, fmt, ap);
    va_end(ap);
    return n;
}

int dev_mkdirs(const char *path, struct err *err)
{
    char part[DEV_PATH_MAX];

    if (!str_copy(part, sizeof(part), path)) {
        return err_set(err, ERR_INVALID, "folder name is too long: %s", path);
    }
    for (char *p = part + 1;; p++) {
        char c = *p;

        if (c != '/' && c != 0) {
            continue;
        }
        *p = 0;
        if (mkdir(part, 0755) != 0 && errno != EEXIST) {
            return err_native(err, ERR_SYS, "errno", errno, "mkdir %s", part);
        }
        *p = c;
        if (c == 0) {
            return 0;
        }
    }
}

int dev_write_file(const char *path, const void *data, size_t len, struct err *err)
{
    char tmp[DEV_PATH_MAX + 8];
    int fd, rc;

    (void)snprintf(tmp, sizeof(tmp), "%s.new", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "open %s", tmp);
    }
    if (write(fd, data, len) != (ssize_t)len) {
        rc = err_native(err, ERR_SYS, "errno", errno, "write %s", tmp);
    } else if (rename(tmp, path) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "rename %s", tmp);
    } else {
        rc = 0;
    }
    (void)close(fd);
    return rc;
}

int dev_bin_dir(char *dst, size_t size, struct err *err)
{
    const char *env = getenv("PICKET_BIN_DIR");
    char self[DEV_PATH_MAX];
    ssize_t n;
    char *slash;

    if (env != NULL && *env != 0) {
        return str_copy(dst, size, env)
                   ? 0
                   : err_set(err, ERR_INVALID, "PICKET_BIN_DIR is too long: %s", env);
    }
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "read link /proc/self/exe");
    }
    self[n] = 0;
    slash = strrchr(self, '/');
    CHECK(slash != NULL);
    *slash = 0;
    return str_copy(dst, size, self) ? 0 : err_set(err, ERR_INVALID, "%s: too long", self);
}

struct dev_host *dev_find_host(struct dev *d, const char *name)
{
    for (size_t i = 0; i < d->n_hosts; i++) {
        if (str_eq(d->hosts[i].name, name)) {
            return &d->hosts[i];
        }
    }
    return NULL;
}

struct dev_host *dev_host_number(struct dev *d, int number)
{
    return number >= 1 && (size_t)number <= d->n_hosts ? &d->hosts[number - 1] : NULL;
}

int dev_end_number(struct dev *d, const char *name)
{
    const struct dev_host *h = dev_find_host(d, name);

    if (h != NULL) {
        return h->number;
    }
    if (str_eq(name, "operator")) {
        return END_OPERATOR;
    }
    if (str_eq(name, "pdu")) {
        return END_PDU;
    }
    return str_eq(name, "gateway") ? END_GATEWAY : -1;
}

const char *dev_end_name(struct dev *d, int end)
{
    const struct dev_host *h = dev_host_number(d, end);

    if (h != NULL) {
        return h->name;
    }
    switch (end) {
    case END_ANY:
        return "everybody";
    case END_OPERATOR:
        return "operator";
    case END_PDU:
        return "pdu";
    case END_GATEWAY:
        return "gateway";
    default:
        return "?";
    }
}

static struct dev_host *host_add(struct dev *d, const char *name, bool voter, bool agent)
{
    struct dev_host *h = &d->hosts[d->n_hosts++];

    CHECK(d->n_hosts <= DEV_HOSTS_MAX);
    h->magic = DEV_HOST_MAGIC;
    h->dev = d;
    h->number = (int)d->n_hosts;
    h->voter = voter;
    h->agent = agent;
    h->power = DEV_OFF;
    h->boot_after_ms = -1;
    CHECK(str_copy(h->name, sizeof(h->name), name));
    clock_uuid(h->hardware_id);
    return h;
}

static int make_host_dirs(struct dev_host *h, struct err *err)
{
    static const char *const subs[] = { "log", "run", "store", "agent", "guests", "active" };
    char path[DEV_PATH_MAX];
    int rc;

    for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
        host_path(h, path, "%s", subs[i]);
        rc = dev_mkdirs(path, err);
        if (rc != 0) {
            return rc;
        }
    }
    host_path(h, path, "hardware-id");
    return dev_write_file(path, h->hardware_id, strlen(h->hardware_id), err);
}

static int issue(struct dev *d, const char *role, const char *name, const char *ip,
                 const char *file, struct err *err)
{
    struct pki_subject subject = { .role = role, .name = name, .cluster = d->cluster_id, .ip = ip };
    char pki[DEV_PATH_MAX], cert[DEV_PATH_MAX], key[DEV_PATH_MAX];

    dev_path(d, pki, "pki");
    dev_path(d, cert, "pki/%s.crt", file);
    dev_path(d, key, "pki/%s.key", file);
    return pki_issue(pki, &subject, cert, key, err);
}

/* kubectl compares the address that it connects to with the certificate. */
static int issue_host(struct dev *d, const struct dev_host *h, struct err *err)
{
    char file[128], ips[80];
    int rc = 0;

    (void)snprintf(ips, sizeof(ips), "127.64.%d.%d,127.64.%d.%d", h->number, h->number,
                   END_OPERATOR, h->number);
    if (h->voter) {
        (void)snprintf(file, sizeof(file), "%s-voter", h->name);
        rc = issue(d, "picket:voters", h->name, ips, file, err);
    }
    if (rc == 0 && h->agent) {
        (void)snprintf(file, sizeof(file), "%s-agent", h->name);
        rc = issue(d, "picket:agents", h->name, NULL, file, err);
    }
    return rc;
}

static int make_pki(struct dev *d, struct err *err)
{
    char path[DEV_PATH_MAX];
    int rc;

    dev_path(d, path, "pki");
    rc = dev_mkdirs(path, err);
    if (rc == 0) {
        rc = pki_make_ca(path, d->cluster_id, err);
    }
    if (rc == 0) {
        rc = issue(d, "picket:admins", "admin", NULL, "admin", err);
    }
    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        rc = issue_host(d, &d->hosts[i], err);
    }
    return rc;
}

int dev_write_kubeconfig(struct dev *d, struct err *err)
{
    char path[DEV_PATH_MAX], cert[DEV_PATH_MAX], key[DEV_PATH_MAX], ca[DEV_PATH_MAX];
    struct buf servers = { 0 };
    int rc;

    for (size_t i = 0; i < d->n_hosts; i++) {
        char ip[32];

        if (d->hosts[i].voter) {
            addrs_ip(END_OPERATOR, d->hosts[i].number, 1, ip);
            buf_printf(&servers, "%shttps://%s:%u", servers.len > 0 ? "," : "", ip, d->port + 1U);
        }
    }
    dev_path(d, path, "kubeconfig");
    dev_path(d, cert, "pki/admin.crt");
    dev_path(d, key, "pki/admin.key");
    dev_path(d, ca, "pki/ca.crt");
    rc = api_config_write(path, "dev", buf_cstr(&servers), cert, key, ca, d->cluster_id, err);
    buf_done(&servers);
    return rc;
}

int dev_layout_save(struct dev *d, struct err *err)
{
    char path[DEV_PATH_MAX];
    json_t *hosts = json_array();
    json_t *root;
    char *text;
    int rc;

    for (size_t i = 0; i < d->n_hosts; i++) {
        const struct dev_host *h = &d->hosts[i];

        (void)json_array_append_new(hosts,
                                    json_pack("{s:s, s:b, s:b, s:s, s:I}", "name", h->name, "voter",
                                              h->voter, "agent", h->agent, "hardwareID",
                                              h->hardware_id, "boots", (json_int_t)h->boots));
    }
    root = json_pack("{s:i, s:s, s:i, s:o}", "version", 1, "clusterID", d->cluster_id, "port",
                     (int)d->port, "hosts", hosts);
    CHECK(root != NULL);
    text = json_dumps(root, JSON_INDENT(2));
    CHECK(text != NULL);
    dev_path(d, path, "dev.json");
    rc = dev_write_file(path, text, strlen(text), err);
    free(text);
    json_decref(root);
    return rc;
}

int dev_layout_create(struct dev *d, unsigned n_hosts, unsigned voters, bool witness,
                      struct err *err)
{
    char path[DEV_PATH_MAX], name[32];
    int rc;

    clock_uuid(d->cluster_id);
    for (unsigned i = 1; i <= n_hosts; i++) {
        (void)snprintf(name, sizeof(name), "node%u", i);
        (void)host_add(d, name, i <= voters, true);
    }
    if (witness) {
        (void)host_add(d, "witness", true, false);
    }
    rc = net_choose_port(d, err);
    if (rc != 0) {
        return rc;
    }
    dev_path(d, path, "san");
    rc = dev_mkdirs(path, err);
    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        rc = make_host_dirs(&d->hosts[i], err);
    }
    if (rc == 0) {
        rc = make_pki(d, err);
    }
    if (rc == 0) {
        rc = dev_write_kubeconfig(d, err);
    }
    /* Last: a folder without dev.json is not a cluster, and is refused when it is not empty. */
    return rc == 0 ? dev_layout_save(d, err) : rc;
}

static int load_hosts(struct dev *d, const json_t *list, const char *path, struct err *err)
{
    size_t i;
    json_t *v;

    if (!json_is_array(list) || json_array_size(list) == 0 ||
        json_array_size(list) > DEV_HOSTS_MAX) {
        return err_set(err, ERR_CORRUPT, "%s: no usable list of hosts", path);
    }
    json_array_foreach (list, i, v) {
        const char *name, *hardware;
        int voter, agent;
        json_int_t boots;
        struct dev_host *h;

        if (json_unpack(v, "{s:s, s:b, s:b, s:s, s:I}", "name", &name, "voter", &voter, "agent",
                        &agent, "hardwareID", &hardware, "boots", &boots) != 0 ||
            strlen(name) >= sizeof(h->name) || strlen(hardware) != 36) {
            return err_set(err, ERR_CORRUPT, "%s: host %zu is damaged", path, i);
        }
        h = host_add(d, name, voter != 0, agent != 0);
        CHECK(str_copy(h->hardware_id, sizeof(h->hardware_id), hardware));
        h->boots = (uint64_t)boots;
    }
    return 0;
}

int dev_layout_load(struct dev *d, struct err *err)
{
    char path[DEV_PATH_MAX];
    json_error_t why;
    const char *id;
    int version, port, rc;
    json_t *root, *hosts;

    dev_path(d, path, "dev.json");
    if (access(path, F_OK) != 0) {
        return err_set(err, ERR_NOT_FOUND, "%s does not exist", path);
    }
    root = json_load_file(path, 0, &why);
    if (root == NULL) {
        return err_set(err, ERR_CORRUPT, "%s:%d: %s", path, why.line, why.text);
    }
    if (json_unpack(root, "{s:i, s:s, s:i, s:o}", "version", &version, "clusterID", &id, "port",
                    &port, "hosts", &hosts) != 0 ||
        version != 1 || strlen(id) != 36 || port < 1024 || port > 65000) {
        rc = err_set(err, ERR_CORRUPT, "%s: not the description of a dev cluster, version 1", path);
    } else {
        CHECK(str_copy(d->cluster_id, sizeof(d->cluster_id), id));
        d->port = (uint16_t)port;
        rc = load_hosts(d, hosts, path, err);
    }
    json_decref(root);
    return rc;
}
