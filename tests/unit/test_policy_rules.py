"""
Which rule a job falls under.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from burst_agent import settings
from burst_agent.errors import SettingsError
from burst_agent.model import Tres
from burst_agent.policy import RuleBook, warnings
from burst_agent.policy_file import Policy

from .fakes import make_job

#: A Saturday, at 23:30.
NIGHT = datetime(2026, 1, 3, 23, 30, tzinfo=UTC).timestamp()


def policy(*rules: str) -> Policy:
    """A policy with these rules, each given as the lines after its name."""
    tables = [f"[[policy.rules]]\nname = 'r{index}'\n{rule}\n" for index, rule in enumerate(rules, 1)]
    return settings.parse_policy("[policy]\ntime_zone = 'UTC'\n" + "".join(tables), source="p.toml")


@pytest.mark.parametrize(
    ("match", "misfit"),
    [
        ("account = 'phys*'", ""),
        ("account = ['chem', 'physics']", ""),
        ("account = 'phys'", "account physics is not phys"),
        ("qos = 'long'", "qos normal is not long"),
        ("user = 'alice'", ""),
        ("partition = 'cpu'", ""),
        ("partition = 'c'", "partition gpu,cpu is not c"),
        ("reservation = '*'", "reservation (none) is not *"),
        ("gpu_type = ['a100', 'h*']", ""),
        ("gpu_type = 'v100'", "gpu_type h200 is not v100"),
        ("nodes = { max = 1 }", ""),
        ("gpus = { min = 2 }", "1 gpus, not at least 2"),
        ("cpus = { min = 2, max = 3 }", "4 cpus, not 2 to 3"),
        ("time_limit = { max = '1h' }", ""),
        ("time_limit = { max = '59 min' }", "time limit 1 h, not at most 59 min"),
        ("time_limit = { min = '2 h' }", "time limit 1 h, not at least 2 h"),
        ("hours = '22:00-06:00'", ""),
        ("hours = '06:00-22:00'", "it is 23:30, not 06:00-22:00"),
        ("hours = '23:00-24:00'", ""),
        ("weekdays = ['Sat', 'Sun']", ""),
        ("weekdays = ['Mon']", "today is Sat, not Mon"),
    ],
)
def test_what_a_rule_looks_at(match: str, misfit: str) -> None:
    """Every key, with the words that explain it; several are all to fit."""
    job = make_job(partition="gpu,cpu", gpu_type="h200")
    book = RuleBook(policy(f"{match}\ndeny = 'no'"))
    assert (book.first(job, NIGHT) is None) is bool(misfit)
    assert book.look(job, NIGHT) == ((f"rule r1 does not fit: {misfit}",) if misfit else ("rule r1 fits: denies (no)",))
    if not match.startswith("user"):
        assert RuleBook(policy(f"{match}\nuser = 'bob'\ndeny = 'no'")).first(job, NIGHT) is None


BERLIN = "time_zone = 'Europe/Berlin'\n"


@pytest.mark.parametrize(
    ("when", "hours", "fits"),
    [
        # Clocks go from 02:00 to 03:00: that hour does not come, and the night is an hour shorter.
        ("2026-03-29T00:59:59", "02:00-03:00", False),
        ("2026-03-29T01:00:00", "02:00-03:00", False),
        ("2026-03-29T00:59:59", "01:00-02:00", True),
        ("2026-03-29T01:00:00", "03:00-04:00", True),
        ("2026-03-29T03:59:59", "22:00-06:00", True),
        ("2026-03-29T04:00:00", "22:00-06:00", False),
        # Clocks go from 03:00 back to 02:00: that hour comes twice.
        ("2026-10-25T00:00:00", "02:00-03:00", True),
        ("2026-10-25T01:59:59", "02:00-03:00", True),
        ("2026-10-25T02:00:00", "02:00-03:00", False),
        ("2026-10-25T04:59:59", "22:00-06:00", True),
        ("2026-10-25T05:00:00", "22:00-06:00", False),
        # Midnight, from both sides; 24:00 is the day's end.
        ("2026-06-01T21:59:59", "22:00-24:00", True),
        ("2026-06-01T22:00:00", "22:00-24:00", False),
        ("2026-06-01T22:00:00", "00:00-01:00", True),
        ("2026-06-01T22:00:00", "22:00-00:00", False),
        ("2026-06-01T10:00:00", "08:00-08:00", True),
    ],
)
def test_the_clock_on_the_wall(when: str, hours: str, fits: bool) -> None:
    """Hours are the site's own, on days of 23 and 25 hours too; ``when`` is UTC."""
    rule = f"[[policy.rules]]\nname = 'r1'\nhours = '{hours}'\ndeny = 'no'\n"
    book = RuleBook(settings.parse_policy(f"[policy]\n{BERLIN}{rule}", source="p.toml"))
    now = datetime.fromisoformat(f"{when}+00:00").timestamp()
    assert (book.first(make_job(), now) is not None) is fits
    assert ("does not fit" in book.look(make_job(), now)[0]) is not fits


