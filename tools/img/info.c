// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img info: shows information about an image and, with --backing-chain, about those below it.
 *
 * Each image is opened alone, so that a problem with its backing file does not hide its
 * information.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache_mode.h"
#include "img.h"
#include "info_specific.h"
#include "json_text.h"

struct info_job {
	const char *filename;
	const char *format;
	unsigned flags;
	bool json;
	bool chain;
	bool show_limits;
};

struct image_facts {
	char *filename;
	struct file_id id;
	int64_t allocated; /* -errno if unknown */
	struct image_limits limits;
	bool show_limits;
	struct image_info info;
	GArray *snapshots; /* struct image_snapshot */
};

static void free_facts(void *arg)
{
	struct image_facts *facts = arg;

	g_free(facts->filename);
	image_info_clear(&facts->info);
	if (facts->snapshots)
		g_array_unref(facts->snapshots);
	g_free(facts);
}

/* ---- gathering ---- */

/* @named_by: the image that has it as backing file; NULL for the first one. */
static int co_get_facts(const struct info_job *job, const char *filename, const char *format,
			const char *named_by, struct image_facts **ret_facts)
{
	struct image_open_opts opts = { .format = format,
					.flags = job->flags,
					.named_by = named_by };
	g_autoptr(GError) err = NULL;
	struct image_facts *facts;
	struct image *img;
	int ret = tool_co_open_opts(filename, &opts, &img);

	if (ret)
		return ret;
	facts = g_new0(struct image_facts, 1);
	facts->filename = g_strdup(image_filename(img));
	facts->id = image_file_id(img);
	facts->allocated = image_co_allocated_bytes(img);
	facts->limits = *image_limits(img);
	facts->show_limits = job->show_limits;
	ret = image_co_get_info(img, &facts->info, &err)
		      ?: image_co_snapshot_list(img, &facts->snapshots);
	if (err)
		tool_error("%s", err->message);
	else if (ret)
		tool_error("%s: Could not get image information: %s", filename, g_strerror(-ret));
	ret = tool_co_close(img, ret);
	if (ret)
		free_facts(facts);
	else
		*ret_facts = facts;
	return ret;
}

static bool is_known(GPtrArray *chain, const struct image_facts *facts)
{
	for (guint i = 0; i < chain->len; i++) {
		const struct image_facts *known = chain->pdata[i];

		if (file_id_equal(&known->id, &facts->id))
			return true;
	}
	return false;
}

static int co_get_chain(const struct info_job *job, GPtrArray *chain)
{
	const char *filename = job->filename, *format = job->format, *named_by = NULL;
	struct image_facts *facts;

	do {
		if (co_get_facts(job, filename, format, named_by, &facts))
			return -EIO;
		if (is_known(chain, facts) || chain->len == IMAGE_MAX_CHAIN) {
			tool_error("%s: Backing file '%s' creates an infinite loop.", job->filename,
				   filename);
			free_facts(facts);
			return -ELOOP;
		}
		g_ptr_array_add(chain, facts);
		named_by = facts->filename;
		filename = facts->info.full_backing_filename;
		format = facts->info.backing_format;
	} while (job->chain && filename);
	return 0;
}

/* ---- limits ---- */

struct limit {
	const char *name; /* as in JSON */
	uint64_t value;	  /* 0: there is none */
};

#define NR_LIMITS 6

static void list_limits(const struct image_limits *limits, struct limit ret_list[NR_LIMITS])
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	const struct limit list[NR_LIMITS] = {
		{ "write-zeroes-alignment", limits->zero_alignment },
		{ "request-alignment", limits->request_alignment },
		{ "min-mem-alignment", limits->memory_alignment },
		{ "discard-alignment", limits->cluster_size },
		{ "opt-mem-alignment", MAX(page, limits->memory_alignment) },
		{ "max-iov", IOV_MAX },
	};

	memcpy(ret_list, list, sizeof(list));
}

/* ---- for people ---- */

static void print_limits(const struct image_limits *limits)
{
	struct limit list[NR_LIMITS];

	list_limits(limits, list);
	printf("Block limits:\n");
	for (unsigned i = 0; i < NR_LIMITS; i++) {
		g_autofree char *name = g_strdelimit(g_strdup(list[i].name), "-", ' ');

		if (list[i].value)
			printf("    %s: %" PRIu64 "\n", name, list[i].value);
	}
}

static void print_backing(const struct image_info *info)
{
	if (!info->backing_filename)
		return;
	printf("backing file: %s", info->backing_filename);
	if (info->full_backing_filename &&
	    strcmp(info->backing_filename, info->full_backing_filename) != 0)
		printf(" (actual path: %s)", info->full_backing_filename);
	putchar('\n');
	if (info->backing_format)
		printf("backing file format: %s\n", info->backing_format);
}

static void print_facts(const struct image_facts *facts)
{
	const struct image_info *info = &facts->info;
	g_autofree char *virtual_size = size_to_text(info->virtual_size);
	g_autofree char *disk_size =
		facts->allocated < 0 ? g_strdup("unavailable") : size_to_text(facts->allocated);

	printf("image: %s\n"
	       "file format: %s\n"
	       "virtual size: %s (%" PRIu64 " bytes)\n"
	       "disk size: %s\n",
	       facts->filename, info->format, virtual_size, info->virtual_size, disk_size);
	if (info->encrypted)
		printf("encrypted: yes\n");
	if (info->cluster_size)
		printf("cluster_size: %" PRIu64 "\n", info->cluster_size);
	if (info->dirty)
		printf("cleanly shut down: no\n");
	print_backing(info);
	if (facts->show_limits)
		print_limits(&facts->limits);
	info_print_snapshots(facts->snapshots);
	info_print_specific(info);
}

