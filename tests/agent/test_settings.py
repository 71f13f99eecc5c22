from pathlib import Path

import pytest

from dcops.agent.settings import Address, Settings, SettingsError

VARIABLES = {
    "DCOPS_LISTEN": "unix:/run/a.sock",
    "DCOPS_CONTROL_DIR": "/control",
    "DCOPS_STATE_DIR": "/state",
    "DCOPS_WORKSPACE": "/work",
    "DCOPS_RELEASE": "r1",
    "DCOPS_INSTANCE": "i1",
    "DCOPS_ENVIRONMENT": "dev",
    "ANTHROPIC_API_KEY": "f" * 64,
}


def test_settings_come_from_the_contracts_variables() -> None:
    settings = Settings.from_environment(VARIABLES | {"ANTHROPIC_BASE_URL": "http://gateway:1"})
    assert settings.listen == Address(path=Path("/run/a.sock"))
    assert settings.control_dir == Path("/control")
    assert settings.state_dir == Path("/state")
    assert settings.workspace == Path("/work")
    assert (settings.release, settings.instance, settings.environment) == ("r1", "i1", "dev")
    assert settings.base_url == "http://gateway:1"
    assert settings.stop_seconds == 20
    assert (settings.max_running_turns, settings.disk_free) == (64, 256 << 20)
    assert settings.sessions_keep is None


def test_limits_may_be_none() -> None:
    told = {"DCOPS_DISK_FREE": "0", "DCOPS_SESSIONS_KEEP": "0", "DCOPS_MAX_RUNNING_TURNS": "3"}
    settings = Settings.from_environment(VARIABLES | told)
    assert (settings.max_running_turns, settings.disk_free, settings.sessions_keep) == (3, 0, None)
    assert Settings.from_environment(VARIABLES | {"DCOPS_SESSIONS_KEEP": "86400.0"}).sessions_keep == 86400
    with pytest.raises(SettingsError, match="DCOPS_DISK_FREE"):
        Settings.from_environment(VARIABLES | {"DCOPS_DISK_FREE": "256M"})


def test_the_token_is_not_in_the_representation() -> None:
    settings = Settings.from_environment(VARIABLES)
    assert settings.api_key == "f" * 64
    assert "ffff" not in repr(settings)


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(VARIABLES | {name: ""})


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1e3"])
def test_a_stop_time_must_be_a_number_above_zero(text: str) -> None:
    with pytest.raises(SettingsError, match="DCOPS_STOP_SECONDS"):
        Settings.from_environment(VARIABLES | {"DCOPS_STOP_SECONDS": text})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp:0.0.0.0:8000", Address(host="0.0.0.0", port=8000)),
        ("tcp:[::1]:0", Address(host="::1", port=0)),
        ("unix:/a b/c", Address(path=Path("/a b/c"))),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text", ["", "unix:relative", "tcp:8000", "tcp::8000", "tcp:host:99999", "http://x", "unix:/" + "a" * 107]
)
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        Address.parse(text)
