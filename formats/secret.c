// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Secrets; see secret.h.
 *
 * Memory that held one is wiped before it is freed.
 */
#include "secret.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>

#include "error.h"
#include "late_library.h"

#define KEY_BYTES   32
#define BLOCK_BYTES 16

static GHashTable *secrets; /* ID -> GBytes */

/* ---- memory ---- */

struct wiped {
	char *text;
	gsize len;
};

static void free_wiped(void *arg)
{
	struct wiped *wiped = arg;

	explicit_bzero(wiped->text, wiped->len);
	g_free(wiped->text);
	g_free(wiped);
}

/* Owns @text from now on. */
static GBytes *take_text(char *text, gsize len)
{
	struct wiped *wiped = g_new(struct wiped, 1);

	*wiped = (struct wiped){ text, len };
	return g_bytes_new_with_free_func(text, len, free_wiped, wiped);
}

/* ---- where it comes from ---- */

static GBytes *read_file(const char *name, GError **err)
{
	g_autoptr(GError) why = NULL;
	char *text;
	gsize len;

	if (g_file_get_contents(name, &text, &len, &why))
		return take_text(text, len);
	error_refuse(err, -EIO, "Unable to read %s: %s", name, why->message);
	return NULL;
}

static GBytes *read_source(const struct secret_source *source, GError **err)
{
	if (source->data && source->file)
		error_refuse(err, -EINVAL, "'file' and 'data' are mutually exclusive");
	else if (source->file)
		return read_file(source->file, err);
	else if (source->data)
		return take_text(g_strdup(source->data), strlen(source->data));
	else
		error_refuse(err, -EINVAL, "Either 'file' or 'data' must be provided");
	return NULL;
}

/* @len without the NUL that terminates it. */
static bool is_base64(const char *text, gsize len, GError **err)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789+/=\n";

	if (memchr(text, '\0', len))
		error_refuse(err, -EINVAL, "Base64 data contains embedded NUL characters");
	else if (text[strspn(text, letters)])
		error_refuse(err, -EINVAL, "Base64 data contains invalid characters");
	else
		return true;
	return false;
}

static GBytes *decode_base64(GBytes *coded, GError **err)
{
	gsize len = g_bytes_get_size(coded), decoded_len;
	char *text = g_malloc0(len + 1);
	G_GNUC_UNUSED g_autoptr(GBytes) wiped = take_text(text, len);
	guchar *decoded;

	if (len)
		memcpy(text, g_bytes_get_data(coded, NULL), len);
	if (!is_base64(text, len, err))
		return NULL;
	decoded = g_base64_decode(text, &decoded_len);
	return take_text((char *)decoded, decoded_len);
}

/* ---- encrypted secrets ---- */

static GBytes *get_key(const char *id, GError **err)
{
	GBytes *key = secret_get(id, err);

	if (!key || g_bytes_get_size(key) == KEY_BYTES)
		return key;
	g_bytes_unref(key);
	error_refuse(err, -EINVAL, "Key should be %d bytes in length", KEY_BYTES);
	return NULL;
}

static GBytes *get_iv(const char *text, GError **err)
{
	g_autoptr(GBytes) coded = text ? g_bytes_new_static(text, strlen(text)) : NULL;
	GBytes *iv = NULL;

	if (!text)
		error_refuse(err, -EINVAL, "IV is required to decrypt secret");
	else
		iv = decode_base64(coded, err);
	if (!iv || g_bytes_get_size(iv) == BLOCK_BYTES)
		return iv;
	error_refuse(err, -EINVAL, "IV should be %d bytes in length not %zu", BLOCK_BYTES,
		     g_bytes_get_size(iv));
	g_bytes_unref(iv);
	return NULL;
}

/* GnuTLS's; loaded when it is needed. */
static struct {
	__typeof__(gnutls_cipher_init) *init;
	__typeof__(gnutls_cipher_decrypt) *decrypt;
	__typeof__(gnutls_cipher_deinit) *deinit;
	__typeof__(gnutls_strerror) *strerror;
} crypto;

