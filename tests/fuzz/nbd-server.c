// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an NBD client may send to an export. The first byte of the input says how far the client
 * gets before the rest of it: to the options, to the requests, or to the requests with structured
 * replies and all metadata contexts. The disk is one image for all inputs.
 */
#include <glib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aio.h"
#include "client_loops.h"
#include "dirty_bits.h"
#include "disk.h"
#include "export_nbd.h"
#include "fuzz.h"
#include "image.h"
#include "memory_budget.h"
#include "nbd_protocol.h"

#define DISK_BYTES (4u << 20)

/* The answer to the greeting, and options that are as they should be. */
static const char flags[] = "\0\0\0\3";
static const char structured[] = "IHAVEOPT\0\0\0\10\0\0\0\0";
static const char contexts[] =
	"IHAVEOPT\0\0\0\12\0\0\0\114\0\0\0\0\0\0\0\3\0\0\0\17base:allocation\0\0\0\25"
	"qemu:allocation-depth\0\0\0\24qemu:dirty-bitmap:ab";
static const char go[] = "IHAVEOPT\0\0\0\7\0\0\0\6\0\0\0\0\0\0";

static struct aio_loop *loop;
static struct hold_policy hold;
static struct request_limits no_limits = { G_MAXINT64, G_MAXINT64 };
static struct nbd_client_bitmap bitmap = { .name = (char *)"ab" };
static struct memory_budget memory;
static struct nbd_exports exports;
static struct nbd_export export = {
	.name = "",
	.description = "fuzzed",
	.discard = true,
	.page_cache = true,
	.allocation_depth = true,
	.bitmaps = &bitmap,
	.nr_bitmaps = 1,
	.hold = &hold,
	.limits = &no_limits,
};
/* Another one that it may ask for, with fewer contexts. */
static struct nbd_export another = {
	.name = "another",
	.read_only = true,
	.hold = &hold,
	.limits = &no_limits,
};
static struct nbd_client_settings settings = {
	.exports = &exports,
	.memory = &memory,
	.depth = 8,
	.handshake_ns = AIO_NEVER,
};

static void open_co(void *arg)
{
	struct image_create_opts create = { .size = DISK_BYTES, .size_given = true };
	struct image_open_opts open = { .flags = IMAGE_RDWR };
	struct image *image;
	GError **err = arg;

	if (image_co_create("image", "qcow2", &create, NULL, err) == 0 &&
	    image_co_open("image", &open, &image, err) == 0)
		export.disk = another.disk = disk_new(image);
	memory_budget_init(&memory, NBD_MAX_PAYLOAD);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *folder = g_dir_make_tmp("fuzz-nbd-XXXXXX", &err);

	if (!err)
		loop = aio_loop_new(16, &err);
	if (loop && chdir(folder) == 0)
		aio_loop_run_co(loop, open_co, &err);
	if (!err)
		settings.loops = client_loops_new(1, &err);
	if (err)
		g_error("%s", err->message);
	bitmap.bits = dirty_bits_try_new(DISK_BYTES, 16);
	dirty_bits_set(bitmap.bits, 1 << 20, 1 << 20);
	settings.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	export.event_fd = another.event_fd = settings.event_fd;
	nbd_exports_init(&exports);
	nbd_exports_offer(&exports, &export);
	nbd_exports_offer(&exports, &another);
	return 0;
}

/* An array without the NUL behind it. */
#define SAY(fd, text) say(fd, text, sizeof(text) - 1)

static void say(int fd, const void *data, size_t bytes)
{
	/* The server may have hung up. */
	if (send(fd, data, bytes, MSG_NOSIGNAL) < 0)
		shutdown(fd, SHUT_WR);
}

/* All of it fits into the socket's buffer, so nobody waits for an answer to be read. */
static void play(int fd, const uint8_t *data, size_t size)
{
	static char answers[1 << 16];
	unsigned mode = size ? data[0] % 4 : 0;

	if (mode)
		SAY(fd, flags);
	if (mode == 3) {
		SAY(fd, structured);
		SAY(fd, contexts);
	}
	if (mode >= 2)
		SAY(fd, go);
	if (size)
		say(fd, data + 1, size - 1);
	shutdown(fd, SHUT_WR);
	while (read(fd, answers, sizeof(answers)) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) err = NULL;
	struct nbd_client *client;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		g_error("socketpair");
	client = nbd_client_new(&settings, fds[0], &err);
	if (!client)
		g_error("%s", err->message);
	play(fds[1], data, size);
	close(fds[1]);
	nbd_client_free(client);
	return 0;
}
