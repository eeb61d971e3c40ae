// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bottom node `nbd`: an export of an NBD server, by libnbd.
 *
 * To the nodes above it is like a block device:
 *  - its size is fixed: reads beyond the end give zeroes, writes there fail with ENOSPC. A server
 *    cannot tell a client of a new size, so it is only seen by new connections, see
 *    nbd_co_refresh_size();
 *  - a transfer is done as a whole or fails, whatever the limits of the server are;
 *  - a flush that succeeded has made everything durable that had completed before it. A server that
 *    is gone may take with it what it has not flushed. So if a connection is lost then, no later
 *    flush succeeds; unless the user said, with reconnect-delay, that the server may come back;
 *  - a change that was given up, because the server did not answer in time, may take place at any
 *    time later. So nothing is changed after that.
 *
 * Nobody locks an export.
 *
 * Each loop has its connection if the server allows several clients to see each other's changes
 * (multi-conn); otherwise all share one. What a server says is checked in nbd_connect.c, and its
 * answers are bounded by libnbd.
 */
#include <errno.h>
#include <string.h>

#include "align.h"
#include "image_ops.h"
#include "nbd_conn.h"

#define NS_PER_S	UINT64_C(1000000000)
/* Loops beyond that share connections. */
#define MAX_CONNECTIONS 16
/* Of data that is not contiguous, or not in memory: what is copied at a time. */
#define MAX_COPY	(2u << 20)
/* Of a command without data; a multiple of all block sizes. */
#define MAX_RANGE	(1u << 30)

/* In nbd.unsafe: a bit for each connection, twice, and a number. */
#define DIRTY(index)	(UINT64_C(1) << (index))
#define ALL_DIRTY	(DIRTY(MAX_CONNECTIONS) - 1)
#define FLUSHING	(UINT64_C(1) << 2 * MAX_CONNECTIONS)

struct nbd {
	struct image *img;
	struct nbd_place place;
	struct nbd_patience patience;
	struct nbd_facts facts; /* of the first connection; they stay true */
	struct thread_lock lock;
	/* By the number of a loop; the first one always exists. */
	struct nbd_conn *_Atomic conns[MAX_CONNECTIONS];
	_Atomic uint64_t server_size; /* the largest one seen */
	_Atomic unsigned troubles;    /* IMAGE_TROUBLE_LOST, _CUT */
	_Atomic unsigned losses;      /* of connections */
	/* The server may still carry out changes that were given up, so there must be no more. */
	_Atomic bool abandoned;
	/*
	 * DIRTY for each connection on which something has completed that no flush issued since
	 * covers; above them, the same for what flushes in flight cover; and FLUSHING for each of
	 * these.
	 */
	_Atomic uint64_t unsafe;
};

/* ---- connections ---- */

/* What was done once is done again. */
static bool can_all(const struct nbd_facts *now, const struct nbd_facts *before)
{
	return now->min_block <= before->min_block && now->max_block >= before->max_block &&
	       now->read_only <= before->read_only && now->multi_conn >= before->multi_conn &&
	       now->flush >= before->flush && now->fua >= before->fua &&
	       now->trim >= before->trim && now->zero >= before->zero &&
	       now->fast_zero >= before->fast_zero && now->block_status >= before->block_status;
}

static int accept_again(struct nbd *nbd, const struct nbd_facts *facts, GError **err)
{
	if (facts->size < image_size(nbd->img)) {
		atomic_fetch_or(&nbd->troubles, IMAGE_TROUBLE_CUT);
		return error_refuse(err, -EIO, "the export has become smaller");
	}
	if (!can_all(facts, &nbd->facts))
		return error_refuse(err, -EIO, "the server supports less than before");
	return 0;
}

static int on_accept(void *arg, const struct nbd_facts *facts, GError **err)
{
	struct nbd *nbd = arg;
	uint64_t size = atomic_load(&nbd->server_size);
	int ret = nbd->facts.max_block ? accept_again(nbd, facts, err) : 0;

	if (ret)
		return ret;
	if (!nbd->facts.max_block)
		nbd->facts = *facts;
	while (size < facts->size &&
	       !atomic_compare_exchange_weak(&nbd->server_size, &size, facts->size))
		;
	return 0;
}

/* The server may have taken with it what was acknowledged, but not flushed. */
static void note_lost_data(struct nbd *nbd)
{
	if (!nbd->patience.reconnect_ns)
		atomic_fetch_or(&nbd->troubles, IMAGE_TROUBLE_LOST);
}

