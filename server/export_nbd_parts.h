/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files export_nbd*.c share; private to them. Each has one part of a connection's life. */
#ifndef UBD_EXPORT_NBD_PARTS_H
#define UBD_EXPORT_NBD_PARTS_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "aio.h"
#include "bounce_pool.h"
#include "channel.h"
#include "client_loops.h"
#include "export_nbd.h"
#include "image.h"
#include "nbd_wire.h"
#include "pulse.h"
#include "request_desc.h"
#include "serve.h"

/* What is received in one piece: many small requests, or some options. */
#define NBD_INPUT_BYTES	       (64u << 10)
/* The pieces of the answer to a read; what follows them is not split. */
#define NBD_MAX_CHUNKS	       16
/* A header, and what is fixed in its payload. */
#define NBD_HEAD_BYTES	       48
/* Of memory for data: that each client has whatever the others do. */
#define NBD_OWN_BYTES	       (4u << 20)
/* How many iovecs are sent at once. */
#define NBD_SEND_IOVECS	       256
/* The longest list of NBD_CMD_BLOCK_STATUS for a context. */
#define NBD_STATUS_EXTENTS     2048

/* "base:allocation", "qemu:allocation-depth", and then the bitmaps. */
#define NBD_CONTEXT_ALLOCATION 0
#define NBD_CONTEXT_DEPTH      1
#define NBD_CONTEXT_BITMAPS    2

struct nbd_client_request {
	struct nbd_client *client;
	struct nbd_client_request *next; /* in the free list, or among those to send */
	struct request_desc desc;
	uint64_t cookie;
	uint16_t type;
	uint16_t flags;
	int error;	   /* it is refused; 0: it is served */
	uint64_t begin_ns; /* for serve_done() */
	uint8_t *buf;	   /* of the connection's pool, or NULL */
	size_t buf_bytes;
	/* The answer. */
	struct iovec iov[2 * NBD_MAX_CHUNKS + 1];
	unsigned niov;
	uint8_t heads[NBD_MAX_CHUNKS + 1][NBD_HEAD_BYTES];
	unsigned nr_heads;
};

struct nbd_client {
	const struct nbd_client_settings *settings;
	/*
	 * What it has chosen; NULL: nothing yet. Its loop changes it, with the lock of the
	 * exports; others need the lock to read it.
	 */
	const struct nbd_export *export;
	struct channel channel;
	struct client_visit visit;
	_Atomic bool stopping;	 /* take no more requests */
	_Atomic uint64_t cut_ns; /* long requests stop early then; AIO_NEVER */
	_Atomic bool served;	 /* its requests are, or were */
	_Atomic bool ended;
	struct pulse pulse;
	struct serve serve;
	/* Requests that the disk was asked for, and that it has answered. Its loop changes them. */
	_Atomic uint64_t asked, done;
	uint64_t done_before; /* when nbd_client_drop_late() last looked */

	/* Of the connection's loop. */
	uint64_t size; /* of the disk, which has grown to that at least */
	struct aio_limit handshake;
	bool has_place;	 /* of export->places */
	bool structured; /* replies are */
	bool extended;	 /* headers are, and then replies are structured */
	bool no_zeroes;	 /* after NBD_OPT_EXPORT_NAME */
	/* By number: the contexts that were selected, of the export with that serial number. */
	bool *contexts;
	unsigned nr_contexts;
	uint64_t contexts_of;
	uint8_t *input;		    /* NBD_INPUT_BYTES */
	size_t input_at, input_end; /* what was received and not used */
	bool expects_much;	    /* data of a write follows in large pieces */
	void *map;		    /* what pool manages */
	struct bounce_pool pool;
	size_t granted;	  /* bytes from the budget of all clients */
	size_t committed; /* bytes that requests have, or wait for in the pool */
	struct co_mutex room_lock;
	struct budget_waiter *waiter; /* for the budget, to have waiting_bytes more; or NULL */
	size_t waiting_bytes;
	struct co_mutex pace_lock;
	struct coroutine *paced;      /* a read that waits until some answers are sent */
	bool sending, receiving_data; /* waiting for the client */
	bool gone;		      /* nobody takes answers */
	bool is_local;		      /* on a UNIX socket */
	bool watches_stall;
	struct aio_limit stalling;
	struct nbd_client_request *requests; /* settings->depth */
	struct nbd_client_request *free;
	unsigned in_flight;
	unsigned stacks; /* reserved for requests: as many as were in flight so far, at least 1 */
	struct coroutine *receiver; /* while it waits for a request to end */
	struct nbd_client_request *to_send, **to_send_end;
	struct coroutine *sender; /* while there is nothing to send */
	bool sender_must_end;
	struct iovec send_iov[NBD_SEND_IOVECS];
	struct co_group group; /* the sender, and the one that watches for hang-ups */
	struct aio_limit hangup;
};

