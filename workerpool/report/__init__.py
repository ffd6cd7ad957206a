"""What is told of a run: `totals` and a `summary` at its end, `why` it took so long, and at any time a whole report.

`reading` finds what there is, `report` makes values of it, `page` and `markdown` write these.
"""
