// SPDX-License-Identifier: GPL-2.0-or-later
/* What a server needs in its sandbox; see sandbox_places.h. */
#include "sandbox_places.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "run_folder.h"
#include "temporary.h"
#include "tls_creds.h"
#include "transport.h"
#include "values.h"

static void allow_folder_of(const char *path, unsigned rights, bool is_opening)
{
	g_autofree char *folder = g_path_get_dirname(path);

	sandbox_allow(folder, rights, is_opening);
}

/* ---- the image, and what it may name ---- */

/* Options, unlike names, may be of several files anywhere; the user has given them. */
static bool is_graph(const char *name)
{
	return g_str_has_prefix(name, "json:");
}

static bool is_server(const char *name)
{
	static const char *const schemes[] = { "nbd:", "nbd+", "nbds:", "nbds+" };

	for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++)
		if (g_str_has_prefix(name, schemes[i]))
			return true;
	return is_graph(name) && strstr(name, "nbd");
}

/* Only the user names such a node, not an image. */
static bool may_compress(const char *name)
{
	return is_graph(name) && strstr(name, "compress");
}

static void allow_listed(const struct image_names *names, unsigned rights, bool is_opening)
{
	if (names->from != IMAGE_NAMES_LISTED)
		return;
	for (char **place = names->places; *place; place++)
		sandbox_allow(*place, rights, is_opening);
}

static void allow_names(const struct image_names *names, const char *image, unsigned rights)
{
	g_autofree char *real = NULL;

	switch (names->from) {
	case IMAGE_NAMES_ANYWHERE:
		sandbox_allow("/", rights, true);
		break;
	case IMAGE_NAMES_BESIDE:
		allow_folder_of(image, rights, true);
		real = image_stable_name(image);
		if (real)
			allow_folder_of(real, rights, true);
		break;
	case IMAGE_NAMES_LISTED:
		allow_listed(names, rights, true);
		break;
	case IMAGE_NAMES_NONE:
		break;
	}
}

/* ---- what the header says ---- */

#define HEADER_BYTES	    80
#define BACKING_OFFSET	    8  /* 64 bits: where the name is; 0: there is none */
#define VERSION_OFFSET	    4  /* 32 bits */
#define INCOMPATIBLE_OFFSET 72 /* 64 bits, from version 3 on */
#define EXTERNAL_DATA	    (1u << 2)

struct needs {
	bool backing, data_file;
};

static uint64_t be64_at(const uint8_t *header, size_t off)
{
	uint64_t value;

	memcpy(&value, header + off, sizeof(value));
	return GUINT64_FROM_BE(value);
}

/*
 * Only at fixed places, and only to allow less: what is allowed is bounded by the options. The
 * parser comes later. Other formats than qcow2 name no other files, or are refused.
 */
static struct needs co_peek(const struct options *options, struct image *file)
{
	uint8_t header[HEADER_BYTES];
	struct needs none = { false, false };

	if (options->format && strcmp(options->format, "qcow2") != 0)
		return none;
	if (image_size(file) < HEADER_BYTES || image_co_pread(file, 0, HEADER_BYTES, header) < 0 ||
	    memcmp(header, "QFI\xfb", 4) != 0)
		return none;
	return (struct needs){
		.backing = be64_at(header, BACKING_OFFSET) != 0,
		.data_file = header[VERSION_OFFSET + 3] >= 3 &&
			     be64_at(header, INCOMPATIBLE_OFFSET) & EXTERNAL_DATA,
	};
}

/* Until the image is open. */
static void co_allow_chain(const struct options *options, struct image *file)
{
	bool is_read = options->read_only || options->temporary || options->snapshot;
	unsigned rights = SANDBOX_READ | SANDBOX_DEVICE | (is_read ? 0 : SANDBOX_WRITE);
	struct needs needs = co_peek(options, file);

	sandbox_allow(is_graph(options->filename) ? "/" : options->filename, rights, true);
	if (needs.backing)
		allow_names(&options->policy.backing, options->filename,
			    SANDBOX_READ | SANDBOX_DEVICE);
	if (needs.data_file)
		allow_names(&options->policy.data_file, options->filename, rights);
}

static void allow_overlay(const struct options *options, bool is_opening)
{
	const unsigned rights = SANDBOX_READ | SANDBOX_WRITE | SANDBOX_CREATE;

	if (options->keep_as)
		allow_folder_of(options->keep_as, rights, false);
	else if (options->temporary)
		sandbox_allow(options->temporary_dir ?: IMAGE_TEMPORARY_DIR,
			      rights | SANDBOX_REMOVE, is_opening);
}

/* ---- names of hosts, and keys that are read for each connection ---- */

static void allow_keys(const char *folder)
{
	sandbox_allow(folder, SANDBOX_READ, false);
}

static void allow_connections(void)
{
	static const char *const places[] = { "/etc",
					      "/usr",
					      "/lib",
					      "/lib64",
					      "/run/systemd/resolve",
					      "/run/NetworkManager",
					      "/run/resolvconf",
					      "/run/nscd" };

	for (size_t i = 0; i < G_N_ELEMENTS(places); i++)
		sandbox_allow(places[i], SANDBOX_READ, false);
}

static void allow_tls(const struct tls_config *tls)
{
	if (!tls->psk)
		return;
	if (g_file_test(tls->psk, G_FILE_TEST_IS_DIR))
		allow_keys(tls->psk);
	else
		allow_folder_of(tls->psk, SANDBOX_READ, false);
}

/* ---- the driver ---- */

