"""
The burst marker and the burst partition's door, in every Lua that slurmctld may link.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images import REFUSED, TAKEN
from tests.lua.interpreter import INTERPRETERS, REPORT, SLURM_CONF, literal, prelude

MODE = "_SLURM_SPANK_OPTION_k8s_burst_k8s_burst"
IMAGE = f"{MODE}_image"
COST = f"{MODE}_max_cost"
ALICE = 2001
ROOT = 0
NO_VAL = 0xFFFFFFFE
NO_VAL16 = 0xFFFE
INFINITE = 0xFFFFFFFF
#: Numbers that a change of a job may have, of 32 bits each.
NUMBERS = ("min_nodes", "max_nodes", "min_cpus", "max_cpus", "num_tasks")
ACCESS_DENIED = 2002
NOT_SUPPORTED = 2073
PARTITIONS = {"gpu": {"flag_default": 1}, "cpu": {"flag_default": 0}}

Told = list[tuple[str, str]]


class JobSubmit:
    """
    slurmctld with the module, set up as a site would.
    """

    def __init__(self, run: Callable[[str], str]) -> None:
        self.run = run
        self.settings: dict[str, object] = {}

    def _call(self, call: str, fields: dict[str, object]) -> Told:
        script = (
            prelude()
            + 'local burst = require "k8s_burst"\n'
            + f"burst.setup({literal(self.settings)})\n"
            + f"job = job_desc({literal(fields)})\n"
            + f"rc = {call}\n"
        )
        pairs = (line.partition("=") for line in self.run(script + REPORT).splitlines())
        return [(key, value) for key, _, value in pairs]

    def submit(self, *, uid: int = ALICE, partitions: object = PARTITIONS, **fields: object) -> Told:
        """Submit a batch job, unless script=None; the answer is what slurmctld and the user are told."""
        fields = {"script": "#!/bin/sh", "user_id": uid, **fields}
        return self._call(f"burst.job_submit(job, {literal(partitions)}, {uid})", fields)

    def modify(self, record: dict[str, object], *, uid: int = ALICE, **fields: object) -> Told:
        """Update a job with this record."""
        return self._call(f"burst.job_modify(job, job_rec({literal(record)}), {{}}, {uid})", fields)


@pytest.fixture(params=INTERPRETERS)
def slurmctld(request: pytest.FixtureRequest) -> JobSubmit:
    """slurmctld with each Lua."""
    return JobSubmit(INTERPRETERS[request.param])


def passed(comment: str | None = None) -> Told:
    """The job passes, with this marker; that of a job that may burst has the node count, which slurmctld may choose."""
    marker = comment or ""
    if marker.startswith("k8s-burst=") and not marker.startswith("k8s-burst=never") and "nodes=" not in marker:
        comment = f"{marker} nodes=1-0"
    return [("rc", "0"), *([("admin_comment", comment)] if comment else [])]


@pytest.mark.parametrize("place", ["spank_job_env", "environment"])
@pytest.mark.parametrize(
    ("value", "mode"),
    [("", "auto"), ("(null)", "auto"), ("auto", "auto"), ("now", "now"), ("never", "never")],
)
def test_option_becomes_the_marker(slurmctld: JobSubmit, place: str, value: str, mode: str) -> None:
    """From both environments, in every spelling that Slurm gives it."""
    assert slurmctld.submit(**{place: ["HOME=/home/alice", f"{MODE}={value}", "A=B"]}) == passed(f"k8s-burst={mode}")


def test_spank_environment_wins(slurmctld: JobSubmit) -> None:
    """What was typed now goes over what an outer job's environment had."""
    told = slurmctld.submit(spank_job_env=[f"{MODE}=never"], environment=[f"{MODE}=now"])
    assert told == passed("k8s-burst=never")


def test_job_without_batch_environment(slurmctld: JobSubmit) -> None:
    """srun and salloc have spank_job_env only; asking them for an environment would fill slurmctld's log."""
    assert slurmctld.submit(script=None, spank_job_env=[f"{MODE}=now"]) == passed("k8s-burst=now")
    assert slurmctld.submit(script=None) == passed()


