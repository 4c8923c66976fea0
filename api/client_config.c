/* kubeconfig files: who we are and where the servers are. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/client_priv.h"
#include "api/manifest.h"
#include "base/obj.h"
#include "base/str.h"

#define CFG_SYSTEM "/etc/picket/admin.conf"
#define CFG_FILE_MAX (1U << 20)
#define CFG_SERVERS_MAX 64

/* A kubeconfig being read. */
struct cfg_file {
    const char *path;
    char *dir; /* relative names start here */
    struct manifest *manifest;
    const json_t *root;
};

void api_config_free(struct api_config *cfg)
{
    if (cfg == NULL) {
        return;
    }
    for (size_t i = 0; i < cfg->n_servers; i++) {
        free(cfg->servers[i]);
    }
    free(cfg->servers);
    tls_ctx_unref(cfg->tls);
    free(cfg->cluster_id);
    free(cfg->user);
    free(cfg->context);
    free(cfg);
}

/* --- servers --- */

/* One server: https://HOST[:PORT][/], http://..., unix:PATH or HOST:PORT. */
static int cfg_add_server(struct api_config *cfg, const char *url, bool *ret_tls, struct err *err)
{
    bool tls = true;
    char *server;
    size_t len;

    if (cfg->n_servers >= CFG_SERVERS_MAX) {
        return err_set(err, ERR_INVALID, "more than %d servers", CFG_SERVERS_MAX);
    }
    if (str_starts(url, "unix:")) {
        url += strlen(str_starts(url, "unix://") ? "unix://" : "unix:");
        server = mem_printf("unix:%s", url);
        tls = false;
    } else {
        const char *port = "443";

        if (str_starts(url, "http://")) {
            url += strlen("http://");
            port = "80";
            tls = false;
        } else if (str_starts(url, "https://")) {
            url += strlen("https://");
        }
        len = strcspn(url, "/");
        if (len == 0 || strcspn(url + len, "/") != 0 || strlen(url + len) > 1) {
            return err_set(
                err, ERR_INVALID,
                "server \"%.200s\": write https://HOST:PORT or unix:PATH, without a path "
                "behind it",
                url);
        }
        server = mem_strndup(url, len);
        if (strchr(server[0] == '[' ? strchrnul(server, ']') : server, ':') == NULL) {
            char *with_port = mem_printf("%s:%s", server, port);

            free(server);
            server = with_port;
        }
    }
    cfg->servers = mem_realloc(cfg->servers, (cfg->n_servers + 1) * sizeof(*cfg->servers));
    cfg->servers[cfg->n_servers++] = server;
    *ret_tls = tls;
    return 0;
}

/* Comma-separated.  *ret_tls: some need TLS; mixing that with plain TCP is refused. */
static int cfg_add_servers(struct api_config *cfg, const char *list, bool *ret_tls, struct err *err)
{
    char *copy = mem_strdup(list);
    char *save = NULL;
    bool plain = false;
    int rc = 0;

    *ret_tls = false;
    for (char *s = strtok_r(copy, ", ", &save); s != NULL && rc == 0;
         s = strtok_r(NULL, ", ", &save)) {
        bool tls = false;

        rc = cfg_add_server(cfg, s, &tls, err);
        *ret_tls = *ret_tls || tls;
        plain = plain || (!tls && !str_starts(s, "unix:"));
    }
    if (rc == 0 && cfg->n_servers == 0) {
        rc = err_set(err, ERR_INVALID, "there is no server");
    }
    if (rc == 0 && plain && *ret_tls) {
        rc = err_set(err, ERR_INVALID, "servers \"%.200s\": http:// and https:// do not mix", list);
    }
    free(copy);
    return rc;
}

int api_config_make(const char *servers, const char *cert, const char *key, const char *ca,
                    const char *cluster_id, struct api_config **ret, struct err *err)
{
    struct api_config *cfg = OBJ_NEW(struct api_config);
    bool tls = false;
    int rc;

    cfg->cluster_id = mem_strdup(cluster_id);
    rc = cfg_add_servers(cfg, servers, &tls, err);
    if (rc != 0) {
        goto out;
    }
    if (tls && cert != NULL) {
        rc = tls_ctx_load(cert, key, ca, cluster_id, &cfg->tls, err);
    } else if (tls && strstr(servers, "https://") != NULL) {
        rc = err_set(err, ERR_INVALID, "servers \"%.200s\" need a certificate", servers);
    }
    if (rc == 0) {
        *ret = cfg;
        cfg = NULL;
    }
out:
    api_config_free(cfg);
    return rc;
}

/* --- reading --- */

