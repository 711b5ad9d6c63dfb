"""PLACO: generates collaborative platforms for research groups."""
