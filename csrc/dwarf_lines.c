/*
 * The line number programs of .debug_line: DWARF 5, section 6.2, and its
 * predecessors from version 2 on.
 */
#include "dwarf.h"

enum {
	FORMATS_MAX = 16,
};

struct program {
	struct cursor line;
	uint64_t header_end;
	unsigned version;
	unsigned address_size;
	unsigned shortest;
	int line_base;
	unsigned line_range;
	unsigned opcode_base;
	uint64_t lengths; /* where the lengths of standard opcodes are */
	uint32_t number; /* of the program in its section */
	struct lp_line_row row;
	struct lp_lines *ret;
};

static void add_row(struct program *program, bool ends)
{
	struct lp_lines *ret = program->ret;

	program->row.ends = ends;
	if (ret->row_count < ret->row_capacity)
		ret->rows[ret->row_count] = program->row;
	ret->row_count++;
}

static void add_file(struct program *program, uint32_t number,
		     struct lp_value name)
{
	struct lp_lines *ret = program->ret;

	if (ret->file_count < ret->file_capacity)
		ret->files[ret->file_count] =
			(struct lp_line_file){name, program->number, number};
	ret->file_count++;
}

static void reset(struct program *program)
{
	program->row = (struct lp_line_row){
		.file = 1, .line = 1, .program = program->number};
}

/* The tables of versions 2 to 4: directories, then files. */
static void read_old_tables(struct program *program)
{
	struct cursor *line = &program->line;
	uint32_t number = 1;

	while (!line->failed && line->at < line->end && line->data[line->at])
		cursor_string(line);
	cursor_skip(line, 1);
	while (!line->failed && line->at < line->end && line->data[line->at]) {
		struct lp_value name = {LP_VALUE_INLINE, line->at};

		cursor_string(line);
		cursor_uleb(line);
		cursor_uleb(line);
		cursor_uleb(line);
		add_file(program, number++, name);
	}
}

static bool read_name_form(struct cursor *line, uint64_t form,
			   struct lp_value *ret)
{
	*ret = (struct lp_value){LP_VALUE_NONE, 0};
	switch (form) {
	case DW_FORM_string:
		*ret = (struct lp_value){LP_VALUE_INLINE, line->at};
		cursor_string(line);
		return true;
	case DW_FORM_line_strp:
		*ret = (struct lp_value){LP_VALUE_LINE_STRING,
					 cursor_fixed(line, 4)};
		return true;
	case DW_FORM_strp:
		*ret = (struct lp_value){LP_VALUE_STRING,
					 cursor_fixed(line, 4)};
		return true;
	case DW_FORM_udata:
		cursor_uleb(line);
		return true;
	case DW_FORM_data1:
		cursor_skip(line, 1);
		return true;
	case DW_FORM_data2:
		cursor_skip(line, 2);
		return true;
	case DW_FORM_data4:
		cursor_skip(line, 4);
		return true;
	case DW_FORM_data8:
		cursor_skip(line, 8);
		return true;
	case DW_FORM_data16:
		cursor_skip(line, 16);
		return true;
	case DW_FORM_block:
		cursor_skip(line, cursor_uleb(line));
		return true;
	default:
		return false;
	}
}

/* One of the two tables of version 5, whose entries describe themselves. */
static enum lp_status read_table(struct program *program, bool is_files)
{
	struct cursor *line = &program->line;
	uint64_t types[FORMATS_MAX], forms[FORMATS_MAX], count;
	uint64_t format_count = cursor_fixed(line, 1);

	if (format_count > FORMATS_MAX)
		return LP_E_UNSUPPORTED;
	for (uint64_t i = 0; i < format_count; i++) {
		types[i] = cursor_uleb(line);
		forms[i] = cursor_uleb(line);
	}
	count = cursor_uleb(line);
	/* Entries of no size would go on for ever. */
	if (line->failed || (!format_count && count))
		return LP_E_CORRUPT;
	for (uint64_t number = 0; number < count; number++) {
		struct lp_value path = {LP_VALUE_NONE, 0}, value;

		for (uint64_t i = 0; i < format_count; i++) {
			if (!read_name_form(line, forms[i], &value))
				return LP_E_UNSUPPORTED;
			if (types[i] == DW_LNCT_path)
				path = value;
		}
		if (line->failed)
			return LP_E_CORRUPT;
		if (is_files)
			add_file(program, (uint32_t)number, path);
	}
	return LP_OK;
}

static enum lp_status read_header(struct program *program)
{
	struct cursor *line = &program->line;
	enum lp_status status;
	uint64_t length;

