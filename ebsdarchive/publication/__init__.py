"""Packages for repositories: the documents that go with an archive, each from one record."""
