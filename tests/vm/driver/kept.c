// SPDX-License-Identifier: GPL-2.0-or-later
/* See kept.h. */
#include "kept.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

void *map_pages(size_t size)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(pages != MAP_FAILED);
	return pages;
}

/* ---- the server ---- */

/* Notes the place of a request, which is then kept. */
static int note_place(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	for (int i = 0; i < server->info.nr_hw_queues && desc->start_sector >= KEPT_SECTOR; i++) {
		uintptr_t tag = (uintptr_t)desc - (uintptr_t)server->queues[i].descs;

		if (tag / sizeof(*desc) >= server->info.queue_depth)
			continue;
		set(&shared->q_id, i);
		set(&shared->tag, tag / sizeof(*desc));
	}
	return keep_if_told(server, desc, buffer);
}

void init_kept_server(struct server *server, uint64_t flags)
{
	init_server(server);
	server->info.flags = flags;
	server->handle = note_place;
}

void run_copy_server(struct server *server)
{
	share();
	init_kept_server(server, UBD_F_USER_COPY);
	run_kept_server(server);
}

void run_kept_server(struct server *server)
{
	server_run(server);
	set(&shared->control, server->control);
	set(&shared->id, server->info.dev_id);
}

/* ---- clients ---- */

void fill_kept(uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = i * 7 + i / 251;
}

void write_kept(void *arg)
{
	uint8_t *data = aligned(KEPT_BYTES);

	fill_kept(data, KEPT_BYTES);
	CHECK_EQ(pwrite(open_disk(get(&shared->id), O_RDWR), data, KEPT_BYTES, KEPT_SECTOR * 512),
		 KEPT_BYTES);
}

void read_kept(void *arg)
{
	uint8_t *data = aligned(KEPT_BYTES), *wanted = aligned(KEPT_BYTES);

	fill_kept(wanted, KEPT_BYTES);
	CHECK_EQ(pread(open_disk(get(&shared->id), O_RDWR), data, KEPT_BYTES, KEPT_SECTOR * 512),
		 KEPT_BYTES);
	CHECK(!memcmp(data, wanted, KEPT_BYTES));
}

void fail_to_write_kept(void *arg)
{
	int disk = open_disk(get(&shared->id), O_RDWR);

	close(get(&shared->control));
	close(get(&shared->ring));
	CHECK(pwrite(disk, aligned(KEPT_BYTES), KEPT_BYTES, KEPT_SECTOR * 512) < 0);
	CHECK_EQ(errno, EIO);
}

int spawn_client(void (*run)(void *))
{
	int before = get(&shared->nr_kept), pid = spawn(run, NULL);

	WAIT_UNTIL(get(&shared->nr_kept) > before, AGE);
	return pid;
}

off_t kept_data(void)
{
	return ubd_data_offset(get(&shared->q_id), get(&shared->tag));
}

int commit_kept(const struct server *server, int result)
{
	return io_command(server->cdev, UBD_IO_COMMIT_REQ, get(&shared->q_id), get(&shared->tag),
			  result, NULL);
}

bool is_running(int pid)
{
	return waitpid(pid, NULL, WNOHANG) == 0;
}

void check_copies(int cdev, off_t off, size_t bytes, int read_error, int write_error)
{
	uint8_t *data = aligned(bytes + 1);
	ssize_t res = pread(cdev, data, bytes, off);

	CHECK_EQ(res < 0 ? errno : 0, read_error);
	res = pwrite(cdev, data, bytes, off);
	CHECK_EQ(res < 0 ? errno : 0, write_error);
}
