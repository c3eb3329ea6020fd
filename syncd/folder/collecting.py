"""Async. Letting go of what no promise covers, once others have proved that they hold what the folder still promises.

What this device promises stays. What nobody promises any more goes. Between the two, where this device keeps less than
the folder (by its own rules, or because space is short), a block goes only if so many other devices as the policy says
have just shown that they hold it, and promised to keep it for a week. Where they have not, nothing of it goes, and
`status` says why as soon as space is short.
"""

from __future__ import annotations

from datetime import UTC

from ca.values import dataclass
from syncd.engine.retention import Policy, ladder, show_tiers
from syncd.folder.ground import Ground, Withheld
from syncd.folder.proving import Copies
from syncd.model.cipher import max_ciphertext
from syncd.store import proofs, pruning
from syncd.store.pruning import Collection, Marking, PackUse, Terms


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning has done, or would do. `keep`: the promise that was kept, smaller where space is short."""

    versions: int
    freed: int
    kept_bytes: int
    packs: int
    """Which were exchanged; of a dry run, would be."""
    keep: str
    is_short: bool
    """Even what is promised at least, and what waits for copies, takes more than the space allowed."""
    withheld: Withheld


class Collector:
    """One folder's."""

    def __init__(self, ground: Ground, copies: Copies) -> None:
        self._ground = ground
        self._store = ground.store
        self._copies = copies
        self._db = ground.db

    async def prune(self, *, dry_run: bool) -> Pruned:
        """Let go of what may go. A dry run asks others as well, but has nobody promise anything."""
        terms: Terms = await self._db(pruning.db_terms, self._store)
        policy = terms[0]
        for tiers in ladder(policy):
            marking, withheld = await self._mark(Policy(tiers, policy.floor), terms, hold=not dry_run)
            collection = await self._db(pruning.db_collection, self._store, marking)
            fits = policy.space_bytes is None or collection.kept_bytes <= policy.space_bytes
            if fits:
                break
        freed, packs, kept_bytes = collection.freed, len(collection.packs), collection.kept_bytes
        if not dry_run:
            self._ground.withheld = withheld
            self._ground.is_over_space = not fits
            gone = await self._collect(marking, collection)
            freed, packs = pruning.freed_bytes(gone), len(gone)
            kept_bytes += collection.freed - freed  # what was to go, and stands where it stood
            await self._db(proofs.db_forget_old, self._store, self._ground.clock.now())
            await self._ground.recount()
            self._ground.tell()
        keep = show_tiers(tiers)
        return Pruned(marking.pruned, freed, kept_bytes, packs, keep, not fits, withheld)

    async def _mark(self, narrow: Policy, terms: Terms, *, hold: bool) -> tuple[Marking, Withheld]:
        """Mark what has to stay: what is promised, here or to others, and what others have not proved to hold."""
        store, now = self._store, self._ground.clock.now()
        wanted = await self._db(pruning.db_copies, store)
        came = await self._db(pruning.db_arrivals, store, now)
        marking = Marking(store, await self._db(pruning.db_promise, store, narrow, now, UTC), came, terms)
        if wanted:
            marking.others = frozenset(store.others)
            marking.wider = await self._db(pruning.db_folder_promise, store, terms[0], now, UTC)
        while await self._db(marking.db_step):
            pass
        held = await self._db(proofs.db_held, store, now)
        promised = len(held - marking.kept)
        marking.kept |= held
        early = marking.early - marking.kept
        if not early:
            return marking, Withheld(wanted, promised=promised)
        packed = await self._db(proofs.db_packed, store, early)
        sizes = {entry.cid: max_ciphertext(entry.length) for entry in packed}
        proved = await self._copies.prove(sizes, wanted, hold=hold)
        lacking = {entry.pid: entry.length for entry in packed if entry.cid not in proved.cids}
        marking.kept |= lacking.keys()
        return marking, Withheld(
            wanted, len(early) - len(lacking), len(lacking), sum(lacking.values()), proved.oldest, proved.why, promised
        )

    async def _collect(self, marking: Marking, collection: Collection) -> list[PackUse]:
        """Exchange packs; those that were."""
        gone: list[PackUse] = []
        async with self._ground.packing:
            rest = list(collection.packs)
            while rest:
                size, some = 0, []
                while rest and size < pruning.BYTES_AT_ONCE:
                    some.append(rest.pop())
                    size += some[-1].size
                rewritten = await self._ground.blocking(pruning.rewrite, self._store, some)
                if not await self._db(pruning.db_exchange, self._store, marking, rewritten, self._ground.clock.now()):
                    break  # somebody has published meanwhile, or something was promised: another time
                gone += rewritten.old
        return gone
