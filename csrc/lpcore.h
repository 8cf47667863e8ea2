/*
 * The whole interface of the C core, and the single source of the cffi
 * declarations: build_ffi.py reads this file minus the lines that start with
 * '#'. Constants are therefore enums (a #define would be silently absent from
 * Python), and there is no #if and no attribute below.
 *
 * Functions return enum lp_status and write out-parameters named ret only on
 * success. They hold no globals, print nothing and decide nothing. Where more
 * is known than the status, a struct lp_error says where. Integers are in host
 * order, which is x86-64's: little endian. Lengths are bytes unless they are
 * called count.
 */
#ifndef LPCORE_H
#define LPCORE_H
#include <stddef.h>
#include <stdint.h>

enum lp_status {
	LP_OK = 0,
	LP_E_ARGUMENT,    /* a length or count contradicts another one */
	LP_E_MEMORY,      /* malloc failed */
	LP_E_RANGE, /* an address or offset lies outside what was given */
	LP_E_MISMATCH, /* live bytes differ from the expected ones */
	LP_E_SIZE, /* a site does not hold the instruction it needs */
	LP_E_OVERLAP, /* two sites share a byte */
	LP_E_REACH, /* a near jump does not reach, a far one was not allowed */
	LP_E_UNSUPPORTED, /* a relocation that needs a linker's tables */
	LP_E_OVERFLOW, /* a relocated value does not fit its field */
	LP_E_CORRUPT, /* a table contradicts itself */
	LP_E_WRITE, /* what was written did not read back */
	LP_E_SYSTEM, /* the system refused: error->value is its errno */
};

enum lp_limit {
	LP_SAVED_MAX = 32, /* longest run of bytes one site replaces */
	LP_NEAR_JUMP = 5, /* e9 rel32 */
	LP_FAR_JUMP = 14, /* ff 25 00000000 addr64, that is jmp *0(%rip) */
};

/*
 * Where a call failed. index is the site's, relocation's or symbol's; address
 * the byte's, or the name's offset in the string table. value is, for
 * LP_E_MISMATCH and LP_E_WRITE the byte found there, for LP_E_OVERLAP the
 * other site, for LP_E_SIZE and LP_E_REACH the site's offset, for
 * LP_E_OVERFLOW the value, for other relocation failures the type.
 */
struct lp_error {
	uint64_t address;
	uint64_t index;
	int64_t value;
};

/* Memory that the engine itself maps: size bytes at bytes, seen at address by
 * the patched machine. Windows are sorted by address, do not overlap, and are
 * not empty; no site reaches from one into the next. */
struct lp_window {
	uint64_t address;
	uint64_t size;
	uint8_t *bytes;
};

enum lp_site_flag {
	LP_SITE_FAR = 1, /* the 14-byte jump may serve where 5 fail */
};

/*
 * One redirection. The caller fills the first block; lp_redirect fills the
 * second, which lp_take_back needs unchanged.
 */
struct lp_site {
	uint64_t address; /* first byte of the old function */
	uint64_t target; /* first byte of the new one; 0 = write NOPs */
	uint32_t room; /* bytes from address that may be overwritten */
	uint32_t nop_size; /* NOP mode: bytes from address, incl. endbr64 */
	uint32_t expected_size;
	uint32_t flags; /* enum lp_site_flag */
	uint8_t expected[LP_SAVED_MAX]; /* bytes that must be at address now */

	uint32_t offset; /* 4 behind an endbr64 or Xen's poison, else 0 */
	uint32_t size; /* bytes written at address + offset */
	uint8_t saved[LP_SAVED_MAX];
	uint8_t installed[LP_SAVED_MAX];
};

/* Installs all sites or none. error->index is the offending site. The second
 * block of the sites is undefined after a failure. */
enum lp_status lp_redirect(const struct lp_window *windows, size_t window_count,
			   struct lp_site *sites, size_t site_count,
			   struct lp_error *error);

/* Takes back all sites in reverse order, or none: every site must still hold
 * its installed bytes. */
enum lp_status lp_take_back(const struct lp_window *windows,
			    size_t window_count, const struct lp_site *sites,
			    size_t site_count, struct lp_error *error);

