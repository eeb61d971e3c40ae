// SPDX-License-Identifier: GPL-2.0-or-later
/* What a server may use of io_uring: the flags of rings and SQEs that docs/protocol.md lists. */
#include "hand.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void serve_one_read(struct hand *hand)
{
	int reader = hand_spawn_reader(hand);

	CHECK_EQ(hand_wait(hand), UBD_IO_RES_OK);
	hand_submit(hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096);
	check_exit(reader, 0);
}

/* ---- rings ---- */

static void check_ring_serves(unsigned int flags)
{
	struct hand hand;

	hand_run(&hand, flags);
	serve_one_read(&hand);
	hand_end(&hand);
}

static void a_ring_without_interrupts_serves(void)
{
	check_ring_serves(IORING_SETUP_COOP_TASKRUN);
	check_ring_serves(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
}

static void a_ring_of_one_thread_serves(void)
{
	check_ring_serves(IORING_SETUP_SINGLE_ISSUER);
}

static void a_ring_that_defers_its_task_work_serves(void)
{
	check_ring_serves(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
}

static void a_ring_with_a_polling_kernel_thread_serves(void)
{
	check_ring_serves(IORING_SETUP_SQPOLL);
}

static void large_entries_have_the_argument_in_the_same_place(void)
{
	check_ring_serves(IORING_SETUP_SQE128);
	check_ring_serves(IORING_SETUP_CQE32);
	check_ring_serves(IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
}

static void a_ring_serves_once_it_is_enabled(void)
{
	struct hand hand;

	hand_open(&hand);
	CHECK_EQ(io_uring_queue_init(4, &hand.ring,
				     IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER),
		 0);
	hand_prepare(&hand, UBD_IO_FETCH_REQ, 0);
	CHECK_EQ(io_uring_submit(&hand.ring), -EBADFD);
	/* Some libraries declare io_uring_enable_rings() and lack it. */
	CHECK_EQ(syscall(__NR_io_uring_register, hand.ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
			 NULL, 0),
		 0);
	CHECK_EQ(io_uring_submit(&hand.ring), 1);
	/* It has been fetched once: the next one would be -EBUSY. */
	CHECK_EQ(io_command(hand.server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, hand.buffer), -EBUSY);
	io_uring_queue_exit(&hand.ring);
}

static void a_registered_ring_serves(void)
{
	struct hand hand;

	hand_open(&hand);
	CHECK_EQ(io_uring_queue_init(4, &hand.ring, 0), 0);
	CHECK_EQ(io_uring_register_ring_fd(&hand.ring), 1);
	hand_start(&hand);
	serve_one_read(&hand);
	hand_end(&hand);
}

/* Older kernels refuse all commands there; newer ones do not, and waiting for one spins. */
static void a_ring_that_polls_for_completions_does_no_harm(void)
{
	struct ubdsrv_ctrl_dev_info info;
	struct ubdsrv_ctrl_cmd get_info = { .len = sizeof(info), .addr = (uintptr_t)&info };
	struct io_uring_sqe *sqe;
	struct hand hand;
	int res;

	hand_open(&hand);
	CHECK_EQ(io_uring_queue_init(4, &hand.ring, IORING_SETUP_IOPOLL), 0);
	sqe = hand_prepare(&hand, UBD_CMD_GET_DEV_INFO, 0);
	sqe->fd = hand.server.control;
	memcpy(sqe->cmd, &get_info, sizeof(get_info));
	CHECK_EQ(io_uring_submit(&hand.ring), 1);
	res = hand_wait(&hand);
	CHECK(res == -EOPNOTSUPP || res == 0);

	hand_submit(&hand, UBD_IO_FETCH_REQ, 0);
	CHECK_EQ(control(hand.server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(hand_wait(&hand), res ? res : UBD_IO_RES_ABORT);
	io_uring_queue_exit(&hand.ring);
}

/* ---- SQEs ---- */

static void a_fixed_file_serves(void)
{
	struct hand hand;

	hand_open(&hand);
	CHECK_EQ(io_uring_queue_init(4, &hand.ring, 0), 0);
	CHECK_EQ(io_uring_register_files(&hand.ring, &hand.server.cdev, 1), 0);
	hand.sqe_flags = IOSQE_FIXED_FILE;
	hand_start(&hand);
	serve_one_read(&hand);
	hand_end(&hand);
}

static void commands_that_go_to_a_worker_serve(void)
{
	struct hand hand;

	hand_open(&hand);
	CHECK_EQ(io_uring_queue_init(4, &hand.ring, 0), 0);
	hand.sqe_flags = IOSQE_ASYNC;
	hand_start(&hand);
	serve_one_read(&hand);
	hand_end(&hand);
}

/* The only CQE there is. */
static void check_cqe(struct hand *hand, uint64_t user_data, int res)
{
	struct io_uring_cqe *cqe;

	CHECK_EQ(io_uring_wait_cqe(&hand->ring, &cqe), 0);
	CHECK_EQ(cqe->user_data, user_data);
	CHECK_EQ(cqe->res, res);
	io_uring_cqe_seen(&hand->ring, cqe);
	CHECK_EQ(io_uring_cq_ready(&hand->ring), 0);
}

#define OTHER 77

static struct io_uring_sqe *prepare_nop(struct hand *hand)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&hand->ring);

	io_uring_prep_nop(sqe);
	sqe->user_data = OTHER;
	return sqe;
}

static void a_commit_that_skips_its_cqe_has_one_if_it_is_refused(void)
{
	struct hand hand;
	int reader;

	hand_run(&hand, 0);
	reader = hand_spawn_reader(&hand);
	check_cqe(&hand, 0, UBD_IO_RES_OK);
	hand_prepare(&hand, UBD_IO_COMMIT_REQ, 4096)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	prepare_nop(&hand);
	CHECK_EQ(io_uring_submit(&hand.ring), 2);
	check_cqe(&hand, OTHER, 0);
	check_exit(reader, 0);

	hand_prepare(&hand, UBD_IO_COMMIT_REQ, 4096)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&hand.ring), 1);
	check_cqe(&hand, 0, -EINVAL);
	hand_submit(&hand, UBD_IO_FETCH_REQ, 0);
	hand_end(&hand);
}

/* Nobody is told about the request, but it is there. */
static void a_fetch_that_skips_its_cqe_is_silent(void)
{
	struct hand hand;
	int reader;

	hand_run(&hand, 0);
	reader = hand_spawn_reader(&hand);
	check_cqe(&hand, 0, UBD_IO_RES_OK);
	hand_submit(&hand, UBD_IO_COMMIT_REQ, 4096);
	check_cqe(&hand, 0, 0);
	check_exit(reader, 0);

	reader = hand_spawn_reader(&hand);
	hand_prepare(&hand, UBD_IO_FETCH_REQ, 0)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&hand.ring), 1);
	/* Once the request has been delivered the tag takes a COMMIT. */
	WAIT_UNTIL(io_command(hand.server.cdev, UBD_IO_COMMIT_REQ, 0, 0, 4096, NULL) == 0, AGE);
	check_exit(reader, 0);
	CHECK_EQ(io_uring_cq_ready(&hand.ring), 0);
	hand_submit(&hand, UBD_IO_FETCH_REQ, 0);
	hand_end(&hand);
}

