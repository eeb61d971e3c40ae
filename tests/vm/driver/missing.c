// SPDX-License-Identifier: GPL-2.0-or-later
/* See missing.h. */
#include "missing.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE_BYTES 4096

void missing_init(struct missing *missing)
{
	struct uffdio_api api = { .api = UFFD_API };

	missing->contents = NULL;
	missing->fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	CHECK(missing->fd >= 0);
	CHECK_EQ(ioctl(missing->fd, UFFDIO_API, &api), 0);
}

void missing_take(struct missing *missing, void *pages, size_t size)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)pages, size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	CHECK_EQ(ioctl(missing->fd, UFFDIO_REGISTER, &range), 0);
	CHECK_EQ(madvise(pages, size, MADV_DONTNEED), 0);
}

static uint8_t *read_page(struct missing *missing)
{
	struct uffd_msg msg;

	CHECK_EQ(read(missing->fd, &msg, sizeof(msg)), sizeof(msg));
	CHECK_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	return (uint8_t *)(msg.arg.pagefault.address & -PAGE_BYTES);
}

uint8_t *missing_wait(struct missing *missing)
{
	struct pollfd touched = { .fd = missing->fd, .events = POLLIN };

	CHECK_EQ(poll(&touched, 1, AGE * 1000), 1);
	return read_page(missing);
}

/*
 * Another thread may have touched it too: then the page exists already, and the thread only needs a
 * wakeup.
 */
static void bring(struct missing *missing, uint8_t *page, const void *contents)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page,
		.src = (uintptr_t)contents,
		.len = PAGE_BYTES,
	};

	if (ioctl(missing->fd, UFFDIO_COPY, &copy) == 0)
		return;
	CHECK_EQ(errno, EEXIST);
	CHECK_EQ(ioctl(missing->fd, UFFDIO_WAKE,
		       &(struct uffdio_range){ (uintptr_t)page, PAGE_BYTES }),
		 0);
}

void missing_bring(struct missing *missing, uint8_t *page)
{
	static const uint8_t zeroes[PAGE_BYTES];

	bring(missing, page, zeroes);
}

static void *bring_all(void *arg)
{
	struct missing *missing = arg;

	while (true) {
		uint8_t *page = read_page(missing);

		if (missing->contents)
			bring(missing, page, missing->contents);
		else
			missing_bring(missing, page);
	}
	return NULL;
}

void missing_bring_all(struct missing *missing)
{
	CHECK_EQ(pthread_create(&missing->bringer, NULL, bring_all, missing), 0);
}
