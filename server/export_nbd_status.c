// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The size of an export, and what is where: holes in reads, and the answers to
 * NBD_CMD_BLOCK_STATUS.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "dirty_bits.h"
#include "disk.h"
#include "export_nbd_parts.h"

/* A smaller hole is cheaper to send as zeroes than to find. */
#define MIN_SPLIT_BYTES (32u << 10)
#define MIN_HOLE_BYTES	4096
/*
 * How often NBD_CMD_BLOCK_STATUS looks. A large disk has any number of parts, and those of the same
 * state are one extent. An answer about less than was asked for is one, too.
 */
#define MAX_LOOKS	16384

uint64_t nbd_client_co_size(struct nbd_client *client)
{
	struct disk *disk = client->export->disk;

	client->size = image_size(disk_co_begin(disk));
	disk_co_end(disk);
	return client->size;
}

/* ---- reads ---- */

static bool is_hole(const struct image_extent *extent)
{
	return extent->flags & IMAGE_EXTENT_ZERO && extent->bytes >= MIN_HOLE_BYTES;
}

/* Whether looking is worth it. For a raw image it takes a system call each time. */
static bool may_have_holes(const struct request_desc *desc, const struct image *image)
{
	return desc->bytes >= MIN_SPLIT_BYTES && !image_is_headerless(image);
}

int nbd_client_co_split_read(const struct request_desc *desc, struct image *image,
			     struct nbd_client_piece *ret_pieces)
{
	bool looks = may_have_holes(desc, image);
	unsigned nr = 0;

	for (uint32_t off = 0; off < desc->bytes;) {
		struct image_extent extent = { .bytes = desc->bytes - off };
		int res = 0;

		if (looks && nr < NBD_MAX_CHUNKS - 1)
			res = image_co_block_status_chain(image, desc->guest_off + off,
							  desc->bytes - off, &extent);
		if (res < 0)
			return res;
		if (nr && ret_pieces[nr - 1].is_hole == is_hole(&extent))
			ret_pieces[nr - 1].bytes += extent.bytes;
		else
			ret_pieces[nr++] =
				(struct nbd_client_piece){ off, extent.bytes, is_hole(&extent) };
		off += extent.bytes;
	}
	return nr;
}

/* ---- NBD_CMD_BLOCK_STATUS ---- */

struct extents {
	void *list; /* of struct nbd_block_descriptor, or _ext if they are wide */
	bool wide;
	unsigned nr, max;
	uint64_t last_bytes; /* of the last one, in the machine's order */
	uint32_t last_status;
};

static size_t extent_bytes(const struct extents *extents)
{
	return extents->wide ? sizeof(struct nbd_block_descriptor_ext)
			     : sizeof(struct nbd_block_descriptor);
}

static void store_last(struct extents *extents)
{
	const struct nbd_block_descriptor_ext wide = { htobe64(extents->last_bytes),
						       htobe64(extents->last_status) };
	const struct nbd_block_descriptor compact = { htobe32(extents->last_bytes),
						      htobe32(extents->last_status) };

	memcpy((uint8_t *)extents->list + (extents->nr - 1) * extent_bytes(extents),
	       extents->wide ? (const void *)&wide : &compact, extent_bytes(extents));
}

/* False if there is no room. */
static bool add_extent(struct extents *extents, uint64_t bytes, uint32_t status)
{
	if (extents->nr && extents->last_status == status) {
		extents->last_bytes += bytes;
	} else if (extents->nr == extents->max) {
		return false;
	} else {
		extents->nr++;
		extents->last_bytes = bytes;
		extents->last_status = status;
	}
	store_last(extents);
	return true;
}

static uint32_t allocation_status(const struct image_extent *extent)
{
	uint32_t status = extent->flags & IMAGE_EXTENT_DATA ? 0 : NBD_STATE_HOLE;

	return status | (extent->flags & IMAGE_EXTENT_ZERO ? NBD_STATE_ZERO : 0);
}

/* 0: no layer; 1: the image itself, and so on. */
static uint32_t depth_status(const struct image_extent *extent)
{
	return extent->flags & IMAGE_EXTENT_ALLOCATED ? extent->depth + 1 : 0;
}

/* The state of the first part of the range, and how long that is. */
static int co_look(const struct nbd_client *client, struct image *image, unsigned context,
		   uint64_t off, uint64_t *bytes, uint32_t *ret_status)
{
	const struct dirty_bits *bits;
	struct image_extent extent;
	bool is_dirty = false;
	int res;

	if (context >= NBD_CONTEXT_BITMAPS) {
		bits = client->export->bitmaps[context - NBD_CONTEXT_BITMAPS].bits;
		/* What was added to the disk since is clean. */
		if (off < bits->disk_bytes)
			*bytes = MIN(*bytes, dirty_bits_extent(bits, off, &is_dirty));
		*ret_status = is_dirty ? NBD_STATE_DIRTY : 0;
		return 0;
	}
	res = image_co_block_status_chain(image, off, *bytes, &extent);
	if (res < 0)
		return res;
	*bytes = extent.bytes;
	*ret_status =
		context == NBD_CONTEXT_DEPTH ? depth_status(&extent) : allocation_status(&extent);
	return 0;
}

static int co_list_extents(const struct nbd_client_request *req, struct image *image,
			   unsigned context, struct extents *extents)
{
	uint64_t off = req->desc.guest_off, end = off + req->desc.bytes;

	for (unsigned looks = 0; off < end && looks < MAX_LOOKS; looks++) {
		uint64_t bytes = end - off;
		uint32_t status;
		int res = co_look(req->client, image, context, off, &bytes, &status);

		if (res < 0)
			return res;
		if (!add_extent(extents, bytes, status))
			break;
		off += bytes;
	}
	return 0;
}

static void add_extents(struct nbd_client_request *req, unsigned context,
			const struct extents *extents)
{
	const struct nbd_chunk_status_ext head = { htobe32(context), htobe32(extents->nr) };

	if (extents->wide)
		nbd_client_add_chunk(req, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, false, &head,
				     sizeof(head), extents->list,
				     extents->nr * extent_bytes(extents));
	else
		nbd_client_add_chunk(req, NBD_REPLY_TYPE_BLOCK_STATUS, false, &head.context,
				     sizeof(head.context), extents->list,
				     extents->nr * extent_bytes(extents));
}

int nbd_client_co_block_status(struct nbd_client_request *req, struct image *image)
{
	struct nbd_client *client = req->client;
	uint8_t *room = req->buf;

	for (unsigned i = 0; i < client->nr_contexts; i++) {
		struct extents extents = {
			.list = room,
			.wide = client->extended,
			.max = req->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : NBD_STATUS_EXTENTS,
		};
		int res;

		if (!client->contexts[i])
			continue;
		res = co_list_extents(req, image, i, &extents);
		if (res < 0) {
			req->niov = req->nr_heads = 0;
			return res;
		}
		add_extents(req, i, &extents);
		room += extents.nr * extent_bytes(&extents);
	}
	nbd_client_add_chunk(req, NBD_REPLY_TYPE_NONE, true, NULL, 0, NULL, 0);
	return 0;
}
