#include "cmd/picketd/roles.h"

#include "api/json_path.h"
#include "api/sar_codec.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/roles_plan.h"
#include "cmd/picketd/world.h"

#define ACCESS_PATH "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
#define WHOAMI_PATH "/apis/authentication.k8s.io/v1/selfsubjectreviews"

/* Somebody to whom Roles can give something. */
static bool is_person(const struct stream_peer *p)
{
    static const char *const machines[] = { "picket:voters", "picket:agents", "picket:joiners",
                                            "picket:raw" };

    for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
        if (str_eq(p->role, machines[i])) {
            return false;
        }
    }
    return p->role[0] != '\0' && p->name[0] != '\0';
}

static bool given(struct node *n, const struct roles_ask *ask)
{
    struct world *w = controller_world(n->ctl);
    const struct kind *bindings = kind_find("RoleBinding"), *roles = kind_find("Role");
    const struct ctl_obj *b, *role;

    world_sync(w);
    for (size_t pos = 0; (b = world_next(w, bindings, &pos)) != NULL;) {
        role = roles_bound(b->json, ask) ? world_find(w, roles, jget_str(b->json, "spec.role", ""))
                                         : NULL;
        if (role != NULL && roles_allow(role->json, ask)) {
            return true;
        }
    }
    return false;
}

static bool reads(const char *verb)
{
    return str_eq(verb, "get") || str_eq(verb, "list") || str_eq(verb, "watch");
}

static bool host_verb(const struct kind *k, const char *verb)
{
    return str_eq(k->name, "Host") && (str_eq(verb, "fence") || str_eq(verb, "confirm"));
}

/* What the certificate alone allows. */
static int by_certificate(const struct stream_peer *p, const struct kind *k, const char *sub,
                          const char *name, const char *verb, struct err *err)
{
    if (str_eq(sub, "console")) {
        return auth_console(p, name, err);
    }
    if (host_verb(k, verb)) {
        return auth_operator(p, err);
    }
    return auth_object(p, k, name,
                       reads(verb)             ? AUTH_READ
                       : str_eq(sub, "status") ? AUTH_STATUS
                                               : AUTH_WRITE,
                       err);
}

int auth_may(struct node *n, const struct stream_peer *peer, const struct kind *k, const char *sub,
             const char *name, const char *verb, struct err *err)
{
    struct roles_ask ask = { .group = peer->role,
                             .user = peer->name,
                             .verb = verb,
                             .resource = k->plural,
                             .sub = sub,
                             .name = name };
    int rc = by_certificate(peer, k, sub, name, verb, err);

    return rc == ERR_DENIED && is_person(peer) && given(n, &ask) ? 0 : rc;
}

int auth_host_op(struct node *n, const struct stream_peer *peer, const char *host, const char *verb,
                 struct actor *ret, struct err *err)
{
    int rc = auth_may(n, peer, kind_find("Host"), "", host, verb, err);

    *ret = auth_actor(peer);
    if (rc == 0 && ret->role == ACTOR_USER) {
        ret->role = ACTOR_OPERATOR;
    }
    return rc;
}

const char *auth_verb_of(const struct rest *r)
{
    const char *m = r->req->method;
    const char *watch = http_req_query(r->req, "watch");

    if (str_eq(m, "GET") || str_eq(m, "HEAD")) {
        return r->name[0] != '\0'                                                ? "get"
               : watch != NULL && !str_eq(watch, "false") && !str_eq(watch, "0") ? "watch"
                                                                                 : "list";
    }
    return str_eq(m, "POST")    ? "create"
           : str_eq(m, "PUT")   ? "update"
           : str_eq(m, "PATCH") ? "patch"
                                : "delete";
}

/* --- reviews -----------------------------------------------------------------------------------
 */

static const char *const all_verbs[] = { "get",    "list",  "watch", "create",
                                         "update", "patch", "delete" };

/* One resource, "*" as a verb being all of those that every kind has. */
static int review_kind(struct rest *r, const struct kind *k, const struct sar *s, struct err *err)
{
    const struct stream_peer *p = &r->req->peer;
    int rc = 0;

    if (!str_eq(s->verb, "*")) {
        rc = k->read_only && !reads(s->verb)
                 ? err_set(err, ERR_DENIED, "%s are a view and cannot be written", k->plural)
                 : auth_may(r->node, p, k, s->subresource, s->name, s->verb, err);
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(all_verbs); i++) {
        if (!k->read_only || reads(all_verbs[i])) {
            rc = auth_may(r->node, p, k, s->subresource, s->name, all_verbs[i], err);
        }
    }
    return rc;
}

static int review(struct rest *r, const struct sar *s, struct err *err)
{
    const struct kind *k = kind_by_plural(s->resource);
    bool any_group = str_eq(s->group, "*") || s->group[0] == '\0';
    int rc = 0;

    if (s->path[0] != '\0') {
        return 0; /* discovery, health: whoever got here may */
    }
    if (str_eq(s->resource, "*") && (any_group || str_eq(s->group, API_GROUP))) {
        for (size_t i = 0; rc == 0 && i < kind_count(); i++) {
            rc = review_kind(r, kind_at(i), s, err);
        }
        return rc;
    }
    if (k == NULL || !(any_group || str_eq(s->group, API_GROUP))) {
        return err_set(err, ERR_DENIED,
                       "there is no resource \"%.64s\" in the group \"%.64s\" here", s->resource,
                       s->group);
    }
    return review_kind(r, k, s, err);
}

/* The newest state first: a right that was given a moment ago is one. */
static void access_go(struct rest *r)
{
    struct sar s;
    struct err err = { 0 };
    int rc = sar_decode(r->req->body, r->req->len, &s, &err);

    if (rc != 0) {
        rest_err(r, &err);
        return;
    }
    rc = review(r, &s, &err);
    rest_json(r, 201,
              json_pack("{s:s, s:s, s:{}, s:o, s:{s:b, s:s}}", "kind", "SelfSubjectAccessReview",
                        "apiVersion", "authorization.k8s.io/v1", "metadata", "spec",
                        sar_spec_json(&s), "status", "allowed", rc == 0, "reason",
                        rc == 0 ? "" : err.msg));
}

static void whoami(struct rest *r)
{
    const struct stream_peer *p = &r->req->peer;

    rest_json(r, 201,
              json_pack("{s:s, s:s, s:{}, s:{s:{s:s, s:[s]}}}", "kind", "SelfSubjectReview",
                        "apiVersion", "authentication.k8s.io/v1", "metadata", "status", "userInfo",
                        "username", p->name, "groups", p->role));
}

bool roles_review(struct rest *r)
{
    bool access = str_eq(r->req->path, ACCESS_PATH);
    struct err err;

    if (!access && !str_eq(r->req->path, WHOAMI_PATH)) {
        return false;
    }
    if (!str_eq(r->req->method, "POST")) {
        (void)err_set(&err, ERR_METHOD, "%s needs POST", r->req->path);
        rest_err(r, &err);
    } else if (r->req->peer.role[0] == '\0') {
        (void)err_set(&err, ERR_UNAUTHORIZED, "a client certificate of this cluster is needed");
        rest_err(r, &err);
    } else if (access) {
        rest_read_then(r, access_go);
    } else {
        whoami(r);
    }
    return true;
}
