// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The static probes: this program attaches to its own ones, as a tracer would, and looks at their
 * arguments while a disk is used. A note of the ELF file says where a probe is and where its
 * arguments are; a breakpoint there stops us with all registers.
 */
#include <elf.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "disk.h"
#include "image-test.h"
#include "serve.h"

#if defined(UBD_USDT) && defined(__x86_64__)

#define MAX_PROBES 256
#define MAX_ARGS   5
#define MAX_HITS   1024
#define INT3	   0xcc

struct probe {
	uint8_t *pc;
	char name[32];
	char args[256];
};

struct hit {
	const char *name;
	int64_t args[MAX_ARGS];
	unsigned nr;
};

static struct probe probes[MAX_PROBES];
static unsigned nr_probes;
static struct hit hits[MAX_HITS];
static volatile unsigned nr_hits;

/* ---- arguments ---- */

/* By all names of its parts. */
static int64_t register_value(const ucontext_t *context, const char *name)
{
	static const struct {
		const char *names;
		int index;
	} all[] = {
		{ " rax eax ax al ", REG_RAX },	     { " rbx ebx bx bl ", REG_RBX },
		{ " rcx ecx cx cl ", REG_RCX },	     { " rdx edx dx dl ", REG_RDX },
		{ " rsi esi si sil ", REG_RSI },     { " rdi edi di dil ", REG_RDI },
		{ " rbp ebp bp bpl ", REG_RBP },     { " rsp esp sp spl ", REG_RSP },
		{ " r8 r8d r8w r8b ", REG_R8 },	     { " r9 r9d r9w r9b ", REG_R9 },
		{ " r10 r10d r10w r10b ", REG_R10 }, { " r11 r11d r11w r11b ", REG_R11 },
		{ " r12 r12d r12w r12b ", REG_R12 }, { " r13 r13d r13w r13b ", REG_R13 },
		{ " r14 r14d r14w r14b ", REG_R14 }, { " r15 r15d r15w r15b ", REG_R15 },
	};
	char word[16];

	snprintf(word, sizeof(word), " %s ", name);
	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		if (strstr(all[i].names, word))
			return context->uc_mcontext.gregs[all[i].index];
	abort();
}

static int64_t load(int64_t address, int size)
{
	int64_t value = 0;

	memcpy(&value, (const void *)address, abs(size));
	return value;
}

static int64_t extend(int64_t value, int size)
{
	switch (size) {
	case -1:
		return (int8_t)value;
	case -2:
		return (int16_t)value;
	case -4:
		return (int32_t)value;
	case 1:
		return (uint8_t)value;
	case 2:
		return (uint16_t)value;
	case 4:
		return (uint32_t)value;
	}
	return value;
}

/* "8@%rdi", "-4@$5", "8@-16(%rbp)", "4@8(%rax,%rdx,4)". */
static int64_t argument(const ucontext_t *context, const char *text)
{
	char base[8] = "", index[8] = "";
	int size, scale = 1, end = 0;
	long long off = 0;

	if (sscanf(text, "%d@$%lld", &size, &off) == 2)
		return extend(off, size);
	if (sscanf(text, "%d@%%%7[a-z0-9]", &size, base) == 2)
		return extend(register_value(context, base), size);
	if (sscanf(text, "%d@(%n", &size, &end) < 1 || !end)
		sscanf(text, "%d@%lld(%n", &size, &off, &end);
	if (!end || sscanf(text + end, "%%%7[a-z0-9],%%%7[a-z0-9],%d", base, index, &scale) < 1)
		abort();
	off += register_value(context, base);
	if (*index)
		off += register_value(context, index) * scale;
	return extend(load(off, size), size);
}

