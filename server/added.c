// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Disks that clients add; see added.h. A client chooses an image and what concerns that disk alone:
 * options.c does not know words from a client that reach further. The file that was checked is the
 * one that must be opened (server.c), whatever becomes of its name meanwhile.
 */
#include "added.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "bottom/file_open.h"
#include "error.h"
#include "policy.h"

static int check_file(struct options *options, char *const *places, GError **err)
{
	const char *name = options->filename;
	g_autofree char *link = NULL;
	int fd = open(name, O_PATH | O_CLOEXEC), res = 0;

	if (fd < 0)
		return error_set(err, -errno, "%s", name);
	link = g_strdup_printf("/proc/self/fd/%d", fd);
	options->added_id = file_identify(link);
	if (!image_is_in_places(fd, places) || !options->added_id.known)
		res = error_refuse(err, -EPERM,
				   "%s: not in a folder from which --allow-add lets images be "
				   "added",
				   name);
	close(fd);
	return res;
}

static bool has_no_file(const char *image)
{
	return g_str_has_prefix(image, "null:");
}

static void narrow(struct image_names *names, char *const *places)
{
	/* What the command line names is its author's decision. */
	if (names->from == IMAGE_NAMES_LISTED || names->from == IMAGE_NAMES_NONE)
		return;
	if (names->from == IMAGE_NAMES_ANYWHERE)
		names->from = IMAGE_NAMES_LISTED;
	names->places = g_strdupv((char **)places);
}

struct options *added_options(char *const *places, const char *image, char *const *words,
			      GError **err)
{
	/* Everything else is a file: an absolute name means nothing else. */
	g_autofree char *name =
		has_no_file(image) ? g_strdup(image) : g_canonicalize_filename(image, NULL);
	struct options *options = options_of_added(name, words, err);

	if (!options)
		return NULL;
	narrow(&options->policy.backing, places);
	narrow(&options->policy.data_file, places);
	if (has_no_file(options->filename) || check_file(options, places, err) == 0)
		return options;
	options_free(options);
	return NULL;
}
