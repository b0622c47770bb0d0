/* Certificates made on the spot: an authority, a server certificate for localhost and 127.0.0.1, a client certificate.
 * Elliptic curve keys (P-256), valid for two days, TLS 1.2 or later. The authority's certificate, and the client's with
 * its key, are written as files for clients and removed at the end.
 */
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
};

static void must(int ok) {
    if (!ok) die("OpenSSL refused to make a certificate");
}

static void add_extension(X509 *certificate, X509 *issuer, int kind, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    must(extension != NULL && X509_add_ext(certificate, extension, -1));
    X509_EXTENSION_free(extension);
}

/* Signed by `issuer`, or by itself where that is NULL. */
static struct identity make_identity(const char *name, long serial, const struct identity *issuer) {
    struct identity made = {EVP_EC_gen("P-256"), X509_new()};
    must(made.key != NULL && made.certificate != NULL);
    X509 *certificate = made.certificate;
    X509_NAME *subject = X509_get_subject_name(certificate);
    must(X509_set_version(certificate, 2));
    must(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial + (long)getpid() * 10));
    must(X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) != NULL);
    must(X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) != NULL);
    must(X509_set_pubkey(certificate, made.key));
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0));
    X509 *signer = issuer == NULL ? certificate : issuer->certificate;
    must(X509_set_issuer_name(certificate, X509_get_subject_name(signer)));
    add_extension(certificate, signer, NID_basic_constraints, issuer == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    add_extension(certificate, signer, NID_subject_key_identifier, "hash");
    if (issuer == NULL) add_extension(certificate, signer, NID_key_usage, "critical,keyCertSign");
    else add_extension(certificate, signer, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    must(X509_sign(certificate, issuer == NULL ? made.key : issuer->key, EVP_sha256()) > 0);
    return made;
}

static void identity_free(struct identity *identity) {
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
}

static FILE *create_file(char *path, size_t size, const char *name) {
    const char *directory = getenv("TMPDIR");
    int length = snprintf(path, size, "%s/test-server-%ld-%s.pem", directory != NULL ? directory : "/tmp",
                          (long)getpid(), name);
    if (length <= 0 || (size_t)length >= size) die("the temporary directory has too long a name");
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (file == NULL) die("cannot write a certificate");
    return file;
}

static void write_files(struct tls_files *files, const struct identity *ca, const struct identity *client) {
    FILE *file = create_file(files->ca, sizeof files->ca, "ca");
    must(PEM_write_X509(file, ca->certificate) && fclose(file) == 0);
    file = create_file(files->cert, sizeof files->cert, "cert");
    must(PEM_write_X509(file, client->certificate) && fclose(file) == 0);
    file = create_file(files->key, sizeof files->key, "key");
    must(PEM_write_PrivateKey(file, client->key, NULL, NULL, 0, NULL, NULL) && fclose(file) == 0);
}

static SSL_CTX *make_context(const struct identity *server, X509 *client_authority) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    must(context != NULL && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION));
    must(SSL_CTX_use_certificate(context, server->certificate) && SSL_CTX_use_PrivateKey(context, server->key));
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"test", 4);
    if (client_authority != NULL) {
        must(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), client_authority));
        must(SSL_CTX_add_client_CA(context, client_authority));
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    return context;
}

void tls_start(struct server *s) {
    struct identity ca = make_identity("test server authority", 1, NULL);
    struct identity server = make_identity("localhost", 2, &ca);
    struct identity client = make_identity("test client", 3, &ca);
    write_files(&s->files, &ca, &client);
    s->tls = make_context(&server, NULL);
    s->mtls = make_context(&server, ca.certificate);
    identity_free(&client);
    identity_free(&server);
    identity_free(&ca);
}

void tls_stop(struct server *s) {
    const char *files[] = {s->files.ca, s->files.cert, s->files.key};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (*files[i] != '\0') unlink(files[i]);
    SSL_CTX_free(s->tls);
    SSL_CTX_free(s->mtls);
}
