// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-serve: serves a disk image as a block device until it is told to stop.
 *
 * Here is the order of things: image, device, queues, and back.
 * Whatever fails, the way back is the same: no more requests, the image closed,
 * the device deleted.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "aio.h"
#include "commands.h"
#include "device.h"
#include "error.h"
#include "identity.h"
#include "image.h"
#include "options.h"
#include "others.h"
#include "process.h"
#include "report.h"
#include "runfile.h"
#include "std_fds.h"
#include "supervisor.h"
#include "takeover.h"

/* How long an old server may keep its image before that is worth a line; and then once a minute. */
#define UNLOCK_SECONDS	    2
#define UNLOCK_NOTE_SECONDS 60

static const struct options *options;
static struct takeover takeover;

/* ---- the image ---- */

struct open_job {
	struct image_open_opts opts;
	int char_fd; /* of the device that is taken over, once it is ours; -1: not yet, or none */
	struct image *image;
	GError *err;
	int res;
};

static void warn(const char *line)
{
	report_note("%s", line);
}

static void open_image_co(void *arg)
{
	struct open_job *job = arg;
	struct image *file;

	job->res = image_co_open_bottom(options->filename, job->opts.flags, &file, &job->err);
	if (job->res < 0)
		return;
	if (takeover.transport)
		job->res = takeover_claim(&takeover, file, &job->char_fd, &job->err);
	if (job->res < 0)
		image_co_close(file);
	else
		job->res = image_co_open_on(file, &job->opts, &job->image, &job->err);
}

static bool is_write_refusal(int res)
{
	return res == -EACCES || res == -EPERM || res == -EROFS;
}

/* Its deadline has passed, or somebody has stopped it. */
static bool has_ended(struct transport *transport)
{
	struct transport_info info;

	return transport->ops->get_info(transport, &info) < 0 || info.state == TRANSPORT_STOPPED ||
	       info.stopping;
}

/*
 * An old server's I/O may go on for a while after its death, and until it has ended,
 * it holds the lock of the image. Two servers writing would be the end of it. And others can take a
 * lock, all who may read the image: the device, whose users wait, is not given up for that.
 */
static void open_when_unlocked(struct aio_loop *loop, struct open_job *job)
{
	gint64 note = g_get_monotonic_time() + UNLOCK_SECONDS * G_USEC_PER_SEC;
	gulong pause = G_USEC_PER_SEC / 20;

	aio_loop_run_co(loop, open_image_co, job);
	while (job->res == -EBUSY && takeover.transport) {
		if (has_ended(takeover.transport)) {
			g_prefix_error(&job->err, "%s has ended: ", takeover.transport->path);
			return;
		}
		if (g_get_monotonic_time() >= note) {
			report_note("%s; retrying until it ends", job->err->message);
			note += UNLOCK_NOTE_SECONDS * G_USEC_PER_SEC;
			pause = G_USEC_PER_SEC;
		}
		g_clear_error(&job->err);
		g_usleep(pause);
		aio_loop_run_co(loop, open_image_co, job);
	}
}

/* A file that may only be read makes a read-only device, as with a real disk. */
static int open_writable_or_not(struct aio_loop *loop, struct open_job *job)
{
	open_when_unlocked(loop, job);
	if (!is_write_refusal(job->res) || !(job->opts.flags & IMAGE_RDWR))
		return job->res;

	g_autoptr(GError) why = g_steal_pointer(&job->err);

	job->opts.flags &= ~IMAGE_RDWR;
	open_when_unlocked(loop, job);
	if (job->res == 0)
		report_note("%s; the device is read-only", why->message);
	return job->res;
}

/* *ret_char_fd: of the device that is taken over, if its server is this process now; else -1. */
static struct image *open_image(struct aio_loop *loop, int *ret_char_fd, GError **err)
{
	struct open_job job = { .opts = { .format = options->format,
					  .snapshot = options->snapshot,
					  .cache_bytes = options->cache_bytes,
					  .memory_limit = options->memory_limit,
					  .policy = &options->policy,
					  .warn = warn },
				.char_fd = -1 };
	int res;

	if (!takeover.read_only && !options->snapshot)
		job.opts.flags |= IMAGE_RDWR;
	if (options->direct)
		job.opts.flags |= IMAGE_DIRECT;
	if (takeover.discard)
		job.opts.flags |= IMAGE_UNMAP;
	res = open_writable_or_not(loop, &job);
	*ret_char_fd = job.char_fd;
	if (res < 0) {
		g_propagate_error(err, job.err);
		return NULL;
	}
	if (options->direct && !image_limits(job.image)->direct)
		report_verbose("%s: O_DIRECT is not supported here; using the page cache",
			       options->filename);
	return job.image;
}

struct close_job {
	struct image *image;
	int res;
};

static void close_image_co(void *arg)
{
	struct close_job *job = arg;

	job->res = image_co_close(job->image);
}

