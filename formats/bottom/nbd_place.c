// SPDX-License-Identifier: GPL-2.0-or-later
/* Where an NBD export is, and options; see nbd_place.h. Nothing here connects or looks at files. */
#include "nbd_place.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "tls_creds.h"

#define DEFAULT_PORT	"10809"
/* A string of the protocol is not longer. */
#define MAX_EXPORT_NAME 4096

/* ---- options ---- */

static const char *const server_types[] = { "inet", "unix", NULL };

const struct node_option nbd_options[] = {
	{
		.name = "server.type",
		.type = NODE_OPTION_CHOICE,
		.help = "How to reach the server: inet (TCP) or unix",
		.choices = server_types,
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "server.host",
		.type = NODE_OPTION_STRING,
		.help = "Its host, with inet",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "server.port",
		.type = NODE_OPTION_STRING,
		.default_value = "10809",
		.help = "Its port, with inet",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "server.path",
		.type = NODE_OPTION_STRING,
		.help = "Its socket, with unix",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "export",
		.type = NODE_OPTION_STRING,
		.help = "The name of the export (default: empty)",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "tls",
		.type = NODE_OPTION_BOOL,
		.help = "Require TLS (default: if credentials are given)",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "tls-certificates",
		.type = NODE_OPTION_STRING,
		.help = "The folder with ca-cert.pem, and client-cert.pem and client-key.pem",
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "tls-psk-file",
		.type = NODE_OPTION_STRING,
		.help = "The file with pre-shared keys",
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "tls-username",
		.type = NODE_OPTION_STRING,
		.help = "The user whose key it is",
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "tls-creds",
		.type = NODE_OPTION_STRING,
		.help = "The object with credentials",
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "tls-hostname",
		.type = NODE_OPTION_STRING,
		.help = "The name that the certificate must have",
		.refusal = "libnbd compares the certificate with server.host",
	},
	{
		.name = "reconnect-delay",
		.type = NODE_OPTION_NUMBER,
		.default_value = "0",
		.help = "Seconds that requests wait for a lost server",
	},
	{
		.name = "open-timeout",
		.type = NODE_OPTION_NUMBER,
		.default_value = "0",
		.help = "Seconds to try to connect at first; 0: try once",
	},
	{
		.name = "request-timeout",
		.type = NODE_OPTION_NUMBER,
		.default_value = "0",
		.help = "Seconds that the server may take for a request; 0: any number",
	},
	{
		.name = "x-dirty-bitmap",
		.type = NODE_OPTION_STRING,
		.help = "The metadata context to read in place of allocation",
		.refusal = "only base:allocation is read",
	},
	{},
};

static char *take_text(const struct node_options *options, const char *name)
{
	return g_strdup(node_options_text(options, name));
}

static int check_server(const struct nbd_place *place, const char *type, GError **err)
{
	if (!type)
		return error_refuse(err, -EINVAL, "NBD server address missing: give server.type");
	if (strcmp(type, "unix") == 0 && (!place->path || !*place->path))
		return error_refuse(err, -EINVAL, "Parameter 'server.path' is missing");
	if (strcmp(type, "unix") == 0 && (place->host || place->port))
		return error_refuse(err, -EINVAL,
				    "server.type is 'unix', which has no server.host or .port");
	if (strcmp(type, "inet") == 0 && (!place->host || !*place->host))
		return error_refuse(err, -EINVAL, "Parameter 'server.host' is missing");
	if (strcmp(type, "inet") == 0 && place->path)
		return error_refuse(err, -EINVAL,
				    "server.type is 'inet', which has no server.path");
	if (strlen(place->export_name) > MAX_EXPORT_NAME)
		return error_refuse(err, -EINVAL, "export name too long: more than %d bytes",
				    MAX_EXPORT_NAME);
	return 0;
}

