/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD protocol as published in doc/proto.md of NetworkBlockDevice/nbd: numbers and structs of
 * the wire, with the specification's names. All fields are big-endian. <linux/nbd.h> has some of
 * the same names, so a file can include only one of the two.
 */
#ifndef UBD_NBD_PROTOCOL_H
#define UBD_NBD_PROTOCOL_H

#include <stdint.h>

#define NBD_DEFAULT_PORT 10809
/* No string is longer, with a NUL or without. */
#define NBD_MAX_STRING	 4096
/* What a peer supports that has named no other maximum. */
#define NBD_MAX_PAYLOAD	 (UINT32_C(32) << 20)

/* ---- handshake ---- */

#define NBD_MAGIC	 UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_OPTS_MAGIC	 UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_REP_MAGIC	 UINT64_C(0x0003e889045565a9)

/* The server's greeting. */
struct nbd_handshake {
	uint64_t magic;	     /* NBD_MAGIC */
	uint64_t opts_magic; /* NBD_OPTS_MAGIC */
	uint16_t flags;	     /* NBD_FLAG_FIXED_NEWSTYLE ... */
} __attribute__((packed));

#define NBD_FLAG_FIXED_NEWSTYLE	  (1 << 0)
#define NBD_FLAG_NO_ZEROES	  (1 << 1)
/* The client's answer, 32 bits. */
#define NBD_FLAG_C_FIXED_NEWSTYLE (1 << 0)
#define NBD_FLAG_C_NO_ZEROES	  (1 << 1)

struct nbd_option {
	uint64_t magic; /* NBD_OPTS_MAGIC */
	uint32_t option;
	uint32_t length; /* of the data that follows */
} __attribute__((packed));

#define NBD_OPT_EXPORT_NAME	  1
#define NBD_OPT_ABORT		  2
#define NBD_OPT_LIST		  3
#define NBD_OPT_PEEK_EXPORT	  4 /* withdrawn */
#define NBD_OPT_STARTTLS	  5
#define NBD_OPT_INFO		  6
#define NBD_OPT_GO		  7
#define NBD_OPT_STRUCTURED_REPLY  8
#define NBD_OPT_LIST_META_CONTEXT 9
#define NBD_OPT_SET_META_CONTEXT  10
#define NBD_OPT_EXTENDED_HEADERS  11

struct nbd_option_reply {
	uint64_t magic; /* NBD_REP_MAGIC */
	uint32_t option;
	uint32_t type;	 /* NBD_REP_* */
	uint32_t length; /* of the data that follows */
} __attribute__((packed));

#define NBD_REP_ACK		    1
#define NBD_REP_SERVER		    2
#define NBD_REP_INFO		    3
#define NBD_REP_META_CONTEXT	    4

#define NBD_REP_ERR(nr)		    (UINT32_C(0x80000000) | (nr))
#define NBD_REP_ERR_UNSUP	    NBD_REP_ERR(1)
#define NBD_REP_ERR_POLICY	    NBD_REP_ERR(2)
#define NBD_REP_ERR_INVALID	    NBD_REP_ERR(3)
#define NBD_REP_ERR_PLATFORM	    NBD_REP_ERR(4)
#define NBD_REP_ERR_TLS_REQD	    NBD_REP_ERR(5)
#define NBD_REP_ERR_UNKNOWN	    NBD_REP_ERR(6)
#define NBD_REP_ERR_SHUTDOWN	    NBD_REP_ERR(7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERR(8)
#define NBD_REP_ERR_TOO_BIG	    NBD_REP_ERR(9)
#define NBD_REP_ERR_EXT_HEADER_REQD NBD_REP_ERR(10)

/* The data of NBD_REP_INFO begins with one of these, 16 bits. */
#define NBD_INFO_EXPORT		    0
#define NBD_INFO_NAME		    1
#define NBD_INFO_DESCRIPTION	    2
#define NBD_INFO_BLOCK_SIZE	    3

struct nbd_info_export {
	uint16_t type; /* NBD_INFO_EXPORT */
	uint64_t size;
	uint16_t flags; /* transmission flags */
} __attribute__((packed));

