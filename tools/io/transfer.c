// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: the commands that move data to and from the image, discard it, or make it durable. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "align.h"
#include "io.h"
#include "report.h"
#include "tool.h"
#include "values.h"

#define DEFAULT_PATTERN 0xcd
#define MISALIGNMENT	16
#define UNREAD		0xab

/* ---- memory ---- */

/* The memory of a request; with -m, not aligned for O_DIRECT. */
struct buffer {
	void *memory;
	uint8_t *start;
};

static int get_buffer(const struct io_session *session, uint64_t bytes, struct buffer *ret_buffer)
{
	size_t shift = session->misalign ? MISALIGNMENT : 0;
	void *memory = try_iobuf_alloc(bytes + shift + 1);

	if (!memory) {
		tool_error("cannot allocate memory for a request of %" PRIu64 " bytes", bytes);
		return -ENOMEM;
	}
	/* Bytes that a read misses must not look like the zeroes of fresh memory. */
	memset(memory, UNREAD, bytes + shift + 1);
	*ret_buffer = (struct buffer){ memory, (uint8_t *)memory + shift };
	return 0;
}

static void put_buffer(struct buffer *buffer)
{
	iobuf_free(buffer->memory);
}

/* Fills the buffer with the contents of a file, repeated. */
static int fill_from_file(struct buffer *buffer, uint64_t bytes, const char *filename)
{
	g_autofree char *contents = NULL;
	g_autoptr(GError) err = NULL;
	gsize length;

	if (!g_file_get_contents(filename, &contents, &length, &err)) {
		tool_error("%s", err->message);
		return -EIO;
	}
	if (!length) {
		tool_error("%s: file is empty", filename);
		return -EINVAL;
	}
	for (uint64_t done = 0; done < bytes; done += length)
		memcpy(buffer->start + done, contents, MIN(length, bytes - done));
	return 0;
}

/* ---- what the commands have in common ---- */

static int usage_error(const struct io_command *command)
{
	io_print_usage(command);
	return -EINVAL;
}

static int request_failed(const struct io_command *command, int error)
{
	printf("%s failed: %s\n", command->name, g_strerror(-error));
	return error;
}

static int check_writable(const struct io_session *session)
{
	if (!image_is_read_only(session->img))
		return 0;
	tool_error("%s: Block node is read-only", image_filename(session->img));
	return -EROFS;
}

static bool check_length(const char *text, uint64_t bytes, const char *unless)
{
	if (bytes <= IO_MAX_REQUEST)
		return true;
	printf("length cannot exceed %llu%s, given %s\n", IO_MAX_REQUEST, unless, text);
	return false;
}

/* Parses OFF LEN, and nothing more. */
static int parse_range(const struct io_command *command, char **words, uint64_t *ret_off,
		       uint64_t *ret_bytes)
{
	if (!words || !words[0] || !words[1] || words[2])
		return usage_error(command);
	return io_parse_size(words[0], ret_off) && io_parse_size(words[1], ret_bytes) ? 0 : -EINVAL;
}

/* ---- read ---- */

struct expectation {
	char *pattern; /* NULL: none */
	uint8_t byte;
	uint64_t start;
	uint64_t bytes;
};

static int parse_expectation(const struct io_command *command, struct expectation *expected,
			     const char *start, const char *bytes, uint64_t length)
{
	if (!expected->pattern)
		return start || bytes ? usage_error(command) : 0;
	if (!io_parse_pattern(expected->pattern, &expected->byte) ||
	    !io_parse_size(start, &expected->start))
		return -EINVAL;
	expected->bytes = length - MIN(expected->start, length);
	if (!io_parse_size(bytes, &expected->bytes))
		return -EINVAL;
	if (expected->start <= length && expected->bytes <= length - expected->start)
		return 0;
	printf("pattern verification range exceeds end of read data\n");
	return -EINVAL;
}

static int verify(const struct expectation *expected, const uint8_t *buf, uint64_t off)
{
	const uint8_t *part = buf + expected->start;

	if (!expected->pattern || !expected->bytes)
		return 0;
	if (part[0] == expected->byte && !memcmp(part, part + 1, expected->bytes - 1))
		return 0;
	printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
	       off + expected->start, expected->bytes);
	return -EINVAL;
}

/* Reads, reports and verifies. A read counts as done even if the data is not as expected. */
static int co_read_and_verify(struct io_session *session, const struct io_command *command,
			      const struct report_opts *report, const struct expectation *expected,
			      bool dump, uint64_t off, uint64_t bytes, struct iobuf mem,
			      const uint8_t *buf)
{
	int64_t started = g_get_monotonic_time();
	int ret = image_co_preadv(session->img, off, bytes, mem);

	if (ret)
		return request_failed(command, ret);
	ret = verify(expected, buf, off);
	if (dump && !report->quiet)
		report_dump(buf, off, bytes);
	report_request(report, "read", off, bytes, started);
	return ret;
}

