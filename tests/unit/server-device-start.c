// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device whose driver is not ready: the main loop goes on, and can end the wait. And one whose
 * server's file is closed while queues may use its number. And one that was passed on by mistake.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "device_parts.h"
#include "disk.h"
#include "error.h"
#include "image-test.h"
#include "queue_threads.h"
#include "watch.h"

static unsigned asked;

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	return -EOPNOTSUPP;
}

static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	return 0;
}

/* The kernel shows the thread that connects an nbd device as its server, also when it has ended. */
static int open_queue(struct transport *transport, uint16_t q_id, GError **err)
{
	g_assert_cmpint(gettid(), ==, getpid());
	asked++;
	return -EAGAIN;
}

static const struct transport_ops driver = {
	.get_params = get_params,
	.request_timeout = request_timeout,
	.open_queue = open_queue,
};

/* As when a signal comes. */
static void end_co(void *arg)
{
	while (asked < 3)
		co_sleep_ns(1000 * 1000);
	device_end(arg);
}

CO_TEST(test_start_is_ended)
{
	struct transport transport = { .ops = &driver, .path = "/dev/nbd0" };
	struct queue *queues[2] = { NULL };
	int queue_fds[] = { -1, -1 };
	struct device device = {
		.transport = &transport,
		.info.queues = 2,
		.queue_fds = queue_fds,
		.queues = queues,
		.char_fd = -1,
		.event_fd = -1,
	};
	struct co_group group = { 0 };
	g_autoptr(GError) err = NULL;

	co_group_start(&group, end_co, &device);
	g_assert_cmpint(device_co_start_queues(&device, &err), <, 0);
	g_assert_cmpstr(err->message, ==, "/dev/nbd0: cannot start: ended by a signal");
	g_assert_cmpint(queue_fds[0], ==, -1);
	co_group_wait(&group);
	watch_co_free(device.watch);
}

/* ---- a driver that takes a server for dead ---- */

static unsigned forty_seconds(uint32_t wanted, bool unprivileged)
{
	return 40;
}

/* What waits in the image is answered in time, too, even if it waits for several things there. */
CO_TEST(test_requests_are_answered_in_time)
{
	static const struct transport_ops strict = {
		.get_params = get_params,
		.request_timeout = forty_seconds,
	};
	struct transport transport = { .ops = &strict, .path = "/dev/ublkb0" };
	struct disk *disk = disk_new(NULL);
	const struct watch_config config = { .disk = disk, .transport = &transport };
	struct watch *watch = watch_new(&config);

	g_assert_cmpuint(disk->patience_ns, >, 0);
	g_assert_cmpuint(disk->patience_ns * 8, <, UINT64_C(40000000000));
	watch_co_free(watch);
	disk_free(disk);
}

/* ---- a device that somebody stops ---- */

static bool is_stopped;
static unsigned nr_late, nr_released;

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	*ret_info = (struct transport_info){ .state = TRANSPORT_LIVE, .stopping = is_stopped };
	return 0;
}

static int info_res;

static int fail_get_info(struct transport *transport, struct transport_info *ret_info)
{
	return info_res;
}

/* The next server cannot have what this one deletes. */
CO_TEST(test_device_stays_if_its_end_is_not_known)
{
	static const struct transport_ops silent = { .get_info = fail_get_info };
	static const struct {
		int res;
		enum recovery recovery;
		enum target_end end;
	} cases[] = {
		{ -ETIMEDOUT, RECOVERY_REISSUE, TARGET_END_LEFT },
		{ -EPIPE, RECOVERY_FAIL, TARGET_END_LEFT },
		{ -ETIMEDOUT, RECOVERY_NONE, TARGET_END_STOPPED },
		{ -ENODEV, RECOVERY_REISSUE, TARGET_END_STOPPED },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct transport transport = { .ops = &silent, .path = "/dev/ublkb0" };
		struct device device = {
			.transport = &transport,
			.info.recovery = cases[i].recovery,
			.ended = true,
		};

		info_res = cases[i].res;
		g_assert_cmpint(device_co_wait(&device), ==, cases[i].end);
		g_assert_true(device.stays == (cases[i].end == TARGET_END_LEFT));
	}
}