static int check_tls(const struct nbd_place *place, GError **err)
{
	if (!place->tls && (place->certificates || place->psk_file || place->username))
		return error_refuse(err, -EINVAL, "tls is off, but credentials for it were given");
	if (place->certificates && place->psk_file)
		return error_refuse(err, -EINVAL,
				    "tls-certificates and tls-psk-file exclude each other");
	return 0;
}

/* What an object says takes the place of the other options. */
static int take_creds(struct nbd_place *place, const char *id, GError **err)
{
	const struct tls_creds *creds;

	if (place->certificates || place->psk_file || place->username)
		return error_refuse(err, -EINVAL,
				    "tls-creds excludes tls-certificates, tls-psk-file and "
				    "tls-username");
	creds = tls_creds_get(id, false, err);
	if (!creds)
		return -EINVAL;
	if (creds->is_psk) {
		place->psk_file = g_build_filename(creds->dir, TLS_CREDS_PSK_FILE, NULL);
		place->username = g_strdup(creds->username);
	} else {
		place->certificates = g_strdup(creds->dir);
		place->any_peer = creds->any_peer;
	}
	return 0;
}

int nbd_place_init(struct nbd_place *place, const struct node_options *options, GError **err)
{
	const char *creds = node_options_text(options, "tls-creds");
	int ret;

	*place = (struct nbd_place){
		.path = take_text(options, "server.path"),
		.host = take_text(options, "server.host"),
		.port = take_text(options, "server.port"),
		.export_name = take_text(options, "export") ?: g_strdup(""),
		.certificates = take_text(options, "tls-certificates"),
		.psk_file = take_text(options, "tls-psk-file"),
		.username = take_text(options, "tls-username"),
	};
	ret = creds ? take_creds(place, creds, err) : 0;
	place->tls = node_options_bool(options, "tls",
				       place->certificates || place->psk_file || place->username);
	ret = ret ?: check_server(place, node_options_text(options, "server.type"), err)
		      ?: check_tls(place, err);
	if (!ret && place->host && !place->port)
		place->port = g_strdup(DEFAULT_PORT);
	return ret;
}

void nbd_place_clear(struct nbd_place *place)
{
	g_free(place->path);
	g_free(place->host);
	g_free(place->port);
	g_free(place->export_name);
	g_free(place->certificates);
	g_free(place->psk_file);
	g_free(place->username);
	*place = (struct nbd_place){};
}

/* ---- to a URI ---- */

static void add_escaped(GString *uri, const char *before, const char *text, const char *allowed)
{
	g_string_append(uri, before);
	g_string_append_uri_escaped(uri, text, allowed, false);
}

/* A part of the query, after "?" or "&". */
static void add_query(GString *uri, char *mark, const char *name, const char *value)
{
	if (!value)
		return;
	g_string_append_printf(uri, "%c%s=", *mark, name);
	add_escaped(uri, "", value, "/:@");
	*mark = '&';
}

static void add_authority(GString *uri, const struct nbd_place *place)
{
	bool is_ipv6 = place->host && strchr(place->host, ':');

	if (place->username) {
		add_escaped(uri, "", place->username, NULL);
		g_string_append_c(uri, '@');
	}
	if (!place->host)
		return;
	if (is_ipv6)
		g_string_append_printf(uri, "[%s]", place->host);
	else
		add_escaped(uri, "", place->host, NULL);
	add_escaped(uri, ":", place->port, NULL);
}

char *nbd_place_uri(const struct nbd_place *place)
{
	GString *uri = g_string_new(place->tls ? "nbds" : "nbd");
	char mark = '?';

	g_string_append(uri, place->path ? "+unix://" : "://");
	add_authority(uri, place);
	if (*place->export_name)
		add_escaped(uri, "/", place->export_name, "/:@");
	add_query(uri, &mark, "socket", place->path);
	add_query(uri, &mark, "tls-certificates", place->certificates);
	add_query(uri, &mark, "tls-psk-file", place->psk_file);
	return g_string_free(uri, FALSE);
}

