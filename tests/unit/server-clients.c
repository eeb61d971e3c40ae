// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Slow clients of the server's socket, and slow commands: none of them delays another one, or the
 * end of the server. Linked with --wrap: the target is simulated, and a client's socket may be
 * full.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clients.h"
#include "image-test.h"

/* ---- the target ---- */

static uint64_t size;
static bool grow_hangs;		    /* until ... */
static struct aio_limit grow_limit; /* ... this is cancelled */
static unsigned growing;
static unsigned fails;
static unsigned looks; /* of status at the target */

static const char *target_path(const struct target *target)
{
	return "/dev/ubdb7";
}

static uint64_t target_size(const struct target *target)
{
	return size;
}

static unsigned target_nr_queues(const struct target *target)
{
	return 0;
}

static struct failure target_last_failure(const struct target *target, gint64 *ret_time)
{
	looks++;
	return (struct failure){ 0 };
}

static int target_co_grow(struct target *target)
{
	growing++;
	if (grow_hangs)
		co_wait_limit(&grow_limit);
	growing--;
	size = 2 << 20;
	return 0;
}

static void target_fail_held(struct target *target)
{
	fails++;
}

static struct target target = {
	.ops =
		&(const struct target_ops){
			.name = target_path,
			.size = target_size,
			.nr_queues = target_nr_queues,
			.last_failure = target_last_failure,
			.co_grow = target_co_grow,
			.fail_held = target_fail_held,
		},
};

/* ---- the clients' sockets ---- */

ssize_t __real_co_send(int fd, const void *buf, size_t bytes, struct aio_limit *limit);
ssize_t __wrap_co_send(int fd, const void *buf, size_t bytes, struct aio_limit *limit);

static bool sockets_are_full;
static unsigned sends_to_full;
static bool has_no_deadlines; /* clients get unlimited time */

uint64_t __real_aio_ns_from_now(uint64_t ns);
uint64_t __wrap_aio_ns_from_now(uint64_t ns);

uint64_t __wrap_aio_ns_from_now(uint64_t ns)
{
	return has_no_deadlines ? AIO_NEVER : __real_aio_ns_from_now(ns);
}

static void fill(int fd)
{
	static const char block[4096];
	int least = 1;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
}

ssize_t __wrap_co_send(int fd, const void *buf, size_t bytes, struct aio_limit *limit)
{
	if (sockets_are_full) {
		fill(fd);
		sends_to_full++;
	}
	/* Otherwise in pieces. */
	return __real_co_send(fd, buf, sockets_are_full ? bytes : MIN(bytes, 7), limit);
}

/* ---- a server ---- */

struct server {
	struct jobs jobs;
	struct command_target on;
	struct command_process process;
	struct clients *clients;
	struct image *image;
	struct disk *disk;
	unsigned quits;
};

static void count_quit(void *arg)
{
	++((struct server *)arg)->quits;
}

static void co_start_server(struct server *server)
{
	static const struct image_origin origin = {
		.name = "disk.raw",
		.path = "/folder/disk.raw",
		.format = "raw",
		.id = { .known = true, .dev = 2, .ino = UINT64_MAX },
		.temporary = true,
		.keep_as = (char *)"/kept",
	};
	write_file("disk.raw", "", 0);
	g_assert_cmpint(truncate("disk.raw", 1 << 20), ==, 0);
	*server = (struct server){ .image = co_open_ok("disk.raw", "raw", IMAGE_RDWR) };
	server->disk = disk_new(server->image);
	server->clients = clients_new("socket", NULL);
	g_assert_nonnull(server->clients);
	jobs_init(&server->jobs);
	server->on = (struct command_target){
		.disk = server->disk,
		.origin = &origin,
		.target = &target,
		.jobs = &server->jobs,
	};
	server->process.targets = g_ptr_array_new();
	g_ptr_array_add(server->process.targets, &server->on);
	clients_start(server->clients, &server->process, count_quit, server);
	size = 1 << 20;
	grow_hangs = sockets_are_full = has_no_deadlines = false;
	sends_to_full = 0;
	grow_limit = (struct aio_limit)AIO_LIMIT_INIT;
}

static void co_end_server(struct server *server)
{
	clients_co_free(server->clients);
	g_assert_false(g_file_test("socket", G_FILE_TEST_EXISTS));
	g_ptr_array_unref(server->process.targets);
	jobs_destroy(&server->jobs);
	disk_free(server->disk);
	g_assert_cmpint(image_co_close(server->image), ==, 0);
}

