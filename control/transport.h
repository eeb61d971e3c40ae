/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control half of the interface to a kernel driver that creates a disk in /dev, for the server
 * and ubdctl. The other half, which only the server needs, is how the requests of a queue arrive
 * and are answered (server/transport_queues.h). The drivers are:
 *
 *   ubd    Our own driver, ubd.ko. A control fd conveys authority over a device.
 *   ublk   Linux's own. Its control commands name a device by its number.
 *   nbd    Linux's NBD client. A disk has one or more connections to an NBD server; here one socket
 *          per queue.
 *
 * A struct transport is a handle for one device of a driver, new or adopted. Only one thread at a
 * time may use a handle; another thread needs its own (clone()). The functions may block until the
 * queues have answered.
 *
 * This file has its own types for parameters, names and states, because each driver has different
 * structs. What a driver cannot store or report, it refuses with -EOPNOTSUPP. Operations of a
 * concept that a driver lacks are NULL; the functions below that call them then return -EOPNOTSUPP.
 * transport_lacks() makes the error message.
 */
#ifndef UBD_TRANSPORT_H
#define UBD_TRANSPORT_H

#include <glib.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The drivers, in the order in which they are preferred. */
enum transport_driver {
	TRANSPORT_UBD,
	TRANSPORT_UBLK,
	TRANSPORT_NBD,
	TRANSPORT_DRIVERS,
};

/* As a device number: any. */
#define TRANSPORT_ANY_ID       UINT32_MAX
/* As a number of seconds: no limit, whatever the driver's default is. */
#define TRANSPORT_NO_TIMEOUT   UINT32_MAX

/*
 * Asks a server to leave its device to the next server, if the driver cannot ask it. The servers of
 * other programs die of it, which has the same effect.
 */
#define TRANSPORT_LEAVE_SIGNAL SIGUSR1

/*
 * In the environment of a server that `ubdctl upgrade` starts: the disk to take over, such as
 * /dev/ublkb0, if there is no control fd to pass on. As with a control fd, options for new devices
 * are accepted but have no effect.
 */
#define TRANSPORT_TAKE_OVER    "UBD_TAKE_OVER"

/* The signal's contents. A signal without a value means all devices. */
struct transport_leave {
	uint32_t id; /* or TRANSPORT_ANY_ID */
	/*
	 * The driver sends the server no more requests. The server releases its held requests, and
	 * leaves when it has answered the others.
	 */
	bool when_idle;
};

/* The signal's value (SI_QUEUE), which processes of other versions also understand. */
union sigval transport_leave_value(const struct transport_leave *leave);
struct transport_leave transport_leave_of(union sigval value);

/* Limits that all drivers can have. */
#define TRANSPORT_MAX_DEPTH	       4096
#define TRANSPORT_MAX_RECOVERY_TIMEOUT (7u * 24 * 60 * 60)

/* How the data of requests is transferred between the driver and the server; see data.h of the
 * server. */
enum data_way {
	DATA_ANY, /* as a request: the best that the driver supports */
	DATA_COPY,
	DATA_USER_COPY,
	DATA_ZERO_COPY,
	DATA_WAYS,
};

/* What happens to a device when its server dies. */
enum recovery {
	RECOVERY_NONE,	  /* it also ends */
	RECOVERY_FAIL,	  /* it waits for another server; the last server's requests fail */
	RECOVERY_REISSUE, /* the same, but the next server gets these requests */
	RECOVERY_FAIL_IO, /* it waits, and all requests fail meanwhile */
};

#define IDENTITY_SERIAL_SIZE 64

struct identity {
	char serial[IDENTITY_SERIAL_SIZE]; /* "": none */
	uint8_t uuid[16];		   /* zeroes: none */
	/* The image's st_dev and st_ino, by which the next server recognises it; zeroes: unknown.
	 */
	uint64_t image_dev;
	uint64_t image_ino;
};

