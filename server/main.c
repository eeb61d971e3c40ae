// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-serve: serves a disk image as a block device until it is told to stop.
 *
 * Here are the options and the order of things: image, device, queues, and back.
 * Whatever fails, the way back is the same: no more requests, the image closed,
 * the device deleted.
 */
#include <errno.h>
#include <glib.h>
#include <limits.h>
#include <linux/ubd_cmd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "aio.h"
#include "control.h"
#include "device.h"
#include "error.h"
#include "image.h"
#include "process.h"
#include "report.h"

#define DEFAULT_DEPTH  64
#define NOT_GIVEN      INT_MIN

/* How long a new server waits for the image of the old one. */
#define UNLOCK_SECONDS 30

/* ---- options ---- */

static struct {
	char **filenames; /* what is no option; one is right */
	char *format;
	char *snapshot;
	char *pid_file;
	gboolean read_only;
	gboolean daemonize;
	gboolean verbose;
	gboolean version;
	int queues;
	int depth;
	int id;
	int recover;
	uint64_t recovery; /* UBD_F_USER_RECOVERY* */
	bool direct;
	bool discard;
	uint64_t cache_bytes; /* 0: the format's default */
} options = {
	.queues = NOT_GIVEN,
	.depth = NOT_GIVEN,
	.id = NOT_GIVEN,
	.recover = NOT_GIVEN,
	.direct = true,
	.discard = true,
};

static gboolean bad_value(const char *name, const char *value, const char *allowed, GError **err)
{
	g_set_error(err, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: \"%s\" is not %s", name,
		    value, allowed);
	return FALSE;
}

static gboolean parse_cache(const char *name, const char *value, void *data, GError **err)
{
	options.direct = strcmp(value, "none") == 0;
	if (options.direct || strcmp(value, "writeback") == 0)
		return TRUE;
	return bad_value(name, value, "none or writeback", err);
}

static gboolean parse_discard(const char *name, const char *value, void *data, GError **err)
{
	options.discard = strcmp(value, "unmap") == 0;
	if (options.discard || strcmp(value, "ignore") == 0)
		return TRUE;
	return bad_value(name, value, "unmap or ignore", err);
}

static gboolean parse_recovery(const char *name, const char *value, void *data, GError **err)
{
	static const struct {
		const char *name;
		uint64_t flags;
	} modes[] = {
		{ "none", 0 },
		{ "fail", UBD_F_USER_RECOVERY },
		{ "reissue", UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE },
		{ "fail-io", UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_FAIL_IO },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
		if (strcmp(value, modes[i].name) == 0) {
			options.recovery = modes[i].flags;
			return TRUE;
		}
	}
	return bad_value(name, value, "none, fail, reissue or fail-io", err);
}