static void on_loss(void *arg)
{
	struct nbd *nbd = arg;

	atomic_fetch_add(&nbd->losses, 1);
	if (atomic_load(&nbd->unsafe))
		note_lost_data(nbd);
}

static void on_abandoned(void *arg)
{
	struct nbd *nbd = arg;

	atomic_store(&nbd->abandoned, true);
	atomic_fetch_or(&nbd->troubles, IMAGE_TROUBLE_LOST);
}

static bool on_run(void *arg, const struct nbd_cmd *cmd)
{
	struct nbd *nbd = arg;

	return !nbd_cmd_changes(cmd) || !atomic_load(&nbd->abandoned);
}

static const struct nbd_conn_ops conn_ops = {
	.accept = on_accept,
	.lost = on_loss,
	.abandoned = on_abandoned,
	.may_run = on_run,
};

/* That of the running loop. */
static unsigned connection_index(const struct nbd *nbd)
{
	return nbd->facts.multi_conn ? aio_loop_id(aio_loop_current()) % MAX_CONNECTIONS : 0;
}

static struct nbd_conn *connection(struct nbd *nbd)
{
	unsigned index = connection_index(nbd);
	struct nbd_conn *conn = atomic_load(&nbd->conns[index]);

	if (conn)
		return conn;
	thread_lock(&nbd->lock);
	conn = nbd->conns[index];
	if (!conn) {
		conn = nbd_conn_new(&nbd->place, &nbd->patience, &conn_ops, nbd);
		atomic_store(&nbd->conns[index], conn);
	}
	thread_unlock(&nbd->lock);
	return conn;
}

static int co_run(struct nbd *nbd, struct nbd_cmd *cmd)
{
	return nbd_conn_co_run(connection(nbd), cmd);
}

/* ---- open and close ---- */

static uint64_t option_ns(const struct node_options *options, const char *name)
{
	return MIN(node_options_number(options, name, 0), UINT32_MAX) * NS_PER_S;
}

static int check_access(const struct image *img, const struct nbd *nbd, GError **err)
{
	if (image_is_read_only(img) || !nbd->facts.read_only)
		return 0;
	return error_refuse(err, -EACCES,
			    "Could not open '%s': request on write denied: the server exports it "
			    "read-only",
			    img->filename);
}

static void co_free(struct nbd *nbd)
{
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
		nbd_conn_co_free(nbd->conns[i]);
	thread_lock_destroy(&nbd->lock);
	nbd_place_clear(&nbd->place);
	g_free(nbd);
}

static int co_open(struct image *img, struct nbd *nbd, const struct node_options *options,
		   GError **err)
{
	int ret = nbd_place_init(&nbd->place, options, err);

	if (ret)
		return ret;
	nbd->conns[0] = nbd_conn_new(&nbd->place, &nbd->patience, &conn_ops, nbd);
	ret = nbd_conn_co_open(nbd->conns[0], err);
	if (ret) {
		g_prefix_error(err, "Could not open '%s': ", img->filename);
		return ret;
	}
	return check_access(img, nbd, err);
}

static int nbd_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	struct nbd *nbd = g_new0(struct nbd, 1);
	int ret;

	nbd->img = img;
	nbd->patience = (struct nbd_patience){
		.open_ns = option_ns(opts->node, "open-timeout"),
		.reconnect_ns = option_ns(opts->node, "reconnect-delay"),
		.answer_ns = option_ns(opts->node, "request-timeout"),
	};
	thread_lock_init(&nbd->lock);
	ret = co_open(img, nbd, opts->node, err);
	if (ret) {
		co_free(nbd);
		return ret;
	}
	img->opaque = nbd;
	img->size = nbd->facts.size;
	img->id = nbd_place_id(&nbd->place);
	img->is_bdev = true;
	img->limits.request_alignment = nbd->facts.min_block;
	return 0;
}

static int nbd_co_close(struct image *img)
{
	co_free(img->opaque);
	return 0;
}

/* ---- read and write ---- */

/* The first piece of a transfer; copied into a buffer unless it is contiguous in memory. */
struct piece {
	uint64_t bytes;
	void *data;
	void *copy; /* NULL: none */
};

