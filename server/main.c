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

#include "adder.h"
#include "aio.h"
#include "clients.h"
#include "config.h"
#include "driver.h"
#include "error.h"
#include "export.h"
#include "inherited_fds.h"
#include "keeper.h"
#include "options.h"
#include "process.h"
#include "queue_threads.h"
#include "report.h"
#include "runfile.h"
#include "sandbox.h"
#include "sandbox_places.h"
#include "servers.h"
#include "std_fds.h"
#include "supervisor.h"
#include "watchdog.h"

/* The process, and what must be undone. */
struct program {
	const struct options *options;
	GPtrArray *disks; /* struct options of each that is served at the start */
	struct servers servers;
	struct command_process commands;
	struct adder adder;
	bool is_open;		  /* signals end the targets; before, they end the process */
	struct runfile *pid_file; /* NULL: none, or it was removed */
	struct clients *clients;  /* NULL: without a socket */
	int signal_fd;
	struct aio_limit signals;
	struct aio_limit announcing; /* cancelled by a signal */
	struct watchdog watchdog;    /* if there may be several disks */
	struct co_group group;	     /* its coroutine, and the one for signals */
	int kept_fd;		     /* of supervisor_take_fd() */
	bool is_incomplete;	     /* a disk could not even begin */
	bool ok;
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

	clients_clean_folder();
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

/* Those that end the server. */
static sigset_t heeded_signals(void)
{
	struct sigaction hup;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, TRANSPORT_LEAVE_SIGNAL);
	/* Under nohup(1), SIGHUP stays ignored. */
	if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	return set;
}

/*
 * Also in all threads created later. Until then, they end the process at once, whatever it waits
 * for: nothing has been created that would be left behind. Afterwards, signals_co() removes what
 * has been.
 */
