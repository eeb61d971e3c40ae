// SPDX-License-Identifier: GPL-2.0-or-later
/* The process that survives a server; see nbd_watcher.h. */
#include "nbd_watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "nbd_description.h"
#include "nbd_disk.h"
#include "nbd_server_file.h"
#include "nbd_sysfs.h"

#define PROGRAM	    "/proc/self/exe"
/* The end of a process closes its files one after another. */
#define END_US	    (5 * G_USEC_PER_SEC)
#define END_STEP_US 20000

void nbd_disconnect_orphan(struct nbd_netlink *nl, uint32_t id, bool recoverable)
{
	struct nbd_description description;
	int fd;

	if (!nbd_description_read(id, &description) || (description.info.recovery && !recoverable))
		return;
	/* Otherwise the caller knows that it has gone. */
	if (!recoverable && nbd_may_have_process(id))
		return;
	fd = nbd_server_file_take(id, NULL);
	if (fd < 0)
		return;
	/* Again: now no server of ours can begin. */
	if (nbd_description_read(id, &description) && (!description.info.recovery || recoverable))
		nbd_disk_end(nl, id, false);
	close(fd);
}

/* ---- the watcher ---- */

/* What it reads ends with the server. */
static void wait_for_end(uint32_t id)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
		;
	for (unsigned us = 0; us < END_US && nbd_server_pid(id) != -1; us += END_STEP_US)
		g_usleep(END_STEP_US);
}

/* Whether the device has waited in vain. */
static bool wait_for_next(uint32_t id, unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		struct nbd_description description;

		if (nbd_server_pid(id) != -1 || !nbd_description_read(id, &description))
			return false;
		g_usleep(G_USEC_PER_SEC);
	}
	return seconds;
}

int nbd_watcher_main(char **argv)
{
	uint32_t id = argv[2] ? strtoul(argv[2], NULL, 10) : 0;
	/* A service manager ends it together with the server, which may take its time. */
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP };
	struct nbd_description description;
	struct nbd_netlink *nl;

	for (unsigned i = 0; i < G_N_ELEMENTS(ignored); i++)
		signal(ignored[i], SIG_IGN);
	nl = nbd_netlink_new(NULL);
	if (!nl)
		return EXIT_FAILURE;
	wait_for_end(id);
	if (nbd_description_read(id, &description) &&
	    (!description.info.recovery || wait_for_next(id, description.info.recovery_timeout)))
		nbd_disconnect_orphan(nl, id, true);
	nbd_netlink_free(nl);
	return EXIT_SUCCESS;
}

/* ---- the server ---- */

/* It has no terminal, and keeps no descriptor of the server's. */
static int spawn(uint32_t id, int fd)
{
	g_autofree char *number = g_strdup_printf("%u", id);
	char *argv[] = { (char *)"ubd-serve", (char *)NBD_WATCHER, number, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	pid_t pid;
	int res;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	res = posix_spawn(&pid, PROGRAM, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -res;
}

int nbd_watcher_start(uint32_t id)
{
	int fds[2], res;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	res = spawn(id, fds[0]);
	close(fds[0]);
	if (res == 0)
		return fds[1];
	close(fds[1]);
	return res;
}
