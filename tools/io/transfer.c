// SPDX-License-Identifier: GPL-2.0-or-later
/* One request of a command; see transfer.h. */
#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "align.h"
#include "tool.h"

#define MISALIGNMENT 16

/* ---- words ---- */

int transfer_parse_range(struct transfer *transfer, char **words)
{
	return io_parse_size(words[0], &transfer->off) ?: io_parse_size(words[1], &transfer->bytes);
}

int transfer_parse_vector(struct transfer *transfer, char **words)
{
	int ret = io_parse_size(*words++, &transfer->off);

	if (ret)
		return ret;
	transfer->count = g_strv_length(words);
	transfer->iov = g_new0(struct iovec, transfer->count);
	for (unsigned i = 0; i < transfer->count; i++) {
		uint64_t bytes;

		if (io_parse_size(words[i], &bytes))
			return -EINVAL;
		if (bytes > IO_MAX_REQUEST)
			return io_refuse("Argument '%s' exceeds maximum size %llu", words[i],
					 IO_MAX_REQUEST);
		if (bytes > IO_MAX_REQUEST - transfer->bytes)
			return io_refuse("The total number of bytes exceed the maximum size %llu",
					 IO_MAX_REQUEST);
		transfer->iov[i].iov_len = bytes;
		transfer->bytes += bytes;
	}
	return 0;
}

int transfer_check_length(const struct transfer *transfer, const char *text, const char *unless)
{
	if (transfer->bytes <= IO_MAX_REQUEST)
		return 0;
	return io_refuse("length cannot exceed %llu%s, given %s", IO_MAX_REQUEST, unless, text);
}

static int check_sectors(uint64_t bytes, const char *name)
{
	if (is_aligned(bytes, SECTOR_SIZE))
		return 0;
	return io_refuse("%" PRIu64 " is not a sector-aligned value for '%s'", bytes, name);
}

int transfer_check_sectors(const struct transfer *transfer)
{
	return check_sectors(transfer->off, "offset") ?: check_sectors(transfer->bytes, "count");
}

/* ---- memory ---- */

/* Where the data of each length lies: one behind the other. */
static void set_vector(struct transfer *transfer)
{
	uint8_t *data = transfer->data;

	if (!transfer->iov) {
		transfer->count = 1;
		transfer->iov = g_new0(struct iovec, 1);
		transfer->iov->iov_len = transfer->bytes;
	}
	for (unsigned i = 0; i < transfer->count; i++) {
		transfer->iov[i].iov_base = data;
		data += transfer->iov[i].iov_len;
	}
}

int transfer_alloc(struct transfer *transfer, uint8_t byte)
{
	/* With -m, not aligned for O_DIRECT. */
	size_t shift = transfer->session->misalign ? MISALIGNMENT : 0;
	size_t room = transfer->bytes + shift + 1;

	transfer->memory = try_iobuf_alloc(room);
	if (!transfer->memory) {
		tool_error("cannot allocate memory for a request of %" PRIu64 " bytes",
			   transfer->bytes);
		return -ENOMEM;
	}
	memset(transfer->memory, byte, room);
	transfer->data = (uint8_t *)transfer->memory + shift;
	set_vector(transfer);
	return 0;
}

static void clear(struct transfer *transfer)
{
	iobuf_free(transfer->memory);
	g_free(transfer->iov);
}

/* ---- the request ---- */

unsigned transfer_write_flags(const struct io_session *session, bool fua)
{
	return cache_mode_write_flags(&session->opts.cache) | (fua ? IMAGE_REQ_FUA : 0);
}

static int co_write_compressed(struct transfer *transfer, struct iobuf mem)
{
	struct image *img = transfer->session->img;
	int ret = image_co_pwrite_compressed(img, transfer->off, transfer->bytes, mem);

	return ret || !(transfer->flags & IMAGE_REQ_FUA) ? ret : image_co_flush(img);
}

static int co_request(struct transfer *transfer)
{
	struct image *img = transfer->session->img;
	uint64_t off = transfer->off, bytes = transfer->bytes;
	struct iobuf mem = { .iov = transfer->iov };

	switch (transfer->kind) {
	case TRANSFER_READ:
		return image_co_preadv(img, off, bytes, mem);
	case TRANSFER_WRITE:
		return image_co_pwritev(img, off, bytes, mem, transfer->flags);
	case TRANSFER_COMPRESSED:
		return co_write_compressed(transfer, mem);
	case TRANSFER_ZEROES:
		return image_co_pwrite_zeroes(img, off, bytes, transfer->flags);
	case TRANSFER_DISCARD:
		return image_co_pdiscard(img, off, bytes);
	case TRANSFER_READ_VM_STATE:
		return image_co_read_vm_state(img, off, bytes, mem);
	case TRANSFER_WRITE_VM_STATE:
		return image_co_write_vm_state(img, off, bytes, mem);
	}
	g_assert_not_reached();
}

static int verify(const struct transfer *transfer)
{
	const struct expectation *expected = &transfer->expected;
	const uint8_t *part;

	/* Transfers without a pattern may have no buffer. */
	if (!expected->given || !expected->bytes)
		return 0;
	part = transfer->data + expected->start;
	if (part[0] == expected->byte && !memcmp(part, part + 1, expected->bytes - 1))
		return 0;
	return io_refuse("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes",
			 transfer->off + expected->start, expected->bytes);
}

static int co_run(struct transfer *transfer)
{
	int64_t started = g_get_monotonic_time();
	int ret = co_request(transfer);

	if (ret) {
		io_refuse("%s failed: %s", transfer->name, g_strerror(-ret));
		return ret;
	}
	ret = verify(transfer);
	if (transfer->dump && !transfer->report.quiet)
		report_dump(transfer->data, transfer->off, transfer->bytes);
	report_request(&transfer->report, transfer->verb, transfer->off, transfer->bytes, started);
	return ret;
}

int transfer_co_run(struct transfer *transfer, int ret)
{
	ret = ret ?: co_run(transfer);
	clear(transfer);
	return ret;
}

static void run_co(void *arg)
{
	struct transfer *transfer = arg;

	transfer_co_run(transfer, 0);
	g_free(transfer);
}

int transfer_start(struct transfer *transfer, int ret)
{
	if (ret)
		clear(transfer);
	else
		co_group_start(&transfer->session->requests, run_co,
			       g_memdup2(transfer, sizeof(*transfer)));
	return ret;
}
