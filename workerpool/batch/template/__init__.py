"""Requests from rows: a pattern of a request, whose places are filled from the columns of each row.

| module | owns |
|---|---|
| `template` | `Template`, what a program says of the requests |
| `places` | texts and JSON values with places in them |
| `urls` | URL templates |
| `values` | a row's values: which are missing, and how they are written |
| `making` | what makes the requests of a source's rows, by a template |
| `settings` | a template as a job keeps it |
"""
