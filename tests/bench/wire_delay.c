// SPDX-License-Identifier: Apache-2.0
// A wire of some length for benchmarks: forwards TCP connections on loopback and delivers every
// byte a fixed time after it came, in order, in both directions. The kernels of test machines
// rarely have a delaying queue discipline, and need root for it.
//
// One thread and one ppoll: a handful of connections between a handful of nodes. What is under way
// is bounded; a sender that is ahead of that waits, as it would for a window.
#include "dataplane/base/mem.h"
#include "tests/bench/program.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    WIRES_MAX = 16,
    LINKS_MAX = 256,
    CHUNK_SIZE = 1 << 16,
    UNDER_WAY_MAX = 64 << 20,
    DELAY_MS_MAX = 10000,
    US_PER_MS = 1000
};

// Bytes that came together, and leave together.
struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t size;
    size_t sent;
    uint8_t data[];
};

// One direction of a connection.
struct pipe {
    int from;
    int to;
    struct chunk *first;
    struct chunk *last;
    size_t bytes;
    bool stuck;  // the receiver takes no more for now
};

struct link {
    bool open;
    struct pipe pipes[2];
};

struct wire {
    int listener;
    struct sockaddr_in target;
};

static struct wire wires[WIRES_MAX];
static uint32_t wire_count;
static struct link links[LINKS_MAX];
static uint64_t delay_ns;
static volatile sig_atomic_t stopped;

static void on_signal(int number) {
    (void)number;
    stopped = 1;
}

static bool parse_address(const char *text, struct sockaddr_in *out) {
    char host[64];
    unsigned port = 0;
    *out = (struct sockaddr_in){.sin_family = AF_INET};
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || port == 0 || port > UINT16_MAX) {
        return false;
    }
    out->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

// LISTEN=TARGET
static bool add_wire(char *text) {
    char *equals = strchr(text, '=');
    struct sockaddr_in here;
    if (wire_count == WIRES_MAX || equals == NULL) { return false; }
    *equals = 0;
    struct wire *wire = &wires[wire_count];
    if (!parse_address(text, &here) || !parse_address(equals + 1, &wire->target)) { return false; }
    wire->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    (void)setsockopt(wire->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(wire->listener, (struct sockaddr *)&here, sizeof(here)) != 0 ||
        listen(wire->listener, SOMAXCONN) != 0) {
        perror(text);
        return false;
    }
    wire_count++;
    return true;
}

static void make_ready(int fd) {
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
}

// A target that is not there ends the connection, as it would without the wire.
static void accept_one(const struct wire *wire) {
    struct link *link = links;
    while (link < links + LINKS_MAX && link->open) {
        link++;
    }
    const int near = accept4(wire->listener, NULL, NULL, SOCK_CLOEXEC);
    if (near < 0) { return; }
    const int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link == links + LINKS_MAX ||
        connect(far, (const struct sockaddr *)&wire->target, sizeof(wire->target)) != 0) {
        (void)close(far);
        (void)close(near);
        return;
    }
    make_ready(near);
    make_ready(far);
    *link = (struct link){.open = true,
                          .pipes = {{.from = near, .to = far}, {.from = far, .to = near}}};
}

static void close_link(struct link *link) {
    for (uint32_t i = 0; i < 2; i++) {
        struct pipe *pipe = &link->pipes[i];
        while (pipe->first != NULL) {
            struct chunk *chunk = pipe->first;
            pipe->first = chunk->next;
            mem_free(chunk);
        }
        (void)close(pipe->from);
    }
    *link = (struct link){0};
}

// False when the connection has ended.
static bool take(struct pipe *pipe, uint64_t now_ns) {
    static uint8_t read_bytes[CHUNK_SIZE];
    const ssize_t size = read(pipe->from, read_bytes, sizeof(read_bytes));
    if (size <= 0) { return size < 0 && (errno == EAGAIN || errno == EINTR); }
    struct chunk *chunk = mem_alloc(sizeof(*chunk) + (size_t)size);
    chunk->due_ns = now_ns + delay_ns;
    chunk->size = (size_t)size;
    memcpy(chunk->data, read_bytes, chunk->size);
    *(pipe->last != NULL ? &pipe->last->next : &pipe->first) = chunk;
    pipe->last = chunk;
    pipe->bytes += chunk->size;
    return true;
}

