// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img bitmap: actions on a persistent dirty bitmap, in the order given; and --dump, which
 * qemu-img does not have.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "json_text.h"

struct action {
	const char *name;
	bool merge;
	bool remove_all;		 /* of no particular bitmap */
	enum image_bitmap_action change; /* unless it is a merge */
	char *source;			 /* merge: the other bitmap's name */
};

struct bitmap_job {
	const char *filename;
	const char *format;
	const char *bitmap;
	GArray *actions; /* struct action */
	uint64_t granularity;
	const char *source_filename; /* -b */
	const char *source_format;
	bool json;
};

static const struct action known_actions[] = {
	{ .name = "add", .change = IMAGE_BITMAP_ADD },
	{ .name = "remove", .change = IMAGE_BITMAP_REMOVE },
	{ .name = "clear", .change = IMAGE_BITMAP_CLEAR },
	{ .name = "enable", .change = IMAGE_BITMAP_ENABLE },
	{ .name = "disable", .change = IMAGE_BITMAP_DISABLE },
	{ .name = "merge", .merge = true },
	{ .name = "remove-all", .remove_all = true },
};

/* ---- changing ---- */

static int co_remove_all(struct image *img)
{
	g_autoptr(GPtrArray) bitmaps = NULL;
	g_autoptr(GError) err = NULL;
	int ret = tool_co_get_bitmaps(img, &bitmaps);

	for (guint i = 0; !ret && bitmaps && i < bitmaps->len; i++) {
		const struct image_bitmap *bitmap = bitmaps->pdata[i];

		ret = image_co_bitmap_change(img, IMAGE_BITMAP_REMOVE, bitmap->name, 0, &err);
	}
	if (err)
		tool_error("Operation remove-all failed: %s",
			   tool_reason(err, image_filename(img)));
	return ret;
}

static int co_act(const struct bitmap_job *job, const struct action *action, struct image *img,
		  struct image *source)
{
	g_autoptr(GError) err = NULL;
	int ret;

	if (action->remove_all)
		return co_remove_all(img);
	if (action->merge)
		ret = image_co_bitmap_merge(img, job->bitmap, source ?: img, action->source, &err);
	else
		ret = image_co_bitmap_change(img, action->change, job->bitmap, job->granularity,
					     &err);
	if (ret)
		tool_error("Operation %s on bitmap %s failed: %s", action->name, job->bitmap,
			   tool_reason(err, image_filename(source ?: img)));
	return ret;
}

static int co_change_opened(const struct bitmap_job *job, struct image *source)
{
	struct image *img;
	int ret = tool_co_open(job->filename, job->format, IMAGE_RDWR | IMAGE_NO_BACKING, &img);

	if (ret)
		return ret;
	for (guint i = 0; !ret && i < job->actions->len; i++)
		ret = co_act(job, &g_array_index(job->actions, struct action, i), img, source);
	return tool_co_close(img, ret);
}

/* Only its bitmaps are read, so the image to be changed may be its backing file. */
static int co_open_source(const struct bitmap_job *job, struct image **ret_source)
{
	struct file_id id = image_co_file_id(job->filename);
	int ret = tool_co_open(job->source_filename, job->source_format,
			       IMAGE_NO_BACKING | IMAGE_NO_DATA_FILE, ret_source);

	if (ret || !image_chain_has_file(*ret_source, &id))
		return ret;
	tool_error("%s: it is the image itself; leave out -b to merge its own bitmaps",
		   job->source_filename);
	image_co_close(*ret_source);
	return -EINVAL;
}

static int co_change(void *arg)
{
	const struct bitmap_job *job = arg;
	struct image *source = NULL;
	int ret = job->source_filename ? co_open_source(job, &source) : 0;

	if (!ret)
		ret = tool_co_close(source, co_change_opened(job, source));
	return ret ? 1 : 0;
}

/* ---- showing ---- */

static void print_extents(const struct dirty_bits *bits)
{
	printf("%-16s%s\n", "Offset", "Length");
	for (uint64_t off = 0, bytes; off < bits->disk_bytes; off += bytes) {
		bool dirty;

		bytes = dirty_bits_extent(bits, off, &dirty);
		if (dirty)
			printf("%#-16" PRIx64 "%#" PRIx64 "\n", off, bytes);
	}
}

static void print_json(const struct bitmap_job *job, const struct dirty_bits *bits)
{
	json_auto_t *root = json_object();
	json_t *dirty_ranges = json_array();

	json_add_string(root, "name", job->bitmap);
	json_add_int(root, "granularity", 1ll << bits->granularity_bits);
	json_add_int(root, "virtual-size", bits->disk_bytes);
	json_add_int(root, "dirty-bytes", dirty_bits_count(bits));
	json_add(root, "dirty", dirty_ranges);
	for (uint64_t off = 0, bytes; off < bits->disk_bytes; off += bytes) {
		json_t *range;
		bool dirty;

		bytes = dirty_bits_extent(bits, off, &dirty);
		if (!dirty)
			continue;
		range = json_object();
		json_add_int(range, "start", off);
		json_add_int(range, "length", bytes);
		json_append(dirty_ranges, range);
	}
	json_print(root);
}

