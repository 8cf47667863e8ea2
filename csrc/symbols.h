/*
 * The inside of a symbol index, shared by its two halves.
 */
#ifndef LP_SYMBOLS_H
#define LP_SYMBOLS_H
#include "bytes.h"
#include "lpcore.h"

/* ELF gABI, "Symbol Table": Elf64_Sym, and what its st_info and st_shndx say.
 */
enum lp_symbol_layout {
	LP_SYMBOL_SIZE = 24,
	LP_SHN_UNDEF = 0,
	LP_SHN_COMMON = 0xfff2,
	LP_STB_LOCAL = 0,
	LP_STB_GLOBAL = 1,
	LP_STT_FUNC = 2,
	LP_STT_SECTION = 3,
	LP_STT_FILE = 4,
	LP_STT_COMMON = 5,
	LP_STT_TLS = 6,
	LP_STT_GNU_IFUNC = 10,
};

/* Of the symbols at one value, the one of lowest rank is shown, and of those
 * the first in the table. */
struct lp_address {
	uint64_t value;
	uint32_t rank;
	uint32_t index;
};

struct lp_symbols {
	const uint8_t *table;
	uint64_t entry_size;
	uint32_t count;
	const uint8_t *strings;
	uint64_t strings_size;

	/* By name: chains of table indexes, ascending; 0 ends a chain. */
	uint32_t *heads;
	uint32_t mask;
	uint32_t *next;
	uint32_t *hashes;

	/* The table indexes of all STT_FILE symbols, ascending. */
	uint32_t *files;
	size_t file_count;

	/* By address: ascending by value, rank, index. */
	struct lp_address *addresses;
	size_t address_count;
};

static inline const uint8_t *lp_symbol(const struct lp_symbols *symbols,
				       uint32_t index)
{
	return symbols->table + index * symbols->entry_size;
}

static inline uint32_t lp_symbol_name(const uint8_t *symbol)
{
	return lp_load32(symbol);
}

static inline unsigned int lp_symbol_type(const uint8_t *symbol)
{
	return symbol[4] & 0xf;
}

static inline unsigned int lp_symbol_binding(const uint8_t *symbol)
{
	return symbol[4] >> 4;
}

static inline unsigned int lp_symbol_section(const uint8_t *symbol)
{
	return lp_load16(symbol + 6);
}

static inline uint64_t lp_symbol_value(const uint8_t *symbol)
{
	return lp_load64(symbol + 8);
}

/* Fills in the half that is by address. */
enum lp_status lp_symbols_sort(struct lp_symbols *symbols);

#endif
