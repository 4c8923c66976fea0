#ifndef FENCE_AGENT_META_H
#define FENCE_AGENT_META_H

/* The parameters of a fence agent, out of what it prints for its action metadata (the XML of
 * FenceAgentAPI.md, as all programs of the package fence-agents print it).
 *
 * Pure; any thread.  A small reader for that one form, not for XML: <parameter name= required=
 * deprecated=>, <content type= default=>, <shortdesc>.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* A table for people: name, type, default, what it is.  Without those that are deprecated, that a
 * device may not give (agent_rules.h), or that Picket fills in itself (address, username, plugs).
 *
 * ERR_INVALID: this is no metadata, or it has no parameter. */
int agent_meta_print(const char *xml, size_t len, struct buf *out, struct err *err) ERR_USED;

#endif
