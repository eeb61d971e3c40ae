/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface of Linux's ublk, as far as it is used here: numbers and structs of the kernel's
 * <linux/ublk_cmd.h>, of which distributions may have an older copy than the kernel that runs.
 * tests/unit/control-transport-ublk.c compares what is sent with the bytes that the kernel expects.
 */
#ifndef UBD_UBLK_ABI_H
#define UBD_UBLK_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>

/* sqe->cmd of a control command, for which the SQE has 128 bytes. */
struct ublk_ctrl_cmd {
	uint32_t dev_id;
	uint16_t queue_id; /* UBLK_NO_QUEUE */
	uint16_t len;	   /* of the buffer, with the path in front of it */
	uint64_t addr;
	uint64_t data[1];
	uint16_t dev_path_len; /* of the path of the char node, with its terminator; 0: none */
	uint16_t pad;
	uint32_t reserved;
};
#define UBLK_NO_QUEUE	    UINT16_MAX
#define UBLK_ANY_ID	    UINT32_MAX

#define UBLK_CTRL_R(nr)	    _IOR('u', nr, struct ublk_ctrl_cmd)
#define UBLK_CTRL_RW(nr)    _IOWR('u', nr, struct ublk_ctrl_cmd)
#define UBLK_GET_AFFINITY   UBLK_CTRL_R(0x01) /* data: the queue */
#define UBLK_ADD_DEV	    UBLK_CTRL_RW(0x04)
#define UBLK_DEL_DEV	    UBLK_CTRL_RW(0x05)
#define UBLK_START_DEV	    UBLK_CTRL_RW(0x06) /* data: the server's PID */
#define UBLK_STOP_DEV	    UBLK_CTRL_RW(0x07)
#define UBLK_SET_PARAMS	    UBLK_CTRL_RW(0x08)
#define UBLK_GET_PARAMS	    UBLK_CTRL_R(0x09)
#define UBLK_START_RECOVERY UBLK_CTRL_RW(0x10)
#define UBLK_END_RECOVERY   UBLK_CTRL_RW(0x11) /* data: the server's PID */
#define UBLK_GET_DEV_INFO2  UBLK_CTRL_R(0x12)
#define UBLK_GET_FEATURES   UBLK_CTRL_R(0x13)
#define UBLK_DEL_DEV_ASYNC  UBLK_CTRL_R(0x14)
#define UBLK_UPDATE_SIZE    UBLK_CTRL_RW(0x15) /* data: sectors */
#define UBLK_QUIESCE_DEV    UBLK_CTRL_RW(0x16) /* data: milliseconds, 0: no limit */
#define UBLK_TRY_STOP_DEV   UBLK_CTRL_RW(0x17)

/* ublk_dev_info.flags, and what GET_FEATURES returns */
#define UBLK_RECOVERY	    (1ull << 3)
#define UBLK_REISSUE	    (1ull << 4)
#define UBLK_UNPRIVILEGED   (1ull << 5)
#define UBLK_IOCTL_ENCODE   (1ull << 6)
#define UBLK_USER_COPY	    (1ull << 7)
#define UBLK_FAIL_IO	    (1ull << 9)
#define UBLK_CAN_RESIZE	    (1ull << 10)
#define UBLK_AUTO_BUF_REG   (1ull << 11)
#define UBLK_CAN_QUIESCE    (1ull << 12)
#define UBLK_BATCHES	    (1ull << 15)
#define UBLK_CAN_TRY_STOP   (1ull << 17)
#define UBLK_NO_PARTITIONS  (1ull << 18)
/*
 * What servers of other programs may have asked for, and what changes how requests or their data
 * come: zero copy by commands of its own, data on demand, zones, integrity data, shared memory.
 */
#define UBLK_OTHER_WAYS	    (1ull << 0 | 1ull << 2 | 1ull << 8 | 1ull << 16 | 1ull << 19)

/* ublk_dev_info.state */
#define UBLK_S_DEAD	    0
#define UBLK_S_LIVE	    1
#define UBLK_S_QUIESCED	    2
#define UBLK_S_FAIL_IO	    3

