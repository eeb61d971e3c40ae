// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an NBD server says: the input is all that it sends, to one client after another. After the
 * end of the input it hangs up. What can be opened is read, written and asked about.
 */
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "aio.h"
#include "fuzz.h"
#include "image.h"

static struct aio_loop *loop;
static int listener;

/* The part of the input that has not been sent. */
static struct {
	GMutex lock;
	const uint8_t *data;
	size_t bytes;
} input;

/* Sends as much as there is, in pieces; what the client sends is dropped. */
static void serve_client(int fd)
{
	char dropped[65536];

	g_mutex_lock(&input.lock);
	while (input.bytes) {
		ssize_t sent = send(fd, input.data, input.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent <= 0)
			break;
		input.data += sent;
		input.bytes -= sent;
	}
	g_mutex_unlock(&input.lock);
	shutdown(fd, SHUT_WR);
	while (recv(fd, dropped, sizeof(dropped), 0) > 0)
		;
	close(fd);
}

static void *serve(void *arg)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			serve_client(fd);
	}
	return NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };
	g_autoptr(GError) err = NULL;
	g_autofree char *folder = g_dir_make_tmp("fuzz-nbd-XXXXXX", &err);

	if (!err)
		loop = aio_loop_new(16, &err);
	if (err || chdir(folder))
		g_error("%s", err ? err->message : folder);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16))
		g_error("socket");
	g_thread_unref(g_thread_new("server", serve, NULL));
	return 0;
}

/* Until the first error, after which a lost connection would be waited for. */
static int use(struct image *img)
{
	g_autofree uint8_t *data = g_malloc0(65536);
	uint64_t bytes = MIN(image_size(img), 65536);
	struct image_extent extent;

	return image_co_pread(img, 0, bytes, data) ?: !bytes ?:
	       image_co_block_status_chain(img, 0, image_size(img), &extent) ?:
	       image_co_pwrite(img, 0, bytes, data, IMAGE_REQ_FUA) ?:
	       image_co_pwrite_zeroes(img, 0, bytes, IMAGE_REQ_MAY_UNMAP) ?:
	       image_co_pdiscard(img, 0, bytes) ?: image_co_flush(img);
}

static void open_co(void *arg)
{
	struct image_open_opts opts = { .format = "raw", .flags = IMAGE_RDWR | IMAGE_UNMAP };
	struct image *img;

	if (image_co_open("nbd+unix:///?socket=socket", &opts, &img, NULL))
		return;
	use(img);
	image_co_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_mutex_lock(&input.lock);
	input.data = data;
	input.bytes = size;
	g_mutex_unlock(&input.lock);
	aio_loop_run_co(loop, open_co, NULL);
	g_mutex_lock(&input.lock);
	input.bytes = 0;
	g_mutex_unlock(&input.lock);
	return 0;
}
