// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk in memory as /dev/ubdbN: a whole server on liburing alone, with one queue and one thread.
 *
 *	memdisk [MIB]
 *
 * Prints the disk's name and serves until SIGTERM. It talks to the driver as described in
 * docs/protocol.md. Control commands use the same ring as requests, because the disk starts and
 * stops only if requests are answered meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <linux/ubd_cmd.h>

#define DEPTH	  64
#define IO_BYTES  (128u << 10)
/* user_data of anything that is not a tag's command. */
#define CONTROL	  DEPTH
#define SIGNAL	  (DEPTH + 1)
#define NO_ANSWER INT_MIN

static struct io_uring ring;
static int char_fd = -1, control_fd = -1;
static const struct ubdsrv_io_desc *descs;
static char *disk, *bufs;
static size_t disk_bytes;

static void die(const char *what, int error)
{
	fprintf(stderr, "memdisk: %s: %s\n", what, strerror(error));
	exit(1);
}

/* The ring always has room: a turn prepares at most one command for each that was answered. */
static void prepare_command(int fd, unsigned op, const void *arg, unsigned user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, arg, 16); /* both kinds of argument have 16 bytes */
	io_uring_sqe_set_data64(sqe, user_data);
}

static void fetch(unsigned op, unsigned tag, int result)
{
	struct ubdsrv_io_cmd cmd = {
		.tag = tag,
		.result = result,
		.addr = (uintptr_t)(bufs + (size_t)tag * IO_BYTES),
	};

	prepare_command(char_fd, op, &cmd, tag);
}

/* The driver expects the number of bytes done, 0, or -errno. */
static int serve(unsigned tag)
{
	const struct ubdsrv_io_desc *desc = &descs[tag];
	unsigned bytes = desc->nr_sectors << 9;
	char *buf = (char *)(uintptr_t)desc->addr;
	char *place = disk + (desc->start_sector << 9);

	switch (ubd_desc_op(desc)) {
	case UBD_IO_OP_READ:
		memcpy(buf, place, bytes);
		return bytes;
	case UBD_IO_OP_WRITE:
		memcpy(place, buf, bytes);
		return bytes;
	default:
		return -EOPNOTSUPP;
	}
}

/*
 * One turn: submits what was prepared, waits, and serves. Returns the answer to a control command,
 * or NO_ANSWER. A signal begins the end of the disk, which then answers its tags with
 * UBD_IO_RES_ABORT.
 */
static int turn(void)
{
	static const struct ubdsrv_ctrl_cmd stop;
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;
	int ret = io_uring_submit_and_wait(&ring, 1), answer = NO_ANSWER;

	if (ret < 0 && ret != -EINTR)
		die("io_uring_enter", -ret);
	io_uring_for_each_cqe(&ring, head, cqe) {
		count++;
		if (cqe->user_data == CONTROL)
			answer = cqe->res;
		else if (cqe->user_data == SIGNAL)
			prepare_command(control_fd, UBD_CMD_STOP_DEV, &stop, CONTROL);
		else if (cqe->res == UBD_IO_RES_OK)
			fetch(UBD_IO_COMMIT_AND_FETCH_REQ, cqe->user_data, serve(cqe->user_data));
		else if (cqe->res != UBD_IO_RES_ABORT)
			die("the driver refused a command", -cqe->res);
	}
	io_uring_cq_advance(&ring, count);
	return answer;
}

/* Sends a control command with its buffer, and serves until it is answered. */
static int control(int fd, unsigned op, void *buf, unsigned len, const char *what)
{
	struct ubdsrv_ctrl_cmd cmd = { .len = len, .addr = (uintptr_t)buf };
	int answer;

	prepare_command(fd, op, &cmd, CONTROL);
	while ((answer = turn()) == NO_ANSWER)
		;
	if (answer < 0)
		die(what, -answer);
	return answer;
}

static unsigned add_device(void)
{
	struct ubdsrv_ctrl_dev_info info = {
		.nr_hw_queues = 1,
		.queue_depth = DEPTH,
		.dev_id = UBD_DEV_ID_ANY,
		.max_io_bytes = IO_BYTES,
	};
	struct ubd_params params = {
		.logical_block_size = 512,
		.physical_block_size = 4096,
		.io_min = 4096,
		.max_io_sectors = IO_BYTES >> 9,
		.dev_sectors = disk_bytes >> 9,
	};
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/ubd-control", errno);
	control_fd = control(fd, UBD_CMD_ADD_DEV, &info, sizeof(info), "ADD_DEV");
	close(fd);
	control(control_fd, UBD_CMD_SET_PARAMS, &params, sizeof(params), "SET_PARAMS");
	return info.dev_id;
}

static void open_queue(unsigned id)
{
	char name[32];

	snprintf(name, sizeof(name), "/dev/ubdc%u", id);
	char_fd = open(name, O_RDWR | O_CLOEXEC);
	if (char_fd < 0)
		die(name, errno);
	descs = mmap(NULL, DEPTH * sizeof(*descs), PROT_READ, MAP_SHARED, char_fd,
		     ubd_desc_mmap_offset(0));
	if (descs == MAP_FAILED)
		die("mmap", errno);
	for (unsigned tag = 0; tag < DEPTH; tag++)
		fetch(UBD_IO_FETCH_REQ, tag, 0);
}

int main(int argc, char **argv)
{
	size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	struct io_uring_sqe *sqe;
	sigset_t signals;
	unsigned id;
	int ret;

	disk_bytes = mib << 20;
	disk = calloc(1, disk_bytes);
	bufs = aligned_alloc(4096, DEPTH * IO_BYTES);
	if (!disk || !bufs || io_uring_queue_init(2 * DEPTH, &ring, 0))
		die("a disk and a ring", ENOMEM);

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	id = add_device();
	open_queue(id);
	control(control_fd, UBD_CMD_START_DEV, NULL, 0, "START_DEV");
	printf("/dev/ubdb%u\n", id);
	fflush(stdout);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_poll_add(sqe, signalfd(-1, &signals, SFD_CLOEXEC), POLLIN);
	io_uring_sqe_set_data64(sqe, SIGNAL);
	while ((ret = turn()) == NO_ANSWER)
		;
	return ret < 0;
}
