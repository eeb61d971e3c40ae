// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-io: opens the open image again with other options: that is, closes it and opens it. If that
 * fails, it is opened as it was. A temporary overlay keeps what was written to it.
 */
#include <errno.h>
#include <string.h>

#include "io.h"
#include "tool.h"

struct reopen_opts {
	unsigned read_only, read_write; /* how often given; neither: as it was */
	const char *cache;		/* NULL: as it was */
	const char *changes;		/* to the options of the nodes; NULL: none */
};

/* Whether the list has an option whose name begins so. */
static bool has_option(const char *list, const char *name)
{
	g_auto(GStrv) parts = g_strsplit(list ?: "", ",", -1);

	for (char **part = parts; *part; part++)
		if (g_str_has_prefix(*part, name))
			return true;
	return false;
}

static int refuse(const char *reason)
{
	tool_error("%s", reason);
	return -EINVAL;
}

static int check_opts(const struct io_session *session, const struct reopen_opts *opts)
{
	if ((opts->read_only || opts->read_write) && has_option(opts->changes, "read-only="))
		return refuse("Cannot set both -r/-w and 'read-only'");
	if (opts->cache && has_option(opts->changes, "cache."))
		return refuse("Cannot set both -c and the cache options");
	if (session->overlay && opts->changes)
		return refuse("the options of a temporary overlay cannot be changed");
	return 0;
}

static struct io_open_opts changed_opts(const struct io_session *session,
					const struct reopen_opts *opts)
{
	struct io_open_opts changed = session->opts;

	if (opts->cache)
		cache_mode_parse(opts->cache, &changed.cache);
	if (opts->read_only || opts->read_write)
		changed.read_only = opts->read_only;
	return changed;
}

/* Opens the image by @name, which it is closed for, or else as it was. */
static int co_reopen(struct io_session *session, const char *name, const struct io_open_opts *opts)
{
	const struct io_open_opts old_opts = session->opts;
	g_autofree char *old_name = g_strdup(session->name);
	g_autoptr(GError) err = NULL;
	int ret = io_co_close_for_reopen(session);

	if (ret) {
		io_co_close(session);
		return ret;
	}
	session->opts = *opts;
	ret = io_co_try_open(session, name, &err);
	if (!ret)
		return 0;
	tool_error("%s", err->message);
	session->opts = old_opts;
	io_co_open(session, old_name, old_name);
	return ret;
}

static int parse(const struct io_command *command, char **argv, struct reopen_opts *ret_opts)
{
	const struct io_option options[] = {
		{ 'r', IO_OPTION_COUNT, &ret_opts->read_only },
		{ 'w', IO_OPTION_COUNT, &ret_opts->read_write },
		{ 'c', IO_OPTION_TEXT, &ret_opts->cache },
		{ 'o', IO_OPTION_TEXT, &ret_opts->changes },
		{},
	};
	struct cache_mode mode;
	char **words;

	if (io_parse(command, options, 0, -1, argv, &words))
		return -EINVAL;
	if (ret_opts->cache && !cache_mode_parse(ret_opts->cache, &mode)) {
		tool_error("Invalid cache option: %s", ret_opts->cache);
		return -EINVAL;
	}
	if (ret_opts->read_only + ret_opts->read_write > 1)
		return refuse("Only one -r/-w option may be given");
	return *words ? io_usage(command) : 0;
}

int io_co_cmd_reopen(struct io_session *session, const struct io_command *command, char **argv)
{
	struct reopen_opts opts = { 0 };
	g_autofree char *name = NULL;
	g_autoptr(GError) err = NULL;
	struct io_open_opts changed;
	int ret = parse(command, argv, &opts) ?: check_opts(session, &opts);

	if (ret)
		return ret;
	name = opts.changes ? image_name_for_reopen(session->img, session->name, opts.changes, &err)
			    : g_strdup(session->name);
	if (!name)
		return refuse(err->message);
	changed = changed_opts(session, &opts);
	return co_reopen(session, name, &changed);
}
