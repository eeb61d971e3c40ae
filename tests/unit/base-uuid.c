// SPDX-License-Identifier: GPL-2.0-or-later
/* UUIDs as text. */
#include <glib.h>

#include "uuid.h"

static void test_text_and_back(void)
{
	static const char text[] = "00112233-4455-6677-8899-aabbccddeeff";
	g_autofree char *back = NULL;
	uint8_t uuid[16];

	g_assert_true(uuid_parse(text, uuid));
	for (int i = 0; i < 16; i++)
		g_assert_cmpuint(uuid[i], ==, i * 0x11);
	back = uuid_to_text(uuid);
	g_assert_cmpstr(back, ==, text);
	g_assert_true(uuid_parse("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", uuid));
	g_assert_cmpuint(uuid[15], ==, 0xff);
}

static void test_bad_text_changes_nothing(void)
{
	static const char *const bad[] = {
		"",
		"00112233445566778899aabbccddeeff",
		"00112233-4455-6677-8899-aabbccddeefg",
		"00112233-4455-6677-8899-aabbccddeeff0",
	};
	uint8_t uuid[16] = { 1 };

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
		g_assert_false(uuid_parse(bad[i], uuid));
	g_assert_cmpuint(uuid[0], ==, 1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/uuid/text-and-back", test_text_and_back);
	g_test_add_func("/uuid/bad-text-changes-nothing", test_bad_text_changes_nothing);
	return g_test_run();
}
