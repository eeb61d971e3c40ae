// SPDX-License-Identifier: GPL-2.0-or-later
/* What becomes of a device of nbd.ko's, which is played here with its files in /sys. */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nbd_netlink.h"
#include "nbd_server_file.h"
#include "transport.h"

/* ---- nbd.ko ---- */

static char *backend;		    /* of the device that is connected; NULL: none is */
static uint64_t connection = 1;	    /* if one is */
static bool replaced_by_write_back; /* by another program's */
static bool is_marked;
static int sock; /* the kernel's end of its queue */
static unsigned write_backs, ends, serving_ends;
static bool has_process;  /* the kernel's idea of the server */
static pid_t others_pid;  /* what a process that is not the server finds */
static bool is_deaf;	  /* the kernel does not read what the server sends */
static unsigned nr_open;  /* how many devices, from 0 on, somebody has open */
static unsigned connects; /* commands so far */

uint64_t __wrap_nbd_connection(uint32_t id);
bool __wrap_nbd_may_have_process(uint32_t id);
char *__wrap_nbd_attribute(uint32_t id, const char *name);
void __wrap_nbd_write_attribute(uint32_t id, const char *name, unsigned value);
struct nbd_netlink *__wrap_nbd_netlink_new(GError **err);
void __wrap_nbd_netlink_free(struct nbd_netlink *nl);
int __wrap_nbd_netlink_connect(struct nbd_netlink *nl, const struct nbd_connection *connection);
bool __wrap_nbd_netlink_is_open(struct nbd_netlink *nl, uint32_t id);
int __wrap_nbd_netlink_disconnect(struct nbd_netlink *nl, uint32_t id);
char *__wrap_disk_opener(const char *path);
int __wrap_nbd_disk_end(struct nbd_netlink *nl, uint32_t id, bool serves);
void __wrap_nbd_disk_scan(uint32_t id);
void __wrap_disk_write_back(const char *disk);
void __wrap_disk_mark_remove(const char *disk);
pid_t __wrap_nbd_server_pid(uint32_t id);

uint64_t __wrap_nbd_connection(uint32_t id)
{
	return backend ? connection : 0;
}

/* Another program minds no lock. */
static void connect_another(void)
{
	g_free(backend);
	backend = g_strdup("");
	connection++;
}

bool __wrap_nbd_may_have_process(uint32_t id)
{
	return has_process;
}

char *__wrap_nbd_attribute(uint32_t id, const char *name)
{
	return strcmp(name, "backend") == 0 ? g_strdup(backend) : g_strdup("2048");
}

void __wrap_nbd_write_attribute(uint32_t id, const char *name, unsigned value)
{
}

struct nbd_netlink *__wrap_nbd_netlink_new(GError **err)
{
	return (struct nbd_netlink *)&backend;
}

void __wrap_nbd_netlink_free(struct nbd_netlink *nl)
{
}

/* Reads what the server sends at first. */
int __wrap_nbd_netlink_connect(struct nbd_netlink *nl, const struct nbd_connection *connected)
{
	char magic[4];

	g_assert_cmpuint(connected->nr_sockets, ==, 1);
	connects++;
	if (connected->id < nr_open)
		return -EBUSY;
	sock = dup(connected->sockets[0]);
	backend = g_strdup(connected->backend);
	if (is_deaf)
		return 0;
	return recv(sock, magic, sizeof(magic), MSG_WAITALL) == sizeof(magic) ? 0 : -EIO;
}

bool __wrap_nbd_netlink_is_open(struct nbd_netlink *nl, uint32_t id)
{
	return id < nr_open;
}

int __wrap_nbd_netlink_disconnect(struct nbd_netlink *nl, uint32_t id)
{
	close(sock);
	return 0;
}

char *__wrap_disk_opener(const char *path)
{
	return strcmp(path, "/dev/nbd1") == 0 ? g_strdup("PID 7, dd") : NULL;
}

int __wrap_nbd_disk_end(struct nbd_netlink *nl, uint32_t id, bool serves)
{
	ends++;
	serving_ends += serves;
	return 0;
}

void __wrap_nbd_disk_scan(uint32_t id)
{
}

void __wrap_disk_write_back(const char *disk)
{
	write_backs++;
	if (replaced_by_write_back)
		connect_another();
}

void __wrap_disk_mark_remove(const char *disk)
{
	is_marked = false;
}

pid_t __wrap_nbd_server_pid(uint32_t id)
{
	return others_pid;
}

