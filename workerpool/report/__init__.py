"""What is told of a run: `totals` and `summary` at its end on a terminal, `why` it took so long, and later a whole report.

`reading` finds what there is, `report` makes values of it, `page` and `markdown` write these.
"""
