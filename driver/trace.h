/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints, events/ubd/ in tracefs: the life of a request, and servers that come and go. ubd(4)
 * explains how to read them. When switched off, each is a no-op in the code.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ubd

#if !defined(UBD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define UBD_TRACE_H

#include <linux/blk-mq.h>
#include <linux/tracepoint.h>

#include "ubd.h"

/* clang-format off */

/* To sparse an operation is not a number, and there is no place for a cast here. */
#ifndef __CHECKER__
TRACE_DEFINE_ENUM(REQ_OP_READ);
TRACE_DEFINE_ENUM(REQ_OP_WRITE);
TRACE_DEFINE_ENUM(REQ_OP_FLUSH);
TRACE_DEFINE_ENUM(REQ_OP_DISCARD);
TRACE_DEFINE_ENUM(REQ_OP_WRITE_ZEROES);
#endif

#define UBD_TRACE_OP(op)						\
	__print_symbolic(op,						\
			 { (__force u8)REQ_OP_READ, "read" },		\
			 { (__force u8)REQ_OP_WRITE, "write" },		\
			 { (__force u8)REQ_OP_FLUSH, "flush" },		\
			 { (__force u8)REQ_OP_DISCARD, "discard" },		\
			 { (__force u8)REQ_OP_WRITE_ZEROES, "write_zeroes" })

#define UBD_TRACE_FIELDS						\
	__field(u32, dev)						\
	__field(u16, queue)						\
	__field(u16, tag)						\
	__field(u8, op)							\
	__field(u64, sector)						\
	__field(u32, bytes)

#define UBD_TRACE_ASSIGN(rq)						\
	do {								\
		const struct ubd_queue *q = (rq)->mq_hctx->driver_data;	\
									\
		__entry->dev = q->dev->id;				\
		__entry->queue = (rq)->mq_hctx->queue_num;		\
		__entry->tag = (rq)->tag;				\
		__entry->op = (__force u8)req_op(rq);			\
		/* A flush has no position. */				\
		__entry->sector = blk_rq_bytes(rq) ? blk_rq_pos(rq) : 0; \
		__entry->bytes = blk_rq_bytes(rq);			\
	} while (0)

#define UBD_TRACE_FORMAT "dev=%u queue=%u tag=%u op=%s sector=%llu bytes=%u"
#define UBD_TRACE_VALUES						\
	__entry->dev, __entry->queue, __entry->tag,			\
	UBD_TRACE_OP(__entry->op), __entry->sector, __entry->bytes

DECLARE_EVENT_CLASS(ubd_request,
	TP_PROTO(const struct request *rq),
	TP_ARGS(rq),
	TP_STRUCT__entry(UBD_TRACE_FIELDS),
	TP_fast_assign(UBD_TRACE_ASSIGN(rq);),
	TP_printk(UBD_TRACE_FORMAT, UBD_TRACE_VALUES)
);

/* blk-mq hands the request to the driver. */
DEFINE_EVENT(ubd_request, ubd_queue,
	TP_PROTO(const struct request *rq),
	TP_ARGS(rq)
);

/* The server has the request: the FETCH of its tag ends, in the task that sent it. */
DEFINE_EVENT(ubd_request, ubd_serve,
	TP_PROTO(const struct request *rq),
	TP_ARGS(rq)
);

/* The server's answer has arrived, in the task that sends it: bytes, or an errno. */
TRACE_EVENT(ubd_commit,
	TP_PROTO(const struct request *rq, int result),
	TP_ARGS(rq, result),
	TP_STRUCT__entry(UBD_TRACE_FIELDS __field(int, result)),
	TP_fast_assign(UBD_TRACE_ASSIGN(rq); __entry->result = result;),
	TP_printk(UBD_TRACE_FORMAT " result=%d", UBD_TRACE_VALUES, __entry->result)
);

/*
 * The request ends, with the server's answer or for lack of a server. The result is 0, or the errno
 * that its issuer gets. It is computed from @status in here, because a caller would do so even with
 * tracing switched off.
 */
TRACE_EVENT(ubd_end,
	TP_PROTO(const struct request *rq, blk_status_t status),
	TP_ARGS(rq, status),
	TP_STRUCT__entry(UBD_TRACE_FIELDS __field(int, result)),
	TP_fast_assign(UBD_TRACE_ASSIGN(rq); __entry->result = blk_status_to_errno(status);),
	TP_printk(UBD_TRACE_FORMAT " result=%d", UBD_TRACE_VALUES, __entry->result)
);

DECLARE_EVENT_CLASS(ubd_server,
	TP_PROTO(const struct ubd_device *device),
	TP_ARGS(device),
	TP_STRUCT__entry(__field(u32, dev)),
	TP_fast_assign(__entry->dev = device->id;),
	TP_printk("dev=%u", __entry->dev)
);

/* A server opens ubdcN, in its own task. */
DEFINE_EVENT(ubd_server, ubd_server_open,
	TP_PROTO(const struct ubd_device *device),
	TP_ARGS(device)
);

/* The server is gone, and the device waits for another. */
DEFINE_EVENT(ubd_server, ubd_server_gone,
	TP_PROTO(const struct ubd_device *device),
	TP_ARGS(device)
);

/* END_RECOVERY: the device is live again. */
DEFINE_EVENT(ubd_server, ubd_recovered,
	TP_PROTO(const struct ubd_device *device),
	TP_ARGS(device)
);

/* The device accepts no more requests: it is being stopped, or its server is gone for good. */
DEFINE_EVENT(ubd_server, ubd_abort,
	TP_PROTO(const struct ubd_device *device),
	TP_ARGS(device)
);

/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