static int co_connect_to_server(void)
{
	struct sockaddr_un address = { AF_UNIX, "socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_assert_cmpint(co_connect(fd, (struct sockaddr *)&address, sizeof(address), NULL), ==, 0);
	return fd;
}

static void co_say(int fd, const char *text)
{
	g_assert_cmpint(co_sendmsg(fd,
				   &(struct msghdr){
					   .msg_iov = &(struct iovec){ (char *)text, strlen(text) },
					   .msg_iovlen = 1 },
				   0, NULL),
			==, strlen(text));
}

/* Everything until the server hangs up; the caller frees it. */
static char *co_hear(int fd)
{
	GString *text = g_string_new(NULL);
	char piece[100];
	ssize_t got;

	while ((got = co_recv(fd, piece, sizeof(piece), NULL)) > 0)
		g_string_append_len(text, piece, got);
	close(fd);
	return g_string_free(text, FALSE);
}

static char *co_ask(const char *text)
{
	int fd = co_connect_to_server();

	co_say(fd, text);
	return co_hear(fd);
}

static void co_check_status(void)
{
	g_autofree char *answer = co_ask("{\"command\": \"status\"}\n");

	g_assert_nonnull(strstr(answer, "\"device\":\"/dev/ubdb7\""));
}

/* ---- what status tells ---- */

static void co_expect_in_status(const char *text)
{
	g_autofree char *answer = co_ask("{\"command\": \"status\"}\n");

	if (!strstr(answer, text))
		g_error("%s does not have %s", answer, text);
}

CO_TEST(test_status)
{
	struct server server;

	co_start_server(&server);
	co_expect_in_status("\"image\":\"disk.raw\"");
	co_expect_in_status("\"image-path\":\"/folder/disk.raw\"");
	co_expect_in_status("\"image-dev\":2,\"image-ino\":-1");
	co_expect_in_status("\"temporary\":true,\"keep-as\":\"/kept\"");
	co_expect_in_status("\"format\":\"raw\"");
	co_expect_in_status("\"size\":1048576");
	co_expect_in_status("\"allocation\":{\"file-bytes\":1048576,\"allocated-bytes\":0,"
			    "\"freed-bytes\":0}");
	co_end_server(&server);
}

/* ---- a socket that nobody has named ---- */

CO_TEST(test_found_by_its_folder)
{
	g_autofree char *path = g_strdup_printf("run/%d.sock", getpid());
	g_autoptr(GError) err = NULL;
	struct clients *clients;

	g_setenv("UBD_RUN_DIR", "run", TRUE);
	clients = clients_new_in_folder(&err);
	g_assert_no_error(err);
	g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
	clients_co_free(clients);
	g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));

	/* One with a name is found, too. */
	clients = clients_new("socket", NULL);
	g_assert_true(clients_link_in_folder(clients, "socket", &err));
	g_assert_true(g_file_test(path, G_FILE_TEST_IS_SYMLINK));
	clients_co_free(clients);
	g_assert_false(g_file_test(path, G_FILE_TEST_IS_SYMLINK));

	g_assert_cmpint(g_chmod("run", 0777), ==, 0);
	g_assert_null(clients_new_in_folder(&err));
	g_assert_nonnull(strstr(err->message, "other users can write to it"));
	g_unsetenv("UBD_RUN_DIR");
}

/* ---- slow clients ---- */

CO_TEST(test_line_in_pieces)
{
	struct server server;
	g_autofree char *answer = NULL;
	int fd;

	co_start_server(&server);
	has_no_deadlines = true;
	fd = co_connect_to_server();
	co_say(fd, "{\"command\":");
	co_check_status();
	co_say(fd, " \"sing\"}\n");
	answer = co_hear(fd);
	g_assert_cmpstr(
		answer, ==,
		"{\"error\":\"\\\"command\\\" must be status, stats, resize, fail-held, throttle, add, remove, events or quit\"}\n");
	co_end_server(&server);
}

CO_TEST(test_held_requests_fail)
{
	struct server server;
	g_autofree char *answer = NULL;

	co_start_server(&server);
	answer = co_ask("{\"command\": \"fail-held\"}\n");
	g_assert_cmpstr(answer, ==, "{}\n");
	g_assert_cmpuint(fails, ==, 1);
	co_end_server(&server);
}

static void co_check_answer(const char *line, const char *expected)
{
	g_autofree char *answer = co_ask(line);

	g_assert_cmpstr(answer, ==, expected);
}

static void co_check_refused(const char *line)
{
	co_check_answer(line, "{\"error\":\"expected a line with a JSON object\"}\n");
}

