"""
A site's history, read and replayed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from burst_agent import cli, sacct, simulate
from burst_agent.errors import BadRequest
from burst_agent.model import BurstMode, JobUsage, Tres
from burst_agent.policy import Desk, Terms, books
from burst_agent.sacct import History
from burst_agent.settings import parse_policy, parse_trial
from burst_agent.target_file import Target
from hypothesis import given, settings
from hypothesis import strategies as st

from .test_policy import TYPED as PRICES
from .test_policy import make_terms

HEAD = "JobID|User|Account|Partition|Submit|Eligible|Start|End|Timelimit|ReqTRES|AllocTRES|Priority|AdminComment"
BASE = int(datetime(2026, 3, 2, 8, tzinfo=UTC).timestamp())
SMALL = "wait_s = 60\nmin_gain = '5 min'\npod_start = '1 min'\ntime_zone = 'UTC'\n"


def line(
    number: int, submit: int, start: int, end: int, *, user: str = "alice", account: str = "physics", comment: str = ""
) -> str:
    """One job of one hour's limit with one A100; times are seconds after a Monday's morning."""
    times = "|".join(datetime.fromtimestamp(BASE + s).isoformat() for s in (submit, submit, start, end))
    tres = "cpu=4,mem=8G,node=1,gres/gpu=1,gres/gpu:a100=1"
    return f"{number}|{user}|{account}|gpu|{times}|01:00:00|{tres}|{tres}|5|{comment}"


def read(*lines: str) -> History:
    """Parse a history."""
    return sacct.parse([HEAD, *lines])


def test_what_sacct_prints() -> None:
    """A job as it was submitted; steps, and jobs that never ran or still run, are left out."""
    history = read(
        line(7, 0, 100, 1900),
        line(7, 0, 100, 1900).replace("7|", "7.batch|", 1),
        line(8, 0, 100, 200).replace(datetime.fromtimestamp(BASE + 200).isoformat(), "Unknown"),
    )
    (ran,) = history.ran
    assert (ran.start - ran.job.submit_time, ran.end - ran.start) == (100, 1800)
    assert ran.job.requested == Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1)
    assert (ran.job.gpu_type, ran.job.time_limit_min, ran.job.priority) == ("a100", 60, 5)
    assert (history.left_out, history.broken) == (1, 0)


def test_broken_lines_are_counted_and_named() -> None:
    """They end nothing."""
    history = read(
        line(1, 0, 100, 200),
        "2|alice|physics",
        line(3, 100, 50, 200),
        line(4, 0, 100, 200).replace("01:00:00", "soon"),
        "",
    )
    assert (len(history.ran), history.broken) == (1, 3)
    assert [text.split(":")[0] for text in history.named] == ["line 3", "line 4", "line 5"]
    assert "job 3: it ends before it starts, or starts before it was submitted" in history.named[1]


@pytest.mark.parametrize(
    ("was", "became", "said"),
    [
        ("mem=8G", "mem=", "mem= is no amount of memory"),
        ("mem=8G", "mem=infG", "mem=infG is no amount of memory"),
        ("node=1", "node=99999999", "99999999 is out of range"),
        ("cpu=4", "cpu=-4", "-4 is out of range"),
        ("01:00:00", "00:00:00", "time limit 00:00:00: no job has run with that"),
        ("01:00:00", "99999999999-0", "time limit 99999999999-0"),
        ("|5|", "|-5|", "-5 is out of range"),
        ("7|alice", "7x+0|alice", "invalid literal"),
        (datetime.fromtimestamp(BASE).isoformat(), "0001-01-01T00:00:00", "out of range"),
    ],
)
def test_what_no_job_can_have(was: str, became: str, said: str) -> None:
    """Is a broken line as well."""
    history = read(line(7, 0, 100, 1900).replace(was, became, 1 if "7x" in became else -1))
    assert (len(history.ran), history.broken) == (0, 1)
    assert said in history.named[0]


WORDS = st.sampled_from(
    ["", "0", "-1", "7", "7+1", "7_2", "7.0", "+", "Unknown", "None", "UNLIMITED", "Partition_Limit", "1-0", "00:00:00",
     "::", "cpu=1,mem=,node=1", "mem=infG", "mem=G", "mem=1e9G", "gres/gpu=1,gres/gpu:a=b", "gres/gpu:=2", "cpu=", "=",
     "1772438400", "1772442000", "99999999999999999999", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "root",
     "2026-10-25T02:30:00", "2026-10-25T02:30:00+01:00", "k8s-burst=now pod-start=" + "9" * 400, "k8s-burst=auto",
     "k8s-burst=now max-cost=x restart=9999999999999", "k8s-burst="]
)  # fmt: skip


@settings(max_examples=50)
@given(st.lists(st.lists(WORDS | st.text(max_size=9), max_size=14), max_size=6))
def test_no_line_ends_a_replay(lines: list[list[str]]) -> None:
    """Whatever it holds: as a whole, or in one cell of a good one."""
    good = line(1, 0, 7200, 9000).split("|")
    cells = [[*good[:at], word, *good[at + 1 :]] for words in lines for at, word in enumerate(words)]
    known = read(*("|".join(words) for words in (*lines, *cells)))
    asked = len(known.ran) + known.left_out + known.broken
    assert asked <= len(lines) + len(cells)
    starts = simulate.pod_starts(known.ran)
    terms = make_terms(f"max_cost_per_month = 9\n{PRICES}")
    assert simulate.replay(known.ran, terms, BurstMode.NOW, starts=starts).total.jobs == len(known.ran)


def test_times_as_seconds() -> None:
    """As sacct prints them with SLURM_TIME_FORMAT=%s: the hour that clocks show twice is no riddle."""
    began = int(datetime(2026, 10, 25, 0, 50, tzinfo=UTC).timestamp())
    job = line(1, 0, 100, 1900)
    for at, seconds in ((0, began), (100, began + 600), (1900, began + 1200)):
        job = job.replace(datetime.fromtimestamp(BASE + at).isoformat(), str(seconds))
    (ran,) = read(job).ran
    assert (ran.job.submit_time, ran.start, ran.end) == (began, began + 600, began + 1200)


def test_a_separator_in_the_last_column() -> None:
    """Belongs to it; of --parsable's lines, which end with one, it does not."""
    assert read(line(1, 0, 1, 2, comment="a|b")).ran[0].job.admin_comment == "a|b"
    (ran,) = sacct.parse([f"{HEAD}|\n", f"{line(1, 0, 1, 2, comment='a')}|\n"]).ran
    assert ran.job.admin_comment == "a"


