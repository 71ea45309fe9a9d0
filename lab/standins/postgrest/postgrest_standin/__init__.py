"""A stand-in for PostgREST: reads its configuration, serves a schema of a real database over HTTP."""
