"""PLACO's tests; docs/architecture.md says which folder needs what."""
