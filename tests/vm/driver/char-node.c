// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The nodes: who may open them (R1), one process has /dev/ubdcN (R6), what it maps is read-only
 * (R10).
 */
#include "lib.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void r6_a_second_open_is_refused(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	CHECK(open(char_node(server.info.dev_id), O_RDWR) < 0);
	CHECK_EQ(errno, EBUSY);
	CHECK(open(char_node(server.info.dev_id), O_RDONLY) < 0);
	CHECK_EQ(errno, EBUSY);
	server_serve(&server);
	server_start(&server);
	CHECK(open(char_node(server.info.dev_id), O_RDWR) < 0);
	CHECK_EQ(errno, EBUSY);
	server_delete(&server);
}

static void r6_open_char_is_an_open_like_any_other(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	CHECK_EQ(control(server.control, UBD_CMD_OPEN_CHAR, &server, 8), -EINVAL);
	server_open_by_control(&server);
	CHECK_EQ(fcntl(server.cdev, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(control(server.control, UBD_CMD_OPEN_CHAR, NULL, 0), -EBUSY);
	CHECK(open(char_node(server.info.dev_id), O_RDWR) < 0);
	CHECK_EQ(errno, EBUSY);
	server_serve(&server);
	server_start(&server);
	CHECK_EQ(control(server.control, UBD_CMD_OPEN_CHAR, NULL, 0), -EBUSY);
	server_delete(&server);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(control(server.control, UBD_CMD_OPEN_CHAR, NULL, 0), -EBUSY);
}

/* A child has the file, but is not the process that opened it. */
static void command_and_map(void *arg)
{
	int cdev = *(int *)arg;
	char buffer[8];

	CHECK_EQ(io_command(cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer), -EPERM);
	CHECK_EQ(io_command(cdev, UBD_IO_COMMIT_REQ, 0, 0, 0, buffer), -EPERM);
	CHECK_EQ(io_command(cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, buffer), -EPERM);
	CHECK_EQ(io_command(cdev, 0x23, 0, 0, 0, buffer), -EPERM);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, cdev, 0) == MAP_FAILED);
	CHECK_EQ(errno, EPERM);
}

static void r6_another_process_is_refused(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	check_exit(spawn(command_and_map, &server.cdev), 0);
	server_serve(&server);
	server_start(&server);
	check_exit(spawn(command_and_map, &server.cdev), 0);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	server_delete(&server);
}

/* The ring is the opener's, but the command is issued by its child. */
static void submit_on_inherited_ring(void *arg)
{
	struct io_uring *ring = arg;
	struct io_uring_cqe *cqe;

	CHECK_EQ(io_uring_submit(ring), 1);
	CHECK_EQ(io_uring_wait_cqe(ring, &cqe), 0);
	CHECK_EQ(cqe->res, -EPERM);
}

static void r6_another_process_is_refused_on_the_openers_ring(void)
{
	struct io_uring ring;
	struct server server;
	char buffer[8];

	server_init(&server);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(io_uring_queue_init(2, &ring, 0), 0);
	prep_io(io_uring_get_sqe(&ring), server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer);
	check_exit(spawn(submit_on_inherited_ring, &ring), 0);
}

