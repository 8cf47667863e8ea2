/*
 * The requests to Xen, byte by byte, against structures declared as in Xen's
 * public/sysctl.h.
 */
#include "check.h"
#include "lpcore.h"

#include <string.h>

typedef struct {
	uint64_t p;
} __attribute__((aligned(8))) handle;

struct xen_livepatch_name {
	handle name;
	uint16_t size;
	uint16_t pad[3];
};

struct xen_livepatch_status {
	uint32_t state;
	int32_t rc;
};

struct xen_sysctl {
	uint32_t cmd;
	uint32_t interface_version;
	union {
		struct {
			uint8_t clear, incremental, pad0, pad1;
			uint32_t index;
			handle buffer;
			uint32_t count;
		} readconsole;
		struct {
			uint32_t threads_per_core, cores_per_socket;
			uint32_t nr_cpus, max_cpu_id;
		} physinfo;
		struct {
			uint32_t cmd;
			uint32_t pad;
			union {
				struct {
					struct xen_livepatch_name name;
					uint64_t size;
					handle payload;
				} upload;
				struct {
					struct xen_livepatch_name name;
					struct xen_livepatch_status status;
				} get;
				struct {
					uint32_t version, idx, nr, pad;
					uint32_t name_total_size;
					uint32_t metadata_total_size;
					handle status, name, len;
					handle metadata, metadata_len;
				} list;
				struct {
					struct xen_livepatch_name name;
					uint32_t cmd, timeout, flags, pad;
				} action;
			} u;
		} livepatch;
		uint8_t pad[128];
	} u;
};

enum {
	INTERFACE = 0x15,
	SIZE = 4 * LP_XEN_PAGE,
};

static uint8_t buffer[SIZE] __attribute__((aligned(4096)));
static const uint8_t name[] = "hello";
static const uint64_t name_size = sizeof(name) - 1;
static struct xen_sysctl *const request = (struct xen_sysctl *)(void *)buffer;

static void check_name(const struct xen_livepatch_name *found)
{
	CHECK(found->size == sizeof(name));
	CHECK(!found->pad[0] && !found->pad[1] && !found->pad[2]);
	CHECK(!memcmp((void *)(uintptr_t)found->name.p, name, sizeof(name)));
}

static void check_start(uint32_t command)
{
	CHECK(request->cmd == 27);
	CHECK(request->interface_version == INTERFACE);
	CHECK(request->u.livepatch.cmd == command);
	CHECK(!request->u.livepatch.pad);
}

static void dirty(void)
{
	memset(buffer, 0xa5, sizeof(buffer));
}

static void test_upload(void)
{
	uint8_t payload[3] = {1, 2, 3};

	dirty();
	CHECK(lp_xen_upload(buffer, SIZE, INTERFACE, name, name_size, payload,
			    sizeof(payload)) == LP_OK);
	check_start(0);
	check_name(&request->u.livepatch.u.upload.name);
	CHECK(request->u.livepatch.u.upload.size == sizeof(payload));
	CHECK(!memcmp(
		(void *)(uintptr_t)request->u.livepatch.u.upload.payload.p,
		payload, sizeof(payload)));
	CHECK(lp_xen_upload(buffer, LP_XEN_PAGE, INTERFACE, name, name_size,
			    payload, 1) == LP_E_ARGUMENT);
	CHECK(lp_xen_upload(buffer, LP_XEN_PAGE, INTERFACE, name, name_size,
			    payload, UINT64_MAX) == LP_E_ARGUMENT);
	CHECK(lp_xen_upload(buffer, LP_XEN_PAGE, INTERFACE, name, name_size,
			    NULL, 0) == LP_OK);
}

static void test_get(void)
{
	uint32_t state;
	int32_t result;

	dirty();
	CHECK(lp_xen_get(buffer, SIZE, INTERFACE, name, name_size) == LP_OK);
	check_start(1);
	check_name(&request->u.livepatch.u.get.name);
	CHECK(!request->u.livepatch.u.get.status.state);
	request->u.livepatch.u.get.status =
		(struct xen_livepatch_status){LP_XEN_APPLIED, -11};
	lp_xen_got(buffer, &state, &result);
	CHECK(state == 2 && result == -11);
}

