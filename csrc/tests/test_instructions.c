/*
 * Instructions of each form that an opcode's table entry can have.
 */
#include "check.h"
#include "lpcore.h"

#include <string.h>

struct sample {
	const char *bytes;
	uint8_t size;
	uint8_t displacement_size;
	uint8_t immediate_size;
	uint8_t flags;
};

static const struct sample samples[] = {
	{"\x90", 1, 0, 0, 0},
	{"\x55", 1, 0, 0, 0},
	{"\x48\x89\xe5", 3, 0, 0, LP_HAS_MODRM},
	{"\xb8\x01\x02\x03\x04", 5, 0, 4, 0},
	{"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 10, 0, 8, 0},
	{"\x66\xb8\x01\x02", 4, 0, 2, 0},
	{"\x66\x48\xc7\xc0\x01\x02\x03\x04", 8, 0, 4, LP_HAS_MODRM},
	{"\xe8\x01\x02\x03\x04", 5, 0, 4, LP_RELATIVE},
	{"\x74\x05", 2, 0, 1, LP_RELATIVE},
	{"\x0f\x84\x01\x02\x03\x04", 6, 0, 4, LP_RELATIVE},
	{"\x48\x8d\x05\x01\x02\x03\x04", 7, 4, 0,
	 LP_HAS_MODRM | LP_RIP_RELATIVE},
	{"\x80\x3d\x01\x02\x03\x04\x07", 7, 4, 1,
	 LP_HAS_MODRM | LP_RIP_RELATIVE},
	{"\xf6\x05\x01\x02\x03\x04\x07", 7, 4, 1,
	 LP_HAS_MODRM | LP_RIP_RELATIVE},
	{"\xf6\x15\x01\x02\x03\x04", 6, 4, 0, LP_HAS_MODRM | LP_RIP_RELATIVE},
	{"\x8b\x44\x24\x08", 4, 1, 0, LP_HAS_MODRM},
	{"\x8b\x84\x24\x01\x02\x03\x04", 7, 4, 0, LP_HAS_MODRM},
	{"\x8b\x04\x25\x01\x02\x03\x04", 7, 4, 0, LP_HAS_MODRM},
	{"\xa1\x01\x02\x03\x04\x05\x06\x07\x08", 9, 8, 0, 0},
	{"\x67\xa1\x01\x02\x03\x04", 6, 4, 0, 0},
	{"\xc8\x01\x02\x03", 4, 0, 3, 0},
	{"\xc2\x08\x00", 3, 0, 2, 0},
	{"\x0f\x38\xf0\x07", 4, 0, 0, LP_HAS_MODRM},
	{"\x0f\x3a\x0f\xc1\x08", 5, 0, 1, LP_HAS_MODRM},
	{"\x0f\x20\x45", 3, 0, 0, LP_HAS_MODRM}, /* mov from %cr0 */
	{"\x0f\x0b", 2, 0, 0, 0},
	{"\x0f\xff", 2, 0, 0, 0},
	{"\xc5\xf8\x77", 3, 0, 0, 0}, /* vzeroupper */
	{"\xc5\xf9\x70\xc1\x01", 5, 0, 1, LP_HAS_MODRM},
	{"\xc4\xe3\x71\x0f\xc2\x04", 6, 0, 1, LP_HAS_MODRM},
	{"\x62\xf1\x7c\x48\x10\x47\x01", 7, 1, 0, LP_HAS_MODRM},
	{"\x8f\xe8\x78\xc0\xc1\x02", 6, 0, 1, LP_HAS_MODRM}, /* XOP */
	{"\x8f\x00", 2, 0, 0, LP_HAS_MODRM}, /* pop */
	{"\xf3\x0f\x1e\xfa", 4, 0, 0, LP_HAS_MODRM},
	{"\xf0\x48\x0f\xb1\x0f", 5, 0, 0, LP_HAS_MODRM},
};

static void test_samples(void)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++) {
		const struct sample *sample = samples + i;
		struct lp_instruction found[2];
		uint8_t code[16];
		size_t count = 0;

		memcpy(code, sample->bytes, sample->size);
		CHECK(lp_decode(code, sample->size, found, 2, &count) == LP_OK);
		CHECK(count == 1 && found[0].size == sample->size);
		CHECK(found[0].displacement_size == sample->displacement_size);
		CHECK(found[0].immediate_size == sample->immediate_size);
		CHECK(found[0].flags == sample->flags);
	}
}

static void test_no_instruction(void)
{
	struct lp_instruction found[4];
	size_t count = 0;

	/* Invalid in 64-bit mode, then cut off. */
	CHECK(lp_decode((const uint8_t *)"\x06\xe8\x01", 3, found, 4, &count) ==
	      LP_OK);
	CHECK(count == 3 && found[0].map == 0xff && found[0].size == 1);
	CHECK(found[1].map == 0xff && found[2].offset == 2);
	CHECK(lp_decode(NULL, 0, found, 4, &count) == LP_OK && count == 0);
	CHECK(lp_decode((const uint8_t *)"\x90\x90", 2, NULL, 0, &count) ==
	      LP_OK);
	CHECK(count == 2);
}

static void test_field_ends(void)
{
	/* lea 0(%rip), %rax; cmpb $7, 0(%rip); an invalid byte and more */
	static const uint8_t code[] = {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x80, 0x3d,
				       0,    0,    0,    0, 7, 6, 6, 6,    6};
	uint64_t fields[] = {3, 9, 14}, ends[3], unsorted[] = {9, 3};

	CHECK(lp_field_ends(code, sizeof(code), fields, 3, ends) == LP_OK);
	CHECK(ends[0] == 7 && ends[1] == 14 && ends[2] == 18);
	CHECK(lp_field_ends(code, sizeof(code), unsorted, 2, ends) ==
	      LP_E_ARGUMENT);
	CHECK(lp_field_ends(code, 3, fields, 1, ends) == LP_E_ARGUMENT);
	CHECK(lp_field_ends(NULL, 0, NULL, 0, ends) == LP_OK);
}

static void test_differing(void)
{
	/* mov $1, %eax; nop; ret, then with another number, then longer */
	static const uint8_t one[] = {0xb8, 1, 0, 0, 0, 0x90, 0xc3};
	static const uint8_t two[] = {0xb8, 2, 0, 0, 0, 0x90, 0xcb};
	static const uint8_t three[] = {0xb8, 1, 0, 0, 0, 0x6a, 1};
	uint64_t found[2] = {0};
	size_t count = 9;

	CHECK(lp_differing(one, one, 7, found, 2, &count) == LP_OK && !count);
	CHECK(lp_differing(one, two, 7, found, 2, &count) == LP_OK);
	CHECK(count == 2 && found[0] == 0 && found[1] == 6);
	CHECK(lp_differing(one, three, 7, found, 2, &count) == LP_E_MISMATCH);
	CHECK(lp_differing(NULL, NULL, 0, found, 2, &count) == LP_OK && !count);
}

int main(void)
{
	test_samples();
	test_no_instruction();
	test_field_ends();
	test_differing();
	return 0;
}
