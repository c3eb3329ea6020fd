"""Async. What the control socket tells and changes about who may come in: refusals, and a folder's address rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ca.addresses import AddressRule, AddressRules, parse_network, sorted_rules
from ca.device import device_text
from ca.ids import DeviceId
from ca.roles import Action
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, moment
from syncd.errors import SyncdError, TrustError

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


class Guarding:
    """A part of the control socket's methods."""

    def __init__(
        self,
        daemon: Daemon,
        find_folder: Callable[[str | None, str | None], RunningFolder],
        push: Callable[[RunningFolder], Awaitable[list[str]]],
    ) -> None:
        self._daemon = daemon
        self._find_folder = find_folder
        self._push = push

    async def security(self, params: Params, progress: Progress) -> Json:
        """The newest refusals, oldest first."""
        refusals = self._daemon.refusals
        return {
            "schema": "syncd.security/1",
            "refusals": [
                {
                    "event": burst.event.value,
                    "host": burst.host,
                    "why": burst.why,
                    "count": burst.count,
                    "began": moment(burst.began),
                    "last": moment(burst.last),
                }
                for burst in refusals.recent()[-params["last"] :]
            ],
        }

    async def addresses(self, params: Params, progress: Progress) -> Json:
        """The address rules of a folder; with `allow`, `deny` or `clear` they are changed first."""
        folder = self._find_folder(params["folder"], params["cwd"])
        membership = folder.membership
        pending: list[str] = []
        if params["clear"] or params["allow"] or params["deny"]:
            if not membership.may(Action.SET_POLICY):
                raise TrustError("your role does not allow to change the address rules", id="SY-SHARE-04")
            rules = self._rules(folder, params)
            if not params["dry_run"]:
                await membership.rule_addresses(rules)
                pending = await self._push(folder)
        else:
            rules = membership.roster.addresses
        names = {device.id: device.name for member in membership.members() for device in member.devices}
        return {
            "schema": "syncd.folder.addresses/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "rules": [
                {
                    "action": "allow" if rule.allows else "deny",
                    "network": str(rule.network),
                    "device": None if rule.device is None else device_text(rule.device),
                    "device_name": None if rule.device is None else names.get(rule.device, ""),
                }
                for rule in rules
            ],
            "pending": pending,
        }

    def _rules(self, folder: RunningFolder, params: Params) -> AddressRules:
        device = None if params["device"] is None else self._device(folder, params["device"])
        kept = () if params["clear"] else folder.membership.roster.addresses
        added = [AddressRule(True, parse_network(text), device) for text in params["allow"]]
        added += [AddressRule(False, parse_network(text), device) for text in params["deny"]]
        return sorted_rules([*kept, *added])

    def _device(self, folder: RunningFolder, name: str) -> DeviceId:
        devices = [device for member in folder.membership.members() for device in member.devices]
        found = [one.id for one in devices if one.name == name or device_text(one.id).startswith(name)]
        if len(found) != 1:
            known = ", ".join(sorted(one.name for one in devices))
            raise SyncdError(f"{name} is not the name of one device", id="SY-FIND-01", why=f"known here: {known}")
        return found[0]
