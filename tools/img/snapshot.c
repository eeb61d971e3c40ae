// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-img snapshot: lists, creates, applies and deletes internal snapshots. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "info_specific.h"

typedef int change_fn(struct image *img, const char *name, GError **err);

struct snapshot_job {
	const char *filename;
	const char *format;
	unsigned flags;
	change_fn *co_change; /* NULL: list them */
	const char *verb;
	const char *name;
};

static int co_list(struct image *img)
{
	GArray *list;
	int ret = image_co_snapshot_list(img, &list);

	if (ret) {
		tool_error("%s: Could not list the snapshots: %s", image_filename(img),
			   g_strerror(-ret));
		return ret;
	}
	info_print_snapshots(list);
	g_array_unref(list);
	return 0;
}

/* In QEMU's words, which begin in another way for each action, and our reason. */
static void print_failure(const struct snapshot_job *job, const struct image *img, int ret,
			  const char *reason)
{
	int error = ret == -EOVERFLOW ? -EINVAL : ret;
	g_autofree char *cause = NULL;

	if (strcmp(job->verb, "create") == 0)
		cause = g_strdup_printf("%d (%s): %s", error, g_strerror(-error), reason);
	else if (!image_has_snapshots(img))
		cause = g_strdup(strcmp(job->verb, "apply") == 0
					 ? "Block driver does not support snapshots"
					 : "snapshot not found");
	else if (ret == -ENOENT)
		cause = g_strdup(strcmp(job->verb, "apply") == 0
					 ? "Failed to load snapshot: No such file or directory"
					 : "snapshot not found");
	tool_error("Could not %s snapshot '%s': %s", job->verb, job->name, cause ?: reason);
}

static int co_change(const struct snapshot_job *job, struct image *img)
{
	g_autoptr(GError) err = NULL;
	int ret = job->co_change(img, job->name, &err);

	if (ret)
		print_failure(job, img, ret, tool_reason(err, image_filename(img)));
	return ret;
}

static int co_snapshot(void *arg)
{
	const struct snapshot_job *job = arg;
	struct image *img;
	int ret = tool_co_open(job->filename, job->format, job->flags, &img);

	if (!ret)
		ret = tool_co_close(img, job->co_change ? co_change(job, img) : co_list(img));
	return ret ? 1 : 0;
}

/* Sets the action; false: there are two. */
static bool set_action(struct snapshot_job *job, change_fn *co_change_fn, const char *verb,
		       char **names)
{
	if (!names)
		return true;
	if (job->verb || names[1])
		return false;
	job->co_change = co_change_fn;
	job->verb = verb;
	job->name = names[0];
	return true;
}

int img_snapshot(const struct command *command, char **argv)
{
	g_autofree char *format = NULL;
	g_auto(GStrv) apply = NULL, create = NULL, delete = NULL, filenames = NULL;
	gboolean image_opts = FALSE, list = FALSE, quiet = FALSE, force_share = FALSE;
	const GOptionEntry entries[] = {
		{ "list", 'l', 0, G_OPTION_ARG_NONE, &list, "List all snapshots (the default)",
		  NULL },
		{ "apply", 'a', 0, G_OPTION_ARG_FILENAME_ARRAY, &apply,
		  "Revert the image to this snapshot (name or ID)", "SNAPSHOT" },
		{ "create", 'c', 0, G_OPTION_ARG_FILENAME_ARRAY, &create,
		  "Create a snapshot with this name", "SNAPSHOT" },
		{ "delete", 'd', 0, G_OPTION_ARG_FILENAME_ARRAY, &delete,
		  "Delete the first snapshot with this name", "SNAPSHOT" },
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "With -l: open the image even if another program is writing to it", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct snapshot_job job = { 0 };

	if (!command_parse(command, entries, argv))
		return 1;
	job.filename = img_only_image(command, filenames, image_opts, format);
	if (!job.filename)
		return 1;
	if (!set_action(&job, image_co_snapshot_apply, "apply", apply) ||
	    !set_action(&job, image_co_snapshot_create, "create", create) ||
	    !set_action(&job, image_co_snapshot_delete, "delete", delete) || (list && job.verb))
		return command_usage_error(command, "Cannot mix '-l', '-a', '-c', '-d'");
	job.format = format;
	job.flags = (job.co_change ? IMAGE_RDWR | IMAGE_UNMAP : 0) | IMAGE_NO_BACKING |
		    (force_share ? IMAGE_FORCE_SHARE : 0);
	return tool_run_co(co_snapshot, &job);
}

/* ---- snapshots named by other commands ---- */

static bool check_snapshot_options(GHashTable *options)
{
	GHashTableIter iter;
	void *name;

	g_hash_table_iter_init(&iter, options);
	while (g_hash_table_iter_next(&iter, &name, NULL)) {
		if (strcmp(name, "snapshot.id") == 0 || strcmp(name, "snapshot.name") == 0)
			continue;
		tool_error("Invalid parameter '%s'", (char *)name);
		return false;
	}
	return true;
}

bool img_parse_snapshot(const char *text, GHashTable *options, struct image_open_opts *opts)
{
	if (!text)
		return true;
	if (!g_str_has_prefix(text, "snapshot.")) {
		opts->snapshot = text;
		return true;
	}
	if (option_list_parse(text, options) && check_snapshot_options(options)) {
		opts->snapshot_id = g_hash_table_lookup(options, "snapshot.id");
		opts->snapshot_name = g_hash_table_lookup(options, "snapshot.name");
		return true;
	}
	tool_error("Failed in parsing snapshot param '%s'", text);
	return false;
}
