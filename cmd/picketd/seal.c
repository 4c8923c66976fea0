#include "cmd/picketd/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"

#define SEAL_PREFIX "sealed:1:"
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define SECRET_MAX 65536

static int seal_read(struct node *n, const char *path, struct err *err)
{
    char text[65] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "--seal-key %s", path);
    }
    got = read(fd, text, 64);
    (void)close(fd);
    for (size_t i = 0; i < 32; i++) {
        unsigned byte;

        if (got != 64 || sscanf(text + 2 * i, "%2x", &byte) != 1) {
            return err_set(err, ERR_INVALID, "--seal-key %s: 64 hex digits are needed", path);
        }
        n->seal_key[i] = (uint8_t)byte;
    }
    n->has_seal_key = true;
    explicit_bzero(text, sizeof(text));
    return 0;
}

/* Labs whose nodes share a folder make the key themselves; link(2) lets exactly one of them win. */
static void seal_make(const char *path)
{
    uint8_t key[32];
    char text[65];
    char *tmp = mem_printf("%s.%d", path, (int)getpid());
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    clock_random(key, sizeof(key));
    str_hex(key, sizeof(key), text);
    if (fd >= 0) {
        if (write(fd, text, 64) == 64 && fsync(fd) == 0) {
            (void)!link(tmp, path);
        }
        (void)close(fd);
        (void)unlink(tmp);
    }
    explicit_bzero(key, sizeof(key));
    explicit_bzero(text, sizeof(text));
    free(tmp);
}

int seal_load(struct node *n, struct err *err)
{
    const char *ca = n->opts.tls_ca;
    const char *slash = ca == NULL ? NULL : strrchr(ca, '/');
    char *path;
    int rc = 0;

    if (n->opts.seal_key != NULL) {
        return seal_read(n, n->opts.seal_key, err);
    }
    if (slash == NULL) {
        return 0;
    }
    path = mem_printf("%.*s/seal.key", (int)(slash - ca), ca);
    if (n->opts.lab && access(path, F_OK) != 0) {
        seal_make(path);
    }
    if (access(path, F_OK) == 0) {
        rc = seal_read(n, path, err);
    }
    free(path);
    return rc;
}

static int seal_ready(const struct node *n, struct err *err)
{
    if (!n->has_seal_key) {
        return err_set(err, ERR_UNSUPPORTED,
                       "%s has no sealing key (--seal-key): it can neither store nor use Secrets",
                       n->opts.name);
    }
    return 0;
}

/* Encrypt or decrypt text in place of `out`; the tag is written or checked. */
static bool seal_crypt(const struct node *n, bool enc, const char *aad, const uint8_t *nonce,
                       const uint8_t *in, int len, uint8_t *out, uint8_t *tag)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int k = 0;
    bool ok;

    CHECK(c != NULL);
    ok = EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, n->seal_key, nonce, enc) == 1 &&
         EVP_CipherUpdate(c, NULL, &k, (const uint8_t *)aad, (int)strlen(aad)) == 1 &&
         EVP_CipherUpdate(c, out, &k, in, len) == 1;
    if (ok && !enc) {
        ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1;
    }
    ok = ok && EVP_CipherFinal_ex(c, out + k, &k) == 1;
    if (ok && enc) {
        ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1;
    }
    EVP_CIPHER_CTX_free(c);
    return ok;
}

int seal_close(const struct node *n, const char *secret, const char *key, const char *text,
               char **ret, struct err *err)
{
    size_t len = strlen(text);
    size_t total = NONCE_BYTES + len + TAG_BYTES;
    uint8_t *raw;
    char *aad, *out;
    bool ok;

    if (seal_ready(n, err) != 0) {
        return err->code;
    }
    if (len > SECRET_MAX) {
        return err_set(err, ERR_TOO_LARGE, "Secret %s: %s is longer than %d bytes", secret, key,
                       SECRET_MAX);
    }
    raw = mem_alloc(total);
    aad = mem_printf("%s/%s", secret, key);
    clock_random(raw, NONCE_BYTES);
    ok = seal_crypt(n, true, aad, raw, (const uint8_t *)text, (int)len, raw + NONCE_BYTES,
                    raw + NONCE_BYTES + len);
    CHECK(ok);
    out = mem_alloc(sizeof(SEAL_PREFIX) + 4 * ((total + 2) / 3));
    memcpy(out, SEAL_PREFIX, sizeof(SEAL_PREFIX) - 1);
    str_b64_encode(raw, total, out + sizeof(SEAL_PREFIX) - 1);
    free(aad);
    free(raw);
    *ret = out;
    return 0;
}