static bool close_image(struct aio_loop *loop, struct image *image)
{
	struct close_job job = { .image = image };

	aio_loop_run_co(loop, close_image_co, &job);
	if (job.res < 0)
		report_error("%s: closing the image: %s", options->filename, g_strerror(-job.res));
	return job.res == 0;
}

static void flush_image_co(void *arg)
{
	/* What it says, image_co_close() says as well. */
	image_co_flush(arg);
}

/* The last chance to tell the next server, or to do without one. */
static void look_for_loss(struct aio_loop *loop, struct image *image, struct device *device)
{
	aio_loop_run_co(loop, flush_image_co, image);
	if (image_troubles(image) & IMAGE_TROUBLE_LOST)
		device_note_loss(device);
}

/*
 * "raw" by guess would be a trap: who can write to a raw disk can write a qcow2
 * header to its start, and with that name any file as its backing file, to be
 * read at the next start.
 */
static bool format_is_known(struct image *image)
{
	/* What forgets has no contents to be taken for a header. */
	if (options->format || !image_is_headerless(image) || image_forgets(image))
		return true;
	report_error(
		"%s: its header is not of a known format; if it is a raw image, give --format raw",
		options->filename);
	return false;
}

/* ---- from start to end ---- */

/*
 * Blocks the signals that end the server, in all threads to come; a signalfd of them. Until then
 * they end the process at once, whatever it waits for: nothing has been made that would be left
 * behind, a device that is being taken over goes on waiting, and a repair is one that a crash has
 * ended.
 */
static int block_signals(GError **err)
{
	struct sigaction hup;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	/* Under nohup(1) it stays without effect. */
	if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		error_set(err, -errno, "signalfd");
	return fd;
}

static struct runfile *pid_file; /* NULL if there is none to remove */

static bool write_pid_file(GError **err)
{
	if (options->pid_file)
		pid_file = runfile_new_pid(options->pid_file, err);
	return pid_file || !options->pid_file;
}

static void remove_pid_file(void)
{
	runfile_remove(pid_file);
	pid_file = NULL;
}

/* What may go wrong when memory is short; told once it matters, not beside a reason to fail. */
static int memory_lock_error, io_flusher_error, oom_score_error;

static void tell_of_memory(void)
{
	if (memory_lock_error < 0)
		report_note("cannot lock memory (%s): the device may hang when memory is short",
			    g_strerror(-memory_lock_error));
	if (io_flusher_error < 0)
		report_note("PR_SET_IO_FLUSHER: %s: the device may hang when memory is short",
			    g_strerror(-io_flusher_error));
	if (oom_score_error < 0)
		report_note("/proc/self/oom_score_adj: %s: the server may be killed when memory "
			    "is short",
			    g_strerror(-oom_score_error));
}

static bool announce(struct device *device, GError **err)
{
	tell_of_memory();
	if (printf("%s\n", device_path(device)) < 0 || fflush(stdout) != 0) {
		error_set(err, -errno, "standard output");
		return false;
	}
	if (options->daemonize)
		daemon_live();
	if (device_recovers(device))
		supervisor_store_fd(device_control_fd(device));
	supervisor_ready(device_path(device));
	return true;
}

/* Before the queue threads are made; the workers that opened the image have to go. */
static bool drop_privileges(GError **err)
{
	int res;

	aio_workers_end();
	res = process_drop_privileges();
	if (res < 0)
		error_set(err, res, "cannot drop privileges");
	return res == 0;
}

static struct commands *commands; /* NULL without --socket */

static bool open_socket(GError **err)
{
	if (!options->socket)
		return true;
	commands = commands_new(options->socket, err);
	return commands;
}

/* Serves those who have commands until the device is to end; why. */
static enum device_end wait_for_end(struct aio_loop *loop, struct image *image,
				    struct device *device, int signal_fd)
{
	enum device_end end;

	do {
		end = device_wait(device, signal_fd, commands_fd(commands));
		if (end == DEVICE_COMMAND && !commands_serve(commands, loop, image, device))
			end = DEVICE_END_SIGNAL;
	} while (end == DEVICE_COMMAND);
	return end;
}

/* Makes the device live and waits for its end. */
static bool run_device(struct aio_loop *loop, struct image *image, struct device *device)
{
	g_autoptr(GError) err = NULL;
	int signal_fd;

	if (!drop_privileges(&err) || (signal_fd = block_signals(&err)) < 0 ||
	    !write_pid_file(&err) || !open_socket(&err) ||
	    device_start(device, signal_fd, &err) < 0 || !announce(device, &err)) {
		report_error("%s", err->message);
		return false;
	}
	switch (wait_for_end(loop, image, device, signal_fd)) {
	case DEVICE_END_SIGNAL:
		report_verbose("%s: stopping", device_path(device));
		return true;
	case DEVICE_END_STOPPED:
		report_note("%s: another process has stopped the device", device_path(device));
		return true;
	case DEVICE_END_LEFT:
		report_note("%s: left to the next server", device_path(device));
		/* Which may want a pid file of the same name. */
		remove_pid_file();
		return true;
	case DEVICE_END_BROKEN:
	case DEVICE_COMMAND:
		break;
	}
	return false;
}

