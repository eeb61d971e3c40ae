// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Measures what a driver costs: a server that does nothing, or next to nothing (null-server.c), and
 * a client that keeps 32 requests in flight per queue, at random places.
 *
 *	null-bench DRIVER QUEUES OPERATION WAY SECONDS [FILE]
 *
 *	DRIVER     ubd or ublk (Linux's own), with commands for single tags; ubd-batch, ublk-batch;
 *	           or the path of a disk that something else serves, and the client alone is ours
 *	OPERATION  read or write, of 4 KiB; read-128k, write-1m and so on; or allocate: writes of
 *	           4 KiB, one to each 64 KiB of the disk, scattered, until there are no more
 *	WAY        one: COMMIT_AND_FETCH_REQ. two: COMMIT_REQ, then FETCH_REQ.
 *	           one-each, two-each: the same with a system call for each command
 *	SECONDS    or longer, until each queue has done some hundred requests
 *	FILE       the server passes requests on to it, like a loop device with direct I/O
 *
 * Prints one line:
 *
 *	KIND DRIVER QUEUES OPERATION WAY RATE SERVER BUSY
 *
 * KIND is null, loop or disk, RATE is requests per second. SERVER is our server's CPU time per
 * request in microseconds, including what the kernel does on its behalf; BUSY is that of the whole
 * machine.
 * The client is another process, with one thread per queue.
 */
#include "null-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NULL_BYTES   (1ull << 30)
#define CLUSTER	     (64ull << 10)

/* Of each queue: requests before the measurement begins, and the fewest in it. */
#define WARM_UP	     (2 * DEPTH)
#define MIN_REQUESTS (16 * DEPTH)

static const struct driver {
	const char *name;
	const struct transport_ops *ops;
	const struct transport_queues *queues;
	bool batches;
} drivers[] = {
	{ "ubd", &transport_ubd, &transport_queues_ubd, false },
	{ "ubd-batch", &transport_ubd, &transport_queues_ubd, true },
	{ "ublk", &transport_ublk, &transport_queues_ublk, false },
	{ "ublk-batch", &transport_ublk, &transport_queues_ublk, true },
};

static struct options {
	const struct driver *driver; /* NULL: something else serves the disk */
	const char *target;
	struct server_options server;
	unsigned nr_queues;
	const char *operation;
	bool write, allocate;
	size_t block;
	double seconds;
	const char *way;
	const char *path;
} options;

/* A thread of the client. */
struct client {
	pthread_t thread;
	unsigned id;
	uint64_t submitted;
	long count;
	double start, end;
};

/* What the client tells the server in the end. */
struct answer {
	long count;
	double seconds;
};

static struct disk disk;

void die(const char *what, int error)
{
	fprintf(stderr, "null-bench: %s: %s\n", what, strerror(error));
	exit(1);
}

int check(const char *what, int ret)
{
	if (ret < 0)
		die(what, errno);
	return ret;
}

void start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	int error = pthread_create(thread, NULL, run, arg);

	if (error)
		die("a thread", error);
}

void *allocate(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die("memory", errno);
	return memory;
}

void init_ring(struct io_uring *ring, unsigned entries)
{
	int ret = io_uring_queue_init(entries, ring,
				      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	if (ret)
		die("a ring", -ret);
}

/* ---- the client ---- */

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The threads take turns at the clusters, whose order is a permutation: the factor is a prime. */
static bool next_off(const struct client *client, uint64_t *ret_off)
{
	uint64_t clusters = disk.bytes / CLUSTER;
	uint64_t turn = client->submitted * options.nr_queues + client->id;

	if (options.allocate) {
		*ret_off = turn * 1000003 % clusters * CLUSTER;
		return turn < clusters;
	}
	*ret_off = rand() % (disk.bytes / options.block) * options.block;
	return true;
}

/* Returns the number of requests: one or none. */
static int submit_request(struct client *client, struct io_uring *ring, int fd, char *buffer)
{
	struct io_uring_sqe *sqe;
	uint64_t off;

	if (!next_off(client, &off))
		return 0;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_rw(options.write ? IORING_OP_WRITE : IORING_OP_READ, sqe, fd, buffer,
			 options.block, off);
	io_uring_sqe_set_data(sqe, buffer);
	client->submitted++;
	return 1;
}

/* Submits another request in place of each one that is complete; returns how many are in flight. */
static int reap(struct client *client, struct io_uring *ring, int fd, int in_flight)
{
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;

	io_uring_for_each_cqe(ring, head, cqe) {
		count++;
		if (cqe->res != (int)options.block)
			die("a request", cqe->res < 0 ? -cqe->res : EIO);
		in_flight += submit_request(client, ring, fd, io_uring_cqe_get_data(cqe)) - 1;
	}
	io_uring_cq_advance(ring, count);
	client->count += count;
	return in_flight;
}

/* Each thread gets its own CPU, and so its own queue. */
static void pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	check("a processor", sched_setaffinity(0, sizeof(set), &set));
}

/* Notes the time, too. */
static bool is_over(struct client *client)
{
	client->end = now(CLOCK_MONOTONIC);
	if (!client->start && client->count >= WARM_UP) {
		client->start = client->end;
		client->count = 0;
	}
	return client->start && !options.allocate && client->count >= MIN_REQUESTS &&
	       client->end >= client->start + options.seconds;
}

