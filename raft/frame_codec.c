#include "raft/frame_codec.h"

#include <string.h>

#include "base/obj.h"
#include "raft/conf_codec.h"
#include "raft/le.h"
#include "raft/wal_codec.h"

#define FRAME_MAGIC 0x4650u /* "PF" */
#define ENTRY_HEAD 16u      /* term u64, kind u8, zero[3], len u32 */
#define INDEX_MAX (1ULL << 62)

size_t frame_begin(struct buf *b, enum frame_kind kind)
{
    size_t at = b->len;
    uint8_t *p = buf_reserve(b, FRAME_HEAD);

    CHECK(p != NULL);
    memset(p, 0, FRAME_HEAD);
    le_put16(p, FRAME_MAGIC);
    p[2] = FRAME_VERSION;
    le_put16(p + 4, (uint16_t)kind);
    buf_commit(b, FRAME_HEAD);
    return at;
}

void frame_end(struct buf *b, size_t at)
{
    size_t len = b->len - at - FRAME_HEAD;
    uint8_t *p = b->data + at;

    CHECK(!b->overflow);
    CHECK(len <= FRAME_MAX);
    le_put32(p + 8, (uint32_t)len);
    le_put32(p + 12, crc32c(crc32c(0, p, 12), p + FRAME_HEAD, len));
}

int frame_next(const uint8_t *data, size_t len, struct frame *ret, size_t *ret_used,
               struct err *err)
{
    size_t size;

    *ret_used = 0;
    if (len < FRAME_HEAD) {
        return 0;
    }
    if (le_get16(data) != FRAME_MAGIC || data[2] != FRAME_VERSION) {
        return err_set(err, ERR_CORRUPT,
                       "what came is no frame of version %u: is the other side a peer of this "
                       "release?",
                       FRAME_VERSION);
    }
    size = le_get32(data + 8);
    if (size > FRAME_MAX) {
        return err_set(err, ERR_CORRUPT, "frame of %zu bytes, at most %u are allowed", size,
                       FRAME_MAX);
    }
    if (len < FRAME_HEAD + size) {
        return 0;
    }
    if (le_get32(data + 12) != crc32c(crc32c(0, data, 12), data + FRAME_HEAD, size)) {
        return err_set(err, ERR_CORRUPT, "frame of kind %u: wrong checksum", le_get16(data + 4));
    }
    *ret = (struct frame){ .kind = le_get16(data + 4), .data = data + FRAME_HEAD, .len = size };
    *ret_used = FRAME_HEAD + size;
    return 0;
}

static void put_append(struct buf *b, const struct raft_append_entries *a)
{
    buf_add_u64(b, a->term);
    buf_add_u64(b, a->prev_log_index);
    buf_add_u64(b, a->prev_log_term);
    buf_add_u64(b, a->leader_commit);
    buf_add_u32(b, a->n_entries);
    for (unsigned i = 0; i < a->n_entries; i++) {
        uint8_t h[ENTRY_HEAD] = { 0 };

        le_put64(h, a->entries[i].term);
        h[8] = (uint8_t)a->entries[i].type;
        le_put32(h + 12, (uint32_t)a->entries[i].buf.len);
        buf_add(b, h, sizeof(h));
    }
    for (unsigned i = 0; i < a->n_entries; i++) {
        buf_add(b, a->entries[i].buf.base, a->entries[i].buf.len);
    }
}

void frame_raft(struct buf *b, const struct raft_message *msg)
{
    static const enum frame_kind kinds[] = {
        [RAFT_IO_APPEND_ENTRIES] = FRAME_APPEND,
        [RAFT_IO_APPEND_ENTRIES_RESULT] = FRAME_APPEND_RESULT,
        [RAFT_IO_REQUEST_VOTE] = FRAME_VOTE,
        [RAFT_IO_REQUEST_VOTE_RESULT] = FRAME_VOTE_RESULT,
        [RAFT_IO_TIMEOUT_NOW] = FRAME_TIMEOUT_NOW,
    };
    size_t at;

    CHECK(msg->type < ARRAY_LEN(kinds) && kinds[msg->type] != 0);
    at = frame_begin(b, kinds[msg->type]);
    switch (msg->type) {
    case RAFT_IO_APPEND_ENTRIES:
        put_append(b, &msg->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        buf_add_u64(b, msg->append_entries_result.term);
        buf_add_u64(b, msg->append_entries_result.rejected);
        buf_add_u64(b, msg->append_entries_result.last_log_index);
        break;
    case RAFT_IO_REQUEST_VOTE:
        buf_add_u64(b, msg->request_vote.term);
        buf_add_u64(b, msg->request_vote.candidate_id);
        buf_add_u64(b, msg->request_vote.last_log_index);
        buf_add_u64(b, msg->request_vote.last_log_term);
        buf_add_byte(b, msg->request_vote.disrupt_leader);
        buf_add_byte(b, msg->request_vote.pre_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        buf_add_u64(b, msg->request_vote_result.term);
        buf_add_byte(b, msg->request_vote_result.vote_granted);
        buf_add_byte(b, (uint8_t)msg->request_vote_result.pre_vote);
        break;
    default:
        buf_add_u64(b, msg->timeout_now.term);
        buf_add_u64(b, msg->timeout_now.last_log_index);
        buf_add_u64(b, msg->timeout_now.last_log_term);
        break;
    }
    frame_end(b, at);
}

/* The entries' heads; *ret_total is the size of all payloads. */
static bool get_heads(struct rd *r, struct raft_entry *entries, size_t n, size_t *ret_total)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++) {
        const uint8_t *h = rd_bytes(r, ENTRY_HEAD);
        size_t len = h == NULL ? 0 : le_get32(h + 12);

        if (len < 8 || len % 8 != 0 || len > WAL_ENTRY_MAX || h[8] < RAFT_COMMAND ||
            h[8] > RAFT_CHANGE || le_get64(h) == 0) {
            return false;
        }
        entries[i].term = le_get64(h);
        entries[i].type = h[8];
        entries[i].buf.len = len;
        total += len;
    }
    *ret_total = total;
    return total == rd_left(r);
}