def test_names_are_compared_whole(slurmctld: JobSubmit) -> None:
    """The image's variable starts with the mode's name; other plugins' options are none of ours."""
    told = slurmctld.submit(spank_job_env=[f"{MODE}_image=ubuntu", f"X{MODE}=now", f"{MODE[:-1]}=now"])
    assert told == [("rc", "0"), ("user", "k8s-burst: --k8s-burst-image has no effect without --k8s-burst")]


def test_image_follows_the_mode(slurmctld: JobSubmit) -> None:
    """Exactly as it was typed; a job that never bursts needs none."""
    image = "docker://nvcr.io#nvidia/pytorch:24.10-py3"
    assert slurmctld.submit(spank_job_env=[f"{IMAGE}={image}", f"{MODE}=auto"]) == passed(
        f"k8s-burst=auto image={image}"
    )
    assert slurmctld.submit(spank_job_env=[f"{IMAGE}={image}", f"{MODE}=never"]) == passed("k8s-burst=never")


@pytest.mark.parametrize(
    ("low", "high", "nodes"),
    [
        (NO_VAL, NO_VAL, "1-0"),
        (2, NO_VAL, "2-0"),
        (2, 4, "2-4"),
        (1, 1, "1-1"),
        (NO_VAL, 4, "1-4"),
        (1, NO_VAL + 1, "1-0"),
    ],
)
def test_node_count_as_submitted(slurmctld: JobSubmit, low: int, high: int, nodes: str) -> None:
    """-n8 and -N1 -n8 have the same record until slurmctld has tried them; what the site put there stays behind."""
    asked = {"min_nodes": low, "max_nodes": high, "environment": [f"{MODE}=now", f"{IMAGE}=ubuntu"]}
    assert slurmctld.submit(**asked) == passed(f"k8s-burst=now image=ubuntu nodes={nodes}")
    told = slurmctld.submit(**asked, admin_comment="cost centre")
    assert told == passed(f"k8s-burst=now image=ubuntu nodes={nodes} cost centre")
    asked["environment"] = [f"{MODE}=never"]
    assert slurmctld.submit(**asked) == passed("k8s-burst=never")


def test_what_a_user_changes_touches_no_marker(slurmctld: JobSubmit) -> None:
    """slurmctld refuses the whole change to who is no operator, once admin_comment is in it."""
    record = {"partition": "gpu", "admin_comment": "k8s-burst=now nodes=1-0 state=waiting reason=of nodes=7-7"}
    assert slurmctld.modify(record, min_nodes=2, max_nodes=2, tres_per_node="gres/gpu:8", time_limit=9) == passed()


def test_max_cost_follows_the_image(slurmctld: JobSubmit) -> None:
    """An amount goes into the marker, last; a job that never bursts costs nothing."""
    asked = [f"{COST}=2.50", f"{IMAGE}=ubuntu"]
    assert slurmctld.submit(spank_job_env=[*asked, f"{MODE}="]) == passed("k8s-burst=auto image=ubuntu max-cost=2.50")
    assert slurmctld.submit(spank_job_env=[*asked, f"{MODE}=never"]) == passed("k8s-burst=never")
    told = slurmctld.submit(spank_job_env=[f"{COST}=2"])
    assert told == [("rc", "0"), ("user", "k8s-burst: --k8s-burst-max-cost has no effect without --k8s-burst")]


@pytest.mark.parametrize("amount", ["", "x", "1 state=moved", "-1", "1.", ".5", "1e9", "1234567890", "inf"])
def test_max_cost_that_is_none_is_refused(slurmctld: JobSubmit, amount: str) -> None:
    """The environment is the user's to write: what could break the marker does not come into it."""
    told = slurmctld.submit(environment=[f"{MODE}=now", f"{COST}={amount}"])
    assert told[0] != ("rc", "0")
    assert "is no amount of money; use digits, as in 2.50" in told[1][1]


