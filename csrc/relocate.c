/*
 * Relocation of one section, by the System V psABI for x86-64.
 *
 * There is no global offset table: of the types that need one, only those are
 * done whose instruction can be rewritten to do without (psABI, B.2).
 */
#include "bytes.h"
#include "lpcore.h"

#include <stdbool.h>
#include <stdlib.h>

enum {
	RECORD_SIZE = 24,
};

/* psABI, table 4.9: those that a relocatable object may hold. */
enum type {
	R_X86_64_NONE = 0,
	R_X86_64_64 = 1,
	R_X86_64_PC32 = 2,
	R_X86_64_PLT32 = 4,
	R_X86_64_GOTPCREL = 9,
	R_X86_64_32 = 10,
	R_X86_64_32S = 11,
	R_X86_64_16 = 12,
	R_X86_64_PC16 = 13,
	R_X86_64_8 = 14,
	R_X86_64_PC8 = 15,
	R_X86_64_PC64 = 24,
	R_X86_64_SIZE32 = 32,
	R_X86_64_SIZE64 = 33,
	R_X86_64_GOTPCRELX = 41,
	R_X86_64_REX_GOTPCRELX = 42,
};

enum fit {
	FIT_ANY,
	FIT_SIGNED,
	FIT_UNSIGNED,
	FIT_EITHER,
};

enum base {
	BASE_SYMBOL, /* S + A */
	BASE_PLACE,  /* S + A - P */
	BASE_SIZE,   /* Z + A */
};

struct rule {
	uint8_t width; /* bytes; 0 = no such type */
	uint8_t base;
	uint8_t fit;
};

/*
 * psABI 4.4.1 asks that 32 zero-extends and 32S sign-extends to the original
 * value. What 8 and 16 hold may be read either way; what is relative to the
 * place is sign-extended by the CPU.
 */
static const struct rule rules[] = {
	[R_X86_64_64] = {8, BASE_SYMBOL, FIT_ANY},
	[R_X86_64_PC32] = {4, BASE_PLACE, FIT_SIGNED},
	[R_X86_64_PLT32] = {4, BASE_PLACE, FIT_SIGNED},
	[R_X86_64_32] = {4, BASE_SYMBOL, FIT_UNSIGNED},
	[R_X86_64_32S] = {4, BASE_SYMBOL, FIT_SIGNED},
	[R_X86_64_16] = {2, BASE_SYMBOL, FIT_EITHER},
	[R_X86_64_PC16] = {2, BASE_PLACE, FIT_SIGNED},
	[R_X86_64_8] = {1, BASE_SYMBOL, FIT_EITHER},
	[R_X86_64_PC8] = {1, BASE_PLACE, FIT_SIGNED},
	[R_X86_64_PC64] = {8, BASE_PLACE, FIT_ANY},
	[R_X86_64_SIZE32] = {4, BASE_SIZE, FIT_UNSIGNED},
	[R_X86_64_SIZE64] = {8, BASE_SIZE, FIT_ANY},
};

/* What one record does: store width bytes of value at offset, and an opcode
 * where an instruction is rewritten. */
struct change {
	uint64_t offset;
	uint64_t value;
	uint8_t width;
	uint8_t opcode_size;
	uint8_t opcode[2]; /* right before offset */
	bool nop_behind;
};

struct record {
	uint64_t offset;
	uint64_t type;
	uint64_t symbol;
	uint64_t addend;
};

struct place {
	const uint8_t *bytes;
	uint64_t size;
	uint64_t address;
};

static struct record load_record(const uint8_t *at)
{
	uint64_t info = lp_load64(at + 8);

	return (struct record){
		.offset = lp_load64(at),
		.type = info & UINT32_MAX,
		.symbol = info >> 32,
		.addend = lp_load64(at + 16),
	};
}

static bool fits(uint64_t value, unsigned int width, enum fit fit)
{
	uint64_t sign, limit;

	if (fit == FIT_ANY || width == 8)
		return true;
	sign = UINT64_C(1) << (8 * width - 1);
	limit = sign << 1;
	switch (fit) {
	case FIT_SIGNED:
		return value + sign < limit;
	case FIT_UNSIGNED:
		return value < limit;
	default:
		return value + sign < limit || value < limit;
	}
}

static enum lp_status relax_load(struct change *change, uint64_t symbol,
				 uint64_t place)
{
	/* mov foo@GOTPCREL(%rip), %reg -> lea foo(%rip), %reg */
	change->value = symbol - 4 - place;
	change->opcode_size = 2;
	change->opcode[0] = 0x8d;
	return LP_OK;
}

static enum lp_status relax_branch(struct change *change, uint8_t modrm,
				   uint64_t symbol, uint64_t place)
{
	change->value = symbol - 4 - place;
	if (modrm == 0x15) {
		/* call *foo@GOTPCREL(%rip) -> addr32 call foo */
		change->opcode_size = 2;
		change->opcode[0] = 0x67;
		change->opcode[1] = 0xe8;
		return LP_OK;
	}
	/* jmp *foo@GOTPCREL(%rip) -> jmp foo; nop */
	change->value++;
	change->offset--;
	change->opcode_size = 1;
	change->opcode[0] = 0xe9;
	change->nop_behind = true;
	return LP_OK;
}

