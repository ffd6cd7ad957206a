"""Durable jobs: a batch whose state is in a directory, and which survives the end of its process at any instruction.

`job` opens one, `books` keep it while it runs, `ledger` is its database, `inputs` and `states` what became of each
input, `prepare` what is done to a request, `terms` what must stay the same, `lock` who may run.
"""
