// SPDX-License-Identifier: Apache-2.0
//
// Design note. One build with every bug in it, of which one is switched on, rather than one build a
// bug: thirty builds of the tree would cost more than all the worlds that look for the bugs.
#include "dataplane/base/mutant.h"

#include "dataplane/base/assert.h"

#ifdef LIGHTCONE_MUTANTS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#endif

struct mutant_row {
    const char *name;
    const char *text;
    int number;
};

static const struct mutant_row mutant_rows[MUTANT_COUNT] = {[MUTANT_NONE] = {"none", "no bug", 0},
#define MUTANT_ROW(name, number, text) [MUTANT_##name] = {#name, text, number},
                                                            MUTANT_LIST(MUTANT_ROW)
#undef MUTANT_ROW
};

#ifdef LIGHTCONE_MUTANTS
enum mutant mutant_chosen = MUTANT_NONE;
bool mutant_old_release = false;

// Tests know nothing of mutants: LIGHTCONE_MUTANT chooses one before main.
__attribute__((constructor)) static void mutant_choose_by_environment(void) {
    const char *text = getenv("LIGHTCONE_MUTANT");
    if (text == NULL) { return; }
    for (unsigned i = 0; i < MUTANT_COUNT; i++) {
        if (strcmp(text, mutant_rows[i].name) != 0) { continue; }
        mutant_chosen = (enum mutant)i;
        return;
    }
    (void)fprintf(stderr, "LIGHTCONE_MUTANT=%s: no such mutant\n", text);
    abort();
}
#endif

const char *mutant_name(enum mutant mutant) {
    ASSERT((unsigned)mutant < MUTANT_COUNT);
    return mutant_rows[mutant].name;
}

const char *mutant_text(enum mutant mutant) {
    ASSERT((unsigned)mutant < MUTANT_COUNT);
    return mutant_rows[mutant].text;
}

int mutant_number(enum mutant mutant) {
    ASSERT((unsigned)mutant < MUTANT_COUNT);
    return mutant_rows[mutant].number;
}
