/*
 * The entries of .debug_info that say what types and functions look like: DWARF
 * versions 2 to 5, 32-bit format, which is what compilers write for kernels.
 */
#include "dwarf.h"

#include <stdlib.h>

enum {
	DEEPEST = 256,
	ABBREVIATIONS_MAX = 1 << 16,
	SHARING = 64,
};

/* One abbreviation: where its attributes are in .debug_abbrev. */
struct shape {
	uint64_t attributes;
	uint64_t tag;
	bool has_children;
};

struct walk {
	struct dwarf_unit unit;
	struct shape *shapes; /* by code */
	size_t shape_count; /* as far as they are in use */
	uint64_t left; /* how much of .debug_abbrev may yet be read */
	struct lp_entry *entries;
	size_t capacity;
	size_t count;
	/* The nearest kept entry around each level. */
	uint32_t parents[DEEPEST];
	unsigned depth;
};

static void skip_attributes(struct cursor *abbrev)
{
	while (!abbrev->failed) {
		uint64_t name = cursor_uleb(abbrev);
		uint64_t form = cursor_uleb(abbrev);

		if (form == DW_FORM_implicit_const)
			cursor_sleb(abbrev);
		if (!name && !form)
			break;
	}
}

static enum lp_status read_shapes(struct walk *walk, uint64_t offset)
{
	const struct lp_dwarf *dwarf = walk->unit.dwarf;
	struct cursor abbrev = {dwarf->abbrev, offset, dwarf->abbrev_size,
				false};

	if (offset > abbrev.end)
		return LP_E_CORRUPT;
	memset(walk->shapes, 0, walk->shape_count * sizeof(*walk->shapes));
	walk->shape_count = 0;
	for (;;) {
		uint64_t start = abbrev.at, code = cursor_uleb(&abbrev);
		struct shape shape = {0};

		if (abbrev.failed || code >= ABBREVIATIONS_MAX)
			return LP_E_CORRUPT;
		if (!code)
			return LP_OK;
		shape.tag = cursor_uleb(&abbrev);
		shape.has_children = cursor_fixed(&abbrev, 1) != 0;
		shape.attributes = abbrev.at;
		skip_attributes(&abbrev);
		/* Units may share a table, but not all of them a large one. */
		if (abbrev.failed || abbrev.at - start > walk->left)
			return LP_E_CORRUPT;
		walk->left -= abbrev.at - start;
		walk->shapes[code] = shape;
		if (code >= walk->shape_count)
			walk->shape_count = (size_t)code + 1;
	}
}

static bool is_kept(uint64_t tag)
{
	switch (tag) {
	case DW_TAG_array_type:
	case DW_TAG_class_type:
	case DW_TAG_enumeration_type:
	case DW_TAG_formal_parameter:
	case DW_TAG_member:
	case DW_TAG_pointer_type:
	case DW_TAG_compile_unit:
	case DW_TAG_structure_type:
	case DW_TAG_subroutine_type:
	case DW_TAG_typedef:
	case DW_TAG_union_type:
	case DW_TAG_unspecified_parameters:
	case DW_TAG_inlined_subroutine:
	case DW_TAG_subrange_type:
	case DW_TAG_base_type:
	case DW_TAG_const_type:
	case DW_TAG_enumerator:
	case DW_TAG_subprogram:
	case DW_TAG_variable:
	case DW_TAG_volatile_type:
	case DW_TAG_restrict_type:
	case DW_TAG_atomic_type:
		return true;
	default:
		return false;
	}
}

static void keep(struct walk *walk, const struct lp_entry *entry)
{
	if (walk->count < walk->capacity)
		walk->entries[walk->count] = *entry;
	walk->count++;
}

static enum lp_status read_entry(struct walk *walk)
{
	struct lp_entry entry = {.offset = walk->unit.info.at};
	uint64_t code = cursor_uleb(&walk->unit.info);
	const struct shape *shape;
	enum lp_status status;
	bool kept;

