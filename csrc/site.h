/*
 * One site of a redirection set: what to write there, and how to write it.
 */
#ifndef LP_SITE_H
#define LP_SITE_H
#include "lpcore.h"

enum lp_landing_pad {
	LP_ENDBR_SIZE = 4, /* endbr64, and the NOP that Xen replaces it with */
};

/* Decides offset, size and installed bytes of a site whose first available
 * bytes are at code. */
enum lp_status lp_encode_site(struct lp_site *site, const uint8_t *code,
			      uint64_t available);

/* Writes size (1 to LP_SAVED_MAX) bytes at offset of window such that a CPU
 * which fetches from there meanwhile sees the old instruction, a parked one,
 * or the new one, and never a mixture. */
void lp_store_code(const struct lp_window *window, uint64_t offset,
		   const uint8_t *data, uint64_t size);

#endif
