// SPDX-License-Identifier: GPL-2.0-or-later
/* Clients of the server's socket; see clients.h. */
#include "clients.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "passed_fds.h"
#include "report.h"
#include "run_folder.h"
#include "runfile.h"

#define MAX_LINE	4096
/* Commands have one or two. */
#define MAX_BRACKETS	16
/* For a client's whole line, and for its taking the answer; however many pieces there are. */
#define CLIENT_NS	UINT64_C(2000000000)
/* After a failure to accept, such as one for lack of descriptors. */
#define ACCEPT_PAUSE_NS UINT64_C(100000000)

struct client {
	struct clients *clients;
	int fd;
	int passed_fd; /* that came with the line; -1: none */
	struct aio_limit limit;
	bool is_busy;		  /* with a command */
	bool watches;		  /* wants events */
	GQueue events;		  /* lines that were not sent */
	struct coroutine *waiter; /* for the next one */
	struct aio_limit hangup;
	struct client *next;
};

struct clients {
	struct runfile *socket;
	struct runfile *link; /* by which others find it; NULL: none */
	const struct command_process *process;
	void (*quit)(void *arg);
	void *quit_arg;
	struct aio_limit listening;
	struct coroutine *listener; /* while it waits for a client to go */
	struct co_group group;	    /* the listener and the clients */
	struct client *first;
	unsigned nr;	  /* those with a place: all but ... */
	unsigned waiting; /* ... those whose command may wait for long */
	bool stopped;
};

/* ---- a client ---- */

/* Commands need one descriptor at most. */
static void take_passed(struct client *client, struct msghdr *msg)
{
	int fds[PASSED_FDS_MAX];
	unsigned nr = passed_fds_take(msg, fds);

	for (unsigned i = 0; i < nr; i++) {
		if (client->passed_fd < 0)
			client->passed_fd = fds[i];
		else
			close(fds[i]);
	}
}

static ssize_t co_receive(struct client *client, char *buf, size_t bytes)
{
	union passed_fds room;
	struct iovec iov = { buf, bytes };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &room,
		.msg_controllen = sizeof(room),
	};
	ssize_t got = co_recvmsg(client->fd, &msg, MSG_CMSG_CLOEXEC, &client->limit);

	if (got >= 0)
		take_passed(client, &msg);
	return got;
}

/* A line without its newline; false: none came in time. */
static bool co_read_line(struct client *client, char *line, size_t size)
{
	size_t len = 0;

	client->limit.end_ns = aio_ns_from_now(CLIENT_NS);
	while (len < size - 1) {
		ssize_t got = co_receive(client, line + len, size - 1 - len);
		char *end;

		if (got <= 0)
			return false;
		line[len + got] = 0;
		end = strchr(line + len, '\n');
		len += got;
		if (end) {
			*end = 0;
			return true;
		}
	}
	return false;
}

/* False: the client does not take all of it. */
static bool co_send_line(struct client *client, const char *line)
{
	size_t left = strlen(line);

	client->limit.end_ns = aio_ns_from_now(CLIENT_NS);
	while (left) {
		ssize_t sent = co_send(client->fd, line, left, &client->limit);

		if (sent < 0)
			return false;
		line += sent;
		left -= sent;
	}
	return true;
}

/* A line; the caller frees it. */
static char *dump(const json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	char *line = text ? g_strconcat(text, "\n", NULL) : NULL;

	free(text);
	return line;
}

static void co_send_answer(struct client *client, const json_t *answer)
{
	g_autofree char *line = dump(answer);

	/* A client that does not listen does not want to know. */
	if (line && !co_send_line(client, line))
		report_verbose("a client disconnected before its answer");
}

/*
 * A JSON object; NULL if the line is not one, or says something twice. The parser calls itself for
 * each bracket inside another one, and a line of brackets would overflow the stack of a coroutine.
 */
static json_t *parse_line(const char *line)
{
	json_auto_t *value = NULL;
	unsigned brackets = 0;

	for (const char *c = line; *c; c++)
		brackets += *c == '{' || *c == '[';
	if (brackets <= MAX_BRACKETS)
		value = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	return json_is_object(value) ? g_steal_pointer(&value) : NULL;
}

