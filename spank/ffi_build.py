"""
Build the plugin's own sources over a fake SPANK as a Python module, so that tests call every hook in-process.

    python spank/ffi_build.py OUTPUT_FOLDER [--sanitize]

Slurm's headers come from ``$SLURM_INCLUDE_DIR`` (default ``/usr/include``). The module is ``_spank_k8s_burst``.
"""

# ruff: noqa: INP001  # a script, not a module of a package
from __future__ import annotations

import argparse
import os
from pathlib import Path

from cffi import FFI

MODULE = "_spank_k8s_burst"
SOURCES = Path(__file__).resolve().parent
FAKE = SOURCES.parent / "tests" / "spank"

DECLARATIONS = """
enum spank_context { S_CTX_ERROR, S_CTX_LOCAL, S_CTX_REMOTE, S_CTX_ALLOCATOR, S_CTX_SLURMD, S_CTX_JOB_SCRIPT, ... };
enum { S_JOB_UID, S_JOB_ID, S_JOB_ENV, S_JOB_STEPID, S_TASK_GLOBAL_ID, ... };
enum { SLURM_BATCH_SCRIPT = ..., SLURM_EXTERN_CONT = ..., SLURM_INTERACTIVE_STEP = ..., SLURM_PENDING_STEP = ...,
       SLURM_MAX_NORMAL_STEP_ID = ... };
enum fake_phase { FAKE_INIT, FAKE_INIT_POST_OPT, FAKE_TASK_INIT, FAKE_EXIT, ... };

typedef int (spank_f) (struct spank_handle *spank, int argc, char **argv);
int slurm_spank_init (struct spank_handle *spank, int argc, char **argv);
int slurm_spank_init_post_opt (struct spank_handle *spank, int argc, char **argv);
int slurm_spank_task_init (struct spank_handle *spank, int argc, char **argv);
int slurm_spank_exit (struct spank_handle *spank, int argc, char **argv);

void fake_reset (enum spank_context context);
void fake_job (uint32_t job_id, uint32_t step_id, uint32_t uid, uint32_t rank);
void fake_lose_item (int item);
void fake_step_env (const char *name, const char *value);
const char *fake_step_value (const char *name);
void fake_refuse (bool refused);
void fake_oci (bool read);
int fake_call (spank_f *hook, enum fake_phase phase, int argc, char **argv);
int fake_option (const char *name, const char *value, int remote);
void fake_export_options (void);
int fake_registered (const char *name);
int fake_has_arg (const char *name);
const char *fake_job_control (const char *name);
const char *fake_log (void);
int fake_argc (void);
const char *fake_arg (int index);

const char *burst_command_signals (const char *preset, const char *const *words, size_t count, char *text, size_t size);

char *getenv (const char *name);
int setenv (const char *name, const char *value, int overwrite);
int unsetenv (const char *name);
"""

INCLUDES = """
#include <stdlib.h>
#include <slurm/slurm.h>
#include "command.h"
#include "fake_spank.h"
"""

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def build(output: Path, *, sanitize: bool) -> None:
    """
    Compile the module into a folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    flags = SANITIZERS if sanitize else []
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    ffi.set_source(
        MODULE,
        INCLUDES,
        sources=[*map(str, sorted(SOURCES.glob("*.c"))), str(FAKE / "fake_spank.c")],
        include_dirs=[str(SOURCES), str(FAKE), os.environ.get("SLURM_INCLUDE_DIR", "/usr/include")],
        define_macros=[("_POSIX_C_SOURCE", "200809L"), ("_DEFAULT_SOURCE", None)],
        extra_compile_args=["-std=c11", "-g", "-O1", *flags],
        extra_link_args=flags,
    )
    ffi.compile(tmpdir=str(output))


def main() -> None:
    """
    Read the command line and build.
    """
    parser = argparse.ArgumentParser(description="Build the plugin over a fake SPANK as a Python module.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--sanitize", action="store_true")
    arguments = parser.parse_args()
    build(arguments.output.resolve(), sanitize=arguments.sanitize)


if __name__ == "__main__":
    main()
