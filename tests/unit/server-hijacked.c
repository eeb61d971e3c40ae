// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Builds an ubd-serve with a planted bug: when it has read the header of an image, when it serves
 * its first request, and when it is asked for its status, it does what somebody would who has taken
 * it over. It prints a line for each attempt: the moment, the attempt, and 0 or the error.
 *
 * HIJACKED_FILE is a file that the server has no business with, HIJACKED_BESIDE one in the image's
 * folder; HIJACKED_NEW does not exist. On HIJACKED_SOCKET, somebody listens. HIJACKED_UBLK is the
 * number of another server's device, if the server has a keeper for those of ublk. HIJACKED_ADDS is
 * set if it has one that adds devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "aio.h"
#include "commands.h"
#include "keeper_wire.h"
#include "probe.h"
#include "sandbox_places.h"
#include "serve.h"
#include "status.h"

static const char *file, *beside, *fresh; /* the last one does not exist */

/* Made before the sandbox, as by a bug that leaks it. */
static int tcp_fd = -1;

/* ---- attempts: what the system call returned ---- */

static long result(int res)
{
	errno = -res;
	return res;
}

struct in_thread {
	int (*fn)(void *arg);
	int res;
};

static void *in_thread(void *arg)
{
	struct in_thread *one = arg;

	one->res = one->fn(NULL);
	return NULL;
}

/* On a new one. */
static int run_in_thread(int (*fn)(void *arg))
{
	struct in_thread one = { .fn = fn };
	pthread_t thread;

	pthread_create(&thread, NULL, in_thread, &one);
	pthread_join(thread, NULL);
	return one.res;
}

static long open_and_close(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd;
}

static long read_file(void)
{
	return open_and_close(file, O_RDONLY);
}

static long write_file(void)
{
	return open_and_close(file, O_WRONLY);
}

static long truncate_file(void)
{
	return open_and_close(file, O_WRONLY | O_TRUNC);
}

static long read_beside(void)
{
	return open_and_close(beside, O_RDONLY);
}

static long write_beside(void)
{
	return open_and_close(beside, O_WRONLY);
}

static long create_file(void)
{
	return open_and_close(fresh, O_WRONLY | O_CREAT);
}

static long remove_file(void)
{
	return unlink(file);
}

static long link_file(void)
{
	return linkat(AT_FDCWD, file, AT_FDCWD, fresh, 0);
}

static long rename_file(void)
{
	return rename(file, fresh);
}

static long chmod_file(void)
{
	return chmod(file, 0777);
}

static long set_attribute(void)
{
	return setxattr(file, "user.hijacked", "", 0, 0);
}

static long make_folder(void)
{
	return mkdir(fresh, 0700);
}

static long make_symlink(void)
{
	return symlink("/", fresh);
}

static long read_own_memory(void)
{
	return open_and_close("/proc/self/mem", O_RDWR);
}

static long execute(void)
{
	char *argv[] = { NULL }, *envp[] = { NULL };

	return execve("/bin/true", argv, envp);
}

static long fork_process(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long fork_anew(void)
{
	struct {
		uint64_t values[8];
	} args = { { 0 } };
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return pid;
}

static long trace_parent(void)
{
	return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
}

static long read_parent(void)
{
	struct iovec iov = { &iov, sizeof(iov) };

	return process_vm_readv(getppid(), &iov, 1, &iov, 1, 0);
}

static long signal_parent(void)
{
	return kill(getppid(), 0);
}

static long signal_thread(void)
{
	return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

/* As abort() does. */
static long signal_itself(void)
{
	return syscall(SYS_tgkill, getpid(), gettid(), 0);
}

static long hold_parent(void)
{
	return syscall(SYS_pidfd_open, getppid(), 0);
}

static long limit_parent(void)
{
	struct rlimit limit;

	return prlimit(getppid(), RLIMIT_CPU, NULL, &limit);
}

static long move_parent(void)
{
	cpu_set_t cpus;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	return sched_setaffinity(getppid(), sizeof(cpus), &cpus);
}

static long have_parent_signalled(void)
{
	return fcntl(STDIN_FILENO, F_SETOWN, getppid());
}

static long choose_signal(void)
{
	return fcntl(STDIN_FILENO, F_SETSIG, SIGKILL);
}

static long make_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd;
}

static long make_tcp(void)
{
	return make_socket(AF_INET, SOCK_STREAM);
}

static long make_udp(void)
{
	return make_socket(AF_INET6, SOCK_DGRAM);
}

static long make_unix_stream(void)
{
	return make_socket(AF_UNIX, SOCK_STREAM);
}

static long make_netlink(void)
{
	return make_socket(AF_NETLINK, SOCK_RAW);
}

static long make_packet(void)
{
	return make_socket(AF_PACKET, SOCK_RAW);
}

static long connect_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(1),
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };

	return connect(tcp_fd, (struct sockaddr *)&address, sizeof(address));
}

