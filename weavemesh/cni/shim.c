/* The CNI executable: hands one call of a container runtime to the weavemesh agent and prints its answer.
 *
 * By its own name it is one of two plugins: "weavemesh-ipam" gives addresses to other plugins, any other name is that of
 * the interface plugin.
 *
 * It knows no networking. What it can say without the agent it says itself: VERSION, unknown commands, bad variables.
 * The agent gets the CNI_* variables, stdin, and the network namespaces as open descriptors, because it may see neither
 * the runtime's mounts nor its processes. During an ADD the agent may have it send netlink messages to the kernel, which
 * it neither makes nor reads: it sends each batch and passes the kernel's replies on, and it ends with the first batch
 * of which anything failed, or when the agent hangs up. If there is no agent, ADD fails with "try again later", and DEL succeeds and
 * leaves a tombstone, a file that the agent reads when it starts. Each wait has a deadline.
 *
 * The counterpart, and the description of the frames, is frame.py. Built by deploy/cni/build.sh.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_DEFAULT "/run/weavemesh/cni.sock"
#define TOMBSTONES_DEFAULT "/var/lib/cni/weavemesh-tombstones"
#define VERSIONS "\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\""
#define VERSION_NEWEST "1.1.0"
#define VERSION_ANSWER "{\"cniVersion\":\"" VERSION_NEWEST "\",\"supportedVersions\":[" VERSIONS "]}\n"
#define REMEDY "see whether the agent runs (weavemesh status) and start it (weavemesh up)"

enum { BAD_ENVIRONMENT = 4, IO_FAILURE = 5, DECODING_FAILURE = 6, TRY_AGAIN_LATER = 11, CANNOT_ADD = 50 };
enum {
    HAS_OWN_NETNS = 1, HAS_NETNS = 2, IS_IPAM = 4, /* flags */
    HEADER_BYTES = 16, ANSWER_HEADER_BYTES = 12,
    ENVIRONMENT_BYTES_MAX = 64 * 1024,  /* as in frame.py */
    STDIN_BYTES_MAX = 1024 * 1024,      /* as in frame.py */
    ANSWER_BYTES_MAX = 1024 * 1024,
    REPLIES_BYTES_MAX = 64 * 1024,      /* of the kernel to a plan, which are some 2 KiB; as in frame.py */
    KERNEL_DEADLINE_S = 10,             /* it replies before it lets us go on */
    TOMBSTONE_BYTES_MAX = 128 * 1024,   /* a DEL with its prevResult has 2 KiB */
    TOMBSTONES_MAX = 4096,              /* more pods than a host has; a full disk is worse than a DEL to be repeated */
    STDIN_DEADLINE_S = 10,
    BACKLOG_PAUSE_MS = 10,
};

/* Of linux/netlink.h, which musl's tools are without. */
enum { ROUTE_FAMILY = 0, MESSAGE_ERROR = 2, OPTION_CAP_ACK = 10, OPTION_EXT_ACK = 11, MESSAGE_ALIGNMENT = 4 };
struct message_header {
    uint32_t bytes;
    uint16_t type, flags;
    uint32_t sequence, port;
};

enum kind { ANSWER, PLAN, END, KINDS }; /* of the agent's frames */
static const char *const kinds[] = {"WMA1", "WMP2", "WME2"};

struct verb {
    const char *name;
    int needs_container, needs_netns, deadline_s, code_if_down;
};
static const struct verb verbs[] = {
    {"ADD", 1, 1, 60, TRY_AGAIN_LATER}, {"DEL", 1, 0, 30, 0},         {"CHECK", 1, 1, 60, TRY_AGAIN_LATER},
    {"GC", 0, 0, 30, TRY_AGAIN_LATER},  {"STATUS", 0, 0, 1, CANNOT_ADD},
};

