/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a kernel driver must give to the server, so that an image becomes a disk in /dev.
 *
 * There are two halves:
 *
 *   control   A struct transport is a handle for one device of a driver, new or adopted. One thread
 *             at a time uses a handle; another thread needs its own (clone()). The functions may
 *             block until the queues have answered.
 *   queues    How the requests of a queue come, and how their answers and their data go back. The
 *             queue's thread does all of it, since some drivers tie a queue to the thread that
 *             asked for its first request.
 *
 * The queues' half lies above io_uring's commands, because not every driver has such commands:
 *
 *   ubd       Passthrough commands on the server's file, one for each tag or one for many; the
 *             descriptors of the requests are mapped. All this is shared with drivers that differ
 *             only in how commands are encoded (struct fetch_wire).
 *   ublk      The mainline driver is one of them: its command numbers are those of ioctls, buffers
 *             that are registered automatically are named elsewhere in the command, and its
 *             control commands name a device by its number, so it has no control fd to hand on.
 *   nbd       A socket for each queue. Requests arrive there, followed by the data of a write, and
 *             an answer is sent with the data of a read. There is no command and no wire, but its
 *             own struct fetch_way; its data is always transferred as DATA_COPY.
 *
 * Parameters, names and states are the server's own types: each driver has other structs for them.
 * What a driver cannot store or tell, it refuses with -EOPNOTSUPP.
 */
#ifndef UBD_TRANSPORT_H
#define UBD_TRANSPORT_H

#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct device_params;
struct fetch_way;
struct fetch_wire;
struct identity;

/* In place of a device's number: any. */
#define TRANSPORT_ANY_ID	       UINT32_MAX
/* In place of a number of seconds: no limit, whatever the driver's default is. */
#define TRANSPORT_NO_TIMEOUT	       UINT32_MAX

/* Limits that all drivers can have. */
#define TRANSPORT_MAX_DEPTH	       4096
#define TRANSPORT_MAX_RECOVERY_TIMEOUT (7u * 24 * 60 * 60)

/* How the data of requests is transferred between the driver and the server; see data.h. */
enum data_way {
	DATA_ANY, /* where one is asked for: the best that the driver supports */
	DATA_COPY,
	DATA_USER_COPY,
	DATA_ZERO_COPY,
};

/* What becomes of a device when its server has died. */
enum recovery {
	RECOVERY_NONE,	  /* it ends, too */
	RECOVERY_FAIL,	  /* it waits for another server; requests that the last one had fail */
	RECOVERY_REISSUE, /* the same, but such requests are given to the next server */
	RECOVERY_FAIL_IO, /* it waits, and all requests fail meanwhile */
};

enum transport_state {
	TRANSPORT_ADDED, /* not yet started */
	TRANSPORT_LIVE,
	TRANSPORT_STOPPED,    /* for good */
	TRANSPORT_QUIESCED,   /* its server is leaving, or gone */
	TRANSPORT_RECOVERING, /* a new server takes over */
};

struct transport_info {
	/* What is wanted of a new device, and then what the driver has granted. */
	uint32_t id; /* or TRANSPORT_ANY_ID */
	uint16_t queues;
	uint16_t depth;
	uint32_t max_io_bytes;
	enum data_way data;
	bool batches; /* requests come in batches */
	enum recovery recovery;
	uint32_t recovery_timeout; /* seconds to wait for another server; 0: for ever */
	bool no_partition_scan;

	/* What the driver tells about a device. */
	enum transport_state state;
	bool unprivileged; /* any user may have added it */
	bool lost;	   /* a server has answered result_lost */
	bool stopping;	   /* somebody stops it, and may be waiting for its server */
	int server_pid;	   /* -1: it has no server; 0: it is in another PID namespace */
	int64_t left_ns;   /* when its last server left, since 1970; 0: none has */
};