static bool get_payloads(struct rd *r, struct raft_entry *entries, size_t n, size_t total)
{
    uint8_t *batch = raft_malloc(total);

    CHECK(batch != NULL);
    memcpy(batch, rd_bytes(r, total), total);
    for (size_t i = 0, pos = 0; i < n; pos += entries[i++].buf.len) {
        entries[i].batch = batch;
        entries[i].buf.base = batch + pos;
        if (entries[i].type == RAFT_CHANGE && !conf_valid(batch + pos, entries[i].buf.len)) {
            raft_free(batch);
            return false;
        }
    }
    return true;
}

static bool get_append(struct rd *r, struct raft_append_entries *a)
{
    size_t n, total;

    a->term = rd_u64(r);
    a->prev_log_index = rd_u64(r);
    a->prev_log_term = rd_u64(r);
    a->leader_commit = rd_u64(r);
    a->n_entries = rd_u32(r);
    a->entries = NULL;
    n = a->n_entries;
    if (r->bad || a->term == 0 || a->prev_log_index > INDEX_MAX || n > FRAME_ENTRIES_MAX ||
        n * ENTRY_HEAD > rd_left(r)) {
        return false;
    }
    if (n == 0) {
        return rd_left(r) == 0;
    }
    a->entries = raft_calloc(n, sizeof(*a->entries));
    CHECK(a->entries != NULL);
    if (!get_heads(r, a->entries, n, &total) || !get_payloads(r, a->entries, n, total)) {
        raft_free(a->entries);
        return false;
    }
    return true;
}

static bool get_vote(struct rd *r, uint64_t from, struct raft_request_vote *v)
{
    uint8_t disrupt, pre;

    v->term = rd_u64(r);
    v->candidate_id = rd_u64(r);
    v->last_log_index = rd_u64(r);
    v->last_log_term = rd_u64(r);
    disrupt = rd_u8(r);
    pre = rd_u8(r);
    v->disrupt_leader = disrupt == 1;
    v->pre_vote = pre == 1;
    return disrupt <= 1 && pre <= 1 && v->candidate_id == from && v->term != 0;
}

static bool get_vote_result(struct rd *r, struct raft_request_vote_result *v)
{
    uint8_t granted, pre;

    v->term = rd_u64(r);
    granted = rd_u8(r);
    pre = rd_u8(r);
    v->vote_granted = granted == 1;
    v->pre_vote = (raft_tribool)pre;
    return granted <= 1 && pre <= raft_tribool_false;
}

bool frame_raft_decode(uint16_t kind, const uint8_t *data, size_t len, uint64_t from,
                       struct raft_message *ret)
{
    struct rd r = rd_make(data, len);
    bool ok = true;

    memset(ret, 0, sizeof(*ret));
    ret->server_id = from;
    switch (kind) {
    case FRAME_VOTE:
        ret->type = RAFT_IO_REQUEST_VOTE;
        ok = get_vote(&r, from, &ret->request_vote);
        break;
    case FRAME_VOTE_RESULT:
        ret->type = RAFT_IO_REQUEST_VOTE_RESULT;
        ok = get_vote_result(&r, &ret->request_vote_result);
        break;
    case FRAME_APPEND:
        ret->type = RAFT_IO_APPEND_ENTRIES;
        return get_append(&r, &ret->append_entries);
    case FRAME_APPEND_RESULT:
        ret->type = RAFT_IO_APPEND_ENTRIES_RESULT;
        ret->append_entries_result.term = rd_u64(&r);
        ret->append_entries_result.rejected = rd_u64(&r);
        ret->append_entries_result.last_log_index = rd_u64(&r);
        break;
    case FRAME_TIMEOUT_NOW:
        ret->type = RAFT_IO_TIMEOUT_NOW;
        ret->timeout_now.term = rd_u64(&r);
        ret->timeout_now.last_log_index = rd_u64(&r);
        ret->timeout_now.last_log_term = rd_u64(&r);
        break;
    default:
        return false;
    }
    return ok && !r.bad && rd_left(&r) == 0;
}
