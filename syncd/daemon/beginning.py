"""Async. How a folder's membership begins on this device: founded, joined, or read back from the disk."""

from __future__ import annotations

from functools import partial

from ca import authority, keyfiles
from ca.authority import Outcome
from ca.ids import FolderId
from ca.recovery import PublicRecovery
from syncd.daemon import standing as steps
from syncd.daemon.devicedb import Also, StoredRoster
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership, Opened
from syncd.daemon.standing import Standing
from syncd.daemon.tlsfiles import drop_tls_files
from syncd.errors import StoreCorrupt, TrustError
from syncd.protocol.invitation import Admission, Offer
from syncd.protocol.messages import RosterPage


async def create_folder(
    installation: Installation,
    *,
    folder_name: str,
    member_name: str,
    device_name: str,
    recovery: PublicRecovery | None = None,
    also: Also | None = None,
) -> FolderMembership:
    """A new folder with this device as its only member. Without `recovery` the installation's key is used."""
    run = installation.workers.run_blocking
    recovery = recovery or installation.recovery
    if recovery is None:
        if installation.home is None:
            raise ValueError("where there is no home the recovery key has to be given")
        home, random = installation.home, installation.random.token
        # The home key as it is in the lane, where no change of the passphrase comes between: one that a lock of before
        # had opened would seal the new file for ever.
        key = await installation.on_disk(lambda: keyfiles.load_or_create_recovery(home, random, installation.home_key))
        recovery = key.public
    make = partial(
        authority.make_genesis,
        folder_name=folder_name,
        member_name=member_name,
        device_name=device_name,
        recovery=recovery,
    )
    outcome = await run(make, installation.signer())
    return await _begin(installation, None, steps.found(installation.id, outcome), also)


async def join_folder(
    installation: Installation, offer: Offer, admission: Admission, *, also: Also | None = None
) -> FolderMembership:
    """Begin as a new member; on disk when this returns. A device that comes back keeps what it knew.

    Raises: TrustError (Rollback for a roster older than the one offered or known), RemoteProtocolError.
    """
    run, keys = installation.workers.run_blocking, installation.keys
    after = await run(steps.join_untrusted, keys, offer, admission, installation.sealer)
    before = await _maybe_load(installation, offer.folder)
    if before is None:
        return await _begin(installation, None, after, also)
    page = RosterPage(admission.entries, after.roster.number, admission.wrap, admission.proof)
    after, update = await run(steps.receive_untrusted, before, page, keys, installation.sealer, installation.now_s())
    if update.fork or not after.is_current:
        raise TrustError("the roster received is not the one that this device knows of this folder", id="SY-FORK-01")
    return await _begin(installation, before, after, also)


async def begin_recovered(
    installation: Installation, outcome: Outcome, *, also: Also | None = None
) -> FolderMembership:
    """Begin as the owner that a recovery key made of this device; on disk when this returns."""
    return await _begin(installation, None, steps.found(installation.id, outcome), also)


async def load_folder(installation: Installation, folder: FolderId) -> FolderMembership:
    """A folder that is on disk. Raises StoreCorrupt when it cannot be read back, or is not there."""
    stored = await installation.on_disk(installation.db.load_roster, folder)
    if stored is None:
        raise StoreCorrupt("the membership of a folder is missing on the disk", id="SY-DB-01")
    standing, opened = await installation.workers.run_blocking(_restore, installation, folder, stored)
    return FolderMembership(installation, standing, opened)


def _restore(installation: Installation, folder: FolderId, stored: StoredRoster) -> tuple[Standing, Opened | None]:
    """Where this device stood, and its keys; what `folder show` wrote for an epoch that is over goes."""
    standing = steps.restore(installation.keys, folder, stored, installation.sealer)
    if installation.home is not None:
        drop_tls_files(installation.home, folder, standing.roster.epoch.member_certificate)
    return standing, None if standing.secrets is None else steps.make_keyring(standing, {})


async def _maybe_load(installation: Installation, folder: FolderId) -> Standing | None:
    stored = await installation.on_disk(installation.db.load_roster, folder)
    if stored is None:
        return None
    return await installation.workers.run_blocking(
        steps.restore, installation.keys, folder, stored, installation.sealer
    )


async def _begin(
    installation: Installation, before: Standing | None, after: Standing, also: Also | None
) -> FolderMembership:
    change = steps.change_between(before, after)
    await installation.on_disk(installation.db.save_roster, change, [] if also is None else [also])
    await installation.keep_copy()
    membership = FolderMembership(installation, after)
    await membership.open_keyring()
    return membership
