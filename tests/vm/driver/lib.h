/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the driver's tests share: a runner that gives each test its own process and a time limit,
 * control commands, and a server that keeps its disk in memory.
 *
 * A failed CHECK ends the test's process; everything that it had open or had started dies with it,
 * as the devices do.
 */
#ifndef UBD_TESTS_VM_DRIVER_LIB_H
#define UBD_TESTS_VM_DRIVER_LIB_H

#include <errno.h>
#include <liburing.h>
#include <linux/ubd_cmd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* ---- the runner ---- */

struct test {
	const char *name;
	void (*run)(void);
};

/*
 * Runs the tests named on the command line, or all of them; after --user-copy with servers that
 * have UBD_F_USER_COPY, after --batch with servers that have UBD_F_BATCH, if the kernel supports
 * it. Prints `ok NAME` or `not ok NAME: why` for each, and returns main()'s exit status.
 */
int run_tests(const struct test *tests, size_t nr, int argc, char **argv);

#define RUN_TESTS(tests, argc, argv)                                                               \
	run_tests(tests, sizeof(tests) / sizeof((tests)[0]), argc, argv)

/* The same, always with servers that have UBD_F_USER_COPY. */
int run_tests_by_user_copy(const struct test *tests, size_t nr, int argc, char **argv);

#define RUN_TESTS_BY_USER_COPY(tests, argc, argv)                                                  \
	run_tests_by_user_copy(tests, sizeof(tests) / sizeof((tests)[0]), argc, argv)

/* The same with UBD_F_BATCH; does nothing on kernels without it. */
int run_tests_by_batches(const struct test *tests, size_t nr, int argc, char **argv);

#define RUN_TESTS_BY_BATCHES(tests, argc, argv)                                                    \
	run_tests_by_batches(tests, sizeof(tests) / sizeof((tests)[0]), argc, argv)

/*
 * Prints where in the kernel the tests' processes are, and every process in the driver. The runner
 * does so for a test that does not end.
 */
void tell_tasks(void);

/* Ends the test as failed. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail("%s:%d: %s (errno %d)", __FILE__, __LINE__, #condition, errno);       \
	} while (0)

/* Compares two numbers, and prints both if they differ. */
#define CHECK_EQ(found, wanted)                                                                    \
	do {                                                                                       \
		long long found_ = (found), wanted_ = (wanted);                                    \
		if (found_ != wanted_)                                                             \
			fail("%s:%d: %s is %lld, not %lld", __FILE__, __LINE__, #found, found_,    \
			     wanted_);                                                             \
	} while (0)

/* Seconds of CLOCK_MONOTONIC. */
double now(void);

/* In seconds: long for something that takes no time on an idle machine. */
#define AGE		   30

/* How many sleeps of 2 ms make up this many seconds. */
#define NR_SLEEPS(seconds) ((int)((seconds)*500))

/*
 * Waits until the condition holds; fails the test if it does not within @seconds. Counts sleeps,
 * not seconds: a machine that only runs now and then gets as many chances as any other.
 */
#define WAIT_UNTIL(condition, seconds)                                                             \
	do {                                                                                       \
		for (int left_ = NR_SLEEPS(seconds); !(condition); usleep(2000))                   \
			if (!left_--)                                                              \
				fail("%s:%d: %s not within %g s", __FILE__, __LINE__, #condition,  \
				     (double)(seconds));                                           \
	} while (0)

/* Forks; the child runs @run and exits with 0. The parent gets its pid. */
int spawn(void (*run)(void *arg), void *arg);

/* Waits for a child, and checks that it exited with 0 or was killed by @signal. */
void check_exit(int pid, int signal);

/* A number that several processes share. */
int get(int *field);
void set(int *field, int value);

/* ---- control commands ---- */

/* One command on its own ring; returns cqe->res. */
int command(int fd, uint32_t op, const void *arg);

/* A control command with a buffer (NULL and 0: none). */
int control(int fd, uint32_t op, void *buf, size_t len);

/* On a new file of /dev/ubd-control. */
int add_dev(struct ubdsrv_ctrl_dev_info *info);
int open_dev(uint32_t id);

/* What most tests ask for: any id, 2 queues of 8 tags, 128 KiB. */
struct ubdsrv_ctrl_dev_info usual_info(void);

/* 16 MiB with blocks of 512 bytes, discard, write zeroes, a cache and FUA. */
struct ubd_params usual_params(void);

int get_state(int control_fd);

/* UBD_F_* of GET_FEATURES. */
uint64_t get_features(void);

/* Names of the nodes, in the calling thread's buffer, which the next call reuses. */
const char *char_node(uint32_t id);
const char *block_node(uint32_t id);
bool exists(const char *path);

/*
 * A socket that receives uevents; and waits for a "change" at a path with this end, which has
 * @variable.
 */
int listen_to_uevents(void);
void wait_for_uevent(int fd, const char *path_end, const char *variable);

/* ---- a server in this process ---- */

struct server;

struct server_queue {
	struct server *server;
	uint16_t q_id;
	pthread_t thread;
	struct io_uring ring;
	struct ubdsrv_io_desc *descs;
	uint8_t *buffers;
	struct ubd_batch_entry *entries; /* for the next COMMIT_BATCH */
	int nr_entries;
};

struct server {
	/* Filled in by the test, or by server_init(). */
	struct ubdsrv_ctrl_dev_info info;
	struct ubd_params params;
	/*
	 * Handles a request: returns a result for the driver, or SERVER_KEEP to leave the request
	 * unanswered. The default is server_handle().
	 */
	int (*handle)(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer);
	void *data; /* the test's own */

	int control;
	int cdev;
	uint8_t *memory; /* of the disk; allocated by server_add() unless it exists */
	struct server_queue *queues;
};

#define SERVER_KEEP 1000000000

void server_init(struct server *server);
int server_handle(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer);

/* UBD_F_* that server_add() adds. */
extern uint64_t server_data_path;
extern bool server_by_batches;

/* The steps of a server's life, in this order. Each checks that it succeeds. */
void server_add(struct server *server);		    /* ADD_DEV, SET_PARAMS */
void server_open(struct server *server);	    /* opens ubdcN, maps the descriptors */
void server_map(struct server *server);		    /* only the second half of that */
void server_open_by_control(struct server *server); /* like server_open(), without the node */
void server_serve(struct server *server);	    /* a thread for each queue, all tags fetched */
void server_start(struct server *server);	    /* START_DEV */
void server_delete(struct server *server);	    /* DEL_DEV, threads ended, everything closed */

/* Everything up to the start. */
void server_run(struct server *server);

/*
 * The same for a server that takes over device @id, with the memory that the test has set; and in
 * two steps, of which the second is END_RECOVERY.
 */
void server_attach(struct server *server, uint32_t id);
void server_recover(struct server *server, uint32_t id);

/* The buffer of a tag. */
uint8_t *server_buffer(struct server_queue *queue, uint16_t tag);

/* Fills in an SQE of an I/O command. */
void prep_io(struct io_uring_sqe *sqe, int cdev, uint32_t op, uint16_t q_id, uint16_t tag,
	     int32_t result, void *buffer);

/* The same, submitted on its own ring and waited for; returns cqe->res. */
int io_command(int cdev, uint32_t op, uint16_t q_id, uint16_t tag, int32_t result, void *buffer);

/* Opens the block device with O_DIRECT and @flags. */
int open_disk(uint32_t id, int flags);

/* Memory for O_DIRECT, zeroed. */
void *aligned(size_t size);

#endif
