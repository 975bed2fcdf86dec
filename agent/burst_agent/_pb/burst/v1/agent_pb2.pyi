from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BurstMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BURST_MODE_UNSPECIFIED: _ClassVar[BurstMode]
    BURST_MODE_AUTO: _ClassVar[BurstMode]
    BURST_MODE_NOW: _ClassVar[BurstMode]
    BURST_MODE_NEVER: _ClassVar[BurstMode]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_WILL_BURST: _ClassVar[Verdict]
    VERDICT_WILL_NOT_BURST: _ClassVar[Verdict]
BURST_MODE_UNSPECIFIED: BurstMode
BURST_MODE_AUTO: BurstMode
BURST_MODE_NOW: BurstMode
BURST_MODE_NEVER: BurstMode
VERDICT_UNSPECIFIED: Verdict
VERDICT_WILL_BURST: Verdict
VERDICT_WILL_NOT_BURST: Verdict

class Submission(_message.Message):
    __slots__ = ("cluster", "mode", "image", "command_line", "max_cost", "directives", "only_asks", "expected_start", "utc_offset_s", "work_dir")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_LINE_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    DIRECTIVES_FIELD_NUMBER: _ClassVar[int]
    ONLY_ASKS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_START_FIELD_NUMBER: _ClassVar[int]
    UTC_OFFSET_S_FIELD_NUMBER: _ClassVar[int]
    WORK_DIR_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    mode: BurstMode
    image: str
    command_line: _containers.RepeatedScalarFieldContainer[str]
    max_cost: str
    directives: _containers.RepeatedScalarFieldContainer[str]
    only_asks: bool
    expected_start: int
    utc_offset_s: int
    work_dir: str
    def __init__(self, cluster: _Optional[str] = ..., mode: _Optional[_Union[BurstMode, str]] = ..., image: _Optional[str] = ..., command_line: _Optional[_Iterable[str]] = ..., max_cost: _Optional[str] = ..., directives: _Optional[_Iterable[str]] = ..., only_asks: _Optional[bool] = ..., expected_start: _Optional[int] = ..., utc_offset_s: _Optional[int] = ..., work_dir: _Optional[str] = ...) -> None: ...

class AnnounceRequest(_message.Message):
    __slots__ = ("munge_credential", "submission")
    MUNGE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    munge_credential: str
    submission: bytes
    def __init__(self, munge_credential: _Optional[str] = ..., submission: _Optional[bytes] = ...) -> None: ...

