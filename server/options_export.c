// SPDX-License-Identifier: GPL-2.0-or-later
/* The options of exports; see options_export.h. Where qemu-nbd has an option, it has the same name.
 */
#include "options_export.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "nbd_protocol.h"
#include "tls_creds.h"
#include "values.h"

#define DEFAULT_HANDSHAKE_LIMIT 10

static struct {
	char *address, *name, *description;
	char **bitmaps;
	gboolean allocation_depth, once;
	int shared, handshake_limit;
	char *memory;
	char *certificates, *psk, *verify_peer, *creds;
} given = {
	.shared = EXPORT_DEFAULT_CLIENTS,
	.handshake_limit = DEFAULT_HANDSHAKE_LIMIT,
};

/* Of the process, on which those of its disks are built. */
static __typeof__(given) process_given;

const GOptionEntry export_option_entries[] = {
	{ "export", 0, 0, G_OPTION_ARG_STRING, &given.address,
	  "Serve over NBD instead of creating a device: nbd:unix:PATH, nbd:HOST:PORT or nbd:fd:N",
	  "ADDRESS" },
	{ "export-name", 'x', 0, G_OPTION_ARG_STRING, &given.name,
	  "Name of the export (default: empty)", "NAME" },
	{ "description", 'D', 0, G_OPTION_ARG_STRING, &given.description,
	  "Description of the export, for clients to show", "TEXT" },
	{ "shared", 'e', 0, G_OPTION_ARG_INT, &given.shared,
	  "Clients of an export at a time; others wait (default: " G_STRINGIFY(
		  EXPORT_DEFAULT_CLIENTS) ")",
	  "N" },
	{ "export-once", 0, 0, G_OPTION_ARG_NONE, &given.once, "Exit when the last client has left",
	  NULL },
	{ "allocation-depth", 'A', 0, G_OPTION_ARG_NONE, &given.allocation_depth,
	  "Tell clients which image of the chain data comes from", NULL },
	{ "bitmap", 'B', 0, G_OPTION_ARG_STRING_ARRAY, &given.bitmaps,
	  "Offer this dirty bitmap to clients; may be given several times", "NAME" },
	{ "request-memory", 0, 0, G_OPTION_ARG_STRING, &given.memory,
	  "Memory for the data of all clients' requests, in addition to 4M each (default: 256M)",
	  "SIZE" },
	{ "handshake-limit", 0, 0, G_OPTION_ARG_INT, &given.handshake_limit,
	  "Seconds for a client's handshake; 0: no limit (default: " G_STRINGIFY(
		  DEFAULT_HANDSHAKE_LIMIT) ")",
	  "SECONDS" },
	{ "tls-certificates", 0, 0, G_OPTION_ARG_FILENAME, &given.certificates,
	  "Require TLS, with the certificates in this folder", "FOLDER" },
	{ "tls-psk", 0, 0, G_OPTION_ARG_FILENAME, &given.psk,
	  "Require TLS, with the pre-shared keys in this file", "FILE" },
	{ "tls-creds", 0, 0, G_OPTION_ARG_STRING, &given.creds,
	  "Require TLS, with these credentials of an --object", "ID" },
	{ "tls-verify-peer", 0, 0, G_OPTION_ARG_STRING, &given.verify_peer,
	  "Whether clients need a certificate: on (default) or off", "on|off" },
	{},
};

bool export_is_wanted(void)
{
	return given.address;
}

bool export_option_is_of_listener(const char *name)
{
	static const char *const names[] = { "export",		 "request-memory",
					     "handshake-limit",	 "tls-creds",
					     "tls-certificates", "tls-psk",
					     "tls-verify-peer",	 NULL };

	return g_strv_contains(names, name);
}

bool export_option_is_of_one(void)
{
	return given.name || given.description || given.bitmaps;
}

void export_options_keep(void)
{
	process_given = given;
}

void export_options_restore(void)
{
	given = process_given;
}

static void free_own(char *text, const char *of_process)
{
	if (text != of_process)
		g_free(text);
}

void export_options_clear(struct export_options *own)
{
	export_address_clear(&own->address);
	g_free(own->name);
	g_free(own->description);
	g_strfreev(own->bitmaps);
}

void export_options_drop(void)
{
	free_own(given.name, process_given.name);
	free_own(given.description, process_given.description);
	if (given.bitmaps != process_given.bitmaps)
		g_strfreev(given.bitmaps);
}

void export_options_set_name(const char *name)
{
	if (given.address && !given.name)
		given.name = g_strdup(name);
}