@pytest.mark.parametrize("value", ["sometimes", "AUTO", "now ", "auto image=x", "%s%n", "x" * 4096])
def test_unknown_mode_is_refused(slurmctld: JobSubmit, value: str) -> None:
    """The environment is the user's: what the plugin would have refused is refused here."""
    (code, said) = slurmctld.submit(environment=[f"{MODE}={value}"])
    assert code == ("rc", str(NOT_SUPPORTED))
    assert said == ("user", f"k8s-burst: --k8s-burst={value[:64]} is not known; use auto, now or never")


@pytest.mark.parametrize("image", TAKEN)
def test_image_is_taken(slurmctld: JobSubmit, image: str) -> None:
    """What the agent can have pulled."""
    told = slurmctld.submit(environment=[f"{MODE}=now", f"{IMAGE}={image}"])
    assert told == passed(f"k8s-burst=now image={image}")


@pytest.mark.parametrize("image", REFUSED)
def test_image_that_is_none_is_refused(slurmctld: JobSubmit, image: str) -> None:
    """What the agent would refuse only hours later; and no word of the agent's can be smuggled into the marker."""
    told = slurmctld.submit(environment=[f"{MODE}=now", f"{IMAGE}={image}"])
    assert told[0] == ("rc", str(NOT_SUPPORTED))
    assert "admin_comment" not in dict(told)
    said = "\n".join(value for _, value in told)
    assert f"--k8s-burst-image={image[:64]}".split("\n")[0] in said


@pytest.mark.parametrize("option", [[], [f"{MODE}=now"]])
def test_user_cant_smuggle_the_marker(slurmctld: JobSubmit, option: list[str]) -> None:
    """Should an admin_comment of an ordinary user ever come this far, it does not make a burst job."""
    told = slurmctld.submit(admin_comment="k8s-burst=now state=moved", environment=option)
    assert told == passed("k8s-burst=now" if option else None)


def test_comments_of_others_are_kept(slurmctld: JobSubmit) -> None:
    """The site's own rules may write there as well: the marker goes in front, on the same line."""
    assert slurmctld.submit(admin_comment="cost centre\n7") == [*passed("cost centre"), ("7", "")]
    told = slurmctld.submit(admin_comment="cost centre\n7", environment=[f"{MODE}=now"])
    assert told == [("rc", "0"), ("admin_comment", "k8s-burst=now nodes=1-0 cost centre 7")]


def test_operator_may_set_the_marker(slurmctld: JobSubmit) -> None:
    """For the agent's tests and for repairs."""
    told = slurmctld.submit(uid=ROOT, user_id=ALICE, admin_comment="k8s-burst=now image=ubuntu")
    assert told == [("rc", "0"), ("admin_comment", "k8s-burst=now image=ubuntu")]


def test_root_does_not_burst(slurmctld: JobSubmit) -> None:
    """Root's own job is refused when it asks; what root submits for a user is the user's."""
    assert slurmctld.submit(uid=ROOT, environment=[f"{MODE}=now"]) == [
        ("rc", str(NOT_SUPPORTED)),
        ("user", "k8s-burst: root's jobs don't run in Kubernetes"),
    ]
    assert slurmctld.submit(uid=ROOT, environment=[f"{MODE}=never"]) == passed("k8s-burst=never")
    assert slurmctld.submit(uid=ROOT, user_id=ALICE, environment=[f"{MODE}=now"]) == passed("k8s-burst=now")


def test_oci_container_does_not_burst(slurmctld: JobSubmit) -> None:
    """--container names a bundle on the node's file system."""
    assert slurmctld.submit(container="/b", environment=[f"{MODE}=auto"]) == [
        ("rc", str(NOT_SUPPORTED)),
        ("user", "k8s-burst: --container can't be used in Kubernetes; use --k8s-burst-image"),
    ]
    slurmctld.settings = {"default_mode": "auto"}
    assert slurmctld.submit(container="/b") == passed()


