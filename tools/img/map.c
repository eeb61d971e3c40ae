// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img map: shows for each part of an image which file of the chain determines it, and the place
 * of its data in that file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "extents.h"
#include "img.h"

struct map_job {
	const char *filename;
	const char *format;
	unsigned flags;
	bool json;
	uint64_t start;
	uint64_t length; /* UINT64_MAX: to the end */
};

/* Adjacent extents that continue each other, merged into one. */
struct map_entry {
	uint64_t start;
	struct image_extent extent;
};

/* ---- output ---- */

static const char *truth(unsigned flags)
{
	return flags ? "true" : "false";
}

static void print_json_entry(const struct map_entry *entry)
{
	const struct image_extent *extent = &entry->extent;

	printf("{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": %s, "
	       "\"zero\": %s, \"data\": %s",
	       entry->start, extent->bytes, extent->depth,
	       truth(extent->flags & IMAGE_EXTENT_ALLOCATED),
	       truth(extent->flags & IMAGE_EXTENT_ZERO), truth(extent->flags & IMAGE_EXTENT_DATA));
	if (extent->flags & IMAGE_EXTENT_OFFSET)
		printf(", \"offset\": %" PRIu64, extent->host_off);
	putchar('}');
}

/* Only parts that must be read from somewhere get a line. */
static int print_human_entry(const struct map_entry *entry)
{
	const struct image_extent *extent = &entry->extent;

	if (!(extent->flags & IMAGE_EXTENT_DATA) || (extent->flags & IMAGE_EXTENT_ZERO))
		return 0;
	if (!(extent->flags & IMAGE_EXTENT_OFFSET)) {
		tool_error("File contains external, encrypted or compressed clusters.");
		return -ENOTSUP;
	}
	printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", entry->start, extent->bytes,
	       extent->host_off, image_filename(extent->file));
	return 0;
}

static void print_header(const struct map_job *job)
{
	if (job->json)
		putchar('[');
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
}

static int print_entry(const struct map_job *job, const struct map_entry *entry, bool is_last)
{
	if (!job->json)
		return print_human_entry(entry);
	print_json_entry(entry);
	printf(is_last ? "]\n" : ",\n");
	return 0;
}

/* ---- the walk ---- */

static bool continues(const struct map_entry *entry, const struct image_extent *next)
{
	const struct image_extent *extent = &entry->extent;

	if (extent->flags != next->flags || extent->depth != next->depth ||
	    extent->layer != next->layer)
		return false;
	return !(next->flags & IMAGE_EXTENT_OFFSET) ||
	       (extent->file == next->file && extent->host_off + extent->bytes == next->host_off);
}

static int co_print_map(const struct map_job *job, struct image *img)
{
	uint64_t size = image_size(img);
	uint64_t end = job->start < size ? job->start + MIN(job->length, size - job->start) : 0;
	struct extents extents;
	struct map_entry entry = { .start = job->start };
	int ret = 0;

	extents_co_init(&extents, img);
	print_header(job);
	/* Do not walk to the end of a large disk for a reader that has gone. */
	for (uint64_t off = job->start; !ret && off < end && !ferror(stdout);
	     off = entry.start + entry.extent.bytes) {
		struct image_extent next;

		ret = extents_co_get(&extents, off, end - off, &next);
		if (ret) {
			tool_error("%s: Failed to read image metadata: %s", job->filename,
				   g_strerror(-ret));
			return ret;
		}
		if (entry.extent.bytes && continues(&entry, &next)) {
			entry.extent.bytes += next.bytes;
			continue;
		}
		if (entry.extent.bytes)
			ret = print_entry(job, &entry, false);
		entry = (struct map_entry){ .start = off, .extent = next };
	}
	return ret ?: print_entry(job, &entry, true);
}

static int co_map(void *arg)
{
	const struct map_job *job = arg;
	struct image *img;
	int ret;

	ret = tool_co_open(job->filename, job->format, job->flags, &img);
	if (!ret)
		ret = tool_co_close(img, co_print_map(job, img));
	return ret ? 1 : 0;
}

int img_map(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *output = NULL, *start = NULL, *length = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, force_share = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "output", 0, 0, G_OPTION_ARG_FILENAME, &output,
		  "Output format: human (default) or json", "OFMT" },
		{ "start-offset", 's', 0, G_OPTION_ARG_FILENAME, &start, "Start at this offset",
		  "OFFSET" },
		{ "max-length", 'l', 0, G_OPTION_ARG_FILENAME, &length,
		  "Show at most this many bytes", "LEN" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the image even if another program is writing to it", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct map_job job = { .length = UINT64_MAX };

	if (!command_parse(command, entries, argv) || !img_parse_output(output, &job.json) ||
	    !img_parse_size("start offset", start, INT64_MAX, &job.start) ||
	    !img_parse_size("max length", length, INT64_MAX, &job.length))
		return 1;
	job.filename = img_only_image(command, filenames, image_opts, format);
	if (!job.filename)
		return 1;
	job.format = format;
	job.flags = IMAGE_BEAR_WRITERS | (force_share ? IMAGE_FORCE_SHARE : 0);
	return tool_run_co(co_map, &job);
}
