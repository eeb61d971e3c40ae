/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * The wire between ubd.ko and a server: the only file that both sides share.
 *
 * Three nodes speak it, all through IORING_OP_URING_CMD in a plain 64-byte SQE (sqe->cmd_op holds
 * the command, sqe->cmd its 16-byte argument):
 *
 *   /dev/ubd-control   UBD_CMD_GET_FEATURES, UBD_CMD_ADD_DEV, UBD_CMD_OPEN_DEV
 *   a control fd       every other UBD_CMD_*; the fd names the device, so no
 *                      command takes a device number (review R2)
 *   /dev/ubdcN         UBD_IO_*; mmap() of the request descriptors
 *
 * The numbers 0x01..0x07, 0x20..0x22 and the struct names are those of the RFC of May 2022. Every
 * reserved field must be zero; every unknown command, flag or size is refused with -EINVAL.
 *
 * Sizes and offsets: a sector is 512 bytes, whatever the block size.
 */
#ifndef _UAPI_LINUX_UBD_CMD_H
#define _UAPI_LINUX_UBD_CMD_H

#include <linux/types.h>

/* ---- control commands ---- */

/* On a control fd. */
#define UBD_CMD_GET_QUEUE_AFFINITY	0x01	/* buffer: cpu mask of queue_id */
#define UBD_CMD_GET_DEV_INFO		0x02	/* buffer: struct ubdsrv_ctrl_dev_info */
/* On /dev/ubd-control. */
#define UBD_CMD_ADD_DEV			0x04	/* buffer: struct ubdsrv_ctrl_dev_info, in and out;
						 * cqe->res: the control fd, close-on-exec */
/* On a control fd. */
#define UBD_CMD_DEL_DEV			0x05	/* stop, then delete; waits until the nodes are gone */
#define UBD_CMD_START_DEV		0x06	/* waits for all FETCH commands, then adds the disk */
#define UBD_CMD_STOP_DEV		0x07	/* removes the disk, aborts the FETCH commands */
#define UBD_CMD_SET_PARAMS		0x08	/* buffer: struct ubd_params; before START_DEV only */
#define UBD_CMD_GET_PARAMS		0x09	/* buffer: struct ubd_params */
/* On /dev/ubd-control. */
#define UBD_CMD_OPEN_DEV		0x0a	/* buffer: struct ubd_open_dev; cqe->res: a control fd,
						 * for the owner or CAP_SYS_ADMIN, otherwise -EACCES */
#define UBD_CMD_GET_FEATURES		0x0b	/* buffer: __u64, the UBD_F_* that this driver offers */
/* On a control fd. */
#define UBD_CMD_UPDATE_SIZE		0x0c	/* buffer: __u64, the new dev_sectors of a device
						 * that was started; its users get a uevent */
/* On a control fd, for devices with UBD_F_USER_RECOVERY. */
#define UBD_CMD_QUIESCE			0x0d	/* tells the server to leave; waits until it has */
#define UBD_CMD_START_RECOVERY		0x0e	/* waits until the last server is gone; then
						 * /dev/ubdcN can be opened once more */
#define UBD_CMD_END_RECOVERY		0x0f	/* waits for all FETCH commands of the new server */
/* On a control fd. */
#define UBD_CMD_SET_IDENTITY		0x10	/* buffer: struct ubd_identity; before START_DEV only */
#define UBD_CMD_GET_IDENTITY		0x11	/* buffer: struct ubd_identity */
/* On a control fd, without a buffer: for processes that cannot reach the nodes in /dev. */
#define UBD_CMD_OPEN_CHAR		0x12	/* opens /dev/ubdcN; cqe->res: its fd, close-on-exec */
#define UBD_CMD_OPEN_BLOCK		0x13	/* opens /dev/ubdbN of a device that was started; the same */
/* On a control fd, without a buffer. */
#define UBD_CMD_TRY_STOP_DEV		0x14	/* STOP_DEV, or -EBUSY if somebody has the disk open */

/*
 * sqe->cmd of every control command.
 * @len is the size in bytes of the buffer at @addr: exactly the size of the struct named above
 * (GET_QUEUE_AFFINITY: any multiple of 8 that holds nr_cpu_ids bits). Only GET_QUEUE_AFFINITY uses
 * @queue_id.
 */
struct ubdsrv_ctrl_cmd {
	__u16	queue_id;
	__u16	len;
	__u32	reserved;
	__u64	addr;
};

#define UBD_MAX_QUEUE_DEPTH	4096
#define UBD_MAX_NR_HW_QUEUES	4096
/* The largest request that the driver hands to a server, in bytes. */
#define UBD_MAX_IO_BYTES	(32u << 20)

