// SPDX-License-Identifier: GPL-2.0-or-later
/* The command line of ubd-serve; see options.h. */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "command_line.h"
#include "driver.h"
#include "enum_names.h"
#include "error.h"
#include "identity.h"
#include "object.h"
#include "options_export.h"
#include "options_throttle.h"
#include "report.h"
#include "temporary.h"
#include "throttle_group.h"
#include "uuid.h"
#include "values.h"

#define DEFAULT_DEPTH		 64
#define NOT_GIVEN		 INT_MIN
/* Enough time to notice, and to start a server by hand. */
#define DEFAULT_RECOVERY_TIMEOUT 600

static struct options options = {
	.driver = DRIVER_AUTO,
	.direct = true,
	.discard = true,
	.id = TRANSPORT_ANY_ID,
	.depth = DEFAULT_DEPTH,
	.recover = TRANSPORT_ANY_ID,
	.recovery_timeout = DEFAULT_RECOVERY_TIMEOUT,
	/* The images may come from a stranger. */
	.policy = {
		.data_file = { .from = IMAGE_NAMES_BESIDE },
		.servers = IMAGE_SERVERS_REFUSED,
		.formats_given = true,
		.places_only = true,
	},
	.hold = { .on_enospc = true },
};

/* Values as given on the command line, which take_numbers() and take_identity() check. */
static struct {
	char **filenames; /* the arguments that are not options; there must be one */
	int queues, depth, id, recovery_timeout, request_timeout, hold_timeout, kill_after;
	char *serial, *uuid, *recover;
	int in_use;
	gboolean image_opts;
	gboolean formats_given;
} given = {
	.formats_given = TRUE,
	.in_use = NOT_GIVEN,
	.queues = NOT_GIVEN,
	.depth = NOT_GIVEN,
	.id = NOT_GIVEN,
	.recovery_timeout = NOT_GIVEN,
	.request_timeout = NOT_GIVEN,
	.hold_timeout = NOT_GIVEN,
	.kill_after = NOT_GIVEN,
};

/* The options of the process, on which those of its disks are built. */
static struct options process_options;
static __typeof__(given) process_given;

/* Why the options cannot be used; NULL: they can. */
static GError *wrong;

static void G_GNUC_PRINTF(1, 2) refuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (!wrong)
		error_vrefuse(&wrong, -EINVAL, format, args);
	va_end(args);
}

static gboolean bad_value(const char *name, const char *value, const char *allowed, GError **err)
{
	g_set_error(err, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: \"%s\" is not %s", name,
		    value, allowed);
	return FALSE;
}

static gboolean parse_cache(const char *name, const char *value, void *data, GError **err)
{
	options.direct = strcmp(value, "none") == 0;
	if (options.direct || strcmp(value, "writeback") == 0)
		return TRUE;
	return bad_value(name, value, "none or writeback", err);
}

static gboolean parse_discard(const char *name, const char *value, void *data, GError **err)
{
	options.discard = strcmp(value, "unmap") == 0;
	if (options.discard || strcmp(value, "ignore") == 0)
		return TRUE;
	return bad_value(name, value, "unmap or ignore", err);
}

static gboolean parse_hold(const char *name, const char *value, void *data, GError **err)
{
	bool *hold =
		strcmp(name, "--on-error") == 0 ? &options.hold.on_error : &options.hold.on_enospc;

	*hold = strcmp(value, "hold") == 0;
	if (*hold || strcmp(value, "fail") == 0)
		return TRUE;
	return bad_value(name, value, "hold or fail", err);
}

static gboolean parse_in_use(const char *name, const char *value, void *data, GError **err)
{
	static const struct enum_name modes[] = {
		{ "wait", IN_USE_WAIT },
		{ "leave", IN_USE_LEAVE },
		{ "stop", IN_USE_STOP },
		{},
	};
	uint64_t mode;

	if (!enum_from_name(modes, value, &mode))
		return bad_value(name, value, "wait, leave or stop", err);
	given.in_use = mode;
	return TRUE;
}

static gboolean parse_recovery(const char *name, const char *value, void *data, GError **err)
{
	static const struct enum_name modes[] = {
		{ "none", RECOVERY_NONE },
		{ "fail", RECOVERY_FAIL },
		{ "reissue", RECOVERY_REISSUE },
		{ "fail-io", RECOVERY_FAIL_IO },
		{},
	};
	uint64_t mode;

	if (!enum_from_name(modes, value, &mode))
		return bad_value(name, value, "none, fail, reissue or fail-io", err);
	options.recovery = mode;
	return TRUE;
}

