#include "raft/group_codec.h"

#include <raft.h>
#include <string.h>

#include "base/obj.h"
#include "raft/le.h"

#define GROUP_MAGIC 0x4750u /* "PG" */
#define GROUP_VERSION 1u

bool group_fits(const struct group *g, size_t cmd_len)
{
    return g->count == 0 || (g->count < GROUP_CMDS_MAX && g->len + 4 + cmd_len <= GROUP_BYTES_MAX);
}

static void group_room(struct group *g, size_t len)
{
    size_t need = g->len + len + 8; /* and the padding */
    size_t cap = g->cap == 0 ? 4096 : g->cap;

    if (need <= g->cap) {
        return;
    }
    while (cap < need) {
        cap *= 2;
    }
    g->data = raft_realloc(g->data, cap);
    CHECK(g->data != NULL);
    g->cap = cap;
}

void group_add(struct group *g, const void *cmd, size_t len)
{
    CHECK(group_fits(g, len));
    CHECK(len <= GROUP_CMD_MAX);
    group_room(g, GROUP_HEAD + 4 + len);
    if (g->len == 0) {
        memset(g->data, 0, GROUP_HEAD);
        g->len = GROUP_HEAD;
    }
    le_put32(g->data + g->len, (uint32_t)len);
    if (len > 0) {
        memcpy(g->data + g->len + 4, cmd, len);
    }
    g->len += 4 + len;
    g->count++;
}

static uint32_t group_crc(const uint8_t *p, size_t payload)
{
    return crc32c(crc32c(0, p, 16), p + GROUP_HEAD, payload);
}

void group_seal(struct group *g, uint64_t leader_ms)
{
    size_t pad = (8 - g->len % 8) % 8;
    size_t payload = g->len - GROUP_HEAD;

    CHECK(g->count > 0);
    le_put16(g->data, GROUP_MAGIC);
    g->data[2] = GROUP_VERSION;
    g->data[3] = 0;
    le_put32(g->data + 4, g->count);
    le_put64(g->data + 8, leader_ms);
    le_put32(g->data + 20, (uint32_t)payload);
    le_put32(g->data + 16, group_crc(g->data, payload));
    memset(g->data + g->len, 0, pad);
    g->len += pad;
}

void group_done(struct group *g)
{
    raft_free(g->data);
    *g = (struct group){ 0 };
}

struct rep_cmd group_cmd(const struct group *g, uint32_t i)
{
    const uint8_t *p = g->data + GROUP_HEAD;

    CHECK(i < g->count);
    for (; i > 0; i--) {
        p += 4 + le_get32(p);
    }
    return (struct rep_cmd){ .data = p + 4, .len = le_get32(p) };
}

bool group_decode(const void *data, size_t len, uint64_t *ret_leader_ms,
                  struct rep_cmd cmds[GROUP_CMDS_MAX], size_t *ret_n)
{
    const uint8_t *p = data;
    size_t payload, n, pos = GROUP_HEAD;

    if (len < GROUP_HEAD || le_get16(p) != GROUP_MAGIC || p[2] != GROUP_VERSION || p[3] != 0) {
        return false;
    }
    n = le_get32(p + 4);
    payload = le_get32(p + 20);
    if (n == 0 || n > GROUP_CMDS_MAX || payload > len - GROUP_HEAD ||
        (GROUP_HEAD + payload + 7) / 8 * 8 != len || le_get32(p + 16) != group_crc(p, payload)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        size_t left = GROUP_HEAD + payload - pos;
        size_t size = left < 4 ? SIZE_MAX : le_get32(p + pos);

        if (left < 4 || size > left - 4) {
            return false;
        }
        cmds[i] = (struct rep_cmd){ .data = p + pos + 4, .len = size };
        pos += 4 + size;
    }
    *ret_leader_ms = le_get64(p + 8);
    *ret_n = n;
    return pos == GROUP_HEAD + payload;
}