/* Without padding, so that devices can be compared. Sectors have 512 bytes. */
struct device_params {
	bool read_only;	     /* the server gets no writes */
	bool volatile_cache; /* the server gets flushes */
	bool fua;	     /* and writes that must be durable before they complete */
	bool rotational;
	uint32_t logical_block_size;
	uint32_t physical_block_size;
	uint32_t io_min; /* bytes, like the next one; 0: none */
	uint32_t io_opt;
	uint32_t max_io_sectors;
	uint32_t discard_granularity; /* bytes */
	uint32_t max_discard_sectors;
	uint32_t max_write_zeroes_sectors;
	uint32_t request_timeout; /* seconds; 0: the driver's default; or TRANSPORT_NO_TIMEOUT */
	uint64_t dev_sectors;	  /* its size */
	uint64_t has_others;	  /* not 0: the device has limits that are not listed here */
};

enum transport_state {
	TRANSPORT_ADDED, /* not yet started */
	TRANSPORT_LIVE,
	TRANSPORT_STOPPED,    /* for good */
	TRANSPORT_QUIESCED,   /* its server is leaving, or gone */
	TRANSPORT_RECOVERING, /* a new server takes over */
};

struct transport_info {
	/* Requested properties of a new device, then those granted by the driver. */
	uint32_t id; /* or TRANSPORT_ANY_ID */
	uint16_t queues;
	uint16_t depth;
	uint32_t max_io_bytes;
	enum data_way data;
	bool batches; /* requests come in batches */
	enum recovery recovery;
	uint32_t recovery_timeout; /* seconds to wait for another server; 0: forever */
	bool no_partition_scan;

	/* Reported by the driver. */
	enum transport_state state;
	uid_t owner_uid;
	gid_t owner_gid;
	bool unprivileged; /* any user may have added it */
	bool lost;	   /* a server has answered result_lost */
	bool stopping;	   /* it is being stopped, which may be waiting for its server */
	int server_pid;	   /* -1: it has no server; 0: in another PID namespace, or hidden */
	int64_t left_ns;   /* when its last server left, since 1970; 0: none has */
};

/* Everything another process needs to continue with a handle of this process (keeper.h). */
struct transport_seed {
	enum transport_driver driver;
	int server_pid; /* the device's current or future server */
	int server_fd;	/* the descriptor number of the server's file there; -1: unknown */
	uint32_t id;
	bool started; /* the kernel has the device */
	struct transport_info info;
	struct device_params params;
	struct identity identity;
	char opener[128]; /* a process that had the disk open; "": unknown */
};

/* What a driver and this kernel support. */
enum transport_feature {
	TRANSPORT_USER_COPY = 1 << 0,
	TRANSPORT_ZERO_COPY = 1 << 1,
	TRANSPORT_BATCHES = 1 << 2,
};

/* Features that some drivers lack, in addition to operations that are NULL. */
enum transport_notion {
	TRANSPORT_SERIALS = 1 << 0,	      /* serial numbers */
	TRANSPORT_NAMES = 1 << 1,	      /* serial numbers and UUIDs in sysfs */
	TRANSPORT_REQUEST_TIMEOUTS = 1 << 2,  /* device_params.request_timeout */
	TRANSPORT_RECOVERY_TIMEOUTS = 1 << 3, /* transport_info.recovery_timeout */
	TRANSPORT_TELLS_OF_STOP = 1 << 4,     /* get_info() shows that a device is being stopped */
};

/* A device; the first member of the structs that drivers return. */
struct transport {
	const struct transport_ops *ops;
	uint32_t id;
	char path[32]; /* of the disk, such as /dev/ubdb0 */
};

/* Functions that return an int return 0 or -errno, and < 0 with @err set if they have one. */
struct transport_ops {
	enum transport_driver driver;
	const char *name;      /* of the driver, for messages */
	const char *disk_name; /* disks are /dev/<disk_name>N */
	const char *module;    /* the name by which modprobe knows the driver */
	const char *node;      /* a file that exists while the driver is loaded */
	size_t uuid_bytes;     /* how many bytes of a UUID the driver stores */
	unsigned notions;      /* enum transport_notion */