/* What a command does not understand is not meant for the only disk. */
CO_TEST(test_arguments)
{
	struct server server;
	const unsigned fails_before = fails;

	co_start_server(&server);
	co_check_answer(
		"{\"command\": \"fail-held\", \"device\": 7}\n",
		"{\"error\":\"\\\"device\\\" must be the name of a device or an export\"}\n");
	co_check_answer(
		"{\"command\": \"fail-held\", \"device\": null}\n",
		"{\"error\":\"\\\"device\\\" must be the name of a device or an export\"}\n");
	co_check_answer("{\"command\": \"fail-held\", \"devise\": \"/dev/ubdb8\"}\n",
			"{\"error\":\"\\\"devise\\\" is not an argument of \\\"fail-held\\\"\"}\n");
	co_check_answer("{\"command\": \"resize\", \"size\": \"1G\"}\n",
			"{\"error\":\"\\\"size\\\" must be a number of bytes\"}\n");
	co_check_answer("{\"command\": \"add\", \"image\": 1}\n",
			"{\"error\":\"\\\"image\\\" must be the name of an image\"}\n");
	g_assert_cmpuint(fails, ==, fails_before);
	co_check_answer("{\"command\": \"fail-held\", \"device\": \"/dev/ubdb7\"}\n", "{}\n");
	g_assert_cmpuint(fails, ==, fails_before + 1);
	co_end_server(&server);
}

/* A recursive parser needs more stack for these than a coroutine has. */
CO_TEST(test_deep_lines)
{
	static const char *const pieces[] = { "[", "{\"a\":", "[\"]\"," };
	struct server server;

	co_start_server(&server);
	for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
		g_autoptr(GString) line = g_string_new(NULL);

		while (line->len + strlen(pieces[i]) < 4090)
			g_string_append(line, pieces[i]);
		g_string_append_c(line, '\n');
		co_check_refused(line->str);
	}
	co_check_refused("[]\n");
	co_check_refused("\n");
	co_check_status();
	co_end_server(&server);
}

/* Nobody can tell which of two commands, or which number, a client means. */
CO_TEST(test_odd_lines)
{
	struct server server;

	co_start_server(&server);
	co_check_refused("{\"command\":\"status\",\"command\":\"quit\"}\n");
	co_check_refused("{\"command\":\"resize\",\"size\":99999999999999999999}\n");
	co_check_refused("{\"command\":\"status\"} {\"command\":\"quit\"}\n");
	co_check_refused("{\"command\":\"quit\\u0000\"}\n");
	co_check_refused("{\"command\":\"quit\xff\"}\n");
	co_check_answer("{\"command\":\"resize\",\"size\":1e6}\n",
			"{\"error\":\"\\\"size\\\" must be a number of bytes\"}\n");
	co_check_answer(
		"{\"command\":[\"quit\"]}\n",
		"{\"error\":\"\\\"command\\\" must be status, stats, resize, fail-held, throttle, add, remove, events or quit\"}\n");
	g_assert_cmpuint(server.quits, ==, 0);
	co_end_server(&server);
}

/* ---- without memory ---- */

static unsigned allocations_left;

static void *few_allocations(size_t bytes)
{
	return allocations_left && allocations_left-- ? malloc(bytes) : NULL;
}

/* Whatever cannot be allocated, the server answers in JSON or not at all, and goes on. */
CO_TEST(test_no_memory_for_an_answer)
{
	struct server server;
	bool is_whole = false;

	co_start_server(&server);
	for (unsigned few = 0; !is_whole; few++) {
		g_autofree char *answer = NULL;
		json_auto_t *parsed = NULL;

		allocations_left = few;
		json_set_alloc_funcs(few_allocations, free);
		answer = co_ask("{\"command\": \"status\"}\n");
		json_set_alloc_funcs(malloc, free);
		parsed = json_loads(answer, 0, NULL);
		g_assert_true(json_is_object(parsed) || !*answer);
		is_whole = allocations_left;
	}
	co_check_status();
	co_end_server(&server);
}

/* A client has two seconds for its line, not for each byte. */
CO_TEST(test_slow_line)
{
	struct server server;
	uint64_t begin = aio_now_ns();
	unsigned sent = 0;
	char byte;
	int fd;

	co_start_server(&server);
	fd = co_connect_to_server();
	while (send(fd, " ", 1, MSG_NOSIGNAL) == 1) {
		sent++;
		co_sleep_ns(10000000);
	}
	g_assert_cmpuint(aio_now_ns() - begin, >=, 2000000000);
	/* With two seconds for each byte, all of them would arrive. */
	g_assert_cmpuint(sent, <, 4095);
	g_assert_cmpint(co_recv(fd, &byte, 1, NULL), <=, 0);
	close(fd);
	co_end_server(&server);
}

