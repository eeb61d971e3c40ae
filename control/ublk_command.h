/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands to ublk_drv, and the handles whose commands they are. Internal to transport_ublk.c and
 * the other files ublk_*.c.
 */
#ifndef UBD_UBLK_COMMAND_H
#define UBD_UBLK_COMMAND_H

#include "command_ring.h"
#include "transport.h"
#include "ublk_abi.h"

#define UBLK_CONTROL_NODE  "/dev/ublk-control"
#define UBLK_DISK_NAME	   "ublkb"
#define UBLK_CHAR_NODE	   "/dev/ublkc"

/*
 * Some kernels have faults because of which a command is never answered, such as 6.18.4 with
 * ADD_DEV. No command takes long but those that wait for requests or for other processes; START_DEV
 * waits for reads of the image. The limits are for machines that are very busy.
 */
#define UBLK_LIMIT_SECONDS 60
#define UBLK_START_LIMIT   600

/* Where devices are shown. Tests have another folder. */
extern const char *ublk_sysfs_folder;

/* What a command reads and writes: a path, and then what the command takes. */
#define UBLK_PAYLOAD_BYTES 512
#define UBLK_PATH_BYTES	   32

/* The memory of commands, which outlives a device whose ring is stuck. */
struct ublk_device {
	struct transport transport;
	struct command_ring *ring;
	bool named;	/* commands name the char node */
	bool serves;	/* this handle is that of the device's server */
	int server_pid; /* which that is; 0: this process */
	int opener_pid; /* the process that has opened the server's file; 0: the server */
	int server_fd;	/* the number of its file there, where it is looked for first; -1 */
	uint64_t ino;	/* of the device, as of ublk_sysfs_ino() */
	uint8_t memory[UBLK_PATH_BYTES + UBLK_PAYLOAD_BYTES];
};

static inline struct ublk_device *ublk_device_of(const struct transport *transport)
{
	return (struct ublk_device *)transport;
}

/*
 * A handle with these operations; without a device yet, if @id is UBLK_ANY_ID. NULL with @err set
 * on failure.
 */
struct ublk_device *ublk_device_new(const struct transport_ops *ops, uint32_t id, GError **err);
/* Once the driver has told the number of the device that it has added. */
void ublk_device_set_id(struct ublk_device *device, uint32_t id);
void ublk_device_free(struct ublk_device *device);
/* The handle can do nothing any more, and what the process has kept for others is given up. */
void ublk_device_give_up(struct ublk_device *device);
/*
 * The limit for commands that end the device, and so wait for requests and for other commands: none
 * but while a command is without an answer.
 */
unsigned ublk_end_limit(const struct transport *transport);
/*
 * What tells a device from another that has its number later, and that nobody can choose; 0: there
 * is none of that number.
 */
uint64_t ublk_sysfs_ino(uint32_t id);

/*
 * A command, which reads and writes @payload (NULL: nothing): 0 or -errno; -ETIMEDOUT after
 * @limit_s seconds, or COMMAND_NO_LIMIT.
 */
int ublk_command(struct ublk_device *device, uint32_t op, void *payload, size_t len, uint64_t data,
		 unsigned limit_s);
int ublk_simple_command(struct transport *transport, uint32_t op, uint64_t data, unsigned limit_s);
/* One that kernels without @feature do not know: -EOPNOTSUPP. */
int ublk_newer_command(struct transport *transport, uint64_t feature, uint32_t op, uint64_t data);

int ublk_get_dev_info(struct ublk_device *device, struct ublk_dev_info *ret_wire);

/* What the kernel offers; < 0 with @err set if it is too old, or has no ublk_drv. */
int ublk_kernel_features(uint64_t *ret_features, GError **err);

/* The reason why a command has failed. */
const char *ublk_reason(int res);

#endif
