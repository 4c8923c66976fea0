#ifndef CMD_PICKETD_NATIVE_H
#define CMD_PICKETD_NATIVE_H

/* The native protocol (docs/native-protocol.md): msgpack frames over a connection that began as
 * HTTP.  Requests are pipelined within a window and answered in any order; raw keys enter the state
 * machine directly, objects through the same handlers as over HTTP, both under the same rights.
 */

#include "cmd/picketd/rest.h"

struct native;

struct native *native_new(struct node *n);
/* GET NATIVE_PATH with `Upgrade: picket/1`. */
void native_request(struct rest *r);
size_t native_conns(const struct native *s);

#endif