static bool stop_device(struct device *device)
{
	int res;

	supervisor_stopping();
	res = device_stop(device);

	if (res < 0)
		report_error("%s: cannot stop: %s", device_path(device), g_strerror(-res));
	return res == 0;
}

/* Lookups by serial number may find either one. */
static void tell_of_twin(void)
{
	const char *serial = options->identity.serial;
	g_autoptr(GArray) twins = NULL;
	const struct other *twin;

	if (!serial[0])
		return;
	twins = others_find(options->driver, "serial", serial);
	if (!twins->len)
		return;
	/* The privileged one, if there is any: by the serial number of others no links are made. */
	twin = &g_array_index(twins, struct other, 0);
	report_note("/dev/%s%u%s also has the serial number %s: lookups by it may find either one",
		    options->driver->disk_name, twin->id,
		    twin->unprivileged ? ", an unprivileged device," : "", serial);
}

/* Only now: an image that makes another device is not taken, whatever --force says. */
static void keep_image(const struct image *image)
{
	int res = takeover_keep_image(&takeover, image);

	if (res < 0)
		report_note("%s: the next server will not recognise it: %s", options->filename,
			    g_strerror(-res));
}

static bool serve_image(struct aio_loop *loop, struct image *image, int char_fd)
{
	struct device_config config = {
		.driver = options->driver,
		.image = image,
		.discard = takeover.discard,
		.id = options->id,
		.queues = options->queues,
		.depth = options->depth,
		.block_size = takeover.block_size,
		.recovery = options->recovery,
		.recovery_timeout = options->recovery_timeout,
		.request_timeout = options->request_timeout,
		.no_partition_scan = options->no_partition_scan,
		.identity = options->identity,
		.data = options->data,
		.hold = options->hold,
		.watchdog_us = supervisor_watchdog_us(),
		.recovered = takeover.transport,
		.char_fd = char_fd,
	};
	const struct file_id id = image_file_id(image);
	g_autoptr(GError) err = NULL;
	struct device *device;
	bool ok;

	config.identity.image_dev = id.dev;
	config.identity.image_ino = id.ino;

	if (!takeover.transport)
		tell_of_twin();
	device = device_add(&config, &err);
	if (!device) {
		report_error("%s", err->message);
		close_image(loop, image);
		return false;
	}
	if (takeover.transport)
		keep_image(image);
	ok = run_device(loop, image, device);
	commands_free(commands);
	/* After a failure the next server goes on with it. */
	if (ok && device_recovers(device))
		supervisor_drop_fd();
	ok &= stop_device(device);
	look_for_loss(loop, image, device);
	ok &= close_image(loop, image);
	device_free(device);
	remove_pid_file();
	return ok;
}

static bool serve(void)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop = aio_loop_new(64, &err);
	int char_fd = -1;
	struct image *image = loop ? open_image(loop, &char_fd, &err) : NULL;
	bool ok = false;

	if (!image)
		report_error("%s", err->message);
	if (image && format_is_known(image)) {
		ok = serve_image(loop, image, char_fd);
	} else {
		if (image)
			close_image(loop, image);
		if (char_fd >= 0)
			close(char_fd);
		transport_free(takeover.transport);
	}
	aio_loop_free(loop);
	return ok;
}

int main(int argc, char **argv)
{
	int kept_fd;
	g_autoptr(GError) err = NULL;

	std_fds_open();
	/* For what people read, not for numbers. */
	setlocale(LC_CTYPE, "");
	kept_fd = supervisor_take_fd();
	options = options_parse(&argc, &argv);
	if (!options)
		return EXIT_FAILURE;
	if (options->version) {
		printf("ubd-serve %s\n", UBD_VERSION);
		return EXIT_SUCCESS;
	}
	/* A reader of our output who goes away is no reason to die. */
	signal(SIGPIPE, SIG_IGN);
	/* A file may not become as long as it would have to (RLIMIT_FSIZE): the request fails. */
	signal(SIGXFSZ, SIG_IGN);
	process_heed_signals();
	if (options->daemonize && daemon_begin(&err) < 0) {
		report_error("%s", err->message);
		return EXIT_FAILURE;
	}
	if (takeover_begin(options, kept_fd, &takeover, &err) < 0) {
		report_error("%s", err->message);
		return EXIT_FAILURE;
	}
	io_flusher_error = process_be_io_flusher();
	oom_score_error = process_shun_oom_killer();
	if (!options->core_dump)
		process_forbid_core_dumps();
	memory_lock_error = process_lock_memory();
	return serve() ? EXIT_SUCCESS : EXIT_FAILURE;
}
