/* What libcurl is told for one request: checked options in, a configured easy handle out. On a refusal, `why` names the
 * option.
 *
 * Fixed for everyone: HTTP/1.1, http and https only, TLS 1.2 or later, no redirects (they would carry the key
 * elsewhere), no cookies, netrc, HSTS or Alt-Svc, no Expect, no signals. We do not ask for compression, but decode gzip
 * and deflate, because some proxies compress anyway (transfer.c refuses other codings). Proxies come from the
 * environment as in curl, unless one is given. The only I/O is one access(2) on the CA bundle. Sources: libcurl's
 * option pages; RFC 9110 sections
 * 5.1, 5.5, 9.1. */
#define _GNU_SOURCE
#include "internal.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#define MAX_METHOD_BYTES   32
#define MAX_BUFFER_DEFAULT ((size_t)256 * 1024)
#define MAX_HEADER_DEFAULT ((size_t)64 * 1024)
#define KEEPALIVE_IDLE_S   45L /* some NAT devices forget a silent connection after a minute */
#define KEEPALIVE_EVERY_S  15L
#define NO_TIMEOUT_MS      ((long)INT_MAX) /* 0 would mean libcurl's own 300 s */

#define TRY(call)                                  \
    do {                                           \
        CURLcode try_code = (call);                \
        if (try_code != CURLE_OK) return try_code; \
    } while (0)

/* Checks ----------------------------------------------------------------------------------------------------------- */

static bool is_token_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static size_t token_len(const char *text) {
    size_t len = 0;
    while (is_token_byte(text[len])) {
        len++;
    }
    return len;
}

static bool is_control(char c) {
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static bool url_is_fine(const char *url) {
    if (!url || (!curl_strnequal(url, "http://", 7) && !curl_strnequal(url, "https://", 8))) return false;
    for (; *url; url++) {
        if (is_control(*url) || *url == ' ' || *url == '\t') return false;
    }
    return true;
}

static bool method_is_fine(const char *method) {
    size_t len = method ? token_len(method) : 0;
    return len > 0 && len <= MAX_METHOD_BYTES && method[len] == '\0';
}

static bool name_is(const char *line, size_t len, const char *name) {
    return len == strlen(name) && curl_strnequal(line, name, len);
}

/* "Name: value"; or "Name;", libcurl's spelling of an empty value. Only libcurl says where the body ends: with another
 * length, the rest of the body would be read as the connection's next request. */
static bool header_is_fine(const char *line) {
    size_t len = token_len(line);
    if (len == 0 || (line[len] != ':' && line[len] != ';')) return false;
    if (name_is(line, len, "Content-Length") || name_is(line, len, "Transfer-Encoding")) return false;
    if (line[len] == ';') return line[len + 1] == '\0';
    for (line += len; *line; line++) {
        if (is_control(*line)) return false;
    }
    return true;
}

/* With a control character in the proxy's user or password, even an escaped one, libcurl 7.88 connects without a
 * proxy. */
static bool proxy_is_fine(const char *proxy) {
    for (; *proxy; proxy++) {
        if (is_control(*proxy) || *proxy == ' ' || *proxy == '\t') return false;
        if (*proxy == '%' && (proxy[1] == '0' || proxy[1] == '1' || curl_strnequal(proxy + 1, "7f", 2))) return false;
    }
    return true;
}

static const char *first_fault(const struct vllm_request_options *options) {
    if (!url_is_fine(options->url)) return "url";
    if (!method_is_fine(options->method)) return "method";
    if (options->connect_timeout_ms < 0) return "connect_timeout_ms";
    if (options->body_len > 0 && !options->body) return "body";
    if (options->proxy && !proxy_is_fine(options->proxy)) return "proxy";
    for (const char *const *line = options->headers; line && *line; line++) {
        if (!header_is_fine(*line)) return "headers";
    }
    return NULL;
}

/* Groups of options ------------------------------------------------------------------------------------------------ */

static CURLcode set_protocol(CURL *easy) {
#if LIBCURL_VERSION_NUM >= 0x075500
    TRY(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"));
#else
    TRY(curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)));
#endif
    TRY(curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1));
    TRY(curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L));
    TRY(curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L));
    TRY(curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED));
    TRY(curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING,
                         "identity")); /* naming any coding makes libcurl decode all it knows */
    return curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static CURLcode set_behaviour(CURL *easy, const struct vllm_engine *engine, long connect_timeout_ms) {
    TRY(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L));
    TRY(curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L));
