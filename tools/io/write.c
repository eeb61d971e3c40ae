// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: the commands that write data. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "transfer.h"

#define DEFAULT_PATTERN 0xcd

struct write_opts {
	struct report_opts report;
	struct io_byte pattern;
	const char *source; /* NULL: none */
	bool fua;
	bool zeroes;
	bool unmap;
	bool no_fallback;
	bool compressed;
	bool vm_state;
	bool registered; /* memory is registered anyway where that helps */
	bool invalid;
	bool ignored;
};

static int check_opts(const struct write_opts *opts)
{
	const char *wrong = NULL;

	if (opts->vm_state && opts->zeroes)
		wrong = "-b and -z cannot be specified at the same time";
	else if (opts->fua && (opts->vm_state || opts->compressed))
		wrong = "-f and -b or -c cannot be specified at the same time";
	else if (opts->no_fallback && !opts->zeroes)
		wrong = "-n requires -z to be specified";
	else if (opts->unmap && !opts->zeroes)
		wrong = "-u requires -z to be specified";
	else if (opts->zeroes + opts->pattern.given + !!opts->source > 1)
		wrong = "Only one of -z, -P, and -s can be specified at the same time";
	else if (opts->registered && opts->zeroes)
		wrong = "cannot combine zero write with registered I/O buffer";
	return wrong ? io_refuse("%s", wrong) : 0;
}

static unsigned zero_flags(const struct write_opts *opts)
{
	return (opts->unmap ? IMAGE_REQ_MAY_UNMAP : 0) |
	       (opts->no_fallback ? IMAGE_REQ_NO_FALLBACK : 0);
}

static struct transfer new_write(struct io_session *session, const struct io_command *command,
				 const struct write_opts *opts)
{
	struct transfer transfer = {
		.session = session,
		.name = command->name,
		.kind = TRANSFER_WRITE,
		.flags = transfer_write_flags(session, opts->fua),
		.verb = "wrote",
		.report = opts->report,
	};

	if (opts->vm_state) {
		transfer.kind = TRANSFER_WRITE_VM_STATE;
	} else if (opts->zeroes) {
		transfer.kind = TRANSFER_ZEROES;
		transfer.flags |= zero_flags(opts);
	} else if (opts->compressed) {
		transfer.kind = TRANSFER_COMPRESSED;
	}
	return transfer;
}

/* ---- data ---- */

/* Repeats the first bytes of the data until its end. */
static void repeat(struct transfer *transfer, uint64_t first)
{
	for (uint64_t done = first; done < transfer->bytes; done += first)
		memcpy(transfer->data + done, transfer->data, MIN(first, transfer->bytes - done));
}

/* Fills the memory with the contents of a file, repeated. */
static int fill_from_file(struct transfer *transfer, const char *filename)
{
	FILE *file = fopen(filename, "r");
	/* The memory has room for one byte more, which shows that a file is not empty. */
	size_t length = file ? fread(transfer->data, 1, MAX(transfer->bytes, 1), file) : 0;
	int ret = 0;

	if (!file || ferror(file)) {
		perror(filename);
		ret = -EIO;
	} else if (!length) {
		ret = io_complain("%s: file is empty", filename);
	} else {
		repeat(transfer, length);
	}
	if (file)
		fclose(file);
	return ret;
}

static int prepare_data(const struct write_opts *opts, struct transfer *transfer)
{
	int ret;

	if (opts->zeroes)
		return 0;
	ret = transfer_alloc(transfer, opts->pattern.given ? opts->pattern.byte : DEFAULT_PATTERN);
	return ret || !opts->source ? ret : fill_from_file(transfer, opts->source);
}

/* ---- the commands ---- */

static int prepare_range(const struct write_opts *opts, struct transfer *transfer, char **words)
{
	int ret = transfer_parse_range(transfer, words);

	if (!ret && !opts->no_fallback)
		ret = transfer_check_length(transfer, words[1], " without -n");
	if (!ret && (opts->vm_state || opts->compressed))
		ret = transfer_check_sectors(transfer);
	return ret ?: prepare_data(opts, transfer);
}

