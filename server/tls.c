// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TLS; see tls.h.
 *
 * GnuTLS reads and writes the socket by functions of ours that never wait: it returns
 * GNUTLS_E_AGAIN instead, the coroutine polls, and tries again. The handshake runs on a worker,
 * because its arithmetic needs more stack than a coroutine has.
 */
#include "tls.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "channel.h"
#include "error.h"
#include "gnutls_late.h"
#include "secret.h"

/* The data of the largest record. */
#define RECORD_BYTES 16384

/* The names of QEMU's files. */
#define CA_CERT	     "ca-cert.pem"
#define CA_CRL	     "ca-crl.pem"
#define SERVER_CERT  "server-cert.pem"
#define SERVER_KEY   "server-key.pem"
#define PSK_FILE     "keys.psk"

struct tls_keys {
	gnutls_certificate_credentials_t x509; /* NULL: PSK */
	gnutls_psk_server_credentials_t psk;
	char *psk_file;
	bool any_peer;
	gnutls_priority_t priority;
};

struct tls_session {
	gnutls_session_t session;
	int fd;
	uint8_t record[RECORD_BYTES]; /* what is about to be sent */
};

/* ---- keys ---- */

static bool tls_failed(int ret, GError **err, const char *what)
{
	if (ret >= 0)
		return false;
	error_refuse(err, -EINVAL, "TLS: %s: %s", what, gnutls.strerror(ret));
	return true;
}

/* The certificate and its key. */
static bool load_own(struct tls_keys *keys, const struct tls_config *config, GError **err)
{
	g_autofree char *cert = g_build_filename(config->certificates, SERVER_CERT, NULL);
	g_autofree char *key = g_build_filename(config->certificates, SERVER_KEY, NULL);
	g_autofree char *password = NULL;

	if (config->passwordid) {
		g_autoptr(GBytes) secret = secret_get(config->passwordid, err);

		if (!secret)
			return false;
		password = g_strndup(g_bytes_get_data(secret, NULL), g_bytes_get_size(secret));
	}
	return !tls_failed(gnutls.certificate_set_x509_key_file2(keys->x509, cert, key,
								 GNUTLS_X509_FMT_PEM, password, 0),
			   err, cert);
}

static bool load_certificates(struct tls_keys *keys, const struct tls_config *config, GError **err)
{
	const char *folder = config->certificates;
	g_autofree char *ca = g_build_filename(folder, CA_CERT, NULL);
	g_autofree char *crl = g_build_filename(folder, CA_CRL, NULL);
	gnutls_certificate_credentials_t x509;
	bool ok;

	if (tls_failed(gnutls.certificate_allocate_credentials(&x509), err, folder))
		return false;
	keys->x509 = x509;
	ok = !tls_failed(gnutls.certificate_set_x509_trust_file(x509, ca, GNUTLS_X509_FMT_PEM), err,
			 ca);
	if (ok && g_file_test(crl, G_FILE_TEST_EXISTS))
		ok = !tls_failed(
			gnutls.certificate_set_x509_crl_file(x509, crl, GNUTLS_X509_FMT_PEM), err,
			crl);
	return ok && load_own(keys, config, err);
}

static bool load_psk(struct tls_keys *keys, const char *name, GError **err)
{
	g_autofree char *path = g_file_test(name, G_FILE_TEST_IS_DIR)
					? g_build_filename(name, PSK_FILE, NULL)
					: g_strdup(name);

	/* It is read again for each client, and a daemon has another folder. */
	keys->psk_file = g_canonicalize_filename(path, NULL);
	if (!g_file_test(keys->psk_file, G_FILE_TEST_EXISTS)) {
		error_set(err, -ENOENT, "TLS: %s", keys->psk_file);
		return false;
	}
	return !tls_failed(gnutls.psk_allocate_server_credentials(&keys->psk), err, name) &&
	       !tls_failed(gnutls.psk_set_server_credentials_file(keys->psk, keys->psk_file), err,
			   keys->psk_file);
}

static bool set_priority(struct tls_keys *keys, const char *priority, GError **err)
{
	g_autofree char *all = g_strconcat(priority ?: "NORMAL",
					   keys->psk ? ":+ECDHE-PSK:+DHE-PSK:+PSK" : "", NULL);

	return !tls_failed(gnutls.priority_init(&keys->priority, all, NULL), err, all);
}

bool tls_is_wanted(const struct tls_config *config)
{
	return config->certificates || config->psk;
}

struct tls_keys *tls_keys_new(const struct tls_config *config, GError **err)
{
	struct tls_keys *keys;
	bool ok;

	if (gnutls_load(err) < 0)
		return NULL;
	keys = g_new0(struct tls_keys, 1);
	keys->any_peer = config->any_peer;
	ok = config->psk ? load_psk(keys, config->psk, err) : load_certificates(keys, config, err);
	if (ok && set_priority(keys, config->priority, err))
		return keys;
	tls_keys_free(keys);
	return NULL;
}

void tls_keys_free(struct tls_keys *keys)
{
	if (!keys)
		return;
	if (keys->x509)
		gnutls.certificate_free_credentials(keys->x509);
	if (keys->psk)
		gnutls.psk_free_server_credentials(keys->psk);
	if (keys->priority)
		gnutls.priority_deinit(keys->priority);
	g_free(keys->psk_file);
	g_free(keys);
}

/* ---- the socket ---- */

static struct tls_session *session_of(gnutls_transport_ptr_t ptr)
{
	return ptr;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t bytes)
{
	return recv(session_of(ptr)->fd, buf, bytes, MSG_DONTWAIT);
}