#if LIBCURL_VERSION_NUM >= 0x075700
    TRY(curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L)); /* a close does not wait for the resolver's thread */
#endif
    TRY(curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L));
    TRY(curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L));
    TRY(curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S));
    TRY(curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_EVERY_S));
    if (engine->max_idle_age_s > 0) TRY(curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, engine->max_idle_age_s));
    return curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ms ? connect_timeout_ms : NO_TIMEOUT_MS);
}

static CURLcode set_callbacks(struct vllm_request *request) {
    CURL *easy = request->easy;
    TRY(curl_easy_setopt(easy, CURLOPT_PRIVATE, request));
    TRY(curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text));
    TRY(curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, vllm_transfer_on_header));
    TRY(curl_easy_setopt(easy, CURLOPT_HEADERDATA, request));
    TRY(curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, vllm_transfer_on_body));
    TRY(curl_easy_setopt(easy, CURLOPT_WRITEDATA, request));
    TRY(curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, vllm_socket_open));
    TRY(curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request));
    TRY(curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, vllm_socket_close));
    return curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, request->engine);
}

static CURLcode set_method_and_body(CURL *easy, const struct vllm_request_options *options) {
    bool post = strcmp(options->method, "POST") == 0;
    if (options->body || post) {
        TRY(curl_easy_setopt(easy, CURLOPT_POST, 1L));
        TRY(curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body_len));
        TRY(curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, options->body ? options->body : ""));
        return post ? CURLE_OK : curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, options->method);
    }
    if (strcmp(options->method, "HEAD") == 0) return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    TRY(curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L));
    return strcmp(options->method, "GET") == 0 ? CURLE_OK
                                               : curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, options->method);
}

static CURLcode append_header(struct vllm_request *request, const char *line) {
    struct curl_slist *grown = curl_slist_append(request->headers, line);
    if (!grown) return CURLE_OUT_OF_MEMORY;
    request->headers = grown;
    return CURLE_OK;
}

static CURLcode set_headers(struct vllm_request *request, const struct vllm_request_options *options) {
    bool has_type = false;
    TRY(append_header(request, "Expect:")); /* "Name:" removes libcurl's own header, not ours */
    TRY(append_header(request, "Accept:"));
    TRY(append_header(request, "Accept-Encoding:"));
    for (const char *const *line = options->headers; line && *line; line++) {
        has_type = has_type || name_is(*line, token_len(*line), "Content-Type");
        TRY(append_header(request, *line));
    }
    if (!has_type) TRY(append_header(request, "Content-Type:")); /* libcurl would call it a form */
    return curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers);
}

static bool is_missing(CURLcode code) {
    return code == CURLE_NOT_BUILT_IN || code == CURLE_UNKNOWN_OPTION;
}

static CURLcode set_verification(CURL *easy, bool insecure) {
    CURLcode code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (is_missing(code)) return CURLE_OK; /* no TLS: https fails by itself */
    TRY(code);
    TRY(curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L));
    return curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L);
}

/* NULL: none. A libcurl without the option has no such authorities. */
static CURLcode set_authorities(CURL *easy, CURLoption option, const char *path) {
    CURLcode code = curl_easy_setopt(easy, option, path);
    return is_missing(code) ? CURLE_OK : code;
}

