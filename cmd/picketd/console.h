#ifndef CMD_PICKETD_CONSOLE_H
#define CMD_PICKETD_CONSOLE_H

/* Consoles of guests: joins a person's connection to one that the agent of the guest's host keeps
 * waiting here (docs/decisions/0016-consoles-are-dialled-by-the-agent.md).  Bytes are passed on as
 * fast as the slower side takes them; what waits here is bounded by console_conn.h.
 */

#include "cmd/picketd/rest.h"

struct consoles;

struct consoles *consoles_new(struct node *n);
/* GET virtualmachines/VM/console[?take=true], for people. */
void console_request(struct rest *r);
/* GET hosts/H/console, for the agent of H: it waits to be asked. */
void console_wait_request(struct rest *r);
size_t consoles_open(const struct consoles *s);

#endif