	/* @ret_features: enum transport_feature. */
	int (*get_features)(unsigned *ret_features, GError **err);
	/*
	 * Creates whatever later commands need and a confined process can no longer create; NULL:
	 * nothing, or the keeper sends them. 0 or < 0 with @err set.
	 */
	int (*prepare)(GError **err);
	/*
	 * All devices, sorted by number, as struct transport_info with the members that everybody
	 * may see: id, owner_uid and unprivileged. The caller frees it. NULL with @err set on
	 * failure, for example if the driver is not loaded.
	 */
	GArray *(*list)(GError **err);

	/*
	 * Adds a device. The driver stores as much of @identity, which may be NULL, as it can. On
	 * failure, NULL with @err set, and nothing is left behind.
	 */
	struct transport *(*add)(struct transport_info *info, const struct identity *identity,
				 GError **err);
	/* A device that exists already; NULL with @err set on failure. */
	struct transport *(*open)(uint32_t id, struct transport_info *ret_info, GError **err);
	/* Another handle for the same device, for another thread; NULL with @err set on failure. */
	struct transport *(*clone)(const struct transport *transport, GError **err);
	/*
	 * Closes the handle. A device without recovery ends with the last one. Never called with
	 * NULL.
	 */
	void (*free)(struct transport *transport);

	/*
	 * fd() returns the file descriptor that conveys authority over the device, and still
	 * belongs to @transport. A process that has received it calls adopt(), which always takes
	 * @fd.
	 */
	int (*fd)(const struct transport *transport);
	struct transport *(*adopt)(int fd, struct transport_info *ret_info, GError **err);

	int (*get_info)(struct transport *transport, struct transport_info *ret_info);
	/* Of a device that is not started yet. */
	int (*set_params)(struct transport *transport, const struct device_params *params);
	int (*get_params)(struct transport *transport, struct device_params *ret_params);
	/* Changes @params to what get_params() will return. NULL: no change. */
	void (*round_params)(struct device_params *params);
	/* Of a device that is taken over. */
	int (*set_identity)(struct transport *transport, const struct identity *identity);
	int (*get_identity)(struct transport *transport, struct identity *ret_identity);
	/* The CPUs whose requests go to the queue. */
	int (*get_queue_cpus)(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus);
	/*
	 * After how many seconds without an answer the driver considers the server dead; 0: never.
	 * @wanted is the request_timeout of the device's parameters.
	 */
	unsigned (*request_timeout)(uint32_t wanted, bool unprivileged);

	/*
	 * Opens the server's file, on which requests are fetched, and returns its descriptor: this
	 * process is the device's server from then on. When the file is closed, the driver fails
	 * unanswered requests, or keeps them for the next server.
	 */
	int (*open_server_file)(struct transport *transport, GError **err);
	/*
	 * For drivers whose requests do not arrive on the server's file: returns a socket for the
	 * requests of one queue, which is closed before that file. The server's file becomes
	 * readable when the server is asked to leave. -EAGAIN without @err: the driver is not
	 * ready, and must be asked again soon. Does not wait.
	 */
	int (*open_queue)(struct transport *transport, uint16_t q_id, GError **err);
	/* Opens the disk, even if its node cannot be reached. NULL: open its path. */
	int (*open_disk)(struct transport *transport);
	/* Waits until all queues have fetched, and for the kernel's first reads. */
	int (*start)(struct transport *transport);
	/* Waits for requests in flight. */
	int (*stop)(struct transport *transport);
	/* After it, once this process has closed the disk. NULL: nothing is left to do. */
	void (*stopped)(struct transport *transport);
	/* -EBUSY if the disk is open. -EOPNOTSUPP: this kernel cannot tell. */
	int (*stop_if_unused)(struct transport *transport);
	/* Stops it first if necessary. */
	int (*delete)(struct transport *transport);
	/* For a started device; its users are notified. */
	int (*resize)(struct transport *transport, uint64_t sectors);
	/*
	 * Asks the device's server to leave, and waits until it has left. -ESRCH if it cannot be
	 * asked because it is in another PID namespace, or hidden.
	 */
	int (*quiesce)(struct transport *transport);
	/* The same, if the device has a server, and makes this process the next server. */
	int (*take_over)(struct transport *transport);
	/* Replaces start() after take_over(). */
	int (*end_recovery)(struct transport *transport);

