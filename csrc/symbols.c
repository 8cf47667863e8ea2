/*
 * An index over an ELF64 symbol table, and its half that goes from a name to
 * symbols.
 *
 * Time and memory are bounded by the size of the two tables, whatever they
 * hold: names are hashed over a bounded prefix, equal hashes are chained and
 * not compared until somebody asks, and addresses are sorted by radix.
 */
#include "symbols.h"

#include <stdbool.h>
#include <stdlib.h>

enum {
	PREFIX = 512, /* bytes of a name that are hashed */
};

/* A walk along the symbols of one name; with a file, along its locals only. */
struct walk {
	const struct lp_symbols *symbols;
	const uint8_t *name;
	uint64_t name_size;
	const uint8_t *file;
	uint64_t file_size;
	uint32_t hash;
	uint32_t index; /* 0 at the end */
};

/* Fibonacci hashing, eight bytes at a time. */
static uint32_t hash_name(const uint8_t *name, size_t size)
{
	const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t hash = size * factor;
	uint64_t tail = 0;

	for (; size >= 8; name += 8, size -= 8) {
		hash = (hash ^ lp_load64(name)) * factor;
		hash ^= hash >> 29;
	}
	memcpy(&tail, name, size);
	hash = (hash ^ tail) * factor;
	return (uint32_t)(hash ^ hash >> 32);
}

/* Names below this offset are terminated inside the string table. */
static uint64_t terminated_size(const uint8_t *strings, uint64_t size)
{
	while (size && strings[size - 1])
		size--;
	return size;
}

static enum lp_status check_names(const struct lp_symbols *symbols,
				  struct lp_error *error)
{
	uint64_t limit =
		terminated_size(symbols->strings, symbols->strings_size);

	for (uint32_t i = 1; i < symbols->count; i++) {
		uint32_t name = lp_symbol_name(lp_symbol(symbols, i));

		/* gABI: st_name 0 means no name, also without strings. */
		if (!name || name < limit)
			continue;
		if (error) {
			error->index = i;
			error->address = name;
			error->value = 0;
		}
		return LP_E_CORRUPT;
	}
	return LP_OK;
}

static size_t prefix_size(const uint8_t *name, uint64_t left)
{
	size_t most = left < PREFIX ? (size_t)left : PREFIX;
	const uint8_t *end = memchr(name, 0, most);

	return end ? (size_t)(end - name) : most;
}

/* From the last symbol to the first, so that chains ascend. */
static void chain_names(struct lp_symbols *symbols)
{
	for (uint32_t i = symbols->count - 1; i; i--) {
		uint32_t offset = lp_symbol_name(lp_symbol(symbols, i));
		const uint8_t *name = symbols->strings + offset;
		uint32_t *head;

		if (!offset || !*name)
			continue;
		symbols->hashes[i] = hash_name(
			name,
			prefix_size(name, symbols->strings_size - offset));
		head = &symbols->heads[symbols->hashes[i] & symbols->mask];
		symbols->next[i] = *head;
		*head = i;
	}
}

static size_t collect_files(const struct lp_symbols *symbols, uint32_t *files)
{
	size_t count = 0;

	for (uint32_t i = 1; i < symbols->count; i++) {
		if (lp_symbol_type(lp_symbol(symbols, i)) != LP_STT_FILE)
			continue;
		if (files)
			files[count] = i;
		count++;
	}
	return count;
}

static enum lp_status allocate(struct lp_symbols *symbols)
{
	uint32_t buckets = 1;

	while (buckets < symbols->count && buckets < UINT32_C(1) << 31)
		buckets *= 2;
	symbols->mask = buckets - 1;
	symbols->file_count = collect_files(symbols, NULL);
	symbols->heads = calloc(buckets, sizeof(*symbols->heads));
	symbols->next = calloc(symbols->count, sizeof(*symbols->next));
	symbols->hashes = calloc(symbols->count, sizeof(*symbols->hashes));
	symbols->files =
		calloc(symbols->file_count + 1, sizeof(*symbols->files));
	if (!symbols->heads || !symbols->next || !symbols->hashes ||
	    !symbols->files)
		return LP_E_MEMORY;
	return LP_OK;
}

static enum lp_status fill(struct lp_symbols *symbols, struct lp_error *error)
{
	enum lp_status status;

	if (!symbols->count)
		return LP_OK;
	status = check_names(symbols, error);
	if (status != LP_OK)
		return status;
	status = allocate(symbols);
	if (status != LP_OK)
		return status;
	chain_names(symbols);
	collect_files(symbols, symbols->files);
	return lp_symbols_sort(symbols);
}

