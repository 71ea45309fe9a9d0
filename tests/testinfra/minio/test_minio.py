"""The object store gives every service what is its own."""

CONTAINER = "docker ps --quiet --filter label=aicluster.service=minio"


def inside(host, script):
    """Run a script in the container, signed in as the store's own service, a user with few rights."""
    opening = '. /opt/aicluster/bin/sign-in; set +e; sign_in user minio "$(secret_of minio)"; '
    return host.run("docker exec %s sh -c %s", host.check_output(CONTAINER).split()[0], opening + script)


def test_a_service_sees_its_own_buckets_only(host, node):
    listed = inside(host, "mc ls user")
    assert [line.split()[-1].rstrip("/") for line in listed.stdout.splitlines()] == node.services["minio"][
        "buckets"
    ]


def test_a_service_cannot_write_where_it_has_no_rights(host):
    refused = inside(host, "echo x > /tmp/x; mc cp /tmp/x user/models/x; status=$?; rm /tmp/x; exit $status")
    assert refused.rc != 0
    assert "Insufficient permissions" in refused.stdout + refused.stderr


def test_a_service_cannot_make_keys(host):
    refused = inside(host, "mc admin accesskey create user minio")
    assert refused.rc != 0
    assert "Access Denied" in refused.stdout + refused.stderr
