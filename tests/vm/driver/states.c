// SPDX-License-Identifier: GPL-2.0-or-later
/* Who is notified when a device's state changes: pollers of control files, and udev. */
#include "actors.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>

#define REISSUE (UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE)

/* The events that arrive within this many milliseconds, or 0. */
static int events_of(int control_fd, int milliseconds)
{
	struct pollfd poll_fd = { .fd = control_fd, .events = POLLIN };

	CHECK(poll(&poll_fd, 1, milliseconds) >= 0);
	return poll_fd.revents;
}

static void look(int control_fd, int state, uint64_t flags)
{
	struct ubdsrv_ctrl_dev_info info;

	CHECK_EQ(events_of(control_fd, AGE * 1000), POLLIN);
	CHECK_EQ(events_of(control_fd, 0), POLLIN);
	CHECK_EQ(control(control_fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	CHECK_EQ(info.state, state);
	CHECK_EQ(info.flags & (UBD_F_LOST | UBD_F_STOPPING), flags);
}

/* Others may come before. */
static void look_until(int control_fd, int state)
{
	do {
		CHECK_EQ(events_of(control_fd, AGE * 1000), POLLIN);
	} while (get_state(control_fd) != state);
}

static void a_new_file_has_nothing_to_tell(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd = add_dev(&info), other;

	CHECK(fd >= 0);
	CHECK_EQ(events_of(fd, 0), 0);
	other = open_dev(info.dev_id);
	CHECK(other >= 0);
	CHECK_EQ(events_of(other, 0), 0);
}

/* Each file has its own record of what it has seen. */
static void files_are_readable_until_they_have_looked(void)
{
	struct server server;
	int other;

	server_init(&server);
	server_add(&server);
	other = open_dev(server.info.dev_id);
	server_open(&server);
	server_serve(&server);
	CHECK_EQ(events_of(server.control, 0), 0);
	server_start(&server);
	look(server.control, UBD_S_DEV_LIVE, 0);
	CHECK_EQ(events_of(server.control, 0), 0);
	look(other, UBD_S_DEV_LIVE, 0);
	CHECK_EQ(events_of(other, 0), 0);

	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	/* A command that fails did not report it. */
	CHECK_EQ(control(other, UBD_CMD_GET_DEV_INFO, NULL, sizeof(server.info)), -EFAULT);
	look(other, UBD_S_DEV_STOPPED, UBD_F_STOPPING);
	CHECK_EQ(events_of(other, 0), 0);
	close(other);
	server_delete(&server);
}

static int lose_or_keep(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (ubd_desc_op(desc) == UBD_IO_OP_FLUSH)
		return UBD_IO_RES_LOST;
	return keep_if_told(server, desc, buffer);
}

static void serve_and_lose(void *arg)
{
	struct server server;

	init_server(&server);
	server.handle = lose_or_keep;
	server_run(&server);
	serve_for_ever(&server);
}

static void lost_data_and_a_stop_are_told(void)
{
	int disk, stopper, server, fd;

	share();
	server = wait_for_server(spawn(serve_and_lose, NULL));
	fd = open_dev(get(&shared->id));
	disk = open_disk(get(&shared->id), O_RDWR);
	CHECK_EQ(events_of(fd, 0), 0);
	CHECK(fsync(disk) < 0);
	look(fd, UBD_S_DEV_LIVE, UBD_F_LOST);
	CHECK_EQ(events_of(fd, 0), 0);
	close(disk);

	/* The stop waits for the server meanwhile. */
	stopper = spawn_waiting_stop(&disk);
	look(fd, UBD_S_DEV_LIVE, UBD_F_LOST | UBD_F_STOPPING);
	CHECK_EQ(events_of(fd, 0), 0);
	kill_server(server);
	check_exit(stopper, 0);
	close(disk);
}

static void a_deleted_device_hangs_up(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct server server;
	int other, epoll;

	server_init(&server);
	server_run(&server);
	other = open_dev(server.info.dev_id);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, other, &event), 0);
	CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);
	server_delete(&server);
	CHECK_EQ(epoll_wait(epoll, &event, 1, AGE * 1000), 1);
	CHECK_EQ(event.events, EPOLLIN | EPOLLHUP);
	CHECK_EQ(control(other, UBD_CMD_GET_DEV_INFO, &server.info, sizeof(server.info)), -ENODEV);
	CHECK_EQ(events_of(other, 0), POLLIN | POLLHUP);
	close(epoll);
	close(other);
}

/* As a server does that waits at its ring for everything. */
static void a_ring_can_poll(void)
{
	struct io_uring_cqe *cqe;
	struct server server;
	struct io_uring ring;

	server_init(&server);
	server_add(&server);
	CHECK_EQ(io_uring_queue_init(2, &ring, 0), 0);
	io_uring_prep_poll_add(io_uring_get_sqe(&ring), server.control, POLLIN);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(io_uring_peek_cqe(&ring, &cqe), -EAGAIN);
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
	CHECK_EQ(cqe->res, POLLIN);
	io_uring_queue_exit(&ring);
	server_delete(&server);
}

static void the_coming_and_going_of_servers_is_told(void)
{
	int uevents = listen_to_uevents(), server, fd;
	char path[32];

	server = spawn_server(REISSUE);
	snprintf(path, sizeof(path), "/ubdc%d", get(&shared->id));
	fd = open_dev(get(&shared->id));
	for (int i = 0; i < 3; i++) {
		kill_server(server);
		look_until(fd, UBD_S_DEV_QUIESCED);
		wait_for_uevent(uevents, path, "UBD_STATE=quiesced");
		server = spawn_next();
		look_until(fd, UBD_S_DEV_LIVE);
		wait_for_uevent(uevents, path, "UBD_STATE=live");
	}
	delete_device();
	kill_server(server);
	CHECK_EQ(events_of(fd, AGE * 1000), POLLIN | POLLHUP);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a new file has nothing to tell", a_new_file_has_nothing_to_tell },
		{ "files are readable until they have looked",
		  files_are_readable_until_they_have_looked },
		{ "lost data and a stop are told", lost_data_and_a_stop_are_told },
		{ "a deleted device hangs up", a_deleted_device_hangs_up },
		{ "a ring can poll", a_ring_can_poll },
		{ "the coming and going of servers is told",
		  the_coming_and_going_of_servers_is_told },
	};

	return RUN_TESTS(tests, argc, argv);
}
