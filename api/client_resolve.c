/* Host names in a configuration file become addresses once, when it is read.
 *
 * Later nothing asks DNS any more: a failover must not wait for it.  Blocking; for program start.
 */

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "api/client_priv.h"
#include "base/obj.h"
#include "base/str.h"

#define RESOLVE_MAX 64 /* addresses of all servers together */

static bool resolve_is_address(const char *host)
{
    struct in6_addr in6;
    struct in_addr in;

    return inet_pton(AF_INET, host, &in) == 1 || inet_pton(AF_INET6, host, &in6) == 1;
}

static void resolve_append(char ***list, size_t *n, char *server)
{
    *list = mem_realloc(*list, (*n + 1) * sizeof(**list));
    (*list)[(*n)++] = server;
}

/* Append the addresses of HOST with the port behind it. */
static int resolve_name(const char *host, const char *port, char ***list, size_t *n,
                        struct err *err)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *res = NULL;
    char ip[INET6_ADDRSTRLEN];
    int r;

    r = getaddrinfo(host, NULL, &hints, &res);
    if (r != 0) {
        return err_set(err, ERR_UNREACHABLE, "server %.200s: the name cannot be resolved: %s", host,
                       gai_strerror(r));
    }
    for (const struct addrinfo *ai = res; ai != NULL && *n < RESOLVE_MAX; ai = ai->ai_next) {
        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, ip, sizeof(ip), NULL, 0, NI_NUMERICHOST) ==
            0) {
            resolve_append(list, n,
                           strchr(ip, ':') != NULL ? mem_printf("[%s]:%s", ip, port)
                                                   : mem_printf("%s:%s", ip, port));
        }
    }
    freeaddrinfo(res);
    return 0;
}

static int resolve_server(const char *server, char ***list, size_t *n, struct err *err)
{
    const char *colon = strrchr(server, ':');
    char *host;
    int rc = 0;

    if (str_starts(server, "unix:") || server[0] == '[' || colon == NULL) {
        resolve_append(list, n, mem_strdup(server));
        return 0;
    }
    host = mem_strndup(server, (size_t)(colon - server));
    if (resolve_is_address(host)) {
        resolve_append(list, n, mem_strdup(server));
    } else {
        rc = resolve_name(host, colon + 1, list, n, err);
    }
    free(host);
    return rc;
}

int api_config_resolve(struct api_config *cfg, struct err *err)
{
    const char *map = getenv("PICKET_ADDRESS_MAP");
    char **list = NULL;
    size_t n = 0;
    struct err last;
    int rc = 0;

    if (map != NULL && map[0] != '\0') {
        return 0; /* names stand in the map */
    }
    for (size_t i = 0; i < cfg->n_servers; i++) {
        int r = resolve_server(cfg->servers[i], &list, &n, &last);

        rc = r != 0 ? r : rc;
    }
    if (n == 0) {
        CHECK(rc != 0);
        *err = last;
        free(list);
        return rc;
    }
    /* Some are known: one name that is gone shall not stop us. */
    for (size_t i = 0; i < cfg->n_servers; i++) {
        free(cfg->servers[i]);
    }
    free(cfg->servers);
    cfg->servers = list;
    cfg->n_servers = n;
    return 0;
}
