// SPDX-License-Identifier: GPL-2.0-or-later
/* TLS credentials that have an ID; see tls_creds.h. They live as long as the process. */
#include "tls_creds.h"

#include <errno.h>
#include <unistd.h>

#include "error.h"

static GHashTable *all; /* ID -> struct tls_creds */

static int check_file(const struct tls_creds *creds, const char *name, GError **err)
{
	g_autofree char *path = g_build_filename(creds->dir, name, NULL);

	if (access(path, R_OK) == 0)
		return 0;
	return error_refuse(err, -errno, "Unable to access credentials %s: %s", path,
			    g_strerror(errno));
}

/* A client may do without a certificate. */
static int check_files(const struct tls_creds *creds, GError **err)
{
	int ret;

	if (creds->is_psk)
		return check_file(creds, TLS_CREDS_PSK_FILE, err);
	ret = check_file(creds, "ca-cert.pem", err);
	if (!ret && creds->is_server)
		ret = check_file(creds, "server-cert.pem", err)
			      ?: check_file(creds, "server-key.pem", err);
	return ret;
}

static int check_properties(const struct tls_creds *creds, GError **err)
{
	if (!creds->dir)
		return error_refuse(err, -EINVAL, "Missing 'dir' property value");
	if (!creds->is_server && (creds->priority || creds->passwordid))
		return error_refuse(err, -EOPNOTSUPP,
				    "'%s' is not supported with a client endpoint: libnbd does not "
				    "have it",
				    creds->priority ? "priority" : "passwordid");
	return 0;
}

int tls_creds_add(const char *id, const struct tls_creds *creds, GError **err)
{
	struct tls_creds *copy;
	int ret = check_properties(creds, err) ?: check_files(creds, err);

	if (ret)
		return ret;
	copy = g_memdup2(creds, sizeof(*creds));
	/* A daemon has another folder. */
	copy->dir = g_canonicalize_filename(creds->dir, NULL);
	copy->username = g_strdup(creds->username);
	copy->priority = g_strdup(creds->priority);
	copy->passwordid = g_strdup(creds->passwordid);
	if (!all)
		all = g_hash_table_new(g_str_hash, g_str_equal);
	g_hash_table_insert(all, g_strdup(id), copy);
	return 0;
}

static const struct tls_creds *find(const char *id)
{
	return all ? g_hash_table_lookup(all, id) : NULL;
}

bool tls_creds_exist(const char *id)
{
	return find(id);
}

const struct tls_creds *tls_creds_get(const char *id, bool is_server, GError **err)
{
	const struct tls_creds *creds = find(id);

	if (creds && creds->is_server == is_server)
		return creds;
	if (creds)
		error_refuse(err, -EINVAL, "Expecting TLS credentials with a %s endpoint",
			     is_server ? "server" : "client");
	else
		error_refuse(err, -ENOENT, "No TLS credentials with id '%s'", id);
	return NULL;
}

void tls_creds_each_folder(void (*fn)(const char *folder))
{
	GHashTableIter iter;
	void *creds;

	if (!all)
		return;
	g_hash_table_iter_init(&iter, all);
	while (g_hash_table_iter_next(&iter, NULL, &creds))
		fn(((const struct tls_creds *)creds)->dir);
}