static struct io_uring_sqe *prepare_bad_read(struct hand *hand)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&hand->ring);

	io_uring_prep_read(sqe, -1, hand->buffer, 1, 0);
	sqe->user_data = OTHER;
	return sqe;
}

static void a_commit_can_wait_for_what_it_is_linked_to(void)
{
	struct hand hand;
	int reader;

	hand_run(&hand, 0);
	reader = hand_spawn_reader(&hand);
	check_cqe(&hand, 0, UBD_IO_RES_OK);

	/* What comes before it fails: the request is still there. */
	prepare_bad_read(&hand)->flags = IOSQE_IO_LINK;
	hand_prepare(&hand, UBD_IO_COMMIT_REQ, 4096);
	CHECK_EQ(io_uring_submit(&hand.ring), 2);
	CHECK_EQ(hand_wait(&hand), -EBADF);
	check_cqe(&hand, 0, -ECANCELED);

	prepare_nop(&hand)->flags = IOSQE_IO_LINK;
	hand_prepare(&hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096);
	CHECK_EQ(io_uring_submit(&hand.ring), 2);
	check_cqe(&hand, OTHER, 0);
	check_exit(reader, 0);

	reader = hand_spawn_reader(&hand);
	CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
	prepare_bad_read(&hand)->flags = IOSQE_IO_HARDLINK;
	hand_prepare(&hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096);
	CHECK_EQ(io_uring_submit(&hand.ring), 2);
	check_cqe(&hand, OTHER, -EBADF);
	check_exit(reader, 0);
	hand_end(&hand);
}

