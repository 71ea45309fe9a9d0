"""A stand-in for SonarQube: real protocol, real database, no analysis."""