enum lp_status lp_symbols_create(const uint8_t *table, uint64_t table_size,
				 uint64_t entry_size, const uint8_t *strings,
				 uint64_t strings_size, struct lp_symbols **ret,
				 struct lp_error *error)
{
	struct lp_symbols *symbols;
	enum lp_status status;

	if (entry_size < LP_SYMBOL_SIZE || table_size % entry_size ||
	    table_size / entry_size > UINT32_MAX)
		return LP_E_ARGUMENT;
	symbols = calloc(1, sizeof(*symbols));
	if (!symbols)
		return LP_E_MEMORY;
	symbols->table = table;
	symbols->entry_size = entry_size;
	symbols->count = (uint32_t)(table_size / entry_size);
	symbols->strings = strings;
	symbols->strings_size = strings_size;
	status = fill(symbols, error);
	if (status != LP_OK) {
		lp_symbols_destroy(symbols);
		return status;
	}
	*ret = symbols;
	return LP_OK;
}

void lp_symbols_destroy(struct lp_symbols *symbols)
{
	if (!symbols)
		return;
	free(symbols->heads);
	free(symbols->next);
	free(symbols->hashes);
	free(symbols->files);
	free(symbols->addresses);
	free(symbols);
}

static bool name_is(const struct lp_symbols *symbols, uint32_t index,
		    const uint8_t *name, uint64_t size)
{
	uint32_t offset = lp_symbol_name(lp_symbol(symbols, index));
	const uint8_t *own = symbols->strings + offset;

	if (!offset)
		return !size;
	/* The terminator must lie inside, too. */
	return symbols->strings_size - offset > size &&
	       !memcmp(own, name, size) && !own[size];
}

enum lp_status lp_symbols_file(const struct lp_symbols *symbols, uint64_t index,
			       uint64_t *ret_index)
{
	size_t low = 0, high = symbols->file_count;
	const uint8_t *symbol;

	if (index >= symbols->count)
		return LP_E_RANGE;
	*ret_index = 0;
	symbol = lp_symbol(symbols, (uint32_t)index);
	if (lp_symbol_binding(symbol) != LP_STB_LOCAL ||
	    lp_symbol_type(symbol) == LP_STT_FILE)
		return LP_OK;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols->files[middle] < index)
			low = middle + 1;
		else
			high = middle;
	}
	/* ld ends the last file's symbols with a file of no name. */
	if (low &&
	    !name_is(symbols, symbols->files[low - 1], (const uint8_t *)"", 0))
		*ret_index = symbols->files[low - 1];
	return LP_OK;
}

static bool matches(const struct walk *walk, uint32_t index)
{
	uint64_t file = 0;

	if (walk->symbols->hashes[index] != walk->hash ||
	    !name_is(walk->symbols, index, walk->name, walk->name_size))
		return false;
	if (!walk->file)
		return true;
	lp_symbols_file(walk->symbols, index, &file);
	return file && name_is(walk->symbols, (uint32_t)file, walk->file,
			       walk->file_size);
}

static void skip_others(struct walk *walk)
{
	while (walk->index && !matches(walk, walk->index))
		walk->index = walk->symbols->next[walk->index];
}

static void begin(struct walk *walk)
{
	size_t size =
		walk->name_size < PREFIX ? (size_t)walk->name_size : PREFIX;

	if (!walk->name_size || !walk->symbols->count)
		return;
	walk->hash = hash_name(walk->name, size);
	walk->index = walk->symbols->heads[walk->hash & walk->symbols->mask];
	skip_others(walk);
}

static uint32_t advance(struct walk *walk)
{
	uint32_t index = walk->index;

	walk->index = walk->symbols->next[index];
	skip_others(walk);
	return index;
}

/* The last '#' parts them: a qualified symbol's own name has none. */
static uint64_t file_part(const uint8_t *name, uint64_t size)
{
	while (size && name[size - 1] != '#')
		size--;
	return size ? size - 1 : 0;
}

enum lp_status lp_symbols_named(const struct lp_symbols *symbols,
				const uint8_t *name, uint64_t name_size,
				uint64_t *indexes, size_t capacity,
				size_t *ret_count)
{
	struct walk plain = {symbols, name, name_size, NULL, 0, 0, 0};
	struct walk local = {symbols, NULL, 0, name, 0, 0, 0};
	size_t count = 0;

	begin(&plain);
	local.file_size = file_part(name, name_size);
	if (local.file_size) {
		local.name = name + local.file_size + 1;
		local.name_size = name_size - local.file_size - 1;
		begin(&local);
	}
	while (plain.index || local.index) {
		bool first = plain.index &&
			     (!local.index || plain.index < local.index);
		uint32_t index = advance(first ? &plain : &local);

		if (count < capacity)
			indexes[count] = index;
		count++;
	}
	*ret_count = count;
	return LP_OK;
}
