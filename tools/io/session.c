// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: opens and closes the image that the commands work on. */
#include <errno.h>
#include <string.h>

#include "io.h"
#include "temporary.h"
#include "tool.h"

static unsigned access_flags(const struct io_open_opts *opts)
{
	if (opts->temporary)
		return 0;
	if (opts->read_only)
		return IMAGE_BEAR_WRITERS;
	return IMAGE_RDWR | (opts->copy_on_read ? IMAGE_COPY_ON_READ : 0);
}

static unsigned open_flags(const struct io_open_opts *opts)
{
	return opts->cache.open_flags | access_flags(opts) |
	       (opts->force_share ? IMAGE_FORCE_SHARE : 0) | (opts->unmap ? IMAGE_UNMAP : 0);
}

/* Opens a temporary overlay of *img, and puts it in its place; the image is closed on failure. */
static int co_put_overlay(const struct io_open_opts *opts, struct image **img)
{
	struct image_open_opts overlay = {
		.flags = (opts->cache.open_flags & IMAGE_DIRECT) | (opts->unmap ? IMAGE_UNMAP : 0) |
			 (opts->copy_on_read ? IMAGE_COPY_ON_READ : 0),
	};
	const char *folder = g_getenv("TMPDIR") ?: IMAGE_TEMPORARY_DIR;
	struct image *base = g_steal_pointer(img);
	g_autoptr(GError) err = NULL;
	struct image_temporary *file = image_temporary_new(folder, &err);
	int ret = -EIO;

	if (file)
		ret = image_temporary_co_open(file, base, NULL, &overlay, img, &err);
	else
		image_co_close(base);
	if (ret)
		tool_error("%s", err->message);
	image_temporary_free(file);
	return ret;
}

int io_co_open(struct io_session *session, const char *filename)
{
	const struct io_open_opts *opts = &session->opts;
	int ret;

	if (session->img) {
		tool_error("file open already, try 'help close'");
		return -EBUSY;
	}
	if (opts->copy_on_read && opts->read_only) {
		tool_error("can't open '%s': Can't use copy-on-read on read-only device", filename);
		return -EINVAL;
	}
	ret = tool_co_open(filename, opts->format, open_flags(opts), &session->img);
	if (!ret && opts->temporary && !opts->read_only)
		ret = co_put_overlay(opts, &session->img);
	return ret;
}

int io_co_close(struct io_session *session)
{
	struct image *img = session->img;

	session->img = NULL;
	return tool_co_close(img, 0);
}

/* ---- modes ---- */

static bool parse_discard(const char *name, bool *ret_unmap)
{
	static const char *const off[] = { "ignore", "off", NULL }, *const on[] = { "unmap", "on",
										    NULL };

	*ret_unmap = g_strv_contains(on, name);
	return *ret_unmap || g_strv_contains(off, name);
}

bool io_parse_modes(const char *cache, const char *discard, struct io_open_opts *opts)
{
	if (cache && !cache_mode_parse(cache, &opts->cache)) {
		tool_error("Invalid cache option: %s", cache);
		return false;
	}
	if (discard && !parse_discard(discard, &opts->unmap)) {
		tool_error("Invalid discard option: %s", discard);
		return false;
	}
	return true;
}

/* ---- the commands ---- */

/* The name of what `open` is asked for, by options and a file name, one of which may be NULL. */
static char *make_name(const char *list, const char *filename, bool image_opts)
{
	g_autoptr(GError) err = NULL;
	char *name;

	if (image_opts && list) {
		tool_error("--image-opts and 'open -o' are mutually exclusive");
		return NULL;
	}
	if (!list && !image_opts)
		return g_strdup(filename);
	name = image_name_from_options(list ?: filename, list ? filename : NULL, &err);
	if (!name)
		tool_error("%s", err->message);
	return name;
}

int io_co_cmd_open(struct io_session *session, const struct io_command *command, char **argv)
{
	g_autofree char *cache = NULL, *discard = NULL, *list = NULL, *name = NULL;
	g_auto(GStrv) words = NULL;
	gboolean read_only = FALSE, temporary = FALSE, direct = FALSE, share = FALSE,
		 copy_on_read = FALSE;
	const GOptionEntry entries[] = {
		{ "read-only", 'r', 0, G_OPTION_ARG_NONE, &read_only, NULL, NULL },
		{ "snapshot", 's', 0, G_OPTION_ARG_NONE, &temporary, NULL, NULL },
		{ "copy-on-read", 'C', 0, G_OPTION_ARG_NONE, &copy_on_read, NULL, NULL },
		{ "nocache", 'n', 0, G_OPTION_ARG_NONE, &direct, NULL, NULL },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &share, NULL, NULL },
		{ "cache", 't', 0, G_OPTION_ARG_FILENAME, &cache, NULL, NULL },
		{ "discard", 'd', 0, G_OPTION_ARG_FILENAME, &discard, NULL, NULL },
		{ "options", 'o', 0, G_OPTION_ARG_FILENAME, &list, NULL, NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, NULL },
		{},
	};
	struct io_open_opts opts = { .cache = { .writethrough = true },
				     .unmap = true,
				     .image_opts = session->opts.image_opts };

	if (!io_parse(command, entries, argv))
		return -EINVAL;
	if ((!words && !list) || (words && words[1])) {
		io_print_usage(command);
		return -EINVAL;
	}
	if (!io_parse_modes(cache ?: direct ? "none" : NULL, discard, &opts))
		return -EINVAL;
	name = make_name(list, words ? words[0] : NULL, opts.image_opts);
	if (!name)
		return -EINVAL;
	opts.read_only = read_only;
	opts.temporary = temporary;
	opts.force_share = share;
	opts.copy_on_read = copy_on_read;
	session->opts = opts;
	return io_co_open(session, name);
}

int io_co_cmd_close(struct io_session *session, const struct io_command *command, char **argv)
{
	return io_co_close(session);
}
