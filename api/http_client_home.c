/* Which endpoint is used, and when the first one, the caller's own, is tried again. */

#include "api/http_client_priv.h"
#include "base/obj.h"
#include "base/str.h"

#define HC_HOME_MAX_MS 60000

/* The first endpoint is the caller's own; give it another chance some time after it failed. */
bool hc_home_again(const struct http_client *c)
{
    return c->opts.home_ms != 0 && uv_now(c->loop) >= c->home_not_before_ms;
}

/* A refusal costs nothing, so home_ms is enough; silence costs every request its timeout, so that
 * a home which hangs is asked less and less often, until it has answered. */
void hc_home_failed(struct http_client *c, bool silent)
{
    uint64_t delay = c->opts.home_ms;

    if (silent) {
        delay = c->home_delay_ms > delay ? c->home_delay_ms : delay;
        c->home_delay_ms = delay * 2 < HC_HOME_MAX_MS ? delay * 2 : HC_HOME_MAX_MS;
    }
    if (uv_now(c->loop) + delay > c->home_not_before_ms) {
        c->home_not_before_ms = uv_now(c->loop) + delay;
    }
}

void hc_endpoint_answered(struct http_client *c, size_t ep)
{
    c->cur = ep;
    if (ep == 0) {
        c->home_delay_ms = 0;
    }
}

const char *http_client_endpoint(const struct http_client *c)
{
    OBJ_CHECK(c, HC_MAGIC);
    return c->endpoints[c->cur];
}

void http_client_connect_ms(struct http_client *c, uint64_t ms)
{
    OBJ_CHECK(c, HC_MAGIC);
    c->opts.connect_ms = ms;
}

void http_client_avoid(struct http_client *c, const char *endpoint)
{
    OBJ_CHECK(c, HC_MAGIC);
    if (str_eq(c->endpoints[0], endpoint)) {
        hc_home_failed(c, true);
    }
    if (str_eq(c->endpoints[c->cur], endpoint)) {
        c->cur = (c->cur + 1) % c->opts.n_endpoints;
    }
}
