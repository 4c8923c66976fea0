/* What the cluster's objects declare as addresses, learned through the API with the admin's
 * certificate: Host, FenceDevice and NetworkCheck objects.
 *
 * It talks to the hosts directly, not through the relays: a cut of the operator does not blind it.
 */

#include "cmd/picket-devd/dev.h"

#include <stdlib.h>

#include "api/client.h"
#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"

#define LEARN_KINDS 3
#define LEARN_MAGIC 0x4c524e5fU

static const char *const learn_plurals[LEARN_KINDS] = { "hosts", "fencedevices", "networkchecks" };

struct learn_watch {
    unsigned magic;
    struct learn *learn;
    const char *plural;
    struct api_watch *watch;
    json_t *seen; /* names since the list began; NULL: no list is under way */
};

struct learn {
    struct dev *dev;
    struct api_client *client;
    struct learn_watch watches[LEARN_KINDS];
};

static void changed(struct dev *d)
{
    struct err err = { 0 };

    if (addrs_save(d, &err) != 0 || addrs_write_all(d, &err) != 0) {
        lg_err("addresses", "msg=\"%s\"", err.msg);
        return;
    }
    lg_info("addresses", "msg=\"address maps were written\"");
}

static void on_begin(void *data)
{
    struct learn_watch *w;

    OBJ_FROM(w, data, LEARN_MAGIC);
    json_decref(w->seen);
    w->seen = json_object();
}

static void on_object(void *data, enum api_event type, json_t *obj)
{
    struct learn_watch *w;

    OBJ_FROM(w, data, LEARN_MAGIC);
    if (w->seen != NULL) {
        (void)json_object_set_new(w->seen, obj_name(obj), json_true());
    }
    if (addrs_learn(&w->learn->dev->addrs, w->plural, obj, type == API_DELETED)) {
        changed(w->learn->dev);
    }
}

static void on_synced(void *data)
{
    struct learn_watch *w;

    OBJ_FROM(w, data, LEARN_MAGIC);
    if (addrs_keep(&w->learn->dev->addrs, w->plural, w->seen)) {
        changed(w->learn->dev);
    }
    json_decref(w->seen);
    w->seen = NULL;
}

static int make_client(struct dev *d, struct learn *l, struct err *err)
{
    char cert[DEV_PATH_MAX], key[DEV_PATH_MAX], ca[DEV_PATH_MAX];
    struct api_config *cfg = NULL;
    struct buf servers = { 0 };
    int rc;

    for (size_t i = 0; i < d->n_hosts; i++) {
        char ip[32];

        if (d->hosts[i].voter) {
            addrs_ip(d->hosts[i].number, d->hosts[i].number, 1, ip);
            buf_printf(&servers, "%s%s:%u", servers.len > 0 ? "," : "", ip, d->port + 1U);
        }
    }
    dev_path(d, cert, "pki/admin.crt");
    dev_path(d, key, "pki/admin.key");
    dev_path(d, ca, "pki/ca.crt");
    rc = api_config_make(buf_cstr(&servers), cert, key, ca, d->cluster_id, &cfg, err);
    if (rc == 0) {
        rc = api_client_new(d->loop, cfg, &l->client, err);
    }
    api_config_free(cfg);
    buf_done(&servers);
    return rc;
}

int learn_open(struct dev *d, struct err *err)
{
    static const struct api_watch_cbs cbs = { .on_sync_begin = on_begin,
                                              .on_object = on_object,
                                              .on_synced = on_synced };
    struct learn *l = OBJ_NEW(struct learn);
    int rc = make_client(d, l, err);

    if (rc != 0) {
        free(l);
        return err_wrap(err, "watch for addresses");
    }
    l->dev = d;
    d->learn = l;
    for (size_t i = 0; i < LEARN_KINDS; i++) {
        struct learn_watch *w = &l->watches[i];

        w->magic = LEARN_MAGIC;
        w->learn = l;
        w->plural = learn_plurals[i];
        w->watch = api_watch_new(l->client, w->plural, &cbs, w);
    }
    return 0;
}

static void client_closed(void *ctx)
{
    free(ctx);
}

void learn_close(struct dev *d)
{
    struct learn *l = d->learn;

    if (l == NULL) {
        return;
    }
    d->learn = NULL;
    for (size_t i = 0; i < LEARN_KINDS; i++) {
        api_watch_free(l->watches[i].watch);
        json_decref(l->watches[i].seen);
    }
    api_client_close(l->client, client_closed, l);
}
