/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel drivers that make a disk in /dev of what a server serves, and what the server and
 * ubdctl tell them: the control half of a driver. How the requests of a queue come and go is the
 * other half, which only the server needs (server/transport_queues.h).
 *
 *   ubd    Our own driver, ubd.ko. A control fd is the authority over a device.
 *   ublk   Linux's own. Its control commands name a device by its number.
 *   nbd    A disk for each connection, or several, to an NBD server; here a socket for each queue.
 *
 * A struct transport is a handle for one device of a driver, new or adopted. One thread at a time
 * uses a handle; another thread needs its own (clone()). The functions may block until the queues
 * have answered.
 *
 * Parameters, names and states are types of this file: each driver has other structs for them.
 * What a driver cannot store or tell, it refuses with -EOPNOTSUPP. An operation of a notion that it
 * does not have at all is NULL, and so are the functions below that end in such an operation:
 * -EOPNOTSUPP. transport_lacks() tells people.
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

/* In place of a device's number: any. */
#define TRANSPORT_ANY_ID       UINT32_MAX
/* In place of a number of seconds: no limit, whatever the driver's default is. */
#define TRANSPORT_NO_TIMEOUT   UINT32_MAX

/*
 * What a server does with it: it leaves its device to the next server. For drivers that cannot ask
 * it; another program's server ends, which comes to the same.
 */
#define TRANSPORT_LEAVE_SIGNAL SIGUSR1

/*
 * In the environment of a server that `ubdctl upgrade` starts: the disk that it takes over, such as
 * /dev/ublkb0, where there is no control fd to pass on. As with one, options for new devices may be
 * given, and have no effect.
 */
#define TRANSPORT_TAKE_OVER    "UBD_TAKE_OVER"

/* What the signal says. Without a value, all devices are meant. */
struct transport_leave {
	uint32_t id; /* or TRANSPORT_ANY_ID */
	/*
	 * The driver gives the server no more requests. The server lets go of those that it holds,
	 * and leaves when it has answered the others.
	 */
	bool when_idle;
};

/* The signal's value (SI_QUEUE), which processes of other versions understand, too. */
union sigval transport_leave_value(const struct transport_leave *leave);
struct transport_leave transport_leave_of(union sigval value);

/* Limits that all drivers can have. */
#define TRANSPORT_MAX_DEPTH	       4096
#define TRANSPORT_MAX_RECOVERY_TIMEOUT (7u * 24 * 60 * 60)

/* How the data of requests is transferred between the driver and the server; see data.h of the
 * server. */
enum data_way {
	DATA_ANY, /* where one is asked for: the best that the driver supports */
	DATA_COPY,
	DATA_USER_COPY,
	DATA_ZERO_COPY,
	DATA_WAYS,
};

/* What becomes of a device when its server has died. */
enum recovery {
	RECOVERY_NONE,	  /* it ends, too */
	RECOVERY_FAIL,	  /* it waits for another server; requests that the last one had fail */
	RECOVERY_REISSUE, /* the same, but such requests are given to the next server */
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
	uid_t owner_uid;
	gid_t owner_gid;
	bool unprivileged; /* any user may have added it */
	bool lost;	   /* a server has answered result_lost */
	bool stopping;	   /* somebody stops it, and may be waiting for its server */
	int server_pid;	   /* -1: it has no server; 0: in another PID namespace, or hidden */
	int64_t left_ns;   /* when its last server left, since 1970; 0: none has */
};

/* What another process must know in order to go on with a handle of this one (keeper.h). */
struct transport_seed {
	enum transport_driver driver;
	int server_pid; /* the device's server, or that which will be */
	int server_fd;	/* the number that the server's file has there; -1: not known */
	uint32_t id;
	bool started; /* the kernel has the device */
	struct transport_info info;
	struct device_params params;
	struct identity identity;
	char opener[128]; /* a process that had the disk open; "": none is known */
};

/* What a driver and this kernel support. */
enum transport_feature {
	TRANSPORT_USER_COPY = 1 << 0,
	TRANSPORT_ZERO_COPY = 1 << 1,
	TRANSPORT_BATCHES = 1 << 2,
};

/* What not all drivers have, beside missing operations. */
enum transport_notion {
	TRANSPORT_SERIALS = 1 << 0,	      /* serial numbers */
	TRANSPORT_NAMES = 1 << 1,	      /* serial numbers and UUIDs in sysfs */
	TRANSPORT_REQUEST_TIMEOUTS = 1 << 2,  /* device_params.request_timeout */
	TRANSPORT_RECOVERY_TIMEOUTS = 1 << 3, /* transport_info.recovery_timeout */
	TRANSPORT_TELLS_OF_STOP = 1 << 4,     /* get_info() shows that somebody stops a device */
};

/* A device; the first member of what the driver's functions return. */
struct transport {
	const struct transport_ops *ops;
	uint32_t id;
	char path[32]; /* of the disk, such as /dev/ubdb0 */
};

/* Functions that return an int return 0 or -errno, and < 0 with @err set if they have one. */
struct transport_ops {
	enum transport_driver driver;
	const char *name;      /* of the driver, as people know it */
	const char *disk_name; /* disks are /dev/<disk_name>N */
	const char *module;    /* the name by which modprobe knows the driver */
	const char *node;      /* a file that is there while the driver is loaded */
	size_t uuid_bytes;     /* how much of a UUID the driver keeps */
	unsigned notions;      /* enum transport_notion */

