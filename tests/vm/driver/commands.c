// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands that are malformed or come at the wrong time: each is refused and changes nothing. */
#include "lib.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* ---- ADD_DEV ---- */

static void check_add_refused(const struct ubdsrv_ctrl_dev_info *wrong, int error)
{
	struct ubdsrv_ctrl_dev_info info = *wrong;

	CHECK_EQ(add_dev(&info), error);
	CHECK(!memcmp(&info, wrong, sizeof(info)));
	CHECK(!exists("/dev/ubdc0"));
}

/* Adds with one field of the usual info set to a wrong value. */
#define CHECK_INFO_REFUSED(field, value)                                                           \
	do {                                                                                       \
		struct ubdsrv_ctrl_dev_info wrong_ = usual_info();                                 \
		wrong_.field = (value);                                                            \
		check_add_refused(&wrong_, -EINVAL);                                               \
	} while (0)

static void add_refuses_what_it_does_not_know(void)
{
	CHECK_INFO_REFUSED(nr_hw_queues, 0);
	CHECK_INFO_REFUSED(nr_hw_queues, UBD_MAX_NR_HW_QUEUES + 1);
	CHECK_INFO_REFUSED(queue_depth, 0);
	CHECK_INFO_REFUSED(queue_depth, UBD_MAX_QUEUE_DEPTH + 1);
	CHECK_INFO_REFUSED(reserved0, 1);
	CHECK_INFO_REFUSED(recovery_timeout, 1); /* without UBD_F_USER_RECOVERY */
	CHECK_INFO_REFUSED(reserved2[2], 1);
	CHECK_INFO_REFUSED(flags, UBD_F_USER_RECOVERY_REISSUE);
	CHECK_INFO_REFUSED(flags, UBD_F_USER_RECOVERY_FAIL_IO);
	CHECK_INFO_REFUSED(flags, UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE |
					  UBD_F_USER_RECOVERY_FAIL_IO);
	CHECK_INFO_REFUSED(flags, UBD_F_USER_RECOVERY | 1ull << 62);
	CHECK_INFO_REFUSED(flags, 1ull << 63);
	CHECK_INFO_REFUSED(flags, UBD_F_UNPRIVILEGED);
	CHECK_INFO_REFUSED(flags, UBD_F_ZERO_COPY); /* without UBD_F_USER_COPY */
	CHECK_INFO_REFUSED(max_io_bytes, 0);
	CHECK_INFO_REFUSED(max_io_bytes, 4096 + 512);
	CHECK_INFO_REFUSED(max_io_bytes, UBD_MAX_IO_BYTES + 4096);
	CHECK_INFO_REFUSED(dev_id, 4096);
	CHECK_INFO_REFUSED(dev_id, UBD_DEV_ID_ANY - 1);
}

static void add_refuses_to_wait_longer_than_a_week(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info(), found;
	int fd;

	info.flags = UBD_F_USER_RECOVERY;
	info.recovery_timeout = UBD_MAX_RECOVERY_TIMEOUT + 1;
	check_add_refused(&info, -EINVAL);
	info.recovery_timeout = UBD_MAX_RECOVERY_TIMEOUT;
	fd = add_dev(&info);
	CHECK(fd >= 0);
	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, &found, sizeof(found)), 0);
	CHECK_EQ(found.recovery_timeout, UBD_MAX_RECOVERY_TIMEOUT);
	close(fd);
}