static long bind_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };

	return bind(tcp_fd, (struct sockaddr *)&address, sizeof(address));
}

static long map_code(void)
{
	void *map = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? -1 : 0;
}

static long make_code(void)
{
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(map, 4096, PROT_READ | PROT_EXEC);
}

static long make_secret_file(void)
{
	return memfd_create("hijacked", 0);
}

static long become_root(void)
{
	return setresuid(0, 0, 0);
}

static long new_user_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static long mount_something(void)
{
	return mount("none", "/mnt", "tmpfs", 0, NULL);
}

static long change_root(void)
{
	return chroot("/");
}

static long load_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long open_counters(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static long use_keyring(void)
{
	return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
}

static long handle_faults(void)
{
	return syscall(SYS_userfaultfd, 0);
}

static long load_module(void)
{
	return syscall(SYS_init_module, NULL, 0, "");
}

static long change_personality(void)
{
	return syscall(SYS_personality, 0x0400000);
}

static long dump_memory(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long type_in(void)
{
	return syscall(SYS_ioctl, STDIN_FILENO, TIOCSTI, "");
}

/* The kernel ignores the upper half. */
static long type_in_cleverly(void)
{
	return syscall(SYS_ioctl, STDIN_FILENO, (1UL << 32) | TIOCSTI, "");
}

/* ---- by the keeper ---- */

/* The keeper has made its sockets itself; that of what removes files is the server's. */
static bool is_keepers(int fd)
{
	socklen_t type_bytes = sizeof(int), peer_bytes = sizeof(struct ucred);
	struct ucred peer = { 0 };
	int type = 0;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
	       type == SOCK_SEQPACKET &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 &&
	       peer.pid != getpid();
}

static int find_keeper(void)
{
	for (int fd = 0; fd < 1024; fd++)
		if (is_keepers(fd))
			return fd;
	return -1;
}

/* Another handle, so that the server can go on with its own. */
static int clone_handle(void)
{
	const struct keeper_request request = { .op = KEEPER_CLONE };
	int keeper = find_keeper(), fd = -1, res;
	struct keeper_reply reply;

	res = keeper_send(keeper, &request, sizeof(request), -1);
	res = res ?: keeper_receive(keeper, &reply, sizeof(reply), &fd);
	res = res ?: reply.res;
	return res < 0 ? res : fd;
}

/* As the server does before its sandbox: for a handle of a device. */
static long take_device(void)
{
	const char *number = getenv("HIJACKED_UBLK");
	struct keeper_gift gift = {
		.kind = KEEPER_GIVE,
		.seed = { .driver = TRANSPORT_UBLK, .server_pid = getpid() },
	};
	struct keeper_reply reply = { 0 };
	int fd = -1, sock, res;

	if (!number)
		return result(-EPERM);
	gift.seed.id = atoi(number);
	sock = clone_handle();
	if (sock < 0) {
		fprintf(stderr, "no keeper: %s\n", strerrorname_np(-sock));
		return 0;
	}
	res = keeper_send(sock, &gift, sizeof(gift), -1);
	res = res ?: keeper_receive(sock, &reply, sizeof(reply), &fd);
	close(sock);
	return result(res ?: reply.res);
}

/* The first socket to the keeper, which the server has made itself. */
static int find_seeds(void)
{
	for (int fd = 0; fd < 1024; fd++) {
		socklen_t type_bytes = sizeof(int), peer_bytes = sizeof(struct ucred);
		struct ucred peer = { 0 };
		int type = 0;

		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
		    type == SOCK_SEQPACKET &&
		    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 &&
		    peer.pid == getpid())
			return fd;
	}
	return -1;
}

static long send_gift(const struct keeper_gift *gift, int passed_fd)
{
	struct keeper_reply reply = { 0 };
	int seeds = find_seeds(), fd = -1, res;

	if (!getenv("HIJACKED_ADDS"))
		return result(-EPERM);
	if (seeds < 0) {
		fputs("no socket for orders\n", stderr);
		return 0;
	}
	res = keeper_send(seeds, gift, sizeof(*gift), passed_fd);
	res = res ?: keeper_receive(seeds, &reply, sizeof(reply), &fd);
	if (fd >= 0)
		close(fd);
	return result(res ?: reply.res);
}

/* The keeper is sealed. */
static long give_device(void)
{
	const struct keeper_gift gift = {
		.kind = KEEPER_GIVE,
		.seed = { .driver = TRANSPORT_UBLK, .server_pid = getpid() },
	};

	return send_gift(&gift, -1);
}

/* Without an order, and with the server's own socket in place of one. */
static long order_device(void)
{
	const struct keeper_gift gift = { .kind = KEEPER_ORDER, .seed.driver = TRANSPORT_UBLK };
	int handle = find_keeper();

	if (send_gift(&gift, -1) == 0 || send_gift(&gift, STDERR_FILENO) == 0)
		return 0;
	return send_gift(&gift, handle);
}

/* By which it could order one. */
static long make_pair(void)
{
	int pair[2];

	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
}

static long open_control(void)
{
	if (!getenv("HIJACKED_UBLK"))
		return result(-EPERM);
	return open_and_close("/dev/ublk-control", O_RDWR);
}

/* ---- by io_uring ---- */

struct attempt_op {
	struct aio_op op;
	struct coroutine *co;
	int32_t res;
};

static void attempt_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct attempt_op *attempt = (struct attempt_op *)op;

	attempt->res = res;
	co_wake(attempt->co);
}

