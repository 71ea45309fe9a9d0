-- Yields the statements that are missing for PostgREST, in this database; nothing where all is as it should be.
-- `authenticator` signs in and may do nothing but become `web_anon`, which sees what it was given in schema `api`, or, for a
-- signed token, `gateway`.
\set health 'SELECT now() AS time, current_database()::text AS database, current_setting(''server_version'') AS version'
-- The view's mark has a digest: its text in the database is PostgreSQL's own wording of it, which cannot be compared.
WITH wanted (definition, mark) AS (
  SELECT :'health', 'made by the AI cluster toolkit: ' || left(encode(sha256(convert_to(:'health', 'UTF8')), 'hex'), 12)
), stale AS (
  SELECT * FROM wanted WHERE coalesce(obj_description(to_regclass('api.health'), 'pg_class'), '') <> mark
), needed (step, statement) AS (
  SELECT 1, 'CREATE ROLE web_anon NOLOGIN;' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'web_anon')
  UNION ALL SELECT 2, 'ALTER ROLE web_anon NOLOGIN;' FROM pg_roles WHERE rolname = 'web_anon' AND rolcanlogin
  UNION ALL SELECT 3, 'ALTER ROLE authenticator NOINHERIT;' FROM pg_roles WHERE rolname = 'authenticator' AND rolinherit
  UNION ALL SELECT 4, format('GRANT %I TO authenticator WITH INHERIT FALSE, SET TRUE;', role)
    FROM (VALUES ('web_anon'), ('gateway')) AS may_become (role) WHERE NOT EXISTS (
      SELECT FROM pg_auth_members AS pair JOIN pg_roles AS given ON given.oid = pair.roleid
        JOIN pg_roles AS taker ON taker.oid = pair.member
      WHERE given.rolname = role AND taker.rolname = 'authenticator' AND pair.set_option AND NOT pair.inherit_option)
  UNION ALL SELECT 5, format('GRANT CONNECT ON DATABASE %I TO authenticator;', datname) FROM pg_database
    WHERE datname = current_database() AND NOT EXISTS (
      SELECT FROM aclexplode(datacl) AS right_of JOIN pg_roles AS taker ON taker.oid = right_of.grantee
      WHERE taker.rolname = 'authenticator' AND right_of.privilege_type = 'CONNECT')
  UNION ALL SELECT 6, 'CREATE SCHEMA api;' WHERE to_regnamespace('api') IS NULL
  UNION ALL SELECT 7, 'GRANT USAGE ON SCHEMA api TO web_anon;' WHERE NOT EXISTS (
    SELECT FROM pg_namespace, aclexplode(nspacl) AS right_of JOIN pg_roles AS taker ON taker.oid = right_of.grantee
    WHERE nspname = 'api' AND taker.rolname = 'web_anon' AND right_of.privilege_type = 'USAGE')
  UNION ALL SELECT 8, 'DROP VIEW api.health;' FROM stale WHERE to_regclass('api.health') IS NOT NULL
  UNION ALL SELECT 9, format('CREATE VIEW api.health AS %s;', definition) FROM stale
  UNION ALL SELECT 10, format('COMMENT ON VIEW api.health IS %L;', mark) FROM stale
  UNION ALL SELECT 11, 'GRANT SELECT ON api.health TO web_anon;' WHERE EXISTS (SELECT FROM stale) OR NOT EXISTS (
    SELECT FROM pg_class, aclexplode(relacl) AS right_of JOIN pg_roles AS taker ON taker.oid = right_of.grantee
    WHERE pg_class.oid = to_regclass('api.health') AND taker.rolname = 'web_anon' AND right_of.privilege_type = 'SELECT')
), told AS (
  SELECT * FROM needed
  -- PostgREST learns of new views by a notification.
  UNION ALL SELECT 12, 'NOTIFY pgrst, ''reload schema'';' WHERE EXISTS (SELECT FROM needed)
)
SELECT statement FROM told ORDER BY step;
