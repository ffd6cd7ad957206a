"""Durable jobs: a batch whose state is in a directory, and which survives the end of its process at any instruction.

| module | owns |
|---|---|
| `job`, `opening`, `terms` | a job; what one execution of it does; what must be as it was when it goes on |
| `books`, `mover` | what is entered while it runs, and how records get to the sink |
| `ledger`, `reader`, `schema` | what is written down, what that says, and the tables of both |
| `database`, `answers` | how it is kept; what of it is for inputs that ask for the same |
| `inputs`, `states` | what is to be done; what has become of each input |
| `spans`, `cuts` | the parts of sources that are read for that, beside the ledger's blocks; a reading in blocks |
| `prepare`, `duplicates`, `keys` | what is done to a request before it is sent |
| `lock`, `heartbeat`, `apart` | who may run; a sign of life; a run that an interrupt of its caller drains |
| `status`, `records` | what can be looked at; records read back |
| `reconcile`, `rereading`, `multiset` | the proof that nothing is missing |
"""