struct nbd_info_block_size {
	uint16_t type; /* NBD_INFO_BLOCK_SIZE */
	uint32_t minimum;
	uint32_t preferred;
	uint32_t maximum; /* of a payload */
} __attribute__((packed));

/* The answer to NBD_OPT_EXPORT_NAME. */
struct nbd_export_name_reply {
	uint64_t size;
	uint16_t flags;	     /* transmission flags */
	uint8_t zeroes[124]; /* not sent if both sides have NO_ZEROES */
} __attribute__((packed));

/* Transmission flags, 16 bits. */
#define NBD_FLAG_HAS_FLAGS	      (1 << 0)
#define NBD_FLAG_READ_ONLY	      (1 << 1)
#define NBD_FLAG_SEND_FLUSH	      (1 << 2)
#define NBD_FLAG_SEND_FUA	      (1 << 3)
#define NBD_FLAG_ROTATIONAL	      (1 << 4)
#define NBD_FLAG_SEND_TRIM	      (1 << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES    (1 << 6)
#define NBD_FLAG_SEND_DF	      (1 << 7)
#define NBD_FLAG_CAN_MULTI_CONN	      (1 << 8)
#define NBD_FLAG_SEND_RESIZE	      (1 << 9)
#define NBD_FLAG_SEND_CACHE	      (1 << 10)
#define NBD_FLAG_SEND_FAST_ZERO	      (1 << 11)
#define NBD_FLAG_BLOCK_STATUS_PAYLOAD (1 << 12)

/* ---- transmission ---- */

#define NBD_REQUEST_MAGIC	      UINT32_C(0x25609513)
#define NBD_EXTENDED_REQUEST_MAGIC    UINT32_C(0x21e41c71)
#define NBD_SIMPLE_REPLY_MAGIC	      UINT32_C(0x67446698)
#define NBD_STRUCTURED_REPLY_MAGIC    UINT32_C(0x668e33ef)
#define NBD_EXTENDED_REPLY_MAGIC      UINT32_C(0x6e8a278c)

/* A "compact" request; the payload of NBD_CMD_WRITE follows. */
struct nbd_request {
	uint32_t magic; /* NBD_REQUEST_MAGIC */
	uint16_t flags; /* NBD_CMD_FLAG_* */
	uint16_t type;	/* NBD_CMD_* */
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
} __attribute__((packed));

struct nbd_extended_request {
	uint32_t magic; /* NBD_EXTENDED_REQUEST_MAGIC */
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint64_t length; /* of the payload, with NBD_CMD_FLAG_PAYLOAD_LEN; else of the effect */
} __attribute__((packed));

#define NBD_CMD_READ		 0
#define NBD_CMD_WRITE		 1
#define NBD_CMD_DISC		 2
#define NBD_CMD_FLUSH		 3
#define NBD_CMD_TRIM		 4
#define NBD_CMD_CACHE		 5
#define NBD_CMD_WRITE_ZEROES	 6
#define NBD_CMD_BLOCK_STATUS	 7
#define NBD_CMD_RESIZE		 8

#define NBD_CMD_FLAG_FUA	 (1 << 0)
#define NBD_CMD_FLAG_NO_HOLE	 (1 << 1)
#define NBD_CMD_FLAG_DF		 (1 << 2)
#define NBD_CMD_FLAG_REQ_ONE	 (1 << 3)
#define NBD_CMD_FLAG_FAST_ZERO	 (1 << 4)
#define NBD_CMD_FLAG_PAYLOAD_LEN (1 << 5)

/* The data of NBD_CMD_READ follows if there is no error. */
struct nbd_simple_reply {
	uint32_t magic; /* NBD_SIMPLE_REPLY_MAGIC */
	uint32_t error; /* NBD_E* */
	uint64_t cookie;
} __attribute__((packed));

/* Begins each chunk of a structured reply. */
struct nbd_structured_reply {
	uint32_t magic; /* NBD_STRUCTURED_REPLY_MAGIC */
	uint16_t flags; /* NBD_REPLY_FLAG_* */
	uint16_t type;	/* NBD_REPLY_TYPE_* */
	uint64_t cookie;
	uint32_t length; /* of what follows */
} __attribute__((packed));