/* ---- tests ---- */

/* As the server's keeper does. */
static struct transport *go_on(struct transport *transport)
{
	struct transport_seed seed = { .driver = TRANSPORT_NBD, .server_pid = getpid() };
	int fd = dup(transport_nbd.give(transport, &seed));

	transport_free(transport);
	return transport_nbd.resume(&seed, fd, NULL);
}

/* A handle of the server's keeper. */
static struct transport *add(uint32_t id, enum recovery recovery)
{
	struct transport_info info = {
		.id = id,
		.queues = 1,
		.depth = 64,
		.max_io_bytes = 128u << 10,
		.data = DATA_COPY,
		.recovery = recovery,
	};
	const struct device_params params = { .logical_block_size = 512, .dev_sectors = 2048 };
	struct transport *transport = transport_nbd.add(&info, NULL, NULL);

	write_backs = ends = serving_ends = 0;
	g_assert_nonnull(transport);
	transport = go_on(transport);
	g_assert_nonnull(transport);
	g_assert_cmpint(transport_nbd.set_params(transport, &params), ==, 0);
	return transport;
}

/* As the server's main loop does. */
static int open_queue(struct transport *transport, GError **err)
{
	int fd;

	while ((fd = transport_nbd.open_queue(transport, 0, err)) == -EAGAIN)
		g_usleep(1000);
	return fd;
}

/* The device is live. */
static struct transport *play_server(enum recovery recovery)
{
	struct transport *transport = add(TRANSPORT_ANY_ID, recovery);

	close(open_queue(transport, NULL));
	g_assert_cmpint(transport_nbd.start(transport), ==, 0);
	return transport;
}

static void end_server(struct transport *transport)
{
	transport_free(transport);
	g_clear_pointer(&backend, g_free);
	close(sock);
}

static void test_stop_writes_back(void)
{
	struct transport *server = play_server(RECOVERY_REISSUE);

	g_assert_cmpint(transport_nbd.stop(server), ==, 0);
	g_assert_cmpuint(write_backs, ==, 1);
	g_assert_cmpuint(serving_ends, ==, 1);
	end_server(server);
}

/* It has stopped answering, so its users' data has no way. */
static void test_server_does_not_wait_for_itself(void)
{
	struct transport *server = play_server(RECOVERY_REISSUE);

	g_assert_cmpint(transport_nbd.delete(server), ==, 0);
	g_assert_cmpuint(write_backs, ==, 0);
	g_assert_cmpuint(ends, ==, 1);
	g_assert_cmpuint(serving_ends, ==, 0);
	end_server(server);
}

/* Whoever deletes the device, its users' data is kept if somebody serves it. */
static void test_others_wait_for_the_server(void)
{
	struct transport *server = play_server(RECOVERY_REISSUE), *other;
	struct transport_info info;

	for (int serves = 0; serves < 2; serves++) {
		write_backs = ends = serving_ends = 0;
		others_pid = serves ? 77 : -1;
		other = transport_nbd.open(0, &info, NULL);
		g_assert_cmpint(info.server_pid, ==, others_pid);
		g_assert_cmpint(info.state, ==, serves ? TRANSPORT_LIVE : TRANSPORT_QUIESCED);
		g_assert_cmpint(transport_nbd.delete(other), ==, 0);
		g_assert_cmpuint(ends, ==, 1);
		g_assert_cmpuint(write_backs, ==, serves);
		g_assert_cmpuint(serving_ends, ==, serves);
		transport_free(other);
	}
	end_server(server);
}

/* The number of a device that its server has let go of may be that of another's. */
static void test_keeper_knows_whose_device_it_is(void)
{
	struct transport *server = play_server(RECOVERY_NONE);

	others_pid = getpid();
	g_assert_true(transport_nbd.is_given(server));
	others_pid = getpid() + 1;
	g_assert_false(transport_nbd.is_given(server));
	others_pid = -1;
	g_assert_false(transport_nbd.is_given(server));
	end_server(server);
}

