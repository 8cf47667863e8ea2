/* Kernel modules in and out. The C library has no wrappers for these calls. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lpcore.h"

static enum lp_status answer(long result, struct lp_error *error)
{
	if (result == 0)
		return LP_OK;
	*error = (struct lp_error){.value = errno};
	return LP_E_SYSTEM;
}

enum lp_status lp_finit_module(int file, const char *parameters, int flags,
			       struct lp_error *error)
{
	return answer(syscall(SYS_finit_module, file, parameters, flags),
		      error);
}

enum lp_status lp_delete_module(const char *name, unsigned int flags,
				struct lp_error *error)
{
	return answer(syscall(SYS_delete_module, name, flags), error);
}
