// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: the commands that read data. */
#include <errno.h>
#include <stdio.h>

#include "transfer.h"

/* Bytes that a read misses must not look like the zeroes of fresh memory. */
#define UNREAD 0xab

struct read_opts {
	struct report_opts report;
	struct io_byte pattern;
	struct io_size start, length; /* of what the pattern is compared with */
	bool dump;
	bool vm_state;
	bool registered; /* memory is registered anyway where that helps */
	bool invalid;
	bool ignored;
};

static int set_expectation(const struct read_opts *opts, struct transfer *transfer)
{
	struct expectation *expected = &transfer->expected;

	expected->given = opts->pattern.given;
	expected->byte = opts->pattern.byte;
	expected->start = opts->start.bytes;
	expected->bytes = opts->length.given
				  ? opts->length.bytes
				  : transfer->bytes - MIN(expected->start, transfer->bytes);
	if (expected->start <= transfer->bytes &&
	    expected->bytes <= transfer->bytes - expected->start)
		return 0;
	return io_refuse("pattern verification range exceeds end of read data");
}

static struct transfer new_read(struct io_session *session, const char *name,
				const struct read_opts *opts)
{
	return (struct transfer){
		.session = session,
		.name = name,
		.kind = opts->vm_state ? TRANSFER_READ_VM_STATE : TRANSFER_READ,
		.dump = opts->dump,
		.verb = "read",
		.report = opts->report,
	};
}

static int check_vm_state(const struct read_opts *opts, const struct transfer *transfer)
{
	int ret = opts->vm_state ? transfer_check_sectors(transfer) : 0;

	if (!ret && opts->vm_state && opts->registered)
		ret = io_refuse("I/O buffer registration is not supported when reading from "
				"vmstate");
	return ret;
}

static int prepare_range(const struct io_command *command, const struct read_opts *opts,
			 struct transfer *transfer, char **words)
{
	int ret = transfer_parse_range(transfer, words)
			  ?: transfer_check_length(transfer, words[1], "");

	if (!ret && !opts->pattern.given && (opts->start.given || opts->length.given))
		ret = io_usage(command);
	return ret				     ?:
	       set_expectation(opts, transfer) ?:
	       check_vm_state(opts, transfer)  ?:
	       transfer_alloc(transfer, UNREAD);
}

int io_co_cmd_read(struct io_session *session, const struct io_command *command, char **argv)
{
	struct read_opts opts = { 0 };
	const struct io_option options[] = {
		{ 'b', IO_OPTION_FLAG, &opts.vm_state },
		{ 'C', IO_OPTION_FLAG, &opts.report.machine },
		{ 'l', IO_OPTION_SIZE, &opts.length },
		{ 'p', IO_OPTION_FLAG, &opts.ignored },
		{ 'P', IO_OPTION_BYTE, &opts.pattern },
		{ 'q', IO_OPTION_FLAG, &opts.report.quiet },
		{ 'r', IO_OPTION_FLAG, &opts.registered },
		{ 's', IO_OPTION_SIZE, &opts.start },
		{ 'v', IO_OPTION_FLAG, &opts.dump },
		{},
	};
	struct transfer transfer;
	char **words;

	if (io_parse(command, options, 2, 2, argv, &words))
		return -EINVAL;
	transfer = new_read(session, "read", &opts);
	return transfer_co_run(&transfer, prepare_range(command, &opts, &transfer, words));
}

static int prepare_vector(struct transfer *transfer, const struct read_opts *opts, char **words)
{
	return transfer_parse_vector(transfer, words) ?:
	       set_expectation(opts, transfer)	      ?:
	       transfer_alloc(transfer, UNREAD);
}

int io_co_cmd_readv(struct io_session *session, const struct io_command *command, char **argv)
{
	struct read_opts opts = { 0 };
	const struct io_option options[] = {
		{ 'C', IO_OPTION_FLAG, &opts.report.machine },
		{ 'P', IO_OPTION_BYTE, &opts.pattern },
		{ 'q', IO_OPTION_FLAG, &opts.report.quiet },
		{ 'r', IO_OPTION_FLAG, &opts.registered },
		{ 'v', IO_OPTION_FLAG, &opts.dump },
		{},
	};
	struct transfer transfer;
	char **words;

	if (io_parse(command, options, 2, -1, argv, &words))
		return -EINVAL;
	transfer = new_read(session, "readv", &opts);
	return transfer_co_run(&transfer, prepare_vector(&transfer, &opts, words));
}

int io_co_cmd_aio_read(struct io_session *session, const struct io_command *command, char **argv)
{
	struct read_opts opts = { 0 };
	const struct io_option options[] = {
		{ 'C', IO_OPTION_FLAG, &opts.report.machine },
		{ 'i', IO_OPTION_FLAG, &opts.invalid },
		{ 'P', IO_OPTION_BYTE, &opts.pattern },
		{ 'q', IO_OPTION_FLAG, &opts.report.quiet },
		{ 'r', IO_OPTION_FLAG, &opts.registered },
		{ 'v', IO_OPTION_FLAG, &opts.dump },
		{},
	};
	struct transfer transfer;
	char **words;

	if (io_parse(command, options, 0, -1, argv, &words))
		return -EINVAL;
	if (opts.invalid) {
		puts("injecting invalid read request");
		return 0;
	}
	if (g_strv_length(words) < 2)
		return io_usage(command);
	transfer = new_read(session, "readv", &opts);
	return transfer_start(&transfer, prepare_vector(&transfer, &opts, words));
}