/* @flags: of a FETCH that waits, and of what comes after it. */
static void check_fetch_holds_up(unsigned int first_flags, unsigned int second_flags)
{
	struct hand hand;
	int reader;

	hand_run(&hand, 0);
	reader = hand_spawn_reader(&hand);
	check_cqe(&hand, 0, UBD_IO_RES_OK);
	hand_prepare(&hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096)->flags = first_flags;
	prepare_nop(&hand)->flags = second_flags;
	CHECK_EQ(io_uring_submit(&hand.ring), 2);
	check_exit(reader, 0);
	usleep(100000);
	CHECK_EQ(io_uring_cq_ready(&hand.ring), 0);

	reader = hand_spawn_reader(&hand);
	CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
	check_cqe(&hand, OTHER, 0);
	hand_submit(&hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096);
	check_exit(reader, 0);
	hand_end(&hand);
}

static void what_is_linked_to_a_fetch_waits_for_its_request(void)
{
	check_fetch_holds_up(IOSQE_IO_LINK, 0);
	check_fetch_holds_up(IOSQE_IO_HARDLINK, 0);
}

static void what_drains_the_ring_waits_for_its_fetches(void)
{
	check_fetch_holds_up(0, IOSQE_IO_DRAIN);
}

static void check_flag_refused(unsigned int flags, unsigned int cmd_flags)
{
	struct io_uring_sqe *sqe;
	struct hand hand;
	int res;

	hand_open(&hand);
	CHECK_EQ(io_uring_queue_init(4, &hand.ring, 0), 0);
	sqe = hand_prepare(&hand, UBD_IO_FETCH_REQ, 0);
	sqe->flags = flags;
	sqe->uring_cmd_flags = cmd_flags;
	CHECK_EQ(io_uring_submit(&hand.ring), 1);
	res = hand_wait(&hand);
	/* The first is older kernels'. */
	CHECK(res == -EOPNOTSUPP || res == -EINVAL || res == -EFAULT);
	/* It was not fetched. */
	hand_submit(&hand, UBD_IO_FETCH_REQ, 0);
	CHECK_EQ(io_uring_cq_ready(&hand.ring), 0);
	io_uring_queue_exit(&hand.ring);
}

static void buffers_that_io_uring_chooses_are_refused(void)
{
	check_flag_refused(IOSQE_BUFFER_SELECT, 0);
	check_flag_refused(IOSQE_BUFFER_SELECT, 1u << 1); /* MULTISHOT */
}

static void flags_of_the_command_are_refused(void)
{
	check_flag_refused(0, IORING_URING_CMD_FIXED);
	check_flag_refused(0, 1u << 1); /* MULTISHOT */
	check_flag_refused(0, 1u << 2);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a ring without interrupts serves", a_ring_without_interrupts_serves },
		{ "a ring of one thread serves", a_ring_of_one_thread_serves },
		{ "a ring that defers its task work serves",
		  a_ring_that_defers_its_task_work_serves },
		{ "a ring with a polling kernel thread serves",
		  a_ring_with_a_polling_kernel_thread_serves },
		{ "large entries have the argument in the same place",
		  large_entries_have_the_argument_in_the_same_place },
		{ "a ring serves once it is enabled", a_ring_serves_once_it_is_enabled },
		{ "a registered ring serves", a_registered_ring_serves },
		{ "a ring that polls for completions does no harm",
		  a_ring_that_polls_for_completions_does_no_harm },
		{ "a fixed file serves", a_fixed_file_serves },
		{ "commands that go to a worker serve", commands_that_go_to_a_worker_serve },
		{ "a COMMIT that skips its CQE has one if it is refused",
		  a_commit_that_skips_its_cqe_has_one_if_it_is_refused },
		{ "a FETCH that skips its CQE is silent", a_fetch_that_skips_its_cqe_is_silent },
		{ "a COMMIT can wait for what it is linked to",
		  a_commit_can_wait_for_what_it_is_linked_to },
		{ "what is linked to a FETCH waits for its request",
		  what_is_linked_to_a_fetch_waits_for_its_request },
		{ "what drains the ring waits for its FETCHes",
		  what_drains_the_ring_waits_for_its_fetches },
		{ "buffers that io_uring chooses are refused",
		  buffers_that_io_uring_chooses_are_refused },
		{ "flags of the command are refused", flags_of_the_command_are_refused },
	};

	return RUN_TESTS(tests, argc, argv);
}
