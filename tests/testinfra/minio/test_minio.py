"""The object store gives every service what is its own."""

import pytest

SIGN_IN = '. /opt/aicluster/bin/sign-in; set +e; sign_in user minio "$(secret_of minio)"; '

WRITE_ELSEWHERE = "echo x > /tmp/x; mc cp /tmp/x user/models/x; status=$?; rm /tmp/x; exit $status"


@pytest.fixture
def as_a_service(inside):
    """Runs a script signed in as the store's own service, a user with few rights."""
    return lambda script: inside("minio", "sh", "-c", SIGN_IN + script)


def test_a_service_sees_its_own_buckets_only(as_a_service, node):
    listed = as_a_service("mc ls user").stdout.splitlines()
    assert [line.split()[-1].rstrip("/") for line in listed] == node.services["minio"]["buckets"]


@pytest.mark.parametrize(("script", "refusal"), [
    pytest.param(WRITE_ELSEWHERE, "Insufficient permissions", id="write where it has no rights"),
    pytest.param("mc admin accesskey create user minio", "Access Denied", id="make keys"),
])  # fmt: skip
def test_a_service_cannot(as_a_service, script, refusal):
    refused = as_a_service(script)
    assert refused.rc != 0
    assert refusal in refused.stdout + refused.stderr
