// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-serve: serves a disk image as a block device, or as an export, until it is told to stop.
 *
 * This file has the order of things: what needs privileges (the device or the export, and the files
 * by which others find the server), the sandbox, the image, and back. Whatever fails, the way back
 * is the same: no more requests, the image closed, the target deleted.
 *
 * The main thread runs a loop, and all of this is a coroutine on it. Others beside it read signals,
 * take the events of queues, listen on the socket, and serve a client each. So nothing here may
 * block for long: what would waits on another thread.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "aio.h"
#include "clients.h"
#include "device.h"
#include "disk.h"
#include "driver.h"
#include "error.h"
#include "export.h"
#include "identity.h"
#include "image.h"
#include "nbd_watcher.h"
#include "open_image.h"
#include "options.h"
#include "others.h"
#include "overlay.h"
#include "process.h"
#include "report.h"
#include "runfile.h"
#include "sandbox.h"
#include "sandbox_places.h"
#include "std_fds.h"
#include "supervisor.h"
#include "takeover.h"

static const struct options *options;
static const struct transport_ops *driver;
static struct takeover takeover;

/* What is served, and what must be undone. */
struct server {
	struct disk *disk;
	struct image_origin origin;
	struct overlay *overlay; /* NULL: without --temporary */
	struct target *target;
	GError *no_target;	/* why there is none; reported once the image is known to be good */
	struct file_id file_id; /* of the image's file */
	bool is_confined;	/* the sandbox is there, or is not wanted */
	int char_fd;		/* of what is taken over; -1: none */
	bool has_entered;	/* the target owns it, and the transport */
	bool is_open;		/* signals end the target; before, they end the process */
	bool is_adding;		/* signals wait: a device would be left behind */
	struct signalfd_siginfo waiting; /* the last of them; its number is 0: none */
	bool is_dying;			 /* from such a signal */
	struct runfile *pid_file;	 /* NULL: none, or it was removed */
	struct clients *clients;	 /* NULL: without a socket */
	int signal_fd;
	bool was_live;
	bool left; /* to the next server */
	struct aio_limit signals;
	struct aio_limit announcing; /* cancelled by a signal */
	struct co_group group;	     /* the coroutine for signals */
};

/* ---- the image ---- */

static bool co_close_image(struct image *image)
{
	int res = image_co_close(image);

	if (res < 0)
		report_error("%s: closing the image: %s", options->filename, g_strerror(-res));
	return res == 0;
}

/* The last chance to tell the next server, or to do without one. */
static void co_look_for_loss(struct image *image, struct target *target)
{
	/* What it returns, image_co_close() returns as well. */
	image_co_flush(image);
	if (image_troubles(image) & IMAGE_TROUBLE_LOST)
		target->ops->note_loss(target);
}

/* ---- from start to end ---- */

/*
 * Blocks the signals that end the server, also in all threads created later; returns a signalfd for
 * them. Until then, they end the process at once, whatever it waits for: nothing has been created
 * that would be left behind. Afterwards, signals_co() removes what has been.
 */
static int block_signals(GError **err)
{
	struct sigaction hup;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, TRANSPORT_LEAVE_SIGNAL);
	/* Under nohup(1), SIGHUP stays ignored. */
	if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		error_set(err, -errno, "signalfd");
	return fd;
}

static void remove_pid_file(struct server *server)
{
	runfile_remove(server->pid_file);
	server->pid_file = NULL;
}

/* Nobody has asked for what is in the folder for sockets, so it may be missing. */
static void make_default_socket(struct server *server)
{
	g_autoptr(GError) err = NULL;

	server->clients = clients_new_in_folder(&err);
	if (!server->clients)
		report_verbose("no socket for commands: %s", err->message);
}

static bool make_named_socket(struct server *server, GError **err)
{
	g_autoptr(GError) why = NULL;

	server->clients = clients_new(options->socket, err);
	if (!server->clients)
		return false;
	if (!clients_link_in_folder(server->clients, options->socket, &why))
		report_verbose("the socket can only be found by its name: %s", why->message);
	return true;
}