static void add_grants_no_more_queues_than_cpus(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd;

	info.nr_hw_queues = UBD_MAX_NR_HW_QUEUES;
	info.queue_depth = 2;
	fd = add_dev(&info);
	CHECK(fd >= 0);
	CHECK_EQ(info.nr_hw_queues, get_nprocs());
	CHECK_EQ(info.queue_depth, 2);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

static void the_deepest_queue_can_be_had(void)
{
	struct server server;

	server_init(&server);
	server.info.nr_hw_queues = 1;
	server.info.queue_depth = UBD_MAX_QUEUE_DEPTH;
	server.info.max_io_bytes = 4096;
	server.params.max_io_sectors = 8;
	server_run(&server);
	CHECK_EQ(server.info.queue_depth, UBD_MAX_QUEUE_DEPTH);
	server_delete(&server);
}

static void an_id_can_be_asked_for_once(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int first, second;

	info.dev_id = 1000;
	first = add_dev(&info);
	CHECK(first >= 0);
	CHECK_EQ(info.dev_id, 1000);
	CHECK(exists("/dev/ubdc1000"));
	CHECK_EQ(add_dev(&info), -EEXIST);
	CHECK_EQ(control(first, UBD_CMD_DEL_DEV, NULL, 0), 0);
	/* DEL_DEV has waited, so the id is free although the control fd is still open. */
	second = add_dev(&info);
	CHECK(second >= 0);
}

static void the_lowest_free_id_is_given(void)
{
	struct ubdsrv_ctrl_dev_info info[3];
	int fds[3];

	for (int i = 0; i < 3; i++) {
		info[i] = usual_info();
		fds[i] = add_dev(&info[i]);
		CHECK(fds[i] >= 0);
		CHECK_EQ(info[i].dev_id, i);
	}
	CHECK_EQ(control(fds[1], UBD_CMD_DEL_DEV, NULL, 0), 0);
	info[1] = usual_info();
	CHECK(add_dev(&info[1]) >= 0);
	CHECK_EQ(info[1].dev_id, 1);
}

static void a_buffer_that_faults_adds_nothing(void)
{
	int fd = open("/dev/ubd-control", O_RDWR);
	struct ubdsrv_ctrl_dev_info info = usual_info();

	CHECK_EQ(control(fd, UBD_CMD_ADD_DEV, NULL, sizeof(info)), -EFAULT);
	CHECK_EQ(control(fd, UBD_CMD_ADD_DEV, &info, sizeof(info) - 8), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_ADD_DEV, &info, sizeof(info) + 8), -EINVAL);
	CHECK(!exists("/dev/ubdc0"));
}

/* ---- control commands ---- */

static void control_commands_refuse_wrong_arguments(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	struct ubd_params params = usual_params();
	struct ubdsrv_ctrl_cmd cmd = { .len = sizeof(info), .addr = (uintptr_t)&info };
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	cmd.reserved = 1;
	CHECK_EQ(command(fd, UBD_CMD_GET_DEV_INFO, &cmd), -EINVAL);
	cmd.reserved = 0;
	cmd.queue_id = 1;
	CHECK_EQ(command(fd, UBD_CMD_GET_DEV_INFO, &cmd), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info) - 1), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, NULL, sizeof(info)), -EFAULT);
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params) + 1), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, NULL, sizeof(params)), -EFAULT);
	CHECK_EQ(control(fd, UBD_CMD_START_DEV, &info, 0), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_STOP_DEV, NULL, 8), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_DEL_DEV, NULL, 8), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_QUIESCE, NULL, 8), -EINVAL);
	CHECK_EQ(get_state(fd), UBD_S_DEV_ADDED);
}

static void unknown_commands_are_refused(void)
{
	const uint32_t unknown[] = { 0, 0x03, 0x15, 0x20, 0x21, 0x22, 0x7fffffff, 0xffffffff };
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int node = open("/dev/ubd-control", O_RDWR), fd = add_dev(&info);

	CHECK(fd >= 0);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		CHECK_EQ(control(node, unknown[i], NULL, 0), -EINVAL);
		CHECK_EQ(control(fd, unknown[i], NULL, 0), -EINVAL);
	}
	/* The node's commands are not the device's. */
	CHECK_EQ(control(fd, UBD_CMD_ADD_DEV, &info, sizeof(info)), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_OPEN_DEV, &info, 16), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_GET_FEATURES, &info, 8), -EINVAL);
}