static void print_chain(GPtrArray *chain)
{
	for (guint i = 0; i < chain->len; i++) {
		if (i)
			putchar('\n');
		print_facts(chain->pdata[i]);
	}
}

/* ---- for scripts ---- */

static json_t *snapshot_to_json(const struct image_snapshot *snapshot)
{
	json_t *object = json_object();

	if (snapshot->icount != UINT64_MAX)
		json_add_int(object, "icount", snapshot->icount);
	json_add_int(object, "vm-clock-nsec",
		     snapshot->vm_clock_nsec % G_GUINT64_CONSTANT(1000000000));
	json_add_string(object, "name", snapshot->name);
	json_add_int(object, "date-sec", snapshot->date_sec);
	json_add_int(object, "date-nsec", snapshot->date_nsec);
	json_add_int(object, "vm-clock-sec", snapshot->vm_clock_nsec / 1000000000);
	json_add_string(object, "id", snapshot->id);
	json_add_int(object, "vm-state-size", snapshot->vm_state_size);
	return object;
}

static void add_snapshots(json_t *object, const GArray *list)
{
	json_t *array;

	if (!list->len)
		return;
	array = json_array();
	for (guint i = 0; i < list->len; i++)
		json_append(array,
			    snapshot_to_json(&g_array_index(list, struct image_snapshot, i)));
	json_add(object, "snapshots", array);
}

static json_t *limits_to_json(const struct image_limits *limits)
{
	json_t *object = json_object();
	struct limit list[NR_LIMITS];

	list_limits(limits, list);
	for (unsigned i = 0; i < NR_LIMITS; i++)
		if (list[i].value)
			json_add_int(object, list[i].name, list[i].value);
	return object;
}

/* In the order of QEMU 7.2, for scripts that compare text. */
static json_t *facts_to_json(const struct image_facts *facts)
{
	const struct image_info *info = &facts->info;
	json_t *object = json_object();

	if (facts->show_limits)
		json_add(object, "limits", limits_to_json(&facts->limits));
	if (info->backing_format)
		json_add_string(object, "backing-filename-format", info->backing_format);
	add_snapshots(object, facts->snapshots);
	json_add_int(object, "virtual-size", info->virtual_size);
	json_add_string(object, "filename", facts->filename);
	if (info->cluster_size)
		json_add_int(object, "cluster-size", info->cluster_size);
	json_add_string(object, "format", info->format);
	if (facts->allocated >= 0)
		json_add_int(object, "actual-size", facts->allocated);
	info_add_specific(object, info);
	if (info->full_backing_filename)
		json_add_string(object, "full-backing-filename", info->full_backing_filename);
	if (info->backing_filename)
		json_add_string(object, "backing-filename", info->backing_filename);
	if (info->encrypted)
		json_add_bool(object, "encrypted", true);
	if (info->can_be_dirty)
		json_add_bool(object, "dirty-flag", info->dirty);
	return object;
}

static json_t *chain_to_json(GPtrArray *chain)
{
	json_t *array = json_array();

	for (guint i = 0; i < chain->len; i++)
		json_append(array, facts_to_json(chain->pdata[i]));
	return array;
}

static void print_json(const struct info_job *job, GPtrArray *chain)
{
	json_auto_t *root = job->chain ? chain_to_json(chain) : facts_to_json(chain->pdata[0]);

	json_print(root);
}

/* ---- the command ---- */

static int co_info(void *arg)
{
	const struct info_job *job = arg;
	g_autoptr(GPtrArray) chain = g_ptr_array_new_with_free_func(free_facts);

	if (co_get_chain(job, chain))
		return 1;
	if (job->json)
		print_json(job, chain);
	else
		print_chain(chain);
	return 0;
}

int img_info(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *output = NULL, *cache = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, force_share = FALSE, chain = FALSE, limits = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "output", 0, 0, G_OPTION_ARG_FILENAME, &output,
		  "Output format: human (default) or json", "OFMT" },
		{ "backing-chain", 0, 0, G_OPTION_ARG_NONE, &chain,
		  "Show all images of the backing chain", NULL },
		{ "limits", 0, 0, G_OPTION_ARG_NONE, &limits,
		  "Show the preferred request alignments, which may depend on the cache mode",
		  NULL },
		{ "cache", 't', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode of the image (default: writeback)", "CACHE" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the image even if another program is writing to it", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct info_job job = { 0 };
	struct cache_mode mode = { 0 };

	if (!command_parse(command, entries, argv))
		return 1;
	job.filename = img_only_image(command, filenames, image_opts, format);
	if (!job.filename || !img_parse_output(output, &job.json))
		return 1;
	if (cache && !cache_mode_parse(cache, &mode)) {
		tool_error("Invalid cache option: %s", cache);
		return 1;
	}
	job.format = format;
	job.show_limits = limits;
	job.flags = mode.open_flags | IMAGE_NO_BACKING | IMAGE_NO_DATA_FILE | IMAGE_INFO_ONLY |
		    IMAGE_BEAR_WRITERS | (force_share ? IMAGE_FORCE_SHARE : 0);
	job.chain = chain;
	return tool_run_co(co_info, &job);
}
