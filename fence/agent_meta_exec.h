#ifndef FENCE_AGENT_META_EXEC_H
#define FENCE_AGENT_META_EXEC_H

/* The parameters of a fence agent that is installed here, asked of the program itself
 * (fence/agent_meta.h reads what it says).  Blocking; for command lines only. */

#include "base/buf.h"
#include "base/err.h"

#define AGENT_META_DIR "/usr/sbin"

/* A table for people, into `out`.  ERR_INVALID: no name of a fence agent, or no metadata;
 * ERR_NOT_FOUND: not installed in `dir`; ERR_TIMEOUT, ERR_SYS. */
int agent_meta_ask(const char *dir, const char *program, struct buf *out, struct err *err) ERR_USED;

#endif