/* 0 for no suffix, 10 for k, 20 for M...; -1 for anything else. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "kmgt";
	const char *found;

	if (!*suffix)
		return 0;
	found = strchr(letters, g_ascii_tolower(*suffix));
	if (!found || suffix[1])
		return -1;
	return 10 * (found - letters + 1);
}

static gboolean parse_cache_size(const char *name, const char *value, void *data, GError **err)
{
	char *suffix;
	uint64_t number;
	int shift;

	errno = 0;
	number = g_ascii_strtoull(value, &suffix, 10);
	shift = suffix_shift(suffix);
	if (!g_ascii_isdigit(*value) || errno || shift < 0 || number == 0 ||
	    number > ((uint64_t)INT64_MAX >> shift))
		return bad_value(name, value, "a size (such as 16M)", err);
	options.cache_bytes = number << shift;
	return TRUE;
}

static const GOptionEntry option_entries[] = {
	{ "format", 'f', 0, G_OPTION_ARG_STRING, &options.format,
	  "Format of the image: qcow2 or raw; without it, by the image's header", "FORMAT" },
	{ "read-only", 'r', 0, G_OPTION_ARG_NONE, &options.read_only,
	  "Make a read-only device, and do not write to the image", NULL },
	{ "snapshot", 0, 0, G_OPTION_ARG_STRING, &options.snapshot,
	  "Serve this snapshot inside of the image (name or ID), read-only", "SNAPSHOT" },
	{ "queues", 0, 0, G_OPTION_ARG_INT, &options.queues,
	  "Hardware queues, each with a thread (default: one per CPU, at most 4)", "N" },
	{ "depth", 0, 0, G_OPTION_ARG_INT, &options.depth,
	  "Requests in flight in each queue (default: " G_STRINGIFY(DEFAULT_DEPTH) ")", "N" },
	{ "cache", 0, 0, G_OPTION_ARG_CALLBACK, parse_cache,
	  "none: past the host's page cache (default); writeback: through it", "MODE" },
	{ "cache-size", 0, 0, G_OPTION_ARG_CALLBACK, parse_cache_size,
	  "Memory for the image's metadata (default: by the image's size)", "SIZE" },
	{ "discard", 0, 0, G_OPTION_ARG_CALLBACK, parse_discard,
	  "unmap: a discard gives space back (default); ignore: no discards", "MODE" },
	{ "id", 0, 0, G_OPTION_ARG_INT, &options.id,
	  "Make /dev/ubdbN (default: the lowest free number)", "N" },
	{ "recovery", 0, 0, G_OPTION_ARG_CALLBACK, parse_recovery,
	  "The device outlives its server; requests then fail or wait (default: none)", "MODE" },
	{ "recover", 0, 0, G_OPTION_ARG_INT, &options.recover,
	  "Take over /dev/ubdbN, made with --recovery, from its last server", "N" },
	{ "daemonize", 0, 0, G_OPTION_ARG_NONE, &options.daemonize,
	  "Return when the device is live, and go on in the background", NULL },
	{ "pid-file", 0, 0, G_OPTION_ARG_FILENAME, &options.pid_file,
	  "Write the server's process number to FILE while the device is live", "FILE" },
	{ "verbose", 'v', 0, G_OPTION_ARG_NONE, &options.verbose, "Say more about what is done",
	  NULL },
	{ "version", 0, 0, G_OPTION_ARG_NONE, &options.version, "Print the version and exit",
	  NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.filenames, NULL,
	  "IMAGE" },
	{}
};

static bool check_range(const char *name, int value, int min, int max)
{
	if (value == NOT_GIVEN || (value >= min && value <= max))
		return true;
	report_error("--%s: %d is not in %d to %d", name, value, min, max);
	return false;
}

static bool options_are_valid(void)
{
	if (!options.filenames || options.filenames[1]) {
		report_error("expecting one image; see ubd-serve --help");
		return false;
	}
	if (options.recover != NOT_GIVEN &&
	    (options.queues != NOT_GIVEN || options.depth != NOT_GIVEN || options.id != NOT_GIVEN ||
	     options.recovery || options.read_only || !options.discard)) {
		report_error("--recover: the device is as it was made, so --queues, --depth, --id, "
			     "--read-only, --discard and --recovery cannot be given");
		return false;
	}
	if (options.snapshot && (options.recovery || options.recover != NOT_GIVEN)) {
		report_error("--snapshot: cannot be given with --recovery or --recover");
		return false;
	}
	return check_range("queues", options.queues, 1, DEVICE_MAX_QUEUES) &&
	       check_range("depth", options.depth, 1, UBD_MAX_QUEUE_DEPTH) &&
	       check_range("id", options.id, 0, INT_MAX) &&
	       check_range("recover", options.recover, 0, INT_MAX);
}

static bool parse_options(int *argc, char ***argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) err = NULL;

	g_option_context_set_summary(
		context, "Serves a disk image as a block device, whose name it prints when the\n"
			 "device is live, until it gets SIGINT, SIGTERM or SIGHUP.");
	g_option_context_add_main_entries(context, option_entries, NULL);
	if (!g_option_context_parse(context, argc, argv, &err)) {
		report_error("%s", err->message);
		return false;
	}
	report_init(options.verbose);
	return options.version || options_are_valid();
}

/* ---- the image ---- */

struct open_job {
	struct image_open_opts opts;
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

	job->res = image_co_open(options.filenames[0], &job->opts, &job->image, &job->err);
}

static bool is_write_refusal(int res)
{
	return res == -EACCES || res == -EPERM || res == -EROFS;
}

