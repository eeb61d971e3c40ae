// SPDX-License-Identifier: GPL-2.0-or-later
/* Arguments that several commands of ubd-img have. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "img.h"

const char *img_only_filename(const struct command *command, char **filenames)
{
	if (filenames && filenames[0] && !filenames[1])
		return filenames[0];
	command_usage_error(command, "Expecting one image file name");
	return NULL;
}

const char *img_only_image(const struct command *command, char **filenames, bool image_opts,
			   const char *format)
{
	if (!img_only_filename(command, filenames) ||
	    !tool_take_image_opts(image_opts, format, &filenames[0]))
		return NULL;
	return filenames[0];
}

bool img_parse_size(const char *what, const char *text, uint64_t max, uint64_t *ret_bytes)
{
	return img_parse_size_from(what, text, 0, max, ret_bytes);
}

bool img_parse_size_from(const char *what, const char *text, uint64_t min, uint64_t max,
			 uint64_t *ret_bytes)
{
	uint64_t bytes = 0;
	int ret = text ? tool_parse_size(text, &bytes) : 0;

	if (!text)
		return true;
	if (ret == -EINVAL) {
		tool_error("Invalid %s specified. You may use k, M, G, T, P or E suffixes for",
			   what);
		tool_error("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
		return false;
	}
	if (ret || bytes < min || bytes > max) {
		tool_error("Invalid %s specified. Must be between %" PRIu64 " and %" PRIu64 ".",
			   what, min, max);
		return false;
	}
	*ret_bytes = bytes;
	return true;
}

bool img_parse_number(const char *what, const char *text, uint64_t min, uint64_t max,
		      uint64_t *ret_number)
{
	if (!text || !number_parse(text, min, max, ret_number))
		return true;
	tool_error("Invalid %s specified", what);
	return false;
}

bool img_parse_output(const char *text, bool *ret_json)
{
	*ret_json = text && strcmp(text, "json") == 0;
	if (!text || *ret_json || strcmp(text, "human") == 0)
		return true;
	tool_error("--output must be used with human or json as argument.");
	return false;
}