static int co_dump(void *arg)
{
	const struct bitmap_job *job = arg;
	struct dirty_bits *bits = NULL;
	g_autoptr(GError) err = NULL;
	struct image *img;
	int ret = tool_co_open(job->filename, job->format, IMAGE_NO_BACKING, &img);

	if (ret)
		return 1;
	ret = image_co_bitmap_load(img, job->bitmap, &bits, &err);
	if (ret)
		tool_error("%s", err->message);
	else if (job->json)
		print_json(job, bits);
	else
		print_extents(bits);
	dirty_bits_free(bits);
	return tool_co_close(img, ret) ? 1 : 0;
}

/* ---- options ---- */

/* The parser's callback collects the actions here. */
static GArray *parsed_actions;

static gboolean add_action(const char *option, const char *value, void *arg, GError **err)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(known_actions); i++) {
		struct action action = known_actions[i];

		if (strcmp(option + strlen("--"), action.name) != 0)
			continue;
		action.source = g_strdup(value);
		g_array_append_val(parsed_actions, action);
	}
	return TRUE;
}

static void clear_action(void *arg)
{
	g_free(((struct action *)arg)->source);
}

static bool has_action(const struct bitmap_job *job, const char *name)
{
	for (guint i = 0; i < job->actions->len; i++)
		if (strcmp(g_array_index(job->actions, struct action, i).name, name) == 0)
			return true;
	return false;
}

/* The same rules and messages as qemu-img's. */
static bool check_usage(const struct bitmap_job *job, bool dump, bool granularity_given)
{
	const char *wrong = NULL;

	if (!job->actions->len && !dump)
		wrong = "Need at least one of --add, --remove, --clear, --enable, --disable, or "
			"--merge";
	else if (job->actions->len && dump)
		wrong = "--dump cannot be combined with other actions";
	else if (granularity_given && !has_action(job, "add"))
		wrong = "granularity only supported with --add";
	else if (job->source_format && !job->source_filename)
		wrong = "-F only supported with -b";
	else if (job->source_filename && !has_action(job, "merge"))
		wrong = "Merge bitmap source file only supported with --merge";
	if (wrong)
		tool_error("%s", wrong);
	return !wrong;
}

/* Which words there must be depends on whether any action is about a particular bitmap. */
static bool check_words(const struct bitmap_job *job, char **words)
{
	guint nr = words ? g_strv_length(words) : 0;
	bool needs_name = !job->actions->len;

	for (guint i = 0; i < job->actions->len; i++)
		needs_name |= !g_array_index(job->actions, struct action, i).remove_all;
	if (nr == (needs_name ? 2 : 1))
		return true;
	tool_error(needs_name ? "Expecting filename and bitmap name" : "Expecting filename");
	return false;
}

static int run(struct bitmap_job *job, char **words, bool dump, const char *granularity)
{
	if (!check_usage(job, dump, granularity) || !check_words(job, words) ||
	    !img_parse_size("granularity", granularity, INT64_MAX, &job->granularity))
		return 1;
	job->filename = words[0];
	job->bitmap = words[1];
	return tool_run_co(dump ? co_dump : co_change, job);
}

int img_bitmap(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *source_filename = NULL, *source_format = NULL,
			*granularity = NULL, *output = NULL;
	g_autoptr(GArray) actions = g_array_new(FALSE, FALSE, sizeof(struct action));
	g_auto(GStrv) words = NULL;
	gboolean image_opts = FALSE, dump = FALSE;
	const GOptionEntry entries[] = {
		{ "add", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, add_action,
		  "Create an empty bitmap and enable it", NULL },
		{ "remove", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, add_action,
		  "Remove the bitmap", NULL },
		{ "remove-all", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, add_action,
		  "Remove all bitmaps; takes no bitmap name", NULL },
		{ "clear", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, add_action,
		  "Clear all bits of the bitmap", NULL },
		{ "enable", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, add_action,
		  "Start recording writes to the image", NULL },
		{ "disable", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, add_action,
		  "Stop recording writes", NULL },
		{ "merge", 0, G_OPTION_FLAG_FILENAME, G_OPTION_ARG_CALLBACK, add_action,
		  "Merge another bitmap into this one", "SOURCE" },
		{ "dump", 0, 0, G_OPTION_ARG_NONE, &dump, "Print the dirty ranges", NULL },
		{ "granularity", 'g', 0, G_OPTION_ARG_FILENAME, &granularity,
		  "With --add: bytes of the disk per bit, 512 to 2G", "SIZE" },
		{ "source-file", 'b', 0, G_OPTION_ARG_FILENAME, &source_filename,
		  "With --merge: the image that contains SOURCE (default: FILENAME)", "FILE" },
		{ "source-format", 'F', 0, G_OPTION_ARG_FILENAME, &source_format,
		  "Format of that image (default: probed)", "FMT" },
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "output", 0, 0, G_OPTION_ARG_FILENAME, &output,
		  "With --dump: output format, human (default) or json", "OFMT" },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "FILENAME BITMAP" },
		{},
	};
	struct bitmap_job job = { .actions = actions };

	g_array_set_clear_func(actions, clear_action);
	parsed_actions = actions;
	if (!command_parse(command, entries, argv) || !img_parse_output(output, &job.json) ||
	    (words && words[0] && !tool_take_image_opts(image_opts, format, &words[0])))
		return 1;
	job.format = format;
	job.source_filename = source_filename;
	job.source_format = source_format;
	return run(&job, words, dump, granularity);
}
