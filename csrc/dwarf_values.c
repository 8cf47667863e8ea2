/*
 * The attributes of one entry of .debug_info: DWARF 5, sections 7.5.4 to 7.5.6.
 */
#include "dwarf.h"

static void read_indexed_string(struct dwarf_unit *unit, uint64_t index,
				struct lp_value *ret)
{
	uint64_t at = unit->string_base + index * 4;
	struct cursor offsets = {unit->dwarf->offsets, at,
				 unit->dwarf->offsets_size, false};

	ret->kind = LP_VALUE_STRING;
	if (at < unit->string_base || at > offsets.end)
		return;
	ret->number = cursor_fixed(&offsets, 4);
}

static void read_reference(struct dwarf_unit *unit, uint64_t number,
			   struct lp_value *ret)
{
	ret->kind = LP_VALUE_REFERENCE;
	ret->number = unit->start + number;
}

/* Of expressions two are of interest: where a member is, in DWARF 2, and that a
 * variable has an address. */
static void read_expression(struct dwarf_unit *unit, uint64_t size,
			    struct lp_value *ret)
{
	struct cursor block = {unit->info.data, unit->info.at, unit->info.end,
			       false};
	uint64_t operation = size ? cursor_fixed(&block, 1) : 0;

	*ret = (struct lp_value){LP_VALUE_NONE, 0};
	if (operation == DW_OP_plus_uconst)
		*ret = (struct lp_value){LP_VALUE_NUMBER, cursor_uleb(&block)};
	else if (operation == DW_OP_addr || operation == DW_OP_addrx)
		ret->kind = LP_VALUE_ADDRESS;
	cursor_skip(&unit->info, size);
}

static bool read_form(struct dwarf_unit *unit, uint64_t form, int64_t implicit,
		      struct lp_value *ret)
{
	struct cursor *info = &unit->info;

	*ret = (struct lp_value){LP_VALUE_NUMBER, 0};
	switch (form) {
	case DW_FORM_addr:
		ret->number = cursor_fixed(info, unit->address_size);
		break;
	case DW_FORM_data1:
	case DW_FORM_flag:
		ret->number = cursor_fixed(info, 1);
		break;
	case DW_FORM_data2:
		ret->number = cursor_fixed(info, 2);
		break;
	case DW_FORM_data4:
	case DW_FORM_sec_offset:
		ret->number = cursor_fixed(info, 4);
		break;
	case DW_FORM_data8:
		ret->number = cursor_fixed(info, 8);
		break;
	case DW_FORM_data16:
		cursor_skip(info, 16);
		break;
	case DW_FORM_udata:
	case DW_FORM_addrx:
	case DW_FORM_loclistx:
	case DW_FORM_rnglistx:
		ret->number = cursor_uleb(info);
		break;
	case DW_FORM_sdata:
		ret->number = (uint64_t)cursor_sleb(info);
		break;
	case DW_FORM_implicit_const:
		ret->number = (uint64_t)implicit;
		break;
	case DW_FORM_flag_present:
		ret->number = 1;
		break;
	case DW_FORM_string:
		*ret = (struct lp_value){LP_VALUE_INLINE, info->at};
		cursor_string(info);
		break;
	case DW_FORM_strp:
		*ret = (struct lp_value){LP_VALUE_STRING,
					 cursor_fixed(info, 4)};
		break;
	case DW_FORM_line_strp:
		*ret = (struct lp_value){LP_VALUE_LINE_STRING,
					 cursor_fixed(info, 4)};
		break;
	case DW_FORM_strx:
		read_indexed_string(unit, cursor_uleb(info), ret);
		break;
	case DW_FORM_strx1:
	case DW_FORM_addrx1:
		read_indexed_string(unit, cursor_fixed(info, 1), ret);
		break;
	case DW_FORM_strx2:
	case DW_FORM_addrx2:
		read_indexed_string(unit, cursor_fixed(info, 2), ret);
		break;
	case DW_FORM_strx3:
	case DW_FORM_addrx3:
		read_indexed_string(unit, cursor_fixed(info, 3), ret);
		break;
	case DW_FORM_strx4:
	case DW_FORM_addrx4:
		read_indexed_string(unit, cursor_fixed(info, 4), ret);
		break;
	case DW_FORM_ref1:
		read_reference(unit, cursor_fixed(info, 1), ret);
		break;
	case DW_FORM_ref2:
		read_reference(unit, cursor_fixed(info, 2), ret);
		break;
	case DW_FORM_ref4:
		read_reference(unit, cursor_fixed(info, 4), ret);
		break;
	case DW_FORM_ref8:
		read_reference(unit, cursor_fixed(info, 8), ret);
		break;
	case DW_FORM_ref_udata:
		read_reference(unit, cursor_uleb(info), ret);
		break;
	case DW_FORM_ref_addr:
		ret->kind = LP_VALUE_REFERENCE;
		ret->number = cursor_fixed(
			info, unit->version > 2 ? 4 : unit->address_size);
		break;
	case DW_FORM_ref_sig8:
		cursor_skip(info, 8);
		ret->kind = LP_VALUE_NONE;
		break;
	case DW_FORM_exprloc:
	case DW_FORM_block:
		read_expression(unit, cursor_uleb(info), ret);
		break;
	case DW_FORM_block1:
		read_expression(unit, cursor_fixed(info, 1), ret);
		break;
	case DW_FORM_block2:
		read_expression(unit, cursor_fixed(info, 2), ret);
		break;
	case DW_FORM_block4:
		read_expression(unit, cursor_fixed(info, 4), ret);
		break;
	default:
		return false;
	}
	return true;
}

