#include "cmd/picketd/auth.h"

#include "base/str.h"

static bool is_role(const struct stream_peer *p, const char *role)
{
    return str_eq(p->role, role);
}

static int auth_known(const struct stream_peer *p, struct err *err)
{
    if (p->role[0] == 0 || p->name[0] == 0) {
        return err_set(err, ERR_UNAUTHORIZED,
                       "a client certificate of this cluster is needed (see `picket help config`)");
    }
    return 0;
}

static int denied(const struct stream_peer *p, const char *what, const struct kind *k,
                  struct err *err)
{
    return err_set(err, ERR_DENIED, "%s \"%s\" may not %s %s", p->role, p->name, what, k->plural);
}

static bool operator_may_write(const struct kind *k)
{
    static const char *const no[] = { "Secret", "Role", "RoleBinding", "Cluster" };

    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        if (str_eq(k->name, no[i])) {
            return false;
        }
    }
    return true;
}

int auth_object(const struct stream_peer *p, const struct kind *k, const char *name,
                enum auth_verb verb, struct err *err)
{
    if (auth_known(p, err) != 0) {
        return err->code;
    }
    if (is_role(p, "picket:admins")) {
        return 0;
    }
    if (is_role(p, "picket:operators")) {
        return verb == AUTH_READ || operator_may_write(k) ? 0 : denied(p, "write", k, err);
    }
    if (is_role(p, "picket:agents") && verb == AUTH_STATUS && str_eq(k->name, "Host") &&
        str_eq(name, p->name)) {
        return 0;
    }
    if (verb == AUTH_READ && !str_eq(k->name, "Secret") &&
        (is_role(p, "picket:agents") || is_role(p, "picket:viewers") ||
         is_role(p, "picket:voters"))) {
        return 0;
    }
    return denied(p, verb == AUTH_READ ? "read" : "write", k, err);
}

int auth_agent(const struct stream_peer *p, const char *host, struct err *err)
{
    if (auth_known(p, err) != 0) {
        return err->code;
    }
    if (!is_role(p, "picket:agents") || !str_eq(p->name, host)) {
        return err_set(err, ERR_DENIED, "only the agent of %s may do this; you are %s \"%s\"", host,
                       p->role, p->name);
    }
    return 0;
}

int auth_operator(const struct stream_peer *p, struct err *err)
{
    if (auth_known(p, err) != 0) {
        return err->code;
    }
    if (!is_role(p, "picket:admins") && !is_role(p, "picket:operators")) {
        return err_set(err, ERR_DENIED, "%s \"%s\" may not fence hosts", p->role, p->name);
    }
    return 0;
}

int auth_console(const struct stream_peer *p, const char *vm, struct err *err)
{
    if (auth_known(p, err) != 0) {
        return err->code;
    }
    if (!is_role(p, "picket:admins") && !is_role(p, "picket:operators")) {
        return err_set(err, ERR_DENIED,
                       "%s \"%s\" may not use the console of %s; admins and operators may", p->role,
                       p->name, vm);
    }
    return 0;
}

struct actor auth_actor(const struct stream_peer *p)
{
    struct actor a = { .role = ACTOR_USER, .name = p->name };

    if (is_role(p, "picket:admins")) {
        a.role = ACTOR_ADMIN;
    } else if (is_role(p, "picket:operators")) {
        a.role = ACTOR_OPERATOR;
    } else if (is_role(p, "picket:agents")) {
        a.role = ACTOR_AGENT;
    }
    return a;
}
