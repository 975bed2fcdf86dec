"""
Builds the checkout for the sandbox's hosts: plugin, Go programs and agent, each a layer of its own that is built anew
only when its sources change.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import golang, images, layers, oci
from .cache import Cache, key_of, key_of_files
from .errors import BuildError

VENV = "/opt/k8s-burst"
PROGRAMS = "usr/libexec/k8s-burst"
_BUILD_TOOLS = "/opt/build-tools"
_PYSLURM = Path(__file__).with_name("pyslurm") / "build.py"


@dataclass(frozen=True)
class Project:
    """
    The built checkout: layers for the hosts' root file systems, topmost first, and the image of the supervisor.
    """

    layers: tuple[Path, ...]
    pod_image: Path

    def has(self, path: str) -> bool:
        """Whether one of the layers has a file."""
        return any((layer / path.lstrip("/")).exists() for layer in self.layers)


def build(cache: Cache, checkout: Path, root: Path) -> Project:
    """Build what has changed since it was last built; raises BuildError with the compiler's words."""
    packages = python_layer(cache, checkout, root)
    programs = runner_layer(cache, checkout)
    found = (agent_layer(cache, checkout, root, packages), programs, plugin_layer(cache, checkout, root), packages)
    return Project(found, images.program_image(cache, images.POD_IMAGE, programs / PROGRAMS / "k8s-burst-pod"))


def plugin_layer(cache: Cache, checkout: Path, root: Path) -> Path:
    """The SPANK plugin, installed by cmake as an administrator would."""
    sources = _sources(checkout, "CMakeLists.txt", "spank")
    script = """
cmake -S /source -B /run/build -DCMAKE_INSTALL_PREFIX=/usr
cmake --build /run/build
cmake --install /run/build
"""

    def fill(directory: Path) -> None:
        _build_in_root([root], directory, checkout, sources, script, "the SPANK plugin", keep=("usr",))

    return cache.entry("plugin", key_of(root.name, script, key_of_files(checkout, sources)), "the SPANK plugin", fill)


def runner_layer(cache: Cache, checkout: Path) -> Path:
    """The static Go programs."""
    module = checkout / "runner"
    sources = [path for path in _sources(checkout, "runner") if not path.name.endswith("_test.go")]

    def fill(directory: Path) -> None:
        programs = directory / PROGRAMS
        programs.mkdir(parents=True)
        golang.build(cache, module, ["./cmd/..."], programs)

    return cache.entry("runner", key_of(oci.architecture(), key_of_files(checkout, sources)), "the Go programs", fill)


def python_layer(cache: Cache, checkout: Path, root: Path) -> Path:
    """The agent's virtual environment with the packages that it needs, pyslurm included, but not the agent."""
    requirements = checkout / "requirements/agent.txt"
    wheel = pyslurm_wheel(cache, root)
    script = f"""
python3 -m venv {VENV}
{VENV}/bin/pip install --quiet --requirement /source/requirements/agent.txt /wheel/*.whl
"""

    def fill(directory: Path) -> None:
        what = "the agent's Python packages"
        binds = {"/wheel": wheel}
        _build_in_root(
            [root], directory, checkout, [requirements], script, what, keep=("opt",), binds=binds, network=True
        )

    key = key_of(root.name, wheel.name, script, requirements.read_bytes())
    return cache.entry("python", key, "the agent's Python packages", fill)


def agent_layer(cache: Cache, checkout: Path, root: Path, packages: Path) -> Path:
    """The agent itself, its libslurm module compiled against the sandbox's Slurm."""
    tools = _build_tools(cache, checkout, root)
    sources = _sources(checkout, "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "agent")
    script = f"""
{_BUILD_TOOLS}/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /run/wheel /source
{VENV}/bin/pip install --quiet --no-deps /run/wheel/*.whl
install -d /usr/local/bin
ln -s {VENV}/bin/burstctl {VENV}/bin/k8s-burst-agent /usr/local/bin/
"""

    def fill(directory: Path) -> None:
        _build_in_root(
            [tools, packages, root], directory, checkout, sources, script, "the agent", keep=("opt/k8s-burst", "usr")
        )

    key = key_of(packages.name, tools.name, script, key_of_files(checkout, sources))
    return cache.entry("agent", key, "the agent", fill)


def pyslurm_wheel(cache: Cache, root: Path) -> Path:
    """The directory with pyslurm's wheel for the sandbox's Slurm."""

    def fill(directory: Path) -> None:
        binds = {"/build.py": _PYSLURM}
        changed = layers.build(
            [root], directory / "scratch", "python3 /build.py /wheel", "building pyslurm", binds=binds, network=True
        )
        for wheel in (changed / "wheel").glob("*.whl"):
            wheel.rename(directory / wheel.name)
        shutil.rmtree(directory / "scratch")

    return cache.entry("pyslurm", key_of(root.name, _PYSLURM.read_bytes()), "pyslurm for the sandbox's Slurm", fill)


def _build_tools(cache: Cache, checkout: Path, root: Path) -> Path:
    """What pyproject.toml needs to build a wheel, kept apart from what the agent runs with."""
    settings = tomllib.loads((checkout / "pyproject.toml").read_text())
    wanted = settings["build-system"]["requires"]
    words = " ".join(f"'{requirement}'" for requirement in wanted)
    script = f"python3 -m venv {_BUILD_TOOLS} && {_BUILD_TOOLS}/bin/pip install --quiet {words}"

    def fill(directory: Path) -> None:
        _build_in_root([root], directory, checkout, [], script, "tools to build the agent", keep=("opt",), network=True)

    return cache.entry("build-tools", key_of(root.name, script), "tools to build the agent", fill)


def _build_in_root(
    below: list[Path],
    directory: Path,
    checkout: Path,
    sources: list[Path],
    script: str,
    what: str,
    *,
    keep: tuple[str, ...],
    binds: dict[str, Path] | None = None,
    network: bool = False,
) -> None:
    """Run a script on a copy of `sources` in /source, and move the paths `keep` of what it changed into `directory`."""
    source = directory / "source"
    source.mkdir()
    for path in sources:
        copy = source / path.relative_to(checkout)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    changed = layers.build(
        below, directory / "scratch", script, what, binds={"/source": source, **(binds or {})}, network=network
    )
    layers.keep(changed, directory, keep)
    shutil.rmtree(source)


def _sources(checkout: Path, *names: str) -> list[Path]:
    """All files of the named files and directories, but for what running and building them leaves behind."""
    found: list[Path] = []
    for name in names:
        path = checkout / name
        if not path.exists():
            msg = f"the checkout {checkout} has no {name}: is it slurm-k8s-burst?"
            raise BuildError(msg)
        found += (
            [path]
            if path.is_file()
            else [file for file in path.rglob("*") if file.is_file() and not _left_behind(file)]
        )
    return found


def _left_behind(path: Path) -> bool:
    return path.suffix in (".pyc", ".so", ".o") or bool({"__pycache__", "build", ".build"} & set(path.parts))
