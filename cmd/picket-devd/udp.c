/* A UDP relay: what clients on one host send to an address of ours goes on to the PDU from a socket
 * of its own for each client, so that answers find their way back.  Without a target it echoes.
 *
 * Bounded: UDP_PEERS clients, the one that was silent for longest makes room; datagrams that the
 * kernel does not take are dropped, as on a wire.
 */

#include "cmd/picket-devd/dev.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"

#define UDP_PEERS 32
#define UDP_MAX 4096
#define UDP_RELAY_MAGIC 0x55445052U

struct udp_peer {
    uv_udp_t udp;
    struct udp_relay *relay;
    struct sockaddr_in client;
    uint64_t used_ms;
};

struct udp_relay {
    unsigned magic;
    struct dev *dev;
    int host, to;
    bool echo;
    uv_udp_t udp;
    struct sockaddr_in target;
    struct udp_peer *peers[UDP_PEERS];
    unsigned handles;
    char data[UDP_MAX]; /* of the datagram in hand; callbacks do not overlap */
};

static void relay_handle_gone(struct udp_relay *u)
{
    if (--u->handles == 0) {
        u->magic = 0;
        free(u);
    }
}

static void peer_closed(uv_handle_t *handle)
{
    struct udp_peer *p = CONTAINER_OF((uv_udp_t *)handle, struct udp_peer, udp);
    struct udp_relay *u = p->relay;

    free(p);
    relay_handle_gone(u);
}

static void relay_closed(uv_handle_t *handle)
{
    relay_handle_gone(CONTAINER_OF((uv_udp_t *)handle, struct udp_relay, udp));
}

static void peer_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct udp_peer *p = CONTAINER_OF((uv_udp_t *)handle, struct udp_peer, udp);

    (void)size;
    *buf = uv_buf_init(p->relay->data, UDP_MAX);
}

static void relay_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct udp_relay *u = CONTAINER_OF((uv_udp_t *)handle, struct udp_relay, udp);

    (void)size;
    *buf = uv_buf_init(u->data, UDP_MAX);
}

static void send_to(uv_udp_t *udp, char *data, ssize_t n, const struct sockaddr_in *to)
{
    uv_buf_t out = uv_buf_init(data, (unsigned)n);

    (void)uv_udp_try_send(udp, &out, 1, (const struct sockaddr *)to);
}

/* An answer of the PDU. */
static void peer_recv(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                      unsigned flags)
{
    struct udp_peer *p = CONTAINER_OF(udp, struct udp_peer, udp);
    struct udp_relay *u = p->relay;

    (void)flags;
    if (n > 0 && from != NULL && !net_blocked(u->dev, u->to, u->host, 1)) {
        send_to(&u->udp, buf->base, n, &p->client);
    }
}

static bool same_client(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
    return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

static struct udp_peer *peer_new(struct udp_relay *u, size_t slot, const struct sockaddr_in *client)
{
    struct udp_peer *p = OBJ_NEW(struct udp_peer);

    p->relay = u;
    p->client = *client;
    CHECK(uv_udp_init(u->dev->loop, &p->udp) == 0);
    u->handles++;
    u->peers[slot] = p;
    (void)uv_udp_recv_start(&p->udp, peer_alloc, peer_recv);
    return p;
}

static struct udp_peer *peer_for(struct udp_relay *u, const struct sockaddr_in *client)
{
    size_t slot = 0;
    uint64_t oldest = UINT64_MAX;

    for (size_t i = 0; i < UDP_PEERS; i++) {
        if (u->peers[i] == NULL) {
            return peer_new(u, i, client);
        }
        if (same_client(&u->peers[i]->client, client)) {
            return u->peers[i];
        }
        if (u->peers[i]->used_ms < oldest) {
            oldest = u->peers[i]->used_ms;
            slot = i;
        }
    }
    uv_close((uv_handle_t *)&u->peers[slot]->udp, peer_closed);
    return peer_new(u, slot, client);
}

static void relay_recv(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                       unsigned flags)
{
    struct udp_relay *u = CONTAINER_OF(udp, struct udp_relay, udp);
    struct sockaddr_in client;
    struct udp_peer *p;

    (void)flags;
    OBJ_CHECK(u, UDP_RELAY_MAGIC);
    if (n <= 0 || from == NULL || net_blocked(u->dev, u->host, u->to, 1)) {
        return;
    }
    memcpy(&client, from, sizeof(client));
    if (u->echo) {
        if (!net_blocked(u->dev, u->to, u->host, 1)) {
            send_to(udp, buf->base, n, &client);
        }
        return;
    }
    p = peer_for(u, &client);
    p->used_ms = clock_now_ms();
    send_to(&p->udp, buf->base, n, &u->target);
}

int udp_relay_open(struct dev *d, int host, const char *ip, uint16_t port, int to,
                   const char *target_ip, uint16_t target_port, struct udp_relay **ret,
                   struct err *err)
{
    struct udp_relay *u = OBJ_NEW(struct udp_relay);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    int r;

    u->magic = UDP_RELAY_MAGIC;
    u->dev = d;
    u->host = host;
    u->to = to;
    u->echo = target_ip == NULL;
    u->handles = 1;
    CHECK(inet_pton(AF_INET, ip, &at.sin_addr) == 1);
    u->target = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(target_port) };
    if (target_ip != NULL) {
        CHECK(inet_pton(AF_INET, target_ip, &u->target.sin_addr) == 1);
    }
    CHECK(uv_udp_init(d->loop, &u->udp) == 0);
    *ret = u;
    r = uv_udp_bind(&u->udp, (const struct sockaddr *)&at, 0);
    if (r == 0) {
        r = uv_udp_recv_start(&u->udp, relay_alloc, relay_recv);
    }
    if (r != 0) {
        return err_native(err, ERR_SYS, "uv", r, "UDP relay on %s:%u: %s", ip, port,
                          uv_strerror(r));
    }
    return 0;
}

void udp_relay_close(struct udp_relay *u)
{
    if (u == NULL) {
        return;
    }
    for (size_t i = 0; i < UDP_PEERS; i++) {
        if (u->peers[i] != NULL) {
            uv_close((uv_handle_t *)&u->peers[i]->udp, peer_closed);
        }
    }
    uv_close((uv_handle_t *)&u->udp, relay_closed);
}