static gboolean parse_data(const char *name, const char *value, void *data, GError **err)
{
	static const struct enum_name ways[] = {
		{ "copy", DATA_COPY },
		{ "user-copy", DATA_USER_COPY },
		{ "zero-copy", DATA_ZERO_COPY },
		{},
	};
	uint64_t way;

	if (!enum_from_name(ways, value, &way))
		return bad_value(name, value, "copy, user-copy or zero-copy", err);
	options.data = way;
	return TRUE;
}

static gboolean parse_sandbox(const char *name, const char *value, void *data, GError **err)
{
	static const struct enum_name modes[] = {
		{ "auto", SANDBOX_AUTO },
		{ "strict", SANDBOX_STRICT },
		{ "off", SANDBOX_OFF },
		{},
	};
	uint64_t mode;

	if (!enum_from_name(modes, value, &mode))
		return bad_value(name, value, "auto, strict or off", err);
	options.sandbox = mode;
	return TRUE;
}

static gboolean parse_driver(const char *name, const char *value, void *data, GError **err)
{
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		if (strcmp(value, transports[i]->name) == 0) {
			options.driver = i;
			return TRUE;
		}
	options.driver = DRIVER_AUTO;
	if (strcmp(value, "auto") == 0)
		return TRUE;
	return bad_value(name, value, "auto, ubd, ublk or nbd", err);
}

