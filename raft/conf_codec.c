#include "raft/conf_codec.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

struct conf_item {
    uint64_t id;
    const char *address;
    int role;
};

/* The reader's count of servers and the items one by one. */
static bool conf_begin(struct rd *r, const void *data, size_t len, uint64_t *ret_n)
{
    *r = rd_make(data, len);
    if (rd_u8(r) != 1) {
        return false;
    }
    *ret_n = rd_u64(r);
    return !r->bad && *ret_n > 0 && *ret_n <= CONF_SERVERS_MAX;
}

static bool conf_next(struct rd *r, struct conf_item *ret)
{
    size_t left, n;
    const char *s;

    ret->id = rd_u64(r);
    left = rd_left(r);
    s = (const char *)r->p + r->pos;
    n = r->bad ? left : strnlen(s, left);
    if (n == left) {
        return false;
    }
    ret->address = s;
    (void)rd_bytes(r, n + 1);
    ret->role = rd_u8(r);
    return !r->bad && ret->id != 0 && ret->role <= RAFT_SPARE;
}

bool conf_decode(const void *data, size_t len, struct raft_configuration *ret)
{
    struct raft_configuration c;
    struct conf_item item;
    struct rd r;
    uint64_t n;

    if (!conf_begin(&r, data, len, &n)) {
        return false;
    }
    raft_configuration_init(&c);
    for (uint64_t i = 0; i < n; i++) {
        if (!conf_next(&r, &item) ||
            raft_configuration_add(&c, item.id, item.address, item.role) != 0) {
            raft_configuration_close(&c);
            return false;
        }
    }
    *ret = c;
    return true;
}

bool conf_valid(const void *data, size_t len)
{
    struct raft_configuration c;

    if (!conf_decode(data, len, &c)) {
        return false;
    }
    raft_configuration_close(&c);
    return true;
}

void conf_copy(const struct raft_configuration *src, struct raft_configuration *dst)
{
    raft_configuration_init(dst);
    for (unsigned i = 0; i < src->n; i++) {
        const struct raft_server *s = &src->servers[i];

        CHECK(raft_configuration_add(dst, s->id, s->address, s->role) == 0);
    }
}

const struct raft_server *conf_get(const struct raft_configuration *c, raft_id id)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == id) {
            return &c->servers[i];
        }
    }
    return NULL;
}

size_t conf_voters(const struct raft_configuration *c)
{
    size_t n = 0;

    for (unsigned i = 0; i < c->n; i++) {
        n += c->servers[i].role == RAFT_VOTER;
    }
    return n;
}

bool conf_split(const char *s, struct rep_peer_info *ret)
{
    const char *at = strchr(s, '@');

    if (at == NULL || (size_t)(at - s) >= sizeof(ret->name)) {
        return false;
    }
    memcpy(ret->name, s, (size_t)(at - s));
    ret->name[at - s] = 0;
    return str_copy(ret->address, sizeof(ret->address), at + 1);
}

int conf_check_member(const struct rep_member *m, struct err *err)
{
    struct rep_peer_info info;

    if (m->id == 0) {
        return err_set(err, ERR_INVALID, "member %s: the id must not be 0",
                       m->name == NULL ? "(no name)" : m->name);
    }
    if (m->name == NULL || m->name[0] == 0 || strchr(m->name, '@') != NULL ||
        strlen(m->name) >= sizeof(info.name)) {
        return err_set(err, ERR_INVALID,
                       "member %" PRIu64 ": the name must have 1 to %zu characters and no '@'",
                       m->id, sizeof(info.name) - 1);
    }
    if (m->address == NULL || m->address[0] == 0 || strlen(m->address) >= sizeof(info.address)) {
        return err_set(err, ERR_INVALID,
                       "member %s: the address must be HOST:PORT with at most %zu characters",
                       m->name, sizeof(info.address) - 1);
    }
    return 0;
}

int conf_role_to_raft(enum rep_member_role role)
{
    switch (role) {
    case REP_VOTER:
        return RAFT_VOTER;
    case REP_STANDBY:
        return RAFT_STANDBY;
    case REP_SPARE:
        return RAFT_SPARE;
    }
    CHECK_UNREACHABLE();
}

enum rep_member_role conf_role(int raft_role)
{
    return raft_role == RAFT_VOTER     ? REP_VOTER
           : raft_role == RAFT_STANDBY ? REP_STANDBY
                                       : REP_SPARE;
}
