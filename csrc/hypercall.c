/*
 * Xen's live patching as its control domain reaches it: requests are laid out
 * in memory that the hypervisor can read, then privcmd passes them on. Layouts
 * are those of Xen's public/sysctl.h and public/version.h.
 *
 * A request starts at the buffer's first byte; names follow at NAME_AT, what is
 * longer on the next page.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lpcore.h"

enum {
	SYSCTL_READCONSOLE = 1,
	SYSCTL_PHYSINFO = 3,
	SYSCTL_LIVEPATCH = 27,
	LIVEPATCH_UPLOAD = 0,
	LIVEPATCH_GET = 1,
	LIVEPATCH_LIST = 2,
	LIVEPATCH_ACTION = 3,
	NAME_AT = 1024,
	BODY_AT = LP_XEN_PAGE,
	LIST_MOST = 1024,
};

struct name {
	uint64_t address;
	uint16_t size; /* with the NUL */
	uint16_t pad[3];
};

struct upload {
	struct name name;
	uint64_t size;
	uint64_t payload;
};

struct get {
	struct name name;
	uint32_t state;
	int32_t result;
};

struct list {
	uint32_t version;
	uint32_t first;
	uint32_t count;
	uint32_t pad;
	uint32_t names_size;
	uint32_t metadata_size;
	uint64_t states;
	uint64_t names;
	uint64_t name_sizes;
	uint64_t metadata;
	uint64_t metadata_sizes;
};

struct action {
	struct name name;
	uint32_t action;
	uint32_t timeout;
	uint32_t flags;
	uint32_t pad;
};

struct livepatch {
	uint32_t command;
	uint32_t pad;
	union {
		struct upload upload;
		struct get get;
		struct list list;
		struct action action;
	};
};

struct console {
	uint8_t clear;
	uint8_t incremental;
	uint8_t pad[2];
	uint32_t index;
	uint64_t text;
	uint32_t size;
};

/* Its beginning; what follows differs from version to version. */
struct physinfo {
	uint32_t threads_per_core;
	uint32_t cores_per_socket;
	uint32_t cpus; /* that are online */
};

struct sysctl {
	uint32_t command;
	uint32_t version;
	union {
		struct livepatch livepatch;
		struct console console;
		struct physinfo physinfo;
		uint8_t reserved[128];
	};
};

struct state {
	uint32_t state;
	int32_t result;
};

/* What privcmd takes (Linux, include/uapi/xen/privcmd.h). */
struct hypercall {
	uint64_t number;
	uint64_t arguments[5];
};

_Static_assert(sizeof(struct sysctl) == 136, "struct xen_sysctl");
_Static_assert(sizeof(struct sysctl) <= NAME_AT, "the name lies behind");
_Static_assert(NAME_AT + LP_XEN_NAME_MAX < BODY_AT, "the body lies behind");

static uint64_t address_of(const uint8_t *at)
{
	return (uint64_t)(uintptr_t)at;
}

static struct sysctl *start(uint8_t *buffer, uint32_t command,
			    uint32_t interface)
{
	struct sysctl *request = (struct sysctl *)(void *)buffer;

	*request = (struct sysctl){.command = command, .version = interface};
	return request;
}

static struct livepatch *start_livepatch(uint8_t *buffer, uint32_t interface,
					 uint32_t command)
{
	struct sysctl *request = start(buffer, SYSCTL_LIVEPATCH, interface);

	request->livepatch.command = command;
	return &request->livepatch;
}

static enum lp_status put_name(uint8_t *buffer, uint64_t size,
			       const uint8_t *name, uint64_t name_size,
			       struct name *ret)
{
	if (size < BODY_AT || !name_size || name_size > LP_XEN_NAME_MAX)
		return LP_E_ARGUMENT;
	if (memchr(name, 0, name_size))
		return LP_E_ARGUMENT;
	memcpy(buffer + NAME_AT, name, name_size);
	buffer[NAME_AT + name_size] = 0;
	*ret = (struct name){
		.address = address_of(buffer + NAME_AT),
		.size = (uint16_t)(name_size + 1),
	};
	return LP_OK;
}

enum lp_status lp_xen_upload(uint8_t *buffer, uint64_t size, uint32_t interface,
			     const uint8_t *name, uint64_t name_size,
			     const uint8_t *payload, uint64_t payload_size)
{
	struct name where;
	enum lp_status status = put_name(buffer, size, name, name_size, &where);

	if (status != LP_OK)
		return status;
	if (payload_size > size - BODY_AT)
		return LP_E_ARGUMENT;
	if (payload_size)
		memcpy(buffer + BODY_AT, payload, payload_size);
	start_livepatch(buffer, interface, LIVEPATCH_UPLOAD)->upload =
		(struct upload){
			.name = where,
			.size = payload_size,
			.payload = address_of(buffer + BODY_AT),
	};
	return LP_OK;
}

enum lp_status lp_xen_get(uint8_t *buffer, uint64_t size, uint32_t interface,
			  const uint8_t *name, uint64_t name_size)
{
	struct name where;
	enum lp_status status = put_name(buffer, size, name, name_size, &where);

	if (status != LP_OK)
		return status;
	start_livepatch(buffer, interface, LIVEPATCH_GET)->get.name = where;
	return LP_OK;
}

void lp_xen_got(const uint8_t *buffer, uint32_t *ret_state, int32_t *ret_result)
{
	const struct sysctl *request =
		(const struct sysctl *)(const void *)buffer;

	*ret_state = request->livepatch.get.state;
	*ret_result = request->livepatch.get.result;
}