/* ubd's: its settings, sizes and affinities. */
static void allow_driver(void)
{
	sandbox_allow("/sys", SANDBOX_READ, false);
}

/* ---- files that exist only while the server runs ---- */

/*
 * The folder of sockets has nothing else in it. What is in other folders, Landlock cannot tell from
 * the server's own files; and another user may not remove those either.
 */
bool sandbox_needs_keeper(const struct options *options, const struct sandbox_config *config)
{
	return config->changes_user ||
	       (config->mode != SANDBOX_OFF &&
		(options->pid_file || (options->socket && *options->socket) ||
		 (options->exports && options->export.address.path)));
}

static void allow_run_files(const struct options *options)
{
	g_autofree char *folder = run_folder_find(false, NULL);

	if (folder)
		sandbox_allow(folder, SANDBOX_REMOVE, false);
	if (options->daemonize)
		sandbox_allow("/dev/null", SANDBOX_READ | SANDBOX_WRITE, false);
}

/* ---- the user ---- */

/* Of no file: what the kernel shows for groups that a user namespace does not know. */
#define NOGROUP 65534

/* The groups of a user without a name are unknown. Nobody's may be that of its number. */
static gid_t primary_group(const struct passwd *user, uid_t uid)
{
	if (user)
		return user->pw_gid;
	return getgrgid(uid) ? NOGROUP : uid;
}

static int find_user(const char *name, struct sandbox_config *config, GError **err)
{
	struct passwd *user = getpwnam(name);
	uint64_t number;

	if (!user && !number_parse(name, 0, UINT32_MAX - 1, &number)) {
		user = getpwuid(number);
	} else if (!user) {
		return error_refuse(err, -EINVAL, "--user: there is no user \"%s\"", name);
	}
	config->uid = user ? user->pw_uid : number;
	config->gid = primary_group(user, config->uid);
	return 0;
}

/*
 * Each file may have another owner, but the process has one user. The open file is asked: its name
 * may lead to another one by now.
 */
static int choose_owner(const struct options *options, const struct image *file,
			struct sandbox_config *config, GError **err)
{
	uid_t owner;

	if (config->must_change_user || geteuid() != 0 || options->sandbox == SANDBOX_OFF ||
	    options->systemd_mark || !image_file_owner(file, &owner))
		return 0;
	if (config->has_owner && config->uid != owner)
		return error_refuse(err, -EPERM,
				    "%s: its owner, user %u, is not that of another image, user "
				    "%u; --user names one for all",
				    options->filename, owner, config->uid);
	config->has_owner = true;
	config->uid = owner;
	config->changes_user = owner != geteuid();
	/*
	 * Not the group of the file: who gives an image to a user need not know that user's groups,
	 * and leaves root's.
	 */
	if (config->changes_user)
		config->gid = primary_group(getpwuid(owner), owner);
	return 0;
}

int sandbox_co_add_disk(const struct options *options, const struct transport_ops *driver,
			struct image *file, struct sandbox_config *config, GError **err)
{
	int res = choose_owner(options, file, config, err);

	if (res < 0)
		return res;
	config->connects |= is_server(options->filename);
	config->compresses |= may_compress(options->filename);
	co_allow_chain(options, file);
	allow_overlay(options, true);
	if (driver)
		allow_driver();
	return 0;
}

static int choose_user(const struct options *options, struct sandbox_config *config, GError **err)
{
	int res;

	if (!options->user)
		return 0;
	res = find_user(options->user, config, err);
	if (res < 0)
		return res;
	config->must_change_user = true;
	config->changes_user = config->uid != geteuid();
	if (config->changes_user && geteuid() != 0)
		return error_refuse(err, -EPERM, "--user: only root can become another user");
	return 0;
}

/* For images that are added later, what they name, and devices that wait for one of them. */
static void allow_adding(const struct options *options)
{
	const unsigned rights = SANDBOX_READ | SANDBOX_WRITE | SANDBOX_DEVICE;

	if (!options->add_places)
		return;
	for (char **place = options->add_places; *place; place++)
		sandbox_allow(*place, rights, false);
	allow_listed(&options->policy.backing, SANDBOX_READ | SANDBOX_DEVICE, false);
	allow_listed(&options->policy.data_file, rights, false);
	allow_overlay(options, false);
	allow_driver();
}

int sandbox_prepare(const struct options *options, struct sandbox_config *ret_config, GError **err)
{
	struct sandbox_config config = {
		.mode = options->sandbox,
		.connects = options->policy.servers == IMAGE_SERVERS_ALLOWED,
		.core_dump = options->core_dump,
	};
	int res = choose_user(options, &config, err);

	if (res < 0)
		return res;
	allow_run_files(options);
	allow_adding(options);
	tls_creds_each_folder(allow_keys);
	if (options->exports)
		allow_tls(&options->export.tls);
	*ret_config = config;
	return 0;
}

/* Images decide who the server becomes. Those that are added come too late for that. */
static int check_user(const struct options *options, const struct sandbox_config *config,
		      GError **err)
{
	if (!options->add_places || config->has_owner || config->must_change_user ||
	    geteuid() != 0 || options->sandbox == SANDBOX_OFF || options->systemd_mark)
		return 0;
	return error_refuse(err, -EPERM,
			    "--allow-add: give --user: without an initial image file, there is no "
			    "owner for the server to become, and it must not remain root");
}

int sandbox_finish(const struct options *options, const struct sandbox_config *config, GError **err)
{
	if (config->connects)
		allow_connections();
	return check_user(options, config, err);
}