static const char *first_option(void)
{
	const struct {
		const char *name;
		bool given;
	} all[] = {
		{ "--export-name", given.name },
		{ "--description", given.description },
		{ "--shared", given.shared != EXPORT_DEFAULT_CLIENTS },
		{ "--export-once", given.once },
		{ "--allocation-depth", given.allocation_depth },
		{ "--bitmap", given.bitmaps },
		{ "--request-memory", given.memory },
		{ "--handshake-limit", given.handshake_limit != DEFAULT_HANDSHAKE_LIMIT },
		{ "--tls-certificates", given.certificates },
		{ "--tls-psk", given.psk },
		{ "--tls-creds", given.creds },
		{ "--tls-verify-peer", given.verify_peer },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		if (all[i].given)
			return all[i].name;
	return NULL;
}

static int check_text(const char *option, const char *text, GError **err)
{
	return text && strlen(text) > NBD_MAX_STRING
		       ? error_refuse(err, -EINVAL, "%s: longer than %u bytes", option,
				      NBD_MAX_STRING)
		       : 0;
}

static int check_bitmaps(GError **err)
{
	for (char **name = given.bitmaps; name && *name; name++) {
		/* A prefix comes before it. */
		if (strlen(*name) > NBD_MAX_STRING / 2)
			return error_refuse(err, -EINVAL, "--bitmap: the name is too long");
		if (g_strv_contains((const char *const *)name + 1, *name))
			return error_refuse(err, -EINVAL, "--bitmap: \"%s\" is given twice", *name);
	}
	if (given.bitmaps && g_strv_length(given.bitmaps) > EXPORT_MAX_BITMAPS)
		return error_refuse(err, -EINVAL, "--bitmap: at most %u bitmaps can be exported",
				    EXPORT_MAX_BITMAPS);
	return 0;
}

/* What an object says takes the place of the other options. */
static int take_creds(struct tls_config *tls, GError **err)
{
	const struct tls_creds *creds;

	if (given.certificates || given.psk || given.verify_peer)
		return error_refuse(err, -EINVAL,
				    "--tls-creds excludes --tls-certificates, --tls-psk and "
				    "--tls-verify-peer");
	creds = tls_creds_get(given.creds, true, err);
	if (!creds)
		return -EINVAL;
	*tls = (struct tls_config){ .certificates = creds->is_psk ? NULL : creds->dir,
				    .psk = creds->is_psk ? creds->dir : NULL,
				    .any_peer = creds->any_peer,
				    .priority = creds->priority,
				    .passwordid = creds->passwordid };
	return 0;
}

static int take_tls(struct tls_config *tls, GError **err)
{
	bool verify_peer = true;

	if (given.creds)
		return take_creds(tls, err);
	if (given.certificates && given.psk)
		return error_refuse(err, -EINVAL,
				    "--tls-certificates and --tls-psk are mutually exclusive");
	if (given.verify_peer && !given.certificates)
		return error_refuse(err, -EINVAL, "--tls-verify-peer: needs --tls-certificates");
	if (given.verify_peer && !bool_parse(given.verify_peer, &verify_peer))
		return error_refuse(err, -EINVAL, "--tls-verify-peer: \"%s\" is not on or off",
				    given.verify_peer);
	*tls = (struct tls_config){ .certificates = given.certificates,
				    .psk = given.psk,
				    .any_peer = !verify_peer };
	return 0;
}

static int check_numbers(GError **err)
{
	if (given.shared < 1 || given.shared > EXPORT_MAX_CLIENTS)
		return error_refuse(err, -EINVAL, "--shared: %d is not between 1 and %d",
				    given.shared, EXPORT_MAX_CLIENTS);
	if (given.handshake_limit < 0)
		return error_refuse(err, -EINVAL, "--handshake-limit: %d is negative",
				    given.handshake_limit);
	return 0;
}

static int check_memory(uint64_t *ret_bytes, GError **err)
{
	*ret_bytes = EXPORT_DEFAULT_MEMORY;
	if (!given.memory)
		return 0;
	if (size_parse(given.memory, ret_bytes) == 0 && *ret_bytes >= EXPORT_MIN_MEMORY)
		return 0;
	return error_refuse(err, -EINVAL, "--request-memory: \"%s\" is not a size of at least 32M",
			    given.memory);
}

bool export_options_take(struct export_options *ret_options, GError **err)
{
	if (!given.address && first_option()) {
		error_refuse(err, -EINVAL, "%s: needs --export", first_option());
		return false;
	}
	if (!given.address)
		return true;
	if (check_text("--export-name", given.name, err) ||
	    check_text("--description", given.description, err) || check_bitmaps(err) ||
	    check_numbers(err) || check_memory(&ret_options->memory, err) ||
	    take_tls(&ret_options->tls, err) ||
	    !export_address_parse(given.address, &ret_options->address, err))
		return false;
	ret_options->name = g_strdup(given.name ?: "");
	ret_options->description = g_strdup(given.description);
	ret_options->bitmaps = g_strdupv(given.bitmaps);
	ret_options->allocation_depth = given.allocation_depth;
	ret_options->once = given.once;
	ret_options->max_clients = given.shared;
	ret_options->handshake_s = given.handshake_limit;
	return true;
}
