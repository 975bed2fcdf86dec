"""
The two options: what users may type, what is refused, and what job_submit.lua sees.
"""

from __future__ import annotations

import pytest
from _spank_k8s_burst import lib

from tests.images import REFUSED, TAKEN
from tests.spank.program import COST, GATEWAY, IMAGE, LOGIN, MODE, Plugin


@pytest.fixture(params=["sbatch", "srun"])
def plugin(request: pytest.FixtureRequest) -> Plugin:
    """A submitting program on a gateway, where nothing is announced."""
    plugin = Plugin(request.param, *GATEWAY)
    assert plugin.init() == 0
    return plugin


@pytest.mark.parametrize("program", ["sbatch", "srun", "slurmstepd"])
@pytest.mark.parametrize("line", [LOGIN, GATEWAY])
def test_registered_wherever_an_option_may_arrive(program: str, line: tuple[str, ...]) -> None:
    """Each option is registered once: the mode with an optional value, the image with a required one."""
    assert Plugin(program).init(*line) == 0
    assert (lib.fake_registered(b"k8s-burst"), lib.fake_has_arg(b"k8s-burst")) == (1, 2)
    assert (lib.fake_registered(b"k8s-burst-image"), lib.fake_has_arg(b"k8s-burst-image")) == (1, 1)


def test_registered_even_with_a_wrong_line() -> None:
    """A script with #SBATCH --k8s-burst is not refused for an administrator's typing error."""
    plugin = Plugin("sbatch")
    plugin.init("role=login", "agnt=gateway:6821")
    assert plugin.option("k8s-burst") == 0


def test_registered_once_for_two_lines() -> None:
    """On a host with both roles Slurm would complain, at every sbatch, of an option provided twice."""
    plugin = Plugin("sbatch")
    assert plugin.init(*LOGIN) == 0
    assert plugin.init(*GATEWAY) == 0
    assert lib.fake_registered(b"k8s-burst") == 1


def test_not_registered_in_slurmd() -> None:
    """slurmd has no options."""
    assert Plugin("slurmd").init(*GATEWAY) == 0
    assert lib.fake_registered(b"k8s-burst") == 0


def test_refused_registration_is_said() -> None:
    """Slurm's refusal of an option is said and fails nothing."""
    plugin = Plugin("sbatch")
    lib.fake_refuse(True)
    assert plugin.init(*LOGIN) == 0
    assert [line.split(": ")[2] for line in plugin.log] == [
        "can't register --k8s-burst",
        "can't register --k8s-burst-image",
        "can't register --k8s-burst-max-cost",
    ]


@pytest.mark.parametrize(
    ("typed", "seen"),
    [(None, "auto"), ("", "auto"), ("(null)", "auto"), ("auto", "auto"), ("now", "now"), ("never", "never")],
)
def test_mode_is_published_in_one_spelling(plugin: Plugin, typed: str | None, seen: str) -> None:
    """job_submit.lua finds auto, now or never in both environments, whichever way the option was typed."""
    assert plugin.option("k8s-burst", typed) == 0
    assert plugin.post_opt() == 0
    assert (plugin.environment(MODE), plugin.job_control(MODE)) == (seen, seen)
    assert plugin.log == []


@pytest.mark.parametrize("typed", ["sometimes", "AUTO", "auto ", "autonow", "never\n", "0", "now" * 100])
def test_unknown_mode_is_refused(plugin: Plugin, typed: str) -> None:
    """The user learns what was given and what is allowed."""
    assert plugin.option("k8s-burst", typed) == -1
    said = "\n".join(plugin.log)
    assert f"--k8s-burst={typed[:64]} is not known: use auto, now or never" in said


def test_later_option_wins(plugin: Plugin) -> None:
    """The command line overrides #SBATCH and the environment, which Slurm hands over first."""
    assert plugin.option("k8s-burst", "now") == 0
    assert plugin.option("k8s-burst", "never") == 0
    plugin.post_opt()
    assert plugin.job_control(MODE) == "never"


def test_refused_mode_changes_nothing(plugin: Plugin) -> None:
    """After a refusal the earlier value stands."""
    plugin.option("k8s-burst", "now")
    plugin.option("k8s-burst", "bad")
    plugin.post_opt()
    assert plugin.job_control(MODE) == "now"


@pytest.mark.parametrize("image", TAKEN)
def test_image_is_taken(plugin: Plugin, image: str) -> None:
    """Enroot's notation passes as it is."""
    assert plugin.option("k8s-burst-image", image) == 0
    plugin.option("k8s-burst")
    plugin.post_opt()
    assert plugin.job_control(IMAGE) == image


@pytest.mark.parametrize("amount", ["0", "2.50", "123456789.123456789"])
def test_max_cost_is_taken(plugin: Plugin, amount: str) -> None:
    """An amount of money in the site's currency, in digits."""
    assert plugin.option("k8s-burst-max-cost", amount) == 0
    plugin.option("k8s-burst")
    plugin.post_opt()
    assert plugin.job_control(COST) == amount


@pytest.mark.parametrize("amount", ["", ".5", "2.", "-1", "1e3", "2,50", "1 2", "nan", "1234567890", "1.0123456789"])
def test_max_cost_that_is_none_is_refused(plugin: Plugin, amount: str) -> None:
    """Everything else, with an example."""
    assert plugin.option("k8s-burst-max-cost", amount) == -1


@pytest.mark.parametrize("image", REFUSED)
def test_image_that_is_none_is_refused(plugin: Plugin, image: str) -> None:
    """Also what would break the line in admin_comment. The user reads what was given, and the notation."""
    assert plugin.option("k8s-burst-image", image) == -1
    said = "\n".join(plugin.log)
    assert f"--k8s-burst-image={image[:64]}".split("\n")[0] in said
    assert "use [REGISTRY#]IMAGE[:TAG], without USER@" in said


@pytest.mark.parametrize("line", [LOGIN, GATEWAY])
@pytest.mark.parametrize("value", [None, "", "(null)", "nonsense"])
def test_slurmstepd_does_not_look_at_the_value(line: tuple[str, ...], value: str | None) -> None:
    """An option that comes along to a node is accepted there, whatever it says."""
    plugin = Plugin("slurmstepd", *line)
    plugin.job()
    plugin.init()
    assert plugin.option("k8s-burst", value, remote=True) == 0
    assert plugin.post_opt() == 0
    assert plugin.log == []


def test_unpublished_mode_is_said_and_fails_nothing(plugin: Plugin) -> None:
    """If Slurm does not take the spelling, its own remains, which job_submit.lua understands as well."""
    plugin.option("k8s-burst")
    lib.fake_refuse(True)
    assert plugin.post_opt() == 0
    assert plugin.job_control(MODE) == "(null)"
    assert "can't put --k8s-burst=auto into the job's environment" in plugin.log[0]


def test_no_option_leaves_no_trace(plugin: Plugin) -> None:
    """Without --k8s-burst nothing is written and nothing is said."""
    assert plugin.post_opt() == 0
    assert (plugin.environment(MODE), plugin.job_control(MODE), plugin.log) == (None, None, [])
