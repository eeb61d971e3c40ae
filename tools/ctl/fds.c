// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors that go from process to process: over a socket, in one message whose text says
 * which they are, or by exec(), as systemd does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"
#include "tool.h"

#define FIRST_FD     3	   /* as in sd_listen_fds(3) */
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

/* The descriptors that are there, and their names with colons between them. */
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

/* The other way; takes no descriptor over unless all have names that are known. */
static bool unpack(const int *from, unsigned nr, const char *names, struct ctl_fds *ret_fds)
{
	g_auto(GStrv) words = g_strsplit(names, ":", CTL_MAX_FDS + 1);
	struct ctl_fds fds = { -1, -1 };

	if (g_strv_length(words) != nr)
		return false;
	for (unsigned i = 0; i < nr; i++) {
		int *fd = slot(&fds, words[i]);

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
	const int numbers[CTL_MAX_FDS] = { FIRST_FD, FIRST_FD + 1 };
	const char *nr = g_getenv("LISTEN_FDS"), *names = g_getenv("LISTEN_FDNAMES");
	struct ctl_fds fds = { -1, -1 };

	/* Whatever LISTEN_PID says: a shell's children have the descriptors as well. */
	if (nr && names && atoi(nr) >= 1 && atoi(nr) <= CTL_MAX_FDS)
		unpack(numbers, atoi(nr), names, &fds);
	return fds;
}

/* To FIRST_FD and up, open after exec(); first out of each other's way. */
static bool place(int *fds, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD + CTL_MAX_FDS);
		if (fds[i] < 0)
			return false;
	}
	for (unsigned i = 0; i < nr; i++)
		if (dup2(fds[i], FIRST_FD + i) < 0)
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

void ctl_fds_exec(struct ctl_fds *fds, char **argv)
{
	g_autofree char *names = NULL, *path = NULL;
	char number[16];
	int numbers[CTL_MAX_FDS];
	unsigned nr = pack(fds, numbers, &names);

	if (fds->disk >= 0)
		path = g_strdup_printf("/proc/self/fd/%u", FIRST_FD + nr - 1);
	replace_braces(argv, path);
	if (!place(numbers, nr)) {
		tool_error("cannot pass on descriptors: %s", g_strerror(errno));
		return;
	}
	g_snprintf(number, sizeof(number), "%u", nr);
	g_setenv("LISTEN_FDS", number, TRUE);
	g_setenv("LISTEN_FDNAMES", names, TRUE);
	g_snprintf(number, sizeof(number), "%d", getpid());
	g_setenv("LISTEN_PID", number, TRUE);
	execvp(argv[0], argv);
	tool_error("%s: %s", argv[0], g_strerror(errno));
}

/* ---- over a socket ---- */

union rights {
	struct cmsghdr header;
	char space[CMSG_SPACE(CTL_MAX_FDS * sizeof(int))];
};

bool ctl_fds_send(int socket, const struct ctl_fds *fds, GError **err)
{
	g_autofree char *names = NULL, *text = NULL;
	union rights rights = {};
	int numbers[CTL_MAX_FDS];
	unsigned nr = pack(fds, numbers, &names);
	struct iovec iov;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &rights,
		.msg_controllen = CMSG_SPACE(nr * sizeof(int)),
	};

	text = g_strconcat(MAGIC, names, NULL);
	iov = (struct iovec){ text, strlen(text) };
	rights.header = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(nr * sizeof(int)),
	};
	memcpy(CMSG_DATA(&rights.header), numbers, nr * sizeof(int));
	if (sendmsg(socket, &msg, MSG_NOSIGNAL) == (ssize_t)iov.iov_len)
		return true;
	error_set(err, -errno, "sending descriptors");
	return false;
}

/* All descriptors of a message, which may be none. */
static unsigned take_rights(struct msghdr *msg, int *ret_fds)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(msg);
	unsigned nr;

	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
		return 0;
	nr = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(ret_fds, CMSG_DATA(header), nr * sizeof(int));
	return nr;
}

/* The other side may say that anything is a disk, say a file that a program would then destroy. */
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
	char text[MAX_TEXT + 1];
	union rights rights;
	int numbers[CTL_MAX_FDS];
	struct ctl_fds fds;
	struct iovec iov = { text, MAX_TEXT };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &rights,
		.msg_controllen = sizeof(rights),
	};
	ssize_t len = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	unsigned nr;

	if (len < 0) {
		error_set(err, -errno, "receiving descriptors");
		return false;
	}
	text[len] = '\0';
	nr = take_rights(&msg, numbers);
	if (nr && !(msg.msg_flags & MSG_CTRUNC) && g_str_has_prefix(text, MAGIC) &&
	    unpack(numbers, nr, text + strlen(MAGIC), &fds)) {
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
