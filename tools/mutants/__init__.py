"""Mutation testing: `make mutants` changes the code in thousands of small ways, and tells which of these no test sees.

docs/design/mutants.md says how to read what it prints. What is changed how is in `changes`, which modules are run with
which tests in `areas`, and how one is tried in `trial`.
"""
