/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to an NBD export, which any number of coroutines of any loops use at the same time.
 * It is made when it is needed, and made again when it was lost.
 *
 * Locks: nbd_conn.lock guards one connection, and everything that libnbd does with its handle. It
 * is never held across a yield.
 */
#ifndef UBD_NBD_CONN_H
#define UBD_NBD_CONN_H

#include "colock.h"
#include "nbd_connect.h"

/* How long what waits for a connection, in ns. */
struct nbd_patience {
	uint64_t open_ns;      /* opening: tries again for so long */
	uint64_t reconnect_ns; /* requests: since the connection was lost */
	uint64_t answer_ns;    /* each attempt at a request; 0: for ever */
};

enum nbd_cmd_type {
	NBD_CMD_READ,
	NBD_CMD_WRITE,
	NBD_CMD_FLUSH,
	NBD_CMD_TRIM,
	NBD_CMD_ZERO,
	NBD_CMD_BLOCK_STATUS,
};

/* A command, in range and no larger than the server allows. */
struct nbd_cmd {
	enum nbd_cmd_type type;
	uint32_t flags; /* LIBNBD_CMD_FLAG_* */
	uint64_t off;
	size_t bytes;
	void *buf;	       /* of READ; of WRITE, which does not change it */
	uint64_t got_bytes;    /* of READ: how many the pieces of the answer had */
	uint32_t status_bytes; /* result of BLOCK_STATUS; 0: the server said nothing */
	uint32_t status_flags; /* LIBNBD_STATE_* */
};

struct nbd_conn;

/*
 * What the user of a connection decides. All run with the lock held, and do not yield.
 * @accept: whether an export with these facts may take the place of the one before; 0 or -errno
 * with @err set. @lost: a connection was lost. @abandoned: and before that commands that change
 * data were given up, which the server may still carry out at any time. @may_run: whether a command
 * may be sent.
 */
struct nbd_conn_ops {
	int (*accept)(void *arg, const struct nbd_facts *facts, GError **err);
	void (*lost)(void *arg);
	void (*abandoned)(void *arg);
	bool (*may_run)(void *arg, const struct nbd_cmd *cmd);
};

/* Whether it changes data. */
static inline bool nbd_cmd_changes(const struct nbd_cmd *cmd)
{
	return cmd->type == NBD_CMD_WRITE || cmd->type == NBD_CMD_TRIM || cmd->type == NBD_CMD_ZERO;
}

/* Not connected yet. @place and @arg must outlive it; the caller frees it with nbd_conn_co_free().
 */
struct nbd_conn *nbd_conn_new(const struct nbd_place *place, const struct nbd_patience *patience,
			      const struct nbd_conn_ops *ops, void *arg);
/* No request may be in flight. Tells the server that the client leaves. NULL is fine. */
void nbd_conn_co_free(struct nbd_conn *conn);

/* Connects for the first time, as often as the patience for opening allows. */
int nbd_conn_co_open(struct nbd_conn *conn, GError **err);

/* The next command needs a new connection, which sees what has changed at the server. */
void nbd_conn_renew(struct nbd_conn *conn);
/* Connects if there is no connection, or if it is to be renewed. 0 or -EIO. */
int nbd_conn_co_ready(struct nbd_conn *conn);

/*
 * Runs the command; after a lost connection again, on a new one. -EIO: there was none in time, or
 * the command must not be sent. -ETIMEDOUT: the server did not answer in time. Other errors are the
 * server's.
 */
int nbd_conn_co_run(struct nbd_conn *conn, struct nbd_cmd *cmd);

#endif