static long co_send_sqe(void (*prepare)(struct io_uring_sqe *sqe))
{
	struct attempt_op attempt = { .op.done = attempt_done, .co = co_self() };
	struct io_uring_sqe *sqe = aio_get_sqe(aio_loop_current());

	prepare(sqe);
	aio_sqe_set_op(sqe, &attempt.op);
	co_yield();
	return result(attempt.res);
}

static void prepare_open(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, file, O_RDONLY, 0);
}

static long ring_opens(void)
{
	return co_send_sqe(prepare_open);
}

static void prepare_socket(struct io_uring_sqe *sqe)
{
	io_uring_prep_rw(IORING_OP_SOCKET, sqe, AF_UNIX, NULL, 0, SOCK_STREAM);
}

static long ring_makes_socket(void)
{
	return co_send_sqe(prepare_socket);
}

static void prepare_connect(struct io_uring_sqe *sqe)
{
	static struct sockaddr_in address = { .sin_family = AF_INET };

	io_uring_prep_rw(IORING_OP_CONNECT, sqe, tcp_fd, &address, 0, sizeof(address));
}

static long ring_connects(void)
{
	return co_send_sqe(prepare_connect);
}

/* ---- by a ring that was made afterwards, and so without restrictions ---- */

static int ask_own_ring(struct io_uring *ring, unsigned flags)
{
	struct io_uring_cqe *cqe;
	int res;

	ring->sq.sqes[(ring->sq.sqe_tail - 1) & (ring->sq.ring_entries - 1)].flags |= flags;
	io_uring_submit_and_wait(ring, 1);
	res = io_uring_peek_cqe(ring, &cqe);
	res = res ?: cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

/* The kernel's worker may have begun with all privileges, but has those of the request. */
static int open_with_own_ring(void *unused)
{
	struct io_uring ring;
	int res = io_uring_queue_init(2, &ring, 0);

	if (res < 0)
		return res;
	prepare_open(io_uring_get_sqe(&ring));
	res = ask_own_ring(&ring, IOSQE_ASYNC);
	io_uring_queue_exit(&ring);
	return res;
}

/* To whoever listens there, such as a service of root's that starts containers. */
static int connect_with_own_ring(void *unused)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct io_uring ring;
	int fd, res = io_uring_queue_init(2, &ring, 0);

	if (res < 0)
		return res;
	strncpy(address.sun_path, getenv("HIJACKED_SOCKET"), sizeof(address.sun_path) - 1);
	prepare_socket(io_uring_get_sqe(&ring));
	fd = res = ask_own_ring(&ring, 0);
	if (fd >= 0) {
		io_uring_prep_connect(io_uring_get_sqe(&ring), fd, (struct sockaddr *)&address,
				      sizeof(address));
		res = ask_own_ring(&ring, 0);
		close(fd);
	}
	io_uring_queue_exit(&ring);
	return res;
}