/* ubdsrv_ctrl_dev_info.state */
#define UBD_S_DEV_ADDED		0	/* added, not yet started */
#define UBD_S_DEV_LIVE		1	/* /dev/ubdbN is there */
#define UBD_S_DEV_STOPPED	2	/* stopped for good; only DEL_DEV is left */
#define UBD_S_DEV_QUIESCED	3	/* the server is leaving or gone, the disk is still there */
#define UBD_S_DEV_RECOVERING	4	/* between START_RECOVERY and END_RECOVERY */

/*
 * ubdsrv_ctrl_dev_info.flags. Without any flag a device ends with its server. With
 * UBD_F_USER_RECOVERY a live device outlives its server, and its control fds, until STOP_DEV.
 * Requests that the server had fail; those that it had not received yet wait for the next server,
 * and so do later ones. _REISSUE: requests that the server had wait too and are given to the next
 * one, so they may be done twice. _FAIL_IO: all requests fail until END_RECOVERY. Both need
 * UBD_F_USER_RECOVERY, and exclude each other.
 */
#define UBD_F_USER_RECOVERY		(1ull << 0)
#define UBD_F_USER_RECOVERY_REISSUE	(1ull << 1)
#define UBD_F_USER_RECOVERY_FAIL_IO	(1ull << 2)

/* The largest recovery_timeout: a week. */
#define UBD_MAX_RECOVERY_TIMEOUT	(7u * 24 * 60 * 60)

/*
 * The server moves the data of requests itself, with pread() and pwrite() on /dev/ubdcN at
 * ubd_data_offset(); it names no buffers.
 */
#define UBD_F_USER_COPY			(1ull << 3)

/*
 * In addition, the pages of a READ or WRITE are a fixed buffer of the ring that fetches it, at the
 * index that the FETCH names, from its CQE until the COMMIT. Needs UBD_F_USER_COPY and Linux 6.15.
 */
#define UBD_F_ZERO_COPY			(1ull << 4)

/*
 * Out only: the device was added without CAP_SYS_ADMIN. GET_FEATURES has it while users without it
 * may add devices; these get no other UBD_F_* and are limited in number and size.
 */
#define UBD_F_UNPRIVILEGED		(1ull << 5)

/*
 * Requests come and go in batches, through UBD_IO_FETCH_BATCH and UBD_IO_COMMIT_BATCH; the three
 * commands for a single tag are -EINVAL. Needs Linux 6.18. Can be combined with every other flag.
 */
#define UBD_F_BATCH			(1ull << 6)

/*
 * Out only, in GET_DEV_INFO: a server has answered UBD_IO_RES_LOST. From now on every FLUSH and
 * every write with FUA on this device fails, whichever server it has. (Bit 7 is reserved.)
 */
#define UBD_F_LOST			(1ull << 8)

/*
 * Out only, in GET_DEV_INFO: STOP_DEV or DEL_DEV was requested, and may be waiting for the server.
 */
#define UBD_F_STOPPING			(1ull << 9)

/* The kernel does not look for partitions on its own; BLKRRPART still makes it do so. */
#define UBD_F_NO_AUTO_PART_SCAN		(1ull << 10)

/* dev_id of ADD_DEV: the driver picks the lowest free number. */
#define UBD_DEV_ID_ANY		((__u32)-1)

struct ubdsrv_ctrl_dev_info {
	__u16	nr_hw_queues;		/* in: wanted, out: granted (at most the CPUs) */
	__u16	queue_depth;		/* in: wanted, out: granted */
	__u16	state;			/* out: UBD_S_DEV_* */
	__u16	reserved0;
	__u32	dev_id;			/* in: wanted or UBD_DEV_ID_ANY, out: N of ubdcN and ubdbN */
	__u32	max_io_bytes;		/* in and out: largest request, multiple of the page size */
	__u64	flags;			/* UBD_F_*; unknown ones are refused */
	__s32	ubdsrv_pid;		/* out: tgid of the opener of ubdcN, -1 if none,
						 * 0 if not in the reader's PID namespace */
	__u32	owner_uid;		/* out: in the reader's user namespace */
	__u32	owner_gid;		/* out */
	__u32	recovery_timeout;	/* seconds that it waits for a server, and then ends as
					 * one without recovery does; 0: forever */
	__u64	left_ns;		/* out: when the last server had gone, in ns of
					 * CLOCK_REALTIME; 0: none has */
	__u64	reserved2[3];
};

struct ubd_open_dev {
	__u32	dev_id;
	__u32	reserved[3];
};

/* ubd_params.attrs */
#define UBD_ATTR_READ_ONLY	(1u << 0)	/* no write reaches the server */
#define UBD_ATTR_ROTATIONAL	(1u << 1)
#define UBD_ATTR_VOLATILE_CACHE	(1u << 2)	/* the driver sends FLUSH */
#define UBD_ATTR_FUA		(1u << 3)	/* ... and UBD_IO_F_FUA; needs VOLATILE_CACHE */
#define UBD_ATTR_STABLE_WRITES	(1u << 4)	/* pages do not change while they are written */

