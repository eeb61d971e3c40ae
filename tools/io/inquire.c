// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: the commands that only query the image. */
#include <inttypes.h>
#include <stdio.h>

#include "info_specific.h"
#include "io.h"
#include "tool.h"
#include "values.h"

#define DEFAULT_ALLOC_BYTES 512

static int status_failed(const struct io_session *session, int error)
{
	tool_error("%s: Failed to read image metadata: %s", image_filename(session->img),
		   g_strerror(-error));
	return error;
}

/* The part from @off on that is all allocated, or all not allocated, in the image itself. */
static int co_run(struct io_session *session, uint64_t off, uint64_t end, uint64_t *ret_bytes,
		  bool *ret_allocated)
{
	struct image_extent extent;
	uint64_t done = 0;
	bool allocated = false;

	while (off + done < end) {
		int ret =
			image_co_block_status(session->img, off + done, end - off - done, &extent);
		bool this_one = extent.flags & IMAGE_EXTENT_ALLOCATED;

		if (ret)
			return status_failed(session, ret);
		if (done && this_one != allocated)
			break;
		allocated = this_one;
		done += extent.bytes;
	}
	*ret_bytes = done;
	*ret_allocated = allocated;
	return 0;
}

int io_co_cmd_alloc(struct io_session *session, const struct io_command *command, char **argv)
{
	uint64_t size = image_size(session->img), off, end, run, asked = DEFAULT_ALLOC_BYTES,
		 sum = 0;
	g_autofree char *off_text = NULL;
	bool allocated;
	int ret;

	if (io_parse_size(argv[1], &off) || io_parse_size(argv[2], &asked))
		return -EINVAL;
	end = off < size ? off + MIN(asked, size - off) : off;
	for (uint64_t at = off; at < end; at += run) {
		ret = co_run(session, at, end, &run, &allocated);
		if (ret)
			return ret;
		sum += allocated ? run : 0;
	}
	off_text = size_to_io_text(off);
	printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, end - off, off_text);
	return 0;
}

int io_co_cmd_map(struct io_session *session, const struct io_command *command, char **argv)
{
	uint64_t size = image_size(session->img), run;
	bool allocated;

	for (uint64_t off = 0; off < size; off += run) {
		g_autofree char *off_text = size_to_io_text(off), *run_text = NULL;
		int ret = co_run(session, off, size, &run, &allocated);

		if (ret)
			return ret;
		run_text = size_to_io_text(run);
		printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n",
		       run_text, run, allocated ? "   " : "not", off_text, off);
	}
	return 0;
}

int io_co_cmd_length(struct io_session *session, const struct io_command *command, char **argv)
{
	g_autofree char *text = size_to_io_text(image_size(session->img));

	printf("%s\n", text);
	return 0;
}

int io_co_cmd_info(struct io_session *session, const struct io_command *command, char **argv)
{
	g_autoptr(GError) err = NULL;
	struct image_info info;

	if (image_co_get_info(session->img, &info, &err)) {
		tool_error("%s", err->message);
		return 1;
	}
	g_autofree char *cluster = size_to_io_text(info.cluster_size);
	g_autofree char *vm_state = size_to_io_text(info.vm_state_off);

	printf("format name: %s\n"
	       "cluster size: %s\n"
	       "vm state offset: %s\n",
	       info.format, cluster, vm_state);
	info_print_specific(&info);
	image_info_clear(&info);
	return 0;
}
