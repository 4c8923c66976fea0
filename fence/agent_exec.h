#ifndef FENCE_AGENT_EXEC_H
#define FENCE_AGENT_EXEC_H

/* Fence agents (/usr/sbin/fence_*) by their standard protocol: `name=value` lines on stdin, an exit
 * status.  Also Ipmi (fence_ipmilan) and Redfish (fence_redfish).
 *
 * Off is the agent's own off, then its status, read as off twice at least 1 s apart.  An agent that
 * is told to switch is killed when the executor's deadline passes: what it did then is Unknown. Its
 * output is read for one line of detail, from which every value that was passed to it is removed.
 *
 * Blocking; for picket-fence only.  Source: fence-agents, doc/FenceAgentAPI.md (exit status of
 * `status`: 0 on, 2 off; everything else an error).
 */

#include "fence/dev.h"
#include "fence/run.h"

/* @dir  where the programs are: /usr/sbin */
void agent_exec_run(struct fence_run *run, const char *dir, struct fence_answer *ans);

#endif
