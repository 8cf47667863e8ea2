/*
 * Where x86-64 instructions begin and end, and where in them displacements and
 * immediates are: Intel SDM volume 2, chapter 2 and appendix A. What they do is
 * not looked at.
 */
#include "lpcore.h"

#include "opcodes.h"

#include <stdbool.h>
#include <string.h>

enum {
	LONGEST = 15,
	REX_W = 8,
	NO_MAP = 0xff,
	FIELD = 4,
};

/* One instruction being read. Reading past the end gives zeroes and is noticed
 * once, at the end of it. */
struct reader {
	const uint8_t *code;
	uint64_t size;
	uint8_t at;
	uint8_t rex;
	bool operand_size;
	bool address_size;
	struct lp_instruction *found;
};

static uint8_t peek(const struct reader *reader)
{
	return reader->at < reader->size ? reader->code[reader->at] : 0;
}

static uint8_t next(struct reader *reader)
{
	uint8_t byte = peek(reader);

	if (reader->at <= LONGEST)
		reader->at++;
	return byte;
}

static void skip(struct reader *reader, uint8_t size)
{
	reader->at = (uint8_t)(reader->at + size);
}

static bool take_prefix(struct reader *reader, uint8_t byte)
{
	switch (byte) {
	case 0x66:
		reader->operand_size = true;
		break;
	case 0x67:
		reader->address_size = true;
		break;
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		break;
	default:
		return false;
	}
	return true;
}

static void take_prefixes(struct reader *reader)
{
	while (reader->at < LONGEST && take_prefix(reader, peek(reader)))
		reader->at++;
	/* A REX prefix counts right before the opcode only. */
	if ((peek(reader) & 0xf0) == 0x40)
		reader->rex = next(reader);
}

static void take_displacement(struct reader *reader, uint8_t size)
{
	reader->found->displacement_at = reader->at;
	reader->found->displacement_size = size;
	skip(reader, size);
}

static void take_immediate(struct reader *reader, uint8_t size)
{
	reader->found->immediate_at = reader->at;
	reader->found->immediate_size = size;
	skip(reader, size);
}

/* SDM volume 2, tables 2-2 and 2-3. */
static void take_modrm(struct reader *reader)
{
	uint8_t modrm = next(reader);
	uint8_t mode = modrm >> 6;
	uint8_t base = modrm & 7;

	reader->found->modrm = modrm;
	reader->found->flags |= LP_HAS_MODRM;
	if (mode == 3)
		return;
	if (base == 4) {
		base = next(reader) & 7;
		if (mode == 0 && base == 5)
			take_displacement(reader, 4);
	} else if (mode == 0 && base == 5) {
		reader->found->flags |= LP_RIP_RELATIVE;
		take_displacement(reader, 4);
	}
	if (mode == 1)
		take_displacement(reader, 1);
	if (mode == 2)
		take_displacement(reader, 4);
}

static uint8_t full_size(const struct reader *reader)
{
	return reader->operand_size && !(reader->rex & REX_W) ? 2 : 4;
}

static void take_group(struct reader *reader, uint8_t size)
{
	take_modrm(reader);
	/* f6 and f7: only /0 and /1 are test. */
	if ((reader->found->modrm >> 3 & 7) <= 1)
		take_immediate(reader, size);
}

static void take_distance(struct reader *reader, uint8_t size)
{
	reader->found->flags |= LP_RELATIVE;
	take_immediate(reader, size);
}

static bool take_operands(struct reader *reader, enum form form)
{
	switch (form) {
	case NN:
		return true;
	case MR:
		take_modrm(reader);
		return true;
	case M1:
		take_modrm(reader);
		take_immediate(reader, 1);
		return true;
	case M4:
		take_modrm(reader);
		take_immediate(reader, full_size(reader));
		return true;
	case I1:
		take_immediate(reader, 1);
		return true;
	case I2:
		take_immediate(reader, 2);
		return true;
	case I3:
		take_immediate(reader, 3);
		return true;
	case I4:
		take_immediate(reader, full_size(reader));
		return true;
	case IV:
		take_immediate(reader,
			       reader->rex & REX_W ? 8 : full_size(reader));
		return true;
	case G1:
		take_group(reader, 1);
		return true;
	case G4:
		take_group(reader, full_size(reader));
		return true;
	case J1:
		take_distance(reader, 1);
		return true;
	case J4:
		/* Intel's processors ignore the operand size prefix here, and
		 * compilers pad calls with it. */
		take_distance(reader, 4);
		return true;
	case AD:
		take_displacement(reader, reader->address_size ? 4 : 8);
		return true;
	case CR:
		reader->found->modrm = next(reader);
		reader->found->flags |= LP_HAS_MODRM;
		return true;
	case PX:
	case XX:
		break;
	}
	return false;
}