static gboolean parse_object(const char *name, const char *value, void *data, GError **err)
{
	g_autoptr(GError) why = NULL;

	if (object_create(value, &why) == 0)
		return TRUE;
	g_set_error(err, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--object: %s", why->message);
	return FALSE;
}

static gboolean parse_backing(const char *name, const char *value, void *data, GError **err)
{
	return image_names_parse(value, &options.policy.backing, err);
}

static gboolean parse_data_file(const char *name, const char *value, void *data, GError **err)
{
	return image_names_parse(value, &options.policy.data_file, err);
}

static gboolean parse_add(const char *name, const char *value, void *data, GError **err)
{
	struct image_names names = { 0 };

	if (!image_names_parse(value, &names, err))
		return FALSE;
	if (names.from != IMAGE_NAMES_LISTED)
		return bad_value(name, value, "a list of folders", err);
	options.add_places = names.places;
	return TRUE;
}

static gboolean allow_network(const char *name, const char *value, void *data, GError **err)
{
	options.policy.servers = IMAGE_SERVERS_ALLOWED;
	return TRUE;
}

static gboolean parse_size(const char *name, const char *value, void *data, GError **err)
{
	bool is_limit = g_str_equal(name, "--memory-limit");
	uint64_t *bytes = is_limit ? &options.memory_limit : &options.cache_bytes;

	if (size_parse(value, bytes) || !*bytes)
		return bad_value(name, value, "a size (such as 16M)", err);
	return TRUE;
}

static gboolean parse_block_size(const char *name, const char *value, void *data, GError **err)
{
	static const struct enum_name sizes[] = {
		{ "512", 512 }, { "1024", 1024 }, { "2048", 2048 }, { "4096", 4096 }, {},
	};
	uint64_t size;

	if (!enum_from_name(sizes, value, &size))
		return bad_value(name, value, "512, 1024, 2048 or 4096", err);
	options.block_size = size;
	return TRUE;
}

static const GOptionEntry option_entries[] = {
	{ "format", 'f', 0, G_OPTION_ARG_STRING, &options.format,
	  "Format of the image: qcow2 or raw (default: probed)", "FORMAT" },
	{ "image-opts", 0, 0, G_OPTION_ARG_NONE, &given.image_opts,
	  "IMAGE is a list of options: driver=FMT,file.filename=FILE,...", NULL },
	{ "read-only", 'r', 0, G_OPTION_ARG_NONE, &options.read_only,
	  "Create a read-only device, and do not write to the image", NULL },
	{ "snapshot", 0, 0, G_OPTION_ARG_STRING, &options.snapshot,
	  "Serve this internal snapshot (name or ID), read-only unless --temporary is given",
	  "SNAPSHOT" },
	{ "temporary", 's', 0, G_OPTION_ARG_NONE, &options.temporary,
	  "Write to a temporary overlay instead of the image", NULL },
	{ "temporary-dir", 0, 0, G_OPTION_ARG_FILENAME, &options.temporary_dir,
	  "Folder for the temporary overlay (default: " IMAGE_TEMPORARY_DIR ")", "FOLDER" },
	{ "keep-as", 0, 0, G_OPTION_ARG_FILENAME, &options.keep_as,
	  "Keep the temporary overlay as this file when the server ends", "FILE" },
	{ "object", 0, 0, G_OPTION_ARG_CALLBACK, parse_object,
	  "Define an object, such as tls-creds-x509,id=ID,dir=FOLDER", "OBJECT" },
	{ "allow-backing", 0, 0, G_OPTION_ARG_CALLBACK, parse_backing,
	  "Backing files that images may name: any (default), none, or those in FOLDER",
	  "FOLDER[:FOLDER...]" },
	{ "allow-data-file", 0, 0, G_OPTION_ARG_CALLBACK, parse_data_file,
	  "The same for external data files (default: those in the image's folder)",
	  "FOLDER[:FOLDER...]" },
	{ "allow-network", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, allow_network,
	  "Let images also name exports of NBD servers (nbd://...)", NULL },
	{ "allow-probing", 0, G_OPTION_FLAG_REVERSE, G_OPTION_ARG_NONE, &given.formats_given,
	  "Probe the format of a backing file if the image does not name it", NULL },
	{ "allow-add", 0, 0, G_OPTION_ARG_CALLBACK, parse_add,
	  "Let 'ubdctl add' add disks whose images are in these folders", "FOLDER[:FOLDER...]" },
	{ "config", 0, 0, G_OPTION_ARG_FILENAME, &options.config,
	  "Also serve the disks of the files NAME.conf in this folder, as in /etc/ubd", "FOLDER" },
	{ "copy-on-read", 0, 0, G_OPTION_ARG_NONE, &options.copy_on_read,
	  "Copy data read from a backing file to the image", NULL },
	{ "queues", 0, 0, G_OPTION_ARG_INT, &given.queues,
	  "Number of hardware queues and threads (default: one per CPU, up to 4)", "N" },
	{ "depth", 0, 0, G_OPTION_ARG_INT, &given.depth,
	  "Requests in flight per queue (default: " G_STRINGIFY(DEFAULT_DEPTH) ")", "N" },
	{ "cache", 0, 0, G_OPTION_ARG_CALLBACK, parse_cache,
	  "none: bypass the host's page cache (default); writeback: use it", "MODE" },
	{ "cache-size", 0, 0, G_OPTION_ARG_CALLBACK, parse_size,
	  "Cache for the image's metadata (default: depends on the image's size)", "SIZE" },
	{ "no-lock", 0, 0, G_OPTION_ARG_NONE, &options.no_lock,
	  "Allow writing where the file system does not support locks", NULL },
	{ "memory-limit", 0, 0, G_OPTION_ARG_CALLBACK, parse_size,
	  "Limit of memory for an image and its backing files (default: 512M)", "SIZE" },
	{ "discard", 0, 0, G_OPTION_ARG_CALLBACK, parse_discard,
	  "unmap: discards free space (default); ignore: no discards", "MODE" },
	{ "data", 0, 0, G_OPTION_ARG_CALLBACK, parse_data,
	  "How data is transferred: copy, user-copy or zero-copy (default: zero-copy or, where not supported, copy)",
	  "WAY" },
	{ "on-enospc", 0, 0, G_OPTION_ARG_CALLBACK, parse_hold,
	  "If space runs out: hold and retry writes (default), or fail them", "MODE" },
	{ "on-error", 0, 0, G_OPTION_ARG_CALLBACK, parse_hold,
	  "If the storage fails: hold and retry requests, or fail them (default)", "MODE" },
	{ "hold-timeout", 0, 0, G_OPTION_ARG_INT, &given.hold_timeout,
	  "Seconds to hold a request; 0: as long as the driver allows (default)", "SECONDS" },
	{ "request-timeout", 0, 0, G_OPTION_ARG_INT, &given.request_timeout,
	  "Seconds without an answer after which the driver considers the server dead; 0: never (default: the driver's)",
	  "SECONDS" },
	{ "driver", 0, 0, G_OPTION_ARG_CALLBACK, parse_driver,
	  "Kernel driver: ubd, ublk, nbd, or auto: the first one available (default)", "DRIVER" },
	{ "id", 0, 0, G_OPTION_ARG_INT, &given.id,
	  "Create the device of this number (default: the lowest free one)", "N" },
	{ "logical-block-size", 0, 0, G_OPTION_ARG_CALLBACK, parse_block_size,
	  "Logical block size: 512 to 4096 (default: 512, or that of a raw disk)", "BYTES" },
	{ "no-partition-scan", 0, 0, G_OPTION_ARG_NONE, &options.no_partition_scan,
	  "Do not scan for partitions", NULL },
	{ "no-probe", 0, 0, G_OPTION_ARG_NONE, &options.no_probe,
	  "Keep udev from examining the contents of the disk", NULL },
	{ "serial", 0, 0, G_OPTION_ARG_STRING, &given.serial,
	  "Serial number (default: derived from the image's path); empty: none", "SERIAL" },
	{ "uuid", 0, 0, G_OPTION_ARG_STRING, &given.uuid,
	  "UUID of the disk (default: derived from the image's path); empty: none", "UUID" },
	{ "recovery", 0, 0, G_OPTION_ARG_CALLBACK, parse_recovery,
	  "none (default), or fail, reissue, fail-io: the device outlives its server", "MODE" },
	{ "recovery-timeout", 0, 0, G_OPTION_ARG_INT, &given.recovery_timeout,
	  "Seconds to wait for the next server; 0: forever (default: " G_STRINGIFY(
		  DEFAULT_RECOVERY_TIMEOUT) ")",
	  "N" },
	{ "recover", 0, 0, G_OPTION_ARG_STRING, &given.recover,
	  "Take over this device (a number, or /dev/ubdbN), created with --recovery", "DEVICE" },
	{ "kill-after", 0, 0, G_OPTION_ARG_INT, &given.kill_after,
	  "Kill the last server if it has not left after this time (default: never)", "SECONDS" },
	{ "in-use", 0, 0, G_OPTION_ARG_CALLBACK, parse_in_use,
	  "On a signal while the disk is in use: wait (default), leave it to the next server (default with --recovery), or stop it",
	  "MODE" },
	{ "force", 0, 0, G_OPTION_ARG_NONE, &options.force,
	  "Take over a device even if its image was changed while it had no server", NULL },
	{ "sandbox", 0, 0, G_OPTION_ARG_CALLBACK, parse_sandbox,
	  "auto (default): restrict the server as far as possible; strict: fully, or fail; off: not at all",
	  "MODE" },
	{ "user", 0, 0, G_OPTION_ARG_STRING, &options.user,
	  "If started by root, become this user (default: the image's owner)", "USER" },
	{ "daemonize", 0, 0, G_OPTION_ARG_NONE, &options.daemonize,
	  "Return when the device is live, and continue in the background", NULL },
	{ "systemd-mark", 0, 0, G_OPTION_ARG_NONE, &options.systemd_mark,
	  "Mark the process (@), so that systemd does not kill it at shutdown; for the root disk",
	  NULL },
	{ "core-dump", 0, 0, G_OPTION_ARG_NONE, &options.core_dump,
	  "Dump core after a crash, but not to a file system on the device itself", NULL },
	{ "pid-file", 0, 0, G_OPTION_ARG_FILENAME, &options.pid_file,
	  "Write the server's PID to FILE while the device is live", "FILE" },
	{ "socket", 0, 0, G_OPTION_ARG_FILENAME, &options.socket,
	  "Accept commands on this UNIX socket instead of one in /run/ubd; empty: none", "FILE" },
	{ "verbose", 'v', 0, G_OPTION_ARG_NONE, &options.verbose, "Print more messages", NULL },
	{ "version", 0, 0, G_OPTION_ARG_NONE, &options.version, "Print the version and exit",
	  NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &given.filenames, NULL, "IMAGE" },
	{}
};

static bool check_range(const char *name, int value, int min, int max)
{
	if (value == NOT_GIVEN || (value >= min && value <= max))
		return true;
	refuse("--%s: %d is not between %d and %d", name, value, min, max);
	return false;
}

/* What is written where. */
static bool writes_are_valid(void)
{
	const char *reason = NULL;

	if (!options.temporary && (options.temporary_dir || options.keep_as))
		reason = "--temporary-dir and --keep-as need --temporary";
	else if (options.temporary && (options.recovery || given.recover))
		reason = "--temporary: cannot be given with --recovery or --recover, because the "
			 "overlay is gone with its server";
	else if (options.temporary && options.read_only)
		reason = "--temporary and --read-only are mutually exclusive";
	else if (options.temporary_dir && options.keep_as)
		reason = "--temporary-dir: cannot be given with --keep-as, because the overlay is "
			 "made in the folder of the file that it becomes";
	else if (options.snapshot && options.keep_as)
		reason = "--keep-as: cannot be given with --snapshot, because an image cannot name "
			 "a snapshot as its backing file";
	else if (options.copy_on_read && !options.temporary &&
		 (options.read_only || options.snapshot))
		reason = "--copy-on-read: cannot be given with --read-only or --snapshot, because "
			 "it writes to the image";
	if (reason)
		refuse("%s", reason);
	return !reason;
}

/* Everything that only a device has. */
static bool is_valid_export(void)
{
	if (!options.exports ||
	    !(given.queues != NOT_GIVEN || given.id != NOT_GIVEN || given.recover ||
	      options.driver != DRIVER_AUTO || options.recovery || options.data ||
	      options.block_size || given.serial || given.request_timeout != NOT_GIVEN ||
	      given.in_use != NOT_GIVEN || options.no_partition_scan || options.no_probe))
		return true;
	refuse("--export: there is no device, so --queues, --driver, --id, --recover, "
	       "--recovery, --data, --in-use, --logical-block-size, --serial, "
	       "--request-timeout, --no-partition-scan and --no-probe cannot be given");
	return false;
}

static bool are_requests_too_many(void)
{
	unsigned shared = options.export.max_clients;

	if (!options.exports || given.depth == NOT_GIVEN ||
	    given.depth <= (int)(EXPORT_MAX_REQUESTS / shared))
		return false;
	refuse("--depth: with --shared=%u, at most %u", shared, EXPORT_MAX_REQUESTS / shared);
	return true;
}

static bool take_export(void)
{
	g_autoptr(GError) err = NULL;

	options.exports = export_is_wanted();
	if (export_options_take(&options.export, &err))
		return true;
	refuse("%s", err->message);
	return false;
}

static bool options_are_valid(void)
{
	if (given.recover &&
	    (given.queues != NOT_GIVEN || given.depth != NOT_GIVEN || given.id != NOT_GIVEN ||
	     options.recovery || options.data || options.read_only || !options.discard ||
	     options.block_size || given.serial || given.recovery_timeout != NOT_GIVEN ||
	     given.request_timeout != NOT_GIVEN || options.no_partition_scan || options.no_probe)) {
		refuse("--recover: the device keeps its settings, so --queues, --depth, --id, "
		       "--read-only, --data, --discard, --logical-block-size, --serial, "
		       "--recovery, --recovery-timeout, --request-timeout, "
		       "--no-partition-scan and --no-probe cannot be given");
		return false;
	}
	if (given.recovery_timeout != NOT_GIVEN && !options.recovery) {
		refuse("--recovery-timeout: needs --recovery");
		return false;
	}
	if (given.kill_after != NOT_GIVEN && !given.recover && !options.recovery) {
		refuse("--kill-after: needs --recover or --recovery");
		return false;
	}
	if (given.in_use == IN_USE_LEAVE && !given.recover && !options.recovery) {
		refuse("--in-use=leave: needs --recover or --recovery");
		return false;
	}
	if (options.snapshot && (options.recovery || given.recover)) {
		refuse("--snapshot: cannot be given with --recovery or --recover");
		return false;
	}
	if (options.systemd_mark && (options.user || geteuid() != 0)) {
		refuse("--systemd-mark: needs root, and cannot be given with --user: systemd "
		       "ends marked processes of other users");
		return false;
	}
	if (!take_export() || !is_valid_export() || are_requests_too_many() || !writes_are_valid())
		return false;
	return check_range("queues", given.queues, 1, DEVICE_MAX_QUEUES) &&
	       check_range("depth", given.depth, 1, TRANSPORT_MAX_DEPTH) &&
	       check_range("id", given.id, 0, INT_MAX) &&
	       check_range("recovery-timeout", given.recovery_timeout, 0,
			   TRANSPORT_MAX_RECOVERY_TIMEOUT) &&
	       check_range("request-timeout", given.request_timeout, 0, INT_MAX) &&
	       check_range("hold-timeout", given.hold_timeout, 0, INT_MAX) &&
	       check_range("kill-after", given.kill_after, 1, INT_MAX);
}

static void take_numbers(void)
{
	if (given.queues != NOT_GIVEN)
		options.queues = given.queues;
	if (given.depth != NOT_GIVEN)
		options.depth = given.depth;
	if (given.id != NOT_GIVEN)
		options.id = given.id;
	if (given.recovery_timeout != NOT_GIVEN)
		options.recovery_timeout = given.recovery_timeout;
	options.recovery_timeout_given = given.recovery_timeout > 0;
	options.serial_given = given.serial && *given.serial;
	if (given.request_timeout != NOT_GIVEN)
		options.request_timeout = given.request_timeout ? (uint32_t)given.request_timeout
								: TRANSPORT_NO_TIMEOUT;
	options.policy.formats_given = given.formats_given;
	if (given.hold_timeout != NOT_GIVEN)
		options.hold.timeout_s = given.hold_timeout;
	if (given.kill_after != NOT_GIVEN)
		options.kill_after_s = given.kill_after;
	if (given.in_use != NOT_GIVEN)
		options.in_use = given.in_use;
	else if (options.recovery || given.recover)
		options.in_use = IN_USE_LEAVE;
}

/* @device: a number, or a name, which also tells the driver; NULL: none. @from names it. */
static bool take_recover(const char *from, const char *device)
{
	const struct transport_ops *driver;
	guint64 id;

	if (!device)
		return true;
	driver = transport_by_name(device, &options.recover);
	if (driver && options.driver != DRIVER_AUTO && options.driver != driver->driver) {
		refuse("%s: %s is not a device of %s", from, device,
		       transports[options.driver]->name);
		return false;
	}
	if (driver) {
		options.driver = driver->driver;
		return true;
	}
	if (!g_ascii_string_to_unsigned(device, 10, 0, INT_MAX, &id, NULL)) {
		refuse("%s: \"%s\" is not a number or a disk such as /dev/ubdb0", from, device);
		return false;
	}
	options.recover = id;
	return true;
}

/* The device that `ubdctl upgrade` has passed on. */
static bool take_passed(void)
{
	const char *device = g_getenv(TRANSPORT_TAKE_OVER);

	if (!device || given.recover || options.several || options.exports)
		return true;
	if (options.snapshot || options.temporary) {
		refuse("%s: cannot be taken over with --snapshot or --temporary", device);
		return false;
	}
	return take_recover(TRANSPORT_TAKE_OVER, device);
}

/* Serial number and UUID as given; otherwise those derived from the image's name. */
static bool take_identity(void)
{
	struct identity *identity = &options.identity;
	g_autofree char *part = NULL;

	/* Many servers may have temporary overlays on one image. */
	if (options.temporary)
		part = g_uuid_string_random();
	identity_of_image(options.stable_name, part ?: options.snapshot, identity);
	if (given.serial && !identity_is_serial(given.serial)) {
		refuse("--serial: \"%s\" is not " IDENTITY_SERIAL_RULE, given.serial);
		return false;
	}
	if (given.serial) {
		memset(identity->serial, 0, sizeof(identity->serial));
		memcpy(identity->serial, given.serial, strlen(given.serial));
	}
	if (given.uuid && !*given.uuid) {
		memset(identity->uuid, 0, sizeof(identity->uuid));
	} else if (given.uuid && !uuid_parse(given.uuid, identity->uuid)) {
		refuse("--uuid: \"%s\" is not a UUID", given.uuid);
		return false;
	}
	return true;
}

/* An option list becomes the name of a graph. */
static bool take_filename(const char *image)
{
	g_autoptr(GError) err = NULL;

	if (given.image_opts && options.format) {
		refuse("--image-opts and --format are mutually exclusive");
		return false;
	}
	options.filename =
		given.image_opts ? image_name_from_options(image, NULL, &err) : g_strdup(image);
	if (!options.filename)
		refuse("%s", err->message);
	return options.filename;
}

static bool take_throttle(void)
{
	g_autoptr(GError) err = NULL;

	options.throttle = throttle_options_take(&err);
	if (!options.throttle)
		refuse("%s", err->message);
	return options.throttle;
}

/* ---- from words to options ---- */

/* What is one for the process, whatever disks it serves. */
static bool is_of_process(const char *name)
{
	static const char *const names[] = { "allow-add", "config",	  "core-dump",
					     "daemonize", "depth",	  "driver",
					     "object",	  "pid-file",	  "sandbox",
					     "socket",	  "systemd-mark", "user",
					     "verbose",	  "version",	  NULL };

	return g_strv_contains(names, name);
}

/*
 * What a client may not choose: other files than the image, and what an image may name. Without the
 * sandbox, nothing else would keep it from any file that the server can open.
 */
static bool is_of_owner(const char *name)
{
	static const char *const names[] = {
		"allow-backing", "allow-data-file", "allow-network", "allow-probing", "image-opts",
		"keep-as",	 "no-lock",	    "temporary",     "temporary-dir", NULL
	};

	return g_strv_contains(names, name);
}

/* Whose words they are. */
enum author { OF_PROCESS, OF_DISK, OF_CLIENT };

static void add_entries(GArray *list, const GOptionEntry *entries, enum author author)
{
	for (; entries->long_name && *entries->long_name; entries++)
		if ((author == OF_PROCESS || (!is_of_process(entries->long_name) &&
					      !export_option_is_of_listener(entries->long_name))) &&
		    (author != OF_CLIENT || !is_of_owner(entries->long_name)))
			g_array_append_val(list, *entries);
}

static const char summary[] =
	"Serve disk images as block devices, or over NBD, until SIGINT, SIGTERM or SIGHUP.\n"
	"Prints the name of each device, or its URI, when it is live.";

/* What an option may be that is not recognized here. */
static const char *hint_for(enum author author, const GError *err)
{
	static const char *const hints[] = {
		[OF_PROCESS] = "",
		[OF_DISK] = "; an option of the whole server can only be given on its command line",
		[OF_CLIENT] = ("; options of the whole server, and those that lead to "
			       "other files, can only be given when it is started"),
	};

	return g_str_has_prefix(err->message, "unrecognized option") ? hints[author] : "";
}

static bool parse_words(char *const *argv, enum author author)
{
	g_autoptr(GArray) entries = g_array_new(TRUE, FALSE, sizeof(GOptionEntry));
	g_autoptr(GError) err = NULL;
	bool ok;

	add_entries(entries, option_entries, author);
	add_entries(entries, export_option_entries, author);
	add_entries(entries, throttle_option_entries, author);
	g_array_append_val(entries, option_entries[G_N_ELEMENTS(option_entries) - 2]);
	/* A disk has no --help. */
	ok = command_line_parse(&g_array_index(entries, GOptionEntry, 0),
				author == OF_PROCESS ? summary : NULL, argv, &err);
	if (!ok)
		refuse("%s%s", err->message, hint_for(author, err));
	return ok;
}

/* What only makes sense for one of them, and what several disks cannot have. */
static bool suit_several(void)
{
	if (given.recover)
		refuse("--recover: only for a server with one device; with several, each takes over "
		       "the device that waits for its image");
	else if (options.recovery && options.add_places)
		refuse("--recovery: not with --allow-add, as only root can find the devices again");
	else if (given.filenames && given.filenames[0] &&
		 (given.id != NOT_GIVEN || given.serial || given.uuid || options.keep_as ||
		  export_option_is_of_one()))
		refuse("--id, --serial, --uuid, --keep-as, --export-name, --description and "
		       "--bitmap are for one image; give them in a file of --config");
	else
		return true;
	return false;
}

/* @image: NULL if there are several disks. */
static bool take_options(const char *image, enum author author)
{
	if (!options_are_valid() || (options.several && !suit_several()) ||
	    (image && !take_filename(image)))
		return false;
	/* A client's image has been looked at; see options_of_added(). */
	if (image && author != OF_CLIENT)
		options.stable_name = image_stable_name(options.filename);
	take_numbers();
	return take_recover("--recover", given.recover) &&
	       (!image || (take_identity() && take_throttle()));
}

/* How many disks the command line is about. */
static bool take_images(void)
{
	unsigned nr = given.filenames ? g_strv_length(given.filenames) : 0;

	options.images = given.filenames;
	options.several = nr > 1 || options.config || options.add_places;
	if (nr || options.several)
		return true;
	refuse("expecting an image; see ubd-serve --help");
	return false;
}

/* ---- whose memory it is ---- */

/* A disk has what it was given; the rest is that of the process. */
static void free_own(char *text, const char *of_process)
{
	if (text != of_process)
		g_free(text);
}

/* What @own has. Not what it has in common with process_options. */
static void clear_own(struct options *own)
{
	g_free(own->filename);
	g_free(own->stable_name);
	free_own(own->format, process_options.format);
	free_own(own->snapshot, process_options.snapshot);
	free_own(own->temporary_dir, process_options.temporary_dir);
	free_own(own->keep_as, process_options.keep_as);
	image_names_clear(&own->policy.backing);
	image_names_clear(&own->policy.data_file);
	export_options_clear(&own->export);
	throttle_group_free(own->throttle);
}

void options_free(struct options *own)
{
	if (!own)
		return;
	clear_own(own);
	g_free(own);
}

/* As the process has them, for a disk that can change them. */
static void begin_disk(void)
{
	options = process_options;
	options.filename = options.stable_name = NULL;
	options.export = (struct export_options){ 0 };
	options.policy.backing.places = g_strdupv(process_options.policy.backing.places);
	options.policy.data_file.places = g_strdupv(process_options.policy.data_file.places);
	given = process_given;
	given.filenames = NULL;
	export_options_restore();
	throttle_options_restore();
}

/* The words that were only needed to find out what they mean. */
static void end_disk(void)
{
	g_strfreev(given.filenames);
	free_own(given.serial, process_given.serial);
	free_own(given.uuid, process_given.uuid);
	free_own(given.recover, process_given.recover);
	export_options_drop();
	throttle_options_drop();
}

static void report_wrong(void)
{
	report_error("%s", wrong->message);
	g_clear_error(&wrong);
}

const struct options *options_parse(char *const *argv)
{
	static struct options kept;
	bool ok = parse_words(argv, OF_PROCESS);

	report_init(options.verbose);
	if (ok && options.version)
		return &options;
	ok = ok && take_images();
	/* Checks put their results into both. */
	process_options = options;
	process_given = given;
	export_options_keep();
	throttle_options_keep();
	ok = ok && take_options(options.several ? NULL : given.filenames[0], OF_PROCESS) &&
	     take_passed();
	g_unsetenv(TRANSPORT_TAKE_OVER);
	if (ok) {
		kept = options;
		return &kept;
	}
	report_wrong();
	return NULL;
}

static const char *name_of_image(const char *image)
{
	const char *slash = strrchr(image, '/');

	return slash && slash[1] ? slash + 1 : image;
}

/* Unless its own options say something else. */
static void name_disk(const char *name, const char *image)
{
	if (!export_is_wanted() && name && !given.serial)
		given.serial = g_strdup(name);
	export_options_set_name(name ?: name_of_image(image));
}

static bool has_no_image(void)
{
	if (!given.filenames)
		return true;
	refuse("unexpected argument \"%s\"", given.filenames[0]);
	return false;
}

/* @stable_name: of a client's image. */
static struct options *options_of(enum author author, const char *name, const char *image,
				  const char *stable_name, char *const *words, GError **err)
{
	bool ok;

	begin_disk();
	options.stable_name = g_strdup(stable_name);
	ok = !words || (parse_words(words, author) && has_no_image());
	if (ok) {
		name_disk(name, image);
		ok = take_options(image, author);
	}
	end_disk();
	if (ok)
		return g_memdup2(&options, sizeof(options));
	clear_own(&options);
	g_propagate_error(err, g_steal_pointer(&wrong));
	return NULL;
}

struct options *options_of_disk(const char *name, const char *image, char *const *words,
				GError **err)
{
	return options_of(OF_DISK, name, image, NULL, words, err);
}

struct options *options_of_added(const char *image, const char *stable_name, char *const *words,
				 GError **err)
{
	return options_of(OF_CLIENT, NULL, image, stable_name, words, err);
}

/* ---- what the driver has ---- */

static int need(const struct transport_ops *driver, unsigned notion, const char *option,
		const char *what, GError **err)
{
	g_autoptr(GError) why = NULL;

	if (driver->notions & notion)
		return 0;
	transport_lacks(driver, what, &why);
	return error_refuse(err, -EOPNOTSUPP, "--%s: %s", option, why->message);
}

int options_suit(const struct options *suits, const struct transport_ops *driver, GError **err)
{
	int res = 0;

	if (suits->serial_given)
		res = need(driver, TRANSPORT_SERIALS, "serial", "serial numbers", err);
	if (!res && suits->request_timeout && suits->request_timeout != TRANSPORT_NO_TIMEOUT)
		res = need(driver, TRANSPORT_REQUEST_TIMEOUTS, "request-timeout",
			   "request timeouts", err);
	if (!res && suits->recovery_timeout_given)
		res = need(driver, TRANSPORT_RECOVERY_TIMEOUTS, "recovery-timeout",
			   "recovery timeouts", err);
	return res;
}