/* The files by which others find the server. */
static bool make_run_files(struct server *server, GError **err)
{
	if (options->pid_file && !(server->pid_file = runfile_new_pid(options->pid_file, err)))
		return false;
	if (options->socket && *options->socket)
		return make_named_socket(server, err);
	if (!options->socket)
		make_default_socket(server);
	return true;
}

/*
 * What could not be prepared for a lack of memory. Deferred, so that the warnings are not printed
 * next to a fatal error.
 */
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

/* Standard output may be a full pipe that nobody reads, or a stopped terminal. */
static int co_print_name(struct server *server, GError **err)
{
	struct pollfd out = { STDOUT_FILENO, POLLOUT, 0 };

	if (poll(&out, 1, 0) == 0 &&
	    co_poll(STDOUT_FILENO, POLLOUT, &server->announcing) == -ECANCELED)
		return error_refuse(err, -EINTR, "standard output: ended by a signal");
	if (printf("%s\n", target_name(server->target)) < 0 || fflush(stdout) != 0)
		return error_set(err, -errno, "standard output");
	return 0;
}

static bool co_announce(struct server *server, GError **err)
{
	struct target *target = server->target;
	int kept_fd = target->ops->kept_fd(target);

	tell_of_memory();
	sandbox_tell();
	/* A program that waits for the name may look for the messages of the start next. */
	report_flush();
	if (co_print_name(server, err) < 0)
		return false;
	if (options->daemonize)
		daemon_live();
	if (kept_fd >= 0)
		supervisor_co_store_fd(kept_fd);
	supervisor_co_ready(target_name(target));
	return true;
}

/* ---- while the disk is served ---- */

static void leave(struct target *target, const struct signalfd_siginfo *info)
{
	bool when_idle = info->ssi_code == SI_QUEUE && info->ssi_int == TRANSPORT_LEAVE_WHEN_IDLE;

	if (!target->ops->leave || !target->ops->leave(target, when_idle))
		report_note("%s: ignoring SIGUSR1: only a device with --recovery can be left to "
			    "another server",
			    target_name(target));
}

/*
 * While the image is being opened: a device that is being taken over continues to wait, and a
 * repair that is cut short is like one that a crash has ended.
 */