/* Where the first @bytes are in memory; NULL if not in one place. */
static void *contiguous(struct iobuf mem, uint64_t bytes)
{
	if (mem.is_fixed)
		return NULL;
	while (mem.skip >= mem.iov->iov_len)
		mem.skip -= mem.iov++->iov_len;
	return mem.iov->iov_len - mem.skip >= bytes ? (uint8_t *)mem.iov->iov_base + mem.skip
						    : NULL;
}

static int piece_init(struct piece *piece, const struct nbd *nbd, uint64_t bytes, struct iobuf mem)
{
	piece->copy = NULL;
	piece->bytes = MIN(bytes, nbd->facts.max_block);
	piece->data = contiguous(mem, piece->bytes);
	if (piece->data)
		return 0;
	piece->bytes = MIN(piece->bytes, MAX_COPY);
	piece->data = piece->copy = try_iobuf_alloc(piece->bytes);
	return piece->copy ? 0 : -ENOMEM;
}

static int co_read_piece(struct nbd *nbd, uint64_t off, struct iobuf mem, struct piece *piece)
{
	struct nbd_cmd cmd = {
		.type = NBD_CMD_READ,
		.off = off,
		.bytes = piece->bytes,
		.buf = piece->data,
	};
	int ret = co_run(nbd, &cmd);

	if (!ret && piece->copy)
		ret = iobuf_copy_in(mem, piece->copy, piece->bytes);
	iobuf_free(piece->copy);
	return ret;
}

static int nbd_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	uint64_t size = image_size(img), there = off < size ? MIN(bytes, size - off) : 0;
	struct piece piece;

	for (uint64_t rest = there; rest; rest -= piece.bytes) {
		int ret = piece_init(&piece, img->opaque, rest, mem)
				  ?: co_read_piece(img->opaque, off, mem, &piece);

		if (ret)
			return ret;
		mem = iobuf_advance(mem, piece.bytes);
		off += piece.bytes;
	}
	return iobuf_zero(mem, bytes - there);
}

/*
 * After a change, before anybody is told; @losses: how many there were before it. A connection that
 * was lost meanwhile did not know about it. About the load, see file_set_dirty().
 */
static void set_dirty(struct nbd *nbd, unsigned losses)
{
	uint64_t dirty = DIRTY(connection_index(nbd));

	if (!(atomic_load(&nbd->unsafe) & dirty))
		atomic_fetch_or(&nbd->unsafe, dirty);
	if (atomic_load(&nbd->losses) != losses)
		note_lost_data(nbd);
}

static int co_write_piece(struct nbd *nbd, uint64_t off, struct iobuf mem, struct piece *piece,
			  unsigned flags)
{
	struct nbd_cmd cmd = {
		.type = NBD_CMD_WRITE,
		.flags = flags & IMAGE_REQ_FUA && nbd->facts.fua ? LIBNBD_CMD_FLAG_FUA : 0,
		.off = off,
		.bytes = piece->bytes,
		.buf = piece->data,
	};
	int ret = piece->copy ? iobuf_copy_out(piece->copy, mem, piece->bytes) : 0;

	ret = ret ?: co_run(nbd, &cmd);
	iobuf_free(piece->copy);
	return ret;
}

static bool is_beyond_end(struct image *img, uint64_t off, uint64_t bytes)
{
	return off + bytes > image_size(img);
}

static int nbd_co_flush(struct image *img);

static int nbd_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			  unsigned flags)
{
	struct nbd *nbd = img->opaque;
	bool does_fua = nbd->facts.fua;
	struct piece piece;

	if (is_beyond_end(img, off, bytes))
		return -ENOSPC;
	for (; bytes; bytes -= piece.bytes) {
		unsigned losses = atomic_load(&nbd->losses);
		int ret = piece_init(&piece, nbd, bytes, mem)
				  ?: co_write_piece(nbd, off, mem, &piece, flags);

		if (!(flags & IMAGE_REQ_FUA) || !does_fua)
			set_dirty(nbd, losses);
		if (ret)
			return ret;
		mem = iobuf_advance(mem, piece.bytes);
		off += piece.bytes;
	}
	return flags & IMAGE_REQ_FUA && !does_fua ? nbd_co_flush(img) : 0;
}

/* ---- flush ---- */

/*
 * False if there is nothing to flush. Another flush that is in flight may fail, and everything is
 * dirty again; so it takes one look at both. *ret_dirty: the connections that it must cover.
 */