static unsigned count_watchers(const struct clients *clients)
{
	unsigned nr = 0;

	for (const struct client *client = clients->first; client; client = client->next)
		nr += client->watches;
	return nr;
}

/* Some wait for a disk, or for its users, whether or not the client is still there. */
static enum commands_then co_run(struct client *client, const json_t *request, json_t *answer)
{
	struct clients *clients = client->clients;
	unsigned places = commands_may_wait(request) ? 1 : 0;
	enum commands_then then;

	if (places && clients->waiting == WAITING_MAX) {
		commands_refuse(answer, "too many commands wait for disks");
		return COMMANDS_NOTHING;
	}
	clients->nr -= places;
	clients->waiting += places;
	co_wake_at(&clients->listener);
	client->is_busy = true;
	then = commands_co_run(clients->process, request, &client->passed_fd, answer);
	client->is_busy = false;
	clients->waiting -= places;
	clients->nr += places;
	return then;
}

/* No event is missed from the answer on. True: the server must end. */
static bool co_answer(struct client *client, const char *line)
{
	json_auto_t *answer = json_object(), *request = parse_line(line);
	enum commands_then then = COMMANDS_NOTHING;

	if (request)
		then = co_run(client, request, answer);
	else
		commands_refuse(answer, "expected a line with a JSON object");
	if (then == COMMANDS_EVENTS && count_watchers(client->clients) == WATCHERS_MAX)
		commands_refuse(answer, "too many clients wait for events");
	else
		client->watches = then == COMMANDS_EVENTS;
	co_send_answer(client, answer);
	return then == COMMANDS_QUIT;
}

/* ---- events ---- */

static char *event_line(const char *event, const struct report_subject *subject,
			const char *message)
{
	json_auto_t *object = json_object();

	answer_set_text(object, "event", event);
	answer_set_text(object, "device", subject->device ?: "");
	answer_set_text(object, "image", subject->image ?: "");
	answer_set_text(object, "message", message);
	return dump(object);
}

static void tell_watchers(void *arg, const char *event, const struct report_subject *subject,
			  const char *message)
{
	struct clients *clients = arg;
	g_autofree char *line = event_line(event, subject, message);

	for (struct client *client = clients->first; client; client = client->next) {
		if (!client->watches)
			continue;
		if (g_queue_get_length(&client->events) < EVENTS_MAX)
			g_queue_push_tail(&client->events, g_strdup(line));
		else
			client->watches = false;
		co_wake_at(&client->waiter);
	}
}

static void hangup_co(void *arg)
{
	struct client *client = arg;

	co_poll(client->fd, POLLRDHUP, &client->hangup);
	client->watches = false;
	co_wake_at(&client->waiter);
}

static void co_send_event(struct client *client)
{
	g_autofree char *line = g_queue_pop_head(&client->events);

	client->watches = line && co_send_line(client, line) && client->watches;
}

static void co_send_events(struct client *client)
{
	struct co_group group = { 0 };

	client->hangup = (struct aio_limit)AIO_LIMIT_INIT;
	co_group_start(&group, hangup_co, client);
	while (client->watches && !client->clients->stopped) {
		if (g_queue_is_empty(&client->events))
			co_wait_at(&client->waiter);
		else
			co_send_event(client);
	}
	aio_limit_cancel(&client->hangup);
	co_group_wait(&group);
}

/* ---- the life of a client ---- */

static void add_client(struct clients *clients, struct client *client)
{
	client->next = clients->first;
	clients->first = client;
	clients->nr++;
}

static void free_client(struct client *client)
{
	struct clients *clients = client->clients;
	struct client **place = &clients->first;

	while (*place != client)
		place = &(*place)->next;
	*place = client->next;
	clients->nr--;
	g_queue_clear_full(&client->events, g_free);
	close(client->fd);
	if (client->passed_fd >= 0)
		close(client->passed_fd);
	g_free(client);
	co_wake_at(&clients->listener);
}

