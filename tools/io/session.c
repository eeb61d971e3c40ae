// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: opens and closes the image that the commands work on. */
#include <errno.h>
#include <string.h>

#include "error.h"
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

/* An image that is opened again still needs its overlay to be read. */
static bool needs_overlay(const struct io_session *session)
{
	return session->overlay || (session->opts.temporary && !session->opts.read_only);
}

/* Puts a temporary overlay in the image's place; the image is closed on failure. */
static int co_put_overlay(struct io_session *session, GError **err)
{
	const struct io_open_opts *opts = &session->opts;
	struct image_open_opts overlay = {
		.flags = (opts->cache.open_flags & IMAGE_DIRECT) | (opts->unmap ? IMAGE_UNMAP : 0) |
			 (opts->copy_on_read ? IMAGE_COPY_ON_READ : 0) |
			 (opts->read_only ? 0 : IMAGE_RDWR),
	};
	const char *folder = g_getenv("TMPDIR") ?: IMAGE_TEMPORARY_DIR;
	struct image *base = g_steal_pointer(&session->img);

	if (!session->overlay)
		session->overlay = image_temporary_new(folder, err);
	if (session->overlay)
		return image_temporary_co_open(session->overlay, base, NULL, &overlay,
					       &session->img, err);
	image_co_close(base);
	return -EIO;
}

/* What QEMU refuses before it looks at the file; NULL: nothing. */
static const char *refusal(const struct io_open_opts *opts)
{
	if (opts->native_aio && !(opts->cache.open_flags & IMAGE_DIRECT))
		return "aio=native was specified, but it requires cache.direct=on, which was not "
		       "specified.";
	if (opts->copy_on_read && opts->read_only)
		return "Can't use copy-on-read on read-only device";
	if (opts->force_share && !opts->read_only && !opts->temporary)
		return "force-share=on can only be used with read-only images";
	return NULL;
}

static int cannot_open(const char *filename, const char *reason)
{
	tool_error("can't open%s%s: %s", filename ? " device " : "", filename ?: "", reason);
	return -EINVAL;
}

/*
 * The reason without names that QEMU does not repeat: it names the file only where that is missing
 * or cannot be read.
 */
static const char *skip_names(const char *reason, int error)
{
	const char *end;

	while (g_str_has_prefix(reason, "Could not open '") && (end = strstr(reason, "': ")) &&
	       strcmp(end + strlen("': "), g_strerror(-error)) != 0)
		reason = end + strlen("': ");
	return reason;
}

int io_co_try_open(struct io_session *session, const char *name, GError **err)
{
	const struct io_open_opts *opts = &session->opts;
	const struct image_open_opts image_opts = { .format = opts->format,
						    .flags = open_flags(opts) };
	GError *reason = NULL;
	int ret = tool_co_try_open(name, &image_opts, &session->img, &reason);

	if (ret) {
		error_refuse(err, ret, "%s", skip_names(reason->message, ret));
		g_error_free(reason);
		return ret;
	}
	ret = needs_overlay(session) ? co_put_overlay(session, err) : 0;
	if (!ret)
		session->name = g_strdup(name);
	return ret;
}

int io_co_open(struct io_session *session, const char *filename, const char *name)
{
	const struct io_open_opts *opts = &session->opts;
	g_autoptr(GError) err = NULL;
	int ret;

	if (session->img) {
		tool_error("file open already, try 'help close'");
		return -EBUSY;
	}
	if (refusal(opts))
		return cannot_open(filename, refusal(opts));
	ret = io_co_try_open(session, name, &err);
	if (!ret)
		return 0;
	g_clear_pointer(&session->overlay, image_temporary_free);
	return cannot_open(filename, err->message);
}

int io_co_close_for_reopen(struct io_session *session)
{
	struct image *img = session->img;

	/* Otherwise what is suspended would wait for ever. */
	if (img)
		image_remove_break(img, NULL);
	co_group_wait(&session->requests);
	session->img = NULL;
	g_clear_pointer(&session->name, g_free);
	return tool_co_close(img, 0);
}

int io_co_close(struct io_session *session)
{
	int ret = io_co_close_for_reopen(session);

	g_clear_pointer(&session->overlay, image_temporary_free);
	return ret;
}

/* ---- modes ---- */

static bool parse_discard(const char *name, bool *ret_unmap)
{
	static const char *const off[] = { "ignore", "off", NULL }, *const on[] = { "unmap", "on",
										    NULL };

	*ret_unmap = g_strv_contains(on, name);
	return *ret_unmap || g_strv_contains(off, name);
}

static bool parse_aio(const char *name, bool *ret_native)
{
	static const char *const others[] = { "threads", "io_uring", NULL };

	*ret_native = strcmp(name, "native") == 0;
	return *ret_native || g_strv_contains(others, name);
}

bool io_parse_modes(const char *cache, const char *discard, const char *aio,
		    struct io_open_opts *opts)
{
	if (cache && !cache_mode_parse(cache, &opts->cache)) {
		tool_error("Invalid cache option: %s", cache);
		return false;
	}
	if (discard && !parse_discard(discard, &opts->unmap)) {
		tool_error("Invalid discard option: %s", discard);
		return false;
	}
	if (aio && !parse_aio(aio, &opts->native_aio)) {
		tool_error("Invalid aio option: %s", aio);
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
		io_refuse("--image-opts and 'open -o' are mutually exclusive");
		return NULL;
	}
	if (filename && !list && !image_opts)
		return g_strdup(filename);
	name = image_name_from_options(list
					       ?: image_opts ? filename
							     : "",
				       list ? filename : NULL, &err);
	if (!name)
		tool_error("%s", err->message);
	return name;
}

int io_co_cmd_open(struct io_session *session, const struct io_command *command, char **argv)
{
	struct io_open_opts opts = { .cache = { .writethrough = true },
				     .unmap = true,
				     .image_opts = session->opts.image_opts };
	const char *cache = NULL, *discard = NULL, *aio = NULL, *list = NULL;
	bool direct = false;
	const struct io_option options[] = {
		{ 's', IO_OPTION_FLAG, &opts.temporary },
		{ 'C', IO_OPTION_FLAG, &opts.copy_on_read },
		{ 'r', IO_OPTION_FLAG, &opts.read_only },
		{ 'n', IO_OPTION_FLAG, &direct },
		{ 'k', IO_OPTION_FLAG, &opts.native_aio },
		{ 'U', IO_OPTION_FLAG, &opts.force_share },
		{ 'i', IO_OPTION_TEXT, &aio },
		{ 't', IO_OPTION_TEXT, &cache },
		{ 'd', IO_OPTION_TEXT, &discard },
		{ 'o', IO_OPTION_TEXT, &list },
		{},
	};
	g_autofree char *name = NULL;
	char **words;

	if (io_parse(command, options, 0, 1, argv, &words) ||
	    !io_parse_modes(cache
				    ?: direct ? "none"
					      : NULL,
			    discard, aio, &opts))
		return -EINVAL;
	name = make_name(list, words[0], opts.image_opts);
	if (!name)
		return -EINVAL;
	if (!session->img)
		session->opts = opts;
	return io_co_open(session, opts.image_opts ? NULL : words[0], name);
}

int io_co_cmd_close(struct io_session *session, const struct io_command *command, char **argv)
{
	return io_co_close(session);
}