static bool begin_flush(struct nbd *nbd, uint64_t *ret_dirty)
{
	uint64_t unsafe = atomic_load(&nbd->unsafe), next;

	do {
		next = unsafe | (unsafe & ALL_DIRTY) << MAX_CONNECTIONS;
		next = (next & ~ALL_DIRTY) + FLUSHING;
	} while (unsafe && !atomic_compare_exchange_weak(&nbd->unsafe, &unsafe, next));
	*ret_dirty = next >> MAX_CONNECTIONS & ALL_DIRTY;
	return unsafe;
}

static void end_flush(struct nbd *nbd, uint64_t dirty_again)
{
	uint64_t unsafe = atomic_load(&nbd->unsafe), next;

	do {
		next = (unsafe | dirty_again) - FLUSHING;
		if (next < FLUSHING)
			next &= ALL_DIRTY;
	} while (!atomic_compare_exchange_weak(&nbd->unsafe, &unsafe, next));
}

struct flush_job {
	struct nbd_conn *conn;
	int ret;
};

static void flush_co(void *arg)
{
	struct flush_job *job = arg;
	struct nbd_cmd cmd = { .type = NBD_CMD_FLUSH };

	job->ret = nbd_conn_co_run(job->conn, &cmd);
}

/*
 * With multi-conn, a flush on any connection covers what was done on all of them. But a flush on a
 * connection to a server's successor says nothing of what was done on another one, whose loss
 * nobody has noticed; a host that lost its power does not say goodbye. So each is asked.
 */
static int co_flush_dirty(struct nbd *nbd, uint64_t dirty)
{
	struct flush_job jobs[MAX_CONNECTIONS] = {};
	struct co_group group = {};
	int ret = 0;

	for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
		if (!(dirty & DIRTY(i)))
			continue;
		jobs[i].conn = nbd->conns[i];
		if (co_has_stack())
			co_group_start(&group, flush_co, &jobs[i]);
		else
			flush_co(&jobs[i]);
	}
	co_group_wait(&group);
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
		ret = ret ?: jobs[i].ret;
	end_flush(nbd, ret ? dirty : 0);
	return ret;
}

static int nbd_co_flush(struct image *img)
{
	struct nbd *nbd = img->opaque;
	uint64_t dirty;
	int ret = 0;

	if (nbd->facts.flush && begin_flush(nbd, &dirty))
		ret = co_flush_dirty(nbd, dirty);
	return ret ?: atomic_load(&nbd->troubles) & IMAGE_TROUBLE_LOST ? -EIO : 0;
}

/* ---- zeroes and discard ---- */

/* A command without data for a range of any length. */
static int co_run_range(struct nbd *nbd, struct nbd_cmd *cmd, uint64_t bytes, uint64_t max)
{
	int ret = 0;

	for (; !ret && bytes; bytes -= cmd->bytes, cmd->off += cmd->bytes) {
		cmd->bytes = MIN(bytes, max);
		ret = co_run(nbd, cmd);
	}
	return ret;
}

static int nbd_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	struct nbd *nbd = img->opaque;
	struct nbd_cmd cmd = {
		.type = NBD_CMD_ZERO,
		.flags = flags & IMAGE_REQ_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE,
		.off = off,
	};
	bool must_be_fast = flags & IMAGE_REQ_NO_FALLBACK;
	unsigned losses = atomic_load(&nbd->losses);
	int ret;

	if (is_beyond_end(img, off, bytes))
		return -ENOSPC;
	/* Without the flag, a server may write all zeroes itself. */
	if (!nbd->facts.zero || (must_be_fast && !nbd->facts.fast_zero))
		return -ENOTSUP;
	if (must_be_fast)
		cmd.flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
	ret = co_run_range(nbd, &cmd, bytes, nbd->facts.max_block);
	set_dirty(nbd, losses);
	return ret;
}

static int nbd_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	struct nbd *nbd = img->opaque;
	struct nbd_cmd cmd = { .type = NBD_CMD_TRIM, .off = off };
	unsigned losses = atomic_load(&nbd->losses);
	uint64_t size = image_size(img);
	int ret;

	if (!nbd->facts.trim)
		return -ENOTSUP;
	if (off >= size)
		return 0;
	ret = co_run_range(nbd, &cmd, MIN(bytes, size - off), MAX_RANGE);
	set_dirty(nbd, losses);
	return ret;
}

/* ---- block status ---- */

