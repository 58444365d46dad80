/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: text to structure, and what is legal.
 */
#ifndef ZC_OPTIONS_H
#define ZC_OPTIONS_H

#include <zcache/zcache.h>

/** zc_options_parse() - zcache_options_parse() with checked arguments. */
int zc_options_parse(struct zcache_options *opts, const char *text, char *error, size_t error_cap);

/**
 * zc_options_check() - copy and check options; empty codec texts become the defaults.
 *
 * Every option that is out of range is told through the options' log callback, as event
 * "option.<name>", with the value and what is possible.
 *
 * Return: 0; -EINVAL, -E2BIG (see zcache/types.h for struct_size).
 */
int zc_options_check(const struct zcache_options *opts, struct zcache_options *out);

/**
 * zc_options_size() - the rule for struct_size: how much of the caller's structure to copy.
 * @given: the caller's struct_size; @ours: our sizeof; @first: size in the first release.
 * @base:  the caller's structure, whose bytes beyond @ours must be zero.
 *
 * Return: 0; -EINVAL shorter than @first; -E2BIG not zero beyond @ours.
 */
int zc_options_size(size_t given, size_t ours, size_t first, const void *base);

#endif /* ZC_OPTIONS_H */