def test_columns_that_are_missing() -> None:
    """Named, with a command that prints them."""
    with pytest.raises(BadRequest, match=r"missing: User, .*AllocTRES or ReqTRES.*sacct -a -X -P"):
        sacct.parse(["JobID|Account", "1|x"])


ROOM = "max_pods = 99\nmax_gpus = 99\nmax_pods_per_user = 99\nmax_gpus_per_user = 99\n"


def replay(history: History, more: str, assumed: BurstMode = BurstMode.AUTO) -> simulate.Outcome:
    """Replay under a policy with room for all, and more TOML."""
    small = SMALL.replace("time_zone = 'UTC'\n", "") if "time_zone" in more else SMALL
    policy = parse_policy(f"[policy]\n{small}{ROOM}{more}", source="p.toml")
    return simulate.replay(history.ran, Terms(policy, targets=(Target(name="default"),), unlimited_s=86400), assumed)


TWO = f"""
[policy]
{SMALL}{ROOM}
[policy.prices.near]
gpu_hour = {{ "*" = 4 }}
[policy.prices.far]
gpu_hour = {{ "*" = 1 }}
[[targets]]
name = "near"
preference = 1
max_pods = 1
idle_share = 0.5
[[targets]]
name = "far"
staging = "10 min"
[targets.pods]
image = "{{image}}"
"""


def replay_at_two(history: History, more: str = "", starts: Sequence[simulate.Sample] = ()) -> simulate.Outcome:
    """Replay with two targets, and more TOML of the last one."""
    trial = parse_trial(TWO.replace("[targets.pods]", f"{more}\n[targets.pods]"), source="p.toml")
    terms = Terms(trial.policy, targets=trial.targets, unlimited_s=86400)
    return simulate.replay(history.ran, terms, BurstMode.NOW, starts=starts)


