#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/obj.h"
#include "base/str.h"
#include "base/stream_priv.h"

static int stream_addr_bad(struct err *err, const char *text, const char *why)
{
    return err_set(err, ERR_INVALID,
                   "address \"%.200s\": %s; write A.B.C.D:PORT, [IPv6]:PORT or unix:PATH", text,
                   why);
}

static int stream_addr_pipe(const char *text, struct stream_addr *ret, struct err *err)
{
    static const struct sockaddr_un un;

    ret->is_pipe = true;
    ret->path = text + strlen("unix:");
    if (ret->path[0] == '\0') {
        return stream_addr_bad(err, text, "the path is empty");
    }
    if (strlen(ret->path) >= sizeof(un.sun_path)) {
        return stream_addr_bad(err, text, "the path is longer than the 107 bytes Linux allows");
    }
    return 0;
}

int stream_addr_parse(const char *text, struct stream_addr *ret, struct err *err)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 32];
    size_t len;
    uint64_t port;

    memset(ret, 0, sizeof(*ret));
    if (str_starts(text, "unix:")) {
        return stream_addr_pipe(text, ret, err);
    }
    if (colon == NULL) {
        return stream_addr_bad(err, text, "the port is missing");
    }
    if (!str_parse_u64(colon + 1, &port) || port > UINT16_MAX) {
        return stream_addr_bad(err, text, "the port is not a number up to 65535");
    }
    len = (size_t)(colon - text);
    if (len >= sizeof(host)) {
        return stream_addr_bad(err, text, "this is not an IP address");
    }
    memcpy(host, text, len);
    host[len] = '\0';
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        if (uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)&ret->ss) != 0) {
            return stream_addr_bad(err, text, "this is not an IPv6 address");
        }
        return 0;
    }
    if (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)&ret->ss) != 0) {
        return stream_addr_bad(err, text, "this is not an IPv4 address");
    }
    return 0;
}

void stream_addr_print(const struct sockaddr *sa, char *dst, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "?";

    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

        (void)uv_ip6_name(in6, ip, sizeof(ip));
        (void)snprintf(dst, size, "[%s]:%u", ip, (unsigned)ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

        (void)uv_ip4_name(in, ip, sizeof(ip));
        (void)snprintf(dst, size, "%s:%u", ip, (unsigned)ntohs(in->sin_port));
    }
}

void stream_tcp_tune(struct stream *s, unsigned user_timeout_ms)
{
    uv_os_fd_t fd;

    CHECK(!s->is_pipe);
    (void)uv_tcp_nodelay(&s->u.tcp, 1);
    (void)uv_tcp_keepalive(&s->u.tcp, 1, 15);
    if (user_timeout_ms != 0 && uv_fileno(&s->u.handle, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
                         sizeof(user_timeout_ms));
    }
}