static void block_signals(void)
{
	sigset_t set = heeded_signals();

	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* What the signal asks for; who has sent it need not have said. */
static struct transport_leave leave_of(const struct signalfd_siginfo *info)
{
	const struct transport_leave all = { .id = TRANSPORT_ANY_ID };

	return info->ssi_code == SI_QUEUE ? transport_leave_of((union sigval){
						    .sival_ptr = (void *)(uintptr_t)info->ssi_ptr })
					  : all;
}

static void leave(void *arg, struct server *server, struct image *file)
{
	const struct transport_leave *how = arg;
	struct target *target = server->target;

	if (target && (!target->ops->leave || !target->ops->leave(target, how)))
		report_note("%s: ignoring SIGUSR1: only a device with --recovery can be left to "
			    "another server",
			    target_name(target));
}

static void co_free_target(void *arg, struct server *server, struct image *file)
{
	if (server->target)
		server->target->ops->co_free(server->target);
}

/*
 * While images are being opened: a device that is being taken over continues to wait, and a repair
 * that is cut short is like one that a crash has ended.
 */
static void G_GNUC_NORETURN co_die(struct program *program, int number)
{
	sigset_t set;

	program->servers.is_dying = true;
	clients_co_free(program->clients);
	remove_pid_file(program);
	servers_each(&program->servers, co_free_target, NULL);
	/* Its socket. */
	export_listener_co_stop(program->servers.listener);
	report_flush();
	sigemptyset(&set);
	sigaddset(&set, number);
	signal(number, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	/* The first process of a PID namespace. */
	_exit(128 + number);
}

static void end(struct program *program)
{
	adder_end(&program->adder);
	servers_end(&program->servers);
}

static void act_on_signal(struct program *program, struct signalfd_siginfo *info)
{
	if (info->ssi_signo == TRANSPORT_LEAVE_SIGNAL) {
		struct transport_leave how = leave_of(info);

		servers_each(&program->servers, leave, &how);
		return;
	}
	aio_limit_cancel(&program->announcing);
	end(program);
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
		else
			co_die(program, info.ssi_signo);
	}
}

static void co_end_signals(struct program *program)
{
	aio_limit_cancel(&program->signals);
	aio_limit_cancel(&program->watchdog.limit);
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
static int co_print(struct program *program, const char *text, GError **err)
{
	struct pollfd out = { STDOUT_FILENO, POLLOUT, 0 };

	if (poll(&out, 1, 0) == 0 &&
	    co_poll(STDOUT_FILENO, POLLOUT, &program->announcing) == -ECANCELED)
		return error_refuse(err, -EINTR, "standard output: ended by a signal");
	if (printf("%s\n", text) < 0 || fflush(stdout) != 0)
		return error_set(err, -errno, "standard output");
	return 0;
}

/* In the order of the command line, not that in which they have become live. */
static void add_name(void *arg, struct server *server, struct image *file)
{
	if (server->is_live)
		g_ptr_array_add(arg, (char *)target_name(server->target));
}

static void store_fd(void *arg, struct server *server, struct image *file)
{
	int kept_fd = server->is_live ? server->target->ops->kept_fd(server->target) : -1;

	if (kept_fd >= 0)
		supervisor_co_store_fd(kept_fd);
}

static int co_print_names(struct program *program, const GPtrArray *names, GError **err)
{
	int res = 0;

	for (unsigned i = 0; i < names->len && !res; i++)
		res = co_print(program, names->pdata[i], err);
	return res;
}

static int co_announce(struct program *program, GError **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	g_autofree char *summary = NULL;
	int res;

	servers_each(&program->servers, add_name, names);
	tell_of_memory(program);
	sandbox_tell();
	/* A program that waits for the name may look for the messages of the start next. */
	report_flush();
	res = co_print_names(program, names, err);
	if (res < 0)
		return res;
	if (program->options->daemonize)
		daemon_live(program->options->systemd_mark);
	servers_each(&program->servers, store_fd, NULL);
	summary = g_strdup_printf("%u disks", names->len);
	supervisor_co_ready(names->len == 1 ? names->pdata[0] : summary);
	return 0;
}

/* ---- commands ---- */

static void quit(void *arg)
{
	end(arg);
}

static int co_add(void *arg, const char *image, char *const *words, int *fd, json_t *answer,
		  GError **err)
{
	struct program *program = arg;

	return adder_co_add(&program->adder, image, words, fd, answer, err);
}

static void co_remove(void *arg, const struct command_target *target)
{
	struct program *program = arg;

	servers_co_remove(&program->servers, target);
}

/* ---- what needs privileges, and what comes after it ---- */

struct entering {
	struct program *program;
	struct sandbox_config sandbox;
	GError *err;
};

static void co_get_target(void *arg, struct server *server, struct image *file)
{
	struct entering *entering = arg;
	const struct servers *all = &entering->program->servers;

	if (file)
		server_co_get_target(server, all->listener, all->no_listener);
}

static void co_ask(void *arg, struct server *server, struct image *file)
{
	if (file)
		server_co_ask(server);
}

static void co_allow_disk(void *arg, struct server *server, struct image *file)
{
	struct entering *entering = arg;

	if (file && !entering->err)
		sandbox_co_add_disk(server->options, server->driver, file, &entering->sandbox,
				    &entering->err);
}

/* Queues of several devices have asked on the same threads. */
static int drop_last(struct servers *all, GError **err)
{
	struct queue_threads *threads = all->common.threads;
	int res = threads ? queue_threads_drop_privileges(threads) : 0;

	return res < 0 ? error_set(err, res, "cannot drop privileges") : sandbox_drop_last(err);
}

static int co_enter_sandbox(struct entering *entering, GError **err)
{
	const struct options *options = entering->program->options;

	if (sandbox_prepare(options, &entering->sandbox, err) < 0)
		return -1;
	servers_each(&entering->program->servers, co_allow_disk, entering);
	if (entering->err) {
		g_propagate_error(err, entering->err);
		return -1;
	}
	if (sandbox_finish(options, &entering->sandbox, err) < 0)
		return -1;
	if (sandbox_needs_keeper(options, &entering->sandbox) && runfile_begin_keeper(err) < 0)
		return -1;
	entering->sandbox.keeps_admin = true;
	if (sandbox_enter(&entering->sandbox, err) < 0)
		return -1;
	servers_each(&entering->program->servers, co_ask, NULL);
	aio_workers_end();
	return drop_last(&entering->program->servers, err);
}

/* The rings of disks that are added later. */
static int prepare_adding(struct program *program, GError **err)
{
	const struct server_common *common = &program->servers.common;
	struct queue_threads *threads = common->threads;
	int res = 0;

	if (!threads)
		return 0;
	if (program->options->add_places) {
		const struct transport_info info = server_describe_device(program->options);

		res = queue_threads_prepare(threads, info.queues, err);
		if (!res && common->driver->prepare)
			res = common->driver->prepare(err);
	}
	queue_threads_complete(threads);
	return res;
}

/*
 * Everything that needs privileges, and then there are none. The workers that opened the files must
 * end, too: they have them.
 */
static int co_enter(struct program *program, GError **err)
{
	const struct options *options = program->options;
	struct servers *all = &program->servers;
	struct entering entering = { .program = program };

	aio_workers_end();
	block_signals();
	if (options->exports)
		all->listener = export_listener_co_new(&options->export, options->depth,
						       options->several, &all->no_listener);
	servers_each(all, co_get_target, &entering);
	if (keeper_seal(options->add_places ? all->common.driver : NULL, err) < 0 ||
	    prepare_adding(program, err) < 0)
		return -1;
	if (!make_run_files(program, err) || co_enter_sandbox(&entering, err) < 0)
		return -1;
	co_group_start(&program->group, signals_co, program);
	return 0;
}

/* ---- the steps of the start, and the end ---- */

/* One disk has its own. */
static void start_watchdog(struct program *program)
{
	program->watchdog.interval_us = supervisor_watchdog_us();
	program->watchdog.are_alive = servers_are_alive;
	program->watchdog.arg = &program->servers;
	if (program->options->several)
		co_group_start(&program->group, watchdog_co, &program->watchdog);
}

static int co_step(void *arg, enum servers_step step, GError **err)
{
	struct program *program = arg;
	int res;

	switch (step) {
	case SERVERS_ENTER:
		return co_enter(program, err);
	case SERVERS_OPEN:
		/* They have the rights of the opening. */
		aio_workers_end();
		return sandbox_seal(err);
	case SERVERS_READY:
		program->is_open = true;
		report_begin();
		driver_tell();
		return 0;
	case SERVERS_LIVE:
		export_listener_start(program->servers.listener);
		start_watchdog(program);
		res = co_announce(program, err);
		if (!res)
			clients_start(program->clients, &program->commands, quit, program);
		return res;
	default:
		g_assert_not_reached();
	}
}

static void co_ending(void *arg, const struct server *last)
{
	struct program *program = arg;

	/* The next one may want a pid file of the same name. */
	if (last && last->left)
		remove_pid_file(program);
	clients_stop(program->clients);
	supervisor_co_stopping();
	export_listener_co_stop(program->servers.listener);
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
	if (options->several)
		process_raise_file_limit();
	if (!options->exports)
		program->memory_lock_error = process_lock_memory();
}

/*
 * What it takes to end, and to say why: before images take all descriptors that the process may
 * have.
 */
static bool open_first(struct program *program)
{
	sigset_t set = heeded_signals();

	supervisor_connect();
	report_connect();
	program->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (program->signal_fd < 0)
		report_error("signalfd: %s", g_strerror(errno));
	return program->signal_fd >= 0;
}

/* While images are being opened for which nobody waits any more; see co_die(). */
static void G_GNUC_NORETURN co_exit(struct program *program)
{
	remove_pid_file(program);
	servers_each(&program->servers, co_free_target, NULL);
	export_listener_co_stop(program->servers.listener);
	report_flush();
	_exit(program->ok ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Only ubd has descriptors that are kept. NULL: none is needed. */
static const struct transport_ops *choose_driver(const struct program *program)
{
	if (program->options->exports)
		return NULL;
	return driver_choose(program->kept_fd >= 0 ? TRANSPORT_UBD : program->options->driver);
}

static void run_co(void *arg)
{
	struct program *program = arg;
	struct servers *all = &program->servers;
	bool shares_threads = program->options->several && !program->options->exports;
	const struct servers_config config = {
		.co_step = co_step,
		.co_ending = co_ending,
		.arg = program,
		.driver = choose_driver(program),
		.stays = program->options->add_places,
		.shared_depth = shares_threads ? program->options->depth : 0,
	};

	servers_init(all, &config);
	program->commands = (struct command_process){
		.targets = all->commanded,
		.several = program->options->several,
		.co_add = program->options->add_places ? co_add : NULL,
		.co_remove = co_remove,
		.arg = program,
	};
	adder_init(&program->adder, all, program->options->add_places);
	all->is_incomplete = program->is_incomplete;
	program->ok = open_first(program) && servers_co_run(all, program->disks, program->kept_fd);
	/* If the start has failed before. */
	driver_tell();
	clients_co_free(program->clients);
	co_end_signals(program);
	if (all->is_dying || adder_is_looking(&program->adder))
		co_exit(program);
	export_listener_co_free(all->listener);
	remove_pid_file(program);
	adder_co_destroy(&program->adder);
	servers_destroy(all);
}

static void run(struct program *program)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop;

	prepare_process(program);
	loop = aio_loop_new_for(RING_FILES | RING_MESSAGES | RING_ACCEPTS, 64, &err);
	if (loop)
		aio_loop_run_co(loop, run_co, program);
	else
		report_error("%s", err->message);
	aio_loop_free(loop);
	report_flush();
}

int main(int argc, char **argv)
{
	struct program program = {
		.signal_fd = -1,
		.signals = AIO_LIMIT_INIT,
		.announcing = AIO_LIMIT_INIT,
		.watchdog.limit = AIO_LIMIT_INIT,
	};
	g_autoptr(GError) err = NULL;

	std_fds_open();
	if (argc > 1 && strcmp(argv[1], KEEPER) == 0)
		return process_limit_keeper() < 0 ? EXIT_FAILURE : keeper_main();
	/* For texts, not for numbers. */
	setlocale(LC_CTYPE, "");
	program.kept_fd = supervisor_take_fd();
	program.options = options_parse(argv);
	if (!program.options)
		return EXIT_FAILURE;
	/* That of a server with one disk. It continues to wait. */
	if (program.options->several && program.kept_fd >= 0) {
		close(program.kept_fd);
		program.kept_fd = -1;
	}
	if (program.options->version) {
		printf("ubd-serve %s\n", UBD_VERSION);
		return EXIT_SUCCESS;
	}
	program.disks = config_disks(program.options, &program.is_incomplete);
	if (!program.disks)
		return EXIT_FAILURE;
	inherited_fds_close(argv, program.disks, program.kept_fd);
	/* Survive a reader of our output that goes away... */
	signal(SIGPIPE, SIG_IGN);
	/* ... and a file that may not grow as it would have to (RLIMIT_FSIZE): the request fails.
	 */
	signal(SIGXFSZ, SIG_IGN);
	process_heed_signals();
	if (program.options->systemd_mark)
		process_mark(argv);
	if (program.options->daemonize && daemon_begin(&err) < 0) {
		report_error("%s", err->message);
		return EXIT_FAILURE;
	}
	run(&program);
	g_ptr_array_unref(program.disks);
	return program.ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