/* A server may keep the file of a device that has been disconnected. */
static void test_devices_of_other_programs_are_left_alone(void)
{
	struct transport *server = play_server(RECOVERY_NONE), *new = NULL;
	struct transport_info info;

	others_pid = getpid();
	g_clear_pointer(&backend, g_free);
	g_assert_true(transport_nbd.is_given(server));
	connect_another();
	g_assert_false(transport_nbd.is_given(server));
	g_assert_cmpint(transport_nbd.stop(server), ==, 0);
	g_assert_cmpint(transport_nbd.delete(server), ==, 0);
	g_assert_cmpint(transport_nbd.resize(server, 4096), ==, -ENODEV);
	g_assert_cmpint(transport_nbd.get_info(server, &info), ==, 0);
	g_assert_cmpint(info.state, ==, TRANSPORT_STOPPED);
	g_assert_cmpuint(ends, ==, 0);
	end_server(server);
	/* Nor what has the number before the device is connected. */
	new = add(0, RECOVERY_NONE);
	connect_another();
	g_assert_false(transport_nbd.is_given(new));
	g_assert_cmpint(transport_nbd.delete(new), ==, 0);
	g_assert_cmpuint(ends, ==, 0);
	end_server(new);
}

/* What its users have written takes as long as its server likes. */
static void test_another_connection_of_the_number_is_not_ended(void)
{
	struct transport *server = play_server(RECOVERY_REISSUE), *other;
	struct transport_info info;

	others_pid = 77;
	replaced_by_write_back = true;
	other = transport_nbd.open(0, &info, NULL);
	g_assert_cmpint(transport_nbd.stop(other), ==, 0);
	g_assert_cmpuint(write_backs, ==, 1);
	g_assert_cmpuint(ends, ==, 0);
	replaced_by_write_back = false;
	transport_free(other);
	end_server(server);
}

/* The next server of the number writes one before its device is connected. */
static void test_mark_of_the_next_device_is_kept(void)
{
	for (int others = 0; others < 2; others++) {
		struct transport *server = play_server(RECOVERY_NONE);

		is_marked = true;
		g_clear_pointer(&backend, g_free);
		others_pid = others ? 77 : -1;
		transport_nbd.server_ended(server);
		g_assert_true(is_marked == others);
		end_server(server);
	}
}

/* With recovery, their users' data might wait for ever. */
static void test_servers_in_containers_are_not_seen(void)
{
	static const enum recovery modes[] = { RECOVERY_NONE, RECOVERY_REISSUE };

	others_pid = -1;
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct transport *server = play_server(modes[i]), *other;
		struct transport_info info;

		for (int lives = 0; lives < 2; lives++) {
			write_backs = 0;
			has_process = lives;
			other = transport_nbd.open(0, &info, NULL);
			g_assert_cmpint(transport_nbd.stop(other), ==, 0);
			g_assert_cmpuint(write_backs, ==, lives && modes[i] == RECOVERY_NONE);
			transport_free(other);
		}
		has_process = false;
		end_server(server);
	}
}

/* The kernel shows a device that somebody has open as if it was still connected. */
static void test_what_has_ended_does_not_wait(void)
{
	struct transport *server = play_server(RECOVERY_REISSUE), *other;
	struct transport_info info;

	others_pid = -1;
	other = transport_nbd.open(0, &info, NULL);
	g_assert_cmpint(info.state, ==, TRANSPORT_QUIESCED);
	nbd_server_file_end(0);
	g_assert_cmpint(transport_nbd.get_info(other, &info), ==, 0);
	g_assert_cmpint(info.state, ==, TRANSPORT_STOPPED);
	g_assert_cmpint(transport_take_over(other), ==, -ENODEV);
	transport_free(other);
	end_server(server);
}

/* Nobody has written anything, and nobody would answer what is read. */
static void test_queues_that_never_ran_are_not_waited_for(void)
{
	struct transport *server = add(TRANSPORT_ANY_ID, RECOVERY_NONE);

	close(open_queue(server, NULL));
	has_process = true;
	g_assert_cmpint(transport_nbd.stop(server), ==, 0);
	g_assert_cmpuint(write_backs, ==, 0);
	g_assert_cmpuint(ends, ==, 1);
	g_assert_cmpuint(serving_ends, ==, 0);
	has_process = false;
	end_server(server);
}

/* ---- devices that somebody has open ---- */

static void test_number_that_is_open_is_passed_over(void)
{
	struct transport *server;
	int fd;

	nr_open = 2;
	server = play_server(RECOVERY_NONE);
	g_assert_cmpstr(server->path, ==, "/dev/nbd2");
	/* The lock of the others is free for whoever takes them when they are closed. */
	fd = nbd_server_file_take(0, NULL);
	g_assert_cmpint(fd, >=, 0);
	nbd_server_file_close(fd);
	end_server(server);
	nr_open = 0;
}