	program->version = (unsigned)cursor_fixed(line, 2);
	if (program->version < 2 || program->version > 5)
		return LP_E_UNSUPPORTED;
	program->address_size = 8;
	if (program->version == 5) {
		program->address_size = (unsigned)cursor_fixed(line, 1);
		cursor_skip(line, 1);
	}
	length = cursor_fixed(line, 4);
	if (line->failed || length > line->end - line->at ||
	    program->address_size > 8)
		return LP_E_CORRUPT;
	program->header_end = line->at + length;
	program->shortest = (unsigned)cursor_fixed(line, 1);
	if (program->version >= 4)
		cursor_skip(line, 1);
	cursor_skip(line, 1);
	program->line_base = (int8_t)cursor_fixed(line, 1);
	program->line_range = (unsigned)cursor_fixed(line, 1);
	program->opcode_base = (unsigned)cursor_fixed(line, 1);
	program->lengths = line->at;
	if (line->failed || !program->line_range || !program->opcode_base)
		return LP_E_CORRUPT;
	cursor_skip(line, program->opcode_base - 1);
	if (program->version < 5) {
		read_old_tables(program);
		return line->failed ? LP_E_CORRUPT : LP_OK;
	}
	status = read_table(program, false);
	return status == LP_OK ? read_table(program, true) : status;
}

static void advance(struct program *program, uint64_t operations)
{
	program->row.address += operations * program->shortest;
}

static void run_special(struct program *program, uint64_t opcode)
{
	uint64_t adjusted = opcode - program->opcode_base;

	advance(program, adjusted / program->line_range);
	program->row.line += (uint32_t)(program->line_base +
					(int)(adjusted % program->line_range));
	add_row(program, false);
}

static void run_extended(struct program *program)
{
	struct cursor *line = &program->line;
	uint64_t size = cursor_uleb(line), opcode, start = line->at;

	if (!size || size > line->end - line->at) {
		line->failed = true;
		return;
	}
	opcode = cursor_fixed(line, 1);
	if (opcode == DW_LNE_end_sequence) {
		add_row(program, true);
		reset(program);
	} else if (opcode == DW_LNE_set_address) {
		program->row.base = line->at;
		program->row.address =
			cursor_fixed(line, size - 1 < 8 ? size - 1 : 8);
	}
	line->at = start + size;
}

static void run_standard(struct program *program, uint64_t opcode)
{
	struct cursor *line = &program->line;

	switch (opcode) {
	case DW_LNS_copy:
		add_row(program, false);
		break;
	case DW_LNS_advance_pc:
		advance(program, cursor_uleb(line));
		break;
	case DW_LNS_advance_line:
		program->row.line += (uint32_t)cursor_sleb(line);
		break;
	case DW_LNS_set_file:
		program->row.file = (uint32_t)cursor_uleb(line);
		break;
	case DW_LNS_const_add_pc:
		advance(program,
			(255 - program->opcode_base) / program->line_range);
		break;
	case DW_LNS_fixed_advance_pc:
		program->row.address += cursor_fixed(line, 2);
		break;
	default: {
		/* Others are known by how many operands they have. */
		unsigned count = line->data[program->lengths + opcode - 1];

		while (count--)
			cursor_uleb(line);
		break;
	}
	}
}

static enum lp_status run(struct program *program)
{
	struct cursor *line = &program->line;

	line->at = program->header_end;
	reset(program);
	while (!line->failed && line->at < line->end) {
		uint64_t opcode = cursor_fixed(line, 1);

		if (opcode >= program->opcode_base)
			run_special(program, opcode);
		else if (opcode)
			run_standard(program, opcode);
		else
			run_extended(program);
	}
	return line->failed ? LP_E_CORRUPT : LP_OK;
}

enum lp_status lp_dwarf_lines(const uint8_t *data, uint64_t size,
			      struct lp_lines *ret, struct lp_error *error)
{
	struct program program = {.ret = ret};

	ret->row_count = ret->file_count = 0;
	for (uint64_t at = 0; at < size; program.number++) {
		struct cursor line = {data, at, size, false};
		uint64_t length = cursor_fixed(&line, 4);
		enum lp_status status = LP_E_CORRUPT;

		error->address = at;
		if (length >= 0xfffffff0)
			return LP_E_UNSUPPORTED;
		if (line.failed || length > size - line.at)
			return LP_E_CORRUPT;
		at = line.at + length;
		line.end = at;
		program.line = line;
		status = read_header(&program);
		if (status == LP_OK)
			status = run(&program);
		if (status != LP_OK)
			return status;
	}
	return LP_OK;
}