/* ---- which export it is ---- */

static char *absolute_path(const char *path)
{
	return g_canonicalize_filename(path, NULL);
}

/* The part of a checksum that fits: no device of the host has the highest bit set. */
struct file_id nbd_place_id(const struct nbd_place *place)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_autofree char *path = place->path ? absolute_path(place->path) : NULL;
	const char *parts[] = { path ?: "", place->host ?: "", place->port ?: "",
				place->export_name };
	uint64_t digest[4];
	gsize size = sizeof(digest);

	for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++)
		g_checksum_update(sum, (const guchar *)parts[i], strlen(parts[i]) + 1);
	g_checksum_get_digest(sum, (guint8 *)digest, &size);
	return (struct file_id){ true, digest[0] | 1ull << 63, digest[1] };
}

/* ---- from a name ---- */

static void set(struct node_options *options, const char *name, const char *text)
{
	node_options_set(options, name, NODE_VALUE_STRING, text);
}

static int refuse_uri(const char *filename, const char *why, GError **err)
{
	return error_refuse(err, -EINVAL, "Could not open '%s': %s", filename, why);
}

/* What is in the query of a URI; each at most once. */
static int set_query(const char *filename, GUri *uri, struct node_options *options, GError **err)
{
	static const struct {
		const char *parameter, *option;
	} known[] = {
		{ "socket", "server.path" },
		{ "tls-certificates", "tls-certificates" },
		{ "tls-psk-file", "tls-psk-file" },
	};
	GError *error = NULL;
	GUriParamsIter iter;
	char *name, *value;
	int ret = 0;

	g_uri_params_iter_init(&iter, g_uri_get_query(uri) ?: "", -1, "&", G_URI_PARAMS_NONE);
	while (!ret && g_uri_params_iter_next(&iter, &name, &value, &error)) {
		const char *option = NULL;

		for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
			if (strcmp(known[i].parameter, name) == 0)
				option = known[i].option;
		if (!option || node_options_find(options, option))
			ret = error_refuse(err, -EINVAL,
					   "Could not open '%s': unknown or repeated parameter "
					   "'%s'; a URI may have socket, tls-certificates and "
					   "tls-psk-file",
					   filename, name);
		else
			set(options, option, value);
		g_free(name);
		g_free(value);
	}
	if (error) {
		g_propagate_error(err, error);
		ret = -EINVAL;
	}
	return ret;
}

static int set_server(const char *filename, GUri *uri, bool is_unix, struct node_options *options,
		      GError **err)
{
	const char *host = g_uri_get_host(uri);
	g_autofree char *port = g_strdup_printf("%d", g_uri_get_port(uri));

	set(options, "server.type", is_unix ? "unix" : "inet");
	if (is_unix && ((host && *host) || g_uri_get_port(uri) != -1))
		return refuse_uri(filename, "a URI of a UNIX socket has no host or port", err);
	if (is_unix != !!node_options_find(options, "server.path"))
		return refuse_uri(filename,
				  is_unix ? "the URI needs ?socket=PATH"
					  : "only nbd+unix:// has a socket",
				  err);
	if (is_unix)
		return 0;
	/* As in QEMU. */
	set(options, "server.host", host && *host ? host : "localhost");
	set(options, "server.port", g_uri_get_port(uri) == -1 ? DEFAULT_PORT : port);
	return 0;
}

