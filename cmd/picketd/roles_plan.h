#ifndef CMD_PICKETD_ROLES_PLAN_H
#define CMD_PICKETD_ROLES_PLAN_H

/* What Roles allow whom: the rules of kubectl's users (rbac.authorization.k8s.io), for our kinds.
 * Pure. */

#include <jansson.h>

#include <stdbool.h>

/* One question.  No text is NULL. */
struct roles_ask {
    const char *group, *user; /* O and CN of the certificate */
    const char *verb;         /* "get", "list", ..., "fence", "confirm" */
    const char *resource;     /* plural */
    const char *sub;          /* "status", "console"; "": the object itself */
    const char *name;         /* "": all of them, or one that gets its name later */
};

/* Is this RoleBinding about them? */
bool roles_bound(const json_t *binding, const struct roles_ask *ask);
/* Does one of the Role's rules allow it?  A rule with names says nothing about all of them. */
bool roles_allow(const json_t *role, const struct roles_ask *ask);

#endif