@pytest.mark.parametrize("partition", ["k8s-burst", "gpu,k8s-burst", "k8s-burst,gpu"])
def test_direct_submission_is_refused(slurmctld: JobSubmit, partition: str) -> None:
    """Users submit to their own partition; operators may do as they like; a site may open the door."""
    sentence = (
        "k8s-burst: partition k8s-burst is not for direct submission; submit to your own partition with --k8s-burst"
    )
    assert slurmctld.submit(partition=partition) == [("rc", str(ACCESS_DENIED)), ("user", sentence)]
    assert slurmctld.submit(uid=ROOT, partition=partition) == passed()
    slurmctld.settings = {"operators": [ALICE]}
    assert slurmctld.submit(partition=partition) == passed()
    slurmctld.settings = {"allow_direct": True}
    assert slurmctld.submit(partition=partition) == passed()


def test_other_partitions_are_open(slurmctld: JobSubmit) -> None:
    """Names are compared whole, and the burst partition may have another name."""
    assert slurmctld.submit(partition="k8s-burst-test,gpu") == passed()
    slurmctld.settings = {"partition": "cloud"}
    assert slurmctld.submit(partition="k8s-burst") == passed()
    assert slurmctld.submit(partition="cloud")[0] == ("rc", str(ACCESS_DENIED))


@pytest.mark.parametrize(
    ("partitions", "partition", "marked"),
    [
        (None, "cpu", True),
        (["gpu"], "gpu", True),
        (["gpu"], "cpu,gpu", True),
        (["gpu"], "cpu", False),
        (["gpu"], None, True),
        (["cpu"], None, False),
    ],
)
def test_default_mode(slurmctld: JobSubmit, partitions: object, partition: str | None, marked: bool) -> None:
    """A site may let jobs burst that don't say, in some partitions; a job without one is in the default one."""
    slurmctld.settings = {"default_mode": "auto", "partitions": partitions}
    assert slurmctld.submit(partition=partition) == passed("k8s-burst=auto" if marked else None)
    assert slurmctld.submit(partition=partition, environment=[f"{MODE}=never"]) == passed("k8s-burst=never")


def test_default_mode_takes_an_image(slurmctld: JobSubmit) -> None:
    """--k8s-burst-image alone is enough where jobs burst anyway."""
    slurmctld.settings = {"default_mode": "auto"}
    assert slurmctld.submit(environment=[f"{IMAGE}=ubuntu"]) == passed("k8s-burst=auto image=ubuntu")


def test_users_cant_move_jobs_in(slurmctld: JobSubmit) -> None:
    """The agent's own moves run as root and pass."""
    for partition in ("k8s-burst", "gpu,k8s-burst"):
        told = slurmctld.modify({"partition": "gpu"}, partition=partition)
        assert told[0] == ("rc", str(ACCESS_DENIED))
        assert "can't be moved to partition k8s-burst by hand" in told[1][1]
        assert slurmctld.modify({"partition": "gpu"}, uid=ROOT, partition=partition) == passed()
    slurmctld.settings = {"allow_direct": True}
    assert slurmctld.modify({"partition": "gpu"}, partition="k8s-burst") == passed()


@pytest.mark.parametrize("field", ["req_nodes", "exc_nodes"])
@pytest.mark.parametrize("nodes", ["k8s-7", ""])
def test_users_cant_choose_the_virtual_node(slurmctld: JobSubmit, field: str, nodes: str) -> None:
    """The pod stands behind the node that the agent chose; elsewhere, and when taking the job out, users are free."""
    told = slurmctld.modify({"partition": "k8s-burst"}, **{field: nodes})
    assert told == [
        ("rc", str(ACCESS_DENIED)),
        ("user", "k8s-burst: the nodes of a job in partition k8s-burst can't be changed by hand"),
    ]
    assert slurmctld.modify({"partition": "k8s-burst"}, uid=ROOT, **{field: nodes}) == passed()
    assert slurmctld.modify({"partition": "gpu"}, **{field: nodes}) == passed()
    assert slurmctld.modify({"partition": "k8s-burst"}, partition="gpu", **{field: nodes}) == passed()


