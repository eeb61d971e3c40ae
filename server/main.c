// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-serve: serves a disk image as a block device, or as an export, until it is told to stop.
 *
 * This file has what is one for the process, and the order of things: what needs privileges (the
 * device or the export, and the files by which others find the server), the sandbox, the image, and
 * back. server.h has the disk itself.
 *
 * The main thread runs a loop, and all of this is a coroutine on it. Others beside it read signals,
 * take the events of queues, listen on the socket, and serve a client each. So nothing here may
 * block for long: what would waits on another thread.
 */
#include <errno.h>
#include <glib.h>
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
#include "driver.h"
#include "error.h"
#include "nbd_watcher.h"
#include "options.h"
#include "process.h"
#include "report.h"
#include "runfile.h"
#include "sandbox.h"
#include "sandbox_places.h"
#include "server.h"
#include "std_fds.h"
#include "supervisor.h"

/* The process, and what must be undone. */
struct program {
	const struct options *options;
	struct server *server;
	bool is_confined;		 /* the sandbox is there, or is not wanted */
	bool is_open;			 /* signals end the target; before, they end the process */
	struct signalfd_siginfo waiting; /* the last that waits; its number is 0: none */
	bool is_dying;			 /* from such a signal */
	struct runfile *pid_file;	 /* NULL: none, or it was removed */
	struct clients *clients;	 /* NULL: without a socket */
	int signal_fd;
	struct aio_limit signals;
	struct aio_limit announcing; /* cancelled by a signal */
	struct co_group group;	     /* the coroutine for signals */
	/* What could not be prepared for a lack of memory; 0 or -errno. */
	int memory_lock_error, io_flusher_error, oom_score_error;
};

/* ---- the files by which others find the server ---- */

static void remove_pid_file(struct program *program)
{
	runfile_remove(program->pid_file);
	program->pid_file = NULL;
}

/* Nobody has asked for what is in the folder for sockets, so it may be missing. */
static void make_default_socket(struct program *program)
{
	g_autoptr(GError) err = NULL;

	program->clients = clients_new_in_folder(&err);
	if (!program->clients)
		report_verbose("no socket for commands: %s", err->message);
}

static bool make_named_socket(struct program *program, GError **err)
{
	g_autoptr(GError) why = NULL;

	program->clients = clients_new(program->options->socket, err);
	if (!program->clients)
		return false;
	if (!clients_link_in_folder(program->clients, program->options->socket, &why))
		report_verbose("the socket can only be found by its name: %s", why->message);
	return true;
}

static bool make_run_files(struct program *program, GError **err)
{
	if (program->options->pid_file &&
	    !(program->pid_file = runfile_new_pid(program->options->pid_file, err)))
		return false;
	if (program->options->socket && *program->options->socket)
		return make_named_socket(program, err);
	if (!program->options->socket)
		make_default_socket(program);
	return true;
}

