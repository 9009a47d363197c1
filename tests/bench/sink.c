/* A platform that costs almost nothing: it answers what a producer asks, and stores no record.
 *
 *   sink [--shards N] [--delay-ms N] [--record FILE]
 *
 * Listens on 127.0.0.1, writes its port to standard output, and ends when standard input does,
 * which it does when the parent ends. Every path is the same stream. One thread per connection.
 *
 * PutRecords    a record's shard is its ShardId, else the hash of its PartitionKey, else the next
 *               in turn; numbers ascend per shard. Data is skipped, not decoded.
 * DescribeStream, Seek, GetItem, GetRecords, listing
 *               what exactly_once asks before its first record; there is never a record to read.
 * /write        QuestDB's line protocol over HTTP: 204.
 * /stats, /reset
 *               JSON counts of PutRecords since the last reset, and when the first was answered.
 *
 * --delay-ms    wait before each answer to PutRecords or /write.
 * --record      append each PutRecords request, its head included, to a file.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SHARDS = 4096, MAX_RECORDS = 1000, MAX_HEAD = 512 };

static int shards = 8;
static long delay_ms = 0;
static FILE *recording = NULL;
static pthread_mutex_t recording_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int64_t last_number[MAX_SHARDS];
static _Atomic int64_t requests, records, body_bytes, first_answer_ns, reset_ns;

typedef struct Connection {
    int fd;
    char *in;    /* what was received */
    size_t held; /* bytes of it */
    size_t room;
    char *out; /* the answer: a head, right-aligned before the body */
    struct Connection *next;
} Connection;

/* Closed connections, whose buffers serve the next ones: new memory costs page faults. */
static Connection *unused = NULL;
static pthread_mutex_t unused_lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct {
    const char *path;
    const char *function;
    size_t path_length, function_length;
    char *body;
    size_t length;
} Request;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, 0);
        if (sent <= 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

/* Send a body that stands MAX_HEAD bytes into connection->out. */
static int answer(Connection *connection, int status, size_t length) {
    char head[MAX_HEAD];
    int head_length;
    if (status == 204)
        head_length = snprintf(head, sizeof head, "HTTP/1.1 204 No Content\r\n\r\n");
    else
        head_length = snprintf(head, sizeof head,
                               "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                               "Content-Length: %zu\r\n\r\n",
                               status, status == 200 ? "OK" : "Error", length);
    char *start = connection->out + MAX_HEAD - head_length;
    memcpy(start, head, (size_t)head_length);
    return send_all(connection->fd, start, (size_t)head_length + length);
}

static int answer_text(Connection *connection, int status, const char *text) {
    strcpy(connection->out + MAX_HEAD, text);
    return answer(connection, status, strlen(text));
}

static void delay(void) {
    if (delay_ms > 0) {
        struct timespec pause = {delay_ms / 1000, delay_ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
}

/* Return the end of a JSON string: its closing quote. `at` is behind the opening one. */
static char *string_end(char *at, const char *end) {
    while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
        size_t escapes = 0;
        while (*(at - 1 - escapes) == '\\') escapes++;
        if (escapes % 2 == 0) return at;
        at++;
    }
    return NULL;
}

static int shard_of_key(const char *key, const char *end) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; key < end; key++) hash = (hash ^ (unsigned char)*key) * 1099511628211u;
    return (int)(hash % (uint64_t)shards);
}

/* Find each record's shard; return the number of records, or -1 if the body is not what we know. */
static int scan_records(char *body, size_t length, uint16_t *shard_of) {
    char *end = body + length;
    char *at = memmem(body, length < 4096 ? length : 4096, "\"Records\"", 9);
    if (at == NULL || (at = memchr(at, '[', (size_t)(end - at))) == NULL) return -1;
    int count = 0, next = 0;
    for (at++; at < end && *at != ']'; at++) {
        if (*at != '{') continue; /* a comma, or white space */
        int by_id = -1, by_key = -1;
        for (at++; at < end && *at != '}'; at++) {
            if (*at != '"') continue;
            char field = at[1];
            if ((at = string_end(at + 1, end)) == NULL) return -1;
            for (at++; at < end && (*at == ':' || *at == ' ');) at++;
            if (at < end && *at == '"') {
                char *value = at + 1;
                if ((at = string_end(value, end)) == NULL) return -1;
                if (field == 'P') by_key = shard_of_key(value, at);
            } else {
                if (field == 'S') by_id = atoi(at);
                while (at + 1 < end && at[1] != ',' && at[1] != '}') at++;
            }
        }
        if (count == MAX_RECORDS || by_id >= shards) return -1;
        if (by_id < 0) by_id = by_key;
        shard_of[count++] = (uint16_t)(by_id >= 0 ? by_id : next++ % shards);
    }
    return at < end ? count : -1;
}

static char *put_text(char *to, const char *text, size_t length) {
    memcpy(to, text, length);
    return to + length;
}