def test_users_may_change_other_things(slurmctld: JobSubmit) -> None:
    """A hold, a time limit, a comment, or leaving the burst partition."""
    given = {
        "priority": 0,
        "time_limit": 5,
        "comment": "x",
        **dict.fromkeys(NUMBERS, NO_VAL),
        "cpus_per_task": NO_VAL16,
    }
    assert slurmctld.modify({"partition": "k8s-burst", "time_limit": 10}, **given) == passed()
    assert slurmctld.modify({"partition": "k8s-burst"}, partition="gpu") == passed()


@pytest.mark.parametrize(
    "change",
    [
        {"tres_per_node": "gres/gpu:8"},
        {"min_mem_per_node": 4000},
        {"cpus_per_task": 8},
        {"account": "rich"},
        {"time_limit": 11},
        {"time_limit": INFINITE},
        *({name: 8} for name in NUMBERS),
    ],
)
def test_users_cant_change_what_was_agreed(slurmctld: JobSubmit, change: dict[str, object]) -> None:
    """Its pods are there: rules and caps are not asked any more. Out of the partition, anything goes."""
    record: dict[str, object] = {"partition": "k8s-burst", "time_limit": 10}
    told = slurmctld.modify(record, **change)
    assert told[0] == ("rc", str(ACCESS_DENIED))
    assert "what a job in partition k8s-burst asks for can't be changed by hand" in told[1][1]
    assert slurmctld.modify(record, uid=ROOT, **change) == passed()
    assert slurmctld.modify({**record, "partition": "gpu"}, **change) == passed()
    assert slurmctld.modify(record, partition="gpu", **change) == passed()


@pytest.mark.parametrize("call", ["job_submit(job, nil, 2001)", "job_modify(job, nil, nil, 2001)"])
def test_own_error_passes_the_job(slurmctld: JobSubmit, call: str) -> None:
    """A bug of ours is a line in slurmctld's log and never a refused job."""
    slurmctld.settings = {"default_mode": "auto", "partitions": ["gpu"]}
    told = slurmctld._call(f"burst.{call}", {"script": "x", "req_nodes": "a"})
    assert told[0] == ("rc", "0")
    assert told[1][0] == "error"
    assert told[1][1].endswith("the job passes unmarked")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"allow_drect": True}, "unknown setting allow_drect"),
        ({"allow_direct": "yes"}, "allow_direct must be a boolean"),
        ({"operators": 0}, "operators must be a table"),
        ({"default_mode": "always"}, "default_mode=always must be auto, now or never"),
    ],
)
def test_wrong_setting_is_named(slurmctld: JobSubmit, settings: dict[str, object], said: str) -> None:
    """slurmctld starts all the same, with the safe default in its place."""
    slurmctld.settings = settings
    assert slurmctld.submit() == [*passed(), ("error", f"k8s-burst: setup: {said}")]
    assert slurmctld.submit(partition="k8s-burst")[0] == ("rc", str(ACCESS_DENIED))


def example(run: Callable[[str], str], folder: Path, call: str) -> Told:
    """Load the example job_submit.lua from a folder as slurmctld does, and call one of its functions."""
    script = f'dofile("{Path(__file__).parent}/fake_slurm.lua")\nlocal job, rc\n'
    fields = literal({"script": "x", "user_id": ALICE, "environment": [f"{MODE}=now"]})
    script += f'assert(dofile("{folder}/job_submit.lua") == slurm.SUCCESS)\njob = job_desc({fields})\nrc = {call}\n'
    pairs = (line.partition("=") for line in run(script + REPORT).splitlines())
    return [(key, value) for key, _, value in pairs]