static void G_GNUC_NORETURN co_die(struct server *server, int number)
{
	sigset_t set;

	server->is_dying = true;
	clients_co_free(server->clients);
	remove_pid_file(server);
	if (server->target)
		server->target->ops->co_free(server->target);
	report_flush();
	sigemptyset(&set);
	sigaddset(&set, number);
	signal(number, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	/* The first process of a PID namespace. */
	_exit(128 + number);
}

static void act_on_signal(struct server *server, const struct signalfd_siginfo *info)
{
	if (info->ssi_signo == TRANSPORT_LEAVE_SIGNAL) {
		leave(server->target, info);
		return;
	}
	aio_limit_cancel(&server->announcing);
	server->target->ops->end(server->target);
}

static void signals_co(void *arg)
{
	struct server *server = arg;
	struct signalfd_siginfo info;
	ssize_t got;

	while ((got = co_read_event(server->signal_fd, &info, sizeof(info), &server->signals)) !=
	       -ECANCELED) {
		/* Memory may have been missing to wait. */
		if (got <= 0)
			continue;
		if (server->is_open)
			act_on_signal(server, &info);
		else if (server->is_adding)
			server->waiting = info;
		else
			co_die(server, info.ssi_signo);
	}
}

/* From now on, signals end the target. */
static void begin_to_heed_signals(struct server *server)
{
	server->is_open = true;
	if (server->waiting.ssi_signo)
		act_on_signal(server, &server->waiting);
}

static void co_end_signals(struct server *server)
{
	aio_limit_cancel(&server->signals);
	co_group_wait(&server->group);
	if (server->signal_fd >= 0)
		close(server->signal_fd);
}

static void quit(void *arg)
{
	struct target *target = arg;

	target->ops->end(target);
}

/* Answers clients until the target must end; why. */
static enum target_end co_wait_for_end(struct server *server)
{
	struct target *target = server->target;
	const struct command_target on = { .disk = server->disk,
					   .origin = &server->origin,
					   .target = target };

	clients_start(server->clients, &on, quit, target);
	return target->ops->co_wait(target);
}

static bool co_start_target(struct server *server, GError **err)
{
	struct target *target = server->target;

	if (!overlay_can_be_kept(server->overlay, err))
		return false;
	report_begin();
	driver_tell();
	return target->ops->co_start(target, err) >= 0 && co_announce(server, err);
}

/* Makes the target live and waits for its end. */
static bool co_run_target(struct server *server)
{
	struct target *target = server->target;
	g_autoptr(GError) err = NULL;

	if (!co_start_target(server, &err)) {
		report_error("%s", err->message);
		return false;
	}
	server->was_live = true;
	switch (co_wait_for_end(server)) {
	case TARGET_END_ASKED:
		report_verbose("%s: stopping", target_name(target));
		return true;
	case TARGET_END_STOPPED:
		report_note("%s: another process has stopped the device", target_name(target));
		return true;
	case TARGET_END_LEFT:
		report_note("%s: left to the next server", target_name(target));
		server->left = true;
		/* Which may want a pid file of the same name. */
		remove_pid_file(server);
		return true;
	case TARGET_END_UNUSED:
		report_verbose("%s: the last client has gone", target_name(target));
		return true;
	case TARGET_END_BROKEN:
		break;
	}
	return false;
}

static bool co_stop_target(struct target *target)
{
	int res;

	supervisor_co_stopping();
	res = target->ops->co_stop(target);
	if (res < 0)
		report_error("%s: cannot stop: %s", target_name(target), g_strerror(-res));
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
	twins = others_find(driver, "serial", serial);
	if (!twins->len)
		return;
	/* A privileged one if there is any: udev makes no links for the others' serial numbers. */
	twin = &g_array_index(twins, struct other, 0);
	report_note("/dev/%s%u%s also has the serial number %s: lookups by it may find either one",
		    driver->disk_name, twin->id,
		    twin->unprivileged ? ", an unprivileged device," : "", serial);
}

/* Only now: an image for which the device cannot be used is not recorded, whatever --force says. */
static void keep_image(const struct image *image)
{
	int res = takeover_keep_image(&takeover, image);

	if (res < 0)
		report_note("%s: the next server will not recognise it: %s", options->filename,
			    g_strerror(-res));
}

static struct target *co_add_device(struct disk *disk, const struct file_id *id, int char_fd,
				    GError **err)
{
	struct device *device;
	struct device_config config = {
		.driver = driver,
		.disk = disk,
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
		.in_use = options->in_use,
		.watchdog_us = supervisor_watchdog_us(),
		.recovered = takeover.transport,
		.char_fd = char_fd,
	};

	config.identity.image_dev = id->dev;
	config.identity.image_ino = id->ino;
	device = device_co_add(&config, err);
	return device ? device_target(device) : NULL;
}

/* Flushes and closes the image of a target that has stopped. */
static bool co_end_image(struct server *server)
{
	struct image *image = disk_image(server->disk);
	bool is_whole;

	if (server->was_live)
		overlay_complete(server->overlay, image);
	co_look_for_loss(image, server->target);
	is_whole = co_close_image(image);
	return overlay_co_keep(server->overlay, is_whole) && is_whole;
}

static struct target *co_add_export(struct disk *disk, GError **err)
{
	const struct export_config config = {
		.disk = disk,
		.options = &options->export,
		.discard = options->discard,
		.depth = options->depth,
		.hold = options->hold,
		.watchdog_us = supervisor_watchdog_us(),
	};

	return export_co_add(&config, err);
}

/* From the first moment of the target to its last. The image is closed in between. */
static bool co_serve_target(struct server *server)
{
	struct target *target = server->target;
	bool ok = co_run_target(server);

	clients_stop(server->clients);
	/* After a failure the next server goes on with it, too. */
	if (ok && !server->left && target->ops->kept_fd(target) >= 0)
		supervisor_co_drop_fd();
	ok &= co_stop_target(target);
	clients_co_free(server->clients);
	ok &= co_end_image(server);
	/* Before the target: a signal asks it to end. */
	co_end_signals(server);
	target->ops->co_free(target);
	remove_pid_file(server);
	return ok;
}

/* @image may be an overlay of it. */
static struct image_origin find_origin(const struct image *image)
{
	const struct image *named = options->temporary ? image_backing(image) : image;

	return (struct image_origin){
		.name = image_filename(named),
		.path = image_stable_name(options->filename),
		.format = image_format(named),
		.id = image_file_id(named),
		.temporary = options->temporary,
		.keep_as =
			options->keep_as ? g_canonicalize_filename(options->keep_as, NULL) : NULL,
	};
}

/* ---- what needs privileges, and what comes after it ---- */

static struct target *co_add_target(const struct server *server, int char_fd, GError **err)
{
	if (options->exports)
		return co_add_export(server->disk, err);
	if (!takeover.transport)
		tell_of_twin();
	return co_add_device(server->disk, &server->file_id, char_fd, err);
}

/* If it fails, that is reported once the image is known to be good. */
static void co_get_target(struct server *server)
{
	server->has_entered = true;
	server->target = co_add_target(server, server->char_fd, &server->no_target);
}

/*
 * Only ubd has all of a device in its control fd. With the others the image comes first, since
 * they would leave a device behind, and the server needs root's files, later, too.
 */
static bool has_sandbox(void)
{
	return options->exports || driver->driver == TRANSPORT_UBD;
}

static int co_enter_sandbox(struct server *server, struct image *file, GError **err)
{
	struct sandbox_config sandbox;

	if (sandbox_co_prepare(options, driver, file, &sandbox, err) < 0)
		return -1;
	if (sandbox_needs_keeper(options, &sandbox) && runfile_begin_keeper(err) < 0)
		return -1;
	return sandbox_enter(&sandbox, err);
}

/*
 * Everything that needs privileges, and then there are none. The workers that opened the file must
 * end, too: they have them.
 */
static int co_enter(void *arg, struct image *file, int char_fd, GError **err)
{
	struct server *server = arg;

	aio_workers_end();
	server->file_id = image_file_id(file);
	server->char_fd = char_fd;
	server->signal_fd = block_signals(err);
	if (server->signal_fd < 0)
		return -1;
	supervisor_connect();
	if (has_sandbox())
		co_get_target(server);
	if (!make_run_files(server, err) ||
	    (has_sandbox() && co_enter_sandbox(server, file, err) < 0))
		return -1;
	co_group_start(&server->group, signals_co, server);
	server->is_confined = true;
	return 0;
}

static int check_image(const struct server *server, GError **err)
{
	const struct device_config config = {
		.disk = server->disk,
		.discard = takeover.discard,
		.block_size = takeover.block_size,
	};

	return device_check_image(&config, err);
}

/* Without the sandbox: the device is added now, and privileges are dropped. */
static bool co_fit_late(struct server *server, GError **err)
{
	const struct sandbox_config none = { .mode = SANDBOX_OFF };

	server->is_adding = true;
	co_get_target(server);
	if (server->target && takeover.transport)
		keep_image(disk_image(server->disk));
	/* They have the privileges. */
	aio_workers_end();
	return server->target && sandbox_enter(&none, err) == 0;
}

static bool co_fit_target(struct server *server, GError **err)
{
	if (!has_sandbox())
		return co_fit_late(server, err);
	if (sandbox_seal(err) < 0)
		return false;
	/* A bad image is reported before a driver that is not there. */
	if (!server->target)
		return options->exports || check_image(server, err) == 0;
	if (server->target->ops->co_fit(server->target, err) < 0)
		return false;
	if (takeover.transport)
		keep_image(disk_image(server->disk));
	return true;
}

/* Makes @image the disk's top, and checks whether it can be served. */
static bool co_fit(struct server *server, struct image *image, GError **err)
{
	bool ok;

	g_assert(server->is_confined);
	disk_set_image(server->disk, image);
	server->origin = find_origin(image);
	aio_workers_end();
	ok = co_fit_target(server, err);
	if (!server->target && server->no_target && !(err && *err))
		g_propagate_error(err, g_steal_pointer(&server->no_target));
	return ok && server->target;
}

/* The image, or the overlay of it. NULL with @err set, or after reporting that it is unknown. */
static struct image *co_open(struct server *server, GError **err)
{
	struct image *image = open_image_co(options, &takeover, co_enter, server, err), *top;

	if (image && !open_image_format_is_known(options, image)) {
		co_close_image(image);
		return NULL;
	}
	if (!image || !options->temporary)
		return image;
	server->overlay = overlay_co_new(options, image, &top, err);
	return server->overlay ? top : NULL;
}

/* If it fails, what was made before the sandbox is left to co_undo(). */
static bool co_open_and_serve(struct server *server)
{
	g_autoptr(GError) err = NULL;
	struct image *image = co_open(server, &err);

	/* The process ends soon. */
	if (server->is_dying)
		co_yield();
	if (image && co_fit(server, image, &err)) {
		begin_to_heed_signals(server);
		return co_serve_target(server);
	}
	if (err) {
		sandbox_explain(err);
		report_error("%s", err->message);
	}
	if (image)
		co_close_image(image);
	return false;
}

/* What is left of a start that failed. */
static void co_undo(struct server *server)
{
	clients_co_free(server->clients);
	co_end_signals(server);
	if (server->target)
		server->target->ops->co_free(server->target);
	remove_pid_file(server);
}

static bool co_serve(void)
{
	struct server server = {
		.disk = disk_new(NULL),
		.char_fd = -1,
		.signal_fd = -1,
		.signals = AIO_LIMIT_INIT,
		.announcing = AIO_LIMIT_INIT,
	};
	bool ok = co_open_and_serve(&server);

	if (!server.is_open)
		co_undo(&server);
	if (!server.has_entered && server.char_fd >= 0)
		close(server.char_fd);
	if (!server.has_entered)
		transport_free(takeover.transport);
	g_clear_error(&server.no_target);
	overlay_free(server.overlay);
	disk_free(server.disk);
	g_free(server.origin.path);
	g_free(server.origin.keep_as);
	return ok;
}

/*
 * Not in a coroutine: it is the main thread's own stack that is locked. The kernel does not write
 * to an export in order to get memory, so an export's server is like any other program.
 */
static void prepare_process(void)
{
	if (!options->exports) {
		io_flusher_error = process_be_io_flusher();
		oom_score_error = process_shun_oom_killer();
	}
	if (!options->core_dump)
		process_forbid_core_dumps();
	if (!options->exports)
		memory_lock_error = process_lock_memory();
}

struct run {
	int kept_fd; /* of supervisor_take_fd() */
	bool ok;
};

static void run_co(void *arg)
{
	struct run *run = arg;
	g_autoptr(GError) err = NULL;

	/* Only ubd has descriptors that are kept. */
	if (!options->exports) {
		driver = driver_choose(run->kept_fd >= 0 ? TRANSPORT_UBD : options->driver);
		if (!options_suit(driver))
			return;
	}
	if (takeover_co_begin(options, driver, run->kept_fd, &takeover, &err) < 0) {
		driver_tell();
		report_error("%s", err->message);
		return;
	}
	run->ok = co_serve();
	/* If the start has failed before. */
	driver_tell();
}

static bool run(int kept_fd)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop = aio_loop_new(64, &err);
	struct run run = { .kept_fd = kept_fd };

	if (loop)
		aio_loop_run_co(loop, run_co, &run);
	else
		report_error("%s", err->message);
	aio_loop_free(loop);
	report_flush();
	return run.ok;
}

int main(int argc, char **argv)
{
	g_autoptr(GError) err = NULL;
	int kept_fd;

	std_fds_open();
	if (argc > 1 && strcmp(argv[1], NBD_WATCHER) == 0)
		return nbd_watcher_main(argv);
	/* For texts, not for numbers. */
	setlocale(LC_CTYPE, "");
	kept_fd = supervisor_take_fd();
	options = options_parse(argv);
	if (!options)
		return EXIT_FAILURE;
	if (options->version) {
		printf("ubd-serve %s\n", UBD_VERSION);
		return EXIT_SUCCESS;
	}
	/* Survive a reader of our output that goes away... */
	signal(SIGPIPE, SIG_IGN);
	/* ... and a file that may not grow as it would have to (RLIMIT_FSIZE): the request fails.
	 */
	signal(SIGXFSZ, SIG_IGN);
	process_heed_signals();
	if (options->daemonize && daemon_begin(&err) < 0) {
		report_error("%s", err->message);
		return EXIT_FAILURE;
	}
	prepare_process();
	return run(kept_fd) ? EXIT_SUCCESS : EXIT_FAILURE;
}
