// SPDX-License-Identifier: GPL-2.0-or-later
/* Where an export listens; see export_address.h. */
#include "export_address.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"
#include "runfile.h"
#include "values.h"

#define BACKLOG 64

/* ---- names ---- */

static bool bad_address(GError **err, const char *text)
{
	error_refuse(err, -EINVAL,
		     "--export: \"%s\" is not nbd:unix:PATH, nbd:HOST:PORT or nbd:fd:N", text);
	return false;
}

/* HOST:PORT, where an IPv6 address is in brackets. */
static bool parse_host(const char *text, struct export_address *ret_address)
{
	const char *colon = strrchr(text, ':');
	bool has_brackets;
	uint64_t port;

	if (!colon || number_parse(colon + 1, 0, UINT16_MAX, &port))
		return false;
	ret_address->port = g_strdup_printf("%" PRIu64, port);
	has_brackets = *text == '[' && colon[-1] == ']';
	if (has_brackets)
		ret_address->host = g_strndup(text + 1, colon - text - 2);
	else
		ret_address->host = g_strndup(text, colon - text);
	return has_brackets == !!strchr(ret_address->host, ':') &&
	       !strpbrk(ret_address->host, "[]");
}

bool export_address_parse(const char *text, struct export_address *ret_address, GError **err)
{
	struct export_address address = { .fd = -1 };
	const char *rest = text;
	uint64_t fd;
	bool ok = g_str_has_prefix(text, "nbd:");

	rest += ok ? strlen("nbd:") : 0;
	if (ok && g_str_has_prefix(rest, "unix:")) {
		rest += strlen("unix:");
		ok = *rest;
		address.path = g_canonicalize_filename(rest, NULL);
	} else if (ok && g_str_has_prefix(rest, "fd:")) {
		ok = !number_parse(rest + strlen("fd:"), 0, INT32_MAX, &fd);
		address.fd = ok ? (int)fd : -1;
	} else if (ok) {
		ok = parse_host(rest, &address);
	}
	if (!ok) {
		export_address_clear(&address);
		return bad_address(err, text);
	}
	*ret_address = address;
	return true;
}

void export_address_clear(struct export_address *address)
{
	g_clear_pointer(&address->path, g_free);
	g_clear_pointer(&address->host, g_free);
	g_clear_pointer(&address->port, g_free);
}

/* ---- listening ---- */

struct listener {
	int fd;
	struct runfile *socket; /* has the descriptor, if it is a UNIX socket of ours */
	bool is_anywhere;	/* on all addresses */
};

static struct listener *new_listener(int fd, struct runfile *socket)
{
	struct listener *listener = g_new0(struct listener, 1);

	listener->fd = fd;
	listener->socket = socket;
	return listener;
}

static struct listener *listen_unix(const char *path, GError **err)
{
	struct runfile *socket = runfile_new_socket(path, err);

	return socket ? new_listener(runfile_fd(socket), socket) : NULL;
}

static int try_listen(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0, error;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* IPv4 too, if it is all addresses. */
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

/* IPv6 first: with all addresses, its socket takes IPv4 as well. */
static int listen_first(const struct addrinfo *infos)
{
	int res = -EADDRNOTAVAIL;

	for (int pass = 0; pass < 2 && res < 0; pass++)
		for (const struct addrinfo *info = infos; info && res < 0; info = info->ai_next)
			if ((info->ai_family == AF_INET6) == (pass == 0))
				res = try_listen(info);
	return res;
}

static struct listener *listen_tcp(const char *host, const char *port, GError **err)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	struct addrinfo *infos;
	struct listener *listener;
	int ret = getaddrinfo(*host ? host : NULL, port, &hints, &infos), fd;

	if (ret) {
		error_refuse(err, -EINVAL, "--export: %s: %s", host, gai_strerror(ret));
		return NULL;
	}
	fd = listen_first(infos);
	freeaddrinfo(infos);
	if (fd < 0) {
		error_set(err, fd, "--export: cannot listen on %s:%s", host, port);
		return NULL;
	}
	listener = new_listener(fd, NULL);
	listener->is_anywhere = !*host;
	return listener;
}

static struct listener *listen_fd(int fd, GError **err)
{
	int listens = 0;
	socklen_t len = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0) {
		error_set(err, -errno, "--export: descriptor %d", fd);
		return NULL;
	}
	if (!listens) {
		error_refuse(err, -EINVAL, "--export: descriptor %d is not a listening socket", fd);
		return NULL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	/* co_accept() must be able to wait. */
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return new_listener(fd, NULL);
}

struct listener *listener_new(const struct export_address *address, GError **err)
{
	if (address->path)
		return listen_unix(address->path, err);
	if (address->port)
		return listen_tcp(address->host, address->port, err);
	return listen_fd(address->fd, err);
}

int listener_fd(const struct listener *listener)
{
	return listener->fd;
}

void listener_free(struct listener *listener)
{
	if (!listener)
		return;
	if (listener->socket)
		runfile_remove(listener->socket);
	else
		close(listener->fd);
	g_free(listener);
}

/* ---- the URI ---- */

static char *escape(const char *text, const char *allowed)
{
	return g_uri_escape_bytes((const uint8_t *)text, strlen(text), allowed);
}

static char *unix_uri(const struct sockaddr_un *address, const char *name, const char *tls)
{
	g_autofree char *absolute = g_canonicalize_filename(address->sun_path, NULL);
	g_autofree char *path = escape(absolute, "/");

	return g_strdup_printf("nbd%s+unix:///%s?socket=%s", tls, name, path);
}

static char *tcp_uri(const struct sockaddr *address, socklen_t len, bool is_anywhere,
		     const char *name, const char *tls)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	bool is_bare;

	if (getnameinfo(address, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return NULL;
	if (is_anywhere)
		strcpy(host, "localhost");
	is_bare = !strchr(host, ':');
	return g_strdup_printf("nbd%s://%s%s%s:%s%s%s", tls, is_bare ? "" : "[", host,
			       is_bare ? "" : "]", port, *name ? "/" : "", name);
}

char *listener_uri(const struct listener *listener, const char *export_name, bool is_tls)
{
	g_autofree char *name = escape(export_name, "/");
	union {
		struct sockaddr any;
		struct sockaddr_un local;
		struct sockaddr_storage room;
	} address = { .room.ss_family = AF_UNSPEC };
	socklen_t len = sizeof(address);
	const char *tls = is_tls ? "s" : "";
	char *uri = NULL;

	getsockname(listener->fd, &address.any, &len);
	/* An abstract one has a name that begins with a zero; there is no URI of that. */
	if (address.any.sa_family == AF_UNIX)
		uri = *address.local.sun_path ? unix_uri(&address.local, name, tls) : NULL;
	else
		uri = tcp_uri(&address.any, len, listener->is_anywhere, name, tls);
	return uri ?: g_strdup_printf("nbd:fd:%d", listener->fd);
}
