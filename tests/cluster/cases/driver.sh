#!/bin/bash
# Plays one case on one side, in the case's directory on the login node: defines what a case's `run` may use, then sources it.
#
# usage: driver.sh DIRECTORY OPTIONS...     OPTIONS are sbatch's, the side's own, before those of the case
#
#   $side $options     the side's name, and its options, an array
#   submit WORDS...    sbatch WORDS; sets JOB; what sbatch says on standard error goes to .said
#   when FILE          waits until the script has made FILE
#   is JOB STATE       waits until squeue says STATE of the job
#   because JOB WHY    waits until that is the reason of the pending job
#   ended JOB          waits until the job has ended
#   as_root WORDS...   has the administrator run a command, and waits for it
# A wait ends in failure, said in .said, when the job has ended otherwise.
set -u
cd "$1" || exit
shift
options=("$@")
side=$(basename "$(dirname "$PWD")")
JOB=
exec 2>> .said
# To wait by `read`: a hundred drivers that wait by starting `sleep` keep a core busy.
exec {nothing}<> <(:)

pause() { read -rt "$1" -u "$nothing"; }

submit() {
    # One at a time: what is compared is not how many sbatch a machine with two cores can run.
    JOB=$(flock ../../.turn sbatch --parsable --cpus-per-task=1 --mem=50M --time=5 --output=out --error=err "${options[@]}" "$@") || exit
    echo "$JOB" >> .jobs
}

state() { squeue --noheader --states=all --format=%T --jobs="$1"; }

over() {
    case $(state "$1") in
        '' | COMPLETED* | FAILED* | CANCELLED* | TIMEOUT* | OUT_OF_MEMORY* | NODE_FAIL*) return 0 ;;
        *) return 1 ;;
    esac
}

when() {
    local looks=0
    until [ -e "$1" ]; do
        if (((looks = (looks + 1) % 50) == 0)) && over "$JOB" && [ ! -e "$1" ]; then
            echo "job $JOB ended without making $1"
            exit 1
        fi >&2
        pause 0.1
    done
}

is() {
    until [ "$(state "$1")" = "$2" ]; do
        if over "$1"; then echo "job $1 ended before it was $2" >&2; exit 1; fi
        pause 0.5
    done
}

because() { until [ "$(squeue --noheader --format=%r --jobs="$1")" = "$2" ]; do pause 0.5; done; }

ended() { until over "$1"; do pause 0.5; done; }

as_root() {
    echo "$*" > .request
    mv .request .as-root
    while [ -e .as-root ]; do pause 0.1; done
}

. ./.run
