-- Yields the statement that is missing for the exporter: it reads statistics, and no data.
SELECT 'GRANT pg_monitor TO monitor;' WHERE NOT pg_has_role('monitor', 'pg_monitor', 'MEMBER');