// What is due. False when the connection has ended.
static bool deliver(struct pipe *pipe, uint64_t now_ns) {
    pipe->stuck = false;
    while (pipe->first != NULL && pipe->first->due_ns <= now_ns) {
        struct chunk *chunk = pipe->first;
        const ssize_t size =
            send(pipe->to, chunk->data + chunk->sent, chunk->size - chunk->sent, MSG_NOSIGNAL);
        if (size < 0) {
            pipe->stuck = errno == EAGAIN || errno == EINTR;
            return pipe->stuck;
        }
        chunk->sent += (size_t)size;
        if (chunk->sent < chunk->size) { continue; }
        pipe->bytes -= chunk->size;
        pipe->first = chunk->next;
        if (pipe->first == NULL) { pipe->last = NULL; }
        mem_free(chunk);
    }
    return true;
}

// Everything that is waited for: connections, bytes, room for bytes, and the next that is due.
static void wait_for_any(struct pollfd *fds, uint64_t now_ns) {
    uint64_t next_ns = now_ns + UINT64_C(1000000000);
    nfds_t count = 0;
    for (uint32_t i = 0; i < wire_count; i++) {
        fds[count++] = (struct pollfd){.fd = wires[i].listener, .events = POLLIN};
    }
    for (uint32_t i = 0; i < 2 * LINKS_MAX; i++) {
        const struct link *link = &links[i / 2];
        const struct pipe *pipe = &link->pipes[i % 2];
        const struct pipe *back = &link->pipes[1 - i % 2];
        const short in = pipe->bytes < UNDER_WAY_MAX ? POLLIN : 0;
        const short out = back->stuck ? POLLOUT : 0;
        fds[count++] =
            (struct pollfd){.fd = link->open ? pipe->from : -1, .events = (short)(in | out)};
        if (link->open && pipe->first != NULL && !pipe->stuck && pipe->first->due_ns < next_ns) {
            next_ns = pipe->first->due_ns;
        }
    }
    const uint64_t in_ns = next_ns > now_ns ? next_ns - now_ns : 0;
    const struct timespec timeout = {(time_t)(in_ns / 1000000000), (long)(in_ns % 1000000000)};
    (void)ppoll(fds, count, &timeout, NULL);
}

static void turn(void) {
    static struct pollfd fds[WIRES_MAX + 2 * LINKS_MAX];
    wait_for_any(fds, program_now_ns());
    const uint64_t now = program_now_ns();
    for (uint32_t i = 0; i < 2 * LINKS_MAX; i++) {
        struct link *link = &links[i / 2];
        const short got = fds[wire_count + i].revents;
        if (!link->open || fds[wire_count + i].fd < 0) { continue; }
        struct pipe *pipe = &link->pipes[i % 2];
        bool lives = (got & (POLLIN | POLLHUP | POLLERR)) == 0 || take(pipe, now);
        lives = lives && deliver(pipe, now);
        if (!lives) { close_link(link); }
    }
    for (uint32_t i = 0; i < wire_count; i++) {
        if ((fds[i].revents & POLLIN) != 0) { accept_one(&wires[i]); }
    }
}

int main(int argc, char **argv) {
    uint32_t delay_us = 0;
    bool good = argc > 2 && program_number(argv[1], 0, DELAY_MS_MAX * US_PER_MS, &delay_us);
    for (int i = 2; good && i < argc; i++) {
        good = add_wire(argv[i]);
    }
    if (!good) {
        (void)fprintf(
            stderr, "usage: wire_delay MICROSECONDS LISTEN=TARGET [LISTEN=TARGET...]   "
                    "(addresses as 127.0.0.1:PORT, one way; a round trip takes twice the time)\n");
        return 2;
    }
    delay_ns = (uint64_t)delay_us * US_PER_MS;
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    (void)puts("ready");
    (void)fflush(stdout);
    while (stopped == 0) {
        turn();
    }
    return 0;
}
