// SPDX-License-Identifier: GPL-2.0-or-later
/* The life of a block device. */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control.h"
#include "error.h"
#include "params.h"
#include "queue.h"
#include "report.h"
#include "watch.h"

/*
 * The largest request. Where the driver copies, every tag has a buffer of this size that stays
 * in memory, so that no request ever waits for memory that only the device itself could free
 * (by writing). Larger requests would make little faster and cost that much more.
 */
#define MAX_COPY_BYTES	   (128u << 10)
/* Otherwise requests take no memory, or share it. */
#define MAX_IO_BYTES	   (1u << 20)

#define SECTOR_SIZE	   512

/* By default; more queues than that hardly help, but take memory. */
#define DEFAULT_MAX_QUEUES 4

struct device {
	struct device_config config;
	struct control *control;
	struct ubdsrv_ctrl_dev_info info;
	char *path;
	int char_fd;
	int event_fd;
	struct queue **queues; /* info.nr_hw_queues, NULL where not started; NULL before them */
	struct watch *watch;   /* NULL before the queues */
	uint64_t sectors;      /* its size */
	uint32_t block_size;   /* logical, bytes */
	bool stopped;
	bool stays; /* the next server's: not ours to stop and to delete */
	bool left;  /* the driver has ended our FETCHes in good order */
};

static uint16_t default_queues(void)
{
	return CLAMP(g_get_num_processors(), 1, DEFAULT_MAX_QUEUES);
}

static bool is_disk(const struct image *image)
{
	return image_is_headerless(image) && image_is_on_block_device(image);
}

static int choose_params(const struct device *device, struct ubd_params *ret_params, GError **err)
{
	struct image *image = device->config.image;
	struct params_input input = {
		.limits = image_limits(image),
		.image_size = image_size(image),
		.read_only = image_is_read_only(image),
		.discard = device->config.discard,
		.is_disk = is_disk(image),
		.block_size = device->config.block_size,
	};
	uint32_t cut_bytes;
	int res = params_of_image(&input, ret_params, &cut_bytes, err);

	if (res < 0)
		g_prefix_error(err, "%s: ", image_filename(image));
	else if (cut_bytes)
		report_note("%s: ignoring the last %u bytes: they do not fill a block",
			    image_filename(image), cut_bytes);
	ret_params->request_timeout = device->config.request_timeout;
	return res;
}

static int set_params(struct device *device, struct ubd_params *params, GError **err)
{
	int res = control_set_params(device->control, params)
			  ?: control_set_identity(device->control, &device->config.identity);

	if (res < 0)
		g_set_error(err, UBD_ERROR, -res,
			    "%s: the driver refused the device's parameters: %s",
			    image_filename(device->config.image), g_strerror(-res));
	return res;
}

static bool have_same_limits(const struct ubd_params *a, const struct ubd_params *b)
{
	struct ubd_params copy = *a;

	copy.dev_sectors = b->dev_sectors;
	return memcmp(&copy, b, sizeof(copy)) == 0;
}

/* The device stays as it was made, so the image must be able to serve it; it may have grown. */
static int check_params(struct device *device, const struct ubd_params *params, GError **err)
{
	const char *filename = image_filename(device->config.image);
	struct ubd_params had;
	int res = control_get_params(device->control, &had);

	if (res < 0)
		g_set_error(err, UBD_ERROR, -res, "%s: %s", device->path, g_strerror(-res));
	else if (params->dev_sectors < had.dev_sectors)
		g_set_error(err, UBD_ERROR, EINVAL,
			    "%s: the image needs a device of %" PRIu64
			    " sectors, but %s has %" PRIu64,
			    filename, (uint64_t)params->dev_sectors, device->path,
			    (uint64_t)had.dev_sectors);
	else if (!have_same_limits(params, &had))
		g_set_error(
			err, UBD_ERROR, EINVAL,
			"%s: its block or cluster size differs from that of the image for which %s was created",
			filename, device->path);
	else {
		device->sectors = had.dev_sectors;
		return 0;
	}
	return res < 0 ? res : -EINVAL;
}