static void get_features_tells_what_add_takes(void)
{
	int node = open("/dev/ubd-control", O_RDWR);
	uint64_t features = ~0ull;

	CHECK_EQ(control(node, UBD_CMD_GET_FEATURES, &features, 4), -EINVAL);
	CHECK_EQ(control(node, UBD_CMD_GET_FEATURES, &features, 8), 0);
	/* Zero copy and batches are there where the kernel can do it. */
	features &= ~(UBD_F_ZERO_COPY | UBD_F_BATCH);
	CHECK_EQ(features, UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE |
				   UBD_F_USER_RECOVERY_FAIL_IO | UBD_F_USER_COPY |
				   UBD_F_NO_AUTO_PART_SCAN);
}

#define CHECK_PARAM_REFUSED(fd, field, value)                                                      \
	do {                                                                                       \
		struct ubd_params wrong_ = usual_params();                                         \
		wrong_.field = (value);                                                            \
		CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &wrong_, sizeof(wrong_)), -EINVAL);       \
	} while (0)

static void set_params_refuses_what_cannot_be(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	struct ubd_params params = usual_params(), found;
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), 0);
	CHECK_PARAM_REFUSED(fd, attrs, 1u << 5);
	CHECK_PARAM_REFUSED(fd, attrs, UBD_ATTR_FUA);
	CHECK_PARAM_REFUSED(fd, logical_block_size, 0);
	CHECK_PARAM_REFUSED(fd, logical_block_size, 256);
	CHECK_PARAM_REFUSED(fd, logical_block_size, 1536);
	CHECK_PARAM_REFUSED(fd, logical_block_size, 8192);
	CHECK_PARAM_REFUSED(fd, physical_block_size, 256);
	CHECK_PARAM_REFUSED(fd, physical_block_size, 8192);
	CHECK_PARAM_REFUSED(fd, io_min, 0);
	CHECK_PARAM_REFUSED(fd, io_min, 511);
	CHECK_PARAM_REFUSED(fd, io_opt, 100);
	CHECK_PARAM_REFUSED(fd, max_io_sectors, 0);
	CHECK_PARAM_REFUSED(fd, max_io_sectors, 7);
	CHECK_PARAM_REFUSED(fd, max_io_sectors, 257);
	CHECK_PARAM_REFUSED(fd, discard_granularity, 0);
	CHECK_PARAM_REFUSED(fd, discard_granularity, 100);
	CHECK_PARAM_REFUSED(fd, max_discard_sectors, 7);
	CHECK_PARAM_REFUSED(fd, dma_alignment, 2);
	CHECK_PARAM_REFUSED(fd, dma_alignment, 96);
	CHECK_PARAM_REFUSED(fd, dma_alignment, 1024);
	CHECK_PARAM_REFUSED(fd, max_segments, 65536);
	CHECK_PARAM_REFUSED(fd, max_segment_size, 2048);
	CHECK_PARAM_REFUSED(fd, max_segment_size, 4096 + 4);
	CHECK_PARAM_REFUSED(fd, segment_boundary, 2048);
	CHECK_PARAM_REFUSED(fd, segment_boundary, 12288);
	CHECK_PARAM_REFUSED(fd, reserved1[0], 1);
	CHECK_PARAM_REFUSED(fd, reserved1[1], 1);
	CHECK_PARAM_REFUSED(fd, dev_sectors, 0);
	CHECK_PARAM_REFUSED(fd, dev_sectors, 1ull << 55);
	CHECK_PARAM_REFUSED(fd, dev_sectors, ~0ull);
	CHECK_EQ(control(fd, UBD_CMD_GET_PARAMS, &found, sizeof(found)), 0);
	CHECK(!memcmp(&found, &params, sizeof(params)));

	/* Without discards as well. */
	params.max_discard_sectors = 0;
	params.discard_granularity = 100;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), -EINVAL);
	params.discard_granularity = 0;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), 0);
}