int seal_open(const struct node *n, const char *secret, const char *key, const char *sealed,
              char **ret, struct err *err)
{
    size_t slen = strlen(sealed);
    size_t total = 0;
    uint8_t *raw;
    char *aad, *out;
    bool ok;

    if (seal_ready(n, err) != 0) {
        return err->code;
    }
    raw = mem_alloc(slen + 1);
    ok = str_starts(sealed, SEAL_PREFIX) &&
         str_b64_decode(sealed + sizeof(SEAL_PREFIX) - 1, slen - (sizeof(SEAL_PREFIX) - 1), raw,
                        slen, &total) &&
         total >= NONCE_BYTES + TAG_BYTES;
    out = mem_alloc(total + 1);
    aad = mem_printf("%s/%s", secret, key);
    if (ok) {
        size_t len = total - NONCE_BYTES - TAG_BYTES;

        ok = seal_crypt(n, false, aad, raw, raw + NONCE_BYTES, (int)len, (uint8_t *)out,
                        raw + NONCE_BYTES + len);
    }
    free(aad);
    free(raw);
    if (!ok) {
        free(out);
        return err_set(
            err, ERR_CORRUPT,
            "Secret %s: %s cannot be opened with this node's sealing key: restore the key "
            "or apply the Secret again",
            secret, key);
    }
    *ret = out;
    return 0;
}

void seal_wipe(char *s)
{
    if (s != NULL) {
        explicit_bzero(s, strlen(s));
        free(s);
    }
}

/* Put one plain value into `data`, keeping the old sealed form when nothing changed. */
static int seal_value(const struct node *n, const char *secret, const char *key, const char *text,
                      const json_t *old, json_t *data, struct err *err)
{
    const char *before = json_string_value(json_object_get(json_object_get(old, "data"), key));
    char *plain = NULL;
    char *sealed = NULL;
    struct err ignored;
    bool keep = false;
    int rc;

    if (before != NULL) {
        keep = seal_open(n, secret, key, before, &plain, &ignored) == 0 && str_eq(plain, text);
        seal_wipe(plain);
    }
    if (keep) {
        (void)json_object_set_new(data, key, json_string(before));
        return 0;
    }
    rc = seal_close(n, secret, key, text, &sealed, err);
    if (rc == 0) {
        (void)json_object_set_new(data, key, json_string(sealed));
        free(sealed);
    }
    return rc;
}

static int seal_data(const struct node *n, const char *secret, const json_t *from, bool base64,
                     const json_t *old, json_t *data, struct err *err)
{
    const char *key;
    const json_t *value;

    for (void *it = json_object_iter((json_t *)(uintptr_t)from); it != NULL;
         it = json_object_iter_next((json_t *)(uintptr_t)from, it)) {
        const char *text;
        char *plain = NULL;
        size_t len = 0;
        int rc;

        key = json_object_iter_key(it);
        value = json_object_iter_value(it);
        text = json_string_value(value);
        if (text == NULL) {
            return err_set(err, ERR_INVALID, "Secret %s: %s must be a string", secret, key);
        }
        if (base64) {
            plain = mem_alloc(strlen(text) + 1);
            if (!str_b64_decode(text, strlen(text), (uint8_t *)plain, strlen(text), &len) ||
                memchr(plain, 0, len) != NULL) {
                seal_wipe(plain);
                return err_set(err, ERR_INVALID, "Secret %s: data.%s is not base64 of text", secret,
                               key);
            }
            text = plain;
        }
        rc = seal_value(n, secret, key, text, old, data, err);
        seal_wipe(plain);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int seal_secret(const struct node *n, json_t *obj, const json_t *old, bool replace, struct err *err)
{
    const char *name = obj_name(obj);
    const json_t *plain = json_object_get(obj, "stringData");
    const json_t *coded = json_object_get(obj, "data");
    bool keep = coded == NULL && (plain == NULL || !replace);
    json_t *data = keep ? json_copy(json_object_get(old, "data")) : NULL;
    int rc;

    if (data == NULL) {
        data = json_object();
    }
    rc = seal_data(n, name, coded, true, old, data, err);
    if (rc == 0) {
        rc = seal_data(n, name, plain, false, old, data, err);
    }
    if (rc != 0) {
        json_decref(data);
        return rc;
    }
    (void)json_object_del(obj, "stringData");
    /* kubectl's client-side apply copies the whole manifest, values included, into this annotation
     */
    (void)json_object_del(json_object_get(json_object_get(obj, "metadata"), "annotations"),
                          "kubectl.kubernetes.io/last-applied-configuration");
    (void)json_object_set_new(obj, "data", data);
    return 0;
}

int seal_lookup(const struct node *n, const char *secret, const char *key, char **ret,
                struct err *err)
{
    uint64_t rev;
    json_t *obj = object_load(n->store, kind_find("Secret"), secret, &rev, err);
    const char *sealed;
    int rc;

    if (obj == NULL) {
        return err->code;
    }
    sealed = json_string_value(json_object_get(json_object_get(obj, "data"), key));
    if (sealed == NULL) {
        rc = err_set(err, ERR_NOT_FOUND, "Secret %s has no key \"%s\"", secret, key);
    } else {
        rc = seal_open(n, secret, key, sealed, ret, err);
    }
    json_decref(obj);
    return rc;
}

int seal_ref(const struct node *n, const json_t *obj, const char *path, const char *key, char **ret,
             struct err *err)
{
    char ref[96];
    const char *secret;
    int rc;

    *ret = NULL;
    (void)snprintf(ref, sizeof(ref), "%s.secret", path);
    secret = jget_str(obj, ref, NULL);
    if (secret == NULL) {
        return 0;
    }
    (void)snprintf(ref, sizeof(ref), "%s.key", path);
    rc = seal_lookup(n, secret, jget_str(obj, ref, key), ret, err);
    return rc == 0 ? 0 : err_wrap(err, "%s", path);
}
