"""
Ended burst jobs of this month and of the last days, as slurmdbd has them: loaded once, then kept up with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog

from burst_agent.amounts import month_start
from burst_agent.errors import BurstError
from burst_agent.model import Accounts, JobUsage
from burst_agent.policy import Books, Past, Terms
from burst_agent.ports import AccountingPort, Clock

log = structlog.get_logger(__name__)

#: Pods' starts are learned from at least so far back, in the first days of a month too.
LEARN_S = 7 * 86400
#: slurmdbd hears of an ended job with a delay: what ended so long before the last look is looked for again.
OVERLAP_S = 3600
#: Seconds for which an answer about a user's accounts is believed, that there was none too: users ask often.
ACCOUNTS_S = 300.0
#: Seconds that such a user waits for slurmdbd at most.
ACCOUNTS_PATIENCE_S = 3.0
_NO_LIMIT = 10_000_000


class History:
    """
    Asks slurmdbd. A restart loads the same anew.
    """

    def __init__(self, accounting: AccountingPort, clock: Clock, *, partition: str) -> None:
        """``partition`` is the burst partition."""
        self._accounting = accounting
        self._clock = clock
        self._partition = partition
        self._jobs: dict[tuple[int, int], JobUsage] = {}
        self._until = 0.0
        #: Resources that slurmdbd keeps of jobs; ``None``: its last answer was none.
        self._kept: Collection[str] | None = None
        #: By user: when slurmdbd was asked, and what it said.
        self._accounts: dict[str, tuple[float, Accounts]] = {}
        self._asking: dict[str, asyncio.Task[Accounts]] = {}
        #: What is known.
        self.past = Past()

    async def accounts(self, user: str) -> set[str]:
        """
        Name the accounts that a user may charge or had burst jobs in; the latter alone where slurmdbd does not say.
        """
        charged = (await self._may_charge(user)).names
        return {job.account for job in self._jobs.values() if job.user == user} | charged

    async def default_account(self, user: str, patience_s: float) -> str:
        """
        Name the account that a user's jobs are charged to where they name none; empty where that is not known in time.
        The answer that comes too late is there for the next who asks.
        """
        if user not in self._asking:
            self._asking[user] = asyncio.create_task(self._may_charge(user))
            self._asking[user].add_done_callback(lambda _: self._asking.pop(user))
        asking = self._asking[user]
        done, _ = await asyncio.wait({asking}, timeout=patience_s)
        return asking.result().default if done else ""

    async def _may_charge(self, user: str) -> Accounts:
        now = self._clock.now()
        asked, found = self._accounts.get(user, (-ACCOUNTS_S, Accounts()))
        if now - asked >= ACCOUNTS_S:
            try:
                async with asyncio.timeout(ACCOUNTS_PATIENCE_S):
                    found = await self._accounting.accounts(user)
            except (BurstError, TimeoutError) as e:
                log.info("accounts_unknown", user=user, error=str(e) or f"no answer in {ACCOUNTS_PATIENCE_S:g} s")
            self._accounts[user] = (now, found)
        return found

    async def read(self, terms: Terms) -> None:
        """Ask once. What can't be known is said in ``past``."""
        now, self._kept = self._clock.now(), None
        try:
            await self._load(min(month_start(now, terms.policy.zone), now - LEARN_S), now)
            self._kept = await self._accounting.kept_tres()
        except BurstError as e:
            log.info("past_unknown", error=str(e))
            self.past = Past(Books(unknown=str(e)), self.past.pod_starts)
        except Exception as e:
            # Whatever one answer held, the next one is read: an agent that asked no more would keep all budgets shut.
            log.exception("past_unreadable")
            self.past = Past(Books(unknown=f"slurmdbd's answer can't be read: {e!r}"), self.past.pod_starts)
        else:
            self.past = terms.past(self._jobs.values(), now, self._kept)

    def reckon(self, terms: Terms) -> None:
        """Sum up anew what is known: at other prices it has cost something else."""
        if self._kept is not None:
            self.past = terms.past(self._jobs.values(), self._clock.now(), self._kept)

    async def keep(self, terms: Callable[[], Terms], every_s: float) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self.read(terms())
            await self._clock.wait(asyncio.Event(), every_s)

    async def _load(self, oldest: float, now: float) -> None:
        since = max(oldest, self._until - OVERLAP_S)
        found = await self._accounting.finished_jobs(partition=self._partition, since=int(since), limit=_NO_LIMIT)
        known = self._jobs | {(job.job_id, job.start): job for job in found}
        self._jobs = {key: job for key, job in known.items() if job.start + job.elapsed_s >= oldest}
        self._until = now