static ssize_t push(gnutls_transport_ptr_t ptr, const void *buf, size_t bytes)
{
	return send(session_of(ptr)->fd, buf, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool must_wait(ssize_t ret)
{
	return ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED;
}

static int co_wait_for(struct tls_session *tls, short events, struct aio_limit *limit)
{
	int res = co_poll(tls->fd, events, limit);

	return MIN(res, 0);
}

/* ---- the handshake ---- */

static int shake_hands(void *arg)
{
	struct tls_session *tls = arg;

	return gnutls.handshake(tls->session);
}

static int co_handshake(struct tls_session *tls, struct aio_limit *limit)
{
	for (;;) {
		int ret = co_run_on_worker(shake_hands, tls), res;

		if (ret == GNUTLS_E_SUCCESS)
			return 0;
		if (ret == GNUTLS_E_CERTIFICATE_ERROR ||
		    ret == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
			return -EACCES;
		/* A warning, such as of a name of the server that it does not know. */
		if (!must_wait(ret) && !gnutls.error_is_fatal(ret))
			continue;
		if (!must_wait(ret))
			return -EPROTO;
		res = co_wait_for(tls, gnutls.record_get_direction(tls->session) ? POLLOUT : POLLIN,
				  limit);
		if (res < 0)
			return res;
	}
}

static int prepare_session(struct tls_session *tls, struct tls_keys *keys)
{
	int ret = gnutls.priority_set(tls->session, keys->priority);

	if (ret >= 0 && keys->psk)
		ret = gnutls.credentials_set(tls->session, GNUTLS_CRD_PSK, keys->psk);
	else if (ret >= 0)
		ret = gnutls.credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, keys->x509);
	if (ret >= 0 && keys->x509 && !keys->any_peer) {
		gnutls.certificate_server_set_request(tls->session, GNUTLS_CERT_REQUIRE);
		/* The handshake fails unless the CA has signed it, and it is valid now. */
		gnutls.session_set_verify_cert(tls->session, NULL, 0);
	}
	gnutls.transport_set_ptr(tls->session, tls);
	gnutls.transport_set_pull_function(tls->session, pull);
	gnutls.transport_set_push_function(tls->session, push);
	gnutls.handshake_set_timeout(tls->session, GNUTLS_INDEFINITE_TIMEOUT);
	return ret < 0 ? -EPROTO : 0;
}

int tls_co_begin(struct tls_keys *keys, struct channel *channel, struct aio_limit *limit)
{
	struct tls_session *tls = g_new0(struct tls_session, 1);
	int res;

	tls->fd = channel->fd;
	if (gnutls.init(&tls->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) {
		g_free(tls);
		return -ENOMEM;
	}
	res = prepare_session(tls, keys);
	if (!res)
		res = co_handshake(tls, limit);
	if (!res)
		channel->tls = tls;
	else
		tls_end(tls);
	return res;
}

void tls_end(struct tls_session *tls)
{
	if (!tls)
		return;
	gnutls.bye(tls->session, GNUTLS_SHUT_WR);
	gnutls.deinit(tls->session);
	g_free(tls);
}

/* ---- data ---- */

ssize_t tls_co_recv(struct tls_session *tls, void *buf, size_t bytes, struct aio_limit *limit)
{
	for (;;) {
		ssize_t ret = gnutls.record_recv(tls->session, buf, bytes);
		int res;

		if (ret >= 0)
			return ret;
		/* A close without a notice, as when a client dies. */
		if (ret == GNUTLS_E_PREMATURE_TERMINATION)
			return 0;
		if (!must_wait(ret) && gnutls.error_is_fatal(ret))
			return -EPROTO;
		res = must_wait(ret) ? co_wait_for(tls, POLLIN, limit) : 0;
		if (res < 0)
			return res;
	}
}

/* More than one if the peer has asked for smaller ones. */
static int co_send_records(struct tls_session *tls, size_t bytes, struct aio_limit *limit)
{
	const uint8_t *data = tls->record;
	bool is_begun = false; /* GnuTLS has a record, and goes on with that */

	while (bytes) {
		ssize_t ret = gnutls.record_send(tls->session, is_begun ? NULL : data,
						 is_begun ? 0 : bytes);
		int res = 0;

		is_begun = must_wait(ret);
		if (is_begun) {
			res = co_wait_for(tls, POLLOUT, limit);
		} else if (ret < 0) {
			res = -EPROTO;
		} else {
			data += ret;
			bytes -= ret;
		}
		if (res < 0)
			return res;
	}
	return 0;
}

/* In as few records as possible: a reply's header does not get its own. */
int tls_co_send_all(struct tls_session *tls, const struct iovec *iov, unsigned niov, uint64_t *sent,
		    struct aio_limit *limit)
{
	size_t fill = 0;
	int res = 0;

	for (; niov && !res; iov++, niov--) {
		const uint8_t *from = iov->iov_base;
		size_t left = iov->iov_len;

		while (left && !res) {
			size_t piece = MIN(left, RECORD_BYTES - fill);

			memcpy(tls->record + fill, from, piece);
			from += piece;
			left -= piece;
			fill += piece;
			if (fill < RECORD_BYTES)
				continue;
			res = co_send_records(tls, fill, limit);
			*sent += fill;
			fill = 0;
		}
	}
	if (fill && !res) {
		res = co_send_records(tls, fill, limit);
		*sent += fill;
	}
	return res;
}
