// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Passes descriptors from process to process: over a socket, in one message whose text says which
 * they are, or by exec(), as systemd does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"
#include "passed_fds.h"
#include "tool.h"

#define NAME_CONTROL "ubd" /* as ubd-serve names it to its service manager */
#define NAME_DISK    "ubd-disk"

/* The text of a message: this, then the names. */
#define MAGIC	     "ubd-grant 1:"
#define MAX_TEXT     128

static int *slot(struct ctl_fds *fds, const char *name)
{
	if (strcmp(name, NAME_CONTROL) == 0)
		return &fds->control;
	return strcmp(name, NAME_DISK) == 0 ? &fds->disk : NULL;
}

/* Collects the descriptors that are open, and their names separated by colons. */
static unsigned pack(const struct ctl_fds *fds, int *ret_fds, char **ret_names)
{
	unsigned nr = 0;

	if (fds->control >= 0)
		ret_fds[nr++] = fds->control;
	if (fds->disk >= 0)
		ret_fds[nr++] = fds->disk;
	*ret_names = g_strjoin(nr == 2 ? ":" : "", fds->control >= 0 ? NAME_CONTROL : "",
			       fds->disk >= 0 ? NAME_DISK : "", NULL);
	return nr;
}

/* The reverse; takes no descriptor unless all of them have known names. */
static bool unpack(const int *from, unsigned nr, char **names, struct ctl_fds *ret_fds)
{
	struct ctl_fds fds = { -1, -1 };

	if (g_strv_length(names) != nr)
		return false;
	for (unsigned i = 0; i < nr; i++) {
		int *fd = slot(&fds, names[i]);

		if (!fd || *fd >= 0)
			return false;
		*fd = from[i];
	}
	*ret_fds = fds;
	return true;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void ctl_fds_close(struct ctl_fds *fds)
{
	close_one(&fds->control);
	close_one(&fds->disk);
}

/* ---- by exec() ---- */

struct ctl_fds ctl_fds_inherited(void)
{
	const int numbers[PASSED_FDS_MAX] = { PASSED_FDS_INHERITED, PASSED_FDS_INHERITED + 1 };
	g_auto(GStrv) names = NULL;
	unsigned nr = passed_fds_inherited(&names);
	struct ctl_fds fds = { -1, -1 };

	/* Whether or not they are ours: a shell's children have the descriptors, too. */
	if (nr <= PASSED_FDS_MAX)
		unpack(numbers, nr, names, &fds);
	return fds;
}

/* Moves them to where exec() passes them on, and keeps them open; first out of each other's way. */
static bool place(int *fds, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, PASSED_FDS_INHERITED + PASSED_FDS_MAX);
		if (fds[i] < 0)
			return false;
	}
	for (unsigned i = 0; i < nr; i++)
		if (dup2(fds[i], PASSED_FDS_INHERITED + i) < 0)
			return false;
	return true;
}

static void replace_braces(char **argv, const char *path)
{
	for (; path && *argv; argv++) {
		g_auto(GStrv) parts = g_strsplit(*argv, "{}", -1);

		*argv = g_strjoinv(path, parts);
	}
}

void ctl_fds_exec_file(struct ctl_fds *fds, const char *file, char **argv)
{
	g_autofree char *names = NULL, *path = NULL;
	int numbers[PASSED_FDS_MAX];
	unsigned nr = pack(fds, numbers, &names);

	if (fds->disk >= 0)
		path = g_strdup_printf("/proc/self/fd/%u", PASSED_FDS_INHERITED + nr - 1);
	replace_braces(argv, path);
	if (!place(numbers, nr)) {
		tool_error("cannot pass on descriptors: %s", g_strerror(errno));
		return;
	}
	passed_fds_announce(nr, names);
	tool_restore_signals();
	execvp(file, argv);
	tool_error("%s: %s", argv[0], g_strerror(errno));
}

void ctl_fds_exec(struct ctl_fds *fds, char **argv)
{
	ctl_fds_exec_file(fds, argv[0], argv);
}

/* ---- over a socket ---- */

bool ctl_fds_send(int socket, const struct ctl_fds *fds, GError **err)
{
	g_autofree char *names = NULL, *text = NULL;
	union passed_fds room;
	int numbers[PASSED_FDS_MAX];
	unsigned nr = pack(fds, numbers, &names);
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	text = g_strconcat(MAGIC, names, NULL);
	iov = (struct iovec){ text, strlen(text) };
	passed_fds_put(&msg, &room, numbers, nr);
	sent = sendmsg(socket, &msg, MSG_NOSIGNAL);
	if (sent == (ssize_t)iov.iov_len)
		return true;
	error_set(err, sent < 0 ? -errno : -EIO, "sending descriptors");
	return false;
}

/*
 * The other side may claim that anything is a disk, such as a file that a program would then
 * destroy.
 */
static bool are_ubds(const struct ctl_fds *fds, GError **err)
{
	if (fds->control >= 0 && !ctl_is_control(fds->control))
		g_set_error(err, UBD_ERROR, EPROTO,
			    "the descriptor received as a control fd is not one of ubd's");
	else if (fds->disk >= 0 && !ctl_is_disk(fds->disk))
		g_set_error(err, UBD_ERROR, EPROTO,
			    "the descriptor received as a disk is not one of ubd's");
	else
		return true;
	return false;
}

bool ctl_fds_receive(int socket, struct ctl_fds *ret_fds, GError **err)
{
	g_auto(GStrv) names = NULL;
	char text[MAX_TEXT + 1];
	union passed_fds room;
	int numbers[PASSED_FDS_MAX];
	struct ctl_fds fds;
	struct iovec iov = { text, MAX_TEXT };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &room,
		.msg_controllen = sizeof(room),
	};
	ssize_t len = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	unsigned nr;

	if (len < 0) {
		error_set(err, -errno, "receiving descriptors");
		return false;
	}
	text[len] = '\0';
	names = g_strsplit(text + MIN((size_t)len, strlen(MAGIC)), ":", -1);
	nr = passed_fds_take(&msg, numbers);
	if (nr && !(msg.msg_flags & MSG_CTRUNC) && g_str_has_prefix(text, MAGIC) &&
	    unpack(numbers, nr, names, &fds)) {
		if (!are_ubds(&fds, err))
			goto close_fds;
		*ret_fds = fds;
		return true;
	}
	g_set_error(err, UBD_ERROR, EPROTO, "%s",
		    len ? "the other side is not ubdctl grant" : "the other side has sent nothing");
close_fds:
	while (nr)
		close(numbers[--nr]);
	return false;
}
