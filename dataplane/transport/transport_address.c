// SPDX-License-Identifier: Apache-2.0
// Design: the last colon separates host and port; brackets are required around a host with colons,
// so that "::1" alone is an error rather than host ":" and port 1. Names are resolved elsewhere,
// asynchronously; here is only what needs no resolver.
#include "dataplane/transport/transport_address.h"

#include <uv.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static enum status parse_port(const char *text, uint16_t *out) {
    uint32_t port = 0;
    if (*text == '\0') { return STATUS_INVALID_ARGUMENT; }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') { return STATUS_INVALID_ARGUMENT; }
        port = port * 10 + (uint32_t)(*text - '0');
        if (port > UINT16_MAX) { return STATUS_INVALID_ARGUMENT; }
    }
    *out = (uint16_t)port;
    return STATUS_OK;
}

enum status transport_address_parse(const char *text, struct transport_address *out) {
    struct transport_address address = {{0}, 0};
    size_t size = strnlen(text, TRANSPORT_ADDRESS_SIZE_MAX);
    const char *colon = strrchr(text, ':');
    if (size == TRANSPORT_ADDRESS_SIZE_MAX || colon == NULL || colon == text) {
        return STATUS_INVALID_ARGUMENT;
    }
    enum status st = parse_port(colon + 1, &address.port);
    if (st != STATUS_OK) { return st; }
    size_t host_size = (size_t)(colon - text);
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    if (bracketed) {
        text++;
        host_size -= 2;
    } else if (memchr(text, ':', host_size) != NULL) {
        return STATUS_INVALID_ARGUMENT;
    }
    if (host_size == 0) { return STATUS_INVALID_ARGUMENT; }
    for (size_t i = 0; i < host_size; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f) { return STATUS_INVALID_ARGUMENT; }
    }
    memcpy(address.host, text, host_size);
    *out = address;
    return STATUS_OK;
}

enum status transport_address_numeric(const struct transport_address *address,
                                      struct sockaddr_storage *out) {
    struct sockaddr_storage storage;
    memset(&storage, 0, sizeof(storage));
    if (uv_ip4_addr(address->host, address->port, (struct sockaddr_in *)&storage) != 0 &&
        uv_ip6_addr(address->host, address->port, (struct sockaddr_in6 *)&storage) != 0) {
        return STATUS_NOT_FOUND;
    }
    *out = storage;
    return STATUS_OK;
}

bool transport_address_is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
    return false;
}

bool transport_address_is_any(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return v4->sin_addr.s_addr == htonl(INADDR_ANY);
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        return IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
    }
    return false;
}

void transport_address_format(const struct sockaddr *address,
                              char out[TRANSPORT_ADDRESS_SIZE_MAX]) {
    char host[INET6_ADDRSTRLEN] = "";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        (void)uv_ip4_name(v4, host, sizeof(host));
        (void)snprintf(out, TRANSPORT_ADDRESS_SIZE_MAX, "%s:%u", host, ntohs(v4->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        (void)uv_ip6_name(v6, host, sizeof(host));
        (void)snprintf(out, TRANSPORT_ADDRESS_SIZE_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        (void)snprintf(out, TRANSPORT_ADDRESS_SIZE_MAX, "?");
    }
}
