// SPDX-License-Identifier: GPL-2.0-or-later
/* Objects that a user defines: the secrets that come out of them. */
#include <glib/gstdio.h>
#include <string.h>

#include "object.h"
#include "secret.h"

static void create(const char *text)
{
	g_autoptr(GError) err = NULL;

	object_create(text, &err);
	g_assert_no_error(err);
}

static void assert_refused(const char *text, const char *message)
{
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(object_create(text, &err), <, 0);
	g_assert_nonnull(err);
	g_assert_cmpstr(err->message, ==, message);
}

static void assert_secret(const char *id, const char *bytes, gsize len)
{
	g_autoptr(GBytes) secret = secret_get(id, NULL);
	gsize secret_len;
	const void *data;

	g_assert_nonnull(secret);
	data = g_bytes_get_data(secret, &secret_len);
	g_assert_cmpmem(data, secret_len, bytes, len);
}

static void test_sources(void)
{
	g_autofree char *name = NULL, *object = NULL;
	int fd = g_file_open_tmp("secret-XXXXXX", &name, NULL);

	g_assert_cmpint(fd, >=, 0);
	g_close(fd, NULL);
	g_assert_true(g_file_set_contents(name, "from\0a file\n", 12, NULL));
	object = g_strdup_printf("secret,id=file,file=%s", name);
	create(object);
	g_unlink(name);
	assert_secret("file", "from\0a file\n", 12);
	create("secret,id=data,data=a,,b");
	assert_secret("data", "a,b", 3);
	create("secret,id=base64,data=AAEC,format=base64");
	assert_secret("base64", "\0\1\2", 3);
	create("{'qom-type': 'secret', 'id': 'json', 'data': 'x,y'}");
	assert_secret("json", "x,y", 3);
	create("secret,id=empty,data=");
	assert_secret("empty", "", 0);
}

/* Made with: openssl enc -aes-256-cbc */
static void test_encrypted(void)
{
	create("secret,id=key,data=00000000000000000000000000000007");
	create("secret,id=wrapped,keyid=key,iv=MDEyMzQ1Njc4OWFiY2RlZg==,format=base64,"
	       "data=OJpX+lLrjW0i5VUdjuxA8Q==");
	assert_secret("wrapped", "hello", 5);
	assert_refused("secret,id=no,keyid=key,format=base64,data=OJpX+lLrjW0i5VUdjuxA8Q==",
		       "IV is required to decrypt secret");
	assert_refused("secret,id=no,keyid=data,iv=MDEyMzQ1Njc4OWFiY2RlZg==,format=base64,"
		       "data=OJpX+lLrjW0i5VUdjuxA8Q==",
		       "Key should be 32 bytes in length");
}

static void test_ids(void)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(secret_get("nosuch", &err));
	g_assert_cmpstr(err->message, ==, "No secret with id 'nosuch'");
	create("secret,id=once,data=a");
	assert_refused("secret,id=once,data=b",
		       "attempt to add duplicate property 'once' to object (type 'container')");
	assert_secret("once", "a", 1);
	g_assert_false(secret_exists("no"));
}

static void test_help(void)
{
	g_autofree char *types = object_help("help"), *properties = object_help("secret,?");

	g_assert_cmpstr(
		types, ==,
		"List of user creatable objects:\n  secret\n  throttle-group\n  tls-creds-psk\n  tls-creds-x509\n");
	g_assert_true(g_str_has_prefix(properties, "secret options:\n  data=<string>\n"));
	g_assert_null(object_help("secret,id=help"));
	g_assert_null(object_help("{'help': 1}"));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/secrets/sources", test_sources);
	g_test_add_func("/secrets/encrypted", test_encrypted);
	g_test_add_func("/secrets/ids", test_ids);
	g_test_add_func("/secrets/help", test_help);
	return g_test_run();
}