def test_a_long_wait_becomes_a_short_one() -> None:
    """It bursts after wait_s and starts when a pod would; one that started soon stays. What it used costs."""
    history = read(line(1, 0, 7200, 7200 + 1800), line(2, 0, 200, 300, account="chem"))
    outcome = replay(history, PRICES)
    assert outcome.total.burst == 1
    assert sorted(outcome.waits_s) == [60 + 60, 200]
    assert outcome.by_account["physics"].cost == pytest.approx((3 + 0.4 + 0.6) / 2)
    assert outcome.by_account["chem"].cost == 0
    assert outcome.total.gpu_hours == pytest.approx(0.5)
    assert outcome.reasons == {"is expected to start here soon enough": 1}
    as_it_was = simulate.unchanged(history.ran)
    assert sorted(as_it_was.waits_s) == [200, 7200]


def test_what_the_first_target_has_no_room_for_goes_to_the_next() -> None:
    """At its prices, later by its staging; and back to the first once that has room again."""
    history = read(
        line(1, 0, 20_000, 21_800), line(2, 60, 20_000, 21_800), line(3, 3600, 20_000, 21_800, account="chem")
    )
    outcome = replay_at_two(history)
    assert {name: (one.burst, one.gpu_hours, one.cost) for name, one in outcome.by_target.items()} == {
        "near": (2, 1.0, 4.0),
        "far": (1, 0.5, 0.5),
    }
    assert outcome.starts == {
        2: (BASE + 60, True),
        3: (BASE + 60 + 660, True),
        4: (BASE + 3660, True),
    }
    assert outcome.by_account["chem"].cost == pytest.approx(2)
    assert outcome.total.cost == pytest.approx(4.5)
    assert (outcome.total.burst, sum(one.burst for one in outcome.by_target.values())) == (3, 3)


def test_a_target_takes_what_its_shapes_hold() -> None:
    """A job that is too large for the one waits for the other."""
    history = read(line(1, 0, 20_000, 21_800), line(2, 60, 20_000, 21_800))
    outcome = replay_at_two(history, "[[targets.shapes]]\ncpus = 2\nmemory_mib = 99999\ngpus = 8")
    assert {name: one.burst for name, one in outcome.by_target.items()} == {"near": 2}
    assert max(outcome.waits_s) > 1800


def test_a_target_with_a_rule_of_its_own() -> None:
    """Rules choose targets as in the agent."""
    rule = "[[policy.rules]]\nname = 'chem'\naccount = 'chem'\ntargets = ['far']\n"
    outcome = replay_at_two(read(line(1, 0, 20_000, 21_800, account="chem")), rule)
    assert {name: one.burst for name, one in outcome.by_target.items()} == {"far": 1}


def test_how_long_pods_took_at_each_target() -> None:
    """As the agent noted it with the jobs of the history; elsewhere as the policy assumes."""
    slow = "k8s-burst=now state=running target=near pod-start=300"
    history = read(line(1, 0, 20_000, 21_800, comment=slow))
    starts = simulate.pod_starts(history.ran)
    assert starts == [("near", "", 300.0)]
    assert replay_at_two(history, starts=starts).starts == {2: (BASE + 300, True)}
    assert replay_at_two(history, starts=[*starts, ("far", "", 7.0)]).starts == {2: (BASE + 300, True)}


def test_who_bursts() -> None:
    """By assumption, by a rule's flag, by the marker that the job had; never where its user said so."""
    history = read(line(1, 0, 7200, 7300), line(2, 0, 7200, 7300, comment="k8s-burst=now state=local"))
    assert replay(history, "", BurstMode.NEVER).total.burst == 1
    flag = "[[policy.rules]]\nname = 'f'\npartition = 'gpu'\nflag = 'auto'\n"
    assert replay(history, flag, BurstMode.NEVER).total.burst == 2
    assert replay(read(line(1, 0, 7200, 7300, comment="k8s-burst=never")), "").total.burst == 0


def test_a_cap_lets_the_next_one_in_when_a_pod_ends() -> None:
    """In the queue's order."""
    history = read(*(line(number, number, 50_000, 51_000) for number in range(1, 4)))
    assert replay(history, "").total.burst == 3
    terms = make_terms("")  # two pods of a user
    limited = simulate.replay(history.ran, terms, BurstMode.AUTO)
    assert limited.total.burst == 3
    assert max(limited.waits_s) > 1000


