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

void added_file_clear(struct added_file *file)
{
	g_clear_pointer(&file->stable_name, g_free);
	g_clear_error(&file->refusal);
}

static bool has_no_file(const char *image)
{
	return g_str_has_prefix(image, "null:");
}

/* Everything else is a file: an absolute name means nothing else. The caller frees it. */
static char *name_of(const char *image)
{
	return has_no_file(image) ? g_strdup(image) : g_canonicalize_filename(image, NULL);
}

static int look_at(const char *name, char *const *places, struct file_id *ret_id, GError **err)
{
	g_autofree char *link = NULL;
	int fd = open(name, O_PATH | O_CLOEXEC), res = 0;

	if (fd < 0)
		return error_set(err, -errno, "%s", name);
	link = g_strdup_printf("/proc/self/fd/%d", fd);
	*ret_id = file_identify(link);
	if (!image_is_in_places(fd, places) || !ret_id->known)
		res = error_refuse(err, -EPERM,
				   "%s: not in a folder from which --allow-add lets images be "
				   "added",
				   name);
	close(fd);
	return res;
}

void added_look(char *const *places, const char *image, struct added_file *ret_file)
{
	g_autofree char *name = name_of(image);

	*ret_file = (struct added_file){ 0 };
	if (!has_no_file(image) && look_at(name, places, &ret_file->id, &ret_file->refusal) == 0)
		ret_file->stable_name = image_stable_name(name);
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

struct options *added_options(char *const *places, const char *image, const struct added_file *file,
			      char *const *words, GError **err)
{
	g_autofree char *name = name_of(image);
	struct options *options = options_of_added(name, file->stable_name, words, err);

	if (!options)
		return NULL;
	if (file->refusal) {
		g_propagate_error(err, g_error_copy(file->refusal));
		options_free(options);
		return NULL;
	}
	options->added_id = file->id;
	narrow(&options->policy.backing, places);
	narrow(&options->policy.data_file, places);
	return options;
}