static int cfg_bad(const struct cfg_file *f, const char *where, struct err *err, const char *what)
{
    char place[300];

    if (!manifest_where(f->manifest, 0, where, place, sizeof(place))) {
        (void)str_copy(place, sizeof(place), f->path);
    }
    return err_set(err, ERR_INVALID, "%s: %s", place, what);
}

/* The value of `field` in the entry called `name` of the list `section`. */
static int cfg_entry(const struct cfg_file *f, const char *section, const char *field,
                     const char *name, const json_t **ret, size_t *ret_index, struct err *err)
{
    const json_t *list = json_object_get(f->root, section);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const json_t *value = json_object_get(entry, field);

        if (str_eq(json_string_value(json_object_get(entry, "name")), name) &&
            json_is_object(value)) {
            *ret = value;
            *ret_index = i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "%s: there is no \"%s\" with a %s in %s", f->path, name, field,
                   section);
}

static const char *cfg_text(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    return s == NULL || s[0] == '\0' ? NULL : s;
}

static int cfg_slurp(const char *path, char **ret, struct err *err)
{
    FILE *file = fopen(path, "re");
    struct buf b;
    size_t n = 1;
    int rc = 0;

    if (file == NULL) {
        int code = errno == ENOENT ? ERR_NOT_FOUND : errno == EACCES ? ERR_DENIED : ERR_SYS;

        return err_native(err, code, "errno", errno, "open %s", path);
    }
    buf_init(&b, CFG_FILE_MAX);
    while (n > 0 && !b.overflow) {
        uint8_t *p = buf_reserve(&b, 4096);

        n = p == NULL ? 0 : fread(p, 1, 4096, file);
        if (p != NULL) {
            buf_commit(&b, n);
        }
    }
    if (ferror(file) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "read %s", path);
    } else if (b.overflow) {
        rc = err_set(err, ERR_TOO_LARGE, "%s is larger than 1 MiB", path);
    } else {
        (void)buf_cstr(&b);
        *ret = buf_take(&b, NULL);
    }
    (void)fclose(file);
    buf_done(&b);
    return rc;
}

static int cfg_decode(const char *b64, char **ret)
{
    size_t cap = strlen(b64) / 4 * 3 + 4;
    char *dst = mem_alloc(cap + 1);
    size_t n = 0;

    if (!str_b64_decode(b64, strlen(b64), (uint8_t *)dst, cap, &n) || strlen(dst) != n) {
        free(dst);
        return -1;
    }
    *ret = dst;
    return 0;
}

/* KEY-data (base64) or KEY (a file name) as PEM text; *ret NULL when there is neither. */
static int cfg_pem(const struct cfg_file *f, const json_t *obj, const char *where, const char *key,
                   char **ret, struct err *err)
{
    char *data_key = mem_printf("%s-data", key);
    const char *data = cfg_text(obj, data_key);
    const char *file = cfg_text(obj, key);
    char *place = mem_printf("%s.%s", where, data != NULL ? data_key : key);
    char *path = NULL;
    int rc = 0;

    *ret = NULL;
    if (data != NULL) {
        if (cfg_decode(data, ret) != 0) {
            rc = cfg_bad(f, place, err, "this is not the base64 form of a PEM file");
        }
    } else if (file != NULL) {
        path = file[0] == '/' ? mem_strdup(file) : mem_printf("%s/%s", f->dir, file);
        rc = cfg_slurp(path, ret, err);
        if (rc != 0) {
            (void)err_wrap(err, "%s: %s", f->path, key);
        }
    }
    free(path);
    free(place);
    free(data_key);
    return rc;
}

static int cfg_load_tls(const struct cfg_file *f, const json_t *cluster, const char *cluster_at,
                        const json_t *user, const char *user_at, struct api_config *cfg,
                        struct err *err)
{
    char *ca = NULL, *cert = NULL, *key = NULL;
    int rc;

    rc = cfg_pem(f, cluster, cluster_at, "certificate-authority", &ca, err);
    rc = rc != 0 ? rc : cfg_pem(f, user, user_at, "client-certificate", &cert, err);
    rc = rc != 0 ? rc : cfg_pem(f, user, user_at, "client-key", &key, err);
    if (rc != 0) {
        goto out;
    }
    if (ca == NULL) {
        rc = cfg_bad(f, cluster_at, err,
                     "certificate-authority or certificate-authority-data is missing; without it "
                     "nobody knows who answers");
    } else if (cert == NULL || key == NULL) {
        rc = cfg_bad(f, user_at, err,
                     "client-certificate and client-key (or the same with -data) are missing; "
                     "Picket knows its users by certificates only");
    } else {
        rc = tls_ctx_load_pem(f->path, cert, key, ca, cfg->cluster_id, &cfg->tls, err);
    }
out:
    if (key != NULL) {
        explicit_bzero(key, strlen(key));
    }
    free(ca);
    free(cert);
    free(key);
    return rc;
}

