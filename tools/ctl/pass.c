// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl run, grant and receive: pass descriptors of a device to other programs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "tool.h"

/* ---- what is passed on ---- */

struct choice {
	gboolean disk_only, control_only;
};

#define CHOICE_ENTRIES(choice)                                                                     \
	{ "disk-only",                                                                             \
	  0,                                                                                       \
	  0,                                                                                       \
	  G_OPTION_ARG_NONE,                                                                       \
	  &(choice).disk_only,                                                                     \
	  "Pass only the disk, which does not allow stopping the device",                          \
	  NULL },                                                                                  \
	{                                                                                          \
		"control-only", 0, 0, G_OPTION_ARG_NONE, &(choice).control_only,                   \
			"Pass only the control fd", NULL                                           \
	}

static bool is_choice(const struct command *command, const struct choice *choice)
{
	if (!choice->disk_only || !choice->control_only)
		return true;
	command_usage_error(command, "--disk-only and --control-only are mutually exclusive");
	return false;
}

static bool open_disk(struct transport *transport, const struct ctl_owner *owner,
		      struct ctl_fds *fds)
{
	int fd = transport_open_disk(transport);

	if (fd < 0) {
		tool_error("%s: %s", transport->path,
			   fd == -EINVAL ? "there is no disk yet" : g_strerror(-fd));
		return false;
	}
	fds->disk = fd;
	/* The new owner can open it again, by a path in /proc. nbd's node outlives the device. */
	if (owner && owner->uid != CTL_NOT_GIVEN && transport->ops != &transport_nbd &&
	    fchown(fd, owner->uid, owner->gid) < 0) {
		tool_error("%s: cannot give it to user %u: %s", transport->path, owner->uid,
			   g_strerror(errno));
		return false;
	}
	return true;
}

static bool copy_control_fd(const struct transport *transport, struct ctl_fds *fds)
{
	int fd = transport_fd(transport);

	if (fd < 0) {
		tool_error("%s: %s", transport->path, ctl_reason(fd, transport, "control fds"));
		return false;
	}
	fds->control = dup(fd);
	if (fds->control < 0)
		tool_error("dup: %s", g_strerror(errno));
	return fds->control >= 0;
}

/* False, with the error printed and nothing open. */
static bool open_fds(const char *device, const struct choice *choice, const struct ctl_owner *owner,
		     struct ctl_fds *ret_fds)
{
	struct transport_info info;
	struct transport *transport = ctl_open(device, &info);
	bool ok;

	*ret_fds = (struct ctl_fds){ -1, -1 };
	if (!transport)
		return false;
	ok = choice->control_only || open_disk(transport, owner, ret_fds);
	ok = ok && (choice->disk_only || copy_control_fd(transport, ret_fds));
	if (!ok)
		ctl_fds_close(ret_fds);
	transport_free(transport);
	return ok;
}

char **ctl_cut_program(const struct command *command, char **argv)
{
	for (; *argv; argv++) {
		if (strcmp(*argv, "--") == 0 && argv[1]) {
			*argv = NULL;
			return argv + 1;
		}
		if (strcmp(*argv, "--help") == 0 || strcmp(*argv, "-h") == 0)
			return argv;
	}
	command_usage_error(command, "expecting a program after \"--\"");
	return NULL;
}

int ctl_run(const struct command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	struct choice choice = {};
	const GOptionEntry entries[] = {
		CHOICE_ENTRIES(choice),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "DEVICE -- PROGRAM [ARGUMENT...]" },
		{},
	};
	char **program = ctl_cut_program(command, argv);
	struct ctl_fds fds;

	if (!program || !command_parse(command, entries, argv) || !is_choice(command, &choice))
		return EXIT_FAILURE;
	if (!words || words[1])
		return command_usage_error(command, "expecting one device");
	if (open_fds(words[0], &choice, NULL, &fds))
		ctl_fds_exec(&fds, program);
	return EXIT_FAILURE;
}

/* ---- over a socket ---- */