/* request_timeout: no limit, whatever the module's parameter says. */
#define UBD_NO_REQUEST_TIMEOUT	((__u32)-1)

/*
 * Limits of the block device. Block sizes are powers of two from 512 to the page size of the
 * kernel. Zero for io_opt, max_discard_sectors or max_write_zeroes_sectors means that there is
 * none.
 *
 * The last four limit the pieces of memory that hold a request's data, as the block layer counts
 * them. They are for servers that pass these pieces on (UBD_F_ZERO_COPY). Zero leaves the choice to
 * the driver, which can copy any pieces. dma_alignment applies to their addresses and sizes: a
 * power of two from 4 to logical_block_size. max_segments is at most 65535, and at least the number
 * of pieces of dma_alignment (0: 512) bytes in a logical block. max_segment_size is at least the
 * page size, and a multiple of 512 and of dma_alignment. segment_boundary is a power of two, at
 * least the page size; no piece crosses a multiple of it.
 */
struct ubd_params {
	__u32	attrs;				/* UBD_ATTR_* */
	__u32	logical_block_size;		/* bytes */
	__u32	physical_block_size;		/* bytes */
	__u32	io_min;				/* bytes */
	__u32	io_opt;				/* bytes */
	__u32	max_io_sectors;			/* at most max_io_bytes / 512 */
	__u32	discard_granularity;		/* bytes */
	__u32	max_discard_sectors;
	__u32	max_write_zeroes_sectors;
	__u32	request_timeout;		/* seconds without an answer until the server counts as
						 * dead; 0: the module's request_timeout */
	__u64	dev_sectors;			/* capacity */
	__u32	dma_alignment;			/* bytes */
	__u32	max_segments;
	__u32	max_segment_size;		/* bytes */
	__u32	segment_boundary;		/* bytes */
	__u64	reserved1[2];
};

#define UBD_SERIAL_SIZE		64

/*
 * Identifies the disk, whichever number it has. serial and uuid are attributes of the disk in
 * sysfs. The serial number is at most 63 ASCII letters, digits and "+-.:=@_", padded with zeroes.
 * An empty serial number, or a UUID of zeroes, means that there is none. The UUID is in the byte
 * order of RFC 9562. The last two are for servers: the next server recognizes the disk's storage by
 * them; say, the file's st_dev and st_ino; zeroes if it does not matter.
 */
struct ubd_identity {
	char	serial[UBD_SERIAL_SIZE];
	__u8	uuid[16];
	__u64	image_dev;
	__u64	image_ino;
	__u64	reserved[4];
};

/* ---- I/O commands on /dev/ubdcN ---- */

#define UBD_IO_FETCH_REQ		0x20	/* wait for a request on (q_id, tag) */
#define UBD_IO_COMMIT_AND_FETCH_REQ	0x21	/* complete it and wait for the next (R7) */
#define UBD_IO_COMMIT_REQ		0x22	/* complete it, wait for none: ends at once */
/* On a device with UBD_F_BATCH, instead of these: */
#define UBD_IO_FETCH_BATCH		0x23	/* report every request of the queue */
#define UBD_IO_COMMIT_BATCH		0x24	/* complete requests, and wait for more */

/*
 * cqe->res of FETCH_REQ and COMMIT_AND_FETCH_REQ: UBD_IO_RES_OK when the descriptor of the tag is
 * filled in; UBD_IO_RES_ABORT when the device is stopped or its server must leave (there is no
 * request, do not fetch again; GET_DEV_INFO tells which); or another negative errno when the
 * command itself was wrong (it has then changed nothing).
 */
#define UBD_IO_RES_OK			0
#define UBD_IO_RES_ABORT		(-19)	/* -ENODEV */

/*
 * ubdsrv_io_cmd.result: an I/O error, and data that was written and acknowledged before may be
 * lost, see UBD_F_LOST. Its value is not an errno, which a server might pass on with another
 * meaning.
 */
#define UBD_IO_RES_LOST			(-4095)

/*
 * sqe->cmd of the I/O commands for one tag.
 * @addr: for FETCH_REQ and COMMIT_AND_FETCH_REQ, not zero: the server's buffer for the next
 * request, max_io_bytes long. The driver copies a WRITE's data into it before the FETCH completes,
 * and takes a READ's data out of it while it handles the COMMIT of that request. With
 * UBD_F_USER_COPY it must be zero, and the driver copies nothing. With UBD_F_ZERO_COPY it is an
 * index of the ring's table of fixed buffers, at most 65535, that is free when the request comes.
 * COMMIT_REQ ignores it.
 * @result: for COMMIT*: bytes done (READ, WRITE), 0 for the others, a negative errno, or
 * UBD_IO_RES_LOST. Ignored by FETCH_REQ. A short READ or WRITE is an I/O error.
 */
