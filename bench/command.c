/* SPDX-License-Identifier: BSD-2-Clause */
#include "command.h"

int command_run(const struct command *command, int argc, const char **argv)
{
    struct bench_options opts;
    struct report report;

    if (command->main != NULL) {
        return command->main(argc, argv);
    }
    options_read(&command->defaults, argc, argv, &opts);
    if (command->check != NULL) {
        command->check(&opts);
    }
    report_begin(&report, &opts);
    for (unsigned i = 0; i < opts.page_bytes.n; i++) {
        struct corpus corpus;

        corpus_read(&opts, opts.page_bytes.at[i], &corpus);
        report_section(&report, &corpus);
        command->run(&report, &corpus);
        report_section_end(&report);
        corpus_free(&corpus);
    }
    report_end(&report);
    options_free(&opts);
    return 0;
}