#define LISTEN_ENTRY(listens)                                                                      \
	{                                                                                          \
		"listen", 0, 0, G_OPTION_ARG_NONE, &(listens),                                     \
			"Create the socket, and wait for the other side", NULL                     \
	}

static int get_connection(const char *path, bool listens, const struct ctl_owner *owner)
{
	g_autoptr(GError) err = NULL;
	int fd = listens ? ctl_socket_accept(path, owner, &err)
			 : ctl_socket_connect(path, owner, 0, &err);

	if (fd < 0)
		tool_error("%s", err->message);
	return fd;
}

/* UID or UID:GID; the group is by default the one with the user's number. */
static bool parse_owner(const char *text, struct ctl_owner *ret_owner)
{
	g_auto(GStrv) parts = g_strsplit(text ?: "", ":", 2);
	guint64 uid, gid;

	*ret_owner = (struct ctl_owner){ CTL_NOT_GIVEN, CTL_NOT_GIVEN };
	if (!text)
		return true;
	if (!g_ascii_string_to_unsigned(parts[0] ?: "", 10, 0, CTL_NOT_GIVEN - 1, &uid, NULL) ||
	    !g_ascii_string_to_unsigned(parts[0] && parts[1] ? parts[1] : parts[0], 10, 0,
					CTL_NOT_GIVEN - 1, &gid, NULL)) {
		tool_error("--owner: \"%s\" is not UID or UID:GID", text);
		return false;
	}
	*ret_owner = (struct ctl_owner){ uid, gid };
	return true;
}

static int grant(struct ctl_fds *fds, const char *path, bool listens, const struct ctl_owner *owner)
{
	g_autoptr(GError) err = NULL;
	int socket = get_connection(path, listens, owner);
	bool ok = socket >= 0;

	if (ok && !ctl_fds_send(socket, fds, &err)) {
		tool_error("%s: %s", path, err->message);
		ok = false;
	}
	if (socket >= 0)
		close(socket);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int ctl_grant(const struct command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	g_autofree char *owner_text = NULL;
	gboolean listens = FALSE;
	struct choice choice = {};
	const GOptionEntry entries[] = {
		CHOICE_ENTRIES(choice),
		LISTEN_ENTRY(listens),
		{ "owner", 0, 0, G_OPTION_ARG_STRING, &owner_text,
		  "Grant only to this user, who also becomes the disk's owner", "UID[:GID]" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "DEVICE SOCKET" },
		{},
	};
	struct ctl_owner owner;
	struct ctl_fds fds;
	int status;

	if (!command_parse(command, entries, argv) || !is_choice(command, &choice) ||
	    !parse_owner(owner_text, &owner))
		return EXIT_FAILURE;
	if (!words || !words[1] || words[2])
		return command_usage_error(command, "expecting a device and a socket");
	if (!open_fds(words[0], &choice, &owner, &fds))
		return EXIT_FAILURE;
	status = grant(&fds, words[1], listens, &owner);
	ctl_fds_close(&fds);
	return status;
}

int ctl_receive(const struct command *command, char **argv)
{
	const struct ctl_owner nobody = { CTL_NOT_GIVEN, CTL_NOT_GIVEN };
	g_auto(GStrv) words = NULL;
	gboolean listens = FALSE;
	const GOptionEntry entries[] = {
		LISTEN_ENTRY(listens),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "SOCKET -- PROGRAM [ARGUMENT...]" },
		{},
	};
	char **program = ctl_cut_program(command, argv);
	g_autoptr(GError) err = NULL;
	struct ctl_fds fds;
	int socket;

	if (!program || !command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || words[1])
		return command_usage_error(command, "expecting one socket");
	socket = get_connection(words[0], listens, &nobody);
	if (socket < 0)
		return EXIT_FAILURE;
	if (ctl_fds_receive(socket, &fds, &err))
		ctl_fds_exec(&fds, program);
	else
		tool_error("%s: %s", words[0], err->message);
	return EXIT_FAILURE;
}