@pytest.mark.parametrize(
    ("hours", "fits"),
    [("03:00", False), ("21:59", False), ("22:00", True), ("23:59", True)],
)
def test_a_night_belongs_to_its_evening(hours: str, fits: bool) -> None:
    """Friday's night goes on until Saturday's morning; Friday's own morning was Thursday's night."""
    book = RuleBook(policy("hours = '22:00-06:00'\nweekdays = ['Fri']\ndeny = 'no'"))
    friday = datetime.fromisoformat(f"2026-01-02T{hours}+00:00").timestamp()
    assert (book.first(make_job(), friday) is not None) is fits
    saturday = datetime(2026, 1, 3, 5, 59, tzinfo=UTC).timestamp()
    assert book.first(make_job(), saturday) is not None
    assert book.first(make_job(), saturday + 60) is None
    assert book.look(make_job(), saturday + 60) == ("rule r1 does not fit: today is Sat, not Fri",)
    thursday = datetime(2026, 1, 2, 1, tzinfo=UTC).timestamp()
    assert book.look(make_job(), thursday) == ("rule r1 does not fit: this is Thu's night, not Fri",)


def test_a_reservation_has_rules_of_its_own() -> None:
    """By pattern; a job in none fits none."""
    book = RuleBook(policy("reservation = ['maint*', 'course-?']\ndeny = 'no'"))
    for name, fits in (("maint-2026", True), ("course-7", True), ("course-77", False), ("", False)):
        assert (book.first(make_job(reservation=name), NIGHT) is not None) is fits


def test_a_job_without_limit_is_above_every_max() -> None:
    """It may run for ever."""
    job = make_job(time_limit_min=None)
    assert RuleBook(policy("time_limit = { max = '30 d' }\ndeny = 'no'")).first(job, NIGHT) is None
    assert RuleBook(policy("time_limit = { min = '30 d' }\ndeny = 'no'")).first(job, NIGHT)


def test_the_first_that_fits_wins() -> None:
    """What comes later is not looked at."""
    book = RuleBook(policy("user = 'bob'\ndeny = 'no'", "max_wait = '1 h'", "deny = 'never'"))
    assert book.look(make_job(), NIGHT) == (
        "rule r1 does not fit: user alice is not bob",
        "rule r2 fits: max_wait 1 h",
    )
    assert RuleBook(policy()).look(make_job(), NIGHT) == ("the site has no rules",)