static long own_ring_opens(void)
{
	return result(open_with_own_ring(NULL));
}

static long own_ring_connects(void)
{
	return result(connect_with_own_ring(NULL));
}

static long worker_opens_with_own_ring(void)
{
	return result(co_run_on_worker(open_with_own_ring, NULL));
}

static long worker_connects_with_own_ring(void)
{
	return result(co_run_on_worker(connect_with_own_ring, NULL));
}

static long thread_connects_with_own_ring(void)
{
	return result(run_in_thread(connect_with_own_ring));
}

/* ---- by changing the rings that are there ---- */

/* Of any descriptor. The sandbox refuses it before the kernel looks whether that is a ring. */
static long change_rings(unsigned what, void *arg, unsigned nr)
{
	long res = 0;

	for (int fd = 0; fd < 1024 && (res = syscall(SYS_io_uring_register, fd, what, arg, nr)) < 0;
	     fd++)
		if (errno != EPERM)
			break;
	return res;
}

static long loosen_rings(void)
{
	struct io_uring_restriction limit = { .opcode = IORING_RESTRICTION_SQE_OP,
					      .sqe_op = IORING_OP_OPENAT };

	return change_rings(IORING_REGISTER_RESTRICTIONS, &limit, 1);
}

static long keep_personality(void)
{
	return change_rings(IORING_REGISTER_PERSONALITY, NULL, 0);
}

/* ---- in other threads ---- */

static int read_on_thread(void *unused)
{
	return read_file() < 0 ? -errno : 0;
}

static long worker_reads_file(void)
{
	return result(co_run_on_worker(read_on_thread, NULL));
}

static long thread_reads_file(void)
{
	return result(run_in_thread(read_on_thread));
}

static const struct {
	const char *name;
	long (*fn)(void);
} attempts[] = {
	{ "read-file", read_file },
	{ "write-file", write_file },
	{ "truncate-file", truncate_file },
	{ "read-beside", read_beside },
	{ "write-beside", write_beside },
	{ "create-file", create_file },
	{ "remove-file", remove_file },
	{ "link-file", link_file },
	{ "rename-file", rename_file },
	{ "chmod-file", chmod_file },
	{ "set-attribute", set_attribute },
	{ "make-folder", make_folder },
	{ "make-symlink", make_symlink },
	{ "read-own-memory", read_own_memory },
	{ "execute", execute },
	{ "fork", fork_process },
	{ "fork-anew", fork_anew },
	{ "trace-parent", trace_parent },
	{ "read-parent", read_parent },
	{ "signal-parent", signal_parent },
	{ "signal-thread", signal_thread },
	{ "signal-itself", signal_itself },
	{ "hold-parent", hold_parent },
	{ "limit-parent", limit_parent },
	{ "move-parent", move_parent },
	{ "have-parent-signalled", have_parent_signalled },
	{ "choose-signal", choose_signal },
	{ "make-tcp", make_tcp },
	{ "make-udp", make_udp },
	{ "make-unix-stream", make_unix_stream },
	{ "make-netlink", make_netlink },
	{ "make-packet", make_packet },
	{ "connect-tcp", connect_tcp },
	{ "bind-tcp", bind_tcp },
	{ "map-code", map_code },
	{ "make-code", make_code },
	{ "make-secret-file", make_secret_file },
	{ "become-root", become_root },
	{ "new-user-namespace", new_user_namespace },
	{ "mount", mount_something },
	{ "change-root", change_root },
	{ "load-bpf", load_bpf },
	{ "open-counters", open_counters },
	{ "use-keyring", use_keyring },
	{ "handle-faults", handle_faults },
	{ "load-module", load_module },
	{ "change-personality", change_personality },
	{ "dump-memory", dump_memory },
	{ "type-in", type_in },
	{ "type-in-cleverly", type_in_cleverly },
	{ "take-device", take_device },
	{ "give-device", give_device },
	{ "order-device", order_device },
	{ "make-pair", make_pair },
	{ "open-control", open_control },
	{ "ring-opens", ring_opens },
	{ "ring-makes-socket", ring_makes_socket },
	{ "ring-connects", ring_connects },
	{ "own-ring-opens", own_ring_opens },
	{ "own-ring-connects", own_ring_connects },
	{ "worker-opens-with-own-ring", worker_opens_with_own_ring },
	{ "worker-connects-with-own-ring", worker_connects_with_own_ring },
	{ "thread-connects-with-own-ring", thread_connects_with_own_ring },
	{ "loosen-rings", loosen_rings },
	{ "keep-personality", keep_personality },
	{ "thread-reads-file", thread_reads_file },
	{ "worker-reads-file", worker_reads_file },
};