static void on_breakpoint(int number, siginfo_t *info, void *data)
{
	const ucontext_t *context = data;
	uint8_t *pc = (uint8_t *)context->uc_mcontext.gregs[REG_RIP] - 1;

	for (unsigned i = 0; i < nr_probes; i++) {
		struct hit *hit = &hits[nr_hits];
		const char *at = probes[i].args;

		if (probes[i].pc != pc)
			continue;
		hit->name = probes[i].name;
		for (hit->nr = 0; *at && hit->nr < MAX_ARGS; hit->nr++) {
			hit->args[hit->nr] = argument(context, at);
			at += strcspn(at, " ");
			at += strspn(at, " ");
		}
		nr_hits++;
		return;
	}
	abort();
}

/* ---- notes ---- */

static int find_base(struct dl_phdr_info *info, size_t size, void *base)
{
	*(uintptr_t *)base = info->dlpi_addr;
	return 1; /* the program is the first */
}

static void attach(uintptr_t pc)
{
	uintptr_t page = pc & ~(uintptr_t)4095;

	g_assert_cmpint(mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC), ==, 0);
	*(uint8_t *)pc = INT3;
}

static void take_note(const char *desc, uintptr_t base)
{
	struct probe *probe = &probes[nr_probes];
	const char *provider = desc + 3 * sizeof(uint64_t);
	const char *name = provider + strlen(provider) + 1;
	uint64_t pc;

	if (strcmp(provider, "ubd") != 0)
		return;
	g_assert_cmpuint(nr_probes, <, MAX_PROBES);
	memcpy(&pc, desc, sizeof(pc));
	probe->pc = (uint8_t *)(base + pc);
	g_strlcpy(probe->name, name, sizeof(probe->name));
	g_strlcpy(probe->args, name + strlen(name) + 1, sizeof(probe->args));
	nr_probes++;
	attach(base + pc);
}

static void take_notes(const char *section, size_t bytes, uintptr_t base)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= bytes;) {
		Elf64_Nhdr note;
		const char *name = section + at + sizeof(note);

		memcpy(&note, section + at, sizeof(note));
		if (strcmp(name, "stapsdt") == 0)
			take_note(name + ((note.n_namesz + 3) & ~3), base);
		at += sizeof(note) + ((note.n_namesz + 3) & ~3) + ((note.n_descsz + 3) & ~3);
	}
}

static void attach_to_all(void)
{
	struct sigaction action = { .sa_sigaction = on_breakpoint, .sa_flags = SA_SIGINFO };
	g_autofree char *elf = NULL;
	const Elf64_Ehdr *head;
	const Elf64_Shdr *sections;
	uintptr_t base;
	gsize bytes;

	sigaction(SIGTRAP, &action, NULL);
	dl_iterate_phdr(find_base, &base);
	g_assert_true(g_file_get_contents("/proc/self/exe", &elf, &bytes, NULL));
	head = (const Elf64_Ehdr *)elf;
	sections = (const Elf64_Shdr *)(elf + head->e_shoff);
	for (unsigned i = 0; i < head->e_shnum; i++) {
		const char *name = elf + sections[head->e_shstrndx].sh_offset + sections[i].sh_name;

		if (strcmp(name, ".note.stapsdt") == 0)
			take_notes(elf + sections[i].sh_offset, sections[i].sh_size, base);
	}
}

/* ---- tests ---- */

static struct serve serve;
static char data[65536];

static int co_try(void *arg, struct image *image)
{
	const struct request_desc *desc = arg;

	if (desc->op == REQUEST_READ)
		return image_co_pread(image, desc->guest_off, desc->bytes, data);
	if (desc->op == REQUEST_WRITE)
		return image_co_pwrite(image, desc->guest_off, desc->bytes, data, 0);
	return serve_co_dataless(image, desc);
}

static void co_request(enum request_op op, uint64_t off, uint64_t bytes, int error)
{
	const struct request_desc desc = { .op = op, .guest_off = off, .bytes = bytes };
	uint64_t begin_ns = serve_begin(&serve, &desc);
	struct serve_result result;

	g_assert_cmpint(serve_co_wait_turn(&serve, &desc, begin_ns), ==, 0);
	result = serve_co_request(&serve, &desc, begin_ns, co_try, (void *)&desc);
	g_assert_cmpint(result.res, ==, error);
	serve_done(&serve, &desc, begin_ns, result.res);
}