def test_a_new_day_has_new_hours() -> None:
    """What waits for a daily cap goes on at midnight, if it has not started here by then."""
    history = read(line(1, 0, 90_000, 91_800), line(2, 10, 90_000, 91_800))
    outcome = replay(history, "max_gpu_hours_per_day = 1\n")
    assert outcome.total.burst == 2
    midnight = 16 * 3600
    assert max(outcome.waits_s) == pytest.approx(midnight - 10 + 120, abs=130)


def test_what_the_agent_refuses_stays_here() -> None:
    """Components of heterogeneous jobs, features, also those with a separator in them, licences, root's jobs."""
    head = HEAD.replace("AdminComment", "Licenses|Constraints|AdminComment")
    one = line(1, 0, 7200, 9000)
    jobs = [
        one.replace("1|", "123+1|", 1),
        one[:-1] + "||knl|hsw|k8s-burst=now",
        one[:-1] + "|matlab:1||",
        one.replace("alice", "root"),
    ]
    known = sacct.parse([head, *(job if job.count("|") > 13 else f"{job}||" for job in jobs)])
    assert known.broken == 0
    outcome = replay(known, "", BurstMode.NOW)
    assert outcome.total.burst == 0
    words = ("components of heterogeneous jobs", "asks for features knl", "asks for licences matlab:1", "jobs of root")
    assert [any(reason.startswith(word) for reason in outcome.reasons) for word in words] == [True] * 4


def test_a_rule_says_why_a_reservation_stays_here() -> None:
    """As in the agent."""
    head = HEAD.replace("AdminComment", "Reservation|AdminComment")
    rule = "[[policy.rules]]\nname = 'r'\nreservation = 'lab'\ndeny = 'the lab is full'\n"
    outcome = replay(sacct.parse([head, f"{line(1, 0, 7200, 9000)}lab|"]), rule)
    assert outcome.reasons == {"the lab is full": 1}


MIDNIGHT = 16 * 3600


@pytest.mark.parametrize(
    ("day", "more"),
    [(0, "max_gpu_hours_per_day = 1.6\n"), (29, "max_gpu_hours_per_month = 1.6\n"), (29, "max_cost_per_month = 6.1\n")],
)
def test_what_a_job_used_before_midnight(day: int, more: str) -> None:
    """Counts for the day and the month before, also where it ends in the next one: the second job fits into its own."""
    night = MIDNIGHT + day * 86400
    two = (line(number, at, at + 80_000, at + 83_600) for number, at in enumerate((night - 1860, night + 2400), 1))
    outcome = replay(read(*two), more + PRICES, BurstMode.NOW)
    assert (outcome.total.burst, outcome.total.gpu_hours) == (2, 2.0)
    assert max(outcome.waits_s) < 200


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3 * 86400), st.integers(0, 9000), st.integers(0, 9000)), max_size=30))
def test_the_simulator_books_as_the_agent_does(jobs: list[tuple[int, int, int]]) -> None:
    """At any moment; the end of a month is among them."""

    class Audited(simulate._Replay):
        ended: ClassVar[list[JobUsage]] = []

        def _settle(self, now: float) -> set[int]:
            for one in self._running:
                if one.end <= now:
                    usage = JobUsage(
                        one.job_id, "", one.claim.account, "COMPLETED", round(one.end - one.start), one.claim.gpus,
                        start=round(one.start), cpus=4, nodes=1, gpu_type="a100",
                    )  # fmt: skip
                    self.ended.append(usage)
            freed = super()._settle(now)
            agents, mine = books(self.ended, self._terms.policy, self._terms.tariff, now), self._budget.books
            assert mine.gpu_hours_day == pytest.approx(agents.gpu_hours_day)
            assert mine.gpu_hours_month == pytest.approx(agents.gpu_hours_month)
            assert mine.cost == pytest.approx(agents.cost)
            return freed

    late = [(submit + 29 * 86400, wait, run) for submit, wait, run in jobs]
    Audited.ended.clear()
    Audited(make_terms(PRICES), BurstMode.NOW, 60, ()).run(history_of(late).ran)


