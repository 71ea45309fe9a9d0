"""What the role `grafana` puts on its nodes: the operators' Grafana, and the one behind nginx for looking."""

import re
from copy import deepcopy
from typing import Any

import pytest
import render
import yaml
from standins.grafana.grafana_standin.settings import settings_of

HOME = "/opt/aicluster/grafana/"
PI51, PI41 = "192.168.1.147", "192.168.1.204"
LOCATIONS = "/opt/aicluster/nginx/conf/locations/ingress.conf"
NODES = [(i, host) for i in sorted(render.SOURCES) for host in render.hosts_running("grafana", i)]
every_node = pytest.mark.parametrize(("inventory", "host"), NODES)


def container(host: str = PI41, inventory: str = "production") -> dict[str, Any]:
    merged: dict[str, Any] = render.compose_of("grafana", inventory=inventory, host=host)["services"][
        "grafana"
    ]
    return merged


def files(host: str = PI41) -> dict[str, str]:
    return render.render_role("grafana", host=host)


def locations() -> dict[str, str]:
    """Location -> the text of its block, on the gateway."""
    text = render.render_role("nginx", host=PI51)[LOCATIONS]
    return dict(re.findall(r"^location (.+?) \{\n(.*?)^\}", text, re.M | re.S))


# --- two Grafanas ---


def test_operators_reach_theirs_at_its_port():
    assert container(PI41)["ports"] == [f"{PI41}:3000:3000"]
    environment = container(PI41)["environment"]
    assert environment["GF_SERVER_ROOT_URL"] == f"http://{PI41}:3000/"
    assert environment["GF_SERVER_SERVE_FROM_SUB_PATH"] == "false"
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


def test_the_gateway_s_is_reached_through_nginx_only_and_is_for_looking():
    assert "ports" not in container(PI51)
    environment = container(PI51)["environment"]
    assert environment["GF_SERVER_ROOT_URL"] == f"http://{PI51}/grafana/"
    assert environment["GF_SERVER_SERVE_FROM_SUB_PATH"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"


@every_node
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("GF_SERVER_ENABLE_GZIP", "false", id="compressing took whole boards down"),
        pytest.param("GF_ANALYTICS_REPORTING_ENABLED", "false", id="nothing is told to the maker"),
        pytest.param("GF_ANALYTICS_CHECK_FOR_UPDATES", "false", id="nor asked"),
        pytest.param("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false", id="nor asked for plugins"),
        pytest.param("GF_NEWS_NEWS_FEED_ENABLED", "false", id="no news"),
        pytest.param("GF_PLUGINS_PREINSTALL_DISABLED", "true", id="no plugin is fetched at start"),
        pytest.param("GF_PLUGINS_PLUGIN_ADMIN_ENABLED", "false", id="nor by hand"),
        pytest.param("GF_UNIFIED_ALERTING_EXECUTE_ALERTS", "false", id="rules are Prometheus'"),
        pytest.param("GF_USERS_ALLOW_SIGN_UP", "false", id="nobody makes a user of himself"),
    ],
)
def test_a_grafana_for_a_small_board(inventory, host, name, value):
    assert container(host, inventory)["environment"][name] == value


@every_node
def test_environment_values_are_text_as_compose_wants_them(inventory, host):
    assert all(isinstance(value, str) for value in container(host, inventory)["environment"].values())


