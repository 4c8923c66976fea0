#ifndef CMD_PICKETD_CTL_H
#define CMD_PICKETD_CTL_H

/* The controllers: level-triggered, on the leader only, one pass at a time.
 *
 * A pass looks at the hosts, at placement if its input changed, and at a bounded number of those
 * objects whose status may be another one now (ctl_dirty.c); it asks the pure planners and submits
 * what they decide.  The next pass runs when all answers are in and there is something to look at,
 * or when a planner asked to be asked again.  Controllers' commands are never repeated blindly: the
 * next pass sees what happened and decides anew.
 */

#include "cmd/picketd/node.h"

struct world;

struct controller *controller_new(struct node *n);
void controller_start(struct controller *c, uint64_t term);
void controller_stop(struct controller *c);
struct world;
/* The decoded store that it keeps, on every node. */
struct world *controller_world(const struct controller *c);
/* Something outside the store changed (a lease, a probe). */
void controller_wake(struct controller *c);

/* For /metrics: the controllers' counters. */
void controller_metrics(const struct controller *c, struct buf *out);

/* May a user have this host fenced now?  ERR_REFUSED with what to do when nothing could end it.  By
 * the local copy of the store, on any node. */
int fence_user_check(struct node *n, const char *host, struct err *err) ERR_USED;
/* Fill in host_generation, levels and n_levels of a FENCE_OPEN from the declared objects.  A device
 * that does not exist is left out of its level; a level with a missing device is left out whole. */
int fence_levels(struct node *n, const char *host, struct arena *a, struct cmd_safety *ret,
                 struct err *err) ERR_USED;

#endif
