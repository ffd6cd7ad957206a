"""Schemas: what of a JSON answer becomes the typed rows of a table, and what is refused, with its reason.

| module | owns |
|---|---|
| `fields` | a column of a schema, checked |
| `schema` | `Schema`: columns, what to explode, the key; where one is read from |
| `document` | the words of a schema's file |
| `values` | one function for each type: a value of JSON as it stands in a row, or why not |
| `paths` | where a value is in an item |
| `parsing` | an answer's text as JSON, with the digits of its numbers kept where somebody wants them |
| `mapping` | an outcome as rows and rejects |
| `rejects` | what is written of a reject, and the file of all of them |
| `forms` | what books write of an outcome: a record, or a schema's rows and rejects |
| `models`, `arrow` | schemas out of pydantic models, and out of Arrow's |
| `inference`, `draft` | a schema guessed from samples, and its text |
"""
