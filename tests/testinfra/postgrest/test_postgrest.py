"""What a caller of the API is to the database, and what not."""

import site_under_test as site

PROJECT = "docker compose --project-directory /opt/aicluster"
ASK = f"{PROJECT} exec -T postgres psql -U postgres -d %s -qtAc %s"


def asked(host, node, sql):
    return host.check_output(ASK, site.variable(node, "site_database"), sql)


def test_the_role_that_signs_in_may_only_become_the_anonymous_one(host, node):
    sql = (
        "select rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, "
        "(select string_agg(roleid::regrole::text, ',') from pg_auth_members where member = pg_roles.oid) "
        "from pg_roles where rolname = 'authenticator'"
    )
    assert asked(host, node, sql) == "t|f|f|f|f|f|web_anon"


def test_the_anonymous_role_cannot_sign_in_and_writes_nowhere(host, node):
    sql = (
        "select rolcanlogin, has_schema_privilege('web_anon', 'api', 'create'), "
        "has_schema_privilege('web_anon', 'public', 'create'), "
        "has_table_privilege('web_anon', 'api.health', 'insert, update, delete') "
        "from pg_roles where rolname = 'web_anon'"
    )
    assert asked(host, node, sql) == "f|f|f|f"