static char frame[HEADER_BYTES + ENVIRONMENT_BYTES_MAX + STDIN_BYTES_MAX + 2]; /* header, environment, stdin, zero */
static size_t environment_bytes, stdin_bytes;
static char answer[ANSWER_HEADER_BYTES + ANSWER_BYTES_MAX];
static _Alignas(struct message_header) char outcome[ANSWER_HEADER_BYTES + REPLIES_BYTES_MAX]; /* header, replies */
static size_t replies_bytes;
static int route_sockets[2] = {-1, -1}; /* rtnetlink, in the host's namespace and in the container's */
static char reason[512]; /* why the agent did not answer */
static long long deadline_ms;
static int is_ipam; /* called by the name of the IPAM plugin */

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* 1 if the descriptor is ready, 0 if the deadline passed first. */
static int is_ready(int descriptor, short events)
{
    struct pollfd waiting = {.fd = descriptor, .events = events};
    long long left;
    while ((left = deadline_ms - now_ms()) > 0)
        if (poll(&waiting, 1, (int)left) > 0)
            return 1; /* also if it is broken, which shows when it is used */
    return 0;
}

/* 0 if all was written. */
static int write_all(int descriptor, const char *bytes, size_t count)
{
    while (count) {
        ssize_t written = write(descriptor, bytes, count);
        if (written <= 0 && errno != EINTR)
            return -1;
        bytes += written > 0 ? written : 0;
        count -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* Appends text as the inside of a JSON string; what is not printable ASCII becomes '?'. */
static size_t append_escaped(char *to, size_t at, size_t size, const char *text)
{
    for (; *text && at + 3 < size; text++) {
        if (*text == '"' || *text == '\\')
            to[at++] = '\\';
        to[at++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
    }
    to[at] = 0;
    return at;
}

/* The version in which to answer: that of the configuration, as far as it can be seen without a parser. */
static const char *answer_version(void)
{
    static char version[16];
    const char *key = strstr(frame + HEADER_BYTES + environment_bytes, "\"cniVersion\"");
    if (key) {
        key += strlen("\"cniVersion\"");
        key += strspn(key, " \t\r\n:");
        size_t length = *key == '"' ? strspn(key + 1, "0123456789.") : 0;
        if (length && length < sizeof version && key[1 + length] == '"')
            return memcpy(version, key + 1, length);
    }
    return VERSION_NEWEST;
}

/* Prints an error object (SPEC "Error") and ends. */
static void __attribute__((noreturn, format(printf, 3, 4)))
fail(int code, const char *details, const char *format, ...)
{
    char message[1024], body[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    size_t at = (size_t)snprintf(body, 128, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"", answer_version(), code);
    at = append_escaped(body, at, sizeof body - 64, message);
    at += (size_t)snprintf(body + at, 32, *details ? "\",\"details\":\"" : "");
    at = append_escaped(body, at, sizeof body - 16, details);
    at += (size_t)snprintf(body + at, 8, "\"}\n");
    write_all(STDOUT_FILENO, body, at);
    exit(1);
}

static const char *variable(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static int is_container_id(const char *text)
{
    static const char allowed[] = "_.-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    return *text && strchr(allowed + 3, *text) && !text[strspn(text, allowed)];
}

static int is_interface_name(const char *text)
{
    size_t length = strlen(text);
    return length && length <= 15 && strcmp(text, ".") && strcmp(text, "..") && !text[strcspn(text, "/: \t\n\v\f\r")];
}

/* The descriptor of CNI_NETNS, or -1 and errno. */
static int open_netns(const struct verb *verb)
{
    const char *path = variable("CNI_NETNS", "");
    /* O_NONBLOCK: a named pipe in this place must not stop us. */
    return *path && verb->needs_container ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
}

/* Ends if the command needs a variable that is not right. */
static void check_variables(const struct verb *verb, int descriptor, int error)
{
    const char *container = "", *interface = "", *netns = "", *path = variable("CNI_NETNS", "");
    if (verb->needs_container && !is_container_id(variable("CNI_CONTAINERID", "")))
        container = " CNI_CONTAINERID";
    if (verb->needs_container && !is_interface_name(variable("CNI_IFNAME", "")))
        interface = " CNI_IFNAME";
    if (verb->needs_netns && !is_ipam && descriptor < 0) /* an address needs no namespace */
        netns = " CNI_NETNS";
    if (*container || *interface || *netns)
        fail(BAD_ENVIRONMENT, *netns && *path ? strerror(error) : "", "missing or invalid variables:%s%s%s", container,
             interface, netns);
}

static void add_variable(const char *entry)
{
    size_t size = strlen(entry) + 1;
    if (environment_bytes + size > ENVIRONMENT_BYTES_MAX)
        fail(BAD_ENVIRONMENT, "", "the CNI_* variables together are longer than %d bytes", ENVIRONMENT_BYTES_MAX);
    memcpy(frame + HEADER_BYTES + environment_bytes, entry, size);
    environment_bytes += size;
}

/* Puts the CNI_* variables into the frame, and nothing else of the runtime's environment. */
static void read_environment(void)
{
    extern char **environ;
    for (char **entry = environ; *entry; entry++)
        if (!strncmp(*entry, "CNI_", 4))
            add_variable(*entry);
}

/* Tells the agent that we can send netlink messages, and by which number they may name the container's namespace.
 * A variable and not a flag: an agent that does not know it passes over it. */
static void offer_to_play(int netns)
{
    char entry[64];
    int length = snprintf(entry, sizeof entry, "WEAVEMESH_PLAYS_PARTS=%d", netns);
    if (environment_bytes + (size_t)length + 1 <= ENVIRONMENT_BYTES_MAX)
        add_variable(entry);
}

static void read_stdin(void)
{
    char *start = frame + HEADER_BYTES + environment_bytes;
    deadline_ms = now_ms() + STDIN_DEADLINE_S * 1000;
    for (;;) {
        if (!is_ready(STDIN_FILENO, POLLIN))
            fail(IO_FAILURE, "", "stdin was not closed within %d s", STDIN_DEADLINE_S);
        ssize_t count = read(STDIN_FILENO, start + stdin_bytes, STDIN_BYTES_MAX + 1 - stdin_bytes);
        if (count < 0 && errno != EINTR && errno != EAGAIN)
            fail(IO_FAILURE, strerror(errno), "stdin cannot be read");
        if (!count)
            return;
        stdin_bytes += count > 0 ? (size_t)count : 0;
        if (stdin_bytes > STDIN_BYTES_MAX)
            fail(DECODING_FAILURE, "", "the configuration on stdin is longer than %d bytes", STDIN_BYTES_MAX);
    }
}

static size_t finish_frame(uint32_t flags)
{
    uint32_t numbers[] = {htonl(flags), htonl((uint32_t)environment_bytes), htonl((uint32_t)stdin_bytes)};
    memcpy(frame, "WMC1", 4);
    memcpy(frame + 4, numbers, sizeof numbers);
    return HEADER_BYTES + environment_bytes + stdin_bytes;
}

static int give_up(const char *what, const char *why)
{
    snprintf(reason, sizeof reason, "%s%s%s", what, *why ? ": " : "", why);
    return -1;
}

/* A connection to the agent, or -1 and `reason`. */
static int connect_agent(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return give_up("the path of the socket is too long", "");
    strcpy(address.sun_path, path);
    int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (agent < 0)
        return give_up("no socket", strerror(errno));
    while (connect(agent, (struct sockaddr *)&address, sizeof address)) {
        if (errno != EAGAIN && errno != EINTR)
            return give_up("nobody listens", strerror(errno));
        if (now_ms() + BACKLOG_PAUSE_MS >= deadline_ms)
            return give_up("the agent accepts no call", "its queue is full");
        poll(NULL, 0, BACKLOG_PAUSE_MS);
    }
    return agent;
}

/* Sends the frame and the namespaces (a descriptor of -1 is left out). -1 and `reason` if it cannot. */
static int send_call(int agent, int own_netns, int netns)
{
    int descriptors[2], count = 0;
    uint32_t flags = is_ipam ? IS_IPAM : 0;
    if (own_netns >= 0)
        descriptors[count++] = own_netns, flags |= HAS_OWN_NETNS;
    if (netns >= 0)
        descriptors[count++] = netns, flags |= HAS_NETNS;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {0};
    for (size_t sent = 0, size = finish_frame(flags); sent < size;) {
        struct iovec rest = {.iov_base = frame + sent, .iov_len = size - sent};
        struct msghdr message = {.msg_iov = &rest, .msg_iovlen = 1};
        if (!sent && count) {
            message.msg_control = control;
            message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
            memcpy(CMSG_DATA(header), descriptors, (size_t)count * sizeof(int));
        }
        if (!is_ready(agent, POLLOUT))
            return give_up("the agent does not take the call", "");
        ssize_t written = sendmsg(agent, &message, MSG_NOSIGNAL);
        if (written < 0 && errno != EAGAIN && errno != EINTR)
            return give_up("the agent ended the call", strerror(errno));
        sent += written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* Reads a whole frame of the agent: its length, its kind, and its number; or -1 and `reason`. */
static long receive_frame(int agent, enum kind *kind, uint32_t *number)
{
    size_t got = 0, wanted = ANSWER_HEADER_BYTES;
    uint32_t numbers[2];
    while (got < wanted) {
        if (!is_ready(agent, POLLIN))
            return give_up("the agent did not answer in time", "");
        ssize_t count = recv(agent, answer + got, wanted - got, 0);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (count <= 0)
            return give_up("the agent ended before it answered", count ? strerror(errno) : "");
        got += (size_t)count;
        if (got == ANSWER_HEADER_BYTES && wanted == ANSWER_HEADER_BYTES) {
            memcpy(numbers, answer + 4, sizeof numbers);
            for (*kind = 0; *kind < KINDS && memcmp(answer, kinds[*kind], 4);)
                ++*kind;
            if (*kind == KINDS || ntohl(numbers[1]) > ANSWER_BYTES_MAX)
                return give_up("what answers is not a weavemesh agent", "");
            *number = ntohl(numbers[0]);
            wanted += ntohl(numbers[1]);
        }
    }
    return (long)(got - ANSWER_HEADER_BYTES);
}

static int open_route_socket(void)
{
    int on = 1, opened = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, ROUTE_FAMILY);
    struct timeval patience = {.tv_sec = KERNEL_DEADLINE_S};
    setsockopt(opened, SOL_NETLINK, OPTION_CAP_ACK, &on, sizeof on);
    setsockopt(opened, SOL_NETLINK, OPTION_EXT_ACK, &on, sizeof on);
    setsockopt(opened, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return opened;
}

/* Opens both sockets while the agent thinks; a socket stays in the namespace in which it was made. 0 or errno. */
static int open_route_sockets(int netns)
{
    if ((route_sockets[0] = open_route_socket()) < 0 || setns(netns, CLONE_NEWNET) ||
        (route_sockets[1] = open_route_socket()) < 0)
        return errno;
    return 0;
}

static size_t aligned(size_t bytes)
{
    return (bytes + MESSAGE_ALIGNMENT - 1) / MESSAGE_ALIGNMENT * MESSAGE_ALIGNMENT;
}

/* Reads the kernel's replies up to that to the last message. 0; errno, also if the kernel refused any of them. */
static int receive_replies(int route, uint32_t last)
{
    int failure = 0;
    for (;;) {
        char *start = outcome + ANSWER_HEADER_BYTES + replies_bytes;
        ssize_t count = recv(route, start, REPLIES_BYTES_MAX - replies_bytes, MSG_TRUNC);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 || (size_t)count > REPLIES_BYTES_MAX - replies_bytes)
            return count < 0 ? errno : EMSGSIZE;
        replies_bytes += aligned((size_t)count); /* what fills up is zero */
        for (size_t at = 0, size; at + sizeof(struct message_header) + sizeof(int32_t) <= (size_t)count; at += size) {
            const struct message_header *reply = (const struct message_header *)(start + at);
            size = aligned(reply->bytes);
            if (size < sizeof *reply)
                return EPROTO;
            if (reply->type != MESSAGE_ERROR)
                continue;
            int32_t error;
            memcpy(&error, reply + 1, sizeof error);
            failure = failure ? failure : -error;
            if (reply->sequence == last)
                return failure;
        }
    }
}

/* Lets the agent have the CPU on which it is, if that is ours: some kernels put whom it wakes there, though others idle,
 * and there we would work in its place and not beside it. */
static void step_aside(uint32_t cpu)
{
    cpu_set_t allowed, others;
    if ((int)cpu != sched_getcpu() || sched_getaffinity(0, sizeof allowed, &allowed))
        return;
    others = allowed;
    CPU_CLR(cpu, &others);
    if (!sched_setaffinity(0, sizeof others, &others)) /* refused if there is no other */
        sched_setaffinity(0, sizeof allowed, &allowed);
}

/* Has the kernel do the batches of a plan, each in one system call. 0, or errno of what ended it. */
static int play(int agent, size_t size)
{
    uint32_t numbers[3]; /* whether in the container's namespace, the last message's number, bytes */
    for (size_t at = ANSWER_HEADER_BYTES, end = at + size; at < end; at += ntohl(numbers[2])) {
        if (end - at < sizeof numbers)
            return EPROTO;
        memcpy(numbers, answer + at, sizeof numbers);
        at += sizeof numbers;
        if (ntohl(numbers[2]) > end - at)
            return EPROTO;
        /* An agent that is gone, or gives this up, undoes what there is; nothing may be added to that. */
        struct pollfd hung_up = {.fd = agent, .events = POLLRDHUP};
        if (poll(&hung_up, 1, 0))
            return ECANCELED;
        int route = route_sockets[numbers[0] != 0];
        if (send(route, answer + at, ntohl(numbers[2]), 0) < 0)
            return errno;
        int failure = receive_replies(route, ntohl(numbers[1]));
        if (failure)
            return failure;
    }
    return 0;
}

/* Tells the agent how it went. -1 and `reason` if it cannot. */
static int send_outcome(int agent, int failure)
{
    uint32_t numbers[] = {htonl((uint32_t)failure), htonl((uint32_t)replies_bytes)};
    memcpy(outcome, "WMO2", 4);
    memcpy(outcome + 4, numbers, sizeof numbers);
    for (size_t sent = 0, size = ANSWER_HEADER_BYTES + replies_bytes; sent < size;) {
        if (!is_ready(agent, POLLOUT))
            return give_up("the agent does not take the outcome", "");
        ssize_t written = send(agent, outcome + sent, size - sent, MSG_NOSIGNAL);
        if (written < 0 && errno != EAGAIN && errno != EINTR)
            return give_up("the agent ended the call", strerror(errno));
        sent += written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* Has the agent do it and prints what it says: its exit status, or -1 and `reason`. */
static int call_agent(const char *path, int netns, int plays)
{
    int agent = connect_agent(path);
    if (agent < 0 || send_call(agent, open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), netns))
        return -1;
    int failure = plays ? open_route_sockets(netns) : EPROTO;
    for (;;) {
        enum kind kind = ANSWER;
        uint32_t number = 0;
        long size = receive_frame(agent, &kind, &number);
        if (size < 0)
            return -1;
        if (kind == PLAN) {
            if (!failure)
                step_aside(number);
            failure = failure ? failure : play(agent, (size_t)size);
            continue;
        }
        if (kind == END && send_outcome(agent, failure))
            return -1;
        if (kind == ANSWER || (!failure && size))
            return write_all(STDOUT_FILENO, answer + ANSWER_HEADER_BYTES, (size_t)size) ? 1 : (int)(number & 0x7f);
        failure = EPROTO; /* one plan a call */
    }
}

static int is_full(int folder)
{
    int count = -2; /* "." and ".." */
    DIR *entries = fdopendir(dup(folder));
    while (entries && count < TOMBSTONES_MAX && readdir(entries))
        count++;
    return count >= TOMBSTONES_MAX;
}

static void make_folders(const char *path)
{
    char part[4096];
    for (const char *slash = path; (slash = strchr(slash + 1, '/'));)
        if (snprintf(part, sizeof part, "%.*s", (int)(slash - path), path) < (int)sizeof part)
            mkdir(part, 0755);
    mkdir(path, 0700);
}

/* FNV-1a, the zero byte at the end included. */
static uint64_t hash_more(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * 1099511628211ULL;
    while (*text++);
    return hash;
}

/* Leaves the DEL for the agent: NULL, or what is wrong. The file is named by what is in it: a repeated DEL is one. */
static const char *leave_tombstone(const char *path)
{
    size_t size = finish_frame(is_ipam ? IS_IPAM : 0);
    if (size > TOMBSTONE_BYTES_MAX)
        return "the configuration is too long to be kept";
    uint64_t hash = 14695981039346656037ULL + (uint64_t)is_ipam; /* not of all variables: some runtimes shuffle CNI_ARGS */
    hash = hash_more(hash, variable("CNI_CONTAINERID", ""));
    hash = hash_more(hash, variable("CNI_IFNAME", ""));
    hash = hash_more(hash, frame + HEADER_BYTES + environment_bytes);
    make_folders(path);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return strerror(errno);
    if (is_full(folder))
        return "too many of them are waiting for the agent";
    char name[64], temporary[64];
    snprintf(name, sizeof name, "%016llx.tombstone", (unsigned long long)hash);
    snprintf(temporary, sizeof temporary, ".%016llx.%d", (unsigned long long)hash, (int)getpid());
    unlinkat(folder, temporary, 0);
    int file = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0)
        return strerror(errno);
    if (!write_all(file, frame, size) && !fsync(file) && !renameat(folder, temporary, folder, name) && !fsync(folder))
        return NULL;
    const char *why = strerror(errno);
    unlinkat(folder, temporary, 0);
    return why;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && !strcmp(text + length - wanted, end);
}

int main(int count, char **arguments)
{
    const char *command = getenv("CNI_COMMAND");
    is_ipam = count > 0 && ends_with(arguments[0], "-ipam");
    if (!command) {
        dprintf(STDERR_FILENO, "weavemesh: CNI %s plugin; supports CNI versions [%s]\n",
                is_ipam ? "IPAM" : "interface", VERSIONS);
        return 0;
    }
    if (!strcmp(command, "VERSION"))
        return write_all(STDOUT_FILENO, VERSION_ANSWER, strlen(VERSION_ANSWER)) != 0;
    const struct verb *verb = NULL;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(command, verbs[i].name))
            verb = &verbs[i];
    if (!verb)
        fail(BAD_ENVIRONMENT, "", "CNI_COMMAND is unknown: %.64s", command);
    read_environment();
    int netns = open_netns(verb), netns_error = errno;
    int plays = netns >= 0 && !is_ipam && !strcmp(command, "ADD");
    if (plays)
        offer_to_play(netns);
    read_stdin();
    check_variables(verb, netns, netns_error);
    deadline_ms = now_ms() + verb->deadline_s * 1000;
    const char *path = variable("WEAVEMESH_CNI_SOCKET", SOCKET_DEFAULT);
    int status = call_agent(path, netns, plays);
    if (status >= 0)
        return status;
    if (verb->code_if_down)
        fail(verb->code_if_down, REMEDY, "no weavemesh agent at %s: %s", path, reason);
    const char *folder = variable("WEAVEMESH_CNI_TOMBSTONES", TOMBSTONES_DEFAULT);
    const char *problem = leave_tombstone(folder);
    if (problem)
        fail(TRY_AGAIN_LATER, REMEDY, "no weavemesh agent at %s (%s), and the DEL cannot be left in %s: %s", path,
             reason, folder, problem);
    dprintf(STDERR_FILENO, "weavemesh: no agent at %s (%s); the DEL is left in %s\n", path, reason, folder);
    return 0;
}