/* By the control fd: the node /dev/ubdcN may be out of reach, as it is in a container. */
static int open_char_file(struct device *device, GError **err)
{
	if (device->char_fd < 0)
		device->char_fd = control_open_char(device->control);
	if (device->char_fd >= 0)
		return 0;
	g_set_error(err, UBD_ERROR, -device->char_fd, "/dev/ubdc%u: %s", device->info.dev_id,
		    g_strerror(-device->char_fd));
	return device->char_fd;
}

static int open_event_fd(struct device *device, GError **err)
{
	int error;

	device->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (device->event_fd >= 0)
		return 0;
	error = errno;
	g_set_error(err, UBD_ERROR, error, "eventfd: %s", g_strerror(error));
	return -error;
}

static int adopt_recovered(struct device *device, GError **err)
{
	int res;

	device->control = device->config.recovered;
	device->stays = true;
	res = control_get_info(device->control, &device->info);
	if (res < 0)
		g_set_error(err, UBD_ERROR, -res, "the device: %s", g_strerror(-res));
	return res;
}

static const uint64_t data_flags[] = {
	[DEVICE_DATA_COPY] = 0,
	[DEVICE_DATA_USER_COPY] = UBD_F_USER_COPY,
	[DEVICE_DATA_ZERO_COPY] = UBD_F_USER_COPY | UBD_F_ZERO_COPY,
};

static bool add_with(struct device *device, enum device_data way, uint64_t more_flags, GError **err)
{
	device->info.flags = device->config.recovery | data_flags[way] | more_flags;
	if (device->config.no_partition_scan)
		device->info.flags |= UBD_F_NO_AUTO_PART_SCAN;
	if (device->config.recovery)
		device->info.recovery_timeout = device->config.recovery_timeout;
	device->info.max_io_bytes = data_flags[way] ? MAX_IO_BYTES : MAX_COPY_BYTES;
	device->control = control_add_dev(&device->info, err);
	return device->control;
}

static int add_new(struct device *device, GError **err)
{
	enum device_data way = device->config.data;
	uint64_t offered, batches;

	if (control_get_features(&offered, err) < 0)
		return -1;
	batches = offered & UBD_F_BATCH;
	/*
	 * Users without privileges may have neither batches nor the other ways of data; if it is
	 * something else, the last try tells.
	 */
	if (way == DEVICE_DATA_ANY) {
		if (offered & UBD_F_ZERO_COPY &&
		    add_with(device, DEVICE_DATA_ZERO_COPY, batches, NULL))
			return 0;
		way = DEVICE_DATA_COPY;
	}
	if (data_flags[way] & ~offered) {
		g_set_error(
			err, UBD_ERROR, ENOTSUP,
			"the driver does not support %s copy on this kernel; use another --data",
			way == DEVICE_DATA_ZERO_COPY ? "zero" : "user");
		return -1;
	}
	if (batches && add_with(device, way, batches, NULL))
		return 0;
	return add_with(device, way, 0, err) ? 0 : -1;
}

/* The image's parameters first: a bad image is told before the driver is asked. */
static int get_device(struct device *device, GError **err)
{
	bool recovered = device->config.recovered;
	struct ubd_params params;

	if (recovered && adopt_recovered(device, err) < 0)
		return -1;
	if (choose_params(device, &params, err) < 0)
		return -1;
	if (!recovered && add_new(device, err) < 0)
		return -1;
	device->path = g_strdup_printf("/dev/ubdb%u", device->info.dev_id);
	params.max_io_sectors = device->info.max_io_bytes / SECTOR_SIZE;
	device->block_size = params.logical_block_size;
	device->sectors = params.dev_sectors;
	return recovered ? check_params(device, &params, err) : set_params(device, &params, err);
}

struct device *device_add(const struct device_config *config, GError **err)
{
	struct device *device = g_new0(struct device, 1);