	/* ---- for drivers whose commands need privileges until the end (keeper.h) ---- */

	/*
	 * Fills in *@ret_seed, except for the members that the caller knows. Returns a descriptor
	 * for resume(), which still belongs to @transport; -1: none is needed.
	 */
	int (*give)(const struct transport *transport, struct transport_seed *ret_seed);
	/*
	 * After resume(): gives up the handle's share of the process's privileges. The handle can
	 * then only be used for open_server_file() and free().
	 */
	void (*give_up)(struct transport *transport);
	/* In the keeper, which has the privileges: a handle. Always takes @fd, which may be -1. */
	struct transport *(*resume)(const struct transport_seed *seed, int fd, GError **err);
	/*
	 * In the keeper: whether the device with that number is still the one that was given, and
	 * no other process serves it. Others may delete it at any time, and reuse its number.
	 */
	bool (*is_given)(struct transport *transport);
	/*
	 * In the keeper, for a device that it has added itself: keeps the device for this server,
	 * to which open_server_file()'s result is passed on. 0 or -errno. NULL: devices of this
	 * driver cannot be added this way.
	 */
	int (*keep)(struct transport *transport, pid_t server_pid);
	/*
	 * In the server, for a device that its keeper has added: makes this process the server,
	 * whose file is @fd. < 0 with @err set. NULL: nothing is needed.
	 */
	int (*take_server_file)(const struct transport *transport, int fd, GError **err);
	/* In the keeper, after the server has ended; NULL: nothing is needed. */
	void (*server_ended)(struct transport *transport);
};

/* All drivers. */
extern const struct transport_ops transport_ubd, transport_ublk, transport_nbd;
extern const struct transport_ops *const transports[TRANSPORT_DRIVERS];

/* The driver and number of "/dev/ubdb7", "ubdb7" or another driver's disk; NULL for other names. */
const struct transport_ops *transport_by_name(const char *name, uint32_t *ret_id);

/*
 * Adds a device as described by *info, and fills in *info. Requests come in batches if the driver
 * supports them, and data in the first of @ways that it supports and does not refuse; DATA_ANY ends
 * the list. NULL with @err set.
 */
struct transport *transport_add(const struct transport_ops *ops, const enum data_way *ways,
				struct transport_info *info, const struct identity *identity,
				GError **err);

/* For drivers: sets all of *@transport. @id may be TRANSPORT_ANY_ID: none is known yet. */
void transport_init(struct transport *transport, const struct transport_ops *ops, uint32_t id);

/* "%s does not have %s", which is -EOPNOTSUPP; @what in the plural, such as "control fds". */
int transport_lacks(const struct transport_ops *ops, const char *what, GError **err);

/* For g_array_sort(): struct transport_info by its number. */
int transport_compare_ids(const void *a, const void *b);

/* NULL is fine. */
static inline void transport_free(struct transport *transport)
{
	if (transport)
		transport->ops->free(transport);
}

int transport_fd(const struct transport *transport);
int transport_set_identity(struct transport *transport, const struct identity *identity);
int transport_get_identity(struct transport *transport, struct identity *ret_identity);
int transport_get_queue_cpus(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus);
int transport_open_disk(struct transport *transport);
/*
 * If the driver does not know whether its disk is open: -EBUSY if the kernel uses the disk, or
 * if another process that this one may inspect has it open. -EOPNOTSUPP: this process may not
 * open the disk.
 */
int transport_stop_if_unused(struct transport *transport);
int transport_resize(struct transport *transport, uint64_t sectors);
int transport_quiesce(struct transport *transport);
int transport_take_over(struct transport *transport);
int transport_end_recovery(struct transport *transport);

#endif