/*
 * Applies count Elf64_Rela records (24 bytes each) to one section of size
 * bytes that will run at address. symbols holds one final value (S) and
 * symbol_sizes one st_size per symbol table entry. Every record is checked
 * before the first byte is written. Rules: System V psABI for x86-64, 4.4.1.
 */
enum lp_status lp_relocate(uint8_t *section, uint64_t size, uint64_t address,
			   const uint8_t *records, size_t count,
			   const uint64_t *symbols,
			   const uint64_t *symbol_sizes, size_t symbol_count,
			   struct lp_error *error);

/* A symbol index over an ELF64 symbol table that the caller keeps alive. */
struct lp_symbols;

enum lp_status lp_symbols_create(const uint8_t *table, uint64_t table_size,
				 uint64_t entry_size, const uint8_t *strings,
				 uint64_t strings_size, struct lp_symbols **ret,
				 struct lp_error *error);
void lp_symbols_destroy(struct lp_symbols *symbols);

/* Symbols of that name in table order: writes up to capacity table indexes,
 * sets *ret_count to how many there are. "path/file.c#name" finds only local
 * symbols that follow the STT_FILE symbol "path/file.c". */
enum lp_status lp_symbols_named(const struct lp_symbols *symbols,
				const uint8_t *name, uint64_t name_size,
				uint64_t *indexes, size_t capacity,
				size_t *ret_count);

/* The table index of the symbol that covers address: the one that starts
 * nearest below it, and of several there a global function first. *ret_offset
 * is address minus its value. LP_E_RANGE where there is none. */
enum lp_status lp_symbols_at(const struct lp_symbols *symbols, uint64_t address,
			     uint64_t *ret_index, uint64_t *ret_offset);

/* The lowest symbol value above address. LP_E_RANGE where there is none. */
enum lp_status lp_symbols_next(const struct lp_symbols *symbols,
			       uint64_t address, uint64_t *ret_address);

/* The table index of the STT_FILE symbol that a local symbol belongs to, or 0.
 */
enum lp_status lp_symbols_file(const struct lp_symbols *symbols, uint64_t index,
			       uint64_t *ret_index);

/* Compares two buffers of size bytes in chunks; writes the indexes of the
 * chunks that differ, up to capacity, and how many there are. */
enum lp_status lp_changed_chunks(const uint8_t *left, const uint8_t *right,
				 uint64_t size, uint64_t chunk_size,
				 uint64_t *indexes, size_t capacity,
				 size_t *ret_count);

/* One instruction. Places count from its first byte and are meaningless where
 * the size beside them is 0. map is 0 for opcodes of one byte, 1 behind 0f, 2
 * behind 0f 38, 3 behind 0f 3a, as VEX numbers them; 0xff where the bytes are
 * no instruction, which then has the size 1. */
enum lp_instruction_flag {
	LP_HAS_MODRM = 1,
	LP_RIP_RELATIVE = 2, /* the displacement counts from the end of it */
	LP_RELATIVE = 4, /* the immediate does: a jump or call */
};
struct lp_instruction {
	uint32_t offset;
	uint8_t size;
	uint8_t opcode_at;
	uint8_t map;
	uint8_t opcode;
	uint8_t modrm;
	uint8_t flags; /* enum lp_instruction_flag */
	uint8_t displacement_at;
	uint8_t displacement_size;
	uint8_t immediate_at;
	uint8_t immediate_size;
};

/* Takes size bytes of code apart: writes up to capacity instructions, and how
 * many there are. They cover all bytes. */
enum lp_status lp_decode(const uint8_t *code, uint64_t size,
			 struct lp_instruction *instructions, size_t capacity,
			 size_t *ret_count);

/* Where the instructions begin that differ in two pieces of code: writes up to
 * capacity offsets, and how many there are. LP_E_MISMATCH where an instruction
 * of one is longer than that of the other. */
enum lp_status lp_differing(const uint8_t *left, const uint8_t *right,
			    uint64_t size, uint64_t *offsets, size_t capacity,
			    size_t *ret_count);

/* Where the instructions end that hold the bytes at fields, offsets into code
 * in ascending order; behind four bytes where there is no instruction. */
enum lp_status lp_field_ends(const uint8_t *code, uint64_t size,
			     const uint64_t *fields, size_t field_count,
			     uint64_t *ret_ends);