/* Authorities given by the user replace the system's. Otherwise the system's bundle is enough where it is known: a
 * directory as well would disable libcurl's cache of the parsed bundle, which costs about 20 ms a connection. */
static CURLcode set_trust(CURL *easy, const struct vllm_request_options *options) {
    if (options->ca_file || options->ca_path) {
        if (!options->ca_file) TRY(set_authorities(easy, CURLOPT_CAINFO, NULL));
        if (!options->ca_path) TRY(set_authorities(easy, CURLOPT_CAPATH, NULL));
        TRY(set_authorities(easy, CURLOPT_PROXY_CAINFO, options->ca_file));
        return set_authorities(easy, CURLOPT_PROXY_CAPATH, options->ca_path);
    }
#if LIBCURL_VERSION_NUM >= 0x075400
    char *bundle = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_CAINFO, &bundle) == CURLE_OK && bundle && access(bundle, R_OK) == 0) {
        TRY(set_authorities(easy, CURLOPT_CAPATH, NULL));
        return set_authorities(easy, CURLOPT_PROXY_CAPATH, NULL);
    }
#endif
    return CURLE_OK;
}

/* Options that are strings. Not every libcurl has all of them. */
static CURLcode set_strings(CURL *easy, const struct vllm_request_options *options, const char **why) {
    /* A proxy from the environment is not meant for a unix socket. */
    const char *proxy = options->unix_socket && !options->proxy ? "" : options->proxy;
    /* Without one, OpenSSL prompts on the terminal, and everything waits. */
    const char *password = options->cert && !options->key_password ? "" : options->key_password;
    const struct {
        CURLoption option;
        const char *value, *name;
    } strings[] = {
        {CURLOPT_URL, options->url, "url"},
        {CURLOPT_PROXY, proxy, "proxy"},
        {CURLOPT_NOPROXY, options->no_proxy, "no_proxy"},
        {CURLOPT_UNIX_SOCKET_PATH, options->unix_socket, "unix_socket"},
        {CURLOPT_CAINFO, options->ca_file, "ca_file"},
        {CURLOPT_CAPATH, options->ca_path, "ca_path"},
        {CURLOPT_SSLCERT, options->cert, "cert"},
        {CURLOPT_SSLKEY, options->key, "key"},
        {CURLOPT_KEYPASSWD, password, "key_password"},
    };
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        if (!strings[i].value) continue;
        *why = strings[i].name;
        TRY(curl_easy_setopt(easy, strings[i].option, strings[i].value));
    }
    return CURLE_OK;
}

static CURLcode set_all(struct vllm_request *request, const struct vllm_request_options *options, const char **why) {
    CURL *easy = request->easy;
    *why = "libcurl";
    TRY(set_protocol(easy));
    TRY(set_behaviour(easy, request->engine, options->connect_timeout_ms));
    TRY(set_callbacks(request));
    TRY(set_verification(easy, options->insecure));
    *why = "body";
    TRY(set_method_and_body(easy, options));
    *why = "headers";
    TRY(set_headers(request, options));
    TRY(set_strings(easy, options, why));
    *why = "libcurl";
    TRY(set_trust(easy, options));
    *why = NULL;
    return CURLE_OK;
}

enum vllm_net_status vllm_options_apply(struct vllm_request *request, const struct vllm_request_options *options,
                                        const char **why) {
    *why = first_fault(options);
    if (*why) return VLLM_NET_INVALID;
    request->max_buffer = options->max_buffer ? options->max_buffer : MAX_BUFFER_DEFAULT;
    request->max_header_bytes = options->max_header_bytes ? options->max_header_bytes : MAX_HEADER_DEFAULT;
    CURLcode code = set_all(request, options, why);
    if (code == CURLE_OK) return VLLM_NET_OK;
    return code == CURLE_OUT_OF_MEMORY ? VLLM_NET_NOMEM : VLLM_NET_INVALID;
}
