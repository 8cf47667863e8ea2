/*
 * The bytes that replace the start of a function: a jump, or NOPs.
 */
#include "site.h"

#include <stdbool.h>
#include <string.h>

enum {
	LONGEST_NOP = 9,
};

/* Intel SDM volume 2, NOP, table 4-12: the recommended multi-byte forms. */
static const uint8_t nops[LONGEST_NOP][LONGEST_NOP] = {
	{0x90},
	{0x66, 0x90},
	{0x0f, 0x1f, 0x00},
	{0x0f, 0x1f, 0x40, 0x00},
	{0x0f, 0x1f, 0x44, 0x00, 0x00},
	{0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
	{0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
	{0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
	{0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
};

/*
 * Indirect calls must keep finding their landing pad. Xen overwrites the
 * endbr64 of functions that are never called indirectly with a NOP of the
 * same length and still patches behind it.
 */
static bool has_landing_pad(const uint8_t *code, uint64_t available)
{
	static const uint8_t endbr64[LP_ENDBR_SIZE] = {0xf3, 0x0f, 0x1e, 0xfa};
	static const uint8_t poison[LP_ENDBR_SIZE] = {0x66, 0x0f, 0x1f, 0x01};

	return available >= LP_ENDBR_SIZE &&
	       (!memcmp(code, endbr64, LP_ENDBR_SIZE) ||
		!memcmp(code, poison, LP_ENDBR_SIZE));
}

static void encode_nops(uint8_t *to, uint32_t size)
{
	while (size) {
		uint32_t step = size < LONGEST_NOP ? size : LONGEST_NOP;

		memcpy(to, nops[step - 1], step);
		to += step;
		size -= step;
	}
}

static enum lp_status encode_blank(struct lp_site *site)
{
	if (site->nop_size <= site->offset || site->nop_size > site->room ||
	    site->nop_size > LP_SAVED_MAX)
		return LP_E_SIZE;
	site->size = site->nop_size - site->offset;
	encode_nops(site->installed, site->size);
	return LP_OK;
}

static void encode_near(struct lp_site *site, uint64_t distance)
{
	uint32_t rel32 = (uint32_t)distance;

	site->size = LP_NEAR_JUMP;
	site->installed[0] = 0xe9;
	memcpy(site->installed + 1, &rel32, sizeof(rel32));
}

static void encode_far(struct lp_site *site)
{
	static const uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};

	site->size = LP_FAR_JUMP;
	memcpy(site->installed, jump, sizeof(jump));
	memcpy(site->installed + sizeof(jump), &site->target,
	       sizeof(site->target));
}

static enum lp_status encode_jump(struct lp_site *site)
{
	uint64_t start = site->address + site->offset;
	uint64_t distance = site->target - (start + LP_NEAR_JUMP);
	uint64_t room =
		site->room > site->offset ? site->room - site->offset : 0;

	if (room < LP_NEAR_JUMP)
		return LP_E_SIZE;
	/* rel32 is sign-extended: -2^31 to 2^31 - 1, modulo 2^64. */
	if (distance + 0x80000000 <= UINT32_MAX) {
		encode_near(site, distance);
		return LP_OK;
	}
	if (!(site->flags & LP_SITE_FAR))
		return LP_E_REACH;
	if (room < LP_FAR_JUMP)
		return LP_E_SIZE;
	encode_far(site);
	return LP_OK;
}

enum lp_status lp_encode_site(struct lp_site *site, const uint8_t *code,
			      uint64_t available)
{
	enum lp_status status;

	site->offset = has_landing_pad(code, available) ? LP_ENDBR_SIZE : 0;
	status = site->target ? encode_jump(site) : encode_blank(site);
	if (status != LP_OK)
		return status;
	/* No overflow: both are at most LP_SAVED_MAX. */
	return site->offset + site->size <= available ? LP_OK : LP_E_RANGE;
}
