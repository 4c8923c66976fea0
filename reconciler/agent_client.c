#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* Watches and calls through another host go where the renewals get their answers.
 *
 * A host that lost its power says nothing on its connections, and a quiet watch looks the same as a
 * dead one for seconds; but renewals show within two heartbeats that a picketd is gone.  So when
 * the renewer moves on, a new client is made that begins with the renewer's endpoint, and all
 * watches list again there.  The old client stays until every call on it must have ended.
 *
 * The picketd of our own host is left by its own doing, when it breaks its connections: when
 * renewals hang there it mostly is for want of a leader, which is no better elsewhere and no reason
 * for every host to list everything again.  Only when the renewer does not come back to it for long
 * (it was stopped, or its disk hangs) do we follow. */

#define READ_MS 5000U  /* a host that lost its power does not answer: ask another one soon */
#define AWAY_BEATS 15U /* heartbeats */
#define RETIRE_MS                                                                                  \
    20000U /* longer than the timeout of any call: closing ends them without a word                \
            */

int agent_client_open(struct agent *a, const char *first, struct err *err)
{
    struct api_config *cfg = NULL;
    struct buf servers = { 0 };
    struct api_client *api = NULL;
    int rc;

    buf_add_str(&servers, first);
    for (size_t i = 0; i < a->n_endpoints; i++) {
        if (!str_eq(a->endpoints[i], first)) {
            buf_printf(&servers, ",%s", a->endpoints[i]);
        }
    }
    rc = api_config_make(buf_cstr(&servers), a->tls_cert, a->tls_key, a->tls_ca, NULL, &cfg, err);
    if (rc == 0) {
        rc = api_client_new(a->loop, cfg, &api, err);
    }
    api_config_free(cfg);
    buf_done(&servers);
    if (rc != 0) {
        return rc;
    }
    a->api = api;
    free(a->api_endpoint);
    a->api_endpoint = mem_strdup(first);
    return 0;
}

static bool retire(struct agent *a, struct api_client *old)
{
    for (size_t i = 0; i < AGENT_RETIRED_MAX; i++) {
        if (a->retired[i].api == NULL) {
            a->retired[i].api = old;
            a->retired[i].until_ms = clock_now_ms() + RETIRE_MS;
            return true;
        }
    }
    return false;
}

static bool room(const struct agent *a)
{
    for (size_t i = 0; i < AGENT_RETIRED_MAX; i++) {
        if (a->retired[i].api == NULL) {
            return true;
        }
    }
    return false;
}

/* "HOST:PORT", "[HOST]:PORT" */
static bool host_is(const char *endpoint, const char *host)
{
    size_t n = strlen(host);

    endpoint += endpoint[0] == '[';
    return n > 0 && strncmp(endpoint, host, n) == 0 &&
           (endpoint[n] == ':' || (endpoint[n] == ']' && endpoint[n + 1] == ':'));
}

/* The picketd of our own host: by a socket, its name, or an address that the Host object gives. */
static bool own(struct agent *a, const char *endpoint)
{
    const json_t *list = jget(agent_object(a, "hosts", a->name), "spec.addresses");
    bool found =
        str_starts(endpoint, "unix:") || str_starts(endpoint, "127.") || host_is(endpoint, a->name);

    for (size_t i = 0; i < json_array_size(list) && !found; i++) {
        const char *address = json_string_value(json_array_get(list, i));

        found = address != NULL && host_is(endpoint, address);
    }
    return found;
}

/* The renewer comes back to a picketd of its own host that answers again within ten heartbeats:
 * who stays away for longer was given up by it. */
static bool given_up(struct agent *a)
{
    uint64_t now = clock_now_ms();

    if (a->away_ms == 0) {
        a->away_ms = now;
    }
    return now >= a->away_ms + AWAY_BEATS * a->timing.heartbeat_ms;
}

void agent_client_follow(struct agent *a, const char *endpoint)
{
    struct api_client *old = a->api;
    struct err err;

    if (endpoint[0] == '\0' || str_eq(endpoint, a->api_endpoint)) {
        a->away_ms = 0;
        return;
    }
    if (!room(a) || (own(a, a->api_endpoint) && !given_up(a))) {
        return;
    }
    a->away_ms = 0;
    lg_info("agent", "endpoint=%s was=%s msg=\"watching through another picketd\"", endpoint,
            a->api_endpoint);
    if (agent_client_open(a, endpoint, &err) != 0) {
        lg_warn("agent", "err=\"%s\"", err.msg);
        return;
    }
    CHECK(retire(a, old));
    agent_watch_restart(a);
}

void agent_client_tick(struct agent *a, uint64_t now)
{
    for (size_t i = 0; i < AGENT_RETIRED_MAX; i++) {
        if (a->retired[i].api != NULL && now >= a->retired[i].until_ms) {
            api_client_close(a->retired[i].api, NULL, NULL);
            a->retired[i].api = NULL;
        }
    }
}

struct http_call *agent_read(struct agent *a, const char *plural, const char *name,
                             const char *query, api_cb *cb, void *data)
{
    struct api_op op = {
        .method = "GET", .plural = plural, .name = name, .query = query, .timeout_ms = READ_MS
    };

    return api_start(a->api, &op, cb, data);
}

unsigned agent_client_close(struct agent *a, void (*on_closed)(void *ctx))
{
    unsigned n = 1;

    api_client_close(a->api, on_closed, a);
    a->api = NULL;
    for (size_t i = 0; i < AGENT_RETIRED_MAX; i++) {
        if (a->retired[i].api != NULL) {
            api_client_close(a->retired[i].api, on_closed, a);
            a->retired[i].api = NULL;
            n++;
        }
    }
    return n;
}

void agent_client_free(struct agent *a)
{
    for (size_t i = 0; i < a->n_endpoints; i++) {
        free(a->endpoints[i]);
    }
    free(a->api_endpoint);
    free(a->tls_cert);
    free(a->tls_key);
    free(a->tls_ca);
}