/* Debug information: the sections of one object, relocated. */
struct lp_dwarf {
	const uint8_t *info;
	uint64_t info_size;
	const uint8_t *abbrev;
	uint64_t abbrev_size;
	const uint8_t *offsets; /* .debug_str_offsets */
	uint64_t offsets_size;
};

/* An attribute's value: a number, an offset into .debug_str, .debug_line_str or
 * .debug_info (a string right there, or another entry). */
enum lp_value_kind {
	LP_VALUE_NONE = 0,
	LP_VALUE_NUMBER = 1,
	LP_VALUE_STRING = 2,
	LP_VALUE_LINE_STRING = 3,
	LP_VALUE_INLINE = 4,
	LP_VALUE_REFERENCE = 5,
	LP_VALUE_ADDRESS = 6, /* an expression that is one, fixed */
};
struct lp_value {
	uint64_t kind; /* enum lp_value_kind */
	uint64_t number;
};

enum lp_entry_flag {
	LP_ENTRY_SIZE = 1, /* size is given */
	LP_ENTRY_VALUE = 2,
	LP_ENTRY_BIT_OFFSET = 4,
	LP_ENTRY_BIT_PLACE = 8, /* place counts bits from the start */
	LP_ENTRY_EXTERNAL = 16,
	LP_ENTRY_DECLARATION = 32,
	LP_ENTRY_CODE = 64, /* it has an address */
	LP_ENTRY_STATIC = 128, /* a variable that has one */
};

/* One entry. parent is the place of the nearest entry around it that is here,
 * plus one. place is in bits; of a unit, where its lines are. value is an
 * enumerator's, an encoding, or how many elements an array has. type and origin
 * are offsets of other entries, 0 for none. */
struct lp_entry {
	uint64_t offset;
	struct lp_value name;
	uint64_t type;
	uint64_t origin;
	uint64_t size;
	uint64_t place;
	int64_t value;
	uint32_t tag;
	uint32_t parent;
	uint32_t bit_size;
	uint32_t bit_offset;
	uint32_t file;
	uint32_t line;
	uint32_t flags; /* enum lp_entry_flag */
};

/* The entries about types, functions and variables: writes up to capacity, and
 * how many there are. LP_E_CORRUPT and LP_E_UNSUPPORTED leave the offset in
 * error->address. */
enum lp_status lp_dwarf_entries(const struct lp_dwarf *dwarf,
				struct lp_entry *entries, size_t capacity,
				size_t *ret_count, struct lp_error *error);

/* Which source line is at an address. base is where in .debug_line the address
 * is that the sequence of rows began with, 0 for none: in a relocatable object
 * the relocation there says which section it is about. The row that ends a
 * sequence is the first address behind it. */
struct lp_line_row {
	uint64_t address;
	uint64_t base;
	uint32_t line;
	uint32_t file;
	uint32_t program;
	uint32_t ends;
};
struct lp_line_file {
	struct lp_value name;
	uint32_t program;
	uint32_t number;
};
struct lp_lines {
	struct lp_line_row *rows;
	size_t row_capacity;
	size_t row_count;
	struct lp_line_file *files;
	size_t file_capacity;
	size_t file_count;
};

/* Runs all line programs of .debug_line, relocated: writes up to the
 * capacities, and how many there are. LP_E_CORRUPT and LP_E_UNSUPPORTED leave
 * the program's offset in error->address. */
enum lp_status lp_dwarf_lines(const uint8_t *data, uint64_t size,
			      struct lp_lines *ret, struct lp_error *error);

/* Scans size bytes of stack (8-byte words, conservatively) for values inside
 * [start, end) of any range; ranges are sorted, apart and not empty. Writes the
 * byte offset of the first hit and the range it hit, or LP_E_RANGE where there
 * is none. */
struct lp_range {
	uint64_t start;
	uint64_t end;
};
enum lp_status lp_scan_stack(const uint8_t *stack, uint64_t size,
			     const struct lp_range *ranges, size_t range_count,
			     uint64_t *ret_offset, size_t *ret_range);

/* Loads the kernel module in an open file, with init parameters ("" for none)
 * and MODULE_INIT_* flags. Its init function has returned 0 when this returns
 * LP_OK. LP_E_SYSTEM otherwise. */
