#ifndef NET_NW_HOST_H
#define NET_NW_HOST_H

/* The host's network for the agent: objects in, states out; changes are confirmed or undone.
 *
 * On the thread of the loop that it was made with; netlink and files are the work of libuv's pool.
 * Use: new; put every object of the kinds bonds, bridges and vlans; synced; then put changes and
 * deletions as they come, and confirm whenever the quorum has answered. `changed` is called when
 * the state of an object is another one; ask with nw_host_state.
 *
 * A change begins only while the last confirmation is younger than commitTimeout. It is undone when
 * no request sent after it was answered within commitTimeout (the smallest one of the objects that
 * it is for), at start after a crash, or when the kernel refuses a part of it. What was undone is
 * not tried again before its object changes. A host that rebooted in between has nothing to undo,
 * but does not try again either.
 */

#include <uv.h>

#include "net/nw_state.h"

struct nw_host;

typedef void nw_host_cb(void *data, const char *plural, const char *name);

struct nw_host_opts {
    uv_loop_t *loop;
    const char *dir;     /* exists; network.json and network-journal.json are kept there */
    const char *host;    /* name of the Host object */
    const char *boot_id; /* of this boot */
    nw_host_cb *changed; /* may be NULL */
    void *data;
};

/* An undo that is due after a crash begins at once, without waiting for objects. */
int nw_host_new(const struct nw_host_opts *opts, struct nw_host **ret, struct err *err) ERR_USED;
void nw_host_labels(struct nw_host *h,
                    const json_t *labels); /* of the Host object; for hostSelector */
/* `object` NULL: deleted. Keeps its own reference. */
void nw_host_put(struct nw_host *h, const char *plural, const char *name, const json_t *object);
/* All objects were put: from now on what is ours and has no object is removed. */
void nw_host_synced(struct nw_host *h);
/* The quorum has answered a request that was sent at sent_ms (CLOCK_BOOTTIME). */
void nw_host_confirm(struct nw_host *h, uint64_t sent_ms);
/* False: no such object, not for this host, or not looked at yet. Free it with nw_state_done. */
bool nw_host_state(struct nw_host *h, const char *plural, const char *name, struct nw_state *ret);
/* Nothing is in flight and nothing left to do with what was put. */
bool nw_host_idle(const struct nw_host *h);
/* A change that is not confirmed stays in the journal: it is undone at the next start. */
void nw_host_close(struct nw_host *h, void (*on_closed)(void *ctx), void *ctx);

#endif
