"""
The settings file: checked wholly, and every mistake named.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from burst_agent import policy_file, settings, target_file
from burst_agent.errors import SettingsError
from pydantic import BaseModel, ValidationError

from .fakes import SETTINGS, make_settings

EXAMPLE = Path(__file__).parents[2] / "slurm-conf" / "agent.toml"


def test_the_documented_example_is_valid() -> None:
    """slurm-conf/agent.toml loads, and what it shows is what comes out."""
    loaded = settings.load(EXAMPLE)
    assert loaded.slurm.partition == "k8s-burst"
    assert loaded.pods.volumes[0].source == {"hostPath": {"path": "/home", "type": "Directory"}}
    assert loaded.listen.login is not None


def test_defaults() -> None:
    """What must be given is little."""
    loaded = make_settings()
    assert loaded.listen.socket == Path("/run/k8s-burst/agent.sock")
    assert loaded.listen.login is None
    assert [target.name for target in loaded.targets] == ["default"]


def test_every_field_says_what_it_is() -> None:
    """A description with each: documentation that can't be forgotten."""

    def fields(model: type[BaseModel]) -> list[str]:
        return [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]

    sections: list[type[BaseModel]] = [
        settings.Slurm,
        settings.Kubernetes,
        target_file.Volume,
        target_file.Pods,
        target_file.Shape,
        target_file.Target,
        policy_file.Policy,
        policy_file.Rule,
        policy_file.Span,
        policy_file.TimeSpan,
        policy_file.Prices,
        settings.Listen,
    ]
    sections += [settings.TlsListener, settings.MutualTlsListener, settings.Log, settings.Accounting]
    assert [name for section in sections for name in fields(section)] == []


def test_frozen() -> None:
    """Nobody changes a setting at run time."""
    with pytest.raises(ValidationError, match="frozen"):
        make_settings().policy.wait_s = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[slurm", "s.toml: no TOML"),
        ("[pods]\nimage='a'\nsupervisor_image='b'", "s.toml: slurm is missing and has no default"),
        (SETTINGS + "wait_x = 3", "s.toml: policy.wait_x is no setting; look for a spelling mistake"),
        (SETTINGS + "max_pods = -1", "s.toml: policy.max_pods = -1: input should be greater than or equal to 0"),
        (SETTINGS.replace('"c1"', '"c 1"'), "s.toml: slurm.cluster = 'c 1': must be at most 40 letters"),
        (
            SETTINGS.replace("site/user:1", "me@x#y"),
            "s.toml: pods.image = 'me@x#y': image 'me@x#y': USER@ can't be used",
        ),
        (
            SETTINGS.replace("backoff_max_s = 100", "backoff_max_s = 1"),
            "s.toml: policy: backoff_max_s must not be below",
        ),
        (SETTINGS + "[listen]\nmetrics = '6823'", "s.toml: listen.metrics = '6823': must be HOST:PORT"),
        (
            SETTINGS + "[[targets]]\nname = 'a'\napi_server = 'http://x'",
            "s.toml: targets[1].api_server = 'http://x': must be an https",
        ),
        (SETTINGS + "[[pods.volumes]]\npath = '/home'", "s.toml: pods.volumes[1]: needs exactly one of"),
        (SETTINGS + "[[pods.volumes]]\npath = 'home'\npvc = 'x'", "s.toml: pods.volumes[1].path = 'home'"),
        (SETTINGS + "[[pods.volumes]]\npath = '/etc'\npvc = 'x'", "path /etc can't be mounted"),
        (SETTINGS + "[kubernetes]\ntoken_s = 60", "s.toml: kubernetes.token_s = 60: input should be greater than"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    """File, field, value, and what is allowed."""
    with pytest.raises(SettingsError) as caught:
        settings.parse(text, source="s.toml")
    assert said in re.sub(r"(s\.toml):[0-9]+:", r"\1:", str(caught.value))


def test_all_mistakes_at_once() -> None:
    """One line for each."""
    with pytest.raises(SettingsError) as caught:
        settings.parse("[slurm]\ncluster = ''\npolls = 1\n[pods]\nimage = 'a'", source="s.toml")
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Named, with the reason."""
    with pytest.raises(SettingsError, match=r"agent\.toml: can't be read"):
        settings.load(tmp_path / "agent.toml")


@pytest.mark.parametrize("source", ["pvc = 'shared'", "nfs = { server = 's', path = '/x' }", "csi = { driver = 'd' }"])
def test_sources_of_volumes(source: str) -> None:
    """A claim that exists, or a volume that the agent makes."""
    volume = make_settings(f"[[pods.volumes]]\npath = '/data'\n{source}").pods.volumes[0]
    assert (volume.source is None) == source.startswith("pvc")