@every_node
def test_every_setting_is_one_the_stand_in_knows(inventory, host, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("a password\n")
    environment = container(host, inventory)["environment"]
    by_file = environment["GF_SECURITY_ADMIN_PASSWORD"].replace("$$", "$")
    here = by_file.replace("/run/secrets/grafana_admin_password", str(secret))
    settings = settings_of(environment | {"GF_SECURITY_ADMIN_PASSWORD": here})
    assert settings.admin_password == "a password"
    assert settings.sub_path == ("" if host.endswith(".204") else "/grafana")


@pytest.mark.parametrize(
    ("memory_mb", "expected"),
    [pytest.param(512, "409MiB", id="four fifths of 512"), pytest.param(1024, "819MiB", id="and of 1024")],
)
def test_the_heap_is_collected_before_the_container_s_limit(memory_mb, expected):
    compose = render.compose_of("grafana", host=PI41, entry={"memory_mb": memory_mb})
    assert compose["services"]["grafana"]["environment"]["GOMEMLIMIT"] == expected


# --- the container ---


@every_node
def test_grafana_runs_as_the_image_s_user_and_needs_no_capability(inventory, host):
    grafana = container(host, inventory)
    assert grafana["user"] == "472:0"
    assert grafana["cap_drop"] == ["ALL"]
    assert grafana["read_only"] is True
    assert "cap_add" not in grafana


@every_node
def test_all_but_the_database_is_mounted_read_only(inventory, host):
    volumes = container(host, inventory)["volumes"]
    assert [volume for volume in volumes if not volume.endswith(":ro")] == ["grafana_data:/var/lib/grafana"]


@every_node
def test_the_password_is_a_file_and_nowhere_else(inventory, host):
    password = render.made_up_secrets()["grafana_admin_password"]
    found = render.files_of("grafana", inventory=inventory, host=host)
    [secret] = [file for file in found if password.encode() in file.content]
    assert secret.path == f"{HOME}secrets/admin_password"
    assert (secret.mode, secret.uid) == ("0400", 472)
    variables = container(host, inventory)["environment"]
    assert variables["GF_SECURITY_ADMIN_PASSWORD"] == "$$__file{/run/secrets/grafana_admin_password}"
    assert not [name for name in variables if name.endswith("__FILE")], "the image would export its content"


@every_node
def test_the_health_check_asks_below_the_path(inventory, host):
    found = {file.path: file for file in render.files_of("grafana", inventory=inventory, host=host)}
    script = found[f"{HOME}bin/grafana-health"]
    assert container(host, inventory)["healthcheck"]["test"] == ["CMD", "/opt/aicluster/bin/grafana-health"]
    assert script.mode == "0755"
    path = "/api/health" if host.endswith(".204") else "/grafana/api/health"
    assert f"http://127.0.0.1:3000{path}" in script.content.decode()


@every_node
def test_provisioning_shows_the_password_to_no_command_line(inventory, host):
    script = render.render_role("grafana", inventory=inventory, host=host)[f"{HOME}bin/provision"]
    assert "--password-from-stdin" in script
    assert "--header @-" in script


# --- provisioned files ---


def test_dashboards_are_files_that_nobody_edits():
    [provider] = yaml.safe_load(files()[f"{HOME}provisioning/dashboards/all.yml"])["providers"]
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is False, "a dashboard whose file goes, goes"
    mounted = dict(volume.split(":")[:2] for volume in container()["volumes"])
    assert provider["options"]["path"] == mounted[f"{HOME}dashboards"]
    home = container()["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert f"{HOME}dashboards/{home.removeprefix(mounted[HOME + 'dashboards'] + '/')}" in files()


@every_node
def test_data_sources_that_are_not_listed_any_more_go(inventory, host):
    text = render.render_role("grafana", inventory=inventory, host=host)[
        f"{HOME}provisioning/datasources/all.yml"
    ]
    provisioned = yaml.safe_load(text)
    assert (provisioned["apiVersion"], provisioned["prune"]) == (1, True)
    assert isinstance(provisioned["datasources"], list)


# --- nginx ---


def test_nginx_knows_the_way_to_the_grafana_beside_it():
    assert set(locations()) == {"= /grafana", "/grafana/", "/grafana/login", "@grafana_away"}
    way = locations()["/grafana/"]
    assert "proxy_pass http://$grafana:3000;" in way
    assert "proxy_set_header Host $http_host;" in way


def test_whoever_comes_through_nginx_cannot_log_in():
    assert 'proxy_set_header Authorization "";' in locations()["/grafana/"]
    refused = locations()["/grafana/login"]
    assert "return 403" in refused
    assert "PI41" in refused, "where operators log in"


def test_who_may_log_in_may_do_so_through_nginx():
    nodes = deepcopy(render.cluster("production"))
    [services] = [node["services"] for node in nodes if node["host"] == PI51]
    del services["grafana"]["ingress"]["login"]
    shown = render.render_role("nginx", host=PI51, overrides={"cluster_nodes": nodes})[LOCATIONS]
    assert "Authorization" not in shown
    assert "/grafana/login" not in shown