static void co_wait_for_full(void)
{
	while (!sends_to_full)
		co_sleep_ns(1000000);
}

CO_TEST(test_nobody_waits_for_others)
{
	struct server server;
	int silent[CLIENTS_MAX - 2], deaf;

	co_start_server(&server);
	has_no_deadlines = true;
	for (unsigned i = 0; i < G_N_ELEMENTS(silent); i++)
		silent[i] = co_connect_to_server();
	sockets_are_full = true;
	deaf = co_connect_to_server();
	co_say(deaf, "{\"command\": \"status\"}\n");
	co_wait_for_full();
	sockets_are_full = false;
	co_check_status();
	/* Nor do they delay the end of the server. */
	co_end_server(&server);
	for (unsigned i = 0; i < G_N_ELEMENTS(silent); i++)
		close(silent[i]);
	close(deaf);
}

/* More clients than are served at once; each makes room for another when it is dropped. */
CO_TEST(test_silent_clients)
{
	struct server server;
	int fds[2 * CLIENTS_MAX];
	char byte;

	co_start_server(&server);
	for (unsigned i = 0; i < CLIENTS_MAX - 1; i++)
		fds[i] = co_connect_to_server();
	co_check_status();
	for (unsigned i = CLIENTS_MAX - 1; i < G_N_ELEMENTS(fds); i++)
		fds[i] = co_connect_to_server();
	co_check_status();
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		g_assert_cmpint(co_recv(fds[i], &byte, 1, NULL), ==, 0);
	/* Some are still silent, and one waits in the backlog. */
	co_end_server(&server);
	for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++)
		close(fds[i]);
}

CO_TEST(test_client_that_reads_nothing)
{
	struct server server;
	uint64_t begin;
	int fd;

	co_start_server(&server);
	sockets_are_full = true;
	fd = co_connect_to_server();
	co_say(fd, "{\"command\": \"quit\"}\n");
	begin = aio_now_ns();
	co_wait_for_full();
	sockets_are_full = false;
	/* The client is dropped first; only then does it ask for the end. */
	while (!server.quits)
		co_sleep_ns(10000000);
	g_assert_cmpuint(aio_now_ns() - begin, >=, 2000000000);
	close(fd);
	co_end_server(&server);
}

/* Its command would look at a target that is being taken apart. */
CO_TEST(test_line_that_comes_with_the_end)
{
	static const char line[] = "{\"command\": \"status\"}\n";

	for (unsigned i = 0; i < 20; i++) {
		g_autofree char *answer = NULL;
		struct server server;
		int fd;

		co_start_server(&server);
		fd = co_connect_to_server();
		/* It is served from now on. */
		co_check_status();
		looks = 0;
		g_assert_cmpint(send(fd, line, strlen(line), 0), ==, strlen(line));
		clients_stop(server.clients);
		answer = co_hear(fd);
		g_assert_cmpstr(answer, ==, "");
		g_assert_cmpuint(looks, ==, 0);
		co_end_server(&server);
	}
}

/* ---- slow commands ---- */

struct asker {
	const char *text;
	char *answer;
};

static void asker_co(void *arg)
{
	struct asker *asker = arg;

	asker->answer = co_ask(asker->text);
}

static void co_wait_until_growing(void)
{
	while (!growing)
		co_sleep_ns(1000000);
}

CO_TEST(test_long_command)
{
	struct asker asker = { .text = "{\"command\": \"resize\", \"size\": 2097152}\n" };
	g_autofree char *status = NULL, *quit = NULL, *later = NULL;
	struct co_group group = { 0 };
	struct server server;

	co_start_server(&server);
	grow_hangs = true;
	co_group_start(&group, asker_co, &asker);
	co_wait_until_growing();
	status = co_ask("{\"command\": \"status\"}\n");
	g_assert_nonnull(strstr(status, "\"jobs\":[{\"name\":\"resize\",\"state\":\"running\","
					"\"done\":1,\"total\":2}]"));
	quit = co_ask("{\"command\": \"quit\"}\n");
	g_assert_cmpstr(quit, ==, "{}\n");
	while (!server.quits)
		co_reschedule();
	g_assert_null(asker.answer);
	grow_hangs = false;
	aio_limit_cancel(&grow_limit);
	co_group_wait(&group);
	g_assert_cmpstr(asker.answer, ==, "{\"size\":2097152}\n");
	g_free(asker.answer);
	later = co_ask("{\"command\": \"status\"}\n");
	g_assert_null(strstr(later, "jobs"));
	co_end_server(&server);
}