struct ubdsrv_io_cmd {
	__u16	q_id;
	__u16	tag;
	__s32	result;
	__u64	addr;
};

/*
 * FETCH_BATCH: one per queue, which stays. Its SQE has IOSQE_BUFFER_SELECT, a buf_group, and
 * IORING_URING_CMD_MULTISHOT in uring_cmd_flags; its ubdsrv_io_cmd is zero except for @q_id. Each
 * CQE with IORING_CQE_F_MORE reports requests: res bytes of __u16 tags, whose descriptors are
 * filled in, in the provided buffer that the CQE names. The last CQE has no IORING_CQE_F_MORE, and
 * its res is UBD_IO_RES_ABORT as above, or
 *   -ENOBUFS  there was no provided buffer, or no room for the CQE: requests wait for the next
 *             FETCH_BATCH,
 *   -EFAULT   the provided buffer cannot be written to; the same,
 *   -EBUSY    the queue has one already,
 *   -EINVAL   and the other errors of a command that was wrong.
 *
 * COMMIT_BATCH: @addr is an array of @tag struct ubd_batch_entry, from 1 to the depth of the queue,
 * and @result is 0. The array is read while the command is issued: its memory may be reused when
 * io_uring_enter() has returned. cqe->res is the number of entries that were done, in their order.
 * The first one that is refused ends the batch; if that is the very first, cqe->res is its negative
 * errno. It is UBD_IO_RES_ABORT, whatever was done before, once the device is stopped or the server
 * counts as gone. With IOSQE_CQE_SKIP_SUCCESS there is a CQE only if not all entries were done.
 */
struct ubd_batch_entry {
	__u16	tag;
	__u16	flags;			/* UBD_BATCH_*, at least one */
	__s32	result;			/* as that of ubdsrv_io_cmd; 0 without UBD_BATCH_COMMIT */
	__u64	addr;			/* the same; 0 without UBD_BATCH_FETCH */
};

#define UBD_BATCH_COMMIT	(1u << 0)	/* complete the tag's request */
#define UBD_BATCH_FETCH		(1u << 1)	/* the tag waits for its next request */

/* ubdsrv_io_desc.op_flags: operation in bits 0-7, flags above */
#define UBD_IO_OP_READ			0
#define UBD_IO_OP_WRITE			1
#define UBD_IO_OP_FLUSH			2
#define UBD_IO_OP_DISCARD		3
#define UBD_IO_OP_WRITE_ZEROES		5

#define UBD_IO_F_FUA			(1u << 13)	/* durable before it completes */
#define UBD_IO_F_NOUNMAP		(1u << 15)	/* WRITE_ZEROES: keep the space */
#define UBD_IO_F_REGISTERED		(1u << 16)	/* the data is fixed buffer @addr;
							 * otherwise it must be copied */

/*
 * A request; a CQE has no room for it (R8). A read-only shared mmap() of /dev/ubdcN shows the array
 * of queue q at offset ubd_desc_mmap_offset(q); its length is queue_depth descriptors, rounded up
 * to the page size. A descriptor may be read from the CQE of its FETCH until its COMMIT is
 * submitted.
 */
struct ubdsrv_io_desc {
	__u32	op_flags;
	__u32	nr_sectors;
	__u64	start_sector;
	__u64	addr;			/* as given by the FETCH */
};

/*
 * Offset in bytes of a queue's descriptors in the mapping of /dev/ubdcN. The stride has room for
 * UBD_MAX_QUEUE_DEPTH of them and is a multiple of every page size in use.
 */
#define UBD_DESC_MMAP_STRIDE	(128ull << 10)

static inline __u64 ubd_desc_mmap_offset(__u16 q_id)
{
	return q_id * UBD_DESC_MMAP_STRIDE;
}

/*
 * With UBD_F_USER_COPY: where the data of a tag's request begins in /dev/ubdcN, from the CQE of its
 * FETCH until its COMMIT. pread() takes the data of a WRITE and pwrite() supplies that of a READ,
 * in one piece or in several; preadv(), pwritev() and io_uring's READ and WRITE do the same. The
 * whole range must lie within the request.
 */
#define UBD_DATA_TAG_SHIFT	25	/* below it: the byte in the request */
#define UBD_DATA_QUEUE_SHIFT	37

static inline __u64 ubd_data_offset(__u16 q_id, __u16 tag)
{
	return (__u64)q_id << UBD_DATA_QUEUE_SHIFT | (__u64)tag << UBD_DATA_TAG_SHIFT;
}

static inline __u8 ubd_desc_op(const struct ubdsrv_io_desc *desc)
{
	return desc->op_flags & 0xff;
}

#endif
