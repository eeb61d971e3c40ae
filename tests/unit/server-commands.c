// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Clients of the server's socket that take their time. It is linked with --wrap: the clock is a
 * tenth of a second later each time that somebody looks at it.
 */
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "commands.h"
#include "image-test.h"

gint64 __wrap_g_get_monotonic_time(void);
gint64 __wrap_g_get_monotonic_time(void)
{
	static gint64 now;

	return now += G_USEC_PER_SEC / 10;
}

static int connect_to_server(void)
{
	struct sockaddr_un address = { AF_UNIX, "socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	return fd;
}

/* Whether the peer has taken all that was sent to it. */
static bool is_taken(int fd)
{
	int unread = 0;

	return ioctl(fd, SIOCOUTQ, &unread) < 0 || unread == 0;
}

/* Sends the next byte when the last one was taken, until nobody takes any; how many. */
static void *send_bytes(void *arg)
{
	int fd = GPOINTER_TO_INT(arg);
	unsigned sent = 0;

	while (send(fd, " ", 1, MSG_NOSIGNAL) == 1) {
		sent++;
		while (!is_taken(fd))
			g_thread_yield();
	}
	return GUINT_TO_POINTER(sent);
}

/*
 * It has two seconds for its line, not for each byte of it, which were enough for all the 4095
 * bytes that a line may have. Within 20 looks at the clock the server takes mostly 20 bytes, but
 * whatever comes while it receives one is taken with it.
 */
static void test_a_client_that_sends_bytes_is_given_up(void)
{
	struct commands *commands = commands_new("socket", NULL);
	int fd = connect_to_server();
	GThread *client = g_thread_new("client", send_bytes, GINT_TO_POINTER(fd));

	g_assert_true(commands_serve(commands, NULL, NULL, NULL));
	g_assert_cmpuint(GPOINTER_TO_UINT(g_thread_join(client)), <, 1000);
	close(fd);
	commands_free(commands);
}

static void test_a_line_in_pieces_is_answered(void)
{
	struct commands *commands = commands_new("socket", NULL);
	int fd = connect_to_server();
	char answer[200] = "";

	g_assert_cmpint(send(fd, "{\"command\":", 11, 0), ==, 11);
	g_assert_cmpint(send(fd, " \"sing\"}\n", 10, 0), ==, 10);
	g_assert_true(commands_serve(commands, NULL, NULL, NULL));
	g_assert_cmpint(recv(fd, answer, sizeof(answer) - 1, 0), >, 0);
	g_assert_nonnull(strstr(answer, "must be status"));
	close(fd);
	commands_free(commands);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/commands/a-client-that-sends-bytes-is-given-up",
			test_a_client_that_sends_bytes_is_given_up);
	g_test_add_func("/commands/a-line-in-pieces-is-answered",
			test_a_line_in_pieces_is_answered);
	return leave_scratch(folder, g_test_run());
}
