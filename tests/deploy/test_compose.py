"""The compose file: names what exists, exposes nothing, starts commands that there are."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from model.link import connect
from service.cli import app
from service.commands.serve import bind
from service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "pollux"]


def test_the_services_are_those_that_the_documentation_names() -> None:
    assert set(SERVICES) == {"gateway", "worker", "valkey", "prometheus", "grafana"}
    assert OURS == ["gateway", "worker"]


def test_mounted_files_and_volumes_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), mount
            else:
                assert source in COMPOSE["volumes"], mount
    assert (DEPLOY / SERVICES["gateway"]["build"]["context"] / "Dockerfile").exists()


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", OURS)
def test_commands_and_their_options_exist(name: str) -> None:
    command, *options = SERVICES[name]["command"]
    known = typer.main.get_command(app).commands[command]
    names = {text for option in known.params for text in option.opts}
    assert {option for option in options if option.startswith("--")} <= names


@pytest.mark.parametrize("name", OURS)
def test_settings_in_the_environment_are_accepted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        field = variable.removeprefix("POLLUX_").lower()
        assert field in Settings.model_fields, variable
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    settings = Settings()
    assert settings.model == Settings.model_fields["model"].default
    connection = connect(settings.redis).connection_pool.connection_kwargs
    assert connection["host"] in SERVICES


def test_the_gateway_may_start_with_the_keys_of_the_environment_or_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = SERVICES["gateway"]["environment"]
    assert environment["POLLUX_API_KEYS"] == "${POLLUX_API_KEYS:-}"
    for variable in ("POLLUX_API_KEYS", "POLLUX_ALLOW_OPEN"):
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-(.*)\}", r"\1", environment[variable]))
    settings = Settings(host="0.0.0.0", port=0)
    assert settings.allow_open
    assert not settings.asks_for_keys
    bind(settings).close()


@pytest.mark.parametrize("name", OURS)
def test_it_is_given_longer_to_stop_than_requests_are_given_to_end(name: str) -> None:
    grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["shutdown_grace"].default


def test_images_of_others_are_pinned_to_a_version() -> None:
    for name, service in SERVICES.items():
        if name not in OURS:
            assert re.search(r":v?\d", service["image"]), service["image"]