static char *put_number(char *to, int64_t number) {
    char digits[20];
    int at = sizeof digits;
    do digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return put_text(to, digits + at, sizeof digits - (size_t)at);
}

static int put_records(Connection *connection, const Request *request) {
    uint16_t shard_of[MAX_RECORDS];
    int count = scan_records(request->body, request->length, shard_of);
    if (count < 0)
        return answer_text(connection, 400,
                           "{\"ErrorCode\":-201326592,\"ErrorMessage\":\"InvalidArgumentException\"}");
    int64_t next[MAX_SHARDS];
    memset(next, 0, (size_t)shards * sizeof *next);
    for (int at = 0; at < count; at++) next[shard_of[at]]++;
    for (int shard = 0; shard < shards; shard++)
        if (next[shard]) next[shard] = 1 + atomic_fetch_add(&last_number[shard], next[shard]);
    static const char HEAD[] = "{\"FailedRecordCount\":0,\"Records\":[";
    static const char NUMBER[] = "{\"SequenceNumber\":", SHARD[] = ",\"ShardId\":";
    char *to = put_text(connection->out + MAX_HEAD, HEAD, sizeof HEAD - 1);
    for (int at = 0; at < count; at++) {
        to = put_text(to, NUMBER, sizeof NUMBER - 1);
        to = put_number(to, next[shard_of[at]]++);
        to = put_text(to, SHARD, sizeof SHARD - 1);
        to = put_number(to, shard_of[at]);
        to = put_text(to, "},", 2);
    }
    if (count) to--;
    to = put_text(to, "]}", 2);
    delay();
    int64_t none = 0;
    atomic_compare_exchange_strong(&first_answer_ns, &none, now_ns());
    atomic_fetch_add(&requests, 1);
    atomic_fetch_add(&records, count);
    atomic_fetch_add(&body_bytes, (int64_t)request->length);
    return answer(connection, 200, (size_t)(to - (connection->out + MAX_HEAD)));
}

static int list_shards(Connection *connection) {
    char *to = connection->out + MAX_HEAD;
    to += sprintf(to, "<ListBucketResult><Name>c</Name><NextMarker/><MaxKeys>1000</MaxKeys>"
                      "<IsTruncated>false</IsTruncated>");
    for (int shard = 0; shard < shards && shard < MAX_RECORDS; shard++)
        if (last_number[shard])
            to += sprintf(to,
                          "<Contents><Key>s/%d</Key><Size>0</Size>"
                          "<LastSequenceId>%lld</LastSequenceId></Contents>",
                          shard, (long long)last_number[shard]);
    to += sprintf(to, "</ListBucketResult>");
    return answer(connection, 200, (size_t)(to - (connection->out + MAX_HEAD)));
}

static int is_function(const Request *request, const char *name) {
    return request->function_length == strlen(name) &&
           memcmp(request->function, name, request->function_length) == 0;
}

static int is_path(const Request *request, const char *name) {
    return request->path_length >= strlen(name) && memcmp(request->path, name, strlen(name)) == 0;
}

static int handle(Connection *connection, const Request *request) {
    char text[256];
    if (is_function(request, "PutRecords")) return put_records(connection, request);
    if (is_path(request, "/write")) {
        delay();
        return answer(connection, 204, 0);
    }
    if (is_path(request, "/stats")) {
        double first = first_answer_ns ? (double)(first_answer_ns - reset_ns) / 1e9 : -1;
        snprintf(text, sizeof text,
                 "{\"requests\":%lld,\"records\":%lld,\"bytes\":%lld,\"first_seconds\":%.6f}",
                 (long long)requests, (long long)records, (long long)body_bytes, first);
        return answer_text(connection, 200, text);
    }
    if (is_path(request, "/reset")) {
        requests = records = body_bytes = first_answer_ns = 0;
        reset_ns = now_ns();
        return answer(connection, 204, 0);
    }
    if (is_function(request, "DescribeStream")) {
        snprintf(text, sizeof text, "{\"ShardCount\":%d,\"RetentionPeriodHours\":24}", shards);
        return answer_text(connection, 200, text);
    }
    if (is_function(request, "GetRecords"))
        return answer_text(connection, 200,
                           "{\"NextLocation\":\"AA==\",\"MSecBehindLatest\":0,"
                           "\"RecordsBehindLatest\":0,\"Records\":[]}");
    if (request->function_length == 0) return list_shards(connection);
    /* Seek and GetItem name a shard: the last number of the path. */
    const char *end = request->path + request->path_length;
    while (end > request->path && end[-1] == '/') end--;
    const char *start = end;
    while (start > request->path && start[-1] >= '0' && start[-1] <= '9') start--;
    int shard = start < end ? atoi(start) : 0;
    if (shard >= shards || last_number[shard] == 0)
        return answer_text(connection, 404,
                           "{\"ErrorCode\":-2,\"ErrorMessage\":\"No such file or directory\"}");
    if (is_function(request, "GetItem"))
        snprintf(text, sizeof text, "{\"Item\":{\"__last_sequence_num\":{\"N\":\"%lld\"}}}",
                 (long long)last_number[shard]);
    else
        snprintf(text, sizeof text, "{\"Location\":\"AA==\"}");
    return answer_text(connection, 200, text);
}

