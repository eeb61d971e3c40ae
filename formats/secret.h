/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets: passwords and keys that the user gave an ID, for whatever needs one later.
 *
 * All are added before the first image is opened; then any thread may look them up.
 */
#ifndef UBD_SECRET_H
#define UBD_SECRET_H

#include <glib.h>
#include <stdbool.h>

/* Where a secret comes from; what does not apply is NULL. */
struct secret_source {
	const char *data; /* either this ... */
	const char *file; /* ... or a file's contents */
	bool base64;
	/*
	 * The secret with this ID is the AES-256 key that it is encrypted with, in CBC mode with
	 * PKCS#7 padding and this initialization vector, in base64. With @base64, that is how the
	 * encrypted secret is written; the secret itself is raw.
	 */
	const char *keyid;
	const char *iv;
};

/* The source is read at once. Errors are worded as QEMU's. */
int secret_add(const char *id, const struct secret_source *source, GError **err);

bool secret_exists(const char *id);

/* NULL, with @err set, if there is none with that ID. The caller unrefs it. */
GBytes *secret_get(const char *id, GError **err);

#endif