int io_co_cmd_read(struct io_session *session, const struct io_command *command, char **argv)
{
	g_autofree char *pattern = NULL, *start = NULL, *length = NULL;
	g_auto(GStrv) words = NULL;
	struct report_opts report = { 0 };
	gboolean dump = FALSE, ignored = FALSE;
	const GOptionEntry entries[] = {
		{ "csv", 'C', 0, G_OPTION_ARG_NONE, &report.machine, NULL, NULL },
		{ "ignored", 'p', 0, G_OPTION_ARG_NONE, &ignored, NULL, NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &report.quiet, NULL, NULL },
		{ "verbose", 'v', 0, G_OPTION_ARG_NONE, &dump, NULL, NULL },
		{ "pattern", 'P', 0, G_OPTION_ARG_FILENAME, &pattern, NULL, NULL },
		{ "start", 's', 0, G_OPTION_ARG_FILENAME, &start, NULL, NULL },
		{ "length", 'l', 0, G_OPTION_ARG_FILENAME, &length, NULL, NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, NULL },
		{},
	};
	struct expectation expected = { 0 };
	struct buffer buffer;
	struct iovec iov;
	uint64_t off, bytes;
	int ret;

	if (!io_parse(command, entries, argv) || parse_range(command, words, &off, &bytes) ||
	    !check_length(words[1], bytes, ""))
		return -EINVAL;
	expected.pattern = pattern;
	if (parse_expectation(command, &expected, start, length, bytes))
		return -EINVAL;
	ret = get_buffer(session, bytes, &buffer);
	if (ret)
		return ret;
	ret = co_read_and_verify(session, command, &report, &expected, dump, off, bytes,
				 IOBUF(&iov, buffer.start, bytes), buffer.start);
	put_buffer(&buffer);
	return ret;
}

/* ---- write ---- */

/* What `write` is asked to do. */
struct write_opts {
	struct report_opts report;
	gboolean fua;
	gboolean zeroes;
	gboolean unmap;
	gboolean no_fallback;
	gboolean compressed;
	char *pattern;
	char *source;
};

static int check_write_opts(const struct write_opts *opts)
{
	const char *wrong = NULL;

	if (!!opts->zeroes + !!opts->pattern + !!opts->source > 1)
		wrong = "Only one of -z, -P, and -s can be specified at the same time";
	else if (opts->no_fallback && !opts->zeroes)
		wrong = "-n requires -z to be specified";
	else if (opts->unmap && !opts->zeroes)
		wrong = "-u requires -z to be specified";
	else if (opts->fua && opts->compressed)
		wrong = "-f and -b or -c cannot be specified at the same time";
	if (wrong)
		printf("%s\n", wrong);
	return wrong ? -EINVAL : 0;
}

static int co_write_zeroes(struct io_session *session, const struct write_opts *opts, uint64_t off,
			   uint64_t bytes, unsigned flags)
{
	flags |= (opts->unmap ? IMAGE_REQ_MAY_UNMAP : 0) |
		 (opts->no_fallback ? IMAGE_REQ_NO_FALLBACK : 0);
	return image_co_pwrite_zeroes(session->img, off, bytes, flags);
}

static unsigned write_flags(const struct io_session *session, bool fua)
{
	return cache_mode_write_flags(&session->opts.cache) | (fua ? IMAGE_REQ_FUA : 0);
}

static int fill_buffer(struct buffer *buffer, uint64_t bytes, const struct write_opts *opts)
{
	uint8_t byte = DEFAULT_PATTERN;

	if (opts->source)
		return fill_from_file(buffer, bytes, opts->source);
	if (opts->pattern && !io_parse_pattern(opts->pattern, &byte))
		return -EINVAL;
	memset(buffer->start, byte, bytes);
	return 0;
}

static int co_write_buffer(struct io_session *session, const struct write_opts *opts, uint64_t off,
			   uint64_t bytes, const struct buffer *buffer)
{
	unsigned flags = write_flags(session, opts->fua);
	struct iovec iov;
	int ret;

	if (!opts->compressed)
		return image_co_pwrite(session->img, off, bytes, buffer->start, flags);
	ret = image_co_pwrite_compressed(session->img, off, bytes,
					 IOBUF(&iov, buffer->start, bytes));
	return ret || !(flags & IMAGE_REQ_FUA) ? ret : image_co_flush(session->img);
}

