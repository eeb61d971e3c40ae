// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: the commands that change the image, or make changes durable, without data of their own.
 */
#include <errno.h>

#include "tool.h"
#include "transfer.h"

static int parse_discard(struct io_session *session, const struct io_command *command,
			 const char *verb, char **argv, struct transfer *ret_transfer,
			 char ***ret_words)
{
	struct report_opts report = { 0 };
	const struct io_option options[] = {
		{ 'C', IO_OPTION_FLAG, &report.machine },
		{ 'q', IO_OPTION_FLAG, &report.quiet },
		{},
	};
	int ret = io_parse(command, options, 2, 2, argv, ret_words);

	*ret_transfer = (struct transfer){
		.session = session,
		.name = command->name,
		.kind = TRANSFER_DISCARD,
		.verb = verb,
		.report = report,
	};
	return ret ?: transfer_parse_range(ret_transfer, *ret_words);
}

int io_co_cmd_discard(struct io_session *session, const struct io_command *command, char **argv)
{
	struct transfer transfer;
	char **words;
	int ret = parse_discard(session, command, "discard", argv, &transfer, &words)
			  ?: transfer_check_length(&transfer, words[1], "");

	return transfer_co_run(&transfer, ret);
}

int io_co_cmd_aio_discard(struct io_session *session, const struct io_command *command, char **argv)
{
	struct transfer transfer;
	char **words;

	/* QEMU's word, with two blanks after it. */
	return transfer_start(
		&transfer, parse_discard(session, command, "discarded ", argv, &transfer, &words));
}

int io_co_cmd_flush(struct io_session *session, const struct io_command *command, char **argv)
{
	int ret = image_co_flush(session->img);

	if (ret)
		io_refuse("%s failed: %s", command->name, g_strerror(-ret));
	return ret;
}

int io_co_cmd_aio_flush(struct io_session *session, const struct io_command *command, char **argv)
{
	co_group_wait(&session->requests);
	return 0;
}

int io_co_cmd_truncate(struct io_session *session, const struct io_command *command, char **argv)
{
	const char *preallocation = NULL;
	const struct io_option options[] = {
		{ 'm', IO_OPTION_TEXT, &preallocation },
		{},
	};
	enum image_preallocation mode = IMAGE_PREALLOC_OFF;
	g_autoptr(GError) err = NULL;
	uint64_t size;
	char **words;
	int ret;

	if (io_parse(command, options, 1, -1, argv, &words))
		return -EINVAL;
	if (preallocation && !image_parse_preallocation(preallocation, &mode)) {
		tool_error("Invalid preallocation mode '%s'", preallocation);
		return -EINVAL;
	}
	if (io_parse_size(words[0], &size))
		return -EINVAL;
	ret = image_co_resize(session->img, size, mode, &err);
	if (ret)
		tool_error("%s", err->message);
	return ret;
}
