"""
What can go wrong with a sandbox.

    SandboxError            anything below; the message says what happened and what to do
      PrerequisiteError     the machine lacks something that a sandbox needs
      BuildError            a part of the cache could not be built
      BootError             a host did not come up
      ServiceError          a service did not start, stop or become ready
      LeftoverError         `down` could not remove everything
"""

from __future__ import annotations


class SandboxError(Exception):
    """
    A sandbox could not do what it was asked.
    """


class PrerequisiteError(SandboxError):
    """
    The machine lacks something that a sandbox needs.
    """


class BuildError(SandboxError):
    """
    A part of the cache could not be built.
    """


class BootError(SandboxError):
    """
    A host of a sandbox did not come up.
    """


class ServiceError(SandboxError):
    """
    A service did not start, stop or become ready.
    """


class LeftoverError(SandboxError):
    """
    Something of a sandbox is left after `down`.
    """