	/* @ret_features: enum transport_feature. */
	int (*get_features)(unsigned *ret_features, GError **err);
	/*
	 * Makes what commands to devices that come later take, and a process that limits itself
	 * cannot make any more; NULL: nothing, or its keeper sends them. 0 or < 0 with @err set.
	 */
	int (*prepare)(GError **err);
	/*
	 * All devices, sorted by number, as struct transport_info with what everybody may see: id,
	 * owner_uid and unprivileged. The caller frees it. NULL with @err set on failure, which
	 * includes that the driver is not loaded.
	 */
	GArray *(*list)(GError **err);

	/*
	 * The driver stores what it can of @identity, which may be NULL. On failure, NULL with @err
	 * set, and nothing is left behind.
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
	 * A file descriptor that is the authority over the device, and still belongs to @transport;
	 * a process that it was passed on to adopts the device, which always takes @fd.
	 */
	int (*fd)(const struct transport *transport);
	struct transport *(*adopt)(int fd, struct transport_info *ret_info, GError **err);

	int (*get_info)(struct transport *transport, struct transport_info *ret_info);
	/* Of a device that is not started yet. */
	int (*set_params)(struct transport *transport, const struct device_params *params);
	int (*get_params)(struct transport *transport, struct device_params *ret_params);
	/* Makes of @params what get_params() will return. NULL: the same. */
	void (*round_params)(struct device_params *params);
	/* Of a device that is taken over. */
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
	/*
	 * Where the requests of one queue come, if not on the server's file: a socket, which is
	 * closed before that. The server's file is then readable once the server is asked to leave.
	 * A file descriptor; -EAGAIN without @err: the driver is not ready, and must be asked again
	 * soon. It does not wait.
	 */
	int (*open_queue)(struct transport *transport, uint16_t q_id, GError **err);
	/* Opens the disk, also where its node cannot be reached. NULL: its path does. */
	int (*open_disk)(struct transport *transport);
	/* Waits until all queues have asked for requests, and for what the kernel reads at first.
	 */
	int (*start)(struct transport *transport);
	/* Waits for requests in flight. */
	int (*stop)(struct transport *transport);
	/* -EBUSY if the disk is open. -EOPNOTSUPP: this kernel cannot tell. */
	int (*stop_if_unused)(struct transport *transport);
	/* Stops it first if necessary. */
	int (*delete)(struct transport *transport);
	/* Of a device that was started; its users are notified. */
	int (*resize)(struct transport *transport, uint64_t sectors);
	/*
	 * Asks the device's server to leave, and waits until it has. -ESRCH if it cannot be asked
	 * since it is in another PID namespace, or hidden.
	 */
	int (*quiesce)(struct transport *transport);
	/* The same, if it has one, and makes this process the next server. */
	int (*take_over)(struct transport *transport);
	/* In place of start() after take_over(). */
	int (*end_recovery)(struct transport *transport);

	/* ---- for drivers whose commands need privileges until the end (keeper.h) ---- */

	/*
	 * Fills in all of *@ret_seed but what the caller knows. Returns a descriptor for resume(),
	 * which still belongs to @transport; -1: none is needed.
	 */
	int (*give)(const struct transport *transport, struct transport_seed *ret_seed);
	/*
	 * After resume(): gives up what the handle has of the process's privileges. It is only good
	 * for open_server_file() and free() then.
	 */
	void (*give_up)(struct transport *transport);
	/* In another process, which has the privileges: a handle. Always takes @fd; it may be -1.
	 */
	struct transport *(*resume)(const struct transport_seed *seed, int fd, GError **err);
	/*
	 * There: whether the device of that number is still the one that was given, and no other
	 * process serves it. Others may delete it at any time, and use its number again.
	 */
	bool (*is_given)(struct transport *transport);
	/*
	 * There, of a new device that it has added itself: it is kept for this server, to which
	 * open_server_file()'s result is passed on. 0 or -errno. NULL: the driver's devices cannot
	 * be added so.
	 */
	int (*keep)(struct transport *transport, pid_t server_pid);
	/*
	 * In the server, of a device that its keeper has added: makes this process the server,
	 * whose file is @fd. < 0 with @err set. NULL: it is.
	 */
	int (*take_server_file)(const struct transport *transport, int fd, GError **err);
	/* There, once the server has ended; NULL: nothing is left to do. */
	void (*server_ended)(struct transport *transport);
};

/* All drivers. */
extern const struct transport_ops transport_ubd, transport_ublk, transport_nbd;
extern const struct transport_ops *const transports[TRANSPORT_DRIVERS];

/* The driver and number of "/dev/ubdb7", "ubdb7" or the same of another driver; NULL if it is none.
 */
const struct transport_ops *transport_by_name(const char *name, uint32_t *ret_id);

/*
 * Adds a device as *info wants it, which is then filled in, but for how requests and their data
 * come: in batches if the driver has them, and data in the first of @ways that it offers and does
 * not refuse. DATA_ANY ends the list. NULL with @err set.
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
 * Where the driver does not know whether its disk is open: -EBUSY if the kernel uses the disk, or
 * if another process that this one may look into has it open. -EOPNOTSUPP: this process may not
 * open the disk.
 */
int transport_stop_if_unused(struct transport *transport);
int transport_resize(struct transport *transport, uint64_t sectors);
int transport_quiesce(struct transport *transport);
int transport_take_over(struct transport *transport);
int transport_end_recovery(struct transport *transport);

#endif