static void client_co(void *arg)
{
	struct client *client = arg;
	struct clients *clients = client->clients;
	g_autofree char *line = g_malloc(MAX_LINE);
	/* A line may come together with the end: no command may look at what is taken apart. */
	bool quits = co_read_line(client, line, MAX_LINE) && !clients->stopped &&
		     co_answer(client, line);

	if (client->watches)
		co_send_events(client);
	free_client(client);
	if (quits)
		clients->quit(clients->quit_arg);
}

/* ---- all of them ---- */

/* A descriptor, or -errno, after a pause; -ECANCELED: no more clients. */
static int co_next_client(struct clients *clients)
{
	struct aio_limit *listening = &clients->listening;
	int fd;

	while (clients->nr >= CLIENTS_MAX && !clients->stopped)
		co_wait_at(&clients->listener);
	listening->end_ns = AIO_NEVER;
	fd = co_accept(runfile_fd(clients->socket), listening);
	if (fd >= 0 || fd == -ECANCELED)
		return fd;
	listening->end_ns = aio_ns_from_now(ACCEPT_PAUSE_NS);
	return co_wait_limit(listening);
}

static void remove_files(struct clients *clients)
{
	runfile_remove(clients->link);
	runfile_remove(clients->socket);
	clients->link = clients->socket = NULL;
}

static void listener_co(void *arg)
{
	struct clients *clients = arg;
	int fd;

	while ((fd = co_next_client(clients)) != -ECANCELED) {
		struct client *client;

		if (fd < 0)
			continue;
		client = g_new(struct client, 1);
		*client = (struct client){ .clients = clients,
					   .fd = fd,
					   .passed_fd = -1,
					   .limit = AIO_LIMIT_INIT,
					   .events = G_QUEUE_INIT };
		/* It may have come together with the end. */
		client->limit.cancelled = clients->stopped;
		add_client(clients, client);
		co_group_start(&clients->group, client_co, client);
	}
	/* Only now: until then the operation that waits for clients uses it. */
	remove_files(clients);
}

struct clients *clients_new(const char *path, GError **err)
{
	struct runfile *socket = runfile_new_socket(path, err);
	struct clients *clients;

	if (!socket)
		return NULL;
	clients = g_new0(struct clients, 1);
	clients->socket = socket;
	clients->listening = (struct aio_limit)AIO_LIMIT_INIT;
	return clients;
}

void clients_clean_folder(void)
{
	g_autofree char *folder = run_folder_find(false, NULL);

	if (folder)
		runfile_clean_sockets(folder);
}

/* What this process has in the folder for sockets. The caller frees it. */
static char *path_in_folder(GError **err)
{
	g_autofree char *folder = run_folder_find(true, err), *name = NULL;

	if (!folder)
		return NULL;
	runfile_clean_sockets(folder);
	name = run_folder_socket_name(getpid());
	return g_build_filename(folder, name, NULL);
}

struct clients *clients_new_in_folder(GError **err)
{
	g_autofree char *path = path_in_folder(err);

	return path ? clients_new(path, err) : NULL;
}

bool clients_link_in_folder(struct clients *clients, const char *socket, GError **err)
{
	g_autofree char *path = path_in_folder(err);

	clients->link = path ? runfile_new_link(path, socket, err) : NULL;
	return clients->link;
}

void clients_start(struct clients *clients, const struct command_process *process,
		   void (*quit)(void *arg), void *arg)
{
	if (!clients)
		return;
	clients->process = process;
	clients->quit = quit;
	clients->quit_arg = arg;
	report_watch(tell_watchers, clients);
	co_group_start(&clients->group, listener_co, clients);
}

void clients_stop(struct clients *clients)
{
	if (!clients || clients->stopped)
		return;
	clients->stopped = true;
	aio_limit_cancel(&clients->listening);
	co_wake_at(&clients->listener);
	for (struct client *client = clients->first; client; client = client->next) {
		if (!client->is_busy)
			aio_limit_cancel(&client->limit);
		co_wake_at(&client->waiter);
	}
}

void clients_co_free(struct clients *clients)
{
	if (!clients)
		return;
	clients_stop(clients);
	report_watch(NULL, NULL);
	co_group_wait(&clients->group);
	/* It was never started. */
	remove_files(clients);
	g_free(clients);
}
