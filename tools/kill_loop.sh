#!/bin/sh
# kill_loop.sh [ROUNDS]: kills a run of training 1,000 times (or as often as the argument says), each at a random moment within 2 s of a
# checkpoint, and checks after each kill that the work folder loads at least the last step that was reported as saved.
#
# kill_loop.sh term [ROUNDS]: 100 short runs, each asked to end (SIGTERM) at random moments and gone on with until it is done; each must end
# with the bits of the run that nobody disturbed.
set -eu
cd "$(dirname "$0")/.."
if [ "${1:-}" = term ]; then
    LANGEVIN_TERM_ROUNDS=${2:-100} cargo test --release --test tool -- --nocapture \
        --exact train::runs_that_are_terminated_at_random_moments_end_with_the_same_bits
else
    LANGEVIN_KILL_ROUNDS=${1:-1000} cargo test --release --test training -- --nocapture \
        --exact killed::a_killed_run_lost_nothing_that_it_reported_as_saved
fi