static int receive(Connection *connection, size_t wanted) {
    while (connection->held < wanted) {
        if (connection->room < wanted) {
            connection->room = wanted;
            connection->in = realloc(connection->in, connection->room);
            if (connection->in == NULL) fail("realloc");
        }
        ssize_t got = recv(connection->fd, connection->in + connection->held,
                           connection->room - connection->held, 0);
        if (got <= 0) return -1;
        connection->held += (size_t)got;
    }
    return 0;
}

/* Read one request's head; return its length with the blank line, or 0 at the end. */
static size_t receive_head(Connection *connection) {
    for (;;) {
        char *end = memmem(connection->in, connection->held, "\r\n\r\n", 4);
        if (end != NULL) return (size_t)(end - connection->in) + 4;
        if (receive(connection, connection->held + 1) < 0) return 0;
    }
}

static const char *header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    while (head < end) {
        if (strncasecmp(head, name, length) == 0 && head[length] == ':') {
            head += length + 1;
            while (*head == ' ') head++;
            return head;
        }
        head = memchr(head, '\n', (size_t)(end - head));
        if (head == NULL) return NULL;
        head++;
    }
    return NULL;
}

static void record(const char *bytes, size_t length) {
    pthread_mutex_lock(&recording_lock);
    if (fwrite(bytes, 1, length, recording) != length || fflush(recording)) fail("--record");
    pthread_mutex_unlock(&recording_lock);
}

static void *serve(void *given) {
    Connection *connection = given;
    size_t head;
    while ((head = receive_head(connection)) > 0) {
        const char *end = connection->in + head;
        const char *length_text = header(connection->in, end, "Content-Length");
        size_t length = length_text ? strtoul(length_text, NULL, 10) : 0;
        if (header(connection->in, end, "Transfer-Encoding") != NULL) {
            fprintf(stderr, "sink: a request without Content-Length\n");
            break;
        }
        if (receive(connection, head + length) < 0) break; /* which may move connection->in */
        end = connection->in + head;
        Request request = {.body = connection->in + head, .length = length};
        request.path = memchr(connection->in, ' ', head);
        if (request.path == NULL) break;
        request.path++;
        request.path_length = strcspn(request.path, " ");
        request.function = header(connection->in, end, "X-v3io-function");
        if (request.function != NULL) request.function_length = strcspn(request.function, "\r");
        if (recording != NULL && is_function(&request, "PutRecords"))
            record(connection->in, head + length);
        if (handle(connection, &request) < 0) break;
        connection->held -= head + length;
        memmove(connection->in, connection->in + head + length, connection->held);
    }
    close(connection->fd);
    pthread_mutex_lock(&unused_lock);
    connection->next = unused;
    unused = connection;
    pthread_mutex_unlock(&unused_lock);
    return NULL;
}

static Connection *take_connection(void) {
    pthread_mutex_lock(&unused_lock);
    Connection *connection = unused;
    if (connection != NULL) unused = connection->next;
    pthread_mutex_unlock(&unused_lock);
    if (connection == NULL) {
        connection = calloc(1, sizeof *connection);
        if (connection == NULL) fail("calloc");
        connection->room = 1 << 21;
        connection->in = malloc(connection->room);
        /* An answer's entry is at most 64 bytes, a shard's in the listing at most 128. */
        connection->out = malloc(MAX_HEAD + 256 + 128 * MAX_RECORDS);
        if (connection->in == NULL || connection->out == NULL) fail("malloc");
    }
    connection->held = 0;
    return connection;
}

static void *accept_all(void *given) {
    int listener = *(int *)given, yes = 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        Connection *connection = take_connection();
        connection->fd = fd;
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, connection)) fail("pthread_create");
        pthread_detach(thread);
    }
    return NULL;
}

int main(int count, char **words) {
    for (int at = 1; at + 1 < count; at += 2) {
        if (strcmp(words[at], "--shards") == 0) shards = atoi(words[at + 1]);
        if (strcmp(words[at], "--delay-ms") == 0) delay_ms = atol(words[at + 1]);
        if (strcmp(words[at], "--record") == 0 && !(recording = fopen(words[at + 1], "wb")))
            fail(words[at + 1]);
    }
    if (shards < 1 || shards > MAX_SHARDS) {
        fprintf(stderr, "sink: --shards %d: expected 1 to %d\n", shards, MAX_SHARDS);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    reset_ns = now_ns();
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) ||
        listen(listener, 128) || getsockname(listener, (struct sockaddr *)&address, &size))
        fail("listen");
    pthread_t acceptor;
    if (pthread_create(&acceptor, NULL, accept_all, &listener)) fail("pthread_create");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    char unread[64];
    while (read(STDIN_FILENO, unread, sizeof unread) > 0) {
    }
    return 0;
}