static void test_action(void)
{
	dirty();
	CHECK(lp_xen_action(buffer, SIZE, INTERFACE, name, name_size,
			    LP_XEN_APPLY, 30000000, LP_XEN_NODEPS) == LP_OK);
	check_start(3);
	check_name(&request->u.livepatch.u.action.name);
	CHECK(request->u.livepatch.u.action.cmd == 3);
	CHECK(request->u.livepatch.u.action.timeout == 30000000);
	CHECK(request->u.livepatch.u.action.flags == 1);
	CHECK(!request->u.livepatch.u.action.pad);
}

static void test_names(void)
{
	uint8_t longest[LP_XEN_NAME_MAX + 1];

	memset(longest, 'x', sizeof(longest));
	CHECK(lp_xen_get(buffer, SIZE, INTERFACE, longest, LP_XEN_NAME_MAX) ==
	      LP_OK);
	CHECK(request->u.livepatch.u.get.name.size == 128);
	CHECK(lp_xen_get(buffer, SIZE, INTERFACE, longest, sizeof(longest)) ==
	      LP_E_ARGUMENT);
	CHECK(lp_xen_get(buffer, SIZE, INTERFACE, name, 0) == LP_E_ARGUMENT);
	CHECK(lp_xen_get(buffer, SIZE, INTERFACE, name, sizeof(name)) ==
	      LP_E_ARGUMENT);
	CHECK(lp_xen_get(buffer, LP_XEN_PAGE - 1, INTERFACE, name, name_size) ==
	      LP_E_ARGUMENT);
}

/* What Xen's livepatch_list does with the arrays. */
static void answer(uint32_t count, const char *const *names,
		   const char *const *metadata)
{
	struct xen_livepatch_status *states =
		(void *)(uintptr_t)request->u.livepatch.u.list.status.p;
	uint32_t *sizes = (void *)(uintptr_t)request->u.livepatch.u.list.len.p;
	uint32_t *more =
		(void *)(uintptr_t)request->u.livepatch.u.list.metadata_len.p;
	char *at = (void *)(uintptr_t)request->u.livepatch.u.list.name.p;
	char *text = (void *)(uintptr_t)request->u.livepatch.u.list.metadata.p;

	for (uint32_t i = 0; i < count; i++) {
		states[i] = (struct xen_livepatch_status){i + 1, -(int32_t)i};
		sizes[i] = (uint32_t)strlen(names[i]) + 1;
		more[i] = (uint32_t)strlen(metadata[i]);
		memcpy(at, names[i], sizes[i]);
		memcpy(text, metadata[i], more[i]);
		at += sizes[i];
		text += more[i];
	}
	request->u.livepatch.u.list.nr = 7;
	request->u.livepatch.u.list.version = 42;
}

static void test_list(void)
{
	static const char *const names[] = {"first", "b"};
	static const char *const metadata[] = {"", "k=v"};
	struct lp_xen_totals totals;
	struct lp_xen_payload one;

	dirty();
	CHECK(lp_xen_list(buffer, SIZE, INTERFACE, 5, 8) == LP_OK);
	check_start(2);
	CHECK(request->u.livepatch.u.list.idx == 5);
	CHECK(request->u.livepatch.u.list.nr == 8);
	CHECK(!request->u.livepatch.u.list.pad);
	CHECK(request->u.livepatch.u.list.name_total_size == 8 * 128);
	CHECK(request->u.livepatch.u.list.metadata.p +
		      request->u.livepatch.u.list.metadata_total_size ==
	      (uintptr_t)buffer + SIZE);
	answer(2, names, metadata);
	lp_xen_listed(buffer, &totals);
	CHECK(totals.version == 42 && totals.left == 7);
	CHECK(lp_xen_entry(buffer, SIZE, 8, 0, &one) == LP_OK);
	CHECK(one.state == 1 && one.name_size == 5 && !one.metadata_size);
	CHECK(lp_xen_entry(buffer, SIZE, 8, 1, &one) == LP_OK);
	CHECK(one.state == 2 && one.result == -1);
	CHECK(one.name_size == 1 && buffer[one.name] == 'b');
	CHECK(one.metadata_size == 3 &&
	      !memcmp(buffer + one.metadata, "k=v", 3));
	CHECK(lp_xen_entry(buffer, SIZE, 8, 2, &one) == LP_E_CORRUPT);
	CHECK(lp_xen_entry(buffer, SIZE, 8, 8, &one) == LP_E_ARGUMENT);
	CHECK(lp_xen_list(buffer, SIZE, INTERFACE, 0, 1025) == LP_E_ARGUMENT);
	CHECK(lp_xen_list(buffer, LP_XEN_PAGE + 100, INTERFACE, 0, 1) ==
	      LP_E_ARGUMENT);
}

