"""
Everything that can go wrong, as a tree; adapters translate at the edge with ``raise … from e``.

::

    BurstError
    ├── Retryable                 the same call may succeed later
    │   ├── SlurmUnavailable      slurmctld or slurmdbd does not answer, or asked to try again
    │   ├── KubeUnavailable       the API server does not answer, or is overloaded
    │   │   └── NamespaceSettles  a namespace is being made or deleted: soon it takes pods
    │   └── UsersUnavailable      this host's name service does not answer
    └── Permanent                 the same call will fail again
        ├── SettingsError         the settings file: names file, field and what is allowed
        ├── ImageError            an image reference that can't be read
        ├── BadRequest            a request that makes no sense; the message names the field
        ├── NotAuthenticated      a MUNGE credential that proves nothing
        ├── NotAllowed            who asks is known, and may not
        ├── NoSuchJob             slurmctld knows no such job
        ├── NoSuchUser            this host knows no such user
        ├── JobRefusesMove        slurmctld refused to change the job (it started, ended, or may not go there)
        ├── SlurmRefused          any other refusal of slurmctld
        ├── KubeRefused           the API server refused: quota, admission, permission, bad object
        └── AccountingMissing     slurmdbd can't be asked this here; the message says what to install
"""


class BurstError(Exception):
    """Base of all errors of the agent; the text is a sentence that can be shown to an administrator."""


class Retryable(BurstError):
    """The same call may succeed later."""


class SlurmUnavailable(Retryable):
    """The slurmctld or slurmdbd does not answer, or asked to try again."""


class KubeUnavailable(Retryable):
    """The API server does not answer, or is overloaded."""


class NamespaceSettles(KubeUnavailable):
    """A namespace is being made or deleted: soon it takes pods."""


class UsersUnavailable(Retryable):
    """This host's name service does not answer."""


class Permanent(BurstError):
    """The same call will fail again."""


class SettingsError(Permanent):
    """The settings can't be used; names file, field and what is allowed."""


class ImageError(Permanent):
    """An image reference that can't be read."""


class BadRequest(Permanent):
    """A request that makes no sense; the message names the field."""


class NotAuthenticated(Permanent):
    """A MUNGE credential that proves nothing."""


class NotAllowed(Permanent):
    """Who asks is known, and may not."""


class NoSuchJob(Permanent):
    """The slurmctld knows no such job."""


class NoSuchUser(Permanent):
    """This host's name service knows no such user."""


class JobRefusesMove(Permanent):
    """The slurmctld refused to change the job: it started, ended, or may not go there."""


class SlurmRefused(Permanent):
    """Any other refusal of slurmctld."""


class KubeRefused(Permanent):
    """The API server refused: quota, admission, permission, bad object."""


class AccountingMissing(Permanent):
    """Slurmdbd can't be asked this here; the message says what to install."""