static void blocks_of_4096_make_units_of_8_sectors(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	struct ubd_params params = usual_params();
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	params.logical_block_size = 4096;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), 0);
	params.dev_sectors = 32769;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), -EINVAL);
	params.dev_sectors = 32768;
	params.max_write_zeroes_sectors = 2047;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), -EINVAL);
	params.max_write_zeroes_sectors = 2048;
	params.max_io_sectors = 9;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), -EINVAL);
	params.max_io_sectors = 256;
	params.max_segments = 7;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), -EINVAL);
	params.max_segments = 8;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), 0);
	params.dma_alignment = 4096;
	params.max_segments = 1;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), 0);
	params.max_segment_size = 4096 + 512;
	CHECK_EQ(control(fd, UBD_CMD_SET_PARAMS, &params, sizeof(params)), -EINVAL);
}

static void control_commands_at_the_wrong_time_are_refused(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	struct server server;
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	CHECK_EQ(control(fd, UBD_CMD_START_DEV, NULL, 0), -EINVAL); /* no parameters */
	CHECK_EQ(control(fd, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(control(fd, UBD_CMD_START_DEV, NULL, 0), -ENODEV);
	CHECK(open(char_node(info.dev_id), O_RDWR) < 0);
	CHECK_EQ(errno, ENODEV);
	close(fd);

	server_init(&server);
	server_run(&server);
	CHECK_EQ(control(server.control, UBD_CMD_START_DEV, NULL, 0), -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_SET_PARAMS, &server.params, sizeof(server.params)),
		 -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_STOPPED);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(control(server.control, UBD_CMD_START_DEV, NULL, 0), -ENODEV);
	CHECK_EQ(control(server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	CHECK_EQ(control(server.control, UBD_CMD_DEL_DEV, NULL, 0), -ENODEV);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), -ENODEV);
	CHECK_EQ(control(server.control, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), -ENODEV);
}

static void the_queues_share_the_cpus(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	struct ubdsrv_ctrl_cmd cmd;
	cpu_set_t mask, all;
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	CPU_ZERO(&all);
	for (int q = 0; q < info.nr_hw_queues; q++) {
		cpu_set_t both;

		memset(&mask, 0xff, sizeof(mask));
		cmd = (struct ubdsrv_ctrl_cmd){ .queue_id = q,
						.len = sizeof(mask),
						.addr = (uintptr_t)&mask };
		CHECK_EQ(command(fd, UBD_CMD_GET_QUEUE_AFFINITY, &cmd), 0);
		CHECK(CPU_COUNT(&mask) > 0);
		CPU_AND(&both, &mask, &all);
		CHECK_EQ(CPU_COUNT(&both), 0);
		CPU_OR(&all, &all, &mask);
	}
	CHECK_EQ(CPU_COUNT(&all), get_nprocs_conf());

	cmd.queue_id = info.nr_hw_queues;
	CHECK_EQ(command(fd, UBD_CMD_GET_QUEUE_AFFINITY, &cmd), -EINVAL);
	cmd.queue_id = 0;
	cmd.len = 12;
	CHECK_EQ(command(fd, UBD_CMD_GET_QUEUE_AFFINITY, &cmd), -EINVAL);
	cmd.len = 0;
	CHECK_EQ(command(fd, UBD_CMD_GET_QUEUE_AFFINITY, &cmd), -EINVAL);
	cmd.len = 128;
	cmd.addr = 8;
	CHECK_EQ(command(fd, UBD_CMD_GET_QUEUE_AFFINITY, &cmd), -EFAULT);
}

/* ---- I/O commands ---- */

static void io_commands_refuse_wrong_arguments(void)
{
	struct server server;
	char buffer[8];

	server_init(&server);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 2, 0, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0xffff, 0, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 8, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 0xffff, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, NULL), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, NULL), -EINVAL);
	CHECK_EQ(io_command(server.cdev, 0x23, 0, 0, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, 0, 0, 0, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_CMD_DEL_DEV, 0, 0, 0, buffer), -EINVAL);
}