enum lp_status lp_finit_module(int file, const char *parameters, int flags,
			       struct lp_error *error);

/* Takes a module out of the kernel; flags are O_NONBLOCK and O_TRUNC, as for
 * delete_module(2). LP_E_SYSTEM where the kernel refuses. */
enum lp_status lp_delete_module(const char *name, unsigned int flags,
				struct lp_error *error);

/*
 * Xen's live patching from its control domain (public/sysctl.h). A request is
 * written into buffer, memory that the hypervisor can reach, as is what it
 * answers; interface is the version of the sysctl interface. LP_E_ARGUMENT
 * where a name has not 1 to LP_XEN_NAME_MAX bytes other than NUL, or buffer is
 * too small: requests with a body need LP_XEN_PAGE more than that body. Buffers
 * are aligned to 8 bytes and hold a page at least.
 */
enum lp_xen {
	LP_XEN_PAGE = 4096,
	LP_XEN_NAME_MAX = 127,
	LP_XEN_CALL_VERSION = 17, /* numbers of hypercalls */
	LP_XEN_CALL_SYSCTL = 35,
	LP_XEN_VERSION_BUILD_ID = 10,
	LP_XEN_UNLOAD = 1,
	LP_XEN_REVERT = 2,
	LP_XEN_APPLY = 3,
	LP_XEN_REPLACE = 4,
	LP_XEN_NODEPS = 1, /* flag of an action */
	LP_XEN_CHECKED = 1,
	LP_XEN_APPLIED = 2,
};

enum lp_status lp_xen_upload(uint8_t *buffer, uint64_t size, uint32_t interface,
			     const uint8_t *name, uint64_t name_size,
			     const uint8_t *payload, uint64_t payload_size);
enum lp_status lp_xen_get(uint8_t *buffer, uint64_t size, uint32_t interface,
			  const uint8_t *name, uint64_t name_size);
/* What the hypervisor answered; result is 0 or a negative errno. */
void lp_xen_got(const uint8_t *buffer, uint32_t *ret_state,
		int32_t *ret_result);
/* timeout is in nanoseconds, 0 for the hypervisor's own. */
enum lp_status lp_xen_action(uint8_t *buffer, uint64_t size, uint32_t interface,
			     const uint8_t *name, uint64_t name_size,
			     uint32_t action, uint32_t timeout, uint32_t flags);

/* version changes whenever a payload comes or goes; left is how many there are
 * behind those listed; the sizes are of what was written. */
struct lp_xen_totals {
	uint32_t version;
	uint32_t left;
	uint32_t names_size;
	uint32_t metadata_size;
};
/* One payload; name and metadata are offsets into the buffer. */
struct lp_xen_payload {
	uint32_t state;
	int32_t result;
	uint64_t name;
	uint64_t name_size;
	uint64_t metadata;
	uint64_t metadata_size;
};
/* Asks for up to count payloads from the first-th on; count 0 asks for totals
 * alone. The hypercall returns how many were written. */
enum lp_status lp_xen_list(uint8_t *buffer, uint64_t size, uint32_t interface,
			   uint32_t first, uint32_t count);
void lp_xen_listed(const uint8_t *buffer, struct lp_xen_totals *ret);
/* The index-th payload written by a list with that count. */
enum lp_status lp_xen_entry(const uint8_t *buffer, uint64_t size,
			    uint32_t count, uint32_t index,
			    struct lp_xen_payload *ret);

/* What the hypervisor printed from index on, on the buffer's second page. */
enum lp_status lp_xen_console(uint8_t *buffer, uint64_t size,
			      uint32_t interface, uint32_t index);
void lp_xen_console_read(const uint8_t *buffer, uint32_t *ret_size,
			 uint32_t *ret_index);

/* How many processors the hypervisor runs on. */
enum lp_status lp_xen_physinfo(uint8_t *buffer, uint64_t size,
			       uint32_t interface);
uint32_t lp_xen_physinfo_cpus(const uint8_t *buffer);

/* Makes a hypercall with five arguments through an open /dev/xen/privcmd.
 * LP_E_SYSTEM where the hypervisor, or Linux, answers with an errno. */
enum lp_status lp_hypercall(int file, uint64_t number,
			    const uint64_t *arguments, int64_t *ret,
			    struct lp_error *error);

#endif
