"""Patterns leave: a module for each family of formats, and the list of all of them, `registry`."""
