#include "cmd/picketd/links.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/addrmap.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"

#define TICK_MS 1000U
#define PEERS_MAX 32

/* --- the epoch ---------------------------------------------------------------------------------
 */

uint64_t links_epoch_load(const char *dir)
{
    char *path = mem_printf("%s/epoch", dir), text[32];
    FILE *f = fopen(path, "re");
    uint64_t epoch = 0;

    if (f != NULL && fgets(text, sizeof(text), f) != NULL) {
        text[strcspn(text, "\n")] = 0;
        if (!str_parse_u64(text, &epoch)) {
            lg_warn("links", "file=%s msg=\"is no epoch, and is written anew\"", path);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    free(path);
    return epoch;
}

static int epoch_write(int fd, uint64_t epoch)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", epoch);

    return write(fd, text, (size_t)len) == len && fdatasync(fd) == 0 ? 0 : -1;
}

/* It changes once in the life of a store, so that this may wait for the disk. */
static void epoch_save(const struct node *n, uint64_t epoch)
{
    char *path = mem_printf("%s/store/epoch", n->opts.data), *tmp = mem_printf("%s.new", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || epoch_write(fd, epoch) != 0 || rename(tmp, path) != 0) {
        lg_warn("links", "file=%s err=\"%s\" msg=\"the epoch is not persisted\"", path,
                strerror(errno));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(path);
    free(tmp);
}

static void epoch_tick(struct node *n)
{
    struct arena a = { 0 };
    struct s_cluster c;
    struct err err;

    if (s_cluster_get(n->store, &a, &c, &err) == 0 && c.epoch > n->epoch) {
        n->epoch = c.epoch;
        epoch_save(n, c.epoch);
        rep_set_epoch(n->rep, c.epoch);
    }
    arena_done(&a);
}

/* --- a cluster that went on without this node ---------------------------------------------------
 */

int links_may_start(const char *dir, struct err *err)
{
    char *path = mem_printf("%s/superseded", dir), why[256] = "";
    FILE *f = fopen(path, "re");
    int rc = 0;

    if (f != NULL) {
        if (fgets(why, sizeof(why), f) == NULL) {
            why[0] = 0;
        }
        why[strcspn(why, "\n")] = 0;
        (void)fclose(f);
        rc = err_set(err, ERR_REFUSED,
                     "%s: %s. The cluster was restored or recovered without this member, which "
                     "must not vote or serve again: move its data folder away and enrol it anew "
                     "(`picket token create --voter`, `picket join`)",
                     path, why);
    }
    free(path);
    return rc;
}

void links_superseded(const struct node *n, uint64_t epoch, const char *name)
{
    char *path = mem_printf("%s/store/superseded", n->opts.data), text[192];
    int len =
        snprintf(text, sizeof(text),
                 "%s is in epoch %" PRIu64 " of this cluster, this member in epoch %" PRIu64 "\n",
                 name, epoch, n->epoch);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, text, (size_t)len) != len || fsync(fd) != 0) {
        lg_err("links", "file=%s err=\"%s\"", path, strerror(errno));
    }
    text[len - 1] = 0;
    lg_err("links",
           "file=%s why=\"%s\" msg=\"the cluster was restored or recovered without this member: it "
           "ends and does not start again; enrol it anew\"",
           path, text);
    _exit(1);
}

/* --- addresses of members ----------------------------------------------------------------------
 */

/* The Host object's addresses with the port of the configured one. */
static void hint(struct node *n, const struct rep_peer_info *p)
{
    size_t first = strcspn(p->address, ",");
    struct buf b = { 0 };
    struct err err;
    json_t *host = object_read(n->store, "hosts", p->name, &err), *v;
    const char *port = p->address + first;
    size_t i;

    while (port > p->address && *port != ':') {
        port--;
    }
    json_array_foreach (jget(host, "spec.addresses"), i, v) {
        if (i < LINKS_MAX && json_string_length(v) < 64) {
            buf_printf(&b, "%s%s%.*s", b.len > 0 ? "," : "", json_string_value(v),
                       (int)(p->address + first - port), port);
        }
    }
    rep_hint(n->rep, p->id, buf_cstr(&b));
    buf_done(&b);
    json_decref(host);
}