enum lp_status lp_xen_action(uint8_t *buffer, uint64_t size, uint32_t interface,
			     const uint8_t *name, uint64_t name_size,
			     uint32_t action, uint32_t timeout, uint32_t flags)
{
	struct name where;
	enum lp_status status = put_name(buffer, size, name, name_size, &where);

	if (status != LP_OK)
		return status;
	start_livepatch(buffer, interface, LIVEPATCH_ACTION)->action =
		(struct action){
			.name = where,
			.action = action,
			.timeout = timeout,
			.flags = flags,
	};
	return LP_OK;
}

/* The arrays of a list, one behind the other; metadata last, to the end. */
static enum lp_status lay_out(uint8_t *buffer, uint64_t size, uint32_t count,
			      struct list *ret)
{
	const uint64_t one = sizeof(struct state) + 2 * sizeof(uint32_t) +
			     LP_XEN_NAME_MAX + 1;
	uint8_t *at = buffer + BODY_AT;

	if (count > LIST_MOST || size < BODY_AT || size > UINT32_MAX ||
	    size - BODY_AT < count * one)
		return LP_E_ARGUMENT;
	ret->states = address_of(at);
	at += count * sizeof(struct state);
	ret->name_sizes = address_of(at);
	at += count * sizeof(uint32_t);
	ret->metadata_sizes = address_of(at);
	at += count * sizeof(uint32_t);
	ret->names = address_of(at);
	ret->names_size = count * (LP_XEN_NAME_MAX + 1);
	at += ret->names_size;
	ret->metadata = address_of(at);
	ret->metadata_size = (uint32_t)(size - (uint64_t)(at - buffer));
	return LP_OK;
}

enum lp_status lp_xen_list(uint8_t *buffer, uint64_t size, uint32_t interface,
			   uint32_t first, uint32_t count)
{
	struct list list = {.first = first, .count = count};
	enum lp_status status = lay_out(buffer, size, count, &list);

	if (status != LP_OK)
		return status;
	memset(buffer + BODY_AT, 0, size - BODY_AT);
	start_livepatch(buffer, interface, LIVEPATCH_LIST)->list = list;
	return LP_OK;
}

void lp_xen_listed(const uint8_t *buffer, struct lp_xen_totals *ret)
{
	const struct sysctl *request =
		(const struct sysctl *)(const void *)buffer;
	const struct list *list = &request->livepatch.list;

	*ret = (struct lp_xen_totals){
		.version = list->version,
		.left = list->count,
		.names_size = list->names_size,
		.metadata_size = list->metadata_size,
	};
}

enum lp_status lp_xen_entry(const uint8_t *buffer, uint64_t size,
			    uint32_t count, uint32_t index,
			    struct lp_xen_payload *ret)
{
	struct list list = {0};
	struct lp_xen_payload found = {0};
	enum lp_status status =
		lay_out((uint8_t *)(uintptr_t)buffer, size, count, &list);
	const struct state *states = (const void *)(uintptr_t)list.states;
	const uint32_t *names = (const void *)(uintptr_t)list.name_sizes;
	const uint32_t *metadata = (const void *)(uintptr_t)list.metadata_sizes;
	uint64_t name_at = list.names - address_of(buffer);
	uint64_t metadata_at = list.metadata - address_of(buffer);

	if (status != LP_OK || index >= count)
		return LP_E_ARGUMENT;
	for (uint32_t i = 0; i < index; i++) {
		name_at += names[i];
		metadata_at += metadata[i];
	}
	if (!names[index] || names[index] > LP_XEN_NAME_MAX + 1 ||
	    name_at + names[index] > list.metadata - address_of(buffer) ||
	    metadata_at + metadata[index] > size)
		return LP_E_CORRUPT;
	found.state = states[index].state;
	found.result = states[index].result;
	found.name = name_at;
	found.name_size = names[index] - 1;
	found.metadata = metadata_at;
	found.metadata_size = metadata[index];
	*ret = found;
	return LP_OK;
}

enum lp_status lp_xen_console(uint8_t *buffer, uint64_t size,
			      uint32_t interface, uint32_t index)
{
	if (size <= BODY_AT || size > UINT32_MAX)
		return LP_E_ARGUMENT;
	start(buffer, SYSCTL_READCONSOLE, interface)->console =
		(struct console){
			.incremental = 1,
			.index = index,
			.text = address_of(buffer + BODY_AT),
			.size = (uint32_t)(size - BODY_AT),
	};
	return LP_OK;
}

void lp_xen_console_read(const uint8_t *buffer, uint32_t *ret_size,
			 uint32_t *ret_index)
{
	const struct sysctl *request =
		(const struct sysctl *)(const void *)buffer;

	*ret_size = request->console.size;
	*ret_index = request->console.index;
}

enum lp_status lp_xen_physinfo(uint8_t *buffer, uint64_t size,
			       uint32_t interface)
{
	if (size < sizeof(struct sysctl))
		return LP_E_ARGUMENT;
	start(buffer, SYSCTL_PHYSINFO, interface);
	return LP_OK;
}

uint32_t lp_xen_physinfo_cpus(const uint8_t *buffer)
{
	const struct sysctl *request =
		(const struct sysctl *)(const void *)buffer;

	return request->physinfo.cpus;
}

enum lp_status lp_hypercall(int file, uint64_t number,
			    const uint64_t *arguments, int64_t *ret,
			    struct lp_error *error)
{
	struct hypercall call = {.number = number};
	int answer;

	memcpy(call.arguments, arguments, sizeof(call.arguments));
	answer = ioctl(file, _IOC(_IOC_NONE, 'P', 0, sizeof(call)), &call);
	if (answer < 0) {
		*error = (struct lp_error){.value = errno};
		return LP_E_SYSTEM;
	}
	*ret = answer;
	return LP_OK;
}