/* Serves, but for the first request, which it keeps. */
static int keep_first(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (!__atomic_exchange_n((int *)server->data, 1, __ATOMIC_SEQ_CST))
		return SERVER_KEEP;
	return server_handle(server, desc, buffer);
}

static void read_a_sector(void *arg)
{
	int disk = open_disk(*(uint32_t *)arg, O_RDONLY);

	CHECK_EQ(pread(disk, aligned(512), 512, 0), 512);
}

static void io_commands_at_the_wrong_time_are_refused(void)
{
	struct server server;
	char buffer[8];
	int kept = 1, reader, q = -1, tag = -1;

	server_init(&server);
	server.handle = keep_first;
	server.data = &kept;
	server_add(&server);
	server_open(&server);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_REQ, 0, 0, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, buffer), -EINVAL);
	server_serve(&server);
	server_start(&server);
	for (int i = 0; i < 2 * 8; i++) {
		CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, i / 8, i % 8, 0, buffer),
			 -EBUSY);
		CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_REQ, i / 8, i % 8, 0, buffer),
			 -EINVAL);
	}

	/* Only the tag whose request the server keeps may be committed, and only once. */
	kept = 0;
	reader = spawn(read_a_sector, &server.info.dev_id);
	WAIT_UNTIL(__atomic_load_n(&kept, __ATOMIC_SEQ_CST), 5);
	for (int i = 0; i < 2 * 8; i++) {
		CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, i / 8, i % 8, 0, buffer),
			 -EBUSY);
		if (io_command(server.cdev, UBD_IO_COMMIT_REQ, i / 8, i % 8, 512, NULL) == 0) {
			CHECK_EQ(tag, -1);
			q = i / 8;
			tag = i % 8;
		}
	}
	CHECK(tag >= 0);
	check_exit(reader, 0);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_REQ, q, tag, 512, NULL), -EINVAL);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
}

static void io_commands_after_stop_and_delete_find_no_device(void)
{
	struct server server;
	char buffer[8];

	server_init(&server);
	server_run(&server);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer), UBD_IO_RES_ABORT);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_REQ, 0, 0, 0, buffer), UBD_IO_RES_ABORT);
	CHECK_EQ(control(server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer), UBD_IO_RES_ABORT);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, buffer),
		 UBD_IO_RES_ABORT);
	close(server.control);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer), UBD_IO_RES_ABORT);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "ADD_DEV refuses what it does not know", add_refuses_what_it_does_not_know },
		{ "ADD_DEV refuses to wait longer than a week",
		  add_refuses_to_wait_longer_than_a_week },
		{ "ADD_DEV grants no more queues than CPUs", add_grants_no_more_queues_than_cpus },
		{ "the deepest queue can be had", the_deepest_queue_can_be_had },
		{ "an id can be asked for once", an_id_can_be_asked_for_once },
		{ "the lowest free id is given", the_lowest_free_id_is_given },
		{ "a buffer that faults adds nothing", a_buffer_that_faults_adds_nothing },
		{ "control commands refuse wrong arguments",
		  control_commands_refuse_wrong_arguments },
		{ "unknown commands are refused", unknown_commands_are_refused },
		{ "GET_FEATURES tells what ADD_DEV takes", get_features_tells_what_add_takes },
		{ "SET_PARAMS refuses what cannot be", set_params_refuses_what_cannot_be },
		{ "blocks of 4096 bytes make units of 8 sectors",
		  blocks_of_4096_make_units_of_8_sectors },
		{ "control commands at the wrong time are refused",
		  control_commands_at_the_wrong_time_are_refused },
		{ "the queues share the CPUs", the_queues_share_the_cpus },
		{ "I/O commands refuse wrong arguments", io_commands_refuse_wrong_arguments },
		{ "I/O commands at the wrong time are refused",
		  io_commands_at_the_wrong_time_are_refused },
		{ "I/O commands after STOP_DEV and DEL_DEV find no device",
		  io_commands_after_stop_and_delete_find_no_device },
	};

	return RUN_TESTS(tests, argc, argv);
}