@pytest.mark.parametrize(("day", "hours"), [("2026-10-25", 25), ("2026-03-29", 23), ("2026-07-01", 24)])
def test_a_day_may_have_25_hours(day: str, hours: int) -> None:
    """What waits for a daily cap goes on at the next midnight that clocks show."""
    begins = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp() - BASE
    two = (line(number, int(begins) + number, int(begins) + 100_000, int(begins) + 100_100) for number in (1, 2))
    outcome = replay(read(*two), "time_zone = 'Europe/Berlin'\nmax_gpu_hours_per_day = 1\n", BurstMode.NOW)
    assert outcome.total.burst == 2
    assert outcome.starts[3][0] - BASE - begins == pytest.approx(hours * 3600 + 60, abs=61)


def test_the_clock_may_tick_faster() -> None:
    """Where seconds matter, each job's start is told by the second, and where it was."""
    history = read(line(1, 7, 500, 600), line(2, 11, 12, 600))
    terms = make_terms("pod_start = '3 s'\n")
    fine = simulate.replay(history.ran, terms, BurstMode.NOW, slot_s=1)
    assert fine.starts == {2: (BASE + 7 + 3, True), 3: (BASE + 12, False)}
    coarse = simulate.replay(history.ran, terms, BurstMode.NOW)
    assert coarse.starts[2] == (BASE + 60 + 3, True)


JOBS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 20_000), st.integers(1, 9000)), max_size=30)


def history_of(jobs: Sequence[tuple[int, int, int]]) -> History:
    """Jobs of three users, given as seconds until they were submitted, waited and ran."""
    return read(
        *(
            line(number, submit, submit + wait, submit + wait + min(run, 3600), user=f"u{number % 3}")
            for number, (submit, wait, run) in enumerate(jobs, 1)
        )
    )


@settings(max_examples=40)
@given(JOBS, st.sampled_from(["", "max_gpu_hours_per_day = 2\n", "max_cost_per_month = 4\n" + PRICES]))
def test_a_job_that_is_not_asked_about_again_would_get_no_pods(jobs: list[tuple[int, int, int]], more: str) -> None:
    """The desk says so of each, if asked: for the cap, or because it is expected to start here soon."""
    quick = simulate._Replay._is_held

    def asked_all_the_same(self: Any, waiting: Any, now: float) -> bool:
        if not quick(self, waiting, now):
            return False
        desk = Desk(
            self._terms.policy, book=self._terms.book, tariff=self._terms.tariff, market=self._market,
            budget=self._budget, rooms=self._rooms, now=now,
        )  # fmt: skip
        assert not desk.decide(waiting.ran.job, waiting.comment).nodes
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate._Replay, "_is_held", asked_all_the_same)
        simulate.replay(history_of(jobs).ran, make_terms(more), BurstMode.AUTO)


def test_a_job_that_several_caps_hold_goes_when_the_last_one_frees() -> None:
    """First that of its user; when that is free, that of all users, because a job before it took the room."""
    history = read(
        line(1, 0, 50_000, 50_600, user="ann"),
        line(2, 100, 50_000, 51_200, user="bob"),
        line(3, 10, 50_000, 50_300, user="ann"),
        line(4, 300, 50_000, 60_000, user="eve").replace("|5|", "|9|"),
    )
    caps = "max_pods = 2\nmax_pods_per_user = 1\nmax_gpus = 9\nmax_gpus_per_user = 9\n"
    policy = parse_policy(f"[policy]\n{SMALL}{caps}", source="p.toml")
    terms = Terms(policy, targets=(Target(name="default"),), unlimited_s=86400)
    starts = simulate.replay(history.ran, terms, BurstMode.NOW).starts
    assert {job_id: (start - BASE, burst) for job_id, (start, burst) in starts.items()} == {
        2: (60, True),
        3: (180, True),
        4: (1500, True),
        5: (780, True),
    }


