"""
The [policy] section of the settings: rules, caps, prices. Checked wholly, frozen; burst_agent.policy applies it.

A file that holds nothing but [policy] is what ``burstctl policy check`` and ``burstctl simulate`` take as well.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from burst_agent.amounts import parse_duration

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: Stands for all names that a table does not list.
OTHERS = "*"

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")


class Section(BaseModel):
    """
    A table of the settings: unknown keys are errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        msg = "must be a number with its unit in quotes, such as '90 s', '10 min', '2 h' or '1 d'"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError into its own
    return parse_duration(value)


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


#: A duration with its unit, held in seconds.
Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
#: One shell pattern or several.
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_names)]


def _check_ends(low: float | None, high: float | None) -> None:
    if low is None and high is None:
        msg = "needs min, max or both"
        raise ValueError(msg)
    if low is not None and high is not None and low > high:
        msg = "min must not be above max"
        raise ValueError(msg)


class Span(Section):
    """
    From ``min`` to ``max``, both included; one may be left out.
    """

    min: Count | None = Field(None, description="At least.")
    max: Count | None = Field(None, description="At most.")

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        _check_ends(self.min, self.max)
        return self


class TimeSpan(Section):
    """
    As :class:`Span`, of durations; a job without time limit is above every ``max``.
    """

    min: Duration | None = Field(None, description="At least.")
    max: Duration | None = Field(None, description="At most.")

    @model_validator(mode="after")
    def _ordered(self) -> TimeSpan:
        _check_ends(self.min, self.max)
        return self


class Rule(Section):
    """
    One [[policy.rules]]: what jobs it is for, and what it does to them. Of all rules the first that fits a job wins.

    Names are shell patterns (``phys*``). What is left out fits every job.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,40}$", description="What answers call the rule: letters, digits, '.', '_', '-'."
    )
    account: Names = Field((), description="Slurm accounts.")
    qos: Names = Field((), description="QOS.")
    user: Names = Field((), description="User names.")
    partition: Names = Field((), description="Partitions that the job asks for; one of them is enough.")
    reservation: Names = Field(
        (), description="Reservations; a job in none fits no pattern. Jobs with one never burst: deny says why."
    )
    gpu_type: Names = Field((), description="Types of GPU (gpu:TYPE:2); a job that names none fits no pattern.")
    nodes: Span | None = Field(None, description="Nodes of the job.")
    cpus: Span | None = Field(None, description="CPUs of the whole job.")
    gpus: Span | None = Field(None, description="GPUs of the whole job.")
    time_limit: TimeSpan | None = Field(None, description="Time limit of the job.")
    hours: str = Field("", description="Time of day, HH:MM-HH:MM; over midnight where the second is the earlier.")
    weekdays: tuple[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], ...] = Field(
        (), description="Days of the week."
    )
    deny: str = Field("", max_length=200, description="They don't burst; this is the reason that users read.")
    min_gain: Duration | None = Field(None, description="In place of policy.min_gain.")
    max_wait: Duration | None = Field(None, description="In place of policy.max_wait.")
    targets: Names = Field((), description="They go to these targets only, by their names.")
    flag: Literal["auto", "now"] | None = Field(
        None, description="They burst in this mode although their users did not say so; --k8s-burst=never opts out."
    )

    @field_validator("hours")
    @classmethod
    def _is_a_span(cls, value: str) -> str:
        match = _HOURS.fullmatch(value)
        if value and (match is None or (match[3] == "24" and match[4] != "00")):
            msg = "must be HH:MM-HH:MM, such as 22:00-06:00"
            raise ValueError(msg)
        return value

    @field_validator("deny")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        return " ".join(value.split())

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        gains = self.min_gain is not None or self.max_wait is not None
        if not self.deny and not gains and not self.targets and self.flag is None:
            msg = f"rule {self.name} does nothing: it needs deny, min_gain, max_wait, targets or flag"
            raise ValueError(msg)
        if self.deny and (gains or self.targets or self.flag is not None):
            msg = f"rule {self.name}: deny goes with no other effect"
            raise ValueError(msg)
        if self.flag is not None and not (self.account or self.qos or self.partition):
            msg = f"rule {self.name}: flag needs account, qos or partition: nobody's every job is to be looked at"
            raise ValueError(msg)
        return self


def _with_others(value: dict[str, float]) -> dict[str, float]:
    if value and OTHERS not in value:
        msg = f'needs "{OTHERS}" too, for those that it does not name'
        raise ValueError(msg)
    return value


class Prices(Section):
    """
    One [policy.prices.TARGET]: what an hour costs there, in policy.currency.
    """

    gpu_hour: dict[str, Money] = Field(
        {}, description='Of one GPU, by type; "*" for all other types. A job that names no type counts at the dearest.'
    )
    cpu_hour: Money = Field(0.0, description="Of one CPU.")
    pod_hour: Money = Field(0.0, description="Of one pod, whatever its size.")

    _others = field_validator("gpu_hour")(_with_others)


class Policy(Section):
    """
    When a job bursts, and how much may.
    """

    wait_s: float = Field(
        60.0,
        ge=0,
        description="Seconds that a job with --k8s-burst=auto waits for a local node: the scheduler has tried by then.",
    )
    min_gain: Duration = Field(
        300.0, description="A job bursts when it is expected to start so much earlier: below, a pod is not worth it."
    )
    max_wait: Duration = Field(
        3600.0, description="It bursts after so long whatever is expected: predictions that always move are no help."
    )
    pod_start: Duration = Field(
        60.0, description="How long a pod takes to start, until some have been measured: a pull of a usual image."
    )
    rules: tuple[Rule, ...] = Field((), description="[[policy.rules]], the first that fits a job wins.")
    max_pods: Count = Field(64, description="Pods of all users.")
    max_gpus: Count = Field(64, description="GPUs of all users' pods.")
    max_pods_per_user: Count = Field(16, description="Pods of one user.")
    max_gpus_per_user: Count = Field(16, description="GPUs of one user's pods.")
    max_gpu_hours_per_day: Money | None = Field(
        None, description="GPU-hours of all jobs in one day; left out: no limit."
    )
    max_gpu_hours_per_month: Money | None = Field(None, description="The same in one calendar month.")
    max_cost_per_month: Money | None = Field(None, description="Money for all jobs in one calendar month.")
    max_cost_per_account_per_month: dict[str, Money] = Field(
        {}, description='The same for each account, by its name; "*": for each account not named.'
    )
    currency: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="Of all prices and of --k8s-burst-max-cost.")
    prices: dict[str, Prices] = Field({}, description="[policy.prices.TARGET], by the name of a target.")
    time_zone: str = Field("", description="Where days, months and hours are counted; empty: this host's time zone.")
    provision_timeout_s: Seconds = Field(
        900.0, description="Seconds from a pod's creation until it must run: a node's boot and a large image's pull."
    )
    start_timeout_s: Seconds = Field(
        60.0, description="Seconds from a job's move until slurmctld must have started it: some scheduling cycles."
    )
    backoff_min_s: Seconds = Field(30.0, description="Seconds until the next try after a first failure.")
    backoff_max_s: Seconds = Field(
        1800.0, description="Seconds until the next try after many failures; they double up to it."
    )

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            if value:
                ZoneInfo(value)
        except (KeyError, ValueError, OSError) as e:
            msg = "is no time zone; write for example Europe/Berlin or UTC"
            raise ValueError(msg) from e
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Policy:
        if self.backoff_max_s < self.backoff_min_s:
            msg = "backoff_max_s must not be below backoff_min_s"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _distinct_rules(self) -> Policy:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            msg = f"rules: two are called {twice}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _has_prices_for_its_caps(self) -> Policy:
        if self.caps_money and not self.prices:
            msg = "a cap on money needs prices: [policy.prices.TARGET], with a target's name"
            raise ValueError(msg)
        return self

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone; ``None``: this host's."""
        return ZoneInfo(self.time_zone) if self.time_zone else None

    @property
    def caps_money(self) -> bool:
        """Whether money is limited."""
        return self.max_cost_per_month is not None or bool(self.max_cost_per_account_per_month)

    @property
    def caps_gpu_hours(self) -> bool:
        """Whether GPU-hours are limited."""
        return self.max_gpu_hours_per_day is not None or self.max_gpu_hours_per_month is not None

    def account_cap(self, account: str) -> float | None:
        """Give the money that an account may spend in a month; ``None``: no limit."""
        caps = self.max_cost_per_account_per_month
        return caps.get(account, caps.get(OTHERS))