static uint64_t hold_none(void *arg)
{
	return 0;
}

static uint64_t count_late(void *arg)
{
	return nr_late;
}

static void note_release(void *arg, enum serve_release release)
{
	g_assert_cmpint(release, ==, SERVE_FAILS);
	nr_released++;
}

/* Requests that wait for their turn do not delay it. */
CO_TEST(test_late_requests_let_it_end)
{
	static const struct transport_ops stopped = {
		.get_params = get_params,
		.request_timeout = request_timeout,
		.get_info = get_info,
	};
	struct transport transport = { .ops = &stopped, .path = "/dev/ubdb0" };
	struct disk *disk = disk_new(NULL);
	const struct watch_config config = {
		.disk = disk,
		.transport = &transport,
		.count_held = hold_none,
		.count_late = count_late,
		.release_held = note_release,
	};
	struct watch *watch;
	gint64 now = 0;

	co_create_ok("disk", "raw", 4096, NULL, NULL);
	disk_set_image(disk, co_open_ok("disk", "raw", 0));
	watch = watch_new(&config);
	g_assert_cmpint(watch_look(watch, now), ==, G_MAXINT64);
	nr_late = 1;
	now = watch_look(watch, now);
	g_assert_cmpint(now, <=, G_USEC_PER_SEC);
	g_assert_cmpuint(nr_released, ==, 0);
	is_stopped = true;
	watch_look(watch, now);
	g_assert_cmpuint(nr_released, ==, 1);
	watch_co_free(watch);
	g_assert_cmpint(image_co_close(disk_image(disk)), ==, 0);
	disk_free(disk);
}

static void test_closed_number_is_kept(void)
{
	int fds[2], other;
	struct device device = { .no_fd = open("/", O_PATH | O_CLOEXEC) };
	struct pollfd end = { .events = POLLIN };
	char byte;

	g_assert_cmpint(pipe(fds), ==, 0);
	end.fd = fds[0];
	device.char_fd = fds[1];
	device_close_char(&device);
	/* The file is closed, and the number is no other file's. */
	g_assert_cmpint(poll(&end, 1, 0), ==, 1);
	g_assert_true(end.revents & POLLHUP);
	other = open("/dev/null", O_RDWR | O_CLOEXEC);
	g_assert_cmpint(other, !=, fds[1]);
	g_assert_cmpint(write(fds[1], "", 1), <, 0);
	g_assert_cmpint(errno, ==, EBADF);
	g_assert_cmpint(pread(fds[1], &byte, 1, 0), <, 0);
	g_assert_cmpint(errno, ==, EBADF);
	/* A second time does nothing. */
	device_close_char(&device);
	g_assert_cmpint(fcntl(fds[1], F_GETFL) & O_PATH, !=, 0);
	close(other);
	close(fds[0]);
	close(fds[1]);
	close(device.no_fd);
}

/* ---- a device of others ---- */

static struct transport others = { .path = "/dev/ubdb0" };
static struct transport_info others_info;
static unsigned ended;
static bool is_free; /* it has no server */

static struct transport *adopt(int fd, struct transport_info *ret_info, GError **err)
{
	*ret_info = others_info;
	return &others;
}

static struct transport *clone_others(const struct transport *transport, GError **err)
{
	return &others;
}

static void leave_alone(struct transport *transport)
{
}

static int open_server_file(struct transport *transport, GError **err)
{
	if (is_free)
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	return error_refuse(err, -EBUSY, "/dev/ubdc0: another server is using it");
}

static int end_it(struct transport *transport)
{
	ended++;
	return 0;
}

static const struct transport_ops driver_of_others = {
	.adopt = adopt,
	.clone = clone_others,
	.free = leave_alone,
	.open_server_file = open_server_file,
	.stop = end_it,
	.delete = end_it,
};

/* 0: as many threads as are needed. */
static unsigned nr_prepared;

