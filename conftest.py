"""Fixtures that several folders of tests share are plugins, so that each is made once."""

pytest_plugins = ["tests.lab_world"]
