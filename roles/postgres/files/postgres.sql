-- Yields the statements that are missing for the standby: it may copy everything, and see how large that is.
SELECT 'ALTER ROLE replication REPLICATION;' FROM pg_roles WHERE rolname = 'replication' AND NOT rolreplication;
SELECT 'GRANT pg_read_all_stats TO replication;' WHERE NOT pg_has_role('replication', 'pg_read_all_stats', 'MEMBER');
