from __future__ import annotations

from datetime import date

from dcops.core.retirement import retirements

DAY = date(2026, 11, 30)
SCHEMA = {
    "properties": {
        "api_model": {"type": "string", "default": "new", "x-retires": {"old": "2026-11-30"}},
        "voice": {"type": "string", "default": "old"},
    }
}


def _told(today: date, **values: object) -> list[str]:
    return [str(each) for each in retirements(values, SCHEMA, today)]


def test_what_ends_is_named_with_its_day() -> None:
    assert _told(date(2026, 11, 29), api_model="old") == ["api_model old will be retired on 2026-11-30"]
    assert _told(DAY, api_model="old", voice="old") == ["api_model old was retired on 2026-11-30"]
    assert retirements({"api_model": "old"}, SCHEMA, DAY)[0].do.endswith("dcops toggle set api_model VALUE")


def test_what_does_not_end_is_not_named() -> None:
    assert (
        _told(DAY)
        == _told(DAY, api_model="other")
        == _told(DAY, api_model=7)
        == _told(DAY, strange="old")
        == []
    )


def test_a_default_ends_too() -> None:
    declared = {"api_model": {**SCHEMA["properties"]["api_model"], "default": "old"}}
    assert [each.over for each in retirements({}, {"properties": declared}, DAY)] == [True]