static void note(struct lp_entry *entry, uint64_t attribute,
		 struct lp_value value)
{
	switch (attribute) {
	case DW_AT_name:
		entry->name = value;
		break;
	case DW_AT_byte_size:
		entry->size = value.number;
		entry->flags |= LP_ENTRY_SIZE;
		break;
	case DW_AT_bit_offset:
		entry->bit_offset = (uint32_t)value.number;
		entry->flags |= LP_ENTRY_BIT_OFFSET;
		break;
	case DW_AT_bit_size:
		entry->bit_size = (uint32_t)value.number;
		break;
	case DW_AT_const_value:
	case DW_AT_upper_bound:
	case DW_AT_count:
		if (value.kind != LP_VALUE_NUMBER)
			break;
		entry->value = (int64_t)value.number +
			       (attribute == DW_AT_upper_bound);
		entry->flags |= LP_ENTRY_VALUE;
		break;
	case DW_AT_data_member_location:
		entry->place = value.number * 8;
		break;
	case DW_AT_data_bit_offset:
		entry->place = value.number;
		entry->flags |= LP_ENTRY_BIT_PLACE;
		break;
	case DW_AT_type:
		entry->type = value.number;
		break;
	case DW_AT_abstract_origin:
	case DW_AT_specification:
		entry->origin = value.number;
		break;
	case DW_AT_encoding:
		entry->value = (int64_t)value.number;
		break;
	case DW_AT_decl_file:
		entry->file = (uint32_t)value.number;
		break;
	case DW_AT_decl_line:
		entry->line = (uint32_t)value.number;
		break;
	case DW_AT_external:
		entry->flags |= LP_ENTRY_EXTERNAL;
		break;
	case DW_AT_declaration:
		entry->flags |= LP_ENTRY_DECLARATION;
		break;
	case DW_AT_low_pc:
		entry->flags |= LP_ENTRY_CODE;
		break;
	case DW_AT_location:
		if (value.kind == LP_VALUE_ADDRESS)
			entry->flags |= LP_ENTRY_STATIC;
		break;
	case DW_AT_stmt_list:
		entry->place = value.number;
		break;
	default:
		break;
	}
}

enum lp_status dwarf_attributes(struct dwarf_unit *unit, uint64_t attributes,
				struct lp_entry *entry)
{
	struct cursor abbrev = {unit->dwarf->abbrev, attributes,
				unit->dwarf->abbrev_size, false};

	for (;;) {
		uint64_t attribute = cursor_uleb(&abbrev);
		uint64_t form = cursor_uleb(&abbrev);
		struct lp_value value;
		int64_t implicit = 0;

		if (form == DW_FORM_implicit_const)
			implicit = cursor_sleb(&abbrev);
		if (!attribute && !form)
			return LP_OK;
		if (form == DW_FORM_indirect)
			form = cursor_uleb(&unit->info);
		if (!read_form(unit, form, implicit, &value))
			return LP_E_UNSUPPORTED;
		if (unit->info.failed)
			return LP_E_CORRUPT;
		if (attribute == DW_AT_str_offsets_base)
			unit->string_base = value.number;
		note(entry, attribute, value);
	}
}