struct ublk_dev_info {
	uint16_t nr_hw_queues;
	uint16_t queue_depth;
	uint16_t state;
	uint16_t pad0;
	uint32_t max_io_buf_bytes;
	uint32_t dev_id;
	int32_t ublksrv_pid;
	uint32_t pad1;
	uint64_t flags;
	uint64_t server_flags; /* the driver keeps them for servers */
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint64_t reserved[2];
};

/* ublk_params.basic.attrs */
#define UBLK_ATTR_READ_ONLY	 (1u << 0)
#define UBLK_ATTR_ROTATIONAL	 (1u << 1)
#define UBLK_ATTR_VOLATILE_CACHE (1u << 2)
#define UBLK_ATTR_FUA		 (1u << 3)

/* ublk_params.types */
#define UBLK_PARAMS_BASIC	 (1u << 0)
#define UBLK_PARAMS_DISCARD	 (1u << 1)
#define UBLK_PARAMS_DEVT	 (1u << 2) /* out only: the numbers of the nodes */

struct ublk_params {
	uint32_t len;
	uint32_t types;
	struct {
		uint32_t attrs;
		uint8_t logical_shift, physical_shift, io_opt_shift, io_min_shift;
		uint32_t max_sectors;
		uint32_t chunk_sectors;
		uint64_t dev_sectors;
		uint64_t virt_boundary_mask;
	} basic;
	struct {
		uint32_t alignment;
		uint32_t granularity;
		uint32_t max_discard_sectors;
		uint32_t max_write_zeroes_sectors;
		uint16_t max_discard_segments;
		uint16_t reserved;
	} discard;
	struct {
		uint32_t char_major, char_minor, disk_major, disk_minor;
	} devt;
};

/* ---- the server's file, /dev/ublkcN ---- */

/* sqe->cmd of a command for one tag. */
struct ublk_io_cmd {
	uint16_t q_id;
	uint16_t tag;
	int32_t result;
	uint64_t addr; /* of the tag's buffer, if the driver copies */
};

/* sqe->cmd of a command for many tags. */
struct ublk_batch {
	uint16_t q_id;
	uint16_t flags; /* UBLK_BATCH_* */
	uint16_t nr_elem;
	uint8_t elem_bytes;
	uint8_t reserved;
	uint64_t reserved2;
};

/* An element of a batch; an address follows with UBLK_BATCH_HAS_ADDR. */
struct ublk_batch_elem {
	uint16_t tag;
	uint16_t buf_index;
	int32_t result;
};

#define UBLK_FETCH	      _IOWR('u', 0x20, struct ublk_io_cmd)
#define UBLK_COMMIT_AND_FETCH _IOWR('u', 0x21, struct ublk_io_cmd)
#define UBLK_PREP_BATCH	      _IOWR('u', 0x25, struct ublk_batch)
#define UBLK_COMMIT_BATCH     _IOWR('u', 0x26, struct ublk_batch)
#define UBLK_FETCH_BATCH      _IOWR('u', 0x27, struct ublk_batch)

#define UBLK_BATCH_HAS_ADDR   (1u << 1)
#define UBLK_BATCH_FALLBACK   (1u << 2)

/* In sqe->addr beside the index of a buffer: deliver the request even if it has no buffer. */
#define UBLK_AUTO_FALLBACK    (1u << 16)

#define UBLK_RES_ABORT	      (-19) /* -ENODEV */

/* Where descriptors are mapped, and where the data of requests is read and written. */
#define UBLK_MAX_DEPTH	      4096
#define UBLK_DATA_OFFSET      0x80000000ull
#define UBLK_TAG_SHIFT	      25
#define UBLK_QUEUE_SHIFT      41

struct ublk_desc {
	uint32_t op_flags; /* UBLK_OP_* in bits 0-7, flags above */
	uint32_t nr_sectors;
	uint64_t start_sector;
	uint64_t addr;
};

#define UBLK_OP_READ	     0
#define UBLK_OP_WRITE	     1
#define UBLK_OP_FLUSH	     2
#define UBLK_OP_DISCARD	     3
#define UBLK_OP_WRITE_ZEROES 5

#define UBLK_IO_FUA	     (1u << 13)
#define UBLK_IO_NOUNMAP	     (1u << 15)
#define UBLK_IO_NO_BUFFER    (1u << 17) /* it could not be registered */

#endif