/* Our extension of the cluster entry, or NULL. */
static const json_t *cfg_extension(const json_t *cluster)
{
    const json_t *list = json_object_get(cluster, "extensions");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);

        if (str_eq(json_string_value(json_object_get(e, "name")), "picket")) {
            return json_object_get(e, "extension");
        }
    }
    return NULL;
}

static int cfg_load_cluster(const struct cfg_file *f, const json_t *cluster, const char *at,
                            struct api_config *cfg, bool *ret_tls, struct err *err)
{
    const json_t *ext = cfg_extension(cluster);
    const char *servers = cfg_text(ext, "servers");
    int rc;

    cfg->cluster_id = mem_strdup(cfg_text(ext, "cluster"));
    servers = servers != NULL ? servers : cfg_text(cluster, "server");
    if (servers == NULL) {
        return cfg_bad(f, at, err, "server is missing; write server: https://HOST:PORT");
    }
    if (json_is_true(json_object_get(cluster, "insecure-skip-tls-verify"))) {
        return cfg_bad(f, at, err, "insecure-skip-tls-verify is not supported, for good reasons");
    }
    rc = cfg_add_servers(cfg, servers, ret_tls, err);
    return rc != 0 ? err_wrap(err, "%s", f->path) : 0;
}

static int cfg_load_context(const struct cfg_file *f, const char *name, struct api_config *cfg,
                            struct err *err)
{
    const json_t *context, *cluster, *user;
    char cluster_at[64], user_at[64];
    const char *cluster_name;
    size_t i;
    bool tls = false;
    int rc;

    rc = cfg_entry(f, "contexts", "context", name, &context, &i, err);
    if (rc != 0) {
        return rc;
    }
    cfg->context = mem_strdup(name);
    cfg->user = mem_strdup(cfg_text(context, "user"));
    cluster_name = cfg_text(context, "cluster");
    if (cluster_name == NULL) {
        return err_set(err, ERR_INVALID, "%s: context \"%s\" names no cluster", f->path, name);
    }
    rc = cfg_entry(f, "clusters", "cluster", cluster_name, &cluster, &i, err);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(cluster_at, sizeof(cluster_at), "clusters[%zu].cluster", i);
    rc = cfg_load_cluster(f, cluster, cluster_at, cfg, &tls, err);
    if (rc != 0 || !tls) {
        return rc;
    }
    if (cfg->user == NULL) {
        return err_set(err, ERR_INVALID, "%s: context \"%s\" names no user", f->path, name);
    }
    rc = cfg_entry(f, "users", "user", cfg->user, &user, &i, err);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(user_at, sizeof(user_at), "users[%zu].user", i);
    return cfg_load_tls(f, cluster, cluster_at, user, user_at, cfg, err);
}

/* Which file?  The caller frees it. */
static char *cfg_default_path(void)
{
    const char *env = getenv("PICKETCONFIG");
    const char *home = getenv("HOME");
    char *path;

    if (env != NULL && env[0] != '\0') {
        return mem_strdup(env);
    }
    env = getenv("KUBECONFIG");
    if (env != NULL && env[0] != '\0' && env[0] != ':') {
        return mem_strndup(env, strcspn(env, ":"));
    }
    if (home != NULL && home[0] != '\0') {
        path = mem_printf("%s/.picket/config", home);
        if (access(path, F_OK) == 0) {
            return path;
        }
        free(path);
    }
    return mem_strdup(CFG_SYSTEM);
}

static int cfg_read(struct cfg_file *f, struct err *err)
{
    const char *slash = strrchr(f->path, '/');
    char *text = NULL;
    int rc;

    f->dir = slash == NULL ? mem_strdup(".") : mem_strndup(f->path, (size_t)(slash - f->path) + 1);
    rc = cfg_slurp(f->path, &text, err);
    if (rc != 0) {
        return rc;
    }
    rc = manifest_parse(text, strlen(text), f->path, &f->manifest, err);
    explicit_bzero(text, strlen(text));
    free(text);
    if (rc != 0) {
        return rc;
    }
    if (manifest_count(f->manifest) != 1) {
        return err_set(err, ERR_INVALID, "%s: want one document (kind: Config), found %zu", f->path,
                       manifest_count(f->manifest));
    }
    f->root = manifest_doc(f->manifest, 0)->obj;
    return 0;
}

