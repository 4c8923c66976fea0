/* The agent's certificate renews itself: at two thirds of its life a new key is made here, a
 * picketd that holds the CA's key signs it, and both files are replaced.  Whoever uses them (the
 * clients of this loop and the renewer's) takes the new ones for its next connection. */

#include <inttypes.h>
#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/pki.h"
#include "reconciler/agent_priv.h"

#define LOOK_MIN_MS 1000U
#define LOOK_MAX_MS 3600000U
#define ASK_MS 10000U

static void signed_cb(void *data, const struct err *err, json_t *obj)
{
    struct agent *a = data;
    struct err e;

    a->cert_asked = false;
    if (err == NULL && pki_renew_finish(a->tls_cert, a->tls_key, jget_str(obj, "cert", ""), &e)) {
        err = &e;
    }
    if (err != NULL) {
        lg_warn("agent", "file=%s msg=\"certificate not renewed yet\" err=\"%s\"", a->tls_cert,
                err->msg);
    } else {
        lg_info("agent", "file=%s msg=\"certificate renewed\"", a->tls_cert);
    }
}

static void ask(struct agent *a)
{
    struct api_op op = {
        .method = "POST", .target = API_PREFIX "/renew", .timeout_ms = ASK_MS, .repeatable = true
    };
    char *csr = NULL;
    json_t *body;
    struct err err;

    if (pki_renew_begin(a->tls_key, &csr, &err) != 0) {
        lg_warn("agent", "file=%s msg=\"certificate not renewed\" err=\"%s\"", a->tls_cert,
                err.msg);
        return;
    }
    body = json_pack("{s:s}", "request", csr);
    op.body = body;
    a->cert_asked = true;
    (void)api_start(a->api, &op, signed_cb, a);
    json_decref(body);
    free(csr);
}

void agent_cert_tick(struct agent *a, uint64_t now_ms)
{
    int64_t left, life;
    uint64_t every;
    struct err err;

    if (a->tls_cert == NULL || a->cert_asked || now_ms < a->cert_next_ms) {
        return;
    }
    if (pki_cert_life(a->tls_cert, &left, &life, &err) != 0) {
        lg_warn("agent", "msg=\"%s\"", err.msg);
        a->cert_next_ms = now_ms + LOOK_MAX_MS;
        return;
    }
    every = (uint64_t)(life > 0 ? life : 0) * 1000 / 50;
    every = every < LOOK_MIN_MS ? LOOK_MIN_MS : every > LOOK_MAX_MS ? LOOK_MAX_MS : every;
    a->cert_next_ms = now_ms + every;
    if (pki_renew_due(left, life)) {
        ask(a);
    }
}
