"""What a caller of the API is to the database, and what not."""

import pytest
import site_under_test as site

SIGNS_IN = (
    "select rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, "
    "(select string_agg(roleid::regrole::text, ',' order by roleid::regrole::text) "
    "from pg_auth_members where member = pg_roles.oid) "
    "from pg_roles where rolname = 'authenticator'"
)
ANONYMOUS = (
    "select rolcanlogin, has_schema_privilege('web_anon', 'api', 'create'), "
    "has_schema_privilege('web_anon', 'public', 'create'), "
    "has_table_privilege('web_anon', 'api.health', 'insert, update, delete') "
    "from pg_roles where rolname = 'web_anon'"
)


@pytest.mark.parametrize(("sql", "rights"), [
    pytest.param(SIGNS_IN, "t|f|f|f|f|f|gateway,web_anon", id="who signs in may only become two roles"),
    pytest.param(ANONYMOUS, "f|f|f|f", id="the anonymous role cannot sign in and writes nowhere"),
])  # fmt: skip
def test_the_roles_have_no_more_rights_than_they_need(inside, node, sql, rights):
    database = site.variable(node, "site_database")
    found = inside("postgres", "psql", "-U", "postgres", "-d", database, "-qtAc", sql)
    assert found.stdout.strip() == rights
