"""The Django app that holds PLACO's data."""