def test_the_quick_answer_is_the_one_that_is_explained() -> None:
    """Whatever was asked before, and at whatever time."""
    book = RuleBook(
        policy(
            "account = 'phys*'\ngpus = { min = 2 }\nhours = '22:00-06:00'\ndeny = 'no'",
            "qos = 'long'\nnodes = { max = 1 }\nmax_wait = '1 h'",
            "account = ['chem', 'physics']\ntime_limit = { max = '1 h' }\nmin_gain = '1 h'",
            "cpus = { min = 8 }\nweekdays = ['Sat']\ndeny = 'never'",
        )
    )
    found = set()
    for moment in (NIGHT, NIGHT + 12 * 3600):
        for account, qos, gpus, cpus, limit in itertools.product(
            ("physics", "chem", "bio"), ("long", "normal"), (0, 2), (4, 8), (60, None)
        ):
            job = make_job(account=account, qos=qos, requested=Tres(cpus, 100, 1, gpus), time_limit_min=limit)
            first, told = book.first(job, moment), book.look(job, moment)[-1]
            assert told.startswith(f"rule {first.name} fits" if first else "rule r4 does not fit"), (job, told)
            found.add(first.name if first else "")
    assert found == {"", "r1", "r2", "r3", "r4"}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (("account = 'a*'\ndeny = 'x'", "account = ['ab', 'ac']\ngpus = { min = 1 }\ndeny = 'y'"), "r2 never wins"),
        (("deny = 'x'", "user = 'bob'\nmin_gain = '1 h'"), "r2 never wins"),
        (("cpus = { max = 8 }\ndeny = 'x'", "cpus = { max = 4 }\ndeny = 'y'"), "r2 never wins"),
        (("cpus = { max = 8 }\ndeny = 'x'", "cpus = { min = 4 }\nmin_gain = '1 h'"), "r1 and r2 overlap"),
        (("account = 'a'\ndeny = 'x'", "account = 'a*'\nmin_gain = '1 h'"), ""),  # from narrow to wide: as one should
        (("account = 'a'\ndeny = 'x'", "account = 'b'\nmin_gain = '1 h'"), ""),
        (("account = 'a'\ndeny = 'x'", "gpus = { min = 1 }\nmin_gain = '1 h'"), ""),
        (("account = 'a'\nhours = '00:00-12:00'\ndeny = 'x'", "account = 'a'\nmin_gain = '1 h'"), ""),
        (("weekdays = ['Sat']\ndeny = 'x'", "weekdays = ['Sat']\ndeny = 'y'"), "r2 never wins"),
        (("hours = '20:00-08:00'\ndeny = 'x'", "hours = '23:00-02:00'\ndeny = 'y'"), "r2 never wins"),
        (("hours = '00:00-24:00'\ndeny = 'x'", "hours = '23:00-02:00'\ndeny = 'y'"), "r2 never wins"),
        (("hours = '23:00-02:00'\ndeny = 'x'", "hours = '01:59-08:00'\nmin_gain = '1 h'"), "r1 and r2 overlap"),
        (("hours = '23:00-02:00'\ndeny = 'x'", "hours = '02:00-23:00'\nmin_gain = '1 h'"), ""),
        (("reservation = 'm*'\ndeny = 'x'", "reservation = 'maint'\ndeny = 'y'"), "r2 never wins"),
        (("reservation = 'maint'\nflag = 'auto'\naccount = 'a'",), "rule r1 has no effect: jobs with a reservation"),
    ],
)
def test_rules_that_get_in_each_others_way(rules: tuple[str, ...], said: str) -> None:
    """One that never wins, and two that overlap, are told."""
    found = warnings(policy(*rules))
    assert (said in found[0].text and len(found) == 1) if said else found == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "[[policy.rules]]\nname = 'r'\ntargets = ['near', 'fra']\n",
            "rule r: no target is called fra; there are near, far",
        ),
        (
            "[[policy.rules]]\nname = 'r'\ntargets = ['f?ar']\n",
            "called f?ar, so jobs that fit it never burst; there are",
        ),
        ("[[policy.rules]]\nname = 'r'\ntargets = ['n*', 'far']\n", ""),
        ("[policy.prices.near]\ncpu_hour = 1\n", "target far has no prices: what runs there costs nothing, and no cap"),
        ("[policy.prices.near]\ncpu_hour = 1\n[policy.prices.far]\n", ""),
    ],
)
def test_targets_that_there_are_not_and_prices_that_are_missing(more: str, said: str) -> None:
    """Are told where the targets are known."""
    known = settings.parse_trial(f"[policy]\n{more}[[targets]]\nname = 'near'\n[[targets]]\nname = 'far'\n", source="p")
    found = warnings(known.policy, known.targets)
    assert (said in found[0].text and len(found) == 1) if said else found == []
    assert warnings(known.policy) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[policy]\n\nmin_gain = 300", "p.toml:3: policy.min_gain = 300: must be a number with its unit in quotes"),
        ("[policy]\nmin_gain = '5 m'", "p.toml:2: policy.min_gain = '5 m': 'm' is no unit: write for example '90 s'"),
        ("[policy]\nmin_gain = '-5 s'", "p.toml:2: policy.min_gain = '-5 s': a number and its unit are needed"),
        (
            "[policy]\n[policy.prices.x]\ncpu_hour = -1",
            "p.toml:3: policy.prices.x.cpu_hour = -1: input should be greater than or equal to 0",
        ),
        (
            "[policy.prices.x]\ngpu_hour = { '*' = 1, a100 = -0.5 }",
            "p.toml:2: policy.prices.x.gpu_hour.a100 = -0.5: input should be greater than or equal to 0",
        ),
        (
            "[policy.prices.x]\npod_hour = nan",
            "p.toml:2: policy.prices.x.pod_hour = nan: input should be a finite number",
        ),
        ("[policy]\nmax_cost_per_month = -1", "p.toml:2: policy.max_cost_per_month = -1"),
        ("[policy]\nmax_wait = '3 w'", "p.toml:2: policy.max_wait = '3 w': 'w' is no unit"),
        ("[policy.prices.x]\ngpu_hour = { a100 = 1 }", 'p.toml:2: policy.prices.x.gpu_hour: needs "*" too'),
        ("[policy]\nmax_cost_per_month = 5", "a cap on money needs prices"),
        ("[policy]\ncurrency = 'euro'", "policy.currency = 'euro': string should match"),
        ("[policy]\ntime_zone = 'Mars'", "policy.time_zone = 'Mars': is no time zone"),
        (
            "[[policy.rules]]\nname='a'\ndeny='x'\n[[policy.rules]]\nname='b'\nqso='x'\ndeny='x'",
            "p.toml:6: policy.rules",
        ),
        ("[[policy.rules]]\nname = 'a'\nhours = '9-17'\ndeny = 'x'", "must be HH:MM-HH:MM"),
        ("[[policy.rules]]\nname = 'a'\nweekdays = ['Caturday']\ndeny = 'x'", "should be 'Mon', 'Tue'"),
        ("[[policy.rules]]\nname = 'a'\ncpus = { min = 4, max = 2 }\ndeny = 'x'", "min must not be above max"),
        (
            "[[policy.rules]]\nname = 'a'\naccount = 'x'",
            "rule a does nothing: it needs deny, min_gain, max_wait, targets or flag",
        ),
        ("[[policy.rules]]\nname = 'a'\ndeny = 'x'\nflag = 'auto'", "deny goes with no other effect"),
        ("[[policy.rules]]\nname = 'a'\nflag = 'auto'", "flag needs account, qos or partition"),
        ("[[policy.rules]]\nname='a'\ndeny='x'\n[[policy.rules]]\nname='a'\ndeny='x'", "two are called a"),
        ("[slurm]\n", "policy is missing"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    """File, line, field, value, and what is allowed."""
    with pytest.raises(SettingsError) as caught:
        settings.parse_policy(text, source="p.toml")
    assert said in str(caught.value)


def test_sizes_are_of_the_whole_job() -> None:
    """All nodes together."""
    job = make_job(min_nodes=4, requested=Tres(cpus=64, nodes=4, gpus=16))
    book = RuleBook(policy("nodes = { min = 4 }\ncpus = { min = 64 }\ngpus = { min = 16 }\ndeny = 'no'"))
    assert book.first(job, NIGHT)
