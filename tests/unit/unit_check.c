/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check: what a failed assertion does, and what it costs when it holds.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "assertion.h"

static void assert_non_zero(void *arg)
{
    const int *n = arg;

    ZC_ASSERT(*n != 0);
}

static void a_true_condition_passes(void **state)
{
    int one = 1;

    (void)state;
    assert_null(assertion_of(assert_non_zero, &one));
}

static void a_false_one_reports_its_text(void **state)
{
    int zero = 0;

    (void)state;
    assert_string_equal(assertion_of(assert_non_zero, &zero), "*n != 0");
}

#ifdef ZCACHE_TEST_HOOKS
static jmp_buf after_failure;
static const char *failed_file;
static int failed_line;

static void note_place(const char *file, int line, const char *text)
{
    (void)text;
    failed_file = file;
    failed_line = line;
    longjmp(after_failure, 1);
}

static void the_hook_gets_the_place(void **state)
{
    static volatile int line;

    (void)state;
    zc_check_hook = note_place;
    if (setjmp(after_failure) == 0) {
        line = __LINE__ + 1;
        ZC_ASSERT(line == 0);
    }
    zc_check_hook = NULL;
    assert_int_equal(failed_line, line);
    assert_non_null(strstr(failed_file, "unit_check.c"));
}

static void *read_hook(void *arg)
{
    *(bool *)arg = zc_check_hook != NULL;
    return NULL;
}

static void the_hook_is_the_threads_own(void **state)
{
    bool other_has_it = true;
    pthread_t other;

    (void)state;
    zc_check_hook = note_place;
    assert_int_equal(pthread_create(&other, NULL, read_hook, &other_has_it), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    zc_check_hook = NULL;
    assert_false(other_has_it);
}
#else
static void the_hook_gets_the_place(void **state)
{
    (void)state;
    skip();
}

static void the_hook_is_the_threads_own(void **state)
{
    (void)state;
    skip();
}
#endif

/* The child's words would only alarm the reader of the log, and a core helps nobody. */
static void fail_quietly(void)
{
    int sink = open("/dev/null", O_WRONLY);

    (void)dup2(sink, STDERR_FILENO);
    (void)signal(SIGABRT, SIG_DFL);
    ZC_ASSERT(sink < 0);
    _exit(0);
}

static void without_a_hook_the_process_aborts(void **state)
{
    pid_t child = fork();
    int status = 0;

    (void)state;
    if (child == 0) {
        fail_quietly();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static bool count_and_pass(int *n)
{
    (*n)++;
    return true;
}

static void conditions_are_evaluated_once_or_not_at_all(void **state)
{
    int always = 0;
    int debug = 0;

    (void)state;
    ZC_ASSERT(count_and_pass(&always));
    ZC_DEBUG_ASSERT(count_and_pass(&debug));
    assert_int_equal(always, 1);
#ifdef ZCACHE_DEBUG
    assert_int_equal(debug, 1);
#else
    assert_int_equal(debug, 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_condition_passes),
        cmocka_unit_test(a_false_one_reports_its_text),
        cmocka_unit_test(the_hook_gets_the_place),
        cmocka_unit_test(the_hook_is_the_threads_own),
        cmocka_unit_test(without_a_hook_the_process_aborts),
        cmocka_unit_test(conditions_are_evaluated_once_or_not_at_all),
    };

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