static const struct late_function crypto_functions[] = {
	{ "gnutls_cipher_init", &crypto.init },
	{ "gnutls_cipher_decrypt", &crypto.decrypt },
	{ "gnutls_cipher_deinit", &crypto.deinit },
	{ "gnutls_strerror", &crypto.strerror },
	{},
};

static struct late_library crypto_library = LATE_LIBRARY_INIT(LATE_GNUTLS, crypto_functions);

static gnutls_datum_t datum_of(GBytes *bytes)
{
	gsize len;
	const void *data = g_bytes_get_data(bytes, &len);

	return (gnutls_datum_t){ (unsigned char *)data, len };
}

/* Decrypts whole blocks in place. */
static int decrypt(GBytes *key, GBytes *iv, char *text, gsize len, GError **err)
{
	gnutls_datum_t key_datum = datum_of(key), iv_datum = datum_of(iv);
	gnutls_cipher_hd_t cipher;
	int ret = late_library_load(&crypto_library, err);

	if (ret)
		return ret;
	ret = crypto.init(&cipher, GNUTLS_CIPHER_AES_256_CBC, &key_datum, &iv_datum);
	if (!ret) {
		ret = crypto.decrypt(cipher, text, len);
		crypto.deinit(cipher);
	}
	return ret ? error_refuse(err, -EIO, "Unable to decrypt the secret: %s",
				  crypto.strerror(ret))
		   : 0;
}

/* The last byte says how many were added to fill the last block. */
static GBytes *strip_padding(GBytes *padded, GError **err)
{
	gsize len;
	const unsigned char *data = g_bytes_get_data(padded, &len);
	unsigned padding = len ? data[len - 1] : 0;

	if (padding <= BLOCK_BYTES)
		return g_bytes_new_from_bytes(padded, 0, len - padding);
	error_refuse(err, -EINVAL, "Incorrect number of padding bytes (%u) found on decrypted data",
		     padding);
	return NULL;
}

static GBytes *decrypt_secret(GBytes *coded, const struct secret_source *source, GError **err)
{
	g_autoptr(GBytes) key = get_key(source->keyid, err);
	g_autoptr(GBytes) iv = key ? get_iv(source->iv, err) : NULL;
	g_autoptr(GBytes) encrypted = NULL, padded = NULL;
	gsize len;
	char *text;

	if (!iv)
		return NULL;
	encrypted = source->base64 ? decode_base64(coded, err) : g_bytes_ref(coded);
	if (!encrypted)
		return NULL;
	len = g_bytes_get_size(encrypted);
	if (len % BLOCK_BYTES) {
		error_refuse(err, -EINVAL, "Length %zu must be a multiple of block size %d", len,
			     BLOCK_BYTES);
		return NULL;
	}
	text = g_memdup2(g_bytes_get_data(encrypted, NULL), len);
	padded = take_text(text, len);
	if (len && decrypt(key, iv, text, len, err))
		return NULL;
	return strip_padding(padded, err);
}

/* ---- the table ---- */

int secret_add(const char *id, const struct secret_source *source, GError **err)
{
	g_autoptr(GBytes) read = read_source(source, err);
	GBytes *secret;

	if (!read)
		return -EINVAL;
	if (source->keyid)
		secret = decrypt_secret(read, source, err);
	else
		secret = source->base64 ? decode_base64(read, err) : g_bytes_ref(read);
	if (!secret)
		return -EINVAL;
	if (!secrets)
		secrets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
						(GDestroyNotify)g_bytes_unref);
	g_hash_table_replace(secrets, g_strdup(id), secret);
	return 0;
}

bool secret_exists(const char *id)
{
	return secrets && g_hash_table_contains(secrets, id);
}

GBytes *secret_get(const char *id, GError **err)
{
	GBytes *secret = secrets ? g_hash_table_lookup(secrets, id) : NULL;

	if (secret)
		return g_bytes_ref(secret);
	error_refuse(err, -ENOENT, "No secret with id '%s'", id);
	return NULL;
}
