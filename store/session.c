/* Exactly once: a session's command that comes again gets the answer of the first time.
 *
 * A session keeps the answers to seq in [ack, ack + STORE_SESSION_WINDOW).  `ack` only grows: below
 * it the client has said that it needs nothing any more, so a command there is a stray and is
 * refused, never executed.  Commands of one session may be applied in any order within the window.
 */

#include "store/store_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "store/mpk.h"

/* --- table -------------------------------------------------------------------------------------
 */

static uint64_t answer_hash(const struct session *e, const struct session_answer *a)
{
    return kv_hash_bytes(e->id * 31 + a->seq, a->data, a->len);
}

static uint64_t session_hash(const struct session *e)
{
    return kv_hash_bytes(e->id ^ e->ack << 20, e->owner, strlen(e->owner));
}

static struct session *session_find(const struct session_table *t, uint64_t id)
{
    size_t lo = 0;
    size_t hi = t->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (t->all[mid].id == id) {
            return &t->all[mid];
        }
        if (t->all[mid].id < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

/* The table has the role in front of the name (ap_session_open). */
const char *store_session_owner(const struct store *s, uint64_t id)
{
    const struct session *e = session_find(&s->sessions, id);
    const char *colon = e == NULL ? NULL : strchr(e->owner, ':');

    return colon == NULL ? NULL : colon + 1;
}

static void answer_drop(struct session_table *t, const struct session *e, struct session_answer *a)
{
    if (a->seq == 0) {
        return;
    }
    t->hash -= answer_hash(e, a);
    free(a->data);
    *a = (struct session_answer){ 0 };
}

static void session_close(struct session_table *t, struct session *e)
{
    size_t at = (size_t)(e - t->all);

    for (size_t i = 0; i < e->cap; i++) {
        answer_drop(t, e, &e->slots[i]);
    }
    t->hash -= session_hash(e);
    free(e->slots);
    free(e->owner);
    memmove(e, e + 1, (t->n - at - 1) * sizeof(*e));
    t->n--;
}

static struct session *session_add(struct session_table *t, uint64_t id, const char *owner,
                                   uint64_t ack)
{
    struct session *e;

    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 8 : t->cap * 2;
        t->all = mem_realloc(t->all, t->cap * sizeof(*t->all));
    }
    e = &t->all[t->n++];
    *e = (struct session){ .id = id, .owner = mem_strdup(owner), .ack = ack };
    t->hash += session_hash(e);
    return e;
}

uint64_t session_open(struct store *s, const char *owner)
{
    struct session_table *t = &s->sessions;

    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->all[i].owner, owner) == 0) {
            session_close(t, &t->all[i]);
            break;
        }
    }
    if (t->n == STORE_SESSIONS_MAX) {
        session_close(t, &t->all[0]);
    }
    return session_add(t, ++s->last_session, owner, 1)->id;
}

void session_close_all(struct store *s)
{
    while (s->sessions.n > 0) {
        session_close(&s->sessions, &s->sessions.all[s->sessions.n - 1]);
    }
    CHECK(s->sessions.hash == 0);
}

void session_table_done(struct session_table *t)
{
    while (t->n > 0) {
        session_close(t, &t->all[t->n - 1]);
    }
    free(t->all);
    *t = (struct session_table){ 0 };
}

/* Room for seq: all seqs of the window fall on different slots. */
static struct session_answer *answer_slot(struct session *e, uint64_t seq)
{
    size_t cap = e->cap == 0 ? 4 : e->cap;
    struct session_answer *slots;

    CHECK(seq >= e->ack);
    CHECK(seq - e->ack < STORE_SESSION_WINDOW);
    while (cap <= seq - e->ack) {
        cap *= 2;
    }
    if (cap != e->cap) {
        slots = mem_alloc(cap * sizeof(*slots));
        for (size_t i = 0; i < e->cap; i++) {
            if (e->slots[i].seq != 0) {
                slots[e->slots[i].seq & (cap - 1)] = e->slots[i];
            }
        }
        free(e->slots);
        e->slots = slots;
        e->cap = cap;
    }
    return &e->slots[seq & (cap - 1)];
}

static void session_ack(struct session_table *t, struct session *e, uint64_t ack)
{
    if (ack <= e->ack) {
        return;
    }
    for (uint64_t seq = e->ack; seq < ack && seq - e->ack < e->cap; seq++) {
        answer_drop(t, e, &e->slots[seq & (e->cap - 1)]);
    }
    t->hash -= session_hash(e);
    e->ack = ack;
    t->hash += session_hash(e);
}

/* --- around a command --------------------------------------------------------------------------
 */

int session_enter(struct store *s, const struct cmd *c, const uint8_t **ret_answer, size_t *ret_len,
                  struct err *err)
{
    struct session *e = session_find(&s->sessions, c->session);
    struct session_answer *a;

