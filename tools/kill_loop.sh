#!/bin/sh
# Kills a run of training 1,000 times (or as often as the argument says), each at a random moment within 2 s of a checkpoint, and checks
# after each kill that the work folder loads at least the last step that was reported as saved.
set -eu
cd "$(dirname "$0")/.."
LANGEVIN_KILL_ROUNDS=${1:-1000} cargo test --release --test training -- --nocapture \
    --exact killed::a_killed_run_lost_nothing_that_it_reported_as_saved