	if (walk->unit.info.failed || code >= walk->shape_count)
		return LP_E_CORRUPT;
	if (!code) {
		if (walk->depth)
			walk->depth--;
		return LP_OK;
	}
	shape = walk->shapes + code;
	if (!shape->attributes)
		return LP_E_CORRUPT;
	entry.tag = (uint32_t)shape->tag;
	entry.parent = walk->parents[walk->depth];
	status = dwarf_attributes(&walk->unit, shape->attributes, &entry);
	if (status != LP_OK)
		return status;
	kept = is_kept(shape->tag);
	if (kept)
		keep(walk, &entry);
	if (!shape->has_children)
		return LP_OK;
	if (walk->depth + 1 == DEEPEST)
		return LP_E_UNSUPPORTED;
	walk->depth++;
	walk->parents[walk->depth] =
		kept ? (uint32_t)walk->count : entry.parent;
	return LP_OK;
}

/* A unit's header; the cursor then ends where the unit does. */
static enum lp_status begin_unit(struct walk *walk, uint64_t *ret_next)
{
	struct dwarf_unit *unit = &walk->unit;
	struct cursor *info = &unit->info;
	uint64_t length, abbrev, kind = DW_UT_compile;

	unit->start = info->at;
	length = cursor_fixed(info, 4);
	if (length >= 0xfffffff0)
		return LP_E_UNSUPPORTED;
	if (info->failed || length > info->end - info->at)
		return LP_E_CORRUPT;
	*ret_next = info->at + length;
	info->end = *ret_next;
	unit->version = (unsigned)cursor_fixed(info, 2);
	if (unit->version < 2 || unit->version > 5)
		return LP_E_UNSUPPORTED;
	if (unit->version == 5) {
		kind = cursor_fixed(info, 1);
		unit->address_size = (unsigned)cursor_fixed(info, 1);
		abbrev = cursor_fixed(info, 4);
	} else {
		abbrev = cursor_fixed(info, 4);
		unit->address_size = (unsigned)cursor_fixed(info, 1);
	}
	if (info->failed || unit->address_size > 8)
		return LP_E_CORRUPT;
	if (kind != DW_UT_compile)
		return LP_E_UNSUPPORTED;
	/* Where a unit does not say where its strings are, behind the header.
	 */
	unit->string_base = 8;
	walk->depth = 0;
	walk->parents[0] = 0;
	return read_shapes(walk, abbrev);
}

static enum lp_status read_units(struct walk *walk)
{
	struct cursor *info = &walk->unit.info;
	const uint64_t end = info->end;

	while (info->at < end) {
		uint64_t next = 0;
		enum lp_status status;

		info->end = end;
		status = begin_unit(walk, &next);
		while (status == LP_OK && info->at < next)
			status = read_entry(walk);
		if (status != LP_OK)
			return status;
		info->at = next;
	}
	return LP_OK;
}

enum lp_status lp_dwarf_entries(const struct lp_dwarf *dwarf,
				struct lp_entry *entries, size_t capacity,
				size_t *ret_count, struct lp_error *error)
{
	struct walk walk = {
		.unit.dwarf = dwarf,
		.unit.info = {dwarf->info, 0, dwarf->info_size, false},
		.entries = entries,
		.capacity = capacity,
		.left = SHARING * dwarf->abbrev_size + ABBREVIATIONS_MAX,
	};
	enum lp_status status;

	if (dwarf->info_size > UINT32_MAX || dwarf->abbrev_size > UINT32_MAX)
		return LP_E_ARGUMENT;
	walk.shapes = calloc(ABBREVIATIONS_MAX, sizeof(*walk.shapes));
	if (!walk.shapes)
		return LP_E_MEMORY;
	status = read_units(&walk);
	free(walk.shapes);
	*ret_count = walk.count;
	if (status != LP_OK)
		error->address = walk.unit.info.at;
	return status;
}