struct nbd_extended_reply {
	uint32_t magic; /* NBD_EXTENDED_REPLY_MAGIC */
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint64_t offset; /* of the request */
	uint64_t length;
} __attribute__((packed));

#define NBD_REPLY_FLAG_DONE		(1 << 0)

#define NBD_REPLY_TYPE_NONE		0
#define NBD_REPLY_TYPE_OFFSET_DATA	1
#define NBD_REPLY_TYPE_OFFSET_HOLE	2
#define NBD_REPLY_TYPE_BLOCK_STATUS	5
#define NBD_REPLY_TYPE_BLOCK_STATUS_EXT 6
#define NBD_REPLY_TYPE_ERR(nr)		((1 << 15) | (nr))
#define NBD_REPLY_TYPE_ERROR		NBD_REPLY_TYPE_ERR(1)
#define NBD_REPLY_TYPE_ERROR_OFFSET	NBD_REPLY_TYPE_ERR(2)

/* NBD_REPLY_TYPE_OFFSET_DATA; the data follows. */
struct nbd_chunk_data {
	uint64_t offset;
} __attribute__((packed));

/* NBD_REPLY_TYPE_OFFSET_HOLE */
struct nbd_chunk_hole {
	uint64_t offset;
	uint32_t length;
} __attribute__((packed));

/* NBD_REPLY_TYPE_ERROR; the message follows, and for ERROR_OFFSET the offset, 64 bits. */
struct nbd_chunk_error {
	uint32_t error;
	uint16_t message_length;
} __attribute__((packed));

/* NBD_REPLY_TYPE_BLOCK_STATUS: the number of the context, 32 bits, and extents. */
struct nbd_block_descriptor {
	uint32_t length;
	uint32_t status;
} __attribute__((packed));

/* NBD_REPLY_TYPE_BLOCK_STATUS_EXT: this, and wide extents. */
struct nbd_chunk_status_ext {
	uint32_t context;
	uint32_t count; /* of extents */
} __attribute__((packed));

struct nbd_block_descriptor_ext {
	uint64_t length;
	uint64_t status;
} __attribute__((packed));

/* Of "base:allocation". */
#define NBD_STATE_HOLE	(1 << 0)
#define NBD_STATE_ZERO	(1 << 1)
/* Of "qemu:dirty-bitmap:NAME". */
#define NBD_STATE_DIRTY (1 << 0)

/* Errors on the wire. */
#define NBD_SUCCESS	0
#define NBD_EPERM	1
#define NBD_EIO		5
#define NBD_ENOMEM	12
#define NBD_EINVAL	22
#define NBD_ENOSPC	28
#define NBD_EOVERFLOW	75
#define NBD_ENOTSUP	95
#define NBD_ESHUTDOWN	108

_Static_assert(sizeof(struct nbd_handshake) == 18, "greeting");
_Static_assert(sizeof(struct nbd_option) == 16, "option");
_Static_assert(sizeof(struct nbd_option_reply) == 20, "option reply");
_Static_assert(sizeof(struct nbd_info_export) == 12, "export information");
_Static_assert(sizeof(struct nbd_info_block_size) == 14, "block size information");
_Static_assert(sizeof(struct nbd_export_name_reply) == 134, "reply to NBD_OPT_EXPORT_NAME");
_Static_assert(sizeof(struct nbd_request) == 28, "request");
_Static_assert(sizeof(struct nbd_extended_request) == 32, "extended request");
_Static_assert(sizeof(struct nbd_simple_reply) == 16, "simple reply");
_Static_assert(sizeof(struct nbd_structured_reply) == 20, "structured reply");
_Static_assert(sizeof(struct nbd_extended_reply) == 32, "extended reply");
_Static_assert(sizeof(struct nbd_block_descriptor) == 8, "extent");
_Static_assert(sizeof(struct nbd_block_descriptor_ext) == 16, "wide extent");

#endif