@pytest.mark.parametrize("lua", INTERPRETERS)
def test_example_finds_the_module_beside_it(lua: str) -> None:
    """slurmctld reads job_submit.lua from the folder of slurm.conf, whatever its working directory."""
    run = INTERPRETERS[lua]
    assert example(run, SLURM_CONF, "slurm_job_submit(job, {}, 2001)") == passed("k8s-burst=now")
    assert example(run, SLURM_CONF, "slurm_job_modify(job, job_rec({}), {}, 2001)") == passed()


@pytest.mark.parametrize("module", [None, "this is no Lua"])
@pytest.mark.parametrize("lua", INTERPRETERS)
def test_example_without_the_module(lua: str, module: str | None, tmp_path: Path) -> None:
    """slurmctld starts and takes jobs; its log says why none bursts."""
    shutil.copy(SLURM_CONF / "job_submit.lua", tmp_path)
    if module:
        (tmp_path / "k8s_burst.lua").write_text(module)
    for call in ("slurm_job_submit(job, {}, 2001)", "slurm_job_modify(job, job_rec({}), {}, 2001)"):
        code, said, *_ = example(INTERPRETERS[lua], tmp_path, call)
        assert code == ("rc", "0")
        assert said[0] == "error"
        assert said[1].startswith("k8s-burst: jobs are not marked and don't burst: ")


def test_slurmctld_links_the_lua_that_is_tested() -> None:
    """Debian's job_submit_lua.so says which Lua it loads."""
    (plugin,) = Path("/usr/lib").glob("*/slurm*/job_submit_lua.so")
    lines = subprocess.run(["readelf", "-d", plugin], capture_output=True, text=True, check=True).stdout
    assert "liblua5.1.so.0" in lines


SIGNALS = "K8S_BURST_SIGNAL"
SCRIPT = "#!/bin/bash\n#SBATCH -n1\n#SBATCH --signal=B:USR1@60  # checkpoint\n# more\n\nsrun x\n#SBATCH --signal=KILL\n"


@pytest.mark.parametrize(
    ("given", "signal"),
    [
        ({}, ""),
        ({"script": SCRIPT}, "B:USR1@60"),
        ({"script": '#!/bin/sh\n#SBATCH -N1 --signal "10@5"\n'}, "10@5"),
        ({"script": SCRIPT, "place": "1=USR2"}, "USR2"),
        ({"script": SCRIPT, "place": "0=KILL", "argc": 1}, "B:USR1@60"),
        ({"place": "16384=TERM,3=HUP,1=KILL", "argc": 2}, "HUP"),
        ({"place": "16384=TERM,1=KILL", "argc": 2}, "TERM"),
        ({"place": "5=USR1 state=moved"}, ""),
        ({"place": "5=@60"}, ""),
        ({"place": "5=" + "1" * 70}, ""),
    ],
)
def test_signal_goes_into_the_marker(slurmctld: JobSubmit, given: dict[str, object], signal: str) -> None:
    """From the script, SBATCH_SIGNAL and the command line, the last wins; the script's own arguments are no options."""
    place = f"{SIGNALS}={given['place']}" if "place" in given else "A=B"
    told = slurmctld.submit(
        script=given.get("script", "#!/bin/sh"), argc=given.get("argc", 0), spank_job_env=[place, f"{MODE}=auto"]
    )
    assert told == passed(f"k8s-burst=auto signal={signal}" if signal else "k8s-burst=auto")


def test_signal_of_jobs_that_are_not_marked(slurmctld: JobSubmit) -> None:
    """Only where the site's rules may flag them later, and behind what stands there."""
    assert slurmctld.submit(script=SCRIPT) == passed()
    slurmctld.settings = {"keep_signal": True}
    assert slurmctld.submit(script=SCRIPT) == passed("k8s-burst-signal=B:USR1@60")
    kept = slurmctld.submit(uid=ROOT, script=SCRIPT, admin_comment="ticket 7")
    assert kept == passed("ticket 7 k8s-burst-signal=B:USR1@60")
    assert slurmctld.submit(script=SCRIPT, environment=[f"{MODE}=never"]) == passed("k8s-burst=never")
