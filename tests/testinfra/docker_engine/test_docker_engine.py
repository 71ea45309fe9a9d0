"""What the role docker_engine promises of every node: the engine that runs has read its configuration."""


def test_the_engine_keeps_containers_while_it_restarts_and_logs_to_the_journal(host):
    assert (
        host.check_output("docker info --format '{{.LiveRestoreEnabled}} {{.LoggingDriver}}'")
        == "true journald"
    )
