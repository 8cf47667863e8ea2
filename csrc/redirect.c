/*
 * Redirection sets: all sites are installed or none, all taken back or none.
 */
#include "site.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The bytes that site index will own. */
struct span {
	uint64_t start;
	uint64_t size;
	uint64_t index;
};

static enum lp_status fail(struct lp_error *error, enum lp_status status,
			   uint64_t index, uint64_t address, uint64_t value)
{
	if (error) {
		error->index = index;
		error->address = address;
		error->value = (int64_t)value;
	}
	return status;
}

/* Sorted, apart, and none wraps: a window may end at 2^64 but not beyond. */
static bool windows_valid(const struct lp_window *windows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct lp_window *window = &windows[i];

		if (!window->size || window->size - 1 > ~window->address)
			return false;
		if (i && window->address - windows[i - 1].address <
				 windows[i - 1].size)
			return false;
		if (i && window->address <= windows[i - 1].address)
			return false;
	}
	return true;
}

static const struct lp_window *find_window(const struct lp_window *windows,
					   size_t count, uint64_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (windows[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || address - windows[low - 1].address >= windows[low - 1].size)
		return NULL;
	return &windows[low - 1];
}

static uint64_t differing(const uint8_t *left, const uint8_t *right,
			  uint64_t size)
{
	uint64_t i = 0;

	while (i < size && left[i] == right[i])
		i++;
	return i;
}

static enum lp_status check_expected(const struct lp_site *site, uint64_t index,
				     const uint8_t *code, uint64_t available,
				     struct lp_error *error)
{
	uint64_t at;

	if (site->expected_size > available)
		return fail(error, LP_E_RANGE, index, site->address, 0);
	at = differing(code, site->expected, site->expected_size);
	if (at < site->expected_size)
		return fail(error, LP_E_MISMATCH, index, site->address + at,
			    code[at]);
	return LP_OK;
}

/* Checks one site against memory, and fills in everything lp_site promises. */
static enum lp_status prepare(const struct lp_window *windows,
			      size_t window_count, struct lp_site *site,
			      uint64_t index, struct lp_error *error)
{
	const struct lp_window *window;
	enum lp_status status;
	uint64_t available;
	const uint8_t *code;

	if (site->expected_size > LP_SAVED_MAX || site->flags > LP_SITE_FAR)
		return fail(error, LP_E_ARGUMENT, index, site->address, 0);
	window = find_window(windows, window_count, site->address);
	if (!window)
		return fail(error, LP_E_RANGE, index, site->address, 0);
	code = window->bytes + (site->address - window->address);
	available = window->size - (site->address - window->address);
	status = check_expected(site, index, code, available, error);
	if (status != LP_OK)
		return status;
	status = lp_encode_site(site, code, available);
	if (status != LP_OK)
		return fail(error, status, index, site->address, site->offset);
	memcpy(site->saved, code + site->offset, site->size);
	return LP_OK;
}

static int compare_spans(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

static enum lp_status find_overlap(const struct span *spans, size_t count,
				   const struct lp_site *sites,
				   struct lp_error *error)
{
	for (size_t i = 1; i < count; i++) {
		const struct span *a = &spans[i - 1], *b = &spans[i];

		if (b->start - a->start < a->size) {
			uint64_t later =
				a->index > b->index ? a->index : b->index;
			uint64_t other = a->index + b->index - later;

			return fail(error, LP_E_OVERLAP, later,
				    sites[later].address, other);
		}
	}
	return LP_OK;
}

/* Sites at the same function always overlap: their offset is the same. */
static enum lp_status check_overlap(const struct lp_site *sites, size_t count,
				    struct lp_error *error)
{
	struct span *spans = calloc(count, sizeof(*spans));
	enum lp_status status;

	if (!spans)
		return LP_E_MEMORY;
	for (size_t i = 0; i < count; i++) {
		spans[i].start = sites[i].address + sites[i].offset;
		spans[i].size = sites[i].size;
		spans[i].index = i;
	}
	qsort(spans, count, sizeof(*spans), compare_spans);
	status = find_overlap(spans, count, sites, error);
	free(spans);
	return status;
}

static void store(const struct lp_window *windows, size_t window_count,
		  const struct lp_site *site, const uint8_t *data)
{
	uint64_t start = site->address + site->offset;
	const struct lp_window *window =
		find_window(windows, window_count, start);

	lp_store_code(window, start - window->address, data, site->size);
}

/* Whether a site's bytes in memory are data; *ret_at is the first that differs.
 */
static bool holds(const struct lp_window *windows, size_t window_count,
		  const struct lp_site *site, const uint8_t *data,
		  uint64_t *ret_at, uint8_t *ret_found)
{
	uint64_t start = site->address + site->offset;
	const struct lp_window *window =
		find_window(windows, window_count, start);
	const uint8_t *code = window->bytes + (start - window->address);
	uint64_t at = differing(code, data, site->size);

	if (at == site->size)
		return true;
	*ret_at = start + at;
	*ret_found = code[at];
	return false;
}

/* Every site at once, after the last store: this also finds windows that show
 * the same memory twice, where one site undoes another. */
static enum lp_status check_held(const struct lp_window *windows,
				 size_t window_count,
				 const struct lp_site *sites, size_t count,
				 bool installed, enum lp_status otherwise,
				 struct lp_error *error)
{
	for (size_t i = 0; i < count; i++) {
		const struct lp_site *site = &sites[i];
		uint64_t at = 0;
		uint8_t found = 0;

		if (!holds(windows, window_count, site,
			   installed ? site->installed : site->saved, &at,
			   &found))
			return fail(error, otherwise, i, at, found);
	}
	return LP_OK;
}

static void install_all(const struct lp_window *windows, size_t window_count,
			const struct lp_site *sites, size_t count)
{
	for (size_t i = 0; i < count; i++)
		store(windows, window_count, &sites[i], sites[i].installed);
}

static void restore_all(const struct lp_window *windows, size_t window_count,
			const struct lp_site *sites, size_t count)
{
	for (size_t i = count; i-- > 0;)
		store(windows, window_count, &sites[i], sites[i].saved);
}

enum lp_status lp_redirect(const struct lp_window *windows, size_t window_count,
			   struct lp_site *sites, size_t site_count,
			   struct lp_error *error)
{
	enum lp_status status;

	if (!windows_valid(windows, window_count))
		return fail(error, LP_E_ARGUMENT, 0, 0, 0);
	for (size_t i = 0; i < site_count; i++) {
		status = prepare(windows, window_count, &sites[i], i, error);
		if (status != LP_OK)
			return status;
	}
	if (!site_count)
		return LP_OK;
	status = check_overlap(sites, site_count, error);
	if (status != LP_OK)
		return status;
	install_all(windows, window_count, sites, site_count);
	status = check_held(windows, window_count, sites, site_count, true,
			    LP_E_WRITE, error);
	if (status != LP_OK)
		restore_all(windows, window_count, sites, site_count);
	return status;
}

/* What lp_redirect filled in may come from a file by now. */
static enum lp_status check_site(const struct lp_window *windows,
				 size_t window_count,
				 const struct lp_site *site, uint64_t index,
				 struct lp_error *error)
{
	uint64_t start = site->address + site->offset;
	const struct lp_window *window =
		find_window(windows, window_count, start);

	if (!site->size || site->size > LP_SAVED_MAX ||
	    (site->offset && site->offset != LP_ENDBR_SIZE))
		return fail(error, LP_E_ARGUMENT, index, site->address, 0);
	if (!window || window->size - (start - window->address) < site->size)
		return fail(error, LP_E_RANGE, index, site->address, 0);
	return LP_OK;
}

enum lp_status lp_take_back(const struct lp_window *windows,
			    size_t window_count, const struct lp_site *sites,
			    size_t site_count, struct lp_error *error)
{
	enum lp_status status;

	if (!windows_valid(windows, window_count))
		return fail(error, LP_E_ARGUMENT, 0, 0, 0);
	for (size_t i = 0; i < site_count; i++) {
		status = check_site(windows, window_count, &sites[i], i, error);
		if (status != LP_OK)
			return status;
	}
	status = check_held(windows, window_count, sites, site_count, true,
			    LP_E_MISMATCH, error);
	if (status != LP_OK)
		return status;
	restore_all(windows, window_count, sites, site_count);
	status = check_held(windows, window_count, sites, site_count, false,
			    LP_E_WRITE, error);
	if (status != LP_OK)
		install_all(windows, window_count, sites, site_count);
	return status;
}