static int parse_uri(const char *filename, struct node_options *options, GError **err)
{
	g_autoptr(GUri) uri = g_uri_parse(filename, G_URI_FLAGS_ENCODED_QUERY, err);
	bool is_unix, tls;
	const char *path;
	int ret;

	if (!uri) {
		g_prefix_error(err, "Could not open '%s': not a valid URI: ", filename);
		return -EINVAL;
	}
	/* One of the schemes that lead here. */
	is_unix = g_str_has_suffix(g_uri_get_scheme(uri), "+unix");
	tls = g_str_has_prefix(g_uri_get_scheme(uri), "nbds");
	ret = set_query(filename, uri, options, err)
		      ?: set_server(filename, uri, is_unix, options, err);
	if (ret)
		return ret;
	path = g_uri_get_path(uri);
	path += *path == '/';
	if (*path)
		set(options, "export", path);
	if (tls)
		node_options_set(options, "tls", NODE_VALUE_BOOL, "true");
	if (g_uri_get_userinfo(uri))
		set(options, "tls-username", g_uri_get_userinfo(uri));
	return 0;
}

#define EXPORT_NAME ":exportname="

/* nbd:HOST:PORT or nbd:unix:PATH, then perhaps :exportname=EXPORT. */
static int parse_old_name(const char *filename, struct node_options *options, GError **err)
{
	const char *export_name = strstr(filename, EXPORT_NAME);
	const char *rest = filename + strlen("nbd:");
	g_autofree char *server =
		export_name ? g_strndup(rest, export_name - rest) : g_strdup(rest);
	char *colon = strrchr(server, ':');

	if (export_name && export_name[strlen(EXPORT_NAME)])
		set(options, "export", export_name + strlen(EXPORT_NAME));
	if (g_str_has_prefix(server, "unix:")) {
		set(options, "server.type", "unix");
		set(options, "server.path", server + strlen("unix:"));
		return 0;
	}
	if (!colon || colon == server || !colon[1])
		return refuse_uri(filename,
				  "expected nbd:HOST:PORT or nbd:unix:PATH, then perhaps "
				  ":exportname=EXPORT",
				  err);
	*colon = '\0';
	/* The address of IPv6 is in brackets. */
	if (*server == '[' && colon[-1] == ']')
		colon[-1] = '\0';
	set(options, "server.type", "inet");
	set(options, "server.host", server + (*server == '['));
	set(options, "server.port", colon + 1);
	return 0;
}

int nbd_parse_name(const char *filename, struct node_options *options, GError **err)
{
	bool is_uri = g_str_has_prefix(strchr(filename, ':'), "://");
	struct nbd_place place;
	int ret =
		is_uri ? parse_uri(filename, options, err) : parse_old_name(filename, options, err);

	if (ret)
		return ret;
	ret = nbd_place_init(&place, options, err);
	if (ret)
		g_prefix_error(err, "Could not open '%s': ", filename);
	nbd_place_clear(&place);
	return ret;
}

/* ---- for bottom_ops ---- */

char *nbd_make_name(const struct node_options *options, GError **err)
{
	struct nbd_place place;
	char *uri = nbd_place_init(&place, options, err) ? NULL : nbd_place_uri(&place);

	nbd_place_clear(&place);
	return uri;
}

/* Fills *place; nbd_place_clear() it, even on failure. */
static int place_of_name(const char *filename, struct nbd_place *place)
{
	struct node_options *options = node_options_new();
	int ret = nbd_parse_name(filename, options, NULL);

	*place = (struct nbd_place){};
	ret = ret ?: nbd_place_init(place, options, NULL);
	node_options_free(options);
	return ret;
}

struct file_id nbd_identify(const char *filename)
{
	struct nbd_place place;
	struct file_id id = {};

	if (!place_of_name(filename, &place))
		id = nbd_place_id(&place);
	nbd_place_clear(&place);
	return id;
}

bool nbd_is_same(const char *a, const char *b)
{
	struct file_id id_a = nbd_identify(a), id_b = nbd_identify(b);

	return file_id_equal(&id_a, &id_b);
}

char *nbd_stable_name(const char *filename)
{
	struct nbd_place place;
	char *path, *uri = NULL;

	if (!place_of_name(filename, &place)) {
		path = place.path ? absolute_path(place.path) : NULL;
		g_free(place.path);
		place.path = path;
		uri = nbd_place_uri(&place);
	}
	nbd_place_clear(&place);
	return uri;
}