/* Some wait for the running one, and get an answer when the server ends; too many are refused. */
CO_TEST(test_many_long_commands)
{
	struct asker askers[JOBS_MAX_WAITING + 3];
	struct co_group group = { 0 };
	unsigned refused = 0, ended = 0, done = 0;
	struct server server;

	co_start_server(&server);
	grow_hangs = true;
	for (unsigned i = 0; i < G_N_ELEMENTS(askers); i++) {
		askers[i] = (struct asker){ .text = "{\"command\": \"resize\"}\n" };
		co_group_start(&group, asker_co, &askers[i]);
	}
	co_wait_until_growing();
	while (group.running > JOBS_MAX_WAITING + 1)
		co_sleep_ns(1000000);
	co_check_status();
	jobs_cancel(&server.jobs);
	clients_stop(server.clients);
	aio_limit_cancel(&grow_limit);
	co_group_wait(&group);
	for (unsigned i = 0; i < G_N_ELEMENTS(askers); i++) {
		refused += !!strstr(askers[i].answer, "4 operations are waiting already");
		ended += g_str_equal(askers[i].answer, "{\"error\":\"the server ends\"}\n");
		done += g_str_equal(askers[i].answer, "{\"size\":2097152}\n");
		g_free(askers[i].answer);
	}
	g_assert_cmpuint(refused, ==, 2);
	g_assert_cmpuint(ended, ==, JOBS_MAX_WAITING);
	g_assert_cmpuint(done, ==, 1);
	co_end_server(&server);
}

CO_TEST(test_never_started)
{
	struct clients *clients = clients_new("socket", NULL);

	g_assert_nonnull(clients);
	clients_co_free(clients);
	g_assert_false(g_file_test("socket", G_FILE_TEST_EXISTS));
	clients_co_free(NULL);
}

/* ---- disks that do not answer ---- */

static struct aio_limit add_limit; /* no disk is added until it is cancelled */
static unsigned adding;

static int co_add_later(void *arg, const char *image, char *const *words, int *fd, json_t *answer,
			GError **err)
{
	adding++;
	co_wait_limit(&add_limit);
	adding--;
	return 0;
}

static const char add_line[] = "{\"command\": \"add\", \"image\": \"disk\"}\n";

static void adding_co(void *arg)
{
	int fd = co_connect_to_server();

	co_say(fd, add_line);
	/* Half of them have gone when it is done. */
	if (arg)
		g_free(co_hear(fd));
	else
		close(fd);
}

/* However many commands wait, and whether or not their clients do, the server answers others. */
CO_TEST(test_commands_that_wait_take_no_places)
{
	struct server server;
	struct co_group group = { 0 };

	co_start_server(&server);
	has_no_deadlines = true;
	server.process.co_add = co_add_later;
	add_limit = (struct aio_limit)AIO_LIMIT_INIT;
	for (unsigned i = 0; i < WAITING_MAX; i++)
		co_group_start(&group, adding_co, i % 2 ? &server : NULL);
	while (adding < WAITING_MAX)
		co_check_status();
	co_check_answer(add_line, "{\"error\":\"too many commands wait for disks\"}\n");
	co_check_status();
	aio_limit_cancel(&add_limit);
	co_group_wait(&group);
	co_check_status();
	co_end_server(&server);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/clients/held-requests-fail", test_held_requests_fail);
	g_test_add_func("/clients/status", test_status);
	g_test_add_func("/clients/found-by-its-folder", test_found_by_its_folder);
	g_test_add_func("/clients/line-in-pieces", test_line_in_pieces);
	g_test_add_func("/clients/arguments", test_arguments);
	g_test_add_func("/clients/deep-lines", test_deep_lines);
	g_test_add_func("/clients/odd-lines", test_odd_lines);
	g_test_add_func("/clients/no-memory-for-an-answer", test_no_memory_for_an_answer);
	g_test_add_func("/clients/slow-line", test_slow_line);
	g_test_add_func("/clients/nobody-waits-for-others", test_nobody_waits_for_others);
	g_test_add_func("/clients/silent-clients", test_silent_clients);
	g_test_add_func("/clients/client-that-reads-nothing", test_client_that_reads_nothing);
	g_test_add_func("/clients/line-that-comes-with-the-end", test_line_that_comes_with_the_end);
	g_test_add_func("/clients/long-command", test_long_command);
	g_test_add_func("/clients/many-long-commands", test_many_long_commands);
	g_test_add_func("/clients/commands-that-wait-take-no-places",
			test_commands_that_wait_take_no_places);
	g_test_add_func("/clients/never-started", test_never_started);
	return leave_scratch(folder, g_test_run());
}