class AnnounceResponse(_message.Message):
    __slots__ = ("verdict", "message", "reasons")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    message: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., message: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("munge_credential", "job_id")
    MUNGE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    munge_credential: str
    job_id: int
    def __init__(self, munge_credential: _Optional[str] = ..., job_id: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("job", "reasons")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    job: JobStatus
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[_Union[JobStatus, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class MineRequest(_message.Message):
    __slots__ = ("munge_credential",)
    MUNGE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    munge_credential: str
    def __init__(self, munge_credential: _Optional[str] = ...) -> None: ...

class MineResponse(_message.Message):
    __slots__ = ("jobs", "caps", "accounts", "currency", "unknown", "problems")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    CAPS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[JobStatus]
    caps: _containers.RepeatedCompositeFieldContainer[Cap]
    accounts: _containers.RepeatedCompositeFieldContainer[Spending]
    currency: str
    unknown: str
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, jobs: _Optional[_Iterable[_Union[JobStatus, _Mapping]]] = ..., caps: _Optional[_Iterable[_Union[Cap, _Mapping]]] = ..., accounts: _Optional[_Iterable[_Union[Spending, _Mapping]]] = ..., currency: _Optional[str] = ..., unknown: _Optional[str] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("job_id", "node_name", "uid")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    node_name: str
    uid: int
    def __init__(self, job_id: _Optional[int] = ..., node_name: _Optional[str] = ..., uid: _Optional[int] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("ready", "pending", "lost")
    READY_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    ready: PodEndpoint
    pending: Pending
    lost: Lost
    def __init__(self, ready: _Optional[_Union[PodEndpoint, _Mapping]] = ..., pending: _Optional[_Union[Pending, _Mapping]] = ..., lost: _Optional[_Union[Lost, _Mapping]] = ...) -> None: ...

class PodEndpoint(_message.Message):
    __slots__ = ("api_server", "certificate_authority_pem", "tls_server_name", "namespace", "pod", "pod_uid", "container", "command", "token", "gpu_indices", "partition")
    API_SERVER_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_AUTHORITY_PEM_FIELD_NUMBER: _ClassVar[int]
    TLS_SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    GPU_INDICES_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    api_server: str
    certificate_authority_pem: bytes
    tls_server_name: str
    namespace: str
    pod: str
    pod_uid: str
    container: str
    command: _containers.RepeatedScalarFieldContainer[str]
    token: str
    gpu_indices: _containers.RepeatedScalarFieldContainer[int]
    partition: str
    def __init__(self, api_server: _Optional[str] = ..., certificate_authority_pem: _Optional[bytes] = ..., tls_server_name: _Optional[str] = ..., namespace: _Optional[str] = ..., pod: _Optional[str] = ..., pod_uid: _Optional[str] = ..., container: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., token: _Optional[str] = ..., gpu_indices: _Optional[_Iterable[int]] = ..., partition: _Optional[str] = ...) -> None: ...

class Pending(_message.Message):
    __slots__ = ("message", "retry_after_ms")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    message: str
    retry_after_ms: int
    def __init__(self, message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Lost(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("job_id", "node_name", "uid", "task", "out_of_memory")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_MEMORY_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    node_name: str
    uid: int
    task: str
    out_of_memory: bool
    def __init__(self, job_id: _Optional[int] = ..., node_name: _Optional[str] = ..., uid: _Optional[int] = ..., task: _Optional[str] = ..., out_of_memory: _Optional[bool] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("uid", "without_usage")
    UID_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_USAGE_FIELD_NUMBER: _ClassVar[int]
    uid: int
    without_usage: bool
    def __init__(self, uid: _Optional[int] = ..., without_usage: _Optional[bool] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("jobs", "usage", "usage_error", "problems", "currency")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_ERROR_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[JobStatus]
    usage: _containers.RepeatedCompositeFieldContainer[JobUsage]
    usage_error: str
    problems: _containers.RepeatedScalarFieldContainer[str]
    currency: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[JobStatus, _Mapping]]] = ..., usage: _Optional[_Iterable[_Union[JobUsage, _Mapping]]] = ..., usage_error: _Optional[str] = ..., problems: _Optional[_Iterable[str]] = ..., currency: _Optional[str] = ...) -> None: ...

class JobStatus(_message.Message):
    __slots__ = ("job_id", "uid", "job_state", "partition", "burst_state", "reason", "pods", "target", "since", "cost_so_far", "cost_to_come")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    JOB_STATE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    BURST_STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    COST_SO_FAR_FIELD_NUMBER: _ClassVar[int]
    COST_TO_COME_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    uid: int
    job_state: str
    partition: str
    burst_state: str
    reason: str
    pods: _containers.RepeatedCompositeFieldContainer[PodStatus]
    target: str
    since: int
    cost_so_far: float
    cost_to_come: float
    def __init__(self, job_id: _Optional[int] = ..., uid: _Optional[int] = ..., job_state: _Optional[str] = ..., partition: _Optional[str] = ..., burst_state: _Optional[str] = ..., reason: _Optional[str] = ..., pods: _Optional[_Iterable[_Union[PodStatus, _Mapping]]] = ..., target: _Optional[str] = ..., since: _Optional[int] = ..., cost_so_far: _Optional[float] = ..., cost_to_come: _Optional[float] = ...) -> None: ...

class PodStatus(_message.Message):
    __slots__ = ("namespace", "name", "node_name", "phase")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_NAME_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    node_name: str
    phase: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., node_name: _Optional[str] = ..., phase: _Optional[str] = ...) -> None: ...

class JobUsage(_message.Message):
    __slots__ = ("job_id", "user", "account", "job_state", "elapsed_s", "gpus", "gpu_hours")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    JOB_STATE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    GPU_HOURS_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    user: str
    account: str
    job_state: str
    elapsed_s: int
    gpus: int
    gpu_hours: float
    def __init__(self, job_id: _Optional[int] = ..., user: _Optional[str] = ..., account: _Optional[str] = ..., job_state: _Optional[str] = ..., elapsed_s: _Optional[int] = ..., gpus: _Optional[int] = ..., gpu_hours: _Optional[float] = ...) -> None: ...

class BudgetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BudgetResponse(_message.Message):
    __slots__ = ("caps", "accounts", "currency", "unknown", "gpu_hours_spent", "gpu_hours_committed", "pod_start_median_s", "pod_start_p80_s")
    CAPS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    GPU_HOURS_SPENT_FIELD_NUMBER: _ClassVar[int]
    GPU_HOURS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    POD_START_MEDIAN_S_FIELD_NUMBER: _ClassVar[int]
    POD_START_P80_S_FIELD_NUMBER: _ClassVar[int]
    caps: _containers.RepeatedCompositeFieldContainer[Cap]
    accounts: _containers.RepeatedCompositeFieldContainer[Spending]
    currency: str
    unknown: str
    gpu_hours_spent: float
    gpu_hours_committed: float
    pod_start_median_s: float
    pod_start_p80_s: float
    def __init__(self, caps: _Optional[_Iterable[_Union[Cap, _Mapping]]] = ..., accounts: _Optional[_Iterable[_Union[Spending, _Mapping]]] = ..., currency: _Optional[str] = ..., unknown: _Optional[str] = ..., gpu_hours_spent: _Optional[float] = ..., gpu_hours_committed: _Optional[float] = ..., pod_start_median_s: _Optional[float] = ..., pod_start_p80_s: _Optional[float] = ...) -> None: ...

class Cap(_message.Message):
    __slots__ = ("what", "spent", "committed", "cap", "unit", "setting")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CAP_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SETTING_FIELD_NUMBER: _ClassVar[int]
    what: str
    spent: float
    committed: float
    cap: float
    unit: str
    setting: str
    def __init__(self, what: _Optional[str] = ..., spent: _Optional[float] = ..., committed: _Optional[float] = ..., cap: _Optional[float] = ..., unit: _Optional[str] = ..., setting: _Optional[str] = ...) -> None: ...

class Spending(_message.Message):
    __slots__ = ("account", "spent", "committed")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    account: str
    spent: float
    committed: float
    def __init__(self, account: _Optional[str] = ..., spent: _Optional[float] = ..., committed: _Optional[float] = ...) -> None: ...

class TargetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TargetsResponse(_message.Message):
    __slots__ = ("targets", "currency")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[TargetStatus]
    currency: str
    def __init__(self, targets: _Optional[_Iterable[_Union[TargetStatus, _Mapping]]] = ..., currency: _Optional[str] = ...) -> None: ...

class TargetStatus(_message.Message):
    __slots__ = ("name", "state", "why", "pauses", "pods", "gpus", "preference", "spot", "cpu_hour", "pod_hour", "gpu_hour", "pod_start_p80_s")
    class GpuHourEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    PAUSES_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    SPOT_FIELD_NUMBER: _ClassVar[int]
    CPU_HOUR_FIELD_NUMBER: _ClassVar[int]
    POD_HOUR_FIELD_NUMBER: _ClassVar[int]
    GPU_HOUR_FIELD_NUMBER: _ClassVar[int]
    POD_START_P80_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    why: str
    pauses: _containers.RepeatedCompositeFieldContainer[TargetPause]
    pods: int
    gpus: int
    preference: float
    spot: bool
    cpu_hour: float
    pod_hour: float
    gpu_hour: _containers.ScalarMap[str, float]
    pod_start_p80_s: float
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., why: _Optional[str] = ..., pauses: _Optional[_Iterable[_Union[TargetPause, _Mapping]]] = ..., pods: _Optional[int] = ..., gpus: _Optional[int] = ..., preference: _Optional[float] = ..., spot: _Optional[bool] = ..., cpu_hour: _Optional[float] = ..., pod_hour: _Optional[float] = ..., gpu_hour: _Optional[_Mapping[str, float]] = ..., pod_start_p80_s: _Optional[float] = ...) -> None: ...

class TargetPause(_message.Message):
    __slots__ = ("shape", "why", "until", "failures")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    shape: str
    why: str
    until: int
    failures: int
    def __init__(self, shape: _Optional[str] = ..., why: _Optional[str] = ..., until: _Optional[int] = ..., failures: _Optional[int] = ...) -> None: ...