int io_co_cmd_write(struct io_session *session, const struct io_command *command, char **argv)
{
	struct write_opts opts = { 0 };
	const struct io_option options[] = {
		{ 'b', IO_OPTION_FLAG, &opts.vm_state },
		{ 'c', IO_OPTION_FLAG, &opts.compressed },
		{ 'C', IO_OPTION_FLAG, &opts.report.machine },
		{ 'f', IO_OPTION_FLAG, &opts.fua },
		{ 'n', IO_OPTION_FLAG, &opts.no_fallback },
		{ 'p', IO_OPTION_FLAG, &opts.ignored },
		{ 'P', IO_OPTION_BYTE, &opts.pattern },
		{ 'q', IO_OPTION_FLAG, &opts.report.quiet },
		{ 'r', IO_OPTION_FLAG, &opts.registered },
		{ 's', IO_OPTION_TEXT, &opts.source },
		{ 'u', IO_OPTION_FLAG, &opts.unmap },
		{ 'z', IO_OPTION_FLAG, &opts.zeroes },
		{},
	};
	struct transfer transfer;
	char **words;

	if (io_parse(command, options, 2, 2, argv, &words) || check_opts(&opts))
		return -EINVAL;
	transfer = new_write(session, command, &opts);
	return transfer_co_run(&transfer, prepare_range(&opts, &transfer, words));
}

static int prepare_vector(const struct write_opts *opts, struct transfer *transfer, char **words)
{
	return transfer_parse_vector(transfer, words) ?: prepare_data(opts, transfer);
}

int io_co_cmd_writev(struct io_session *session, const struct io_command *command, char **argv)
{
	struct write_opts opts = { 0 };
	const struct io_option options[] = {
		{ 'C', IO_OPTION_FLAG, &opts.report.machine },
		{ 'f', IO_OPTION_FLAG, &opts.fua },
		{ 'P', IO_OPTION_BYTE, &opts.pattern },
		{ 'q', IO_OPTION_FLAG, &opts.report.quiet },
		{ 'r', IO_OPTION_FLAG, &opts.registered },
		{},
	};
	struct transfer transfer;
	char **words;

	if (io_parse(command, options, 2, -1, argv, &words))
		return -EINVAL;
	transfer = new_write(session, command, &opts);
	return transfer_co_run(&transfer, prepare_vector(&opts, &transfer, words));
}

static int check_aio_opts(const struct io_command *command, const struct write_opts *opts,
			  unsigned count)
{
	if (count < 2)
		return io_usage(command);
	if (opts->zeroes && count != 2)
		return io_refuse("-z supports only a single length parameter");
	if (opts->unmap && !opts->zeroes)
		return io_refuse("-u requires -z to be specified");
	if (opts->registered && opts->zeroes)
		return io_refuse("cannot combine zero write with registered I/O buffer");
	return 0;
}

static int prepare_aio(const struct write_opts *opts, struct transfer *transfer, char **words)
{
	return opts->zeroes ? transfer_parse_range(transfer, words)
			    : prepare_vector(opts, transfer, words);
}

int io_co_cmd_aio_write(struct io_session *session, const struct io_command *command, char **argv)
{
	struct write_opts opts = { 0 };
	const struct io_option options[] = {
		{ 'C', IO_OPTION_FLAG, &opts.report.machine },
		{ 'f', IO_OPTION_FLAG, &opts.fua },
		{ 'i', IO_OPTION_FLAG, &opts.invalid },
		{ 'P', IO_OPTION_BYTE, &opts.pattern },
		{ 'q', IO_OPTION_FLAG, &opts.report.quiet },
		{ 'r', IO_OPTION_FLAG, &opts.registered },
		{ 'u', IO_OPTION_FLAG, &opts.unmap },
		{ 'z', IO_OPTION_FLAG, &opts.zeroes },
		{},
	};
	struct transfer transfer;
	char **words;

	if (io_parse(command, options, 0, -1, argv, &words))
		return -EINVAL;
	if (opts.invalid) {
		puts("injecting invalid write request");
		return 0;
	}
	if (check_aio_opts(command, &opts, g_strv_length(words)))
		return -EINVAL;
	transfer = new_write(session, command, &opts);
	return transfer_start(&transfer, prepare_aio(&opts, &transfer, words));
}
