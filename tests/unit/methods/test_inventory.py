"""What the doctor tells of keys: age, end, and who does not use them."""

from __future__ import annotations

from dataclasses import replace

from syncd.catalogue import CATALOGUE
from syncd.methods.inventory import DAY_S, UNUSED_DAYS, WARN_DAYS, Holder, Keys, key_checks

NOW = 1_800_000_000.0
KEYS = Keys(
    "Notes",
    7,
    int(NOW) - 3 * DAY_S,
    int(NOW) + 394 * DAY_S,
    2,
    3,
    [Holder("ben", "laptop", NOW), Holder("eve", "phone", None)],
)


def test_keys_in_use_are_told_with_age_and_end() -> None:
    (check,) = key_checks(KEYS, NOW)
    assert check.ok
    assert check.why == ("keys of epoch 7, 3 days old, certificate until 2028-02-13T08:00:00Z, held by 3 devices")


def test_end_of_a_certificate_is_told_sixty_days_before() -> None:
    early, late = (replace(KEYS, valid_until=int(NOW) + days * DAY_S) for days in (WARN_DAYS, WARN_DAYS - 1))
    assert [check.ok for check in key_checks(early, NOW)] == [True]
    (check,) = key_checks(late, NOW)
    assert (check.ok, check.id) == (False, "SY-KEY-08") and "SY-KEY-08" in CATALOGUE
    assert check.fix.startswith("syncd rotate Notes")


def test_device_that_is_not_used_is_told() -> None:
    used, unused = (Holder("ben", "thinkpad", NOW - days * DAY_S) for days in (UNUSED_DAYS - 1, UNUSED_DAYS))
    assert all(check.ok for check in key_checks(replace(KEYS, holders=[used]), NOW))
    *_, check = key_checks(replace(KEYS, holders=[used, unused]), NOW)
    assert (check.ok, check.id) == (False, "SY-KEY-09") and "SY-KEY-09" in CATALOGUE
    assert check.why == "thinkpad of ben has the keys and was not seen from here for 90 days"
    assert check.fix.endswith("syncd device archive Notes thinkpad")


def test_inventory_has_age_end_holders_and_who_does_not_use_them() -> None:
    at = int(NOW)
    holders = [
        Holder("ben", "laptop", NOW - 40 * DAY_S, "b", "editor", at - 300 * DAY_S),
        Holder("eve", "phone", None, "e", "viewer", at - 90 * DAY_S),
        Holder("eve", "tablet", None, "t", "viewer", at - 89 * DAY_S),
        Holder("ada", "server", NOW - 200 * DAY_S, "a", "owner", at - 300 * DAY_S, is_connected=True),
    ]
    told = replace(KEYS, holders=holders, recovery=["SY1-KEY"]).as_json(NOW, UNUSED_DAYS)
    assert (told["age_days"], told["valid_until"]) == (3, "2028-02-13T08:00:00Z")
    assert told["recovery_keys"] == ["SY1-KEY"]
    listed = told["holders"]
    assert isinstance(listed, list)
    assert [(one["id"], one["unused_days"], one["unused"]) for one in listed] == [
        ("b", 40, False),
        ("e", 90, True),
        ("t", 89, False),
        ("a", None, False),
    ]
    strict = replace(KEYS, holders=holders).as_json(NOW, 30)["holders"]
    assert isinstance(strict, list) and [one["unused"] for one in strict] == [True, True, True, False]


def test_one_owner_is_told_unless_nobody_else_is_there() -> None:
    alone = replace(KEYS, owners=1, members=1)
    assert len(list(key_checks(alone, NOW))) == 1
    *_, check = key_checks(replace(KEYS, owners=1), NOW)
    assert check.ok and "recovery key" in check.why
