"""A stand-in for SonarQube: real protocol, real database, no analysis."""

VERSION = "26.8.0.126808"
