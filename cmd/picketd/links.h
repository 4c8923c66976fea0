#ifndef CMD_PICKETD_LINKS_H
#define CMD_PICKETD_LINKS_H

/* Links between hosts, as this node knows them: which addresses members have (their Host objects
 * declare them), over which link a request came, and the newest cluster epoch, persisted.  Loop
 * thread only.
 */

#include "cmd/picketd/node.h"

/* Before the log is opened: the epoch that this node knew last (0: none), from STORE/epoch. */
uint64_t links_epoch_load(const char *dir);
/* Does STORE/superseded forbid to start?  ERR_REFUSED says what to do. */
int links_may_start(const char *dir, struct err *err) ERR_USED;
/* The voter `name` is in a later epoch: remembers that in STORE/superseded, and ends the process.
 */
void links_superseded(const struct node *n, uint64_t epoch, const char *name)
    __attribute__((noreturn));
/* Now and then. */
void links_tick(struct node *n);
/* "HOST:PORT" as a client wrote it: which link of this host it is, from 1; 0: unknown. */
unsigned links_number(struct node *n, const char *address);
/* A list "IP:PORT[,IP:PORT]": is each an address that can be resolved? */
int links_check(const char *list, struct err *err) ERR_USED;

#endif