static void attempt_all(const char *moment)
{
	for (size_t i = 0; i < G_N_ELEMENTS(attempts); i++) {
		int error = attempts[i].fn() < 0 ? errno : 0;

		fprintf(stderr, "%s %s %s\n", moment, attempts[i].name,
			error ? strerrorname_np(error) : "0");
	}
}

/* ---- the bug ---- */

const char *__real_probe_head(const uint8_t *head, size_t bytes);
const char *__wrap_probe_head(const uint8_t *head, size_t bytes);

const char *__wrap_probe_head(const uint8_t *head, size_t bytes)
{
	static bool was_here;

	if (!was_here)
		attempt_all("opening");
	was_here = true;
	return __real_probe_head(head, bytes);
}

struct serve_result __real_serve_co_request(struct serve *serve, const struct request_desc *desc,
					    uint64_t begin_ns,
					    int (*co_try)(void *arg, struct image *image),
					    void *arg);
struct serve_result __wrap_serve_co_request(struct serve *serve, const struct request_desc *desc,
					    uint64_t begin_ns,
					    int (*co_try)(void *arg, struct image *image),
					    void *arg);

struct serve_result __wrap_serve_co_request(struct serve *serve, const struct request_desc *desc,
					    uint64_t begin_ns,
					    int (*co_try)(void *arg, struct image *image),
					    void *arg)
{
	static _Atomic bool was_here;

	if (!atomic_exchange(&was_here, true))
		attempt_all("request");
	return __real_serve_co_request(serve, desc, begin_ns, co_try, arg);
}

int __real_status_answer(const struct command_target *on, const json_t *request, json_t *answer,
			 GError **err);
int __wrap_status_answer(const struct command_target *on, const json_t *request, json_t *answer,
			 GError **err);

int __wrap_status_answer(const struct command_target *on, const json_t *request, json_t *answer,
			 GError **err)
{
	struct command_target *held = (struct command_target *)on;
	int res;

	/* The real one does not wait, so nothing would keep the disk until these have ended. */
	held->users++;
	attempt_all("serving");
	res = __real_status_answer(on, request, answer, err);
	if (!--held->users)
		co_wake_at(&held->waiter);
	return res;
}

int __real_sandbox_prepare(const struct options *options, struct sandbox_config *ret_config,
			   GError **err);
int __wrap_sandbox_prepare(const struct options *options, struct sandbox_config *ret_config,
			   GError **err);

int __wrap_sandbox_prepare(const struct options *options, struct sandbox_config *ret_config,
			   GError **err)
{
	tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return __real_sandbox_prepare(options, ret_config, err);
}

static void __attribute__((constructor)) prepare(void)
{
	file = getenv("HIJACKED_FILE");
	beside = getenv("HIJACKED_BESIDE");
	fresh = getenv("HIJACKED_NEW");
}