/* psABI B.2. An addend other than -4 means a neighbour in a table there is
 * none of. */
static enum lp_status relax(const struct place *section,
			    const struct record *record, uint64_t symbol,
			    struct change *change)
{
	uint64_t place = section->address + record->offset;
	bool rex = record->type == R_X86_64_REX_GOTPCRELX;
	uint8_t opcode, modrm;
	enum lp_status status;

	if (record->offset < (rex ? 3 : 2) || record->addend != -UINT64_C(4))
		return LP_E_UNSUPPORTED;
	opcode = section->bytes[record->offset - 2];
	modrm = section->bytes[record->offset - 1];
	*change = (struct change){.offset = record->offset, .width = 4};
	if (opcode == 0x8b && (modrm & 0xc7) == 0x05) {
		status = relax_load(change, symbol, place);
		change->opcode[1] = modrm;
	} else if (opcode == 0xff && (modrm == 0x15 || modrm == 0x25) &&
		   record->type == R_X86_64_GOTPCRELX) {
		status = relax_branch(change, modrm, symbol, place);
	} else {
		return LP_E_UNSUPPORTED;
	}
	return fits(change->value, 4, FIT_SIGNED) ? status : LP_E_OVERFLOW;
}

static bool needs_table(uint64_t type)
{
	return type == R_X86_64_GOTPCREL || type == R_X86_64_GOTPCRELX ||
	       type == R_X86_64_REX_GOTPCRELX;
}

static enum lp_status compute(const struct place *section,
			      const struct record *record, uint64_t symbol,
			      uint64_t symbol_size, struct change *change)
{
	const struct rule *rule = &rules[record->type];
	uint64_t value = record->addend;

	if (rule->base == BASE_SIZE)
		value += symbol_size;
	else
		value += symbol;
	if (rule->base == BASE_PLACE)
		value -= section->address + record->offset;
	*change = (struct change){
		.offset = record->offset,
		.value = value,
		.width = rule->width,
	};
	return fits(value, rule->width, rule->fit) ? LP_OK : LP_E_OVERFLOW;
}

static bool inside(const struct place *section, uint64_t offset, uint64_t width)
{
	return offset <= section->size && section->size - offset >= width;
}

static enum lp_status decide(const struct place *section,
			     const struct record *record,
			     const uint64_t *symbols,
			     const uint64_t *symbol_sizes, size_t symbol_count,
			     struct change *change)
{
	bool table = needs_table(record->type);
	uint64_t width = 4;

	*change = (struct change){0};
	if (record->type == R_X86_64_NONE)
		return LP_OK;
	if (!table) {
		if (record->type >= sizeof(rules) / sizeof(rules[0]) ||
		    !rules[record->type].width)
			return LP_E_UNSUPPORTED;
		width = rules[record->type].width;
	}
	if (record->symbol >= symbol_count)
		return LP_E_CORRUPT;
	if (!inside(section, record->offset, width))
		return LP_E_RANGE;
	if (table)
		return relax(section, record, symbols[record->symbol], change);
	return compute(section, record, symbols[record->symbol],
		       symbol_sizes[record->symbol], change);
}

static void make(uint8_t *section, const struct change *change)
{
	uint8_t *at = section + change->offset;

	memcpy(at - change->opcode_size, change->opcode, change->opcode_size);
	memcpy(at, &change->value, change->width);
	if (change->nop_behind)
		at[change->width] = 0x90;
}

static enum lp_status
decide_all(const struct place *section, const uint8_t *records, size_t count,
	   const uint64_t *symbols, const uint64_t *symbol_sizes,
	   size_t symbol_count, struct change *changes, struct lp_error *error)
{
	for (size_t i = 0; i < count; i++) {
		struct record record = load_record(records + i * RECORD_SIZE);
		enum lp_status status =
			decide(section, &record, symbols, symbol_sizes,
			       symbol_count, &changes[i]);

		if (status == LP_OK)
			continue;
		if (error) {
			error->index = i;
			error->address = section->address + record.offset;
			error->value = status == LP_E_OVERFLOW
					       ? (int64_t)changes[i].value
					       : (int64_t)record.type;
		}
		return status;
	}
	return LP_OK;
}

enum lp_status lp_relocate(uint8_t *section, uint64_t size, uint64_t address,
			   const uint8_t *records, size_t count,
			   const uint64_t *symbols,
			   const uint64_t *symbol_sizes, size_t symbol_count,
			   struct lp_error *error)
{
	struct place place = {section, size, address};
	struct change *changes;
	enum lp_status status;

	if (!count)
		return LP_OK;
	changes = calloc(count, sizeof(*changes));
	if (!changes)
		return LP_E_MEMORY;
	status = decide_all(&place, records, count, symbols, symbol_sizes,
			    symbol_count, changes, error);
	for (size_t i = 0; status == LP_OK && i < count; i++)
		make(section, &changes[i]);
	free(changes);
	return status;
}