	device->config = *config;
	device->char_fd = config->recovered ? config->char_fd : -1;
	device->event_fd = -1;
	device->info = (struct ubdsrv_ctrl_dev_info){
		.nr_hw_queues = config->queues ? config->queues : default_queues(),
		.queue_depth = config->depth,
		.dev_id = config->id,
	};
	if (get_device(device, err) < 0 || open_char_file(device, err) < 0 ||
	    open_event_fd(device, err) < 0)
		goto fail;
	device->queues = g_new0(struct queue *, device->info.nr_hw_queues);
	return device;
fail:
	device_free(device);
	return NULL;
}

static struct queue *start_queue(struct device *device, uint16_t q_id, GError **err)
{
	cpu_set_t cpus;
	struct queue_config config = {
		.char_fd = device->char_fd,
		.event_fd = device->event_fd,
		.q_id = q_id,
		.depth = device->info.queue_depth,
		.max_io_bytes = device->info.max_io_bytes,
		.features = device->info.flags,
		.image = device->config.image,
		.outlived = device->info.flags & UBD_F_USER_RECOVERY,
		.hold = &device->config.hold,
		.hold_limit_us = watch_hold_limit_us(device->watch),
	};
	int res = control_get_queue_affinity(device->control, q_id, &cpus);

	if (res == 0)
		config.cpus = &cpus;
	else
		report_verbose("queue %u: cannot get its CPUs: %s", q_id, g_strerror(-res));
	return queue_new(&config, err);
}

static int start_queues(struct device *device, GError **err)
{
	for (unsigned i = 0; i < device->info.nr_hw_queues; i++) {
		device->queues[i] = start_queue(device, i, err);
		if (!device->queues[i])
			return -1;
	}
	for (unsigned i = 0; i < device->info.nr_hw_queues; i++) {
		int res = queue_wait_ready(device->queues[i], err);

		if (res < 0)
			return res;
	}
	return 0;
}

static int start_watch(struct device *device, GError **err)
{
	const struct watch_config config = {
		.image = device->config.image,
		.control = device->control,
		.event_fd = device->event_fd,
		.features = device->info.flags,
		.queues = device->queues,
		.nr_queues = device->info.nr_hw_queues,
		.hold = device->config.hold,
		.watchdog_us = device->config.watchdog_us,
	};

	device->watch = watch_new(&config, err);
	return device->watch ? 0 : -1;
}

int device_control_fd(const struct device *device)
{
	return control_fd(device->control);
}

bool device_recovers(const struct device *device)
{
	return device->info.flags & UBD_F_USER_RECOVERY;
}

const char *device_path(const struct device *device)
{
	return device->path;
}

uint64_t device_size(const struct device *device)
{
	return device->sectors * SECTOR_SIZE;
}

int device_grow(struct device *device)
{
	uint64_t size = image_size(device->config.image);
	uint64_t sectors = (size - size % device->block_size) / SECTOR_SIZE;
	int res;

	if (sectors <= device->sectors)
		return 0;
	res = control_update_size(device->control, sectors);
	if (res < 0)
		return res;
	device->sectors = sectors;
	return 0;
}

unsigned device_nr_queues(const struct device *device)
{
	return device->info.nr_hw_queues;
}

struct queue_stats device_queue_stats(const struct device *device, unsigned q_id)
{
	return queue_stats(device->queues[q_id]);
}

struct failure device_last_failure(const struct device *device, gint64 *ret_time)
{
	return watch_last_failure(device->watch, ret_time);
}

/* Whether the device is to end, for what its queues tell; *ret_end says why. */
static bool look_at_queues(struct device *device, enum device_end *ret_end)
{
	bool ended = false, broken = false;

	for (unsigned i = 0; i < device->info.nr_hw_queues; i++) {
		struct queue_events events = queue_poll(device->queues[i]);

		watch_take(device->watch, &events);
		if (events.broken)
			report_error("%s: the driver refused a command of queue %u: %s",
				     device->path, i, g_strerror(-events.broken));
		broken |= events.broken != 0;
		ended |= events.ended;
	}
	if (!broken && !ended)
		return false;
	*ret_end = broken ? DEVICE_END_BROKEN : DEVICE_END_STOPPED;
	return true;
}