int api_config_load(const char *path, const char *context, struct api_config **ret, struct err *err)
{
    char *mine = path == NULL ? cfg_default_path() : NULL;
    struct cfg_file f = { .path = path == NULL ? mine : path };
    struct api_config *cfg = OBJ_NEW(struct api_config);
    int rc;

    rc = cfg_read(&f, err);
    if (rc == ERR_NOT_FOUND && path == NULL) {
        (void)err_wrap(err,
                       "no configuration found ($PICKETCONFIG, $KUBECONFIG, ~/.picket/config, "
                       "%s)",
                       CFG_SYSTEM);
    }
    if (rc != 0) {
        goto out;
    }
    context = context != NULL ? context : cfg_text(f.root, "current-context");
    if (context == NULL) {
        rc = err_set(err, ERR_INVALID, "%s: current-context is not set; use --context", f.path);
        goto out;
    }
    rc = cfg_load_context(&f, context, cfg, err);
    if (rc == 0 && api_config_resolve(cfg, err) != 0) {
        rc = err_wrap(err, "%s", f.path);
    }
    if (rc == 0) {
        *ret = cfg;
        cfg = NULL;
    }
out:
    api_config_free(cfg);
    manifest_free(f.manifest);
    free(f.dir);
    free(mine);
    return rc;
}

/* --- writing --- */

/* Add FILE's content as base64 under `key`. */
static int cfg_embed(json_t *obj, const char *key, const char *file, struct err *err)
{
    char *pem = NULL, *b64;
    size_t len;
    int rc;

    rc = cfg_slurp(file, &pem, err);
    if (rc != 0) {
        return rc;
    }
    len = strlen(pem);
    b64 = mem_alloc(4 * ((len + 2) / 3) + 1);
    str_b64_encode(pem, len, b64);
    CHECK(json_object_set_new(obj, key, json_string(b64)) == 0);
    explicit_bzero(pem, len);
    explicit_bzero(b64, strlen(b64));
    free(pem);
    free(b64);
    return 0;
}

static int cfg_write_file(const char *path, const char *text, struct err *err)
{
    char *tmp = mem_printf("%s.%ld.tmp", path, (long)getpid());
    size_t len = strlen(text);
    int fd = -1;
    int rc;

    (void)unlink(tmp);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "create %s", tmp);
        goto out;
    }
    if (write(fd, text, len) != (ssize_t)len || fsync(fd) != 0 || rename(tmp, path) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "write %s", path);
        (void)unlink(tmp);
        goto out;
    }
    rc = 0;
out:
    if (fd >= 0) {
        (void)close(fd);
    }
    free(tmp);
    return rc;
}

/* "https://" in front of a server that has no scheme; the caller frees it. */
static char *cfg_url(const char *server)
{
    size_t len = strcspn(server, ", ");

    if (str_starts(server, "unix:") || str_starts(server, "https://") ||
        str_starts(server, "http://")) {
        return mem_strndup(server, len);
    }
    return mem_printf("https://%.*s", (int)len, server);
}

int api_config_write(const char *path, const char *name, const char *servers, const char *cert,
                     const char *key, const char *ca, const char *cluster_id, struct err *err)
{
    json_t *cluster = json_object(), *user = json_object(), *root = NULL;
    char *first = cfg_url(servers), *text;
    int rc;

    rc = cfg_embed(cluster, "certificate-authority-data", ca, err);
    rc = rc != 0 ? rc : cfg_embed(user, "client-certificate-data", cert, err);
    rc = rc != 0 ? rc : cfg_embed(user, "client-key-data", key, err);
    if (rc != 0) {
        json_decref(cluster);
        json_decref(user);
        goto out;
    }
    (void)json_object_set_new(cluster, "server", json_string(first));
    (void)json_object_set_new(cluster, "extensions",
                              json_pack("[{s:s, s:{s:s, s:s*}}]", "name", "picket", "extension",
                                        "servers", servers, "cluster", cluster_id));
    root = json_pack("{s:s, s:s, s:s, s:[{s:s, s:o}], s:[{s:s, s:o}], s:[{s:s, s:{s:s, s:s}}]}",
                     "apiVersion", "v1", "kind", "Config", "current-context", name, "clusters",
                     "name", name, "cluster", cluster, "users", "name", name, "user", user,
                     "contexts", "name", name, "context", "cluster", name, "user", name);
    CHECK(root != NULL);
    text = json_to_yaml(root);
    rc = cfg_write_file(path, text, err);
    explicit_bzero(text, strlen(text));
    free(text);
    json_decref(root);
out:
    free(first);
    return rc;
}