static int co_write_data(struct io_session *session, const struct io_command *command,
			 const struct write_opts *opts, uint64_t off, uint64_t bytes)
{
	struct buffer buffer;
	int64_t started;
	int ret = get_buffer(session, bytes, &buffer);

	if (ret)
		return ret;
	ret = fill_buffer(&buffer, bytes, opts);
	if (!ret) {
		started = g_get_monotonic_time();
		ret = co_write_buffer(session, opts, off, bytes, &buffer);
		if (ret)
			request_failed(command, ret);
		else
			report_request(&opts->report, "wrote", off, bytes, started);
	}
	put_buffer(&buffer);
	return ret;
}

static int co_write(struct io_session *session, const struct io_command *command,
		    const struct write_opts *opts, uint64_t off, uint64_t bytes)
{
	int64_t started = g_get_monotonic_time();
	int ret;

	if (!opts->zeroes)
		return co_write_data(session, command, opts, off, bytes);
	ret = co_write_zeroes(session, opts, off, bytes, write_flags(session, opts->fua));
	if (ret)
		return request_failed(command, ret);
	report_request(&opts->report, "wrote", off, bytes, started);
	return 0;
}

int io_co_cmd_write(struct io_session *session, const struct io_command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	struct write_opts opts = { 0 };
	gboolean ignored = FALSE;
	const GOptionEntry entries[] = {
		{ "compressed", 'c', 0, G_OPTION_ARG_NONE, &opts.compressed, NULL, NULL },
		{ "csv", 'C', 0, G_OPTION_ARG_NONE, &opts.report.machine, NULL, NULL },
		{ "fua", 'f', 0, G_OPTION_ARG_NONE, &opts.fua, NULL, NULL },
		{ "no-fallback", 'n', 0, G_OPTION_ARG_NONE, &opts.no_fallback, NULL, NULL },
		{ "ignored", 'p', 0, G_OPTION_ARG_NONE, &ignored, NULL, NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &opts.report.quiet, NULL, NULL },
		{ "unmap", 'u', 0, G_OPTION_ARG_NONE, &opts.unmap, NULL, NULL },
		{ "zeroes", 'z', 0, G_OPTION_ARG_NONE, &opts.zeroes, NULL, NULL },
		{ "pattern", 'P', 0, G_OPTION_ARG_FILENAME, &opts.pattern, NULL, NULL },
		{ "source", 's', 0, G_OPTION_ARG_FILENAME, &opts.source, NULL, NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, NULL },
		{},
	};
	uint64_t off, bytes;
	int ret = -EINVAL;

	if (!io_parse(command, entries, argv) || check_write_opts(&opts) ||
	    parse_range(command, words, &off, &bytes) ||
	    (!opts.no_fallback && !check_length(words[1], bytes, " without -n")))
		goto out;
	ret = check_writable(session);
	ret = ret ?: co_write(session, command, &opts, off, bytes);
out:
	g_free(opts.pattern);
	g_free(opts.source);
	return ret;
}

/* ---- readv and writev: OFF LEN..., each length with memory of its own ---- */

struct vector {
	struct buffer buffer; /* all of them, one behind the other */
	struct iovec *iov;
	unsigned count;
	uint64_t off;
	uint64_t bytes;
};

static int parse_lengths(struct vector *vector, char **words)
{
	vector->count = g_strv_length(words);
	vector->iov = g_new0(struct iovec, vector->count);
	for (unsigned i = 0; i < vector->count; i++) {
		uint64_t bytes;

		if (!io_parse_size(words[i], &bytes))
			return -EINVAL;
		if (bytes > IO_MAX_REQUEST) {
			printf("Argument '%s' exceeds maximum size %llu\n", words[i],
			       IO_MAX_REQUEST);
			return -EINVAL;
		}
		if (bytes > IO_MAX_REQUEST - vector->bytes) {
			printf("The total number of bytes exceed the maximum size %llu\n",
			       IO_MAX_REQUEST);
			return -EINVAL;
		}
		vector->iov[i].iov_len = bytes;
		vector->bytes += bytes;
	}
	return 0;
}

static int get_vector(const struct io_session *session, const struct io_command *command,
		      char **words, struct vector *vector)
{
	uint8_t *base;
	int ret;

	if (!words || !words[1])
		return usage_error(command);
	if (!io_parse_size(words[0], &vector->off) || parse_lengths(vector, words + 1))
		return -EINVAL;
	ret = get_buffer(session, vector->bytes, &vector->buffer);
	if (ret)
		return ret;
	base = vector->buffer.start;
	for (unsigned i = 0; i < vector->count; i++) {
		vector->iov[i].iov_base = base;
		base += vector->iov[i].iov_len;
	}
	return 0;
}

static void put_vector(struct vector *vector)
{
	put_buffer(&vector->buffer);
	g_free(vector->iov);
}

static struct iobuf vector_mem(const struct vector *vector)
{
	return (struct iobuf){ vector->iov, vector->count, 0, NULL };
}