/* With the file closed the driver fails all that waits for us. */
static void close_char_file(struct device *device)
{
	if (device->char_fd >= 0)
		close(device->char_fd);
	device->char_fd = -1;
}

/* Somebody wants another server for the device, which is to stay. */
static bool is_to_leave(struct device *device)
{
	struct ubdsrv_ctrl_dev_info info;

	return control_get_info(device->control, &info) == 0 && info.state == UBD_S_DEV_QUIESCED;
}

/* How many milliseconds it may be until the next look; -1: any number. */
static int look_around(struct device *device)
{
	gint64 now = g_get_monotonic_time(), next = watch_look(device->watch, now);

	return next == G_MAXINT64 ? -1 : MAX(0, next - now) / 1000 + 1;
}

/* ---- the start ---- */

/* START_DEV on a thread: it waits for reads of the image, and those may take long. */
struct start {
	struct control *control; /* nobody else's */
	int event_fd;
	int res;
	_Atomic bool done; /* and then res counts */
};

static void *start_thread(void *arg)
{
	struct start *start = arg;

	start->res = control_start_dev(start->control);
	atomic_store(&start->done, true);
	eventfd_write(start->event_fd, 1);
	return NULL;
}

/* Whether a signal came first. Then, and if a request is lost, the driver ends the wait. */
static bool watch_start(struct device *device, struct start *start, int signal_fd)
{
	struct pollfd fds[] = {
		{ .fd = device->event_fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};
	enum device_end end;
	eventfd_t count;

	while (!atomic_load(&start->done)) {
		if (poll(fds, G_N_ELEMENTS(fds), look_around(device)) < 0)
			continue; /* EINTR: stopped and continued */
		if (fds[1].revents) {
			control_stop_dev(device->control);
			return true;
		}
		if (fds[0].revents) {
			eventfd_read(device->event_fd, &count);
			if (look_at_queues(device, &end) && end == DEVICE_END_BROKEN)
				close_char_file(device);
		}
	}
	return false;
}

/* Of the same file, with a ring that another thread may use meanwhile. */
static struct control *second_control(const struct device *device, GError **err)
{
	struct ubdsrv_ctrl_dev_info info;
	int fd = fcntl(control_fd(device->control), F_DUPFD_CLOEXEC, 0);

	if (fd >= 0)
		return control_adopt(fd, &info, err);
	g_set_error(err, UBD_ERROR, errno, "%s: %s", device->path, g_strerror(errno));
	return NULL;
}

static int start_new(struct device *device, int signal_fd, GError **err)
{
	struct start start = { .event_fd = device->event_fd };
	GThread *thread = NULL;
	bool ends;

	start.control = second_control(device, err);
	if (start.control)
		thread = g_thread_try_new("ubd-start", start_thread, &start, err);
	if (!thread) {
		control_free(start.control);
		return -EAGAIN;
	}
	ends = watch_start(device, &start, signal_fd);
	g_thread_join(thread);
	control_free(start.control);
	if (!ends && !start.res)
		return 0;
	g_set_error(err, UBD_ERROR, ends ? EINTR : -start.res, "%s: cannot start: %s", device->path,
		    ends ? "ended by a signal" : g_strerror(-start.res));
	return ends ? -EINTR : start.res;
}

static int start_recovered(struct device *device, GError **err)
{
	int res = control_end_recovery(device->control);

	device->stays = res < 0;
	if (res < 0)
		g_set_error(err, UBD_ERROR, -res, "%s: cannot start: %s", device->path,
			    g_strerror(-res));
	return res;
}

int device_start(struct device *device, int signal_fd, GError **err)
{
	int res = start_watch(device, err) ?: start_queues(device, err);

	if (res < 0)
		return res;
	if (device->info.flags & UBD_F_LOST)
		report_error("%s: an earlier server has lost data: flushes fail", device->path);
	report_verbose("%s: requests come %s", device->path,
		       device->info.flags & UBD_F_BATCH ? "in batches" : "one by one");
	if (device->config.recovered)
		return start_recovered(device, err);
	return start_new(device, signal_fd, err);
}

enum device_end device_wait(struct device *device, int signal_fd, int command_fd)
{
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = device->event_fd, .events = POLLIN },
		{ .fd = command_fd, .events = POLLIN },
	};
	enum device_end end;
	eventfd_t count;

	for (;;) {
		if (poll(fds, G_N_ELEMENTS(fds), look_around(device)) < 0)
			continue; /* EINTR: stopped and continued */
		if (fds[1].revents) {
			eventfd_read(device->event_fd, &count);
			if (look_at_queues(device, &end))
				break;
		}
		if (fds[0].revents) {
			end = DEVICE_END_SIGNAL;
			break;
		}
		if (fds[2].revents)
			return DEVICE_COMMAND;
	}
	if (end == DEVICE_END_BROKEN) {
		/* Stopping would wait for the lost request for ever. */
		close_char_file(device);
		device->stays = device->info.flags & UBD_F_USER_RECOVERY;
	} else if (is_to_leave(device)) {
		device->stays = device->left = true;
		end = DEVICE_END_LEFT;
	}
	return end;
}

