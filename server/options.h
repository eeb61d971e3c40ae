/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of ubd-serve, parsed and checked. */
#ifndef UBD_OPTIONS_H
#define UBD_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "export.h"
#include "identity.h"
#include "image.h"
#include "sandbox.h"
#include "transport.h"

struct throttle_group;

struct options {
	enum transport_driver driver; /* or DRIVER_AUTO */
	bool exports;		      /* as @export says, without a device */
	struct export_options export;
	char *filename;	   /* NULL: these are of a process with several disks */
	char *stable_name; /* that of the image (image_stable_name()); NULL: it has none */
	char *format;
	char *snapshot;
	char *temporary_dir; /* where the overlay is */
	char *keep_as;	     /* its name at the end; NULL: none */
	/* Of the process. */
	char **images;	   /* NULL: none was given */
	char *config;	   /* the folder with files of disks; NULL: none */
	char **add_places; /* in which images may be added at run time; NULL: they may not */
	bool several;	   /* there may be several disks; see options_of_disk() */
	char *pid_file;
	char *socket; /* for commands; NULL: that of the folder for sockets; empty: none */
	gboolean read_only;
	gboolean copy_on_read;
	gboolean temporary; /* write to a temporary overlay, not to the image */
	gboolean no_lock;
	gboolean force; /* accept an image that was changed while its device waited */
	gboolean daemonize;
	gboolean core_dump;    /* if it crashes */
	gboolean systemd_mark; /* see process_mark(); it also stays root */
	gboolean no_partition_scan;
	gboolean no_probe;
	gboolean verbose;
	gboolean version; /* print it; the other options are not checked */
	bool direct;
	bool discard;
	struct image_policy policy; /* what images may name */
	enum sandbox_mode sandbox;
	char *user; /* that the server becomes: a name or a number; NULL: the image's owner */
	uint64_t cache_bytes;  /* 0: the format's default */
	uint64_t memory_limit; /* for the chain of images; 0: the default */
	uint16_t queues;       /* 0: the device's default */
	uint16_t depth;
	uint32_t id; /* or TRANSPORT_ANY_ID */
	enum recovery recovery;
	uint32_t request_timeout;  /* as in struct device_params */
	uint32_t recovery_timeout; /* seconds to wait for a server; 0: forever */
	enum data_way data;
	struct hold_policy hold;
	struct throttle_group *throttle;
	enum in_use in_use;	  /* what becomes of a device in use that must end */
	unsigned kill_after_s;	  /* for a server that must leave; 0: never */
	uint32_t recover;	  /* device to take over; TRANSPORT_ANY_ID: none */
	uint32_t block_size;	  /* logical, bytes; 0: the image's */
	struct identity identity; /* of the device, or to compare with it */
	struct file_id added_id;  /* the file that @filename must be; unknown: any */
	bool serial_given, recovery_timeout_given;
};

/*
 * The options of the process and, unless it has several disks, of its disk; they never change
 * afterwards. NULL after reporting an error. Settings that are decided later, such as those of a
 * device that the server takes over, belong elsewhere (takeover.h). Once, on the main thread.
 */
const struct options *options_parse(char *const *argv);

/*
 * The options of a disk of a process with several disks: those of the process that apply to a disk,
 * and @words, which is like argv without an image (NULL: none). @name: of the disk; NULL: that of
 * the image. NULL with @err set. Free them with options_free() when the disk is gone. One call at a
 * time.
 */
struct options *options_of_disk(const char *name, const char *image, char *const *words,
				GError **err);

/*
 * The same for a disk that a client of the server adds. The client has no options that
 * reach beyond the disk's own image; see added.h. @stable_name: the image's, because finding it
 * may block forever; may be NULL.
 */
struct options *options_of_added(const char *image, const char *stable_name, char *const *words,
				 GError **err);

/* Of options_of_disk(). NULL is fine. Any thread. */
void options_free(struct options *options);

/* 0; < 0 with @err set: there is an option of which the driver that was chosen has no notion. */
int options_suit(const struct options *options, const struct transport_ops *driver, GError **err);

#endif