/* What a driver and this kernel support. */
enum transport_feature {
	TRANSPORT_USER_COPY = 1 << 0,
	TRANSPORT_ZERO_COPY = 1 << 1,
	TRANSPORT_BATCHES = 1 << 2,
};

/* A device; the first member of what the driver's functions return. */
struct transport {
	const struct transport_ops *ops;
	char path[32]; /* of the disk, such as /dev/ubdb0 */
};

/* Functions that return an int return 0 or -errno, and < 0 with @err set if they have one. */
struct transport_ops {
	/* ---- control ---- */

	const char *disk_name; /* disks are /dev/<disk_name>N */

	/* @ret_features: enum transport_feature. */
	int (*get_features)(unsigned *ret_features, GError **err);
	/* On failure, NULL with @err set, and nothing is left behind. */
	struct transport *(*add)(struct transport_info *info, GError **err);
	/* A device that exists already; NULL with @err set on failure. */
	struct transport *(*open)(uint32_t id, struct transport_info *ret_info, GError **err);
	/* The same for what fd() returned to a process that passed it on; always takes @fd. */
	struct transport *(*adopt)(int fd, struct transport_info *ret_info, GError **err);
	/* Another handle for the same device, for another thread; NULL with @err set on failure. */
	struct transport *(*clone)(const struct transport *transport, GError **err);
	/*
	 * Closes the handle. A device without recovery ends with the last one. Never called with
	 * NULL.
	 */
	void (*free)(struct transport *transport);
	/* A file descriptor for adopt(), which still belongs to @transport. */
	int (*fd)(const struct transport *transport);

	int (*get_info)(struct transport *transport, struct transport_info *ret_info);
	/* Of a device that is not started yet. */
	int (*set_params)(struct transport *transport, const struct device_params *params);
	int (*get_params)(struct transport *transport, struct device_params *ret_params);
	int (*set_identity)(struct transport *transport, const struct identity *identity);
	int (*get_identity)(struct transport *transport, struct identity *ret_identity);
	/* The CPUs whose requests go to the queue. */
	int (*get_queue_cpus)(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus);
	/*
	 * After how many seconds without an answer the driver takes the server for dead; 0: never.
	 * @wanted is the request_timeout of the device's parameters.
	 */
	unsigned (*request_timeout)(uint32_t wanted, bool unprivileged);

	/*
	 * Opens the server's file, on which requests are fetched: this process is the device's
	 * server from then on. When the file is closed, the driver fails what the server has not
	 * answered, or keeps it for the next server. A file descriptor.
	 */
	int (*open_server_file)(struct transport *transport, GError **err);
	/* Waits until all queues have asked for requests, and for what the kernel reads at first.
	 */
	int (*start)(struct transport *transport);
	/* Waits for requests in flight. */
	int (*stop)(struct transport *transport);
	/* Stops it first if necessary. */
	int (*delete)(struct transport *transport);
	/* Of a device that was started; its users are notified. */
	int (*resize)(struct transport *transport, uint64_t sectors);
	/* Asks the device's server to leave, if it has one, and waits until it has. */
	int (*take_over)(struct transport *transport);
	/* In place of start() after take_over(). */
	int (*end_recovery)(struct transport *transport);

	/* ---- queues ---- */

	/* How requests come: one by one, and in batches (NULL: they never do). See fetch.h. */
	const struct fetch_way *fetch, *fetch_batches;
	/* The commands with which the two ask for requests; see fetch_wire.h. */
	const struct fetch_wire *wire;
	/* DATA_USER_COPY, DATA_ZERO_COPY: where the data of a tag begins in the server's file. */
	uint64_t (*data_off)(uint16_t q_id, uint16_t tag);
	/* The answer to a request that failed, if data that was acknowledged before may be lost. */
	int32_t result_lost;
};

/* Our own driver, ubd.ko. */
extern const struct transport_ops transport_ubd;

/* NULL is fine. */
static inline void transport_free(struct transport *transport)
{
	if (transport)
		transport->ops->free(transport);
}

#endif
