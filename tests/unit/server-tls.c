// SPDX-License-Identifier: GPL-2.0-or-later
/* TLS of the server with a peer that is unusual. */
#include <gnutls/gnutls.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "image-test.h"
#include "tls.h"

#define BYTES  (1u << 20)
#define RECORD 512

static const struct tls_config config = { .psk = "keys.psk" };
static const char key_line[] = "alice:00112233445566778899aabbccddeeff\n";

/* A client that a thread plays, and the server's end. */
struct world {
	struct tls_keys *keys;
	struct channel channel;
	int fd; /* the client's end, which the thread closes */
	GThread *thread;
	uint8_t *data; /* that the server sends */
};

static void begin(struct world *world, GThreadFunc client)
{
	int fds[2];

	write_file("keys.psk", key_line, strlen(key_line));
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
	world->keys = tls_keys_new(&config, NULL);
	g_assert_nonnull(world->keys);
	world->channel.fd = fds[0];
	world->fd = fds[1];
	world->data = g_malloc(BYTES);
	for (unsigned i = 0; i < BYTES; i++)
		world->data[i] = g_random_int();
	world->thread = g_thread_new("client", client, world);
}

static void end(struct world *world)
{
	tls_end(world->channel.tls);
	close(world->channel.fd);
	g_thread_join(world->thread);
	tls_keys_free(world->keys);
	g_free(world->data);
}

static void receive_all(const struct world *world, gnutls_session_t session)
{
	uint8_t piece[4 * RECORD];

	for (ssize_t got = 0, ret; got < BYTES; got += ret) {
		ret = gnutls_record_recv(session, piece, MIN(sizeof(piece), (size_t)(BYTES - got)));
		g_assert_cmpint(ret, >, 0);
		g_assert_cmpmem(piece, ret, world->data + got, ret);
	}
}

static gpointer small_client(gpointer arg)
{
	static char hex[] = "00112233445566778899aabbccddeeff";
	const gnutls_datum_t key = { (unsigned char *)hex, strlen(hex) };
	const struct world *world = arg;
	gnutls_psk_client_credentials_t psk;
	gnutls_session_t session;

	gnutls_psk_allocate_client_credentials(&psk);
	gnutls_psk_set_client_credentials(psk, "alice", &key, GNUTLS_PSK_KEY_HEX);
	gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
	gnutls_priority_set_direct(session, "NORMAL:-KX-ALL:+ECDHE-PSK", NULL);
	gnutls_credentials_set(session, GNUTLS_CRD_PSK, psk);
	g_assert_cmpint(gnutls_record_set_max_size(session, RECORD), ==, 0);
	gnutls_transport_set_int(session, world->fd);
	g_assert_cmpint(gnutls_handshake(session), ==, 0);
	receive_all(world, session);
	gnutls_deinit(session);
	gnutls_psk_free_client_credentials(psk);
	close(world->fd);
	return NULL;
}

CO_TEST(test_small_records)
{
	struct aio_limit limit = AIO_LIMIT_INIT;
	struct world world = { 0 };
	struct iovec iov;

	begin(&world, small_client);
	iov = (struct iovec){ world.data, BYTES };
	g_assert_cmpint(tls_co_begin(world.keys, &world.channel, &limit), ==, 0);
	g_assert_cmpint(channel_co_send_all(&world.channel, &iov, 1, NULL), ==, 0);
	end(&world);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/tls/small-records", test_small_records);
	return leave_scratch(folder, g_test_run());
}
