#ifndef CMD_PICKETD_CHANGE_H
#define CMD_PICKETD_CHANGE_H

/* One object's change on its way into a transaction: what is there, what shall be there.
 *
 * Preparing is done against the local state; the transaction compares revisions, so a change that
 * was prepared on a stale state fails as a whole and is prepared again.
 */

#include <jansson.h>

#include "api/kind.h"
#include "api/valid.h"
#include "cmd/picketd/node.h"

enum change_mode {
    CHANGE_CREATE, /* must not exist */
    CHANGE_UPDATE, /* must exist; `want` is the whole object */
    CHANGE_STATUS, /* must exist; only status is taken from `want` */
    CHANGE_APPLY,  /* three-way, creates or changes */
};

enum change_result { CHANGE_CREATED, CHANGE_CONFIGURED, CHANGE_UNCHANGED, CHANGE_DELETED };

struct change {
    const struct kind *k;
    char name[256];
    json_t *old; /* stored form, NULL: absent */
    uint64_t old_rev;
    json_t *stored; /* new stored form; NULL: delete */
    enum change_result result;
};

void change_done(struct change *c);

/* `want` is borrowed, in API form.  Problems (validation) are added with the object's name in front
 * of the message when there are several; then ERR_INVALID.  Also ERR_EXISTS, ERR_NOT_FOUND,
 * ERR_CONFLICT. */
int change_prepare(struct node *n, const struct kind *k, const char *name, json_t *want,
                   enum change_mode mode, const char *manager, struct problems *problems,
                   struct change *ret, struct err *err) ERR_USED;
/* Was the object changed since this was prepared? */
bool change_stale(const struct node *n, const struct change *c);
/* A delete: marks the object when it has finalizers, else removes it.  `options` may be NULL. */
int change_delete(struct node *n, const struct kind *k, const char *name, const json_t *options,
                  struct change *ret, struct err *err) ERR_USED;

/* All or nothing, under this actor.  The callback gets ERR_CONFLICT when something changed
 * meanwhile. */
void change_submit(struct node *n, const struct change *changes, size_t count,
                   const struct actor *actor, bool once, node_cb *cb, void *data);
/* The same, if these hold, too. */
void change_submit_if(struct node *n, const struct change *changes, size_t count,
                      const struct actor *actor, const struct txn_cmp *cmps, size_t n_cmps,
                      node_cb *cb, void *data);
/* The same under this node's session, with one compare and one put more (the record of a request,
 * request.h). */
void change_submit_with(struct node *n, const struct change *changes, size_t count,
                        const struct actor *actor, const struct txn_cmp *cmp,
                        const struct txn_op *put, node_cb *cb, void *data);

#endif
