// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory of pages: got before it is needed, and given back, locked or not. */
#include <glib.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pages.h"

#define PAGES 16u

static size_t page;

static uint8_t *map_pages(void)
{
	uint8_t *map = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	g_assert_true(map != MAP_FAILED);
	/* A huge page would be all or nothing. */
	madvise(map, PAGES * page, MADV_NOHUGEPAGE);
	return map;
}

static void unmap_pages(uint8_t *map)
{
	g_assert_cmpint(munmap(map, PAGES * page), ==, 0);
}

/* One letter for each page: whether it has memory. */
static char *residents(uint8_t *map)
{
	unsigned char vec[PAGES];
	char *text = g_malloc0(PAGES + 1);

	g_assert_cmpint(mincore(map, PAGES * page, vec), ==, 0);
	for (unsigned i = 0; i < PAGES; i++)
		text[i] = vec[i] & 1 ? 'x' : '.';
	return text;
}

static void assert_residents(uint8_t *map, const char *expected)
{
	g_autofree char *text = residents(map);

	g_assert_cmpstr(text, ==, expected);
}

static void test_touch_gives_memory_and_keeps_contents(void)
{
	uint8_t *map = map_pages();

	map[2 * page] = 'a';
	assert_residents(map, "..x.............");
	pages_touch(map + page + 1, 2 * page);
	assert_residents(map, ".xxx............");
	g_assert_cmpint(map[2 * page], ==, 'a');
	g_assert_cmpint(map[page], ==, 0);
	unmap_pages(map);
}

static void test_give_back_keeps_what_is_partly_outside(void)
{
	uint8_t *map = map_pages();

	memset(map, 'b', PAGES * page);
	pages_give_back(map + 1, 4 * page);
	assert_residents(map, "x...xxxxxxxxxxxx");
	g_assert_cmpint(map[0], ==, 'b');
	g_assert_cmpint(map[4 * page], ==, 'b');
	g_assert_cmpint(map[page], ==, 0);
	/* Less than a page. */
	pages_give_back(map + 5 * page + 1, page - 1);
	g_assert_cmpint(map[5 * page], ==, 'b');
	unmap_pages(map);
}

static void test_give_back_locked_memory(void)
{
	uint8_t *map = map_pages();

	if (mlock(map, PAGES * page) < 0) {
		g_test_skip("memory may not be locked");
	} else {
		memset(map, 'c', PAGES * page);
		pages_give_back(map, 8 * page);
		assert_residents(map, "........xxxxxxxx");
		g_assert_cmpint(map[0], ==, 0);
		g_assert_cmpint(map[8 * page], ==, 'c');
	}
	unmap_pages(map);
}

int main(int argc, char **argv)
{
	page = sysconf(_SC_PAGESIZE);
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/pages/touch", test_touch_gives_memory_and_keeps_contents);
	g_test_add_func("/pages/give-back", test_give_back_keeps_what_is_partly_outside);
	g_test_add_func("/pages/give-back-locked", test_give_back_locked_memory);
	return g_test_run();
}