static void *request(void *arg)
{
	struct client *client = arg;
	char *buffers = allocate(DEPTH * options.block);
	struct io_uring ring;
	int fd, in_flight = 0;

	pin(client->id);
	fd = check(disk.path, open(disk.path, O_RDWR | O_DIRECT));
	init_ring(&ring, DEPTH);
	for (int i = 0; i < DEPTH; i++)
		in_flight += submit_request(client, &ring, fd, buffers + i * options.block);
	do {
		int ret = io_uring_submit_and_wait(&ring, 1);

		if (ret < 0 && ret != -EINTR)
			die("io_uring_enter", -ret);
		in_flight = reap(client, &ring, fd, in_flight);
	} while (in_flight && !is_over(client));
	io_uring_queue_exit(&ring);
	close(fd);
	return NULL;
}

/* Waits until the server sends the disk that it has made; reports the number of requests done, and
 * in what time. */
static void be_client(int from_server, int to_server)
{
	struct client clients[MAX_QUEUES] = {};
	struct answer answer = {};
	double start = 0, end = 0;

	if (read(from_server, &disk, sizeof(disk)) != sizeof(disk))
		exit(1);
	for (unsigned i = 0; i < options.nr_queues; i++) {
		clients[i].id = i;
		start_thread(&clients[i].thread, request, &clients[i]);
	}
	for (unsigned i = 0; i < options.nr_queues; i++) {
		pthread_join(clients[i].thread, NULL);
		answer.count += clients[i].count;
		start = i ? MIN(start, clients[i].start) : clients[i].start;
		end = MAX(end, clients[i].end);
	}
	answer.seconds = end - start;
	check("a pipe", write(to_server, &answer, sizeof(answer)));
	exit(0);
}

/* ---- both ---- */

/* Seconds during which the CPUs were not idle, added up. */
static double busy_seconds(void)
{
	unsigned long user, nice, system, irq, softirq;
	FILE *file = fopen("/proc/stat", "r");

	if (!file || fscanf(file, "cpu %lu %lu %lu %*u %*u %lu %lu", &user, &nice, &system, &irq,
			    &softirq) != 5)
		die("/proc/stat", EINVAL);
	fclose(file);
	return (double)(user + nice + system + irq + softirq) / sysconf(_SC_CLK_TCK);
}

static void measure(int to_client, int from_client)
{
	double cpu = now(CLOCK_PROCESS_CPUTIME_ID), busy = busy_seconds(), count;
	struct answer answer;

	check("a pipe", write(to_client, &disk, sizeof(disk)));
	if (read(from_client, &answer, sizeof(answer)) != sizeof(answer))
		die("the client", EPIPE);
	count = answer.count;
	printf("%s %s %u %s %s %.0f %.2f %.2f\n",
	       !options.driver ? "disk"
	       : options.path  ? "loop"
			       : "null",
	       options.target, options.nr_queues, options.operation, options.way,
	       count / answer.seconds, (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / count * 1e6,
	       (busy_seconds() - busy) / count * 1e6);
	fflush(stdout);
}

/* That which an operation ends with, such as -128k; 4 KiB without. */
static size_t block_size(const char *operation)
{
	const char *dash = strchr(operation, '-');
	char *unit;
	size_t size;

	if (!dash)
		return 4 << 10;
	size = strtoul(dash + 1, &unit, 10);
	return *unit == 'm' ? size << 20 : size << 10;
}

static void parse(int argc, char **argv)
{
	struct server_options *server = &options.server;

	if (argc < 6 || argc > 7) {
		fprintf(stderr, "usage: null-bench DRIVER QUEUES OPERATION WAY SECONDS [FILE]\n");
		exit(1);
	}
	options.target = argv[1];
	for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++)
		if (strcmp(argv[1], drivers[i].name) == 0)
			options.driver = &drivers[i];
	options.nr_queues = atoi(argv[2]);
	options.operation = argv[3];
	options.allocate = strcmp(argv[3], "allocate") == 0;
	options.write = options.allocate || g_str_has_prefix(argv[3], "write");
	options.block = block_size(argv[3]);
	options.way = argv[4];
	server->two_commands = strncmp(options.way, "two", 3) == 0;
	server->one_by_one = strstr(options.way, "-each");
	options.seconds = atof(argv[5]);
	options.path = argc > 6 ? argv[6] : NULL;
	if (!options.nr_queues || options.nr_queues > MAX_QUEUES)
		die("arguments", EINVAL);
	if (argv[1][0] == '/')
		return;
	if (!options.driver || (server->two_commands && options.driver->ops != &transport_ubd) ||
	    ((server->two_commands || server->one_by_one) && options.driver->batches))
		die("arguments", EINVAL);
	server->driver = options.driver->ops;
	server->wire = options.driver->queues->wires[DATA_COPY];
	server->batches = options.driver->batches;
	server->file_fd = -1;
	if (options.path)
		server->file_fd =
			check(options.path, open(options.path, O_RDWR | O_DIRECT | O_CLOEXEC));
}

static void find_disk(void)
{
	int fd = check(options.target, open(options.target, O_RDONLY));

	g_strlcpy(disk.path, options.target, sizeof(disk.path));
	disk.bytes = lseek(fd, 0, SEEK_END);
	close(fd);
}

static void start_server(void)
{
	int fd = options.server.file_fd;

	disk.nr_queues = options.nr_queues;
	disk.bytes = fd < 0 ? NULL_BYTES : (uint64_t)lseek(fd, 0, SEEK_END);
	server_start(&options.server, &disk);
}

int main(int argc, char **argv)
{
	int to_client[2], to_server[2];

	parse(argc, argv);
	check("a pipe", pipe(to_client));
	check("a pipe", pipe(to_server));
	if (check("a process", fork()) == 0) {
		close(to_client[1]);
		be_client(to_client[0], to_server[1]);
	}
	close(to_server[1]);
	if (options.driver)
		start_server();
	else
		find_disk();
	measure(to_client[1], to_server[0]);
	if (options.driver)
		server_end();
	wait(NULL);
	return 0;
}