/* Lengths that lead out of the buffer are not followed. */
static void test_hostile_lengths(void)
{
	struct lp_xen_payload one;
	uint32_t *sizes;

	CHECK(lp_xen_list(buffer, SIZE, INTERFACE, 0, 8) == LP_OK);
	sizes = (void *)(uintptr_t)request->u.livepatch.u.list.len.p;
	sizes[0] = UINT32_MAX;
	sizes[1] = 2;
	CHECK(lp_xen_entry(buffer, SIZE, 8, 0, &one) == LP_E_CORRUPT);
	CHECK(lp_xen_entry(buffer, SIZE, 8, 1, &one) == LP_E_CORRUPT);
	sizes[0] = 2;
	sizes = (void *)(uintptr_t)request->u.livepatch.u.list.metadata_len.p;
	sizes[0] = UINT32_MAX;
	CHECK(lp_xen_entry(buffer, SIZE, 8, 0, &one) == LP_E_CORRUPT);
	CHECK(lp_xen_entry(buffer, SIZE, 8, 1, &one) == LP_E_CORRUPT);
}

static void test_console(void)
{
	uint32_t size, index;

	dirty();
	CHECK(lp_xen_console(buffer, SIZE, INTERFACE, 99) == LP_OK);
	CHECK(request->cmd == 1 && request->interface_version == INTERFACE);
	CHECK(!request->u.readconsole.clear);
	CHECK(request->u.readconsole.incremental == 1);
	CHECK(request->u.readconsole.index == 99);
	CHECK(request->u.readconsole.buffer.p ==
	      (uintptr_t)buffer + LP_XEN_PAGE);
	CHECK(request->u.readconsole.count == SIZE - LP_XEN_PAGE);
	request->u.readconsole.count = 5;
	request->u.readconsole.index = 104;
	lp_xen_console_read(buffer, &size, &index);
	CHECK(size == 5 && index == 104);
	CHECK(lp_xen_console(buffer, LP_XEN_PAGE, INTERFACE, 0) ==
	      LP_E_ARGUMENT);
}

static void test_physinfo(void)
{
	dirty();
	CHECK(lp_xen_physinfo(buffer, SIZE, INTERFACE) == LP_OK);
	CHECK(request->cmd == 3 && request->interface_version == INTERFACE);
	request->u.physinfo.nr_cpus = 48;
	CHECK(lp_xen_physinfo_cpus(buffer) == 48);
	CHECK(lp_xen_physinfo(buffer, 16, INTERFACE) == LP_E_ARGUMENT);
}

static void test_errno(void)
{
	const uint64_t arguments[5] = {0};
	struct lp_error error = {0};
	int64_t result = 7;

	CHECK(lp_hypercall(-1, 35, arguments, &result, &error) == LP_E_SYSTEM);
	CHECK(error.value == 9 && result == 7);
}

int main(void)
{
	test_upload();
	test_get();
	test_action();
	test_names();
	test_list();
	test_hostile_lengths();
	test_console();
	test_physinfo();
	test_errno();
	return 0;
}