static void wait_for_queues(struct device *device)
{
	for (unsigned i = 0; device->queues && i < device->info.nr_hw_queues; i++) {
		struct queue_stats stats;
		struct queue_events events;
		struct data_stats data;

		if (!device->queues[i])
			continue;
		data = queue_wait(device->queues[i]);
		stats = queue_stats(device->queues[i]);
		events = queue_poll(device->queues[i]);
		watch_take(device->watch, &events);
		report_verbose("%s: queue %u: %" PRIu64 " requests, %" PRIu64 " failed, %" PRIu64
			       " bytes read, %" PRIu64 " bytes written; %" PRIu64
			       " requests by zero copy, %" PRIu64 " copied",
			       device->path, i, stats.requests, stats.failed, stats.read_bytes,
			       stats.written_bytes, data.zero_copy, data.copied);
	}
}

/* Neither the end of the device nor that of the threads waits for requests that are held. */
static void release_held(struct device *device)
{
	bool leaves = device->left && device->info.flags & UBD_F_USER_RECOVERY_REISSUE;

	for (unsigned i = 0; device->queues && i < device->info.nr_hw_queues; i++)
		if (device->queues[i])
			queue_release_held(device->queues[i], leaves ? QUEUE_LEAVES : QUEUE_FAILS);
}

int device_stop(struct device *device)
{
	int res = 0;

	if (device->stopped)
		return 0;
	device->stopped = true;
	release_held(device);
	if (device->control && !device->stays)
		res = control_stop_dev(device->control);
	if (res < 0 || (device->stays && !device->left))
		close_char_file(device);
	wait_for_queues(device);
	if (device->watch)
		watch_tell_rest(device->watch);
	/* The image is closed next. */
	watch_free(device->watch);
	device->watch = NULL;
	return res;
}

void device_note_loss(struct device *device)
{
	struct ubdsrv_ctrl_dev_info info;

	if (!device->stays ||
	    (control_get_info(device->control, &info) == 0 && info.flags & UBD_F_LOST))
		return;
	report_error(
		"%s: ending the device, because another server would not know that data may be lost",
		device->path);
	device->stays = false;
}

void device_free(struct device *device)
{
	if (!device)
		return;
	device_stop(device);
	for (unsigned i = 0; device->queues && i < device->info.nr_hw_queues; i++)
		queue_free(device->queues[i]);
	close_char_file(device);
	if (device->event_fd >= 0)
		close(device->event_fd);
	if (device->control && !device->stays)
		control_del_dev(device->control);
	control_free(device->control);
	g_free(device->queues);
	g_free(device->path);
	g_free(device);
}