/*
 * An old server's I/O may go on for a while after its death, and until it has ended,
 * it holds the lock of the image. Two servers writing would be the end of it.
 */
static void open_when_unlocked(struct aio_loop *loop, struct open_job *job)
{
	gint64 end = g_get_monotonic_time() + UNLOCK_SECONDS * G_USEC_PER_SEC;

	aio_loop_run_co(loop, open_image_co, job);
	while (job->res == -EBUSY && options.recover != NOT_GIVEN && g_get_monotonic_time() < end) {
		g_clear_error(&job->err);
		g_usleep(G_USEC_PER_SEC / 20);
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

static struct image *open_image(struct aio_loop *loop, GError **err)
{
	struct open_job job = { .opts = { .format = options.format,
					  .snapshot = options.snapshot,
					  .cache_bytes = options.cache_bytes,
					  .warn = warn } };

	if (!options.read_only && !options.snapshot)
		job.opts.flags |= IMAGE_RDWR;
	if (options.direct)
		job.opts.flags |= IMAGE_DIRECT;
	if (options.discard)
		job.opts.flags |= IMAGE_UNMAP;
	if (open_writable_or_not(loop, &job) < 0) {
		g_propagate_error(err, job.err);
		return NULL;
	}
	if (options.direct && !image_limits(job.image)->direct)
		report_verbose("%s: no O_DIRECT here, using the page cache", options.filenames[0]);
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
		report_error("%s: closing the image: %s", options.filenames[0],
			     g_strerror(-job.res));
	return job.res == 0;
}

/*
 * "raw" by guess would be a trap: who can write to a raw disk can write a qcow2
 * header to its start, and with that name any file as its backing file, to be
 * read at the next start.
 */
static bool format_is_known(struct image *image)
{
	const struct image *file = image_file(image);

	if (options.format || strcmp(image_format(image), "raw") != 0)
		return true;
	/* null:SIZE has no contents to be taken for a header. */
	if (file && strcmp(image_format(file), "null") == 0)
		return true;
	report_error(
		"%s: no format is known by its header; if it is a raw image, give --format raw",
		options.filenames[0]);
	return false;
}

/* ---- from start to end ---- */

/* Blocks the signals that end the server, in all threads to come; a signalfd of them. */
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
	/* A reader of our output who goes away is no reason to die. */
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		g_set_error(err, UBD_ERROR, errno, "signalfd: %s", g_strerror(errno));
	return fd;
}

static char *written_pid_file; /* NULL if there is none to remove */

static bool write_pid_file(GError **err)
{
	g_autofree char *text = g_strdup_printf("%d\n", getpid());

	if (!options.pid_file)
		return true;
	if (!g_file_set_contents(options.pid_file, text, -1, err))
		return false;
	/* A daemon's folder changes. */
	written_pid_file = g_canonicalize_filename(options.pid_file, NULL);
	return true;
}

static void remove_pid_file(void)
{
	if (written_pid_file)
		unlink(written_pid_file);
	g_clear_pointer(&written_pid_file, g_free);
}

/* Says what it could not lock once that matters, not beside a reason to fail. */
static int memory_lock_error;

static bool announce(struct device *device, GError **err)
{
	if (memory_lock_error < 0)
		report_note("memory is not locked (%s): the device may hang when memory is short",
			    g_strerror(-memory_lock_error));
	if (printf("%s\n", device_path(device)) < 0 || fflush(stdout) != 0) {
		g_set_error(err, UBD_ERROR, errno, "standard output: %s", g_strerror(errno));
		return false;
	}
	if (options.daemonize)
		daemon_live();
	return true;
}

/* Before the queue threads are made; the workers that opened the image have to go. */
static void drop_privileges(void)
{
	int res;

	aio_workers_end();
	res = process_drop_privileges();
	if (res < 0)
		report_note("cannot drop privileges: %s", g_strerror(-res));
}

/* Makes the device live and waits for its end. */
static bool run_device(struct device *device, int signal_fd)
{
	g_autoptr(GError) err = NULL;

	drop_privileges();
	if (!write_pid_file(&err) || device_start(device, &err) < 0 || !announce(device, &err)) {
		report_error("%s", err->message);
		return false;
	}
	switch (device_wait(device, signal_fd)) {
	case DEVICE_END_SIGNAL:
		report_verbose("%s: stopping", device_path(device));
		return true;
	case DEVICE_END_STOPPED:
		report_note("%s: somebody else has stopped the device", device_path(device));
		return true;
	case DEVICE_END_LEFT:
		report_note("%s: left to the next server", device_path(device));
		return true;
	case DEVICE_END_BROKEN:
		break;
	}
	return false;
}

static bool stop_device(struct device *device)
{
	int res = device_stop(device);

	if (res < 0)
		report_error("%s: cannot stop: %s", device_path(device), g_strerror(-res));
	return res == 0;
}

static bool serve_image(struct aio_loop *loop, struct image *image, struct control *recovered,
			int signal_fd)
{
	struct device_config config = {
		.image = image,
		.discard = options.discard,
		.id = options.id == NOT_GIVEN ? UBD_DEV_ID_ANY : (uint32_t)options.id,
		.queues = options.queues == NOT_GIVEN ? 0 : options.queues,
		.depth = options.depth == NOT_GIVEN ? DEFAULT_DEPTH : options.depth,
		.recovery = options.recovery,
		.recovered = recovered,
	};
	g_autoptr(GError) err = NULL;
	struct device *device = device_add(&config, &err);
	bool ok;

	if (!device) {
		report_error("%s", err->message);
		close_image(loop, image);
		return false;
	}
	ok = run_device(device, signal_fd);
	ok &= stop_device(device);
	ok &= close_image(loop, image);
	device_free(device);
	remove_pid_file();
	return ok;
}

/* Waits for the end of the device's last server; the device's own options are taken up. */
static struct control *take_over(GError **err)
{
	struct ubdsrv_ctrl_dev_info info;
	struct ubd_params params;
	struct control *control = control_open_dev(options.recover, &info, err);
	int res;

	if (!control)
		return NULL;
	if (info.ubdsrv_pid >= 0)
		report_verbose("/dev/ubdb%u: waiting for process %d to leave", info.dev_id,
			       info.ubdsrv_pid);
	res = control_take_over(control);
	if (res == 0)
		res = control_get_params(control, &params);
	if (res < 0) {
		g_set_error(err, UBD_ERROR, -res, "/dev/ubdb%u: cannot be taken over: %s",
			    info.dev_id,
			    res == -EBUSY ? "another server is at it" : g_strerror(-res));
		control_free(control);
		return NULL;
	}
	options.read_only = params.attrs & UBD_ATTR_READ_ONLY;
	options.discard = params.max_discard_sectors != 0;
	return control;
}

/* Takes @recovered over, NULL for a new device. */
static bool serve(struct control *recovered, int signal_fd)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop = aio_loop_new(64, &err);
	struct image *image = loop ? open_image(loop, &err) : NULL;
	bool ok = false;

	if (!image)
		report_error("%s", err->message);
	if (image && format_is_known(image)) {
		ok = serve_image(loop, image, recovered, signal_fd);
	} else {
		if (image)
			close_image(loop, image);
		control_free(recovered);
	}
	aio_loop_free(loop);
	return ok;
}

int main(int argc, char **argv)
{
	struct control *recovered = NULL;
	g_autoptr(GError) err = NULL;
	int signal_fd;

	if (!parse_options(&argc, &argv))
		return EXIT_FAILURE;
	if (options.version) {
		printf("ubd-serve %s\n", UBD_VERSION);
		return EXIT_SUCCESS;
	}
	if (options.daemonize && daemon_begin(&err) < 0) {
		report_error("%s", err->message);
		return EXIT_FAILURE;
	}
	/* Signals still end it while it waits for the last server. */
	if (options.recover != NOT_GIVEN) {
		recovered = take_over(&err);
		if (!recovered) {
			report_error("%s", err->message);
			return EXIT_FAILURE;
		}
	}
	signal_fd = block_signals(&err);
	if (signal_fd < 0) {
		report_error("%s", err->message);
		return EXIT_FAILURE;
	}
	process_be_io_flusher();
	memory_lock_error = process_lock_memory();
	return serve(recovered, signal_fd) ? EXIT_SUCCESS : EXIT_FAILURE;
}