static void hints_tick(struct node *n)
{
    struct rep_peer_info peers[PEERS_MAX];
    size_t count = rep_peers(n->rep, peers, PEERS_MAX);
    uint64_t newest = count; /* so that a new member is seen as well */
    char key[96];

    for (size_t i = 0; i < count; i++) {
        const struct kv *v;

        (void)snprintf(key, sizeof(key), "o/hosts/%s", peers[i].name);
        v = store_get_str(n->store, key);
        newest += v == NULL ? 0 : v->mod_rev;
    }
    if (newest == n->hints_seen) {
        return;
    }
    n->hints_seen = newest;
    for (size_t i = 0; i < count; i++) {
        if (peers[i].id != n->id) {
            hint(n, &peers[i]);
        }
    }
}

void links_tick(struct node *n)
{
    uint64_t now = clock_now_ms();

    if (now < n->links_next_ms) {
        return;
    }
    n->links_next_ms = now + TICK_MS;
    epoch_tick(n);
    hints_tick(n);
}

/* --- which link --------------------------------------------------------------------------------
 */

/* This host's own addresses, decoded anew only when its object has changed: every renewal of every
 * agent asks. */
static void own_refresh(struct node *n)
{
    char key[96];
    const struct kv *kv;
    struct err err;
    json_t *self, *v;
    size_t i;

    (void)snprintf(key, sizeof(key), "o/hosts/%s", n->opts.name);
    kv = store_get_str(n->store, key);
    if ((kv == NULL ? 0 : kv->mod_rev) == n->own_rev) {
        return;
    }
    n->own_rev = kv == NULL ? 0 : kv->mod_rev;
    memset(n->own_addresses, 0, sizeof(n->own_addresses));
    self = object_read(n->store, "hosts", n->opts.name, &err);
    json_array_foreach (jget(self, "spec.addresses"), i, v) {
        if (i < LINKS_MAX && json_is_string(v)) {
            (void)str_copy(n->own_addresses[i], sizeof(n->own_addresses[i]), json_string_value(v));
        }
    }
    json_decref(self);
}

unsigned links_number(struct node *n, const char *address)
{
    char host[NODE_ADDRESS_MAX];
    const char *dot;

    if (address == NULL || !str_copy(host, sizeof(host), address)) {
        return 0;
    }
    if (strrchr(host, ':') != NULL) {
        *strrchr(host, ':') = 0;
    }
    dot = strstr(host, ".link"); /* `picket dev`: NAME.linkN */
    if (dot != NULL && dot[5] >= '1' && dot[5] <= '8' && dot[6] == 0) {
        return (unsigned)(dot[5] - '0');
    }
    if (str_eq(host, n->opts.name)) {
        return 1;
    }
    own_refresh(n);
    for (unsigned i = LINKS_MAX; i > 0; i--) {
        if (host[0] != 0 && str_eq(n->own_addresses[i - 1], host)) {
            return i;
        }
    }
    return 0;
}

static int check_one(const char *address, struct err *err)
{
    char host[128], real[160];
    const char *colon = strrchr(address, ':');
    uint64_t port;

    if (colon == NULL || (size_t)(colon - address) >= sizeof(host) ||
        !str_parse_u64(colon + 1, &port) || port == 0 || port > 65535) {
        return err_set(err, ERR_INVALID, "address: \"%.128s\" is not IP:PORT", address);
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    return addr_resolve(host, (uint16_t)port, ADDR_TCP, real, sizeof(real), err);
}

int links_check(const char *list, struct err *err)
{
    char copy[REP_ADDRESS_MAX], *save = NULL;
    int rc = 0;
    size_t count = 0;

    if (!str_copy(copy, sizeof(copy), list)) {
        return err_set(err, ERR_INVALID, "address: more than %u characters", REP_ADDRESS_MAX - 1);
    }
    for (char *p = strtok_r(copy, ",", &save); rc == 0 && p != NULL;
         p = strtok_r(NULL, ",", &save)) {
        rc = check_one(p, err);
        count++;
    }
    if (rc == 0 && count == 0) {
        rc = err_set(err, ERR_INVALID, "address: want IP:PORT, or several separated by commas");
    }
    return rc;
}
