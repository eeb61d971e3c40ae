// SPDX-License-Identifier: GPL-2.0-or-later
/* What tracefs reports about a request, and about servers that come and go. */
#include "batches.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define TRACEFS "/sys/kernel/tracing/"

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void begin(void)
{
	CHECK(mount("trace", TRACEFS, "tracefs", 0, NULL) == 0 || errno == EBUSY);
	/* Or the scheduler's code changes as well, which emulated processors do not always bear. */
	write_file(TRACEFS "options/record-cmd", "0");
	write_file(TRACEFS "trace", "\n");
	write_file(TRACEFS "events/ubd/enable", "1");
}

/* What was traced since begin(), once nothing more is to come. */
static const char *end(void)
{
	static char text[65536];
	FILE *file;

	write_file(TRACEFS "events/ubd/enable", "0");
	file = fopen(TRACEFS "trace", "r");
	CHECK(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	return text;
}

/* Continues behind the line with this end; fails if there is none. */
static void find(const char **text, const char *format, ...)
{
	char wanted[200];
	const char *found;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(wanted, sizeof(wanted) - 1, format, args);
	va_end(args);
	wanted[len++] = '\n';
	wanted[len] = 0;
	found = strstr(*text, wanted);
	if (!found)
		fail("no %sin %s", wanted, *text);
	*text = found + len;
}

static void a_request_is_traced_from_queue_to_end(void)
{
	const char *text, *place;
	struct server server;
	unsigned int queue, tag;
	char what[100];
	int disk;

	server_init(&server);
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_WRONLY);
	begin();
	CHECK_EQ(pwrite(disk, aligned(4096), 4096, 40 * 512), 4096);
	close(disk);
	text = end();
	place = strstr(text, " ubd_queue: ");
	CHECK(place);
	CHECK_EQ(sscanf(place, " ubd_queue: dev=%*u queue=%u tag=%u", &queue, &tag), 2);
	snprintf(what, sizeof(what), "dev=%u queue=%u tag=%u op=write sector=40 bytes=4096",
		 server.info.dev_id, queue, tag);
	find(&text, " ubd_queue: %s", what);
	find(&text, " ubd_serve: %s", what);
	find(&text, " ubd_commit: %s result=4096", what);
	find(&text, " ubd_end: %s result=0", what);
	server_delete(&server);
}

static int fail_reads(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	return desc->start_sector == 40 ? -EPERM : server_handle(server, desc, buffer);
}

static void an_error_is_traced_as_said_and_as_told(void)
{
	struct server server;
	const char *text;
	int disk;

	server_init(&server);
	server.handle = fail_reads;
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	begin();
	CHECK_EQ(pread(disk, aligned(512), 512, 40 * 512), -1);
	close(disk);
	text = end();
	find(&text, " op=read sector=40 bytes=512 result=%d", -EPERM);
	find(&text, " op=read sector=40 bytes=512 result=%d", -EIO);
	server_delete(&server);
}

/* A mapping keeps the file of ubdcN, and so the server, alive. */
static void leave(struct server *server)
{
	struct server_queue *queue = &server->queues[0];

	close(server->cdev);
	CHECK_EQ(pthread_join(queue->thread, NULL), 0);
	CHECK_EQ(munmap(queue->descs, 4096), 0);
}

static void servers_are_traced(void)
{
	struct server server;
	uint32_t id;
	const char *text;

	begin();
	server_init(&server);
	server.info.nr_hw_queues = 1;
	server.info.flags = UBD_F_USER_RECOVERY;
	server_run(&server);
	id = server.info.dev_id;
	leave(&server);
	server_recover(&server, id);
	server_delete(&server);
	text = end();
	find(&text, " ubd_server_open: dev=%u", id);
	find(&text, " ubd_server_gone: dev=%u", id);
	find(&text, " ubd_server_open: dev=%u", id);
	find(&text, " ubd_recovered: dev=%u", id);
	find(&text, " ubd_abort: dev=%u", id);
}

/* For so many tags. */
#define NR_BUFFERS(nr) (((nr) + TAGS_PER_BUFFER - 1) / TAGS_PER_BUFFER)

static int count(const char *text, const char *what)
{
	int nr = 0;

	for (; (text = strstr(text, what)); text++)
		nr++;
	return nr;
}

/*
 * Requests that come together take one task work of the thread that serves them, not one each; with
 * a FETCH_BATCH one for each buffer.
 */
static void a_batch_is_handed_over_at_once(void)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct server server;
	const char *text;
	int disk;

	server_init(&server);
	server.info.nr_hw_queues = 1;
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	CHECK_EQ(io_uring_queue_init(8, &ring, 0), 0);
	/* Far apart, so that they are not merged. */
	for (int i = 0; i < 8; i++)
		io_uring_prep_read(io_uring_get_sqe(&ring), disk, aligned(4096), 4096, i << 20);
	begin();
	if (server_by_batches)
		write_file(TRACEFS "kprobe_events", "p:ubd_test_work ubd:ubd_batch_work");
	else
		write_file(TRACEFS "kprobe_events", "p:ubd_test_work ubd:ubd_deliver_work");
	write_file(TRACEFS "events/kprobes/ubd_test_work/enable", "1");
	CHECK_EQ(io_uring_submit(&ring), 8);
	for (int i = 0; i < 8; i++) {
		CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
		CHECK_EQ(cqe->res, 4096);
		io_uring_cqe_seen(&ring, cqe);
	}
	write_file(TRACEFS "events/kprobes/ubd_test_work/enable", "0");
	text = end();
	write_file(TRACEFS "kprobe_events", "\n");
	CHECK_EQ(count(text, " ubd_queue: "), 8);
	CHECK_EQ(count(text, " ubd_serve: "), 8);
	CHECK_EQ(count(text, " ubd_test_work: "), server_by_batches ? NR_BUFFERS(8) : 1);
	io_uring_queue_exit(&ring);
	close(disk);
	server_delete(&server);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a request is traced from queue to end", a_request_is_traced_from_queue_to_end },
		{ "an error is traced as said and as told",
		  an_error_is_traced_as_said_and_as_told },
		{ "servers are traced", servers_are_traced },
		{ "a batch is handed over at once", a_batch_is_handed_over_at_once },
	};

	int failed = RUN_TESTS(tests, argc, argv);

	return failed | RUN_TESTS_BY_BATCHES(tests, argc, argv);
}
