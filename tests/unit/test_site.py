"""
What an administrator installs and edits agrees with itself: the files that come with the project name each other, and the
same things, rightly.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from burst_agent import settings

CHECKOUT = Path(__file__).parents[2]
UNITS = sorted((CHECKOUT / "systemd").glob("*.service"))
TMPFILES = [
    line.split() for line in (CHECKOUT / "systemd/tmpfiles.d/k8s-burst.conf").read_text(encoding="utf-8").splitlines()
]
FENCE = list(yaml.safe_load_all((CHECKOUT / "containers/kubernetes/fence.yaml").read_text(encoding="utf-8")))


def test_the_fence_lists_the_volumes_of_the_settings() -> None:
    """What agent.toml has pods mount, fence.yaml lets the agent make, and nothing else."""
    policy = next(thing["spec"] for thing in FENCE if thing["metadata"]["name"] == "k8s-burst-agent-volumes")
    expressions = {variable["name"]: variable["expression"] for variable in policy["variables"]}
    listed = yaml.safe_load(expressions["volumes"])
    shown = settings.load(CHECKOUT / "slurm-conf/agent.toml").pods.volumes
    assert listed == [f"hostPath {volume.host_path['path']}" for volume in shown if volume.host_path]
    assert len(listed) == len(shown)


def test_all_fences_around_the_agent_know_it_by_the_same_right() -> None:
    """It is in the role that agent.yaml binds to the agent, whoever that is."""
    role = next(yaml.safe_load_all((CHECKOUT / "containers/kubernetes/agent.yaml").read_text(encoding="utf-8")))
    assert {"apiGroups": ["k8s-burst.slurm"], "resources": ["agents"], "verbs": ["fenced"]} in role["rules"]
    policies = [thing["spec"] for thing in FENCE if thing["kind"] == "ValidatingAdmissionPolicy"]
    conditions = [one for policy in policies for one in policy["matchConditions"] if one["name"] == "is-the-agent"]
    assert len(conditions) == 4
    right = 'authorizer.group("k8s-burst.slurm").resource("agents")'
    wanted = f'{right}.check("fenced").allowed() && !{right}.check("unfenced").allowed()'
    assert {condition["expression"] for condition in conditions} == {wanted}


def text(path: str) -> str:
    """A file of the checkout."""
    return (CHECKOUT / path).read_text(encoding="utf-8")


def values(unit: Path, key: str) -> list[str]:
    """What a unit says for a key."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def test_units_start_what_the_project_installs() -> None:
    """Where it is installed, under the names that ARCHITECTURE.md gives."""
    scripts = tomllib.loads(text("pyproject.toml"))["project"]["scripts"]
    (libexec,) = re.findall(r"^LIBEXEC \?= (.*)$", text("runner/Makefile"), re.MULTILINE)
    installed = {f"/opt/k8s-burst/bin/{name}" for name in scripts}
    installed |= {f"{libexec}/{path.name}" for path in (CHECKOUT / "runner/cmd").iterdir()}
    started = {unit.name: values(unit, "ExecStart")[0].split()[0] for unit in UNITS}
    assert started.pop("k8s-burst-slurmd@.service") == "/usr/bin/unshare"
    assert set(started) == {"k8s-burst-agent.service", "k8s-burst-gatewayd.service"}
    assert set(started.values()) <= installed
    for name in (*started.values(), "/opt/k8s-burst", *(unit.name.replace("@", "@NODE") for unit in UNITS)):
        directory, _, program = name.rpartition("/")
        assert directory.removesuffix("/bin") in text("ARCHITECTURE.md"), name
        assert program in text("ARCHITECTURE.md"), name


def test_cmake_installs_all_units_and_tmpfiles() -> None:
    """And nothing that there is not."""
    named = set(re.findall(r"systemd/[\w@./-]+", text("CMakeLists.txt"))) - {"systemd/system"}
    assert named == {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "systemd").rglob("*") if path.is_file()}


def test_gateways_have_the_files_that_their_services_want() -> None:
    """The directory of the sockets, which neither service takes with it, and a device for each GPU of gres.conf."""
    made = {line[1] for line in TMPFILES if line and not line[0].startswith("#")}
    sockets = settings.load(CHECKOUT / "slurm-conf/agent.toml").listen.socket.parent
    (first, last) = re.findall(r"File=/dev/nvidia\[(\d)-(\d)\]", text("slurm-conf/gres.conf.d/k8s-burst.conf"))[0]
    assert made == {str(sockets), *(f"/dev/nvidia{number}" for number in range(int(first), int(last) + 1))}
    for unit in UNITS:
        assert not values(unit, "RuntimeDirectory")
        assert set(values(unit, "ReadWritePaths")) <= made


def test_the_supervisors_image_has_its_program() -> None:
    """As pods start it, from where `make -C runner` puts it for each architecture."""
    assert (CHECKOUT / "runner/cmd/k8s-burst-pod").is_dir()
    assert "COPY ${TARGETARCH}/k8s-burst-pod /k8s-burst-pod\n" in text("containers/pod/Containerfile")
    assert '"command": ["/k8s-burst-pod"]' in text("agent/burst_agent/podspec.py")


@pytest.mark.parametrize(
    "page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "slurm-conf/README.md", "containers/sandbox/README.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    """Each relative link of the documents is a file here."""
    links = [link for link in re.findall(r"\]\(([^)#]+)", text(page)) if "://" not in link]
    missing = [link for link in links if not ((CHECKOUT / page).parent / link).exists()]
    assert not missing


def test_only_what_is_named_is_set_for_the_whole_cluster() -> None:
    """A line of ours replaces the site's own of that key: README.md names each."""
    lines = text("slurm-conf/slurm.conf.d/k8s-burst.conf") + text("slurm-conf/slurm.conf.d/k8s-burst-nodes.conf")
    keys = set(re.findall(r"^(\w+)=", lines, re.MULTILINE)) - {"NodeName", "PartitionName"}
    assert keys == {"JobSubmitPlugins", "SlurmdParameters"}
    assert all(f"`{key}" in text("README.md") for key in keys)