/* ---- signals ---- */

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
static void G_GNUC_NORETURN co_die(struct program *program, int number)
{
	sigset_t set;

	program->is_dying = true;
	clients_co_free(program->clients);
	remove_pid_file(program);
	if (program->server->target)
		program->server->target->ops->co_free(program->server->target);
	report_flush();
	sigemptyset(&set);
	sigaddset(&set, number);
	signal(number, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	/* The first process of a PID namespace. */
	_exit(128 + number);
}

static void act_on_signal(struct program *program, const struct signalfd_siginfo *info)
{
	if (info->ssi_signo == TRANSPORT_LEAVE_SIGNAL) {
		leave(program->server->target, info);
		return;
	}
	aio_limit_cancel(&program->announcing);
	program->server->target->ops->end(program->server->target);
}

static void signals_co(void *arg)
{
	struct program *program = arg;
	struct signalfd_siginfo info;
	ssize_t got;

	while ((got = co_read_event(program->signal_fd, &info, sizeof(info), &program->signals)) !=
	       -ECANCELED) {
		/* Memory may have been missing to wait. */
		if (got <= 0)
			continue;
		if (program->is_open)
			act_on_signal(program, &info);
		else if (program->server->is_adding)
			program->waiting = info;
		else
			co_die(program, info.ssi_signo);
	}
}

/* From now on, signals end the target. */
static void begin_to_heed_signals(struct program *program)
{
	program->is_open = true;
	if (program->waiting.ssi_signo)
		act_on_signal(program, &program->waiting);
}

static void co_end_signals(struct program *program)
{
	aio_limit_cancel(&program->signals);
	co_group_wait(&program->group);
	if (program->signal_fd >= 0)
		close(program->signal_fd);
}

/* ---- from start to end ---- */

/* Deferred, so that the warnings are not printed next to a fatal error. */
static void tell_of_memory(const struct program *program)
{
	if (program->memory_lock_error < 0)
		report_note("cannot lock memory (%s): the device may hang when memory is short",
			    g_strerror(-program->memory_lock_error));
	if (program->io_flusher_error < 0)
		report_note("PR_SET_IO_FLUSHER: %s: the device may hang when memory is short",
			    g_strerror(-program->io_flusher_error));
	if (program->oom_score_error < 0)
		report_note("/proc/self/oom_score_adj: %s: the server may be killed when memory "
			    "is short",
			    g_strerror(-program->oom_score_error));
}

/* Standard output may be a full pipe that nobody reads, or a stopped terminal. */
static int co_print_name(struct program *program, GError **err)
{
	struct pollfd out = { STDOUT_FILENO, POLLOUT, 0 };

	if (poll(&out, 1, 0) == 0 &&
	    co_poll(STDOUT_FILENO, POLLOUT, &program->announcing) == -ECANCELED)
		return error_refuse(err, -EINTR, "standard output: ended by a signal");
	if (printf("%s\n", target_name(program->server->target)) < 0 || fflush(stdout) != 0)
		return error_set(err, -errno, "standard output");
	return 0;
}

static bool co_announce(struct program *program, GError **err)
{
	struct target *target = program->server->target;
	int kept_fd = target->ops->kept_fd(target);

	tell_of_memory(program);
	sandbox_tell();
	/* A program that waits for the name may look for the messages of the start next. */
	report_flush();
	if (co_print_name(program, err) < 0)
		return false;
	if (program->options->daemonize)
		daemon_live(program->options->systemd_mark);
	if (kept_fd >= 0)
		supervisor_co_store_fd(kept_fd);
	supervisor_co_ready(target_name(target));
	return true;
}

static void quit(void *arg)
{
	struct target *target = arg;

	target->ops->end(target);
}

/* Answers clients until the target must end. False: it has failed. */
static bool co_wait_for_end(struct program *program)
{
	struct server *server = program->server;
	const struct command_target on = { .disk = server->disk,
					   .origin = &server->origin,
					   .throttle = server->options->throttle,
					   .target = server->target };
	bool ok;

	clients_start(program->clients, &on, quit, server->target);
	ok = server_co_wait(server);
	/* The next one may want a pid file of the same name. */
	if (server->left)
		remove_pid_file(program);
	return ok;
}

/* Makes the target live and waits for its end. */
static bool co_run(struct program *program)
{
	g_autoptr(GError) err = NULL;

	report_begin();
	driver_tell();
	if (server_co_start(program->server, &err) && co_announce(program, &err))
		return co_wait_for_end(program);
	report_error("%s", err->message);
	return false;
}

/* From the first moment of the target to its last. The image is closed in between. */
static bool co_serve_disk(struct program *program)
{
	struct server *server = program->server;
	struct target *target = server->target;
	bool ok = co_run(program);

	clients_stop(program->clients);
	/* After a failure the next server goes on with it, too. */
	if (ok && !server->left && target->ops->kept_fd(target) >= 0)
		supervisor_co_drop_fd();
	supervisor_co_stopping();
	ok &= server_co_stop(server);
	clients_co_free(program->clients);
	program->clients = NULL;
	ok &= server_co_end_image(server);
	return ok;
}

/* ---- what needs privileges, and what comes after it ---- */

static int co_enter_sandbox(struct program *program, struct image *file, GError **err)
{
	const struct options *options = program->options;
	struct sandbox_config sandbox;

	if (sandbox_co_prepare(options, program->server->driver, file, &sandbox, err) < 0)
		return -1;
	if (sandbox_needs_keeper(options, &sandbox) && runfile_begin_keeper(err) < 0)
		return -1;
	return sandbox_enter(&sandbox, err);
}

/*
 * Everything that needs privileges, and then there are none. The workers that opened the file must
 * end, too: they have them.
 */
static int co_enter(void *arg, struct server *server, struct image *file, GError **err)
{
	struct program *program = arg;

	aio_workers_end();
	program->signal_fd = block_signals(err);
	if (program->signal_fd < 0)
		return -1;
	supervisor_connect();
	report_connect();
	if (server_has_sandbox(server))
		server_co_get_target(server);
	if (!make_run_files(program, err) ||
	    (server_has_sandbox(server) && co_enter_sandbox(program, file, err) < 0))
		return -1;
	co_group_start(&program->group, signals_co, program);
	program->is_confined = true;
	return 0;
}

static bool co_open(struct program *program, GError **err)
{
	bool ok = server_co_open(program->server, co_enter, program, err);

	/* The process ends soon. */
	if (program->is_dying)
		co_yield();
	g_assert(!ok || program->is_confined);
	return ok;
}

static bool co_serve(struct program *program)
{
	g_autoptr(GError) err = NULL;

	if (co_open(program, &err) && server_co_fit(program->server, &err)) {
		begin_to_heed_signals(program);
		return co_serve_disk(program);
	}
	if (err) {
		sandbox_explain(err);
		report_error("%s", err->message);
	}
	return false;
}

/* ---- the process ---- */

/*
 * Not in a coroutine: it is the main thread's own stack that is locked. The kernel does not write
 * to an export in order to get memory, so an export's server is like any other program.
 */
static void prepare_process(struct program *program)
{
	const struct options *options = program->options;

	if (!options->exports) {
		program->io_flusher_error = process_be_io_flusher();
		program->oom_score_error = process_shun_oom_killer();
	}
	if (!options->core_dump)
		process_forbid_core_dumps();
	if (!options->exports)
		program->memory_lock_error = process_lock_memory();
}

struct run {
	struct program program;
	int kept_fd; /* of supervisor_take_fd() */
	bool ok;
};

static void run_co(void *arg)
{
	struct run *run = arg;
	struct program *program = &run->program;
	g_autoptr(GError) err = NULL;

	program->server = server_new(program->options);
	if (server_co_begin(program->server, run->kept_fd, &err) == 0)
		run->ok = co_serve(program);
	/* If the start has failed. */
	driver_tell();
	if (err)
		report_error("%s", err->message);
	clients_co_free(program->clients);
	/* Before the target: a signal asks it to end. */
	co_end_signals(program);
	server_co_free(program->server);
	remove_pid_file(program);
}

static bool run(const struct options *options, int kept_fd)
{
	g_autoptr(GError) err = NULL;
	struct run run = {
		.program = {
			.options = options,
			.signal_fd = -1,
			.signals = AIO_LIMIT_INIT,
			.announcing = AIO_LIMIT_INIT,
		},
		.kept_fd = kept_fd,
	};
	struct aio_loop *loop;

	prepare_process(&run.program);
	loop = aio_loop_new(64, &err);
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
	const struct options *options;
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
	if (options->systemd_mark)
		process_mark(argv);
	if (options->daemonize && daemon_begin(&err) < 0) {
		report_error("%s", err->message);
		return EXIT_FAILURE;
	}
	return run(options, kept_fd) ? EXIT_SUCCESS : EXIT_FAILURE;
}