static int opener_seen(int control_fd)
{
	struct ubdsrv_ctrl_dev_info info;

	CHECK_EQ(control(control_fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	return info.ubdsrv_pid;
}

static void the_openers_pid_is_told(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	CHECK_EQ(opener_seen(server.control), -1);
	server_open(&server);
	CHECK_EQ(opener_seen(server.control), getpid());
}

/* Any thread of the opener's is the opener. */
static void *fetch_in_thread(void *arg)
{
	struct io_uring *ring = arg;

	CHECK_EQ(io_uring_submit(ring), 1);
	usleep(1000);
	CHECK_EQ(io_uring_cq_ready(ring), 0);
	return NULL;
}

static void another_thread_may_fetch(void)
{
	struct io_uring ring;
	struct server server;
	pthread_t thread;
	char buffer[8];

	server_init(&server);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(io_uring_queue_init(2, &ring, 0), 0);
	prep_io(io_uring_get_sqe(&ring), server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer);
	CHECK_EQ(pthread_create(&thread, NULL, fetch_in_thread, &ring), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void r1_the_nodes_are_roots_alone(void)
{
	struct server server;
	struct stat st;

	server_init(&server);
	server_run(&server);
	CHECK_EQ(stat("/dev/ubd-control", &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0600);
	CHECK_EQ(st.st_uid, 0);
	CHECK_EQ(stat(char_node(server.info.dev_id), &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0600);
	CHECK_EQ(st.st_uid, 0);
	server_delete(&server);
}

/* ---- R10 ---- */

static void check_map_refused(int cdev, size_t size, int prot, int flags, off_t off, int error)
{
	errno = 0;
	CHECK(mmap(NULL, size, prot, flags, cdev, off) == MAP_FAILED);
	CHECK_EQ(errno, error);
}

static void r10_no_writable_mapping(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	check_map_refused(server.cdev, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0, EACCES);
	check_map_refused(server.cdev, 4096, PROT_WRITE, MAP_SHARED, 0, EACCES);
	check_map_refused(server.cdev, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, EACCES);
}

static void r10_mprotect_cannot_make_it_writable(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	for (int i = 0; i < 2; i++) {
		CHECK(mprotect(server.queues[i].descs, 4096, PROT_READ | PROT_WRITE) < 0);
		CHECK_EQ(errno, EACCES);
		CHECK(mprotect(server.queues[i].descs, 4096, PROT_WRITE) < 0);
		CHECK_EQ(errno, EACCES);
		CHECK_EQ(server.queues[i].descs[7].op_flags, 0);
	}
}

/* Not even through /proc/self/mem, which writes to private mappings that are read-only. */
static void r10_the_back_door_is_shut(void)
{
	struct ubdsrv_io_desc desc = { .op_flags = 1 };
	struct server server;
	int mem = open("/proc/self/mem", O_RDWR);

	server_init(&server);
	server_add(&server);
	server_open(&server);
	CHECK(mem >= 0);
	CHECK(pwrite(mem, &desc, sizeof(desc), (off_t)(uintptr_t)server.queues[0].descs) < 0);
	CHECK_EQ(server.queues[0].descs[0].op_flags, 0);
}

static void a_mapping_is_one_whole_queue(void)
{
	struct server server;
	int cdev;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	cdev = server.cdev;
	check_map_refused(cdev, 8192, PROT_READ, MAP_SHARED, 0, EINVAL);
	check_map_refused(cdev, 4096, PROT_READ, MAP_SHARED, 4096, EINVAL);
	check_map_refused(cdev, 4096, PROT_READ, MAP_SHARED, ubd_desc_mmap_offset(2), EINVAL);
	check_map_refused(cdev, 4096, PROT_READ, MAP_SHARED, 1ll << 62, EINVAL);
	check_map_refused(cdev, 4096, PROT_READ, MAP_PRIVATE, 0, EINVAL);
}

/* What a request is about is for the opener's eyes, not for a child's. */
static void look(void *arg)
{
	unsigned char vec;

	CHECK(mincore(arg, 4096, &vec) < 0);
	CHECK_EQ(errno, ENOMEM);
}

static void a_child_does_not_inherit_the_mapping(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	CHECK(madvise(server.queues[0].descs, 4096, MADV_DOFORK) < 0);
	CHECK_EQ(errno, EINVAL);
	check_exit(spawn(look, server.queues[0].descs), 0);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "R6: a second open is refused", r6_a_second_open_is_refused },
		{ "R6: OPEN_CHAR is an open like any other",
		  r6_open_char_is_an_open_like_any_other },
		{ "R6: another process is refused", r6_another_process_is_refused },
		{ "R6: another process is refused on the opener's ring",
		  r6_another_process_is_refused_on_the_openers_ring },
		{ "the opener's pid is told", the_openers_pid_is_told },
		{ "another thread may fetch", another_thread_may_fetch },
		{ "R1: the nodes are root's alone", r1_the_nodes_are_roots_alone },
		{ "R10: no writable mapping", r10_no_writable_mapping },
		{ "R10: mprotect cannot make it writable", r10_mprotect_cannot_make_it_writable },
		{ "R10: the back door is shut", r10_the_back_door_is_shut },
		{ "a mapping is one whole queue", a_mapping_is_one_whole_queue },
		{ "a child does not inherit the mapping", a_child_does_not_inherit_the_mapping },
	};

	return RUN_TESTS(tests, argc, argv);
}
