#include "base/addrmap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"

#define ADDRMAP_ENV "PICKET_ADDRESS_MAP"
#define ADDRMAP_MAX_LINES 10000

static pthread_mutex_t addrmap_lock = PTHREAD_MUTEX_INITIALIZER; /* guards addrmap */

/* The map as it was read last; keys are "HOST", "HOST:PORT", both perhaps with "/udp". */
static struct {
    char *file;
    struct timespec mtime;
    ino_t inode;
    off_t size;
    struct map entries;
} addrmap;

static void addrmap_clear(void)
{
    const char *key;
    void *value;

    for (size_t i = 0; map_next(&addrmap.entries, &i, &key, &value);) {
        free(value);
    }
    map_done(&addrmap.entries);
    addrmap.entries = (struct map){ 0 };
    free(addrmap.file);
    addrmap.file = NULL;
}

static int addrmap_line(const char *file, size_t number, char *line, struct err *err)
{
    char *save = NULL;
    char *from = strtok_r(line, " \t\r\n", &save);
    char *to = strtok_r(NULL, " \t\r\n", &save);

    if (from == NULL || from[0] == '#') {
        return 0;
    }
    if (to == NULL || strrchr(to, ':') == NULL || strtok_r(NULL, " \t\r\n", &save) != NULL) {
        return err_set(err, ERR_INVALID, "%s:%zu: want \"DECLARED[:PORT][/udp] REAL:PORT\"", file,
                       number);
    }
    free(map_put(&addrmap.entries, from, mem_strdup(to)));
    return 0;
}

static int addrmap_read(const char *file, struct err *err)
{
    FILE *f = fopen(file, "re");
    char line[512];
    size_t number = 0;
    int rc = 0;

    if (f == NULL) {
        return err_native(err, ERR_SYS, "errno", errno, "open the address map %s (" ADDRMAP_ENV ")",
                          file);
    }
    while (rc == 0 && fgets(line, sizeof(line), f) != NULL) {
        number++;
        if (strchr(line, '\n') == NULL && feof(f) == 0) {
            rc = err_set(err, ERR_INVALID, "%s:%zu: the line is too long", file, number);
        } else if (number > ADDRMAP_MAX_LINES) {
            rc = err_set(err, ERR_INVALID, "%s: more than %d lines", file, ADDRMAP_MAX_LINES);
        } else {
            rc = addrmap_line(file, number, line, err);
        }
    }
    (void)fclose(f);
    return rc;
}

/* Bring the map up to date with its file. */
static int addrmap_refresh(const char *file, struct err *err)
{
    struct stat st;
    int rc;

    if (stat(file, &st) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "the address map %s (" ADDRMAP_ENV ")",
                          file);
    }
    if (str_eq(addrmap.file, file) && addrmap.inode == st.st_ino && addrmap.size == st.st_size &&
        addrmap.mtime.tv_sec == st.st_mtim.tv_sec && addrmap.mtime.tv_nsec == st.st_mtim.tv_nsec) {
        return 0;
    }
    addrmap_clear();
    rc = addrmap_read(file, err);
    if (rc != 0) {
        addrmap_clear();
        return rc;
    }
    addrmap.file = mem_strdup(file);
    addrmap.inode = st.st_ino;
    addrmap.size = st.st_size;
    addrmap.mtime = st.st_mtim;
    lg_debug("addrmap", "file=%s entries=%zu msg=\"read the address map\"", file,
             addrmap.entries.count);
    return 0;
}

static const char *addrmap_find(const char *host, uint16_t port, enum addr_proto proto)
{
    const char *suffix = proto == ADDR_UDP ? "/udp" : "";
    char key[320];
    const char *to;

    (void)snprintf(key, sizeof(key), "%.250s:%u%s", host, port, suffix);
    to = map_get(&addrmap.entries, key);
    if (to != NULL) {
        return to;
    }
    (void)snprintf(key, sizeof(key), "%.250s%s", host, suffix);
    return map_get(&addrmap.entries, key);
}

static int addrmap_direct(const char *host, uint16_t port, char *dst, size_t size, struct err *err)
{
    struct in6_addr in6;
    struct in_addr in;
    int n;

    if (inet_pton(AF_INET, host, &in) == 1) {
        n = snprintf(dst, size, "%s:%u", host, port);
    } else if (inet_pton(AF_INET6, host, &in6) == 1) {
        n = snprintf(dst, size, "[%s]:%u", host, port);
    } else {
        return err_set(err, ERR_INVALID,
                       "address \"%.200s\" is not an IP address; names are not resolved, since DNS "
                       "would then decide about failover: write the address itself",
                       host);
    }
    if (n < 0 || (size_t)n >= size) {
        return err_set(err, ERR_INVALID, "address \"%.200s\" is too long", host);
    }
    return 0;
}

static int addrmap_resolve(const char *file, const char *host, uint16_t port, enum addr_proto proto,
                           char *dst, size_t size, struct err *err)
{
    const char *to;
    int rc = addrmap_refresh(file, err);

    if (rc != 0) {
        return rc;
    }
    to = addrmap_find(host, port, proto);
    if (to == NULL) {
        return err_set(err, ERR_UNREACHABLE, "%.200s:%u%s is unreachable: it is not in %s", host,
                       port, proto == ADDR_UDP ? "/udp" : "", file);
    }
    if (!str_copy(dst, size, to)) {
        return err_set(err, ERR_INVALID, "%s: the address for %.200s is too long", file, host);
    }
    return 0;
}

int addr_resolve(const char *host, uint16_t port, enum addr_proto proto, char *dst, size_t size,
                 struct err *err)
{
    const char *file = getenv(ADDRMAP_ENV);
    int rc;

    CHECK(host != NULL);
    if (file == NULL || file[0] == '\0') {
        return addrmap_direct(host, port, dst, size, err);
    }
    (void)pthread_mutex_lock(&addrmap_lock);
    rc = addrmap_resolve(file, host, port, proto, dst, size, err);
    (void)pthread_mutex_unlock(&addrmap_lock);
    return rc;
}