static void co_check_given(struct transport_info info, const char *reason)
{
	struct queue_threads *threads = queue_threads_new(64, RING_COMMANDS | RING_BUFFERS);
	const struct device_config config = {
		.driver = &driver_of_others,
		.given_fd = 0,
		.depth = 64,
		.threads = threads,
	};
	g_autoptr(GError) err = NULL;

	others.ops = &driver_of_others;
	others_info = info;
	others_info.depth = 64;
	g_assert_cmpint(queue_threads_prepare(threads, nr_prepared, NULL), ==, 0);
	if (nr_prepared)
		queue_threads_complete(threads);
	g_assert_null(device_co_add(&config, &err));
	g_assert_nonnull(strstr(err->message, reason));
	g_assert_cmpuint(ended, ==, 0);
	queue_threads_free(threads);
}

/* Whatever a client passes on: only a device that nobody serves is ours to end. */
CO_TEST(test_devices_of_others_stay)
{
	co_check_given((struct transport_info){ .state = TRANSPORT_LIVE, .queues = 1 },
		       "it was not added for this server");
	co_check_given((struct transport_info){ .state = TRANSPORT_ADDED, .queues = 1 },
		       "another server is using it");
}

/* No queue without a thread, and no request without memory. */
CO_TEST(test_devices_that_threads_cannot_serve)
{
	struct transport_info info = {
		.state = TRANSPORT_ADDED,
		.queues = 128,
		.data = DATA_USER_COPY,
		.max_io_bytes = 4 << 20,
	};

	co_check_given(info, "another server is using it");
	info.queues = 129;
	co_check_given(info, "at most 128 queues");
	info.queues = 1;
	info.max_io_bytes = (4 << 20) + 4096;
	co_check_given(info, "up to 4194304 bytes");
	/* Not all of its requests have registered buffers. */
	info.data = DATA_ZERO_COPY;
	co_check_given(info, "up to 4194304 bytes");
	info.data = DATA_COPY;
	co_check_given(info, "another server is using it");
}

/* The sandbox allows no more rings. */
CO_TEST(test_devices_that_would_need_more_threads)
{
	struct transport_info info = { .state = TRANSPORT_ADDED, .queues = 3 };

	nr_prepared = 2;
	co_check_given(info, "3 queues: devices added to this server can have at most 2");
	info.queues = 2;
	co_check_given(info, "another server is using it");
	nr_prepared = 0;
}

static int set_identity(struct transport *transport, const struct identity *identity)
{
	return 0;
}

/* Added for a server that may not write to the folder that udev reads, and need not. */
CO_TEST(test_no_probe_of_a_device_that_was_added)
{
	struct transport_ops ops = driver_of_others;
	struct disk *disk = disk_new(NULL);
	const struct device_config config = {
		.driver = &ops,
		.disk = disk,
		.given_fd = 0,
		.depth = 64,
		.no_probe = true,
	};
	g_autoptr(GError) err = NULL;
	struct device *device;

	g_setenv("UBD_RUN_DIR", "none/at/all", TRUE);
	ops.set_identity = set_identity;
	others.ops = &ops;
	others_info = (struct transport_info){ .state = TRANSPORT_ADDED, .depth = 64, .queues = 1 };
	is_free = true;
	device = device_co_add(&config, &err);
	is_free = false;
	g_unsetenv("UBD_RUN_DIR");
	g_assert_no_error(err);
	/* If it is not used after all, it goes. */
	device_co_free(device);
	disk_free(disk);
	g_assert_cmpuint(ended, >, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/device-start/start-is-ended", test_start_is_ended);
	g_test_add_func("/device-start/requests-are-answered-in-time",
			test_requests_are_answered_in_time);
	g_test_add_func("/device-start/stays-if-its-end-is-not-known",
			test_device_stays_if_its_end_is_not_known);
	g_test_add_func("/device-start/late-requests-let-it-end", test_late_requests_let_it_end);
	g_test_add_func("/device-start/closed-number-is-kept", test_closed_number_is_kept);
	g_test_add_func("/device-start/devices-of-others-stay", test_devices_of_others_stay);
	g_test_add_func("/device-start/devices-that-threads-cannot-serve",
			test_devices_that_threads_cannot_serve);
	g_test_add_func("/device-start/devices-that-would-need-more-threads",
			test_devices_that_would_need_more_threads);
	g_test_add_func("/device-start/no-probe-of-a-device-that-was-added",
			test_no_probe_of_a_device_that_was_added);
	return leave_scratch(folder, g_test_run());
}