/* Long requests stop early then. The connection's loop. */
static inline bool nbd_client_must_end(const struct nbd_client *client)
{
	return client->gone || aio_now_ns() >= atomic_load(&client->cut_ns);
}

/* ---- export_nbd_names.c ---- */

/*
 * Makes the export of that name the client's; false if there is none. The empty name is also that
 * of the only one.
 */
bool nbd_client_choose(struct nbd_client *client, const void *name, size_t bytes);
/* The name of each export, and then its description. The caller unrefs it. */
GPtrArray *nbd_exports_list(struct nbd_exports *exports);

/* ---- export_nbd_negotiate.c ---- */

/* 0: the client wants to send requests. -errno: the connection must end. */
int nbd_client_co_negotiate(struct nbd_client *client);

/* ---- export_nbd_contexts.c ---- */

/* Only a selection for the export that was chosen counts. */
void nbd_client_settle_contexts(struct nbd_client *client);

/*
 * Answers NBD_OPT_LIST_META_CONTEXT or NBD_OPT_SET_META_CONTEXT, whose data is @data; -errno: the
 * connection must end.
 */
int nbd_client_co_meta_contexts(struct nbd_client *client, uint32_t option, const uint8_t *data,
				uint32_t bytes);

/* ---- export_nbd_requests.c ---- */

/* Serves requests until the client disconnects or breaks the protocol. */
void nbd_client_co_transmit(struct nbd_client *client);

/* ---- export_nbd_reply.c ---- */

/* Sends a reply to an option. */
int nbd_client_co_reply_option(struct nbd_client *client, uint32_t option, uint32_t type,
			       const void *head, size_t head_bytes, const void *data, size_t bytes);

/* Sends what is ready, until client->sender_must_end. */
void nbd_client_sender_co(void *arg);
void nbd_client_end_sender(struct nbd_client *client);

/* A request that nobody uses; waits for one. */
struct nbd_client_request *nbd_client_co_get_request(struct nbd_client *client);
/* Waits until all requests have been answered. */
void nbd_client_co_wait_answered(struct nbd_client *client);

/* Add a piece to an answer: a chunk of a structured reply, or a simple reply. */
void nbd_client_add_chunk(struct nbd_client_request *req, uint16_t type, bool is_last,
			  const void *head, size_t head_bytes, void *data, size_t bytes);
void nbd_client_add_simple(struct nbd_client_request *req, int res, void *data, size_t bytes);
/* The answer to a command that has none but that it succeeded. */
void nbd_client_add_success(struct nbd_client_request *req);
/* An error in the form that the request's kind demands. */
void nbd_client_add_error(struct nbd_client_request *req, int res);
/* Hands the answer over; the request may be gone on return. */
void nbd_client_send(struct nbd_client_request *req);

/* ---- export_nbd_memory.c ---- */

/* A read of so many bytes waits for the answers before it, if those are ready sooner than sent. */
void nbd_client_co_pace(struct nbd_client *client, size_t bytes);
/* Some answers have been sent. */
void nbd_client_answers_sent(struct nbd_client *client);
/* Memory for the data of a request; waits for it. -ESHUTDOWN: the client is gone. */
int nbd_client_co_get_buffer(struct nbd_client_request *req, size_t bytes);
/* Nobody takes answers any more, or waits for them: its requests wait for no memory of others. */
void nbd_client_be_gone(struct nbd_client *client);
void nbd_client_put_buffer(struct nbd_client_request *req);

/* ---- export_nbd_status.c ---- */

/* The size of the disk now, which client->size gets, too. */
uint64_t nbd_client_co_size(struct nbd_client *client);

/* What NBD_CMD_READ sends as a hole, and what as data. */
struct nbd_client_piece {
	uint32_t off; /* from the start of the request */
	uint32_t bytes;
	bool is_hole;
};

/*
 * Splits a read into at most NBD_MAX_CHUNKS pieces; fewer if there is not much to gain. Returns how
 * many, or -errno.
 */
int nbd_client_co_split_read(const struct request_desc *desc, struct image *image,
			     struct nbd_client_piece *ret_pieces);

/* Adds the answer to NBD_CMD_BLOCK_STATUS. 0 or -errno, with nothing added. */
int nbd_client_co_block_status(struct nbd_client_request *req, struct image *image);

#endif