    if (e == NULL) {
        return err_set(err, ERR_STALE,
                       "session %" PRIu64 " is unknown or closed; nothing was executed now: find "
                       "out what became of the command, then open a new session",
                       c->session);
    }
    if (c->seq == 0 || c->ack > c->seq) {
        return err_set(err, ERR_INVALID,
                       "session %" PRIu64 ": seq %" PRIu64 " with ack %" PRIu64
                       ": seq begins at 1 and ack is at most seq",
                       c->session, c->seq, c->ack);
    }
    session_ack(&s->sessions, e, c->ack);
    if (c->seq < e->ack) {
        return err_set(err, ERR_STALE,
                       "session %" PRIu64 ": seq %" PRIu64
                       " was acknowledged before (next is %" PRIu64 "); not executed again",
                       c->session, c->seq, e->ack);
    }
    if (c->seq - e->ack >= STORE_SESSION_WINDOW) {
        return err_set(err, ERR_LIMIT,
                       "session %" PRIu64 ": seq %" PRIu64 " is %u or more ahead of ack %" PRIu64,
                       c->session, c->seq, STORE_SESSION_WINDOW, e->ack);
    }
    a = answer_slot(e, c->seq);
    if (a->seq == c->seq) {
        *ret_answer = a->data;
        *ret_len = a->len;
        return 0;
    }
    return 1;
}

/* What is kept of a long answer: that it was executed, and how it ended. */
static void short_answer(const struct cmd_answer *ans, size_t len, struct buf *out)
{
    struct cmd_answer brief = *ans;
    struct err err;
    char msg[160];

    (void)snprintf(msg, sizeof(msg),
                   "the command was executed once, but its answer of %zu bytes was not kept: read "
                   "what you need again",
                   len);
    brief.code = ERR_TOO_LARGE;
    brief.msg = msg;
    brief.n_answers = 0;
    CHECK(cmd_answer_encode(&brief, out, &err) == 0);
}

void session_leave(struct store *s, const struct cmd *c, const struct cmd_answer *ans,
                   const uint8_t *data, size_t len)
{
    struct session *e = session_find(&s->sessions, c->session);
    struct session_answer *a;
    struct buf brief;

    if (e == NULL) {
        return; /* RECOVER closed all of them */
    }
    buf_init(&brief, 0);
    if (len > STORE_SESSION_ANSWER_MAX) {
        short_answer(ans, len, &brief);
        data = brief.data;
        len = brief.len;
    }
    a = answer_slot(e, c->seq);
    CHECK(a->seq == 0);
    a->seq = c->seq;
    a->data = mem_dup(data, len);
    a->len = len;
    s->sessions.hash += answer_hash(e, a);
    buf_done(&brief);
}

/* --- snapshot ----------------------------------------------------------------------------------
 */

void session_table_encode(const struct session_table *t, struct buf *out)
{
    mpk_array(out, t->n);
    for (size_t i = 0; i < t->n; i++) {
        const struct session *e = &t->all[i];
        size_t n = 0;

        for (size_t j = 0; j < e->cap; j++) {
            n += e->slots[j].seq != 0;
        }
        mpk_array(out, 4);
        mpk_uint(out, e->id);
        mpk_str(out, e->owner);
        mpk_uint(out, e->ack);
        mpk_array(out, n * 2);
        for (size_t j = 0; j < e->cap; j++) {
            if (e->slots[j].seq != 0) {
                mpk_uint(out, e->slots[j].seq);
                mpk_bin(out, e->slots[j].data, e->slots[j].len);
            }
        }
    }
}

static void dec_answers(struct mpk *m, struct session_table *t, struct session *e)
{
    size_t n = mpk_get_array(m, 0, 2 * STORE_SESSION_WINDOW, "session.answers");

    for (size_t i = 0; i + 1 < n && m->bad == NULL; i += 2) {
        uint64_t seq = mpk_get_uint(m, UINT64_MAX, "session.seq");
        struct bytes data = mpk_get_bytes(m, STORE_SESSION_ANSWER_MAX, "session.answer");
        struct session_answer *a;

        if (m->bad != NULL || data.p == NULL || seq < e->ack ||
            seq - e->ack >= STORE_SESSION_WINDOW || (a = answer_slot(e, seq))->seq != 0) {
            mpk_fail(m, "session.answer");
            return;
        }
        *a = (struct session_answer){ .seq = seq, .data = mem_dup(data.p, data.n), .len = data.n };
        t->hash += answer_hash(e, a);
    }
}

int session_table_decode(struct session_table *t, const void *data, size_t len, struct err *err)
{
    struct arena a = { 0 };
    struct mpk m = mpk_make(data, len, &a);
    size_t n = mpk_get_array(&m, 0, STORE_SESSIONS_MAX, "sessions");
    uint64_t last = 0;
    int rc;

    for (size_t i = 0; i < n && m.bad == NULL; i++) {
        const char *owner;
        uint64_t id, ack;

        (void)mpk_get_array(&m, 4, 4, "session");
        id = mpk_get_uint(&m, UINT64_MAX, "session.id");
        owner = mpk_get_str(&m, 2 * CMD_MAX_TEXT, "session.owner");
        ack = mpk_get_uint(&m, UINT64_MAX, "session.ack");
        if (m.bad != NULL || owner == NULL || id <= last || ack == 0) {
            mpk_fail(&m, "session");
            break;
        }
        last = id;
        dec_answers(&m, t, session_add(t, id, owner, ack));
    }
    rc = mpk_end(&m, ERR_CORRUPT, "sessions", err);
    arena_done(&a);
    return rc;
}