/* Behind VEX and EVEX the maps have the same immediates as without. */
static bool take_vector(struct reader *reader, uint8_t map)
{
	uint8_t opcode = next(reader);

	reader->found->map = map;
	reader->found->opcode = opcode;
	if (map == 1 && opcode == 0x77)
		return true;
	take_modrm(reader);
	if (map == 3 || (map == 1 && two_byte[opcode] == M1))
		take_immediate(reader, 1);
	return map == 1 || map == 2 || map == 3 || map == 5 || map == 6;
}

/* AMD64 APM volume 3, 1.9: XOP. */
static bool take_xop(struct reader *reader)
{
	uint8_t map = next(reader) & 0x1f;

	next(reader);
	reader->found->map = map;
	reader->found->opcode = next(reader);
	take_modrm(reader);
	if (map == 8)
		take_immediate(reader, 1);
	if (map == 10)
		take_immediate(reader, 4);
	return map >= 8 && map <= 10;
}

static bool take_other_map(struct reader *reader)
{
	uint8_t opcode = next(reader);

	reader->found->map = 1;
	reader->found->opcode = opcode;
	if (opcode == 0x38 || opcode == 0x3a) {
		reader->found->map = opcode == 0x38 ? 2 : 3;
		reader->found->opcode = next(reader);
		take_modrm(reader);
		if (opcode == 0x3a)
			take_immediate(reader, 1);
		return true;
	}
	return take_operands(reader, (enum form)two_byte[opcode]);
}

static bool take_opcode(struct reader *reader)
{
	uint8_t opcode = next(reader);

	reader->found->opcode = opcode;
	switch (opcode) {
	case 0x0f:
		return take_other_map(reader);
	case 0xc5:
		next(reader);
		return take_vector(reader, 1);
	case 0xc4: {
		uint8_t map = next(reader) & 0x1f;

		next(reader);
		return take_vector(reader, map);
	}
	case 0x62: {
		uint8_t map = next(reader) & 7;

		skip(reader, 2);
		return take_vector(reader, map);
	}
	case 0x8f:
		if ((peek(reader) & 0x1f) >= 8)
			return take_xop(reader);
		break;
	default:
		break;
	}
	return take_operands(reader, (enum form)one_byte[opcode]);
}

static void read_one(const uint8_t *code, uint64_t size,
		     struct lp_instruction *ret)
{
	struct reader reader = {.code = code, .size = size, .found = ret};

	take_prefixes(&reader);
	ret->opcode_at = reader.at;
	if (take_opcode(&reader) && reader.at <= size && reader.at <= LONGEST) {
		ret->size = reader.at;
		return;
	}
	*ret = (struct lp_instruction){.offset = ret->offset,
				       .size = 1,
				       .map = NO_MAP,
				       .opcode = *code};
}

enum lp_status lp_decode(const uint8_t *code, uint64_t size,
			 struct lp_instruction *instructions, size_t capacity,
			 size_t *ret_count)
{
	size_t count = 0;

	if (size > UINT32_MAX)
		return LP_E_ARGUMENT;
	for (uint64_t at = 0; at < size; count++) {
		struct lp_instruction found = {.offset = (uint32_t)at};

		read_one(code + at, size - at, &found);
		if (count < capacity)
			instructions[count] = found;
		at += found.size;
	}
	*ret_count = count;
	return LP_OK;
}

enum lp_status lp_field_ends(const uint8_t *code, uint64_t size,
			     const uint64_t *fields, size_t field_count,
			     uint64_t *ret_ends)
{
	size_t done = 0;

	for (size_t i = 0; i < field_count; i++) {
		if (fields[i] >= size || (i && fields[i] < fields[i - 1]))
			return LP_E_ARGUMENT;
	}
	for (uint64_t at = 0; at < size && done < field_count;) {
		struct lp_instruction found = {0};

		read_one(code + at, size - at, &found);
		at += found.size;
		while (done < field_count && fields[done] < at) {
			ret_ends[done] =
				found.map == NO_MAP ? fields[done] + FIELD : at;
			done++;
		}
	}
	return LP_OK;
}

enum lp_status lp_differing(const uint8_t *left, const uint8_t *right,
			    uint64_t size, uint64_t *offsets, size_t capacity,
			    size_t *ret_count)
{
	size_t count = 0;

	for (uint64_t at = 0; at < size;) {
		struct lp_instruction one = {0}, two = {0};

		read_one(left + at, size - at, &one);
		read_one(right + at, size - at, &two);
		if (one.size != two.size)
			return LP_E_MISMATCH;
		if (memcmp(left + at, right + at, one.size)) {
			if (count < capacity)
				offsets[count] = at;
			count++;
		}
		at += one.size;
	}
	*ret_count = count;
	return LP_OK;
}
