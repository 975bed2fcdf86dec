"""
The command line of the sandbox: `python3 -m sandbox VERB`, with containers/ on the path, or
containers/sandbox/sandbox VERB.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import checks, golang, prerequisites
from .errors import SandboxError
from .handle import CHECKOUT
from .hosts import NODE, tail
from .node import ADMIN_CONFIG
from .rootfs import root_file_system
from .sandbox import Sandbox
from .slurm import SLURM_HOSTS
from .tour import tour

HOSTS = ", ".join(SLURM_HOSTS)

Verb = Callable[[Sandbox, argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says, and give the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        sandbox = Sandbox(arguments.name, arguments.dir)
        code: int = arguments.verb(sandbox, arguments)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sandbox: interrupted; `down` removes what there is", file=sys.stderr, flush=True)
        # Threads may still wait for services: end now, as kill would. The kernel frees locks, and builds end with us.
        os._exit(128 + signal.SIGINT)
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="default", help="the sandbox's name (default: %(default)s)")
    common.add_argument("--dir", type=Path, help="its directory (default: /var/tmp/k8s-burst-sandbox/NAME)")
    parser = argparse.ArgumentParser(prog="sandbox", description="A real Slurm and a real Kubernetes on this machine.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, function: Verb, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, parents=[common], help=text, description=text)
        added.set_defaults(verb=function)
        return added

    up = verb("up", _up, "build what is missing, start everything, wait until it can be used")
    up.add_argument("--without-burst", action="store_true", help="Slurm and Kubernetes alone: no plugin, no agent")
    up.add_argument("--with-programs", action="store_true", help="MPI, PyTorch, Ray on the hosts and in an image")
    up.add_argument("--with-second-cluster", action="store_true", help="a second Kubernetes, without GPUs, on node1")
    verb("down", _down, "remove the sandbox without a trace, in whatever state it is")
    verb("try", _try, "start the sandbox unless it is up, and run the example in it as a user would")
    verb("status", _status, "tell which services run")
    for name, function, text in (
        ("shell", _shell, "open a user's shell on a host"),
        ("run", _run, "run a command on a host"),
    ):
        added = verb(name, function, text)
        added.add_argument(
            "--user",
            default="alice" if name == "shell" else "root",
            help="alice, bob, carol or root (default: %(default)s)",
        )
        added.add_argument("--host", default="login", help=f"{HOSTS} or {NODE} (default: %(default)s)")
        if name == "run":
            added.add_argument(
                "command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its arguments"
            )
    for name, function, text in (
        ("crash", _crash, "end a host at once, as a power cut would; its disk stays"),
        ("boot", _boot, "boot a host that has crashed, and start its services"),
    ):
        verb(name, function, text).add_argument("host", help=HOSTS)
    for name, function, text in (
        ("start", _start, "start services"),
        ("stop", _stop, "end services"),
        ("restart", _restart, "end and start services"),
    ):
        verb(name, function, text).add_argument("service", nargs="+")
    killer = verb("kill", _kill, "send a signal to a service")
    killer.add_argument("--signal", default="KILL", help="its name or number (default: %(default)s)")
    killer.add_argument("service", nargs="+")
    logs = verb("logs", _logs, "show the end of services' logs; all of them without names")
    logs.add_argument("--lines", type=int, default=25)
    logs.add_argument("service", nargs="*")
    verb("kubectl", _kubectl, "run kubectl as Kubernetes' administrator").add_argument(
        "words", nargs=argparse.REMAINDER
    )
    verb("root", _root, "print where the root file system with Slurm's headers is")
    verb("test-spank", _test_spank, "run the tests of the plugin in that root file system")
    verb("go-env", _go_env, "print shell lines that put a Go compiler into PATH")
    return parser


def _up(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    sandbox.up(
        burst=not arguments.without_burst,
        programs=arguments.with_programs,
        second_cluster=arguments.with_second_cluster,
    )
    sandbox.steps.say(f"Sandbox {sandbox.name} is up after {sandbox.steps.elapsed_s():.1f} s; {_hint(sandbox)}")
    return 0


def _hint(sandbox: Sandbox) -> str:
    option = "" if sandbox.name == "default" else f" --name {sandbox.name}"
    return f"a user's shell: {sys.argv[0]} shell{option}"


def _down(sandbox: Sandbox, _: argparse.Namespace) -> int:
    sandbox.down()
    return 0


def _try(sandbox: Sandbox, _: argparse.Namespace) -> int:
    if not sandbox.is_up:
        sandbox.up()
    tour(sandbox)
    return 0


def _status(sandbox: Sandbox, _: argparse.Namespace) -> int:
    down = 0
    for name, plan in sandbox.plans().items():
        process = sandbox.service(name).process
        down += process is None
        print(f"{plan.host:8} {name:24} " + (f"runs, process {process.pid}" if process else "is down"))
    return 1 if down else 0


def _shell(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    # The terminal belongs to a /dev/pts that the host doesn't see, so give the shell one of the host's own.
    own_terminal = ["script", "--quiet", "--return", "--command", "bash -l", "/dev/null"]
    shell = own_terminal if sys.stdin.isatty() else ["bash", "-l"]
    return _pass_through(sandbox, shell, arguments.user, arguments.host, {"TERM": os.environ.get("TERM", "dumb")})


def _run(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        msg = "run what? Give the command after --"
        raise SandboxError(msg)
    return _pass_through(sandbox, command, arguments.user, arguments.host)


def _kubectl(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    return _pass_through(sandbox, ["kubectl", *arguments.words], "root", NODE, {"KUBECONFIG": ADMIN_CONFIG})


def _pass_through(
    sandbox: Sandbox, command: Sequence[str], user: str, host: str, env: Mapping[str, str] | None = None
) -> int:
    """Run a command with this process's streams and signals, and give its exit code as a shell would."""
    # On a terminal the command has to be in its foreground group, which gets the terminal's signals by itself.
    terminal = sys.stdin.isatty()
    passed_on = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
    # The command may have said something, and somebody may want it to end, before this function goes on.
    early: list[int] = []
    for number in passed_on:
        signal.signal(number, lambda received, _: early.append(received))
    process = sandbox.popen(
        command, user=user, host=host, env=env, stdin=None, stdout=None, stderr=None, own_group=not terminal
    )
    for number in passed_on:
        signal.signal(number, lambda received, _: process.send_signal(received))
    for received in early:
        process.send_signal(received)
    if terminal:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _crash(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    sandbox.crash_host(arguments.host)
    return 0


def _boot(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    with sandbox.steps.step(f"booting {arguments.host}"):
        sandbox.boot_host(arguments.host)
    sandbox.ensure_services()
    return 0


def _start(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    return _each(sandbox, arguments.service, "starting", lambda name: sandbox.service(name).start())


def _stop(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    return _each(sandbox, arguments.service, "stopping", lambda name: sandbox.service(name).stop())


def _restart(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    return _each(sandbox, arguments.service, "restarting", lambda name: sandbox.service(name).restart())


def _kill(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    return _each(
        sandbox,
        arguments.service,
        f"sending {arguments.signal} to",
        lambda name: sandbox.service(name).kill(arguments.signal),
    )


def _root(sandbox: Sandbox, _: argparse.Namespace) -> int:
    prerequisites.check(sandbox.directory, sandbox.cache.root, sandbox.steps)
    print(root_file_system(sandbox.cache))
    return 0


def _test_spank(sandbox: Sandbox, _: argparse.Namespace) -> int:
    prerequisites.check(sandbox.directory, sandbox.cache.root, sandbox.steps)
    checks.spank(sandbox.cache, sandbox.checkout)
    return 0


def _each(sandbox: Sandbox, names: Sequence[str], doing: str, act: Callable[[str], None]) -> int:
    for name in names:
        with sandbox.steps.step(f"{doing} {name}"):
            act(name)
    return 0


def _logs(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    logs = [sandbox.service(name).log for name in arguments.service] or sorted(
        (sandbox.directory / "log").glob("*.log")
    )
    for log in logs:
        print(f"{log}:\n{tail(log, arguments.lines)}")
    return 0


def _go_env(sandbox: Sandbox, _: argparse.Namespace) -> int:
    prerequisites.check(sandbox.directory, sandbox.cache.root, sandbox.steps)
    needed = golang.needed_version(CHECKOUT / "runner/go.mod")
    compiler = Path(golang.compiler(sandbox.cache, needed))
    print(f"export PATH={shlex.quote(str(compiler.parent))}:$PATH GOTOOLCHAIN=local")
    return 0