static unsigned extent_flags(uint32_t state)
{
	unsigned flags = IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_OFFSET;

	if (!(state & LIBNBD_STATE_HOLE))
		flags |= IMAGE_EXTENT_DATA;
	if (state & LIBNBD_STATE_ZERO)
		flags |= IMAGE_EXTENT_ZERO;
	return flags;
}

/* Asks about whole blocks, as the protocol demands; the answer is cut to whole blocks, too. */
static int co_ask_status(struct nbd *nbd, uint64_t off, uint64_t bytes,
			 struct image_extent *ret_extent)
{
	uint32_t align = nbd->facts.min_block;
	uint64_t start = align_down(off, align);
	struct nbd_cmd cmd = {
		.type = NBD_CMD_BLOCK_STATUS,
		.flags = LIBNBD_CMD_FLAG_REQ_ONE,
		.off = start,
		.bytes = MIN(align_up(off + bytes, align) - start, MAX_RANGE),
	};
	int ret = co_run(nbd, &cmd);

	if (ret)
		return ret;
	if (align_down(cmd.status_bytes, align) <= off - start)
		return -EIO;
	ret_extent->bytes = align_down(cmd.status_bytes, align) - (off - start);
	ret_extent->flags = extent_flags(cmd.status_flags);
	return 0;
}

static int nbd_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			       struct image_extent *ret_extent)
{
	struct nbd *nbd = img->opaque;
	uint64_t size = image_size(img);

	*ret_extent = (struct image_extent){
		.bytes = bytes,
		.flags = IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_OFFSET | IMAGE_EXTENT_DATA,
		.host_off = off,
	};
	if (off >= size)
		ret_extent->flags ^= IMAGE_EXTENT_DATA | IMAGE_EXTENT_ZERO;
	else if (nbd->facts.block_status)
		return co_ask_status(nbd, off, MIN(bytes, size - off), ret_extent);
	else
		ret_extent->bytes = MIN(bytes, size - off);
	return 0;
}

/* ---- size ---- */

static int nbd_co_truncate(struct image *img, uint64_t size)
{
	return size <= image_size(img) ? 0 : -ENOSPC;
}

/* Only a new connection sees a new size; and then those of the other loops are too old for it. */
static int nbd_co_refresh_size(struct image *img)
{
	struct nbd *nbd = img->opaque;
	uint64_t size;
	int ret;

	nbd_conn_renew(nbd->conns[0]);
	ret = nbd_conn_co_ready(nbd->conns[0]);
	size = atomic_load(&nbd->server_size);
	if (ret || size <= image_size(img))
		return ret;
	thread_lock(&nbd->lock);
	for (unsigned i = 1; i < MAX_CONNECTIONS; i++)
		if (nbd->conns[i])
			nbd_conn_renew(nbd->conns[i]);
	thread_unlock(&nbd->lock);
	img->size = size;
	return 0;
}

static int64_t nbd_co_allocated_bytes(struct image *img)
{
	return -ENOTSUP;
}

static unsigned nbd_troubles(const struct image *img)
{
	const struct nbd *nbd = img->opaque;

	return atomic_load(&nbd->troubles);
}

/* An export exists, or not: a new image is written over what is there, as on a block device. */
static int nbd_co_create(const char *filename, const struct bottom_create_opts *opts,
			 struct image_begun *begun, GError **err)
{
	return 0;
}

const struct bottom_ops image_nbd_bottom = {
	.io = {
		.name = "nbd",
		.grows = true,
		.handles_fua = true,
		.co_close = nbd_co_close,
		.co_preadv = nbd_co_preadv,
		.co_pwritev = nbd_co_pwritev,
		.co_flush = nbd_co_flush,
		.co_pdiscard = nbd_co_pdiscard,
		.co_pwrite_zeroes = nbd_co_pwrite_zeroes,
		.co_block_status = nbd_co_block_status,
		.co_truncate = nbd_co_truncate,
		.co_refresh_size = nbd_co_refresh_size,
		.co_allocated_bytes = nbd_co_allocated_bytes,
	},
	.options = nbd_options,
	.is_remote = true,
	.parse_name = nbd_parse_name,
	.make_name = nbd_make_name,
	.co_open = nbd_co_open,
	.troubles = nbd_troubles,
	.identify = nbd_identify,
	.stable_name = nbd_stable_name,
	.is_same = nbd_is_same,
	.co_create = nbd_co_create,
};