/* The next hit of that name; its arguments. */
static const int64_t *next(const char *name, unsigned nr, unsigned *at)
{
	for (; *at < nr_hits; ++*at)
		if (strcmp(hits[*at].name, name) == 0) {
			g_assert_cmpuint(hits[*at].nr, ==, nr);
			return hits[(*at)++].args;
		}
	g_error("there was no %s", name);
}

static void check_request(enum request_op op, uint64_t off, uint64_t bytes, int error)
{
	static const char *const names[] = { "request_begin", "request_submit", "request_done" };
	unsigned at = 0;

	for (unsigned i = 0; i < 3; i++) {
		const int64_t *args = next(names[i], i == 2 ? 5 : 4, &at);

		g_assert_true((void *)args[0] == &serve);
		g_assert_cmpint(args[1], ==, op);
		g_assert_cmpint(args[2], ==, off);
		g_assert_cmpint(args[3], ==, bytes);
		if (i == 2)
			g_assert_cmpint(args[4], ==, error);
	}
	g_assert_cmpuint(at, ==, nr_hits);
	nr_hits = 0;
}

/* Tables are written before data is on disk, and read by whoever opens the image next. */
static void co_check_image(struct image *img)
{
	const int64_t *args;
	unsigned at = 0;

	co_request(REQUEST_FLUSH, 0, 0, 0);
	args = next("flush_begin", 2, &at);
	g_assert_true((void *)args[0] == img);
	g_assert_cmpstr((const char *)args[1], ==, "qcow2");
	args = next("metadata_write", 3, &at);
	g_assert_cmpint(args[1] % 512, ==, 0);
	g_assert_cmpint(args[1], >, 0);
	g_assert_cmpint(args[2], >, 0);
	g_assert_cmpint(args[2], <=, 65536);
	args = next("flush_begin", 2, &at);
	g_assert_true((void *)args[0] == image_file(img));
	g_assert_cmpstr((const char *)args[1], ==, "file");
	args = next("flush_done", 3, &at);
	g_assert_true((void *)args[0] == image_file(img));
	g_assert_cmpint(args[2], ==, 0);
}

static struct image *co_use_image(struct disk *disk)
{
	struct image *img = co_open_ok("disk", "qcow2", IMAGE_RDWR);

	disk_set_image(disk, img);
	nr_hits = 0;
	return img;
}

CO_TEST(test_probes)
{
	static const struct hold_policy hold;
	static const struct request_limits limits;
	struct disk *disk = disk_new(NULL);
	struct image *img;
	unsigned at = 0;

	serve_init(&serve,
		   &(struct serve_config){
			   .disk = disk, .hold = &hold, .limits = &limits, .event_fd = -1 });
	co_create_ok("disk", "qcow2", 1 << 20, NULL, NULL);
	img = co_use_image(disk);
	co_request(REQUEST_WRITE, 131072, 65536, 0);
	nr_hits = 0;
	co_check_image(img);
	nr_hits = 0;
	co_request(REQUEST_READ, 131072 + 512, 1024, 0);
	check_request(REQUEST_READ, 131072 + 512, 1024, 0);
	co_request(REQUEST_READ, 1 << 20, 512, -EIO);
	check_request(REQUEST_READ, 1 << 20, 512, -EIO);
	g_assert_cmpint(image_co_close(img), ==, 0);

	img = co_use_image(disk);
	co_request(REQUEST_READ, 131072, 512, 0);
	g_assert_cmpint(next("cache_miss", 2, &at)[1] % 65536, ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_turn();
	serve_destroy(&serve);
	disk_free(disk);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	attach_to_all();
	g_test_add_func("/probes/arguments", test_probes);
	return leave_scratch(folder, g_test_run());
}

#else

int main(void)
{
	puts("1..1\nok 1 probes # SKIP they are not built, or this is not an x86-64");
	return 0;
}

#endif