int io_co_cmd_readv(struct io_session *session, const struct io_command *command, char **argv)
{
	g_autofree char *pattern = NULL;
	g_auto(GStrv) words = NULL;
	struct report_opts report = { 0 };
	gboolean dump = FALSE;
	const GOptionEntry entries[] = {
		{ "csv", 'C', 0, G_OPTION_ARG_NONE, &report.machine, NULL, NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &report.quiet, NULL, NULL },
		{ "verbose", 'v', 0, G_OPTION_ARG_NONE, &dump, NULL, NULL },
		{ "pattern", 'P', 0, G_OPTION_ARG_FILENAME, &pattern, NULL, NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, NULL },
		{},
	};
	struct expectation expected = { 0 };
	struct vector vector = { 0 };
	int ret;

	if (!io_parse(command, entries, argv))
		return -EINVAL;
	expected.pattern = pattern;
	ret = get_vector(session, command, words, &vector);
	ret = ret ?: parse_expectation(command, &expected, NULL, NULL, vector.bytes);
	if (!ret)
		ret = co_read_and_verify(session, command, &report, &expected, dump, vector.off,
					 vector.bytes, vector_mem(&vector), vector.buffer.start);
	put_vector(&vector);
	return ret;
}

static int co_writev(struct io_session *session, const struct io_command *command,
		     const struct write_opts *opts, struct vector *vector)
{
	int64_t started;
	int ret = fill_buffer(&vector->buffer, vector->bytes, opts);

	ret = ret ?: check_writable(session);
	if (ret)
		return ret;
	started = g_get_monotonic_time();
	ret = image_co_pwritev(session->img, vector->off, vector->bytes, vector_mem(vector),
			       write_flags(session, opts->fua));
	if (ret)
		return request_failed(command, ret);
	report_request(&opts->report, "wrote", vector->off, vector->bytes, started);
	return 0;
}

int io_co_cmd_writev(struct io_session *session, const struct io_command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	struct write_opts opts = { 0 };
	const GOptionEntry entries[] = {
		{ "csv", 'C', 0, G_OPTION_ARG_NONE, &opts.report.machine, NULL, NULL },
		{ "fua", 'f', 0, G_OPTION_ARG_NONE, &opts.fua, NULL, NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &opts.report.quiet, NULL, NULL },
		{ "pattern", 'P', 0, G_OPTION_ARG_FILENAME, &opts.pattern, NULL, NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, NULL },
		{},
	};
	struct vector vector = { 0 };
	int ret = -EINVAL;

	if (io_parse(command, entries, argv)) {
		ret = get_vector(session, command, words, &vector);
		ret = ret ?: co_writev(session, command, &opts, &vector);
		put_vector(&vector);
	}
	g_free(opts.pattern);
	return ret;
}

/* ---- the others ---- */

int io_co_cmd_discard(struct io_session *session, const struct io_command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	struct report_opts report = { 0 };
	const GOptionEntry entries[] = {
		{ "csv", 'C', 0, G_OPTION_ARG_NONE, &report.machine, NULL, NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &report.quiet, NULL, NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, NULL },
		{},
	};
	uint64_t off, bytes;
	int64_t started;
	int ret;

	if (!io_parse(command, entries, argv) || parse_range(command, words, &off, &bytes) ||
	    !check_length(words[1], bytes, ""))
		return -EINVAL;
	ret = check_writable(session);
	if (ret)
		return ret;
	started = g_get_monotonic_time();
	ret = image_co_pdiscard(session->img, off, bytes);
	if (ret)
		return request_failed(command, ret);
	report_request(&report, "discard", off, bytes, started);
	return 0;
}

int io_co_cmd_flush(struct io_session *session, const struct io_command *command, char **argv)
{
	int ret = image_co_flush(session->img);

	return ret ? request_failed(command, ret) : 0;
}

int io_co_cmd_truncate(struct io_session *session, const struct io_command *command, char **argv)
{
	g_autofree char *preallocation = NULL;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ "preallocation", 'm', 0, G_OPTION_ARG_STRING, &preallocation, NULL, NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &words, NULL, NULL },
		{},
	};
	enum image_preallocation mode = IMAGE_PREALLOC_OFF;
	g_autoptr(GError) err = NULL;
	uint64_t size;
	int ret;

	if (!io_parse(command, entries, argv))
		return -EINVAL;
	if (!words || words[1])
		return usage_error(command);
	if (preallocation && !image_parse_preallocation(preallocation, &mode)) {
		tool_error("Invalid preallocation mode '%s'", preallocation);
		return -EINVAL;
	}
	if (!io_parse_size(words[0], &size))
		return -EINVAL;
	ret = check_writable(session);
	if (ret)
		return ret;
	ret = image_co_resize(session->img, size, mode, &err);
	if (ret)
		tool_error("%s: truncate failed: %s", image_filename(session->img), err->message);
	return ret;
}
