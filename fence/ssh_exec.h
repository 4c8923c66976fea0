#ifndef FENCE_SSH_EXEC_H
#define FENCE_SSH_EXEC_H

/* Ssh devices: ask a host to reset itself.  Only in a lab: a host that can be asked is not dead,
 * and one that does not answer may be alive.  So it proves nothing; what may follow and does prove
 * something is the host's next boot.
 *
 * Keys: lab=1, address=IP[:PORT], username, and the private key (PEM without passphrase) as
 * identity_label=OPENSSH PRIVATE KEY and identity0=, identity1=... (its base64 text in pieces). ssh
 * gets it as an unlinked file in memory on its stdin: it is never on a disk or a command line.
 *
 * probe, status: runs `cat` of the boot id; Succeeded with power On when it answers, else Unknown.
 * off: the same, and then a reset by sysrq-trigger; always Unknown, or Failed when ssh was not even
 * started.  Host keys are not checked.  Blocking; for picket-fence only.  Source: ssh(1),
 * OpenSSH 9.2. */

#include "fence/dev.h"
#include "fence/run.h"

void ssh_exec_run(struct fence_run *run, struct fence_answer *ans);

/* Pure: "-----BEGIN X-----", base64, "-----END X-----" to the parameters above.  ERR_INVALID when
 * it is not a PEM file of one block, or too long. */
int ssh_identity_set(struct fence_op *op, const char *pem, struct err *err) ERR_USED;

#endif
