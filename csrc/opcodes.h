/*
 * What follows each opcode: Intel SDM volume 2, appendix A.
 */
#ifndef LP_OPCODES_H
#define LP_OPCODES_H
#include <stdint.h>

/* What follows an opcode. */
enum form {
	NN, /* nothing */
	MR, /* ModRM */
	I1, /* an immediate byte */
	I2, /* two */
	I4, /* four, or two behind an operand size prefix */
	I3, /* two and one: enter */
	IV, /* as I4, or eight with REX.W: mov */
	M1, /* ModRM, then an immediate byte */
	M4, /* ModRM, then as I4 */
	G1, /* ModRM, and for test an immediate byte */
	G4, /* ModRM, and for test as I4 */
	J1, /* a distance of one byte */
	J4, /* of four */
	AD, /* an address of eight bytes, or four behind an address size prefix
	     */
	CR, /* ModRM that names registers whatever it says */
	PX, /* a prefix, or the start of another map */
	XX, /* no instruction */
};

static const uint8_t one_byte[256] = {
	MR, MR, MR, MR, I1, I4, XX, XX, MR, MR, MR, MR, I1, I4, XX, PX, /* 0 */
	MR, MR, MR, MR, I1, I4, XX, XX, MR, MR, MR, MR, I1, I4, XX, XX, /* 1 */
	MR, MR, MR, MR, I1, I4, PX, XX, MR, MR, MR, MR, I1, I4, PX, XX, /* 2 */
	MR, MR, MR, MR, I1, I4, PX, XX, MR, MR, MR, MR, I1, I4, PX, XX, /* 3 */
	PX, PX, PX, PX, PX, PX, PX, PX, PX, PX, PX, PX, PX, PX, PX, PX, /* 4 */
	NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, /* 5 */
	XX, XX, PX, MR, PX, PX, PX, PX, I4, M4, I1, M1, NN, NN, NN, NN, /* 6 */
	J1, J1, J1, J1, J1, J1, J1, J1, J1, J1, J1, J1, J1, J1, J1, J1, /* 7 */
	M1, M4, XX, M1, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* 8 */
	NN, NN, NN, NN, NN, NN, NN, NN, NN, NN, XX, NN, NN, NN, NN, NN, /* 9 */
	AD, AD, AD, AD, NN, NN, NN, NN, I1, I4, NN, NN, NN, NN, NN, NN, /* a */
	I1, I1, I1, I1, I1, I1, I1, I1, IV, IV, IV, IV, IV, IV, IV, IV, /* b */
	M1, M1, I2, NN, PX, PX, M1, M4, I3, NN, I2, NN, NN, I1, XX, NN, /* c */
	MR, MR, MR, MR, XX, XX, XX, NN, MR, MR, MR, MR, MR, MR, MR, MR, /* d */
	J1, J1, J1, J1, I1, I1, I1, I1, J4, J4, XX, J1, NN, NN, NN, NN, /* e */
	PX, NN, PX, PX, NN, NN, G1, G4, NN, NN, NN, NN, NN, NN, MR, MR, /* f */
};

/* Behind 0f. ff (ud0) has a ModRM by the manual, but Linux wrote it without one
 * where its old reference counters trapped (asm/refcount.h, 4.14 to 5.4). */
static const uint8_t two_byte[256] = {
	MR, MR, MR, MR, XX, NN, NN, NN, NN, NN, XX, NN, XX, MR, NN, M1, /* 0 */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* 1 */
	CR, CR, CR, CR, XX, XX, XX, XX, MR, MR, MR, MR, MR, MR, MR, MR, /* 2 */
	NN, NN, NN, NN, NN, NN, XX, NN, PX, XX, PX, XX, XX, XX, XX, XX, /* 3 */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* 4 */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* 5 */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* 6 */
	M1, M1, M1, M1, MR, MR, MR, NN, MR, MR, XX, XX, MR, MR, MR, MR, /* 7 */
	J4, J4, J4, J4, J4, J4, J4, J4, J4, J4, J4, J4, J4, J4, J4, J4, /* 8 */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* 9 */
	NN, NN, NN, MR, M1, MR, MR, MR, NN, NN, NN, MR, M1, MR, MR, MR, /* a */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, M1, MR, MR, MR, MR, MR, /* b */
	MR, MR, M1, MR, M1, M1, M1, MR, NN, NN, NN, NN, NN, NN, NN, NN, /* c */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* d */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, /* e */
	MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, MR, NN, /* f */
};

#endif