@settings(max_examples=40)
@given(JOBS, st.sampled_from(["", "max_cost_per_month = 4\n" + PRICES, "max_gpu_hours_per_day = 2\n"]))
def test_every_job_is_counted_once_and_none_waits_longer(jobs: list[tuple[int, int, int]], more: str) -> None:
    """Whatever the history; and money stays within its cap."""
    history = history_of(jobs)
    outcome = simulate.replay(history.ran, make_terms(more), BurstMode.AUTO)
    assert outcome.total.jobs == len(jobs)
    assert sum(outcome.reasons.values()) + outcome.total.burst == len(jobs)
    assert outcome.total.waited_s <= simulate.unchanged(history.ran).total.waited_s
    if "max_cost" in more:
        assert outcome.total.cost <= 4 + 1e-9


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two policies side by side, as tables, as a picture, and for programs."""
    (tmp_path / "h").write_text("\n".join([HEAD, line(1, 0, 7200, 9000), "broken"]))
    (tmp_path / "old.toml").write_text("[policy]\nmax_pods = 0\n")
    (tmp_path / "new.toml").write_text(f"[policy]\n{SMALL}{PRICES}")
    words = ["simulate", "--policy", str(tmp_path / "new.toml"), "--old", str(tmp_path / "old.toml")]
    words += ["--from", str(tmp_path / "h"), "--svg", str(tmp_path / "p.svg")]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "1 jobs, 0 that never ran or still run, 1 broken lines\n  line 3: 1 columns, not 13" in said
    assert "jobs that burst    0        0     1\n" in said
    assert "money, EUR         0.00     0.00  2.00\n" in said
    assert "1     asks for more pods of all users than allowed" in said
    picture = ET.parse(tmp_path / "p.svg")
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}polyline")) == 6
    assert cli.main([*words, "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["outcomes"]["new"]["total"]["burst"] == 1
    assert known["broken_lines"] == ["line 3: 1 columns, not 13"]
    assert cli.main(["simulate", "--policy", str(tmp_path / "new.toml"), "--from", str(tmp_path / "none")]) == 2
    assert cli.main([*words, "--svg", str(tmp_path / "none" / "p.svg")]) == 2
    told = capsys.readouterr()
    assert "jobs that burst" in told.out
    assert f"--svg {tmp_path}/none/p.svg: can't be written" in told.err


def test_the_command_with_several_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of the file, those named, and how long pods take at each; mistakes are named."""
    (tmp_path / "h").write_text("\n".join([HEAD, line(1, 0, 20_000, 21_800), line(2, 60, 20_000, 21_800)]))
    (tmp_path / "new.toml").write_text(TWO)
    words = ["simulate", "--policy", str(tmp_path / "new.toml"), "--from", str(tmp_path / "h"), "--assume", "now"]

    def at(*more: str) -> dict[str, tuple[int, float]]:
        assert cli.main([*words, "--json", *more]) == 0
        found = json.loads(capsys.readouterr().out)["outcomes"]["new"]["by_target"]
        return {name: (one["burst"], one["waited_s"]) for name, one in found.items()}

    assert at() == {"near": (1, 60), "far": (1, 660)}
    assert at("--pod-start", "far=90s", "--pod-start", "near=2min") == {"near": (1, 120), "far": (1, 690)}
    assert at("--target", "far") == {"far": (2, 1320)}
    assert cli.main(words) == 0
    assert (
        "\nTARGET  POLICY  JOBS  WAIT    GPU-H  EUR\nfar     new     1     11 min  0.5    0.50\n"
        in capsys.readouterr().out
    )
    for wrong, said in (
        (("--target", "moon"), "no target is called moon; there are near, far"),
        (("--pod-start", "moon=1s"), "--pod-start moon: no target is called so; there are far, near"),
    ):
        assert cli.main([*words, *wrong]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*words, "--pod-start", "90s"])
    assert "name a target and a time, such as cloud=90s" in capsys.readouterr().err


def test_a_policy_alone_has_the_targets_of_its_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cheaper one is chosen."""
    (tmp_path / "h").write_text("\n".join([HEAD, line(1, 0, 7200, 9000)]))
    prices = "[policy.prices.dear]\ngpu_hour = { '*' = 9 }\n[policy.prices.cheap]\ngpu_hour = { '*' = 1 }\n"
    (tmp_path / "new.toml").write_text(f"[policy]\n{SMALL}{prices}")
    assert cli.main(["simulate", "--policy", str(tmp_path / "new.toml"), "--from", str(tmp_path / "h"), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["outcomes"]["new"]["by_target"]) == ["cheap"]
