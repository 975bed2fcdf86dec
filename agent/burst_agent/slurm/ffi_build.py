"""
Build ``burst_agent.slurm._libslurm``: controller.c, pick.c and a CFFI view of the records that they give.

::

    python -m burst_agent.slurm.ffi_build compile OUTDIR    compile with the C compiler into OUTDIR/burst_agent/slurm/
    python -m burst_agent.slurm.ffi_build emit FILE         write the C source only, for CMake to compile

The module is compiled against the site's slurm/slurm.h and linked with its libslurm, so it fits that Slurm alone.
CFFI checks each field below against the header at compile time; ``...`` stands for all the fields not named.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

from burst_agent.slurm.refusals import ERRORS

MODULE = "burst_agent.slurm._libslurm"
SOURCES = ("controller.c", "pick.c")
HERE = Path(__file__).parent

#: Names in slurm_errno.h of what means something to the agent.
CODES = ("SLURM_NO_CHANGE_IN_DATA", *(name for name in ERRORS if name.startswith(("SLURM", "ESLURM"))))

CDEF = """
typedef int... time_t;
typedef ... hostlist_t;

#define NO_VAL ...
#define INFINITE ...
#define JOB_STATE_BASE ...
#define JOB_COMPLETING ...
#define NODE_STATE_BASE ...
#define PART_FLAG_DEFAULT ...
#define SHOW_ALL ...
#define SHOW_DETAIL ...
#define SHOW_LOCAL ...
#define SHOW_MIXED ...

typedef struct {
    char *account;
    char *admin_comment;
    uint32_t array_job_id;
    uint32_t array_task_id;
    char *array_task_str;
    uint32_t array_max_tasks;
    uint16_t batch_flag;
    uint16_t cpus_per_task;
    char *dependency;
    time_t eligible_time;
    time_t end_time;
    char *exc_nodes;
    uint32_t exit_code;
    char *features;
    char *fed_origin_str;
    uint32_t gres_detail_cnt;
    char **gres_detail_str;
    char *gres_total;
    uint32_t group_id;
    uint32_t het_job_id;
    uint32_t job_state;
    char *licenses;
    uint32_t max_nodes;
    char *mem_per_tres;
    char *name;
    char *nodes;
    uint16_t ntasks_per_node;
    uint32_t num_cpus;
    uint32_t num_nodes;
    uint32_t num_tasks;
    char *partition;
    uint16_t pn_min_cpus;
    uint64_t pn_min_memory;
    uint32_t priority;
    char *qos;
    char *req_nodes;
    uint16_t requeue;
    uint16_t restart_cnt;
    char *resv_name;
    uint16_t shared;
    time_t start_time;
    uint32_t state_reason;
    time_t submit_time;
    uint32_t time_limit;
    char *tres_per_job;
    char *tres_per_node;
    char *tres_per_task;
    char *tres_req_str;
    char *tres_alloc_str;
    uint32_t user_id;
    char *user_name;
    char *work_dir;
    ...;
} slurm_job_info_t;

typedef struct {
    time_t last_update;
    uint32_t record_count;
    slurm_job_info_t *job_array;
    ...;
} job_info_msg_t;

typedef struct {
    char *name;
    uint32_t node_state;
    uint16_t cpus;
    uint16_t cpus_efctv;
    uint64_t real_memory;
    uint64_t mem_spec_limit;
    char *gres;
    char *gres_used;
    ...;
} node_info_t;

typedef struct {
    time_t last_update;
    uint32_t record_count;
    node_info_t *node_array;
    ...;
} node_info_msg_t;

typedef struct {
    char *name;
    char *nodes;
    uint32_t default_time;
    uint32_t max_time;
    uint32_t flags;
    ...;
} partition_info_t;

typedef struct {
    uint32_t record_count;
    partition_info_t *partition_array;
    ...;
} partition_info_msg_t;

typedef struct {
    uint16_t select_type_param;
    ...;
} slurm_conf_t;

typedef struct {
    uint16_t *cpus_per_node;
    uint32_t *cpu_count_reps;
    char *node_list;
    uint32_t num_cpu_groups;
    ...;
} resource_allocation_response_msg_t;

struct burst_node_use {
    uint16_t cpus;
    uint64_t memory_mib;
};

struct burst_change {
    uint32_t job_id;
    uint32_t task;
    const char *admin_comment;
    const char *partition;
    const char *req_nodes;
    const char *exc_nodes;
    uint32_t min_nodes;
    uint32_t max_nodes;
};

struct burst_unflagged {
    const char *partition;
    const char *account;
    const char *qos;
};

struct burst_wanted {
    const char *prefix;
    const char *partition;
    const struct burst_unflagged *also;
    uint32_t also_count;
};

struct burst_picked {
    slurm_job_info_t **jobs;
    uint32_t count;
    time_t last_update;
    ...;
};

struct burst_queue {
    uint32_t *priorities;
    uint32_t pending;
    uint32_t waiting;
    uint32_t started_lately;
    uint32_t started_in_hour;
};

void burst_init(const char *conf);
const char *burst_strerror(int code);
const char *burst_reason(const slurm_job_info_t *job);
uint32_t burst_job_id(const slurm_job_info_t *job);
int burst_load_job(uint32_t job_id, job_info_msg_t **msg);
int burst_load_allocation(uint32_t job_id, resource_allocation_response_msg_t **msg);
int burst_node_use(const node_info_t *node, struct burst_node_use *use);
int burst_update_job(const struct burst_change *change, char *text, size_t size);
int burst_requeue(uint32_t job_id);
int burst_kill(const char *id);
int burst_complete_out_of_memory(uint32_t job_id);
int burst_fail(uint32_t job_id);
int burst_pick_jobs(time_t since, const struct burst_wanted *wanted, struct burst_picked *picked);
int burst_queue(const struct burst_picked *picked, const char *partition, time_t now, struct burst_queue *queue);
void burst_queue_free(struct burst_queue *queue);
void burst_picked_free(struct burst_picked *picked);

void slurm_free_job_info_msg(job_info_msg_t *msg);
void slurm_free_resource_allocation_response_msg(resource_allocation_response_msg_t *msg);
int slurm_load_node(time_t since, node_info_msg_t **msg, uint16_t flags);
void slurm_free_node_info_msg(node_info_msg_t *msg);
int slurm_load_partitions(time_t since, partition_info_msg_t **msg, uint16_t flags);
void slurm_free_partition_info_msg(partition_info_msg_t *msg);
int slurm_load_ctl_conf(time_t since, slurm_conf_t **conf);
void slurm_free_ctl_conf(slurm_conf_t *conf);

hostlist_t *slurm_hostlist_create(const char *hosts);
char *slurm_hostlist_shift(hostlist_t *hosts);
void slurm_hostlist_destroy(hostlist_t *hosts);
void free(void *pointer);
"""


def builder() -> FFI:
    """Describe the module."""
    ffi = FFI()
    ffi.cdef(CDEF + "".join(f"#define {name} ...\n" for name in CODES))
    ffi.set_source(
        MODULE,
        '#include <stdlib.h>\n#include "pick.h"\n',
        sources=[str(HERE / name) for name in SOURCES],
        include_dirs=[str(HERE)],
        libraries=["slurm"],
    )
    return ffi


def main(arguments: list[str]) -> int:
    """Compile the module, or write its source."""
    match arguments:
        case ["compile", outdir]:
            builder().compile(tmpdir=outdir)
        case ["emit", file]:
            builder().emit_c_code(file)
        case _:
            sys.stderr.write(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