static void test_opener_of_a_wanted_number_is_named(void)
{
	struct transport *server;
	g_autoptr(GError) err = NULL;

	nr_open = 2;
	server = add(1, RECOVERY_NONE);
	g_assert_cmpint(open_queue(server, &err), ==, -EBUSY);
	g_assert_cmpstr(err->message, ==, "/dev/nbd1 is open in another process (PID 7, dd)");
	transport_free(server);
	nr_open = 0;
}

static void test_wanted_number_that_was_open_in_passing(void)
{
	struct transport *server;

	nr_open = 2;
	server = add(1, RECOVERY_NONE);
	nr_open = 0;
	close(open_queue(server, NULL));
	g_assert_nonnull(backend);
	end_server(server);
}

/* ---- nothing waits ---- */

/* The kernel reads what it is sent some time later; until then, the server's main loop goes on. */
static void test_deaf_kernel_is_not_waited_for(void)
{
	struct transport *server = add(0, RECOVERY_NONE);
	g_autoptr(GError) err = NULL;
	char magic[4];

	is_deaf = true;
	g_assert_cmpint(transport_nbd.open_queue(server, 0, &err), ==, -EAGAIN);
	g_assert_cmpint(transport_nbd.open_queue(server, 0, &err), ==, -EAGAIN);
	g_assert_no_error(err);
	g_assert_cmpint(recv(sock, magic, sizeof(magic), MSG_WAITALL), ==, sizeof(magic));
	close(transport_nbd.open_queue(server, 0, &err));
	g_assert_no_error(err);
	is_deaf = false;
	end_server(server);
}

/* That is done at another time, if at all. */
static void test_opener_is_not_waited_for(void)
{
	struct transport *server;

	nr_open = 1;
	server = add(0, RECOVERY_NONE);
	connects = 0;
	g_assert_cmpint(transport_nbd.open_queue(server, 0, NULL), ==, -EAGAIN);
	g_assert_cmpint(transport_nbd.open_queue(server, 0, NULL), ==, -EAGAIN);
	g_assert_cmpuint(connects, >=, 1);
	nr_open = 0;
	close(open_queue(server, NULL));
	end_server(server);
}

int main(int argc, char **argv)
{
	g_autofree char *folder = g_dir_make_tmp("control-transport-nbd-XXXXXX", NULL);
	int ret;

	nbd_server_folder = folder;
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control-nbd/stop-writes-back", test_stop_writes_back);
	g_test_add_func("/control-nbd/server-does-not-wait-for-itself",
			test_server_does_not_wait_for_itself);
	g_test_add_func("/control-nbd/others-wait-for-the-server", test_others_wait_for_the_server);
	g_test_add_func("/control-nbd/keeper-knows-whose-device-it-is",
			test_keeper_knows_whose_device_it_is);
	g_test_add_func("/control-nbd/devices-of-other-programs-are-left-alone",
			test_devices_of_other_programs_are_left_alone);
	g_test_add_func("/control-nbd/another-connection-of-the-number-is-not-ended",
			test_another_connection_of_the_number_is_not_ended);
	g_test_add_func("/control-nbd/mark-of-the-next-device-is-kept",
			test_mark_of_the_next_device_is_kept);
	g_test_add_func("/control-nbd/servers-in-containers-are-not-seen",
			test_servers_in_containers_are_not_seen);
	g_test_add_func("/control-nbd/what-has-ended-does-not-wait",
			test_what_has_ended_does_not_wait);
	g_test_add_func("/control-nbd/queues-that-never-ran-are-not-waited-for",
			test_queues_that_never_ran_are_not_waited_for);
	g_test_add_func("/control-nbd/number-that-is-open-is-passed-over",
			test_number_that_is_open_is_passed_over);
	g_test_add_func("/control-nbd/opener-of-a-wanted-number-is-named",
			test_opener_of_a_wanted_number_is_named);
	g_test_add_func("/control-nbd/wanted-number-that-was-open-in-passing",
			test_wanted_number_that_was_open_in_passing);
	g_test_add_func("/control-nbd/deaf-kernel-is-not-waited-for",
			test_deaf_kernel_is_not_waited_for);
	g_test_add_func("/control-nbd/opener-is-not-waited-for", test_opener_is_not_waited_for);
	ret = g_test_run();
	for (unsigned id = 0; id < 3; id++) {
		g_autofree char *path = g_strdup_printf("%s/nbd%u", folder, id);

		g_unlink(path);
	}
	g_rmdir(folder);
	return ret;
}