def sentence(error: dict[str, Any]) -> str:
    """Write one of pydantic's errors as a sentence that names the setting, what it is, and what it may be."""
    where = ""
    for part in error["loc"]:
        where += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if where else str(part)
    kind, message, value = error["type"], str(error["msg"]), error["input"]
    if kind == "missing":
        return f"{where} is missing and has no default"
    if kind == "extra_forbidden":
        return f"{where} is no setting; look for a spelling mistake"
    allowed = message.removeprefix("Value error, ")
    if isinstance(value, (dict, list)):
        return f"{where}: {allowed}"
    return f"{where} = {value!r}: {allowed[0].lower()}{allowed[1:]}"


_TABLE = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_ARRAY = re.compile(r"^\s*\[\[\s*([^\[\]]+?)\s*\]\]\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of(text: str, where: tuple[str | int, ...]) -> int:
    """
    Find the line of a setting in TOML that is written a key a line; the line of the nearest table around it otherwise.
    """
    best, best_line = -1, 1
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        path: tuple[str | int, ...]
        if match := _ARRAY.match(line):
            name = _within(_parts(match[1]), counts)
            counts[name] = counts.get(name, -1) + 1
            table = path = (*name, counts[name])
        elif match := _TABLE.match(line):
            table = path = _within(_parts(match[1]), counts)
        elif match := _KEY.match(line):
            path = (*table, *_parts(match[1]))
        else:
            continue
        if path == where[: len(path)] and len(path) > best:
            best, best_line = len(path), number
    return best_line


def _within(name: tuple[str | int, ...], counts: dict[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    """Say in which elements of arrays a table lies: the last ones so far."""
    found: tuple[str | int, ...] = ()
    for part in name[:-1]:
        found = (*found, part)
        found = (*found, counts[found]) if found in counts else found
    return (*found, *name[-1:])


def _parts(key: str) -> tuple[str | int, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split("."))
